//! Random histories of one check, judged by a second implementation. And the host is restarted at random.

use std::{collections::BTreeSet, time::Duration};

use jiff::{SignedDuration, Timestamp, civil, tz::TimeZone};

use super::{
    naive::{DAY, HOUR, Heard, Known, Naive, Outcome},
    *,
};
use crate::{
    alert::{self, About, News, Rules, Say, Wanted},
    check::Family,
    contract::{Report, Verdict},
    record::Silence,
    run::{Reason, Run},
};

fn at(minute: i64) -> Timestamp {
    "2026-02-06T00:00:00Z".parse::<Timestamp>().expect("a time") + SignedDuration::from_mins(minute)
}

fn date(day: i64) -> Date {
    civil::date(2026, 2, 5) + SignedDuration::from_hours(24 * day)
}

/// The number of a date.
fn number(of: Date) -> i64 {
    of.duration_since(date(0)).as_hours() / 24
}

fn run(result: Outcome, now: i64) -> Run {
    let verdict = match result.letter {
        '.' => Some(Verdict::Pass),
        'f' => Some(Verdict::Fail),
        'w' => Some(Verdict::Warn),
        's' => Some(Verdict::Skip("a holiday".to_owned())),
        _ => None,
    };
    Run {
        check: "c".to_owned(),
        plugin: None,
        due: at(now),
        clock: at(now),
        data_date: date(result.day),
        attempt: 1,
        past: result.past,
        dates: Default::default(),
        deadline: at(result.early.unwrap_or(now)),
        early: result.early.is_some(),
        again: result.again,
        began: None,
        lease: None,
        off_hours: false,
        report: verdict.map(|verdict| Report {
            verdict,
            summary: String::new(),
            metrics: Vec::new(),
            violations: Vec::new(),
            unknown: Vec::new(),
            gate: None,
        }),
        error: (result.letter == 'e').then(|| Reason::NotFound("query failed".to_owned())),
        duration: Duration::ZERO,
        evidence: Vec::new(),
        calls: Vec::new(),
        log: String::new(),
        alerts: Vec::new(),
        family: Some(Family { channel: "#a".to_owned(), group: "canaries".to_owned() }),
        next: Some(at(now + DAY)),
        untold: None,
        exceeded: Default::default(),
        tapes: Default::default(),
        given: None,
        said: None,
    }
}

/// Numbers that look random, the same each time.
struct Random(u64);

impl Random {
    fn below(&mut self, most: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap_or_default() % most
    }

    fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }
}

/// The host, and the second implementation beside it.
struct Both<'c> {
    config: &'c Config,
    standings: Standings,
    naive: Naive,
    /// `expect_by`, after the end of a date.
    patience: i64,
    silent_until: i64,
    now: i64,
    /// What happened, for a failure.
    story: Vec<String>,
}

/// How many results confirm, and for how many days a bad date is looked at again.
const KINDS: [(u32, i64); 6] = [(1, 2), (1, 7), (2, 2), (2, 7), (3, 2), (3, 7)];

fn config((confirm, days): (u32, i64)) -> Config {
    let toml = format!(
        "timezone = 'UTC'\n[alerts]\nflap_changes = 0\nconfirm = {confirm}\nroutes = {{ critical = ['#on-call'] }}\n\
         [checks.c]\nrecheck_for = '{days}d'\n"
    );
    Config::parse(&toml).expect("a configuration")
}

impl<'c> Both<'c> {
    fn new(random: &mut Random, configs: &'c [Config]) -> Self {
        let kind = random.below(KINDS.len());
        let (confirm, days) = KINDS[kind];
        Self {
            config: &configs[kind],
            standings: Standings::from([("c".to_owned(), Standing::default())]),
            naive: Naive { confirm, length: days * DAY, ..Naive::default() },
            patience: random.of(&[0, 0, 6 * HOUR]),
            silent_until: 0,
            now: 0,
            story: vec![format!("{confirm} results, {days} days")],
        }
    }

    /// The day that is due now.
    fn usual(&self) -> i64 {
        self.now.div_euclid(DAY)
    }

