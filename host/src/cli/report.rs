//! `host report`: what the checks were worth in a time.

use std::{fmt::Write as _, fs, path::PathBuf, sync::Arc};

use anyhow::{Context, Result};
use clap::Args;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::{
    flags::{FileFlags, Format, OutputFlag},
    progress::Progress,
    recorded,
    table::Table,
    trial::Trials,
};
use crate::{
    capability::Backends,
    config::{Config, Time},
    proof::{Figured, Report as Made, Unread},
    text::{self, note},
    web,
};

/// Names in a line.
const NAMED: usize = 12;

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  host report                       the last seven days
  host report --about 30d
  host report --html report.html    with pictures

An alert counts as false if somebody labelled it false or noise, or if nobody
labelled it and it was over in the next round by itself, of rounds that are at
most an hour apart. The time to a message ends when a receiver took the first
one about the check. It begins with the last run that passed or was skipped; for
a check of dates, with the last such run about the same date, or when its data
were expected. Dates that somebody asked about by hand have no such time.
[report] in host.toml sends this to a channel by the clock, and the page shows
it at /report.

Exit codes: 0 it is shown, 64 host.toml cannot be used.")]
pub(super) struct Report {
    /// Plugin files, or directories of them [default: pinned plugins, or plugins/]
    #[arg(value_name = "PLUGIN.wasm")]
    plugins: Vec<PathBuf>,
    /// The last seven days, which is the default
    #[arg(long, conflicts_with = "about")]
    week: bool,
    /// How far back, such as 30d
    #[arg(long, value_name = "TIME")]
    about: Option<Time>,
    /// Also write a page with pictures
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    #[command(flatten)]
    files: FileFlags,
    #[command(flatten)]
    output: OutputFlag,
}

impl Report {
    pub(super) fn execute(self) -> Result<u8> {
        let config = Config::read(self.files.config())?;
        super::runtime()?.block_on(self.report(config))
    }

    async fn report(&self, config: Config) -> Result<u8> {
        // Without a run there is nothing to report.
        recorded(&config).await?.close().await;
        let trials = Trials::load(&self.files, &self.plugins).await?;
        let length = self.about.unwrap_or_else(|| config.report.length());
        let to = crate::record::now();
        let from = to.checked_sub(SignedDuration::try_from(length.0)?).unwrap_or(Timestamp::UNIX_EPOCH);
        let progress = Progress::new("reading the record");
        let backends = Arc::new(Backends::trying(&config, &trials.record, trials.costs.clone()));
        let made = Made::make(&trials.record, &config, &trials.checks, (from, to), Some(&backends)).await?;
        drop(progress);
        backends.close().await;
        trials.close().await;
        super::print(&match self.output.output {
            Format::Table => shown(&made, &config),
            Format::Json => format!("{:#}\n", in_json(&made)),
        })?;
        if let Some(path) = &self.html {
            fs::write(path, web::report_file(&made, &config)).with_context(|| path.display().to_string())?;
            note!("{} has the pictures", path.display());
        }
        Ok(0)
    }
}

fn in_json(made: &Made) -> Value {
    let mut whole = serde_json::to_value(made).unwrap_or_default();
    if let Some(object) = whole.as_object_mut() {
        object.insert("false_share".to_owned(), json!(made.false_share()));
        object.insert("figures".to_owned(), json!(made.figures()));
    }
    whole
}

fn shown(made: &Made, config: &Config) -> String {
    let zone = config.timezone.rules();
    let mut table =
        Table::new(["CHECK", "ALERTS", "REAL", "FALSE", "NOISE", "OVER", "MISSED", "TO MESSAGE", "MUTANTS", "BILLED"]);
    let count = |count: usize| if count == 0 { "-".to_owned() } else { count.to_string() };
    for own in &made.checks {
        table.row(vec![
            own.named(),
            count(own.alerts),
            count(own.real),
            count(own.falsely),
            count(own.noise),
            count(own.passing),
            count(own.missed.len()),
            own.slowest().map(text::span).unwrap_or_default(),
            own.score.map_or_else(String::new, |score| format!("{} of {}", score.hits, score.of)),
            if own.bytes == 0 { String::new() } else { text::bytes(own.bytes) },
        ]);
    }
    let local = |at: Timestamp| super::local(at, &zone);
    let mut all = format!("{} to {}\n\n{}\n", local(made.from), local(made.to), table.text());
    for Figured { what, value, target, .. } in made.figures() {
        let _ = writeln!(all, "{what}: {value} (target: {target}).");
    }
    match made.unlabelled() {
        0 => {}
        1 => all += "1 alert is not labelled; `host label` says what it was, `host history` has its number.\n",
        many => {
            all += &format!(
                "{many} alerts are not labelled; `host label` says what they were, `host history` has their numbers.\n"
            );
        }
    }
    made.gaps().iter().for_each(|gap| all += &format!("{gap}.\n"));
    let unread = made.unread.iter();
    list(&mut all, "No recorded run asked these tables", unread.flat_map(|unread| unread.tables.iter().cloned()));
    if let Some(doubt) = made.unread.as_ref().and_then(Unread::doubt) {
        let _ = writeln!(all, "{doubt}.");
    }
    let silences = made.silences.iter();
    list(
        &mut all,
        "Silences that last for more than a week",
        silences.map(|one| format!("{} ({}): {}", one.checks.join(", "), one.id, one.why)),
    );
    let acknowledged = made.acknowledged.iter();
    list(
        &mut all,
        "Acknowledged for more than a week",
        acknowledged.map(|date| match date.data_date {
            Some(day) => format!("{} {day}", date.check),
            None => date.check.clone(),
        }),
    );
    if !made.mend.is_empty() {
        all += "\nFix first:\n";
    }
    for mend in &made.mend {
        let _ = writeln!(all, "  {}: {}", mend.check, mend.why);
    }
    all
}

fn list(text: &mut String, words: &str, names: impl Iterator<Item = String>) {
    let names: Vec<String> = names.collect();
    if names.is_empty() {
        return;
    }
    let _ = writeln!(text, "{words}: {}.", text::listed(&names, NAMED));
}
