//! One run, from due time to outcome: the request, the guest, and what its answer is worth.

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use jiff::{Timestamp, civil::Date};
use serde::Serialize;

use crate::{
    capability::{self, Backends, Call, Caller, Calls, warehouse::Rehearsal},
    check::{Check, Ready, Work},
    config::{Zone, raise},
    contract::{Report, Request, Verdict, slack::Alert},
    gate,
    plugin::Origin,
    record::run_id,
    report::{Over, bounded},
    sandbox::HOST_LINE,
    text::shortened,
};

/// The longest error of a run, in bytes: more than anybody reads, and little beside what else a run leaves.
const ERROR_BYTES: usize = 8 << 10;

/// One execution of a check, and what came of it.
#[derive(Debug, Serialize)]
pub struct Run {
    /// The check's name.
    pub check: String,
    /// The plugin's name, version and digest, when there was one.
    pub plugin: Option<Origin>,
    /// The run's clock.
    pub due: Timestamp,
    /// The date whose data was asked about.
    pub data_date: Date,
    /// 1 for the first try of this date and due time, 2 for the next.
    pub attempt: u32,
    /// Whether it was asked as of the past: it is recorded, and nobody is told.
    pub past: bool,
    /// What the plugin found.
    pub report: Option<Report>,
    /// Why the check, or part of it, could not be evaluated.
    pub error: Option<String>,
    /// How long it took.
    #[serde(rename = "seconds", serialize_with = "capability::seconds")]
    pub duration: Duration,
    /// What it asked.
    pub calls: Vec<Call>,
    /// What it wrote to its output.
    pub log: String,
    /// What people are to be told.
    #[serde(skip)]
    pub alerts: Vec<Alert>,
    /// Where it is told of.
    #[serde(skip)]
    pub family: Option<Family>,
    /// What the last validation found wrong with the check itself.
    #[serde(skip)]
    pub invalid: Vec<String>,
    /// Whether this is a validation, which is told of like a run and is none.
    #[serde(skip)]
    pub validation: bool,
    /// Why nobody is told of it, when nobody is.
    #[serde(skip)]
    pub untold: Option<Untold>,
    /// The budgets that it exceeded.
    #[serde(skip)]
    pub exceeded: BTreeSet<&'static str>,
}

/// Why a run is recorded, and nobody is told of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Untold {
    /// There was none: its due time was missed, or the check still ran.
    LeftOut,
    /// It gave no verdict, and was tried again.
    TriedAgain,
}

/// Where a check's alerts belong: those of one channel and group are told together.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Family {
    /// The check's channel.
    pub channel: String,
    /// The plugin's group.
    pub group: String,
}

/// What a run comes to, from best to worst. The order decides the exit code of a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// All is as it should be.
    Pass,
    /// There was nothing to judge. Not a pass.
    Skip,
    /// Imperfect, within what is tolerated.
    Warn,
    /// Something is wrong.
    Fail,
    /// Not evaluated.
    Error,
}

impl Status {
    /// What a recorded word says; a word that is none of them says that it is not known.
    pub fn named(name: &str) -> Self {
        let all = [Self::Pass, Self::Skip, Self::Warn, Self::Fail];
        all.into_iter().find(|status| status.name() == name).unwrap_or(Self::Error)
    }

    /// `pass`, `skip`, `warn`, `fail` or `error`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Skip => "skip",
            Self::Warn => "warn",
            Self::Fail => "fail",
            Self::Error => "error",
        }
    }
}

impl Run {
    /// The worst that is true of it.
    pub fn status(&self) -> Status {
        match (&self.error, self.report.as_ref().map(|report| &report.verdict)) {
            (Some(_), Some(Verdict::Fail)) => Status::Fail,
            (Some(_), _) | (None, None) => Status::Error,
            (None, Some(Verdict::Pass)) => Status::Pass,
            (None, Some(Verdict::Skip(_))) => Status::Skip,
            (None, Some(Verdict::Warn)) => Status::Warn,
            (None, Some(Verdict::Fail)) => Status::Fail,
        }
    }

    /// The exit code it asks for: 0 pass or skip, 1 warn, 2 fail, 3 not (or not wholly) evaluated.
    pub fn exit_code(&self) -> u8 {
        match self.status() {
            _ if self.error.is_some() => 3,
            Status::Pass | Status::Skip => 0,
            Status::Warn => 1,
            Status::Fail => 2,
            Status::Error => 3,
        }
    }

