//! Reading and rendering what plugins reported, without holding up anything else: a few requests at a time, each on a
//! thread of its own and within a deadline. What asks whether the host is alive does not pass here.

use std::{sync::Arc, time::Duration};

use axum::http::StatusCode;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::api::{Refused, refused};
use crate::lanes::{self, Allowance, Permit};

/// Requests at once: half of the record's connections, so that writing and `/readyz` always find one.
const AT_ONCE: usize = 2;
/// How long a request waits for its turn.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long rendering may take: a hundred times what the largest page takes.
const DEADLINE: Duration = Duration::from_secs(10);

/// Whose turn it is.
#[derive(Debug)]
pub(super) struct Turns {
    free: Arc<Semaphore>,
    patience: Duration,
    deadline: Duration,
}

/// The right to read and render, until it is dropped or what is rendered is done.
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
    /// Waits until few others read and render.
    pub(super) async fn wait(&self) -> Result<Turn, Refused> {
        match tokio::time::timeout(self.patience, self.free.clone().acquire_owned()).await {
            Ok(Ok(permit)) => Ok(Turn { permit, deadline: self.deadline }),
            // The semaphore is never closed.
            Ok(Err(_)) | Err(_) => Err(busy(self.patience)),
        }
    }
}

impl Turn {
    /// Renders on another thread, one of the plugin's when the page is about a plugin. Work that misses the deadline keeps
    /// its turn until it ends, so that it does not pile up.
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
                    // An account of its own: the page of a plugin that is busy is the one that is looked for.
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

    /// What hangs is given up, and its turn is not given away before it ends.
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
