//! What one run asked, and what it was answered: recorded while it runs, and given to it again in a replay. A tape knows nothing of
//! backends: whoever asks passes the future that answers.

mod altered;
mod handover;

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::future::poll_fn;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio::time::{Instant, sleep_until};

pub use altered::{Alteration, altered, deployed, listed, repositories};

use super::warehouse::Argument;
use crate::{contract::Error, googlesql::Select};
use handover::{Handover, Rank};

/// What a timer is called among the calls.
const TIMER: &str = "timer";
/// The most questions and timers of one run that are recorded.
const MOST: usize = 10_000;
/// What an event takes besides its texts, in bytes.
const EVENT: usize = 64;

/// Whether a run's answers are recorded.
#[derive(Debug, Clone, Default)]
pub enum Taping {
    /// They are not.
    #[default]
    Off,
    /// They are, as long as all of them fit into a number of bytes.
    Record(usize),
    /// Recorded ones are given instead of new ones.
    Replay(Arc<Played>),
}

/// One question of a run and its answer, or a timer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// `warehouse.query`, …, or `timer`.
    pub name: String,
    /// The whole question: of a query the SQL as it was parsed, and the parameters with their types.
    pub question: String,
    /// Where the answer is from: datasets by name, `git.NAME`, `deployments`, `record`.
    pub sources: BTreeSet<String>,
    /// When the guest got the answer.
    pub heard: Heard,
    /// The answer; `None` if there was none, or it is not kept.
    pub answer: Option<Vec<u8>>,
}

/// When a guest got an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Heard {
    /// When it asked.
    AtOnce,
    /// When it waited: as which of all answers and timers of the run.
    Later(u32),
    /// It called the question off, or ended before.
    Never,
}

/// What was recorded of a run.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Tape {
    /// In the order of the questions.
    pub events: Vec<Event>,
    /// Whether something did not fit, so that the run cannot be replayed.
    pub is_cut: bool,
    /// Whether the guest got several answers without waiting for them: another time it may see them in another way.
    pub is_pressed: bool,
}

/// A question as it is asked.
#[derive(Debug)]
pub(super) enum Question {
    /// One in words, and where the answer is from.
    Words {
        /// All of it.
        text: String,
        /// See [`Event::sources`].
        source: String,
    },
    /// A query.
    Sql {
        /// As the plugin wrote it.
        sql: String,
        /// Its parameters.
        arguments: Vec<Argument>,
    },
}

/// The recorded answers of a run that is replayed.
#[derive(Debug, Default)]
pub struct Played {
    /// By call and question, in the order in which they were asked.
    events: Mutex<HashMap<(String, String), VecDeque<Event>>>,
    /// Whether the backends are asked what was not recorded.
    asks: bool,
    unrecorded: Mutex<Vec<String>>,
}

impl Played {
    /// From recorded events; with `asks` the backends answer the other questions.
    pub fn new(recorded: &[Event], asks: bool) -> Self {
        let mut events: HashMap<(String, String), VecDeque<Event>> = HashMap::new();
        for event in recorded {
            events.entry((event.name.clone(), event.question.clone())).or_default().push_back(event.clone());
        }
        Self { events: Mutex::new(events), asks, unrecorded: Mutex::default() }
    }

    /// The questions that were not recorded, so far.
    pub fn unrecorded(&self) -> Vec<String> {
        self.unrecorded.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn next(&self, name: &str, question: String) -> Option<Event> {
        let mut events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        events.get_mut(&(name.to_owned(), question))?.pop_front()
    }

    fn is_unrecorded(&self, name: &str, question: &str) {
        let mut unrecorded = self.unrecorded.lock().unwrap_or_else(PoisonError::into_inner);
        if unrecorded.len() < MOST {
            unrecorded.push(format!("{name}: {question}"));
        }
    }
}

/// The tape of a run that is under way.
#[derive(Debug, Default)]
pub(super) struct Taped {
    taping: Taping,
    handover: Handover,
    recorded: Mutex<Recorded>,
}

#[derive(Debug, Default)]
struct Recorded {
    events: Vec<(Asked, Heard, Option<Vec<u8>>)>,
    /// The queries of the run as they were parsed, by their text.
    parsed: HashMap<String, Parsed>,
    bytes: usize,
    is_cut: bool,
}

#[derive(Debug)]
struct Asked {
    name: &'static str,
    question: Question,
}

#[derive(Debug, Clone)]
struct Parsed {
    text: Arc<str>,
    datasets: BTreeSet<String>,
}

impl Taped {
    pub(super) fn new(taping: Taping) -> Self {
        Self { taping, ..Self::default() }
    }

