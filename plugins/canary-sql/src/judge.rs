//! Compares numbers with limits. It makes no host call, so that each rule can be read by itself.

use std::{cmp::Ordering, collections::BTreeMap};

use sdk::{Change, Compared, Metric, Number, Violation, measured};

use crate::limits::Limits;

/// The findings, number by number.
#[derive(Default)]
pub(crate) struct Judge {
    pub(crate) metrics: Vec<Metric>,
    /// Violations that fail.
    pub(crate) broken: Vec<Violation>,
    /// Violations that only warn.
    pub(crate) warned: Vec<Violation>,
    /// Changes with too few good dates so far.
    pub(crate) learning: Vec<Violation>,
    /// Values that could not be determined.
    pub(crate) unknown: Vec<String>,
    /// Columns that are not numbers, with their values.
    pub(crate) shown: Vec<String>,
    /// The comparison that a metric comes from, in words, by its name.
    pub(crate) notes: BTreeMap<String, String>,
    /// Whole numbers that a metric has only rounded, by its name.
    large: BTreeMap<String, Number>,
}

impl Judge {
    /// Compares a number with its limits. A missing value breaks every limit.
    pub(crate) fn limits(&mut self, metric: Metric, value: Option<Number>, limits: &Limits) {
        let float = |limit: Option<Number>| limit.map(Number::float);
        let metric = Metric { value: float(value), min: float(limits.min), max: float(limits.max), ..metric };
        let broken = violation(&metric, value, limits.min, limits.max);
        if broken.is_none() {
            let (low, high) = (limits.warn_min, limits.warn_max);
            let warning = Metric { min: float(low), max: float(high), ..metric.clone() };
            let warning = violation(&warning, value, low, high);
            let marked = |violation: Violation| Violation {
                message: violation
                    .message
                    .replace("its minimum", "its warning minimum")
                    .replace("its maximum", "its warning maximum"),
                ..violation
            };
            // A missing value is a failure, not a warning.
            match metric.value {
                None => self.broken.extend(warning),
                Some(_) => self.warned.extend(warning.map(marked)),
            }
        }
        self.broken.extend(broken);
        self.large.extend(value.filter(|value| value.is_large()).map(|value| (metric.name.clone(), value)));
        self.metrics.push(metric);
    }

    /// Judges how a column compares with good dates; `compared` is `None` if the column has no value. With too few good dates the change has
    /// no value, and breaks no limit.
    pub(crate) fn change(&mut self, column: &str, compared: Option<Compared>, change: &Change) {
        let name = format!("{column}_change");
        let (metric, note) = match compared {
            None => (change.limits(column, None), None),
            Some(Compared::Changed(percent, note)) => (change.limits(column, Some(percent)), Some(note)),
            Some(Compared::Learning(note)) => {
                let message = format!("{name} has no value yet ({note})");
                self.learning.push(Violation { metric: Some(name.clone()), message });
                (measured(&name, None).unit("%"), Some(note))
            }
            Some(Compared::Unknown(why)) => return self.unknown.push(format!("{name}: {why}")),
        };
        if let Some(violation) = metric.violation() {
            let message = noted(violation.message, note.as_deref());
            self.broken.push(Violation { metric: Some(name.clone()), message });
        }
        self.notes.extend(note.map(|note| (name, note)));
        self.metrics.push(metric);
    }

    /// All metrics in one line, each change with what it was compared with.
    pub(crate) fn sentence(&self) -> String {
        let told = self.metrics.iter().map(|metric| match self.large.get(&metric.name) {
            Some(number) => format!("{} {number}", metric.name),
            None => noted(metric.brief(), self.notes.get(&metric.name).map(String::as_str)),
        });
        told.chain(self.shown.iter().cloned()).collect::<Vec<_>>().join(", ")
    }

    /// A column that has limits but is missing from the result. It is shown without a value, with its limits.
    pub(crate) fn missing(&mut self, column: &str, limits: &Limits) {
        let message = format!("{column}: the query returns no such column");
        self.broken.push(Violation { metric: Some(column.to_owned()), message });
        let float = |limit: Option<Number>| limit.map(Number::float);
        let (min, max) = (float(limits.min.or(limits.warn_min)), float(limits.max.or(limits.warn_max)));
        let change = limits.change.filter(|_| min.is_none() && max.is_none());
        self.metrics.push(match change {
            Some(change) => change.limits(column, None),
            None => Metric { min, max, ..measured(column, None) },
        });
    }

    /// Adds the findings of another.
    pub(crate) fn take(&mut self, mut other: Self) {
        self.metrics.append(&mut other.metrics);
        self.broken.append(&mut other.broken);
        self.warned.append(&mut other.warned);
        self.learning.append(&mut other.learning);
        self.unknown.append(&mut other.unknown);
        self.shown.append(&mut other.shown);
        self.notes.append(&mut other.notes);
        self.large.append(&mut other.large);
    }

    /// A count that must be 0.
    pub(crate) fn none(&mut self, name: &str, count: Option<Number>) {
        self.at_most(measured(name, None), count, 0.0);
    }

    /// A number with nothing but a maximum.
    pub(crate) fn at_most(&mut self, metric: Metric, value: Option<Number>, most: f64) {
        self.limits(metric, value, &Limits { max: Some(Number::Float(most)), ..Limits::default() });
    }
}

/// The violation of a metric whose value and limits may have no exact float.
fn violation(metric: &Metric, value: Option<Number>, min: Option<Number>, max: Option<Number>) -> Option<Violation> {
    let Some(value) = value.filter(|value| [Some(*value), min, max].into_iter().flatten().any(Number::is_large)) else {
        return metric.violation();
    };
    let beyond = |limit: Option<Number>, side| limit.filter(|limit| value.compare(*limit) == Some(side));
    let name = &metric.name;
    let message = match (beyond(min, Ordering::Less), beyond(max, Ordering::Greater)) {
        (Some(min), _) => format!("{name} is below its minimum: {value} < {min}"),
        (None, Some(max)) => format!("{name} is above its maximum: {value} > {max}"),
        (None, None) => return None,
    };
    Some(Violation { metric: Some(name.clone()), message })
}

fn noted(text: String, note: Option<&str>) -> String {
    match note {
        Some(note) => format!("{text} ({note})"),
        None => text,
    }
}
