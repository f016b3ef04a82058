//! `host tune`: limits from a check's own history.

use std::{
    fmt::Write as _,
    fs::{self, File},
    io::Write as _,
    path::PathBuf,
};

use anyhow::{Context, Result, anyhow, bail};
use clap::Args;
use jiff::civil::Date;
use serde_json::{Value, json};
use toml_edit::{DocumentMut, Item};

use super::{
    flags::{Format, OutputFlag},
    progress::Progress,
    table::Table,
    trial::{TrialFlags, Trials},
};
use crate::{
    config::Config,
    proof::{
        Backtest, Confirm, Figures, MONTH, Proposal, Share, Side, TooFew, Trial, Tune as Runner, Tuned, dates, interval,
    },
    text::{note, number},
};

/// Dates that are named in a line.
const NAMED: usize = 6;

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  host tune phase2-raw                          from what is recorded
  host tune phase2-raw --from 2026-01-01        ask about these dates first
  host tune phase2-raw --alarms-per-month 0.5
  host tune phase2-raw --write                  change host.toml

The limits are tuned on the earlier 60 % of the dates and reported on the later
40 %. A limit lies between the good dates and what a fault would make of them;
where these overlap, as few good dates are beyond it as the alarms allow. Dates
in known_bad, and those of alerts that somebody labelled real, are not tuned on,
nor are dates far apart from all others, unless they are in known_good.

Exit codes: 0 there are proposals, or nothing to change; 3 there are too few
dates, or the proposals cannot be used; 64 the arguments or host.toml cannot be
used.")]
pub(super) struct Tune {
    /// The check
    #[arg(value_name = "CHECK")]
    check: String,
    /// Plugin files, or directories of them [default: pinned plugins, or plugins/]
    #[arg(value_name = "PLUGIN.wasm")]
    plugins: Vec<PathBuf>,
    /// The most false alarms that the check may give in a month, for all its limits together
    #[arg(long, value_name = "NUMBER", default_value_t = 1.0, value_parser = alarms)]
    alarms_per_month: f64,
    /// Ask the warehouse about the dates from this one on first, as `host backtest` does
    #[arg(long, value_name = "DATE")]
    from: Option<Date>,
    /// The last of them [default: the newest for which the check was due]
    #[arg(long, value_name = "DATE", requires = "from")]
    to: Option<Date>,
    /// The first date that only reports [default: the later 40 % of the dates report]
    #[arg(long, value_name = "DATE")]
    report_from: Option<Date>,
    /// Write the proposals into host.toml, after showing the difference
    #[arg(long)]
    write: bool,
    #[command(flatten)]
    trial: TrialFlags,
    #[command(flatten)]
    output: OutputFlag,
}

fn alarms(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(number) if number > 0.0 && number < MONTH => Ok(number),
        _ => Err("write a number above 0 and below 30, such as 0.5".to_owned()),
    }
}

impl Tune {
    pub(super) fn execute(self) -> Result<u8> {
        super::runtime()?.block_on(self.tune())
    }

    async fn tune(&self) -> Result<u8> {
        if self.write && self.trial.has_settings() {
            bail!("--write writes what host.toml's own settings lead to; leave out --set");
        }
        let trials = self.trial.load(&self.plugins).await?;
        let (trial, most) = self.trial.trial(&trials, &self.check).await?;
        if let Some(from) = self.from {
            self.ask(&trials, &trial, most, from).await?;
        }
        let progress = Progress::new("tuning");
        let (record, alarms, report_from) = (trials.record.clone(), self.alarms_per_month, self.report_from);
        let config = trial.config.clone();
        let runner = Runner { trial, record, alarms, report_from };
        let tuned = runner.run().await;
        drop(progress);
        let tuned = match tuned {
            Err(error) if error.is::<TooFew>() => {
                note!("{error}");
                trials.close().await;
                return Ok(3);
            }
            tuned => tuned?,
        };
        super::print(&match self.output.output {
            Format::Table => self.text(&tuned),
            Format::Json => format!("{:#}\n", json(&self.check, &tuned)),
        })?;
        let proposed = tuned.proposes();
        let is_tuned = tuned.refused.is_none() && tuned.proposals.iter().any(Proposal::is_tuned);
        let code = if is_tuned { 0 } else { 3 };
        if self.write && proposed {
            match &tuned.refused {
                Some(_) => note!("nothing is written"),
                None => self.write(&config, &tuned)?,
            }
        }
        trials.close().await;
        Ok(code)
    }

