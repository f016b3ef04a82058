//! Several hosts on one record: who does what. A claim is a row with a lease, counted by the server's clock; a host counts what
//! is left of it by a clock of its own that also runs while the machine sleeps.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::Result;
use jiff::{Timestamp, civil::Date};
use rustix::time::{ClockId, clock_gettime};
use sqlx::AssertSqlSafe;

use super::sql::{places, query, query_as, query_scalar};
use super::{Record, clock, moment};

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
    /// Whether its configuration holds: else it claims nothing.
    takes_part: AtomicBool,
}

#[derive(Debug, Clone, Copy)]
struct Held {
    epoch: i64,
    /// When the last renewal that succeeded was sent, by [`boot_time`].
    renewed: Duration,
}

/// A claim of this process. Its end gives nothing back: see [`Record::give_back`].
#[derive(Debug, Clone)]
pub struct Lease {
    /// What is claimed.
    pub key: String,
    /// The number of this holding.
    pub epoch: i64,
    /// How many times in a row it was begun without a result, with this one.
    pub attempt: u32,
    /// An older due time that its host did not finish, and that is not run any more.
    pub instead_of: Option<Timestamp>,
    member: Weak<Member>,
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
    /// Another host still does something older.
    Busy,
}

/// What came of a question that hosts may ask at the same time.
#[derive(Debug)]
pub enum Asked {
    /// This process is to answer it; with its claim, if there are other hosts.
    Mine(Option<Lease>),
    /// Another host answered.
    Heard(String),
}

/// What is due of a check, and nobody does it: its host ended, or gave it back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Left {
    /// The check.
    pub check: String,
    /// The due time.
    pub due: Timestamp,
}

/// What there is to do.
#[derive(Debug, Clone)]
pub struct Pulse {
    /// The last turn.
    pub turn: i64,
    /// Whether something is due that nobody does.
    pub left: bool,
    /// Whether orders wait.
    pub orders: bool,
    /// Whether messages wait.
    pub messages: bool,
    /// The digest of the configuration that holds.
    pub digest: Option<String>,
}

