//! Validates checks: every query is tried without reading a row, only `skip_when` is asked, and a check that no data can make
//! fail is detected.

mod seen;
mod skips;
mod threshold;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::{Timestamp, civil::Date};
use serde::Serialize;

use super::{Moment, Reason, Run};
use crate::{
    capability::{Answers, Backends, Call, Clock, Given, Problem, Rehearsal, Shapes, Unanswered},
    check::{Check, Family, Ready},
    config::{Budgets, Bytes, Dates, Time, Zone, check_key},
    contract::{Error, Failure, Verdict},
    plugin::advice_when_empty,
    sandbox::Stopped,
};
use seen::Seen;

/// Time limit for the validation of one check, including dry runs of its queries. A second is usual.
const TIMEOUT: Duration = Duration::from_secs(20);
/// Its CPU time limit. A rehearsal of a canary takes a few milliseconds.
const CPU: Duration = Duration::from_secs(2);
/// The most simulated results for one check.
const REHEARSALS: usize = 200;
/// Mixed simulated results before limits are aimed at one by one, besides the four pure ones.
const MIXTURES: u64 = 8;

/// The calls of a check whose answers do not depend on the data.
const ASKS_NO_DATA: [&str; 2] = ["slack.post", "expectation.good-dates"];

/// Bytes kept of a check's metrics over all rehearsals: a hundred times what a check with constant metrics needs.
const KEPT: usize = 4 << 20;

/// A fault in a check itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The kind of fault.
    pub kind: Kind,
    /// The fault, in one line.
    pub text: String,
    /// The SQL or dataset it is about.
    pub asked: Option<String>,
    /// The line of the SQL: its number from 1, and its text.
    pub line: Option<(usize, String)>,
}

/// The findings of each check, sorted by its name.
pub type Validated = Vec<(String, Vec<Finding>)>;

/// The faults that a validation found in a check, for alerts. Not a run: no data was read.
#[derive(Debug)]
pub struct Validation {
    /// The check's name.
    pub check: String,
    /// Its family: channel and group.
    pub family: Option<Family>,
    /// When it was validated.
    pub due: Timestamp,
    /// The date that it was validated for.
    pub data_date: Date,
    /// What the check asks for and cannot have, a line each.
    pub refused: Vec<String>,
    /// That no data can make the check fail, or pass, and why, a line each.
    pub wrong: Vec<String>,
    /// The remarks, a line each.
    pub remarks: Vec<String>,
    /// Whether it could be seen what the check makes of data; if not, `wrong` and `remarks` say nothing.
    pub judged: bool,
}

impl Validation {
    /// The news for a check's findings. Inconclusive findings are not news; its runs report them too.
    pub fn new(check: &Check, moment: &Moment, findings: &[Finding]) -> Self {
        let of = |kind: Kind| findings.iter().filter(move |finding| finding.kind == kind).map(Finding::shown);
        let wrong = |words: &str, kind: Kind| of(kind).map(|text| format!("{words}: {text}")).collect::<Vec<_>>();
        Self {
            check: check.name.clone(),
            family: check.family.clone(),
            due: moment.due,
            data_date: moment.data_date,
            refused: of(Kind::Refused).collect(),
            wrong: [wrong("it cannot fail", Kind::CannotFail), wrong("it cannot pass", Kind::CannotPass)].concat(),
            remarks: of(Kind::Remark).collect(),
            judged: findings.iter().all(|finding| !matches!(finding.kind, Kind::Refused | Kind::Unknown)),
        }
    }
}

/// The kind of a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// The check cannot run, or one of its queries would fail.
    Refused,
    /// No data can make it fail.
    CannotFail,
    /// No data can make it pass.
    CannotPass,
    /// The check is sound, but may not notice something.
    Remark,
    /// A limit that no simulated result reached: it may be right or wrong.
    NotTried,
    /// Inconclusive: a backend did not answer.
    Unknown,
    /// Validating it exceeds the limits, and will the next time too.
    Unfinished,
}

impl Kind {
    /// Whether it is a fault of the check; otherwise it is inconclusive.
    pub fn is_wrong(self) -> bool {
        match self {
            Self::Refused | Self::CannotFail | Self::CannotPass => true,
            Self::Remark | Self::NotTried | Self::Unknown | Self::Unfinished => false,
        }
    }

