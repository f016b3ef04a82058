//! The sandbox: an engine, a linker, and a fresh store for each run with everything that the run can reach.

mod engine;
mod exception;
mod given;
mod limits;
mod state;
mod stopped;
mod timer;
mod wasi;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::{Context, Result};
use futures_util::future::BoxFuture;
use wasmtime::{
    Engine, PoolConcurrencyLimitError, Store, Trap, UpdateDeadline,
    component::{Component, ComponentExportIndex, Instance, InstancePre, Linker},
};

pub(crate) use engine::compiling as compiling_engine;
pub use exception::exception;
pub use given::HOST_LINE;
pub use state::RunState;
pub use stopped::Stopped;

use crate::{
    capability::{Backends, Calls, Imports, Reach},
    config::{Budgets, Config, Count, Time},
    contract::{Check, CheckIndices, DATES, Descriptor, Report, Request, Subject},
    lanes::{Allowance, Meter, Permit, Room},
    package::Parts,
};
use engine::Clock;
use given::{Log, Seed};

/// `describe` and `kind` make no host call and take microseconds.
const DESCRIBE_TIMEOUT: Time = Time(std::time::Duration::from_secs(5));
/// CPU time of `kind`, which is asked for each check.
const KIND_CPU: Time = Time(std::time::Duration::from_secs(1));

/// An engine, with all imports for plugins, and room for a number of concurrent runs.
pub struct Sandbox {
    engine: Engine,
    linker: Linker<RunState>,
    room: Arc<Room>,
    clock: Clock,
}

/// A component that is ready to run.
#[derive(Clone)]
pub struct Guest {
    pre: InstancePre<RunState>,
    exports: CheckIndices,
    /// The function `kind`, if it has the interface `dates`.
    kind: Option<ComponentExportIndex>,
    room: Arc<Room>,
    clock: Clock,
}

/// A finished run, with the guest's output.
pub struct Ended<T> {
    /// The result.
    pub result: Result<T, Stopped>,
    /// The output.
    pub log: String,
    /// The memory or table that it was refused, if any. Not every guest traps then.
    pub refused: Option<Stopped>,
}

impl Sandbox {
    /// Starts an engine and its clock. `largest` are the budgets of the most demanding plugin: they set the capacity,
    /// and the stack size of all guests.
    pub fn new(largest: &Budgets, parts: Parts) -> Result<Self> {
        let engine = engine::new(largest, parts)?;
        let mut linker = Linker::new(&engine);
        wasi::add_to_linker(&mut linker)?;
        Check::add_to_linker::<RunState, Imports>(&mut linker, RunState::reach).map_err(anyhow::Error::from)?;
        let clock = Clock::start(&engine)?;
        Ok(Self { engine, linker, room: Room::new(engine::RUNS as usize), clock })
    }

    /// The engine, to compile for.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Resolves a component's imports once for all its runs.
    pub fn link(&self, component: &Component) -> Result<Guest> {
        let pre: InstancePre<RunState> = self.linker.instantiate_pre(component).map_err(anyhow::Error::from)?;
        let exports = CheckIndices::new(&pre).map_err(anyhow::Error::from)?;
        let kind = component
            .get_export_index(None, DATES)
            .map(|dates| component.get_export_index(Some(&dates), "kind").context("the interface dates has no `kind`"))
            .transpose()?;
        Ok(Guest { pre, exports, kind, room: self.room.clone(), clock: self.clock.clone() })
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        self.clock.stop();
    }
}

/// The sandboxes of a host. The stack size belongs to the engine, so plugins with different stack sizes have different
/// sandboxes. Plugins composed of several components have their own too, so that they take stacks only from each other.
pub struct Sandboxes {
    /// The largest `table_elements` of any plugin.
    table_elements: Count,
    by_stack: Mutex<BTreeMap<(usize, Parts), Arc<Sandbox>>>,
}

impl Sandboxes {
    /// Sandboxes with room for every plugin of host.toml.
    pub fn new(config: &Config) -> Self {
        Self { table_elements: largest_table(config), by_stack: Mutex::default() }
    }

