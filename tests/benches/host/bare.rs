//! The floor: the same component in a minimal wasmtime program that can answer its one query.

use std::{
    path::Path,
    sync::{Arc, Mutex},
};

use rusqlite::Connection;
use wasmtime::{
    Config, Engine, InstanceAllocationStrategy, Store,
    component::{Component, HasSelf, Linker, ResourceTable},
};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

use host::contract::{
    Check, CheckPre, Error, Request, deployments, evidence, expectation, git, slack, types,
    warehouse::{self, Column, Parameter, Rows, Table, TypedParameter},
};

/// The query of phase2-raw, in SQLite's dialect.
const SQL: &str = "SELECT COUNT(DISTINCT game_id), COUNT(*), COUNT(CASE WHEN player_name IS NULL THEN 1 END),
    COUNT(CASE WHEN team_abbr IS NULL THEN 1 END) FROM nba_raw.nbac_player_boxscore WHERE game_date = '2026-02-05'";

struct State {
    wasi: WasiCtx,
    table: ResourceTable,
    connection: Arc<Mutex<Connection>>,
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl types::Host for State {}
impl warehouse::Host for State {}
impl git::Host for State {}
impl deployments::Host for State {}
impl slack::Host for State {}

impl evidence::Host for State {
    fn add(&mut self, _: String, _: Vec<String>, _: Vec<Vec<types::Value>>) -> Result<(), Error> {
        unreachable!()
    }

    fn total(&mut self, _: String, _: u64) -> Result<(), Error> {
        unreachable!()
    }
}

impl expectation::Host for State {
    fn deadline(&mut self) -> wasmtime::Result<i64> {
        unreachable!()
    }
}

impl expectation::HostWithStore<State> for HasSelf<State> {
    async fn good_dates(_: &Accessor, _: u32) -> Result<Vec<String>, Error> {
        unreachable!()
    }
}

type Accessor = wasmtime::component::Accessor<State, HasSelf<State>>;

impl warehouse::HostWithStore<State> for HasSelf<State> {
    async fn query(_: &Accessor, _: String, _: Vec<Parameter>) -> Result<Rows, Error> {
        unreachable!()
    }

    async fn query_typed(accessor: &Accessor, _: String, _: Vec<TypedParameter>) -> Result<Rows, Error> {
        let connection = accessor.with(|mut access| access.get().connection.clone());
        let values = tokio::task::spawn_blocking(move || {
            let connection = connection.lock().unwrap();
            let read = |row: &rusqlite::Row<'_>| (0..4).map(|at| row.get(at).map(types::Value::Integer)).collect();
            connection.query_row(SQL, [], read).unwrap()
        });
        let names = ["games", "player_records", "null_player_names", "null_team_abbrs"];
        let columns = names.map(|name| Column { name: name.to_owned(), kind: "INT64".to_owned() });
        Ok(Rows { columns: columns.into(), values: vec![values.await.unwrap()], bytes_processed: 0 })
    }

    async fn tables(_: &Accessor, _: String) -> Result<Vec<Table>, Error> {
        unreachable!()
    }
}

impl git::HostWithStore<State> for HasSelf<State> {
    async fn latest(_: &Accessor, _: Option<String>, _: Vec<String>) -> Result<Option<git::Commit>, Error> {
        unreachable!()
    }

    async fn changes(
        _: &Accessor,
        _: Option<String>,
        _: git::Base,
        _: Vec<String>,
        _: u32,
    ) -> Result<git::History, Error> {
        unreachable!()
    }

    async fn missing(_: &Accessor, _: Option<String>, _: Vec<String>) -> Result<Vec<String>, Error> {
        unreachable!()
    }
}

impl deployments::HostWithStore<State> for HasSelf<State> {
    async fn lookup(_: &Accessor, _: String) -> Result<Option<deployments::Deployment>, Error> {
        unreachable!()
    }
}

impl slack::HostWithStore<State> for HasSelf<State> {
    async fn post(_: &Accessor, _: slack::Alert) -> Result<slack::Receipt, Error> {
        unreachable!()
    }
}

pub(crate) struct Bare {
    pre: CheckPre<State>,
    runtime: tokio::runtime::Runtime,
    /// Kept open, as the host keeps its own.
    connection: Arc<Mutex<Connection>>,
}

impl Bare {
    pub(crate) fn new(plugin: &Path, sample: &Path) -> Self {
        let mut config = Config::new();
        config.wasm_component_model_async(true);
        // Places made beforehand, as the host has them.
        config.allocation_strategy(InstanceAllocationStrategy::pooling());
        let engine = Engine::new(&config).unwrap();
        let mut linker = Linker::new(&engine);
        wasmtime_wasi::p2::add_to_linker_async(&mut linker).unwrap();
        Check::add_to_linker::<State, HasSelf<State>>(&mut linker, |state| state).unwrap();
        let component = Component::from_binary(&engine, &std::fs::read(plugin).unwrap()).unwrap();
        let pre = CheckPre::new(linker.instantiate_pre(&component).unwrap()).unwrap();
        let connection = Connection::open_in_memory().unwrap();
        let file = sample.join("warehouse/nba_raw.db");
        connection.execute("ATTACH ?1 AS nba_raw", [file.to_str().unwrap()]).unwrap();
        let connection = Arc::new(Mutex::new(connection));
        Self { pre, runtime: tokio::runtime::Runtime::new().unwrap(), connection }
    }

    pub(crate) fn run(&self) {
        let request = Request {
            check: "phase2-raw".to_owned(),
            data_date: "2026-02-05".to_owned(),
            day_start: 1_770_267_600,
            day_end: 1_770_354_000,
            due: 1_770_377_400,
            channel: "#canary-alerts".to_owned(),
            attempt: 1,
            settings: "{}".to_owned(),
        };
        self.runtime.block_on(async {
            let state = State {
                wasi: WasiCtx::builder().build(),
                table: ResourceTable::new(),
                connection: self.connection.clone(),
            };
            let mut store = Store::new(self.pre.engine(), state);
            let guest = self.pre.instantiate_async(&mut store).await.unwrap();
            let report = store
                .run_concurrent(async |accessor| guest.pipeline_check_plugin().call_run(accessor, request).await)
                .await
                .unwrap()
                .unwrap()
                .unwrap();
            assert_eq!(report.metrics.len(), 4);
        });
    }
}
