//! The result of a case in the form of its file: to compare it, to show a difference, and to write it.

use anyhow::Result;
use serde::{Deserialize, Serialize};
use similar::{ChangeTag, TextDiff};

use super::alerts;
use crate::{
    contract::{Gate, Verdict},
    run::Run,
};

/// The value of a metric without a value.
const NONE: &str = "none";
/// Numbers are compared to six decimals.
const PRECISION: f64 = 1e6;

/// `[expect]`. Keys that are left out may have any value.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Outcome {
    /// `pass`, `warn`, `fail`, `skip`, or `error` when the check was not evaluated.
    #[serde(skip_serializing_if = "Option::is_none")]
    verdict: Option<String>,
    /// One line.
    #[serde(skip_serializing_if = "Option::is_none")]
    summary: Option<String>,
    /// The error of a check that was not evaluated, or a part of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    /// All messages, in their order.
    #[serde(skip_serializing_if = "Option::is_none")]
    violations: Option<Vec<String>>,
    /// The alerts; empty for none.
    #[serde(skip_serializing_if = "Option::is_none")]
    alert: Option<String>,
    /// Some metrics; `"none"` is a metric without a value.
    #[serde(skip_serializing_if = "Option::is_none")]
    metrics: Option<toml::Table>,
    /// The decision of a gate.
    #[serde(skip_serializing_if = "Option::is_none")]
    gate: Option<ExpectedGate>,
}

/// `[expect.gate]`
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ExpectedGate {
    score: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    completeness: Option<f64>,
    expected: u64,
    actual: u64,
    missing: Vec<String>,
}

#[derive(Serialize)]
struct Written<'o> {
    expect: &'o Outcome,
}

impl Outcome {
    /// The result of a run.
    pub(super) fn of(run: &Run) -> Self {
        let report = run.report.as_ref();
        let skipped = report.and_then(|report| match &report.verdict {
            Verdict::Skip(why) => Some(why.clone()),
            _ => None,
        });
        Self {
            verdict: Some(run.status().name().to_owned()),
            summary: report.map(|report| skipped.unwrap_or_else(|| report.summary.clone())),
            error: run.error.as_ref().map(ToString::to_string),
            violations: report
                .map(|report| report.violations.iter().map(|violation| violation.message.clone()).collect()),
            alert: Some(alerts(run)),
            metrics: report.map(|report| {
                let metric = |value: Option<f64>| value.map_or_else(|| NONE.into(), number);
                report.metrics.iter().map(|found| (found.name.clone(), metric(found.value))).collect()
            }),
            gate: report.and_then(|report| report.gate.as_ref()).map(ExpectedGate::of),
        }
        .normal()
    }

    /// The result without the path of a directory that differs in each run.
    pub(super) fn without(mut self, path: &str) -> Self {
        for text in [&mut self.error, &mut self.summary, &mut self.alert].into_iter().flatten() {
            *text = text.replace(path, "");
        }
        for message in self.violations.iter_mut().flatten() {
            *message = message.replace(path, "");
        }
        self
    }

    /// Whether the actual result is as expected.
    pub(super) fn same(&self, found: &Self) -> bool {
        self.clone().normal() == found.like(self)
    }

    /// The expected keys of the actual result. An error that contains the expected text counts as equal to it.
    pub(super) fn like(&self, expected: &Self) -> Self {
        // An expected key without an actual value shows as missing.
        let part = |found: &Option<String>, wanted: &Option<String>| wanted.as_ref().and_then(|_| found.clone());
        let error = match (&self.error, &expected.error) {
            (Some(found), Some(wanted)) if !wanted.is_empty() && found.contains(wanted) => Some(wanted.clone()),
            // An unexpected error always shows.
            (found, _) => found.clone(),
        };
        Self {
            verdict: part(&self.verdict, &expected.verdict),
            summary: part(&self.summary, &expected.summary),
            error,
            violations: expected.violations.as_ref().and_then(|_| self.violations.clone()),
            alert: part(&self.alert, &expected.alert),
            metrics: expected.metrics.as_ref().map(|wanted| {
                let found = self.metrics.iter().flatten().filter(|(name, _)| wanted.contains_key(*name));
                let mut found: toml::Table = found.map(|(name, value)| (name.clone(), value.clone())).collect();
                // Keep the order of the file.
                let known = wanted.keys().filter_map(|name| Some((name.clone(), found.remove(name)?)));
                known.collect()
            }),
            gate: expected.gate.as_ref().and_then(|_| self.gate.clone()),
        }
    }

