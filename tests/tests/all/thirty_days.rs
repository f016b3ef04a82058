//! Thirty days of half-hourly rounds with faults as they happened: how many messages, each for a reason, beside one
//! message a breach. Time is a value here; no plugin runs and nothing is sent.

use std::time::Duration;

use host::{
    alert::{self, About, News, Notice, Notification, Rules, Say, Standings},
    check::Family,
    config::Config,
    contract::{
        Metric, Report, Verdict, Violation,
        slack::{Alert, Severity},
    },
    run::{Reason, Run},
};
use jiff::{SignedDuration, Timestamp};

use crate::support::{CANARIES, say};

/// From when to when, in hours from the start, a check has a fault.
struct Episode {
    check: &'static str,
    from: f64,
    to: f64,
    fault: Fault,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// A threshold is broken.
    Fails,
    /// It changes with every round.
    Flaps,
    /// It cannot be evaluated.
    Errors,
    /// There is nothing to judge.
    Skips,
}

/// The incidents that PIPELINE.md describes, over a month.
const EPISODES: &[Episode] = &[
    // One threshold breach that lasted: a message every half hour buried a real gap.
    Episode { check: "phase4-precompute", from: 30.0, to: 78.0, fault: Fault::Fails },
    // The real gap, meanwhile.
    Episode { check: "phase2-raw", from: 50.0, to: 56.0, fault: Fault::Fails },
    // A three-day outage at the source, which everything after it feels.
    Episode { check: "phase1-scrapers", from: 120.0, to: 192.0, fault: Fault::Fails },
    Episode { check: "phase2-raw", from: 120.5, to: 192.5, fault: Fault::Fails },
    Episode { check: "phase3-analytics", from: 121.0, to: 193.0, fault: Fault::Fails },
    Episode { check: "phase4-precompute", from: 121.5, to: 193.5, fault: Fault::Fails },
    Episode { check: "phase5-predictions", from: 122.0, to: 194.0, fault: Fault::Fails },
    Episode { check: "phase6-publishing", from: 122.0, to: 194.0, fault: Fault::Fails },
    // A backend that hiccups once, and one that is away for a morning.
    Episode { check: "phase3-analytics", from: 240.0, to: 240.5, fault: Fault::Errors },
    Episode { check: "phase5-predictions", from: 260.0, to: 265.0, fault: Fault::Errors },
    // A feed that flaps for a day.
    Episode { check: "phase6-publishing", from: 300.0, to: 324.0, fault: Fault::Flaps },
    // The off-season: nothing to judge for a week.
    Episode { check: "phase2-raw", from: 400.0, to: 568.0, fault: Fault::Skips },
    Episode { check: "phase3-analytics", from: 400.0, to: 568.0, fault: Fault::Skips },
    // A short one at the end.
    Episode { check: "phase3-analytics", from: 600.0, to: 601.0, fault: Fault::Fails },
];

#[test]
fn thirty_days_of_faults_are_a_few_messages_each_with_its_reason() {
    let config = Config::parse(host_tests::HOST_TOML).unwrap();
    let mut standings = Standings::new();
    let (mut breaches, mut told) = (0, Vec::new());
    for round in 0..30 * 48 {
        let at = start() + SignedDuration::from_mins(30 * round);
        let hours = round as f64 / 2.0;
        let runs: Vec<Run> = CANARIES.iter().map(|check| run(check, hours, round, at)).collect();
        breaches += runs.iter().filter(|run| !run.alerts.is_empty() || run.error.is_some()).count();
        let news: Vec<News<'_>> = runs.iter().map(News::Run).collect();
        let decided = alert::decide(&news, &mut standings, Rules { config: &config, silences: &[], now: at });
        let messages = alert::compose(&decided.notices, &runs, &config.timezone.rules(), None);
        assert!(messages.len() <= 1, "one round is one message: {messages:?}");
        let reasons = decided.notices.iter().map(|notice| (reason(notice), notice.news.check().to_owned()));
        told.extend(messages.into_iter().map(|message| (hours, message, reasons.clone().collect::<Vec<_>>())));
    }
    for (hours, message, reasons) in &told {
        let reasons: Vec<String> = reasons.iter().map(|(reason, check)| format!("{check} {reason}")).collect();
        say(&format!(
            "day {:2} {:04.1} h  {}  [{}]",
            hours.div_euclid(24.0),
            hours.rem_euclid(24.0),
            message.title,
            reasons.join(", ")
        ));
    }
    say(&format!("thirty days: {} messages instead of {breaches}", told.len()));

    let count = |wanted: &str, check: &str| {
        let all = told.iter().flat_map(|(_, _, reasons)| reasons);
        all.filter(|(reason, of)| *reason == wanted && of == check).count()
    };
    let episodes = |check| (count("began", check), count("recovered", check));
    // The long breach does not bury the gap; after the outage each is told of until it has caught up.
    assert_eq!((episodes("phase4-precompute"), episodes("phase2-raw")), ((2, 2), (2, 2)));
    // In the outage only the source is reported; the rest is listed under it.
    assert_eq!(episodes("phase1-scrapers"), (1, 1));
    let outage: Vec<&Notification> =
        told.iter().filter(|(hours, ..)| (122.5..192.0).contains(hours)).map(|(_, message, _)| message).collect();
    assert!(outage.iter().all(|message| message.alerts.iter().all(|told| told.alert.title == "phase1-scrapers")));
    let listed: Vec<&str> = outage[0].alerts[0].downstream.iter().map(|(check, _)| check.as_str()).collect();
    assert_eq!(listed, CANARIES[1..], "its dependents are listed");
    // A single error is not reported; a morning of errors and its end are.
    let errors = |check| (count("error", check), count("evaluated again", check));
    assert_eq!((errors("phase3-analytics"), errors("phase5-predictions")), ((0, 0), (1, 1)));
    assert_eq!(count("flapping", "phase6-publishing"), 1);
    assert_eq!((told.len(), breaches), (48, 1009), "messages, and the number with one message a breach");
}

