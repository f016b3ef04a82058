//! The checks of a host, assembled from host.toml and the plugins' files; a check that cannot run has the reason.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use anyhow::{Result, bail};

use crate::{
    config::{self, Budgets, Config, Cron, Grants, Zone, nearest},
    contract::Need,
    lanes::Pace,
    plugin::{Loaded, Plugin, check_settings},
};

/// A check: a plugin with settings and a schedule, or why it cannot run. It is due in both cases.
pub struct Check {
    /// Its name in host.toml; the plugin's when host.toml does not name it.
    pub name: String,
    /// When it is due.
    pub schedule: Cron,
    /// The time zone of the schedule.
    pub zone: Zone,
    /// Its channel and group; `None` only if its plugin cannot run and host.toml names no channel.
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
    /// Its budgets.
    pub(crate) budgets: Budgets,
    /// The lane in which its next run starts.
    pub(crate) pace: Pace,
}

/// The checks of a host: those of host.toml, and one for each plugin that no check names. Sorted by name.
/// Settings that do not match their plugin's schema are an error, like every mistake in host.toml.
pub async fn checks(config: &Config, loaded: &Loaded) -> Result<Vec<Check>> {
    let mut wanted: BTreeMap<&String, config::Check> =
        config.checks.iter().map(|(name, check)| (name, check.clone())).collect();
    let named: HashSet<&String> =
        config.checks.iter().map(|(name, check)| check.plugin.as_ref().unwrap_or(name)).collect();
    let unusable = loaded.unusable.iter().map(|unusable| &unusable.name);
    for plugin in loaded.plugins.keys().chain(unusable).chain(&loaded.compiling).filter(|name| !named.contains(name)) {
        wanted.entry(plugin).or_default();
    }
    // Grants of a plugin that is not loaded are allowed; a nearly right name is a mistake.
    let ungranted =
        || named.iter().copied().chain(wanted.keys().copied()).filter(|name| !config.grants.contains_key(*name));
    for plugin in config.grants.keys().filter(|plugin| !named.contains(plugin) && !wanted.contains_key(*plugin)) {
        let near = nearest(plugin, ungranted());
        if !near.is_empty() {
            bail!(
                "host.toml: refused: grants.{plugin}: no plugin has this name, neither in [checks] nor among the files{near}"
            );
        }
    }
    check_names(config, &wanted)?;
    let mut checks = Vec::new();
    let mut complaints = Vec::new();
    // Try a costly schema once, however many checks its plugin has.
    let mut unusable: HashMap<String, String> = HashMap::new();
    for (name, wanted) in wanted {
        let plugin = wanted.plugin.as_ref().unwrap_or(name);
        let mut found = loaded.plugins.get(plugin).cloned().ok_or_else(|| missing(plugin, loaded));
        if let Ok(plugin) = &found {
            let settings = serde_json::to_value(&wanted.settings)?;
            let held = match unusable.get(&plugin.file.name) {
                Some(before) => Err(before.clone()),
                None => {
                    check_settings(&plugin.file.name, &plugin.descriptor.settings, &settings).await.map_err(|error| {
                        let error = format!("{}: {error:#}", plugin.file.path.display());
                        unusable.insert(plugin.file.name.clone(), error.clone());
                        error
                    })
                }
            };
            match held {
                Ok(wrong) => complaints.extend(wrong.iter().map(|wrong| format!("checks.{name}.settings: {wrong}"))),
                Err(error) => found = Err(error),
            }
        }
        let waits = loaded.compiling.contains(plugin);
        let check = Check { waits, ..Check::new(config, name, &wanted, plugin, found) };
        let watch = wanted.expect_consult.clone().map(|schedule| check.consultation(schedule));
        checks.extend(watch);
        checks.push(check);
    }
    checks.sort_by(|one, other| one.name.cmp(&other.name));
    match complaints.is_empty() {
        true => Ok(checks),
        false => bail!("host.toml: refused: {}", complaints.join("; ")),
    }
}

/// The error for an unknown check, with a suggestion.
pub fn no_such_check<'n>(name: &str, known: impl IntoIterator<Item = &'n str>) -> String {
    format!("there is no check `{name}`{}", nearest(name, known))
}

/// Rejects unknown names of checks, and dependency cycles.
fn check_names(config: &Config, wanted: &BTreeMap<&String, config::Check>) -> Result<()> {
    let depends = wanted.iter().flat_map(|(name, check)| {
        check.depends_on.iter().map(move |other| (format!("checks.{name}.depends_on"), other))
    });
    let calendars = config.calendars.iter().flat_map(|(name, calendar)| {
        calendar.checks.iter().map(move |other| (format!("calendars.{name}.checks"), other))
    });
    for (key, other) in depends.chain(calendars) {
        if !wanted.contains_key(other) {
            bail!("host.toml: refused: {key}: {}", no_such_check(other, wanted.keys().map(|name| name.as_str())));
        }
    }
    let mut done = HashSet::new();
    for name in wanted.keys() {
        if let Some(circle) = circle(name, wanted, &mut Vec::new(), &mut done) {
            bail!("host.toml: refused: checks depend on each other in a circle: {}", circle.join(" → "));
        }
    }
    Ok(())
}

