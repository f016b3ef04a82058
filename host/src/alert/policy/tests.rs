//! The state machine as a table: results at half-hourly rounds, and the notice after each.

use super::*;
use crate::config::Count;

/// Half-hourly rounds, one letter each: `.` good, `w` warning, `c` critical, `x` critical with another point, `b` both
/// severities, `i` info, and upper case when it is held back. The notice after each: `-` nothing, `!` began,
/// `~` changed, `r` reminder, `f` flapping, `+` recovered, `*` recovered and left a remark.
fn said(results: &str, rules: &Alerts, confirm: u32) -> String {
    let mut side = Side::default();
    results
        .chars()
        .enumerate()
        .map(|(round, result)| {
            let at = at(round);
            let finding = finding(result.to_ascii_lowercase());
            side.observe(&finding, at);
            let hold = held(result.is_ascii_uppercase());
            let mut said = side.decide(at, confirm, rules, &hold, None);
            if said.is_empty() {
                said = side.remind(at, side.last_announced(), rules, &hold);
            }
            match said.iter().map(|(_, say)| say).collect::<Vec<_>>()[..] {
                [] => '-',
                [Say::Began] => '!',
                [Say::Changed { .. }] => '~',
                [Say::Reminder { .. }] => 'r',
                [Say::Flapping { .. }] => 'f',
                [Say::Recovered { .. }] => '+',
                [Say::Recovered { .. }, Say::Began] => '*',
                ref other => panic!("{results}: {other:?}"),
            }
        })
        .collect()
}

fn held(so: bool) -> Hold {
    if so { Hold::All } else { Hold::Free }
}

/// An upstream check that was reported in `#a` speaks for this one.
fn under() -> Hold {
    let channels = BTreeSet::from(["#a".to_owned()]);
    Hold::Under(Upstream::Reported { root: "up".to_owned(), at: at(0), channels })
}

fn at(round: usize) -> Timestamp {
    Timestamp::UNIX_EPOCH + SignedDuration::from_mins(30 * i64::try_from(round).expect("few rounds"))
}

fn finding(result: char) -> Finding {
    let levels: &[Level] = match result {
        'w' => &[Level::Warning],
        'c' | 'x' => &[Level::Critical],
        'b' => &[Level::Warning, Level::Critical],
        'i' => &[Level::Info],
        _ => &[],
    };
    let points: &[&str] = match result {
        '.' => &[],
        'x' => &["names", "teams"],
        _ => &["names"],
    };
    Finding {
        levels: if levels.is_empty() {
            Levels::new()
        } else {
            Levels::from([("#a".to_owned(), levels.iter().copied().collect())])
        },
        points: points.iter().map(|&point| point.to_owned()).collect(),
        beyond: BTreeMap::new(),
        summary: result.to_string(),
    }
}

#[test]
fn what_is_said_after_each_result() {
    let rules = Alerts::default();
    let steady = Alerts { flap_changes: Count(0), ..Alerts::default() };
    for (why, results, expected, rules, confirm) in [
        ("all is well", "....", "----", &rules, 1),
        ("once, and when it is over", ".cccc.", "-!---+", &rules, 1),
        ("a reminder after four hours", "ccccccccccccccccc", "!-------r-------r", &rules, 1),
        ("a change of severity, both ways", "wwccww.", "!-~-~-+", &rules, 1),
        ("a severity besides, and without", "cbbc.", "!~-~+", &rules, 1),
        ("something else is wrong besides, and no news when it is not any more", "cxxcx.", "!~---+", &rules, 1),
        ("a change delays the reminder", "wwwwcccccccccccc", "!---~-------r---", &rules, 1),
        ("two in a row", "c.cc.", "---!+", &rules, 2),
        ("not announced, so no recovery", "c.", "--", &rules, 2),
        ("three in a row", "cc.ccc.", "-----!+", &steady, 3),
        ("held back from the start, announced afterwards", "CCCcc.", "---!-+", &rules, 1),
        ("held back to the end", "CCC..", "-----", &rules, 1),
        ("held back later: no reminder, and it resolves", "cCCCCCCCCCCC.", "!-----------+", &rules, 1),
        ("a change while held back is announced afterwards", "wWCCc.", "!---~+", &rules, 1),
        ("held back, and then no longer so severe", "cCWWw.", "!---~+", &rules, 1),
        ("a recovery is not held back", "cC.", "!-+", &rules, 1),
        (
            "an info result is announced once, not repeated, and does not recover",
            "iiiiiiiiiii.i",
            "!-----------!",
            &steady,
            1,
        ),
        ("a remark becomes a failure", "ic.", "!~+", &rules, 1),
        ("a failure that leaves a remark is over, and the remark is told once", "cciii.", "!-*---", &rules, 1),
        ("the same while new alerts are held back", "cIIi.", "!+-!-", &rules, 1),
        ("a failure that was not announced leaves a remark only", "cii.", "-!--", &rules, 2),
        ("flapping is announced once; the recovery when stable", "c.c.c.c.c......", "!+!+f--------+-", &rules, 1),
        ("flapping that ends bad is reminded of, and recovers", "c.c.c.c.cccccccc.", "!+!+f-------r---+", &rules, 1),
        ("flapping between severities", "wcwcwcwww", "!~~~f----", &rules, 1),
        ("damping can be turned off", "c.c.c.c.c.", "!+!+!+!+!+", &steady, 1),
        ("a new worst level is announced while it flaps", "w.w.w.ccwcw", "!+!+f-~----", &rules, 1),
        ("unconfirmed each time, until it is seen to flap", "c.c.c.c.......", "----f------+--", &rules, 2),
        ("no reminder while it flaps", "c.c.c.c.c.c.c.c.c.", "!+!+f-------------", &rules, 1),
        ("an info result is not bad", "iwww.", "!--~+", &rules, 3),
        ("slow changes are not flapping", "cccc....cccc....cccc....", "!---+---!---+---!---+---", &rules, 1),
    ] {
        assert_eq!(said(results, rules, confirm), expected, "{why}: {results}");
    }
}

