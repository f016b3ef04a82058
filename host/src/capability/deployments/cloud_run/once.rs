//! Answers that all lookups of a due time share, so that each question is asked once.

use std::{collections::HashMap, time::Duration};

use futures_util::{
    FutureExt,
    future::{BoxFuture, Shared},
};
use jiff::Timestamp;
use tokio::{sync::Mutex, time::Instant};

use crate::contract::Error;

/// How long an answer may take: several attempts, and less than a run usually has.
pub(super) const PATIENCE: Duration = Duration::from_secs(45);
/// How long other lookups of the same due time may use an answer, also an error, so that they fail together.
const FRESH: Duration = Duration::from_secs(30);

/// The answers to one kind of question, by what was asked.
#[derive(Debug)]
pub(super) struct Once<T: Clone>(Mutex<HashMap<String, Kept<T>>>);

#[derive(Debug)]
struct Kept<T: Clone> {
    due: Timestamp,
    at: Instant,
    answer: Answer<T>,
}

type Answer<T> = Shared<BoxFuture<'static, Result<T, Error>>>;

impl<T: Clone> Default for Once<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T: Clone> Kept<T> {
    /// Whether it is running or recent.
    fn serves(&self, due: Timestamp) -> bool {
        self.due == due && (self.answer.peek().is_none() || self.at.elapsed() < PATIENCE + FRESH)
    }
}

impl<T: Clone + Send + Sync + 'static> Once<T> {
    /// The answer of a due time; the first lookup asks.
    pub(super) async fn ask(
        &self,
        asked: &str,
        due: Timestamp,
        ask: impl Future<Output = Result<T, Error>> + Send + 'static,
    ) -> Result<T, Error> {
        self.answer(asked, due, ask).await.await
    }

    async fn answer(
        &self,
        asked: &str,
        due: Timestamp,
        ask: impl Future<Output = Result<T, Error>> + Send + 'static,
    ) -> Answer<T> {
        let mut kept = self.0.lock().await;
        kept.retain(|_, kept| kept.serves(due));
        if let Some(kept) = kept.get(asked) {
            return kept.answer.clone();
        }
        // A task of the host, so that the end of one run does not cancel it for the others.
        let task = tokio::spawn(ask);
        let answer = async move {
            let broken = |_| Err(Error::Unavailable("lookup failed: it stopped unexpectedly".to_owned()));
            task.await.unwrap_or_else(broken)
        };
        let answer = answer.boxed().shared();
        kept.insert(asked.to_owned(), Kept { due, at: Instant::now(), answer: answer.clone() });
        answer
    }
}
