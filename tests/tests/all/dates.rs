//! Each data date of a check is an incident of its own: it is told, looked at again, and over when that date is good, or given
//! up.

use serde_json::Value;

use crate::support::{
    command::{Ended, Sample, ended, shipped},
    slack::words,
};

/// A table with rows of some dates, and a check that each date has one, daily at six.
pub(super) struct Loads {
    pub(super) sample: Sample,
}

impl Loads {
    pub(super) fn new(more: &str) -> Self {
        let loads = Self { sample: Sample::new(None).unwrap() };
        loads.sql("CREATE TABLE loads (d DATE, n INTEGER)");
        loads.configure(more);
        loads
    }

    pub(super) fn configure(&self, more: &str) {
        let toml = format!(
            "timezone = 'UTC'\nvalidate_schedule = 'never'\n[warehouse]\nkind = 'sqlite'\npath = 'warehouse'\n[state]\nkeep = '40000d'\n\
             [grants.canary-sql]\nwarehouse = ['nba_raw']\n\
             [checks.loads]\nplugin = 'canary-sql'\nschedule = '0 6 * * *'\nchannel = '#loads'\n\
             settings = {{ sql = 'SELECT COUNT(*) AS n FROM nba_raw.loads WHERE d = @date', thresholds = {{ n = {{ min = 1 }} }} }}\n{more}\n"
        );
        self.sample.configure(&toml).unwrap();
    }

    pub(super) fn sql(&self, sql: &str) {
        self.sample.sql("nba_raw", sql).unwrap();
    }

    /// Loads days of February.
    pub(super) fn load(&self, days: &[u8]) {
        days.iter().for_each(|day| self.sql(&format!("INSERT INTO loads VALUES ('2026-02-{day:02}', 1)")));
    }

    /// Loses them again.
    pub(super) fn lose(&self, days: &[u8]) {
        days.iter().for_each(|day| self.sql(&format!("DELETE FROM loads WHERE d = '2026-02-{day:02}'")));
    }

    pub(super) fn host(&self, arguments: &[&str]) -> Ended {
        let mut command = self.sample.command();
        command.env("SLACK_WEBHOOK_URL_LOADS", self.sample.slack.webhook("loads")).args(arguments);
        if arguments.first() == Some(&"run") {
            command.arg(shipped().unwrap().into_iter().find(|file| file.ends_with("canary-sql.wasm")).unwrap());
        }
        ended(&mut command).unwrap()
    }

    /// The runs of a round, each with its date and status, and the messages.
    pub(super) fn round(&self, day_and_time: &str) -> (Vec<(String, String)>, Vec<String>) {
        let at = format!("2026-{day_and_time}:00Z");
        let ended = self.host(&["run", "--once", "--at", &at, "--output", "json"]);
        let text = |run: &Value, key: &str| run[key].as_str().unwrap().to_owned();
        let runs = ended.json()["runs"].as_array().unwrap().clone();
        (runs.iter().map(|run| (text(run, "data_date"), text(run, "status"))).collect(), self.told())
    }

    /// The messages of a round.
    pub(super) fn told_at(&self, day_and_time: &str) -> Vec<String> {
        self.round(day_and_time).1
    }

    pub(super) fn told(&self) -> Vec<String> {
        let received = self.sample.slack.received();
        self.sample.slack.clear();
        received.iter().map(|(_, message)| words(message)).collect()
    }

    pub(super) fn alerts(&self) -> Vec<Value> {
        let json = self.host(&["history", "loads", "--output", "json"]).json();
        json["alerts"].as_array().unwrap().clone()
    }
}

pub(super) fn dates(runs: &[(String, String)]) -> Vec<(&str, &str)> {
    runs.iter().map(|(date, status)| (date.as_str(), status.as_str())).collect()
}

