//! Decisions on rounds of checks that depend on each other.

use jiff::{SignedDuration, Timestamp};

use super::*;
use crate::{
    alert::points::point,
    alert::say::Say,
    check::Family,
    config::Config,
    contract::{Report, Verdict, Violation},
    run::Reason,
};

fn at(round: i64) -> Timestamp {
    Timestamp::UNIX_EPOCH + SignedDuration::from_mins(30 * round)
}

/// `.` passes, `f` fails, `e` errs, `s` is skipped.
pub(super) fn run(check: &str, result: char, round: i64) -> Run {
    let verdict = match result {
        'f' => Some(Verdict::Fail),
        's' => Some(Verdict::Skip("a holiday".to_owned())),
        '.' => Some(Verdict::Pass),
        _ => None,
    };
    let violation = Violation { metric: None, message: "rows is below its minimum: 0 < 1".to_owned() };
    let failing = result == 'f';
    Run {
        check: check.to_owned(),
        plugin: None,
        due: at(round),
        clock: at(round),
        data_date: jiff::civil::date(1969, 12, 31),
        attempt: 1,
        past: false,
        dates: Default::default(),
        deadline: at(round),
        early: false,
        again: false,
        began: None,
        lease: None,
        off_hours: false,
        report: verdict.map(|verdict| Report {
            verdict,
            summary: String::new(),
            metrics: Vec::new(),
            violations: failing.then_some(violation).into_iter().collect(),
            unknown: Vec::new(),
            gate: None,
        }),
        error: (result == 'e').then(|| Reason::NotFound("query failed".to_owned())),
        duration: Duration::ZERO,
        evidence: Vec::new(),
        calls: Vec::new(),
        log: String::new(),
        alerts: Vec::new(),
        family: Some(Family { channel: "#a".to_owned(), group: "canaries".to_owned() }),
        next: Some(at(round + 1)),
        untold: None,
        exceeded: Default::default(),
        tapes: Default::default(),
        given: None,
        said: None,
    }
}

/// A dependent check is held back only while the upstream failure is reported. `up` and `down` are the results of
/// the two checks, one character a round, a space for no run; the last column is the round in which `down` is first
/// reported.
#[test]
fn a_failure_is_held_back_only_while_its_root_speaks() {
    let plain = "[checks.down]\ndepends_on = ['up']\n";
    let strict = "[checks.up]\nalerts = { confirm_errors = 1 }\n[checks.down]\ndepends_on = ['up']\n";
    let patient = "[checks.up]\nalerts = { confirm = 99 }\n[checks.down]\ndepends_on = ['up']\n";
    for (why, up, down, config, told) in [
        ("both fail", "ffffff", "ffffff", plain, None),
        ("it comes later", ".fffff", "..ffff", plain, None),
        ("the root recovers, and it follows a round later", "fff...", "ffff..", plain, None),
        ("the root recovers, and it does not follow", "fff...", "ffffff", plain, Some(4)),
        ("the root recovers and fails again", "fff.ff", "ffffff", plain, None),
        ("the root has one error, which may be a hiccup", "ffefff", "ffffff", plain, None),
        ("the root cannot be judged any more", "ffeeee", "ffffff", plain, Some(3)),
        ("the same, and each error counts", "ffeeee", "ffffff", strict, Some(2)),
        ("the root is skipped", "ffssss", "ffffff", plain, Some(2)),
        ("the root is not announced itself", "ffffff", "ffffff", patient, Some(0)),
        ("the root is not run any more", "ff              ", "ffffffffffffffff", plain, Some(3)),
    ] {
        let config = Config::parse(config).expect("a configuration");
        let mut standings = Standings::new();
        let mut first = None;
        for (round, (up, down)) in (0..).zip(up.chars().zip(down.chars())) {
            // Ordered by name: the dependent check first.
            let runs: Vec<Run> = [("down", down), ("up", up)]
                .into_iter()
                .filter(|(_, result)| *result != ' ')
                .map(|(check, result)| run(check, result, round))
                .collect();
            let rules = Rules { looks: true, config: &config, silences: &[], now: at(round) };
            let news: Vec<News<'_>> = runs.iter().map(News::Run).collect();
            let decided = decide(&news, &mut standings, rules);
            let own = decided
                .notices
                .iter()
                .any(|notice| notice.news.check() == "down" && notice.about == About::Data && notice.say == Say::Began);
            first = first.or(own.then_some(round));
        }
        assert_eq!(first, told, "{why}");
    }
}

