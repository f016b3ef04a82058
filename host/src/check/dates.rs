//! What each check is about: host.toml says it, else its plugin, which may be slow or wrong and stops nobody else.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use crate::{
    config::{self, Config, Dates, check_key},
    plugin::{Plugin, Unsaid},
};

/// How long one plugin may take for all of its checks. One takes 0.1 ms, one in Python a few milliseconds.
const PATIENCE: Duration = Duration::from_secs(10);

/// The plugins that were asked, and how long each took.
#[derive(Default)]
pub(super) struct Kinds(HashMap<String, Duration>);

impl Kinds {
    /// What a check is about, or why it cannot run.
    pub(super) async fn dates(
        &mut self,
        name: &str,
        wanted: &config::Check,
        plugin: &Plugin,
        config: &Config,
    ) -> Result<Dates, String> {
        if let Some(dates) = wanted.dates {
            return Ok(dates);
        }
        let plugin_name = &plugin.file.name;
        let advice = || format!("or add `dates = \"dated\"` or `\"now\"` to [checks.{}] in host.toml", check_key(name));
        let spent = self.0.entry(plugin_name.clone()).or_default();
        if *spent > PATIENCE {
            let most = PATIENCE.as_secs();
            return Err(format!(
                "its plugin takes more than {most} s to say whether its checks are about a date; mend the plugin, {}",
                advice()
            ));
        }
        let settings = serde_json::to_string(&wanted.settings).unwrap_or_default();
        let began = Instant::now();
        let asked = plugin.dates(settings, &config.budgets(plugin_name)).await;
        *spent += began.elapsed();
        asked.map_err(|error| match error {
            Unsaid::Refused(why) => format!("host.toml: checks.{}.settings: {why}", check_key(name)),
            Unsaid::Stopped(why) => format!("its plugin's `kind` {why}; mend the plugin, {}", advice()),
        })
    }
}