    /// Its date, due time and attempt, in a word.
    pub fn id(&self) -> String {
        run_id(self.data_date, self.due, self.attempt)
    }

    /// One line: what was found, and what could not be found out.
    pub fn summary(&self) -> String {
        let found = self.report.as_ref().map(|report| match &report.verdict {
            Verdict::Skip(why) => format!("skipped: {why}"),
            _ => report.summary.clone(),
        });
        match (found, &self.error) {
            (Some(found), None) => found,
            (Some(found), Some(error)) if self.status() == Status::Fail => format!("{found}; {error}"),
            (_, Some(error)) => error.clone(),
            (None, None) => String::new(),
        }
    }
}

/// `pass`, `warn`, `fail` or `skip`.
pub fn verdict_name(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Pass => "pass",
        Verdict::Warn => "warn",
        Verdict::Fail => "fail",
        Verdict::Skip(_) => "skip",
    }
}

/// `1 failed, 5 passed`, the worst first.
pub fn tally<'r>(runs: impl Iterator<Item = &'r Run> + Clone) -> String {
    let words = [
        (Status::Fail, "failed"),
        (Status::Error, "not evaluated"),
        (Status::Warn, "warned"),
        (Status::Pass, "passed"),
        (Status::Skip, "skipped"),
    ];
    let counted = words.iter().filter_map(|(status, word)| {
        let count = runs.clone().filter(|run| run.status() == *status).count();
        (count > 0).then(|| format!("{count} {word}"))
    });
    counted.collect::<Vec<_>>().join(", ")
}

/// The dates that runs asked about: `2026-02-05`.
pub fn dates<'r>(runs: impl Iterator<Item = &'r Run>) -> String {
    let mut dates: Vec<Date> = runs.map(|run| run.data_date).collect();
    dates.sort_unstable();
    dates.dedup();
    dates.iter().map(Date::to_string).collect::<Vec<_>>().join(", ")
}

impl Check {
    /// Runs once. Whatever happens, there is a run to tell of.
    pub async fn run(&self, backends: &Arc<Backends>, moment: Moment) -> Run {
        let started = Instant::now();
        let mut run = self.empty(&moment);
        match &self.work {
            _ if moment.skip.is_some() => run.report = moment.skip.map(skipped),
            Work::Unable(reason) => run.error = Some(reason.clone()),
            Work::Consultation(gate) => {
                let (report, error, alerts) = match gate::consultation(self, gate, backends, &moment).await {
                    Ok((report, alerts)) => (Some(report), None, alerts),
                    Err(error) => (None, Some(format!("{error:#}")), Vec::new()),
                };
                (run.report, run.error, run.alerts) = (report, error, alerts);
            }
            Work::Plugin(ready) => self.execute(ready, backends, &moment, None, &mut run).await,
        }
        run.duration = started.elapsed();
        run
    }

    /// Runs once on answers that are made up, to see what it asks and what it makes of them.
    pub async fn rehearse(&self, backends: &Arc<Backends>, moment: &Moment, rehearsal: Arc<Rehearsal>) -> Run {
        let mut run = self.empty(moment);
        if let Some(ready) = self.plugin() {
            self.execute(ready, backends, moment, Some(rehearsal), &mut run).await;
        }
        run
    }

    /// What a validation found, to be told of.
    pub fn validated(&self, moment: &Moment, invalid: Vec<String>) -> Run {
        Run { invalid, validation: true, ..self.empty(moment) }
    }

    /// What is recorded of a due time at which nothing ran.
    pub fn left_out(&self, moment: &Moment, why: String) -> Run {
        Run { report: Some(skipped(why)), untold: Some(Untold::LeftOut), ..self.empty(moment) }
    }

    /// A run that the host itself broke off.
    pub fn broken(&self, moment: &Moment, why: String) -> Run {
        Run { error: Some(format!("the host failed: {why}")), ..self.empty(moment) }
    }

    fn empty(&self, moment: &Moment) -> Run {
        Run {
            check: self.name.clone(),
            plugin: None,
            due: moment.due,
            data_date: moment.data_date,
            attempt: moment.attempt,
            past: moment.past,
            report: None,
            error: None,
            duration: Duration::ZERO,
            calls: Vec::new(),
            log: String::new(),
            alerts: Vec::new(),
            family: self.family.clone(),
            invalid: Vec::new(),
            validation: false,
            untold: None,
            exceeded: BTreeSet::new(),
        }
    }

