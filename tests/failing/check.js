// A check that fails in as many ways as its authors may make it. The tests know the line of each by `// here: WAY`.

import { check, deadline, goodDates, nullOf, post, query, setting, show } from "./sdk.js";
import { latest } from "pipeline:check/git@0.1.2";

const GOOD = "SELECT COUNT(*) AS n FROM raw.events";
const BAD = "SELECT nothing FROM raw.events";
const fine = { verdict: { tag: "pass" }, summary: "all is well", metrics: [], violations: [], unknown: [], gate: null };
const metric = { name: "games", value: 2, min: null, max: null, below: null, unit: null };

function divided(by) {
  return by.no.such; // here: nested
}

function fail(request, way) {
  switch (way) {
    case "error":
      throw new Error("a mistake"); // here: error
    case "type error":
      return request.no.games; // here: type error
    case "reference error":
      return games; // here: reference error
    case "not a function":
      return way.games(); // here: not a function
    case "nested":
      return divided({});
    case "library":
      return JSON.parse("{"); // here: library
    case "recursion": {
      const deeper = () => deeper() + 1;
      return deeper();
    }
    case "text":
      throw "in short";
    case "nothing thrown":
      throw undefined;
    case "object":
      throw { games: 3 };
    case "symbol":
      throw Symbol("games");
    case "half a character":
      throw new Error("\ud800"); // here: half a character
    case "long":
      throw new Error("x".repeat(100_000)); // here: long
    case "lines":
      throw new Error("one\ntwo"); // here: lines
    case "rejected":
      return Promise.reject(new Error("a mistake"));
    case "promise":
      return Promise.resolve(fine);
    case "returns nothing":
      return;
    case "returns a text":
      return "pass";
    case "text for a number":
      return { ...fine, metrics: [{ ...metric, value: "2" }] };
    case "number for a text":
      return { ...fine, summary: 3 };
    case "no verdict":
      return { ...fine, verdict: "pass" };
    case "misspelt verdict":
      return { ...fine, verdict: { tag: "pas" } };
    case "no list":
      return { ...fine, violations: undefined };
    case "below zero":
      return { ...fine, gate: { score: 1, completeness: null, expected: -1, actual: 0, missing: [], metadata: [] } };
    case "half a character in a report":
      return { ...fine, summary: "\ud800" };
    case "own failure":
      throw { tag: "other", val: "I would rather not" };
    case "wrong failure":
      throw { tag: "other", val: 3 };
    case "query":
      query(BAD);
      return fine;
    case "denied":
      query("SELECT 1 FROM other.events");
      return fine;
    case "caused by a call":
      try {
        query(BAD);
      } catch (cause) {
        throw new Error("cannot go on", { cause }); // here: caused by a call
      }
      return fine;
    case "call and go on":
      try {
        query(BAD);
      } catch {
        return fine;
      }
      return fine;
    case "wrong query":
      query(3); // here: wrong query
      return fine;
    case "large parameter":
      query("SELECT @n AS n", { n: 2 ** 70 }); // here: large parameter
      return fine;
    case "null of a type":
      query("SELECT COUNT(*) AS n FROM raw.events WHERE id = @id", { id: nullOf("integer"), n: 1 });
      return fine;
    case "null of another type":
      query("SELECT COUNT(*) AS n FROM raw.events WHERE id = @id", { id: nullOf("date") });
      return fine;
    case "null of no type":
      query("SELECT COUNT(*) AS n FROM raw.events WHERE id = @id", { id: nullOf("number") }); // here: null of no type
      return fine;
    case "evidence":
      show("twice", query("SELECT 1 AS id, NULL AS name"), 2);
      if (deadline() > Number(request.due) || goodDates(3).length > 0) throw new Error("another moment");
      return fine;
    case "wrong evidence":
      show(3, []); // here: wrong evidence
      return fine;
    case "wrong alert":
      post({ channel: request.channel, title: "x" }); // here: wrong alert
      return fine;
    case "trap after a call":
      try {
        query(BAD);
      } catch {
        // The import itself is not the SDK's: the runtime traps.
        latest(3, 4);
      }
      return fine;
    case "exit":
      return process.exit(3); // here: exit
    case "memory": {
      const hoard = [];
      for (;;) hoard.push(new Uint8Array(1 << 20)); // here: memory
    }
    case "spin":
      for (;;);
    default:
      query(GOOD);
      return fine;
  }
}

export const plugin = check({
  summary: "Checks that every failure has its reason.",
  datasets: ["raw"],
  settings: { way: setting("pass", "How to fail.") },
  run: (request, { way }) => fail(request, way),
});
