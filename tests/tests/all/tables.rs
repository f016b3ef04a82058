//! Checks of tables that are only configuration: types of columns, freshness, and mistakes in settings. Each runs the built
//! host on tables of its own.

use std::{fs, path::Path, process::Command};

use rusqlite::Connection;
use serde_json::Value;
use tempfile::TempDir;

use crate::support::{
    command::{Ended, binary, change, ended},
    watched::plugin,
};

/// A directory with a host.toml and the dataset `shop`.
pub(crate) struct Shop(TempDir);

impl Shop {
    /// With these tables.
    pub(crate) fn new(tables: &str) -> Self {
        let shop = Self(TempDir::new().unwrap());
        fs::create_dir(shop.path().join("warehouse")).unwrap();
        Connection::open(shop.path().join("warehouse/shop.db")).unwrap();
        change(shop.path(), "shop", tables).unwrap();
        shop
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    /// The host's command, without arguments.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(binary("host"));
        command.current_dir(self.path()).env("HOME", self.path());
        command.env("XDG_CACHE_HOME", binary("").join("test-cache"));
        command
    }

    /// Runs the host with canary-sql to its end.
    pub(crate) fn host(&self, arguments: &[&str]) -> Ended {
        ended(self.command().args(arguments).arg(plugin("canary-sql"))).unwrap()
    }

    /// Writes host.toml: the warehouse, the grants of canary-sql, and more.
    pub(crate) fn configure(&self, more: &str) {
        let toml = format!(
            "timezone = \"UTC\"\nvalidate_schedule = \"never\"\n[warehouse]\nkind = \"sqlite\"\npath = \"warehouse\"\n\
             [state]\nkeep = \"40000d\"\n[grants.canary-sql]\nwarehouse = [\"shop\"]\nslack = [\"#data\"]\n{more}"
        );
        fs::write(self.path().join("host.toml"), toml).unwrap();
    }

    /// Writes host.toml with a check `shop` and its settings.
    pub(crate) fn set(&self, settings: &str) {
        self.configure(&format!(
            "[slack]\ndeliver = \"console\"\n[checks.shop]\nplugin = \"canary-sql\"\nchannel = \"#data\"\n\
             [checks.shop.settings]\n{settings}\n"
        ));
    }

    /// The run with some settings about 2026-02-05, at a time of the next day.
    pub(crate) fn run_at(&self, settings: &str, time: &str) -> Value {
        self.set(settings);
        let at = format!("2026-02-06T{time}Z");
        self.host(&["run", "--once", "--output", "json", "--at", &at, "--date", "2026-02-05"]).run("shop")
    }

    pub(crate) fn run(&self, settings: &str) -> Value {
        self.run_at(settings, "12:00:00")
    }
}

const TYPES: &str = "CREATE TABLE orders (day DATE, paid BOOL, rate REAL, size INTEGER, at DATETIME);
     INSERT INTO orders VALUES ('2026-02-05', 1, 0.5, 1, '2026-02-06 11:30:00'), ('2026-02-05', 0, 2.5, 2, '2026-02-06 11:00:00');";

/// What a run found: its status, and its first violation or its summary.
fn found(run: &Value) -> (String, String) {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let violation = &run["violations"][0]["message"];
    (text(&run["status"]), text(if violation.is_null() { &run["summary"] } else { violation }))
}

#[test]
fn booleans_and_numbers_are_values() {
    let shop = Shop::new(TYPES);
    for (settings, status, said) in [
        (
            "sql = \"SELECT LOGICAL_OR(paid) AS any_paid FROM shop.orders\"\nthresholds.any_paid.min = 1",
            "pass",
            "any_paid 1",
        ),
        (
            "sql = \"SELECT LOGICAL_AND(paid) AS all_paid FROM shop.orders\"\nthresholds.all_paid.min = 1",
            "fail",
            "all_paid is below its minimum: 0 < 1",
        ),
        ("table = \"shop.orders\"\naccepted_values.paid = [true, false]", "pass", "row_count 2, unaccepted_paid 0"),
        (
            "table = \"shop.orders\"\naccepted_values.paid = [false]",
            "fail",
            "unaccepted_paid is above its maximum: 1 > 0",
        ),
        ("table = \"shop.orders\"\naccepted_values.rate = [0.5, 2.5]", "pass", "row_count 2, unaccepted_rate 0"),
        (
            "table = \"shop.orders\"\naccepted_values.rate = [0.5, 2]",
            "fail",
            "unaccepted_rate is above its maximum: 1 > 0",
        ),
    ] {
        let run = shop.run(settings);
        assert_eq!(found(&run), (status.to_owned(), said.to_owned()), "{settings}: {run}");
        if settings.starts_with("sql") {
            let validated = shop.host(&["validate"]);
            assert_eq!(validated.code, 0, "{settings}: {validated:?}");
        }
    }
    // What does not fit the column's type is refused, by the validation too.
    let run = shop.run("table = \"shop.orders\"\naccepted_values.paid = [\"yes\"]");
    assert_eq!(run["status"], "error", "{run}");
    let validated = shop.host(&["validate"]);
    assert!(validated.code == 2 && validated.out.contains("No matching signature"), "{validated:?}");
}

