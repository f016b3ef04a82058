//! What was true of the checks in a time: which alerts were worth a message, how fast they came, what nobody watches, and what to mend
//! first.

mod coverage;
mod message;

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use anyhow::Result;
use jiff::{SignedDuration, Timestamp, civil::Date};
use serde::Serialize;

pub use coverage::Unread;

use super::{Share, Trial};
use crate::{
    alert::{Dated, Day, State, Subject},
    capability::Backends,
    check::Check,
    config::{Config, Dates},
    record::{Heard, Label, Lived, Noticed, PastAlert, Record, Silence, Tally},
    recorder::days,
    run::{Moment, When, first_due},
    text::{counted, span},
};
use coverage::{unjudged, unread};

/// By when people hear that data are wrong: the first user's target.
const DATA_WITHIN: SignedDuration = SignedDuration::from_mins(30);
/// By when people hear that deployed code falls behind.
const DRIFT_WITHIN: SignedDuration = SignedDuration::from_hours(2);
/// The share of alerts that may be false.
const FALSE_BELOW: f64 = 0.05;
/// A silence or an acknowledgement that is older than this is said.
const LASTS: SignedDuration = SignedDuration::from_hours(7 * 24);
/// The longest round in which nobody mends anything.
const ROUND: SignedDuration = SignedDuration::from_hours(1);
/// Checks that are to be mended first.
const WORST: usize = 5;
/// A mutation score below this is to be mended.
const LOW_SCORE: f64 = 0.8;

/// What was true of one check.
#[derive(Debug, Clone, Default, Serialize)]
pub struct OfCheck {
    /// Its name.
    pub check: String,
    /// Whether host.toml has it no longer, so that only its alerts are known.
    pub gone: bool,
    /// Its runs, and those that could not be evaluated.
    pub runs: u64,
    /// Those that could not be evaluated.
    pub errors: u64,
    /// Alerts that people were told of.
    pub alerts: usize,
    /// Of them: labelled real.
    pub real: usize,
    /// Labelled false.
    pub falsely: usize,
    /// Labelled noise.
    pub noise: usize,
    /// Not labelled, and well again in the next round by itself.
    pub passing: usize,
    /// Dates in `known_bad` of which nobody was told.
    pub missed: Vec<Date>,
    /// From when an alert could have been told to the message, for each alert, in seconds; the shortest first. It is counted from the
    /// last run that passed or was skipped: the fault came after that, or nobody was to hear of it before. Alerts about dates that
    /// somebody asked about by hand are not among them.
    pub seconds: Vec<i64>,
    /// Alerts whose message no receiver took.
    pub undelivered: usize,
    /// Whether it is about deployed code.
    pub drift: bool,
    /// Dates for which it was due, and that it never judged.
    pub unjudged: Vec<Date>,
    /// Whether it ever failed or warned.
    pub ever_failed: bool,
    /// Mutants that it caught, and that counted.
    pub score: Option<Share>,
    /// What its queries billed.
    pub bytes: u64,
}

/// A check that is to be mended, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ToMend {
    /// The check.
    pub check: String,
    /// What is wrong with it, the worst first.
    pub why: String,
}

/// A figure beside its target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Figured {
    /// What it is.
    pub what: String,
    /// Its value, in words.
    pub value: String,
    /// The target, in words.
    pub target: String,
    /// Whether it is met; `None` if nothing can be said.
    pub met: Option<bool>,
}

/// The report of a time.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Its beginning.
    pub from: Timestamp,
    /// Its end.
    pub to: Timestamp,
    /// By name.
    pub checks: Vec<OfCheck>,
    /// Silences that have lasted for more than a week.
    pub silences: Vec<Silence>,
    /// Dates that somebody has said to work on for more than a week.
    pub acknowledged: Vec<Dated>,
    /// The tables that nobody asks about; `None` if nobody looked.
    pub unread: Option<Unread>,
    /// The worst, the worst first.
    pub mend: Vec<ToMend>,
}

impl OfCheck {
    /// Alerts that were not worth a message.
    pub fn not_real(&self) -> usize {
        self.falsely + self.noise + self.passing
    }

    /// Its name, and that it is gone if it is.
    pub fn named(&self) -> String {
        if self.gone { format!("{} (not in host.toml)", self.check) } else { self.check.clone() }
    }

    /// The share of alerts that were not worth a message.
    pub fn false_share(&self) -> Share {
        Share { hits: self.not_real(), of: self.alerts }
    }

    /// The longest time to a message, in seconds.
    pub fn slowest(&self) -> Option<i64> {
        self.seconds.last().copied()
    }

