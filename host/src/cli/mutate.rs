//! `host mutate`: whether a check notices what goes wrong with its data.

use std::{fmt::Write as _, path::PathBuf, time::Duration};

use anyhow::{Result, bail};
use clap::Args;
use jiff::civil::Date;
use serde_json::{Value, json};

use super::{
    flags::CiFormat,
    output::xml,
    progress::Progress,
    run::Stop,
    table::{Table, one_line},
    trial::TrialFlags,
};
use crate::{
    config::Bytes,
    proof::{Caught, Mutate as Runner, Mutated},
    record,
    text::{note, shortened},
};

/// How long runs may take to end when it is interrupted.
const LAST: Duration = Duration::from_secs(2);
/// Bytes that are shown of what a check says.
const TEXT: usize = 300;

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  host mutate phase2-raw
  host mutate phase2-raw --date 2026-02-05 --min-score 0.9    for CI
  host mutate phase2-raw --show nba_raw.games/half-missing    the changed rows
  host mutate phase2-raw --only null-                         a part of them

What the check reads of the date is copied into the embedded engine: whole
tables if they fit, else whole dates. Nothing is written to the warehouse. The
unchanged copy must give the same verdict and metrics. Then rows are removed,
doubled, shifted by a day, columns made NULL, times older, and so on, one change
at a time, and the check runs on each. A change that changes none of its answers
is equivalent and does not count.

Exit codes: 0 the score is at least --min-score, or none is demanded; 1 it is
below; 3 there is no score; 64 the arguments or host.toml cannot be used.")]
pub(super) struct Mutate {
    /// The check
    #[arg(value_name = "CHECK")]
    check: String,
    /// Plugin files, or directories of them [default: pinned plugins, or plugins/]
    #[arg(value_name = "PLUGIN.wasm")]
    plugins: Vec<PathBuf>,
    /// The data date [default: the newest on which the check passed]
    #[arg(long, value_name = "YYYY-MM-DD")]
    date: Option<Date>,
    /// The lowest score allowed, from 0 to 1
    #[arg(long, value_name = "SHARE", value_parser = share)]
    min_score: Option<f64>,
    /// Only the mutants with this in their names
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// Show the rows that one mutant changes, and run nothing
    #[arg(long, value_name = "NAME")]
    show: Option<String>,
    /// The most that may be copied
    #[arg(long, value_name = "SIZE", default_value = "256 MiB")]
    max_copy: Bytes,
    #[command(flatten)]
    trial: TrialFlags,
    /// The format on standard output
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t = CiFormat::Table)]
    output: CiFormat,
}

fn share(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        _ => Err("write a share from 0 to 1, such as 0.9".to_owned()),
    }
}

impl Mutate {
    pub(super) fn execute(self) -> Result<u8> {
        let runtime = super::runtime()?;
        // An interrupted one leaves no copy behind.
        let code = runtime.block_on(async {
            let mut stop = Stop::listen()?;
            tokio::select! {
                code = self.mutate() => code,
                code = stop.wait() => Ok(code),
            }
        });
        runtime.shutdown_timeout(LAST);
        code
    }

    async fn mutate(&self) -> Result<u8> {
        let trials = self.trial.load(&self.plugins).await?;
        let (trial, _) = self.trial.trial(&trials, &self.check).await?;
        let (record, costs) = (trials.record.clone(), trials.costs.clone());
        let runner = Runner { trial, record, costs, most: self.max_copy.0 };
        let date = match self.date {
            Some(date) => date,
            None => runner.date().await?,
        };
        let moment = runner.trial.moment(date)?;
        if moment.due > record::now() {
            bail!("{} is not due for {date} before {}; name an earlier date", self.check, moment.due);
        }
        if let Some(name) = &self.show {
            super::print(&runner.rows(moment, name).await?)?;
            trials.close().await;
            return Ok(0);
        }
        let progress = Progress::new(&format!("copying what {} reads of {date}", self.check));
        let mutated = runner.run(moment, self.only.as_deref(), |done, all| progress.step(done, all)).await?;
        drop(progress);
        if mutated.share().is_some() && self.only.is_none() && !self.trial.has_settings() {
            runner.keep(&mutated).await?;
        }
        trials.close().await;
        if let Some(why) = &mutated.no_score {
            note!("there is no score: {}", one_line(why));
        }
        super::print(&match self.output {
            CiFormat::Table => self.text(&mutated),
            CiFormat::Json => format!("{:#}\n", self.json(&mutated)),
            CiFormat::Junit => self.junit(&mutated),
        })?;
        Ok(self.code(&mutated))
    }

