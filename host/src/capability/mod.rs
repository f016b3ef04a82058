//! Capabilities: each host call passes grant, then budget, then backend, then record. One folder for each backend;
//! `guest/` has the imports that a component sees.

mod calls;
pub mod deployments;
mod evidence;
pub mod git;
mod good_dates;
mod grant;
mod guest;
mod rehearsal;
mod shapes;
mod tape;
pub mod warehouse;

pub(crate) use calls::seconds;
pub use calls::{Call, Caller, Calls, Unanswered};
pub use evidence::{Evidence, plain};
pub use good_dates::{GoodDates, Grade, Judged};
pub use guest::{Imports, Reach};
pub use rehearsal::{Aim, Answers, Clock, Given, Rehearsal};
pub use shapes::{Problem, Shapes};
use tape::Question;
pub use tape::{Alteration, Event, Heard, Played, Tape, Taping, Timer, altered, deployed, listed, repositories};
pub(crate) use warehouse::Argument;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use futures_util::future::join_all;
use tokio::time::Instant;

use crate::{
    config::{self, Config, GoogleCredentials},
    contract::{
        Error,
        warehouse::{Column, Parameter, Rows, Table},
    },
    google::Google,
    record::Record,
};

/// The name of a query among the calls.
const QUERY: &str = "warehouse.query";

/// The backends, shared by all runs.
#[derive(Debug, Clone, Default)]
pub struct Backends {
    warehouse: Option<warehouse::Warehouse>,
    repositories: BTreeMap<String, git::Git>,
    deployments: Option<deployments::Deployments>,
    good_dates: GoodDates,
    /// Whether rows of evidence may be shown.
    show_rows: bool,
    taping: Taping,
}

impl Backends {
    /// From host.toml. A call to a backend that is not configured is an error of its run.
    /// The costs of queries are kept in the record.
    pub fn new(config: &Config, record: &Record) -> Self {
        Self::counting(config, record, warehouse::Ledger::new(record.clone(), config.timezone.clone()))
    }

    /// The same for trying checks on the past: nothing is recorded of the answers, and `budgets.bytes_per_day` is a limit for all
    /// queries of a check together, however long they take. `costs` counts them.
    pub fn trying(config: &Config, record: &Record, costs: Record) -> Self {
        let ledger = warehouse::Ledger::new(costs, config.timezone.clone()).in_one_day();
        Self { taping: Taping::Off, ..Self::counting(config, record, ledger) }
    }

    fn counting(config: &Config, record: &Record, ledger: warehouse::Ledger) -> Self {
        let google = Google::new(config);
        Self {
            warehouse: config.warehouse.as_ref().map(|warehouse| Self::asked(warehouse, config, &google, ledger)),
            repositories: config
                .git
                .iter()
                .map(|(name, git)| {
                    let repository = git::Repository::new(name, config.resolve(&git.path), &git.branch);
                    (name.clone(), git::Git::Repository(repository))
                })
                .collect(),
            deployments: config.deployments.as_ref().map(|deployments| match deployments {
                config::Deployments::File { path } => {
                    deployments::Deployments::File(deployments::File::new(config.resolve(path)))
                }
                config::Deployments::CloudRun { project, region, endpoint } => {
                    deployments::Deployments::CloudRun(deployments::CloudRun::new(&google, project, region, endpoint))
                }
            }),
            good_dates: GoodDates::Record(record.clone()),
            show_rows: config.privacy.shows_rows(config.warehouse.as_ref()),
            taping: match config.record.answers.0 {
                Some(_) => Taping::Record(config.record.answers_per_run.0),
                None => Taping::Off,
            },
        }
    }

    /// The same backends, whose answers are recorded or not.
    #[must_use]
    pub fn with_taping(self, taping: Taping) -> Self {
        Self { taping, ..self }
    }

    /// The same backends, with other good dates.
    #[must_use]
    pub fn with_good_dates(self, good_dates: GoodDates) -> Self {
        Self { good_dates, ..self }
    }

    fn asked(
        warehouse: &config::Warehouse,
        config: &Config,
        google: &Google,
        ledger: warehouse::Ledger,
    ) -> warehouse::Warehouse {
        match warehouse {
            config::Warehouse::Sqlite { path, project } => {
                warehouse::Warehouse::Sqlite(warehouse::Sqlite::new(config.resolve(path), project.clone()))
            }
            config::Warehouse::BigQuery { project, location, locations, endpoint, cache } => {
                let place = warehouse::Place {
                    project,
                    location,
                    locations,
                    endpoint,
                    cache: *cache,
                    emulated: config.google.credentials == GoogleCredentials::None && config.google.key_file.is_none(),
                };
                warehouse::Warehouse::BigQuery(warehouse::BigQuery::new(google.clone(), &place, ledger))
            }
        }
    }

