//! What there is to do on a record of several hosts, which each of them asks often.

use std::{collections::BTreeSet, time::Duration};

use anyhow::Result;
use jiff::Timestamp;

use super::sql::{query_as, query_scalar};
use super::{Known, LEASE, Record, clock::Question, fleet::CHECK, moment};

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
    pub known: Known,
    /// Whether something is due that nobody does.
    pub left: bool,
    /// Whether orders wait.
    pub orders: bool,
    /// Whether messages wait.
    pub messages: bool,
    /// The digest of the configuration that holds.
    pub digest: Option<String>,
    /// How many hosts were heard of within a lease.
    pub hosts: i64,
    /// When the next claim of work that is due ends, unless it is renewed, as it is every few seconds while its host lives.
    pub ends: Option<Duration>,
}

impl Record {
    /// What there is to do on a record of several hosts, asked in one query since all of them ask often.
    pub async fn pulse(&self) -> Result<Pulse> {
        let sql = "SELECT (SELECT turn FROM turns), (SELECT MAX(id) FROM batches WHERE turn = (SELECT turn FROM turns)), \
            (SELECT COUNT(*) FROM claims WHERE due IS NOT NULL AND (done IS NULL OR done < due) \
                AND (holder IS NULL OR expires <= clock_timestamp())), \
            (SELECT COUNT(*) FROM orders WHERE answer IS NULL), (SELECT COUNT(*) FROM outbox WHERE state = 'waiting'), \
            (SELECT digest FROM configuration), CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT), \
            (SELECT COUNT(*) FROM hosts WHERE seen > clock_timestamp() - make_interval(secs => $1)), \
            (SELECT CAST(EXTRACT(EPOCH FROM MIN(expires) - clock_timestamp()) * 1000 AS BIGINT) FROM claims \
                WHERE due IS NOT NULL AND (done IS NULL OR done < due) AND holder IS NOT NULL AND expires > clock_timestamp())";
        let mut read = self.read().await?;
        let asked = Question::now();
        type Row = (i64, Option<String>, i64, i64, i64, Option<String>, i64, i64, Option<i64>);
        let (turn, batch, left, orders, messages, digest, time, hosts, ends): Row =
            query_as(sql).bind(LEASE.as_secs_f64()).fetch_one(&mut read).await.map_err(|error| self.explain(error))?;
        asked.heard(time);
        if let Some(member) = &self.member {
            member.hearing.hears();
        }
        Ok(Pulse {
            known: Known { turn, batch },
            left: left > 0,
            orders: orders > 0,
            messages: messages > 0,
            digest,
            hosts,
            ends: ends.map(|ends| Duration::from_millis(ends.unsigned_abs())),
        })
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
