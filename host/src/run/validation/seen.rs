//! What the rehearsals of a check have shown, limit by limit: which limits can be broken, which cannot, and which were
//! not reached.

use std::{collections::BTreeMap, sync::Arc};

use super::{Finding, Kind};
use crate::{
    capability::{Aim, Given, Shapes},
    config::nearest,
    contract::{Metric, Verdict},
    run::Run,
};

/// How often a limit is aimed at before it counts as one that nothing breaks.
const AIMS: u64 = 24;
/// How often, if no result came to it: as often as there are rehearsals.
const MOST_AIMS: u64 = super::REHEARSALS as u64;
/// The most values of answers that are kept of one rehearsal, to aim from there; all rehearsals keep 16 MB at most.
const VALUES: usize = 2000;
/// Limits that are named in a finding.
const NAMED: usize = 8;

/// The results of a check's rehearsals.
#[derive(Debug, Default)]
pub(super) struct Seen {
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
}

impl Seen {
    /// Takes the result of a rehearsal, and what was answered in it.
    pub(super) fn take(&mut self, run: &Run, given: Given) {
        self.rehearsals += 1;
        let Some(report) = &run.report else {
            self.problem = run.error.as_ref().map(ToString::to_string);
            return;
        };
        self.reports += 1;
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
        let kept = &mut self.kept;
        let threshold = self.thresholds.entry(metric.name.clone()).or_insert_with_key(|name| {
            *kept += name.len() + size_of::<(String, Threshold)>();
            Threshold::default()
        });
        threshold.meet(metric);
        if metric.value.is_some() {
            threshold.earlier = given.clone();
        }
    }

    /// All limits met so far.
    pub(super) fn limits(&self) -> Vec<f64> {
        let limits = self.thresholds.values().flat_map(|threshold| threshold.limits().map(|(_, limit)| limit.asked));
        limits.flatten().collect()
    }

