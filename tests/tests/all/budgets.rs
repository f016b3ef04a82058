//! Each budget, exceeded through the built host: the error names the budget, its limit and the key that raises it, and
//! the other checks keep running.

use std::fs;

use host_tests::HOST_TOML;
use serde_json::Value;

use crate::support::{
    command::{Ended, Sample, ended, guest},
    text::{Text, component},
};

/// A behaviour of a plugin, its budget, that budget's value in host.toml, and the error.
struct Case {
    behaviour: &'static str,
    sql: String,
    budget: &'static str,
    value: &'static str,
    words: &'static str,
}

fn case(behaviour: &'static str, budget: &'static str, value: &'static str, words: &'static str) -> Case {
    Case { behaviour, sql: "SELECT 1 AS one".to_owned(), budget, value, words }
}

fn cases() -> Vec<Case> {
    let rows = "SELECT game_id FROM nba_raw.nbac_player_boxscore".to_owned();
    vec![
        case("spin", "timeout", "'300ms'", "timed out after 300 ms"),
        case("spin", "cpu", "'200ms'", "computed for more than 200 ms"),
        case("allocate", "memory", "'32 MiB'", "needs more memory than 32 MiB"),
        case("recurse", "stack", "'128 KiB'", "needs more stack than 128 KiB"),
        case("call without end", "calls", "50", "more than 50 host calls in one run"),
        case("ask thousands at once", "concurrent_calls", "20", "more than 20 host calls at once"),
        Case { sql: rows.clone(), ..case("query", "rows", "100", "the answer has more than 100 rows") },
        Case { sql: rows, ..case("query", "result_bytes", "'1 KiB'", "the answer is larger than 1 KiB") },
        Case {
            sql: format!("SELECT 1 AS one -- {}", "x".repeat(2000)),
            ..case("query", "sql_bytes", "'1 KiB'", "SQL of 2019 B, more than 1 KiB")
        },
        case("alert without end", "alerts", "3", "more than 3 alerts in one run"),
        case("alert enormously", "alert_bytes", "'4 KiB'", "more than 4 KiB"),
        case("report enormously", "report_bytes", "'4 KiB'", "more than 4 KiB"),
        case("report many metrics", "report_metrics", "100", "returned a report of 13000 metrics, more than 100"),
        case("report enormously", "transfer_bytes", "'4 KiB'", "passes more than 4 KiB to the host in one call"),
        case("flood the log", "log_bytes", "'4 KiB'", "writes more to its output than 4 KiB"),
    ]
}

const GRANTS: &str = "warehouse = ['nba_raw']\nslack = ['#canary-alerts']\n";

#[test]
fn each_budget_of_one_plugin_or_of_all() {
    for own in [true, false] {
        for Case { behaviour, sql, budget, value, words } in &cases() {
            let sample = Sample::new(None).unwrap();
            let mut toml = HOST_TOML.replace("[budgets]\ntimeout = \"30s\"\nmemory = \"64 MiB\"\n", "");
            toml += &match own {
                true => format!("[grants.misbehaving]\n{GRANTS}budgets = {{ {budget} = {value} }}\n"),
                false => format!("[budgets]\n{budget} = {value}\n[grants.misbehaving]\n{GRANTS}"),
            };
            toml += &format!("[checks.misbehaving]\nsettings = {{ behaviour = '{behaviour}', sql = '{sql}' }}\n");
            sample.configure(&toml).unwrap();
            let mut command = sample.command();
            command.args(["run", "--once", "--at", crate::support::AT, "--output", "json", "--check", "misbehaving"]);
            let ended = ended(command.arg(guest("misbehaving"))).unwrap();
            assert_eq!(ended.code, 3, "{budget}: {ended:?}");
            let error = ended.run("misbehaving")["error"].as_str().unwrap().to_owned();
            let key = format!("raise budgets.{budget}, or grants.misbehaving.budgets.{budget}, in host.toml");
            assert!(error.contains(words) && error.contains(&key), "{budget}: {error}");
        }
    }
}

/// One run of the misbehaving plugin with budgets of its own.
fn reported(sample: &Sample, behaviour: &str, budgets: &str) -> Ended {
    let grants = format!("[grants.misbehaving]\n{GRANTS}budgets = {{ {budgets} }}\n");
    let check = format!("[checks.misbehaving]\nsettings = {{ behaviour = '{behaviour}' }}\n");
    sample.configure(&format!("{HOST_TOML}\n{grants}{check}")).unwrap();
    let mut command = sample.command();
    command.args(["run", "--once", "--at", crate::support::AT, "--output", "json", "--check", "misbehaving"]);
    ended(command.arg(guest("misbehaving"))).unwrap()
}