    /// Whether the check may be right or wrong.
    pub fn is_inconclusive(self) -> bool {
        matches!(self, Self::NotTried | Self::Unknown | Self::Unfinished)
    }
}

impl Finding {
    /// The text with its line of SQL, for people.
    pub fn shown(&self) -> String {
        match &self.line {
            Some((number, line)) => format!("{} (line {number}: {line})", self.text),
            None => self.text.clone(),
        }
    }

    fn new(kind: Kind, text: String) -> Self {
        Self { kind, text, asked: None, line: None }
    }
}

/// Validates one check; no findings mean that it is sound. `zone` is the pipeline's.
pub async fn validate(check: &Check, backends: &Backends, moment: &Moment, zone: &Zone) -> Vec<Finding> {
    let ready = match (check.unable(), check.plugin()) {
        (Some(reason), _) => return vec![Finding::new(Kind::Refused, reason.to_owned())],
        (None, None) => return Vec::new(),
        (None, Some(ready)) => ready,
    };
    let mut findings = match &ready.skip {
        Some(skip) => skips::validate(check, ready, skip, backends, moment, zone).await,
        None => Vec::new(),
    };
    findings.extend(validate_plugin(check, ready, backends, moment).await);
    findings
}

/// Validates what the plugin does. All rehearsals share one budget of time and CPU, and the memory of one is freed before
/// the next begins.
async fn validate_plugin(check: &Check, ready: &Ready, backends: &Backends, moment: &Moment) -> Vec<Finding> {
    let mut stage = Stage {
        check,
        ready,
        backends,
        moment,
        shapes: Arc::default(),
        began: Instant::now(),
        computed: Duration::ZERO,
    };
    let mut seen = Seen::new(&ready.settings);
    let (high, given) = match stage.rehearse(Answers::High, &seen).await {
        Ok(rehearsed) => rehearsed,
        Err(Ended::Its(finding)) => return vec![finding],
        Err(Ended::Ours(why)) => return vec![unfinished(&why)],
    };
    let findings = wrong(&high, &stage.shapes);
    if !findings.is_empty() {
        return findings;
    }
    if high.error.is_none() && high.calls.iter().all(|call| ASKS_NO_DATA.contains(&call.name)) {
        return vec![Finding::new(
            Kind::CannotFail,
            "it asks nothing of the host, so nothing can make it fail".to_owned(),
        )];
    }
    if !stage.shapes.asked() {
        return findings;
    }
    seen.take(&high, given);
    let ended = stage.try_all(&mut seen).await;
    if let Some(Ended::Its(finding)) = ended {
        return vec![finding];
    }
    let mut findings = wrong(&high, &stage.shapes);
    findings.extend(seen.faults(&stage.shapes));
    match (seen.untried(&stage.shapes, &findings), ended) {
        (None, _) => {}
        (Some(untried), Some(Ended::Ours(why))) => findings.push(unfinished(&format!("{why}; {untried}"))),
        (Some(untried), _) => findings.push(Finding::new(Kind::NotTried, untried)),
    }
    if seen.passes_empty {
        findings.insert(0, Finding::new(Kind::Remark, passes_empty(ready, &seen, &stage.shapes)));
    }
    findings.extend(misdated(check, &stage.shapes).map(|text| Finding::new(Kind::Remark, text)));
    findings.extend(several_rows(&high).map(|text| Finding::new(Kind::Remark, text)));
    findings
}

/// The remark on a check that is about dates, though none of its queries depends on one; or the other way round.
fn misdated(check: &Check, shapes: &Shapes) -> Option<String> {
    let name = check_key(&check.name);
    match (check.dates(), shapes.is_dated()) {
        (Dates::Dated, false) if shapes.queried() => Some(format!(
            "none of its queries uses the data date, so that each date is judged alike; add `dates = \"now\"` to [checks.{name}], or use the date"
        )),
        (Dates::Now, true) => Some(format!(
            "its queries use the data date, but it is about now, so that a bad date is forgotten when the next one is good; add `dates = \"dated\"` to [checks.{name}]"
        )),
        _ => None,
    }
}

/// The remark on a check that takes one row, if its query may give several. The host answered each call, so the check
/// itself refuses an answer.
fn several_rows(high: &Run) -> Option<String> {
    let error = high.error.as_ref().filter(|_| high.calls.iter().all(|call| call.error.is_none()))?;
    let Reason::Stopped(ended) = error else { return None };
    let refused = matches!(&ended.stopped, Stopped::Failure(Failure::Call(Error::Invalid(_))));
    refused.then(|| format!("its query may give several rows, and then it has no verdict: {error}"))
}

