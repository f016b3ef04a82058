//! Which setting moves which limit. Nothing is known of a plugin but its schema and what it reports, so each number among the settings
//! is changed a little, the check runs on simulated answers, and its limits are compared: for any plugin in any language, without
//! asking for a row.

use std::{collections::BTreeSet, sync::Arc};

use serde_json::Value;

use super::Trial;
use crate::{
    capability::{Answers, Backends, Clock, GoodDates, Rehearsal, Shapes},
    contract::Metric,
    plugin::set,
    record::Record,
    run::Moment,
};

/// The most settings that are tried.
const MOST: usize = 300;
/// A limit beyond others, which some plugins demand of a maximum.
const FAR: f64 = 1e9;
/// The end of the name of a metric that is the change of another one, as plugins of the SDK name it.
const CHANGE: &str = "_change";
/// How deep a schema is read.
const DEPTH: usize = 4;
/// How far a limit may be from a multiple of the setting, in parts of it.
const NEAR: f64 = 1e-9;

/// The side of a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// Values below it are wrong.
    Low,
    /// Values above it are wrong.
    High,
}

/// A setting that moves a limit.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Knob {
    /// Its path among the settings: `thresholds.rows.min`.
    pub(super) path: String,
    /// The metric.
    pub(super) metric: String,
    pub(super) side: Side,
    /// The limit is the setting times this.
    pub(super) factor: f64,
    /// The limit now; `None` if there is none.
    pub(super) limit: Option<f64>,
    /// Whether only whole numbers are allowed.
    pub(super) whole: bool,
    /// Whether a value at the limit is wrong, too.
    pub(super) strict: bool,
    /// Whether the metric is the change of another one in percent.
    pub(super) of_change: bool,
}

impl Knob {
    /// The metric as the settings spell it: as in SQL, upper and lower case are the same.
    pub(super) fn spelled(&self) -> String {
        let own = self.path.split('.').find(|key| key.eq_ignore_ascii_case(&self.metric));
        own.map_or_else(|| self.metric.clone(), str::to_owned)
    }

    /// The metric that the limited one is made of: a change is of another one.
    pub(super) fn base(&self) -> &str {
        self.metric.strip_suffix(CHANGE).filter(|_| self.of_change).unwrap_or(&self.metric)
    }

    /// The setting now, if it is set.
    pub(super) fn now(&self) -> Option<f64> {
        self.limit.map(|limit| limit / self.factor)
    }

    /// The setting for a limit: where only whole numbers are allowed, the next looser one.
    pub(super) fn setting(&self, limit: f64) -> f64 {
        let value = limit / self.factor;
        match (self.whole, self.is_looser(1.0, 0.0)) {
            (false, _) => value,
            (true, true) => value.ceil(),
            (true, false) => value.floor(),
        }
    }

    /// Whether a setting is looser than another one.
    pub(super) fn is_looser(&self, one: f64, other: f64) -> bool {
        let (one, other) = (one * self.factor, other * self.factor);
        if self.side == Side::Low { one < other } else { one > other }
    }
}

/// A number among the settings that may be tried.
#[derive(Debug, Clone, PartialEq, PartialOrd)]
struct Candidate {
    path: String,
    now: Option<f64>,
    whole: bool,
}

/// The limit of a metric on a side. One that a value must stay below counts as one that it must not be above.
pub(super) fn limit(metric: &Metric, side: Side) -> Option<f64> {
    match side {
        Side::Low => metric.min,
        Side::High => metric.max.or(metric.below),
    }
}

/// Whether a metric is the change of another one in percent, as plugins of the SDK name it.
fn is_change(metric: &Metric) -> bool {
    metric.name.ends_with(CHANGE) && metric.unit.as_deref() == Some("%")
}

/// Whether a value at the limit of a side is wrong, too.
fn is_strict(metric: &Option<Metric>, side: Side) -> bool {
    side == Side::High && metric.as_ref().is_some_and(|metric| metric.max.is_none() && metric.below.is_some())
}