    fn code(&self, mutated: &Mutated) -> u8 {
        match (mutated.share(), self.min_score) {
            (None, _) => 3,
            (Some(share), Some(least)) => u8::from(share < least),
            (Some(_), None) => 0,
        }
    }

    fn text(&self, mutated: &Mutated) -> String {
        let date = mutated.moment.data_date;
        let mut table = Table::new(["MUTANT", "RESULT", "WHY"]);
        let mut rows: Vec<_> = mutated.tried.iter().collect();
        rows.sort_by_key(|tried| tried.result);
        for tried in rows {
            let result = match tried.result {
                Caught::Missed => "MISSED",
                Caught::Caught => "caught",
                Caught::Equivalent => "equivalent",
            };
            let why = if tried.result == Caught::Equivalent { String::new() } else { shortened(&tried.why, TEXT) };
            table.row(vec![tried.name.clone(), result.to_owned(), why]);
        }
        let mut text = if mutated.tried.is_empty() { String::new() } else { table.text() + "\n" };
        for unmutable in &mutated.unmutable {
            let _ = writeln!(text, "not mutable: {}", one_line(&shortened(unmutable, TEXT)));
        }
        if !mutated.copied.is_empty() {
            let _ = writeln!(text, "Copied: {}.", mutated.copied.join(", "));
        }
        let (caught, counted) = mutated.score();
        let equivalent = mutated.tried.len() - counted;
        let _ = match mutated.share() {
            Some(share) => writeln!(
                text,
                "{}: data of {date}: mutation score {share:.2}: {caught} of {counted} mutants caught; {equivalent} changed no answer.",
                self.check
            ),
            None if mutated.no_score.is_some() => writeln!(text, "{}: data of {date}: no mutation score.", self.check),
            None => writeln!(text, "{}: data of {date}: no mutation score: no mutant changed an answer.", self.check),
        };
        if let (Some(share), Some(least)) = (mutated.share(), self.min_score)
            && share < least
        {
            let _ = writeln!(text, "That is below --min-score {least}.");
        }
        text
    }

    fn json(&self, mutated: &Mutated) -> Value {
        let (caught, counted) = mutated.score();
        json!({
            "check": self.check,
            "data_date": mutated.moment.data_date,
            "score": mutated.share(),
            "caught": caught,
            "counted": counted,
            "no_score": mutated.no_score,
            "mutants": mutated.tried,
            "not_mutable": mutated.unmutable,
            "copied": mutated.copied,
            "exit_code": self.code(mutated),
        })
    }

    /// The schema that CI systems read: <https://github.com/testmoapp/junitxml>
    fn junit(&self, mutated: &Mutated) -> String {
        let count = |of: Caught| mutated.tried.iter().filter(|tried| tried.result == of).count();
        let mut text = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n  <testsuite name=\"host mutate\" tests=\"{}\" failures=\"{}\" errors=\"{}\" skipped=\"{}\">\n",
            mutated.tried.len() + usize::from(mutated.no_score.is_some()),
            count(Caught::Missed),
            usize::from(mutated.no_score.is_some()),
            count(Caught::Equivalent),
        );
        for tried in &mutated.tried {
            let _ = write!(text, "    <testcase classname=\"{}\" name=\"{}\"", xml(&self.check), xml(&tried.name));
            let _ = match tried.result {
                Caught::Caught => writeln!(text, "/>"),
                Caught::Equivalent => writeln!(text, "><skipped/></testcase>"),
                Caught::Missed => writeln!(
                    text,
                    "><failure message=\"{}\"/></testcase>",
                    xml(&format!("{}: {}", tried.what, tried.why))
                ),
            };
        }
        if let Some(why) = &mutated.no_score {
            let _ = writeln!(
                text,
                "    <testcase classname=\"{}\" name=\"copy\"><error message=\"{}\"/></testcase>",
                xml(&self.check),
                xml(why)
            );
        }
        text + "  </testsuite>\n</testsuites>\n"
    }
}
