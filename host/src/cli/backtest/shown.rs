//! What `host backtest` prints.

use std::fmt::Write as _;

use jiff::tz::TimeZone;
use serde_json::{Value, json};

use super::{
    super::{
        local,
        output::xml,
        table::{Table, one_line},
    },
    Tried,
};
use crate::{
    contract::{Metric, Report},
    proof::{Day, strip},
    run::{COUNTED, Status, verdict_name},
    text::{self, number, shortened},
};

/// The most rows of dates that are not well.
const LISTED: usize = 50;
/// Bytes of what is said of a date.
const TEXT: usize = 500;
/// Messages that are listed.
const MESSAGES: usize = 20;
/// The blocks of a sparkline, the lowest first.
const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// The most blocks of a sparkline.
const SPARKS: usize = 60;

/// What was tried, and whether only known dates were; times are shown in `zone`.
pub(super) struct Shown<'t> {
    pub(super) tried: &'t [Tried],
    pub(super) zone: TimeZone,
    pub(super) known: bool,
}

/// What a date has that is not well, on one line.
pub(super) fn what(day: &Day) -> String {
    let report = day.outcome.report();
    let violations = report.iter().flat_map(|report| &report.violations).map(|violation| violation.message.clone());
    let said: Vec<String> = violations.chain(day.outcome.error().map(str::to_owned)).collect();
    one_line(&said.join("; "))
}

/// The values of a metric, the oldest first, as blocks between the lowest and the highest; of many the newest.
fn sparkline(values: &[Option<f64>]) -> String {
    let older = values.len().saturating_sub(SPARKS);
    if older > 0 {
        return format!("…{}", sparkline(values.get(older..).unwrap_or_default()));
    }
    let known = || values.iter().flatten().copied();
    let (low, high) = known().fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)));
    let block = |value: &Option<f64>| match value {
        None => ' ',
        Some(_) if high <= low => '▄',
        // Halves, so that the largest numbers do not overflow.
        Some(value) => {
            let part = (value / 2.0 - low / 2.0) / (high / 2.0 - low / 2.0);
            BLOCKS.get((part * 7.0).round() as usize).copied().unwrap_or('█')
        }
    };
    values.iter().map(block).collect()
}

/// The limits of a metric, in words.
fn limits(metric: &Metric) -> String {
    let limits = [("at least", metric.min), ("at most", metric.max), ("below", metric.below)];
    let words = limits.iter().filter_map(|(words, limit)| Some(format!("{words} {}", number((*limit)?))));
    words.collect::<Vec<_>>().join(", ")
}

