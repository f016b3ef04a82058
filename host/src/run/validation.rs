//! Validates checks: every query is tried without reading a row, and a check that no data can make fail is detected.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::{Timestamp, civil::Date};
use serde::Serialize;

use super::{Moment, Reason, Run};
use crate::{
    capability::{
        Backends, Call, Unanswered,
        warehouse::{Answers, Problem, Rehearsal, Shapes},
    },
    check::{Check, Family, Ready},
    config::{Budgets, Bytes, Time},
    contract::{Error, Failure, Metric, Verdict},
    sandbox::Stopped,
};

/// Time limit for the validation of one check, including dry runs of its queries. A second is usual.
const TIMEOUT: Duration = Duration::from_secs(20);
/// Its CPU time limit: a thousand rehearsals of a canary.
const CPU: Duration = Duration::from_secs(6);
/// The CPU time limit of one rehearsal. A run's own budget may be lower.
const REHEARSAL_CPU: Duration = Duration::from_secs(2);
/// Mixed simulated results for each check, besides the four pure ones.
const MIXTURES: u64 = 24;
/// Mixed simulated results before a check is reported as unable to fail, since failing data may be rare among them.
const MORE: u64 = 1000;

/// Bytes kept of a check's metrics over all rehearsals: a hundred times what a check with constant metrics needs.
const KEPT: usize = 4 << 20;

/// A fault in a check itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The kind of fault.
    pub kind: Kind,
    /// The fault, in one line.
    pub text: String,
    /// The SQL or dataset it is about.
    pub asked: Option<String>,
    /// The line of the SQL: its number from 1, and its text.
    pub line: Option<(usize, String)>,
}

/// The findings of each check, sorted by its name.
pub type Validated = Vec<(String, Vec<Finding>)>;

/// The faults that a validation found in a check, for alerts. Not a run: no data was read.
#[derive(Debug)]
pub struct Validation {
    /// The check's name.
    pub check: String,
    /// Its family: channel and group.
    pub family: Option<Family>,
    /// When it was validated.
    pub due: Timestamp,
    /// The date that it was validated for.
    pub data_date: Date,
    /// The faults, a line each; empty if the check is sound.
    pub wrong: Vec<String>,
}

impl Validation {
    /// The news for a check's findings. Inconclusive findings are not news; its runs report them too.
    pub fn new(check: &Check, moment: &Moment, findings: &[Finding]) -> Self {
        let wrong = findings.iter().filter(|finding| finding.kind.is_wrong()).map(Finding::shown).collect();
        let (check, family) = (check.name.clone(), check.family.clone());
        Self { check, family, due: moment.due, data_date: moment.data_date, wrong }
    }
}

/// The kind of a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// The check cannot run, or one of its queries would fail.
    Refused,
    /// No data can make it fail.
    CannotFail,
    /// Inconclusive: a backend did not answer.
    Unknown,
    /// Validating it exceeds the limits, and will the next time too.
    Unfinished,
}

impl Kind {
    /// Whether it is a fault of the check; otherwise it is inconclusive.
    pub fn is_wrong(self) -> bool {
        match self {
            Self::Refused | Self::CannotFail => true,
            Self::Unknown | Self::Unfinished => false,
        }
    }
}

impl Finding {
    /// The text with its line of SQL, for people.
    pub fn shown(&self) -> String {
        match &self.line {
            Some((number, line)) => format!("{} (line {number}: {line})", self.text),
            None => self.text.clone(),
        }
    }

    fn new(kind: Kind, text: String) -> Self {
        Self { kind, text, asked: None, line: None }
    }
}