    async fn execute(
        &self,
        ready: &Ready,
        backends: &Arc<Backends>,
        moment: &Moment,
        rehearsal: Option<Arc<Rehearsal>>,
        run: &mut Run,
    ) {
        let plugin = &ready.plugin;
        run.plugin = Some(plugin.file.clone());
        let name = &plugin.file.name;
        let caller = Caller { plugin: name.clone(), check: self.name.clone(), due: moment.due, run: moment.id() };
        let calls = Arc::new(Calls::new(caller, ready.grants.clone(), ready.budgets.clone()));
        let backends = match rehearsal {
            Some(rehearsal) => Arc::new(backends.rehearsing(rehearsal)),
            None => backends.clone(),
        };
        let request = Request {
            check: self.name.clone(),
            data_date: moment.data_date.to_string(),
            day_start: moment.day_start.as_second(),
            day_end: moment.day_end.as_second(),
            due: moment.due.as_second(),
            channel: self.family.as_ref().map(|family| family.channel.clone()).unwrap_or_default(),
            attempt: moment.attempt,
            settings: ready.settings.clone(),
        };
        let ended = plugin.guest.run(&calls, &backends, request).await;
        run.log = ended.log;
        (run.calls, run.alerts) = calls.take();
        run.exceeded = calls.budgets_exceeded();
        match ended.result {
            Err(stopped) => {
                run.exceeded.extend(stopped.exceeded());
                let error = with_log(stopped.explained(name), &run.log);
                // It may be the reason, and nobody would hear of it.
                let said: Vec<&str> = run.alerts.iter().map(|alert| alert.title.as_str()).collect();
                run.error = Some(match said.as_slice() {
                    [] => error,
                    said => format!("{error}; before that it wanted to say: {}", said.join("; ")),
                });
            }
            Ok(report) => match bounded(report, &ready.budgets) {
                Err(Over { budget, what }) => {
                    run.exceeded.insert(budget);
                    run.error = Some(format!("returned {what}; {}", raise(name, budget)));
                }
                Ok(report) => match malformed(&report) {
                    Some(problem) => run.error = Some(format!("returned a malformed report: {problem}")),
                    None => {
                        if !report.unknown.is_empty() {
                            run.error = Some(format!("not known: {}", report.unknown.join("; ")));
                        }
                        run.report = Some(report);
                    }
                },
            },
        }
        // It is made of what the plugin said, of which there may be much.
        run.error = run.error.take().map(|error| shortened(&error, ERROR_BYTES));
    }
}

/// The report of a run that a calendar left out.
fn skipped(why: String) -> Report {
    Report {
        verdict: Verdict::Skip(why),
        summary: String::new(),
        metrics: Vec::new(),
        violations: Vec::new(),
        unknown: Vec::new(),
        gate: None,
    }
}

/// A panic's message is in the log, not in the trap: the last of what the guest itself wrote.
fn with_log(error: String, log: &str) -> String {
    let own = |line: &&str| !line.trim().is_empty() && !line.starts_with("note:") && !line.starts_with(HOST_LINE);
    let lines: Vec<&str> = log.lines().filter(own).collect();
    match lines.as_slice() {
        [.., _] if error.starts_with("trapped") => {
            let last = lines.get(lines.len().saturating_sub(2)..).unwrap_or_default();
            format!("{error}; its log ends with: {}", last.join(" "))
        }
        _ => error,
    }
}

/// What a report says that cannot be: a pass that broke a threshold is none.
fn malformed(report: &Report) -> Option<String> {
    let fine = matches!(report.verdict, Verdict::Pass | Verdict::Skip(_));
    if fine && report.unknown.is_empty() {
        if let Some(violation) = report.violations.first() {
            return Some(format!("it is no failure, and has the violation {:?}", violation.message));
        }
        let broken = report.metrics.iter().find(|metric| {
            let asked = [metric.min, metric.max, metric.below].iter().any(Option::is_some);
            match metric.value {
                None => asked,
                Some(value) => {
                    metric.min.is_some_and(|min| value < min)
                        || metric.max.is_some_and(|max| value > max)
                        || metric.below.is_some_and(|below| value >= below)
                }
            }
        });
        if let Some(metric) = broken {
            return Some(format!("it is no failure, and the metric {} does not pass", metric.name));
        }
    }
    if !fine && report.violations.is_empty() {
        return Some("it fails or warns, and has no violation that says why".to_owned());
    }
    let numbers = report.metrics.iter().flat_map(|metric| [metric.value, metric.min, metric.max, metric.below]);
    if numbers.flatten().any(|number| !number.is_finite()) {
        return Some("a metric is not a finite number".to_owned());
    }
    if let Some(gate) = &report.gate {
        let percent = gate.completeness.unwrap_or_default();
        if !(0.0..=1.0).contains(&gate.score) || !(0.0..=100.0).contains(&percent) || gate.actual > gate.expected {
            return Some("the gate's numbers are out of range".to_owned());
        }
    }
    None
}

