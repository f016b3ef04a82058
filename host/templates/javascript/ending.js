// How a run ends: a mistake is told with its file and line.
//
// componentize-qjs traps when a value does not fit the contract, and an exception that leaves the check has no line. So
// this file stands between the check and componentize-qjs.

const OURS = ["sdk.js", "ending.js"];
// More than anybody reads.
const LONGEST = 4000;

/** The report that `run` gives. Anything else is thrown as the failure that the host shows. */
export function report(run) {
  let given;
  try {
    given = run();
  } catch (error) {
    throw failure(error);
  }
  if (typeof given?.then === "function") {
    throw other("run returned a Promise: write it without async; host calls return their answer at once");
  }
  const problem = misfit(given, REPORT, "report");
  if (problem) throw other(`run returned a wrong report: ${problem}`);
  return given;
}

/** Throws when a value does not fit the contract; the runtime would trap. */
export function require(given, shape, what) {
  const problem = misfit(given, shape, what);
  if (problem) throw new TypeError(problem);
  return given;
}

const other = (val) => ({ tag: "other", val: printable(val) });

/** What the host is told about something that was thrown. */
function failure(error) {
  if (error?.payload?.tag) return { tag: "call", val: error.payload };
  if (!(error instanceof Error) && !misfit(error, FAILURE, "failure")) return error;
  const told = described(error);
  const seen = new Set();
  for (let cause = error?.cause; cause && !seen.has(cause); cause = cause.cause) {
    seen.add(cause);
    const { tag, val } = cause.payload ?? {};
    if (tag) return { tag: "call", val: { tag, val: `${val}; then ${told}` } };
  }
  return other(told);
}

/** `TypeError: not a function (check.js:14, in run)` */
function described(error) {
  const text = shown(error).slice(0, LONGEST);
  if (!(error instanceof Error)) return `${text} (thrown without an Error, so its line is not known)`;
  const frames = [...String(error.stack ?? "").matchAll(/^\s*at (\S+) \((?:[^()]*\/)?([^/()]+\.js):(\d+)/gm)];
  const [, caller, file, line] = frames.find(([, , name]) => !OURS.includes(name)) ?? frames[0] ?? [];
  return file ? `${text} (${file}:${line}, in ${caller})` : text;
}

function shown(error) {
  try {
    const text = error instanceof Error || typeof error !== "object" ? String(error) : JSON.stringify(error);
    return text.split(/\s+/).join(" ");
  } catch {
    return `a thrown ${typeof error} that cannot be shown`;
  }
}

/** Without halves of characters. */
const printable = (text) =>
  text.replace(/[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g, "\ufffd");

/** Why a value does not have the shape that the contract has for it; null when it has. */
const misfit = (given, shape, what) => shape(given, what);

const wrong = (given, wanted, what) => {
  const kind = given === null ? "null" : Array.isArray(given) ? "an array" : `of type ${typeof given}`;
  return `${what} is ${kind}, not ${wanted}`;
};

const simple = (wanted, fits) => (given, what) => (fits(given) ? null : wrong(given, wanted, what));

export const text = (given, what) => {
  if (typeof given !== "string") return wrong(given, "a string", what);
  return printable(given) === given ? null : `${what} has a character that is not Unicode text`;
};

const number = simple("a number", (given) => typeof given === "number");

const integers = (least, end) => (given, what) => {
  if (typeof given !== "bigint" && !Number.isInteger(given)) return wrong(given, "an integer", what);
  return given >= least && given < end ? null : `${what} is ${given}, out of range`;
};

const optional = (shape) => (given, what) => (given === null || given === undefined ? null : shape(given, what));

const list = (shape) => (given, what) => {
  if (!Array.isArray(given)) return wrong(given, "an array", what);
  return firstOf(given.keys(), (at) => shape(given[at], `${what}[${at}]`));
};

const record = (fields) => (given, what) => {
  if (typeof given !== "object" || given === null || Array.isArray(given)) return wrong(given, "an object", what);
  return firstOf(Object.keys(fields), (name) => fields[name](given[name], `${what}.${name}`));
};

const pair = (given, what) => {
  return Array.isArray(given) && given.length === 2 ? list(text)(given, what) : wrong(given, "a pair", what);
};

const variant = (cases) => (given, what) => {
  if (typeof given !== "object" || given === null) return wrong(given, "an object with a tag", what);
  if (!Object.hasOwn(cases, given.tag)) {
    return `${what}.tag is ${JSON.stringify(given.tag) ?? "missing"}, not one of ${Object.keys(cases).join(", ")}`;
  }
  return cases[given.tag]?.(given.val, `${what}.val`) ?? null;
};

const oneOf = (...words) => simple(`one of ${words.join(", ")}`, (given) => words.includes(given));

function firstOf(keys, problem) {
  for (const key of keys) {
    const found = problem(key);
    if (found) return found;
  }
  return null;
}

const U64 = integers(0, 2n ** 64n);
const I64 = integers(-(2n ** 63n), 2n ** 63n);
const ERROR = variant({
  invalid: text,
  denied: text,
  "over-budget": text,
  "not-found": text,
  "timed-out": text,
  unavailable: text,
});
const FAILURE = variant({ settings: text, call: ERROR, other: text });
const REPORT = record({
  verdict: variant({ pass: null, warn: null, fail: null, skip: text }),
  summary: text,
  metrics: list(
    record({
      name: text,
      value: optional(number),
      min: optional(number),
      max: optional(number),
      below: optional(number),
      unit: optional(text),
    }),
  ),
  violations: list(record({ metric: optional(text), message: text })),
  unknown: list(text),
  gate: optional(
    record({
      score: number,
      completeness: optional(number),
      expected: U64,
      actual: U64,
      missing: list(text),
      metadata: list(pair),
    }),
  ),
});

/** What a plugin says about itself. */
export const DESCRIPTOR = record({
  summary: text,
  group: text,
  schedule: record({ cron: text, timezone: optional(text) }),
  channel: text,
  needs: list(variant({ dataset: text, repository: null, deployments: null, channel: text })),
});

const VALUE = variant({
  null: null,
  boolean: simple("a boolean", (given) => typeof given === "boolean"),
  integer: I64,
  float: number,
  text,
  date: text,
  timestamp: I64,
});
const KIND = oneOf("boolean", "integer", "float", "text", "date", "timestamp");

/** Rows of evidence. */
export const ROWS = list(list(VALUE));

/** A number of rows. */
export const COUNT = U64;

/** The most answers. */
export const LIMIT = integers(0, 2 ** 32);

/** The parameters of a query. */
export const PARAMETERS = list(record({ name: text, value: VALUE }));

/** The same with their types. */
export const TYPED_PARAMETERS = list(record({ name: text, kind: KIND, value: VALUE }));

/** An alert. */
export const ALERT = record({
  channel: text,
  severity: oneOf("info", "warning", "critical"),
  title: text,
  summary: text,
  sections: list(
    record({ title: text, lines: list(text), fields: list(record({ name: text, value: text })), code: optional(text) }),
  ),
  steps: list(record({ text, command: optional(text) })),
});