/// Of two runs of one date that overlap, the one that began later counts, whichever ends first.
#[test]
fn a_run_that_began_earlier_and_ended_later_is_no_news() {
    let config = Config::default();
    let mut standings = Standings::new();
    let mut told = |result: char, began: u64| {
        let runs = [Run { began: Some(began), ..run("loads", result, 0) }];
        let news: Vec<News<'_>> = runs.iter().map(News::Run).collect();
        let rules = Rules { looks: true, config: &config, silences: &[], now: at(0) };
        decide(&news, &mut standings, rules).notices.len()
    };
    assert_eq!(told('f', 1), 1);
    assert_eq!(told('.', 3), 1, "it is good again");
    assert_eq!(told('f', 2), 0, "what was known before says nothing");
    assert_eq!(told('f', 4), 1);
}

/// In 100 layers, each check depends on every check of the layer above, and all fail. That the decision knows this
/// costs little, and each check is listed under one of the first layer.
#[test]
fn a_thousand_checks_in_a_hundred_layers_are_decided_at_once() {
    let name = |layer: usize, at: usize| format!("c{layer:03}-{at}");
    let mut text = String::new();
    for (layer, at) in (0..100).flat_map(|layer| (0..10).map(move |at| (layer, at))) {
        let above: Vec<String> = (0..10).filter(|_| layer > 0).map(|other| name(layer - 1, other)).collect();
        text += &format!("[checks.{}]\ndepends_on = {above:?}\n", name(layer, at));
    }
    let runs: Vec<Run> = (0..100)
        .rev()
        .flat_map(|layer| (0..10).map(move |at| (layer, at)))
        .map(|(layer, at)| run(&name(layer, at), 'f', 0))
        .collect();
    let news: Vec<News<'_>> = runs.iter().map(News::Run).collect();
    let took = |text: &str| {
        let config = Config::parse(text).expect("a configuration");
        let tried = (0..3).map(|_| {
            let mut standings = Standings::new();
            let began = std::time::Instant::now();
            let decided =
                decide(&news, &mut standings, Rules { looks: true, config: &config, silences: &[], now: at(0) });
            let took = began.elapsed();
            let listed: usize = decided.notices.iter().map(|notice| notice.downstream.len()).sum();
            (took, decided.notices.len(), listed)
        });
        tried.min().unwrap_or_default()
    };
    let (without, alone, _) = took("");
    let (with, told, listed) = took(&text);
    assert_eq!((alone, told, listed), (1000, 10, 990));
    // Every way through the layers would be 10^100 of them; other tests may run beside this one.
    assert!(with < without + Duration::from_secs(1), "{with:?} instead of {without:?}");
}

#[test]
fn violations_about_different_things_are_different() {
    let same = |metric, one: &str, other: &str| point(Some(metric), one) == point(Some(metric), other);
    assert!(same("games", "games is below its minimum: 1 < 2", "games is below its minimum: 0 < 2"));
    assert!(same("commits", "worker: 3 commits behind", "worker: 5 commits behind"));
    assert!(!same("commits", "worker: 3 commits behind", "scraper: 3 commits behind"));
    assert!(same("schema", "schema: 3 columns are missing", "schema: 4 columns are missing"));
    assert!(!same("schema", "schema: no column c1", "schema: no column c2"));
    assert!(!same("games", "game g251 has no box score", "games is below its minimum: 1 < 2"));
    assert!(!same("games", "game g251 has no box score", "game g252 has no box score"));
    assert_eq!(point(None, "3 rows are odd"), point(None, "4 rows are odd"));
}
