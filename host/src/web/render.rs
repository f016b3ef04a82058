//! Reads and renders plugin reports without blocking anything else: a few requests at a time, each on its own thread
//! and with a deadline. Liveness probes do not pass through here.

use std::{sync::Arc, time::Duration};

use axum::http::StatusCode;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::api::{Refused, refused};
use crate::lanes::{self, Allowance, Permit};

/// Concurrent requests: half of the record's connections, so that writing and `/readyz` always find one.
const AT_ONCE: usize = 2;
/// How long a request waits for its turn.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long rendering may take: a hundred times the time of the largest page.
const DEADLINE: Duration = Duration::from_secs(10);

/// The turns.
#[derive(Debug)]
pub(super) struct Turns {
    free: Arc<Semaphore>,
    patience: Duration,
    deadline: Duration,
}

/// A turn to read and render, until it is dropped or rendering is done.
#[derive(Debug)]
pub(super) struct Turn {
    permit: OwnedSemaphorePermit,
    deadline: Duration,
}

impl Default for Turns {
    fn default() -> Self {
        Self { free: Arc::new(Semaphore::new(AT_ONCE)), patience: PATIENCE, deadline: DEADLINE }
    }
}

impl Turns {
    /// Waits for a turn.
    pub(super) async fn wait(&self) -> Result<Turn, Refused> {
        match tokio::time::timeout(self.patience, self.free.clone().acquire_owned()).await {
            Ok(Ok(permit)) => Ok(Turn { permit, deadline: self.deadline }),
            // The semaphore is never closed.
            Ok(Err(_)) | Err(_) => Err(busy(self.patience)),
        }
    }
}

impl Turn {
    /// Renders on another thread; on one of the plugin's if the page is about a plugin. Work that misses the deadline
    /// keeps its turn until it ends, so that it does not pile up.
    pub(super) async fn render<T: Send + 'static>(
        self,
        about: Option<&str>,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Refused> {
        let Self { permit, deadline } = self;
        let work = move || {
            let _permit = permit;
            work()
        };
        let rendered = async {
            match about {
                Some(plugin) => {
                    let allowance = Allowance { timeout: deadline, bytes: 0 };
                    // A separate account, so that the page of a busy plugin is available when people need it.
                    Permit::new(&format!("pages about {plugin}"), allowance).blocking(|_| work()).await
                }
                None => lanes::own(work).await,
            }
        };
        match tokio::time::timeout(deadline, rendered).await {
            Ok(Some(rendered)) => Ok(rendered),
            Ok(None) => {
                tracing::error!("a page cannot be rendered: internal error");
                Err(refused(StatusCode::INTERNAL_SERVER_ERROR, "the page cannot be rendered; the log says why"))
            }
            Err(_) => Err(busy(deadline)),
        }
    }
}

fn busy(waited: Duration) -> Refused {
    let text = format!("the host is busy: not rendered within {} s; try again", waited.as_secs());
    refused(StatusCode::SERVICE_UNAVAILABLE, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Hanging work is abandoned, and its turn is not passed on before it ends.
    #[tokio::test]
    async fn what_takes_too_long_is_given_up() {
        let short = Duration::from_millis(20);
        let turns = Turns { patience: short, deadline: short, ..Turns::default() };
        let (release, held) = std::sync::mpsc::channel::<()>();
        let hanging = turns.wait().await.expect("a turn").render(Some("hostile"), move || held.recv().is_err());
        let refused = hanging.await.expect_err("given up");
        assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE);
        let other = turns.wait().await.expect("the other turn");
        let refused = turns.wait().await.expect_err("there are two");
        assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE);
        let turns = Turns { patience: PATIENCE, deadline: DEADLINE, ..turns };
        drop((release, other));
        let both = [turns.wait().await.expect("a turn"), turns.wait().await.expect("and one more")];
        for turn in both {
            assert_eq!(turn.render(None, || 7).await.expect("rendered"), 7);
        }
    }

    #[tokio::test]
    async fn a_panic_is_an_answer() {
        let turns = Turns::default();
        for about in [None, Some("hostile")] {
            let turn = turns.wait().await.expect("a turn");
            let refused = turn.render::<()>(about, || panic!("of the host's own")).await.expect_err("refused");
            assert_eq!(refused.status, StatusCode::INTERNAL_SERVER_ERROR);
        }
        assert!(turns.wait().await.is_ok());
    }
}