    /// Whether nobody has seen that it can fail.
    pub fn never(&self) -> bool {
        !self.ever_failed && self.score.is_none() && self.runs > 0
    }

    /// Its points on the list of what to mend, with the reasons, the worst first.
    fn complaints(&self) -> (usize, Vec<String>) {
        let mut found: Vec<(usize, String)> = Vec::new();
        if !self.missed.is_empty() {
            let what = if self.missed.len() == 1 {
                "a known bad date was missed".to_owned()
            } else {
                format!("{} known bad dates were missed", self.missed.len())
            };
            found.push((20 * self.missed.len(), what));
        }
        if self.not_real() > 0 {
            let of = counted(self.alerts, "alert", "alerts");
            let what = match self.not_real() {
                1 => format!("1 of {of} was false, noise or over by itself"),
                many => format!("{many} of {of} were false, noise, or resolved by themselves"),
            };
            found.push((10 * self.not_real(), what));
        }
        if self.undelivered > 0 {
            let of = counted(self.alerts, "alert", "alerts");
            let what = format!("the message about {} of {of} was not delivered", self.undelivered);
            found.push((10 * self.undelivered, what));
        }
        if self.errors > 0 {
            let share = 10 * self.errors as usize / (self.runs.max(1) as usize);
            let runs = counted(self.runs as usize, "run", "runs");
            found.push((1 + share, format!("{} of {runs} could not be evaluated", self.errors)));
        }
        if !self.unjudged.is_empty() {
            let what = format!("{} never judged", counted(self.unjudged.len(), "date was", "dates were"));
            found.push((self.unjudged.len(), what));
        }
        match self.score {
            Some(score) if score.of > 0 && score.value() < LOW_SCORE => {
                found.push((5, format!("it catches {} of {} mutants", score.hits, score.of)));
            }
            None if self.never() => found.push((2, "it never failed, and has no mutation score".to_owned())),
            _ => {}
        }
        found.sort_by_key(|(points, _)| Reverse(*points));
        (found.iter().map(|(points, _)| points).sum(), found.into_iter().map(|(_, why)| why).collect())
    }
}

impl Report {
    /// All alerts together.
    pub fn false_share(&self) -> Share {
        let of = self.checks.iter().map(|check| check.alerts).sum();
        Share { hits: self.checks.iter().map(OfCheck::not_real).sum(), of }
    }

    /// The alerts that nobody labelled and that were not resolved by themselves.
    pub fn unlabelled(&self) -> usize {
        self.checks.iter().map(|check| check.alerts - check.real - check.not_real()).sum()
    }

    /// The times to the message of checks of deployed code, or of the others, in seconds, the shortest first.
    pub fn seconds(&self, drift: bool) -> Vec<i64> {
        let of = self.checks.iter().filter(|check| check.drift == drift);
        let mut seconds: Vec<i64> = of.flat_map(|check| check.seconds.iter().copied()).collect();
        seconds.sort_unstable();
        seconds
    }

    /// The first user's three figures.
    pub fn figures(&self) -> Vec<Figured> {
        let (share, open) = (self.false_share(), self.unlabelled());
        let most = Share { hits: share.hits + open, of: share.of };
        let told = |drift: bool, target: SignedDuration, what: &str| {
            let seconds = self.seconds(drift);
            let middle = seconds.get(seconds.len().saturating_sub(1) / 2).copied();
            let alerts: usize = self.checks.iter().filter(|own| own.drift == drift).map(|own| own.alerts).sum();
            let lost: usize = self.checks.iter().filter(|own| own.drift == drift).map(|own| own.undelivered).sum();
            let value = match (middle, seconds.last()) {
                (Some(middle), Some(last)) => format!("half within {}, all within {}", span(middle), span(*last)),
                _ if lost > 0 => "no message was delivered".to_owned(),
                _ if alerts > 0 => "no alert has a measured time".to_owned(),
                _ => "there was no alert".to_owned(),
            };
            Figured {
                what: what.to_owned(),
                value: if lost > 0 { format!("{value}; {lost} not delivered") } else { value },
                target: format!("within {}", span(target.as_secs())),
                met: seconds.last().map(|last| *last <= target.as_secs() && lost == 0).or((lost > 0).then_some(false)),
            }
        };
        vec![
            Figured {
                what: "Alerts that were false, noise, or resolved by themselves".to_owned(),
                value: match (share.of, open) {
                    (0, _) => "there was no alert".to_owned(),
                    (of, 0) => format!("{:.0} %, {} of {of}", share.value() * 100.0, share.hits),
                    (of, open) => format!(
                        "{:.0} to {:.0} %: {} of {of}, and {open} not labelled",
                        share.value() * 100.0,
                        most.value() * 100.0,
                        share.hits
                    ),
                },
                target: format!("below {:.0} %", FALSE_BELOW * 100.0),
                // What nobody labelled may be either.
                met: match (share.value() < FALSE_BELOW, most.value() < FALSE_BELOW) {
                    _ if share.of == 0 => None,
                    (false, _) => Some(false),
                    (true, true) => Some(true),
                    (true, false) => None,
                },
            },
            told(false, DATA_WITHIN, "Time to the message, for data"),
            told(true, DRIFT_WITHIN, "Time to the message, for deployed code"),
        ]
    }

