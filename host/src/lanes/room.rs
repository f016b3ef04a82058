//! A fair semaphore: places are shared by plugin, and the waiting plugin with the least usage is next.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Instant,
};

use tokio::sync::oneshot;

use super::{account::Account, slow_workers};

/// Places that plugins share. No plugin may take them all: a quarter is left for the others.
#[derive(Debug)]
pub struct Room {
    /// The maximum number of places of one plugin.
    each: usize,
    /// The order of waiting plugins.
    order: Order,
    state: Mutex<State>,
}

#[derive(Debug, Clone, Copy)]
enum Order {
    /// The plugin with the fewest places first.
    Places,
    /// The plugin with the least recent CPU time first.
    Computed,
}

#[derive(Debug)]
struct State {
    free: usize,
    /// The places of each plugin that has any.
    taken: HashMap<String, usize>,
    /// The waiting requests, in order of arrival.
    waiting: Vec<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    account: Arc<Account>,
    place: oneshot::Sender<Place>,
}

/// A place, until it is dropped.
#[derive(Debug)]
pub struct Place {
    /// `None` once it was passed on.
    room: Option<Arc<Room>>,
    plugin: String,
}

impl Room {
    /// A room with a number of places.
    pub fn new(places: usize) -> Arc<Self> {
        Self::with(places, places - places / 4, Order::Places)
    }

    /// The turns of the slow lane.
    pub(super) fn turns() -> &'static Arc<Self> {
        static TURNS: OnceLock<Arc<Room>> = OnceLock::new();
        TURNS.get_or_init(|| Self::with(slow_workers(), slow_workers(), Order::Computed))
    }

    fn with(places: usize, each: usize, order: Order) -> Arc<Self> {
        let state = State { free: places, taken: HashMap::new(), waiting: Vec::new() };
        Arc::new(Self { each: each.max(1), order, state: Mutex::new(state) })
    }

    /// Waits for a place.
    pub async fn take(self: &Arc<Self>, plugin: &str) -> Place {
        match self.ask(&Account::of(plugin)) {
            Ok(place) => place,
            // The sender is only dropped with the room, which this holds.
            Err(wait) => match wait.await {
                Ok(place) => place,
                Err(_) => std::future::pending().await,
            },
        }
    }

    /// A place now, or the receiver for one.
    pub(super) fn ask(self: &Arc<Self>, account: &Arc<Account>) -> Result<Place, oneshot::Receiver<Place>> {
        let mut state = self.state();
        if state.free > 0 && state.has(&account.plugin) < self.each {
            return Ok(self.place(&mut state, &account.plugin));
        }
        let (place, wait) = oneshot::channel();
        // Remove requests that no longer wait.
        state.waiting.retain(|waiting| !waiting.place.is_closed());
        state.waiting.push(Waiting { account: account.clone(), place });
        Err(wait)
    }

    /// Whether a waiting request comes before the holder of a place: its plugin has computed less, or it is of the same
    /// plugin, whose checks take turns.
    pub(super) fn outranked(&self, account: &Account) -> bool {
        self.precedes(account, true)
    }

    /// Whether a request of another plugin waits that has computed less than the holder of an unused place.
    pub(super) fn wanted(&self, account: &Account) -> bool {
        self.precedes(account, false)
    }

    /// Whether a waiting request comes before an account's work; `own` is the answer for requests of the same plugin.
    fn precedes(&self, account: &Account, own: bool) -> bool {
        let state = self.state();
        if state.waiting.is_empty() {
            return false;
        }
        let now = Instant::now();
        let computed = account.computed(now);
        let before = |other: &Account| match other.plugin == account.plugin {
            true => own,
            false => other.computed(now) < computed,
        };
        state.waiting.iter().any(|waiting| !waiting.place.is_closed() && before(&waiting.account))
    }

    fn place(self: &Arc<Self>, state: &mut State, plugin: &str) -> Place {
        state.free -= 1;
        *state.taken.entry(plugin.to_owned()).or_default() += 1;
        Place { room: Some(self.clone()), plugin: plugin.to_owned() }
    }

    /// Passes a plugin's place on to the next request.
    fn give_back(self: &Arc<Self>, mut plugin: String) {
        loop {
            let mut state = self.state();
            state.free += 1;
            if let Some(taken) = state.taken.get_mut(&plugin) {
                *taken -= 1;
                if *taken == 0 {
                    state.taken.remove(&plugin);
                }
            }
            let Some(next) = self.next(&state) else { return };
            let next = state.waiting.remove(next);
            let place = self.place(&mut state, &next.account.plugin);
            // A woken task may ask for a place at once.
            drop(state);
            match next.place.send(place) {
                Ok(()) => return,
                // It no longer waits: pass the place to the next one.
                Err(mut place) => {
                    place.room = None;
                    plugin = std::mem::take(&mut place.plugin);
                }
            }
        }
    }

    /// The next request that may have a place; the earliest among equals.
    fn next(&self, state: &State) -> Option<usize> {
        let may = |waiting: &Waiting| state.has(&waiting.account.plugin) < self.each;
        let now = Instant::now();
        let rank = |waiting: &Waiting| match self.order {
            Order::Places => state.has(&waiting.account.plugin) as u64,
            Order::Computed => waiting.account.computed(now),
        };
        let waiting = state.waiting.iter().enumerate().filter(|(_, waiting)| may(waiting));
        waiting.min_by_key(|(_, waiting)| rank(waiting)).map(|(at, _)| at)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn has(&self, plugin: &str) -> usize {
        self.taken.get(plugin).copied().unwrap_or_default()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(room) = self.room.take() {
            room.give_back(std::mem::take(&mut self.plugin));
        }
    }
}
