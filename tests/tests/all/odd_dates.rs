//! What happens to dates when something around them is odd: the clock, the time zone, daylight saving, a table that did not
//! exist yet, a check that changes its kind or goes, a host that was away.

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::dates::{Loads, dates};
use crate::support::{
    command::{Sample, ended, shipped},
    service::{Service, install},
    slack::words,
};

/// A clock that is set back keeps no date from being looked at again, and nobody from being reminded.
#[test]
fn a_clock_that_is_set_back_keeps_no_date_waiting() {
    let loads = Loads::new("");
    loads.load(&[2, 3, 4]);
    loads.round("02-05T06:00");
    assert_eq!(loads.told_at("02-06T06:00").len(), 1, "the 5th is bad");
    let (runs, told) = loads.round("02-04T06:00");
    assert_eq!(dates(&runs), [("2026-02-03", "pass")], "a date of the future cannot be judged");
    assert_eq!(told, [""; 0]);
    assert_eq!(loads.told_at("02-04T10:00").len(), 1, "a reminder after four hours by that clock");
    loads.load(&[5]);
    let (runs, told) = loads.round("02-06T16:00");
    assert_eq!(dates(&runs), [("2026-02-05", "pass")]);
    let last = told.last().unwrap();
    assert!(last.contains("recovered after") || last.contains("2026-02-05 is good again after"), "{told:?}");
}

/// A date that was judged while the clock was ahead is not bad for a month: it is forgotten, which is told, and judged when it
/// comes.
#[test]
fn a_date_of_a_clock_that_was_ahead_is_forgotten() {
    let loads = Loads::new("");
    let host = |more: &[&str]| loads.host(&[&["run", "--once", "--output", "json"], more].concat());
    let ahead = Timestamp::now() + SignedDuration::from_hours(30 * 24);
    host(&["--at", &ahead.to_string()]);
    let date = ahead.to_zoned(jiff::tz::TimeZone::UTC).date().yesterday().unwrap().to_string();
    assert_eq!(loads.told().len(), 1, "{date} is bad");
    host(&[]);
    let told = loads.told();
    let forgotten = format!("loads: {date} given up by this host: it is to come");
    assert!(told.iter().any(|told| told.contains(&forgotten)), "{told:?}");
    assert!(told.iter().all(|told| !told.contains(&format!("{date} fails"))), "{told:?}");
    let open = loads.host(&["history", "--dates"]);
    assert!(!open.out.contains(&date), "{open:?}");
    host(&["--at", &ahead.to_string()]);
    let told = loads.told();
    assert!(told.iter().any(|told| told.starts_with("🔴") && told.contains(&date)), "it is judged as any: {told:?}");
}

/// A data date is the same date in another time zone: it is not told a second time, and ends when it is good.
#[test]
fn an_open_date_stays_the_same_in_another_time_zone() {
    let loads = Loads::new("");
    loads.load(&[4]);
    loads.round("02-05T06:00");
    assert_eq!(loads.told_at("02-06T06:00").len(), 1, "the 5th is bad");
    let text = std::fs::read_to_string(loads.sample.path().join("host.toml")).unwrap();
    loads.sample.configure(&text.replace("timezone = 'UTC'", "timezone = 'America/Los_Angeles'")).unwrap();
    // There it is 23:30 on the 5th, and the 4th is due.
    let (runs, told) = loads.round("02-06T07:30");
    assert_eq!(dates(&runs), [("2026-02-04", "pass")], "the 5th is not over there");
    assert_eq!(told, [""; 0]);
    // And at noon the 5th is.
    let (runs, told) = loads.round("02-06T20:00");
    assert_eq!(dates(&runs), [("2026-02-05", "fail")]);
    assert!(told.len() == 1 && told[0].contains("Ongoing for 14 h"), "a reminder: {told:?}");
    loads.load(&[5]);
    let told = loads.told_at("02-06T21:00");
    assert!(told.len() == 1 && told[0].contains("loads: recovered after 15 h"), "{told:?}");
    let alerts = loads.alerts();
    assert_eq!(alerts.len(), 1, "{alerts:?}");
}

