//! `host inspect`: what a plugin is, what it asks for, and what it was granted.

use std::{fmt::Write, path::PathBuf, sync::Arc};

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::table::one_line;
use crate::{
    config::{Config, Grants},
    contract::Need,
    package::{File, Lock},
    plugin::{self, Cache, Plugin},
    sandbox::Sandboxes,
};

#[derive(Debug, Args)]
#[command(after_help = "Example:
  host inspect plugins/phase2-raw.wasm

The plugin is asked who it is, in a sandbox where it can reach nothing; its check is not run.")]
pub(super) struct Inspect {
    /// A plugin component.
    #[arg(value_name = "PLUGIN.wasm")]
    plugin: PathBuf,
    /// What it was granted is read here, if there is such a file.
    #[arg(long, value_name = "FILE", default_value = "host.toml")]
    config: PathBuf,
    /// Whether it is pinned is read here; plugins.lock beside the configuration unless it is named.
    #[arg(long, value_name = "FILE")]
    lock: Option<PathBuf>,
    /// How it is written to standard output.
    #[arg(long, value_enum, default_value_t = Form::Text)]
    output: Form,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Form {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// What is known of a file.
struct Inspected {
    file: File,
    plugin: Plugin,
    /// With a configuration: what the plugin was granted.
    grants: Option<Grants>,
    /// `pinned`, `not pinned`, …
    pin: String,
}

impl Inspect {
    pub(super) fn execute(self) -> Result<u8> {
        let config = match self.config.exists() {
            true => Some(Config::load(&self.config)?),
            false if self.config == *"host.toml" => None,
            false => bail!("{}: there is no such file", self.config.display()),
        };
        let lock = Lock::read(&super::lock_path(self.lock.as_ref(), &self.config))?;
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
        super::print(&match self.output {
            Form::Text => inspected.text()?,
            Form::Json => format!("{:#}\n", inspected.json()?),
        })?;
        Ok(0)
    }
}

/// A need in words, the key of the grant, and what would be in it.
pub(super) fn need(need: &Need) -> (String, &'static str, Option<&str>) {
    match need {
        Need::Dataset(name) => (format!("query dataset {name}"), "warehouse", Some(name)),
        Need::Repository => ("look up the history of a repository".to_owned(), "git", None),
        Need::Deployments => ("look up deployments".to_owned(), "deployments", None),
        Need::Channel(name) => (format!("post to {name}"), "slack", Some(name)),
    }
}

/// A setting: its name, its default as host.toml writes it, and what it means.
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
    /// Each need, and whether it is granted; none without a configuration.
    fn needs(&self) -> Vec<(String, &'static str, Option<bool>)> {
        let granted = |key: &str, name: Option<&str>| {
            let grants = self.grants.as_ref()?;
            let list = match key {
                "warehouse" => &grants.warehouse,
                "git" => &grants.git,
                "deployments" => &grants.deployments,
                _ => &grants.slack,
            };
            Some(name.map_or(!list.is_empty(), |name| list.iter().any(|granted| granted == name)))
        };
        let needs = self.plugin.descriptor.needs.iter().map(need);
        needs.map(|(words, key, name)| (words, key, granted(key, name))).collect()
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
        let _ = writeln!(text, "\nIt asks for");
        for (words, key, granted) in self.needs() {
            let answer = match granted {
                Some(true) => "granted".to_owned(),
                Some(false) => format!("not granted: see grants.{}.{key} in host.toml", file.name),
                None => "no host.toml here to grant it".to_owned(),
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
        let needs = self.needs().into_iter().map(|(words, key, granted)| {
            json!({ "need": words, "grant": format!("grants.{}.{key}", file.name), "granted": granted })
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
