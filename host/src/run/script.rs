//! What it takes to run a run again, as the record keeps it: its script has the settings, the budgets and the questions, each with
//! the id of its answer; what came of it is kept beside it, to compare with.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use anyhow::{Context, Result, anyhow, bail};
use jiff::Timestamp;
use ring::hmac;
use serde::{Deserialize, Serialize};

use super::{Moment, Outcome, Reason, Run, Undecided};
use crate::{
    capability::{Event, Heard, Tape},
    config::{Budgets, Keeping, Skip, SkipAtMost, SkipQuery},
    package::Digest,
    record::{NewAnswer, NewTape, PastTape, unpack},
    sandbox::Stopped,
    text::hex::hex,
};

/// The most bytes of one run's answers, unpacked, so that a damaged record fills no memory.
const LARGEST: usize = 256 << 20;
/// The form of scripts. A host that knows another form does not read them.
const FORM: u8 = 1;

/// What a run was given, if its answers are recorded.
#[derive(Debug, Clone)]
pub struct Given {
    /// When it ran, and about which date.
    pub moment: Moment,
    /// The check's settings, a JSON object.
    pub settings: String,
    /// The channel of its alerts.
    pub channel: String,
    /// Its budgets.
    pub budgets: Budgets,
    /// When it is skipped, if data decides that.
    pub skip: Option<Skip>,
}

/// Where answers are kept, and under which names.
#[derive(Debug)]
pub struct Keeper {
    key: hmac::Key,
}

/// What a run can be run again from.
#[derive(Debug)]
pub struct Script {
    /// What it was given; its clock and its date come from the tape.
    pub given: Given,
    /// The digest of the plugin.
    pub plugin: Digest,
    /// What the queries of `skip_when` were answered.
    pub skip: Vec<Event>,
    /// What the plugin was answered.
    pub events: Vec<Event>,
    /// What came of it.
    pub outcome: Outcome,
}

/// A script as it is written.
#[derive(Debug, Serialize, Deserialize)]
struct Written {
    form: u8,
    /// The host and its engine, for people.
    host: String,
    settings: String,
    channel: String,
    /// As in host.toml.
    budgets: String,
    skip: Option<WrittenSkip>,
    skip_events: Vec<Event>,
    events: Vec<Event>,
}

/// The queries with their reasons, and `skip_at_most` as in host.toml.
type WrittenSkip = ((String, Option<String>), Option<(String, Option<String>)>, String);

/// A moment as it is written: seconds, but the deadline, which may be finer, in milliseconds.
#[derive(Debug, Serialize, Deserialize)]
struct WrittenMoment {
    day_start: i64,
    day_end: i64,
    deadline: i64,
    attempt: u32,
    past: bool,
    early: bool,
    again: bool,
}

impl Keeper {
    /// With the record's key.
    pub fn new(key: &[u8]) -> Self {
        Self { key: hmac::Key::new(hmac::HMAC_SHA256, key) }
    }

