//! Proposes limits from a check's own history: tuned on earlier dates, reported on later ones. Order statistics and split-conformal
//! limits; nothing is assumed of the values but that later dates are like earlier ones.

mod confirm;
mod history;
mod limit;
mod rule;
mod statistics;

use std::collections::BTreeSet;

use anyhow::{Result, bail};
use jiff::civil::Date;
use serde::Serialize;
use serde_json::{Value, json};

pub use confirm::Confirm;
pub use statistics::interval;

use super::{
    Side, Trial,
    knobs::{Knob, json_number, knobs},
};
use crate::{
    capability::Backends,
    plugin::set,
    record::Record,
    run::validation::{Kind, validate},
};
use history::{History, Known};
use limit::{fixed, loosest};
use rule::{Rule, Series, WEEKS, faults, residuals};
use statistics::{median, needed, quantile, rank};

/// Days of a month, on average.
pub const MONTH: f64 = 365.25 / 12.0;
/// The share of the dates that limits are tuned on; the later ones report.
const EARLIER: f64 = 0.6;
/// Tukey's outer fences (1977): what is farther than so many quartile ranges from the quartiles stands far apart.
const FENCE: f64 = 3.0;
/// The largest share of dates that may stand apart from a value that all others have.
const FEW: f64 = 0.1;
/// By how much a limit by weekday must catch more before it is proposed instead of a fixed one.
const BETTER: f64 = 0.02;

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

/// How often something was so: of how many.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Share {
    /// How often.
    pub hits: usize,
    /// Of how many.
    pub of: usize,
}

impl Share {
    fn add(&mut self, hit: bool) {
        self.hits += usize::from(hit);
        self.of += 1;
    }

    /// The share; 0 of none.
    pub fn value(self) -> f64 {
        if self.of == 0 { 0.0 } else { self.hits as f64 / self.of as f64 }
    }
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
}

/// What all limits together say of the held-out dates.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Figures {
    /// Dates with an alarm though nobody says that they were bad.
    pub alarms: Share,
    /// Injected faults that are caught.
    pub caught: Share,
    /// Those dates.
    pub alarmed: Vec<Date>,
}

/// A known date, and what the limits say of it.
#[derive(Debug, Clone, PartialEq)]
pub struct KnownDate {
    /// The date.
    pub date: Date,
    /// Whether it was bad.
    pub bad: bool,
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
    /// Metrics that no setting limits.
    pub unlimited: Vec<String>,
    /// Why the proposals cannot be used, if so.
    pub refused: Option<String>,
}

/// One of the two rules of a limit.
type Which = fn(&Tuning<'_>) -> Option<Rule>;

impl Tuned {
    /// Whether anything is to be changed.
    pub fn proposes(&self) -> bool {
        self.confirm.proposed.is_some() || self.proposals.iter().any(|proposal| proposal.proposed.is_some())
    }
}

/// A limit that is tuned, with the values of its metric.
struct Tuning<'h> {
    knob: Knob,
    /// All values, by date.
    all: Series,
    /// Those of dates that count as good.
    good: Series,
    /// The rule now and with the proposal; `None` is no limit.
    now: Option<Rule>,
    then: Option<Rule>,
    history: &'h History,
}

