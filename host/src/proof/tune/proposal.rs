//! What to propose for a setting: a value for it, a limit by weekday beside it, or why it stays as it is.

use jiff::civil::Date;
use serde_json::{Value, json};

use super::{
    Side, Tune,
    history::History,
    limit::fixed,
    rule::WEEKS,
    statistics::{Share, median, needed, rank},
    tuning::{Figures, Tuning, figures},
    weekday::{DROP, OfWeekday, RISE, is_rise, rule_of},
};
use crate::{
    proof::knobs::json_number,
    text::{counted, number},
};

/// By how much a limit by weekday must catch more before it is proposed instead of a fixed one.
const BETTER: f64 = 0.02;

/// A limit that is proposed, or why none is.
#[derive(Debug, Clone, PartialEq)]
pub struct Proposal {
    /// The metric.
    pub metric: String,
    /// Its side.
    pub side: Side,
    /// The setting.
    pub setting: String,
    /// The setting now; `None` if it is not set.
    pub now: Option<f64>,
    /// The proposed value; `None` if it stays as it is.
    pub proposed: Option<Value>,
    /// Why that value, or why none.
    pub why: String,
    /// Held-out dates on which it alone would alarm, though nobody says that they were bad.
    pub alarms: Share,
    /// Injected faults of held-out dates that it alone catches.
    pub caught: Share,
    /// Whether there were enough dates.
    tuned: bool,
}

impl Proposal {
    /// Whether there were enough dates to tune it.
    pub fn is_tuned(&self) -> bool {
        self.tuned
    }

    /// The settings that a value sets: a table is written key by key, so that its other keys stay.
    pub fn leaves(&self, value: &Value) -> Vec<(String, Value)> {
        match value.as_object() {
            Some(table) => {
                table.iter().map(|(key, value)| (format!("{}.{key}", self.setting), value.clone())).collect()
            }
            None => vec![(self.setting.clone(), value.clone())],
        }
    }
}

