//! Writes one batch of a round in one transaction: its runs, the standings of their checks, and the messages to send.
//! So every message is about recorded runs, and no notice of a recorded run is lost.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, PoisonError},
};

use anyhow::Result;
use jiff::{Timestamp, civil::Date};
use sqlx::{AnyConnection, AssertSqlSafe};

use super::sql::{Change, commit, last_of_each, places, query, query_as, query_scalar, storable};
use super::{
    Record,
    answers::{NewTape, write_tapes},
    audit::{Audited, note},
    dates::{DateRow, key, write_dates},
    orders::answer_orders,
    reports,
};

/// Everything that one transaction writes.
#[derive(Debug, Default)]
pub struct Batch {
    /// A random id, the same whenever it is tried.
    pub id: String,
    /// The runs.
    pub runs: Vec<NewRun>,
    /// The standing of each check, as JSON, by check.
    pub standings: BTreeMap<String, String>,
    /// The checks that are gone: their standings and dates are removed.
    pub gone: Vec<String>,
    /// The dates whose state changed.
    pub dates: Vec<DateRow>,
    /// The dates that are gone.
    pub dates_gone: Vec<(String, Option<Date>)>,
    /// Alerts that began, changed or ended.
    pub episodes: Vec<Episode>,
    /// The messages to send.
    pub messages: Vec<NewMessage>,
    /// Until when a report goes that is among the messages.
    pub reported: Option<Timestamp>,
    /// The orders that were carried out, and what came of each.
    pub answered: Vec<(i64, String)>,
    /// Entries of the audit trail.
    pub audited: Vec<Audited>,
    /// Incidents, and how each stands, as JSON: for their first messages in Slack.
    pub noted: Vec<(String, String)>,
    /// How many bytes of answers one day may add.
    pub answers_per_day: u64,
    /// The time of writing.
    pub recorded: Timestamp,
}

impl Batch {
    /// An empty one, with an id.
    pub fn new() -> Self {
        Self { id: format!("{:016x}", fastrand::u64(..)), ..Self::default() }
    }
}

/// A run, as recorded.
#[derive(Debug, Clone)]
pub struct NewRun {
    /// The check's name.
    pub check: String,
    /// The plugin, if one ran.
    pub plugin: Option<PluginKey>,
    /// The run's clock.
    pub due: Timestamp,
    /// The data date.
    pub data_date: Date,
    /// 1 for the first run of this check, date and due time.
    pub attempt: u32,
    /// Whether it is about another date than the one that was due.
    pub past: bool,
    /// `pass`, `skip`, `warn`, `fail` or `error`.
    pub status: &'static str,
    /// The summary, one line.
    pub summary: String,
    /// The report, as JSON.
    pub report: Option<String>,
    /// Rows that explain the violations, as JSON.
    pub evidence: Option<String>,
    /// Why it could not be evaluated.
    pub error: Option<String>,
    /// Its duration.
    pub seconds: f64,
    /// Host calls, as JSON.
    pub calls: String,
    /// Whether it did not run: its due time was missed, or the check was still running.
    pub left_out: bool,
    /// What was cut to fit, in words, if anything was.
    pub cut: Option<String>,
    /// What it takes to run it again, if that is recorded.
    pub tape: Option<Arc<NewTape>>,
}

/// Which plugin ran.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PluginKey {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The digest of its bytes.
    pub digest: String,
}

/// An alert, from turning bad to recovery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Episode {
    /// The check.
    pub check: String,
    /// The data date; `None` if it is not about one date.
    pub date: Option<Date>,
    /// `failure` or `error`.
    pub kind: &'static str,
    /// The worst level.
    pub severity: &'static str,
    /// The last summary.
    pub summary: String,
    /// When it turned bad.
    pub began: Timestamp,
    /// When it recovered.
    pub ended: Option<Timestamp>,
    /// When it was announced.
    pub announced: Option<Timestamp>,
    /// Why it was not announced.
    pub held: Option<String>,
}

