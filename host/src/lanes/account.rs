//! What one plugin uses at this moment, over all the work that is done for it.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, OnceLock, PoisonError, Weak,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::sync::Semaphore;

use super::PLUGIN_THREADS;

/// After this time, half of what was computed is forgotten: who computes much now comes after who did so a while ago.
const HALF_LIFE: Duration = Duration::from_secs(1);

/// One plugin's; there is one as long as some work for the plugin is under way.
#[derive(Debug)]
pub(super) struct Account {
    pub(super) plugin: String,
    /// Its part of the threads.
    pub(super) threads: Arc<Semaphore>,
    /// Bytes that the host holds for it.
    pub(super) held: AtomicUsize,
    computed: Mutex<Computed>,
}

/// CPU time in nanoseconds, halved every [`HALF_LIFE`].
#[derive(Debug)]
struct Computed {
    nanos: f64,
    at: Instant,
}

/// What one plugin uses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Usage {
    /// Its name; empty for work about no plugin in particular.
    pub plugin: String,
    /// Bytes that the host holds for it.
    pub bytes: usize,
    /// Threads that work for it.
    pub threads: usize,
}

type Accounts = Mutex<HashMap<String, Weak<Account>>>;

fn accounts() -> &'static Accounts {
    static ACCOUNTS: OnceLock<Accounts> = OnceLock::new();
    ACCOUNTS.get_or_init(Mutex::default)
}

/// What each plugin uses for which something is done now.
pub fn usage() -> Vec<Usage> {
    let accounts = accounts().lock().unwrap_or_else(PoisonError::into_inner);
    let mut used: Vec<Usage> = accounts.values().filter_map(Weak::upgrade).map(|account| account.usage()).collect();
    used.sort_by(|one, other| one.plugin.cmp(&other.plugin));
    used
}

impl Account {
    /// The account of a plugin; it is the same for all work that is under way at the same time.
    pub(super) fn of(plugin: &str) -> Arc<Self> {
        let mut accounts = accounts().lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(account) = accounts.get(plugin).and_then(Weak::upgrade) {
            return account;
        }
        accounts.retain(|_, account| account.strong_count() > 0);
        let account = Arc::new(Self {
            plugin: plugin.to_owned(),
            threads: Arc::new(Semaphore::new(PLUGIN_THREADS)),
            held: AtomicUsize::new(0),
            computed: Mutex::new(Computed { nanos: 0.0, at: Instant::now() }),
        });
        accounts.insert(plugin.to_owned(), Arc::downgrade(&account));
        account
    }

    /// Counts CPU time, in nanoseconds.
    pub(super) fn count(&self, nanos: u64) {
        let mut computed = self.computed.lock().unwrap_or_else(PoisonError::into_inner);
        computed.fade(Instant::now());
        computed.nanos += nanos as f64;
    }

    /// What it computed lately, in nanoseconds, as seen at this moment: the same for all of its work that waits.
    pub(super) fn computed(&self, now: Instant) -> u64 {
        let mut computed = self.computed.lock().unwrap_or_else(PoisonError::into_inner);
        computed.fade(now);
        computed.nanos as u64
    }

    fn usage(&self) -> Usage {
        Usage {
            plugin: self.plugin.clone(),
            bytes: self.held.load(Ordering::Relaxed),
            threads: PLUGIN_THREADS.saturating_sub(self.threads.available_permits()),
        }
    }
}

impl Computed {
    fn fade(&mut self, now: Instant) {
        let half_lives = now.duration_since(self.at).as_secs_f64() / HALF_LIFE.as_secs_f64();
        self.nanos *= (-half_lives).exp2();
        self.at = self.at.max(now);
    }
}