/// The remark on a check that does not notice missing rows, which may be intended.
fn passes_empty(ready: &Ready, seen: &Seen, shapes: &Shapes) -> String {
    let text = "it passes when its tables are empty";
    let usual = advice_when_empty(&ready.plugin.descriptor.settings, &ready.settings);
    match seen.advice(shapes, usual) {
        Some(advice) => format!("{text}; if it should not, {advice}"),
        None => text.to_owned(),
    }
}

/// What the check asks for and cannot have. A backend that does not answer makes it unknown.
fn wrong(run: &Run, shapes: &Shapes) -> Vec<Finding> {
    let mut findings: Vec<Finding> = shapes.problems().iter().map(refused).collect();
    for finding in run.calls.iter().filter_map(unanswered) {
        if findings.iter().all(|known| known.text != finding.text) {
            findings.push(finding);
        }
    }
    if let Some(error) = run.error.as_ref().filter(|error| refuses_settings(error)) {
        findings.push(Finding::new(Kind::Refused, error.to_string()));
    }
    findings
}

/// A check in rehearsal, with the time used so far.
struct Stage<'c> {
    check: &'c Check,
    ready: &'c Ready,
    backends: &'c Backends,
    moment: &'c Moment,
    shapes: Arc<Shapes>,
    began: Instant,
    computed: Duration,
}

impl Stage<'_> {
    /// Rehearses until each limit was reached, or the rehearsals, the time or the CPU are used up.
    async fn try_all(&mut self, seen: &mut Seen) -> Option<Ended> {
        let usual = [Answers::Empty, Answers::Low, Answers::Null].into_iter().chain((1..=MIXTURES).map(Answers::Mixed));
        let mut usual = usual.collect::<Vec<_>>().into_iter();
        while seen.rehearsals < REHEARSALS {
            let answers = match usual.next() {
                Some(answers) => answers,
                None => match seen.aim(&self.shapes) {
                    Some(aim) => Answers::Aimed(aim),
                    None if seen.is_open() => Answers::Mixed(seen.rehearsals as u64),
                    None => return None,
                },
            };
            let empty = answers == Answers::Empty;
            let (run, given) = match self.rehearse(answers, seen).await {
                Ok(rehearsed) => rehearsed,
                Err(ended) => return Some(ended),
            };
            if empty {
                let passed = run.report.as_ref().is_some_and(|report| report.verdict == Verdict::Pass);
                seen.passes_empty = passed && run.error.is_none();
            }
            seen.take(&run, given);
            if seen.kept > KEPT {
                return Some(Ended::Its(too_many_metrics()));
            }
        }
        None
    }

    /// One rehearsal, with what was answered in it.
    async fn rehearse(&mut self, answers: Answers, seen: &Seen) -> Result<(Run, Given), Ended> {
        let left = |most: Duration, used: Duration| most.checked_sub(used).filter(|left| !left.is_zero());
        let Some(time) = left(TIMEOUT, self.began.elapsed()) else {
            return Err(Ended::Ours(format!("takes more than {}", Time(TIMEOUT))));
        };
        let Some(cpu) = left(CPU, self.computed) else {
            return Err(Ended::Ours(format!("needs more than {} of CPU", Time(CPU))));
        };
        let own = &self.ready.budgets;
        let budgets = Budgets { timeout: Time(own.timeout.0.min(time)), cpu: Time(own.cpu.0.min(cpu)), ..own.clone() };
        let Moment { due, data_date: date, day_start, day_end, .. } = *self.moment;
        let clock = Clock { due, date, day: (day_start, day_end) };
        let rehearsal = Arc::new(Rehearsal::new(answers, clock, seen.limits(), self.shapes.clone()));
        let rehearsed = self.check.rehearse(self.ready, self.backends, budgets, self.moment, &rehearsal);
        // It may also have waited for room.
        let Ok((run, computed)) = tokio::time::timeout(time, rehearsed).await else {
            return Err(Ended::Ours(format!("takes more than {}", Time(TIMEOUT))));
        };
        self.computed += computed;
        let exceeded = |budget| run.exceeded.contains(budget);
        match &run.error {
            // Its own budgets: a real run would have the same error.
            Some(error) if exceeded("timeout") && own.timeout.0 <= time => Err(Ended::its(error)),
            Some(error) if exceeded("cpu") && own.cpu.0 <= cpu => Err(Ended::its(error)),
            Some(_) if exceeded("timeout") => Err(Ended::Ours(format!("takes more than {}", Time(TIMEOUT)))),
            Some(_) if exceeded("cpu") => Err(Ended::Ours(format!("needs more than {} of CPU", Time(CPU)))),
            _ => Ok((run, rehearsal.given())),
        }
    }
}