/// Follows dependencies from the end of a path; returns the cycle if there is one. `done` are names that lead to no
/// cycle.
fn circle<'w>(
    name: &'w str,
    wanted: &'w BTreeMap<&String, config::Check>,
    path: &mut Vec<&'w str>,
    done: &mut HashSet<&'w str>,
) -> Option<Vec<&'w str>> {
    if done.contains(name) {
        return None;
    }
    let start = path.iter().position(|on_path| *on_path == name);
    path.push(name);
    if let Some(start) = start {
        return Some(path.split_off(start));
    }
    let upstream = wanted.iter().find(|(check, _)| check.as_str() == name).map(|(_, check)| &check.depends_on);
    let found = upstream.into_iter().flatten().find_map(|other| circle(other, wanted, path, done));
    path.pop();
    done.insert(name);
    found
}

fn missing(plugin: &str, loaded: &Loaded) -> String {
    if loaded.compiling.contains(plugin) {
        return "its plugin is still being compiled; the check runs once that is done".to_owned();
    }
    match loaded.unusable.iter().find(|unusable| unusable.name == plugin) {
        Some(unusable) => unusable.reason.clone(),
        None => {
            let near = nearest(plugin, loaded.plugins.keys());
            format!(
                "no file holds the plugin {plugin}{near}; add it to the command, or remove the check from host.toml"
            )
        }
    }
}

impl Check {
    /// `found` is the plugin named `plugin`, or why it is missing.
    fn new(
        config: &Config,
        name: &str,
        wanted: &config::Check,
        plugin: &str,
        found: Result<Arc<Plugin>, String>,
    ) -> Self {
        let descriptor = found.as_ref().ok().map(|plugin| plugin.descriptor.clone());
        let descriptor = descriptor.as_ref();
        let grants = config.grants.get(plugin).cloned().unwrap_or_default();
        // If a plugin's own schedule is invalid, the check is due every hour and reports that.
        let own = descriptor.map(|descriptor| {
            let zone = descriptor.schedule.timezone.as_deref().map(Zone::new).transpose();
            Ok::<_, anyhow::Error>((Cron::new(&descriptor.schedule.cron)?, zone?))
        });
        let wrong = own.as_ref().and_then(|own| own.as_ref().err().map(|error| format!("its own schedule: {error:#}")));
        let (own_schedule, own_zone) = own.and_then(Result::ok).unzip();
        let channel = wanted
            .channel
            .clone()
            .or_else(|| descriptor.map(|descriptor| descriptor.channel.clone()))
            .or_else(|| grants.slack.first().cloned());
        let group = descriptor.map_or("plugins", |descriptor| &descriptor.group).to_owned();
        let ready = found.and_then(|plugin| {
            let posts = plugin.descriptor.needs.iter().any(|need| matches!(need, Need::Channel(_)));
            match (wrong, channel.as_ref().filter(|channel| posts && !grants.slack.contains(channel))) {
                (Some(wrong), _) => Err(wrong),
                (None, Some(channel)) => Err(format!(
                    "it posts to {channel}, which is not granted; add {channel:?} to grants.{}.slack in host.toml",
                    plugin.file.name
                )),
                (None, None) => Ok(Box::new(Ready {
                    settings: serde_json::to_string(&wanted.settings).unwrap_or_default(),
                    grants,
                    budgets: config.budgets(&plugin.file.name),
                    plugin,
                    pace: Pace::default(),
                })),
            }
        });
        let zone = wanted.timezone.clone().or(own_zone.flatten()).unwrap_or_else(|| config.timezone.clone());
        Self {
            name: name.to_owned(),
            schedule: wanted.schedule.clone().or(own_schedule).unwrap_or_else(Cron::hourly),
            zone,
            family: channel.map(|channel| Family { channel, group }),
            work: ready.map_or_else(Work::Unable, Work::Plugin),
            waits: false,
        }
    }

    /// The check that watches whether somebody asks this gate.
    fn consultation(&self, schedule: Cron) -> Self {
        Self {
            name: format!("{}.consulted", self.name),
            schedule,
            zone: self.zone.clone(),
            family: self.family.clone(),
            work: Work::Consultation(self.name.clone()),
            waits: false,
        }
    }

    /// The plugin to run, if it can run.
    pub fn plugin(&self) -> Option<&Ready> {
        match &self.work {
            Work::Plugin(ready) => Some(ready),
            Work::Consultation(_) | Work::Unable(_) => None,
        }
    }

    /// Why it cannot run, if it cannot.
    pub fn unable(&self) -> Option<&str> {
        match &self.work {
            Work::Unable(reason) => Some(reason),
            Work::Plugin(_) | Work::Consultation(_) => None,
        }
    }
}
