//! The limits of one metric over all rehearsals of a check: those that fail it, and those that only warn.

use std::sync::Arc;

use crate::{capability::Given, contract::Metric, plugin::WarnLimits};

/// How often a limit is aimed at before it counts as one that nothing breaks.
pub(super) const AIMS: u64 = 24;
/// How often, if no result came to it: as often as there are rehearsals.
const MOST_AIMS: u64 = super::REHEARSALS as u64;

/// The limits of one metric over all rehearsals.
#[derive(Debug)]
pub(super) struct Threshold {
    /// How many rehearsals gave it a value.
    pub(super) known: u64,
    /// Its first value.
    first: Option<f64>,
    /// Whether it had different values.
    moved: bool,
    unit: Option<String>,
    /// The answers of the latest rehearsal in which it had a value.
    pub(super) earlier: Arc<Given>,
    limits: [Limit; 5],
}

/// One limit.
#[derive(Debug)]
pub(super) struct Limit {
    rule: Rule,
    /// The last limit.
    pub(super) asked: Option<f64>,
    /// Whether some result broke it.
    pub(super) broken: bool,
    /// Whether some result met it.
    met: bool,
    /// Whether some result was exactly at it.
    touched: bool,
    /// How often it was aimed at.
    pub(super) aimed: u64,
}

/// What a limit asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rule {
    AtLeast,
    AtMost,
    Below,
    WarnsBelow,
    WarnsAbove,
}

impl Default for Threshold {
    fn default() -> Self {
        let rules = [Rule::AtLeast, Rule::AtMost, Rule::Below, Rule::WarnsBelow, Rule::WarnsAbove];
        let limits = rules.map(|rule| Limit { rule, asked: None, broken: false, met: false, touched: false, aimed: 0 });
        Self { known: 0, first: None, moved: false, unit: None, earlier: Arc::default(), limits }
    }
}

impl Threshold {
    /// Adds one result.
    pub(super) fn meet(&mut self, metric: &Metric, warn: WarnLimits) {
        self.known += u64::from(metric.value.is_some());
        self.first = self.first.or(metric.value);
        self.moved |= metric.value.zip(self.first).is_some_and(|(value, first)| value != first);
        self.unit.clone_from(&metric.unit);
        for limit in &mut self.limits {
            let asked = limit.rule.asked(metric, warn);
            limit.asked = asked.or(limit.asked);
            let Some((value, asked)) = metric.value.zip(asked) else { continue };
            // Also a value that fails is beyond the limit of the warning: between the two there is room, or they are refused.
            let breaks = limit.rule.breaks(value, asked);
            limit.broken |= breaks;
            limit.met |= !breaks;
            limit.touched |= (value - asked).abs() <= asked.abs() * 1e-9;
        }
    }

    pub(super) fn limits(&self) -> impl Iterator<Item = &Limit> {
        self.limits.iter()
    }

    /// The limits that were not seen from both sides, each with the metric's unit and the answers to begin with. A metric
    /// that is `set` has the values that are made up for it.
    pub(super) fn open(&mut self, set: bool) -> impl Iterator<Item = (&Option<String>, &Arc<Given>, &mut Limit)> {
        let Self { known, unit, earlier, limits, .. } = self;
        let (enough, unit, earlier) = (set && *known >= AIMS, &*unit, &*earlier);
        limits.iter_mut().filter(move |limit| limit.is_open(enough)).map(move |limit| (unit, earlier, limit))
    }

    /// Its limits as sentences.
    pub(super) fn rules(&self, name: &str) -> Vec<String> {
        self.limits().filter_map(|limit| Some(limit.rule.sentence(name, limit.asked?))).collect()
    }

    fn asked(&self, rule: Rule) -> Option<f64> {
        self.limits().find(|limit| limit.rule == rule)?.asked
    }

    /// The largest value that does not fail.
    pub(super) fn most(&self) -> Option<f64> {
        self.asked(Rule::AtMost)
    }

    /// The smallest value that does not fail.
    pub(super) fn least(&self) -> Option<f64> {
        self.asked(Rule::AtLeast)
    }

    /// Whether it has a limit.
    pub(super) fn is_limited(&self) -> bool {
        self.limits().any(|limit| limit.asked.is_some())
    }

    /// Whether a value may be too low.
    pub(super) fn has_minimum(&self) -> bool {
        self.least().is_some() || self.asked(Rule::WarnsBelow).is_some()
    }

