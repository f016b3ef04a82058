//! What runs were answered: contents that are kept once each, and a tape for each run that tells which of them it got. For `host
//! replay`; nothing else reads it.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use anyhow::Result;
use jiff::{SignedDuration, Timestamp, civil::Date, tz::TimeZone};
use sqlx::{AnyConnection, AssertSqlSafe};
use zstd::bulk::Compressor as Packer;

use super::{
    Record, moment,
    sql::{Change, commit, places, query, query_as, query_scalar},
};

/// How hard to compress: the usual level of zstd.
const LEVEL: i32 = 3;
/// The largest content when unpacked, in bytes, so that a damaged record fills no memory.
const LARGEST: usize = 64 << 20;
/// About what a row takes besides its texts, in bytes.
const ROW: usize = 100;
/// Values of one statement.
const ROWS: usize = 500;
/// How old the mark of an answer's last use may be before it is set again.
const MARKED: SignedDuration = SignedDuration::from_hours(24);

/// What it takes to run a run again.
#[derive(Debug, Clone, PartialEq)]
pub struct NewTape {
    /// The digest of its plugin.
    pub digest: String,
    /// Its clock and its date, as JSON.
    pub moment: String,
    /// The ids of the answer with its script, and of the one with what came of it; `None` if it cannot be run again.
    pub script: Option<(String, String)>,
    /// Why it cannot be run again.
    pub why: Option<String>,
    /// The answers, the two included.
    pub answers: Vec<NewAnswer>,
}

/// An answer.
#[derive(Debug, Clone, PartialEq)]
pub struct NewAnswer {
    /// See the table.
    pub id: String,
    /// What was answered; `None` if only the digest is kept.
    pub content: Option<Vec<u8>>,
    /// Where it is from.
    pub sources: BTreeSet<String>,
}

/// A recorded tape.
#[derive(Debug, Clone, PartialEq)]
pub struct PastTape {
    /// The check's name.
    pub check: String,
    /// The data date.
    pub data_date: Date,
    /// The run's clock.
    pub due: Timestamp,
    /// The number of the attempt.
    pub attempt: u32,
    /// The digest of its plugin.
    pub digest: String,
    /// Its clock and its date, as JSON.
    pub moment: String,
    /// The id of the answer with its script.
    pub script: Option<String>,
    /// The id of the answer with what came of it.
    pub outcome: Option<String>,
    /// Why it cannot be run again.
    pub why: Option<String>,
}

/// What [`Record::purge`] removes.
#[derive(Debug, Clone)]
pub enum Purge {
    /// All answers that have something from a source.
    Source(String),
    /// The contents of such answers, of which the digests stay.
    Contents(String),
    /// All answers that runs last got before a moment, and the tapes of those runs.
    Before(Timestamp),
}

/// What was removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Purged {
    /// Answers.
    pub answers: u64,
    /// Runs that cannot be run again now.
    pub runs: u64,
}

impl Record {
    /// The key of the digests of answers.
    pub async fn answer_key(&self) -> Result<Vec<u8>> {
        let key: String = query_scalar("SELECT key FROM answer_keys")
            .fetch_one(&mut *self.read().await?)
            .await
            .map_err(|error| self.explain(error))?;
        Ok(key.into_bytes())
    }

    /// The tapes of a check, the newest due time first; of runs recorded since a moment.
    pub async fn tapes(&self, check: &str, since: Timestamp) -> Result<Vec<PastTape>> {
        type Row = (String, i64, i64, String, String, Option<String>, Option<String>, Option<String>);
        let sql = "SELECT data_date, due, attempt, digest, moment, script, outcome, why FROM tapes \
            WHERE check_name = $1 AND recorded >= $2 ORDER BY due DESC, data_date DESC, attempt DESC";
        let rows: Vec<Row> = query_as(sql)
            .bind(check)
            .bind(since.as_millisecond())
            .fetch_all(&mut *self.read().await?)
            .await
            .map_err(|error| self.explain(error))?;
        let tape = |(date, due, attempt, digest, at, script, outcome, why): Row| {
            Ok(PastTape {
                check: check.to_owned(),
                data_date: date.parse()?,
                due: moment(due),
                attempt: u32::try_from(attempt)?,
                digest,
                moment: at,
                script,
                outcome,
                why,
            })
        };
        rows.into_iter().map(tape).collect()
    }