    /// The result with all numbers and texts in a canonical form.
    fn normal(mut self) -> Self {
        for (_, value) in self.metrics.iter_mut().flatten() {
            if let Some(given) = value.as_float().or_else(|| value.as_integer().map(|integer| integer as f64)) {
                *value = number(given);
            }
        }
        if let Some(gate) = &mut self.gate {
            gate.score = rounded(gate.score);
            gate.completeness = gate.completeness.map(rounded);
        }
        self.alert = self.alert.map(|alert| alert.trim().to_owned());
        self
    }

    /// The end of a case's file.
    pub(super) fn text(&self) -> String {
        let written = || -> Result<String> {
            let mut this = self.clone();
            // A closing newline makes TOML write the text over several lines.
            this.alert = this.alert.map(|alert| if alert.contains('\n') { format!("{alert}\n") } else { alert });
            Ok(toml::to_string_pretty(&Written { expect: &this })?)
        };
        // TOML can write every value in it.
        written().unwrap_or_default()
    }

    /// The difference, line by line.
    pub(super) fn difference(&self, found: &Self) -> String {
        let (expected, found) = (self.clone().normal().text(), found.like(self).text());
        let diff = TextDiff::from_lines(&expected, &found);
        let lines = diff.iter_all_changes().map(|change| {
            let mark = match change.tag() {
                ChangeTag::Delete => '-',
                ChangeTag::Insert => '+',
                ChangeTag::Equal => ' ',
            };
            format!("{mark} {}\n", change.value().trim_end_matches('\n'))
        });
        lines.collect()
    }
}

impl ExpectedGate {
    fn of(gate: &Gate) -> Self {
        Self {
            score: gate.score,
            completeness: gate.completeness,
            expected: gate.expected,
            actual: gate.actual,
            missing: gate.missing.clone(),
        }
    }
}

/// A number, written without a point when it is whole.
fn number(value: f64) -> toml::Value {
    let value = rounded(value);
    match value.fract() == 0.0 && value.abs() < 1e15 {
        true => toml::Value::Integer(value as i64),
        false => toml::Value::Float(value),
    }
}

fn rounded(value: f64) -> f64 {
    (value * PRECISION).round() / PRECISION
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(text: &str) -> Outcome {
        toml::from_str(text).expect("an outcome")
    }

    #[test]
    fn only_what_is_spoken_of_is_compared() {
        let found = outcome(
            "verdict = \"fail\"\nsummary = \"x\"\nviolations = [\"games is below its minimum: 1 < 2\"]\nalert = \"\"\nmetrics = { games = 1, share = 33.333333, age = \"none\" }",
        );
        let same = [
            "",
            "verdict = \"fail\"",
            "metrics = { games = 1.0 }",
            "metrics = { age = \"none\", share = 33.3333333333 }",
            "alert = \"\"\nviolations = [\"games is below its minimum: 1 < 2\"]",
        ];
        for text in same {
            assert!(outcome(text).same(&found), "{text}");
        }
        let different = [
            "verdict = \"pass\"",
            "metrics = { games = 2 }",
            "metrics = { age = 0 }",
            "metrics = { gmaes = 1 }",
            "violations = []",
            "alert = \"fail\"",
            "error = \"down\"",
        ];
        for text in different {
            assert!(!outcome(text).same(&found), "{text}");
        }
    }

    /// Unknown is not OK: an error that a case does not speak of is a difference.
    #[test]
    fn an_error_is_never_left_out() {
        let found = outcome("verdict = \"error\"\nerror = \"query failed: no such table\"");
        assert!(outcome("verdict = \"error\"\nerror = \"no such table\"").same(&found));
        assert!(!outcome("verdict = \"error\"").same(&found));
        assert!(!outcome("verdict = \"error\"\nerror = \"\"").same(&found));
    }

    #[test]
    fn a_difference_shows_both() {
        let found = outcome("verdict = \"fail\"\nmetrics = { games = 1 }");
        let shown = outcome("verdict = \"fail\"\nmetrics = { games = 2 }").difference(&found);
        assert_eq!(shown, "  [expect]\n  verdict = \"fail\"\n  \n  [expect.metrics]\n- games = 2\n+ games = 1\n");
    }
}
