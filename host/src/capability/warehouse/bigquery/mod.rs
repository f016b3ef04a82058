//! The production warehouse: BigQuery, through `gcp-bigquery-client`. A query is parsed and its datasets checked, then it is
//! dry-run, then its bytes are reserved in the day's budget, and only then does it run as a billed job.

mod client;
mod estimate;
mod filter;
mod job;
mod location;
mod protocol;
mod values;
mod views;

use std::{collections::BTreeMap, sync::Arc};

use gcp_bigquery_client::model::job_reference::JobReference;
use tokio::time::Instant;

use super::{
    allowed::{Allowed, Parser},
    argument::Argument,
    ledger::Ledger,
};
use crate::{
    capability::calls::Calls,
    config::Endpoint,
    contract::{
        Error,
        warehouse::{Column, Rows, Table},
    },
    google::{Fault, Google, Kind},
    googlesql::{Printed, TablePath},
    lanes::Stop,
};
use client::Client;
use estimate::Estimates;
use job::{Jobs, NoAnswer};
use location::Locations;
use protocol::Question;

/// The usual address of the API.
pub const ENDPOINT: &str = "https://bigquery.googleapis.com";
/// The minimum that BigQuery bills for each table of a query, in bytes; it bills whole MiB:
/// <https://cloud.google.com/bigquery/pricing#on_demand_pricing>
const MINIMUM: u64 = 10 << 20;

/// The columns of the host's own query for a dataset's tables.
const LISTED: usize = 4;

/// The datasets of a project; clones share it.
#[derive(Debug, Clone)]
pub struct BigQuery(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    google: Google,
    client: Client,
    parser: Parser,
    locations: Locations,
    cache: bool,
    /// An emulator does not say which tables a query reads.
    emulated: bool,
    estimates: Estimates,
    jobs: Jobs,
    ledger: Ledger,
}

/// The configuration of BigQuery.
#[derive(Debug)]
pub struct Place<'c> {
    /// `warehouse.project`
    pub project: &'c str,
    /// `warehouse.location`
    pub location: &'c str,
    /// `warehouse.locations`
    pub locations: &'c BTreeMap<String, String>,
    /// `warehouse.endpoint`
    pub endpoint: &'c Endpoint,
    /// `warehouse.cache`
    pub cache: bool,
    /// Whether requests carry no credentials.
    pub emulated: bool,
}

impl Inner {
    /// The project, with which a name in a query may begin.
    fn project(&self) -> &str {
        self.parser.project().unwrap_or_default()
    }
}

impl BigQuery {
    /// Makes no request before a check asks.
    pub fn new(google: Google, place: &Place<'_>, ledger: Ledger) -> Self {
        Self(Arc::new(Inner {
            client: Client::new(google.clone(), &place.endpoint.or(ENDPOINT), place.project),
            google,
            parser: Parser::new(Some(place.project.to_owned())),
            locations: Locations::new(place.location, place.locations),
            cache: place.cache,
            emulated: place.emulated,
            estimates: Estimates::default(),
            jobs: Jobs::default(),
            ledger,
        }))
    }

    /// Runs a query, within the run's grants, budgets and time.
    pub(super) async fn query(
        &self,
        calls: &Arc<Calls>,
        sql: String,
        parameters: Vec<Argument>,
    ) -> Result<Rows, Error> {
        let (allowed, sql) = self.read(calls, sql).await?;
        let question = Question::new(sql, &allowed.used(&parameters)?, self.0.locations.shared(&allowed)?)?;
        let estimate = self.estimate(calls, &question, &allowed).await?;
        let billed = estimate.billed();
        let reserved = self.0.ledger.reserve(calls, billed).await?;
        let answer = match self.run(calls, &question, estimate.columns.len(), self.0.cache).await {
            Ok(answer) => answer,
            Err(NoAnswer { error, free }) => {
                if free {
                    reserved.settle(0).await;
                }
                return Err(error);
            }
        };
        reserved.settle(if answer.cached { 0 } else { estimate.billed_for(answer.rows.bytes_processed) }).await;
        Ok(answer.rows)
    }

    /// Whether a query is allowed.
    pub(super) fn permits(&self, calls: &Calls, sql: &str) -> Result<(), Error> {
        Allowed::read_at_once(calls, &self.0.parser, sql).map(drop)
    }

    /// The columns of a query, without running it, after every check that could reject it.
    pub(super) async fn shape(
        &self,
        calls: &Arc<Calls>,
        sql: String,
        parameters: Vec<Argument>,
    ) -> Result<(Vec<Column>, u64), Error> {
        let (allowed, sql) = self.read(calls, sql).await?;
        let question = Question::new(sql, &allowed.used(&parameters)?, self.0.locations.shared(&allowed)?)?;
        let estimate = self.estimate(calls, &question, &allowed).await?;
        Ok((estimate.columns.clone(), estimate.billed()))
    }