/// Each announcement has an end, whatever happens in between.
#[test]
fn whatever_happens_a_recovery_follows() {
    let letters = ['.', 'w', 'c', 'x', 'b', 'W', 'C'];
    let mut random = 1u64;
    for _ in 0..20_000 {
        let mut results: String = (0..24)
            .map(|_| {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                letters[usize::try_from(random >> 33).unwrap_or_default() % letters.len()]
            })
            .collect();
        results.push_str("........");
        let said = said(&results, &Alerts::default(), 1);
        let mut told = false;
        for say in said.chars() {
            match say {
                '!' => assert!(!std::mem::replace(&mut told, true), "{results}\n{said}"),
                '+' => assert!(std::mem::replace(&mut told, false), "{results}\n{said}"),
                // A flapping notice replaces either.
                'f' => told = true,
                '~' | 'r' => assert!(told, "{results}\n{said}"),
                _ => {}
            }
        }
        assert!(!told, "it never ended: {results}\n{said}");
    }
}

/// A plugin that names another point in each run is reported each time, but the memory kept for it does not grow.
#[test]
fn what_is_remembered_of_a_check_is_bounded() {
    let mut side = Side::default();
    let mut said = 0;
    for round in 0..1000 {
        let points = (0..3).map(|at| format!("point {round} {at}")).collect();
        let finding = Finding { points, ..finding('c') };
        side.observe(&finding, at(0));
        said += side.decide(at(0), 1, &Alerts::default(), &Hold::Free, None).len();
    }
    assert!(said < 100, "{said} messages");
    assert_eq!(side.points.len(), POINTS);
}

/// With two channels, the second only for critical results: every channel that got an alert, or a
/// line in the message of an upstream check (`e`), gets the end.
#[test]
fn every_channel_that_knows_hears_the_end() {
    let letters = ['.', '.', 'w', 'c', 'c', 'W', 'C', 'e', 'e'];
    let mut random = 7u64;
    for _ in 0..20_000 {
        let mut results: Vec<char> = (0..24)
            .map(|_| {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                letters[usize::try_from(random >> 33).unwrap_or_default() % letters.len()]
            })
            .collect();
        results.extend(['.'; 8]);
        let mut side = Side::default();
        let mut knowing = BTreeSet::new();
        for (round, result) in results.iter().enumerate() {
            let spoken = *result == 'e';
            let mut finding = finding(if spoken { 'c' } else { result.to_ascii_lowercase() });
            if spoken || result.eq_ignore_ascii_case(&'c') {
                finding.levels.insert("#on-call".to_owned(), BTreeSet::from([Level::Critical]));
            }
            side.observe(&finding, at(round));
            let hold = match spoken {
                true => under(),
                false => held(result.is_ascii_uppercase()),
            };
            for (channel, say) in side.decide(at(round), 1, &Alerts::default(), &hold, None) {
                match say {
                    Say::Moved { .. } => {
                        assert!(!finding.levels.is_empty(), "nothing is left to move: {results:?}");
                        assert!(knowing.remove(&channel), "{channel} knew of nothing: {results:?}");
                    }
                    Say::Recovered { .. } => {
                        assert!(finding.levels.is_empty(), "{channel}: it still fails: {results:?}");
                        assert!(knowing.remove(&channel), "{channel} knew of nothing: {results:?}");
                    }
                    _ => drop(knowing.insert(channel)),
                }
            }
        }
        assert!(knowing.is_empty(), "{knowing:?} never heard the end: {results:?}");
    }
}

