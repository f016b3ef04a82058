// What a check in JavaScript is written with: a canary is its settings, its query and its thresholds.
//
// For anything else, export `plugin = check({ …, run(request, settings) })` and ask the host with `query` and `post`.
// Host calls wait for their answer, one after another: the toolchain has no `await` for them yet (see build.mjs).

import { query as ask, queryTyped as askTyped } from "pipeline:check/warehouse@0.1.2";
import { post as hand } from "pipeline:check/slack@0.1.2";
import { add, total as sum } from "pipeline:check/evidence@0.1.2";
import { deadline as by, goodDates as good } from "pipeline:check/expectation@0.1.2";
import { ALERT, COUNT, DESCRIPTOR, LIMIT, PARAMETERS, ROWS, TYPED_PARAMETERS, report, require, text } from "./ending.js";
import { NAME, RUNBOOK, VERSION } from "./package.js";

/** Hands an alert to the host, which decides when it is told. */
export const post = (alert) => hand(require(alert, ALERT, "alert"));

/** Shows rows, as `query` gives them, as evidence of a metric; `total` is how many there are if these are the first. */
export function show(metric, rows, total = null) {
  require(metric, text, "metric");
  const values = require(rows.map((row) => Object.values(row).map(parameter)), ROWS, "rows");
  if (rows.length > 0) add(metric, Object.keys(rows[0]), values);
  if (total !== null) sum(metric, require(total, COUNT, "total"));
}

/** By when the data of the data date is expected, in seconds since 1970: measure ages of a date's data against it. */
export const deadline = () => Number(by());

/** The newest dates before the data date that this check judged good, newest first. */
export const goodDates = (limit) => good(require(limit, LIMIT, "limit"));

/** A setting: what it is when host.toml does not say it, and what it means. */
export const setting = (value, description) => ({ type: typeof value, default: value, description });

/** A column of the row that must be at least so much. */
export const atLeast = (name, min, unit = null) => ({ name, value: null, min, max: null, below: null, unit });

/** A column of the row that must be at most so much. */
export const atMost = (name, max, unit = null) => ({ name, value: null, min: null, max, below: null, unit });

/** NULL of a type, as a parameter: `{ day: nullOf("date") }`. Types: boolean, integer, float, text, date, timestamp. */
export const nullOf = (kind) => new Null(kind);

class Null {
  constructor(kind) {
    this.kind = kind;
  }
}

/** The rows of one SELECT, by column; `{ date: "2026-02-05" }` is `@date`. A failure ends the run: it is no answer. */
export function query(sql, parameters = {}) {
  const typed = Object.values(parameters).some((value) => value instanceof Null);
  const given = Object.entries(parameters).map(([name, value]) => ({ name, kind: kind(value), value: parameter(value) }));
  const { columns, values } = typed
    ? askTyped(require(sql, text, "the query"), require(given, TYPED_PARAMETERS, "parameters"))
    : ask(require(sql, text, "the query"), require(given, PARAMETERS, "parameters"));
  return values.map((row) => Object.fromEntries(row.map((cell, at) => [columns[at].name, cell.val ?? null])));
}

function parameter(value) {
  if (value === null || value instanceof Null) return { tag: "null" };
  if (typeof value === "boolean") return { tag: "boolean", val: value };
  if (Number.isInteger(value)) return { tag: "integer", val: value };
  if (typeof value === "number") return { tag: "float", val: value };
  return { tag: /^\d{4}-\d{2}-\d{2}$/.test(value) ? "date" : "text", val: String(value) };
}

/** The type of a parameter; a null without one is a text. */
const kind = (value) => (value instanceof Null ? value.kind : value === null ? "text" : parameter(value).tag);

/** A check that is one query for one row, and a threshold for each column of it. */
export const canary = (about) => check({ ...about, run: (request, settings) => judge(about, request, settings) });