impl Shown<'_> {
    pub(super) fn code(&self) -> u8 {
        let days = || self.tried.iter().flat_map(|tried| &tried.days);
        let any = |of: fn(Status) -> bool| days().any(|day| of(day.status()));
        let unknown = any(|status| status == Status::Error) || self.tried.iter().any(|tried| tried.stopped.is_some());
        let wrong = match self.known {
            true => self
                .tried
                .iter()
                .any(|tried| tried.known.iter().any(|(known, bad)| tried.differs(known, *bad).is_some())),
            false => any(|status| matches!(status, Status::Fail | Status::Warn)),
        };
        match (unknown, wrong) {
            (true, _) => 3,
            (false, true) => 1,
            (false, false) => 0,
        }
    }

    pub(super) fn text(&self) -> String {
        if self.known {
            return self.known_text();
        }
        self.tried.iter().map(|tried| one(tried, &self.zone)).collect()
    }

    fn known_text(&self) -> String {
        let mut table = Table::new(["CHECK", "DATA OF", "WAS", "SAYS", "WHAT"]);
        let (mut all, mut wrong) = (0, 0);
        for tried in self.tried {
            for (known, bad) in &tried.known {
                let differs = tried.differs(known, *bad);
                all += 1;
                wrong += usize::from(differs.is_some());
                let day = tried.days.iter().find(|day| day.date == known.date);
                table.row(vec![
                    tried.check.clone(),
                    known.date.to_string(),
                    if *bad { "bad" } else { "good" }.to_owned(),
                    day.map_or_else(String::new, |day| day.status().name().to_owned()),
                    match differs {
                        Some(differs) => format!("NOT as expected: {differs}"),
                        None => known.why.clone(),
                    },
                ]);
            }
        }
        let mut text = table.text();
        let dates = if all == 1 { "1 known date".to_owned() } else { format!("{all} known dates") };
        let _ = match wrong {
            0 => writeln!(text, "\n{dates}: all as expected."),
            wrong => writeln!(text, "\n{dates}: {wrong} not as expected."),
        };
        self.tried.iter().for_each(|tried| text += &stopped(tried));
        text
    }

    pub(super) fn json(&self) -> Value {
        let one = |tried: &Tried| {
            let day = |day: &Day| {
                let report = day.outcome.report();
                json!({
                    "data_date": day.date,
                    "due": day.due,
                    "asked": day.asked,
                    "status": day.status(),
                    "verdict": report.as_ref().map(|report| verdict_name(&report.verdict)),
                    "report": report,
                    "error": day.outcome.error(),
                    "alerts": day.outcome.alerts(),
                    "bytes": day.bytes,
                })
            };
            let known = tried.known.iter().map(|(known, bad)| {
                let differs = tried.differs(known, *bad);
                json!({ "data_date": known.date, "bad": bad, "why": known.why, "as_known": differs.is_none(), "differs": differs })
            });
            json!({
                "check": tried.check,
                "dates": tried.days.iter().map(day).collect::<Vec<_>>(),
                "known": known.collect::<Vec<_>>(),
                "messages": tried.messages.iter().map(|(due, title)| json!({ "due": due, "title": title })).collect::<Vec<_>>(),
                "reminders": tried.reminders,
                "estimated_bytes": tried.estimated,
                "stopped": tried.stopped.as_ref().map(|stopped| json!({ "at": stopped.at, "why": stopped.why })),
            })
        };
        json!({ "exit_code": self.code(), "checks": self.tried.iter().map(one).collect::<Vec<_>>() })
    }

    /// The schema that CI systems read: <https://github.com/testmoapp/junitxml>
    pub(super) fn junit(&self) -> String {
        let mut cases = String::new();
        let (mut tests, mut failures, mut errors, mut skipped) = (0, 0, 0, 0);
        for tried in self.tried {
            for day in &tried.days {
                tests += 1;
                let known = tried.known.iter().find(|(known, _)| known.date == day.date);
                let problem = match known {
                    Some((known, bad)) => tried.differs(known, *bad),
                    None => matches!(day.status(), Status::Fail | Status::Warn | Status::Error).then(|| what(day)),
                };
                let _ = write!(cases, "    <testcase classname=\"{}\" name=\"{}\"", xml(&tried.check), day.date);
                let _ = match (problem, day.status()) {
                    (Some(problem), Status::Error) => {
                        errors += 1;
                        writeln!(cases, "><error message=\"{}\"/></testcase>", xml(&problem))
                    }
                    (Some(problem), _) => {
                        failures += 1;
                        writeln!(cases, "><failure message=\"{}\"/></testcase>", xml(&problem))
                    }
                    (None, Status::Skip) if known.is_none() => {
                        skipped += 1;
                        writeln!(cases, "><skipped/></testcase>")
                    }
                    (None, _) => writeln!(cases, "/>"),
                };
            }
            if let Some(stopped) = &tried.stopped {
                tests += 1;
                errors += 1;
                let why = format!("from {} on it was not asked about: {}", stopped.at, stopped.why);
                let _ = writeln!(
                    cases,
                    "    <testcase classname=\"{}\" name=\"{}\"><error message=\"{}\"/></testcase>",
                    xml(&tried.check),
                    stopped.at,
                    xml(&why)
                );
            }
        }
        format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n  <testsuite name=\"host backtest\" tests=\"{tests}\" failures=\"{failures}\" errors=\"{errors}\" skipped=\"{skipped}\">\n{cases}  </testsuite>\n</testsuites>\n"
        )
    }
}

