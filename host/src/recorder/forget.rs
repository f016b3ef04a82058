//! Removes what is too old, and the recorded answers that host.toml does not keep.

use std::time::Duration;

use anyhow::Result;
use jiff::{SignedDuration, Timestamp, tz::TimeZone};

use super::Recorder;
use crate::{
    alert::{Day, Standing, Subject},
    config::{Config, Keeping},
    record::{self, Purge},
};

impl Recorder {
    /// Forgets the dates in memory that the record no longer has, in a host that stays.
    pub async fn forget_dates(&self, config: &Config) -> Result<()> {
        let keep = SignedDuration::try_from(config.state.keep.0)?;
        let Ok(before) = record::now().checked_sub(keep) else { return Ok(()) };
        // A day has ended in every time zone a day later.
        let oldest = before.to_zoned(TimeZone::UTC).date().yesterday()?;
        let stays = |date: &Subject, day: &Day| date.is_none_or(|date| date >= oldest) || !day.state.is_over();
        let mut standings = self.standings.lock().await;
        let old = |standing: &&mut Standing| standing.days.iter().any(|(date, day)| !stays(date, day));
        for standing in standings.values_mut().filter(old) {
            standing.days_mut().retain(|date, day| stays(date, day));
        }
        Ok(())
    }

    /// Removes entries older than `state.keep` from the record.
    pub async fn forget(&self, config: &Config) -> Result<()> {
        // Longer than all of time: keep everything.
        let before = |keep: Duration| {
            let keep = SignedDuration::try_from(keep).unwrap_or(SignedDuration::MAX);
            record::now().checked_sub(keep).unwrap_or(Timestamp::MIN)
        };
        let answers = config.record.answers.0.map_or(Timestamp::MIN, |keep| before(keep.0));
        self.record.forget(before(config.state.keep.0), answers).await
    }

    /// Removes the answers that this configuration does not keep: of what is not granted any more, or is not to be recorded.
    pub async fn purge(&self, config: &Config) -> Result<()> {
        if !self.record.takes_part() {
            return Ok(());
        }
        if config.record.answers.0.is_none() {
            let all = Purge::Before(Timestamp::MAX);
            return self.record.purge(&all, "").await.map(drop);
        }
        for source in self.record.answer_sources().await? {
            let keeping = config.record.keeping(&source, config.warehouse.as_ref());
            let granted = is_granted(config, &source);
            let why =
                if granted { keeping.why_not(&source) } else { Some(format!("{source} is not granted any more")) };
            let Some(why) = why else { continue };
            let what = match keeping {
                Keeping::Digest if granted => Purge::Contents(source.clone()),
                _ => Purge::Source(source.clone()),
            };
            let purged = self.record.purge(&what, &why).await?;
            if purged.answers > 0 {
                tracing::info!("removed {} recorded answers of {source}: host.toml does not keep them", purged.answers);
            }
        }
        Ok(())
    }
}

/// Whether any plugin may ask a source.
fn is_granted(config: &Config, source: &str) -> bool {
    config.grants.values().any(|grants| match source.strip_prefix("git.") {
        Some(repository) => grants.git.iter().any(|granted| granted == repository),
        None if source == "deployments" => !grants.deployments.is_empty(),
        None if source == "record" => true,
        None => {
            let of_view = |view: &String| view.split_once('.').is_some_and(|(dataset, _)| dataset == source);
            grants.warehouse.iter().any(|granted| granted == source) || grants.views.iter().any(of_view)
        }
    })
}
