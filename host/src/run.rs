//! One run, from due time to outcome: the request, the guest, and what its answer is worth.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use jiff::{Timestamp, civil::Date};
use serde::Serialize;

use crate::{
    capability::{Backends, Call, Session},
    config::{Budgets, Config, Cron, Grants, Zone, nearest},
    contract::{Report, Request, Verdict, slack::Alert},
    plugin::{Loaded, Plugin},
};

/// A check: a plugin with settings and a schedule, or why there is none.
pub struct Check {
    /// Its name in host.toml; the plugin's when host.toml does not name it.
    pub name: String,
    /// What runs, or why nothing can.
    pub ready: Result<Ready, String>,
}

/// What a check needs to run.
pub struct Ready {
    /// The code.
    pub plugin: Arc<Plugin>,
    /// When it is due.
    pub schedule: Cron,
    /// The time zone of the schedule.
    pub zone: Zone,
    /// Where its alerts go.
    pub channel: String,
    /// A JSON object.
    settings: String,
    grants: Grants,
    budgets: Budgets,
}

/// One execution of a check, and what came of it.
#[derive(Debug, Serialize)]
pub struct Run {
    /// The check's name.
    pub check: String,
    /// The plugin's name, version and digest, when there was one.
    pub plugin: Option<Ran>,
    /// The run's clock.
    pub due: Timestamp,
    /// The date whose data was asked about.
    pub data_date: Date,
    /// What the plugin found.
    pub report: Option<Report>,
    /// Why the check, or part of it, could not be evaluated.
    pub error: Option<String>,
    /// How long it took.
    #[serde(rename = "seconds", serialize_with = "seconds")]
    pub duration: Duration,
    /// What it asked.
    pub calls: Vec<Call>,
    /// What it wrote to its output.
    pub log: String,
    /// What people are to be told.
    #[serde(skip)]
    pub alerts: Vec<Alert>,
    /// The family of its plugin, and the channel of its check.
    #[serde(skip)]
    pub family: Option<Family>,
}

/// Which code ran.
#[derive(Debug, Clone, Serialize)]
pub struct Ran {
    /// The plugin's name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// SHA-256 of its file.
    pub digest: String,
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

fn seconds<S: serde::Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(duration.as_secs_f64())
}

/// The checks of a host: those of host.toml, and each plugin that none of them names. Sorted by name.
pub fn checks(config: &Config, loaded: &Loaded) -> Vec<Check> {
    let mut checks: BTreeMap<String, Check> = BTreeMap::new();
    for (name, wanted) in &config.checks {
        let plugin = wanted.plugin.as_ref().unwrap_or(name);
        let found = loaded.plugins.get(plugin).cloned();
        let ready = found
            .ok_or_else(|| missing(plugin, loaded))
            .and_then(|plugin| Ready::new(config, name, wanted, plugin).map_err(|error| format!("{error:#}")));
        checks.insert(name.clone(), Check { name: name.clone(), ready });
    }
    let named: HashSet<&String> =
        config.checks.iter().map(|(name, check)| check.plugin.as_ref().unwrap_or(name)).collect();
    for (name, plugin) in &loaded.plugins {
        if !named.contains(name) {
            let ready = Ready::new(config, name, &Default::default(), plugin.clone());
            let ready = ready.map_err(|error| format!("{error:#}"));
            checks.entry(name.clone()).or_insert(Check { name: name.clone(), ready });
        }
    }
    for unusable in &loaded.unusable {
        if !named.contains(&unusable.name) {
            let check = Check { name: unusable.name.clone(), ready: Err(unusable.reason.clone()) };
            checks.entry(unusable.name.clone()).or_insert(check);
        }
    }
    checks.into_values().collect()
}

fn missing(plugin: &str, loaded: &Loaded) -> String {
    match loaded.unusable.iter().find(|unusable| unusable.name == plugin) {
        Some(unusable) => unusable.reason.clone(),
        None => {
            let near = nearest(plugin, loaded.plugins.keys());
            format!(
                "no file holds the plugin {plugin}{near}; add it to the command, or remove the check from host.toml"
            )
        }
    }
}

