// Builds the component: `npm run build` writes NAME.wasm, with the name and version of package.json in it.
//
// The contract's host calls are `async func`. componentize-qjs 0.4.5 cannot import such functions yet ("type mismatch
// with async" while it initializes), and componentize-js 0.23 neither imports nor exports them. So the check is built
// as if they were plain functions, and their types are marked async afterwards: calling an async function and waiting
// for it is what the component model lets any caller do. What is lost: host calls of one run do not overlap.

import { cpSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { execFileSync } from "node:child_process";

const { name, version } = JSON.parse(readFileSync("package.json", "utf8"));
const runbook = readFileSync("RUNBOOK.md", "utf8");

rmSync("build", { recursive: true, force: true });
mkdirSync("build/wit", { recursive: true });
for (const file of readdirSync("wit")) {
  writeFileSync(`build/wit/${file}`, readFileSync(`wit/${file}`, "utf8").replaceAll(": async func(", ": func("));
}
for (const file of ["check.js", "sdk.js", "ending.js"]) cpSync(file, `build/${file}`);
const about = Object.entries({ NAME: name, VERSION: version, RUNBOOK: runbook });
writeFileSync("build/package.js", about.map(([key, text]) => `export const ${key} = ${JSON.stringify(text)};\n`).join(""));

const options = ["--wit", "build/wit", "--world", "check", "--js", "build/check.js", "--sync", "--output", "build/check.wasm"];
try {
  execFileSync("node_modules/.bin/componentize-qjs", options, { stdio: ["ignore", "ignore", "inherit"] });
} catch (error) {
  // A mistake in the check: the tool has said it. Only a tool that did not start says nothing.
  console.error(`${name} is not built: ${error.code ?? "componentize-qjs says why, above"}`);
  process.exit(1);
}

const component = readFileSync("build/check.wasm");
const marked = mark(component, 0, component.length);
if (marked === 0) throw new Error("no function of the contract was found in the component");
writeFileSync(`${name}.wasm`, Buffer.concat([component, section("pipeline:check/name", name), section("version", version)]));
console.log(`${name}.wasm`);

/** Marks the types of the contract's functions async, and counts them. A function type is 0x40, or 0x43 when it is
 * async, the number of its parameters, and their names and types:
 * https://github.com/WebAssembly/component-model/blob/main/design/mvp/Binary.md */
function mark(bytes, start, end) {
  // Each by the number of its parameters and the name of the first.
  const functions = [[2, "sql"], [1, "dataset"], [2, "repository"], [4, "repository"], [1, "service"], [1, "alert"], [1, "limit"], [1, "request"]];
  const [COMPONENT, TYPES] = [4, 7];
  let count = 0;
  for (let at = start + 8; at < end; ) {
    const [size, body] = unsigned(bytes, at + 1);
    if (bytes[at] === COMPONENT) count += mark(bytes, body, body + size);
    if (bytes[at] === TYPES) {
      for (const [parameters, first] of functions) {
        const wanted = Buffer.from([0x40, parameters, first.length, ...Buffer.from(first)]);
        for (let found = bytes.indexOf(wanted, body); found >= 0 && found < body + size; found = bytes.indexOf(wanted, found + 1)) {
          bytes[found] = 0x43;
          count += 1;
        }
      }
    }
    at = body + size;
  }
  return count;
}

/** A number in LEB128, and where it ends. */
function unsigned(bytes, at) {
  let value = 0;
  for (let shift = 0; ; shift += 7) {
    const byte = bytes[at++];
    value += (byte & 0x7f) * 2 ** shift;
    if ((byte & 0x80) === 0) return [value, at];
  }
}

/** A custom section: https://webassembly.github.io/spec/core/binary/modules.html#custom-section */
function section(title, text) {
  const body = Buffer.concat([Buffer.from([title.length]), Buffer.from(title + text)]);
  if (body.length > 127) throw new Error(`${text} is too long`);
  return Buffer.concat([Buffer.from([0, body.length]), body]);
}