#[test]
fn freshness_takes_dates_datetimes_and_the_last_write() {
    let shop = Shop::new(TYPES);
    let metadata =
        "CREATE TABLE __TABLES__ (table_id TEXT, row_count INT64, size_bytes INT64, last_modified_time INT64);
         INSERT INTO __TABLES__ SELECT 'orders', 2, 100, 1000 * unixepoch('2026-02-06 09:00:00')";
    change(shop.path(), "shop", metadata).unwrap();
    let age = |freshness: &str, time: &str| {
        let run = shop.run_at(&format!("table = \"shop.orders\"\nfreshness = {{ {freshness} }}"), time);
        let (status, said) = found(&run);
        format!("{status}: {}", said.trim_start_matches("row_count 2, "))
    };
    for (freshness, time, said) in [
        ("column = \"at\", max_hours = 1", "12:00:00", "pass: freshness 0.5 h"),
        ("column = \"at\", max_hours = 1", "12:45:00", "fail: freshness is above its maximum: 1.25 h > 1 h"),
        // The pipeline's time zone is UTC; half past eleven in London in winter is the same.
        ("column = \"at\", timezone = \"Europe/London\", max_hours = 1", "12:00:00", "pass: freshness 0.5 h"),
        (
            "column = \"at\", timezone = \"Europe/Berlin\", max_hours = 1",
            "12:00:00",
            "fail: freshness is above its maximum: 1.5 h > 1 h",
        ),
        ("column = \"day\", max_hours = 12", "12:00:00", "pass: freshness 12 h"),
        ("column = \"day\", max_hours = 12", "13:00:00", "fail: freshness is above its maximum: 13 h > 12 h"),
        ("max_hours = 3", "12:00:00", "pass: freshness 3 h"),
        ("max_hours = 3", "12:30:00", "fail: freshness is above its maximum: 3.5 h > 3 h"),
    ] {
        assert_eq!(age(freshness, time), said, "{freshness} at {time}");
    }
    // All of them are valid checks; a number is not a time.
    for (freshness, code, said) in [
        ("column = \"at\", max_hours = 1", 0, "valid"),
        ("column = \"day\", max_hours = 30", 0, "valid"),
        ("max_hours = 3", 0, "valid"),
        (
            "column = \"size\", max_hours = 3",
            2,
            "freshness.column: size has the type INT64; it must be TIMESTAMP, DATETIME or DATE",
        ),
    ] {
        shop.set(&format!("table = \"shop.orders\"\nrow_count = {{ min = 1 }}\nfreshness = {{ {freshness} }}"));
        let validated = shop.host(&["validate"]);
        assert!(validated.code == code && validated.out.contains(said), "{freshness}: {validated:?}");
    }
    // Without metadata the age is unknown, which is not a pass.
    change(shop.path(), "shop", "DROP TABLE __TABLES__").unwrap();
    let run = shop.run("table = \"shop.orders\"\nfreshness = { max_hours = 3 }");
    let why = "freshness: the warehouse does not record when `shop.orders` was last written; set freshness.column";
    assert!(run["status"] == "error" && run["error"].as_str().unwrap().contains(why), "{run}");
}