/// One check over a range of dates.
fn one(tried: &Tried, zone: &TimeZone) -> String {
    let days: Vec<_> = tried.days.iter().map(|day| (day.date, day.status())).collect();
    let mut text = String::new();
    for (month, line) in strip(&days) {
        let _ = writeln!(text, "{month}  {line}");
    }
    text += "\n· pass  s skip  w warn  F fail  ? not evaluated\n\n";
    let reports: Vec<Option<Report>> = tried.days.iter().map(|day| day.outcome.report()).collect();
    text += &metrics(&reports);
    text += &not_well(tried);
    let counted = COUNTED.iter().filter_map(|(status, word)| {
        let count = days.iter().filter(|(_, of)| of == status).count();
        (count > 0).then(|| format!("{count} {word}"))
    });
    let all = if days.len() == 1 { "1 date".to_owned() } else { format!("{} dates", days.len()) };
    let _ = writeln!(text, "{}: {all}: {}.", tried.check, counted.collect::<Vec<_>>().join(", "));
    let _ = writeln!(text, "{}{}", tried.would_get(), if tried.messages.is_empty() { "." } else { ":" });
    for (due, title) in tried.messages.iter().take(MESSAGES) {
        let _ = writeln!(text, "  {}  {}", local(*due, zone), one_line(title));
    }
    if tried.messages.len() > MESSAGES {
        let _ = writeln!(text, "  and {} more; --output json lists them", tried.messages.len() - MESSAGES);
    }
    if tried.kept > 0 {
        let _ = writeln!(text, "{} of the dates were asked about in the last day; --again asks again.", tried.kept);
    }
    let billed: u64 = tried.days.iter().map(|day| day.bytes).sum();
    if billed > 0 {
        let _ = writeln!(text, "Its queries read {}.", text::bytes(billed));
    }
    text + &stopped(tried)
}

fn stopped(tried: &Tried) -> String {
    match &tried.stopped {
        Some(stopped) => format!(
            "Stopped: {} and later dates were not asked about: {}\nWith a higher --max-bytes the same command goes on from there.\n",
            stopped.at, stopped.why
        ),
        None => String::new(),
    }
}

/// The metrics of all reports over the dates.
fn metrics(reports: &[Option<Report>]) -> String {
    let mut names: Vec<&str> = Vec::new();
    for metric in reports.iter().flatten().flat_map(|report| &report.metrics) {
        if !names.contains(&metric.name.as_str()) {
            names.push(&metric.name);
        }
    }
    if names.is_empty() {
        return String::new();
    }
    let mut table = Table::new(["METRIC", "LOWEST", "HIGHEST", "LIMIT", "DATES"]);
    for name in names {
        let of = |report: &Report| report.metrics.iter().find(|metric| metric.name == name).cloned();
        let found: Vec<Option<Metric>> = reports.iter().map(|report| report.as_ref().and_then(of)).collect();
        let values: Vec<Option<f64>> = found.iter().map(|metric| metric.as_ref()?.value).collect();
        let known = || values.iter().flatten().copied();
        let shown = |value: f64| if value.is_finite() { number(value) } else { String::new() };
        let limit = found.iter().flatten().last().map(limits).unwrap_or_default();
        table.row(vec![
            name.to_owned(),
            shown(known().fold(f64::INFINITY, f64::min)),
            shown(known().fold(f64::NEG_INFINITY, f64::max)),
            limit,
            sparkline(&values),
        ]);
    }
    table.text() + "\n"
}

/// The dates that are not well; those in a row with the same are one row.
fn not_well(tried: &Tried) -> String {
    let wrong = |day: &&Day| matches!(day.status(), Status::Fail | Status::Warn | Status::Error);
    let rows: Vec<&Day> = tried.days.iter().filter(wrong).collect();
    if rows.is_empty() {
        return String::new();
    }
    let said: Vec<(&Day, String)> = rows.iter().map(|day| (*day, what(day))).collect();
    let same: Vec<&[(&Day, String)]> = said
        .chunk_by(|(one, what), (other, said)| {
            one.date.tomorrow().ok() == Some(other.date) && one.status() == other.status() && what == said
        })
        .collect();
    let mut table = Table::new(["DATA OF", "DATES", "STATUS", "WHAT"]);
    for some in same.iter().take(LISTED) {
        if let Some((day, what)) = some.first() {
            let (dates, status) = (some.len().to_string(), day.status().name().to_owned());
            table.row(vec![day.date.to_string(), dates, status, shortened(what, TEXT)]);
        }
    }
    let more = match same.len().saturating_sub(LISTED) {
        0 => String::new(),
        more => format!("and {more} more; --output json lists every date\n"),
    };
    format!("{}{more}\n", table.text())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sparkline_goes_from_the_lowest_to_the_highest() {
        assert_eq!(sparkline(&[Some(0.0), None, Some(7.0), Some(3.5)]), "▁ █▅");
        assert_eq!(sparkline(&[Some(2.0), Some(2.0)]), "▄▄");
        assert_eq!(sparkline(&[Some(2.0); 100]), format!("…{}", "▄".repeat(SPARKS)));
        assert_eq!(sparkline(&[Some(f64::MIN), Some(f64::MAX)]), "▁█");
        assert_eq!(sparkline(&[None]), " ");
    }
}
