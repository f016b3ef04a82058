//! A first host, for a directory without plugins: host.toml, sample data, and a check that passes on it.

use std::{
    ffi::OsString,
    fs::{self, DirEntry},
    io,
    path::Path,
};

use anyhow::{Context, Result, bail};
use jiff::ToSpan;
use rusqlite::Connection;

use crate::{
    config::{Config, Zone},
    package::is_named_like_a_plugin,
    template::{self, Language},
    text::quoted_path,
};

/// The name of the first check, and of its directory.
const CHECK: &str = "first-check";
/// The dataset that the check of the template asks.
const DATASET: &str = "raw";
/// The directory of the sample data.
const WAREHOUSE: &str = "warehouse";
/// What may be in the directory before: neither is a plugin or a part of a project.
const IGNORED: [&str; 2] = [".git", WAREHOUSE];
/// How many days before today the sample data starts.
const DAYS: i64 = 7;

const TOML: &str = r##"# What this host watches, and what each plugin may do. Paths start from this file's directory.
# `host schema --markdown` lists every key.

# Data dates are dates in this time zone: the day before a run, unless a check has another data_date.
timezone = "America/New_York"

# Each file in the directory is a dataset: raw.db is `raw`.
[warehouse]
kind = "sqlite"
path = "warehouse"

# "console" shows messages in the terminal. "webhook" and "bot" send them to Slack.
[slack]
deliver = "console"

[checks.first-check]
# schedule = "*/30 * * * *"

# What first-check asks for. Everything else is denied.
[grants.first-check]
warehouse = ["raw"]
slack = ["#canary-alerts"]
"##;

/// Makes a first host in the working directory; gives the text to show. It makes everything or, if something is in the
/// way, nothing.
pub(super) fn make(config: &Path, language: Language) -> Result<String> {
    Config::parse(TOML).context("the first host.toml is not valid")?;
    check_place()?;
    template::make(CHECK, language, Path::new(CHECK))?;
    let data = format!("{WAREHOUSE}/{DATASET}.db");
    let made = match Path::new(&data).symlink_metadata() {
        Ok(_) => format!("and a check in {CHECK}/. {data} already exists and was left as it is."),
        Err(_) => {
            fill(&data)?;
            format!("with a check in {CHECK}/ and sample data in {data}.")
        }
    };
    super::create(config, TOML)?;
    let mut text = format!("Created {} {made} Next:\n", config.display());
    let build = language.first_steps();
    let run = format!("host run --once {CHECK}/{}", language.component(CHECK));
    let steps = [format!("cd {CHECK}")].into_iter().chain(build).chain(["cd ..".to_owned(), run]);
    text.extend(steps.map(|step| format!("  {step}\n")));
    Ok(text)
}

/// Rejects a directory with something in the way, or in which people hardly want a first host: a project, or a host
/// whose plugins are missing.
fn check_place() -> Result<()> {
    let hint = "move it away, or run `host init` in another directory";
    if let Some(occupied) = template::occupied(Path::new(CHECK)) {
        bail!("{occupied}; {hint}");
    }
    let warehouse = Path::new(WAREHOUSE);
    if warehouse.symlink_metadata().is_ok() && !warehouse.is_dir() {
        bail!("{WAREHOUSE} exists and is not a directory; {hint}");
    }
    let entries = fs::read_dir(".").and_then(Iterator::collect::<io::Result<Vec<_>>>);
    let names: Vec<OsString> =
        entries.context("the working directory cannot be read")?.iter().map(DirEntry::file_name).collect();
    let mut plugins: Vec<&Path> =
        names.iter().map(Path::new).filter(|name| is_named_like_a_plugin(name) && name.is_file()).collect();
    plugins.sort_unstable();
    if !plugins.is_empty() {
        let named: Vec<String> = plugins.iter().map(|plugin| quoted_path(plugin)).collect();
        let (is, them) = if named.len() == 1 { ("is", "it") } else { ("are", "them") };
        bail!(
            "{} {is} not in plugins/; `host init {}` writes a host.toml for {them}",
            named.join(" "),
            named.join(" ")
        );
    }
    if names.iter().any(|name| !IGNORED.iter().any(|ignored| name == ignored)) {
        bail!(
            "no plugin found here; name plugin files, as `host init --help` shows; in an empty directory `host init` makes a first host"
        );
    }
    Ok(())
}

/// Two events on each day of the last week and on today, so that yesterday's data is complete today and tomorrow.
fn fill(path: &str) -> Result<()> {
    fs::create_dir_all(WAREHOUSE).context(WAREHOUSE)?;
    let today = crate::record::now().to_zoned(Zone::new_york().rules()).date();
    let mut connection = Connection::open(path).with_context(|| path.to_owned())?;
    let filled = connection.transaction()?;
    filled.execute_batch("CREATE TABLE events (day DATE, id TEXT)")?;
    for ago in 0..=DAYS {
        let day = today.checked_sub(ago.days())?.to_string();
        for number in 1..=2 {
            filled.execute("INSERT INTO events VALUES (?1, ?2)", (&day, format!("{day}-{number}")))?;
        }
    }
    filled.commit()?;
    Ok(())
}