    /// Whether no value meets all limits.
    pub(super) fn contradicts(&self) -> bool {
        let over = |most: Rule, is_over: fn(f64, f64) -> bool| {
            self.asked(Rule::AtLeast).zip(self.asked(most)).is_some_and(|(min, most)| is_over(min, most))
        };
        over(Rule::AtMost, |min, most| min > most) || over(Rule::Below, |min, most| min >= most)
    }

    pub(super) fn contradiction(&self, name: &str) -> String {
        let limits = self.limits().filter(|limit| !limit.rule.warns());
        let limits = limits.filter_map(|limit| Some(format!("{} {}", limit.rule.words(), limit.asked?)));
        format!("{name} must be {}, and no value is both", limits.collect::<Vec<_>>().join(" and "))
    }

    /// A limit that no value of this metric breaks: the metric is `set` to values on both sides of it and moved, and none
    /// went beyond it; or the metric is a `count`, and the limit is not above 0.
    pub(super) fn unbreakable(&self, set: bool, count: bool) -> Option<&Limit> {
        self.limits().filter(|limit| !limit.broken).find(|limit| {
            let low = matches!(limit.rule, Rule::AtLeast | Rule::WarnsBelow);
            let below_any_count = count && low && limit.asked.is_some_and(|asked| asked <= 0.0);
            let certain = set && self.moved && limit.touched && limit.aimed >= AIMS && self.known >= AIMS;
            limit.asked.is_some() && (certain || (below_any_count && limit.aimed > 0))
        })
    }

    /// A limit that no value meets of a metric that is `set` to values on both sides of it.
    pub(super) fn unmeetable(&self, set: bool) -> Option<&Limit> {
        self.limits().find(|limit| set && limit.never_met() && limit.aimed >= AIMS && self.known >= AIMS)
    }
}

impl Limit {
    /// Whether it may still be broken, if it is aimed at; the metric had a value often `enough`.
    fn is_open(&self, enough: bool) -> bool {
        let most = if (self.touched || self.broken) && enough { AIMS } else { MOST_AIMS };
        self.asked.is_some() && !(self.broken && self.met) && self.aimed < most
    }

    /// Whether there is a limit, and no result met it.
    pub(super) fn never_met(&self) -> bool {
        self.asked.is_some() && !self.met
    }

    /// That no result meets it.
    pub(super) fn unmet(&self, name: &str) -> String {
        format!("{}, and no simulated result meets that", self.rule.sentence(name, self.asked.unwrap_or_default()))
    }

    /// That no result breaks it.
    pub(super) fn unbroken(&self, name: &str) -> String {
        let sentence = self.rule.sentence(name, self.asked.unwrap_or_default());
        match self.rule.warns() {
            true => format!("{sentence}, and no simulated result is beyond that"),
            false => format!("{sentence}, and every simulated result meets that"),
        }
    }

    /// The metric with the limit, in a list.
    pub(super) fn short(&self, name: &str) -> Option<String> {
        let words = if self.rule.warns() {
            self.rule.sentence("", self.asked?)
        } else {
            format!(" {} {}", self.rule.words(), self.asked?)
        };
        Some(format!("{name}{words}"))
    }
}

impl Rule {
    fn asked(self, metric: &Metric, warn: WarnLimits) -> Option<f64> {
        match self {
            Self::AtLeast => metric.min,
            Self::AtMost => metric.max,
            Self::Below => metric.below,
            Self::WarnsBelow => warn.min,
            Self::WarnsAbove => warn.max,
        }
    }

    fn breaks(self, value: f64, limit: f64) -> bool {
        match self {
            Self::AtLeast | Self::WarnsBelow => value < limit,
            Self::AtMost | Self::WarnsAbove => value > limit,
            Self::Below => value >= limit,
        }
    }

    fn warns(self) -> bool {
        matches!(self, Self::WarnsBelow | Self::WarnsAbove)
    }

    fn words(self) -> &'static str {
        match self {
            Self::AtLeast => "at least",
            Self::AtMost => "at most",
            Self::Below => "below",
            Self::WarnsBelow => "warns below",
            Self::WarnsAbove => "warns above",
        }
    }

    fn sentence(self, name: &str, limit: f64) -> String {
        match self.warns() {
            true => format!("{name} {} {limit}", self.words()),
            false => format!("{name} must be {} {limit}", self.words()),
        }
    }
}