impl Tune {
    /// Tunes the limits.
    pub async fn run(&self) -> Result<Tuned> {
        let name = &self.trial.check.name;
        let history = History::read(&self.record, &self.trial.config, name).await?;
        let metrics: BTreeSet<String> = history.dates.values().flat_map(|known| known.values.keys().cloned()).collect();
        let dates: Vec<Date> = history.dates.keys().copied().collect();
        let split = match self.report_from {
            Some(first) => dates.partition_point(|date| *date < first),
            None => (dates.len() as f64 * EARLIER).floor() as usize,
        };
        let (earlier, later) = dates.split_at(split);
        let bounds = |dates: &[Date]| Some((*dates.first()?, *dates.last()?, dates.len()));
        let Some((tuned, reported)) = bounds(earlier).zip(bounds(later)) else {
            bail!(
                "{name}: {} dates are judged, which is too few to tune on some and to report on others; `host backtest {name} --from DATE` asks about past dates",
                dates.len()
            );
        };
        let moment = self.trial.moment(self.trial.newest()?)?;
        let knobs = knobs(&self.trial, &self.record, &moment, &metrics).await;
        let chosen = chosen(&knobs, &history);
        let unlimited =
            metrics.iter().filter(|name| !knobs.iter().any(|knob| knob.metric == **name)).cloned().collect();
        let bad: Vec<Date> =
            history.dates.iter().filter(|(_, known)| known.bad == Some(true)).map(|(date, _)| *date).collect();
        let share = self.alarms / MONTH / chosen.len().max(1) as f64;
        let mut apart = BTreeSet::new();
        let (mut tunings, mut proposals) = (Vec::new(), Vec::new());
        for knob in chosen {
            let mut tuning = Tuning::new(knob, &history);
            apart.extend(tuning.set_apart(tuned.1));
            let (rule, proposal) = self.propose(&tuning, earlier, later, share).await;
            tuning.then = rule.or(tuning.now);
            tunings.push(tuning);
            proposals.push(proposal);
        }
        let figures = |rule: Which| figures(&tunings, rule, later, &history);
        let known = history.dates.iter().filter_map(|(date, known)| Some((date, known.bad?)));
        let alarm =
            |date: &Date, rule: Which| tunings.iter().any(|tuning| tuning.alarms(*date, rule(tuning)) == Some(true));
        let known = known.map(|(date, bad)| KnownDate {
            date: *date,
            bad,
            now: alarm(date, |tuning| tuning.now),
            then: alarm(date, |tuning| tuning.then),
        });
        let mut tuned = Tuned {
            tuned,
            reported,
            bad,
            apart: apart.into_iter().collect(),
            now: figures(|tuning| tuning.now),
            then: figures(|tuning| tuning.then),
            known: known.collect(),
            confirm: history.spells.propose(self.trial.config.alerts(name).confirm.0 as usize, self.alarms, MONTH),
            unlimited,
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
                set(&mut settings, &proposal.setting, value.clone())?;
            }
        }
        Ok(settings)
    }

    /// Why a check with the proposals could not be used: its plugin refuses them, or no data could make it fail or pass.
    async fn refused(&self, tuned: &Tuned) -> Result<Option<String>> {
        if tuned.proposals.iter().all(|proposal| proposal.proposed.is_none()) {
            return Ok(None);
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

    /// A limit for one side of a metric, from earlier dates, and what it says of later ones.
    async fn propose(
        &self,
        tuning: &Tuning<'_>,
        earlier: &[Date],
        later: &[Date],
        share: f64,
    ) -> (Option<Rule>, Proposal) {
        let knob = &tuning.knob;
        let mut proposal = Proposal {
            metric: knob.metric.clone(),
            side: knob.side,
            setting: knob.path.clone(),
            now: knob.limit.map(|limit| limit / knob.factor),
            proposed: None,
            why: String::new(),
            alarms: Share::default(),
            caught: Share::default(),
            tuned: false,
        };
        let good: Vec<(Date, f64)> = earlier.iter().filter_map(|date| Some((*date, *tuning.good.get(date)?))).collect();
        let Some(rank) = rank(good.len(), share) else {
            let more = needed(share).saturating_sub(good.len());
            proposal.why = match more {
                0 => "it may alarm each day, so any limit would do".to_owned(),
                more => format!(
                    "needs {more} more good dates to tune on: {} can promise no fewer than {:.1} alarms a month",
                    good.len(),
                    MONTH / (good.len() as f64 + 1.0)
                ),
            };
            proposal.alarms = tuning.alarm_share(tuning.now, later);
            proposal.caught = tuning.caught_share(tuning.now, later);
            return (None, proposal);
        };
        proposal.tuned = true;
        let usual = median(&good.iter().map(|(_, value)| *value).collect::<Vec<_>>()).unwrap_or_default();
        let (limit, why) = fixed(knob, &good, usual, rank);
        let fixed = Rule::Fixed(knob.side, limit);
        let on_earlier = |rule| tuning.caught_share(Some(rule), earlier).value();
        let by_weekday = self.by_weekday(tuning, &good, share).await;
        if let Some((drop, path)) =
            by_weekday.filter(|(drop, _)| on_earlier(Rule::Drop(*drop)) > on_earlier(fixed) + BETTER)
        {
            proposal.setting = path;
            proposal.now = None;
            proposal.proposed = Some(json!({ "weeks": WEEKS, "max_drop_percent": json_number(drop, false) }));
            let beyond = tuning.beyond(Rule::Drop(drop), &good);
            proposal.why = format!(
                "{beyond} of {} good dates were more than {drop} % below the median of their weekday",
                good.len()
            );
            proposal.alarms = tuning.alarm_share(Some(Rule::Drop(drop)), later);
            proposal.caught = tuning.caught_share(Some(Rule::Drop(drop)), later);
            return (Some(Rule::Drop(drop)), proposal);
        }
        let value = limit / knob.factor;
        if proposal.now != Some(value) {
            proposal.proposed = Some(json_number(value, knob.whole));
        }
        proposal.why = why;
        proposal.alarms = tuning.alarm_share(Some(fixed), later);
        proposal.caught = tuning.caught_share(Some(fixed), later);
        (Some(fixed), proposal)
    }

    /// The largest drop from the weekday's median, if the plugin has a setting for it.
    async fn by_weekday(&self, tuning: &Tuning<'_>, good: &[(Date, f64)], share: f64) -> Option<(f64, String)> {
        let knob = &tuning.knob;
        let path = format!("thresholds.{}.change", knob.metric);
        if knob.side != Side::Low || knob.metric.ends_with("_change") || !knob.path.starts_with("thresholds.") {
            return None;
        }
        let mut settings = self.trial.settings();
        set(&mut settings, &path, json!({ "weeks": WEEKS, "max_drop_percent": 50 })).ok()?;
        self.trial.with_settings(&settings).await.ok()?;
        let of = |(date, value): &(Date, f64)| rule::change(*date, *value, &tuning.good);
        let mut changes: Vec<f64> = good.iter().filter_map(of).collect();
        changes.sort_by(f64::total_cmp);
        let tightest = *changes.get(rank(changes.len(), share)? - 1)?;
        let injected = good.iter().flat_map(|(date, value)| {
            let faults = faults(&knob.metric, knob.side, *value, 0.0);
            faults.into_iter().filter_map(|fault| of(&(*date, fault))).collect::<Vec<_>>()
        });
        // Whole percents, away from the good dates.
        let drop = (-loosest(&changes, injected, tightest, false)).max(0.0).ceil();
        (drop < 100.0).then_some((drop, path))
    }
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

/// What all limits together say of some dates.
fn figures(tunings: &[Tuning<'_>], rule: Which, dates: &[Date], history: &History) -> Figures {
    let mut figures = Figures::default();
    for date in dates {
        let Some(known) = history.dates.get(date).filter(|known| known.bad != Some(true)) else { continue };
        let alarms: Vec<bool> = tunings.iter().filter_map(|tuning| tuning.alarms(*date, rule(tuning))).collect();
        let alarm = alarms.contains(&true) || is_missing(known, tunings);
        figures.alarms.add(alarm);
        if alarm {
            figures.alarmed.push(*date);
        }
        for tuning in tunings {
            for hit in tuning.catches(rule(tuning), *date) {
                figures.caught.add(hit);
            }
        }
    }
    figures
}

/// Whether a metric with a limit has no value.
fn is_missing(known: &Known, tunings: &[Tuning<'_>]) -> bool {
    tunings.iter().any(|tuning| tuning.knob.limit.is_some() && known.missing.contains(&tuning.knob.metric))
}

impl<'h> Tuning<'h> {
    fn new(knob: Knob, history: &'h History) -> Self {
        let value = |known: &Known| {
            let (low, high) = *known.values.get(&knob.metric)?;
            Some(if knob.side == Side::Low { low } else { high })
        };
        let all: Series = history.dates.iter().filter_map(|(date, known)| Some((*date, value(known)?))).collect();
        let is_bad = |date: &Date| history.dates.get(date).is_some_and(|known| known.bad == Some(true));
        let good = all.iter().filter(|(date, _)| !is_bad(date)).map(|(date, value)| (*date, *value)).collect();
        let now = knob.limit.map(|limit| Rule::Fixed(knob.side, limit));
        Self { knob, all, good, now, then: None, history }
    }

    /// Takes dates out of the good ones that stand far apart from those up to the last one that is tuned on, unless somebody said that
    /// they were good.
    fn set_apart(&mut self, last: Date) -> Vec<Date> {
        let residuals = residuals(&self.good, last);
        let values: Vec<f64> = residuals.range(..=last).map(|(_, residual)| *residual).collect();
        let Some((low, high)) = quantile(&values, 0.25).zip(quantile(&values, 0.75)) else { return Vec::new() };
        let reach = FENCE * (high - low);
        let is_known = |date: &Date| self.history.dates.get(date).is_some_and(|known| known.bad == Some(false));
        let far = |(date, residual): &(&Date, &f64)| {
            (**residual < low - reach || **residual > high + reach) && !is_known(date)
        };
        let apart: Vec<Date> = residuals.iter().filter(far).map(|(date, _)| *date).collect();
        if apart.iter().filter(|date| **date <= last).count() as f64 > FEW * values.len() as f64 {
            return Vec::new();
        }
        self.good.retain(|date, _| !apart.contains(date));
        apart
    }

    /// Whether a date alarms with a rule; `None` if the date has no value, or there is nothing to compare with.
    fn alarms(&self, date: Date, rule: Option<Rule>) -> Option<bool> {
        rule?.is_broken(date, *self.all.get(&date)?, &self.good)
    }

    /// The dates of some that a rule alarms on, of those that nobody says were bad.
    fn alarm_share(&self, rule: Option<Rule>, dates: &[Date]) -> Share {
        let mut share = Share::default();
        let is_bad = |date: &Date| self.history.dates.get(date).is_some_and(|known| known.bad == Some(true));
        for (date, value) in
            dates.iter().filter(|date| !is_bad(date)).filter_map(|date| Some((date, self.all.get(date)?)))
        {
            share.add(rule.and_then(|rule| rule.is_broken(*date, *value, &self.good)) == Some(true));
        }
        share
    }

    /// How many good dates are beyond a rule.
    fn beyond(&self, rule: Rule, good: &[(Date, f64)]) -> usize {
        good.iter().filter(|(date, value)| rule.is_broken(*date, *value, &self.good) == Some(true)).count()
    }

    /// Which faults of a date a rule catches.
    fn catches(&self, rule: Option<Rule>, date: Date) -> Vec<bool> {
        let Some(value) = self.good.get(&date) else { return Vec::new() };
        let usual = median(&self.good.values().copied().collect::<Vec<_>>()).unwrap_or_default();
        let caught = |fault: f64| rule.and_then(|rule| rule.is_broken(date, fault, &self.good)) == Some(true);
        faults(&self.knob.metric, self.knob.side, *value, usual).into_iter().map(caught).collect()
    }

    fn caught_share(&self, rule: Option<Rule>, dates: &[Date]) -> Share {
        let mut share = Share::default();
        dates.iter().flat_map(|date| self.catches(rule, *date)).for_each(|hit| share.add(hit));
        share
    }
}
