//! Dates that are looked at again: what is said of them when the look says nothing, what keeps them, and what people order.

use super::{
    dates::{Loads, dates},
    odd_dates::staying,
};
use crate::support::service::Service;

/// The table is there again, or not.
fn reads(loads: &Loads, it_does: bool) {
    let (from, to) = if it_does { ("away", "loads") } else { ("loads", "away") };
    loads.sql(&format!("ALTER TABLE {from} RENAME TO {to}"));
}

/// A failure that a calendar held back is told when that is over, though the run that tells it is an error; and a reminder names
/// the date, though the look at it was one.
#[test]
fn a_run_that_says_nothing_tells_what_is_known() {
    let night =
        "\n[calendars.night]\neffect = 'silence'\nwhy = 'nightly load'\nwindows = [{ cron = '0 5 * * *', for = '2h' }]";
    let loads = Loads::new(night);
    assert_eq!(loads.told_at("02-05T06:00"), [""; 0]);
    reads(&loads, false);
    let told = loads.told_at("02-05T07:30");
    assert!(told.len() == 1 && told[0].starts_with("🔴 loads: 2026-02-04 fails"), "{told:?}");
    assert!(told[0].contains("n is below its minimum: 0 < 1"), "what was found: {told:?}");
    let told = loads.told_at("02-06T07:30");
    assert!(told.iter().any(|told| told.starts_with("🔴 Reminder: loads: 2026-02-04 fails")), "{told:?}");
    reads(&loads, true);
    loads.load(&[4, 5]);
    let told = loads.told_at("02-07T07:30");
    assert!(told.iter().any(|told| told.contains("2026-02-04 is good again")), "{told:?}");
}

/// While a check cannot be evaluated no bad date is given up: nobody looked at it. One more error then is no end either.
#[test]
fn an_outage_takes_nothing_from_a_bad_date() {
    let loads = Loads::new("recheck_for = '2d'");
    assert_eq!(loads.told_at("02-05T06:00").len(), 1);
    reads(&loads, false);
    let told: Vec<String> = (6..=12).flat_map(|day| loads.told_at(&format!("02-{day:02}T06:00"))).collect();
    assert!(told.iter().all(|told| !told.contains("given up")), "{told:?}");
    reads(&loads, true);
    loads.load(&[5, 6, 7, 8, 9, 10, 11]);
    let (runs, told) = loads.round("02-12T07:00");
    assert!(runs.contains(&("2026-02-05".to_owned(), "pass".to_owned())), "{runs:?}");
    assert!(told.iter().all(|told| !told.contains("given up")), "{told:?}");
    loads.load(&[4]);
    let told: Vec<String> = (13..=14).flat_map(|day| loads.told_at(&format!("02-{day:02}T07:00"))).collect();
    assert!(told.iter().any(|told| told.contains("2026-02-04 is good again after 8 days")), "{told:?}");
}

/// A window in which a calendar skips runs says nothing about a date: it is looked at when the window is over.
#[test]
fn a_window_of_a_calendar_ends_no_date() {
    let night =
        "\n[calendars.night]\neffect = 'skip'\nwhy = 'maintenance'\nwindows = [{ cron = '0 7 * * *', for = '1h' }]";
    let loads = Loads::new(night);
    reads(&loads, false);
    loads.told_at("02-05T06:00");
    reads(&loads, true);
    let (runs, _) = loads.round("02-05T07:30");
    assert_eq!(dates(&runs), [("2026-02-04", "skip")], "only what is due is skipped");
    let (runs, told) = loads.round("02-05T08:30");
    assert_eq!(dates(&runs), [("2026-02-04", "fail")]);
    assert!(told.iter().any(|told| told.starts_with("🔴")), "{told:?}");
}

/// A date whose only due time was in such a window is judged after it.
#[test]
fn a_date_of_a_window_is_judged_after_it() {
    let night =
        "\n[calendars.night]\neffect = 'skip'\nwhy = 'maintenance'\nwindows = [{ cron = '0 6 * * *', for = '1h' }]";
    let loads = Loads::new(night);
    loads.load(&[5]);
    let (runs, told) = loads.round("02-05T06:30");
    assert_eq!((dates(&runs), told.len()), (vec![("2026-02-04", "skip")], 0));
    let (runs, told) = loads.round("02-06T08:00");
    assert_eq!(dates(&runs), [("2026-02-05", "pass"), ("2026-02-04", "fail")]);
    assert!(told.iter().any(|told| told.contains("2026-02-04 fails")), "{told:?}");
}