    /// Whether they also have room for every plugin of another host.toml.
    pub fn serve(&self, config: &Config) -> bool {
        self.table_elements == largest_table(config)
    }

    /// The sandbox for a plugin with these budgets; started on first use.
    pub fn of(&self, budgets: &Budgets, parts: Parts) -> Result<Arc<Sandbox>> {
        let key = (budgets.stack.0, parts);
        let mut by_stack = self.by_stack.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sandbox) = by_stack.get(&key) {
            return Ok(sandbox.clone());
        }
        let largest = Budgets { table_elements: self.table_elements, ..budgets.clone() };
        let sandbox = Arc::new(Sandbox::new(&largest, parts)?);
        by_stack.insert(key, sandbox.clone());
        Ok(sandbox)
    }
}

fn largest_table(config: &Config) -> Count {
    let own = config.grants.keys().map(|plugin| config.budgets(plugin).table_elements);
    own.fold(config.budgets.table_elements, Ord::max)
}

impl Guest {
    /// Calls `describe` of a plugin, which can reach nothing meanwhile.
    pub async fn describe(&self, plugin: &str, budgets: &Budgets) -> Ended<Descriptor> {
        let exports = self.exports.clone();
        self.enter_alone(plugin, budgets, |store, instance| {
            Box::pin(async move {
                let guest = exports.load(&mut *store, &instance)?;
                guest.pipeline_check_plugin().call_describe(store).await
            })
        })
        .await
    }

    /// Asks a plugin what a check with some settings is about; it can reach nothing meanwhile. `None` if it has no interface
    /// `dates`. A refusal of the settings is the inner error.
    pub async fn kind(
        &self,
        plugin: &str,
        settings: String,
        budgets: &Budgets,
    ) -> Option<Ended<Result<Subject, String>>> {
        let kind = self.kind?;
        let budgets = Budgets { cpu: Time(budgets.cpu.0.min(KIND_CPU.0)), ..budgets.clone() };
        let ended = self.enter_alone(plugin, &budgets, move |store, instance| {
            Box::pin(async move {
                let kind = instance.get_typed_func::<(String,), (Result<Subject, String>,)>(&mut *store, kind)?;
                Ok(kind.call_async(store, (settings,)).await?.0)
            })
        });
        Some(ended.await)
    }

