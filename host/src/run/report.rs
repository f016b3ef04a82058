//! Fits a report into its budgets before anything else reads it.

use serde::Serialize;

use crate::{
    config::{Budgets, Bytes},
    contract::{Report, Verdict, Violation},
    text::shortened,
};

/// The limits of a brief report: number of texts, and their total bytes. Reading it takes 100 µs.
const BRIEF: (usize, usize) = (200, 16 << 10);

/// A budget that a report exceeds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Over {
    /// Its key.
    pub budget: &'static str,
    /// The amount.
    pub what: String,
}

/// Limits a report to its budgets. Too many metrics are an error, since a check chooses their number. Violations grow
/// with the data: the beginning of a long list or text is kept, with a count of the rest, so that the worst day stays a
/// failure and does not become an error. Neither changes the verdict.
pub(super) fn bounded(mut report: Report, budgets: &Budgets) -> Result<Report, Over> {
    let (found, most) = (report.metrics.len(), budgets.report_metrics);
    if found > most.0 as usize {
        return Err(Over { budget: "report_metrics", what: format!("a report of {found} metrics, more than {most}") });
    }
    let most = budgets.report_lines.0 as usize;
    let more = |left: usize| format!("and {left} more, left out by budgets.report_lines");
    bound(&mut report.violations, most, |left| Violation { metric: None, message: more(left) });
    bound(&mut report.unknown, most, more);
    if let Some(gate) = &mut report.gate {
        bound(&mut gate.missing, most, more);
        bound(&mut gate.metadata, most, |left| ("…".to_owned(), more(left)));
    }
    for text in texts(&mut report) {
        shorten(text, budgets.report_text_bytes);
    }
    let most = budgets.report_bytes;
    match is_larger(&report, most) {
        false => Ok(report),
        true => Err(Over { budget: "report_bytes", what: format!("a report of more than {most}") }),
    }
}

fn bound<T>(list: &mut Vec<T>, most: usize, more: impl FnOnce(usize) -> T) {
    let left_out = list.len().saturating_sub(most);
    if left_out > 0 {
        list.truncate(most);
        list.push(more(left_out));
    }
}

/// Every text of a report.
fn texts(report: &mut Report) -> impl Iterator<Item = &mut String> {
    let verdict = match &mut report.verdict {
        Verdict::Skip(why) => Some(why),
        _ => None,
    };
    let metrics = report.metrics.iter_mut().flat_map(|metric| [Some(&mut metric.name), metric.unit.as_mut()]);
    let violations = report.violations.iter_mut().flat_map(|one| [Some(&mut one.message), one.metric.as_mut()]);
    let gate = report.gate.iter_mut().flat_map(|gate| {
        let metadata = gate.metadata.iter_mut().flat_map(|(name, value)| [name, value]);
        gate.missing.iter_mut().chain(metadata)
    });
    let listed = metrics.chain(violations).flatten().chain(&mut report.unknown).chain(gate);
    verdict.into_iter().chain([&mut report.summary]).chain(listed)
}

/// Whether a report is small enough to read at once, as nearly all are.
pub(super) fn is_brief(report: &mut Report) -> bool {
    let (count, bytes) = texts(report).fold((0, 0), |(count, bytes), text| (count + 1, bytes + text.len()));
    count <= BRIEF.0 && bytes <= BRIEF.1
}

fn shorten(text: &mut String, most: Bytes) {
    if text.len() > most.0 {
        *text = shortened(text, most.0);
    }
}

/// Whether a value is larger than a limit as JSON; stops writing at the limit.
fn is_larger(value: &impl Serialize, most: Bytes) -> bool {
    serde_json::to_writer(Scales { left: most.0 }, value).is_err()
}

/// A writer with a limit.
struct Scales {
    left: usize,
}

impl std::io::Write for Scales {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let left = self.left.checked_sub(bytes.len());
        self.left = left.ok_or_else(|| std::io::Error::from(std::io::ErrorKind::StorageFull))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::Count,
        contract::{Gate, Metric},
    };

    fn report() -> Report {
        Report {
            verdict: Verdict::Fail,
            summary: "s".repeat(100),
            metrics: Vec::new(),
            violations: (0..10).map(|at| Violation { metric: None, message: format!("{at} is wrong") }).collect(),
            unknown: vec!["ä".repeat(40); 10],
            gate: Some(Gate {
                score: 0.5,
                completeness: None,
                expected: 10,
                actual: 0,
                missing: vec!["game".to_owned(); 10],
                metadata: vec![("name".to_owned(), "v".repeat(100)); 10],
            }),
        }
    }

    fn budgets() -> Budgets {
        let most = (Count(2), Count(3), Bytes(51), Bytes(4 << 10));
        Budgets {
            report_metrics: most.0,
            report_lines: most.1,
            report_text_bytes: most.2,
            report_bytes: most.3,
            ..Budgets::default()
        }
    }

    /// The verdict stays the same, and the omitted parts are counted.
    #[test]
    fn lists_and_texts_that_are_too_long_are_cut_with_a_count() {
        let taken = bounded(report(), &budgets()).expect("within its budgets");
        assert_eq!(taken.verdict, Verdict::Fail);
        assert_eq!(taken.summary, format!("{}… (49 B left out)", "s".repeat(51)));
        let messages: Vec<&str> = taken.violations.iter().map(|one| one.message.as_str()).collect();
        assert_eq!(
            messages,
            ["0 is wrong", "1 is wrong", "2 is wrong", "and 7 more, left out by budgets.report_lines"]
        );
        assert_eq!(taken.unknown.len(), 4);
        assert_eq!(taken.unknown[0], format!("{}… (30 B left out)", "ä".repeat(25)), "no character is cut in two");
        let gate = taken.gate.expect("a gate");
        assert_eq!((gate.missing.len(), gate.metadata.len()), (4, 4));
        assert!(gate.metadata[0].1.ends_with("(49 B left out)") && gate.metadata[3].1.starts_with("and 7 more"));
    }

    #[test]
    fn what_is_within_the_budgets_is_not_touched() {
        let whole = bounded(report(), &Budgets::default());
        assert_eq!(whole, Ok(report()));
    }

    #[test]
    fn too_many_metrics_and_too_large_a_report_are_errors() {
        let metric = Metric { name: "m".to_owned(), value: None, min: None, max: None, below: None, unit: None };
        let over = bounded(Report { metrics: vec![metric; 3], ..report() }, &budgets()).expect_err("too many");
        assert_eq!((over.budget, over.what.as_str()), ("report_metrics", "a report of 3 metrics, more than 2"));
        let small = Budgets { report_bytes: Bytes(200), ..budgets() };
        let over = bounded(report(), &small).expect_err("too large");
        assert_eq!((over.budget, over.what.as_str()), ("report_bytes", "a report of more than 200 B"));
    }
}