fn start() -> Timestamp {
    "2026-01-05T05:00:00Z".parse().unwrap()
}

fn reason(notice: &Notice<'_>) -> &'static str {
    match &notice.say {
        Say::Began if notice.about == About::Evaluation => "error",
        Say::Recovered { .. } if notice.about == About::Evaluation => "evaluated again",
        Say::Began => "began",
        Say::Changed { .. } => "changed",
        Say::Reminder { .. } => "reminder",
        Say::Flapping { .. } => "flapping",
        Say::Held { .. } => "held",
        Say::Moved { .. } => "moved",
        Say::Recovered { .. } => "recovered",
    }
}

fn run(check: &str, hours: f64, round: i64, at: Timestamp) -> Run {
    let fault = EPISODES
        .iter()
        .find(|episode| episode.check == check && (episode.from..episode.to).contains(&hours))
        .map(|episode| episode.fault)
        .filter(|fault| *fault != Fault::Flaps || round % 2 == 0);
    let failing = matches!(fault, Some(Fault::Fails | Fault::Flaps));
    let report = Report {
        verdict: match fault {
            None | Some(Fault::Errors) => Verdict::Pass,
            Some(Fault::Fails | Fault::Flaps) => Verdict::Fail,
            Some(Fault::Skips) => Verdict::Skip("no games".to_owned()),
        },
        summary: "records".to_owned(),
        metrics: vec![Metric {
            name: "records".to_owned(),
            value: Some(if failing { 0.0 } else { 120.0 }),
            min: Some(40.0),
            max: None,
            below: None,
            unit: None,
        }],
        violations: Vec::new(),
        unknown: Vec::new(),
        gate: None,
    };
    let violation =
        Violation { metric: Some("records".to_owned()), message: "records is below its minimum: 0 < 40".to_owned() };
    let alert = Alert {
        channel: "#canary-alerts".to_owned(),
        severity: Severity::Critical,
        title: check.to_owned(),
        summary: "There are records.".to_owned(),
        sections: Vec::new(),
        steps: Vec::new(),
    };
    Run {
        check: check.to_owned(),
        plugin: None,
        due: at,
        data_date: at.to_zoned(jiff::tz::TimeZone::UTC).date(),
        attempt: 1,
        past: false,
        report: (fault != Some(Fault::Errors))
            .then(|| Report { violations: failing.then_some(violation).into_iter().collect(), ..report }),
        error: (fault == Some(Fault::Errors)).then(|| Reason::NotFound("query failed: the backend is away".to_owned())),
        duration: Duration::ZERO,
        calls: Vec::new(),
        log: String::new(),
        alerts: failing.then_some(alert).into_iter().collect(),
        family: Some(Family { channel: "#canary-alerts".to_owned(), group: "canaries".to_owned() }),
        next: Some(at + SignedDuration::from_mins(30)),
        untold: None,
        exceeded: Default::default(),
    }
}
