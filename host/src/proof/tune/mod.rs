//! Proposes limits from a check's own history: tuned on earlier dates, reported on later ones. Order statistics and split-conformal
//! limits; nothing is assumed of the values but that later dates are like earlier ones.

mod confirm;
mod history;
mod limit;
mod rule;
mod statistics;
mod tuning;
mod weekday;

use std::collections::BTreeSet;

use anyhow::{Result, bail};
use jiff::civil::Date;
use serde_json::{Value, json};

pub use confirm::Confirm;
pub use statistics::{Share, interval};
pub use tuning::Figures;

use super::{
    Side, Trial,
    knobs::{Knob, json_number, knobs},
};
use crate::{
    capability::Backends,
    plugin::set,
    record::Record,
    run::validation::{Kind, validate},
    text::number,
};
use history::{History, Kept};
use limit::fixed;
use rule::WEEKS;
use statistics::{median, needed, rank};
use tuning::{Tuning, Which, alarm, figures, shares};
use weekday::{DROP, OfWeekday, RISE, is_rise, rule_of};

/// Days of a month, on average.
pub const MONTH: f64 = 365.25 / 12.0;
/// The share of the dates that limits are tuned on; the later ones report.
const EARLIER: f64 = 0.6;
/// Days between two dates that are of one schedule, at most.
const APART: i32 = 31;
/// By how much a limit by weekday must catch more before it is proposed instead of a fixed one.
const BETTER: f64 = 0.02;

/// There are too few judged dates to tune on some and to report on others.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct TooFew(String);

/// What limits are proposed for.
pub struct Tune {
    /// The check.
    pub trial: Trial,
    /// Its history.
    pub record: Record,
    /// The false alarms that the check may give in a month.
    pub alarms: f64,
    /// The first date that only reports; `None` for the later 40 % of the dates.
    pub report_from: Option<Date>,
}

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

/// A known date, and what the limits say of it.
#[derive(Debug, Clone, PartialEq)]
pub struct KnownDate {
    /// The date.
    pub date: Date,
    /// Whether it was bad.
    pub bad: bool,
    /// Whether it was noise: something was wrong, and nobody has to know.
    pub noise: bool,
    /// Whether it alarms now.
    pub now: bool,
    /// Whether it would alarm with the proposals.
    pub then: bool,
}

/// What came of it.
#[derive(Debug, Clone)]
pub struct Tuned {
    /// The dates that limits were tuned on: the first, the last, and how many.
    pub tuned: (Date, Date, usize),
    /// The later dates, on which they are reported.
    pub reported: (Date, Date, usize),
    /// Dates that count for nothing since they were bad.
    pub bad: Vec<Date>,
    /// Dates that stand far apart from the others, and of which nobody said what they were; they are not tuned on.
    pub apart: Vec<Date>,
    /// The limits.
    pub proposals: Vec<Proposal>,
    /// The figures with the limits of today.
    pub now: Figures,
    /// The figures with the proposals.
    pub then: Figures,
    /// The known dates.
    pub known: Vec<KnownDate>,
    /// How many bad runs in a row are told.
    pub confirm: Confirm,
    /// The dates of a month, on average.
    pub month: f64,
    /// Dates that do not count, since the check had other settings when it was asked about them.
    pub others: usize,
    /// Dates that count by recorded runs, whose settings nobody knows.
    pub recorded: usize,
    /// Metrics that no setting limits.
    pub unlimited: Vec<String>,
    /// Why the proposals cannot be used, if so.
    pub refused: Option<String>,
}

impl Tuned {
    /// Whether anything is to be changed.
    pub fn proposes(&self) -> bool {
        self.confirm.proposed.is_some() || self.proposals.iter().any(|proposal| proposal.proposed.is_some())
    }
}

