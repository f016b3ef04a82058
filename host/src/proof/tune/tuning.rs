//! A limit that is tuned: the values of its metric by date, and what rules say of them.

use std::collections::BTreeSet;

use jiff::civil::Date;

use super::{
    super::{Side, knobs::Knob},
    history::{History, Known},
    rule::{Rule, Series, faults, residuals},
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
    /// Their median.
    usual: f64,
    /// The rules now and with the proposals.
    pub(super) now: Vec<Rule>,
    pub(super) then: Vec<Rule>,
    history: &'h History,
}

/// What all limits together say of some dates.
pub(super) fn figures(tunings: &[Tuning<'_>], which: Which, dates: &[Date], history: &History) -> Figures {
    let mut figures = Figures::default();
    for date in dates {
        let Some(known) = history.dates.get(date).filter(|known| known.bad != Some(true)) else { continue };
        let alarm = alarm(tunings, which, *date, known);
        figures.alarms.add(alarm);
        if alarm {
            figures.alarmed.push(*date);
        }
        for tuning in tunings {
            tuning.catches(which(tuning), *date).into_iter().for_each(|hit| figures.caught.add(hit));
        }
    }
    figures
}

/// Whether any limit alarms on a date, as one does whose metric has no value.
pub(super) fn alarm(tunings: &[Tuning<'_>], which: Which, date: Date, known: &Known) -> bool {
    tunings.iter().any(|tuning| tuning.alarms(date, which(tuning))) || is_missing(known, tunings)
}

/// Whether a metric with a limit has no value.
fn is_missing(known: &Known, tunings: &[Tuning<'_>]) -> bool {
    tunings.iter().any(|tuning| tuning.knob.limit.is_some() && known.missing.contains(&tuning.knob.metric))
}

/// The dates of some on which any of several limits alarms, of those that nobody says were bad, and the faults that they catch.
pub(super) fn shares(tunings: &[&Tuning<'_>], which: Which, dates: &[Date]) -> (Share, Share) {
    let (mut alarms, mut caught) = (Share::default(), Share::default());
    for date in dates {
        let valued: Vec<_> = tunings.iter().filter(|tuning| tuning.is_valued(*date)).collect();
        if !valued.is_empty() {
            alarms.add(valued.iter().any(|tuning| tuning.alarms(*date, which(tuning))));
        }
        let hits = tunings.iter().flat_map(|tuning| tuning.catches(which(tuning), *date));
        hits.for_each(|hit| caught.add(hit));
    }
    (alarms, caught)
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
        Self { then: now.clone(), knob, all, good, usual, now, history }
    }

    /// The rule that a value of the setting makes.
    pub(super) fn rule(&self, value: f64) -> Rule {
        self.knob.rule(value * self.knob.factor)
    }

    /// The values of the dates up to one that somebody said were bad.
    pub(super) fn bad(&self, last: Date) -> Vec<f64> {
        self.all.range(..=last).filter(|(date, _)| self.history.is_bad(**date)).map(|(_, value)| *value).collect()
    }

    fn is_valued(&self, date: Date) -> bool {
        !self.history.is_bad(date) && self.all.contains_key(&date)
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

    /// Whether a value would alarm on a date. A rule with nothing to compare with says nothing.
    fn is_broken(&self, rules: &[Rule], date: Date, value: f64) -> bool {
        rules.iter().any(|rule| rule.is_broken(date, value, &self.good) == Some(true))
    }

    /// Whether a date alarms.
    pub(super) fn alarms(&self, date: Date, rules: &[Rule]) -> bool {
        self.all.get(&date).is_some_and(|value| self.is_broken(rules, date, *value))
    }

    /// Whether the rules of today do as well on some dates as others: they catch as much, of bad dates as well, and alarm on no more
    /// good ones.
    pub(super) fn suffices(&self, others: &[Rule], dates: &[Date]) -> bool {
        let alarmed = |rules: &[Rule], bad: bool| {
            let of = dates.iter().filter(|date| self.history.is_bad(**date) == bad);
            of.filter(|date| self.alarms(**date, rules)).count()
        };
        !self.now.is_empty()
            && self.caught(&self.now, dates) >= self.caught(others, dates)
            && alarmed(&self.now, true) >= alarmed(others, true)
            && alarmed(&self.now, false) <= alarmed(others, false)
    }

    /// How many good dates are beyond some rules.
    pub(super) fn beyond(&self, rules: &[Rule], good: &[(Date, f64)]) -> usize {
        good.iter().filter(|(date, value)| self.is_broken(rules, *date, *value)).count()
    }

    /// Which faults of a date are caught.
    fn catches(&self, rules: &[Rule], date: Date) -> Vec<bool> {
        let Some(value) = self.good.get(&date) else { return Vec::new() };
        faults(&self.knob, *value, self.usual).into_iter().map(|fault| self.is_broken(rules, date, fault)).collect()
    }

    /// The faults of some dates that are caught.
    pub(super) fn caught(&self, rules: &[Rule], dates: &[Date]) -> f64 {
        let mut share = Share::default();
        dates.iter().flat_map(|date| self.catches(rules, *date)).for_each(|hit| share.add(hit));
        share.value()
    }
}
