//! `host init`: a host.toml with what plugins ask for, to be reviewed.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
    path::PathBuf,
    sync::Arc,
};

use anyhow::{Context, Result, bail};
use clap::Args;

use super::{
    inspect::{need, settings},
    table::one_line,
};
use crate::{
    config::{Budgets, Config},
    plugin::{self, Loaded, Plugin},
    sandbox::Sandboxes,
};

#[derive(Debug, Args)]
#[command(after_help = "Example:
  host init plugins/*.wasm

Each grant is what the plugin asked for: read it before you run. A file that is there stays as it is.")]
pub(super) struct Init {
    /// Plugin components.
    #[arg(required = true, value_name = "PLUGIN.wasm")]
    plugins: Vec<PathBuf>,
    /// The file to write; `-` for standard output.
    #[arg(long, value_name = "FILE", default_value = "host.toml")]
    config: PathBuf,
}

impl Init {
    pub(super) fn execute(self) -> Result<u8> {
        let defaults = Config::default();
        let sandboxes = Arc::new(Sandboxes::new(&defaults));
        let nothing = Loaded::default();
        let load = plugin::load(&self.plugins, None, &sandboxes, &defaults, &nothing, |_| {});
        let loaded = super::runtime()?.block_on(load);
        if !loaded.unusable.is_empty() {
            let reasons: Vec<&str> = loaded.unusable.iter().map(|unusable| unusable.reason.as_str()).collect();
            bail!("{}", reasons.join("\n"));
        }
        let text = written(&loaded.plugins)?;
        Config::parse(&text).context("what was written cannot be read")?;
        if self.config == *"-" {
            super::print(&text)?;
            return Ok(0);
        }
        let mut options = std::fs::OpenOptions::new();
        let mut file = options.write(true).create_new(true).open(&self.config).with_context(|| {
            format!("{}: not written; `--config -` writes to standard output", self.config.display())
        })?;
        std::io::Write::write_all(&mut file, text.as_bytes())?;
        eprintln!(
            "{}: {} plugins with what they ask for; review the grants, set the paths, then `host run --once`",
            self.config.display(),
            loaded.plugins.len()
        );
        Ok(0)
    }
}

/// One string as TOML.
fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

fn written(plugins: &BTreeMap<String, Arc<Plugin>>) -> Result<String> {
    let asks: BTreeSet<&str> =
        plugins.values().flat_map(|plugin| &plugin.descriptor.needs).map(|asked| need(asked).1).collect();
    let mut text = "# What the host watches, and what each plugin may do. Paths start from this file's directory.

# Data dates are dates in this time zone; \"yesterday\" is the day before a run, here.
timezone = \"America/New_York\"
"
    .to_owned();
    if asks.contains("warehouse") {
        text += "
# Where queries go. Each file in the directory is a dataset: nba_raw.db is `nba_raw`.
[warehouse]
kind = \"sqlite\"
path = \"warehouse\"
# project = \"my-project\"
";
    }
    if asks.contains("git") {
        text += "
# The code, to be held against what is deployed.
[git.pipeline]
path = \"repository\"
branch = \"main\"
";
    }
    if asks.contains("deployments") {
        text += "
# What is deployed, written by whoever deploys.
[deployments]
kind = \"file\"
path = \"deployments.json\"
";
    }
    if asks.contains("slack") {
        text += "
# \"console\" shows messages instead of sending them. With \"webhook\", the default, each channel's webhook is read from the
# environment: SLACK_WEBHOOK_URL_CANARY_ALERTS for #canary-alerts, and so on.
[slack]
deliver = \"console\"
";
    }
    text += "\n# What bounds each run; one plugin's own go under [grants.NAME.budgets].\n[budgets]\n";
    for (key, value, meaning) in Budgets::default().list() {
        let value = if value.parse::<u32>().is_ok() { value } else { quoted(&value) };
        let _ = writeln!(text, "# {meaning}\n# {key} = {value}");
    }
    for (name, plugin) in plugins {
        let descriptor = &plugin.descriptor;
        let _ = writeln!(text, "\n# {}", one_line(&descriptor.summary));
        let _ = writeln!(text, "[checks.{name}]\n# schedule = {}", quoted(&one_line(&descriptor.schedule.cron)));
        if let Some(zone) = &descriptor.schedule.timezone {
            let _ = writeln!(text, "# timezone = {}", quoted(&one_line(zone)));
        }
        let _ = writeln!(text, "# channel = {}", quoted(&one_line(&descriptor.channel)));
        let _ = writeln!(text, "# [checks.{name}.settings]");
        for (setting, default, meaning) in settings(&descriptor.settings)? {
            let _ = writeln!(text, "# {meaning}\n# {} = {}", one_line(&setting), one_line(&default));
        }
        let _ = writeln!(
            text,
            "\n# What {name} {} asks for. Everything else is denied.\n[grants.{name}]",
            plugin.file.version
        );
        let mut lists: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for asked in &descriptor.needs {
            let (words, key, value) = need(asked);
            let value = value.map_or_else(|| quoted(if key == "git" { "pipeline" } else { "*" }), quoted);
            let _ = writeln!(text, "# to {}", one_line(&words));
            lists.entry(key).or_default().push(value);
        }
        for (key, values) in lists {
            let _ = writeln!(text, "{key} = [{}]", values.join(", "));
        }
    }
    Ok(text)
}
