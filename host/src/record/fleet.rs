//! Several hosts on one record: who does what. A claim is a row with a lease, counted by the server's clock; a host counts what
//! is left of it by a clock of its own that also runs while the machine sleeps.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    time::Duration,
};

use anyhow::{Result, bail};
use jiff::{Timestamp, civil::Date};
use sqlx::{AnyConnection, AssertSqlSafe};

use super::sql::{commit, places, query, query_as, query_scalar, silent};
use super::{FAREWELL, Record, clock::boot_time, hearing::Hearing, moment};

/// How long a claim lasts without being renewed.
pub const LEASE: Duration = Duration::from_secs(30);
/// From then on nothing begins under a claim: what began has the rest to end.
const FRESH: Duration = Duration::from_secs(20);
/// By then what began has ended, with its receipt: the rest is for clocks that do not run at quite the same rate, and for a receipt that
/// takes long. The model in tests/tests/model.rs shows that the whole lease is too long.
const ENDED: Duration = Duration::from_secs(25);
/// How often claims are renewed.
const RENEW: Duration = Duration::from_secs(5);

/// How often to look whether another host has answered.
const HEAR: Duration = Duration::from_millis(250);
/// The most keys in one statement.
const KEYS: usize = 1000;

/// This process among the hosts of a record.
#[derive(Debug)]
pub struct Member {
    /// A random id: the next process under the same name is another holder.
    pub id: String,
    held: Mutex<BTreeMap<String, Held>>,
    /// Whether a task renews what is held.
    renewing: AtomicBool,
    /// What is being claimed.
    taking: Mutex<BTreeSet<String>>,
    /// Whether its configuration is known to hold: else it claims nothing.
    takes_part: AtomicBool,
    /// Whether the others know of it.
    has_stood: AtomicBool,
    /// Whether the others were heard of.
    pub(super) hearing: Hearing,
    /// How late, in milliseconds, the latest run began since the others were last told; [`NONE_BEGAN`] if none did.
    lag: AtomicI64,
}

/// No run began.
const NONE_BEGAN: i64 = -1;

#[derive(Debug, Clone, Copy)]
struct Held {
    epoch: i64,
    /// When the last renewal that succeeded was sent, by [`boot_time`].
    renewed: Duration,
}

/// A claim of this process. Its end gives nothing back: see [`Record::give_back`].
#[derive(Debug, Clone)]
pub struct Lease {
    /// Its last copy, however it goes, renews the claim no more.
    claim: Arc<Kept>,
    /// How many times in a row it was begun without a result, with this one.
    pub attempt: u32,
    /// An older due time that its host did not finish, and that is not run any more.
    pub instead_of: Option<Timestamp>,
}

/// A claim that is renewed while this lasts.
#[derive(Debug)]
struct Kept {
    key: String,
    /// The number of this holding.
    epoch: i64,
    member: Weak<Member>,
}

impl Drop for Kept {
    fn drop(&mut self) {
        if let Some(member) = self.member.upgrade() {
            member.lets_go(&self.key, self.epoch);
        }
    }
}

/// What came of an attempt to claim something.
#[derive(Debug)]
pub enum Taken {
    /// There are no other hosts.
    Alone,
    /// This process has it.
    Mine(Lease),
    /// Another host does it, or it was done or left out.
    Over,
    /// Another host, or another task of this one, still does something older.
    Busy,
    /// This process takes no part.
    Apart,
}

/// What a claim says.
struct State {
    due: Option<i64>,
    /// The newest due time that needs nothing more, and the newest that was left out since.
    done: Option<i64>,
    skipped: Option<i64>,
    is_free: bool,
    holder: Option<String>,
}

/// Keeps other tasks of this process from claiming the same, until it is dropped.
struct Taking<'m>(&'m Member, &'m str);

impl<'m> Taking<'m> {
    fn begin(member: &'m Member, key: &'m str) -> Option<Self> {
        member.taking().insert(key.to_owned()).then_some(Self(member, key))
    }
}

impl Drop for Taking<'_> {
    fn drop(&mut self) {
        self.0.taking().remove(self.1);
    }
}

/// What came of a question that hosts may ask at the same time.
#[derive(Debug)]
pub enum Asked {
    /// This process is to answer it; with its claim, if there are other hosts.
    Mine(Option<Lease>),
    /// Another host answered.
    Heard(String),
}

