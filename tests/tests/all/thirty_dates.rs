//! Thirty days of half-hourly rounds with data dates that are repaired late, out of order, and never; and with drift. A judge
//! reads the messages as they are stored, and knows only which date was good or bad when it was looked at.

use std::{collections::BTreeMap, time::Duration};

use host::{
    alert::{self, News, Notification, Rules, Standings},
    check::Family,
    config::{Config, Dates},
    contract::{
        Report, Verdict, Violation,
        slack::{Alert, Severity},
    },
    run::Run,
};
use jiff::{SignedDuration, Timestamp, civil::Date};
use serde_json::Value;

use super::truth::start;
use crate::support::{CANARIES, say};

/// The time between two rounds, in hours.
const ROUND: f64 = 0.5;
/// The time between two runs of the drift detector.
const DRIFT_ROUND: f64 = 2.0;
/// `repeat_interval` of the sample.
const REPEAT: f64 = 4.0;
const DAYS: i64 = 30;
const DRIFT: &str = "deployment-drift";

/// A data date of a check that is bad, from an hour to another. It is due on the day of that number.
struct Fault {
    check: &'static str,
    /// `None` for drift, which has no date.
    day: Option<i64>,
    from: f64,
    to: f64,
}

const NEVER: f64 = f64::INFINITY;

const fn fault(check: &'static str, day: i64, from: f64, to: f64) -> Fault {
    Fault { check, day: Some(day), from: 24.0 * day as f64 + from, to }
}

const fn drift(from: f64, to: f64) -> Fault {
    Fault { check: DRIFT, day: None, from, to }
}

const FAULTS: &[Fault] = &[
    // Three dates in a row, repaired late and out of order.
    fault("phase2-raw", 3, 0.0, 149.3),
    fault("phase2-raw", 4, 0.0, 110.2),
    fault("phase2-raw", 5, 0.0, 200.7),
    // One that is never repaired, and turns bad in the course of its day; a short one beside it.
    fault("phase4-precompute", 8, 10.01, NEVER),
    fault("phase4-precompute", 9, 0.01, 219.0),
    // Bad and repaired on one day.
    fault("phase3-analytics", 12, 6.51, 297.0),
    // An outage at the source, which everything after it feels.
    fault("phase1-scrapers", 15, 0.0, 434.0),
    fault("phase1-scrapers", 16, 0.0, 434.0),
    fault("phase2-raw", 15, 0.5, 434.5),
    fault("phase2-raw", 16, 0.5, 434.5),
    fault("phase3-analytics", 15, 1.0, 435.0),
    fault("phase3-analytics", 16, 1.0, 435.0),
    // A range of dates, repaired together.
    fault("phase6-publishing", 20, 0.0, 620.0),
    fault("phase6-publishing", 21, 0.0, 620.0),
    fault("phase6-publishing", 22, 0.0, 620.0),
    fault("phase6-publishing", 24, 0.0, 620.0),
    // Bad in the end.
    fault("phase5-predictions", 29, 3.2, NEVER),
    drift(240.01, 249.0),
    drift(600.5, 605.0),
];

/// The worst wait for a message, of some faults.
#[derive(Debug, Default, Clone, Copy)]
struct Waits {
    /// From the first fault of a check to its message.
    first: f64,
    /// From a further bad date of a check that is told to be bad.
    further: f64,
    /// From the repair.
    repaired: f64,
}

/// What a message says of a check and a date; without a date it is about all that are bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Bad,
    Still,
    Line,
    Good,
    GivenUp,
}

