//! The values of a check's metrics by date: of its backtests, and of its recorded runs where there is none.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use jiff::{Timestamp, civil::Date};
use serde_json::Value;

use super::{
    super::{Trial, knobs::Knob, knobs::changes},
    confirm::Spells,
    rule::{Series, change_from},
};
use crate::{
    contract::Metric,
    record::{BacktestsOf, Included, Label, Record, metrics},
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
    /// Whether people said that its alert was noise: something was wrong, and nobody has to know.
    pub(super) noise: bool,
    /// The values of each metric: the lowest and the highest of the date's runs.
    pub(super) values: BTreeMap<String, (f64, f64)>,
    /// Whether the check failed on it.
    pub(super) failed: bool,
    /// Its metrics that had no value.
    pub(super) missing: BTreeSet<String>,
}

/// The dates of a check, the oldest first.
#[derive(Debug, Clone, Default)]
pub(super) struct History {
    pub(super) dates: BTreeMap<Date, Known>,
    pub(super) spells: Spells,
    /// What each change is compared with, by its metric: how many dates, the least of them, and whether they are of one weekday.
    pub(super) comparisons: BTreeMap<String, (usize, usize, bool)>,
    /// Dates of which nothing counts, since the check had other settings when it was asked about them.
    pub(super) others: usize,
    /// Dates that count by recorded runs. Of those nobody knows which settings they had.
    pub(super) recorded: usize,
    /// Dates in `known_bad` and `known_good` that were never judged.
    pub(super) unknown: Vec<Date>,
    /// A date that could not be judged, and why.
    pub(super) unjudged: Option<(Date, String)>,
}

/// What the record has of a check.
pub(super) struct Kept {
    /// Each date with the settings that the check had, and what came of it; the newest answer of a date last.
    tried: Vec<(Date, Value, Outcome)>,
    /// Each run of its plugin's version: the date, the due time, whether it failed, and its metrics.
    runs: Vec<(Date, Timestamp, bool, Vec<Metric>)>,
    labels: Vec<(Date, Label)>,
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
    /// Whether somebody said that a date was bad.
    pub(super) fn is_bad(&self, date: Date) -> bool {
        self.dates.get(&date).is_some_and(|known| known.bad == Some(true))
    }
}

impl Kept {
    /// Reads what is kept of a check. Skipped dates are not part of it.
    pub(super) async fn read(record: &Record, trial: &Trial) -> Result<Self> {
        let (check, asks) = (&trial.check.name, trial.asks());
        let mut tried = Vec::new();
        for found in record.backtests(check, BacktestsOf::Alike(&asks), Timestamp::MIN).await? {
            let Ok(outcome) = serde_json::from_str::<Outcome>(&found.outcome) else { continue };
            tried.push((found.date, serde_json::from_str(&found.settings).unwrap_or_default(), outcome));
        }
        let digest = trial.ready().plugin.file.digest.to_string();
        let included = Included { report: true, calls: false, most: BYTES };
        let mut runs = Vec::new();
        for run in record.runs(Some(check), RUNS, included).await? {
            let judged = ["pass", "warn", "fail"].contains(&run.status.as_str());
            let plugin = run.plugin.as_ref().and_then(|plugin| plugin.get("digest")?.as_str());
            if run.past || run.left_out || !judged || plugin != Some(&digest) {
                continue;
            }
            let values = run.report.as_ref().map(|report| metrics(report.get())).unwrap_or_default();
            runs.push((run.data_date, run.due, run.status == "fail", values));
        }
        let alerts = record.alerts_since(Timestamp::MIN).await?.into_iter().filter(|alert| alert.check == *check);
        Ok(Self { tried, runs, labels: alerts.filter_map(|alert| Some((alert.data_date?, alert.label?))).collect() })
    }

    /// The names of all metrics.
    pub(super) fn metrics(&self) -> BTreeSet<String> {
        let tried = self.tried.iter().filter_map(|(_, _, outcome)| outcome.report()).flat_map(|report| report.metrics);
        let runs = self.runs.iter().flat_map(|(.., metrics)| metrics.iter().cloned());
        tried.chain(runs).map(|metric| metric.name).collect()
    }

    /// The dates that count for a check: those that were asked about with its settings, whatever the limits of these metrics were.
    pub(super) fn history(&self, trial: &Trial, knobs: &[Knob]) -> History {
        let settings_now = trial.settings();
        let own = without_limits(settings_now.clone(), knobs);
        let mut history = History::default();
        let mut newest: BTreeMap<Date, (&Value, &Outcome)> = BTreeMap::new();
        let mut others: BTreeSet<Date> = BTreeSet::new();
        for (date, settings, outcome) in &self.tried {
            if without_limits(settings.clone(), knobs) == own {
                newest.insert(*date, (settings, outcome));
            } else {
                others.insert(*date);
            }
        }
        for (date, (settings, outcome)) in &newest {
            if let (Status::Error, Some(error)) = (outcome.status(), outcome.error()) {
                history.unjudged.get_or_insert_with(|| (*date, error.to_owned()));
            }
            let judged = matches!(outcome.status(), Status::Pass | Status::Warn | Status::Fail);
            let Some(report) = outcome.report().filter(|_| judged) else { continue };
            let known = history.dates.entry(*date).or_default();
            known.failed = outcome.status() == Status::Fail;
            // A change from other dates is another value.
            let is_same = |metric: &&Metric| match metric.name.strip_suffix("_change") {
                Some(of) => comparison(settings, of) == comparison(&settings_now, of),
                None => true,
            };
            report.metrics.iter().filter(is_same).for_each(|metric| known.take(metric));
        }
        let tried: BTreeSet<Date> = history.dates.keys().copied().collect();
        let mut rounds: BTreeMap<Date, Vec<(Timestamp, bool)>> = BTreeMap::new();
        for (date, due, is_bad, metrics) in &self.runs {
            rounds.entry(*date).or_default().push((*due, *is_bad));
            if !tried.contains(date) && !metrics.is_empty() {
                let known = history.dates.entry(*date).or_default();
                known.failed |= *is_bad;
                metrics.iter().for_each(|metric| known.take(metric));
            }
        }
        history.recorded = history.dates.len() - tried.len();
        history.others = others.iter().filter(|date| !history.dates.contains_key(date)).count();
        self.name(trial, &mut history);
        derive_changes(&settings_now, knobs, &mut history);
        for (date, mut runs) in rounds {
            runs.sort_unstable();
            let is_bad = history.is_bad(date);
            history.spells.take(&runs, is_bad);
        }
        history
    }

