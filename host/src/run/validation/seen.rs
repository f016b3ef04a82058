//! What the rehearsals of a check have shown, limit by limit: which limits can be broken, which cannot, and which were
//! not reached.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::Value;

use super::{Finding, Kind, threshold::Threshold};
use crate::{
    capability::{Aim, Given, Shapes},
    config::nearest,
    contract::{Metric, Verdict},
    plugin::WarnLimits,
    run::Run,
};

/// The most values of answers that are kept of one rehearsal, to aim from there; all rehearsals keep 16 MB at most.
const VALUES: usize = 2000;
/// Types of columns that may be the value of a metric.
const NUMBERS: [&str; 6] = ["INT64", "FLOAT64", "NUMERIC", "BIGNUMERIC", "BOOL", "ANY"];
/// Limits that are named in a finding.
const NAMED: usize = 8;

/// The results of a check's rehearsals.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// The check's settings, which have the limits that only warn.
    settings: Value,
    pub(super) rehearsals: usize,
    /// Rehearsals that gave a report.
    pub(super) reports: usize,
    thresholds: BTreeMap<String, Threshold>,
    /// Memory of the thresholds, in bytes.
    pub(super) kept: usize,
    passed: bool,
    failed: bool,
    pub(super) passes_empty: bool,
    /// Why the last rehearsal without a report had none.
    problem: Option<String>,
    /// The answers that gave most metrics a value, the latest of several, and the number of those metrics.
    fullest: (usize, Arc<Given>),
    /// The items that were unknown in every report so far.
    never_known: Vec<String>,
}

impl Seen {
    pub(super) fn new(settings: &str) -> Self {
        Self { settings: serde_json::from_str(settings).unwrap_or_default(), ..Self::default() }
    }

    /// Takes the result of a rehearsal, and what was answered in it.
    pub(super) fn take(&mut self, run: &Run, given: Given) {
        self.rehearsals += 1;
        let Some(report) = &run.report else {
            self.problem = run.error.as_ref().map(ToString::to_string);
            return;
        };
        self.reports += 1;
        match self.reports {
            1 => self.never_known.clone_from(&report.unknown),
            _ => self.never_known.retain(|unknown| report.unknown.contains(unknown)),
        }
        // A check that asks for more is aimed at from scratch.
        let few = given.values().flatten().map(Vec::len).sum::<usize>() <= VALUES;
        let given = Arc::new(if few { given } else { Given::new() });
        report.metrics.iter().for_each(|metric| self.meet(metric, &given));
        let valued = report.metrics.iter().filter(|metric| metric.value.is_some()).count();
        if valued >= self.fullest.0 {
            self.fullest = (valued, given);
        }
        self.passed |= report.verdict == Verdict::Pass && report.unknown.is_empty();
        self.failed |= matches!(report.verdict, Verdict::Fail | Verdict::Warn);
    }

    fn meet(&mut self, metric: &Metric, given: &Arc<Given>) {
        let warn = WarnLimits::of(&self.settings, &metric.name);
        let kept = &mut self.kept;
        let threshold = self.thresholds.entry(metric.name.clone()).or_insert_with_key(|name| {
            *kept += name.len() + size_of::<(String, Threshold)>();
            Threshold::default()
        });
        threshold.meet(metric, warn);
        if metric.value.is_some() {
            threshold.earlier = given.clone();
        }
    }

    /// All limits met so far.
    pub(super) fn limits(&self) -> Vec<f64> {
        self.thresholds.values().flat_map(Threshold::limits).filter_map(|limit| limit.asked).collect()
    }

    /// The limit to try next: the least tried of those that were not seen from both sides.
    pub(super) fn aim(&mut self, shapes: &Shapes) -> Option<Aim> {
        let columns = shapes.columns();
        let open = self.thresholds.iter_mut().filter(|(_, threshold)| !threshold.contradicts());
        let open = open.flat_map(|(name, threshold)| {
            threshold.open(is_named(&columns, name)).map(move |(unit, earlier, limit)| (name, unit, earlier, limit))
        });
        let (name, unit, earlier, limit) = open.min_by_key(|(_, _, _, limit)| limit.aimed)?;
        let attempt = limit.aimed;
        limit.aimed += 1;
        let earlier = if earlier.is_empty() { &self.fullest.1 } else { earlier };
        let (unit, earlier) = (unit.clone(), earlier.clone());
        Some(Aim { metric: name.clone(), unit, limit: limit.asked?, attempt, earlier })
    }