/// Validates one check; no findings mean that it is sound. All rehearsals share one budget of time and CPU, and the
/// memory of one is freed before the next begins.
pub async fn validate(check: &Check, backends: &Backends, moment: &Moment) -> Vec<Finding> {
    let ready = match (check.unable(), check.plugin()) {
        (Some(reason), _) => return vec![Finding::new(Kind::Refused, reason.to_owned())],
        (None, None) => return Vec::new(),
        (None, Some(ready)) => ready,
    };
    let mut stage = Stage {
        check,
        ready,
        backends,
        moment,
        shapes: Arc::default(),
        began: Instant::now(),
        computed: Duration::ZERO,
    };
    let high = match stage.rehearse(Answers::High).await {
        Ok(run) => run,
        Err(finding) => return vec![finding],
    };
    let mut findings: Vec<Finding> = stage.shapes.problems().iter().map(refused).collect();
    // Other calls are real: a denial is permanent, a failure may be temporary.
    for finding in high.calls.iter().filter_map(denied) {
        if !findings.contains(&finding) {
            findings.push(finding);
        }
    }
    if let Some(error) = high.error.as_ref().filter(|error| refuses_settings(error)) {
        findings.push(Finding::new(Kind::Refused, error.to_string()));
    }
    if !findings.is_empty() {
        return findings;
    }
    if high.error.is_none() && high.calls.iter().all(|call| call.name == "slack.post") {
        return vec![Finding::new(
            Kind::CannotFail,
            "it asks nothing of the host, so nothing can make it fail".to_owned(),
        )];
    }
    if !stage.shapes.asked() {
        return findings;
    }
    let mut seen = Seen::default();
    seen.take(&high);
    for answers in [Answers::Empty, Answers::Low, Answers::Null].into_iter().chain((1..=MORE).map(Answers::Mixed)) {
        let run = match stage.rehearse(answers).await {
            Ok(run) => run,
            Err(finding) => return vec![finding],
        };
        if answers == Answers::Empty {
            seen.passes_empty =
                run.error.is_none() && run.report.as_ref().is_some_and(|report| report.verdict == Verdict::Pass);
        }
        seen.take(&run);
        if seen.kept > KEPT {
            return vec![too_many_metrics()];
        }
        if let Answers::Mixed(mixture) = answers
            && mixture.is_multiple_of(MIXTURES)
        {
            findings = seen.lint(&stage.shapes.columns());
            if findings.iter().all(|finding| finding.text == PASSES_EMPTY) {
                break;
            }
        }
    }
    findings
}

/// A check in rehearsal, with the time used so far.
struct Stage<'c> {
    check: &'c Check,
    ready: &'c Ready,
    backends: &'c Backends,
    moment: &'c Moment,
    shapes: Arc<Shapes>,
    began: Instant,
    computed: Duration,
}

impl Stage<'_> {
    /// One rehearsal; a finding if it exceeds a limit.
    async fn rehearse(&mut self, answers: Answers) -> Result<Run, Finding> {
        let left = |most: Duration, used: Duration| most.checked_sub(used).filter(|left| !left.is_zero());
        let Some(time) = left(TIMEOUT, self.began.elapsed()) else {
            return Err(unfinished(&format!("takes more than {}", Time(TIMEOUT))));
        };
        let Some(cpu) = left(CPU, self.computed) else {
            return Err(unfinished(&format!("needs more than {} of CPU", Time(CPU))));
        };
        let (cpu, own) = (cpu.min(REHEARSAL_CPU), &self.ready.budgets);
        let budgets = Budgets { timeout: Time(own.timeout.0.min(time)), cpu: Time(own.cpu.0.min(cpu)), ..own.clone() };
        let rehearsal =
            Rehearsal::new(answers, self.moment.due.as_second(), self.moment.data_date, self.shapes.clone());
        let rehearsed = self.check.rehearse(self.ready, self.backends, budgets, self.moment, Arc::new(rehearsal));
        // It may also have waited for room.
        let Ok((run, computed)) = tokio::time::timeout(time, rehearsed).await else {
            return Err(unfinished(&format!("takes more than {}", Time(TIMEOUT))));
        };
        self.computed += computed;
        match &run.error {
            // Its own budgets: a real run would have the same error.
            Some(error) if run.exceeded.contains("timeout") && own.timeout.0 <= time => {
                Err(unfinished(&format!("fails: {error}")))
            }
            Some(error) if run.exceeded.contains("cpu") && own.cpu.0 <= cpu => {
                Err(unfinished(&format!("fails: {error}")))
            }
            Some(_) if run.exceeded.contains("timeout") => {
                Err(unfinished(&format!("takes more than {}", Time(TIMEOUT))))
            }
            Some(_) if run.exceeded.contains("cpu") => {
                Err(unfinished(&format!("needs more than {} of CPU for one result", Time(cpu))))
            }
            _ => Ok(run),
        }
    }
}

