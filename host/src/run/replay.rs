//! Runs a recorded run again on its recorded answers: the same bytes with the same settings must give the same again. Another
//! version, or other settings, show what they would have said then.

use std::sync::Arc;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::{Outcome, Run, Script};
use crate::{
    capability::{Backends, Played, Taping},
    check::{Check, Family, Ready, Work},
    config::{Config, Cron, Skip, SkipAtMost},
    lanes::Pace,
    plugin::{Plugin, set},
    record::Record,
};

/// What runs recorded runs again: today's grants, and what takes the place of what ran then.
pub struct Replay {
    /// Today's configuration, which grants.
    pub config: Arc<Config>,
    /// Today's backends, which are asked nothing unless `asks`.
    pub backends: Arc<Backends>,
    /// For the check's history.
    pub record: Record,
    /// Settings that take the place of recorded ones.
    pub settings: Vec<(String, Value)>,
    /// Whether the backends are asked what was not recorded.
    pub asks: bool,
}

/// A run that ran again.
#[derive(Debug)]
pub struct Again {
    /// What it gave then, without its calls.
    pub then: Run,
    /// What it gave now.
    pub now: Run,
    /// The same, to compare with what it gave then.
    pub outcome: Outcome,
    /// The questions that were not asked then.
    pub unrecorded: Vec<String>,
}

impl Replay {
    /// The settings of a script, with those that take their place.
    fn settings(&self, script: &Script) -> Result<String> {
        if self.settings.is_empty() {
            return Ok(script.given.settings.clone());
        }
        let mut whole: Value = serde_json::from_str(&script.given.settings).context("the recorded settings")?;
        for (path, value) in &self.settings {
            set(&mut whole, path, value.clone())?;
        }
        Ok(whole.to_string())
    }

    /// The settings that a script runs with; an error if its plugin does not take them.
    pub async fn check_settings(&self, script: &Script, plugin: &Plugin) -> Result<String> {
        let settings = self.settings(script)?;
        if settings != script.given.settings {
            let changed = serde_json::from_str(&settings)?;
            let wrong = plugin.mistakes(&changed).await?;
            if !wrong.is_empty() {
                bail!("settings: {}", wrong.join("; "));
            }
        }
        Ok(settings)
    }

    /// Runs a recorded run of a check again, with a plugin. An error says why it cannot be.
    pub async fn run(&self, check: &str, script: &Script, plugin: &Arc<Plugin>) -> Result<Again> {
        if let Some(event) = script.is_missing().filter(|_| !self.asks) {
            bail!("the answer to its {} is not recorded any more, or only as a digest", event.name);
        }
        let settings = self.check_settings(script, plugin).await?;
        let given = &script.given;
        let name = &plugin.file.name;
        let dates = plugin.dates(settings.clone(), &given.budgets).await?;
        let ready = Ready {
            plugin: plugin.clone(),
            grants: self.config.grants.get(name).cloned().unwrap_or_default(),
            settings,
            dates,
            budgets: given.budgets.clone(),
            // Runs that it decided cannot be run again; of the others it decided nothing.
            skip: given.skip.clone().map(|skip| Skip { at_most: SkipAtMost(None), ..skip }),
            pace: Pace::default(),
        };
        let own = self.config.checks.get(check);
        let check = Check {
            name: check.to_owned(),
            schedule: own.and_then(|own| own.schedule.clone()).unwrap_or_else(Cron::hourly),
            zone: self.config.timezone.clone(),
            data_date: own.map(|own| own.data_date).unwrap_or_default(),
            family: Some(Family { channel: given.channel.clone(), group: plugin.descriptor.group.clone() }),
            work: Work::Plugin(Box::new(ready)),
            waits: false,
        };
        let played = [&script.skip, &script.events].map(|events| Arc::new(Played::new(events, self.asks)));
        let taping = played.clone().map(Taping::Replay);
        let now = check.run_on(&self.backends, &self.record, given.moment.clone(), taping).await;
        let unrecorded = played.iter().flat_map(|played| played.unrecorded()).collect();
        let then = check.ran(&given.moment, &script.outcome);
        Ok(Again { then, outcome: Outcome::of(&now), now, unrecorded })
    }
}
