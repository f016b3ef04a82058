//! The execution of a run: the request, the guest, and the checks on its report.

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    Given, Moment, Outcome, Run, Tapes, Untold,
    consulted::consulted,
    reason::{Ended, Reason},
    report::{Over, bounded, is_brief},
    skip::{self, Undecided},
};
use jiff::Timestamp;

use crate::{
    capability::{Backends, Caller, Calls, Rehearsal, Taping},
    check::{Check, Ready, Work},
    config::Budgets,
    contract::{Report, Request, Verdict},
    record::Record,
};

/// How long reading a large report may take, including the wait for one of the plugin's threads.
const TAKING_IN: Duration = Duration::from_secs(10);

impl Check {
    /// Runs once. Always returns a run, whatever happens.
    pub async fn run(&self, backends: &Arc<Backends>, record: &Record, moment: Moment) -> Run {
        let taping = backends.taping();
        self.run_on(backends, record, moment, [taping.clone(), taping]).await
    }

    /// Runs once; `tapes` are for the queries of `skip_when` and for the plugin.
    pub(super) async fn run_on(
        &self,
        backends: &Arc<Backends>,
        record: &Record,
        moment: Moment,
        [of_skip, of_plugin]: [Taping; 2],
    ) -> Run {
        let started = Instant::now();
        let mut run = self.empty(&moment);
        if let (Work::Plugin(ready), Taping::Record(_), None) = (&self.work, &of_plugin, &moment.skip) {
            run.given = Some(Box::new(self.given(ready, &moment)));
        }
        match &self.work {
            _ if moment.skip.is_some() => run.report = moment.skip.map(skipped),
            Work::Unable(reason) => run.error = Some(Reason::Unable(reason.clone())),
            Work::Consultation(gate) => match consulted(self, gate, record, &moment).await {
                Ok((report, alerts)) => (run.report, run.alerts) = (Some(report), alerts),
                Err(error) => run.error = Some(Reason::NotFound(format!("{error:#}"))),
            },
            Work::Plugin(ready) => match self.skipped(ready, backends, record, &moment, (of_skip, &mut run)).await {
                Ok(None) => {
                    let calls = self.calls(ready, ready.budgets.clone(), &moment, of_plugin);
                    self.execute(ready, backends, calls, &moment, &mut run).await;
                }
                Ok(Some(why)) => run.report = Some(skipped(why)),
                Err(undecided) => run.error = Some(Reason::Undecided(undecided)),
            },
        }
        run.duration = started.elapsed();
        run
    }

    /// Runs once on simulated answers, within these budgets, for validation. Also returns the CPU time used.
    pub async fn rehearse(
        &self,
        ready: &Ready,
        backends: &Backends,
        budgets: Budgets,
        moment: &Moment,
        rehearsal: &Arc<Rehearsal>,
    ) -> (Run, Duration) {
        let mut run = self.empty(moment);
        let calls = self.calls(ready, budgets, moment, Taping::Off);
        self.execute(ready, &Arc::new(backends.rehearsing(rehearsal)), calls.clone(), moment, &mut run).await;
        (run, calls.permit().computed())
    }

    /// What its `skip_when` would bill about a moment, in bytes, by dry runs.
    pub async fn skip_cost(
        &self,
        ready: &Ready,
        backends: &Backends,
        moment: &Moment,
        rehearsal: &Arc<Rehearsal>,
    ) -> u64 {
        let Some(skip) = &ready.skip else { return 0 };
        let calls = self.calls(ready, ready.budgets.clone(), moment, Taping::Off);
        let backends = backends.rehearsing(rehearsal);
        for query in std::iter::once(&skip.when).chain(&skip.unless_known) {
            // What is wrong with it is a problem of the rehearsal.
            let _ = skip::ask(query, &backends, &calls, moment).await;
        }
        calls.take().0.iter().map(|call| call.bytes).sum()
    }

    /// Why it is skipped, if data decides so. The queries are calls of the run, with the plugin's grants and budgets, and a
    /// count and a time of their own, so that they take nothing from the plugin.
    async fn skipped(
        &self,
        ready: &Ready,
        backends: &Backends,
        record: &Record,
        moment: &Moment,
        (taping, run): (Taping, &mut Run),
    ) -> Result<Option<String>, Undecided> {
        let Some(skip) = &ready.skip else { return Ok(None) };
        run.plugin = Some(ready.plugin.file.clone());
        let calls = self.calls(ready, ready.budgets.clone(), moment, taping);
        // Boxed, as most runs have none, and the future of a query is large.
        let skipped = Box::pin(skip::skipped(&self.name, skip, backends, &calls, record, moment)).await;
        (run.calls, _) = calls.take();
        run.tapes.skip = calls.take_tape();
        run.exceeded = calls.budgets_exceeded();
        skipped
    }

    /// The record of a due time without a run: missed, or it `overlaps` with the run for an older one.
    pub fn left_out(&self, moment: &Moment, why: String, overlaps: Option<Timestamp>) -> Run {
        let untold = overlaps.map_or(Untold::Missed, Untold::Overlapped);
        Run { report: Some(skipped(why)), untold: Some(untold), ..self.empty(moment) }
    }

    /// A run that failed because of the host itself.
    pub fn broken(&self, moment: &Moment, why: String) -> Run {
        Run { error: Some(Reason::Broken(why)), ..self.empty(moment) }
    }