impl Member {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            id: format!("{:016x}", fastrand::u64(..)),
            held: Mutex::default(),
            renewing: AtomicBool::new(false),
            takes_part: AtomicBool::new(true),
        })
    }

    /// Whether it claims anything: its configuration holds.
    pub fn takes_part(&self) -> bool {
        self.takes_part.load(Ordering::Relaxed)
    }

    pub(super) fn stands(&self, takes_part: bool) {
        self.takes_part.store(takes_part, Ordering::Relaxed);
    }

    fn held(&self) -> MutexGuard<'_, BTreeMap<String, Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lease {
    /// How long ago the last renewal that succeeded was sent; `None` if the claim is lost.
    fn age(&self) -> Option<Duration> {
        let member = self.member.upgrade()?;
        let held = member.held().get(&self.key).copied().filter(|held| held.epoch == self.epoch)?;
        Some(boot_time().saturating_sub(held.renewed))
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

const CHECK: &str = "check ";

impl Record {
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
            Taken::Alone | Taken::Over | Taken::Busy => None,
        })
    }

    async fn take(&self, key: &str, due: Option<(i64, String)>) -> Result<Taken> {
        let Some(member) = &self.member else { return Ok(Taken::Alone) };
        if !member.takes_part() {
            return Ok(Taken::Busy);
        }
        let sent = boot_time();
        let mut write = self.write().await?;
        let taken = async {
            query("INSERT INTO claims (key, epoch) VALUES ($1, 0) ON CONFLICT (key) DO NOTHING")
                .bind(key)
                .execute(&mut *write)
                .await?;
            let (before, done, is_free): (Option<i64>, Option<i64>, i64) = query_as(
                "SELECT due, GREATEST(done, skipped), \
                    CASE WHEN holder IS NULL OR expires <= clock_timestamp() THEN 1 ELSE 0 END \
                 FROM claims WHERE key = $1 FOR UPDATE",
            )
            .bind(key)
            .fetch_one(&mut *write)
            .await?;
            let wanted = due.as_ref().map(|(due, _)| *due);
            if wanted.is_some() && (done >= wanted || before > wanted) {
                return Ok(Err(Taken::Over));
            }
            if is_free == 0 {
                // What is due is done by whoever has it; something newer is due after that.
                return Ok(Err(if wanted.is_some() && before == wanted { Taken::Over } else { Taken::Busy }));
            }
            let (epoch, attempt): (i64, i64) = query_as(
                "UPDATE claims SET due = $2, data_date = $3, attempt = attempt + 1, epoch = epoch + 1, holder = $4, answer = NULL, \
                    expires = clock_timestamp() + make_interval(secs => $5) \
                 WHERE key = $1 RETURNING epoch, attempt",
            )
            .bind(key)
            .bind(wanted)
            .bind(due.map(|(_, date)| date))
            .bind(&member.id)
            .bind(LEASE.as_secs_f64())
            .fetch_one(&mut *write)
            .await?;
            write.commit().await?;
            Ok(Ok((epoch, attempt, before.filter(|before| Some(*before) < wanted && done < Some(*before)))))
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
            key: key.to_owned(),
            epoch,
            attempt: u32::try_from(attempt)?,
            instead_of: instead_of.map(moment),
            member: Arc::downgrade(member),
        }))
    }

    /// Gives a claim back: another host may take it at once. `answer` is what those hear who wait for it.
    pub async fn give_back(&self, lease: &Lease, answer: Option<&str>) -> Result<()> {
        let Some(member) = &self.member else { return Ok(()) };
        self.let_go(lease);
        let sql = "UPDATE claims SET holder = NULL, attempt = attempt - 1, answer = $4 \
            WHERE key = $1 AND epoch = $2 AND holder = $3";
        let back = query(sql).bind(&lease.key).bind(lease.epoch).bind(&member.id).bind(answer);
        self.execute(back).await.map(drop)
    }

    /// Claims what is asked for, or waits for the answer of the host that has it.
    pub async fn take_or_hear(&self, key: &str) -> Result<Asked> {
        loop {
            match self.take(key, None).await? {
                Taken::Alone => return Ok(Asked::Mine(None)),
                Taken::Mine(lease) => return Ok(Asked::Mine(Some(lease))),
                Taken::Over | Taken::Busy => {}
            }
            // Until it is answered, or nobody has it any more.
            while let (false, answer) = self.heard(key).await? {
                if let Some(answer) = answer {
                    return Ok(Asked::Heard(answer));
                }
                tokio::time::sleep(HEAR).await;
            }
        }
    }

    /// Whether nobody does what a claim is for, and did not answer; else the answer, if it is there.
    async fn heard(&self, key: &str) -> Result<(bool, Option<String>)> {
        let sql = "SELECT CASE WHEN holder IS NULL OR expires <= clock_timestamp() THEN 1 ELSE 0 END, answer \
            FROM claims WHERE key = $1";
        let found: Option<(i64, Option<String>)> = query_as(sql)
            .bind(key)
            .fetch_optional(&mut *self.read().await?)
            .await
            .map_err(|error| self.explain(error))?;
        let (is_free, answer) = found.unwrap_or((1, None));
        Ok((is_free == 1 && answer.is_none(), answer))
    }

    /// Renews a claim no more: what was done under it is given up, and another host may do it once the lease is over.
    pub fn let_go(&self, lease: &Lease) {
        if let Some(member) = &self.member {
            member.held().retain(|key, held| (key, held.epoch) != (&lease.key, lease.epoch));
        }
    }

    /// Gives everything back.
    pub async fn give_all_back(&self) -> Result<()> {
        let Some(member) = &self.member else { return Ok(()) };
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
                "UPDATE claims SET expires = clock_timestamp() + make_interval(secs => ${}) WHERE key IN {} \
                 AND holder = ${} AND expires > clock_timestamp() RETURNING key, epoch",
                keys.len() + 1,
                places(1, keys.len()),
                keys.len() + 2,
            ));
            let renew = keys.iter().fold(query_as(sql), |renew, key| renew.bind(key.as_str()));
            let renewed: Vec<(String, i64)> = renew
                .bind(LEASE.as_secs_f64())
                .bind(&member.id)
                .fetch_all(&mut *write)
                .await
                .map_err(|error| self.explain(error))?;
            kept.extend(renewed);
        }
        write.commit().await.map_err(|error| self.explain(error))?;
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

    /// What there is to do on a record of several hosts, asked in one query since all of them ask often.
    pub async fn pulse(&self) -> Result<Pulse> {
        let sql = "SELECT (SELECT turn FROM turns), \
            (SELECT COUNT(*) FROM claims WHERE due IS NOT NULL AND (done IS NULL OR done < due) \
                AND (holder IS NULL OR expires <= clock_timestamp())), \
            (SELECT COUNT(*) FROM orders WHERE answer IS NULL), (SELECT COUNT(*) FROM outbox WHERE state = 'waiting'), \
            (SELECT digest FROM configuration), CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT)";
        let asked = Timestamp::now();
        let (turn, left, orders, messages, digest, time): (i64, i64, i64, i64, Option<String>, i64) =
            query_as(sql).fetch_one(&mut *self.read().await?).await.map_err(|error| self.explain(error))?;
        clock::set(time, asked);
        Ok(Pulse { turn, left: left > 0, orders: orders > 0, messages: messages > 0, digest })
    }

    /// What is due and nobody does: its host ended without recording it, or gave it back.
    pub async fn left(&self) -> Result<Vec<Left>> {
        if self.member.is_none() {
            return Ok(Vec::new());
        }
        let sql = "SELECT key, due FROM claims WHERE due IS NOT NULL AND (done IS NULL OR done < due) \
            AND (holder IS NULL OR expires <= clock_timestamp()) ORDER BY due, key";
        let rows: Vec<(String, i64)> =
            query_as(sql).fetch_all(&mut *self.read().await?).await.map_err(|error| self.explain(error))?;
        let left =
            |(key, due): (String, i64)| Some(Left { check: key.strip_prefix(CHECK)?.to_owned(), due: moment(due) });
        Ok(rows.into_iter().filter_map(left).collect())
    }

    /// The checks that other hosts run now for one of these due times.
    pub async fn running_elsewhere(&self, due: &BTreeSet<Timestamp>) -> Result<BTreeSet<String>> {
        let Some(member) = &self.member else { return Ok(BTreeSet::new()) };
        let mut names = BTreeSet::new();
        for due in due {
            let sql = "SELECT key FROM claims WHERE due = $1 AND holder <> $2 AND expires > clock_timestamp()";
            let keys: Vec<String> = query_scalar(sql)
                .bind(due.as_millisecond())
                .bind(&member.id)
                .fetch_all(&mut *self.read().await?)
                .await
                .map_err(|error| self.explain(error))?;
            names.extend(keys.iter().filter_map(|key| key.strip_prefix(CHECK)).map(str::to_owned));
        }
        Ok(names)
    }

    /// Whether other hosts run checks now.
    pub async fn others_run(&self) -> Result<bool> {
        let Some(member) = &self.member else { return Ok(false) };
        let sql = "SELECT COUNT(*) FROM claims WHERE due IS NOT NULL AND holder <> $1 AND expires > clock_timestamp()";
        let count: i64 = query_scalar(sql)
            .bind(&member.id)
            .fetch_one(&mut *self.read().await?)
            .await
            .map_err(|error| self.explain(error))?;
        Ok(count > 0)
    }

    /// Whether a host on a server was heard of within a lease.
    pub(super) async fn is_anybody_there(&self) -> Result<bool> {
        let sql = "SELECT COUNT(*) FROM hosts WHERE seen > clock_timestamp() - make_interval(secs => $1)";
        let count: i64 = query_scalar(sql)
            .bind(LEASE.as_secs_f64())
            .fetch_one(&mut *self.read().await?)
            .await
            .map_err(|error| self.explain(error))?;
        Ok(count > 0)
    }
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

/// The time since the machine started, with the time that it slept.
fn boot_time() -> Duration {
    let time = clock_gettime(ClockId::Boottime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or_default())
}
