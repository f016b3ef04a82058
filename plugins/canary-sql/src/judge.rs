//! Compares numbers with limits. It makes no host call, so that each rule can be read by itself.

use sdk::{Metric, Violation, measured};

use crate::limits::{Change, Limits};

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
    pub(crate) fn change(&mut self, name: &str, now: Option<f64>, before: Vec<f64>, change: &Change) {
        let name = format!("{name}_change");
        let value = match (now, median(before)) {
            (None, _) => None,
            (Some(_), None) => {
                return self.unknown.push(format!("{name}: none of the earlier dates has a value to compare with"));
            }
            (Some(now), Some(before)) if now == before => Some(0.0),
            (Some(_), Some(0.0)) => {
                return self
                    .unknown
                    .push(format!("{name}: it was 0 on the earlier dates, so the change has no percentage"));
            }
            (Some(now), Some(before)) => Some(100.0 * (now - before) / before.abs()),
        };
        let metric = Metric {
            min: change.max_drop_percent.map(|drop| -drop),
            max: change.max_rise_percent,
            ..measured(name, value).unit("%")
        };
        self.broken.extend(metric.violation());
        self.metrics.push(metric);
    }

    /// A column that has limits but is missing from the result.
    pub(crate) fn missing(&mut self, column: &str, limits: &Limits) {
        let violation =
            |message| Violation { metric: Some(column.to_owned()), message: format!("{column}: {message}") };
        if limits.asks() {
            self.broken.push(violation("the query returns no such column"));
        }
    }

    /// A count that must be 0.
    pub(crate) fn none(&mut self, name: &str, count: Option<f64>) {
        self.limits(measured(name, count), &Limits { max: Some(0.0), ..Limits::default() });
    }
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    let upper = *values.get(middle)?;
    match values.len() % 2 {
        1 => Some(upper),
        _ => Some((values.get(middle.checked_sub(1)?)? + upper) / 2.0),
    }
}