    /// Asks about past dates first.
    async fn ask(&self, trials: &Trials, trial: &Trial, most: u64, from: Date) -> Result<()> {
        let runner =
            Backtest { trial: trial.clone(), record: trials.record.clone(), costs: trials.costs.clone(), again: false };
        let moments = runner.moments(&dates(from, self.to.map_or_else(|| trial.newest(), Ok)?)?, false)?;
        let kept = runner.kept().await?;
        let open: Vec<_> = moments.iter().filter(|moment| !kept.contains_key(&moment.data_date)).cloned().collect();
        let progress = Progress::new("estimating the cost");
        let estimated = runner.estimate(&open, |done| progress.step(done, open.len())).await?;
        drop(progress);
        if estimated > most {
            let (estimated, most) = (crate::text::bytes(estimated), crate::text::bytes(most));
            bail!(
                "the dates would bill up to about {estimated}, more than {most}; raise --max-bytes, or ask about fewer dates"
            );
        }
        let progress = Progress::new(&format!("asking about {}", self.check));
        let (_, stopped) = runner.run(&moments, |done| progress.step(done, moments.len())).await?;
        if let Some(stopped) = stopped {
            bail!("from {} on the dates were not asked about: {}", stopped.at, stopped.why);
        }
        Ok(())
    }

    fn text(&self, tuned: &Tuned) -> String {
        let mut table = Table::new(["SETTING", "NOW", "PROPOSED", "FALSE ALARMS A MONTH", "CAUGHT", "WHY"]);
        for one in &tuned.proposals {
            table.row(vec![
                one.setting.clone(),
                one.now.map_or_else(|| "-".to_owned(), number),
                proposed(one),
                per_month(one.alarms, tuned.month),
                percent(one.caught),
                one.why.clone(),
            ]);
        }
        let mut text = table.text() + "\n";
        let range = |(first, last, count): (Date, Date, usize)| format!("{count} dates from {first} to {last}");
        let _ =
            writeln!(text, "{}: tuned on {}, reported on {}.", self.check, range(tuned.tuned), range(tuned.reported));
        let figures = |figures: &Figures| {
            let of = per_month_with(figures.alarms, tuned.month);
            format!("{of} false alarms a month, {} of faults on the limited sides caught", percent_with(figures.caught))
        };
        let _ = writeln!(text, "With the limits of today: {}.", figures(&tuned.now));
        let _ = writeln!(text, "With the proposals:       {}.", figures(&tuned.then));
        if tuned.then.alarms.value() * tuned.month > self.alarms_per_month && tuned.refused.is_none() {
            let _ = writeln!(
                text,
                "That is more than {} a month; so few dates neither show nor exclude that it stays so.",
                self.alarms_per_month
            );
        }
        for (dates, words) in
            [(&tuned.now.alarmed, "They alarm today on"), (&tuned.then.alarmed, "The proposals would alarm on")]
        {
            let is_open = |date: &&Date| !tuned.known.iter().any(|known| known.date == **date);
            let dates: Vec<Date> = dates.iter().filter(is_open).copied().collect();
            if !dates.is_empty() {
                let _ = writeln!(
                    text,
                    "{words} {}; if a date was bad, label its alert or name it in known_bad.",
                    listed(&dates)
                );
            }
        }
        if tuned.others > 0 {
            let _ = writeln!(
                text,
                "Not counted: {} asked about with other settings; `host backtest` asks again.",
                counted(tuned.others, "date that was", "dates that were")
            );
        }
        if tuned.recorded > 0 {
            let _ = writeln!(
                text,
                "Of recorded runs, whatever settings they had: {}.",
                counted(tuned.recorded, "date", "dates")
            );
        }
        if !tuned.bad.is_empty() {
            let _ = writeln!(text, "Not tuned on, since they were bad: {}.", listed(&tuned.bad));
        }
        if !tuned.apart.is_empty() {
            let _ = writeln!(
                text,
                "Not tuned on, since they stand far apart from all others: {}; name those that were good in known_good.",
                listed(&tuned.apart)
            );
        }
        for known in &tuned.known {
            let says = |alarms: bool| if alarms { "alarms" } else { "does not alarm" };
            let was = match (known.bad, known.noise) {
                (true, _) => "bad",
                (false, true) => "noise",
                (false, false) => "good",
            };
            let mark = if known.then == known.bad { "" } else { " NOT as expected:" };
            let _ = writeln!(
                text,
                "{} was {was}:{mark} it {} today, and {} with the proposals.",
                known.date,
                says(known.now),
                says(known.then)
            );
        }
        let Confirm { now, proposed, why } = &tuned.confirm;
        let _ = match proposed {
            Some(confirm) => writeln!(text, "alerts.confirm: {confirm} instead of {now}: {why}."),
            None => writeln!(text, "alerts.confirm: {now} stays: {why}."),
        };
        if !tuned.unlimited.is_empty() {
            let _ = writeln!(text, "No setting limits {}.", tuned.unlimited.join(", "));
        }
        match &tuned.refused {
            Some(why) => text += &format!("The proposals cannot be used: {why}\n"),
            None if !self.write && tuned.proposes() => {
                text += "--write puts the proposals into host.toml.\n";
            }
            None => {}
        }
        text
    }

