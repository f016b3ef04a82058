//! Compares numbers with thresholds. The report includes the thresholds, so that its reader sees them.

use crate::bindings::exports::pipeline::check::plugin::{Metric, Violation};

/// A metric without thresholds; add them with [`Metric::at_least`], [`Metric::at_most`] and [`Metric::below`].
pub fn measured(name: impl Into<String>, value: Option<f64>) -> Metric {
    Metric { name: name.into(), value, min: None, max: None, below: None, unit: None }
}

impl Metric {
    /// Fails below this value.
    pub fn at_least(self, min: f64) -> Self {
        Self { min: Some(min), ..self }
    }

    /// Fails above this value.
    pub fn at_most(self, max: f64) -> Self {
        Self { max: Some(max), ..self }
    }

    /// Fails at or above this value.
    pub fn below(self, limit: f64) -> Self {
        Self { below: Some(limit), ..self }
    }

    /// `%`, `h`, …
    pub fn unit(self, unit: &str) -> Self {
        Self { unit: Some(unit.to_owned()), ..self }
    }

    /// The violation, if a threshold is broken. A missing value breaks every threshold.
    pub fn violation(&self) -> Option<Violation> {
        let pair = |value, sign, limit| compared(value, sign, limit, self.unit.as_deref());
        let message = match (self.value, self.asked()) {
            (_, None) => None,
            (None, Some(asked)) => Some(format!("{} has no value (required: {asked})", self.name)),
            (Some(value), Some(asked)) if value.is_nan() => {
                Some(format!("{} is not a number (required: {asked})", self.name))
            }
            (Some(value), Some(_)) => {
                let broken =
                    |limit: Option<f64>, breaks: fn(f64, f64) -> bool| limit.filter(|limit| breaks(value, *limit));
                broken(self.min, |value, min| value < min)
                    .map(|min| format!("{} is below its minimum: {}", self.name, pair(value, "<", min)))
                    .or_else(|| {
                        broken(self.max, |value, max| value > max)
                            .map(|max| format!("{} is above its maximum: {}", self.name, pair(value, ">", max)))
                    })
                    .or_else(|| {
                        broken(self.below, |value, limit| value >= limit)
                            .map(|limit| format!("{} is not below its limit: {}", self.name, pair(value, "≥", limit)))
                    })
            }
        }?;
        Some(Violation { metric: Some(self.name.clone()), message })
    }

    /// The thresholds in words: `at least 2`, `below 5 %`; `None` without thresholds.
    pub fn asked(&self) -> Option<String> {
        let shown = |number| shown(number, self.unit.as_deref());
        let parts: Vec<String> = [
            self.min.map(|min| format!("at least {}", shown(min))),
            self.max.map(|max| format!("at most {}", shown(max))),
            self.below.map(|limit| format!("below {}", shown(limit))),
        ]
        .into_iter()
        .flatten()
        .collect();
        (!parts.is_empty()).then(|| parts.join(", "))
    }

    /// Name, value and unit: `player_records 152`.
    pub fn brief(&self) -> String {
        match self.value {
            Some(value) => format!("{} {}", self.name, shown(value, self.unit.as_deref())),
            None => format!("{} has no value", self.name),
        }
    }
}

/// The violations of all metrics, in their order.
pub fn judge(metrics: &[Metric]) -> Vec<Violation> {
    metrics.iter().filter_map(Metric::violation).collect()
}

/// All metrics in one line.
pub fn sentence(metrics: &[Metric]) -> String {
    metrics.iter().map(Metric::brief).collect::<Vec<_>>().join(", ")
}

/// Two decimals at most, unless rounding would hide the difference to a limit; no trailing zeros.
pub fn shown(number: f64, unit: Option<&str>) -> String {
    let rounded = (number * 100.0).round() / 100.0;
    let number =
        if (rounded - number).abs() < 1e-9 || number.abs() >= 1000.0 { rounded } else { (number * 1e4).round() / 1e4 };
    match unit {
        Some(unit) => format!("{number} {unit}"),
        None => number.to_string(),
    }
}

/// A number and the limit that it breaks, with all digits if they would look the same rounded.
fn compared(value: f64, sign: &str, limit: f64, unit: Option<&str>) -> String {
    let (short, other) = (shown(value, unit), shown(limit, unit));
    match short == other && value != limit {
        true => {
            let unit = unit.map(|unit| format!(" {unit}")).unwrap_or_default();
            format!("{value}{unit} {sign} {limit}{unit}")
        }
        false => format!("{short} {sign} {other}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds_hold_on_their_boundary_and_break_beyond_it() {
        let message = |metric: Metric| metric.violation().map(|violation| violation.message);
        let cases = [
            (measured("games", Some(2.0)).at_least(2.0), None),
            (measured("games", Some(1.0)).at_least(2.0), Some("games is below its minimum: 1 < 2")),
            (measured("nulls", Some(0.0)).at_most(0.0), None),
            (measured("nulls", Some(75.0)).at_most(0.0), Some("nulls is above its maximum: 75 > 0")),
            (measured("rate", Some(4.9999)).below(5.0).unit("%"), None),
            (measured("rate", Some(5.0)).below(5.0).unit("%"), Some("rate is not below its limit: 5 % ≥ 5 %")),
            (
                measured("rate", Some(2.00002)).at_most(2.0).unit("%"),
                Some("rate is above its maximum: 2.00002 % > 2 %"),
            ),
            (measured("sum", Some(5e6 + 1e-3)).at_most(5e6), Some("sum is above its maximum: 5000000.001 > 5000000")),
            (measured("tiny", Some(1e-7)).at_most(0.0), Some("tiny is above its maximum: 0.0000001 > 0")),
            (measured("games", None).at_least(2.0), Some("games has no value (required: at least 2)")),
            (measured("games", Some(f64::NAN)).at_least(2.0), Some("games is not a number (required: at least 2)")),
            (measured("games", None), None),
        ];
        for (metric, expected) in cases {
            assert_eq!(message(metric).as_deref(), expected);
        }
    }
}
