//! The checks of a host, assembled from host.toml and the plugins' files; a check that cannot run has the reason.

mod fit;
mod wishes;

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use anyhow::{Result, bail};

use crate::{
    config::{self, Budgets, CONSULTED, Config, Cron, DataDate, Dates, Grants, Skip, Zone, nearest},
    lanes::Pace,
    plugin::{Loaded, Plugin},
};
use fit::fits;
use wishes::Terms;
pub use wishes::is_too_often;

/// A check: a plugin with settings and a schedule, or why it cannot run. It is due in both cases.
pub struct Check {
    /// Its name in host.toml; the plugin's when host.toml does not name it.
    pub name: String,
    /// When it is due.
    pub schedule: Cron,
    /// The time zone of the schedule.
    pub zone: Zone,
    /// The date that its runs judge.
    pub data_date: DataDate,
    /// Its channel and group; `None` only if it cannot run and host.toml grants no channel.
    pub family: Option<Family>,
    /// Its work when it is due.
    pub work: Work,
    /// Whether it waits until its plugin is compiled.
    pub waits: bool,
}

/// The family of a check: alerts of one channel and group are sent together.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Family {
    /// The check's channel.
    pub channel: String,
    /// The plugin's group.
    pub group: String,
}

/// The work of a check when it is due.
pub enum Work {
    /// Its plugin runs.
    Plugin(Box<Ready>),
    /// Checks whether somebody asked the gate of this name.
    Consultation(String),
    /// It cannot run, and why.
    Unable(String),
}

/// What a check needs to run.
pub struct Ready {
    /// The code.
    pub plugin: Arc<Plugin>,
    /// Its grants.
    pub grants: Grants,
    /// Its settings, a JSON object.
    pub(crate) settings: String,
    /// Whether it is about the data of one date, or about now.
    pub dates: Dates,
    /// Its budgets.
    pub(crate) budgets: Budgets,
    /// When it is skipped, if data decides that.
    pub(crate) skip: Option<Skip>,
    /// The lane in which its next run starts.
    pub(crate) pace: Pace,
}

impl Ready {
    /// The same, for other runs than those of the schedule.
    #[must_use]
    pub fn again(&self) -> Self {
        Self {
            plugin: self.plugin.clone(),
            grants: self.grants.clone(),
            settings: self.settings.clone(),
            dates: self.dates,
            budgets: self.budgets.clone(),
            skip: self.skip.clone(),
            pace: Pace::default(),
        }
    }
}

/// The checks of a host: those of host.toml, and one for each plugin that no check names. Sorted by name.
/// An error is a mistake in the text of host.toml alone: whatever comes from a plugin, such as a schema that its settings
/// do not match, makes only its own check unable to run.
pub async fn checks(config: &Config, loaded: &Loaded) -> Result<Vec<Check>> {
    let mut wanted: BTreeMap<&String, config::Check> =
        config.checks.iter().map(|(name, check)| (name, check.clone())).collect();
    let named: HashSet<&String> =
        config.checks.iter().map(|(name, check)| check.plugin.as_ref().unwrap_or(name)).collect();
    let unusable = loaded.unusable.iter().map(|unusable| &unusable.name);
    for plugin in loaded.plugins.keys().chain(unusable).chain(&loaded.compiling).filter(|name| !named.contains(name)) {
        match loaded.plugins.get(plugin).is_some_and(|plugin| plugin.is_only_named()) {
            true => tracing::info!("no check in host.toml has plugin = \"{plugin}\", so that plugin is not used"),
            false => {
                wanted.entry(plugin).or_default();
            }
        }
    }
    // Grants of a plugin that is not loaded are allowed; a nearly right name of host.toml's own is a mistake. The names of
    // files do not count: no plugin's name stops the others.
    let file = config.shown();
    let ungranted = || named.iter().copied().filter(|name| !config.grants.contains_key(*name));
    for plugin in config.grants.keys().filter(|plugin| !named.contains(plugin) && !wanted.contains_key(*plugin)) {
        let near = nearest(plugin, ungranted());
        if !near.is_empty() {
            bail!(
                "{file}: refused: grants.{plugin}: no plugin has this name, neither in [checks] nor among the files{near}"
            );
        }
        let near = nearest(plugin, wanted.keys().copied().filter(|name| !config.grants.contains_key(*name)));
        if !near.is_empty() {
            tracing::warn!("{file}: grants.{plugin}: no plugin has this name{near}");
        }
    }
    check_names(config, &wanted, loaded)?;
    let mut fits = fits(config, &wanted, loaded).await;
    let mut checks = Vec::new();
    for (name, wanted) in wanted {
        let plugin = wanted.plugin.as_ref().unwrap_or(name);
        let found = loaded.plugins.get(plugin).cloned().ok_or_else(|| missing(plugin, loaded));
        let dates = match (&found, fits.remove(name)) {
            (Ok(_), Some(fit)) => fit,
            (Ok(plugin), None) => Err(format!("{}: looking at the settings stopped unexpectedly", plugin.file.name)),
            (Err(_), _) => Ok(Dates::default()),
        };
        let waits = loaded.compiling.contains(plugin);
        let check = Check { waits, ..Check::new(config, name, &wanted, plugin, found, dates) };
        let watch = wanted.expect_consult.clone().map(|schedule| check.consultation(schedule));
        checks.extend(watch);
        checks.push(check);
    }
    checks.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(checks)
}