    /// Changes host.toml, with its comments and order.
    fn write(&self, config: &Config, tuned: &Tuned) -> Result<()> {
        let named = self.trial.files.config();
        if let Some(origin) = config.origin(&self.check) {
            bail!(
                "{} is made by [{}], so nothing is written: its proposals are not those of the other checks that are made there",
                self.check,
                origin.definition
            );
        }
        // The file itself, where the name is a link to it.
        let path = &named.canonicalize().with_context(|| named.display().to_string())?;
        let before = fs::read_to_string(path).with_context(|| path.display().to_string())?;
        let mut document: DocumentMut = before.parse().with_context(|| path.display().to_string())?;
        for proposal in &tuned.proposals {
            let Some(value) = &proposal.proposed else { continue };
            for (path, value) in proposal.leaves(value) {
                change(&mut document, &self.check, &format!("settings.{path}"), &value)?;
            }
        }
        if let Some(confirm) = tuned.confirm.proposed {
            change(&mut document, &self.check, "alerts.confirm", &json!(confirm))?;
        }
        let after = match before.contains("\r\n") {
            true => document.to_string().replace("\r\n", "\n").replace('\n', "\r\n"),
            false => document.to_string(),
        };
        if after == before {
            note!("{} has these values already", named.display());
            return Ok(());
        }
        for change in similar::TextDiff::from_lines(before.as_str(), after.as_str()).iter_all_changes() {
            let mark = match change.tag() {
                similar::ChangeTag::Delete => '-',
                similar::ChangeTag::Insert => '+',
                similar::ChangeTag::Equal => continue,
            };
            note!("{mark} {}", change.value().trim_end_matches(['\r', '\n']));
        }
        // Another command must never read half of it.
        let beside = path.with_extension("toml.new");
        let written = File::create(&beside).and_then(|mut file| {
            file.write_all(after.as_bytes())?;
            file.sync_all()
        });
        written.with_context(|| beside.display().to_string())?;
        fs::set_permissions(&beside, fs::metadata(path)?.permissions())
            .with_context(|| beside.display().to_string())?;
        fs::rename(&beside, path).with_context(|| path.display().to_string())?;
        note!("{} is changed", named.display());
        Ok(())
    }
}