    /// The contents of answers, as far as they are kept, packed: see [`unpack`].
    pub async fn answers(&self, ids: &BTreeSet<String>) -> Result<HashMap<String, Vec<u8>>> {
        let ids: Vec<&String> = ids.iter().collect();
        let mut found = HashMap::new();
        for ids in ids.chunks(ROWS) {
            // Constants and places.
            let sql =
                format!("SELECT id, content FROM answers WHERE content IS NOT NULL AND id IN {}", places(1, ids.len()));
            let select = ids.iter().fold(query_as(AssertSqlSafe(sql)), |select, id| select.bind(id.as_str()));
            let rows: Vec<(String, Vec<u8>)> =
                select.fetch_all(&mut *self.read().await?).await.map_err(|error| self.explain(error))?;
            found.extend(rows);
        }
        Ok(found)
    }

    /// Everything that recorded answers are from.
    pub async fn answer_sources(&self) -> Result<BTreeSet<String>> {
        let rows: Vec<(String,)> = query_as("SELECT DISTINCT source FROM answer_sources")
            .fetch_all(&mut *self.read().await?)
            .await
            .map_err(|error| self.explain(error))?;
        Ok(rows.into_iter().map(|(source,)| source).collect())
    }

    /// The digests of the plugins whose runs can be run again.
    pub async fn taped_plugins(&self) -> Result<BTreeSet<String>> {
        let rows: Vec<(String,)> = query_as("SELECT DISTINCT digest FROM tapes WHERE script IS NOT NULL")
            .fetch_all(&mut *self.read().await?)
            .await
            .map_err(|error| self.explain(error))?;
        Ok(rows.into_iter().map(|(digest,)| digest).collect())
    }

    /// Removes answers for good: from a file every byte of them, from a server as far as its VACUUM does. The tapes that need them stay,
    /// with the reason `why` they cannot be run again.
    pub async fn purge(&self, what: &Purge, why: &str) -> Result<Purged> {
        let purged = async {
            let mut write = self.begin().await?;
            let purged = purge(&mut write, what, why).await?;
            commit(write).await?;
            if purged.answers > 0 {
                self.empty_journal().await?;
            }
            Ok(purged)
        };
        purged.await.map_err(|error| self.explain(error))
    }
}

async fn purge(write: &mut AnyConnection, what: &Purge, why: &str) -> sqlx::Result<Purged> {
    let mut purged = Purged::default();
    match what {
        Purge::Source(source) | Purge::Contents(source) => {
            // Constants.
            let own = "SELECT answer_id FROM answer_sources WHERE source = $1";
            let tapes = format!("UPDATE tapes SET script = NULL, outcome = NULL, why = $2 WHERE script IN ({own})");
            let changed = query(AssertSqlSafe(tapes)).bind(source).bind(why).execute(&mut *write).await?;
            purged.runs = changed.rows_affected();
            let answers = match what {
                Purge::Contents(_) => {
                    format!("UPDATE answers SET content = NULL, bytes = 0 WHERE content IS NOT NULL AND id IN ({own})")
                }
                _ => format!("DELETE FROM answers WHERE id IN ({own})"),
            };
            purged.answers = query(AssertSqlSafe(answers)).bind(source).execute(&mut *write).await?.rows_affected();
            if let Purge::Source(_) = what {
                let all = format!("DELETE FROM answer_sources WHERE answer_id IN ({own})");
                query(AssertSqlSafe(all)).bind(source).execute(&mut *write).await?;
            }
        }
        Purge::Before(before) => {
            for ((table, over), before) in old(*before) {
                // Constants.
                let gone = query(AssertSqlSafe(format!("DELETE FROM {table} WHERE {over}")));
                let gone = gone.bind(before.as_millisecond()).execute(&mut *write).await?.rows_affected();
                match table {
                    "tapes" => purged.runs = gone,
                    "answers" => purged.answers = gone,
                    _ => {}
                }
            }
        }
    }
    Ok(purged)
}