impl Tune {
    /// A value for a setting, from earlier dates, and what it says of later ones. If it limits several metrics, the loosest value of
    /// theirs. `is_changing` is whether the change of its metric has a limit already.
    pub(super) async fn propose(
        &self,
        members: &mut [Tuning<'_>],
        is_changing: bool,
        history: &History,
        (earlier, later): (&[Date], &[Date]),
        (share, month): (f64, f64),
    ) -> Vec<Proposal> {
        let mut found: Vec<Found> = Vec::new();
        for tuning in members.iter() {
            found.push(self.limit(tuning, earlier, (share, month)).await);
        }
        let Some((first, loosest)) = members.first().zip(loosest_of(members, &found)) else { return Vec::new() };
        let knob = first.knob.clone();
        let by_weekday = loosest.by_weekday.as_ref().filter(|_| members.len() == 1);
        let is_tuned = found.iter().any(|found| found.value.is_some() || found.by_weekday.is_some());
        // Beside a limit by weekday the fixed one changes only if it is too tight.
        let is_beside = by_weekday.is_some() || is_changing;
        let (value, why) = match worth(members, loosest.value, is_beside, earlier) {
            Ok(None) if is_changing && is_tuned => (None, Some("its change has a limit".to_owned())),
            Ok(value) => (value, None),
            Err(why) => (None, Some(why)),
        };
        if let Some(value) = value {
            members.iter_mut().for_each(|tuning| tuning.then = vec![tuning.rule(value)]);
        }
        let of = |members: &[Tuning<'_>]| {
            let Figures { alarms, caught, .. } = figures(members, |tuning| &tuning.then, later, history);
            (alarms, caught)
        };
        let (alarms, caught) = of(members);
        let names: Vec<&str> = members.iter().map(|tuning| tuning.knob.metric.as_str()).collect();
        let several = if names.len() > 1 { format!("; it limits {} metrics", names.len()) } else { String::new() };
        let proposal = Proposal {
            metric: names.join(", "),
            side: knob.side,
            setting: knob.path.clone(),
            now: knob.now(),
            proposed: value.map(|value| json_number(value, knob.whole)),
            why: why.unwrap_or_else(|| format!("{}{several}", loosest.why)),
            alarms,
            caught,
            tuned: is_tuned,
        };
        let Some(OfWeekday { setting, percent, why }) = by_weekday else { return vec![proposal] };
        let key = if knob.side == Side::Low { DROP } else { RISE };
        members.iter_mut().for_each(|tuning| tuning.then.push(rule_of(knob.side, *percent)));
        let (alarms, caught) = of(members);
        let by_weekday = Proposal {
            setting: setting.clone(),
            now: None,
            proposed: Some(json!({ "weeks": WEEKS, key: json_number(*percent, false) })),
            why: why.clone(),
            alarms,
            caught,
            ..proposal.clone()
        };
        match proposal.proposed.is_some() {
            true => vec![proposal, by_weekday],
            false => vec![by_weekday],
        }
    }

    /// The value of a setting for one side of one metric, from earlier dates.
    async fn limit(&self, tuning: &Tuning<'_>, earlier: &[Date], (share, month): (f64, f64)) -> Found {
        let knob = &tuning.knob;
        let missing = tuning.missing(earlier);
        if knob.limit.is_none() && missing > 0 {
            let why =
                format!("it had no value on {}, and would alarm there", counted(missing, "good date", "good dates"));
            return Found { value: None, by_weekday: None, why };
        }
        let good: Vec<(Date, f64)> = earlier.iter().filter_map(|date| Some((*date, *tuning.good.get(date)?))).collect();
        let Some(rank) = rank(good.len(), share) else {
            let why = match needed(share).saturating_sub(good.len()) {
                0 => "it may alarm each day, so any limit would do".to_owned(),
                more => format!(
                    "needs {more} more good dates to tune on: {} can promise no fewer than {:.1} alarms a month",
                    good.len(),
                    month / (good.len() as f64 + 1.0)
                ),
            };
            return Found { value: None, by_weekday: None, why };
        };
        let bad = tuning.bad(earlier.last().copied().unwrap_or(Date::MIN));
        if is_rise(knob) {
            let why = "by weekday no limit is between good dates and twice as much".to_owned();
            return Found { value: None, by_weekday: self.by_weekday(tuning, &good, &bad, share).await, why };
        }
        let usual = median(&good.iter().map(|(_, value)| *value).collect::<Vec<_>>()).unwrap_or_default();
        let (limit, why) = fixed(knob, &good, &bad, usual, rank);
        // An alarm on a date that somebody called good is false, so the limit lets it pass.
        let known = good.iter().filter(|(date, _)| !knob.strict && tuning.is_known_good(*date));
        let limit = known.fold(limit, |limit, (_, value)| match knob.side {
            Side::Low => limit.min(*value),
            Side::High => limit.max(*value),
        });
        let value = knob.setting(limit);
        let fixed = [tuning.rule(value)];
        let by_weekday = self.by_weekday(tuning, &good, &bad, share).await.filter(|by_weekday| {
            let rules = [rule_of(knob.side, by_weekday.percent)];
            tuning.caught(&rules, earlier) > tuning.caught(&fixed, earlier) + BETTER
        });
        Found { value: Some(value), by_weekday, why }
    }
}

/// What was found for one side of one metric.
struct Found {
    /// The value of the setting; `None` if there are too few dates.
    value: Option<f64>,
    /// A limit for the change from the weekday's median, if that catches more.
    by_weekday: Option<OfWeekday>,
    why: String,
}

/// The value of a setting, if it is worth a change; an error says why it is not. With `is_beside` another limit is on the same side.
fn worth(members: &[Tuning<'_>], value: Option<f64>, is_beside: bool, earlier: &[Date]) -> Result<Option<f64>, String> {
    let Some((first, value)) = members.first().zip(value) else { return Ok(None) };
    let now = first.knob.now();
    if now == Some(value) || (is_beside && now.is_none_or(|now| !first.knob.is_looser(value, now))) {
        return Ok(None);
    }
    if members.iter().all(|tuning| tuning.caught(&[tuning.rule(value)], earlier) <= 0.0) {
        return Err("no limit that good dates allow catches a fault".to_owned());
    }
    match members.iter().all(|tuning| tuning.suffices(&[tuning.rule(value)], earlier)) {
        true => Err(format!("it catches as much as {}, and alarms as rarely", number(value))),
        false => Ok(Some(value)),
    }
}

/// Of the values for one setting the loosest; where there are too few dates for one of its metrics, the value now counts.
fn loosest_of<'f>(members: &[Tuning<'_>], found: &'f [Found]) -> Option<&'f Found> {
    let mut best: Option<&'f Found> = None;
    for (tuning, found) in members.iter().zip(found) {
        let value = |found: &Found| found.value.or(tuning.knob.now());
        best = match best {
            Some(best)
                if value(best).zip(value(found)).is_none_or(|(best, other)| !tuning.knob.is_looser(other, best)) =>
            {
                Some(best)
            }
            _ => Some(found),
        };
    }
    best
}