    /// Asks, and hands the answer over in its turn. In a replay a question is asked only if it is `permitted` today, and answered
    /// from the tape.
    pub(super) async fn ask<T: Serialize + DeserializeOwned>(
        &self,
        name: &'static str,
        question: impl FnOnce() -> Question,
        permitted: impl FnOnce() -> Result<(), Error>,
        answer: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        match &self.taping {
            Taping::Off => self.in_turn(answer).await.0,
            Taping::Record(most) => {
                let place = self.begin(Asked { name, question: question() }, *most);
                let (answer, heard) = self.in_turn(answer).await;
                if let Some(place) = place {
                    self.heard(place, heard, &answer, *most);
                }
                answer
            }
            Taping::Replay(played) => {
                // At once, so that equal questions get their answers in the order in which they are asked.
                let permitted = permitted();
                let question = self.recorded().whole(&question()).0;
                self.replay(played, name, question, permitted, answer).await
            }
        }
    }

    /// An answer, and when the guest gets it.
    async fn in_turn<T>(&self, answer: impl Future<Output = T>) -> (T, Heard) {
        let mut answer = pin!(answer);
        let mut has_waited = false;
        // Never polled twice in a row: git waits for one `yield_now`, so that it answers together what the guest asks meanwhile.
        let answer = poll_fn(|context| {
            let polled = answer.as_mut().poll(context);
            has_waited |= polled.is_pending();
            polled
        });
        let answer = answer.await;
        match has_waited {
            false => (answer, Heard::AtOnce),
            true => (answer, Heard::Later(self.handover.pass(None).await)),
        }
    }

    async fn replay<T: DeserializeOwned>(
        &self,
        played: &Played,
        name: &str,
        question: String,
        permitted: Result<(), Error>,
        answer: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        match played.next(name, question.clone()) {
            Some(Event { heard: Heard::Never, .. }) => std::future::pending().await,
            Some(Event { heard, answer: Some(bytes), .. }) => {
                if let Heard::Later(turn) = heard {
                    self.handover.pass(Some(Rank::Answer(turn))).await;
                }
                permitted?;
                let answer = postcard::from_bytes(&bytes);
                answer.unwrap_or_else(|error| {
                    Err(Error::Unavailable(format!("{name} failed: its recorded answer cannot be read: {error}")))
                })
            }
            Some(_) | None => {
                permitted?;
                played.is_unrecorded(name, &question);
                if !played.asks {
                    return Err(Error::Unavailable(format!("{name} failed: its answer is not recorded")));
                }
                let answer = {
                    let _owed = self.handover.owe();
                    answer.await
                };
                self.handover.pass(Some(self.handover.anew())).await;
                answer
            }
        }
    }

    /// Notes a granted query as it was parsed, and where its answer is from.
    pub(super) fn granted(&self, sql: &str, select: &Select) {
        let most = match &self.taping {
            Taping::Off => return,
            Taping::Record(most) => *most,
            Taping::Replay(_) => usize::MAX,
        };
        let mut recorded = self.recorded();
        if recorded.is_cut || recorded.parsed.contains_key(sql) {
            return;
        }
        let datasets = select.datasets.iter().map(|dataset| dataset.len() + EVENT).sum::<usize>();
        recorded.bytes = recorded.bytes.saturating_add(sql.len() + select.text().len() + datasets);
        if recorded.bytes > most {
            return recorded.cut();
        }
        let parsed = Parsed { text: select.text(), datasets: select.datasets.clone() };
        recorded.parsed.insert(sql.to_owned(), parsed);
    }

    /// A timer of the guest.
    pub(super) fn timer(&self, length: Duration) -> Timer {
        let question = || Question::words(length.as_nanos().to_string(), "");
        let (place, rank) = match &self.taping {
            Taping::Off => (None, None),
            Taping::Record(most) => (self.begin(Asked { name: TIMER, question: question() }, *most), None),
            Taping::Replay(played) => {
                let turn = match played.next(TIMER, length.as_nanos().to_string()).map(|event| event.heard) {
                    Some(Heard::Later(turn)) => Rank::Answer(turn),
                    Some(Heard::AtOnce | Heard::Never) | None => self.handover.timer(length),
                };
                (None, Some(turn))
            }
        };
        Timer { ends: Instant::now().checked_add(length), place, rank, is_over: false }
    }