impl Ready {
    fn new(config: &Config, check: &str, wanted: &crate::config::Check, plugin: Arc<Plugin>) -> Result<Self> {
        let descriptor = &plugin.descriptor;
        let schedule = match &wanted.schedule {
            Some(schedule) => schedule.clone(),
            None => Cron::new(&descriptor.schedule.cron).context("the plugin's own schedule")?,
        };
        let zone = match (&wanted.timezone, &descriptor.schedule.timezone) {
            (Some(zone), _) => zone.clone(),
            (None, Some(name)) => Zone::new(name).context("the plugin's own schedule")?,
            (None, None) => config.timezone.clone(),
        };
        let settings = serde_json::to_value(&wanted.settings).context("settings")?;
        crate::plugin::check_settings(&descriptor.settings, &settings)
            .with_context(|| format!("checks.{check}.settings in host.toml"))?;
        Ok(Self {
            schedule,
            zone,
            channel: wanted.channel.clone().unwrap_or_else(|| descriptor.channel.clone()),
            settings: settings.to_string(),
            grants: config.grants.get(&plugin.name).cloned().unwrap_or_default(),
            budgets: config.budgets(&plugin.name),
            plugin,
        })
    }
}

impl Check {
    /// Runs once. Whatever happens, there is a run to tell of.
    pub async fn run(&self, backends: &Arc<Backends>, moment: Moment) -> Run {
        let started = Instant::now();
        let mut run = Run {
            check: self.name.clone(),
            plugin: None,
            due: moment.due,
            data_date: moment.data_date,
            report: None,
            error: None,
            duration: Duration::ZERO,
            calls: Vec::new(),
            log: String::new(),
            alerts: Vec::new(),
            family: None,
        };
        match &self.ready {
            Err(reason) => run.error = Some(reason.clone()),
            Ok(ready) => self.execute(ready, backends, &moment, &mut run).await,
        }
        run.duration = started.elapsed();
        run
    }

    async fn execute(&self, ready: &Ready, backends: &Arc<Backends>, moment: &Moment, run: &mut Run) {
        let plugin = &ready.plugin;
        run.plugin =
            Some(Ran { name: plugin.name.clone(), version: plugin.version.clone(), digest: plugin.digest.clone() });
        run.family = Some(Family { channel: ready.channel.clone(), group: plugin.descriptor.group.clone() });
        let session =
            Arc::new(Session::new(&plugin.name, ready.grants.clone(), ready.budgets.clone(), backends.clone()));
        let request = Request {
            check: self.name.clone(),
            data_date: moment.data_date.to_string(),
            day_start: moment.day_start.as_second(),
            day_end: moment.day_end.as_second(),
            due: moment.due.as_second(),
            channel: ready.channel.clone(),
            attempt: 1,
            settings: ready.settings.clone(),
        };
        let ended = plugin.guest.run(session.clone(), &ready.budgets, request).await;
        run.log = ended.log;
        let (calls, alerts) = session.take();
        run.calls = calls;
        match ended.result {
            Err(stopped) => run.error = Some(with_log(stopped.explained(&plugin.name), &run.log)),
            Ok(report) => match malformed(&report) {
                Some(problem) => run.error = Some(format!("returned a malformed report: {problem}")),
                None => {
                    if !report.unknown.is_empty() {
                        run.error = Some(format!("not known: {}", report.unknown.join("; ")));
                    }
                    run.report = Some(report);
                    run.alerts = alerts;
                }
            },
        }
    }
}

/// A panic's message is in the log, not in the trap.
fn with_log(error: String, log: &str) -> String {
    match log.lines().rev().find(|line| !line.trim().is_empty()) {
        Some(_) if error.starts_with("trapped") => {
            let lines: Vec<&str> =
                log.lines().filter(|line| !line.trim().is_empty() && !line.starts_with("note:")).collect();
            format!(
                "{error}; its log ends with: {}",
                lines.iter().rev().take(2).rev().copied().collect::<Vec<_>>().join(" ")
            )
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
}

impl Moment {
    /// The date before the due time's, in the pipeline's time zone.
    pub fn yesterday(due: Timestamp, zone: &Zone) -> Result<Self> {
        let date = due.to_zoned(zone.rules()).date().yesterday()?;
        Self::new(due, date, zone)
    }

    /// A date of one's choice.
    pub fn new(due: Timestamp, data_date: Date, zone: &Zone) -> Result<Self> {
        let start = |date: Date| date.to_zoned(zone.rules()).map(|start| start.timestamp());
        Ok(Self { due, data_date, day_start: start(data_date)?, day_end: start(data_date.tomorrow()?)? })
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