    /// Whether more rehearsals may still show that the check can fail, or give its first report.
    pub(super) fn is_open(&self) -> bool {
        self.reports == 0 || (self.passed && !self.failed)
    }

    /// The findings that are certain; `shapes` are those of the answers.
    pub(super) fn faults(&self, shapes: &Shapes) -> Vec<Finding> {
        let (columns, counts) = (shapes.columns(), shapes.counts());
        let named = self.names_columns(&columns);
        let mut findings = Vec::new();
        for (name, threshold) in &self.thresholds {
            let (set, count) = (is_named(&columns, name), is_named(&counts, name));
            if threshold.contradicts() {
                findings.push(Finding::new(Kind::CannotPass, threshold.contradiction(name)));
            } else if let Some(most) = threshold.most().filter(|most| count && *most < 0.0) {
                let text = format!("{name} must be at most {most}, but it is a count, which is never below 0");
                findings.push(Finding::new(Kind::CannotPass, text));
            } else if threshold.known == 0 {
                let why = match shapes.kind(name) {
                    // Text may have a meaning for the check.
                    Some(kind) if kind == "STRING" => None,
                    Some(kind) if !NUMBERS.contains(&kind.as_str()) => {
                        Some(format!("its column has the type {kind}, which is not a number"))
                    }
                    _ => {
                        let others = columns.iter().filter(|column| !column.eq_ignore_ascii_case(name));
                        let near = nearest(name, others);
                        let certain = named || !near.is_empty() || !shapes.opaque();
                        let returned = columns.join(", ");
                        certain.then(|| format!("it never has a value; its queries return {returned}{near}"))
                    }
                };
                if let Some((rule, why)) = threshold.rules(name).into_iter().next().zip(why) {
                    findings.push(Finding::new(Kind::CannotPass, format!("{rule}, but {why}")));
                }
            } else if let Some(limit) = threshold.unmeetable(set) {
                findings.push(Finding::new(Kind::CannotPass, limit.unmet(name)));
            } else if let Some(limit) = threshold.unbreakable(set, count) {
                findings.push(Finding::new(Kind::CannotFail, limit.unbroken(name)));
            }
        }
        findings.extend(self.divided(shapes).map(|text| Finding::new(Kind::CannotPass, text)));
        let unknown = self.never_known.iter().map(|unknown| format!("it is never evaluated: {unknown}"));
        findings.extend(unknown.map(|text| Finding::new(Kind::CannotPass, text)));
        let open =
            self.thresholds.values().flat_map(Threshold::limits).any(|limit| limit.asked.is_some() && !limit.broken);
        if findings.is_empty() && !open && self.passed && !self.failed && !shapes.opaque() {
            let tried = self.rehearsals;
            let text = format!("none of {tried} simulated results made it fail");
            findings.push(Finding::new(Kind::CannotFail, text));
        }
        findings
    }

    /// What is said of limits for two columns of the same value that no value meets.
    fn divided(&self, shapes: &Shapes) -> impl Iterator<Item = String> {
        let told = |(low, high, expression): (String, String, String)| {
            let (most, least) = (self.threshold(&low)?.most()?, self.threshold(&high)?.least()?);
            let text = || {
                format!(
                    "{low} must be at most {most} and {high} at least {least}, but both are {expression} of one query"
                )
            };
            (most < least).then(text)
        };
        shapes.twins().into_iter().filter_map(told).collect::<Vec<_>>().into_iter()
    }

