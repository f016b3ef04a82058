//! Proposes limits from a check's own history: tuned on earlier dates, reported on later ones. Order statistics and split-conformal
//! limits; nothing is assumed of the values but that later dates are like earlier ones.

mod confirm;
mod history;
mod limit;
mod proposal;
mod rule;
mod statistics;
mod tuning;
mod weekday;

use std::collections::BTreeSet;

use anyhow::{Result, bail};
use jiff::civil::Date;
use serde_json::Value;

pub use confirm::Confirm;
pub use proposal::Proposal;
pub use statistics::{Share, interval};
pub use tuning::Figures;

use super::{
    Side, Trial,
    knobs::{Knob, knobs},
};
use crate::{
    capability::Backends,
    plugin::set,
    record::Record,
    run::validation::{Kind, validate},
};
use history::{History, Kept};
use statistics::{median, needed};
use tuning::{Tuning, Which, alarmed, figures};

/// Days of a month, on average.
pub const MONTH: f64 = 365.25 / 12.0;
/// The share of the dates that limits are tuned on; the later ones report.
const EARLIER: f64 = 0.6;
/// Days between two dates that are of one schedule, at most.
const APART: i32 = 31;

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
    /// Dates in `known_bad` and `known_good` that were never judged.
    pub unjudged: Vec<Date>,
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
            return Err(too_few(name, &history).into());
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
        let mut groups = by_setting(tunings);
        let mut proposals = Vec::new();
        let changing: Vec<(String, Side)> =
            chosen.iter().filter(|knob| knob.of_change).map(|knob| (knob.base().to_owned(), knob.side)).collect();
        for members in &mut groups {
            let is_changing =
                members.iter().any(|tuning| changing.contains(&(tuning.knob.metric.clone(), tuning.knob.side)));
            proposals.extend(self.propose(members, is_changing, &history, (earlier, later), (share, month)).await);
        }
        let tunings: Vec<Tuning<'_>> = groups.into_iter().flatten().collect();
        let figures = |which: Which| figures(&tunings, which, later, &history);
        let alarmed = |which: Which| alarmed(&tunings, which, &history);
        let (alarmed_now, alarmed_then) = (alarmed(|tuning| &tuning.now), alarmed(|tuning| &tuning.then));
        let known = history.dates.iter().filter_map(|(date, known)| Some((date, known, known.bad?)));
        let known = known.map(|(date, known, bad)| KnownDate {
            date: *date,
            bad,
            noise: known.noise,
            now: alarmed_now.contains(date),
            then: alarmed_then.contains(date),
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
            unjudged: history.unknown.clone(),
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
        let accused = tuned.known.iter().find(|known| !known.bad && !known.noise && !known.now && known.then);
        if let Some(accused) = accused {
            return Ok(Some(format!("{} was good, and with them it alarms", accused.date)));
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
}

/// Why there are too few dates, and what gives more.
fn too_few(name: &str, history: &History) -> TooFew {
    let judged = if history.dates.is_empty() { "no date is judged" } else { "only 1 date is judged" };
    let why = match (&history.unjudged, history.others) {
        (Some((date, why)), _) => format!("{date} was not evaluated: {why}"),
        (None, 0) => format!("`host backtest {name} --from DATE` asks about past dates"),
        (None, others) => {
            format!(
                "the check had other settings when it was asked about past dates ({others}); `host backtest {name} --from DATE` asks again"
            )
        }
    };
    TooFew(format!("{name}: {judged}, which is too few to tune on some and to report on others; {why}"))
}

/// The limits of each setting: one may limit several metrics.
fn by_setting(tunings: Vec<Tuning<'_>>) -> Vec<Vec<Tuning<'_>>> {
    let mut groups: Vec<Vec<Tuning<'_>>> = Vec::new();
    for tuning in tunings {
        let same = |members: &&mut Vec<Tuning<'_>>| members.iter().any(|member| member.knob.path == tuning.knob.path);
        match groups.iter_mut().find(same) {
            Some(members) => members.push(tuning),
            None => groups.push(vec![tuning]),
        }
    }
    groups
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
