//! The values of a check's metrics by date: of its backtests, and of its recorded runs where there is none.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use jiff::{Timestamp, civil::Date};

use super::confirm::Spells;
use crate::{
    config::Config,
    contract::Metric,
    record::{Included, Label, Record, metrics},
    run::{Outcome, Status},
};

/// Runs that are read.
const RUNS: u32 = 50_000;
/// Bytes of their reports.
const BYTES: usize = 256 << 20;

/// What is known of a date.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Known {
    /// Whether it was bad: `known_bad` and `known_good`, else what people said of its alerts. `None` if nobody said.
    pub(super) bad: Option<bool>,
    /// The values of each metric: the lowest and the highest of the date's runs.
    pub(super) values: BTreeMap<String, (f64, f64)>,
    /// Its metrics that had no value.
    pub(super) missing: BTreeSet<String>,
}

/// The dates of a check, the oldest first.
#[derive(Debug, Clone, Default)]
pub(super) struct History {
    pub(super) dates: BTreeMap<Date, Known>,
    pub(super) spells: Spells,
}

impl Known {
    fn take(&mut self, metric: &Metric) {
        match metric.value {
            Some(value) => {
                let seen = self.values.entry(metric.name.clone()).or_insert((value, value));
                *seen = (seen.0.min(value), seen.1.max(value));
            }
            None => drop(self.missing.insert(metric.name.clone())),
        }
    }
}

impl History {
    /// Reads what is kept of a check. Skipped dates and those that could not be evaluated are not part of it.
    pub(super) async fn read(record: &Record, config: &Config, check: &str) -> Result<Self> {
        let mut dates: BTreeMap<Date, Known> = BTreeMap::new();
        for tried in record.backtests(check, None, Timestamp::MIN).await? {
            let Ok(outcome) = serde_json::from_str::<Outcome>(&tried.outcome) else { continue };
            let judged = matches!(outcome.status(), Status::Pass | Status::Warn | Status::Fail);
            let Some(report) = outcome.report().filter(|_| judged) else { continue };
            let known = dates.entry(tried.date).or_default();
            report.metrics.iter().for_each(|metric| known.take(metric));
        }
        let mut rounds: BTreeMap<Date, Vec<(Timestamp, bool)>> = BTreeMap::new();
        let backtested: BTreeSet<Date> = dates.keys().copied().collect();
        let included = Included { report: true, calls: false, most: BYTES };
        for run in record.runs(Some(check), RUNS, included).await? {
            let judged = ["pass", "warn", "fail"].contains(&run.status.as_str());
            if run.past || run.left_out || !judged {
                continue;
            }
            rounds.entry(run.data_date).or_default().push((run.due, run.status == "fail"));
            if backtested.contains(&run.data_date) {
                continue;
            }
            let Some(report) = &run.report else { continue };
            let known = dates.entry(run.data_date).or_default();
            metrics(report.get()).iter().for_each(|metric| known.take(metric));
        }
        // Of several alerts about a date, one that was real says that the date was bad; what was noise should not be told.
        for alert in record.alerts_since(Timestamp::MIN).await?.into_iter().filter(|alert| alert.check == check) {
            let Some((label, date)) = alert.label.zip(alert.data_date) else { continue };
            if let Some(known) = dates.get_mut(&date) {
                known.bad = Some(label == Label::Real || known.bad == Some(true));
            }
        }
        if let Some(own) = config.checks.get(check) {
            for (list, bad) in [(&own.known_bad, true), (&own.known_good, false)] {
                for known in list {
                    if let Some(found) = dates.get_mut(&known.date) {
                        found.bad = Some(bad);
                    }
                }
            }
        }
        let mut spells = Spells::default();
        for (date, mut runs) in rounds {
            runs.sort_unstable();
            spells.take(&runs, dates.get(&date).is_some_and(|known| known.bad == Some(true)));
        }
        Ok(Self { dates, spells })
    }
}