/// A message for the outbox.
#[derive(Debug, Clone)]
pub struct NewMessage {
    /// The id, the same in every attempt.
    pub id: String,
    /// A channel, or the fallback.
    pub receiver: String,
    /// One line.
    pub title: String,
    /// The notification as JSON, rendered when it is sent.
    pub notification: String,
    /// When it was created.
    pub created: Timestamp,
    /// The names of the checks in it.
    pub checks: BTreeSet<String>,
}

/// Rows of one statement; SQLite allows 32,766 values: <https://www.sqlite.org/limits.html#max_variable_number>
const ROWS: usize = 1000;

impl Record {
    /// Writes all of it, or nothing: see also [`super::Turn::write`].
    pub async fn keep(&self, batch: &Batch) -> Result<()> {
        let written = async {
            let mut write = self.begin().await?;
            let plugins = self.write_batch(&mut write, batch).await?;
            commit(write).await?;
            Ok(plugins)
        };
        self.know(written.await.map_err(|error| self.explain(error))?);
        Ok(())
    }

    /// Remembers the ids of plugins, once they are committed.
    pub(super) fn know(&self, plugins: HashMap<PluginKey, i64>) {
        self.plugins.lock().unwrap_or_else(PoisonError::into_inner).extend(plugins);
    }

    /// Writes a batch within a transaction. Returns the ids of its plugins.
    pub(super) async fn write_batch(
        &self,
        write: &mut AnyConnection,
        batch: &Batch,
    ) -> sqlx::Result<HashMap<PluginKey, i64>> {
        let plugins = self.plugin_ids(write, &batch.runs).await?;
        for runs in batch.runs.chunks(ROWS) {
            insert_runs(runs, &plugins, batch.recorded).execute(&mut *write).await?;
        }
        let tapes = batch.runs.iter().filter_map(|run| {
            let tape = run.tape.as_deref()?;
            Some(((run.check.as_str(), run.data_date, run.due, run.attempt), tape))
        });
        let tapes = tapes.collect();
        write_tapes(write, tapes, batch.recorded, batch.answers_per_day).await?;
        let standings: Vec<(&String, &String)> = batch.standings.iter().collect();
        for standings in standings.chunks(ROWS) {
            upsert_standings(standings).execute(&mut *write).await?;
        }
        for check in &batch.gone {
            for sql in ["DELETE FROM standings WHERE check_name = $1", "DELETE FROM dates WHERE check_name = $1"] {
                query(sql).bind(check).execute(&mut *write).await?;
            }
        }
        write_dates(write, &batch.dates, &batch.dates_gone).await?;
        answer_orders(write, &batch.answered).await?;
        for entry in &batch.audited {
            note(write, entry).await?;
        }
        Self::note_states(write, &batch.noted).await?;
        let episodes =
            last_of_each(&batch.episodes, |episode| (&episode.check, episode.date, episode.kind, episode.began));
        for episodes in episodes.chunks(ROWS) {
            upsert_episodes(episodes, batch.recorded).execute(&mut *write).await?;
        }
        for message in &batch.messages {
            Self::enqueue(write, message).await?;
        }
        if let Some(reported) = batch.reported {
            reports::note(write, reported).await?;
        }
        Ok(plugins)
    }

    /// The ids of the plugins that ran; a new plugin gets a new id.
    async fn plugin_ids(&self, write: &mut AnyConnection, runs: &[NewRun]) -> sqlx::Result<HashMap<PluginKey, i64>> {
        let known = self.plugins.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut ids = HashMap::new();
        for plugin in runs.iter().filter_map(|run| run.plugin.as_ref()) {
            if ids.contains_key(plugin) {
                continue;
            }
            let id = match known.get(plugin) {
                Some(id) => *id,
                None => {
                    query_scalar(
                        "INSERT INTO plugins (name, version, digest) VALUES ($1, $2, $3) \
                         ON CONFLICT (name, version, digest) DO UPDATE SET name = excluded.name RETURNING id",
                    )
                    .bind(&plugin.name)
                    .bind(&plugin.version)
                    .bind(&plugin.digest)
                    .fetch_one(&mut *write)
                    .await?
                }
            };
            ids.insert(plugin.clone(), id);
        }
        Ok(ids)
    }