/// What is removed of the answers that runs got before a moment: each table, what of it, and before when. The mark of an answer's last use may
/// be a while old.
pub(super) fn old(before: Timestamp) -> [((&'static str, &'static str), Timestamp); 3] {
    let unused = Timestamp::from_millisecond(before.as_millisecond().saturating_sub(marked())).unwrap_or(before);
    [
        (("tapes", "recorded < $1"), before),
        (("answers", "used < $1"), unused),
        (("answer_sources", "answer_id NOT IN (SELECT id FROM answers) AND CAST($1 AS BIGINT) IS NOT NULL"), before),
    ]
}

/// An answer and its content, compressed.
type Packed<'r> = (&'r NewAnswer, Option<Vec<u8>>);

/// The run that a tape is of: its check, its date, its due time and its attempt.
pub(super) type Of<'r> = (&'r str, Date, Timestamp, u32);

/// Writes the tapes of runs, and the answers that are new; at most so many bytes of answers a day.
pub(super) async fn write_tapes(
    write: &mut AnyConnection,
    tapes: Vec<(Of<'_>, &NewTape)>,
    recorded: Timestamp,
    per_day: u64,
) -> sqlx::Result<()> {
    if tapes.is_empty() {
        return Ok(());
    }
    let now = recorded.as_millisecond();
    let all: BTreeMap<&str, &NewAnswer> =
        tapes.iter().flat_map(|(_, tape)| &tape.answers).map(|answer| (answer.id.as_str(), answer)).collect();
    // One of which only the digest is kept is new if its content is to be kept now.
    let mut known = known(write, &all).await?;
    known.retain(|id, known| known.whole || all.get(id.as_str()).is_none_or(|answer| answer.content.is_none()));
    let day = recorded.to_zoned(TimeZone::UTC).date().to_string();
    let bytes: Option<i64> =
        query_scalar("SELECT bytes FROM answer_days WHERE day = $1").bind(&day).fetch_optional(&mut *write).await?;
    let (mut today, mut new) = (bytes.unwrap_or_default().unsigned_abs(), BTreeMap::<&str, Packed<'_>>::new());
    let mut packer = Packer::new(LEVEL).map_err(|error| sqlx::Error::Encode(error.into()))?;
    let mut rows = Vec::with_capacity(tapes.len());
    for (run, tape) in tapes {
        let is_new =
            |answer: &&NewAnswer| !known.contains_key(answer.id.as_str()) && !new.contains_key(answer.id.as_str());
        let mut own = Vec::new();
        for answer in tape.answers.iter().filter(is_new) {
            let packed = answer.content.as_ref().map(|content| packer.compress(content)).transpose();
            own.push((answer, packed.map_err(|error| sqlx::Error::Encode(error.into()))?));
        }
        // A digest takes room too, and so does each source.
        let size = |(answer, packed): &Packed<'_>| {
            let sources = answer.sources.iter().map(|source| source.len() + ROW).sum::<usize>();
            (packed.as_ref().map_or(0, Vec::len) + ROW + sources) as u64
        };
        let added: u64 = own.iter().map(size).sum();
        let fits = today + added <= per_day;
        if fits {
            today += added;
            new.extend(own.into_iter().map(|one| (one.0.id.as_str(), one)));
        }
        rows.push((run, tape, fits));
    }
    insert_answers(write, &new, now).await?;
    for rows in rows.chunks(ROWS) {
        insert_tapes(rows, now).execute(&mut *write).await?;
    }
    known.retain(|_, known| now - known.used > marked());
    let stale: Vec<&String> = known.keys().collect();
    for ids in stale.chunks(ROWS) {
        // Constants and places.
        let sql = format!("UPDATE answers SET used = {now} WHERE id IN {}", places(1, ids.len()));
        ids.iter().fold(query(AssertSqlSafe(sql)), |update, id| update.bind(id.as_str())).execute(&mut *write).await?;
    }
    if !new.is_empty() {
        let sql = "INSERT INTO answer_days (day, bytes) VALUES ($1, $2) \
            ON CONFLICT (day) DO UPDATE SET bytes = excluded.bytes";
        query(sql).bind(&day).bind(i64::try_from(today).unwrap_or(i64::MAX)).execute(&mut *write).await?;
    }
    Ok(())
}

/// What is there of an answer.
struct Known {
    /// When it was last used, in Unix milliseconds.
    used: i64,
    /// Whether its content is there, too.
    whole: bool,
}

/// Which of the answers are there.
async fn known(write: &mut AnyConnection, all: &BTreeMap<&str, &NewAnswer>) -> sqlx::Result<HashMap<String, Known>> {
    let ids: Vec<&&str> = all.keys().collect();
    let mut known = HashMap::new();
    for ids in ids.chunks(ROWS) {
        // Constants and places.
        let sql = format!(
            "SELECT id, used, CASE WHEN content IS NULL THEN 0 ELSE 1 END FROM answers WHERE id IN {}",
            places(1, ids.len())
        );
        let select = ids.iter().fold(query_as(AssertSqlSafe(sql)), |select, id| select.bind(**id));
        let rows: Vec<(String, i64, i32)> = select.fetch_all(&mut *write).await?;
        known.extend(rows.into_iter().map(|(id, used, whole)| (id, Known { used, whole: whole == 1 })));
    }
    Ok(known)
}

async fn insert_answers(write: &mut AnyConnection, new: &BTreeMap<&str, Packed<'_>>, now: i64) -> sqlx::Result<()> {
    let answers: Vec<&Packed<'_>> = new.values().collect();
    for answers in answers.chunks(ROWS) {
        // Constants and places.
        let sql = format!(
            "INSERT INTO answers (id, content, bytes, used) VALUES {} ON CONFLICT (id) DO UPDATE \
            SET content = excluded.content, bytes = excluded.bytes, used = excluded.used",
            places(answers.len(), 4)
        );
        let insert = answers.iter().fold(query(AssertSqlSafe(sql)), |insert, (answer, packed)| {
            let bytes = packed.as_ref().map_or(0, |packed| i64::try_from(packed.len()).unwrap_or(i64::MAX));
            insert.bind(&answer.id).bind(packed.as_deref()).bind(bytes).bind(now)
        });
        insert.execute(&mut *write).await?;
    }
    let sources: Vec<(&String, &String)> =
        answers.iter().flat_map(|(answer, _)| answer.sources.iter().map(|source| (source, &answer.id))).collect();
    for sources in sources.chunks(ROWS) {
        // Constants and places.
        let sql = format!(
            "INSERT INTO answer_sources (source, answer_id) VALUES {} ON CONFLICT DO NOTHING",
            places(sources.len(), 2)
        );
        let insert = sources
            .iter()
            .fold(query(AssertSqlSafe(sql)), |insert, (source, id)| insert.bind(source.as_str()).bind(id.as_str()));
        insert.execute(&mut *write).await?;
    }
    Ok(())
}

fn insert_tapes<'q>(rows: &[(Of<'q>, &'q NewTape, bool)], now: i64) -> Change<'q> {
    // Constants and places.
    let sql = format!(
        "INSERT INTO tapes (check_name, data_date, due, attempt, digest, moment, script, outcome, why, recorded) VALUES {}",
        places(rows.len(), 10)
    );
    rows.iter().fold(query(AssertSqlSafe(sql)), |insert, ((check, date, due, attempt), tape, fits)| {
        let script = tape.script.as_ref().filter(|_| *fits);
        insert
            .bind(*check)
            .bind(date.to_string())
            .bind(due.as_millisecond())
            .bind(i64::from(*attempt))
            .bind(&tape.digest)
            .bind(&tape.moment)
            .bind(script.map(|(script, _)| script.as_str()))
            .bind(script.map(|(_, outcome)| outcome.as_str()))
            .bind(if *fits { tape.why.as_deref() } else { Some(TOO_MUCH) })
            .bind(now)
    })
}

/// Why a run has no answers, if the day had too many.
const TOO_MUCH: &str = "the answers of that day were more than record.answers_per_day";

/// An answer of [`Record::answers`], unpacked; an error if it is damaged.
pub fn unpack(packed: &[u8]) -> Result<Vec<u8>> {
    Ok(zstd::bulk::decompress(packed, LARGEST)?)
}

fn marked() -> i64 {
    i64::try_from(MARKED.as_millis()).unwrap_or(i64::MAX)
}
