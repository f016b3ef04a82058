//! Estimates what a query would read and cost, by a dry run, which is free. An estimate is valid as long as the query
//! and its tables do not change.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, PoisonError},
};

use futures_util::future::join_all;
use gcp_bigquery_client::model::{
    job::Job, job_configuration::JobConfiguration, routine_reference::RoutineReference, table_reference::TableReference,
};
use jiff::Timestamp;
use sha2::{Digest, Sha256};
use tokio::time::Instant;

use super::{
    BigQuery, MINIMUM,
    protocol::{Question, count, failure},
    values,
};
use crate::{
    capability::{calls::Calls, warehouse::allowed::Allowed},
    contract::{Error, warehouse::Column},
    google::Fault,
    googlesql::TablePath,
};

/// The number of estimates that are kept; when full, all are dropped.
const KEPT: usize = 10_000;
/// The maximum number of a query's tables that BigQuery names:
/// <https://cloud.google.com/bigquery/docs/reference/rest/v2/Job#JobStatistics2>
const NAMED_TABLES: usize = 50;

/// The estimate of a query.
#[derive(Debug)]
pub(super) struct Estimate {
    pub(super) bytes: u64,
    pub(super) columns: Vec<Column>,
    /// The tables that BigQuery says it reads; views are resolved to their tables.
    tables: BTreeSet<Read>,
    /// The functions that BigQuery says it calls, also through views: `dataset.name`.
    functions: BTreeSet<String>,
}

/// A table that a query reads, also through a view.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Read {
    pub(super) project: String,
    pub(super) dataset: String,
    pub(super) table: String,
}

/// An estimate, with the versions of its tables.
#[derive(Debug, Default)]
pub(super) struct Estimates {
    queries: Mutex<HashMap<[u8; 32], Known>>,
    /// Looked up once for all runs of a due time.
    versions: Mutex<HashMap<TablePath, (Timestamp, String)>>,
}

#[derive(Debug, Clone)]
struct Known {
    estimate: Arc<Estimate>,
    versions: Vec<String>,
}

impl Estimate {
    /// The maximum that it bills.
    pub(super) fn billed(&self) -> u64 {
        self.billed_for(self.bytes)
    }

    /// The maximum that is billed for an amount read. BigQuery bills each table by itself: whole MiB, and a minimum. It does
    /// not say how many bytes each table has; the most is billed if all are in one of them.
    pub(super) fn billed_for(&self, bytes: u64) -> u64 {
        match self.tables.len() as u64 {
            // Nothing to read.
            0 if bytes == 0 => 0,
            tables => bytes.next_multiple_of(1 << 20).max(MINIMUM) + MINIMUM * tables.saturating_sub(1),
        }
    }
}

impl BigQuery {
    /// Estimates a query, by a dry run if needed, and checks the estimate against the run's grants and budgets.
    pub(super) async fn estimate(
        &self,
        calls: &Arc<Calls>,
        question: &Question,
        allowed: &Allowed,
    ) -> Result<Arc<Estimate>, Error> {
        let estimate = self.known(calls, question, allowed).await?;
        self.may_read(calls, allowed, &estimate.tables).await?;
        allowed.estimated(calls, estimate.functions.iter().map(String::as_str), estimate.billed())?;
        Ok(estimate)
    }

    async fn known(&self, calls: &Calls, question: &Question, allowed: &Allowed) -> Result<Arc<Estimate>, Error> {
        let key = Sha256::digest(format!("{}\0{:?}", question.sql.sql, question.parameters)).into();
        let kept = lock(&self.0.estimates.queries).get(&key).cloned();
        if let Some(known) = kept
            && self.versions(allowed, calls).await.as_ref() == Some(&known.versions)
        {
            return Ok(known.estimate);
        }
        // Look up the versions before the dry run, so that a change in between is noticed later.
        let (versions, made) = tokio::join!(self.versions(allowed, calls), self.dry_run(calls, question, allowed));
        let estimate = Arc::new(made?);
        // A function can change without the tables.
        if let Some(versions) = versions.filter(|_| estimate.functions.is_empty()) {
            let mut queries = lock(&self.0.estimates.queries);
            if queries.len() >= KEPT {
                queries.clear();
            }
            queries.insert(key, Known { estimate: estimate.clone(), versions });
        }
        Ok(estimate)
    }