    /// A run that ended before, as far as people are told of it.
    pub fn ran(&self, moment: &Moment, outcome: &Outcome) -> Run {
        outcome.run(self.empty(moment))
    }

    pub(super) fn empty(&self, moment: &Moment) -> Run {
        Run {
            check: self.name.clone(),
            plugin: None,
            due: moment.due,
            clock: moment.clock,
            data_date: moment.data_date,
            attempt: moment.attempt,
            past: moment.past,
            dates: self.dates(),
            deadline: moment.deadline,
            early: moment.early,
            again: moment.again,
            began: moment.began,
            lease: moment.lease.clone(),
            off_hours: moment.off_hours,
            report: None,
            error: None,
            duration: Duration::ZERO,
            calls: Vec::new(),
            log: String::new(),
            alerts: Vec::new(),
            evidence: Vec::new(),
            family: self.family.clone(),
            next: self.schedule.next(moment.due, &self.zone.rules()),
            untold: None,
            exceeded: BTreeSet::new(),
            tapes: Tapes::default(),
            given: None,
            said: None,
        }
    }

    fn given(&self, ready: &Ready, moment: &Moment) -> Given {
        Given {
            moment: moment.clone(),
            settings: ready.settings.clone(),
            channel: self.family.as_ref().map(|family| family.channel.clone()).unwrap_or_default(),
            budgets: ready.budgets.clone(),
            skip: ready.skip.clone(),
        }
    }

    pub(super) fn calls(&self, ready: &Ready, budgets: Budgets, moment: &Moment, taping: Taping) -> Arc<Calls> {
        let (plugin, check) = (ready.plugin.file.name.clone(), self.name.clone());
        let caller = Caller {
            plugin,
            check,
            due: moment.due,
            data_date: moment.data_date,
            // A check that runs before its data is expected cannot know how old the data will be by then.
            deadline: moment.deadline.min(moment.due),
            again: moment.recheck,
            run: moment.id(),
        };
        Arc::new(Calls::paced(caller, ready.grants.clone(), budgets, &ready.pace, taping))
    }

    async fn execute(
        &self,
        ready: &Ready,
        backends: &Arc<Backends>,
        calls: Arc<Calls>,
        moment: &Moment,
        run: &mut Run,
    ) {
        let plugin = &ready.plugin;
        run.plugin = Some(plugin.file.clone());
        let name = &plugin.file.name;
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
        let ended = plugin.guest.run(&calls, backends, request).await;
        run.log = ended.log;
        let asked;
        (asked, run.alerts) = calls.take();
        run.calls.extend(asked);
        run.evidence = calls.take_evidence();
        run.tapes.plugin = calls.take_tape();
        run.exceeded.extend(calls.budgets_exceeded());
        match ended.result {
            Err(stopped) => {
                run.exceeded.extend(stopped.exceeded());
                let stopped =
                    Ended::new(stopped, name).refused(ended.refused).explained(&run.log, &run.calls, &run.alerts);
                run.error = Some(Reason::Stopped(stopped));
            }
            Ok(mut report) => {
                let budgets = calls.budgets().clone();
                let taken = match is_brief(&mut report) {
                    true => Some(taken_in(report, &budgets)),
                    // Checking a large report takes a while; others must not wait for it.
                    false => {
                        let taken = calls.permit().blocking(move |_| taken_in(report, &budgets));
                        tokio::time::timeout(TAKING_IN, taken).await.ok().flatten()
                    }
                };
                match taken {
                    Some(Ok(report)) => {
                        if !report.unknown.is_empty() {
                            run.error = Some(Reason::Unknown(report.unknown.clone()));
                        }
                        run.report = Some(report);
                    }
                    Some(Err(Refused::Over(over))) => {
                        run.exceeded.insert(over.budget);
                        run.error = Some(Reason::Over { over, plugin: name.clone() });
                    }
                    Some(Err(Refused::Malformed(problem))) => run.error = Some(Reason::Malformed(problem)),
                    None => {
                        run.error = Some(Reason::Broken(format!("reading its report took longer than {TAKING_IN:?}")))
                    }
                }
            }
        }
    }
}

/// Why a report is rejected.
enum Refused {
    Over(Over),
    Malformed(String),
}

fn taken_in(report: Report, budgets: &Budgets) -> Result<Report, Refused> {
    let report = bounded(report, budgets).map_err(Refused::Over)?;
    match malformed(&report) {
        Some(problem) => Err(Refused::Malformed(problem)),
        None => Ok(report),
    }
}

/// The report of a run that a calendar or `skip_when` skipped.
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

/// A contradiction in a report, such as a pass with a broken threshold.
fn malformed(report: &Report) -> Option<String> {
    let fine = matches!(report.verdict, Verdict::Pass | Verdict::Skip(_));
    if fine && report.unknown.is_empty() {
        if let Some(violation) = report.violations.first() {
            return Some(format!("the verdict is pass or skip, but it lists the violation {:?}", violation.message));
        }
        if let Some(metric) = report.metrics.iter().find(|metric| metric.is_broken()) {
            return Some(format!("the verdict is pass or skip, but the metric {} breaks its limit", metric.name));
        }
    }
    if !fine && report.violations.is_empty() {
        return Some("the verdict is fail or warn, but no violation says why".to_owned());
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
}