/// Where nobody looks again, since each start names its date, nothing waits for that.
#[test]
fn a_start_for_one_date_reminds_too() {
    let loads = Loads::new("");
    loads.load(&[5, 6]);
    let told: Vec<usize> = (4..=6)
        .map(|day| {
            let (date, at) = (format!("2026-02-{day:02}"), format!("2026-02-{:02}T06:00:00Z", day + 1));
            loads.host(&["run", "--once", "--date", &date, "--at", &at]);
            loads.told().iter().filter(|told| told.contains("2026-02-04") || told.starts_with("🔴 loads")).count()
        })
        .collect();
    assert_eq!(told, [1, 1, 1], "the failure, and a reminder a day");
}

/// A check about now has no date by which something is expected, and none to order anything about.
#[test]
fn a_check_about_now_waits_for_nothing() {
    let loads = Loads::new("dates = 'now'\nexpect_by = '23:00'");
    let (runs, told) = loads.round("02-05T06:00");
    assert_eq!((dates(&runs), told.len()), (vec![("2026-02-04", "fail")], 1), "it runs once, and is told: {told:?}");
    for order in ["recheck", "ack", "close"] {
        let why = if order == "recheck" { &[][..] } else { &["--why", "z"] };
        let refused = loads.host(&[&[order, "loads", "--date", "2026-02-04"], why].concat());
        assert!(refused.code == 64 && refused.err.contains("is about now, and has no dates"), "{order}: {refused:?}");
    }
    let closed = loads.host(&["close", "loads", "--why", "the vendor is gone"]);
    assert_eq!(closed.code, 0, "{closed:?}");
    assert!(loads.told_at("02-05T12:00").iter().all(|told| !told.starts_with("🔴")), "nothing new is wrong");
}

/// A check that was given up has not recovered: what depends on it is told at once.
#[test]
fn what_is_given_up_speaks_for_nothing() {
    let loads = Loads::new(
        "\n[checks.below]\nplugin = 'canary-sql'\nschedule = '0 6 * * *'\nchannel = '#loads'\ndepends_on = ['loads']\n\
         settings = { sql = 'SELECT COUNT(*) AS n FROM nba_raw.loads WHERE d = @date', thresholds = { n = { min = 1 } } }",
    );
    let told = loads.told_at("02-05T06:00");
    assert!(told.len() == 1 && !told[0].contains("below: Checks"), "{told:?}");
    assert_eq!(loads.host(&["close", "loads", "--all", "--why", "lost"]).code, 0);
    let told = loads.told_at("02-05T07:00");
    assert!(told.iter().any(|told| told.starts_with("🔴") && told.contains("below")), "{told:?}");
}

/// What was refused is not in the audit trail, and what was done names its dates.
#[test]
fn the_audit_trail_tells_what_was_done() {
    let loads = Loads::new("");
    loads.load(&[4]);
    loads.told_at("02-05T06:00");
    for refused in [
        &["close", "loads", "--date", "2026-02-04", "--why", "never comes"][..],
        &["ack", "loads", "--why", "mine"],
        &["recheck", "loads", "--date", "9999-01-01"],
    ] {
        assert_eq!(loads.host(refused).code, 64);
    }
    assert_eq!(loads.host(&["close", "loads", "--why", &"long ".repeat(200)]).code, 64, "a reason for others to read");
    let audit = loads.host(&["audit"]).out;
    assert!(!["never comes", "mine", "looked at"].iter().any(|words| audit.contains(words)), "{audit}");
    loads.told_at("02-06T06:00");
    loads.told_at("02-07T06:00");
    assert_eq!(loads.host(&["close", "loads", "--all", "--why", "never comes"]).code, 0);
    let audit = loads.host(&["audit"]).out;
    assert!(audit.contains("loads 2026-02-05 to 02-06") && audit.contains("given up: never comes"), "{audit}");
}

/// The same order twice at once is one look, and harms no other run.
#[test]
fn the_same_order_twice_is_one() {
    let (sample, toml) = staying("schedule = '0 0 1 1 *'");
    let service = Service::start(&sample, &toml, &[]).unwrap();
    let yesterday = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).date().yesterday().unwrap();
    let path = format!("/api/v1/checks/loads/dates/{yesterday}/recheck");
    for _ in 0..4 {
        let answered = service.post(&path, "");
        assert_eq!(answered.status, 200, "{answered:?}");
    }
    let ran = |service: &Service| service.get("/api/v1/runs?check=loads").json()["runs"].as_array().unwrap().len();
    service.wait_until("it is looked at", 30, |service| ran(service) > 0);
    let (code, said) = service.host.end("TERM").unwrap();
    assert_eq!(code, Some(0), "{said}");
    assert!(!said.contains("recorded") && !said.contains("cannot be written"), "{said}");
}
