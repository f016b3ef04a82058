//! What `host replay` prints: how runs compare now with then, and what people would have been told.

use std::fmt::Write as _;

use jiff::{Timestamp, tz::TimeZone};
use serde_json::{Value, json};

use super::super::{output::xml, table::Table};
use crate::{
    alert::would_say,
    config::{Config, local},
    record::{PastTape, run_id},
    run::{Outcome, Run, verdict_name},
    text::{counted, printable, shortened},
};

/// The most rows of the table.
const LISTED: usize = 50;
/// Bytes that are shown of a question that was not asked then.
const ASKED: usize = 200;

/// A run that was to run again.
pub(super) struct Compared {
    pub(super) tape: PastTape,
    /// The run then and now, for the policy.
    pub(super) runs: Option<(Run, Run)>,
    pub(super) then: Option<Outcome>,
    pub(super) now: Option<Outcome>,
    pub(super) result: Compare,
}

/// How a run now compares with then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Compare {
    /// The same, byte for byte.
    Same,
    /// Another version or other settings say something else.
    Changed,
    /// The same bytes and settings say something else: where they part.
    Parted(String),
    /// It asked what was not asked then: the questions.
    Unrecorded(Vec<String>),
    /// The same, and the backends answered now: the questions, and whether something else is said.
    Anew(Vec<String>, bool),
    /// It asks what is not granted today: the error.
    Denied(String),
    /// It cannot be run again: why.
    Not(String),
}

pub(super) fn id_of(tape: &PastTape) -> String {
    run_id(tape.data_date, tape.due, tape.attempt)
}

impl Compared {
    /// The data date, the status then and now, and what is to be said, on one line each.
    fn row(&self) -> [String; 4] {
        let what = match (&self.result, &self.then, &self.now) {
            (Compare::Changed, Some(then), Some(now)) => then.changes(now),
            (result, ..) => format!("{}: {}", result.name(), result.why()),
        };
        let what = printable(&what).split_whitespace().collect::<Vec<_>>().join(" ");
        [self.tape.data_date.to_string(), word(&self.then), word(&self.now), what]
    }
}

impl Compare {
    fn name(&self) -> &'static str {
        match self {
            Self::Same => "same",
            Self::Changed => "changed",
            Self::Parted(_) => "parted",
            Self::Unrecorded(_) => "not recorded",
            Self::Anew(..) => "asked now",
            Self::Denied(_) => "denied today",
            Self::Not(_) => "not replayable",
        }
    }

    /// Why, on one line.
    fn why(&self) -> String {
        match self {
            Self::Same | Self::Changed => String::new(),
            Self::Parted(why) | Self::Not(why) | Self::Denied(why) => why.clone(),
            Self::Anew(questions, differs) => {
                let said = if *differs { "says something else" } else { "says the same" };
                format!("it {said} with answers of today to {}", shortened(&questions.join("; "), ASKED))
            }
            Self::Unrecorded(questions) => {
                format!("it asks what was not asked then: {}", shortened(&questions.join("; "), ASKED))
            }
        }
    }
}

/// The messages that people would have got, then and now: the title and the due time of each.
pub(super) struct Told {
    then: Vec<(Timestamp, String)>,
    now: Vec<(Timestamp, String)>,
}

impl Told {
    /// Of runs that ran again, by the policy of today.
    pub(super) fn of(config: &Config, compared: &mut [Compared]) -> Self {
        let (then, now) = compared.iter_mut().filter_map(|one| one.runs.take()).unzip();
        let titles = |runs: Vec<Run>| would_say(config, runs).into_iter().map(|(due, message)| (due, message.title));
        Self { then: titles(then).collect(), now: titles(now).collect() }
    }
}

/// Whether something else is said.
pub(super) fn differs(result: &Compare) -> bool {
    matches!(result, Compare::Changed | Compare::Parted(_) | Compare::Denied(_) | Compare::Anew(_, true))
}

/// The exit code: see the help.
pub(super) fn code(compared: &[Compared]) -> u8 {
    let any = |is: fn(&Compare) -> bool| compared.iter().any(|one| is(&one.result));
    match () {
        () if any(|result| matches!(result, Compare::Unrecorded(_))) => 3,
        () if any(differs) => 1,
        () if compared.iter().all(|one| matches!(one.result, Compare::Not(_))) => 3,
        () => 0,
    }
}

pub(super) fn word(outcome: &Option<Outcome>) -> String {
    outcome.as_ref().map_or_else(String::new, |outcome| outcome.status().name().to_owned())
}