/// The metrics of a check on simulated answers.
async fn metrics(trial: &Trial, backends: &Backends, moment: &Moment, shapes: &Arc<Shapes>) -> Option<Vec<Metric>> {
    let Moment { due, data_date: date, day_start, day_end, .. } = *moment;
    let clock = Clock { due, date, day: (day_start, day_end) };
    let rehearsal = Arc::new(Rehearsal::new(Answers::High, clock, Vec::new(), shapes.clone()));
    let budgets = trial.ready().budgets.clone();
    let (run, _) = trial.check.rehearse(trial.ready(), backends, budgets, moment, &rehearsal).await;
    run.report.map(|report| report.metrics)
}

/// The metrics of a check on simulated answers; none if it does not get that far.
pub(super) async fn rehearsed(trial: &Trial, record: &Record, moment: &Moment) -> Vec<Metric> {
    let backends = Backends::trying(&trial.config, record, record.clone()).with_good_dates(GoodDates::Simulated);
    let found = metrics(trial, &backends, moment, &Arc::default()).await;
    backends.close().await;
    found.unwrap_or_default()
}

/// The settings that move limits of a check. `known` are metrics that it is known to have.
pub(super) async fn knobs(trial: &Trial, record: &Record, moment: &Moment, known: &BTreeSet<String>) -> Vec<Knob> {
    let backends = Backends::trying(&trial.config, record, record.clone()).with_good_dates(GoodDates::Simulated);
    let shapes = Arc::new(Shapes::default());
    let settings = trial.settings();
    let Some(before) = metrics(trial, &backends, moment, &shapes).await else { return Vec::new() };
    let names: BTreeSet<String> =
        before.iter().map(|metric| metric.name.clone()).chain(known.iter().cloned()).collect();
    let schema = serde_json::from_str(&trial.ready().plugin.descriptor.settings).unwrap_or_default();
    let mut found: Vec<Knob> = Vec::new();
    for candidate in candidates(&schema, &settings, &names).into_iter().take(MOST) {
        let now = candidate.now.unwrap_or_default();
        // Some plugins refuse a limit beyond another one, so a little more and a little less are tried.
        let tried = match candidate.now {
            Some(now) => [now + 1.0, now + 2.0, (now - 1.0).max(0.0), now / 2.0, now * 0.75],
            None => [1.0, 2.0, FAR, 2.0 * FAR, 0.0],
        };
        let mut moved: Vec<(f64, Vec<Metric>)> = Vec::new();
        for value in tried {
            if value == now && candidate.now.is_some() || candidate.whole && value.fract() != 0.0 || moved.len() == 2 {
                continue;
            }
            let mut changed = settings.clone();
            if set(&mut changed, &candidate.path, json_number(value, candidate.whole)).is_err() {
                break;
            }
            let Ok(changed) = trial.with_settings(&changed).await else { continue };
            if let Some(after) = metrics(&changed, &backends, moment, &shapes).await {
                moved.push((value, after));
            }
        }
        let [(one, of_one), (other, of_other)] = moved.as_slice() else { continue };
        for name in &names {
            let of = |metrics: &[Metric]| metrics.iter().find(|metric| metric.name == *name).cloned();
            for side in [Side::Low, Side::High] {
                let before = of(&before).and_then(|metric| limit(&metric, side));
                let limits = of(of_one).and_then(|metric| limit(&metric, side));
                let limits = limits.zip(of(of_other).and_then(|metric| limit(&metric, side)));
                let Some((first, second)) = limits else { continue };
                let factor = if *one == 0.0 { second / other } else { first / one };
                let is_near = |found: f64, value: f64| (found - value * factor).abs() <= NEAR * found.abs().max(1.0);
                let proportional =
                    factor != 0.0 && factor.is_finite() && is_near(first, *one) && is_near(second, *other);
                let is_new = !found.iter().any(|knob| knob.metric == *name && knob.side == side);
                if first != second && proportional && is_new {
                    let (path, whole) = (candidate.path.clone(), candidate.whole);
                    let (strict, of_change) =
                        (is_strict(&of(of_one), side), of(of_one).as_ref().is_some_and(is_change));
                    found.push(Knob {
                        path,
                        metric: name.clone(),
                        side,
                        factor,
                        limit: before,
                        whole,
                        strict,
                        of_change,
                    });
                }
            }
        }
    }
    backends.close().await;
    found
}