    /// What the record keeps of a run's answers; `None` if nothing. `keeping` says which answers are kept.
    pub fn tape(&self, run: &Run, keeping: impl Fn(&str) -> Keeping) -> Result<Option<NewTape>> {
        let (Some(given), Some(plugin)) = (&run.given, &run.plugin) else { return Ok(None) };
        let mut tape = NewTape {
            digest: plugin.digest.to_string(),
            moment: serde_json::to_string(&WrittenMoment::of(&given.moment))?,
            script: None,
            why: None,
            answers: Vec::new(),
        };
        let tapes = [&run.tapes.skip, &run.tapes.plugin];
        let sources: BTreeSet<String> = tapes
            .iter()
            .copied()
            .flatten()
            .flat_map(|tape| &tape.events)
            .flat_map(|event| event.sources.iter().cloned())
            .collect();
        let least = sources.iter().map(|source| keeping(source)).max().unwrap_or(Keeping::On);
        let off = sources.iter().find(|source| keeping(source) == Keeping::Off);
        tape.why = match off {
            Some(source) => Keeping::Off.why_not(source),
            None => not_again(run),
        };
        if tape.why.is_some() {
            return Ok(Some(tape));
        }
        let digested = sources.iter().find(|source| keeping(source) == Keeping::Digest);
        let mut answers = BTreeMap::new();
        let mut add = |content: Vec<u8>, sources: &BTreeSet<String>, keeping: Keeping| -> Result<String> {
            let id = self.id(&content, sources);
            if !answers.contains_key(&id) {
                let content = (keeping == Keeping::On).then_some(content);
                answers.insert(id.clone(), NewAnswer { id: id.clone(), content, sources: sources.clone() });
            }
            Ok(id)
        };
        let mut events = |tape: &Option<Tape>| -> Result<Vec<Event>> {
            let events = tape.iter().flat_map(|tape| &tape.events).map(|event| {
                let keeping = event.sources.iter().map(|source| keeping(source)).max().unwrap_or(Keeping::On);
                let id = event.answer.clone().map(|answer| add(answer, &event.sources, keeping)).transpose()?;
                Ok(Event { answer: id.map(String::into_bytes), ..event.clone() })
            });
            events.collect()
        };
        let (skip_events, events) = (events(&run.tapes.skip)?, events(&run.tapes.plugin)?);
        let written = Written {
            form: FORM,
            host: concat!("host ", env!("CARGO_PKG_VERSION")).to_owned(),
            settings: given.settings.clone(),
            channel: given.channel.clone(),
            budgets: given.budgets.text(),
            skip: given.skip.as_ref().map(written_skip),
            skip_events,
            events,
        };
        // Its questions may repeat what was answered before them, and what came of it too.
        let script = add(postcard::to_stdvec(&written)?, &sources, least)?;
        let outcome = add(postcard::to_stdvec(&Outcome::of(run))?, &sources, least)?;
        match digested {
            Some(source) => {
                tape.why = Keeping::Digest.why_not(source);
            }
            None => tape.script = Some((script, outcome)),
        }
        tape.answers = answers.into_values().collect();
        Ok(Some(tape))
    }

    /// The id of an answer: the same for the same content from the same sources, and nobody without the key can guess from it what
    /// was answered.
    fn id(&self, content: &[u8], sources: &BTreeSet<String>) -> String {
        let mut context = hmac::Context::with_key(&self.key);
        for source in sources {
            context.update(source.as_bytes());
            context.update(b"\n");
        }
        context.update(b"\n");
        context.update(content);
        hex(context.sign().as_ref())
    }
}

/// Why a run cannot be run again, whatever was recorded.
fn not_again(run: &Run) -> Option<String> {
    let tapes = [&run.tapes.skip, &run.tapes.plugin];
    match &run.error {
        Some(Reason::Stopped(ended)) => match ended.stopped.exceeded() {
            Some(budget @ ("timeout" | "cpu")) => {
                return Some(format!("it was ended by budgets.{budget}, and another time another moment ends it"));
            }
            _ if matches!(ended.stopped, Stopped::Misfit(_)) => {
                return Some("it did not fit into the sandbox".to_owned());
            }
            _ => {}
        },
        Some(Reason::Broken(_)) => return Some("the host itself failed".to_owned()),
        Some(Reason::Undecided(Undecided::TooLong { .. } | Undecided::Unrecorded(_))) => {
            return Some("skip_at_most decided, which looks at all runs before it".to_owned());
        }
        _ => {}
    }
    let any = |is: fn(&Tape) -> bool| tapes.iter().copied().flatten().any(is);
    match () {
        () if any(|tape| tape.is_cut) => Some("its answers are larger than record.answers_per_run".to_owned()),
        () if any(|tape| tape.is_pressed) => {
            Some("the plugin polls, or computes for long, while several answers come".to_owned())
        }
        () => None,
    }
}

impl Script {
    /// The ids of a tape, which are to be read first: of its script, and of what came of it. An error says why it has none.
    pub fn ids(tape: &PastTape) -> Result<BTreeSet<String>> {
        match (&tape.script, &tape.outcome, &tape.why) {
            (Some(script), Some(outcome), _) => Ok(BTreeSet::from([script.clone(), outcome.clone()])),
            (_, _, Some(why)) => Err(anyhow!("{why}")),
            _ => Err(anyhow!("its answers are no longer recorded")),
        }
    }

    /// The ids of the answers that a script needs.
    pub fn needs(tape: &PastTape, contents: &HashMap<String, Vec<u8>>) -> Result<BTreeSet<String>> {
        let written = Written::read(tape, contents)?;
        let ids = written.skip_events.iter().chain(&written.events).filter_map(|event| event.answer.clone());
        ids.map(|id| String::from_utf8(id).context("its script is damaged")).collect()
    }