/// Many violations and long texts on a bad day stay a failure, and the omitted parts are counted.
#[test]
fn what_is_wrong_is_cut_and_the_verdict_stays() {
    let sample = Sample::new(None).unwrap();
    let many = reported(&sample, "report many violations", "report_lines = 7");
    let run = many.run("misbehaving");
    assert_eq!((many.code, &run["status"], &run["error"]), (2, &"fail".into(), &Value::Null), "{run:#}");
    let violations = run["violations"].as_array().unwrap();
    assert_eq!(violations.len(), 8);
    assert_eq!(violations[6]["message"], "row 6 is wrong");
    assert_eq!(violations[7]["message"], "and 99993 more, left out by budgets.report_lines");
    // With the default configuration.
    let usual = reported(&sample, "report many violations", "").run("misbehaving");
    assert_eq!((&usual["status"], usual["violations"].as_array().unwrap().len()), (&"fail".into(), 1001));

    let long = reported(&sample, "report long texts", "report_text_bytes = '1 KiB'");
    let run = long.run("misbehaving");
    assert_eq!((long.code, &run["status"]), (2, &"fail".into()), "{run:#}");
    let (kept, left_out) = (1024, (1 << 20) - 1024);
    let cut = |letter: &str| Value::from(format!("{}… ({left_out} B left out)", letter.repeat(kept)));
    assert_eq!((&run["summary"], &run["violations"][0]["message"]), (&cut("s"), &cut("v")));
    assert_eq!(run["gate"]["missing_items"][0], cut("m"));
    let usual = reported(&sample, "report long texts", "").run("misbehaving");
    assert_eq!((&usual["status"], usual["summary"].as_str().unwrap().len() < 9000), (&"fail".into(), true));
}

/// Rust cannot grow a table.
#[test]
fn tables_do_not_grow_without_end() {
    let sample = Sample::new(None).unwrap();
    let growing = Text {
        items: "(table $t 1 funcref)",
        run: "(loop $again
                (if (i32.eq (table.grow $t (ref.null func) (i32.const 1000)) (i32.const -1)) (then unreachable))
                (br $again))
              unreachable",
        ..Text::default()
    };
    let path = sample.path().join("growing.wasm");
    fs::write(&path, component("growing", growing)).unwrap();
    let grants = "[grants.growing]\nslack = ['#canary-alerts']\nbudgets = { table_elements = 5000 }\n";
    sample.configure(&format!("{HOST_TOML}\n{grants}")).unwrap();
    let ended = sample.once(&["--output", "json", path.to_str().unwrap()]).unwrap();
    let error = ended.run("growing")["error"].as_str().unwrap().to_owned();
    let words = "needs a table of more than 5000 elements; raise budgets.table_elements, or grants.growing.budgets";
    assert!(error.contains(words), "{error}");
    assert_eq!(ended.run("phase2-raw")["status"], "pass");
}

/// A memory that is larger than its budget from the start, and more memories than the sandbox has room for.
#[test]
fn a_plugin_that_does_not_fit_is_told_so() {
    let sample = Sample::new(None).unwrap();
    let large = Text { items: "(memory $more 2000)", ..Text::default() };
    let many =
        Text { items: "(memory $a 1) (memory $b 1) (memory $c 1) (memory $d 1) (memory $e 1)", ..Text::default() };
    for (name, text, words) in [
        ("large", large, "describe needs more memory than 64 MiB; raise budgets.memory"),
        ("many", many, "does not fit into the sandbox"),
    ] {
        let path = sample.path().join(format!("{name}.wasm"));
        fs::write(&path, component(name, text)).unwrap();
        let ended = sample.once(&["--output", "json", path.to_str().unwrap()]).unwrap();
        let error = ended.run(name)["error"].as_str().unwrap().to_owned();
        assert!(error.contains(words), "{name}: {error}");
    }
}

#[test]
fn budgets_that_cannot_be_are_refused_at_start() {
    let sample = Sample::new(None).unwrap();
    for (line, words) in [
        ("memory = '5 GiB'", "budgets.memory: 5 GiB is over the maximum of"),
        ("stack = '1 GiB'", "budgets.stack: 1 GiB is over the maximum of"),
        ("sql_bytes = '1 MiB'", "budgets.sql_bytes: 1 MiB is over the maximum of"),
        ("table_elements = 100000000", "budgets.table_elements: 100000000 is over the maximum of"),
        ("timeout = '0s'", "`0s` is too short; it must be longer than 0"),
        ("calls = -1", "out of range: integer `-1`, expected a whole number from 0 to 4294967295"),
        ("callz = 1", "did you mean `calls`?"),
    ] {
        for own in [true, false] {
            let toml = HOST_TOML.replace("[budgets]\ntimeout = \"30s\"\nmemory = \"64 MiB\"\n", "");
            let table = if own { "[grants.misbehaving.budgets]" } else { "[budgets]" };
            sample.configure(&format!("{toml}\n{table}\n{line}\n")).unwrap();
            let ended = sample.once(&[]).unwrap();
            assert_eq!(ended.code, 64, "{line}: {ended:?}");
            assert!(ended.err.contains(words), "{line}: {}", ended.err);
        }
    }
}