    fn threshold(&self, name: &str) -> Option<&Threshold> {
        self.thresholds.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, threshold)| threshold)
    }

    /// What to do about a check that passes when its tables are empty, if that is known.
    pub(super) fn advice(&self, shapes: &Shapes, usual: Option<String>) -> Option<String> {
        let counts = shapes.row_counts();
        let mut limited =
            self.thresholds.iter().filter(|(name, of)| of.is_limited() && is_named(&counts, name)).peekable();
        if limited.peek().is_none() {
            return usual;
        }
        // A count with only a maximum may be one of wrong rows, and good data has none of them.
        let (name, _) = limited.find(|(_, of)| of.has_minimum() && of.most().is_none_or(|most| most >= 1.0))?;
        Some(format!("set the minimum of {name} to 1"))
    }

    /// What was not tried, in one line, if anything: it may be right or wrong. `faults` are the findings that are certain.
    pub(super) fn untried(&self, shapes: &Shapes, faults: &[Finding]) -> Option<String> {
        let (columns, counts) = (shapes.columns(), shapes.counts());
        let about = |fault: &Finding, name: &str| {
            let rest = fault.text.strip_prefix(name);
            rest.is_some_and(|rest| rest.starts_with(" must be ") || rest.starts_with(" warns "))
        };
        let said = |name: &str| faults.iter().any(|fault| about(fault, name));
        let (mut limits, mut unmet) = (Vec::new(), Vec::new());
        for (name, threshold) in self.thresholds.iter().filter(|(name, _)| !said(name)) {
            let (set, count) = (is_named(&columns, name), is_named(&counts, name));
            if threshold.contradicts() || threshold.unbreakable(set, count).is_some() {
                continue;
            }
            limits.extend(threshold.limits().filter(|limit| !limit.broken).filter_map(|limit| limit.short(name)));
            let never = threshold.limits().filter(|limit| limit.broken && limit.never_met());
            unmet.extend(never.map(|limit| limit.unmet(name)));
        }
        unmet.truncate(NAMED);
        if !unmet.is_empty() {
            return Some(unmet.join("; "));
        }
        let tried = self.rehearsals;
        if !limits.is_empty() {
            let limits = crate::text::listed(&limits, NAMED);
            return Some(format!("no simulated result, of {tried}, reached {limits}"));
        }
        if !faults.is_empty() {
            return None;
        }
        match &self.problem {
            Some(problem) if self.reports == 0 => {
                Some(format!("no simulated result, of {tried}, gave a verdict; the last error: {problem}"))
            }
            _ if self.passed && !self.failed => Some(format!(
                "none of {tried} simulated results made it fail; it may depend on texts, which cannot be simulated"
            )),
            _ => None,
        }
    }

    /// Whether the check names its metrics after the columns of its queries.
    fn names_columns(&self, columns: &[String]) -> bool {
        let mut known = self.thresholds.iter().filter(|(_, threshold)| threshold.known > 0).peekable();
        known.peek().is_some() && known.all(|(name, _)| is_named(columns, name))
    }
}