/// Keys of optional tables, choices of types and forms of text: each mistake names the key, the rule and the nearest name.
#[test]
fn mistakes_in_settings_are_named() {
    let shop = Shop::new(TYPES);
    let table = "table = \"shop.orders\"\n";
    for (settings, said) in [
        ("row_count = { mni = 5 }", "there is no setting row_count.mni; did you mean `min`?"),
        ("row_count = 5", "row_count must be a table with min, max, warn_min, warn_max, change, not 5"),
        ("row_count.min = \"5\"", "row_count.min must be a number, not \"5\""),
        ("row_count.change = { day = 7 }", "there is no setting row_count.change.day; did you mean `days`?"),
        (
            "row_count.change = { days = 7, weeks = 2, max_drop_percent = 5 }",
            "row_count.change: days = 7 and weeks = 2 exclude each other; leave one out",
        ),
        (
            "row_count.change = { max_drop_percent = 5 }",
            "row_count.change: it has no dates; add days or weeks, at least 1",
        ),
        ("row_count.change = { days = 40 }", "row_count.change.days: 40 is greater than the maximum of 31"),
        (
            "freshness = { column = \"at\", max_hour = 2 }",
            "there is no setting freshness.max_hour; did you mean `max_hours`?",
        ),
        ("freshness = { column = \"at\" }", "freshness.max_hours is missing"),
        (
            "accepted_values.size = [{ one = 1 }]",
            "accepted_values.size.0 must be text, a number or a boolean, not {\"one\":1}",
        ),
        ("accepted_values.size = 1", "accepted_values.size must be a list, not 1"),
        ("references.size = \"orders\"", "references.size must be a column, as `dataset.table.column`, not \"orders\""),
        ("severity = \"warn\"", "severity must be \"critical\" or \"warning\", not \"warn\"; did you mean `warning`?"),
    ] {
        shop.set(&format!("{table}{settings}"));
        let refused = shop.host(&["validate"]);
        assert!(refused.code == 2 && refused.out.contains(said), "{settings}: {refused:?}");
        assert!(!refused.out.contains("any of the schemas"), "{refused:?}");
    }
    shop.set("table = \"orders\"\nrow_count.min = 1");
    let refused = shop.host(&["validate"]);
    let said = "table must be a table, as `dataset.table` or `project.dataset.table`, not \"orders\"";
    assert!(refused.code == 2 && refused.out.contains(said), "{refused:?}");
}

/// Before anything runs, and with what to write instead.
#[test]
fn limits_that_contradict_each_other_are_refused_by_the_plan_too() {
    let shop = Shop::new(TYPES);
    for (limits, said) in [
        (
            "row_count = { min = 10, max = 5 }",
            "row_count: min = 10 is above max = 5, so no value passes; write min = 5 and max = 10",
        ),
        (
            "row_count = { max = 5, warn_max = 5 }",
            "row_count: warn_max = 5 equals max = 5, so warn_max never warns; write warn_max below 5, or leave it out",
        ),
        (
            "row_count.change = { days = 7, max_drop_percent = 140 }",
            "row_count.change.max_drop_percent: 140 is greater than the maximum of 100",
        ),
        (
            "freshness = { column = \"at\", max_hours = 2, warn_hours = 2 }",
            "freshness: warn_hours = 2 equals max_hours = 2, so warn_hours never warns",
        ),
    ] {
        shop.set(&format!("table = \"shop.orders\"\n{limits}"));
        let plan = shop.host(&["plan"]);
        assert!(plan.code == 3 && plan.out.contains(said), "{limits}: {plan:?}");
        let validated = shop.host(&["validate"]);
        assert!(validated.code == 2 && validated.out.contains(said), "{limits}: {validated:?}");
    }
    let fine =
        "row_count = { min = 1, warn_min = 2, warn_max = 4, max = 5, change = { days = 7, max_drop_percent = 100 } }";
    shop.set(&format!(
        "table = \"shop.orders\"\n{fine}\nfreshness = {{ column = \"at\", max_hours = 2, warn_hours = 1 }}"
    ));
    let plan = shop.host(&["plan"]);
    assert!(plan.code == 0 && !plan.out.contains("Wrong:"), "{plan:?}");
}

/// The commands in a message, as they are copied.
fn commands(told: &str) -> Vec<String> {
    told.lines()
        .map(|line| line.trim_start_matches(['│', ' ']))
        .filter(|line| line.starts_with("host query "))
        .map(str::to_owned)
        .collect()
}

/// Runs a suggested command, and returns its table.
fn suggested(shop: &Shop, command: &str) -> String {
    let path = format!("{}:{}", binary("").display(), std::env::var("PATH").unwrap());
    let mut shell = Command::new("sh");
    shell.current_dir(shop.path()).env("HOME", shop.path()).env("PATH", path).args(["-c", command]);
    let done = ended(&mut shell).unwrap();
    assert_eq!(done.code, 0, "{command}: {done:?}");
    done.out
}