    /// Reads the record. With `backends` it also asks which tables there are, which is free.
    pub async fn make(
        record: &Record,
        config: &Config,
        checks: &[Arc<Check>],
        (from, to): (Timestamp, Timestamp),
        backends: Option<&Arc<Backends>>,
    ) -> Result<Self> {
        let date = |at: Timestamp| at.to_zoned(config.timezone.rules()).date();
        let dates = (date(from), date(to));
        let days = days(record).await?;
        let is_judged = |(_, _, day): &&(String, Subject, Day)| day.state != State::NotJudged;
        let judged = days.iter().filter(is_judged);
        let judged: Judged<'_> = judged.filter_map(|(check, date, _)| Some((check.as_str(), (*date)?))).collect();
        let mut of = of_runs(record, config, checks, (from, to), &judged).await?;
        of_alerts(record, config, checks, (from, to), &mut of).await?;
        missed(record, config, dates, &judged, &mut of).await?;
        scores(record, config, checks, &mut of).await?;
        for cost in record.costs(dates.0).await?.iter().filter(|cost| cost.day < dates.1) {
            if let Some(own) = of.get_mut(cost.check.as_str()) {
                own.bytes += cost.bytes;
            }
        }
        let lasts = |since: Timestamp| to.duration_since(since) > LASTS;
        let silences = record.silences(Some(to)).await?;
        let dated = days.iter().map(|(check, subject, day)| Dated::new(check, *subject, day, to));
        let acknowledged = dated.filter(|date| date.acknowledged.as_ref().is_some_and(|ack| lasts(ack.at)));
        let checks: Vec<OfCheck> = of.into_values().collect();
        Ok(Self {
            from,
            to,
            silences: silences.into_iter().filter(|silence| lasts(silence.began)).collect(),
            acknowledged: acknowledged.collect(),
            unread: match backends {
                Some(backends) => unread(record, config, backends).await?,
                None => None,
            },
            mend: to_mend(&checks),
            checks,
        })
    }
}

/// The checks by name.
type Checks = BTreeMap<String, OfCheck>;
/// The dates that checks judged.
type Judged<'d> = BTreeSet<(&'d str, Date)>;

/// What the runs say.
async fn of_runs(
    record: &Record,
    config: &Config,
    checks: &[Arc<Check>],
    (from, to): (Timestamp, Timestamp),
    judged: &Judged<'_>,
) -> Result<Checks> {
    let (tallies, lived) = (record.tallies(from, to).await?, record.lived().await?);
    let own = |check: &Arc<Check>| {
        let Tally { runs, errors } = tallies.get(&check.name).copied().unwrap_or_default();
        let Lived { first, ever_failed } = lived.get(&check.name).copied().unwrap_or_default();
        let drift =
            check.dates() == Dates::Now && check.plugin().is_some_and(|ready| !ready.grants.deployments.is_empty());
        // Dates before its first one are not expected of it.
        let unjudged = first.map(|first| unjudged(check, config, (first, from, to), judged)).unwrap_or_default();
        let name = check.name.clone();
        let own = OfCheck { check: name.clone(), runs, errors, drift, unjudged, ever_failed, ..OfCheck::default() };
        (name, own)
    };
    Ok(checks.iter().map(own).collect())
}

