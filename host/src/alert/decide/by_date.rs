//! The decisions on one check with several data dates, as a table: the rounds as rows.

use jiff::{SignedDuration, Timestamp, civil::Date, tz::TimeZone};

use super::*;
use crate::{
    alert::{Wanted, day::State, order, say::Say, spoken::Notice},
    config::{Config, Dates},
    contract::{Report, Verdict, Violation},
    record::Silence,
    run::Reason,
};

/// One row: its hour; what happens then; the message that is expected.
///
/// Hour 0 is the first of the 6th, when the 5th is due, and each 24 hours later the next date is. Results are a date and a
/// letter each: `.` passes, `f` fails, `x` fails with another point, `w` warns, `e` cannot be evaluated, `s` is skipped, `p`
/// fails before its deadline. Another date than the one that is due is looked at again, or asked about (`?5f`). `now f` is a
/// result of a check about now, and `up5f` one of the check that it depends on. Orders are `ack 5`, `close 5` and `silence N`
/// for a number of hours.
type Row<'t> = (i64, &'t str, &'t str);

const FIRST: i8 = 5;

fn at(hour: i64) -> Timestamp {
    "2026-02-06T00:00:00Z".parse::<Timestamp>().expect("a time") + SignedDuration::from_hours(hour)
}

fn date(day: i8) -> Date {
    jiff::civil::date(2026, 2, day)
}

/// The date that is due at an hour.
fn usual(hour: i64) -> i8 {
    FIRST + i8::try_from(hour.div_euclid(24)).expect("few days")
}

fn run(check: &str, day: i8, letter: char, hour: i64) -> Run {
    let verdict = match letter {
        '.' => Some(Verdict::Pass),
        'f' | 'x' | 'p' => Some(Verdict::Fail),
        'w' => Some(Verdict::Warn),
        's' => Some(Verdict::Skip("a holiday".to_owned())),
        _ => None,
    };
    let points: &[&str] = match letter {
        'f' | 'w' | 'p' => &["rows is below its minimum: 0 < 1"],
        'x' => &["rows is below its minimum: 0 < 1", "teams is below its minimum: 0 < 1"],
        _ => &[],
    };
    let violation =
        |point: &&str| Violation { metric: point.split(' ').next().map(str::to_owned), message: (*point).to_owned() };
    let early = letter == 'p';
    Run {
        due: at(hour),
        clock: at(hour),
        data_date: date(day),
        past: day != usual(hour),
        dates: Dates::Dated,
        deadline: if early { at(hour + 3) } else { at(24 * i64::from(day - FIRST)) },
        early,
        again: day != usual(hour),
        report: verdict.map(|verdict| Report {
            verdict,
            summary: String::new(),
            metrics: Vec::new(),
            violations: points.iter().map(violation).collect(),
            unknown: Vec::new(),
            gate: None,
        }),
        error: (letter == 'e').then(|| Reason::NotFound("query failed: no such table: loads".to_owned())),
        next: Some(at(hour + 24)),
        ..super::tests::run(check, '.', 0)
    }
}

/// The run of a word of a row.
fn result(word: &str, now: bool, hour: i64) -> Run {
    let (check, word) = word.strip_prefix("up").map_or(("c", word), |rest| ("up", rest));
    let (asked, word) = word.strip_prefix('?').map_or((false, word), |rest| (true, rest));
    let letter = word.chars().last().expect("a letter");
    let day = word[..word.len() - 1].parse().unwrap_or(usual(hour));
    let run = run(check, day, letter, hour);
    Run { again: run.again && !asked, dates: if now { Dates::Now } else { Dates::Dated }, ..run }
}

/// The days of dates.
fn days(dates: &[Date], what: &str) -> Option<String> {
    let mut days: Vec<String> = dates.iter().map(|date| date.day().to_string()).collect();
    days.sort();
    (!days.is_empty()).then(|| format!("{} {what}", days.join(" ")))
}