type Said = (f64, &'static str, Option<Date>, Kind);
/// Whether a date was bad each time that it was looked at.
type Judged = BTreeMap<(&'static str, Option<Date>), Vec<(f64, bool)>>;

fn date(day: i64) -> Date {
    jiff::civil::date(2026, 1, 4) + SignedDuration::from_hours(24 * day)
}

fn is_bad(check: &str, of: Option<Date>, hours: f64) -> bool {
    let here = |fault: &&Fault| fault.check == check && fault.day.map(date) == of;
    FAULTS.iter().filter(here).any(|fault| (fault.from..fault.to).contains(&hours))
}

/// The messages of thirty days, with their hours.
fn thirty_days() -> (Vec<(f64, Value)>, Judged) {
    let config = Config::parse(host_tests::HOST_TOML).unwrap();
    let mut standings = Standings::new();
    let (mut messages, mut judged) = (Vec::new(), Judged::new());
    for round in 0..48 * DAYS {
        let (at, hours) = (start() + SignedDuration::from_mins(30 * round), round as f64 / 2.0);
        let usual = date(round / 48);
        let mut play = |runs: Vec<Run>| {
            let news: Vec<News<'_>> = runs.iter().map(News::Run).collect();
            let decided =
                alert::decide(&news, &mut standings, Rules { looks: true, config: &config, silences: &[], now: at });
            let made = alert::compose(&decided, &runs, &config.timezone.rules(), None);
            let text = |message: &Notification| serde_json::to_value(message).unwrap();
            messages.extend(made.iter().map(|message| (hours, text(message))));
            standings.clone()
        };
        let mut due: Vec<(&'static str, Option<Date>)> = CANARIES.iter().map(|check| (*check, Some(usual))).collect();
        due.extend((hours % DRIFT_ROUND == 0.0).then_some((DRIFT, None)));
        let runs = |which: &[(&'static str, Option<Date>)], judged: &mut Judged, again: bool| {
            which.iter().for_each(|(check, of)| {
                judged.entry((check, *of)).or_default().push((hours, is_bad(check, *of, hours)));
            });
            which.iter().map(|(check, of)| run(check, *of, usual, (hours, at), again)).collect()
        };
        let after = play(runs(&due, &mut judged, false));
        let looked: Vec<(&'static str, Option<Date>)> = CANARIES
            .iter()
            .flat_map(|check| {
                let days = after.get(*check).into_iter().flat_map(|standing| &*standing.days);
                let looked = days.filter(|(_, day)| day.is_looked_at(at, &config.recheck(check)));
                looked.map(|(subject, _)| (*check, *subject)).rev().collect::<Vec<_>>()
            })
            .collect();
        if !looked.is_empty() {
            play(runs(&looked, &mut judged, true));
        }
    }
    (messages, judged)
}

fn run(check: &str, of: Option<Date>, usual: Date, (hours, at): (f64, Timestamp), again: bool) -> Run {
    let bad = is_bad(check, of, hours);
    let channel = if check == DRIFT { "#deployment-alerts" } else { "#canary-alerts" };
    let violation = Violation { metric: Some("records".to_owned()), message: "records is too low".to_owned() };
    let alert = Alert {
        channel: channel.to_owned(),
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
        data_date: of.unwrap_or(usual),
        attempt: 1,
        past: of.is_some_and(|of| of != usual),
        dates: if of.is_some() { Dates::Dated } else { Dates::Now },
        deadline: at,
        early: false,
        again,
        began: None,
        lease: None,
        off_hours: false,
        report: Some(Report {
            verdict: if bad { Verdict::Fail } else { Verdict::Pass },
            summary: "records".to_owned(),
            metrics: Vec::new(),
            violations: bad.then_some(violation).into_iter().collect(),
            unknown: Vec::new(),
            gate: None,
        }),
        error: None,
        duration: Duration::ZERO,
        evidence: Vec::new(),
        calls: Vec::new(),
        log: String::new(),
        alerts: bad.then_some(alert).into_iter().collect(),
        family: Some(Family { channel: channel.to_owned(), group: channel.trim_start_matches('#').to_owned() }),
        next: Some(at + SignedDuration::from_mins(if check == DRIFT { 120 } else { 30 })),
        untold: None,
        exceeded: Default::default(),
        tapes: Default::default(),
        given: None,
        said: None,
    }
}

/// The dates of a text: `2026-01-07 to 01-09 and 01-11`.
fn read(text: &str) -> Vec<Date> {
    let (mut dates, mut year, mut ranges) = (Vec::<Date>::new(), 2026, false);
    for word in text.split([' ', ',', ';', '.', ':']) {
        let numbers: Vec<i16> = word.split('-').map_while(|part| part.parse().ok()).collect();
        let found = match numbers[..] {
            [of, month, day] => {
                year = of;
                Some((month, day))
            }
            [month, day] if word.len() == 5 => Some((month, day)),
            _ => None,
        };
        if let Some((month, day)) = found {
            let date = jiff::civil::date(year, month as i8, day as i8);
            while let Some(last) = dates.last().copied().filter(|last| ranges && *last < date) {
                dates.push(last.tomorrow().unwrap());
            }
            if dates.last() != Some(&date) {
                dates.push(date);
            }
        }
        ranges = word == "to";
    }
    dates
}

/// Everything that the messages say.
fn statements(messages: &[(f64, Value)]) -> Vec<Said> {
    let mut said = Vec::new();
    let known = |name: &Value| {
        let all = CANARIES.into_iter().chain([DRIFT]);
        all.into_iter().find(|check| name == *check).unwrap_or_else(|| panic!("{name} is no check"))
    };
    for (hours, message) in messages {
        let usual = date((*hours / 24.0) as i64);
        // Without dates it is about the date that is due.
        let of = |check: &str, dates: Vec<Date>| -> Vec<Option<Date>> {
            match dates.is_empty() {
                true => vec![(check != DRIFT).then_some(usual)],
                false => dates.into_iter().map(Some).collect(),
            }
        };
        for alert in message["alerts"].as_array().unwrap() {
            let check = known(&alert["check"]);
            let note = alert["note"].as_str().unwrap_or_default();
            let sentence = note.split(". ").next().filter(|note| note.starts_with("20")).unwrap_or_default();
            let reminds = note.starts_with("Ongoing");
            for part in sentence.split("; ") {
                let kind = if part.contains(" still ") || reminds { Kind::Still } else { Kind::Bad };
                said.extend(
                    of(check, read(part.split(" (").next().unwrap())).into_iter().map(|of| (*hours, check, of, kind)),
                );
            }
            let below = alert["downstream"].as_array().unwrap();
            said.extend(below.iter().map(|pair| (*hours, known(&pair[0]), None, Kind::Line)));
        }
        let pairs = |list: &str| message[list].as_array().unwrap().clone();
        said.extend(pairs("below").iter().map(|pair| (*hours, known(&pair[0]), None, Kind::Line)));
        for pair in pairs("recoveries").iter().chain(&pairs("moved")) {
            let (check, text) = (known(&pair[0]), pair[1].as_str().unwrap());
            if text.starts_with("not well, and depends on ") {
                said.push((*hours, check, None, Kind::Line));
                continue;
            }
            for (at, part) in text.split("; ").enumerate() {
                let words = part.split([':', '(']).next().unwrap();
                let kind = match words {
                    words if words.contains(" still ") => Kind::Still,
                    words if words.contains("given up") => Kind::GivenUp,
                    words if words.contains("good again") || words.contains("recovered") => Kind::Good,
                    _ => panic!("{part}"),
                };
                let dates = read(words.split(" after ").next().unwrap());
                assert!(at == 0 || !dates.is_empty(), "{text}");
                said.extend(of(check, dates).into_iter().map(|of| (*hours, check, of, kind)));
            }
        }
        for list in ["errors", "held", "closed"] {
            assert!(pairs(list).is_empty(), "{message}");
        }
    }
    said
}

/// Everything false in what is said, and everything that is left out; and the worst waits by check.
fn judge(said: &[Said], judged: &Judged) -> (Vec<String>, BTreeMap<&'static str, Waits>) {
    let mut wrong = Vec::new();
    let known = |check: &'static str, of: Option<Date>, hours: f64| {
        let log = judged.get(&(check, of)).map(Vec::as_slice).unwrap_or_default();
        log.iter().rev().find(|(at, _)| *at <= hours).is_some_and(|(_, bad)| *bad)
    };
    for one in said {
        let (hours, check, of, kind) = *one;
        let bad = match of {
            None if check != DRIFT => (0..DAYS).any(|day| known(check, Some(date(day)), hours)),
            of => known(check, of, hours),
        };
        if bad == (kind == Kind::Good) {
            wrong.push(format!("false: {one:?}"));
        }
        let told =
            said.iter().filter(|(at, by, date, _)| *by == check && *at <= hours && (date.is_none() || *date == of));
        let last = told.filter(|other| *other != one).map(|(_, _, _, kind)| *kind).next_back();
        if matches!(kind, Kind::Good | Kind::GivenUp) && !matches!(last, Some(Kind::Bad | Kind::Still | Kind::Line)) {
            wrong.push(format!("false: {one:?} ends nothing"));
        }
    }
    let mut waits: BTreeMap<&'static str, Waits> = BTreeMap::new();
    for Fault { check, day, from, to } in FAULTS {
        let of = day.map(date);
        let own = |kinds: &[Kind]| -> Vec<f64> {
            let here =
                |(_, by, date, kind): &&Said| by == check && (*date == of || date.is_none()) && kinds.contains(kind);
            said.iter().filter(here).map(|(at, ..)| *at).collect()
        };
        let bad = own(&[Kind::Bad, Kind::Still, Kind::Line]);
        let wait = waits.entry(check).or_default();
        let name = || format!("{check} {of:?} from {from}");
        let Some(told) = bad.iter().find(|at| *at >= from) else {
            wrong.push(format!("missing: {}", name()));
            continue;
        };
        let others = FAULTS.iter().filter(|other| other.check == *check && other.day != *day);
        let further = others.clone().any(|other| (other.from..other.to).contains(from) && other.from < *from);
        let longest = if further { &mut wait.further } else { &mut wait.first };
        *longest = longest.max(told - from);
        let limit = if *check == DRIFT { DRIFT_ROUND } else { ROUND };
        if told - from > if further { REPEAT } else { limit } {
            wrong.push(format!("missing: {} is told at {told}", name()));
        }
        // When it was looked at and good for the first time after that, or given up.
        let log = &judged[&(*check, of)];
        let good = log.iter().find(|(at, bad)| at > told && !bad).map(|(at, _)| *at);
        let given_up = own(&[Kind::GivenUp]);
        let end = match (good, to.is_finite()) {
            (Some(good), true) => {
                wait.repaired = wait.repaired.max(good - to);
                if own(&[Kind::Good]).iter().filter(|at| **at >= *from).take(1).any(|at| *at == good) {
                    good
                } else {
                    wrong.push(format!("missing: {} is good at {good}: {:?}", name(), own(&[Kind::Good])));
                    good
                }
            }
            (_, true) => {
                wrong.push(format!("missing: {} is never looked at again", name()));
                continue;
            }
            (_, false) => given_up.first().copied().unwrap_or(24.0 * DAYS as f64),
        };
        let looked_for = end - (24.0 * (day.unwrap_or(DAYS) + 1) as f64);
        if given_up.len() != usize::from(!to.is_finite() && end < 24.0 * DAYS as f64)
            || !given_up.is_empty() && looked_for < 167.0
        {
            wrong.push(format!("false: {} is given up at {given_up:?}", name()));
        }
        // Reminders, where no other check speaks for it.
        let place = CANARIES.iter().position(|canary| canary == check);
        let above =
            |other: &&Fault| CANARIES.iter().position(|canary| *canary == other.check) < place && other.day == *day;
        if FAULTS.iter().any(|other| other.check != DRIFT && day.is_some() && above(&other)) {
            continue;
        }
        let mut times: Vec<f64> = bad.iter().copied().filter(|at| (*told..end).contains(at)).collect();
        times.push(end);
        if let Some(gap) = times.windows(2).find(|pair| pair[1] - pair[0] > REPEAT) {
            wrong.push(format!("missing: {}, no reminder between {gap:?}", name()));
        }
    }
    // Nobody is reminded too often: two messages about a check within its interval have a new date, or an end.
    for check in CANARIES.into_iter().chain([DRIFT]) {
        let of: Vec<&Said> = said.iter().filter(|(_, by, _, kind)| *by == check && *kind != Kind::Line).collect();
        let mut times: Vec<f64> = of.iter().map(|(at, ..)| *at).collect();
        times.dedup();
        let only = |at: f64| of.iter().filter(|one| one.0 == at).all(|(_, _, _, kind)| *kind == Kind::Still);
        for pair in times.windows(2).filter(|pair| pair[1] - pair[0] < REPEAT && only(pair[1]) && only(pair[0])) {
            wrong.push(format!("false: {check} is reminded of at {pair:?}"));
        }
    }
    (wrong, waits)
}

#[test]
fn thirty_days_of_bad_dates_are_told_truly_and_in_time() {
    let (messages, judged) = thirty_days();
    let said = statements(&messages);
    let (wrong, waits) = judge(&said, &judged);
    for (check, Waits { first, further, repaired }) in &waits {
        say(&format!(
            "{check}: from fault to message {:.0} min, of a further date {:.0} min; from repair to message {repaired:.1} h",
            first * 60.0,
            further * 60.0
        ));
    }
    say(&format!("{} messages, {} statements, {} false or missing", messages.len(), said.len(), wrong.len()));
    assert_eq!(wrong, [""; 0]);
    for (check, Waits { first, further, repaired }) in waits {
        let limit = if check == DRIFT { DRIFT_ROUND } else { ROUND };
        assert!(first <= limit && further <= REPEAT && repaired <= 24.0, "{check}: {first} {further} {repaired}");
    }
    // The judge notices each statement that is left out or comes at another time. A line may say the same.
    let mut unnoticed = Vec::new();
    for at in 0..said.len() {
        let (hours, check, _, kind) = said[at];
        let others =
            said.iter().filter(|one| one.1 == check && one.0 <= hours && matches!(one.3, Kind::Line | Kind::Still));
        if matches!(kind, Kind::Still | Kind::Line) || kind == Kind::Bad && others.count() > 0 {
            continue;
        }
        let mut fewer = said.clone();
        fewer.remove(at);
        let mut later = said.clone();
        later[at].0 += 24.0 * DAYS as f64;
        unnoticed.extend([fewer, later].iter().any(|said| judge(said, &judged).0.is_empty()).then_some(said[at]));
    }
    assert!(unnoticed.is_empty(), "{unnoticed:?}");
}
