//! The right to decide and to write what was decided. In a file it is the process's own; on a server the hosts have it one after
//! the other, and each reads first what the others changed.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::PoisonError,
};

use anyhow::Result;
use jiff::{Timestamp, civil::Date};
use sqlx::{Any, AnyConnection, AssertSqlSafe, Transaction};

use super::sql::{commit, places, query, query_as, query_scalar};
use super::{Batch, DateRow, Lease, NewRun, Record, Silence, silences};

/// The only row of the turns.
const ONLY: i64 = 1;
/// A turn before the first one.
const BEFORE_ALL: i64 = -1;
/// The most names in one statement.
const NAMES: usize = 1000;
/// The most checks that are read while others wait for the right to decide. A client that stops while it reads holds them up until the
/// server gives up on it.
const AT_MOST: i64 = 20;

/// Up to which turn a process knows everything, and the batch of that turn: after a failover or a restore the same turn may be another.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Known {
    /// The turn.
    pub turn: i64,
    /// Its batch, if it had one.
    pub batch: Option<String>,
}

impl Known {
    /// Nothing.
    pub const NOTHING: Self = Self { turn: BEFORE_ALL, batch: None };
}

/// The right to decide, until it is written or dropped.
pub struct Turn {
    record: Record,
    /// On a server: the transaction that holds the right, and its number.
    whole: Option<(Transaction<'static, Any>, i64)>,
}

/// What other hosts changed: for each check its standing, as JSON, if it has one, and the states of its dates.
#[derive(Debug, Default)]
pub struct Changes {
    /// Up to which turn this goes; 0 in a file.
    pub known: Known,
    /// Whether this is all there is, and what the caller knew is void: an older backup was restored.
    pub is_all: bool,
    /// By check.
    pub checks: BTreeMap<String, (Option<String>, Vec<DateRow>)>,
}

impl Record {
    /// Takes the right to decide. `None` if so much was changed since what the caller knows that it has to read [`Record::changes`] first,
    /// unless it wants the right at any rate.
    pub async fn turn(&self, known: &Known, at_any_rate: bool) -> Result<Option<(Turn, Changes)>> {
        if self.member().is_none() {
            return Ok(Some((Turn { record: self.clone(), whole: None }, Changes::default())));
        }
        let begun = async {
            let mut whole = self.begin().await?;
            let turn: i64 = query_scalar("SELECT turn FROM turns WHERE id = $1 FOR UPDATE")
                .bind(ONLY)
                .fetch_one(&mut whole)
                .await?;
            let since = Since::read(&mut whole, known, turn).await?;
            if since.changed > AT_MOST && !at_any_rate {
                return Ok(None);
            }
            let changes = self.forgetting(changes(&mut whole, since).await?);
            Ok(Some((Turn { record: self.clone(), whole: Some((whole, turn + 1)) }, changes)))
        };
        begun.await.map_err(|error| self.explain(error))
    }

    /// What other hosts changed, without taking the right to decide.
    pub async fn changes(&self, known: &Known) -> Result<Changes> {
        if self.member().is_none() {
            return Ok(Changes::default());
        }
        let read = async {
            let mut whole = self.begin().await?;
            // All of it as of one moment.
            query("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY").execute(&mut whole).await?;
            let turn: i64 =
                query_scalar("SELECT turn FROM turns WHERE id = $1").bind(ONLY).fetch_one(&mut whole).await?;
            let since = Since::read(&mut whole, known, turn).await?;
            Ok(self.forgetting(changes(&mut whole, since).await?))
        };
        read.await.map_err(|error| self.explain(error))
    }

