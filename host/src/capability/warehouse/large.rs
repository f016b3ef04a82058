//! Turns for queries that need much memory. A query that needs more than a small one gives back its memory and waits
//! here, so that no query holds memory while it waits for more.

use std::sync::{Arc, OnceLock};

use tokio::time::{Instant, timeout_at};

use super::memory::{LARGE_QUERIES, SMALL_BYTES};
use crate::{
    contract::Error,
    lanes::{Place, Room},
};

/// Waits for a turn until `deadline`. Dropping the returned place ends the turn.
pub(super) async fn turn(plugin: &str, deadline: Instant) -> Result<Place, Error> {
    static TURNS: OnceLock<Arc<Room>> = OnceLock::new();
    let turn = TURNS.get_or_init(|| Room::new(LARGE_QUERIES)).take(plugin);
    timeout_at(deadline, turn).await.map_err(|_| {
        let small = SMALL_BYTES >> 20;
        Error::OverBudget(format!(
            "query refused: it needs more than {small} MiB of memory, and other large queries use all the memory reserved for \
             them; sort or group less, or schedule {plugin} when fewer large queries run"
        ))
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn who_waits_in_vain_is_told_what_to_do() {
        let soon = || Instant::now() + Duration::from_millis(20);
        let mut taken = Vec::new();
        for plugin in ["one", "two", "three", "four"].iter().take(LARGE_QUERIES) {
            taken.push(turn(plugin, soon()).await.unwrap());
        }
        let error = turn("late", soon()).await.unwrap_err();
        let words = "it needs more than 32 MiB of memory, and other large queries use all the memory reserved for them; \
                     sort or group less, or schedule late when fewer large queries run";
        assert!(matches!(&error, Error::OverBudget(message) if message.contains(words)), "{error:?}");
        taken.pop();
        assert!(turn("late", soon()).await.is_ok());
    }
}