    /// The same backends, with simulated answers.
    pub fn rehearsing(&self, rehearsal: &Arc<Rehearsal>) -> Self {
        let warehouse = self
            .warehouse
            .clone()
            .map(|of| warehouse::Warehouse::Rehearsed { rehearsal: rehearsal.clone(), of: Box::new(of) });
        let deployments = self
            .deployments
            .clone()
            .map(|of| deployments::Deployments::Rehearsed { rehearsal: rehearsal.clone(), of: Box::new(of) });
        let rehearsed = |(name, git): (&String, &git::Git)| (name.clone(), git.rehearsed(rehearsal.clone()));
        Self {
            warehouse,
            deployments,
            repositories: self.repositories.iter().map(rehearsed).collect(),
            good_dates: GoodDates::Simulated,
            show_rows: self.show_rows,
            taping: Taping::Off,
        }
    }

    /// Whether answers are recorded.
    pub fn taping(&self) -> Taping {
        self.taping.clone()
    }

    /// Runs one query of somebody at the command line.
    pub async fn query(&self, calls: &Arc<Calls>, sql: String, parameters: Vec<Parameter>) -> Result<Rows, Error> {
        let parameters = parameters.into_iter().map(Argument::from).collect();
        self.warehouse("query")?.query(calls, sql, parameters).await
    }

    /// Runs a query on behalf of a run, of its plugin or of the host: grant, budget, backend, record. Wrong parameters are its
    /// error.
    pub(crate) async fn ask(
        &self,
        calls: &Arc<Calls>,
        sql: String,
        parameters: Result<Vec<Argument>, Error>,
    ) -> Result<Rows, Error> {
        let asked = sql.clone();
        let handed = sql.len() + parameters.iter().flatten().map(Argument::size).sum::<usize>();
        let question = || Question::Sql { sql: sql.clone(), arguments: parameters.clone().unwrap_or_default() };
        // Boxed: the futures of backends are large, and a guest's stack, on which they begin, is small.
        let permitted = || self.warehouse("query")?.permits(calls, &sql);
        let answer = Box::pin(async { self.warehouse("query")?.query(calls, sql.clone(), parameters.clone()?).await });
        let answer = Box::pin(calls.tape.ask(QUERY, question, permitted, answer));
        calls.costly_call(QUERY, asked, handed, answer, |rows| rows.bytes_processed).await
    }

    /// The columns of a query, and the most bytes that it would bill, without reading a row.
    pub async fn shape(&self, calls: &Arc<Calls>, sql: String) -> Result<(Vec<Column>, u64), Error> {
        self.warehouse("query")?.shape(calls, sql, Vec::new()).await
    }

    /// The tables of a dataset that is granted.
    pub async fn tables(&self, calls: &Arc<Calls>, dataset: &str) -> Result<Vec<Table>, Error> {
        self.warehouse("tables")?.tables(calls, dataset).await
    }

    fn warehouse(&self, call: &str) -> Result<&warehouse::Warehouse, Error> {
        self.warehouse.as_ref().ok_or_else(|| {
            Error::NotFound(format!(
                "{call} failed: host.toml has no [warehouse]; add one with kind = \"sqlite\" or \"bigquery\""
            ))
        })
    }

    fn repository(&self, call: &str, name: &str) -> Result<&git::Git, Error> {
        let repository = self.repositories.get(name);
        repository.ok_or_else(|| {
            let near = config::nearest(name, self.repositories.keys());
            Error::NotFound(format!("{call} failed: host.toml has no [git.{name}]{near}"))
        })
    }

    fn deployments(&self) -> Result<&deployments::Deployments, Error> {
        self.deployments.as_ref().ok_or_else(|| {
            Error::NotFound(
                "lookup failed: host.toml has no [deployments]; add one with kind = \"cloud-run\" or \"file\""
                    .to_owned(),
            )
        })
    }

    /// Probes each backend, at no cost and concurrently: the name of the probe, and the answer or the error.
    pub async fn probe(
        &self,
        datasets: &BTreeSet<String>,
        views: &BTreeSet<String>,
        deadline: Instant,
    ) -> Vec<(String, Result<String, String>)> {
        let warehouse = async {
            match &self.warehouse {
                None => Vec::new(),
                Some(warehouse) => warehouse.probe(datasets, views, deadline).await,
            }
        };
        let repositories = join_all(self.repositories.iter().map(async |(name, repository)| {
            let found = repository.tip().await.map_err(|error| error.message().to_owned());
            (format!("git {name}"), found.map(|(branch, commit)| format!("{branch} is at {commit:.12}")))
        }));
        let deployments = async {
            let deployments = self.deployments.as_ref()?;
            let found = deployments.count(deadline).await.map_err(|error| error.message().to_owned());
            Some(("deployments".to_owned(), found.map(|count| format!("services: {count}"))))
        };
        let (mut probed, repositories, deployments) = tokio::join!(warehouse, repositories, deployments);
        probed.extend(repositories);
        probed.extend(deployments);
        probed
    }

    /// Cancels remote work on shutdown.
    pub async fn close(&self) {
        if let Some(warehouse) = &self.warehouse {
            warehouse.close().await;
        }
    }
}