    /// Reads what a tape needs from the contents of answers. An answer that is not among them is left out.
    pub fn read(tape: &PastTape, contents: &HashMap<String, Vec<u8>>) -> Result<Self> {
        let written = Written::read(tape, contents)?;
        let outcome = content(tape.outcome.as_deref(), contents).context("what came of it")?;
        let moment: WrittenMoment = serde_json::from_str(&tape.moment).context("its moment is damaged")?;
        let mut unpacked = 0;
        let mut events = |events: Vec<Event>| -> Result<Vec<Event>> {
            let answered = events.into_iter().map(|event| {
                let id = event.answer.as_deref().map(std::str::from_utf8).transpose()?;
                let answer = id.filter(|id| contents.contains_key(*id)).map(|id| content(Some(id), contents));
                let answer = answer.transpose().with_context(|| format!("the answer to its {}", event.name))?;
                unpacked += answer.as_ref().map_or(0, Vec::len);
                if unpacked > LARGEST {
                    bail!("its answers are larger than any run's: they are damaged");
                }
                Ok(Event { answer, ..event })
            });
            answered.collect()
        };
        Ok(Self {
            given: Given {
                moment: moment.of_tape(tape)?,
                settings: written.settings,
                channel: written.channel,
                budgets: Budgets::parse(&written.budgets).context("another host recorded other budgets")?,
                skip: written.skip.map(read_skip).transpose()?,
            },
            plugin: tape.digest.parse().context("its digest is damaged")?,
            skip: events(written.skip_events)?,
            events: events(written.events)?,
            outcome: postcard::from_bytes(&outcome).context("what came of it is damaged")?,
        })
    }

    /// The first question whose answer is not there, though it had one.
    pub fn is_missing(&self) -> Option<&Event> {
        let answered = |event: &&Event| event.heard != Heard::Never && event.name != "timer" && event.answer.is_none();
        self.skip.iter().chain(&self.events).find(answered)
    }
}

impl Written {
    fn read(tape: &PastTape, contents: &HashMap<String, Vec<u8>>) -> Result<Self> {
        let bytes = content(tape.script.as_deref(), contents).context("its script")?;
        // The form comes first, whatever follows it.
        match bytes.first() {
            Some(&FORM) => postcard::from_bytes(&bytes).context("its script is damaged"),
            _ => Err(anyhow!("another version of the host recorded it")),
        }
    }
}

/// An answer, unpacked.
fn content(id: Option<&str>, contents: &HashMap<String, Vec<u8>>) -> Result<Vec<u8>> {
    let packed = id.and_then(|id| contents.get(id)).context("it is not recorded any more")?;
    unpack(packed).context("it is damaged in the record")
}

fn written_skip(Skip { when, unless_known, at_most }: &Skip) -> WrittenSkip {
    let query = |query: &SkipQuery| (query.sql.clone(), query.why.clone());
    (query(when), unless_known.as_ref().map(query), at_most.to_string())
}

fn read_skip((when, unless_known, at_most): WrittenSkip) -> Result<Skip> {
    let query = |(sql, why): (String, Option<String>)| SkipQuery { sql, why };
    let at_most = match at_most.as_str() {
        "never" => SkipAtMost(None),
        text => SkipAtMost(Some(text.parse().map_err(|error| anyhow!("skip_at_most: {error}"))?)),
    };
    Ok(Skip { when: query(when), unless_known: unless_known.map(query), at_most })
}

impl WrittenMoment {
    fn of(moment: &Moment) -> Self {
        Self {
            day_start: moment.day_start.as_second(),
            day_end: moment.day_end.as_second(),
            deadline: moment.deadline.as_millisecond(),
            attempt: moment.attempt,
            past: moment.past,
            early: moment.early,
            again: moment.again,
        }
    }

    fn of_tape(self, tape: &PastTape) -> Result<Moment> {
        let second = |second| Timestamp::from_second(second).context("its moment is damaged");
        Ok(Moment {
            due: tape.due,
            clock: tape.due,
            data_date: tape.data_date,
            day_start: second(self.day_start)?,
            day_end: second(self.day_end)?,
            deadline: Timestamp::from_millisecond(self.deadline).context("its moment is damaged")?,
            attempt: self.attempt,
            past: self.past,
            early: self.early,
            again: self.again,
            recheck: false,
            began: None,
            lease: None,
            skip: None,
            off_hours: false,
        })
    }
}
