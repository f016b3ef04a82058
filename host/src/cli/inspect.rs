//! `host inspect`: what a plugin is, what it asks for and what it was granted.

use std::{fmt::Write, path::PathBuf, sync::Arc};

use anyhow::{Context, Result};
use clap::Args;
use serde_json::{Value, json};

use super::{
    flags::{FileFlags, Format, OutputFlag},
    table::one_line,
};
use crate::{
    config::{Config, Grants},
    contract::{Descriptor, Need},
    package::{File, Lock},
    plugin::{self, Cache, Plugin},
    sandbox::Sandboxes,
};

#[derive(Debug, Args)]
#[command(after_help = "Example:
  host inspect plugins/phase2-raw.wasm

The plugin only describes itself, in a sandbox without access to anything.
Its check does not run.")]
pub(super) struct Inspect {
    /// The plugin file
    #[arg(value_name = "PLUGIN.wasm")]
    plugin: PathBuf,
    #[command(flatten)]
    files: FileFlags,
    #[command(flatten)]
    output: OutputFlag,
}

/// A plugin file with what host.toml and the lock file say about it.
struct Inspected {
    file: File,
    plugin: Plugin,
    /// What the plugin was granted; none without a configuration.
    grants: Option<Grants>,
    /// `pinned`, `not pinned`, …
    pin: String,
}

/// A need, and its grant.
struct Asked {
    /// `query dataset nba_raw`
    words: String,
    /// The key of the grant.
    key: &'static str,
    /// Whether it is granted; not known without a configuration.
    granted: Option<bool>,
    /// The granted views of a dataset that is not granted as a whole.
    views: Vec<String>,
}

impl Inspect {
    pub(super) fn execute(self) -> Result<u8> {
        let path = self.files.config();
        let config = match path.exists() || self.files.config_is_named() {
            true => Some(Config::load(path)?),
            false => None,
        };
        let lock = Lock::read(&self.files.lock())?;
        let file = File::read(&self.plugin).map_err(|(_, error)| error)?;
        let settings = config.clone().unwrap_or_default();
        let budgets = settings.budgets(&file.name);
        let sandboxes = Sandboxes::new(&settings);
        let ask = plugin::one(file.clone(), &sandboxes, Arc::new(Cache::open()), &budgets);
        let plugin = super::runtime()?.block_on(ask)?;
        let pin = match lock.as_ref().map(|lock| (lock, lock.pin(&file.name))) {
            None => "nothing is pinned".to_owned(),
            Some((lock, Some(pin))) if pin.digest == file.digest => format!("yes, in {}", lock.path().display()),
            Some((lock, Some(pin))) => {
                format!("no: {} {} is, in {}", pin.version, pin.digest, lock.path().display())
            }
            Some((lock, None)) => format!("no, not in {}", lock.path().display()),
        };
        let grants = config.map(|config| config.grants.get(&file.name).cloned().unwrap_or_default());
        let inspected = Inspected { file, plugin, grants, pin };
        super::print(&match self.output.output {
            Format::Table => inspected.text()?,
            Format::Json => format!("{:#}\n", inspected.json()?),
        })?;
        Ok(0)
    }
}

/// Everything that a plugin asks for: its needs, and the channel of its alerts.
pub(super) fn needs(descriptor: &Descriptor) -> Vec<Need> {
    let channel = Need::Channel(descriptor.channel.clone());
    let is_new = !descriptor.needs.iter().any(|asked| need(asked) == need(&channel));
    descriptor.needs.iter().cloned().chain(is_new.then_some(channel)).collect()
}

/// A need in words, the key of its grant, and the value that the grant would hold.
pub(super) fn need(need: &Need) -> (String, &'static str, Option<&str>) {
    match need {
        Need::Dataset(name) => (format!("query dataset {name}"), "warehouse", Some(name)),
        Need::Repository => ("look up the history of a repository".to_owned(), "git", None),
        Need::Deployments => ("look up deployments".to_owned(), "deployments", None),
        Need::Channel(name) => (format!("post to {name}"), "slack", Some(name)),
    }
}