fn unfinished(why: &str) -> Finding {
    Finding::new(Kind::Unfinished, format!("it could not be validated: running it on simulated results {why}"))
}

fn too_many_metrics() -> Finding {
    let kept = Bytes(KEPT);
    let text = format!("it could not be validated: its metrics have new names in every run, more than fit into {kept}");
    Finding::new(Kind::Unfinished, text)
}

fn refuses_settings(error: &Reason) -> bool {
    matches!(error, Reason::Stopped(ended) if matches!(ended.stopped, Stopped::Failure(Failure::Settings(_))))
}

/// The finding that further rehearsals do not change.
const PASSES_EMPTY: &str = "it passes when its tables are empty";

/// The results of a check's rehearsals.
#[derive(Debug, Default)]
struct Seen {
    rehearsals: usize,
    thresholds: BTreeMap<String, Threshold>,
    /// Memory of the thresholds, in bytes.
    kept: usize,
    passed: bool,
    failed: bool,
    passes_empty: bool,
}

impl Seen {
    fn take(&mut self, run: &Run) {
        self.rehearsals += 1;
        let Some(report) = &run.report else { return };
        report.metrics.iter().for_each(|metric| self.meet(metric));
        self.passed |= report.verdict == Verdict::Pass && report.unknown.is_empty();
        self.failed |= matches!(report.verdict, Verdict::Fail | Verdict::Warn);
    }

    fn meet(&mut self, metric: &Metric) {
        let kept = &mut self.kept;
        let threshold = self.thresholds.entry(metric.name.clone()).or_insert_with_key(|name| {
            *kept += name.len() + size_of::<(String, Threshold)>();
            Threshold::default()
        });
        threshold.meet(metric);
    }

    /// The findings.
    fn lint(&self, columns: &[String]) -> Vec<Finding> {
        let cannot_fail = |text: String| Finding::new(Kind::CannotFail, text);
        let mut findings = Vec::new();
        if self.passes_empty {
            findings.push(cannot_fail(PASSES_EMPTY.to_owned()));
        }
        let complaints = self.thresholds.iter().filter_map(|(name, threshold)| threshold.complaint(name, columns));
        findings.extend(complaints.map(cannot_fail));
        if findings.is_empty() && self.passed && !self.failed {
            let tried = self.rehearsals;
            findings.push(cannot_fail(format!("none of {tried} simulated results made it fail")));
        }
        findings
    }
}

/// The limits of one metric over all rehearsals.
#[derive(Debug, Default)]
struct Threshold {
    /// Whether it ever had a value.
    known: bool,
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
}

impl Threshold {
    fn meet(&mut self, metric: &Metric) {
        self.known |= metric.value.is_some();
        for (limit, asked, breaks) in [
            (&mut self.min, metric.min, (|value, limit| value < limit) as fn(f64, f64) -> bool),
            (&mut self.max, metric.max, |value, limit| value > limit),
            (&mut self.below, metric.below, |value, limit| value >= limit),
        ] {
            limit.asked = asked.or(limit.asked);
            limit.broken |= metric.value.zip(asked).is_some_and(|(value, asked)| breaks(value, asked));
        }
    }

    fn complaint(&self, name: &str, columns: &[String]) -> Option<String> {
        let limits = [("at least", &self.min), ("at most", &self.max), ("below", &self.below)];
        let mut asked = limits.iter().filter_map(|(words, limit)| Some((words, limit.asked?, limit.broken)));
        if !self.known {
            let (words, limit, _) = asked.next()?;
            return Some(format!(
                "{name} must be {words} {limit}, but it never has a value; its queries return {}",
                columns.join(", ")
            ));
        }
        let (words, limit, _) = asked.find(|(.., broken)| !broken)?;
        Some(format!("{name} must be {words} {limit}, and every simulated result meets that"))
    }
}

fn refused(Problem { asked, error }: &Problem) -> Finding {
    let kind = match error {
        Error::TimedOut(_) | Error::Unavailable(_) => Kind::Unknown,
        Error::Invalid(_) | Error::Denied(_) | Error::OverBudget(_) | Error::NotFound(_) => Kind::Refused,
    };
    let text = error.message().to_owned();
    Finding { kind, line: line(asked, &text), text, asked: Some(asked.clone()) }
}