/// A check that is due at half past two in New York, with data of some dates.
fn in_new_york() -> Loads {
    let loads = Loads::new("");
    let text = std::fs::read_to_string(loads.sample.path().join("host.toml")).unwrap();
    let text = text.replace("'UTC'", "'America/New_York'").replace("0 6 * * *", "30 2 * * *");
    loads.sample.configure(&text.replace("channel =", "expect_by = '02:30'\nchannel =")).unwrap();
    loads.sql("INSERT INTO loads VALUES ('2026-03-05', 1), ('2026-03-08', 1), ('2026-03-09', 1)");
    loads
}

/// Clocks go from 2 to 3 on 8 March in New York: a due time and a deadline in between are the time after, each date that was
/// not judged is, and 23 hours make a date as 24 do.
#[test]
fn a_date_of_23_hours_is_a_date() {
    let loads = in_new_york();
    assert_eq!(loads.told_at("03-06T07:30"), [""; 0]);
    let (runs, told) = loads.round("03-08T06:45");
    assert_eq!(dates(&runs), [("2026-03-07", "fail"), ("2026-03-06", "fail")]);
    assert!(
        told.len() == 1 && told[0].contains("2026-03-06 fails"),
        "the 7th is pending until half past three: {told:?}"
    );
    let (runs, told) = loads.round("03-08T07:30");
    assert_eq!((dates(&runs), told.len()), (vec![("2026-03-07", "fail")], 0), "told within four hours of the first");
    // The 8th has 23 hours, and ends at 4 o'clock UTC.
    let (runs, told) = loads.round("03-11T12:00");
    let expected = [
        ("2026-03-10", "fail"),
        ("2026-03-09", "pass"),
        ("2026-03-08", "pass"),
        ("2026-03-07", "fail"),
        ("2026-03-06", "fail"),
    ];
    assert_eq!(dates(&runs), expected, "nothing is left out");
    assert!(told.len() == 1 && told[0].contains("2026-03-07 and 03-10 fail; 03-06 still does"), "{told:?}");
    let json = loads.host(&["history", "loads", "--output", "json"]).json();
    let began = |date: &str| {
        let alerts = json["alerts"].as_array().unwrap().iter();
        alerts.filter(|alert| alert["data_date"] == date).map(|alert| alert["began"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(began("2026-03-07"), ["2026-03-08T07:30:00Z"], "at its deadline");

    // The 7th was due at the time that clocks skip. A host that was away judges it too.
    let loads = in_new_york();
    loads.round("03-06T07:30");
    let (runs, _) = loads.round("03-11T12:00");
    assert_eq!(dates(&runs), expected, "nothing is left out");
}

/// A check that cannot be asked about a date, since its table was another one then: that is no fault of the check, makes no
/// date after it expected, and is told when it is given up.
#[test]
fn a_date_of_which_the_table_cannot_be_read_is_not_judged_and_given_up() {
    let loads = Loads::new("");
    let text = std::fs::read_to_string(loads.sample.path().join("host.toml")).unwrap();
    let text = text.replace(
        "SELECT COUNT(*) AS n FROM nba_raw.loads WHERE d = @date",
        "SELECT n FROM nba_raw.loads WHERE d = @date",
    );
    loads.sample.configure(&text.replace("channel =", "recheck_for = '2d'\nchannel =")).unwrap();
    loads.load(&[3, 4, 5, 6, 7]);
    loads.sql("INSERT INTO loads VALUES ('2020-01-01', 'none yet')");
    assert_eq!(loads.told_at("02-05T06:00"), [""; 0]);
    let asked = loads.host(&["recheck", "loads", "--date", "2020-01-01"]);
    assert!(asked.code == 0 && asked.out.contains("loads 2020-01-01: looked at again by the next"), "{asked:?}");
    for time in ["02-05T07:00", "02-05T10:00", "02-05T15:00", "02-06T06:00"] {
        let (runs, told) = loads.round(time);
        assert_eq!((runs.len(), runs[0].1.as_str(), told.len()), (2, "pass", 0), "{time}: {runs:?} {told:?}");
        assert_eq!((runs[1].0.as_str(), runs[1].1.as_str()), ("2020-01-01", "error"), "and no date in between");
    }
    let alerts = loads.alerts();
    assert_eq!(alerts, [Value::Null; 0], "the check can be evaluated");
    let (runs, told) = loads.round("02-07T08:00");
    assert_eq!(dates(&runs), [("2026-02-06", "pass"), ("2020-01-01", "error")]);
    assert!(
        told.len() == 1 && told[0].contains("loads: 2020-01-01 given up: it could not be judged within 2 days: "),
        "{told:?}"
    );
    let (runs, told) = loads.round("02-08T08:00");
    assert_eq!((dates(&runs), told.len()), (vec![("2026-02-07", "pass")], 0), "and that is the end of it");
    // The accepted twin: a date that can be judged is.
    let asked = loads.host(&["recheck", "loads", "--date", "2026-02-03"]);
    assert_eq!(asked.code, 0, "{asked:?}");
    let (runs, told) = loads.round("02-08T09:00");
    assert_eq!((dates(&runs), told.len()), (vec![("2026-02-07", "pass"), ("2026-02-03", "pass")], 0));
}

/// While the backend is away nothing is a date's fault, and no date is given up: all are judged when it is back.
#[test]
fn dates_of_a_long_outage_are_judged_when_it_is_over() {
    let loads = Loads::new("recheck_for = '2d'");
    loads.load(&[4, 6, 7, 8, 9]);
    loads.told_at("02-05T06:00");
    loads.sql("ALTER TABLE loads RENAME TO away");
    let told: Vec<String> = (6..=9).flat_map(|day| loads.told_at(&format!("02-{day:02}T06:00"))).collect();
    assert_eq!(told.len(), 3, "the check cannot be evaluated, and a reminder a day: {told:?}");
    assert!(told.iter().all(|told| told.contains("there is no table") && !told.contains("given up")), "{told:?}");
    loads.sql("ALTER TABLE away RENAME TO loads");
    let (runs, told) = loads.round("02-10T06:00");
    let expected = [
        ("2026-02-09", "pass"),
        ("2026-02-08", "pass"),
        ("2026-02-07", "pass"),
        ("2026-02-06", "pass"),
        ("2026-02-05", "fail"),
    ];
    assert_eq!(dates(&runs), expected);
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[0].contains("can be evaluated again") && told[1].contains("2026-02-05 fails"), "{told:?}");
    loads.load(&[5]);
    let told = loads.told_at("02-10T09:00");
    assert!(told.len() == 1 && told[0].contains("2026-02-05 is good again"), "it was looked at again: {told:?}");
}

/// A check of dates becomes one about now, and one of dates again: the newest incident goes on, and nothing is told twice.
#[test]
fn a_check_changes_its_kind() {
    let loads = Loads::new("");
    assert_eq!(loads.told_at("02-05T06:00").len(), 1);
    let told = loads.told_at("02-06T06:00");
    assert!(told.len() == 1 && told[0].contains("2026-02-05 fails; 02-04 still does"), "{told:?}");
    loads.configure("dates = 'now'");
    let (runs, told) = loads.round("02-06T07:00");
    assert_eq!(dates(&runs), [("2026-02-05", "fail")], "no date is looked at any more");
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains("2026-02-04 given up") && told[0].contains("its check is about now"), "{told:?}");
    loads.configure("");
    loads.load(&[4]);
    assert_eq!(loads.told_at("02-06T08:00"), [""; 0], "the same incident, of the 5th again");
    loads.load(&[5]);
    let told = loads.told_at("02-06T09:00");
    assert!(told.len() == 1 && told[0].contains("loads: recovered after"), "{told:?}");
    let open = loads.alerts().iter().filter(|alert| alert["ended"].is_null()).count();
    assert_eq!(open, 0, "{:?}", loads.alerts());
}

/// A check that is removed takes its dates along, which is told once; one of the same name begins anew.
#[test]
fn a_check_is_removed_with_open_dates() {
    let loads = Loads::new("");
    loads.told_at("02-05T06:00");
    loads.told_at("02-06T06:00");
    let text = std::fs::read_to_string(loads.sample.path().join("host.toml")).unwrap();
    loads.sample.configure(&text.replace("[checks.loads]", "[checks.others]")).unwrap();
    let told = loads.told_at("02-06T07:00");
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(
        told[0].contains("loads: removed from host.toml; not well (2026-02-04 to 02-05) when last checked"),
        "{told:?}"
    );
    assert!(told[1].contains("others") && !told[1].contains("loads:"), "{told:?}");
    loads.load(&[4, 5]);
    loads.sample.configure(&text).unwrap();
    let (runs, told) = loads.round("02-06T08:00");
    assert_eq!(dates(&runs), [("2026-02-05", "pass")], "nothing is remembered of the 4th");
    assert!(told.iter().all(|told| !told.contains("loads: recovered") && !told.contains("good again")), "{told:?}");
}

/// The host was away for eight days: each date is judged, and what was open is told.
#[test]
fn an_idle_week_forgets_no_date() {
    let loads = Loads::new("");
    assert_eq!(loads.told_at("02-05T06:00").len(), 1);
    loads.load(&[6, 8, 9, 10, 11]);
    let (runs, told) = loads.round("02-13T06:00");
    let expected: Vec<(String, String)> = (4..=12)
        .rev()
        .map(|day| (format!("2026-02-{day:02}"), if [4, 5, 7, 12].contains(&day) { "fail" } else { "pass" }.to_owned()))
        .collect();
    assert_eq!(runs, expected);
    assert!(told.len() == 1 && told[0].contains("2026-02-12 fails; 02-04 still does (since 8 days)"), "{told:?}");
    let told = loads.told_at("02-13T10:00");
    assert!(told.len() == 1 && told[0].contains("2026-02-05 and 02-07 fail; 02-04 and 02-12 still do"), "{told:?}");
    loads.load(&[5, 7, 12]);
    let told = loads.told_at("02-13T16:00");
    assert!(told[0].contains("2026-02-12 is good again"), "{told:?}");
    assert!(told.len() == 2 && told[1].contains("2026-02-05 and 02-07 are good again"), "{told:?}");
    // The week in which nobody looked is not counted.
    for day in 14..=18 {
        let told = loads.told_at(&format!("02-{day}T06:00"));
        assert!(told.iter().all(|told| !told.contains("given up")), "{told:?}");
    }
    loads.load(&[4]);
    let told = loads.told_at("02-19T06:00");
    assert!(told.iter().any(|told| told.contains("2026-02-04 is good again")), "{told:?}");
}

/// A date that is good by now is not reminded of a moment before: a reminder waits for the look.
#[test]
fn nobody_is_reminded_of_a_date_that_is_good() {
    let loads = Loads::new("");
    assert_eq!(loads.told_at("02-05T06:00").len(), 1);
    loads.load(&[4, 5]);
    let told = loads.told_at("02-06T06:00");
    assert!(told.len() == 1 && told[0].contains("good again"), "{told:?}");
    // And when it is still bad, the reminder comes with the look.
    loads.lose(&[4, 5]);
    let told = loads.told_at("02-06T07:00");
    assert!(told.len() == 1 && told[0].starts_with("🔴"), "{told:?}");
    let told = loads.told_at("02-06T14:00");
    assert!(told.len() == 1 && told[0].contains("Ongoing for 7 h"), "{told:?}");
}

/// All bad dates of a check are given up together, on order.
#[test]
fn several_dates_are_given_up_together() {
    let loads = Loads::new("");
    loads.told_at("02-05T06:00");
    loads.told_at("02-06T06:00");
    let refused = loads.host(&["close", "loads", "--why", "the vendor is gone"]);
    assert!(
        refused.code == 64
            && refused
                .err
                .contains("name one with --date, or give up on all of them with `host close loads --all --why REASON`"),
        "{refused:?}"
    );
    let done = loads.host(&["close", "loads", "--all", "--why", "the vendor is gone"]);
    assert!(done.out.contains("loads 2026-02-04 to 02-05: given up by"), "{done:?}");
    let (_, told) = loads.round("02-06T06:30");
    assert!(told.iter().any(|told| told.contains("2026-02-04 to 02-05 given up by")), "{told:?}");
}

/// A host with one check of an empty table, for a service.
pub(super) fn staying(more: &str) -> (Sample, String) {
    let sample = Sample::now(None).unwrap();
    sample.sql("nba_raw", "CREATE TABLE loads (d DATE)").unwrap();
    let toml = format!(
        "timezone = 'UTC'\n[slack]\ndeliver = 'webhook'\n[warehouse]\nkind = 'sqlite'\npath = 'warehouse'\n\
         [grants.canary-sql]\nwarehouse = ['nba_raw']\n[checks.loads]\nplugin = 'canary-sql'\n\
         channel = '#canary-alerts'\n{more}\n\
         settings = {{ sql = 'SELECT COUNT(*) AS n FROM nba_raw.loads WHERE d = @date', thresholds = {{ n = {{ min = 1 }} }} }}\n"
    );
    sample.configure(&toml).unwrap();
    let only = shipped().unwrap().into_iter().find(|file| file.ends_with("canary-sql.wasm")).unwrap();
    let plugins = install(&sample, &[]).unwrap();
    for file in
        std::fs::read_dir(&plugins).unwrap().flatten().filter(|file| file.file_name() != only.file_name().unwrap())
    {
        std::fs::remove_file(file.path()).unwrap();
    }
    (sample, toml)
}

/// A host that stays looks again by itself, and at once when somebody orders it.
#[test]
fn a_running_host_looks_again_by_itself_and_on_order() {
    let (sample, toml) = staying("schedule = '0 0 1 1 *'\nrecheck = '2s'");
    let date =
        Timestamp::now().checked_sub(SignedDuration::from_hours(24)).unwrap().to_zoned(jiff::tz::TimeZone::UTC).date();
    let first = ended(sample.command().args(["run", "--once", "plugins"])).unwrap();
    assert_eq!(first.code, 2, "{first:?}");
    assert_eq!(sample.slack.received().len(), 1);
    let told = || {
        let last = sample.slack.requests().last().map(|request| words(&request.message));
        last.unwrap_or_default()
    };

    sample.sql("nba_raw", &format!("INSERT INTO loads VALUES ('{date}')")).unwrap();
    let service = Service::start(&sample, &toml, &[]).unwrap();
    service.wait_until("it is good again", 60, |_| told().contains("recovered") || told().contains("is good again"));
    assert_eq!(sample.slack.received().len(), 2, "told once");

    sample.sql("nba_raw", "DELETE FROM loads").unwrap();
    let order = |arguments: &[&str]| {
        let done = sample.host(arguments).unwrap();
        assert_eq!(done.code, 0, "{done:?}");
        done.out
    };
    let day = date.to_string();
    let said = order(&["recheck", "loads", "--date", &day]);
    assert!(said.contains(&format!("loads {day}: looked at again now")), "{said}");
    service.wait_until("it is bad", 90, |_| sample.slack.received().len() == 3);
    assert!(told().starts_with("🔴"), "{}", told());
    let said = order(&["ack", "loads", "--date", &day, "--why", "known"]);
    assert!(said.contains("acknowledged by"), "{said}");
    let said = order(&["close", "loads", "--date", &day, "--why", "it will not come"]);
    assert!(said.contains("given up by"), "{said}");
    service.wait_until("it is told", 60, |_| sample.slack.received().len() == 4);
    assert!(told().contains("given up by") && told().contains("it will not come"), "{}", told());
    let refused = sample.host(&["close", "loads", "--date", &day, "--why", "again"]).unwrap();
    assert!(refused.code == 64 && refused.err.contains("is given up, not bad"), "{refused:?}");
}

/// What somebody asks for does not wait for the dates that are looked at anyway: of eighty that nobody judged, twenty are looked
/// at in a round.
#[test]
fn what_somebody_asks_for_comes_first() {
    let now = Timestamp::now();
    let day =
        |ago: i64| (now - SignedDuration::from_hours(24 * ago)).to_zoned(jiff::tz::TimeZone::UTC).date().to_string();
    // Due half a day away.
    let hour = (now.to_zoned(jiff::tz::TimeZone::UTC).hour() + 12) % 24;
    let (sample, toml) = staying(&format!("schedule = '0 {hour} * * *'\nsince = '{}'", day(80)));
    let service = Service::start(&sample, &toml, &[]).unwrap();
    let judged = || {
        let json = service.get("/api/v1/runs?check=loads&limit=100").json();
        let runs = json["runs"].as_array().cloned().unwrap();
        runs.iter().map(|run| run["data_date"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    service.wait_until("some are judged", 60, |_| judged().len() >= 20);
    let done = sample.host(&["recheck", "loads", "--date", &day(80)]).unwrap();
    assert_eq!(done.code, 0, "{done:?}");
    service.wait_until("the oldest is judged", 60, |_| judged().contains(&day(80)));
    assert!(!judged().contains(&day(79)), "{:?}", judged());
}
