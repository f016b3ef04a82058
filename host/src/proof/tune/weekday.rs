//! Limits for the change from what is usual on the same weekday: half of a Wednesday may be more than a Thursday.

use jiff::civil::Date;
use serde_json::json;

use super::{
    super::{
        Side,
        knobs::{Knob, changes, rehearsed},
    },
    Tune,
    limit::loosest,
    rule::{Rule, WEEKS, change, faults},
    statistics::rank,
    tuning::Tuning,
};
use crate::{contract::Metric, plugin::set};

/// The settings of a change.
pub(super) const DROP: &str = "max_drop_percent";
pub(super) const RISE: &str = "max_rise_percent";

/// Whether a setting limits the rise from the weekday's median of the metric itself.
pub(super) fn is_rise(knob: &Knob) -> bool {
    changes(&knob.spelled()).iter().any(|change| knob.path == format!("{change}.{RISE}"))
}

/// The rule with a limit.
pub(super) fn rule_of(side: Side, percent: f64) -> Rule {
    if side == Side::Low { Rule::Drop(percent) } else { Rule::Rise(percent) }
}

fn has_change(metrics: &[Metric], of: &str) -> bool {
    metrics.iter().any(|metric| metric.name.eq_ignore_ascii_case(&format!("{of}_change")))
}

/// A limit for the change from the weekday's median.
#[derive(Clone)]
pub(super) struct OfWeekday {
    /// The place of its settings.
    pub(super) setting: String,
    pub(super) percent: f64,
    pub(super) why: String,
}

impl Tune {
    /// What limits the rise of metrics of which only the low side has a limit: twice as much is a fault as well.
    pub(super) async fn rises(&self, chosen: &[Knob]) -> Vec<Knob> {
        let mut found: Vec<Knob> = Vec::new();
        for knob in chosen.iter().filter(|knob| knob.side == Side::Low && !knob.of_change) {
            let has_high =
                chosen.iter().chain(&found).any(|other| other.metric == knob.metric && other.side == Side::High);
            if !has_high && let Some(setting) = self.change_setting(&knob.spelled()).await {
                let (path, metric) = (format!("{setting}.{RISE}"), knob.metric.clone());
                found.push(Knob {
                    path,
                    metric,
                    side: Side::High,
                    factor: 1.0,
                    limit: None,
                    whole: false,
                    strict: false,
                    of_change: false,
                });
            }
        }
        found
    }

    /// The place of a setting for the change of a metric, if the plugin has one and none is set: that is a limit of its own.
    async fn change_setting(&self, metric: &str) -> Option<String> {
        let settings = self.trial.settings();
        let places = changes(metric);
        if places.iter().any(|path| settings.pointer(&format!("/{}", path.replace('.', "/"))).is_some()) {
            return None;
        }
        for path in places {
            let mut changed = settings.clone();
            if set(&mut changed, &path, json!({ "weeks": WEEKS, DROP: 50 })).is_err() {
                continue;
            }
            // The settings may have the right form, and the plugin refuse them.
            if let Ok(trial) = self.trial.with_settings(&changed).await
                && let Ok(moment) = trial.newest().and_then(|date| trial.moment(date))
                && has_change(&rehearsed(&trial, &self.record, &moment).await, metric)
            {
                return Some(path);
            }
        }
        None
    }

    /// The largest drop or rise from the weekday's median.
    pub(super) async fn by_weekday(
        &self,
        tuning: &Tuning<'_>,
        good: &[(Date, f64)],
        bad: &[(Date, f64)],
        share: f64,
    ) -> Option<OfWeekday> {
        let knob = &tuning.knob;
        if knob.of_change || knob.side == Side::High && !is_rise(knob) {
            return None;
        }
        let setting = self.change_setting(&knob.spelled()).await?;
        // A drop as it is, a rise turned over.
        let sign = if knob.side == Side::Low { 1.0 } else { -1.0 };
        let of = |(date, value): &(Date, f64)| Some(sign * change(*date, *value, &tuning.good)?);
        let mut changes: Vec<f64> = good.iter().filter_map(of).collect();
        changes.sort_by(f64::total_cmp);
        let tightest = *changes.get(rank(changes.len(), share)? - 1)?;
        let injected = good.iter().flat_map(|(date, value)| {
            let faults = faults(knob, *value, *value);
            faults.into_iter().filter_map(|fault| of(&(*date, fault))).collect::<Vec<_>>()
        });
        let bad = bad.iter().filter_map(of);
        // Whole percents, away from the good dates.
        let known = good.iter().filter(|(date, _)| tuning.is_known_good(*date)).filter_map(of);
        let percent = known
            .fold(-loosest(&changes, (injected, bad), tightest, false), |percent, change| percent.max(-change))
            .ceil();
        // Of what only grows, or only shrinks, nobody knows how it would stay.
        if percent <= 0.0 {
            return None;
        }
        let beyond = tuning.beyond(&[rule_of(knob.side, percent)], good);
        let (of, side) = (good.len(), if knob.side == Side::Low { "below" } else { "above" });
        let why = format!("{beyond} of {of} good dates were more than {percent} % {side} the median of their weekday");
        let is_any = tuning
            .caught(&[rule_of(knob.side, percent)], &good.iter().map(|(date, _)| *date).collect::<Vec<_>>())
            > 0.0;
        (is_any && (knob.side == Side::High || percent < 100.0)).then_some(OfWeekday { setting, percent, why })
    }
}