fn denied(call: &Call) -> Option<Finding> {
    match &call.error {
        Some(Unanswered::Error(Error::Denied(why))) => Some(Finding::new(Kind::Refused, why.clone())),
        _ => None,
    }
}

/// The line of SQL that an error is about: from its position, else the first line with the name.
fn line(sql: &str, error: &str) -> Option<(usize, String)> {
    let lines = || sql.lines().enumerate().map(|(at, line)| (at + 1, line.trim().to_owned()));
    // BigQuery: `at [3:12]`; the parser: `at Line: 3, Column: 12`.
    let number = |start: &str, end: char| error.rsplit_once(start)?.1.split(end).next()?.parse::<usize>().ok();
    if let Some(wanted) = number("at [", ':').or_else(|| number("at Line: ", ',')) {
        return lines().find(|(number, _)| *number == wanted);
    }
    let named = ["Unrecognized name: ", "there is no table ", "there is no dataset ", "dataset "];
    let name = named.iter().find_map(|start| error.split_once(start))?.1;
    let name = name.split([' ', ';', ':', ',', '?']).next()?.trim_matches('`');
    let last = name.rsplit('.').next().filter(|last| !last.is_empty())?;
    let has_word = |line: &str| line.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == last);
    lines().find(|(_, line)| has_word(line))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_with_other_names_each_time_are_counted() {
        let metric = |name| Metric { name, value: Some(1.0), min: None, max: None, below: None, unit: None };
        let kept = |names: [&str; 2]| {
            let mut seen = Seen::default();
            for name in names {
                seen.meet(&metric(name.to_owned()));
            }
            seen.kept
        };
        assert_eq!(kept(["games", "games"]) * 2, kept(["games", "lines"]));
        assert!(kept(["games", "games"]) < 200);
    }

    #[test]
    fn an_error_is_about_a_line() {
        let sql = "SELECT COUNT(*) AS games,\n       COUNTIF(player_nam IS NULL) AS nameless\nFROM nba_raw.boxscore";
        let found = |error: &str| line(sql, error).map(|(number, _)| number);
        assert_eq!(found("query failed: Unrecognized name: player_nam; did you mean player_name?"), Some(2));
        assert_eq!(found("Unrecognized name: player_nam at [2:16] (400 invalidQuery)"), Some(2));
        assert_eq!(found("query failed: syntax error: Expected: x at Line: 3, Column: 1"), Some(3));
        assert_eq!(found("query failed: there is no table nba_raw.boxscore"), Some(3));
        assert_eq!(found("query denied: dataset nba_raw is not granted; add it"), Some(3));
        assert_eq!(found("query failed: something else"), None);
    }

    #[test]
    fn a_limit_that_no_answer_breaks_is_found() {
        let metric = |value, min, max, below| Metric { name: "m".to_owned(), value, min, max, below, unit: None };
        let complaint = |metrics: &[Metric]| {
            let mut threshold = Threshold::default();
            metrics.iter().for_each(|metric| threshold.meet(metric));
            threshold.complaint("m", &["x".to_owned()])
        };
        let at_least = |value, min| metric(Some(value), Some(min), None, None);
        assert_eq!(complaint(&[at_least(0.0, 1.0), at_least(9.0, 1.0)]), None);
        assert_eq!(
            complaint(&[at_least(0.0, 0.0), at_least(9.0, 0.0)]),
            Some("m must be at least 0, and every simulated result meets that".to_owned())
        );
        assert!(complaint(&[metric(None, Some(0.0), None, None), at_least(1.0, 0.0)]).is_some());
        assert_eq!(complaint(&[metric(Some(5.0), None, None, Some(5.0))]), None);
        assert!(complaint(&[metric(Some(9.0), Some(10.0), Some(99.0), None)]).is_some(), "one side is enough");
        assert_eq!(
            complaint(&[metric(None, Some(2.0), None, None)]),
            Some("m must be at least 2, but it never has a value; its queries return x".to_owned())
        );
        assert_eq!(complaint(&[metric(None, None, None, None)]), None);
    }
}