/// When a run takes place, and which date it asks about.
#[derive(Debug, Clone)]
pub struct Moment {
    /// The run's clock.
    pub due: Timestamp,
    /// The date whose data is asked about.
    pub data_date: Date,
    /// Where that date begins in the pipeline's time zone.
    pub day_start: Timestamp,
    /// Where the next one begins.
    pub day_end: Timestamp,
    /// 1 for the first try of this date and due time, 2 for the next.
    pub attempt: u32,
    /// Whether it is asked as of the past.
    pub past: bool,
    /// Why nothing is asked at all.
    pub skip: Option<String>,
}

impl Moment {
    /// The date before the due time's, in the pipeline's time zone.
    pub fn yesterday(due: Timestamp, zone: &Zone) -> Result<Self> {
        let date = due.to_zoned(zone.rules()).date().yesterday()?;
        Self::new(due, date, zone)
    }

    /// Of its run: date, due time and attempt, in a word.
    pub fn id(&self) -> String {
        run_id(self.data_date, self.due, self.attempt)
    }

    /// A date of one's choice.
    pub fn new(due: Timestamp, data_date: Date, zone: &Zone) -> Result<Self> {
        let start = |date: Date| date.to_zoned(zone.rules()).map(|start| start.timestamp());
        let day = || Ok::<_, jiff::Error>((start(data_date)?, start(data_date.tomorrow()?)?));
        let (day_start, day_end) =
            day().ok().with_context(|| format!("{data_date} is beyond the dates that can be asked about"))?;
        Ok(Self { due, data_date, day_start, day_end, attempt: 1, past: false, skip: None })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::{Metric, Violation};

    fn report(verdict: Verdict) -> Report {
        Report {
            verdict,
            summary: String::new(),
            metrics: Vec::new(),
            violations: Vec::new(),
            unknown: Vec::new(),
            gate: None,
        }
    }

    #[test]
    fn a_pass_that_broke_a_threshold_is_malformed() {
        let metric = |value, min| Metric { name: "games".to_owned(), value, min, max: None, below: None, unit: None };
        let with = |metric| Report { metrics: vec![metric], ..report(Verdict::Pass) };
        assert_eq!(malformed(&with(metric(Some(2.0), Some(2.0)))), None);
        assert_eq!(malformed(&with(metric(None, None))), None);
        assert!(malformed(&with(metric(None, Some(2.0)))).is_some());
        assert!(malformed(&with(metric(Some(1.0), Some(2.0)))).is_some());
        assert!(malformed(&with(metric(Some(f64::NAN), None))).is_some());
        assert!(malformed(&report(Verdict::Fail)).is_some());
        let violation = Violation { metric: None, message: "x".to_owned() };
        assert!(
            malformed(&Report { violations: vec![violation.clone()], ..report(Verdict::Skip("x".to_owned())) })
                .is_some()
        );
        assert_eq!(malformed(&Report { violations: vec![violation], ..report(Verdict::Warn) }), None);
    }

    /// Yesterday is a date in the pipeline's time zone, also on the days when clocks change.
    #[test]
    fn yesterday_is_a_date_in_the_pipelines_time_zone() {
        let zone = Zone::new("America/New_York").expect("a zone");
        let cases = [
            ("2026-02-06T11:30:00Z", "2026-02-05", 24),
            ("2026-02-06T04:59:59Z", "2026-02-04", 24),
            ("2026-02-06T05:00:00Z", "2026-02-05", 24),
            ("2026-03-09T12:00:00Z", "2026-03-08", 23),
            ("2026-11-02T12:00:00Z", "2026-11-01", 25),
            ("2024-03-01T12:00:00Z", "2024-02-29", 24),
        ];
        for (due, date, hours) in cases {
            let moment = Moment::yesterday(due.parse().expect("a time"), &zone).expect("a moment");
            assert_eq!(moment.data_date.to_string(), date, "{due}");
            assert_eq!(moment.day_end.as_second() - moment.day_start.as_second(), hours * 3600, "{due}");
        }
    }
}