    /// The dry run.
    pub(super) async fn dry(&self, question: &Question, deadline: Instant) -> Result<Job, Fault> {
        let job = Job {
            job_reference: Some(self.reference(None, &question.location)),
            // A cached result has neither tables nor bytes.
            configuration: Some(JobConfiguration {
                dry_run: Some(true),
                query: Some(question.query(false, None)),
                ..JobConfiguration::default()
            }),
            ..Job::default()
        };
        let job = self.0.client.insert(job, deadline).await?;
        failure(&job).map_or(Ok(job), Err)
    }

    async fn dry_run(&self, calls: &Calls, question: &Question, allowed: &Allowed) -> Result<Estimate, Error> {
        let answer = self.dry(question, calls.deadline()).await;
        let answer = answer.map_err(|fault| self.explained(calls, question.located(fault)))?;
        let statistics = answer.statistics.unwrap_or_default();
        let query = statistics.query.unwrap_or_default();
        let refused = |why: String| Err(Error::Invalid(format!("query refused: {why}")));
        let statement = query.statement_type.unwrap_or_default();
        if statement != "SELECT" {
            return refused(format!("BigQuery says this is `{statement}`, not a SELECT"));
        }
        let mut functions = BTreeSet::new();
        for RoutineReference { project_id, dataset_id, routine_id } in query.referenced_routines.unwrap_or_default() {
            if project_id != self.0.project() {
                return refused(format!(
                    "it calls {project_id}.{dataset_id}.{routine_id}, which is in another project"
                ));
            }
            functions.insert(format!("{dataset_id}.{routine_id}"));
        }
        let mut tables = BTreeSet::new();
        match query.referenced_tables {
            // An emulator does not report them; then only the tables in the SQL count.
            None if self.0.emulated || allowed.tables.is_empty() => {}
            None => return refused("BigQuery does not say which tables it reads".to_owned()),
            Some(list) if list.len() >= NAMED_TABLES => {
                return refused(format!("it reads {NAMED_TABLES} tables or more, and BigQuery does not name them all"));
            }
            Some(list) => {
                let reads = |table: TableReference| Read {
                    project: table.project_id,
                    dataset: table.dataset_id,
                    table: table.table_id,
                };
                tables.extend(list.into_iter().map(reads));
            }
        }
        Ok(Estimate {
            bytes: count(query.total_bytes_processed.or(statistics.total_bytes_processed).as_ref()),
            columns: query.schema.iter().flat_map(|schema| &schema.fields).flatten().map(values::column).collect(),
            tables,
            functions,
        })
    }

    /// The versions of a query's tables; `None` if one cannot be determined, or is a view, which others can change.
    async fn versions(&self, allowed: &Allowed, calls: &Calls) -> Option<Vec<String>> {
        let versions = join_all(allowed.tables.iter().map(|table| self.version(table, calls))).await;
        versions.into_iter().collect()
    }

    async fn version(&self, table: &TablePath, calls: &Calls) -> Option<String> {
        let due = calls.caller.due;
        let kept = lock(&self.0.estimates.versions).get(table).cloned();
        if let Some((_, version)) = kept.filter(|(asked, _)| *asked == due) {
            return Some(version);
        }
        let found = self.0.client.table(&table.dataset, &table.table, calls.deadline()).await.ok()?;
        let written = found.last_modified_time.filter(|_| found.r#type.as_deref() == Some("TABLE"))?;
        let version = format!("{written} {}", found.etag.unwrap_or_default());
        let mut versions = lock(&self.0.estimates.versions);
        if versions.len() >= KEPT {
            versions.clear();
        }
        versions.insert(table.clone(), (due, version.clone()));
        Some(version)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