/// Whether a name is among those of columns.
fn is_named(columns: &[String], name: &str) -> bool {
    columns.iter().any(|column| column.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::{super::threshold::AIMS, *};

    fn metric(value: Option<f64>, min: Option<f64>, max: Option<f64>, below: Option<f64>) -> Metric {
        Metric { name: "m".to_owned(), value, min, max, below, unit: None }
    }

    /// All that can be said of these results of a column, after each limit was aimed at as often as it may be.
    fn said(metrics: &[Metric]) -> (Vec<(Kind, String)>, Option<String>) {
        said_of(&Shapes::with_column("m"), metrics)
    }

    fn said_of(shapes: &Shapes, metrics: &[Metric]) -> (Vec<(Kind, String)>, Option<String>) {
        let mut seen = Seen { rehearsals: metrics.len(), reports: metrics.len(), failed: true, ..Seen::default() };
        let often = metrics.iter().cycle().take(metrics.len() * AIMS as usize);
        often.for_each(|metric| seen.meet(metric, &Arc::default()));
        while seen.aim(shapes).is_some() {}
        let faults = seen.faults(shapes);
        let untried = seen.untried(shapes, &faults);
        (faults.into_iter().map(|fault| (fault.kind, fault.text)).collect(), untried)
    }

    #[test]
    fn metrics_with_other_names_each_time_are_counted() {
        let metric = |name| Metric { name, value: Some(1.0), min: None, max: None, below: None, unit: None };
        let kept = |names: [&str; 2]| {
            let mut seen = Seen::default();
            for name in names {
                seen.meet(&metric(name.to_owned()), &Arc::default());
            }
            seen.kept
        };
        assert_eq!(kept(["games", "games"]) * 2, kept(["games", "lines"]));
        assert!(kept(["games", "games"]) < 300);
    }

    #[test]
    fn a_limit_that_no_answer_breaks_is_found() {
        let at_least = |value, min| metric(Some(value), Some(min), None, None);
        let fine = (Vec::new(), None);
        assert_eq!(said(&[at_least(0.0, 1.0), at_least(9.0, 1.0)]), fine);
        let lax = (Kind::CannotFail, "m must be at least 0, and every simulated result meets that".to_owned());
        assert_eq!(said(&[at_least(0.0, 0.0), at_least(9.0, 0.0)]), (vec![lax.clone()], None));
        assert_eq!(
            said(&[metric(None, Some(0.0), None, None), at_least(0.0, 0.0), at_least(1.0, 0.0)]),
            (vec![lax], None)
        );
        let below = |value| metric(Some(value), None, None, Some(5.0));
        assert_eq!(said(&[below(4.0), below(5.0)]), fine);
        let one_side =
            said(&[metric(Some(9.0), Some(10.0), Some(99.0), None), metric(Some(99.0), Some(10.0), Some(99.0), None)]);
        let text = "m must be at most 99, and every simulated result meets that".to_owned();
        assert_eq!(one_side, (vec![(Kind::CannotFail, text)], None), "one side is enough");
        assert_eq!(said(&[metric(None, None, None, None)]), fine);
    }

    /// A limit that no result came to is neither right nor wrong.
    #[test]
    fn a_limit_that_was_not_reached_is_not_tried() {
        let untried = |metrics: &[Metric]| {
            let (faults, untried) = said(metrics);
            assert_eq!(faults, Vec::new());
            untried.unwrap_or_default()
        };
        let at_most = |value, max| metric(Some(value), None, Some(max), None);
        let words = "no simulated result, of 2, reached m at most 5000000";
        assert_eq!(untried(&[at_most(1.0, 5e6), at_most(1e6, 5e6)]), words);
        // What never moves shows nothing, even at the limit.
        assert_eq!(untried(&[at_most(0.0, 0.0), at_most(0.0, 0.0)]), "no simulated result, of 2, reached m at most 0");
        // Of a number that the check computes, nothing is certain: answers that agree with each other may be rare.
        let computed = |metrics: &[Metric]| said_of(&Shapes::default(), metrics);
        let words = "no simulated result, of 2, reached m at most 9".to_owned();
        assert_eq!(computed(&[at_most(0.0, 9.0), at_most(9.0, 9.0)]), (Vec::new(), Some(words)));
        let words = "m must be at most 0, and no simulated result meets that".to_owned();
        assert_eq!(computed(&[at_most(1.0, 0.0), at_most(9.0, 0.0)]), (Vec::new(), Some(words)));
    }

    #[test]
    fn what_can_never_pass_is_found() {
        let (faults, _) = said_of(&Shapes::default(), &[metric(None, Some(2.0), None, None)]);
        let text = "m must be at least 2, but it never has a value; its queries return ".to_owned();
        assert_eq!(faults, [(Kind::CannotPass, text)]);
        let (faults, untried) = said(&[metric(Some(7.0), Some(10.0), Some(5.0), None)]);
        let text = "m must be at least 10 and at most 5, and no value is both".to_owned();
        assert_eq!((faults, untried), (vec![(Kind::CannotPass, text)], None));
        assert_eq!(said(&[metric(Some(5.0), Some(5.0), Some(5.0), None)]).0.len(), 0, "one value is both");
        assert_eq!(said(&[metric(Some(5.0), Some(5.0), None, Some(5.0))]).0.len(), 1);
        let over = [1.0, 2.0].map(|value| metric(Some(value), None, Some(-1.0), None));
        let text = "m must be at most -1, and no simulated result meets that".to_owned();
        assert_eq!(said(&over), (vec![(Kind::CannotPass, text)], None));
    }
}