/// The next date is good, and the bad one stays bad until it is good.
#[test]
fn a_bad_date_stays_bad_until_that_date_is_good() {
    let loads = Loads::new("");
    loads.load(&[4, 6]);
    assert_eq!(loads.told_at("02-05T06:00"), [""; 0]);
    let bad = loads.told_at("02-06T06:00");
    assert!(bad.len() == 1 && bad[0].starts_with("🔴"), "{bad:?}");
    let (runs, told) = loads.round("02-07T06:00");
    assert_eq!(dates(&runs), [("2026-02-06", "pass"), ("2026-02-05", "fail")], "it is looked at again");
    assert!(told.iter().all(|told| !told.contains("recovered")), "the next date is no recovery: {told:?}");
    assert!(told.len() == 1 && told[0].contains("2026-02-05 still fails (since 1 day)"), "a reminder: {told:?}");
    loads.load(&[5]);
    let (runs, told) = loads.round("02-07T09:00");
    assert_eq!(dates(&runs), [("2026-02-06", "pass"), ("2026-02-05", "pass")]);
    assert!(told.len() == 1 && told[0].starts_with("✅"), "{told:?}");
    assert!(told[0].contains("2026-02-05 is good again after 1 day 3 h"), "{told:?}");
    let alerts = loads.alerts();
    assert_eq!(alerts.len(), 1, "{alerts:?}");
    assert_eq!((&alerts[0]["data_date"], &alerts[0]["ended"]), (&"2026-02-05".into(), &"2026-02-07T09:00:00Z".into()));
    assert_eq!(loads.round("02-07T12:00").0.len(), 1, "nothing is left to look at");
}

/// A check has one entry in a message, what is new first; further bad dates are told once a `repeat_interval`.
#[test]
fn the_dates_of_a_check_are_one_entry() {
    let loads = Loads::new("alerts = { repeat_interval = '36h' }");
    assert_eq!(loads.told_at("02-05T06:00").len(), 1);
    let (runs, told) = loads.round("02-06T06:00");
    assert_eq!(dates(&runs), [("2026-02-05", "fail"), ("2026-02-04", "fail")]);
    assert_eq!(told, [""; 0], "one day after the first");
    let told = loads.told_at("02-07T06:00");
    assert!(told.len() == 1, "{told:?}");
    assert!(told[0].contains("2026-02-05 to 02-06 fail; 02-04 still does (since 2 days)"), "{told:?}");
    loads.load(&[4, 5, 6, 7]);
    let told = loads.told_at("02-08T06:00");
    assert!(told.len() == 1 && told[0].contains("2026-02-04 to 02-06 are good again, one of them after"), "{told:?}");
}

/// A date that is never good again is given up, which is told; if it is good after all, that is told too.
#[test]
fn a_date_that_is_never_good_again_is_given_up() {
    let loads = Loads::new("recheck_for = '2d'");
    assert_eq!(loads.told_at("02-05T06:00").len(), 1);
    loads.load(&[5, 6, 7, 8, 9]);
    assert_eq!(loads.told_at("02-06T06:00").len(), 1, "a reminder");
    let told = loads.told_at("02-07T06:00");
    assert!(
        told.len() == 1
            && told[0].contains("loads: 2026-02-04 given up after 2 days: it was not good again within 2 days"),
        "{told:?}"
    );
    let (runs, told) = loads.round("02-08T06:00");
    assert_eq!((dates(&runs), told.len()), (vec![("2026-02-07", "pass")], 0), "it is not looked at any more");
    let alerts = loads.alerts();
    assert!(
        alerts[0]["summary"].as_str().unwrap().ends_with("(ended: given up: it was not good again within 2 days)"),
        "{alerts:?}"
    );
    loads.load(&[4]);
    let asked = ["run", "--once", "--date", "2026-02-04", "--at", "2026-02-09T06:00:00Z"];
    assert_eq!(loads.host(&asked).code, 0);
    let told = loads.told();
    assert!(told.len() == 1 && told[0].contains("2026-02-04 is good again after 4 days"), "{told:?}");
}

/// Dates of which nobody asked are judged later: those of a host that was down, and those since a date in host.toml.
#[test]
fn dates_that_nobody_judged_are_judged() {
    let loads = Loads::new("");
    loads.load(&[4, 5, 6, 8]);
    loads.round("02-05T06:00");
    let (runs, told) = loads.round("02-09T06:00");
    let expected = [("2026-02-08", "pass"), ("2026-02-07", "fail"), ("2026-02-06", "pass"), ("2026-02-05", "pass")];
    assert_eq!(dates(&runs), expected);
    assert!(told.len() == 1 && told[0].contains("2026-02-07 fails"), "{told:?}");
    loads.configure("since = '2026-02-01'");
    let (runs, told) = loads.round("02-09T07:00");
    let expected = [
        ("2026-02-08", "pass"),
        ("2026-02-07", "fail"),
        ("2026-02-03", "fail"),
        ("2026-02-02", "fail"),
        ("2026-02-01", "fail"),
    ];
    assert_eq!(dates(&runs), expected, "oldest last");
    assert_eq!(told, [""; 0], "further bad dates are told later: the check was told an hour ago");
    let told = loads.told_at("02-10T06:00");
    assert!(told.len() == 1 && told[0].contains("2026-02-01 to 02-03 and 02-09 fail; 02-07 still does"), "{told:?}");
}

