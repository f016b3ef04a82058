//! Whether the settings of each check fit its plugin, and what it is about: the data of a date, or now. Plugins are asked
//! side by side; one that is slow or wrong stops nobody else.

use std::{
    collections::{BTreeMap, HashMap},
    num::NonZero,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::task::JoinSet;

use crate::{
    config::{self, Budgets, Config, Dates, check_key},
    plugin::{Loaded, Plugin, Unsaid},
    text::shortened,
};

/// How long one plugin may take to say what all of its checks are about. One takes 0.1 ms, one in Python a few
/// milliseconds.
const PATIENCE: Duration = Duration::from_secs(10);
/// The most bytes of the mistakes in one check's settings, which a schema may word as it likes.
const MISTAKES: usize = 2000;

/// What each check is about, or why it cannot run, by its name.
pub(super) type Fits = HashMap<String, Result<Dates, String>>;

/// Asks the plugins that are loaded about their checks.
pub(super) async fn fits(config: &Config, wanted: &BTreeMap<&String, config::Check>, loaded: &Loaded) -> Fits {
    let mut asked: BTreeMap<&String, Asked> = BTreeMap::new();
    for (name, check) in wanted {
        let plugin = check.plugin.as_ref().unwrap_or(name);
        let Some(found) = loaded.plugins.get(plugin) else { continue };
        let asked = asked.entry(plugin).or_insert_with(|| Asked::new(found.clone(), config.budgets(plugin)));
        let place = format!("{}: {}", config.shown(), config.at("checks", name, "settings"));
        asked.checks.push((place, (*name).clone(), check.clone()));
    }
    // A few at a time: they share the processors, and each may need a process for its schema.
    let at_once = std::thread::available_parallelism().map_or(1, NonZero::get).max(2);
    let mut asked = asked.into_values();
    let mut asking = JoinSet::new();
    for asked in asked.by_ref().take(at_once) {
        asking.spawn(asked.answers());
    }
    let mut fits = Fits::new();
    while let Some(answers) = asking.join_next().await {
        fits.extend(answers.unwrap_or_default());
        asked.next().map(|asked| asking.spawn(asked.answers()));
    }
    fits
}

/// A plugin and its checks: where the settings of each are, its name, and what host.toml says of it.
struct Asked {
    plugin: Arc<Plugin>,
    budgets: Budgets,
    checks: Vec<(String, String, config::Check)>,
    /// Why its schema cannot be used. A costly one is tried once, however many checks there are.
    unusable: Option<String>,
    /// How long it took to say what its checks are about.
    spent: Duration,
}

impl Asked {
    fn new(plugin: Arc<Plugin>, budgets: Budgets) -> Self {
        Self { plugin, budgets, checks: Vec::new(), unusable: None, spent: Duration::ZERO }
    }

    async fn answers(mut self) -> Fits {
        let mut fits = Fits::new();
        for (place, name, check) in std::mem::take(&mut self.checks) {
            let fit = match self.misfit(&place, &check).await {
                None => self.dates(&place, &name, &check).await,
                Some(why) => Err(why),
            };
            fits.insert(name, fit);
        }
        fits
    }

    /// Why a check's settings do not match the schema, if so.
    async fn misfit(&mut self, place: &str, check: &config::Check) -> Option<String> {
        if self.unusable.is_some() {
            return self.unusable.clone();
        }
        if let Some(wrong) = check.settings.iter().find_map(|(key, value)| not_json(key, value)) {
            return Some(format!("{place}: {wrong}"));
        }
        let settings = match serde_json::to_value(&check.settings) {
            Ok(settings) => settings,
            Err(error) => return Some(format!("{place}: {error}")),
        };
        match self.plugin.mistakes(&settings).await {
            Ok(mistakes) if mistakes.is_empty() => None,
            Ok(mistakes) => Some(format!("{place}: {}", shortened(&mistakes.join("; "), MISTAKES))),
            Err(error) => {
                self.unusable = Some(format!("{}: {error:#}", self.plugin.file.path.display()));
                self.unusable.clone()
            }
        }
    }

    /// What a check is about: host.toml says it, else its plugin.
    async fn dates(&mut self, place: &str, name: &str, check: &config::Check) -> Result<Dates, String> {
        if let Some(dates) = check.dates {
            return Ok(dates);
        }
        let advice = || format!("or add `dates = \"dated\"` or `\"now\"` to [checks.{}] in host.toml", check_key(name));
        if self.spent > PATIENCE {
            let most = PATIENCE.as_secs();
            return Err(format!(
                "its plugin takes more than {most} s to say whether its checks are about a date; mend the plugin, {}",
                advice()
            ));
        }
        let settings = serde_json::to_string(&check.settings).unwrap_or_default();
        let began = Instant::now();
        let said = self.plugin.dates(settings, &self.budgets).await;
        self.spent += began.elapsed();
        said.map_err(|error| match error {
            Unsaid::Refused(why) => format!("{place}: {why}"),
            Unsaid::Stopped(why) => format!("its plugin's `kind` {why}; mend the plugin, {}", advice()),
        })
    }
}

/// The first value within a setting that JSON cannot hold: `nan` or `inf`, or a date or time without quotes.
fn not_json(key: &str, value: &toml::Value) -> Option<String> {
    match value {
        toml::Value::Float(number) if !number.is_finite() => {
            Some(format!("{key}: {number} is not a number that a plugin can be given"))
        }
        toml::Value::Datetime(time) => Some(format!("{key}: {time} has no quotes; write \"{time}\"")),
        toml::Value::Table(table) => table.iter().find_map(|(name, value)| not_json(&format!("{key}.{name}"), value)),
        toml::Value::Array(list) => {
            list.iter().enumerate().find_map(|(at, value)| not_json(&format!("{key}.{at}"), value))
        }
        _ => None,
    }
}
