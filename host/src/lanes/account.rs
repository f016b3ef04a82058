//! The current usage of each plugin, over all work for it.

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

/// The half-life of counted CPU time, so that a plugin that is computing now comes after one that computed a while ago.
const HALF_LIFE: Duration = Duration::from_secs(1);

/// One plugin's account; it exists while there is work for the plugin.
#[derive(Debug)]
pub(super) struct Account {
    pub(super) plugin: String,
    /// Its share of the threads.
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

/// The usage of one plugin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Usage {
    /// Its name; empty for work that belongs to no plugin.
    pub plugin: String,
    /// Bytes that the host holds for it.
    pub bytes: usize,
    /// Threads working for it.
    pub threads: usize,
}

type Accounts = Mutex<HashMap<String, Weak<Account>>>;

fn accounts() -> &'static Accounts {
    static ACCOUNTS: OnceLock<Accounts> = OnceLock::new();
    ACCOUNTS.get_or_init(Mutex::default)
}

/// The usage of each plugin with current work.
pub fn usage() -> Vec<Usage> {
    let accounts = accounts().lock().unwrap_or_else(PoisonError::into_inner);
    let mut used: Vec<Usage> = accounts.values().filter_map(Weak::upgrade).map(|account| account.usage()).collect();
    used.sort_by(|one, other| one.plugin.cmp(&other.plugin));
    used
}

impl Account {
    /// The account of a plugin, shared by all its concurrent work.
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

    /// Its recent CPU time, in nanoseconds, as of now.
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