    /// Enters a guest that can reach nothing, for a short time.
    async fn enter_alone<T: Send + 'static>(
        &self,
        plugin: &str,
        budgets: &Budgets,
        body: impl for<'s> FnOnce(&'s mut Store<RunState>, Instance) -> BoxFuture<'s, wasmtime::Result<T>> + Send + 'static,
    ) -> Ended<T> {
        let timeout = Time(budgets.timeout.0.min(DESCRIBE_TIMEOUT.0));
        let budgets = Budgets { timeout, ..budgets.clone() };
        let permit = Permit::new(plugin, Allowance { timeout: timeout.0, bytes: budgets.host_memory.0 });
        self.enter(plugin, &permit, Reach::nothing(), &budgets, Seed::new("", 0), body).await
    }

    /// Runs the plugin once in its own store, which is dropped when the run is over.
    pub async fn run(&self, calls: &Arc<Calls>, backends: &Arc<Backends>, request: Request) -> Ended<Report> {
        let seed = Seed::new(&request.check, request.due);
        let reach = Reach::new(calls.clone(), backends.clone());
        let exports = self.exports.clone();
        let ended = self
            .enter(calls.plugin(), calls.permit(), reach, calls.budgets(), seed, |store, instance| {
                Box::pin(async move {
                    let guest = exports.load(&mut *store, &instance)?;
                    let run = async |accessor: &_| guest.pipeline_check_plugin().call_run(accessor, request).await;
                    store.run_concurrent(run).await?
                })
            })
            .await;
        let result = ended.result.and_then(|answer| answer.map_err(Stopped::Failure));
        Ended { result, log: ended.log, refused: ended.refused }
    }

    async fn enter<T: Send + 'static>(
        &self,
        plugin: &str,
        permit: &Permit,
        reach: Reach,
        budgets: &Budgets,
        seed: Seed,
        body: impl for<'s> FnOnce(&'s mut Store<RunState>, Instance) -> BoxFuture<'s, wasmtime::Result<T>> + Send + 'static,
    ) -> Ended<T> {
        let log = Log::new(budgets.log_bytes.0);
        let calls = reach.calls();
        let state = RunState::new(reach, budgets, seed, &log);
        let (pre, own) = (self.pre.clone(), budgets.clone());
        let room = self.room.take(plugin).await;
        let running = self.clock.run();
        let _ending = permit.ending();
        permit.begin();
        let computed = permit.meter();
        let guest = async move {
            let mut store = store(&pre, state, &own, computed);
            let ended = match pre.instantiate_async(&mut store).await {
                Ok(instance) => body(&mut store, instance).await.map_err(|error| stopped(&error, &store, &own)),
                Err(error) => Err(misfit(&error).unwrap_or_else(|| stopped(&error, &store, &own))),
            };
            let refused = store.data().exceeded().map(|budget| Stopped::budget(budget, &own));
            drop((store, room, running));
            (ended, refused)
        };
        let conducted = async move {
            match calls {
                Some(calls) => calls.conduct(guest).await.unwrap_or((Err(Stopped::Parted), None)),
                None => guest.await,
            }
        };
        let ended = tokio::time::timeout(budgets.timeout.0, permit.guest(conducted)).await;
        let (result, refused) = ended.unwrap_or_else(|_| (Err(Stopped::budget("timeout", budgets)), None));
        Ended { result, log: log.text(), refused }
    }
}

/// `computed` returns the guest's CPU time until now.
fn store(pre: &InstancePre<RunState>, state: RunState, budgets: &Budgets, computed: Meter) -> Store<RunState> {
    let cpu = budgets.cpu.0;
    let mut store = Store::new(pre.engine(), state);
    store.limiter(|state| state.limits());
    store.set_hostcall_fuel(budgets.transfer_bytes.0);
    // At each tick of the clock the guest yields, or is stopped.
    store.set_epoch_deadline(1);
    store.epoch_deadline_callback(move |_| match computed.now() > cpu {
        true => Err(wasmtime::Error::new(Overworked)),
        false => Ok(UpdateDeadline::Yield(1)),
    });
    store
}

#[derive(Debug, thiserror::Error)]
#[error("the CPU time is used up")]
struct Overworked;

fn stopped(error: &wasmtime::Error, store: &Store<RunState>, budgets: &Budgets) -> Stopped {
    let budget = |budget| Stopped::budget(budget, budgets);
    if error.is::<Overworked>() {
        return budget("cpu");
    }
    if store.data().log().is_full() {
        return budget("log_bytes");
    }
    if matches!(error.downcast_ref::<Trap>(), Some(Trap::StackOverflow)) {
        return budget("stack");
    }
    // The guest was refused memory and trapped.
    if let Some(exceeded) = store.data().exceeded() {
        return budget(exceeded);
    }
    // wasmtime does not export this error's type.
    let text = reason(error);
    match text.contains("fuel allocated for hostcalls") {
        true => budget("transfer_bytes"),
        false => Stopped::Trap(text),
    }
}

/// The error for an instance that does not fit into the pool.
fn misfit(error: &wasmtime::Error) -> Option<Stopped> {
    let text = format!("{error:#}");
    let full = error.is::<PoolConcurrencyLimitError>();
    (full || text.contains("exceeds the limit")).then_some(Stopped::Misfit(text))
}

/// The error message, without the frames of the guest's stack.
fn reason(error: &wasmtime::Error) -> String {
    match error.downcast_ref::<Trap>() {
        Some(trap) => trap.to_string().trim_start_matches("wasm trap: ").to_owned(),
        None => format!("{error:#}"),
    }
}