/// Before its time a bad result is pending: shown, not told. After it, it is an incident.
#[test]
fn a_date_is_pending_until_its_data_is_expected() {
    let loads = Loads::new("expect_by = '09:00'");
    loads.load(&[4]);
    assert_eq!(loads.told_at("02-05T06:00"), [""; 0]);
    let (runs, told) = loads.round("02-06T06:00");
    assert_eq!((dates(&runs), told), (vec![("2026-02-05", "fail")], Vec::new()));
    let told = loads.told_at("02-06T09:00");
    assert!(told.len() == 1 && told[0].starts_with("🔴"), "{told:?}");
    loads.load(&[6]);
    let (runs, told) = loads.round("02-07T06:00");
    assert_eq!(dates(&runs)[0], ("2026-02-06", "pass"));
    assert!(told[0].contains("2026-02-05 still fails"), "{told:?}");
}

/// An acknowledged date is not reminded of; its end is told. A date that is closed is told as given up, once.
#[test]
fn a_date_is_acknowledged_and_closed() {
    let loads = Loads::new("");
    loads.told_at("02-05T06:00");
    loads.load(&[5, 6, 7]);
    let acked =
        loads.host(&["ack", "loads", "--date", "2026-02-04", "--why", "the vendor reloads it", "--for", "40000d"]);
    assert!(acked.code == 0 && acked.out.starts_with("loads 2026-02-04: acknowledged by"), "{acked:?}");
    assert_eq!(loads.told_at("02-06T06:00"), [""; 0], "no reminder");
    loads.load(&[4]);
    let told = loads.told_at("02-06T09:00");
    assert!(told.len() == 1 && told[0].contains("2026-02-04 is good again"), "{told:?}");
    loads.lose(&[6]);
    assert_eq!(loads.told_at("02-07T06:00").len(), 1);
    let closed = loads.host(&["close", "loads", "--date", "2026-02-06", "--why", "it will not come"]);
    assert_eq!(closed.code, 0, "{closed:?}");
    let (runs, told) = loads.round("02-08T06:00");
    assert_eq!(dates(&runs), [("2026-02-07", "pass")]);
    assert!(
        told.len() == 1 && told[0].contains("2026-02-06 given up by") && told[0].contains("it will not come"),
        "{told:?}"
    );
    for (arguments, said) in [
        (&["close", "loads", "--date", "2026-02-06", "--why", "again"][..], "loads 2026-02-06 is given up, not bad"),
        (&["ack", "loads", "--why", "x"], "loads has no bad date; there is nothing to do"),
        (&["ack", "loads", "--why", " "], "--why is empty"),
        (&["recheck", "load"], "did you mean `loads`?"),
    ] {
        let refused = loads.host(arguments);
        assert!(refused.code == 64 && refused.err.contains(said), "{refused:?}");
    }
    let audit = loads.host(&["audit"]).out;
    assert!(audit.contains("given up: it will not come") && audit.contains("acknowledged until"), "{audit}");
}

/// A check of dates whose queries use no date, and one about now whose queries do, are remarked upon.
#[test]
fn a_check_whose_kind_and_sql_disagree_is_remarked_upon() {
    let loads = Loads::new("");
    let remarks = |more: &str, sql: &str| {
        loads.configure(more);
        let file = loads.sample.path().join("host.toml");
        let toml = std::fs::read_to_string(&file).unwrap().replace(" WHERE d = @date", sql);
        std::fs::write(file, toml).unwrap();
        let plugin = shipped().unwrap().into_iter().find(|file| file.ends_with("canary-sql.wasm")).unwrap();
        let ended = ended(loads.sample.command().arg("validate").arg(plugin)).unwrap();
        ended.out + &ended.err
    };
    let (undated, dated) =
        ("none of its queries uses the data date", "its queries use the data date, but it is about now");
    for (more, sql, said) in [
        ("", " WHERE d = @date", None),
        ("", "", None),
        ("dates = 'now'", "", None),
        ("dates = 'dated'", "", Some(undated)),
        ("dates = 'now'", " WHERE d = @date", Some(dated)),
    ] {
        let out = remarks(more, sql);
        for remark in [undated, dated] {
            assert_eq!(out.contains(remark), said == Some(remark), "{more} {sql}: {out}");
        }
    }
}