/// Sets a setting of a check in the text of host.toml.
fn change(document: &mut DocumentMut, check: &str, setting: &str, value: &Value) -> Result<()> {
    let checks = document.get_mut("checks").and_then(Item::as_table_like_mut);
    let own = checks.and_then(|checks| checks.get_mut(check)).with_context(|| {
        format!("host.toml has no [checks.{check}] of its own, so nothing is written; set {setting} = {value} there")
    })?;
    let mut place = own;
    let path: Vec<&str> = setting.split('.').collect();
    let (last, tables) = path.split_last().ok_or_else(|| anyhow!("no setting"))?;
    for key in tables {
        let table = place
            .as_table_like_mut()
            .with_context(|| format!("{setting}: {key} is in something that is not a table"))?;
        if !table.contains_key(key) {
            // As it would be written by hand: below a table of its own, else within the same braces.
            let mut below = toml_edit::InlineTable::new();
            below.set_dotted(!["settings", "alerts"].contains(key));
            table.insert(key, Item::Value(below.into()));
        }
        place = table.get_mut(key).with_context(|| format!("{setting}: {key}"))?;
    }
    let table = place.as_table_like_mut().with_context(|| format!("{setting} is in something that is not a table"))?;
    let written = toml(value)?;
    match table.get_mut(last) {
        // What stands around the old value stays: a comment behind it, too.
        Some(Item::Value(old)) => {
            let around = old.decor().clone();
            *old = written;
            *old.decor_mut() = around;
        }
        _ => drop(table.insert(last, Item::Value(written))),
    }
    Ok(())
}

/// A value of JSON as one of TOML.
fn toml(value: &Value) -> Result<toml_edit::Value> {
    Ok(match value {
        Value::Number(number) => match number.as_i64() {
            Some(whole) => whole.into(),
            None => number.as_f64().with_context(|| format!("{number} is not a number of TOML"))?.into(),
        },
        Value::Object(object) => {
            let mut table = toml_edit::InlineTable::new();
            for (key, value) in object {
                table.insert(key, toml(value)?);
            }
            table.into()
        }
        other => bail!("{other} is not a limit"),
    })
}

fn proposed(one: &Proposal) -> String {
    match &one.proposed {
        Some(Value::Number(value)) => value.as_f64().map_or_else(String::new, number),
        Some(Value::Object(object)) => {
            let parts: Vec<String> = object.iter().map(|(key, value)| format!("{key} = {value}")).collect();
            format!("{{ {} }}", parts.join(", "))
        }
        Some(other) => other.to_string(),
        None => "stays".to_owned(),
    }
}

/// Alarms a month: `0.8`.
fn per_month(share: Share, month: f64) -> String {
    format!("{:.1}", share.value() * month)
}

/// The same with its interval of 95 %.
fn per_month_with(share: Share, month: f64) -> String {
    let (low, high) = interval(share.hits, share.of);
    format!("{} (95 %: {:.1} to {:.1})", per_month(share, month), low * month, high * month)
}

fn percent(share: Share) -> String {
    match share.of {
        0 => "-".to_owned(),
        of => format!("{:.0} % of {of}", share.value() * 100.0),
    }
}

fn percent_with(share: Share) -> String {
    let (low, high) = interval(share.hits, share.of);
    format!("{} (95 %: {:.0} to {:.0})", percent(share), low * 100.0, high * 100.0)
}

