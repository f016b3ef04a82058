//! A record that knew one state for all dates of a check is taken over: nothing is told twice, and nothing is forgotten.
//!
//! `tests/records/schema-6.sql` is what the host wrote before it told dates apart, one check for each state. On 5 February
//! `both` and `moved-on` failed for the 4th; on the 6th, from 06:00 to 08:30, all but `good`, `moved-on` and `skipped` failed
//! for the 5th. `removed` is a check that host.toml has no more.

use std::fs;

use rusqlite::Connection;
use serde_json::Value;

use crate::support::{
    command::{Sample, ended, shipped},
    slack::words,
};

/// The checks, with what sets each apart.
const CHECKS: [(&str, &str); 11] = [
    ("told", ""),
    ("below", "depends_on = ['told']"),
    ("both", ""),
    ("unconfirmed", "alerts = { confirm = 3 }"),
    ("silenced", ""),
    ("flaps", ""),
    ("flapped", ""),
    ("good", ""),
    ("moved-on", ""),
    ("unable", ""),
    ("skipped", ""),
];

struct Older {
    sample: Sample,
}

impl Older {
    fn new() -> Self {
        let sample = Sample::new(None).unwrap();
        let mut toml =
            "timezone = 'UTC'\nvalidate_schedule = 'never'\n[warehouse]\nkind = 'sqlite'\npath = 'warehouse'\n\
             [state]\nkeep = '40000d'\n[grants.canary-sql]\nwarehouse = ['nba_raw']\n\
             [calendars.holiday]\neffect = 'skip'\nwhy = 'a holiday'\nchecks = ['skipped']\ndates = ['2026-02-05']\n"
                .to_owned();
        for (check, more) in CHECKS {
            let table = if check == "unable" { "nowhere" } else { "loads" };
            toml += &format!(
                "[checks.{check}]\nplugin = 'canary-sql'\nschedule = '0 6 * * *'\nchannel = '#loads'\n\
                 settings = {{ sql = \"SELECT COUNT(*) AS n FROM nba_raw.{table} WHERE c = '{check}' AND d = @date\", thresholds = {{ n = {{ min = 1 }} }} }}\n{more}\n"
            );
        }
        sample.configure(&toml).unwrap();
        fs::create_dir(sample.path().join("state")).unwrap();
        let older = Self { sample };
        older.record().execute_batch(include_str!("../../records/schema-6.sql")).unwrap();
        older.sample.sql("nba_raw", "CREATE TABLE loads (c TEXT, d DATE)").unwrap();
        for check in ["told", "below", "unconfirmed", "silenced", "flaps", "flapped", "good", "skipped"] {
            older.load(check, 4);
        }
        ["good", "moved-on", "flapped"].into_iter().for_each(|check| older.load(check, 5));
        older
    }

    fn record(&self) -> Connection {
        Connection::open(self.sample.path().join("state/host.db")).unwrap()
    }

    fn load(&self, check: &str, day: u8) {
        self.sample.sql("nba_raw", &format!("INSERT INTO loads VALUES ('{check}', '2026-02-{day:02}')")).unwrap();
    }

    /// The messages of a round.
    fn round(&self, time: &str) -> Vec<String> {
        let mut command = self.sample.command();
        command.env("SLACK_WEBHOOK_URL_LOADS", self.sample.slack.webhook("loads"));
        command.args(["run", "--once", "--at", &format!("2026-02-06T{time}:00Z")]);
        command.arg(shipped().unwrap().into_iter().find(|file| file.ends_with("canary-sql.wasm")).unwrap());
        let ended = ended(&mut command).unwrap();
        assert!([2, 3].contains(&ended.code), "{ended:?}");
        let received = self.sample.slack.received();
        self.sample.slack.clear();
        received.iter().map(|(_, message)| words(message)).collect()
    }

    /// The rows of a query, as text.
    fn rows(&self, sql: &str) -> Vec<String> {
        let record = self.record();
        let mut query = record.prepare(sql).unwrap();
        let columns = query.column_count();
        let row = |row: &rusqlite::Row<'_>| -> rusqlite::Result<String> {
            let texts = (0..columns).map(|at| row.get::<_, Option<String>>(at));
            Ok(texts.map(|text| Ok(text?.unwrap_or("-".to_owned()))).collect::<rusqlite::Result<Vec<_>>>()?.join(" "))
        };
        query.query_map([], row).unwrap().collect::<Result<_, _>>().unwrap()
    }
}