pub(super) fn text(check: &str, compared: &[Compared], told: Option<&Told>, zone: &TimeZone) -> String {
    let different: Vec<&Compared> = compared.iter().filter(|one| one.result != Compare::Same).collect();
    // Rounds in which the same was found are one row.
    let rows: Vec<([String; 4], Timestamp)> = different.iter().map(|one| (one.row(), one.tape.due)).collect();
    let rows: Vec<&[([String; 4], Timestamp)]> = rows.chunk_by(|(one, _), (other, _)| one == other).collect();
    let mut table = Table::new(["DATA OF", "DUE", "RUNS", "THEN", "NOW", "WHAT"].map(str::to_owned).to_vec());
    for row in rows.iter().take(LISTED) {
        if let Some(([date, then, now, what], due)) = row.first().cloned() {
            table.row(vec![date, local(due, zone), row.len().to_string(), then, now, what]);
        }
    }
    let mut text = if rows.is_empty() { String::new() } else { format!("{}\n", table.text()) };
    if rows.len() > LISTED {
        let _ = writeln!(text, "{} more rows; --output json lists every run\n", rows.len() - LISTED);
    }
    let same = if told.is_some() { "would say the same" } else { "same, byte for byte" };
    // Of one, and of several.
    let counts = [
        (Compare::Same, [same; 2]),
        (Compare::Changed, ["would say something else"; 2]),
        (
            Compare::Parted(String::new()),
            ["says something else, though nothing changed", "say something else, though nothing changed"],
        ),
        (Compare::Unrecorded(Vec::new()), ["asks what was not asked then", "ask what was not asked then"]),
        (Compare::Anew(Vec::new(), false), ["was answered in part today", "were answered in part today"]),
        (Compare::Denied(String::new()), ["asks what is not granted today", "ask what is not granted today"]),
        (Compare::Not(String::new()), ["cannot be run again"; 2]),
    ];
    let found = counts.iter().filter_map(|(result, [one, many])| {
        let count = compared.iter().filter(|one| one.result.name() == result.name()).count();
        (count > 0).then(|| counted(count, one, many))
    });
    let runs = counted(compared.len(), "recorded run", "recorded runs");
    let _ = writeln!(text, "{check}: {runs}: {}.", found.collect::<Vec<_>>().join(", "));
    if let Some(Told { then, now }) = told {
        let messages = |count| counted(count, "message", "messages");
        let _ = writeln!(
            text,
            "By today's rules for alerts: {} for what ran then, {} with this.",
            messages(then.len()),
            messages(now.len())
        );
    }
    text
}

pub(super) fn json(check: &str, compared: &[Compared], told: &Told) -> Value {
    let run = |one: &Compared| {
        let outcome = |outcome: &Option<Outcome>| {
            outcome.as_ref().map(|outcome| json!({ "status": outcome.status(), "verdict": outcome.report().map(|report| verdict_name(&report.verdict)), "report": outcome.report(), "error": outcome.error(), "alerts": outcome.alerts() }))
        };
        json!({
            "run": id_of(&one.tape),
            "data_date": one.tape.data_date,
            "due": one.tape.due,
            "plugin": one.tape.digest,
            "result": one.result.name(),
            "why": one.result.why(),
            "then": outcome(&one.then),
            "now": outcome(&one.now),
        })
    };
    let messages = |told: &[(Timestamp, String)]| {
        told.iter().map(|(due, title)| json!({ "due": due, "title": title })).collect::<Vec<_>>()
    };
    json!({
        "check": check,
        "exit_code": code(compared),
        "runs": compared.iter().map(run).collect::<Vec<_>>(),
        "messages": { "then": messages(&told.then), "now": messages(&told.now) },
    })
}

/// The schema that CI systems read: <https://github.com/testmoapp/junitxml>
pub(super) fn junit(check: &str, compared: &[Compared]) -> String {
    let count = |is: fn(&Compare) -> bool| compared.iter().filter(|one| is(&one.result)).count();
    let mut text = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n  <testsuite name=\"host replay\" tests=\"{}\" failures=\"{}\" errors=\"{}\" skipped=\"{}\">\n",
        compared.len(),
        count(differs),
        count(|result| matches!(result, Compare::Unrecorded(_))),
        count(|result| matches!(result, Compare::Not(_))),
    );
    for one in compared {
        let _ = write!(text, "    <testcase classname=\"{}\" name=\"{}\"", xml(check), xml(&id_of(&one.tape)));
        let why = match (&one.result, &one.then, &one.now) {
            (Compare::Changed, Some(then), Some(now)) => then.changes(now),
            (result, ..) => result.why(),
        };
        let _ = match &one.result {
            Compare::Same | Compare::Anew(_, false) => writeln!(text, "/>"),
            Compare::Changed | Compare::Parted(_) | Compare::Denied(_) | Compare::Anew(_, true) => {
                writeln!(text, "><failure message=\"{}\"/></testcase>", xml(&why))
            }
            Compare::Unrecorded(_) => writeln!(text, "><error message=\"{}\"/></testcase>", xml(&why)),
            Compare::Not(_) => writeln!(text, "><skipped message=\"{}\"/></testcase>", xml(&why)),
        };
    }
    text + "  </testsuite>\n</testsuites>\n"
}
