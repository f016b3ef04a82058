//! A limit that is tuned: the values of its metric by date, and what rules say of them.

use std::collections::{BTreeMap, BTreeSet};

use jiff::civil::Date;

use super::{
    super::{Side, knobs::Knob},
    history::{History, Known},
    rule::{Rule, Series, change_from, faults, residuals},
    statistics::{Share, median, quantile},
};

/// Tukey's outer fences (1977): what is farther than so many quartile ranges from the quartiles stands far apart.
const FENCE: f64 = 3.0;
/// The least number of dates of which one can stand apart: three of each weekday.
const LEAST: usize = 21;
/// The largest share of dates that may stand apart from a value that all others have.
const FEW: f64 = 0.1;

/// What all limits together say of the held-out dates.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Figures {
    /// Dates with an alarm though nobody says that they were bad.
    pub alarms: Share,
    /// Injected faults that are caught.
    pub caught: Share,
    /// Those dates.
    pub alarmed: Vec<Date>,
}

/// One of the two sets of rules of a limit.
pub(super) type Which = for<'t> fn(&'t Tuning<'_>) -> &'t [Rule];

/// A limit that is tuned, with the values of its metric.
pub(super) struct Tuning<'h> {
    pub(super) knob: Knob,
    /// All values, by date.
    all: Series,
    /// Those of dates that count as good.
    pub(super) good: Series,
    /// Of a change: what it is the change of, and what it is compared with.
    of: Option<(Series, (usize, usize, bool))>,
    /// Their median.
    usual: f64,
    /// The rules now and with the proposals.
    pub(super) now: Vec<Rule>,
    pub(super) then: Vec<Rule>,
    history: &'h History,
}

/// What a check says of its dates with some limits. It compares with earlier dates that it said were good itself.
struct Replayed {
    /// The dates on which any limit alarms.
    alarmed: BTreeSet<Date>,
    /// For each limit, the values that it compares with.
    usual: Vec<Series>,
}

