//! The second implementation of what is told of a check's dates: naive, a line for each rule as people are told it, and not
//! read off the first one.

use std::collections::{BTreeMap, BTreeSet};

pub(super) const REPEAT: i64 = 240;
pub(super) const HOUR: i64 = 60;
pub(super) const DAY: i64 = 24 * HOUR;

/// Who hears of a level.
fn channels(bad: char) -> &'static [&'static str] {
    if bad == 'f' { &["#a", "#on-call"] } else { &["#a"] }
}

/// The worse of two levels, of which `w` is the milder.
pub(super) fn worse(one: char, other: char) -> bool {
    one == 'f' && other == 'w'
}

/// A result: of a day, `.`, `w`, `f`, `e` or `s`; looked at again, or not; before its time, or not.
#[derive(Debug, Clone, Copy)]
pub(super) struct Outcome {
    pub(super) day: i64,
    pub(super) letter: char,
    pub(super) again: bool,
    pub(super) past: bool,
    pub(super) early: Option<i64>,
}

/// What was said: `a` alert, `r` reminder, `g` good again, `x` given up, `m` moved elsewhere.
pub(super) type Heard = BTreeSet<(&'static str, char, i64)>;

/// What people know of a date.
#[derive(Debug, Clone, Default)]
pub(super) struct Known {
    pub(super) state: char,
    /// Its level while it is bad.
    pub(super) bad: Option<char>,
    pub(super) in_a_row: u32,
    /// Who knows of it, and as how bad.
    pub(super) told: BTreeMap<&'static str, char>,
    pub(super) acknowledged: Option<(char, i64)>,
    /// Who hears if it is good after all.
    pub(super) given_up: Option<BTreeSet<&'static str>>,
    /// When it is looked at again, how often it was, and since when.
    pub(super) look: Option<(i64, u32, i64)>,
    /// Since when nothing held it back.
    pub(super) free: Option<i64>,
}

impl Known {
    /// All whom it concerns hear of it.
    fn tell(&mut self, day: i64, bad: char, heard: &mut Heard) {
        self.told = channels(bad).iter().map(|channel| (*channel, bad)).collect();
        heard.extend(channels(bad).iter().map(|channel| (*channel, 'a', day)));
    }

    /// Whether somebody works on it.
    fn works_on(&self, bad: char, now: i64) -> bool {
        self.acknowledged.is_some_and(|(level, until)| now < until && !worse(bad, level))
    }
}

/// The second implementation.
#[derive(Debug, Default)]
pub(super) struct Naive {
    pub(super) dates: BTreeMap<i64, Known>,
    pub(super) last_told: Option<i64>,
    /// Since when the check cannot be evaluated.
    pub(super) unable: Option<i64>,
    pub(super) confirm: u32,
    /// For how long bad dates are looked at again.
    pub(super) length: i64,
}

impl Naive {
    /// One hour, then twice as long each time, up to a day, and a last time at the end.
    fn look(&self, now: i64, tries: u32, from: i64) -> Option<(i64, u32, i64)> {
        let wait = (HOUR << tries.min(10)).min(DAY);
        (now < from + self.length).then(|| ((now + wait).min(from + self.length), tries, from))
    }

    fn next(&self, result: Outcome, now: i64, before: Option<(i64, u32, i64)>) -> Option<(i64, u32, i64)> {
        match before {
            Some((at, tries, from)) if result.again => {
                // The days on which nobody looked do not count.
                let away = if now - at > DAY { now - at } else { 0 };
                self.look(now, tries + 1, (from + away).min(now))
            }
            Some(look) if result.past => Some(look),
            _ => self.look(now, 0, now),
        }
    }

    /// Takes in the results of a round, and says who hears what.
    pub(super) fn round(&mut self, results: &[Outcome], now: i64, silent: bool) -> Heard {
        let mut heard = Heard::new();
        for result in results {
            self.result(*result, now, &mut heard);
        }
        let judged: BTreeSet<i64> = results.iter().filter(|one| "wf".contains(one.letter)).map(|one| one.day).collect();
        let lately = self.last_told.is_some_and(|last| now - last < REPEAT);
        let open: Vec<(i64, char)> = self
            .dates
            .iter()
            .filter_map(|(day, known)| Some((*day, *known.told.values().max_by_key(|bad| **bad == 'f')?)))
            .collect();
        let mut waiting = BTreeSet::new();
        for (day, known) in &mut self.dates {
            let Some(bad) = known.bad else { continue };
            let confirmed = known.in_a_row >= self.confirm || !known.told.is_empty();
            known.free = known.free.filter(|_| !silent && confirmed).or((!silent && confirmed).then_some(now));
            if silent || !confirmed {
                continue;
            }
            let next = known.look.is_some_and(|(at, ..)| at <= now) && !results.iter().any(|result| result.again);
            if known.told.is_empty() && next && !judged.contains(day) {
                // Whoever is about to look again says more in a moment.
                known.free = None;
                waiting.insert(*day);
                continue;
            }
            if known.told.is_empty() {
                // Further dates are told once in a while, unless they are worse.
                let others = open.iter().filter(|(other, _)| other != day);
                match lately && others.map(|(_, told)| told).any(|told| !worse(bad, *told)) {
                    true => drop(waiting.insert(*day)),
                    false => known.tell(*day, bad, &mut heard),
                }
            } else if judged.contains(day) {
                for channel in ["#a", "#on-call"] {
                    match (channels(bad).contains(&channel), known.told.get(channel)) {
                        (true, before) if before != Some(&bad) => {
                            known.told.insert(channel, bad);
                            heard.insert((channel, 'a', *day));
                        }
                        (false, Some(_)) => {
                            known.told.remove(channel);
                            heard.insert((channel, 'm', *day));
                        }
                        _ => {}
                    }
                }
            }
        }
        // They are in any message that is sent.
        for (day, known) in self.dates.iter_mut().filter(|(day, _)| waiting.contains(day)) {
            match known.bad.filter(|_| heard.iter().any(|(_, kind, _)| *kind == 'a')) {
                Some(bad) => known.tell(*day, bad, &mut heard),
                None => assert!(now - known.free.unwrap_or(now) < REPEAT, "day {day} is forgotten"),
            }
        }
        let due = self.last_told.is_some_and(|last| now - last >= REPEAT);
        // Whoever is about to look again says more in a moment.
        let looks = self.dates.values().any(|known| {
            known.bad.is_some_and(|bad| !known.works_on(bad, now)) && known.look.is_some_and(|(at, ..)| at <= now)
        }) && !results.iter().any(|result| result.again);
        if due && !looks && !silent && !heard.iter().any(|(_, kind, _)| *kind == 'a') {
            let open = |known: &Known| known.bad.filter(|bad| !known.told.is_empty() && !known.works_on(*bad, now));
            for (day, known) in &mut self.dates {
                let Some(bad) = open(known) else { continue };
                known.told.extend(channels(bad).iter().map(|channel| (*channel, bad)));
                heard.extend(channels(bad).iter().map(|channel| (*channel, 'r', *day)));
            }
            // A reminder lists all that its channel knows of.
            for channel in ["#a", "#on-call"] {
                if heard.iter().any(|(of, kind, _)| *of == channel && *kind == 'r') {
                    let listed = self
                        .dates
                        .iter()
                        .filter(|(_, known)| open(known).is_some() && known.told.contains_key(channel));
                    heard.extend(listed.map(|(day, _)| (channel, 'r', *day)));
                }
            }
        }
        if heard.iter().any(|(_, kind, _)| "arm".contains(*kind)) {
            self.last_told = Some(now);
        }
        heard
    }

    fn result(&mut self, result: Outcome, now: i64, heard: &mut Heard) {
        if !result.past {
            let was = self.unable;
            self.unable = match result.letter {
                'e' => was.or(Some(now)),
                's' => was,
                _ => None,
            };
            if let (Some(since), None) = (was, self.unable) {
                for known in self.dates.values_mut() {
                    let unjudged = known.state == 'n';
                    let Some((at, tries, from)) = known.look.filter(|_| unjudged || known.bad.is_some()) else {
                        continue;
                    };
                    // The time in which nothing could be judged does not count.
                    let from = (from + now - since).min(now);
                    // What could not be judged is judged now.
                    known.look = Some(if unjudged { (at.min(now), 0, from) } else { (at, tries, from) });
                }
            }
        }
        let mut known = self.dates.remove(&result.day).unwrap_or_default();
        let before = known.look;
        match result.letter {
            letter if known.given_up.is_some() => {
                known.look = None;
                if letter == '.' {
                    let hearing = known.given_up.take().unwrap_or_default();
                    heard.extend(hearing.into_iter().map(|channel| (channel, 'g', result.day)));
                    known.state = '.';
                }
            }
            '.' => {
                heard.extend(known.told.keys().map(|channel| (*channel, 'g', result.day)));
                known = Known { state: '.', ..Known::default() };
            }
            bad @ ('w' | 'f') => match result.early {
                Some(deadline) if known.bad.is_none() => {
                    known.state = 'p';
                    known.look = Some((deadline, 0, deadline));
                }
                _ => {
                    let first = known.bad.is_none();
                    (known.bad, known.state) = (Some(bad), bad);
                    // Once it was worse, nobody knows all of it.
                    known.acknowledged = known.acknowledged.filter(|_| known.works_on(bad, now));
                    known.in_a_row += 1;
                    known.look = if first { self.look(now, 0, now) } else { self.next(result, now, before) };
                }
            },
            letter if known.bad.is_some() => {
                known.look = self.next(result, now, before);
                if known.look.is_none() && letter == 'e' && self.unable.is_some() {
                    known.look = Some((now + DAY, 0, before.map_or(now, |(.., from)| from)));
                }
            }
            's' => (known.state, known.look) = ('s', None),
            _ if "n\0p".contains(known.state) => {
                let before = before.filter(|_| known.state != 'p' || !result.again);
                known.look = self.next(result, now, before);
                known.state = 'n';
                if known.look.is_none() && self.unable.is_some() {
                    known.look = Some((now + DAY, 0, before.map_or(now, |(.., from)| from)));
                }
            }
            _ => known.look = None,
        }
        let lost = known.bad.is_some() || known.state == 'n';
        if result.again && lost && known.look.is_none() {
            let mut hearing: BTreeSet<&'static str> = known.told.keys().copied().collect();
            if hearing.is_empty() {
                hearing = known.bad.map_or(&["#a"][..], channels).iter().copied().collect();
            }
            heard.extend(hearing.iter().map(|channel| (*channel, 'x', result.day)));
            known = Known { state: 'x', given_up: Some(hearing), ..Known::default() };
        }
        self.dates.insert(result.day, known);
    }
}