    /// Forgets the ids of plugins if the record is an older one, which may not have them.
    fn forgetting(&self, changes: Changes) -> Changes {
        if changes.is_all {
            self.plugins.lock().unwrap_or_else(PoisonError::into_inner).clear();
        }
        changes
    }
}

/// What there is to read.
struct Since {
    /// Up to which turn.
    now: Known,
    /// Since which turn.
    seen: i64,
    /// Whether the caller knew another record.
    is_all: bool,
    /// How many checks.
    changed: i64,
}

impl Since {
    async fn read(whole: &mut AnyConnection, known: &Known, turn: i64) -> sqlx::Result<Self> {
        let (batch, before, changed): (Option<String>, Option<String>, i64) = query_as(
            "SELECT (SELECT MAX(id) FROM batches WHERE turn = $1), (SELECT MAX(id) FROM batches WHERE turn = $2), \
                (SELECT COUNT(*) FROM changes WHERE turn > $2)",
        )
        .bind(turn)
        .bind(known.turn)
        .fetch_one(&mut *whole)
        .await?;
        let is_all = turn < known.turn || before != known.batch;
        let (seen, changed) = if is_all {
            (BEFORE_ALL, query_scalar("SELECT COUNT(*) FROM changes").fetch_one(whole).await?)
        } else {
            (known.turn, changed)
        };
        Ok(Self { now: Known { turn, batch }, seen, is_all, changed })
    }
}

async fn changes(whole: &mut AnyConnection, since: Since) -> sqlx::Result<Changes> {
    let Since { now: known, seen, is_all, changed } = since;
    if changed == 0 && !is_all {
        return Ok(Changes { known, ..Changes::default() });
    }
    let names: Vec<String> =
        query_scalar("SELECT check_name FROM changes WHERE turn > $1").bind(seen).fetch_all(&mut *whole).await?;
    let mut checks: BTreeMap<String, (Option<String>, Vec<DateRow>)> =
        names.iter().map(|name| (name.clone(), (None, Vec::new()))).collect();
    for names in names.chunks(NAMES) {
        // Constants and places.
        let sql = |columns, table| {
            AssertSqlSafe(format!("SELECT {columns} FROM {table} WHERE check_name IN {}", places(1, names.len())))
        };
        let standings =
            names.iter().fold(query_as(sql("check_name, standing", "standings")), |query, name| query.bind(name));
        let standings: Vec<(String, String)> = standings.fetch_all(&mut *whole).await?;
        for (name, standing) in standings {
            checks.entry(name).or_default().0 = Some(standing);
        }
        let days = names.iter().fold(query_as(sql("*", "dates")), |query, name| query.bind(name));
        let days: Vec<DateRow> = days.fetch_all(&mut *whole).await?;
        for day in days {
            checks.entry(day.check.clone()).or_default().1.push(day);
        }
    }
    Ok(Changes { known, is_all, checks })
}

impl Turn {
    /// The number of this turn; 0 in a file.
    pub fn number(&self) -> i64 {
        self.whole.as_ref().map_or(0, |(_, turn)| *turn)
    }

    /// Whether a batch was written before, though its host could not see that.
    pub async fn is_written(&mut self, batch: &str) -> Result<bool> {
        let Some((whole, _)) = &mut self.whole else { return Ok(false) };
        let found: Option<String> = query_scalar("SELECT id FROM batches WHERE id = $1")
            .bind(batch)
            .fetch_optional(whole)
            .await
            .map_err(|error| self.record.explain(error))?;
        Ok(found.is_some())
    }

    /// The silences that are active at a moment or start later.
    pub async fn silences(&mut self, after: Timestamp) -> Result<Vec<Silence>> {
        match &mut self.whole {
            None => self.record.silences(Some(after)).await,
            Some((whole, _)) => {
                let rows = silences::read(whole, Some(after)).await.map_err(|error| self.record.explain(error))?;
                rows.into_iter().map(Silence::try_from).collect()
            }
        }
    }

    /// Demands the claims under which runs were made, and ends those of a check's turn. Returns those that are not this process's any
    /// more: another host took them over, and what came of them here is not recorded.
    pub async fn end(&mut self, leases: &[Lease]) -> Result<Vec<Lease>> {
        let mut lost = Vec::new();
        let Some((whole, _)) = &mut self.whole else { return Ok(lost) };
        let Some(member) = self.record.member() else { return Ok(lost) };
        // In the order in which they are renewed: two that wait for each other's rows would never end.
        let leases: BTreeMap<(&str, i64), &Lease> =
            leases.iter().map(|lease| ((lease.key(), lease.epoch()), lease)).collect();
        for lease in leases.into_values() {
            let ended = query(match lease.is_of_turn() {
                true => {
                    "UPDATE claims SET holder = NULL, done = GREATEST(due, skipped), attempt = 0 \
                     WHERE key = $1 AND epoch = $2 AND holder = $3"
                }
                // Others of its runs follow.
                false => "UPDATE claims SET attempt = 1 WHERE key = $1 AND epoch = $2 AND holder = $3",
            })
            .bind(lease.key())
            .bind(lease.epoch())
            .bind(&member.id)
            .execute(whole)
            .await
            .map_err(|error| self.record.explain(error))?;
            if ended.rows_affected() == 0 {
                lost.push(lease.clone());
            }
        }
        Ok(lost)
    }