/// A notice in words: `6 began, 5 still`.
fn words(notice: &Notice<'_>) -> String {
    let name = notice.say.name();
    let of = if notice.news.check() == "c" { "" } else { "up: " };
    if notice.about == About::Evaluation {
        return format!("{of}error {name}");
    }
    let dates = &notice.dates;
    let reminds = matches!(notice.say, Say::Reminder { .. });
    let first = if matches!(notice.say, Say::Changed { .. } | Say::Reminder { .. }) { "began" } else { name };
    let acknowledged: Vec<Date> = dates.acknowledged.iter().map(|(date, _)| *date).collect();
    let parts = [
        days(&dates.new, first),
        days(&dates.changed, "changed"),
        days(&dates.ended, name),
        days(&dates.still, if reminds { "reminder" } else { "still" }),
        days(&acknowledged, "acknowledged"),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    format!("{of}{}", if parts.is_empty() { format!("now {name}") } else { parts.join(", ") })
}

/// The cases of a table: a title, lines of `[checks.c]` after a bar, and rows.
fn cases(table: &str) -> Vec<(&str, String, Vec<Row<'_>>)> {
    let mut cases: Vec<(&str, String, Vec<Row<'_>>)> = Vec::new();
    for line in table.lines() {
        let Some(rest) = line.strip_prefix("  ").map(str::trim) else {
            cases.push((line, String::new(), Vec::new()));
            continue;
        };
        let (_, toml, rows) = cases.last_mut().expect("a title first");
        match (rest.strip_prefix("| "), rest.split_once("=>")) {
            (Some(line), _) => *toml += &format!("{line}\n"),
            (None, Some((happens, expected))) => {
                let (hour, happens) = happens.split_once(' ').expect("an hour and what happens");
                rows.push((hour.parse().expect("an hour"), happens.trim(), expected.trim()));
            }
            _ => panic!("{line}"),
        }
    }
    cases
}

/// Plays rows, and compares the messages with what is expected.
fn play(why: &str, toml: &str, rows: &[Row<'_>]) -> Standings {
    let config = Config::parse(&format!("timezone = 'UTC'\n[checks.c]\n{toml}")).expect("a configuration");
    let mut standings = Standings::new();
    let mut silences: Vec<Silence> = Vec::new();
    for (hour, happens, expected) in rows {
        let now = at(*hour);
        let mut said: Vec<String> = Vec::new();
        let mut runs: Vec<Run> = Vec::new();
        let mut words_of = happens.split_whitespace();
        while let Some(word) = words_of.next() {
            let mut number = || words_of.next().expect("a number").parse::<i8>().expect("a number");
            let wanted = match word {
                "ack" => Some(Wanted::Ack { why: "known".to_owned(), until: now + SignedDuration::from_hours(72) }),
                "close" => Some(Wanted::Close { why: "it will not come".to_owned(), all: false }),
                "recheck" => Some(Wanted::Recheck),
                _ => None,
            };
            if let Some(wanted) = wanted {
                let of = ("c", standings.entry("c".to_owned()).or_default());
                let done = order(of, Some(date(number())), &wanted, "ann", (now, &TimeZone::UTC))
                    .unwrap_or_else(|no| panic!("{why}: {no}"));
                said.extend(done.messages.iter().map(|message| message.title.clone()));
            } else if word == "silence" {
                let ends = now + SignedDuration::from_hours(i64::from(number()));
                silences =
                    vec![Silence { id: 1, checks: vec!["c".to_owned()], why: "works".to_owned(), began: now, ends }];
            } else {
                let about_now = word == "now";
                let word = if about_now { words_of.next().expect("a result") } else { word };
                runs.push(result(word, about_now, *hour));
            }
        }
        runs.sort_by(|a, b| a.check.cmp(&b.check));
        let news: Vec<News<'_>> = runs.iter().map(News::Run).collect();
        let decided = decide(&news, &mut standings, Rules { looks: true, config: &config, silences: &silences, now });
        said.extend(decided.notices.iter().map(words));
        assert_eq!(said.join("; "), *expected, "{why}: hour {hour}: {happens}");
    }
    standings
}

/// Each case with its lines of `[checks.c]`, and its rows.
const TABLE: &str = "\
one date is bad and good again
    0  5f               => 5 began
    1  5f               =>
    2  5.               => 5 recovered
the next date is no recovery
    0  5f               => 5 began
   24  6. 5f            => 5 reminder
   25  5.               => 5 recovered
   26  6.               =>
a further date is told once in a repeat_interval, what is new first
  | alerts = { repeat_interval = '30h' }
    0  5f               => 5 began
   24  6f 5f            =>
   25  6f               =>
   30  6f               => 6 began, 5 still
   48  7f               =>
   60  7f               => 7 began, 5 6 still
   61  5. 6. 7.         => 5 6 7 recovered
a further date that is worse is told at once, one that is milder is not
  | alerts = { repeat_interval = '40h' }
    0  5w               => 5 began
   24  6f               => 6 began, 5 still
   48  7w               =>
   64  7w               => 7 began, 5 6 still
dates that are told together are good again apart
    0  5f               => 5 began
   24  6f 5f            => 6 began, 5 still
   25  6.               => 6 recovered, 5 still
   26  5.               => 5 recovered
a further date is told at once when the others are good
  | alerts = { repeat_interval = '48h' }
    0  5f               => 5 began
   24  6f               =>
   25  5.               => 6 began; 5 recovered, 6 still
reminders list the open dates
    0  5f               => 5 began
   24  6f               => 6 began, 5 still
   27  6f               =>
   28  6f 5f            => 5 6 reminder
   31  5f               =>
   32  5f               => 5 6 reminder
a change delays the reminder of the others
    0  5f               => 5 began
   24  6w               => 6 began, 5 still
   27  6f               => 6 changed, 5 still
   30  6f               =>
   31  6f 5f            => 5 6 reminder
something else is wrong with one of them
    0  5f               => 5 began
   24  6f               => 6 began, 5 still
   25  5x               => 5 changed, 6 still
confirm counts by date
  | alerts = { confirm = 2 }
    0  5f               =>
   24  6f               =>
   25  5f               => 5 began
   26  6.               =>
   27  6f               =>
   30  6f               => 6 began, 5 still
a date that was not confirmed is good without a word
  | alerts = { confirm = 2 }
    0  5f               =>
   24  6.               =>
   25  5.               =>
flapping is told by date, and its end though nobody looks at it any more
  | alerts = { repeat_interval = '99h' }
    1  5f               => 5 began
    2  5.               => 5 recovered
    3  5f               => 5 began
    4  5.               => 5 recovered
    4  5f               => 5 flapping
    5  5.               =>
   24  6.               => 5 recovered
   25  6.               =>
what a silence holds is told when it is over
    0  silence 26 5f    =>
   24  6f               =>
   25  6f               =>
   26  6f 5f            => 5 6 began
   27  5. 6.            => 5 6 recovered
a recovery is not held
    0  5f               => 5 began
    1  silence 9 5f     =>
    6  5f               =>
    7  5.               => 5 recovered
nobody is reminded in a silence, and after it is
    0  5f               => 5 began
    1  silence 24 5f    =>
   24  6.               =>
   25  6. 5f            => 5 reminder
an acknowledged date is not reminded of, and its end is told
    0  5f               => 5 began
    1  ack 5 5f         =>
   24  6.               =>
   25  6f               => 6 began, 5 acknowledged
   29  6f               => 6 reminder, 5 acknowledged
   30  5.               => 5 recovered, 6 still
an acknowledgement is over after its time
    0  5f               => 5 began
    1  ack 5 5f         =>
   72  8.               =>
   73  8. 5f            => 5 reminder
it lapses when the date is worse
    0  5w               => 5 began
    1  ack 5            =>
    2  5f               => 5 changed
    6  5f               => 5 reminder
it lapses when something else is wrong too
    0  5f               => 5 began
    1  ack 5            =>
    2  5x               => 5 changed
    6  5x               => 5 reminder
it ends with its incident
    0  5f               => 5 began
    1  ack 5 5f         =>
    2  5.               => 5 recovered
   12  5f               => 5 began
   16  5f               => 5 reminder
a date is given up by somebody, and is good after all
    0  5f               => 5 began
    1  close 5          => c: 2026-02-05 given up
   24  6.               =>
   48  ?5f              =>
   49  ?5.              => 5 recovered
   50  ?5.              =>
a date is given up after its time, and is good after all
  | recheck_for = '2d'
    0  5f               => 5 began
   24  6. 5f            => 5 reminder
   48  7. 5f            => 5 given_up
   72  8.               =>
   73  ?5.              => 5 recovered
a date of which nobody was told is given up, and that is told
  | recheck_for = '2d'
  | alerts = { confirm = 9 }
    0  5f               =>
   24  6. 5f            =>
   48  7. 5f            => 5 given_up
   50  ?5.              => 5 recovered
the same under a silence
  | recheck_for = '2d'
    0  silence 99 5f    =>
   24  6. 5f            =>
   48  7. 5f            => 5 given_up
a skip ends nothing and begins nothing
    0  5f               => 5 began
    1  5s               =>
   24  6s 5f            => 5 reminder
   25  5.               => 5 recovered
an error is of the check, and not of a date
    0  5f               => 5 began
    1  5e               =>
    2  5e               => error began
   24  6e 5f            => 5 reminder; error reminder
   25  6.               => error recovered
   26  5.               => 5 recovered
an error at another date says nothing about the check; that date is given up after its time
  | recheck_for = '2d'
    0  5.               =>
    1  ?2e              =>
    2  2e               =>
    3  2e               =>
   24  6. 2e            =>
   50  2e               => 2 given_up
   51  ?2.              => 2 recovered
no date is given up while the check cannot be evaluated, and it is judged when that is over
  | recheck_for = '2d'
    0  5e               =>
    1  5e               => error began
   24  6e               => error reminder
   50  7e 5e            => error reminder
   72  8e 5e 6e         => error reminder
   73  8.               => error recovered
   74  5f 6.            => 5 began
before its deadline a bad date is pending
    0  5p               =>
    3  5f               => 5 began
   24  6p 5f            => 5 reminder
   27  6.               =>
   28  5.               => 5 recovered
a pending date that is good is not told
    0  5p               =>
    1  5p               =>
    2  5.               =>
a date that is told stays told before a deadline
    0  5f               => 5 began
    1  5p               =>
    2  5.               => 5 recovered
of dates to now: the newest goes on, the others are given up
  | alerts = { repeat_interval = '20h' }
    0  5f               => 5 began
   24  6f               => 6 began, 5 still
   25  now f            => 5 given_up
   44  now f            => now reminder
   48  now .            => now recovered
of now to dates: it goes on at the date that is due
    0  now f            => now began
   24  6f               => 6 reminder
   25  6.               => 6 recovered
of now to dates, and the first result is of another date
    0  now f            => now began
   24  ?3.              => 5 reminder
   25  6.               =>
   26  5.               => 5 recovered
the clock is set back
   48  7f               => 7 began
    0  5f               =>
    4  5f               => 5 began, 7 still
    8  5f               => 5 7 reminder
    9  5.               => 5 recovered, 7 still
   10  7.               => 7 recovered
";

#[test]
fn what_is_said_of_each_date() {
    for (why, toml, rows) in cases(TABLE) {
        play(why, &toml, &rows);
    }
}

/// The check that it depends on speaks for a date while it fails for that date, and for no other.
const ABOVE: &str = "\
both fail for one date
    0  up5f 5f          => up: 5 began
    1  up5. 5f          => up: 5 recovered
    2  up5. 5f          => 5 began
    3  5.               => 5 recovered
it fails for another date
    0  up5f 5.          => up: 5 began
   24  up6. up5f 6f     => 6 began; up: 5 reminder
   25  up5. 6.          => 6 recovered; up: 5 recovered
two dates, and it fails for one of them
    0  up5f             => up: 5 began
    1  up5f 5f          => 5 below
   24  up6. up5f 6f     => 6 began, 5 still; up: 5 reminder
   25  up5. 6. 5.       => 5 6 recovered; up: 5 recovered
";

#[test]
fn an_upstream_check_speaks_by_date() {
    for (why, _, rows) in cases(ABOVE) {
        play(why, "depends_on = ['up']", &rows);
    }
}

/// What is remembered of each date after that.
#[test]
fn the_state_of_each_date() {
    for (toml, rows, expected) in [
        ("", &[(0, "5.", "")][..], "5 Good"),
        ("", &[(0, "5f", "5 began")], "5 Bad"),
        ("", &[(0, "5w", "5 began")], "5 Warned"),
        ("", &[(0, "5p", "")], "5 Pending"),
        ("", &[(0, "5s", "")], "5 Skipped"),
        ("", &[(0, "5e", "")], "5 NotJudged"),
        ("", &[(0, "5p", ""), (1, "5e", "")], "5 NotJudged"),
        ("", &[(0, "5f", "5 began"), (1, "5e", "")], "5 Bad"),
        ("", &[(0, "5f", "5 began"), (1, "5s", "")], "5 Bad"),
        ("", &[(0, "5.", ""), (1, "5e", "")], "5 Good"),
        ("", &[(0, "5e", ""), (24, "6. 5s", "")], "5 Skipped, 6 Good"),
        ("", &[(0, "5f", "5 began"), (24, "6. 5.", "5 recovered")], "5 Good, 6 Good"),
        ("", &[(0, "5f", "5 began"), (1, "close 5", "c: 2026-02-05 given up"), (2, "?5f", "")], "5 GivenUp"),
        ("", &[(0, "recheck 2", ""), (1, "5. 2e", "")], "2 NotJudged, 5 Good"),
    ] {
        let standings = play(expected, toml, rows);
        let days = &*standings["c"].days;
        let states: Vec<String> = days
            .iter()
            .map(|(subject, day)| format!("{} {:?}", subject.map_or(0, |date| date.day()), day.state))
            .collect();
        assert_eq!(states.join(", "), expected);
        for (subject, day) in days {
            let forgotten =
                day.look.is_none() && (day.is_open() || matches!(day.state, State::NotJudged | State::Pending));
            assert!(!forgotten, "{expected}: nobody looks at {subject:?} again");
        }
    }
}
