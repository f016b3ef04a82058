//! Thirty days of half-hourly rounds with faults as they happened: how many messages, each for a reason, beside one
//! message a breach. Time is a value here; no plugin runs and nothing is sent.

use std::time::Duration;

use host::{
    alert::{self, About, News, Notice, Notification, Rules, Say, Standings},
    check::Family,
    config::{Config, Dates},
    contract::{
        Metric, Report, Verdict, Violation,
        slack::{Alert, Severity},
    },
    run::{Reason, Run},
};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::truth::{Fault, HOURS, fault, judge, start};
use crate::support::{CANARIES, say};

/// A message: its hour, and the reason for each check in it.
type Told = (f64, Notification, Vec<(&'static str, String)>);

/// The messages of thirty days; and the number with one message a breach.
fn thirty_days() -> (Vec<Told>, usize) {
    let config = Config::parse(host_tests::HOST_TOML).unwrap();
    let mut standings = Standings::new();
    let (mut breaches, mut told) = (0, Vec::new());
    for round in 0..(HOURS * 2.0) as i64 {
        let at = start() + SignedDuration::from_mins(30 * round);
        let hours = round as f64 / 2.0;
        let runs: Vec<Run> = CANARIES.iter().map(|check| run(check, hours, at)).collect();
        breaches += runs.iter().filter(|run| !run.alerts.is_empty() || run.error.is_some()).count();
        let news: Vec<News<'_>> = runs.iter().map(News::Run).collect();
        let decided =
            alert::decide(&news, &mut standings, Rules { looks: true, config: &config, silences: &[], now: at });
        let messages = alert::compose(&decided, &runs, &config.timezone.rules(), None);
        assert!(messages.len() <= 1, "one round is one message: {messages:?}");
        let reasons = decided.notices.iter().map(|notice| (reason(notice), notice.news.check().to_owned()));
        told.extend(messages.into_iter().map(|message| (hours, message, reasons.clone().collect::<Vec<_>>())));
    }
    (told, breaches)
}

/// Nothing in the messages is false and nothing is missing, by the injected faults alone. And the judge notices each message
/// that is left out, comes at another time or twice, is in another channel, or is about another check.
#[test]
fn each_message_of_thirty_days_is_true_and_none_is_missing() {
    let (told, _) = thirty_days();
    let messages: Vec<(f64, Value)> =
        told.iter().map(|(hours, message, _)| (*hours, serde_json::to_value(message).unwrap())).collect();
    assert_eq!(judge(&messages), [""; 0]);
    for at in 0..messages.len() {
        let mut fewer = messages.clone();
        let (hours, message) = fewer.remove(at);
        assert!(!judge(&fewer).is_empty(), "the message at {hours} is not missed: {message}");
        let mut later = messages.clone();
        later[at].0 = HOURS - 10.0;
        assert!(!judge(&later).is_empty(), "the message of {hours} is true at any time: {message}");
        for delay in [0.0, 0.5] {
            let mut twice = messages.clone();
            twice.insert(at + 1, (messages[at].0 + delay, messages[at].1.clone()));
            assert!(!judge(&twice).is_empty(), "a second message {delay} h later is not noticed: {:?}", messages[at]);
        }
        let mut elsewhere = messages.clone();
        elsewhere[at].1["channel"] = "#on-call".into();
        assert!(!judge(&elsewhere).is_empty(), "the channel at {hours} is not noticed");
        // Each check is taken for the next one.
        let next = |name: &str| {
            let place = CANARIES.iter().position(|canary| *canary == name).unwrap();
            CANARIES[(place + 1) % CANARIES.len()]
        };
        let mut mistaken = messages.clone();
        let message = &mut mistaken[at].1;
        for alert in message["alerts"].as_array_mut().unwrap() {
            alert["check"] = next(alert["check"].as_str().unwrap()).into();
        }
        for list in ["errors", "below", "moved", "recoveries"] {
            for pair in message[list].as_array_mut().unwrap() {
                pair[0] = next(pair[0].as_str().unwrap()).into();
            }
        }
        assert!(!judge(&mistaken).is_empty(), "a mistake about the check is not noticed at {hours}");
    }
}

#[test]
fn thirty_days_of_faults_are_a_few_messages_each_with_its_reason() {
    let (told, breaches) = thirty_days();
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
    // The long breach does not bury the gap. After the outage each that follows a round later is not told as new.
    assert_eq!((episodes("phase4-precompute"), episodes("phase2-raw")), ((1, 2), (1, 2)));
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
    assert_eq!((told.len(), breaches), (52, 1009), "messages, and the number with one message a breach");
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
        Say::Below { .. } => "below",
        Say::Moved { .. } => "moved",
        Say::GivenUp { .. } => "given up",
        Say::Recovered { .. } => "recovered",
    }
}

fn run(check: &str, hours: f64, at: Timestamp) -> Run {
    let fault = fault(check, hours);
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
        clock: at,
        data_date: at.to_zoned(jiff::tz::TimeZone::UTC).date(),
        attempt: 1,
        past: false,
        dates: Dates::Now,
        deadline: at,
        early: false,
        again: false,
        began: None,
        lease: None,
        off_hours: false,
        report: (fault != Some(Fault::Errors))
            .then(|| Report { violations: failing.then_some(violation).into_iter().collect(), ..report }),
        error: (fault == Some(Fault::Errors)).then(|| Reason::NotFound("query failed: the backend is away".to_owned())),
        duration: Duration::ZERO,
        evidence: Vec::new(),
        calls: Vec::new(),
        log: String::new(),
        alerts: failing.then_some(alert).into_iter().collect(),
        family: Some(Family { channel: "#canary-alerts".to_owned(), group: "canaries".to_owned() }),
        next: Some(at + SignedDuration::from_mins(30)),
        untold: None,
        exceeded: Default::default(),
        tapes: Default::default(),
        given: None,
        said: None,
    }
}
