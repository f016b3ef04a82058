//! The reason of each error: the plugin's own exception with its file and line, a failed host call first. In the three
//! languages that `host new` knows.

use std::{fmt::Write, fs, path::Path};

use host_tests::HOST_TOML;
use rusqlite::Connection;
use serde_json::{Value, json};

use crate::{
    support::command::{Ended, Sample, guest, repository},
    templates::{build_javascript, build_python, host, ok},
};

const BAD_QUERY: &str = "query failed: Unrecognized name: nothing at [1:8]";
const WRONG: &str = "run (check.py:RUN) returned a wrong report: report";

/// A way to fail, and the error; `HERE` is the line of the source that says `here: WAY`. An empty error is a pass.
type Way = (&'static str, &'static str);

const PYTHON: &[Way] = &[
    ("value error", "ValueError: a mistake (check.py:HERE, in fail)"),
    ("type error", "TypeError: unsupported operand type(s) for +: 'int' and 'str' (check.py:HERE, in fail)"),
    (
        "wrong arguments",
        "TypeError: Report.__init__() got an unexpected keyword argument 'no_such' (check.py:REPORT, in report)",
    ),
    ("key error", "KeyError: 'games' (check.py:HERE, in fail)"),
    ("nested", "ZeroDivisionError: division by zero (check.py:HERE, in divided)"),
    (
        "library",
        "json.decoder.JSONDecodeError: Expecting property name enclosed in double quotes: line 1 column 2 (char 1) (check.py:HERE, in fail)",
    ),
    ("recursion", "RecursionError: maximum recursion depth exceeded (check.py:HERE, in deeper)"),
    ("exit", "SystemExit: 3 (check.py:HERE, in fail)"),
    ("interrupt", "KeyboardInterrupt (check.py:HERE, in fail)"),
    ("assert", "AssertionError: the way is wrong (check.py:HERE, in fail)"),
    ("wordless", "check.Wordless: <exception str() failed> (check.py:HERE, in fail)"),
    ("half a character", "ValueError: ? (check.py:HERE, in fail)"),
    ("lines", "ValueError: one two (check.py:HERE, in fail)"),
    ("group", "ValueError: the first (check.py:HERE, in fail)"),
    ("plain function", ""),
    ("plain function fails", "ValueError: not even async (check.py:HERE, in run)"),
    ("returns nothing", "WRONG is of type NoneType, not Report"),
    ("returns a dict", "WRONG is of type dict, not Report"),
    ("text for a number", "WRONG.metrics[0].value is of type str, not float"),
    ("number for a text", "WRONG.summary is of type int, not str"),
    ("no verdict", "WRONG.verdict is of type str, not one of Verdict_Pass, Verdict_Warn, Verdict_Fail, Verdict_Skip"),
    ("below zero", "WRONG.gate.expected is -1, out of range"),
    ("half a character in a report", "WRONG.summary has a character that is not Unicode text: '\\ud800'"),
    ("own failure", "I would rather not"),
    ("wrong failure", "componentize_py_types.Err: Failure_Other(value=3) (check.py:HERE, in fail)"),
    ("failure of a text", "componentize_py_types.Err: in short (check.py:HERE, in fail)"),
    ("query", BAD_QUERY),
    ("denied", "query denied: dataset other is not granted; add \"other\" to grants.failing.warehouse in host.toml"),
    ("raised from a call", "QUERY; then ValueError: cannot go on (check.py:HERE, in fail)"),
    (
        "mistake after a call",
        "QUERY; then AttributeError: 'Err' object has no attribute 'no_such_field' (check.py:HERE, in fail)",
    ),
    ("wrong query", "TypeError: warehouse.query: sql is of type int, not str (check.py:HERE, in fail)"),
    (
        "wrong parameter",
        "TypeError: warehouse.query: parameters[0].value is of type int, not one of Value_Null, Value_Boolean, Value_Integer, Value_Float, Value_Text, Value_Date, Value_Timestamp (check.py:HERE, in fail)",
    ),
    ("evidence", ""),
    (
        "wrong evidence",
        "TypeError: evidence.add: rows[0][0] is of type int, not one of Value_Null, Value_Boolean, Value_Integer, Value_Float, Value_Text, Value_Date, Value_Timestamp (check.py:HERE, in fail)",
    ),
    ("null of a type", ""),
    (
        "null of another type",
        "query failed: No matching signature for operator = for argument types: INT64, DATE at [1:44]",
    ),
    (
        "null of no type",
        "ValueError: 'number' is not one of boolean, integer, float, text, date, timestamp (check.py:HERE, in fail)",
    ),
    (
        "large parameter",
        "TypeError: warehouse.query: parameters[0].value.value is 1180591620717411303424, out of range (check.py:HERE, in fail)",
    ),
    ("gather", BAD_QUERY),
    ("gather all", BAD_QUERY),
    ("gather and go on", ""),
    ("gather and a mistake", "ValueError: a task's mistake (check.py:MISTAKEN, in mistaken)"),
    ("task group", BAD_QUERY),
    ("cancelled call", ""),
    ("cancels itself", "the check cancelled itself (check.py:HERE, in fail)"),
    ("never", "it waits for something that never comes (check.py:HERE, in fail)"),
    ("never after a call", "it waits for something that never comes (check.py:HERE, in fail)"),
    ("sleep", "NotImplementedError: NO_TIME (check.py:HERE, in fail)"),
    ("time out", "NotImplementedError: NO_TIME (check.py:HERE, in fail)"),
    ("forgotten task", "ValueError: a task's mistake (check.py:HERE, in mistaken)"),
    ("task to its end", ""),
    ("exit in a task", "SystemExit: 3 (check.py:HERE, in leaves)"),
    (
        "memory",
        "MemoryError (check.py:HERE, in fail); it needs more memory than 64 MiB; raise budgets.memory, or grants.failing.budgets.memory, in host.toml",
    ),
    ("spin", "computed for more than 1 s; raise budgets.cpu, or grants.failing.budgets.cpu, in host.toml"),
    (
        "flood",
        "writes more to its output than 64 KiB; raise budgets.log_bytes, or grants.failing.budgets.log_bytes, in host.toml",
    ),
    ("two calls", ""),
];