impl Member {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            id: format!("{:016x}", fastrand::u64(..)),
            held: Mutex::default(),
            taking: Mutex::default(),
            renewing: AtomicBool::new(false),
            takes_part: AtomicBool::new(false),
            has_stood: AtomicBool::new(false),
            hearing: Hearing::new(LEASE),
            lag: AtomicI64::new(NONE_BEGAN),
        })
    }

    /// Notes how late a run began, for the others to see.
    pub fn began(&self, lag: Duration) {
        self.lag.fetch_max(i64::try_from(lag.as_millis()).unwrap_or(i64::MAX), Ordering::Relaxed);
    }

    /// How late the latest run began since this was asked before, in milliseconds.
    pub(super) fn take_lag(&self) -> Option<i64> {
        Some(self.lag.swap(NONE_BEGAN, Ordering::Relaxed)).filter(|lag| *lag != NONE_BEGAN)
    }

    /// Whether it claims anything: its configuration holds.
    pub fn takes_part(&self) -> bool {
        self.takes_part.load(Ordering::Relaxed)
    }

    pub(super) fn stands(&self, takes_part: bool) {
        self.takes_part.store(takes_part, Ordering::Relaxed);
        self.has_stood.store(true, Ordering::Relaxed);
    }

    fn lets_go(&self, key: &str, epoch: i64) {
        self.held().retain(|other, held| (other.as_str(), held.epoch) != (key, epoch));
    }

    fn taking(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.taking.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn held(&self) -> MutexGuard<'_, BTreeMap<String, Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lease {
    /// What is claimed.
    pub fn key(&self) -> &str {
        &self.claim.key
    }

    /// The number of this holding.
    pub(super) fn epoch(&self) -> i64 {
        self.claim.epoch
    }

    /// How long ago the last renewal that succeeded was sent; `None` if the claim is lost.
    fn age(&self) -> Option<Duration> {
        let member = self.claim.member.upgrade()?;
        let held = member.held().get(self.key()).copied().filter(|held| held.epoch == self.epoch())?;
        Some(boot_time().saturating_sub(held.renewed))
    }

    /// Whether it is that of a check's turn, which ends with its run.
    pub(super) fn is_of_turn(&self) -> bool {
        self.key().starts_with(CHECK)
    }

    /// Whether something may begin under it.
    pub fn is_fresh(&self) -> bool {
        self.age().is_some_and(|age| age < FRESH)
    }

    /// How long what began under it may take.
    pub fn left(&self) -> Duration {
        self.age().map_or(Duration::ZERO, |age| ENDED.saturating_sub(age))
    }
}

/// The key of a check's turn.
pub fn turn_of(check: &str) -> String {
    format!("{CHECK}{check}")
}

/// The beginning of the keys of checks' turns.
pub(super) const CHECK: &str = "check ";

impl Record {
    /// Whether this process does what is due: it is the only one, or the hosts of the record have its configuration.
    pub fn takes_part(&self) -> bool {
        self.member.as_ref().is_none_or(|member| member.takes_part())
    }

    /// This process among the hosts of the record; `None` if it is the only one.
    pub fn member(&self) -> Option<&Arc<Member>> {
        self.member.as_ref()
    }

    /// Claims the turn of a check at a due time.
    pub async fn take_turn(&self, check: &str, due: Timestamp, date: Date) -> Result<Taken> {
        self.take(&turn_of(check), Some((due.as_millisecond(), date.to_string()))).await
    }

    /// Claims what has no due time. `None` if another host has it.
    pub async fn take_on(&self, key: &str) -> Result<Option<Lease>> {
        Ok(match self.take(key, None).await? {
            Taken::Mine(lease) => Some(lease),
            Taken::Alone | Taken::Over | Taken::Busy | Taken::Apart => None,
        })
    }

