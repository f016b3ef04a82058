//! Compares numbers with limits. It makes no host call, so that each rule can be read by itself.

use std::collections::BTreeMap;

use sdk::{Metric, Violation, measured};

use crate::{
    change::{Earlier, compare},
    limits::{Change, Limits},
};

/// The findings, number by number.
#[derive(Default)]
pub(crate) struct Judge {
    pub(crate) metrics: Vec<Metric>,
    /// Violations that fail.
    pub(crate) broken: Vec<Violation>,
    /// Violations that only warn.
    pub(crate) warned: Vec<Violation>,
    /// Values that could not be determined.
    pub(crate) unknown: Vec<String>,
    /// The comparison that a metric comes from, in words, by its name.
    pub(crate) notes: BTreeMap<String, String>,
}

impl Judge {
    /// Compares a number with its limits. A missing value breaks every limit.
    pub(crate) fn limits(&mut self, metric: Metric, limits: &Limits) {
        let metric = Metric { min: limits.min, max: limits.max, ..metric };
        let broken = metric.violation();
        if broken.is_none() {
            let warning = Metric { min: limits.warn_min, max: limits.warn_max, ..metric.clone() };
            let marked = |violation: Violation| Violation {
                message: violation
                    .message
                    .replace("its minimum", "its warning minimum")
                    .replace("its maximum", "its warning maximum"),
                ..violation
            };
            // A missing value is a failure, not a warning.
            match metric.value {
                None => self.broken.extend(warning.violation()),
                Some(_) => self.warned.extend(warning.violation().map(marked)),
            }
        }
        self.broken.extend(broken);
        self.metrics.push(metric);
    }

    /// Compares a number with its earlier values. Without earlier values the change is unknown.
    pub(crate) fn change(&mut self, column: &str, now: Option<f64>, before: &[Earlier], change: &Change) {
        let name = format!("{column}_change");
        let (value, note) = match now.map(|now| compare(now, before)) {
            None => (None, None),
            Some(Ok((percent, note))) => (Some(percent), Some(note)),
            Some(Err(why)) => return self.unknown.push(format!("{name}: {why}")),
        };
        let metric = change.limits(column, value);
        if let Some(violation) = metric.violation() {
            let message = noted(violation.message, note.as_deref());
            self.broken.push(Violation { metric: Some(name.clone()), message });
        }
        self.notes.extend(note.map(|note| (name, note)));
        self.metrics.push(metric);
    }

    /// All metrics in one line, each change with what it was compared with.
    pub(crate) fn sentence(&self) -> String {
        let told =
            self.metrics.iter().map(|metric| noted(metric.brief(), self.notes.get(&metric.name).map(String::as_str)));
        told.collect::<Vec<_>>().join(", ")
    }

    /// A column that has limits but is missing from the result. It is shown without a value, with its limits.
    pub(crate) fn missing(&mut self, column: &str, limits: &Limits) {
        let message = format!("{column}: the query returns no such column");
        self.broken.push(Violation { metric: Some(column.to_owned()), message });
        let (min, max) = (limits.min.or(limits.warn_min), limits.max.or(limits.warn_max));
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
        self.unknown.append(&mut other.unknown);
        self.notes.append(&mut other.notes);
    }

    /// A count that must be 0.
    pub(crate) fn none(&mut self, name: &str, count: Option<f64>) {
        self.limits(measured(name, count), &Limits { max: Some(0.0), ..Limits::default() });
    }
}

impl Change {
    /// A change of a column in percent, with its limits.
    fn limits(&self, column: &str, percent: Option<f64>) -> Metric {
        Metric {
            min: self.max_drop_percent.map(|drop| -drop),
            max: self.max_rise_percent,
            ..measured(format!("{column}_change"), percent).unit("%")
        }
    }
}

fn noted(text: String, note: Option<&str>) -> String {
    match note {
        Some(note) => format!("{text} ({note})"),
        None => text,
    }
}