/// The usual places of the limits for the change of a metric from earlier good dates.
pub(super) fn changes(metric: &str) -> [String; 2] {
    [format!("thresholds.{metric}.change"), format!("change.{metric}")]
}

/// A number as a setting.
pub(super) fn json_number(value: f64, whole: bool) -> Value {
    match whole || value.fract() == 0.0 && value.abs() < 1e15 {
        true => Value::from(value as i64),
        false => Value::from(value),
    }
}

/// The numbers that may be limits: those that are set, those with a default, and the usual places of a limit that is not set.
fn candidates(schema: &Value, settings: &Value, metrics: &BTreeSet<String>) -> Vec<Candidate> {
    let mut found = Vec::new();
    numbers(settings, String::new(), &mut found);
    defaults(schema, schema, String::new(), DEPTH, &mut found);
    for metric in metrics.iter().filter(|metric| !metric.contains('.')) {
        for key in ["min", "max"] {
            let under = |table: &str| Candidate { path: format!("{table}{metric}.{key}"), now: None, whole: false };
            found.extend([under("thresholds."), under("")]);
        }
        // The change of another metric.
        if let Some(of) = metric.strip_suffix(CHANGE) {
            for change in changes(of) {
                let under = |key: &str| Candidate { path: format!("{change}.{key}"), now: None, whole: false };
                found.extend([under("max_drop_percent"), under("max_rise_percent")]);
            }
        }
    }
    let mut seen = BTreeSet::new();
    found.retain(|candidate| seen.insert(candidate.path.clone()));
    found
}

fn numbers(value: &Value, path: String, found: &mut Vec<Candidate>) {
    let below = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
    match value {
        Value::Number(number) => {
            found.push(Candidate { path, now: number.as_f64(), whole: false });
        }
        Value::Object(object) => {
            let plain = |(key, value): (&String, &Value)| (!key.contains('.')).then(|| (below(key), value.clone()));
            for (path, value) in object.iter().filter_map(plain) {
                numbers(&value, path, found);
            }
        }
        _ => {}
    }
}

fn defaults(schema: &Value, whole: &Value, path: String, depth: usize, found: &mut Vec<Candidate>) {
    let schema = match schema.get("$ref").and_then(Value::as_str).and_then(|place| place.strip_prefix('#')) {
        Some(place) => whole.pointer(place).unwrap_or(schema),
        None => schema,
    };
    if let Some(default) = schema.get("default").and_then(Value::as_f64) {
        let whole = schema.get("type").and_then(Value::as_str) == Some("integer");
        // A number that is set has its type from here.
        match found.iter_mut().find(|known| known.path == path) {
            Some(known) => known.whole = whole,
            None => found.push(Candidate { path: path.clone(), now: Some(default), whole }),
        }
    }
    let Some(properties) = schema.get("properties").and_then(Value::as_object).filter(|_| depth > 0) else { return };
    for (key, below) in properties {
        let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        defaults(below, whole, path, depth - 1, found);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn candidates_are_numbers_that_are_set_or_have_a_default() {
        let schema = json!({
            "properties": {
                "min_games": { "type": "number", "default": 2.0 },
                "hours": { "type": "integer", "default": 3 },
                "table": { "type": "string", "default": "a.b" },
                "deep": { "$ref": "#/$defs/deep" },
            },
            "$defs": { "deep": { "properties": { "max": { "type": "number", "default": 1 } } } },
        });
        let settings = json!({ "hours": 5, "thresholds": { "rows": { "min": 10 } } });
        let found = candidates(&schema, &settings, &BTreeSet::from(["rows".to_owned(), "a.b".to_owned()]));
        let found: Vec<(&str, Option<f64>, bool)> =
            found.iter().map(|one| (one.path.as_str(), one.now, one.whole)).collect();
        let expected = [
            ("hours", Some(5.0), true),
            ("thresholds.rows.min", Some(10.0), false),
            ("min_games", Some(2.0), false),
            ("deep.max", Some(1.0), false),
            ("rows.min", None, false),
            ("thresholds.rows.max", None, false),
            ("rows.max", None, false),
        ];
        assert_eq!(found.len(), expected.len());
        assert!(expected.iter().all(|one| found.contains(one)), "{found:?}");
    }
}
