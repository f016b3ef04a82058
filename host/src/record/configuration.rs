//! Which configuration the hosts of a record run: host.toml and the plugins' digests. Two at once would end each other's alerts, and
//! judge by different rules.

use std::time::Duration;

use anyhow::{Result, bail};
use jiff::Timestamp;
use serde::Serialize;

use super::sql::{commit, query, query_as, query_scalar};
use super::{
    LEASE, Record,
    audit::{Audited, note},
    moment,
};

/// The only row of the configuration.
const ONLY: i64 = 1;

/// What a host runs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Own {
    /// The digest of host.toml and the plugins.
    pub digest: String,
    /// The build number, `HOST_REVISION`.
    pub revision: Option<i64>,
}

/// The configuration that holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holding {
    /// Its digest.
    pub digest: String,
    /// The highest revision seen; 0 without any.
    pub revision: i64,
}

/// A host on the record.
#[derive(Debug, Clone, Serialize)]
pub struct Peer {
    /// Its id: a random one a start.
    pub id: String,
    /// The name of its machine.
    pub name: String,
    /// Its version.
    pub version: String,
    /// When it started.
    pub began: Timestamp,
    /// How long ago it was heard of, in seconds, by the server's clock.
    pub silent: f64,
    /// The digest of its configuration.
    pub digest: String,
    /// Its `HOST_REVISION`.
    pub revision: Option<i64>,
    /// Whether its configuration holds.
    pub takes_part: bool,
    /// How late the latest of the runs began that it began in the ten seconds before it was last heard of, in seconds; `None` if it began
    /// none.
    pub lag: Option<f64>,
    /// What it claims now, sorted.
    pub claims: Vec<String>,
}

impl Record {
    /// Takes part with a configuration, if it holds: it is the first, it has the highest revision, or no host runs the one that holds and
    /// nobody adopted that. Whether one runs it is known a lease after an outage of the server or of this host. Returns which one holds.
    pub async fn stand(&self, own: &Own, now: Timestamp) -> Result<Holding> {
        let Some(member) = self.member() else {
            return Ok(Holding { digest: own.digest.clone(), revision: own.revision.unwrap_or_default() });
        };
        let stood = async {
            let mut write = self.begin().await?;
            query("INSERT INTO configuration (id, digest, revision) VALUES ($1, $2, $3) ON CONFLICT (id) DO NOTHING")
                .bind(ONLY)
                .bind(&own.digest)
                .bind(own.revision.unwrap_or_default())
                .execute(&mut write)
                .await?;
            let (digest, revision, is_adopted): (String, i64, i64) = query_as(
                "SELECT digest, revision, CASE WHEN adopted IS NULL THEN 0 ELSE 1 END FROM configuration \
                 WHERE id = $1 FOR UPDATE",
            )
            .bind(ONLY)
            .fetch_one(&mut write)
            .await?;
            let others: i64 = query_scalar(
                // Nobody was heard of while the server was down: who did not say that it ends may be there.
                "SELECT COUNT(*) FROM hosts, (SELECT clock_timestamp() - make_interval(secs => $3) AS moment) AS before \
                 WHERE digest = $1 AND id <> $2 AND (seen > before.moment OR pg_postmaster_start_time() > before.moment)",
            )
            .bind(&digest)
            .bind(&member.id)
            .bind(LEASE.as_secs_f64())
            .fetch_one(&mut write)
            .await?;
            let is_higher = own.revision.is_some_and(|own| own > revision);
            let is_left = others == 0
                && is_adopted == 0
                && own.revision.unwrap_or_default() == revision
                && member.hearing.has_heard();
            let holding = if own.digest == digest || is_higher || is_left {
                let holding =
                    Holding { digest: own.digest.clone(), revision: own.revision.unwrap_or_default().max(revision) };
                query(
                    "UPDATE configuration SET digest = $2, revision = $3, \
                     adopted = CASE WHEN digest = $2 THEN adopted END WHERE id = $1",
                )
                .bind(ONLY)
                .bind(&holding.digest)
                .bind(holding.revision)
                .execute(&mut write)
                .await?;
                holding
            } else {
                Holding { digest, revision }
            };
            query(
                "INSERT INTO hosts (id, name, version, began, seen, digest, revision, lag) \
                 VALUES ($1, $2, $3, $4, clock_timestamp(), $5, $6, $7) ON CONFLICT (id) DO UPDATE SET \
                 seen = excluded.seen, digest = excluded.digest, revision = excluded.revision, lag = excluded.lag",
            )
            .bind(&member.id)
            .bind(rustix::system::uname().nodename().to_string_lossy().into_owned())
            .bind(env!("CARGO_PKG_VERSION"))
            .bind(now.as_millisecond())
            .bind(&own.digest)
            .bind(own.revision)
            .bind(member.take_lag())
            .execute(&mut write)
            .await?;
            commit(write).await?;
            Ok(holding)
        };
        let holding: Holding = stood.await.map_err(|error| self.explain(error))?;
        member.stands(holding.digest == own.digest);
        Ok(holding)
    }