/// Each setting: its name, its default as in host.toml, and its meaning.
pub(super) fn settings(schema: &str) -> Result<Vec<(String, String, String)>> {
    let schema: Value = serde_json::from_str(schema).context("the settings' schema")?;
    let properties = schema.get("properties").and_then(Value::as_object).cloned().unwrap_or_default();
    let one = |(name, property): (String, Value)| {
        let default = property.get("default").map(|default| match toml::Value::try_from(default) {
            Ok(default) => default.to_string(),
            Err(_) => default.to_string(),
        });
        let meaning = property.get("description").and_then(Value::as_str).unwrap_or_default();
        (name, default.unwrap_or_default(), one_line(meaning))
    };
    Ok(properties.into_iter().map(one).collect())
}

impl Inspected {
    fn needs(&self) -> Vec<Asked> {
        let no_grants = Grants::default();
        let asked = |of: &Need| {
            let (words, key, name) = need(of);
            let grants = self.grants.as_ref();
            let list = |kind: &str| {
                let lists = grants.unwrap_or(&no_grants).lists();
                lists.into_iter().find(|(key, _)| *key == kind).map(|(_, list)| list.clone()).unwrap_or_default()
            };
            let whole = name.map_or(!list(key).is_empty(), |name| list(key).iter().any(|granted| granted == name));
            let mut views = if key == "warehouse" && !whole { list("views") } else { Vec::new() };
            views.retain(|view| view.split_once('.').is_some_and(|(dataset, _)| Some(dataset) == name));
            Asked { words, key, granted: grants.map(|_| whole || !views.is_empty()), views }
        };
        needs(&self.plugin.descriptor).iter().map(asked).collect()
    }

    fn text(&self) -> Result<String> {
        let (file, descriptor) = (&self.file, &self.plugin.descriptor);
        let mut text = format!("{} {}\n{}\n\n", file.name, file.version, one_line(&descriptor.summary));
        let zone = descriptor.schedule.timezone.as_deref().unwrap_or("the pipeline's time zone");
        let facts = [
            ("file", file.path.display().to_string()),
            ("size", format!("{:.1} KiB", file.bytes.len() as f64 / 1024.0)),
            ("digest", file.digest.to_string()),
            ("pinned", self.pin.clone()),
            ("api", format!("pipeline:check {}", file.api)),
            ("schedule", format!("{} ({})", one_line(&descriptor.schedule.cron), one_line(zone))),
            ("channel", one_line(&descriptor.channel)),
            ("group", one_line(&descriptor.group)),
            ("imports", file.imports.iter().map(|name| one_line(name)).collect::<Vec<_>>().join("\n          ")),
            ("exports", file.exports.iter().map(|name| one_line(name)).collect::<Vec<_>>().join("\n          ")),
        ];
        for (name, fact) in facts {
            let _ = writeln!(text, "{name:8}  {fact}");
        }
        let _ = writeln!(text, "\nAsks for");
        for Asked { words, key, granted, views } in self.needs() {
            let answer = match granted {
                Some(true) if !views.is_empty() => format!("granted: only {}", views.join(", ")),
                Some(true) => "granted".to_owned(),
                Some(false) => format!("not granted: see grants.{}.{key} in host.toml", file.name),
                None => "no host.toml here".to_owned(),
            };
            let _ = writeln!(text, "  {:40}  {answer}", one_line(&words));
        }
        let _ = writeln!(text, "\nSettings and their defaults");
        for (name, default, meaning) in settings(&descriptor.settings)? {
            let _ = writeln!(text, "  {} = {}\n      {meaning}", one_line(&name), one_line(&default));
        }
        Ok(text)
    }

    fn json(&self) -> Result<Value> {
        let (file, descriptor) = (&self.file, &self.plugin.descriptor);
        let needs = self.needs().into_iter().map(|Asked { words, key, granted, views }| {
            json!({ "need": words, "grant": format!("grants.{}.{key}", file.name), "granted": granted, "views": views })
        });
        let settings: Value = serde_json::from_str(&descriptor.settings)?;
        Ok(json!({
            "name": file.name,
            "version": file.version,
            "digest": file.digest,
            "api": file.api,
            "size": file.bytes.len(),
            "pinned": self.pin,
            "summary": descriptor.summary,
            "schedule": { "cron": descriptor.schedule.cron, "timezone": descriptor.schedule.timezone },
            "channel": descriptor.channel,
            "group": descriptor.group,
            "imports": file.imports,
            "exports": file.exports,
            "needs": needs.collect::<Vec<_>>(),
            "settings": settings,
            "runbook": descriptor.runbook,
        }))
    }
}