    /// The versions of the plugins that ran, by name.
    pub async fn versions(&self) -> Result<Vec<(String, String)>> {
        let rows = query_as("SELECT DISTINCT name, version FROM plugins").fetch_all(&mut *self.read().await?).await;
        rows.map_err(|error| self.explain(error))
    }

    /// The standing of each check, as JSON, by check.
    pub async fn standings(&self) -> Result<BTreeMap<String, String>> {
        let rows: Vec<(String, String)> = query_as("SELECT check_name, standing FROM standings")
            .fetch_all(&mut *self.read().await?)
            .await
            .map_err(|error| self.explain(error))?;
        Ok(rows.into_iter().collect())
    }

    /// The number of recorded attempts at a due time, by check and data date.
    pub async fn attempts(&self, due: &BTreeSet<Timestamp>) -> Result<HashMap<(String, Date, Timestamp), u32>> {
        let mut attempts = HashMap::new();
        for moment in due {
            let rows: Vec<(String, String, i64)> = query_as(
                "SELECT check_name, data_date, MAX(attempt) FROM runs WHERE due = $1 GROUP BY check_name, data_date",
            )
            .bind(moment.as_millisecond())
            .fetch_all(&mut *self.read().await?)
            .await
            .map_err(|error| self.explain(error))?;
            for (check, date, attempt) in rows {
                attempts.insert((check, date.parse()?, *moment), u32::try_from(attempt)?);
            }
        }
        Ok(attempts)
    }
}

fn insert_runs<'q>(runs: &'q [NewRun], plugins: &HashMap<PluginKey, i64>, recorded: Timestamp) -> Change<'q> {
    // Constants and places.
    let sql = AssertSqlSafe(format!(
        "INSERT INTO runs (check_name, due, data_date, attempt, past, status, summary, report, error, seconds, \
         calls, plugin_id, recorded, left_out, cut, evidence) VALUES {}",
        places(runs.len(), 16)
    ));
    runs.iter().fold(query(sql), |insert, run| {
        insert
            .bind(&run.check)
            .bind(run.due.as_millisecond())
            .bind(run.data_date.to_string())
            .bind(i64::from(run.attempt))
            .bind(run.past)
            .bind(run.status)
            .bind(storable(&run.summary))
            .bind(&run.report)
            .bind(run.error.as_deref().map(storable))
            .bind(run.seconds)
            .bind(&run.calls)
            .bind(run.plugin.as_ref().and_then(|plugin| plugins.get(plugin)).copied())
            .bind(recorded.as_millisecond())
            .bind(run.left_out)
            .bind(run.cut.as_deref().map(storable))
            .bind(&run.evidence)
    })
}

fn upsert_standings<'q>(standings: &[(&'q String, &'q String)]) -> Change<'q> {
    // Constants and places.
    let sql = AssertSqlSafe(format!(
        "INSERT INTO standings (check_name, standing) VALUES {} \
         ON CONFLICT (check_name) DO UPDATE SET standing = excluded.standing",
        places(standings.len(), 2)
    ));
    standings.iter().fold(query(sql), |insert, (check, standing)| insert.bind(check.as_str()).bind(standing.as_str()))
}

fn upsert_episodes<'q>(episodes: &[&'q Episode], recorded: Timestamp) -> Change<'q> {
    // Constants and places.
    let sql = AssertSqlSafe(format!(
        "INSERT INTO alerts (check_name, data_date, kind, severity, summary, began, ended, announced, held, recorded) \
         VALUES {} ON CONFLICT (check_name, data_date, kind, began) DO UPDATE SET severity = excluded.severity, \
         summary = excluded.summary, ended = excluded.ended, announced = excluded.announced, held = excluded.held, \
         recorded = excluded.recorded",
        places(episodes.len(), 10)
    ));
    episodes.iter().fold(query(sql), |insert, episode| {
        insert
            .bind(&episode.check)
            .bind(key(episode.date))
            .bind(episode.kind)
            .bind(episode.severity)
            .bind(storable(&episode.summary))
            .bind(episode.began.as_millisecond())
            .bind(episode.ended.map(Timestamp::as_millisecond))
            .bind(episode.announced.map(Timestamp::as_millisecond))
            .bind(episode.held.as_deref().map(storable))
            .bind(recorded.as_millisecond())
    })
}