    /// The limit to try next: the least tried of those that nothing has broken yet.
    pub(super) fn aim(&mut self) -> Option<Aim> {
        let open = self.thresholds.iter_mut().filter(|(_, threshold)| !threshold.contradicts());
        let open = open.flat_map(|(name, threshold)| {
            let Threshold { known, unit, min, max, below, earlier, .. } = threshold;
            let (enough, unit, earlier) = (*known >= AIMS, &*unit, &*earlier);
            let most = move |limit: &Limit| if limit.touched && enough { AIMS } else { MOST_AIMS };
            let limits = [min, max, below].into_iter();
            let open = limits.filter(move |limit| limit.asked.is_some() && !limit.broken && limit.aimed < most(limit));
            open.map(move |limit| (name, unit, earlier, limit))
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
            if threshold.contradicts() {
                findings.push(Finding::new(Kind::CannotPass, threshold.contradiction(name)));
            } else if threshold.known == 0 {
                let near = nearest(name, &columns);
                let certain = named || !near.is_empty() || !shapes.opaque();
                let asked =
                    threshold.limits().into_iter().find_map(|(words, limit)| Some(format!("{words} {}", limit.asked?)));
                if let Some(asked) = asked.filter(|_| certain) {
                    let text = format!(
                        "{name} must be {asked}, but it never has a value; its queries return {}{near}",
                        columns.join(", ")
                    );
                    findings.push(Finding::new(Kind::CannotPass, text));
                }
            } else {
                let count = counts.iter().any(|count| count.eq_ignore_ascii_case(name));
                let unbroken = threshold.unbreakable(count).map(|(words, limit)| {
                    let text = format!("{name} must be {words} {limit}, and every simulated result meets that");
                    Finding::new(Kind::CannotFail, text)
                });
                findings.extend(unbroken);
            }
        }
        if findings.is_empty() && self.passed && !self.failed && !shapes.opaque() {
            let tried = self.rehearsals;
            let text = format!("none of {tried} simulated results made it fail");
            findings.push(Finding::new(Kind::CannotFail, text));
        }
        findings
    }

    /// What was not tried, in one line, if anything: it may be right or wrong. `faults` are the findings that are certain.
    pub(super) fn untried(&self, shapes: &Shapes, faults: &[Finding]) -> Option<String> {
        let counts = shapes.counts();
        let said = |name: &str| faults.iter().any(|fault| fault.text.starts_with(&format!("{name} must be ")));
        let mut limits = Vec::new();
        for (name, threshold) in self.thresholds.iter().filter(|(name, _)| !said(name)) {
            let count = counts.iter().any(|count| count.eq_ignore_ascii_case(name));
            if threshold.contradicts() || threshold.unbreakable(count).is_some() {
                continue;
            }
            let open = threshold.limits().into_iter().filter(|(_, limit)| !limit.broken);
            limits.extend(open.filter_map(|(words, limit)| Some(format!("{name} {words} {}", limit.asked?))));
        }
        let (tried, more) = (self.rehearsals, limits.len().saturating_sub(NAMED));
        if !limits.is_empty() {
            limits.truncate(NAMED);
            let more = if more == 0 { String::new() } else { format!(" and {more} more") };
            return Some(format!("no simulated result, of {tried}, reached {}{more}", limits.join(", ")));
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
        let named = |name: &String| columns.iter().any(|column| column.eq_ignore_ascii_case(name));
        let mut known = self.thresholds.iter().filter(|(_, threshold)| threshold.known > 0).peekable();
        known.peek().is_some() && known.all(|(name, _)| named(name))
    }
}

/// The limits of one metric over all rehearsals.
#[derive(Debug, Default)]
struct Threshold {
    /// How many rehearsals gave it a value.
    known: u64,
    /// Its first value.
    first: Option<f64>,
    /// Whether it had different values.
    moved: bool,
    unit: Option<String>,
    /// The answers of the latest rehearsal in which it had a value.
    earlier: Arc<Given>,
    min: Limit,
    max: Limit,
    below: Limit,
}

#[derive(Debug, Default)]
struct Limit {
    /// The last limit.
    asked: Option<f64>,
    /// Whether some result broke it.
    broken: bool,
    /// Whether some result was exactly at it.
    touched: bool,
    /// How often it was aimed at.
    aimed: u64,
}

impl Threshold {
    fn meet(&mut self, metric: &Metric) {
        self.known += u64::from(metric.value.is_some());
        self.first = self.first.or(metric.value);
        self.moved |= metric.value.zip(self.first).is_some_and(|(value, first)| value != first);
        self.unit.clone_from(&metric.unit);
        for (limit, asked, breaks) in [
            (&mut self.min, metric.min, (|value, limit| value < limit) as fn(f64, f64) -> bool),
            (&mut self.max, metric.max, |value, limit| value > limit),
            (&mut self.below, metric.below, |value, limit| value >= limit),
        ] {
            limit.asked = asked.or(limit.asked);
            let met = metric.value.zip(asked);
            limit.broken |= met.is_some_and(|(value, asked)| breaks(value, asked));
            limit.touched |= met.is_some_and(|(value, asked)| (value - asked).abs() <= asked.abs() * 1e-9);
        }
    }

    fn limits(&self) -> [(&'static str, &Limit); 3] {
        [("at least", &self.min), ("at most", &self.max), ("below", &self.below)]
    }

    /// Whether no value meets all limits.
    fn contradicts(&self) -> bool {
        let over = |most: &Limit, may_meet: bool| {
            let pair = self.min.asked.zip(most.asked);
            pair.is_some_and(|(min, most)| if may_meet { min > most } else { min >= most })
        };
        over(&self.max, true) || over(&self.below, false)
    }

    fn contradiction(&self, name: &str) -> String {
        let limits = self.limits().into_iter().filter_map(|(words, limit)| Some(format!("{words} {}", limit.asked?)));
        format!("{name} must be {}, and no value is both", limits.collect::<Vec<_>>().join(" and "))
    }

    /// A limit that no value of this metric breaks: its values moved and met the limit, and none went beyond it; or the
    /// metric is a `count`, and the limit is not above 0.
    fn unbreakable(&self, count: bool) -> Option<(&'static str, f64)> {
        let below_any_count = |words: &str, asked: f64| count && words == "at least" && asked <= 0.0;
        self.limits().into_iter().find_map(|(words, limit)| {
            let asked = limit.asked.filter(|_| !limit.broken)?;
            let certain = self.moved && limit.touched && limit.aimed >= AIMS && self.known >= AIMS;
            (certain || (below_any_count(words, asked) && limit.aimed > 0)).then_some((words, asked))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metric(value: Option<f64>, min: Option<f64>, max: Option<f64>, below: Option<f64>) -> Metric {
        Metric { name: "m".to_owned(), value, min, max, below, unit: None }
    }

    /// All that can be said of these results, after each limit was aimed at as often as it may be.
    fn said(metrics: &[Metric]) -> (Vec<(Kind, String)>, Option<String>) {
        let mut seen = Seen { rehearsals: metrics.len(), reports: metrics.len(), failed: true, ..Seen::default() };
        let often = metrics.iter().cycle().take(metrics.len() * AIMS as usize);
        often.for_each(|metric| seen.meet(metric, &Arc::default()));
        while seen.aim().is_some() {}
        let shapes = Shapes::default();
        let faults = seen.faults(&shapes);
        let untried = seen.untried(&shapes, &faults);
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
        assert_eq!(said(&[metric(Some(5.0), None, None, Some(5.0))]), fine);
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
    }

    #[test]
    fn what_can_never_pass_is_found() {
        let (faults, _) = said(&[metric(None, Some(2.0), None, None)]);
        let text = "m must be at least 2, but it never has a value; its queries return ".to_owned();
        assert_eq!(faults, [(Kind::CannotPass, text)]);
        let (faults, untried) = said(&[metric(Some(7.0), Some(10.0), Some(5.0), None)]);
        let text = "m must be at least 10 and at most 5, and no value is both".to_owned();
        assert_eq!((faults, untried), (vec![(Kind::CannotPass, text)], None));
        assert_eq!(said(&[metric(Some(5.0), Some(5.0), Some(5.0), None)]).0.len(), 0, "one value is both");
        assert_eq!(said(&[metric(Some(5.0), Some(5.0), None, Some(5.0))]).0.len(), 1);
    }
}
