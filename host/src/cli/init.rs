//! `host init`: a host.toml that grants what plugins ask for, to be reviewed. Without a plugin it makes a first host.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context, Result, bail};
use clap::Args;

use super::{
    flags::ConfigFlag,
    inspect::{need, needs, settings},
    pin::counted,
    starter,
    table::one_line,
};
use crate::{
    check::is_too_often,
    config::{Budgets, Config, channel_name},
    package::{LOCK, Lock, plugins_in},
    plugin::{self, Loaded, Plugin},
    sandbox::Sandboxes,
    service::Sources,
    template::Language,
    text::{note, quoted_path},
};

/// The directory of the embedded warehouse.
const WAREHOUSE: &str = "warehouse";
/// The grants that need a path: the key, the path, and the path as people write it.
const OPTIONAL: [(&str, &str, &str); 2] =
    [("git", REPOSITORY, "repository/"), ("deployments", DEPLOYMENTS, DEPLOYMENTS)];
const REPOSITORY: &str = "repository";
const DEPLOYMENTS: &str = "deployments.json";
/// The most plugins that the next command names one by one.
const NAMED: usize = 3;

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  host init                       for the pinned plugins, or for plugins/; where
                                  there is none, a first host with a check
  host init --lang python         the same, with the check in Python, not Rust
  host init plugins/*.wasm        for these plugins
  host init --config - new.wasm   print host.toml, to copy from

Each plugin is granted what it asks for: review the grants before you run. An
existing host.toml is never changed.")]
pub(super) struct Init {
    /// Plugin files, or directories of them [default: pinned plugins, or plugins/]
    #[arg(value_name = "PLUGIN.wasm")]
    plugins: Vec<PathBuf>,
    /// The language of the first check
    #[arg(long = "lang", value_enum, value_name = "LANGUAGE", default_value_t = Language::Rust)]
    #[arg(conflicts_with = "plugins")]
    language: Language,
    #[command(flatten)]
    config: ConfigFlag,
}

/// The plugins to write a configuration for.
struct Found {
    files: Vec<PathBuf>,
    /// The same plugins as arguments of `host run`.
    arguments: String,
}

impl Init {
    pub(super) fn execute(self) -> Result<u8> {
        let path = self.config.path();
        let print = path == "-";
        // Not `exists`, which takes a link to nowhere for nothing.
        if !print && path.symlink_metadata().is_ok() {
            bail!(
                "{} already exists and was not changed; `host init --config -{}` prints what the plugins need",
                path.display(),
                arguments(&self.plugins)
            );
        }
        let found = match self.found()? {
            Some(found) => found,
            None if self.config.is_named() => {
                bail!("there is no plugin to write a configuration for; name plugin files")
            }
            None => {
                super::print(&starter::make(path, self.language)?)?;
                return Ok(0);
            }
        };
        let directory = path.parent().unwrap_or(Path::new(""));
        let plugins = load(&found.files)?;
        let text = written(&plugins, directory)?;
        let config = Config::parse(&text).context("the new host.toml is not valid")?;
        if print {
            super::print(&text)?;
            return Ok(0);
        }
        super::create(path, &text)?;
        let warehouse = directory.join(WAREHOUSE);
        let empty = config.warehouse.is_some() && !warehouse.exists();
        if empty {
            fs::create_dir_all(&warehouse).with_context(|| warehouse.display().to_string())?;
        }
        let named = if self.config.is_named() { format!(" --config {}", quoted_path(path)) } else { String::new() };
        let mut next = format!("  host run --once{named}{}\n", found.arguments);
        if empty {
            next += &format!("{}/ is empty: put each dataset there as NAME.db.\n", warehouse.display());
        }
        for (name, _) in plugins.iter().filter(|(_, plugin)| plugin.is_only_named()) {
            next += &format!("{name} checks nothing yet: {} shows how to give it a check.\n", path.display());
        }
        let left_out: Vec<String> = left_out(&plugins, directory).into_iter().chain(no_channels(&plugins)).collect();
        let granted = match left_out.is_empty() {
            true => ", each granted what it asks for. ".to_owned(),
            false => format!(".\n{}.\nEverything else they ask for is granted. ", left_out.join(".\n")),
        };
        note!("{}: {}{granted}Review the grants, then:\n{}", path.display(), counted(plugins.len()), next.trim_end());
        Ok(0)
    }

    /// The named plugins; or else the pinned ones; or else those in plugins/, if there are any.
    fn found(&self) -> Result<Option<Found>> {
        let files = |plugins: &[PathBuf]| {
            let config = self.config.path().to_owned();
            let lock = config.with_file_name(LOCK);
            Sources { config, lock, locked: false, plugins: plugins.to_vec(), checks: Vec::new() }.files()
        };
        if !self.plugins.is_empty() {
            let files = files(&self.plugins);
            if files.is_empty() {
                let named: Vec<String> = self.plugins.iter().map(|path| path.display().to_string()).collect();
                bail!("there is no plugin in {}; `host new --help` shows how to make one", named.join(", "));
            }
            let arguments = arguments(&self.plugins);
            return Ok(Some(Found { files, arguments }));
        }
        // A lock file that cannot be read is not an empty one.
        Lock::read(&self.config.path().with_file_name(LOCK))?;
        // The same as `host run` uses without arguments.
        let files = files(&[]);
        Ok((!files.is_empty()).then(|| Found { files, arguments: String::new() }))
    }
}

/// Loads every plugin; the error names each one that cannot be loaded.
fn load(files: &[PathBuf]) -> Result<BTreeMap<String, Arc<Plugin>>> {
    let defaults = Config::default();
    let sandboxes = Arc::new(Sandboxes::new(&defaults));
    let nothing = Loaded::default();
    let load = plugin::load(files, None, &sandboxes, &defaults, &nothing, |_| {});
    let loaded = super::runtime()?.block_on(load);
    if !loaded.unusable.is_empty() {
        let reasons: Vec<&str> = loaded.unusable.iter().map(|unusable| unusable.reason.as_str()).collect();
        bail!("{}", reasons.join("\n"));
    }
    Ok(loaded.plugins)
}

/// Plugins as the arguments of a command: the directory instead of many files, if it has no other plugin.
fn arguments(plugins: &[PathBuf]) -> String {
    let parents: BTreeSet<&Path> = plugins.iter().filter_map(|plugin| plugin.parent()).collect();
    match (parents.first(), parents.len()) {
        (Some(parent), 1) if plugins.len() > NAMED && !parent.as_os_str().is_empty() && are_all(plugins, parent) => {
            format!(" {}", quoted_path(parent))
        }
        _ => plugins.iter().map(|plugin| format!(" {}", quoted_path(plugin))).collect(),
    }
}

/// Whether files are all plugins of a directory.
fn are_all(files: &[PathBuf], directory: &Path) -> bool {
    let named: BTreeSet<&PathBuf> = files.iter().collect();
    named == plugins_in(directory).unwrap_or_default().iter().collect()
}

/// The grants that `written` comments out, for people.
fn left_out(plugins: &BTreeMap<String, Arc<Plugin>>, directory: &Path) -> Option<String> {
    let asks = |plugin: &Plugin, key: &str| needs(&plugin.descriptor).iter().any(|asked| need(asked).1 == key);
    let absent = OPTIONAL
        .into_iter()
        .filter(|(key, file, _)| !directory.join(file).exists() && plugins.values().any(|plugin| asks(plugin, key)));
    let (keys, paths): (Vec<&str>, Vec<&str>) = absent.map(|(key, _, shown)| (key, shown)).unzip();
    let verb = match paths.len() {
        0 => return None,
        1 => "does",
        _ => "do",
    };
    let of = |(name, plugin): (&String, &Arc<Plugin>)| {
        let asked: Vec<&str> = keys.iter().copied().filter(|key| asks(plugin, key)).collect();
        (!asked.is_empty()).then(|| format!("{} of {name}", asked.join(", ")))
    };
    let grants: Vec<String> = plugins.iter().filter_map(of).collect();
    Some(format!("Not granted, since {} {verb} not exist: {}", paths.join(" and "), grants.join("; ")))
}

/// The channels that cannot be granted, for people.
fn no_channels(plugins: &BTreeMap<String, Arc<Plugin>>) -> Option<String> {
    let of = |(name, plugin): (&String, &Arc<Plugin>)| {
        let asked = needs(&plugin.descriptor);
        let channels = asked.iter().map(need).filter(|(_, key, _)| *key == "slack").filter_map(|(.., value)| value);
        let refused: Vec<String> =
            channels.filter_map(|name| channel_name(name).err()).map(|e| e.to_string()).collect();
        (!refused.is_empty()).then(|| {
            format!("the channel of {name}, which needs a `channel` in [checks.{name}]: {}", refused.join(", "))
        })
    };
    let refused: Vec<String> = plugins.iter().filter_map(of).collect();
    (!refused.is_empty()).then(|| format!("Not granted: {}", one_line(&refused.join("; "))))
}

/// Lines of host.toml, commented out unless their path exists.
fn present(section: &str, path: &Path) -> String {
    match path.exists() {
        true => section.to_owned(),
        false => commented(section),
    }
}

/// Lines of host.toml as comments.
fn commented(lines: &str) -> String {
    lines.lines().map(|line| if line.starts_with('#') { format!("{line}\n") } else { format!("# {line}\n") }).collect()
}

/// One string as TOML.
fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

/// The text of host.toml. A section whose path is missing is a comment, since a host refuses to start without the path.
fn written(plugins: &BTreeMap<String, Arc<Plugin>>, directory: &Path) -> Result<String> {
    let asks: BTreeSet<&str> =
        plugins.values().flat_map(|plugin| needs(&plugin.descriptor)).map(|asked| need(&asked).1).collect();
    let (repository, deployments) = (directory.join(REPOSITORY), directory.join(DEPLOYMENTS));
    let mut text = "# What this host watches, and what each plugin may do. Paths start from this file's directory.

# Data dates are dates in this time zone: the day before a run, unless a check has another data_date.
timezone = \"America/New_York\"
"
    .to_owned();
    if asks.contains("warehouse") {
        text += "
# The warehouse. Each file in the directory is a dataset: nba_raw.db is `nba_raw`.
[warehouse]
kind = \"sqlite\"
path = \"warehouse\"
# project = \"my-project\"
";
    }
    if asks.contains("git") {
        let section = "[git.pipeline]\npath = \"repository\"\nbranch = \"main\"\n";
        text += "\n# The repository of the deployed code.\n";
        text += &present(section, &repository);
    }
    if asks.contains("deployments") {
        let section = "[deployments]\nkind = \"file\"\npath = \"deployments.json\"\n";
        text += "\n# What is deployed. Whoever deploys writes the file.\n";
        text += &present(section, &deployments);
    }
    if asks.contains("slack") {
        text += "
# \"console\" shows messages in the terminal. \"webhook\" sends them to Slack: the webhook of #canary-alerts comes from the
# environment variable SLACK_WEBHOOK_URL_CANARY_ALERTS, and so on. \"bot\" sends them with the token in SLACK_BOT_TOKEN.
[slack]
deliver = \"console\"
";
    }
    text += "\n# The limits of each run. [grants.NAME.budgets] sets those of one plugin.\n[budgets]\n";
    for (key, value, meaning) in Budgets::default().list() {
        let value = if value.parse::<u32>().is_ok() { value } else { quoted(&value) };
        let _ = writeln!(text, "# {meaning}\n# {key} = {value}");
    }
    for (name, plugin) in plugins {
        let descriptor = &plugin.descriptor;
        let _ = writeln!(text, "\n# {}", one_line(&descriptor.summary));
        let only_named = plugin.is_only_named();
        let own = if only_named { "NAME" } else { name };
        let mut check = format!("[checks.{own}]\n");
        if only_named {
            check = format!("# A check of it has a name of its own.\n{check}plugin = {}\n", quoted(name));
        }
        let schedule = format!("schedule = {}", quoted(&one_line(&descriptor.schedule.cron)));
        match is_too_often(&descriptor.schedule.cron) {
            true => {
                let why =
                    "More often than plugins may ask for; allowed by this line. Without one, the check cannot run.";
                let _ = writeln!(check, "# {why}\n{schedule}");
            }
            false => {
                let _ = writeln!(check, "# {schedule}");
            }
        }
        if let Some(zone) = &descriptor.schedule.timezone {
            let _ = writeln!(check, "# timezone = {}", quoted(&one_line(zone)));
        }
        let _ = writeln!(check, "# channel = {}", quoted(&one_line(&descriptor.channel)));
        let _ = writeln!(check, "# [checks.{own}.settings]");
        for (setting, default, meaning) in settings(&descriptor.settings)? {
            let _ = writeln!(check, "# {meaning}\n# {} = {}", one_line(&setting), one_line(&default));
        }
        text += &if only_named { commented(&check) } else { check };
        let _ = writeln!(
            text,
            "\n# What {name} {} asks for. Everything else is denied.\n[grants.{name}]",
            plugin.file.version
        );
        let mut lists: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for asked in needs(descriptor) {
            let (words, key, value) = need(&asked);
            if let Some(error) = value.filter(|_| key == "slack").and_then(|name| channel_name(name).err()) {
                let _ = writeln!(text, "# not granted: to {}: {}", one_line(&words), one_line(&error.to_string()));
                continue;
            }
            let value = value.map_or_else(|| quoted(if key == "git" { "pipeline" } else { "*" }), quoted);
            let _ = writeln!(text, "# to {}", one_line(&words));
            lists.entry(key).or_default().push(value);
        }
        for (key, values) in lists {
            let grant = format!("{key} = [{}]\n", values.join(", "));
            text += &match key {
                "git" => present(&grant, &repository),
                "deployments" => present(&grant, &deployments),
                _ => grant,
            };
        }
    }
    Ok(text)
}
