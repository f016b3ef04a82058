//! A first host, for a directory without plugins: host.toml, sample data, and a check that passes on it.

use std::{fs, path::Path};

use anyhow::{Context, Result};
use jiff::{Timestamp, ToSpan};
use rusqlite::Connection;

use crate::{
    config::{Config, Zone},
    template::{self, Language},
};

/// The name of the first check, and of its directory.
const CHECK: &str = "first-check";
/// The dataset that the check of the template asks.
const DATASET: &str = "raw";
/// How many days before today the sample data starts.
const DAYS: i64 = 7;

const TOML: &str = r##"# What this host watches, and what each plugin may do. Paths start from this file's directory.
# `host schema --markdown` lists every key.

# Data dates are dates in this time zone. "Yesterday" is the day before a run, here.
timezone = "America/New_York"

# Each file in the directory is a dataset: raw.db is `raw`.
[warehouse]
kind = "sqlite"
path = "warehouse"

# "console" shows messages in the terminal. "webhook" sends them to Slack.
[slack]
deliver = "console"

[checks.first-check]
# schedule = "*/30 * * * *"

# What first-check asks for. Everything else is denied.
[grants.first-check]
warehouse = ["raw"]
slack = ["#canary-alerts"]
"##;

/// Makes a first host in the working directory; gives the text to show. `config` must not exist.
pub(super) fn make(config: &Path, language: Language) -> Result<String> {
    Config::parse(TOML).context("the first host.toml is not valid")?;
    template::make(CHECK, language, Path::new(CHECK))?;
    let data = sample()?;
    fs::write(config, TOML).with_context(|| config.display().to_string())?;
    let mut text = format!("Made {} with a check in {CHECK}/ and sample data in {data}. Next:\n", config.display());
    let build = language.build_steps().iter().map(|step| (*step).to_owned());
    let run = format!("host run --once {CHECK}/{}", language.component(CHECK));
    let steps = [format!("cd {CHECK}")].into_iter().chain(build).chain(["cd ..".to_owned(), run]);
    text.extend(steps.map(|step| format!("  {step}\n")));
    Ok(text)
}

/// Two events on each day of the last week and on today, so that yesterday's data is complete today and tomorrow.
/// A dataset that exists stays as it is.
fn sample() -> Result<String> {
    fs::create_dir_all("warehouse").context("warehouse")?;
    let path = format!("warehouse/{DATASET}.db");
    if Path::new(&path).exists() {
        return Ok(path);
    }
    let today = Timestamp::now().to_zoned(Zone::new_york().rules()).date();
    let mut connection = Connection::open(&path).with_context(|| path.clone())?;
    let filled = connection.transaction()?;
    filled.execute_batch("CREATE TABLE events (day DATE, id TEXT)")?;
    for ago in 0..=DAYS {
        let day = today.checked_sub(ago.days())?.to_string();
        for number in 1..=2 {
            filled.execute("INSERT INTO events VALUES (?1, ?2)", (&day, format!("{day}-{number}")))?;
        }
    }
    filled.commit()?;
    Ok(path)
}