    /// Notes that a due time of a check has no run: since this process runs the check for an older one, which `overlaps`, or
    /// since nobody was there.
    /// False if another host has noted so, or ran it, or runs the check for another due time, or is free to.
    pub async fn leave_out(
        &mut self,
        check: &str,
        due: Timestamp,
        date: Date,
        overlaps: Option<Timestamp>,
    ) -> Result<bool> {
        let Some((whole, _)) = &mut self.whole else { return Ok(true) };
        let Some(member) = self.record.member() else { return Ok(true) };
        let noted = match overlaps {
            // It may still wait for room, and nobody has the older due time: that one stays open for whoever has.
            Some(running) => query(
                "INSERT INTO claims (key, epoch, due, skipped) VALUES ($1, 0, $4, $2) ON CONFLICT (key) DO UPDATE SET \
                    skipped = $2, due = GREATEST(claims.due, $4), \
                    attempt = CASE WHEN claims.due = $4 THEN claims.attempt ELSE 0 END \
                 WHERE COALESCE(GREATEST(claims.done, claims.skipped) < $2, TRUE) AND (claims.holder = $3 AND claims.due = $4 \
                    OR (claims.holder IS NULL OR claims.expires <= clock_timestamp()) \
                        AND COALESCE(claims.due <= $4, TRUE) AND COALESCE(claims.done < $4, TRUE))",
            )
            .bind(super::turn_of(check))
            .bind(due.as_millisecond())
            .bind(&member.id)
            .bind(running.as_millisecond()),
            None => query(
                "INSERT INTO claims (key, due, data_date, epoch, done) VALUES ($1, $2, $3, 0, $2) \
                 ON CONFLICT (key) DO UPDATE SET \
                    due = CASE WHEN (claims.holder IS NULL OR claims.expires <= clock_timestamp()) THEN excluded.due ELSE claims.due END, \
                    data_date = CASE WHEN (claims.holder IS NULL OR claims.expires <= clock_timestamp()) THEN excluded.data_date ELSE claims.data_date END, \
                    done = CASE WHEN (claims.holder IS NULL OR claims.expires <= clock_timestamp()) THEN excluded.done ELSE claims.done END, \
                    skipped = CASE WHEN (claims.holder IS NULL OR claims.expires <= clock_timestamp()) THEN claims.skipped ELSE excluded.due END \
                 WHERE COALESCE(GREATEST(claims.done, claims.skipped) < excluded.due, TRUE) AND (claims.holder = $4 \
                    OR ((claims.holder IS NULL OR claims.expires <= clock_timestamp()) AND COALESCE(claims.due <= excluded.due, TRUE)))",
            )
            .bind(super::turn_of(check))
            .bind(due.as_millisecond())
            .bind(date.to_string())
            // It may run the check for the due time after it already.
            .bind(&member.id),
        };
        let noted = noted.execute(whole).await.map_err(|error| self.record.explain(error))?;
        Ok(noted.rows_affected() > 0)
    }

    /// Gives runs that nobody claimed the next free number among those of their date and due time.
    pub async fn number_attempts(&mut self, runs: &mut [NewRun]) -> Result<()> {
        let Some((whole, _)) = &mut self.whole else { return Ok(()) };
        let mut last: BTreeMap<(String, Date, Timestamp), u32> = BTreeMap::new();
        for run in runs.iter_mut() {
            let of = (run.check.clone(), run.data_date, run.due);
            let before = match last.get(&of) {
                Some(before) => *before,
                None => {
                    let sql = "SELECT MAX(attempt) FROM runs WHERE due = $1 AND check_name = $2 AND data_date = $3";
                    let most: Option<i64> = query_scalar(sql)
                        .bind(run.due.as_millisecond())
                        .bind(&run.check)
                        .bind(run.data_date.to_string())
                        .fetch_one(whole)
                        .await
                        .map_err(|error| self.record.explain(error))?;
                    u32::try_from(most.unwrap_or_default())?
                }
            };
            run.attempt = run.attempt.max(before + 1);
            last.insert(of, run.attempt);
        }
        Ok(())
    }

    /// Writes all of a batch, or nothing.
    pub async fn write(self, batch: &Batch) -> Result<()> {
        let Some((mut whole, turn)) = self.whole else { return self.record.keep(batch).await };
        let touched: BTreeSet<&String> = batch
            .runs
            .iter()
            .map(|run| &run.check)
            .chain(batch.standings.keys())
            .chain(&batch.gone)
            .chain(batch.dates.iter().map(|day| &day.check))
            .chain(batch.dates_gone.iter().map(|(check, _)| check))
            .collect();
        let touched: Vec<&String> = touched.into_iter().collect();
        let written = async {
            let plugins = self.record.write_batch(&mut whole, batch).await?;
            query("UPDATE turns SET turn = $2 WHERE id = $1").bind(ONLY).bind(turn).execute(&mut whole).await?;
            for names in touched.chunks(NAMES) {
                // Constants and places.
                let sql = AssertSqlSafe(format!(
                    "INSERT INTO changes (check_name, turn) VALUES {} ON CONFLICT (check_name) DO UPDATE SET turn = excluded.turn",
                    places(names.len(), 2)
                ));
                let insert = names.iter().fold(query(sql), |insert, name| insert.bind(name.as_str()).bind(turn));
                insert.execute(&mut whole).await?;
            }
            query("INSERT INTO batches (id, recorded, turn) VALUES ($1, $2, $3)")
                .bind(&batch.id)
                .bind(batch.recorded.as_millisecond())
                .bind(turn)
                .execute(&mut whole)
                .await?;
            for check in &batch.gone {
                let gone = query("DELETE FROM claims WHERE key = $1").bind(super::turn_of(check));
                gone.execute(&mut whole).await?;
            }
            commit(whole).await?;
            Ok(plugins)
        };
        let plugins = written.await.map_err(|error| self.record.explain(error))?;
        self.record.know(plugins);
        Ok(())
    }
}