    /// Makes the configuration with a digest, or the beginning of one, the one that holds, until a higher revision is seen. A host
    /// must run it. Returns its digest. `entry` makes the line of the audit trail.
    pub async fn adopt(&self, digest: &str, now: Timestamp, entry: impl FnOnce(String) -> Audited) -> Result<String> {
        let sql = "SELECT DISTINCT digest FROM hosts WHERE starts_with(digest, $1) \
            AND seen > clock_timestamp() - make_interval(secs => $2) ORDER BY digest";
        let found: Vec<String> = query_scalar(sql)
            .bind(digest)
            .bind(LEASE.as_secs_f64())
            .fetch_all(&mut *self.read().await?)
            .await
            .map_err(|error| self.explain(error))?;
        let [whole] = found.as_slice() else {
            match found.is_empty() {
                true => bail!("no host runs a configuration {digest}; `host fleet` lists what the hosts run"),
                false => bail!("{digest} is the beginning of several: {}", found.join(", ")),
            }
        };
        let adopted = async {
            let mut write = self.begin().await?;
            let adopt = "UPDATE configuration SET digest = $2, adopted = $3 WHERE id = $1";
            let adopt = query(adopt).bind(ONLY).bind(whole).bind(now.as_millisecond());
            adopt.execute(&mut write).await?;
            note(&mut write, &entry(format!("adopted the configuration {whole}"))).await?;
            commit(write).await
        };
        adopted.await.map_err(|error| self.explain(error))?;
        Ok(whole.clone())
    }

    /// The configuration that holds; `None` before the first host.
    pub async fn holding(&self) -> Result<Option<Holding>> {
        let sql = "SELECT digest, revision FROM configuration WHERE id = $1";
        let found: Option<(String, i64)> = query_as(sql)
            .bind(ONLY)
            .fetch_optional(&mut *self.read().await?)
            .await
            .map_err(|error| self.explain(error))?;
        Ok(found.map(|(digest, revision)| Holding { digest, revision }))
    }

    /// The hosts that were heard of within a lease, and what each claims; by name and start.
    pub async fn peers(&self) -> Result<Vec<Peer>> {
        if self.member().is_none() {
            return Ok(Vec::new());
        }
        let mut read = self.read().await?;
        type Row = (String, String, String, i64, f64, String, Option<i64>, Option<String>, Option<i64>);
        let rows: Vec<Row> = query_as(
            "SELECT hosts.id, name, version, began, \
                CAST(EXTRACT(EPOCH FROM clock_timestamp() - seen) AS DOUBLE PRECISION), hosts.digest, hosts.revision, \
                configuration.digest, lag \
             FROM hosts LEFT JOIN configuration ON configuration.digest = hosts.digest \
             WHERE seen > clock_timestamp() - make_interval(secs => $1) ORDER BY name, began, hosts.id",
        )
        .bind(LEASE.as_secs_f64())
        .fetch_all(&mut read)
        .await
        .map_err(|error| self.explain(error))?;
        let claims: Vec<(String, String)> = query_as(
            "SELECT holder, key FROM claims WHERE holder IS NOT NULL AND expires > clock_timestamp() ORDER BY key",
        )
        .fetch_all(&mut read)
        .await
        .map_err(|error| self.explain(error))?;
        let peer = |(id, name, version, began, silent, digest, revision, holds, lag): Row| Peer {
            claims: claims.iter().filter(|(holder, _)| *holder == id).map(|(_, key)| key.clone()).collect(),
            began: moment(began),
            takes_part: holds.is_some(),
            lag: lag.map(|lag| Duration::from_millis(lag.unsigned_abs()).as_secs_f64()),
            id,
            name,
            version,
            silent,
            digest,
            revision,
        };
        Ok(rows.into_iter().map(peer).collect())
    }
}