    /// Waits until a timer is over.
    pub(super) async fn wait(&self, timer: &mut Timer) {
        if timer.is_over {
            return;
        }
        if timer.rank.is_none() {
            match timer.ends {
                Some(ends) => sleep_until(ends).await,
                None => std::future::pending().await,
            }
        }
        let turn = self.handover.pass(timer.rank).await;
        timer.is_over = true;
        let Some(place) = timer.place else { return };
        if let Some((_, heard, _)) = self.recorded().events.get_mut(place) {
            *heard = Heard::Later(turn);
        }
    }

    /// Runs a guest, and hands it the answers; `None` if it waits for one that a replayed run did not get.
    pub(super) async fn conduct<F: Future>(&self, guest: F) -> Option<F::Output> {
        let is_replay = matches!(self.taping, Taping::Replay(_));
        self.handover.conduct(guest, is_replay).await.ok()
    }

    /// What was recorded; `None` if nothing is.
    pub(super) fn take(&self) -> Option<Tape> {
        let Taping::Record(_) = self.taping else { return None };
        let mut recorded = std::mem::take(&mut *self.recorded());
        let events = std::mem::take(&mut recorded.events);
        let event = |(asked, heard, answer): (Asked, Heard, Option<Vec<u8>>)| {
            let (question, sources) = recorded.whole(&asked.question);
            Event { name: asked.name.to_owned(), question, sources, heard, answer }
        };
        Some(Tape {
            events: events.into_iter().map(event).collect(),
            is_cut: recorded.is_cut,
            is_pressed: self.handover.is_pressed(),
        })
    }

    fn begin(&self, asked: Asked, most: usize) -> Option<usize> {
        let mut recorded = self.recorded();
        recorded.bytes += EVENT + asked.question.size();
        if recorded.bytes > most || recorded.events.len() >= MOST {
            recorded.cut();
        }
        if recorded.is_cut {
            return None;
        }
        recorded.events.push((asked, Heard::Never, None));
        recorded.events.len().checked_sub(1)
    }

    fn heard<T: Serialize>(&self, place: usize, at: Heard, answer: &Result<T, Error>, most: usize) {
        let written = postcard::to_stdvec(answer);
        let mut recorded = self.recorded();
        let Ok(written) = written else { return recorded.cut() };
        recorded.bytes += written.len();
        if recorded.bytes > most {
            recorded.cut();
        }
        if let Some((_, heard, answer)) = recorded.events.get_mut(place) {
            (*heard, *answer) = (at, Some(written));
        }
    }

    fn recorded(&self) -> MutexGuard<'_, Recorded> {
        self.recorded.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Recorded {
    /// Gives the tape up: a part of it is of no use.
    fn cut(&mut self) {
        (self.events, self.parsed, self.is_cut) = (Vec::new(), HashMap::new(), true);
    }

    /// A question in full, and where its answer is from.
    fn whole(&self, question: &Question) -> (String, BTreeSet<String>) {
        match question {
            Question::Words { text, source } if source.is_empty() => (text.clone(), BTreeSet::new()),
            Question::Words { text, source } => (text.clone(), BTreeSet::from([source.clone()])),
            Question::Sql { sql, arguments } => {
                let parsed = self.parsed.get(sql);
                let mut text = parsed.map_or(sql.as_str(), |parsed| &parsed.text).to_owned();
                let mut arguments: Vec<String> = arguments.iter().map(Argument::text).collect();
                arguments.sort_unstable();
                for argument in arguments {
                    text += "\n";
                    text += &argument;
                }
                (text, parsed.map(|parsed| parsed.datasets.clone()).unwrap_or_default())
            }
        }
    }
}

impl Question {
    pub(super) fn words(text: String, source: impl Into<String>) -> Self {
        Self::Words { text, source: source.into() }
    }

    fn size(&self) -> usize {
        match self {
            Self::Words { text, source } => text.len() + source.len(),
            Self::Sql { sql, arguments } => sql.len() + arguments.iter().map(Argument::size).sum::<usize>(),
        }
    }
}

/// A timer of a guest; see [`Taped::timer`].
#[derive(Debug)]
pub struct Timer {
    /// `None` if that is beyond all time.
    ends: Option<Instant>,
    /// Its place on the tape.
    place: Option<usize>,
    /// In a replay, when it is over.
    rank: Option<Rank>,
    is_over: bool,
}