    async fn take(&self, key: &str, due: Option<(i64, String)>) -> Result<Taken> {
        let Some(member) = &self.member else { return Ok(Taken::Alone) };
        if !member.takes_part() {
            return Ok(Taken::Apart);
        }
        // Of two tasks of this process one has it.
        let Some(_taking) = Taking::begin(member, key) else { return Ok(Taken::Busy) };
        let sent = boot_time();
        let mut write = self.write().await?;
        let taken = async {
            let mut state = state(&mut write, key).await?;
            if state.is_none() {
                query("INSERT INTO claims (key, epoch) VALUES ($1, 0) ON CONFLICT (key) DO NOTHING")
                    .bind(key)
                    .execute(&mut write)
                    .await?;
                state = self::state(&mut write, key).await?;
            }
            let State { due: before, done, skipped, is_free, holder } = state.ok_or(sqlx::Error::RowNotFound)?;
            let wanted = due.as_ref().map(|(due, _)| *due);
            // What was begun and not done is to be done, though later ones were left out meanwhile.
            let is_open = before.is_some() && done < before;
            let is_left = before == wanted && is_open;
            if wanted.is_some() && (done >= wanted || before > wanted || skipped >= wanted && !is_left) {
                return Ok(Err(Taken::Over));
            }
            // One that this process does not know of: the answer to its claim was lost.
            let is_forgotten = holder.as_ref() == Some(&member.id) && !member.held().contains_key(key);
            if !is_free && !is_forgotten {
                // What is due is done by whoever has it; something newer is due after that.
                return Ok(Err(if wanted.is_some() && before == wanted { Taken::Over } else { Taken::Busy }));
            }
            // This process may have slept while another configuration came to hold.
            let taken: Option<(i64, i64)> = query_as(
                "UPDATE claims SET due = $2, data_date = $3, attempt = attempt + 1, epoch = epoch + 1, holder = $4, answer = NULL, \
                    done = $6, skipped = $7, digest = (SELECT hosts.digest FROM hosts WHERE hosts.id = $4), expires = clock_timestamp() + make_interval(secs => $5) \
                 WHERE key = $1 AND (SELECT digest FROM configuration) = (SELECT hosts.digest FROM hosts WHERE hosts.id = $4) \
                 RETURNING epoch, attempt",
            )
            .bind(key)
            .bind(wanted)
            .bind(due.map(|(_, date)| date))
            .bind(&member.id)
            .bind(LEASE.as_secs_f64())
            .bind(if is_left { done } else { done.max(skipped) })
            .bind(skipped.filter(|_| is_left))
            .fetch_optional(&mut write)
            .await?;
            let Some((epoch, attempt)) = taken else { return Ok(Err(Taken::Apart)) };
            commit(write).await?;
            Ok(Ok((epoch, attempt, before.filter(|before| Some(*before) < wanted && is_open))))
        };
        let (epoch, attempt, instead_of) = match taken.await.map_err(|error| self.explain(error))? {
            Ok(taken) => taken,
            Err(refused) => return Ok(refused),
        };
        let is_renewed = {
            let mut held = member.held();
            held.insert(key.to_owned(), Held { epoch, renewed: sent });
            member.renewing.swap(true, Ordering::Relaxed)
        };
        if !is_renewed {
            tokio::spawn(keep_renewing(self.clone(), Arc::downgrade(member)));
        }
        Ok(Taken::Mine(Lease {
            claim: Arc::new(Kept { key: key.to_owned(), epoch, member: Arc::downgrade(member) }),
            attempt: u32::try_from(attempt)?,
            instead_of: instead_of.map(moment),
        }))
    }

    /// Whether this process still has a claim; nobody else can take it until the transaction ends.
    pub(super) async fn still_holds(&self, write: &mut AnyConnection, lease: &Lease) -> sqlx::Result<bool> {
        let Some(member) = &self.member else { return Ok(true) };
        let sql = "SELECT 1 FROM claims WHERE key = $1 AND epoch = $2 AND holder = $3 FOR UPDATE";
        let held: Option<i64> =
            query_scalar(sql).bind(lease.key()).bind(lease.epoch()).bind(&member.id).fetch_optional(write).await?;
        Ok(held.is_some())
    }

    /// Gives a claim back: another host may take it at once. `answer` is what those hear who wait for it.
    pub async fn give_back(&self, lease: &Lease, answer: Option<&str>) -> Result<()> {
        let Some(member) = &self.member else { return Ok(()) };
        self.let_go(lease);
        let sql = "UPDATE claims SET holder = NULL, attempt = attempt - 1, answer = $4 \
            WHERE key = $1 AND epoch = $2 AND holder = $3";
        let back = query(sql).bind(lease.key()).bind(lease.epoch()).bind(&member.id).bind(answer);
        self.execute(back).await.map(drop)
    }

    /// Claims what is asked for, or waits for the answer of the host that has it. An answer from before
    /// this question does not count: it may be old.
    pub async fn take_or_hear(&self, key: &str) -> Result<Asked> {
        loop {
            match self.take(key, None).await? {
                Taken::Alone => return Ok(Asked::Mine(None)),
                Taken::Mine(lease) => return Ok(Asked::Mine(Some(lease))),
                Taken::Apart => bail!("this host takes no part: the hosts of its record run another configuration"),
                Taken::Over | Taken::Busy => {}
            }
            let mut asked = None;
            loop {
                let (epoch, is_held, answer) = self.held_by_anybody(key).await?;
                match (asked, is_held, answer) {
                    // Whoever has it evaluates it while this process asks.
                    (None, true, _) => asked = Some(epoch),
                    (Some(of), true, _) if of == epoch => {}
                    (Some(of), false, Some(answer)) if of == epoch => return Ok(Asked::Heard(answer)),
                    _ => break,
                }
                tokio::time::sleep(HEAR).await;
            }
            tokio::time::sleep(HEAR).await;
        }
    }

    /// The number of the last holding of a claim, whether somebody has it, and the answer.
    async fn held_by_anybody(&self, key: &str) -> Result<(i64, bool, Option<String>)> {
        let sql = "SELECT epoch, CASE WHEN holder IS NOT NULL AND expires > clock_timestamp() THEN 1 ELSE 0 END, answer \
            FROM claims WHERE key = $1";
        let found: Option<(i64, i64, Option<String>)> = query_as(sql)
            .bind(key)
            .fetch_optional(&mut *self.read().await?)
            .await
            .map_err(|error| self.explain(error))?;
        Ok(found.map_or((0, false, None), |(epoch, is_held, answer)| (epoch, is_held == 1, answer)))
    }