/// Comments and blanks are not a part of a query; the blanks within a text are.
#[test]
fn a_suggested_query_is_the_very_query() {
    let shop = Shop::new(
        "CREATE TABLE t (day DATE, name TEXT, flag BOOL);
         INSERT INTO t VALUES ('2026-02-05', 'a  b', 1), ('2026-02-05', 'a b', 0), ('2026-02-05', 'a b', 0),
             ('2026-02-05', 'a' || char(10) || 'b', 1), ('2026-02-05', 'a' || char(10) || 'b', 1);",
    );
    for (settings, found) in [
        (
            "table = \"shop.t\"\nwhere = \"\"\"day = @date -- today\n  AND flag # only these\"\"\"\nrow_count = { min = 9 }",
            vec!["3"],
        ),
        (
            "table = \"shop.t\"\nwhere = \"\"\"day = @date -- today\n  AND flag # only these\"\"\"\nunique = [\"name\"]",
            vec!["2"],
        ),
        (
            "sql = \"\"\"SELECT COUNT(*) AS n -- all rows\nFROM shop.t\n# of the day\nWHERE /* it's */ day = @date\"\"\"\nthresholds.n = { min = 9 }",
            vec!["5"],
        ),
        (
            "sql = '''SELECT COUNTIF(name = \"a  b\") AS two, COUNTIF(name = 'a b' /* one */) AS one FROM shop.t'''\nthresholds.two = { min = 9 }",
            vec!["1", "2"],
        ),
        (
            "sql = '''SELECT COUNTIF(name = \"\"\"a\nb\"\"\") AS lines, COUNTIF(name = \"-- # a\") AS none FROM shop.t'''\nthresholds.lines = { min = 9 }",
            vec!["2", "0"],
        ),
    ] {
        shop.set(settings);
        let run = shop.host(&["run", "--once", "--at", "2026-02-06T12:00:00Z", "--date", "2026-02-05"]);
        assert_eq!(run.code, 2, "{settings}: {run:?}");
        let commands = commands(&run.err);
        assert!(!commands.is_empty(), "{settings}: {run:?}");
        for command in &commands {
            suggested(&shop, command);
        }
        let answer = suggested(&shop, commands.last().unwrap());
        let last = answer.lines().last().unwrap_or_default();
        let words: Vec<&str> = last.split_whitespace().collect();
        assert!(words.ends_with(&found), "{settings}: {commands:?} {answer}");
    }
}

/// A condition may end with a comment.
#[test]
fn a_comment_at_the_end_of_a_condition_hides_nothing() {
    let shop = Shop::new(TYPES);
    let run =
        shop.run("table = \"shop.orders\"\nwhere = \"size > 0 -- all\"\nrow_count = { min = 1 }\nunique = [\"size\"]");
    assert_eq!(run["summary"], "row_count 2, duplicates_size 0", "{run}");
}

/// A column of another type breaks the other rules' queries: the type is what must be said.
#[test]
fn the_schema_is_judged_first() {
    let shop = Shop::new(TYPES);
    let settings = "table = \"shop.orders\"\nrow_count = { min = 1 }\nschema = { paid = \"BOOLEAN\", size = \"INT64\" }\naccepted_values = { paid = [true, false] }";
    assert_eq!(shop.run(settings)["summary"], "row_count 2, unaccepted_paid 0, schema_differences 0");
    change(
        shop.path(),
        "shop",
        "DROP TABLE orders; CREATE TABLE orders (day DATE, paid TEXT, size INTEGER); INSERT INTO orders VALUES ('2026-02-05', 'yes', 1)",
    )
    .unwrap();
    let run = shop.host(&["run", "--once", "--at", "2026-02-06T12:00:00Z", "--date", "2026-02-05"]);
    let commands = commands(&run.err);
    assert_eq!(commands, ["host query --date 2026-02-05 'SELECT * FROM `shop.orders` LIMIT 5'"], "{run:?}");
    assert!(run.err.contains("schema: paid is STRING, not BOOLEAN"), "{run:?}");
    assert!(suggested(&shop, &commands[0]).contains("yes"));
    let why = "the other rules: query failed: No matching signature for operator IN for argument types: STRING, BOOL";
    let run = shop.run(settings);
    assert_eq!(
        (&run["status"], &run["summary"]),
        (&"fail".into(), &format!("schema: paid is STRING, not BOOLEAN; unknown: {why} at [1:39]").into()),
        "{run}"
    );
    assert!(run["error"].as_str().unwrap().contains(why), "{run}");
}

/// Each broken rule has its own query.
#[test]
fn values_that_are_not_accepted_can_be_seen() {
    let shop = Shop::new(TYPES);
    shop.set("table = \"shop.orders\"\naccepted_values = { size = [1], rate = [0.5, 2.5] }");
    let run = shop.host(&["run", "--once", "--at", "2026-02-06T12:00:00Z", "--date", "2026-02-05"]);
    assert!(
        run.code == 2 && run.err.contains("See unaccepted_size:") && !run.err.contains("See unaccepted_rate"),
        "{run:?}"
    );
    let answer = suggested(&shop, commands(&run.err).last().unwrap());
    assert_eq!(answer.lines().last().unwrap().split_whitespace().collect::<Vec<_>>(), ["2", "1"], "{answer}");
}