/// What the alerts of a time were, and how long they took to be heard.
async fn of_alerts(
    record: &Record,
    config: &Config,
    checks: &[Arc<Check>],
    (from, to): (Timestamp, Timestamp),
    of: &mut Checks,
) -> Result<()> {
    let messages = record.written_since(from).await?;
    for alert in record.alerts_told(from, to).await? {
        let gone = || OfCheck { check: alert.check.clone(), gone: true, ..OfCheck::default() };
        let own = of.entry(alert.check.clone()).or_insert_with(gone);
        own.alerts += 1;
        match alert.label {
            Some(Label::Real) => own.real += 1,
            Some(Label::False) => own.falsely += 1,
            Some(Label::Noise) => own.noise += 1,
            None => own.passing += usize::from(is_over(&alert, checks)),
        }
        let heard = messages.heard(&alert.check, alert.announced.unwrap_or(alert.began), alert.ended);
        let at = match heard {
            Heard::At(at) => at,
            Heard::Waits => continue,
            Heard::Never => {
                own.undelivered += 1;
                continue;
            }
        };
        let Noticed { well, first } = record.noticed(&alert.check, alert.data_date, alert.began).await?;
        // The data of a date that was never good are wrong from when they were expected.
        let expected = || first.map(|first| expected(config, checks, &alert).map_or(first, |by| by.min(first)));
        let since = match alert.data_date {
            // Nobody could have heard of a date of long ago before somebody asked about it by hand.
            Some(_) if first.is_none() => continue,
            Some(_) => well.or_else(expected).unwrap_or(alert.began),
            None => well.unwrap_or(alert.began),
        };
        own.seconds.push(at.duration_since(since).as_secs().max(0));
    }
    of.values_mut().for_each(|own| own.seconds.sort_unstable());
    Ok(())
}

/// Dates in `known_bad` that were judged and of which nobody was told.
async fn missed(
    record: &Record,
    config: &Config,
    (first, last): (Date, Date),
    judged: &Judged<'_>,
    of: &mut Checks,
) -> Result<()> {
    let began = first.to_zoned(config.timezone.rules()).map_or(Timestamp::MIN, |day| day.timestamp());
    let alerts = record.alerts_since(began).await?;
    for own in of.values_mut() {
        let known = config.checks.get(&own.check).map(|check| check.known_bad.as_slice()).unwrap_or_default();
        let is_judged = |date: &Date| judged.contains(&(own.check.as_str(), *date));
        let told = |date: &Date| {
            let of = alerts.iter().filter(|alert| alert.check == own.check && alert.data_date == Some(*date));
            of.into_iter().any(|alert| alert.announced.is_some())
        };
        let of_time = known.iter().map(|known| known.date).filter(|date| (first..last).contains(date));
        own.missed = of_time.filter(|date| is_judged(date) && !told(date)).collect();
    }
    Ok(())
}

/// The mutation scores of the checks as they are: one of other settings or of another version says nothing about a check.
async fn scores(record: &Record, config: &Config, checks: &[Arc<Check>], of: &mut Checks) -> Result<()> {
    let whole = Arc::new(config.clone());
    for score in record.scores(None).await? {
        let check = checks.iter().find(|check| check.name == score.check);
        let trial = check.and_then(|check| Trial::new(whole.clone(), check).ok());
        if trial.is_some_and(|trial| trial.digest() == score.tried)
            && let Some(own) = of.get_mut(score.check.as_str())
        {
            own.score = Some(Share { hits: score.caught as usize, of: score.counted as usize });
        }
    }
    Ok(())
}

/// The worst, the worst first.
fn to_mend(checks: &[OfCheck]) -> Vec<ToMend> {
    let mut mend: Vec<(usize, ToMend)> = checks
        .iter()
        .filter(|own| !own.gone)
        .map(|own| {
            let (points, why) = own.complaints();
            (points, ToMend { check: own.check.clone(), why: why.join("; ") })
        })
        .filter(|(points, _)| *points > 0)
        .collect();
    mend.sort_by_key(|(points, _)| Reverse(*points));
    mend.into_iter().take(WORST).map(|(_, mend)| mend).collect()
}

/// By when the data of an alert's date were expected.
fn expected(config: &Config, checks: &[Arc<Check>], alert: &PastAlert) -> Option<Timestamp> {
    let check = checks.iter().find(|check| check.name == alert.check)?;
    let due = first_due(check, alert.data_date?, &config.timezone)?;
    let moment = Moment::of(check, config, due, When { at: Some(due), date: alert.data_date }).ok()?;
    Some(moment.deadline)
}

/// Whether an alert was over in the next round, by itself.
fn is_over(alert: &PastAlert, checks: &[Arc<Check>]) -> bool {
    let check = checks.iter().find(|check| check.name == alert.check);
    let next = check.and_then(|check| check.schedule.next(alert.began, &check.zone.rules()));
    // Runs by hand are nobody's next round, and in a long one somebody may have mended it.
    alert.ended.zip(next).is_some_and(|(ended, next)| ended == next && next.duration_since(alert.began) <= ROUND)
}