    fn result(&self, day: i64, letter: char, again: bool) -> Outcome {
        let deadline = day * DAY + self.patience;
        Outcome { day, letter, again, past: day != self.usual(), early: (self.now < deadline).then_some(deadline) }
    }

    fn round(&mut self, results: &[Outcome]) {
        self.story.push(format!("{:6.1} h: {results:?}", self.now as f64 / 60.0));
        let silence = Silence {
            id: 1,
            checks: vec!["c".to_owned()],
            why: "works".to_owned(),
            began: at(-DAY),
            ends: at(self.silent_until),
        };
        let runs: Vec<Run> = results.iter().map(|result| run(*result, self.now)).collect();
        let news: Vec<News<'_>> = runs.iter().map(News::Run).collect();
        let rules = Rules { looks: true, config: self.config, silences: &[silence], now: at(self.now) };
        let decided = alert::decide(&news, &mut self.standings, rules);
        let mut heard = Heard::new();
        for notice in decided.notices.iter().filter(|notice| notice.about == About::Data) {
            let channel = if notice.channel == "#a" { "#a" } else { "#on-call" };
            let dates = &notice.dates;
            let mut hear =
                |kind: char, dates: &[Date]| heard.extend(dates.iter().map(|date| (channel, kind, number(*date))));
            match notice.say {
                Say::Moved { .. } => hear('m', &dates.new),
                Say::Recovered { .. } => hear('g', &dates.ended),
                Say::GivenUp { .. } => hear('x', &dates.ended),
                Say::Reminder { .. } => hear('r', &dates.still),
                _ => {
                    hear('a', &dates.new);
                    hear('a', &dates.changed);
                }
            }
        }
        let expected = self.naive.round(results, self.now, self.now < self.silent_until);
        assert_eq!(heard, expected, "{:#?}\nthe host, and what is expected", self.story);
    }

    /// Which dates are looked at now.
    fn looks(&self) -> Vec<i64> {
        let days = &self.standings["c"].days;
        let recheck = self.config.recheck("c");
        let looked = days.iter().filter(|(_, day)| day.is_looked_at(at(self.now), &recheck));
        let looked: Vec<i64> = looked.filter_map(|(date, _)| (*date).map(number)).collect();
        let naive = self.naive.dates.iter().filter(|(_, known)| known.look.is_some_and(|(at, ..)| at <= self.now));
        assert_eq!(looked, naive.map(|(day, _)| *day).collect::<Vec<_>>(), "looks at {}: {:#?}", self.now, self.story);
        looked
    }

    fn order(&mut self, day: i64, wanted: &Wanted) {
        self.story.push(format!("{:6.1} h: {day} {wanted:?}", self.now as f64 / 60.0));
        let standing = self.standings.get_mut("c").expect("a standing");
        let done = alert::order(("c", standing), Some(date(day)), wanted, "ann", (at(self.now), &TimeZone::UTC));
        let known = self.naive.dates.get(&day).cloned();
        let open = known.as_ref().is_some_and(|known| known.bad.is_some());
        let waits = known.as_ref().is_some_and(|known| "pn\0".contains(known.state));
        let mut known = known.unwrap_or_default();
        let (may, hearing) = match wanted {
            Wanted::Recheck => {
                let (tries, from) = known.look.map_or((0, self.now), |(_, tries, from)| (tries, from));
                if known.state == '\0' {
                    known.state = 'n';
                }
                known.look = Some((self.now, tries, from));
                (true, Vec::new())
            }
            Wanted::Ack { .. } => {
                known.acknowledged = known.bad.map(|bad| (bad, self.now + 2 * DAY));
                (open, Vec::new())
            }
            Wanted::Close { .. } => {
                let hearing: BTreeSet<&'static str> = known.told.keys().copied().collect();
                known = Known { state: 'x', given_up: Some(hearing.clone()), ..Known::default() };
                (open || waits, hearing.into_iter().collect())
            }
        };
        assert_eq!(done.is_ok(), may, "{done:?}: {:#?}", self.story);
        if let Ok(done) = done {
            let told: Vec<&str> = done.messages.iter().map(|message| message.channel.as_str()).collect();
            assert_eq!(told, hearing, "{:#?}", self.story);
            self.naive.dates.insert(day, known);
        }
    }