#[test]
fn each_channel_hears_of_its_own() {
    let levels = |list: &[(&str, Level)]| {
        let mut levels = Levels::new();
        for (channel, level) in list {
            levels.entry((*channel).to_owned()).or_default().insert(*level);
        }
        Finding { levels, ..Finding::default() }
    };
    let mut side = Side::default();
    let mut step = |round, list: &[(&str, Level)]| {
        let finding = levels(list);
        side.observe(&finding, at(round));
        side.decide(at(round), 1, &Alerts::default(), &Hold::Free, None)
    };
    let both = [("#a", Level::Warning), ("#b", Level::Critical)];
    let said = |channel: &str, say| Said::from([(channel.to_owned(), say)]);
    assert_eq!(step(0, &both[..1]), said("#a", Say::Began));
    let new = Say::Changed { before: None, new: Vec::new() };
    assert_eq!(step(1, &both), said("#b", new), "the critical one does not hide the warning");
    let critical = Some(Level::Critical);
    let moved = Say::Moved { before: Some(Level::Warning), now: critical, to: vec!["#b".to_owned()] };
    assert_eq!(step(2, &both[1..]), said("#a", moved), "it still fails");
    let eased = Say::Moved { before: critical, now: Some(Level::Warning), to: vec!["#a".to_owned()] };
    let new = Say::Changed { before: None, new: Vec::new() };
    let both_told = Said::from([("#a".to_owned(), new), ("#b".to_owned(), eased)]);
    assert_eq!(step(3, &both[..1]), both_told, "less severe is not over");
    assert_eq!(step(4, &[]), said("#a", Say::Recovered { lasted: 7200 }));
}

/// While an upstream check speaks for it in `#a`, `#a` gets a line and `#b` one alert; both hear the end.
#[test]
fn each_channel_is_told_once_while_another_check_speaks() {
    let mut side = Side::default();
    let elsewhere = under();
    let mut finding = finding('c');
    finding.levels.insert("#b".to_owned(), BTreeSet::from([Level::Critical]));
    let mut step = |round, finding: &Finding, hold: &Hold| {
        side.observe(finding, at(round));
        let said = side.decide(at(round), 1, &Alerts::default(), hold, None);
        said.into_iter().map(|(channel, say)| format!("{channel} {}", say.name())).collect::<Vec<_>>()
    };
    assert_eq!(step(0, &finding, &elsewhere), ["#a below", "#b began"]);
    for round in 1..20 {
        assert_eq!(step(round, &finding, &elsewhere), [""; 0], "no reminder either");
    }
    assert_eq!(step(20, &finding, &Hold::Free), ["#a changed"], "nobody else speaks for it any more");
    assert_eq!(step(21, &Finding::default(), &elsewhere), ["#a recovered", "#b recovered"]);
}

/// While an upstream check speaks for it, what is worse and what is new is told all the same, to every channel; what is
/// better is not.
#[test]
fn what_is_worse_passes_a_hold() {
    let silenced = Hold::Under(Upstream::Silenced { root: "up".to_owned(), why: "silence 1".to_owned() });
    for (hold, results, expected) in [
        (under(), "wcc.", ["a below", "a changed", "", "a recovered"]),
        (under(), "cxx.", ["a below", "a changed", "", "a recovered"]),
        (under(), "cwcx", ["a below", "", "", "a changed"]),
        (silenced.clone(), "wcc.", ["a held", "a held", "", "a recovered"]),
        (silenced.clone(), "cxc.", ["a held", "a held", "", "a recovered"]),
        (silenced, "cwc.", ["a held", "", "", "a recovered"]),
        (Hold::All, "wcx.", [""; 4]),
    ] {
        let mut side = Side::default();
        let said = results.chars().enumerate().map(|(round, result)| {
            side.observe(&finding(result), at(round));
            let said = side.decide(at(round), 1, &Alerts::default(), &hold, None);
            let said = said.iter().map(|(channel, say)| format!("{} {}", channel.trim_start_matches('#'), say.name()));
            said.collect::<Vec<_>>().join(", ")
        });
        assert_eq!(said.collect::<Vec<_>>(), expected, "{results} under {hold:?}");
    }
}

/// A check that comes and goes while an upstream check speaks for it is damped like any other.
#[test]
fn flapping_is_damped_while_another_check_speaks() {
    let mut side = Side::default();
    let said: usize = (0..20)
        .map(|round| {
            side.observe(&finding(if round % 2 == 0 { 'c' } else { '.' }), at(round));
            side.decide(at(round), 1, &Alerts::default(), &under(), None).len()
        })
        .sum();
    assert_eq!(said, 5);
}

#[test]
fn a_clock_that_is_set_back_keeps_no_reminder_away() {
    let mut side = Side::default();
    let bad = finding('c');
    let mut step = |round: usize, finding: &Finding| {
        side.observe(finding, at(round));
        let mut said = side.decide(at(round), 1, &Alerts::default(), &Hold::Free, None);
        if said.is_empty() {
            said = side.remind(at(round), side.last_announced(), &Alerts::default(), &Hold::Free);
        }
        said.pop().map(|(_, say)| say)
    };
    assert_eq!(step(100, &bad), Some(Say::Began));
    assert_eq!(step(0, &bad), None, "set back by two days");
    assert!(matches!(step(8, &bad), Some(Say::Reminder { .. })));
    assert_eq!(step(9, &finding('.')), Some(Say::Recovered { lasted: 0 }), "not less than nothing");
}