    /// Adds what people said of the dates. Of several alerts about one, one that was real says that it was bad.
    fn name(&self, trial: &Trial, history: &mut History) {
        for (date, label) in &self.labels {
            if let Some(known) = history.dates.get_mut(date) {
                known.bad = Some(*label == Label::Real || known.bad == Some(true));
                known.noise |= *label == Label::Noise;
            }
        }
        let Some(own) = trial.config.checks.get(&trial.check.name) else { return };
        for (list, bad) in [(&own.known_bad, true), (&own.known_good, false)] {
            for known in list {
                match history.dates.get_mut(&known.date) {
                    Some(found) => (found.bad, found.noise) = (Some(bad), false),
                    None => history.unknown.push(known.date),
                }
            }
        }
    }
}

/// Adds the changes of dates that were judged before their change had a limit, from the values themselves.
fn derive_changes(settings: &Value, knobs: &[Knob], history: &mut History) {
    for knob in knobs.iter().filter(|knob| knob.of_change) {
        let Some(of) = knob.metric.strip_suffix("_change") else { continue };
        let Some(compared) = comparison(settings, of) else { continue };
        history.comparisons.insert(knob.metric.clone(), compared);
        let usual: Series = history
            .dates
            .iter()
            .filter(|(_, known)| known.bad != Some(true) && !known.failed)
            .filter_map(|(date, known)| Some((*date, known.values.get(of)?.0)))
            .collect();
        for (date, known) in &mut history.dates {
            let Some((value, _)) = known.values.get(of).copied() else { continue };
            if !known.values.contains_key(&knob.metric)
                && let Some(change) = change_from(*date, value, &usual, compared)
            {
                known.values.insert(knob.metric.clone(), (change, change));
                known.missing.remove(&knob.metric);
            }
        }
    }
}

/// Settings without those that limit metrics, and without what is empty then.
fn without_limits(mut settings: Value, knobs: &[Knob]) -> Value {
    for knob in knobs {
        let spelled = knob.spelled();
        for path in changes(&spelled).iter().chain([&knob.path]) {
            let path: Vec<&str> = path.split('.').collect();
            // All that is set for a metric limits it, what warns as well.
            let whole = path.iter().position(|key| *key == spelled).map_or(path.len(), |at| at + 1);
            remove(&mut settings, path.get(..whole).unwrap_or(&path));
        }
    }
    settings
}

/// What the change of a metric is compared with: how many dates, the least of them, and whether they are of one weekday. `None` if it has no
/// limit.
fn comparison(settings: &Value, metric: &str) -> Option<(usize, usize, bool)> {
    let of = |path: &String| {
        let mut place = settings;
        for key in path.split('.') {
            let object = place.as_object()?;
            place = object.iter().find(|(name, _)| name.eq_ignore_ascii_case(key))?.1;
        }
        Some(place)
    };
    let set = changes(metric).iter().find_map(of)?;
    let number = |key: &str| set.get(key).and_then(Value::as_u64).and_then(|number| usize::try_from(number).ok());
    let count = number("weeks").or_else(|| number("days"))?;
    Some((count, number("min_dates").unwrap_or(count.div_ceil(2)), number("weeks").is_some()))
}

fn remove(settings: &mut Value, path: &[&str]) {
    let (Some(object), [key, rest @ ..]) = (settings.as_object_mut(), path) else { return };
    match (object.get_mut(*key), rest) {
        (Some(_), []) => drop(object.remove(*key)),
        (Some(below), rest) => {
            remove(below, rest);
            if below.as_object().is_some_and(serde_json::Map::is_empty) {
                object.remove(*key);
            }
        }
        (None, _) => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_setting_and_what_is_empty_without_it_are_removed() {
        let mut settings =
            json!({ "sql": "x", "thresholds": { "n": { "min": 1, "warn_min": 2 }, "m": { "max": 2 } }, "hours": 3 });
        remove(&mut settings, &["thresholds", "n"]);
        assert_eq!(settings, json!({ "sql": "x", "thresholds": { "m": { "max": 2 } }, "hours": 3 }));
        remove(&mut settings, &["thresholds", "m", "max"]);
        remove(&mut settings, &["minutes"]);
        assert_eq!(settings, json!({ "sql": "x", "hours": 3 }));
    }
}