/// Why the rehearsals of a check ended early.
enum Ended {
    /// Because of the check.
    Its(Finding),
    /// A validation's own limits: what was seen until then counts.
    Ours(String),
}

impl Ended {
    fn its(error: &Reason) -> Self {
        Self::Its(unfinished(&format!("fails: {error}")))
    }
}

fn unfinished(why: &str) -> Finding {
    Finding::new(Kind::Unfinished, format!("it could not be validated: running it on simulated results {why}"))
}

fn too_many_metrics() -> Finding {
    let kept = Bytes(KEPT);
    let text = format!("it could not be validated: its metrics have new names in every run, more than fit into {kept}");
    Finding::new(Kind::Unfinished, text)
}

fn refuses_settings(error: &Reason) -> bool {
    matches!(error, Reason::Stopped(ended) if matches!(ended.stopped, Stopped::Failure(Failure::Settings(_))))
}

fn refused(Problem { asked, error }: &Problem) -> Finding {
    let kind = match error {
        Error::TimedOut(_) | Error::Unavailable(_) => Kind::Unknown,
        Error::Invalid(_) | Error::Denied(_) | Error::OverBudget(_) | Error::NotFound(_) => Kind::Refused,
    };
    let text = error.message().to_owned();
    Finding { kind, line: line(asked, &text), text, asked: Some(asked.clone()) }
}

/// The finding for a call that had no answer, unless it depends on the simulated data.
fn unanswered(call: &Call) -> Option<Finding> {
    let Some(Unanswered::Error(error)) = &call.error else { return None };
    let kind = match error {
        Error::Denied(_) => Kind::Refused,
        _ if call.name == "slack.post" => return None,
        Error::NotFound(_) | Error::Invalid(_) => Kind::Refused,
        Error::TimedOut(_) | Error::Unavailable(_) => Kind::Unknown,
        Error::OverBudget(_) => return None,
    };
    Some(Finding::new(kind, error.message().to_owned()))
}

/// The line of SQL that an error is about: from its position, else the first line with the name.
fn line(sql: &str, error: &str) -> Option<(usize, String)> {
    let lines = || sql.lines().enumerate().map(|(at, line)| (at + 1, line.trim().to_owned()));
    // BigQuery: `at [3:12]`; the parser: `at Line: 3, Column: 12`.
    let number = |start: &str, end: char| error.rsplit_once(start)?.1.split(end).next()?.parse::<usize>().ok();
    if let Some(wanted) = number("at [", ':').or_else(|| number("at Line: ", ',')) {
        return lines().find(|(number, _)| *number == wanted);
    }
    let named = ["Unrecognized name: ", "there is no table ", "there is no dataset ", "dataset "];
    let name = named.iter().find_map(|start| error.split_once(start))?.1;
    let name = name.split([' ', ';', ':', ',', '?']).next()?.trim_matches('`');
    let last = name.rsplit('.').next().filter(|last| !last.is_empty())?;
    let has_word = |line: &str| line.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == last);
    lines().find(|(_, line)| has_word(line))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_about_a_line() {
        let sql = "SELECT COUNT(*) AS games,\n       COUNTIF(player_nam IS NULL) AS nameless\nFROM nba_raw.boxscore";
        let found = |error: &str| line(sql, error).map(|(number, _)| number);
        assert_eq!(found("query failed: Unrecognized name: player_nam; did you mean player_name?"), Some(2));
        assert_eq!(found("Unrecognized name: player_nam at [2:16] (400 invalidQuery)"), Some(2));
        assert_eq!(found("query failed: syntax error: Expected: x at Line: 3, Column: 1"), Some(3));
        assert_eq!(found("query failed: there is no table nba_raw.boxscore"), Some(3));
        assert_eq!(found("query denied: dataset nba_raw is not granted; add it"), Some(3));
        assert_eq!(found("query failed: something else"), None);
    }
}
