//! What incidents by data date cost: a round of 1,000 checks while 30,000 dates are open, and 1,000 dates looked at again.

use std::{sync::Arc, time::Duration};

use host::{
    check::Family,
    config::{Config, Dates},
    contract::{
        Report, Verdict, Violation,
        slack::{Alert, Severity},
    },
    record::Record,
    recorder::Recorder,
    run::Run,
};
use jiff::{SignedDuration, Timestamp, civil::Date};
use tempfile::TempDir;

use super::{median, millis, row, timed};

const CHECKS: usize = 1000;
const DATES: i64 = 30;

/// The decision and the transaction of a round, without the checks' own time.
pub(super) fn dates() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let directory = TempDir::new().unwrap();
    let config = Config::parse("timezone = 'UTC'\n[slack]\ndeliver = 'console'\n").unwrap();
    let record = runtime.block_on(Record::open(directory.path())).unwrap();
    let recorder = runtime.block_on(Recorder::new(record, &config)).unwrap();
    let first: Timestamp = "2026-02-01T06:00:00Z".parse().unwrap();
    let day = |at: i64| first + SignedDuration::from_hours(24 * at);
    for at in 0..DATES {
        settle(&runtime, &recorder, &config, round(day(at), day(at - 1), false, true));
    }
    // The first start reads them again.
    let record = recorder.record.clone();
    let starts = (0..5).map(|_| timed(|| runtime.block_on(Recorder::new(record.clone(), &config)).unwrap()));
    let starts = median(starts.collect());
    let good: Vec<Duration> = (0..9)
        .map(|at| {
            let due = day(DATES) + SignedDuration::from_mins(30 * at);
            let runs = round(due, day(DATES - 1), false, false);
            timed(|| settle(&runtime, &recorder, &config, runs))
        })
        .collect();
    let again: Vec<Duration> = (0..9)
        .map(|at| {
            let runs = round(day(DATES + at), day(at), true, true);
            timed(|| settle(&runtime, &recorder, &config, runs))
        })
        .collect();
    row(
        "1,000 checks decided and recorded while 30,000 dates are open",
        &format!("{} ({} to read them at a start)", millis(median(good)), millis(starts)),
        "< 100 ms",
    );
    row("1,000 dates looked at again, decided and recorded", &millis(median(again)), "");
}

fn settle(runtime: &tokio::runtime::Runtime, recorder: &Arc<Recorder>, config: &Config, runs: Vec<Run>) {
    let settled = runtime.block_on(recorder.settle(config, runs));
    assert_eq!((settled.runs.len(), settled.unrecorded), (CHECKS, None));
}

/// A run of each check.
fn round(due: Timestamp, about: Timestamp, again: bool, fails: bool) -> Vec<Run> {
    let data_date = about.to_zoned(jiff::tz::TimeZone::UTC).date();
    (0..CHECKS).map(|at| run(&format!("check-{at:04}"), due, data_date, again, fails)).collect()
}

pub(super) fn run(check: &str, due: Timestamp, data_date: Date, again: bool, fails: bool) -> Run {
    let message = "rows is below its minimum: 0 < 1".to_owned();
    let violations = fails.then(|| Violation { metric: Some("rows".to_owned()), message: message.clone() });
    let alert = fails.then(|| Alert {
        channel: "#data".to_owned(),
        severity: Severity::Critical,
        title: format!("{check} fails"),
        summary: message,
        sections: Vec::new(),
        steps: Vec::new(),
    });
    Run {
        check: check.to_owned(),
        plugin: None,
        due,
        clock: due,
        data_date,
        attempt: 1,
        past: again,
        dates: Dates::Dated,
        deadline: due,
        early: false,
        again,
        began: None,
        lease: None,
        off_hours: false,
        report: Some(Report {
            verdict: if fails { Verdict::Fail } else { Verdict::Pass },
            summary: "rows 0".to_owned(),
            metrics: Vec::new(),
            violations: violations.into_iter().collect(),
            unknown: Vec::new(),
            gate: None,
        }),
        evidence: Vec::new(),
        error: None,
        duration: Duration::from_millis(5),
        calls: Vec::new(),
        log: String::new(),
        alerts: alert.into_iter().collect(),
        family: Some(Family { channel: "#data".to_owned(), group: "tables".to_owned() }),
        next: Some(due + SignedDuration::from_mins(30)),
        untold: None,
        exceeded: Default::default(),
        tapes: Default::default(),
        given: None,
        said: None,
    }
}