    /// The tables of a dataset, from `__TABLES__`, with the times when they were written; free of charge.
    pub(super) async fn tables(&self, calls: &Arc<Calls>, dataset: &str) -> Result<Vec<Table>, Error> {
        let question = self.own(self.listing(dataset)?, dataset);
        // Recent changes matter here, so do not use the cache.
        let answer = self.run(calls, &question, LISTED, false).await.map_err(|none| none.error)?;
        values::tables(answer.rows)
    }

    /// Whether a dataset or a view, `dataset.view`, can be queried, by a dry run, which is free.
    pub(super) async fn probe(&self, name: &str, deadline: Instant) -> Result<String, Error> {
        let dry = match name.split_once('.') {
            Some((dataset, view)) => {
                let view = TablePath { dataset: dataset.to_owned(), table: view.to_owned() };
                self.probe_view(&view, deadline).await
            }
            None => {
                let question = self.own(self.listing(name)?, name);
                self.dry(&question, deadline).await.map(|_| question.location)
            }
        };
        dry.map(|location| format!("it can be queried, in {location} of project {}", self.0.project()))
            .map_err(|fault| self.refused(fault))
    }

    /// A query of the host's own about a dataset.
    fn own(&self, sql: String, dataset: &str) -> Question {
        Question::own(sql, self.0.locations.of(dataset))
    }

    /// Cancels running jobs on shutdown.
    pub async fn close(&self) {
        self.0.jobs.close().await;
    }

    /// The reference of a job, or of one without an id.
    fn reference(&self, id: Option<String>, location: &str) -> JobReference {
        JobReference { job_id: id, location: Some(location.to_owned()), project_id: Some(self.0.project().to_owned()) }
    }

    /// The query for a dataset's tables, with [`LISTED`] columns.
    fn listing(&self, dataset: &str) -> Result<String, Error> {
        if dataset.is_empty() || !dataset.chars().all(|c| c.is_alphanumeric() || c == '_') {
            return Err(Error::Invalid(format!("`{dataset}` is not a dataset name; use letters, digits and _")));
        }
        // The time of a view is that of its definition, not of its rows.
        Ok(format!(
            "SELECT table_id, row_count, size_bytes, IF(type = 1, last_modified_time, NULL) AS last_modified_time FROM `{}`.`{dataset}`.__TABLES__ ORDER BY table_id",
            self.0.project()
        ))
    }

    /// Parses a query on a thread for plugins, checks the grants, and prints it again: BigQuery gets what was checked,
    /// never the text of a plugin.
    async fn read(&self, calls: &Arc<Calls>, sql: String) -> Result<(Allowed, Printed), Error> {
        let (inner, run) = (self.0.clone(), calls.clone());
        let read = move |_: &Stop| {
            let allowed = Allowed::read(&run, &inner.parser, &sql)?;
            let printed = Printed::new(&allowed, inner.parser.project())?;
            Ok((allowed, printed))
        };
        calls.blocking(read).await
    }

    /// The error of a run for a fault.
    fn explained(&self, calls: &Calls, fault: Fault) -> Error {
        match fault.kind {
            Kind::BytesBilled => {
                let most = calls.budgets.query_bytes;
                calls.exceeded("query", "query_bytes", &format!("it would bill more than {most} ({})", fault.message))
            }
            Kind::TooMuch => {
                let most = calls.budgets.host_memory;
                let what = format!("the host would hold more than {most} of answers for this run at once");
                calls.exceeded("query", "host_memory", &what)
            }
            _ => self.refused(fault),
        }
    }

    /// The error for a fault, without a run.
    fn refused(&self, fault: Fault) -> Error {
        let Fault { kind, message, .. } = fault;
        let said = format!("query failed: BigQuery: {message}");
        match kind {
            Kind::Invalid => Error::Invalid(format!("{said}{}", filter::advice(&message))),
            Kind::NotFound => Error::NotFound(format!("{said}{}", self.0.locations.advice(&message))),
            Kind::Denied => Error::Denied(format!(
                "{said}; the host's own credentials need roles/bigquery.jobUser on project {} and roles/bigquery.dataViewer on the dataset; they are {}",
                self.0.project(),
                self.0.google.source()
            )),
            Kind::Perimeter | Kind::Disabled | Kind::Unbilled => {
                Error::Denied(format!("{said}; {}", kind.remedy().unwrap_or_default()))
            }
            Kind::BytesBilled => Error::OverBudget(said),
            Kind::TooMuch | Kind::TooLarge => Error::OverBudget(format!("{said}; select fewer columns or rows")),
            Kind::Quota => Error::Unavailable(format!(
                "{said}; a quota is used up: https://console.cloud.google.com/iam-admin/quotas?project={}",
                self.0.project()
            )),
            Kind::Stopped => Error::Unavailable(format!("{said}; someone stopped the job at BigQuery")),
            Kind::OutOfTime => Error::TimedOut(format!("{said}; the job ran out of this run's time")),
            Kind::TimedOut => Error::TimedOut(format!("{said}; no answer within this run's time")),
            Kind::Busy | Kind::Unreachable | Kind::Page | Kind::Garbled => {
                Error::Unavailable(format!("{said}; retried until this run's time was up"))
            }
            Kind::Unauthenticated | Kind::Duplicate => Error::Unavailable(said),
        }
    }
}