const WRONG_JS: &str = "run returned a wrong report: report";

const JAVASCRIPT: &[Way] = &[
    ("error", "Error: a mistake (check.js:HERE, in fail)"),
    ("type error", "TypeError: cannot read property 'games' of undefined (check.js:HERE, in fail)"),
    ("reference error", "ReferenceError: games is not defined (check.js:HERE, in fail)"),
    ("not a function", "TypeError: not a function (check.js:HERE, in fail)"),
    ("nested", "TypeError: cannot read property 'such' of undefined (check.js:HERE, in divided)"),
    (
        "library",
        "SyntaxError: Expected property name or '}' in JSON at position 1 (line 1 column 2) (check.js:HERE, in fail)",
    ),
    ("recursion", "needs more stack than 512 KiB; raise budgets.stack, or grants.failing.budgets.stack, in host.toml"),
    ("text", "in short (thrown without an Error, so its line is not known)"),
    ("nothing thrown", "undefined (thrown without an Error, so its line is not known)"),
    ("object", "{\"games\":3} (thrown without an Error, so its line is not known)"),
    ("symbol", "Symbol(games) (thrown without an Error, so its line is not known)"),
    ("half a character", "Error: \u{fffd} (check.js:HERE, in fail)"),
    ("lines", "Error: one two (check.js:HERE, in fail)"),
    ("rejected", "run returned a Promise: write it without async; host calls return their answer at once"),
    ("promise", "run returned a Promise: write it without async; host calls return their answer at once"),
    ("returns nothing", "WRONG is of type undefined, not an object"),
    ("returns a text", "WRONG is of type string, not an object"),
    ("text for a number", "WRONG.metrics[0].value is of type string, not a number"),
    ("number for a text", "WRONG.summary is of type number, not a string"),
    ("no verdict", "WRONG.verdict is of type string, not an object with a tag"),
    ("misspelt verdict", "WRONG.verdict.tag is \"pas\", not one of pass, warn, fail, skip"),
    ("no list", "WRONG.violations is of type undefined, not an array"),
    ("below zero", "WRONG.gate.expected is -1, out of range"),
    ("half a character in a report", "WRONG.summary has a character that is not Unicode text"),
    ("own failure", "I would rather not"),
    ("wrong failure", "{\"tag\":\"other\",\"val\":3} (thrown without an Error, so its line is not known)"),
    ("query", BAD_QUERY),
    ("denied", "query denied: dataset other is not granted; add \"other\" to grants.failing.warehouse in host.toml"),
    ("caused by a call", "QUERY; then Error: cannot go on (check.js:HERE, in fail)"),
    ("call and go on", ""),
    ("evidence", ""),
    ("wrong evidence", "TypeError: metric is of type number, not a string (check.js:HERE, in fail)"),
    ("wrong query", "TypeError: the query is of type number, not a string (check.js:HERE, in fail)"),
    ("null of a type", ""),
    (
        "null of another type",
        "query failed: No matching signature for operator = for argument types: INT64, DATE at [1:44]",
    ),
    (
        "null of no type",
        "TypeError: parameters[0].kind is of type string, not one of boolean, integer, float, text, date, timestamp (check.js:HERE, in fail)",
    ),
    (
        "large parameter",
        "TypeError: parameters[0].value.val is 1.1805916207174113e+21, out of range (check.js:HERE, in fail)",
    ),
    (
        "wrong alert",
        "TypeError: alert.severity is of type undefined, not one of info, warning, critical (check.js:HERE, in fail)",
    ),
    (
        "trap after a call",
        "QUERY; then the plugin failed: panicked at crates/runtime/src/call.rs:119:33: expected string: FromJs { from: \"int\", to: \"string\", message: None }",
    ),
    ("exit", "ReferenceError: process is not defined (check.js:HERE, in fail)"),
    (
        "memory",
        "InternalError: out of memory (check.js:HERE, in fail); it needs more memory than 64 MiB; raise budgets.memory, or grants.failing.budgets.memory, in host.toml",
    ),
    ("spin", "computed for more than 1 s; raise budgets.cpu, or grants.failing.budgets.cpu, in host.toml"),
];