#[test]
fn a_record_without_dates_is_taken_over() {
    let older = Older::new();
    let before = older.rows("SELECT check_name, kind, began || '' FROM alerts WHERE ended IS NULL ORDER BY 1, 2");
    assert_eq!(before.len(), 9, "{before:?}");

    // Nothing of what was told is told again; what was bad, and passed over for the next date, is.
    let told = older.round("09:00");
    assert_eq!(told.len(), 2, "{told:#?}");
    assert!(told[0].contains("No longer checked: removed"), "{told:#?}");
    assert!(told[1].contains("moved-on Checks that the result") && told[1].contains("2026-02-04 fails"), "{told:#?}");
    assert!(told[1].starts_with("🔴 tables: 2 failed (1 told later), 1 not evaluated"), "that of `both`: {told:#?}");
    let dated = "SELECT check_name, data_date FROM alerts WHERE ended IS NULL AND kind = 'failure' ORDER BY 1, 2";
    let expected = [
        "below 2026-02-05",
        "both 2026-02-04",
        "both 2026-02-05",
        "flapped 2026-02-05",
        "flaps 2026-02-05",
        "moved-on 2026-02-04",
        "silenced 2026-02-05",
        "told 2026-02-05",
        "unconfirmed 2026-02-05",
    ];
    assert_eq!(older.rows(dated), expected);
    let states = older.rows("SELECT check_name, data_date, state FROM dates ORDER BY 1, 2");
    for state in [
        "both 2026-02-04 bad",
        "both 2026-02-05 bad",
        "flapped 2026-02-05 good",
        "good 2026-02-04 good",
        "good 2026-02-05 good",
        "moved-on 2026-02-04 bad",
        "moved-on 2026-02-05 good",
        "skipped 2026-02-05 skipped",
        "unable 2026-02-04 not_judged",
        "unable 2026-02-05 not_judged",
        "unconfirmed 2026-02-05 bad",
    ] {
        assert!(states.iter().any(|found| found == state), "{state}: {states:#?}");
    }

    // Four hours after the last message: the count of bad results goes on; the silence holds; and when the dates were looked at
    // again, reminders.
    let told = older.round("10:00");
    assert_eq!(told.len(), 2, "{told:#?}");
    for words in [
        "2026-02-04 fails; 02-05 still does",
        "told Checks that the result",
        "Also not well downstream below:",
        "unconfirmed Checks that",
        "unable: query failed: there is no table nba_raw.nowhere",
    ] {
        assert!(told.iter().any(|told| told.contains(words)), "{words}: {told:#?}");
    }
    for silent in ["silenced Checks", "flaps Checks", "flapped Checks", "moved-on Checks", "removed"] {
        assert!(!told[0].contains(silent), "{silent}: {told:#?}");
    }

    // Each recovery is told when that date is good.
    for check in ["told", "below", "both", "unconfirmed", "silenced", "flaps"] {
        older.load(check, 5);
    }
    let told = older.round("10:30");
    assert_eq!(told.len(), 1, "{told:#?}");
    for words in [
        "told: recovered after 4 h 30 min",
        "below: recovered after 4 h 30 min",
        "unconfirmed: recovered after 4 h 30 min",
        "flaps: recovered after",
        "flapped: recovered after",
        "both: 2026-02-05 is good again",
        "2026-02-04 is still not good",
    ] {
        assert!(told.iter().any(|told| told.contains(words)), "{words}: {told:#?}");
    }
    assert!(!told[0].contains("silenced: "), "nobody was told of it: {told:#?}");
    assert!(!told[0].contains("moved-on: "), "{told:#?}");
    older.load("both", 4);
    older.load("moved-on", 4);
    let told = older.round("12:30");
    assert!(told.len() == 1 && told[0].contains("both: 2026-02-04 is good again"), "{told:#?}");
    assert!(told[0].contains("moved-on: 2026-02-04 is good again after 3 h 30 min"), "{told:#?}");
    assert_eq!(older.rows(dated), [""; 0]);
    let after: Vec<String> =
        older.rows("SELECT check_name, kind, began || '' FROM alerts WHERE ended IS NOT NULL ORDER BY 1, 2");
    let same = before.iter().filter(|row| after.contains(row)).count();
    assert_eq!(same, 8, "each alert that was open ended, and none twice; `unable` goes on: {after:#?}");
    let json: Value = ended(older.sample.command().args(["history", "--output", "json"])).unwrap().json();
    assert!(json["alerts"].as_array().is_some_and(|alerts| !alerts.is_empty()), "{json}");
}