fn counted(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

fn listed(dates: &[Date]) -> String {
    let named: Vec<String> = dates.iter().take(NAMED).map(Date::to_string).collect();
    match dates.len().saturating_sub(NAMED) {
        0 => named.join(", "),
        more => format!("{} and {more} more", named.join(", ")),
    }
}

fn json(check: &str, tuned: &Tuned) -> Value {
    let share = |share: Share, times: f64| {
        let (low, high) = interval(share.hits, share.of);
        json!({ "hits": share.hits, "of": share.of, "value": share.value() * times, "low": low * times, "high": high * times })
    };
    let figures = |figures: &Figures| {
        json!({
            "false_alarms_per_month": share(figures.alarms, tuned.month),
            "caught": share(figures.caught, 1.0),
            "alarmed": figures.alarmed,
        })
    };
    let range = |(first, last, count): (Date, Date, usize)| json!({ "from": first, "to": last, "dates": count });
    let proposal = |one: &Proposal| {
        json!({
            "metric": one.metric,
            "side": if one.side == Side::Low { "low" } else { "high" },
            "setting": one.setting,
            "now": one.now,
            "proposed": one.proposed,
            "why": one.why,
            "false_alarms_per_month": share(one.alarms, tuned.month),
            "caught": share(one.caught, 1.0),
        })
    };
    json!({
        "check": check,
        "tuned_on": range(tuned.tuned),
        "reported_on": range(tuned.reported),
        "bad": tuned.bad,
        "apart": tuned.apart,
        "limits": tuned.proposals.iter().map(proposal).collect::<Vec<_>>(),
        "now": figures(&tuned.now),
        "then": figures(&tuned.then),
        "known": tuned.known.iter().map(|known| json!({ "data_date": known.date, "bad": known.bad, "noise": known.noise, "now": known.now, "then": known.then })).collect::<Vec<_>>(),
        "confirm": tuned.confirm,
        "others": tuned.others,
        "recorded": tuned.recorded,
        "unlimited": tuned.unlimited,
        "refused": tuned.refused,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(text: &str, setting: &str, value: Value) -> String {
        let mut document: DocumentMut = text.parse().expect("TOML");
        change(&mut document, "a", &format!("settings.{setting}"), &value).expect("changed");
        document.to_string()
    }

    #[test]
    fn comments_and_order_stay() {
        let text = "# top\n[checks.a] # a\n[checks.a.settings]\nmin = 2 # games\nsql = \"x\"\n\n[web]\n";
        assert_eq!(changed(text, "min", json!(3.5)), text.replace("min = 2", "min = 3.5"));
        let text = "[checks.a]\nsettings = { sql = \"x\", thresholds = { rows = { min = 1 } } }\n";
        assert_eq!(changed(text, "thresholds.rows.min", json!(40)), text.replace("min = 1", "min = 40"));
        let text = "[checks.a.settings]\nsql = \"x\"\nthresholds.rows.min = 1\n";
        assert_eq!(
            changed(text, "thresholds.rows.max", json!(9)),
            "[checks.a.settings]\nsql = \"x\"\nthresholds.rows.min = 1\nthresholds.rows.max = 9\n"
        );
        let text = "[checks.a]\nplugin = \"p\"\n";
        assert_eq!(changed(text, "min_games", json!(3)), "[checks.a]\nplugin = \"p\"\nsettings = { min_games = 3 }\n");
        let text = "[checks.a.settings]\nsql = \"x\"\n";
        let drop = json!({ "weeks": 4, "max_drop_percent": 40 });
        assert_eq!(
            changed(text, "thresholds.rows.change", drop),
            "[checks.a.settings]\nsql = \"x\"\nthresholds.rows.change = { weeks = 4, max_drop_percent = 40 }\n"
        );
        let mut document: DocumentMut = "[checks.a]\nplugin = \"p\"\n".parse().expect("TOML");
        change(&mut document, "a", "alerts.confirm", &json!(2)).expect("changed");
        assert_eq!(document.to_string(), "[checks.a]\nplugin = \"p\"\nalerts = { confirm = 2 }\n");
        let mut document: DocumentMut = "[checks.b]\n".parse().expect("TOML");
        assert!(change(&mut document, "a", "min", &json!(1)).is_err());
    }
}