/// The line of a source that has a mark.
fn line(source: &str, mark: &str) -> String {
    let at = source.lines().position(|line| line.ends_with(mark));
    at.map_or_else(|| format!("no line with {mark}"), |at| (at + 1).to_string())
}

/// Builds the failing check as `host new` and its template would, and runs it in every way.
fn fails(language: &str, source: &str, wrong: &str, ways: &[Way], build: impl Fn(&Path)) {
    let place = tempfile::tempdir().unwrap();
    ok(host(place.path(), &["new", "failing", "--lang", language]));
    let directory = place.path().join("failing");
    let text = fs::read_to_string(repository().join("tests/failing").join(source)).unwrap();
    fs::write(directory.join(source), &text).unwrap();
    build(&directory);
    fs::create_dir(directory.join("warehouse")).unwrap();
    let raw = Connection::open(directory.join("warehouse/raw.db")).unwrap();
    raw.execute_batch("CREATE TABLE events (id INTEGER, day TEXT)").unwrap();
    let mut toml = "validate_schedule = \"never\"\n[budgets]\ncpu = \"1 s\"\n[warehouse]\nkind = \"sqlite\"\npath = \"warehouse\"\n[slack]\ndeliver = \"console\"\n[grants.failing]\nwarehouse = [\"raw\"]\nslack = [\"#canary-alerts\"]\n".to_owned();
    for (way, _) in ways {
        let name = way.replace(' ', "-");
        write!(toml, "[checks.the-{name}]\nplugin = \"failing\"\nsettings.way = \"{way}\"\n").unwrap();
    }
    fs::write(directory.join("host.toml"), toml).unwrap();
    let run = host(&directory, &["run", "--once", "--dry-run", "--output", "json", "failing.wasm"]);
    assert_eq!(run.code, 3, "{run:?}");
    let evidence = json!([{ "metric": "twice", "columns": ["id", "name"], "rows": [[1, null]], "total": 2 }]);
    assert_eq!(run.run("the-evidence")["evidence"], evidence);
    let mut differences = Vec::new();
    for (way, expected) in ways {
        let expected = expected
            .replace("WRONG", wrong)
            .replace("QUERY", BAD_QUERY)
            .replace("NO_TIME", "a check cannot wait for a time to pass: its clock is the due time and does not move")
            .replace("HERE", &line(&text, &format!("here: {way}")))
            .replace("MISTAKEN", &line(&text, "here: forgotten task"))
            .replace("REPORT", &line(&text, "    return plugin.Report(**{**given, **changes})"))
            .replace("RUN", &line(&text, "    def run(self, request, settings):"));
        let run = run.run(&format!("the-{}", way.replace(' ', "-")));
        let error = run["error"].as_str().unwrap_or_default();
        let passed = run["verdict"] == "pass";
        if error != expected || passed != expected.is_empty() {
            differences.push(format!("{way}: {error}\n     not {expected} ({})", run["verdict"]));
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
    assert!(ways.len() >= 30, "{} ways", ways.len());
    a_long_one_is_cut(&directory);
}

fn a_long_one_is_cut(directory: &Path) {
    let toml = fs::read_to_string(directory.join("host.toml")).unwrap();
    let (settings, _) = toml.split_once("[checks.").unwrap();
    fs::write(
        directory.join("host.toml"),
        format!("{settings}[checks.long]\nplugin = \"failing\"\nsettings.way = \"long\"\n"),
    )
    .unwrap();
    let run = host(directory, &["run", "--once", "--dry-run", "--output", "json", "failing.wasm"]);
    let error = run.run("long")["error"].as_str().unwrap_or_default().to_owned();
    assert!(error.contains("Error: xxxx") && error.len() < 3000, "{}: {error}", error.len());
}

#[test]
fn ways_to_fail_in_python() {
    fails("python", "check.py", WRONG, PYTHON, build_python);
}

#[test]
fn ways_to_fail_in_javascript() {
    fails("javascript", "check.js", WRONG_JS, JAVASCRIPT, build_javascript);
}

#[test]
fn ways_to_fail_in_rust() {
    let sample = Sample::new(None).unwrap();
    let file = guest("misbehaving");
    let source = fs::read_to_string(repository().join("tests/guests/misbehaving/src/lib.rs")).unwrap();
    let no_table = "query failed: there is no table nba_raw.nothing at [1:15]";
    let ways = [
        ("trap", "SELECT 1 AS n", "panicked at PLACE: out of cheese".to_owned()),
        ("fail on its own", "SELECT 1 AS n", "I would rather not".to_owned()),
        ("expect an answer", "SELECT 1 AS n", String::new()),
        (
            "expect an answer",
            "SELECT 1 FROM nba_raw.nothing",
            format!("{no_table}; then the plugin failed: panicked at PLACE: an answer: "),
        ),
        // It went on after the call that failed.
        ("trap after an answer", "SELECT 1 AS n", "panicked at PLACE: with Err(".to_owned()),
    ];
    for (way, sql, expected) in ways {
        let toml = format!(
            "{HOST_TOML}\n[checks.misbehaving.settings]\nbehaviour = \"{way}\"\nsql = \"{sql}\"\n[grants.misbehaving]\nwarehouse = [\"nba_raw\"]\nslack = [\"#canary-alerts\"]\n"
        );
        sample.configure(&toml).unwrap();
        let mut command = sample.command();
        let run: Ended =
            crate::support::command::ended(command.args(["run", "--once", "--dry-run", "--output", "json"]).arg(&file))
                .unwrap();
        let run: Value = run.run("misbehaving");
        let place = format!("tests/guests/misbehaving/src/lib.rs:{}", line(&source, &format!("here: {way}")));
        let error = run["error"].as_str().unwrap_or_default();
        // The column is left out.
        let mut shown = error.to_owned();
        if let Some((before, after)) = error.split_once(&place) {
            let after = after.trim_start_matches(':').trim_start_matches(|c: char| c.is_ascii_digit());
            shown = format!("{before}PLACE{after}");
        }
        assert!(shown.starts_with(&expected) && expected.is_empty() == shown.is_empty(), "{way}: {shown}");
    }
}