impl Tune {
    /// Tunes the limits. An error is [`TooFew`] if the history is too short for anything.
    pub async fn run(&self) -> Result<Tuned> {
        let name = &self.trial.check.name;
        let kept = Kept::read(&self.record, &self.trial).await?;
        let metrics = kept.metrics();
        let moment = self.trial.moment(self.trial.newest()?)?;
        let knobs = knobs(&self.trial, &self.record, &moment, &metrics).await;
        let history = kept.history(&self.trial, &knobs);
        let dates: Vec<Date> = history.dates.keys().copied().collect();
        let split = match self.report_from {
            Some(first) => dates.partition_point(|date| *date < first),
            None => (dates.len() as f64 * EARLIER).floor() as usize,
        };
        let (earlier, later) = dates.split_at(split);
        let bounds = |dates: &[Date]| Some((*dates.first()?, *dates.last()?, dates.len()));
        if let Some(first) = self.report_from.filter(|_| !dates.is_empty() && (earlier.is_empty() || later.is_empty()))
        {
            bail!(
                "{name}: --report-from {first} leaves no date to {}",
                if earlier.is_empty() { "tune on" } else { "report on" }
            );
        }
        let Some((tuned, reported)) = bounds(earlier).zip(bounds(later)) else {
            let judged = if dates.is_empty() { "no date is judged" } else { "only 1 date is judged" };
            let why = match (&history.unjudged, history.others) {
                (Some((date, why)), _) => format!("{date} was not evaluated: {why}"),
                (None, 0) => format!("`host backtest {name} --from DATE` asks about past dates"),
                (None, others) => {
                    format!(
                        "the check had other settings when it was asked about past dates ({others}); `host backtest {name} --from DATE` asks again"
                    )
                }
            };
            return Err(TooFew(format!(
                "{name}: {judged}, which is too few to tune on some and to report on others; {why}"
            ))
            .into());
        };
        let chosen = chosen(&knobs, &history);
        let unlimited =
            metrics.iter().filter(|name| !knobs.iter().any(|knob| knob.metric == **name)).cloned().collect();
        let bad: Vec<Date> = dates.iter().filter(|date| history.is_bad(**date)).copied().collect();
        // Where it is not due each day, a month has fewer dates.
        let month = dates_a_month(&dates);
        let share_of = |limits: usize| self.alarms / month / limits.max(1) as f64;
        let mut apart = BTreeSet::new();
        let mut tuning = |knob: &Knob| {
            let mut tuning = Tuning::new(knob.clone(), &history);
            apart.extend(tuning.set_apart(tuned.1));
            tuning
        };
        let mut tunings: Vec<Tuning<'_>> = chosen.iter().map(&mut tuning).collect();
        // More limits share the alarms, so each needs more dates; without those the ones that are there go first.
        let rises = self.rises(&chosen).await;
        let fewest = tunings.iter().map(|tuning| tuning.good.range(..=tuned.1).count()).min().unwrap_or_default();
        if needed(share_of(chosen.len() + rises.len())) <= fewest {
            tunings.extend(rises.iter().map(&mut tuning));
        }
        let share = share_of(tunings.len());
        let mut groups: Vec<(String, Vec<Tuning<'_>>)> = Vec::new();
        for tuning in tunings {
            match groups.iter_mut().find(|(path, _)| *path == tuning.knob.path) {
                Some((_, members)) => members.push(tuning),
                None => groups.push((tuning.knob.path.clone(), vec![tuning])),
            }
        }
        let mut proposals = Vec::new();
        let changing: Vec<(String, Side)> = chosen
            .iter()
            .filter(|knob| knob.of_change)
            .filter_map(|knob| Some((knob.metric.strip_suffix("_change")?.to_owned(), knob.side)))
            .collect();
        for (_, members) in &mut groups {
            let is_changing =
                members.iter().any(|tuning| changing.contains(&(tuning.knob.metric.clone(), tuning.knob.side)));
            proposals.extend(self.propose(members, is_changing, earlier, later, (share, month)).await);
        }
        let tunings: Vec<Tuning<'_>> = groups.into_iter().flat_map(|(_, members)| members).collect();
        let figures = |which: Which| figures(&tunings, which, later, &history);
        let known = history.dates.iter().filter_map(|(date, known)| Some((date, known, known.bad?)));
        let known = known.map(|(date, known, bad)| KnownDate {
            date: *date,
            bad,
            noise: known.noise,
            now: alarm(&tunings, |tuning| &tuning.now, *date, known),
            then: alarm(&tunings, |tuning| &tuning.then, *date, known),
        });
        let mut tuned = Tuned {
            tuned,
            reported,
            bad,
            apart: apart.into_iter().collect(),
            now: figures(|tuning| &tuning.now),
            then: figures(|tuning| &tuning.then),
            known: known.collect(),
            confirm: history.spells.propose(self.trial.config.alerts(name).confirm.0 as usize, self.alarms, MONTH),
            unlimited,
            others: history.others,
            recorded: history.recorded,
            month,
            refused: None,
            proposals,
        };
        tuned.refused = self.refused(&tuned).await?;
        Ok(tuned)
    }

    /// The settings with the proposals.
    pub fn settings(&self, tuned: &Tuned) -> Result<Value> {
        let mut settings = self.trial.settings();
        for proposal in &tuned.proposals {
            if let Some(value) = &proposal.proposed {
                for (path, value) in proposal.leaves(value) {
                    set(&mut settings, &path, value)?;
                }
            }
        }
        Ok(settings)
    }

    /// Why a check with the proposals could not be used: its plugin refuses them, or no data could make it fail or pass.
    async fn refused(&self, tuned: &Tuned) -> Result<Option<String>> {
        if tuned.proposals.iter().all(|proposal| proposal.proposed.is_none()) {
            return Ok(None);
        }
        // A limit that alarms on most dates notices nothing.
        let notices = tuned.now.alarms.value() < 0.5;
        let lost = tuned.known.iter().find(|known| known.bad && known.now && !known.then && notices);
        if let Some(lost) = lost {
            return Ok(Some(format!("{} was bad, and with them nobody would hear of it", lost.date)));
        }
        let (now, then) = (tuned.now.alarms, tuned.then.alarms);
        let (least, _) = interval(then.hits, then.of);
        if least * tuned.month > self.alarms {
            return Ok(Some(format!(
                "on the later dates they alarm {:.1} times a month, which is more than {}; name the dates that were bad in known_bad, or allow more",
                then.value() * tuned.month,
                self.alarms
            )));
        }
        if then.hits > now.hits && tuned.then.caught.hits <= tuned.now.caught.hits {
            return Ok(Some(
                "on the later dates they alarm more often than the limits of today, and catch no more".to_owned(),
            ));
        }
        let trial = match self.trial.with_settings(&self.settings(tuned)?).await {
            Ok(trial) => trial,
            Err(error) => return Ok(Some(format!("{error:#}"))),
        };
        let backends = Backends::trying(&trial.config, &self.record, self.record.clone());
        let moment = trial.moment(trial.newest()?)?;
        let findings = validate(&trial.check, &backends, &moment, &trial.config.timezone).await;
        backends.close().await;
        let wrong = |kind: Kind| matches!(kind, Kind::Refused | Kind::CannotFail | Kind::CannotPass);
        Ok(findings.iter().find(|finding| wrong(finding.kind)).map(|finding| finding.shown()))
    }

    /// A value for a setting, from earlier dates, and what it says of later ones. If it limits several metrics, the loosest value of
    /// theirs. `is_changing` is whether the change of its metric has a limit already.
    async fn propose(
        &self,
        members: &mut [Tuning<'_>],
        is_changing: bool,
        earlier: &[Date],
        later: &[Date],
        (share, month): (f64, f64),
    ) -> Vec<Proposal> {
        let mut found: Vec<Found> = Vec::new();
        for tuning in members.iter() {
            found.push(self.limit(tuning, earlier, (share, month)).await);
        }
        let Some((first, loosest)) = members.first().zip(loosest_of(members, &found)) else { return Vec::new() };
        let (knob, now) = (first.knob.clone(), first.knob.limit.map(|limit| limit / first.knob.factor));
        let names: Vec<&str> = members.iter().map(|tuning| tuning.knob.metric.as_str()).collect();
        let several = if names.len() > 1 { format!("; it limits {} metrics", names.len()) } else { String::new() };
        let mut proposal = Proposal {
            metric: names.join(", "),
            side: knob.side,
            setting: knob.path.clone(),
            now,
            proposed: None,
            why: format!("{}{several}", loosest.why),
            alarms: Share::default(),
            caught: Share::default(),
            tuned: found.iter().any(|found| found.value.is_some() || found.by_weekday.is_some()),
        };
        let by_weekday = loosest.by_weekday.filter(|_| members.len() == 1);
        let is_looser = |value: f64| now.is_none_or(|now| knob.is_looser(value, now));
        // Beside a limit by weekday the fixed one changes only if it is too tight.
        let value = loosest
            .value
            .filter(|value| (by_weekday.is_none() && !is_changing) || (now.is_some() && is_looser(*value)));
        let mut value = value.filter(|value| now != Some(*value));
        let suffices = value.is_some_and(|value| {
            members.iter().all(|tuning| tuning.suffices(&[tuning.knob.rule(value * tuning.knob.factor)], earlier))
        });
        // A limit that no fault would break is not worth proposing.
        let catches = |value: f64| {
            members.iter().any(|tuning| tuning.caught(&[tuning.knob.rule(value * tuning.knob.factor)], earlier) > 0.0)
        };
        if value.is_some_and(|value| !catches(value)) {
            value = None;
            proposal.why = "no limit that good dates allow catches a fault".to_owned();
        } else if is_changing && value.is_none() && proposal.tuned {
            proposal.why = "its change has a limit".to_owned();
        } else if suffices {
            value = None;
            proposal.why =
                format!("it catches as much as {}, and alarms as rarely", number(loosest.value.unwrap_or_default()));
        }
        proposal.proposed = value.map(|value| json_number(value, knob.whole));
        for tuning in members.iter_mut() {
            if let Some(value) = value {
                tuning.then = vec![tuning.knob.rule(value * tuning.knob.factor)];
            }
        }
        let of = |members: &[Tuning<'_>]| shares(&members.iter().collect::<Vec<_>>(), |tuning| &tuning.then, later);
        (proposal.alarms, proposal.caught) = of(members);
        let Some(OfWeekday { setting, percent, why }) = by_weekday else { return vec![proposal] };
        let key = if knob.side == Side::Low { DROP } else { RISE };
        let mut by_weekday = Proposal {
            setting,
            now: None,
            proposed: Some(json!({ "weeks": WEEKS, key: json_number(percent, false) })),
            why,
            ..proposal.clone()
        };
        for tuning in members.iter_mut() {
            tuning.then.push(rule_of(knob.side, percent));
        }
        (by_weekday.alarms, by_weekday.caught) = of(members);
        match proposal.proposed.is_some() {
            true => vec![proposal, by_weekday],
            false => vec![by_weekday],
        }
    }

    /// The value of a setting for one side of one metric, from earlier dates.
    async fn limit(&self, tuning: &Tuning<'_>, earlier: &[Date], (share, month): (f64, f64)) -> Found {
        let knob = &tuning.knob;
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
        if is_rise(knob) {
            let why = "by weekday no limit is between good dates and twice as much".to_owned();
            return Found { value: None, by_weekday: self.by_weekday(tuning, &good, share).await, why };
        }
        let usual = median(&good.iter().map(|(_, value)| *value).collect::<Vec<_>>()).unwrap_or_default();
        let last = earlier.last().copied().unwrap_or(Date::MIN);
        let (limit, why) = fixed(knob, &good, &tuning.bad(last), usual, rank);
        let value = knob.setting(limit);
        let fixed = [knob.rule(value * knob.factor)];
        let by_weekday = self.by_weekday(tuning, &good, share).await.filter(|by_weekday| {
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

/// Of the values for one setting the loosest; where there are too few dates for one of its metrics, the value now counts.
fn loosest_of<'f>(members: &[Tuning<'_>], found: &'f [Found]) -> Option<Found> {
    let mut best: Option<&'f Found> = None;
    for (tuning, found) in members.iter().zip(found) {
        let now = tuning.knob.limit.map(|limit| limit / tuning.knob.factor);
        let value = |found: &Found| found.value.or(now);
        best = match best {
            Some(best)
                if value(best).zip(value(found)).is_none_or(|(best, other)| !tuning.knob.is_looser(other, best)) =>
            {
                Some(best)
            }
            _ => Some(found),
        };
    }
    best.map(|found| Found { value: found.value, by_weekday: found.by_weekday.clone(), why: found.why.clone() })
}

/// How many dates a month has, of some dates in order.
fn dates_a_month(dates: &[Date]) -> f64 {
    let gaps = dates.windows(2).filter_map(|pair| Some((*pair.last()? - *pair.first()?).get_days()));
    // A single date from years before the others does not belong to the schedule.
    let near: Vec<i32> = gaps.filter(|gap| *gap <= APART).collect();
    MONTH * near.len().max(1) as f64 / f64::from(near.iter().sum::<i32>().max(1))
}

/// The limits to tune: those that are set, and of a metric without any the side on which it may be wrong.
fn chosen(knobs: &[Knob], history: &History) -> Vec<Knob> {
    let of = |knob: &Knob| -> Vec<f64> {
        history.dates.values().filter_map(|known| known.values.get(&knob.metric)).map(|(low, _)| *low).collect()
    };
    let limited = |metric: &str| knobs.iter().any(|knob| knob.metric == metric && knob.limit.is_some());
    let wanted = |knob: &&Knob| {
        let values = of(knob);
        let Some(usual) = median(&values) else { return false };
        match knob.limit {
            Some(_) => true,
            None if limited(&knob.metric) => false,
            None => (knob.side == Side::Low) == (usual > 0.0),
        }
    };
    knobs.iter().filter(wanted).cloned().collect()
}