function judge({ title, summary, query: of, thresholds }, request, settings) {
  const sql = of(settings);
  const rows = query(sql, { date: request.dataDate });
  if (rows.length !== 1) throw { tag: "other", val: `the query gave ${rows.length} rows, where one was expected` };
  const metrics = thresholds(settings).map((metric) => ({ ...metric, value: number(cell(rows[0], metric.name)) }));
  const violations = metrics.map(broken).filter((violation) => violation !== null);
  const unknown = [];
  if (violations.length > 0) {
    const line = sql.trim().split(/\s+/).join(" ").replaceAll("'", "'\\''");
    const command = `bq query --use_legacy_sql=false --parameter=date:DATE:${request.dataDate} '${line}'`;
    try {
      post({
        channel: request.channel,
        severity: "critical",
        title,
        summary,
        sections: [
          { title: "Violations", lines: violations.map(({ message }) => message), fields: [], code: null },
          { title: "Metrics", lines: [], fields: metrics.map((metric) => ({ name: metric.name, value: found(metric) })), code: null },
        ],
        steps: [{ text: "Run the query yourself", command }],
      });
    } catch (error) {
      unknown.push(`nobody was told: ${error?.payload?.val ?? error}`);
    }
  }
  return {
    verdict: { tag: violations.length > 0 ? "fail" : "pass" },
    summary: violations.length > 0
      ? violations.map(({ message }) => message).join("; ")
      : metrics.map((metric) => `${metric.name} ${found(metric)}`).join(", "),
    metrics,
    violations,
    unknown,
    gate: null,
  };
}

/** The value of a column; undefined when there is no such column. As in SQL, upper and lower case are the same. */
const cell = (row, column) => row[column in row ? column : Object.keys(row).find((name) => name.toLowerCase() === column.toLowerCase())];

/** A number; true is 1 and false is 0. null when it is NULL, or neither. */
const number = (value) =>
  typeof value === "boolean" ? Number(value) : typeof value === "number" && Number.isFinite(value) ? value : null;

/** At most two decimals unless that would hide the difference to a limit; no trailing zeros. */
function shown(amount, unit) {
  const rounded = Math.round(amount * 100) / 100;
  const close = Math.abs(rounded - amount) < 1e-9 || Math.abs(amount) >= 1000;
  const text = String(close ? rounded : Math.round(amount * 1e4) / 1e4);
  return unit ? `${text} ${unit}` : text;
}

/** A number and the limit that it breaks, with all digits if they would look the same rounded. */
function compared(value, sign, limit, unit) {
  const same = shown(value, unit) === shown(limit, unit) && value !== limit;
  const whole = (amount) => (unit ? `${amount} ${unit}` : String(amount));
  const text = (amount) => (same ? whole(amount) : shown(amount, unit));
  return `${text(value)} ${sign} ${text(limit)}`;
}

const found = ({ value, unit }) => (value === null ? "has no value" : shown(value, unit));

/** Why a metric does not pass. A missing value breaks every threshold. */
function broken({ name, value, min, max, below, unit }) {
  const asked = [["at least", min], ["at most", max], ["below", below]]
    .filter(([, limit]) => limit !== null)
    .map(([words, limit]) => `${words} ${shown(limit, unit)}`);
  if (asked.length === 0) return null;
  let complaint = null;
  if (value === null) complaint = `has no value (required: ${asked.join(", ")})`;
  else if (min !== null && value < min) complaint = `is below its minimum: ${compared(value, "<", min, unit)}`;
  else if (max !== null && value > max) complaint = `is above its maximum: ${compared(value, ">", max, unit)}`;
  else if (below !== null && value >= below) complaint = `is not below its limit: ${compared(value, "≥", below, unit)}`;
  return complaint === null ? null : { metric: name, message: `${name} ${complaint}` };
}

/** The plugin that this component is: what it says about itself, and `run(request, settings)`, which gives a report. */
export function check({ summary, settings = {}, datasets = [], group = "canaries", cron = "*/30 * * * *", timezone = null, channel = "#canary-alerts", run }) {
  const defaults = Object.fromEntries(Object.entries(settings).map(([name, { default: value }]) => [name, value]));
  const needs = [...datasets.map((val) => ({ tag: "dataset", val })), { tag: "channel", val: channel }];
  const schema = JSON.stringify({ type: "object", properties: settings, additionalProperties: false });
  // The build fails if this is wrong.
  const about = require({ summary, group, schedule: { cron, timezone }, channel, needs }, DESCRIPTOR, "check");
  return {
    describe: () => ({ ...about, name: NAME, version: VERSION, settings: schema, runbook: RUNBOOK }),
    run: (request) => report(() => run(request, { ...defaults, ...JSON.parse(request.settings) })),
  };
}
