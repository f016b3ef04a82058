//! `[checks.NAME]`: a plugin with its schedule and settings.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, bail};
use jiff::civil::Date;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Count, Cron, DataDate, Delay, ExpectBy, KnownDate, Missed, Overlap, OwnAlerts, Skip, SkipAtMost, SkipQuery, Time,
    Zone, schema,
};

/// `checks.NAME.dates`
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Dates {
    /// The data of one date: each date is good or bad on its own.
    #[default]
    Dated,
    /// The present state, whatever the date: deployed code, the age of a table at this moment.
    Now,
}

/// `[checks.NAME]`
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Check {
    /// The plugin. Default: the plugin with the check's name.
    pub plugin: Option<String>,
    /// Five fields: minute, hour, day of month, month, day of week. Default: the plugin's, which may not be due more often
    /// than every 5 minutes.
    pub schedule: Option<Cron>,
    /// The time zone of the schedule. Default: the plugin's, else the pipeline's.
    pub timezone: Option<Zone>,
    /// The date that a run judges, in the pipeline's time zone: `today`, `yesterday`, or up to 366 days before the run's
    /// date, `-2d`. Default: `yesterday`.
    pub data_date: DataDate,
    /// The channel of its alerts. Default: the plugin's channel, which must be in `grants.NAME.slack`.
    pub channel: Option<String>,
    /// The checks that watch this check's input data. While one of them fails, a failure of this check is listed in its
    /// message instead of being sent on its own; a channel that is not told of that gets one alert.
    pub depends_on: Vec<String>,
    /// Its own values for `[alerts]`.
    pub alerts: OwnAlerts,
    /// By when the data of a date is expected: a time of the day on which the check judges it, in the check's time zone or
    /// in another (`09:00`, `09:00 Europe/Berlin`), or a time after the end of the date (`6h`). Before it a bad or empty
    /// result is shown as pending and nobody is told. Default: at once.
    pub expect_by: Option<ExpectBy>,
    /// The first data date that is expected. Expected dates that were never judged are judged later, a few a round.
    /// Dates older than `state.keep` are not expected. Default: the first date that its schedule judged.
    #[schemars(with = "Option<String>")]
    pub since: Option<Date>,
    /// Overrides `scheduler.recheck`.
    pub recheck: Option<Time>,
    /// Overrides `scheduler.recheck_for`.
    pub recheck_for: Option<Time>,
    /// Overrides `scheduler.jitter`.
    pub jitter: Option<Delay>,
    /// Overrides `scheduler.overlap`.
    pub overlap: Option<Overlap>,
    /// Overrides `scheduler.missed`.
    pub missed: Option<Missed>,
    /// Overrides `scheduler.retries`.
    pub retries: Option<Count>,
    /// For a gate: the time by which somebody must have asked it about its `data_date`, as a cron expression in the
    /// check's time zone: `0 10 * * *`. If nobody has, that is a failure. Default: not checked.
    pub expect_consult: Option<Cron>,
    /// Whether the check is about the data of one date, or about now. Default: what the plugin says; `dated` if it does not
    /// say.
    pub dates: Option<Dates>,
    /// A query that is asked before the plugin runs, with the plugin's grants and budgets: one row with one BOOL. TRUE skips the
    /// run. Anything else but FALSE is an error. It may use `@date`, `@due`, `@day_start` and `@day_end`. With a reason to
    /// show: `{ sql = "SELECT …", why = "no games are scheduled" }`. Default: none.
    #[schemars(with = "Option<schema::SkipQueryForm>")]
    pub skip_when: Option<SkipQuery>,
    /// A query that is asked when `skip_when` is TRUE. TRUE says that the data behind `skip_when` is there, and the run is
    /// skipped; FALSE is an error, since an empty table proves nothing. Its `why` is the reason for that. Default: none.
    #[schemars(with = "Option<schema::SkipQueryForm>")]
    pub skip_unless_known: Option<SkipQuery>,
    /// How long the check may do nothing but skip by `skip_when`, in data dates. A skip after that is an error, which is told
    /// like other errors. `never` turns this off. Default: 14d.
    pub skip_at_most: Option<SkipAtMost>,
    /// Data dates that were bad, each with what was wrong: `["2026-02-11 14 games missing"]`. `host backtest --known` demands that the
    /// check fails or warns for them. Default: none.
    #[schemars(with = "Vec<String>")]
    pub known_bad: Vec<KnownDate>,
    /// Data dates that were good, though they may look bad: `["2026-12-25 no games"]`. `host backtest --known` demands that the check
    /// passes, or skips them. Default: none.
    #[schemars(with = "Vec<String>")]
    pub known_good: Vec<KnownDate>,
    /// The plugin's settings; `host inspect` shows their schema. A setting that is left out has its default.
    #[schemars(with = "BTreeMap<String, serde_json::Value>")]
    pub settings: toml::Table,
}

impl Check {
    /// When it is skipped, if its skips are decided by data.
    pub fn skip(&self) -> Option<Skip> {
        let when = self.skip_when.clone()?;
        let at_most = self.skip_at_most.unwrap_or_default();
        Some(Skip { when, unless_known: self.skip_unless_known.clone(), at_most })
    }

    /// Refuses a date that is known twice.
    pub(super) fn check_known(&self) -> Result<()> {
        let mut seen = BTreeSet::new();
        for (key, known) in [("known_bad", &self.known_bad), ("known_good", &self.known_good)] {
            if let Some(twice) = known.iter().find(|known| !seen.insert(known.date)) {
                bail!("{key}: {} is named twice in known_bad and known_good; keep one", twice.date);
            }
        }
        Ok(())
    }

    /// `keep` is how long runs are recorded.
    pub(super) fn check_skips(&self, keep: Time) -> Result<()> {
        for (key, query) in [("skip_when", &self.skip_when), ("skip_unless_known", &self.skip_unless_known)] {
            let Some(query) = query else { continue };
            if query.sql.trim().is_empty() {
                bail!("{key}: the query is empty; write one that gives TRUE or FALSE");
            }
            if query.why.as_ref().is_some_and(|why| why.trim().is_empty()) {
                bail!("{key}.why: give a reason, or leave it out; it is shown wherever the check is skipped");
            }
        }
        let others =
            [("skip_unless_known", self.skip_unless_known.is_some()), ("skip_at_most", self.skip_at_most.is_some())];
        if let (None, Some((key, _))) = (&self.skip_when, others.into_iter().find(|(_, there)| *there)) {
            bail!("{key}: has no effect without skip_when; add it, or remove {key}");
        }
        let at_most = self.skip_at_most.unwrap_or_default();
        match (&self.skip_when, at_most.0) {
            (Some(_), Some(time)) if time.0 >= keep.0 => bail!(
                "skip_at_most: {at_most} is never reached, since the record keeps runs for {} (state.keep); use less, or \"never\"",
                SkipAtMost(Some(keep))
            ),
            _ => Ok(()),
        }
    }
}