/// The error for an unknown check, with a suggestion.
pub fn no_such_check<'n>(name: &str, known: impl IntoIterator<Item = &'n str>) -> String {
    format!("there is no check `{name}`{}", nearest(name, known))
}

/// Rejects unknown names of checks, unless a file that cannot be used may have held the check: it stops nobody else.
fn check_names(config: &Config, wanted: &BTreeMap<&String, config::Check>, loaded: &Loaded) -> Result<()> {
    let file = config.shown();
    let depends = wanted.iter().flat_map(|(name, check)| {
        check.depends_on.iter().map(move |other| (config.at("checks", name, "depends_on"), other))
    });
    let calendars = config.calendars.iter().flat_map(|(name, calendar)| {
        calendar.checks.iter().map(move |other| (format!("calendars.{name}.checks"), other))
    });
    let watched = |name: &String| {
        let gate = name.strip_suffix(CONSULTED).and_then(|gate| wanted.get(&gate.to_owned()));
        gate.is_some_and(|gate| gate.expect_consult.is_some())
    };
    for (key, other) in depends.chain(calendars) {
        if !wanted.contains_key(other) && !watched(other) {
            let unknown = no_such_check(other, wanted.keys().map(|name| name.as_str()));
            match loaded.unusable.is_empty() {
                true => bail!("{file}: refused: {key}: {unknown}"),
                false => tracing::warn!("{file}: {key}: {unknown}; a file that cannot be used may hold it"),
            }
        }
    }
    Ok(())
}

fn missing(plugin: &str, loaded: &Loaded) -> String {
    if loaded.compiling.contains(plugin) {
        return "its plugin is still being compiled; the check runs once that is done".to_owned();
    }
    match loaded.unusable.iter().find(|unusable| unusable.name == plugin) {
        Some(unusable) => unusable.reason.clone(),
        None => {
            let near = match nearest(plugin, loaded.plugins.keys()) {
                near if near.is_empty() => "; add".to_owned(),
                near => format!("{near} Add"),
            };
            format!("no file holds the plugin {plugin}{near} it to the command, or remove the check from host.toml")
        }
    }
}

impl Check {
    /// `found` is the plugin named `plugin`, or why it is missing; `dates` is what the check is about, or why its settings are
    /// wrong.
    fn new(
        config: &Config,
        name: &str,
        wanted: &config::Check,
        plugin: &str,
        found: Result<Arc<Plugin>, String>,
        dates: Result<Dates, String>,
    ) -> Self {
        let mut grants = config.grants.get(plugin).cloned().unwrap_or_default();
        let terms = match &found {
            Ok(plugin) => Terms::new(&config.table(name), wanted, &plugin.descriptor, &grants),
            Err(_) => Terms {
                schedule: wanted.schedule.clone(),
                zone: wanted.timezone.clone(),
                channel: wanted.channel.clone(),
                ..Terms::default()
            },
        };
        // Its errors go where its plugin may post.
        let channel = terms.channel.or_else(|| grants.slack.first().cloned());
        grants.slack.extend(wanted.channel.clone().filter(|channel| !grants.slack.contains(channel)));
        let about = dates.as_ref().copied().unwrap_or_default();
        let refused: Vec<String> = dates.err().into_iter().chain(terms.refused).collect();
        let ready = found.and_then(|plugin| match refused.is_empty() {
            false => Err(refused.join("; ")),
            true => Ok(Box::new(Ready {
                settings: serde_json::to_string(&wanted.settings).unwrap_or_default(),
                grants,
                dates: about,
                budgets: config.budgets(&plugin.file.name),
                skip: wanted.skip(),
                plugin,
                pace: Pace::default(),
            })),
        });
        let group = terms.group.unwrap_or_else(|| "plugins".to_owned());
        Self {
            name: name.to_owned(),
            // A check without a schedule is due every hour, and reports why it cannot run.
            schedule: terms.schedule.unwrap_or_else(Cron::hourly),
            zone: terms.zone.unwrap_or_else(|| config.timezone.clone()),
            data_date: wanted.data_date,
            family: channel.map(|channel| Family { channel, group }),
            work: ready.map_or_else(Work::Unable, Work::Plugin),
            waits: false,
        }
    }

    /// The check that watches whether somebody asks this gate.
    fn consultation(&self, schedule: Cron) -> Self {
        Self {
            name: format!("{}{CONSULTED}", self.name),
            schedule,
            zone: self.zone.clone(),
            data_date: self.data_date,
            family: self.family.clone(),
            work: Work::Consultation(self.name.clone()),
            waits: false,
        }
    }

    /// The same check with other work.
    #[must_use]
    pub fn working(&self, work: Work) -> Self {
        Self {
            name: self.name.clone(),
            schedule: self.schedule.clone(),
            zone: self.zone.clone(),
            data_date: self.data_date,
            family: self.family.clone(),
            work,
            waits: self.waits,
        }
    }

    /// The plugin to run, if it can run.
    pub fn plugin(&self) -> Option<&Ready> {
        match &self.work {
            Work::Plugin(ready) => Some(ready),
            Work::Consultation(_) | Work::Unable(_) => None,
        }
    }

    /// Whether it is about the data of one date, or about now.
    pub fn dates(&self) -> Dates {
        self.plugin().map_or(Dates::Dated, |ready| ready.dates)
    }

    /// Why it cannot run, if it cannot.
    pub fn unable(&self) -> Option<&str> {
        match &self.work {
            Work::Unable(reason) => Some(reason),
            Work::Plugin(_) | Work::Consultation(_) => None,
        }
    }
}