    /// Everything is as the record has it.
    fn restart(&mut self) {
        for (check, standing) in &mut self.standings {
            let mut again: Standing =
                serde_json::from_str(&serde_json::to_string(standing).expect("JSON")).expect("a standing");
            for (date, known) in &*standing.days {
                let row = row(check, *date, known).expect("a row");
                again.days_mut().insert(*date, day(&row).expect("a day"));
            }
            assert_eq!(again, *standing, "a restart changes nothing: {:#?}", self.story);
            *standing = again;
        }
    }

    /// No date that is not over is left alone.
    fn is_complete(&self) {
        for (date, day) in &*self.standings["c"].days {
            let waits = day.is_open() || matches!(day.state, State::NotJudged | State::Pending);
            assert!(!waits || day.look.is_some(), "{date:?} is left alone: {:#?}", self.story);
        }
    }
}

fn history(seed: u64, configs: &[Config]) {
    let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    let mut both = Both::new(&mut random, configs);
    let fair = ['.', '.', 'w', 'f', 'f', 'e', 's'];
    for _ in 0..20 {
        both.now += random.of(&[30, 30, HOUR, 3 * HOUR, 4 * HOUR, 9 * HOUR, 25 * HOUR]);
        let usual = both.usual();
        let day = usual - i64::try_from(random.below(4)).unwrap_or_default();
        match random.below(12) {
            0 => both.order(day, &Wanted::Ack { why: "known".to_owned(), until: at(both.now + 2 * DAY) }),
            1 => both.order(day, &Wanted::Close { why: "it will not come".to_owned(), all: false }),
            2 => both.order(day, &Wanted::Recheck),
            3 => {
                both.silent_until = both.now + random.of(&[2 * HOUR, DAY]);
                both.story.push(format!("silent until {:.1} h", both.silent_until as f64 / 60.0));
            }
            4 => both.restart(),
            5 => both.round(&[both.result(day, random.of(&fair), false)]),
            _ => {}
        }
        both.round(&[both.result(usual, random.of(&fair), false)]);
        let again: Vec<Outcome> =
            both.looks().into_iter().map(|day| both.result(day, random.of(&fair), true)).collect();
        if !again.is_empty() {
            both.round(&again);
        }
        both.is_complete();
    }
    // All is good in the end, and everybody hears it.
    both.silent_until = both.now;
    for _ in 0..12 {
        both.now += 25 * HOUR;
        let usual = both.usual();
        both.round(&[both.result(usual, '.', false)]);
        let again: Vec<Outcome> = both.looks().into_iter().map(|day| both.result(day, '.', true)).collect();
        if !again.is_empty() {
            both.round(&again);
        }
    }
    let standing = &both.standings["c"];
    assert_eq!(standing.open().count(), 0, "{:#?}", both.story);
    let knows = |day: &Day| !day.side().told.is_empty() || !day.side().listed.is_empty();
    assert!(!standing.days.values().any(knows), "somebody never hears the end: {:#?}", both.story);
}

/// No date is forgotten, no recovery is told without a good result of that date, each change is told once in each channel, and
/// nobody is reminded too often. `HISTORIES` is how many, if not as many as take a few seconds.
#[test]
fn random_histories_are_told_as_a_naive_reader_expects() {
    let wanted = std::env::var("HISTORIES").ok().and_then(|count| count.parse().ok());
    let count: u64 = wanted.unwrap_or(if cfg!(debug_assertions) { 1_000 } else { 100_000 });
    let configs = KINDS.map(config);
    let configs = configs.as_slice();
    std::thread::scope(|scope| {
        for half in 0..2 {
            scope.spawn(move || (half..count).step_by(2).for_each(|seed| history(seed, configs)));
        }
    });
}