    /// Renews a claim no more: what was done under it is given up, and another host may do it once the lease is over.
    pub fn let_go(&self, lease: &Lease) {
        if let Some(member) = &self.member {
            member.lets_go(lease.key(), lease.epoch());
        }
    }

    /// Gives everything back, once, if the record answers soon.
    pub async fn give_all_back(&self) -> Result<()> {
        let Some(member) = &self.member else { return Ok(()) };
        if !member.has_stood.swap(false, Ordering::Relaxed) {
            return Ok(());
        }
        match tokio::time::timeout(FAREWELL, self.give_all(member)).await {
            Ok(given) => given,
            Err(_) => Err(self.explain(silent())),
        }
    }

    async fn give_all(&self, member: &Member) -> Result<()> {
        member.held().clear();
        let ended = query("UPDATE claims SET holder = NULL, attempt = attempt - 1 WHERE holder = $1").bind(&member.id);
        self.execute(ended).await?;
        self.execute(query("DELETE FROM hosts WHERE id = $1").bind(&member.id)).await.map(drop)
    }

    /// Renews the claims of this process. Those that another host took over are lost.
    async fn renew(&self) -> Result<()> {
        let Some(member) = &self.member else { return Ok(()) };
        let held: BTreeMap<String, Held> = member.held().clone();
        let sent = boot_time();
        let mut write = self.write().await?;
        let mut kept: Vec<(String, i64)> = Vec::new();
        let keys: Vec<&String> = held.keys().collect();
        for keys in keys.chunks(KEYS) {
            // Constants and places. What this process does not know of it does not renew: the answer to its claim was lost.
            let sql = AssertSqlSafe(format!(
                "WITH mine AS (SELECT key FROM claims WHERE key IN {} AND holder = ${} ORDER BY key FOR UPDATE) \
                 UPDATE claims SET expires = clock_timestamp() + make_interval(secs => ${}) FROM mine \
                 WHERE claims.key = mine.key AND expires > clock_timestamp() RETURNING claims.key, epoch",
                places(1, keys.len()),
                keys.len() + 1,
                keys.len() + 2,
            ));
            let renew = keys.iter().fold(query_as(sql), |renew, key| renew.bind(key.as_str()));
            let renewed: Vec<(String, i64)> = renew
                .bind(&member.id)
                .bind(LEASE.as_secs_f64())
                .fetch_all(&mut write)
                .await
                .map_err(|error| self.explain(error))?;
            kept.extend(renewed);
        }
        commit(write).await.map_err(|error| self.explain(error))?;
        let kept: BTreeMap<String, i64> = kept.into_iter().collect();
        let mut now = member.held();
        for (key, before) in held {
            match kept.get(&key) {
                Some(epoch) if *epoch == before.epoch => {
                    now.entry(key).and_modify(|held| held.renewed = sent);
                }
                // Unless it was taken anew meanwhile.
                _ => now.retain(|other, held| *other != key || held.epoch != before.epoch),
            }
        }
        Ok(())
    }
}

/// Reads a claim, and locks it. A due time that is ahead of the server's clock was noted while that was ahead: it is void.
async fn state(write: &mut AnyConnection, key: &str) -> sqlx::Result<Option<State>> {
    let until = "(CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT) + 60000)";
    // Constants.
    let sql = AssertSqlSafe(format!(
        "SELECT CASE WHEN due <= {until} THEN due END, CASE WHEN done <= {until} THEN done END, \
            CASE WHEN skipped <= {until} THEN skipped END, \
            CASE WHEN holder IS NULL OR expires <= clock_timestamp() THEN 1 ELSE 0 END, holder \
         FROM claims WHERE key = $1 FOR UPDATE"
    ));
    type Row = (Option<i64>, Option<i64>, Option<i64>, i64, Option<String>);
    let found: Option<Row> = query_as(sql).bind(key).fetch_optional(write).await?;
    Ok(found.map(|(due, done, skipped, is_free, holder)| State { due, done, skipped, is_free: is_free == 1, holder }))
}

/// Renews the claims of a process while it has any.
async fn keep_renewing(record: Record, member: Weak<Member>) {
    loop {
        tokio::time::sleep(RENEW).await;
        let Some(member) = member.upgrade() else { return };
        {
            let held = member.held();
            if held.is_empty() {
                member.renewing.store(false, Ordering::Relaxed);
                return;
            }
        }
        if let Err(error) = record.renew().await {
            tracing::warn!("what this host does cannot be renewed yet: {error:#}");
        }
    }
}