fn replayed(tunings: &[&Tuning<'_>], which: Which, history: &History) -> Replayed {
    let mut usual = vec![Series::new(); tunings.len()];
    let mut alarmed = BTreeSet::new();
    for (date, known) in &history.dates {
        let is_broken = |(tuning, usual): (&&Tuning<'_>, &Series)| {
            let value = tuning.value(*date, usual);
            // A metric without a value breaks every limit.
            known.missing.contains(&tuning.knob.metric) && !which(tuning).is_empty()
                || value.is_some_and(|value| is_broken(which(tuning), *date, value, usual))
        };
        if tunings.iter().zip(&usual).any(is_broken) {
            alarmed.insert(*date);
            continue;
        }
        for (tuning, usual) in tunings.iter().zip(&mut usual) {
            usual.extend(tuning.base().get(date).map(|value| (*date, *value)));
        }
    }
    Replayed { alarmed, usual }
}

/// The dates on which any of some limits alarms.
pub(super) fn alarmed(tunings: &[Tuning<'_>], which: Which, history: &History) -> BTreeSet<Date> {
    replayed(&tunings.iter().collect::<Vec<_>>(), which, history).alarmed
}

/// What limits together say of some dates.
pub(super) fn figures(tunings: &[Tuning<'_>], which: Which, dates: &[Date], history: &History) -> Figures {
    let tunings: Vec<&Tuning<'_>> = tunings.iter().collect();
    let Replayed { alarmed, usual } = replayed(&tunings, which, history);
    let mut figures = Figures::default();
    for date in dates.iter().filter(|date| !history.is_bad(**date)) {
        figures.alarms.add(alarmed.contains(date));
        figures.alarmed.extend(alarmed.contains(date).then_some(*date));
        // A fault of one metric is one fault, whichever of its limits catches it.
        let mut faults: BTreeMap<(&str, bool), Vec<bool>> = BTreeMap::new();
        for (tuning, usual) in tunings.iter().zip(&usual) {
            let hits = tuning.catches(which(tuning), *date, usual);
            let found = faults.entry((tuning.knob.base(), tuning.knob.side == Side::Low)).or_default();
            found.resize(found.len().max(hits.len()), false);
            found.iter_mut().zip(hits).for_each(|(found, hit)| *found |= hit);
        }
        faults.into_values().flatten().for_each(|hit| figures.caught.add(hit));
    }
    figures
}

/// Whether a value breaks any rule on a date. One with nothing to compare with says nothing.
fn is_broken(rules: &[Rule], date: Date, value: f64, usual: &Series) -> bool {
    rules.iter().any(|rule| rule.is_broken(date, value, usual) == Some(true))
}

fn middle(series: &Series) -> f64 {
    median(&series.values().copied().collect::<Vec<_>>()).unwrap_or_default()
}

impl<'h> Tuning<'h> {
    pub(super) fn new(knob: Knob, history: &'h History) -> Self {
        let value = |known: &Known| {
            let (low, high) = *known.values.get(&knob.metric)?;
            Some(if knob.side == Side::Low { low } else { high })
        };
        let all: Series = history.dates.iter().filter_map(|(date, known)| Some((*date, value(known)?))).collect();
        let good =
            all.iter().filter(|(date, _)| !history.is_bad(**date)).map(|(date, value)| (*date, *value)).collect();
        let now: Vec<Rule> = knob.limit.map(|limit| knob.rule(limit)).into_iter().collect();
        let usual = middle(&good);
        let of = history.comparisons.get(&knob.metric).filter(|_| knob.of_change).map(|compared| {
            let value = |(date, known): (&Date, &Known)| Some((*date, known.values.get(knob.base())?.0));
            (history.dates.iter().filter_map(value).collect(), *compared)
        });
        Self { then: now.clone(), knob, all, good, of, usual, now, history }
    }

    /// The rule that a value of the setting makes.
    pub(super) fn rule(&self, value: f64) -> Rule {
        self.knob.rule(value * self.knob.factor)
    }

    /// The values of the dates up to one that somebody said were bad.
    pub(super) fn bad(&self, last: Date) -> Vec<(Date, f64)> {
        let is_bad = |(date, _): &(&Date, &f64)| self.history.is_bad(**date);
        self.all.range(..=last).filter(is_bad).map(|(date, value)| (*date, *value)).collect()
    }

    /// Takes dates out of the good ones that stand far apart from those up to the last one that is tuned on, unless somebody said that
    /// they were good.
    pub(super) fn set_apart(&mut self, last: Date) -> Vec<Date> {
        let residuals = residuals(&self.good, last);
        let values: Vec<f64> = residuals.range(..=last).map(|(_, residual)| *residual).collect();
        let quartiles = quantile(&values, 0.25).zip(quantile(&values, 0.75)).filter(|_| values.len() >= LEAST);
        let Some((low, high)) = quartiles else { return Vec::new() };
        let reach = FENCE * (high - low);
        let is_known = |date: &Date| self.history.dates.get(date).is_some_and(|known| known.bad == Some(false));
        let far = |(date, residual): &(&Date, &f64)| {
            (**residual < low - reach || **residual > high + reach) && !is_known(date)
        };
        let apart: BTreeSet<Date> = residuals.iter().filter(far).map(|(date, _)| *date).collect();
        if apart.range(..=last).count() as f64 > FEW * values.len() as f64 {
            return Vec::new();
        }
        self.good.retain(|date, _| !apart.contains(date));
        self.usual = middle(&self.good);
        // The later ones are not tuned on anyway.
        apart.into_iter().filter(|date| *date <= last).collect()
    }

    /// The values that are compared.
    fn base(&self) -> &Series {
        self.of.as_ref().map_or(&self.all, |(base, _)| base)
    }

    /// The value of a date, if it is compared with these.
    fn value(&self, date: Date, usual: &Series) -> Option<f64> {
        match &self.of {
            Some((base, compared)) => change_from(date, *base.get(&date)?, usual, *compared),
            None => self.all.get(&date).copied(),
        }
    }

    /// How many of some dates have no value, though nobody says that they were bad.
    pub(super) fn missing(&self, dates: &[Date]) -> usize {
        let is_missing =
            |date: &&Date| self.history.dates.get(date).is_some_and(|known| known.missing.contains(&self.knob.metric));
        dates.iter().filter(|date| !self.history.is_bad(**date)).filter(is_missing).count()
    }

    /// Whether somebody said that a date was good.
    pub(super) fn is_known_good(&self, date: Date) -> bool {
        self.history.dates.get(&date).is_some_and(|known| known.bad == Some(false) && !known.noise)
    }

    /// Whether the rules of today do as well on some dates as others: they catch as much, of bad dates as well, and alarm on no more
    /// good ones.
    pub(super) fn suffices(&self, others: &[Rule], dates: &[Date]) -> bool {
        let alarmed = |rules: &[Rule], bad: bool| {
            let of = dates.iter().filter(|date| self.history.is_bad(**date) == bad);
            let value = |date: &&Date| self.all.get(*date).copied();
            of.filter(|date| value(date).is_some_and(|value| is_broken(rules, **date, value, &self.good))).count()
        };
        !self.now.is_empty()
            && self.caught(&self.now, dates) >= self.caught(others, dates)
            && alarmed(&self.now, true) >= alarmed(others, true)
            && alarmed(&self.now, false) <= alarmed(others, false)
    }

    /// How many good dates are beyond some rules.
    pub(super) fn beyond(&self, rules: &[Rule], good: &[(Date, f64)]) -> usize {
        good.iter().filter(|(date, value)| is_broken(rules, *date, *value, &self.good)).count()
    }

    /// Which faults of a date are caught, if it is compared with these.
    fn catches(&self, rules: &[Rule], date: Date, usual: &Series) -> Vec<bool> {
        let value = match &self.of {
            Some(_) => self.value(date, usual),
            None => self.good.get(&date).copied(),
        };
        let Some(value) = value.filter(|_| self.good.contains_key(&date)) else { return Vec::new() };
        let made = faults(&self.knob, value, self.usual).into_iter();
        made.map(|fault| is_broken(rules, date, fault, usual)).collect()
    }

    /// The faults of some dates that are caught.
    pub(super) fn caught(&self, rules: &[Rule], dates: &[Date]) -> f64 {
        let mut share = Share::default();
        for date in dates {
            let made = self.good.get(date).map(|value| faults(&self.knob, *value, self.usual)).unwrap_or_default();
            made.into_iter().for_each(|fault| share.add(is_broken(rules, *date, fault, &self.good)));
        }
        share.value()
    }
}
