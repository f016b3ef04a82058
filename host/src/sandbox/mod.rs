//! The sandbox: one engine, one linker, and a fresh store for each run that holds all that the run can reach.

mod state;
mod wasi;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result};
use wasmtime::{
    Config, Engine, Store,
    component::{Component, HasSelf, InstancePre, Linker},
};

use state::Limits;
pub use state::RunState;

use crate::{
    capability::Session,
    config::Budgets,
    contract::{self, Check, CheckPre, Descriptor, Report, Request},
};

/// How often a running guest is interrupted to see whether its time is up. Guests give way to others at the same beat.
const TICK: Duration = Duration::from_millis(5);
/// A guest's stack. What a Rust guest gets from its linker is 1 MiB of linear memory; this is the machine's own beside it.
const STACK: usize = 1 << 20;
/// `describe` makes no host call and takes microseconds.
const DESCRIBE_TIMEOUT: Duration = Duration::from_secs(5);

/// The engine, with everything that a plugin may import.
pub struct Sandbox {
    engine: Engine,
    linker: Linker<RunState>,
    ticking: Arc<AtomicBool>,
}

/// Why a run gave no report.
#[derive(Debug, thiserror::Error)]
pub enum Stopped {
    /// The wall-clock budget is used up.
    #[error("timed out after {}", seconds(.0))]
    Timeout(Duration),
    /// The memory budget is used up.
    #[error("needs more memory than {} MiB", .0 >> 20)]
    Memory(usize),
    /// The guest gave up: a panic, an unreachable, a call that the contract forbids.
    #[error("trapped: {0}")]
    Trap(String),
    /// The guest said so itself.
    #[error("{0}")]
    Failure(String),
}

impl Stopped {
    /// With the key of host.toml that would have allowed more.
    pub fn explained(&self, plugin: &str) -> String {
        match self {
            Self::Timeout(_) => {
                format!("{self}; raise budgets.timeout, or grants.{plugin}.budgets.timeout, in host.toml")
            }
            Self::Memory(_) => format!("{self}; raise budgets.memory, or grants.{plugin}.budgets.memory, in host.toml"),
            Self::Trap(_) | Self::Failure(_) => self.to_string(),
        }
    }
}

fn seconds(duration: &Duration) -> String {
    format!("{} s", duration.as_secs_f64())
}

impl Sandbox {
    /// Starts the engine and its clock.
    pub fn new() -> Result<Self> {
        let mut config = Config::new();
        config
            .wasm_component_model_async(true)
            .epoch_interruption(true)
            .max_wasm_stack(STACK)
            .async_stack_size(2 * STACK)
            .wasm_backtrace_max_frames(None);
        let engine = Engine::new(&config).map_err(anyhow::Error::from).context("the engine cannot start")?;

        let mut linker = Linker::new(&engine);
        wasi::add_to_linker(&mut linker)?;
        Check::add_to_linker::<RunState, HasSelf<RunState>>(&mut linker, |state| state).map_err(anyhow::Error::from)?;

        let ticking = Arc::new(AtomicBool::new(true));
        let (clock, running) = (engine.weak(), ticking.clone());
        std::thread::Builder::new().name("epochs".to_owned()).spawn(move || {
            while running.load(Ordering::Relaxed) {
                std::thread::sleep(TICK);
                match clock.upgrade() {
                    Some(engine) => engine.increment_epoch(),
                    None => break,
                }
            }
        })?;
        Ok(Self { engine, linker, ticking })
    }

    /// The engine, to compile for.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Resolves a component's imports, once for all its runs.
    pub fn link(&self, component: &Component) -> Result<Guest> {
        let instance: InstancePre<RunState> = self.linker.instantiate_pre(component).map_err(anyhow::Error::from)?;
        let pre = CheckPre::new(instance).map_err(anyhow::Error::from)?;
        Ok(Guest { pre })
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        self.ticking.store(false, Ordering::Relaxed);
    }
}

/// A component that is ready to run.
#[derive(Clone)]
pub struct Guest {
    pre: CheckPre<RunState>,
}

/// A run that ended, with what the guest wrote to its output.
pub struct Ended<T> {
    /// What came of it.
    pub result: Result<T, Stopped>,
    /// What it wrote.
    pub log: String,
}

impl Guest {
    /// Asks the plugin who it is; it can reach nothing while it answers.
    pub async fn describe(&self, session: Arc<Session>, budgets: &Budgets) -> Ended<Descriptor> {
        let budgets = Budgets { timeout: budgets.timeout.min(DESCRIBE_TIMEOUT), ..budgets.clone() };
        self.enter(session, &budgets, 0, async |store, guest| guest.pipeline_check_plugin().call_describe(store).await)
            .await
    }

    /// Runs the plugin once in a store of its own, which is dropped whole when the run is over.
    pub async fn run(&self, session: Arc<Session>, budgets: &Budgets, request: Request) -> Ended<Report> {
        let due = request.due;
        let ended = self
            .enter(session, budgets, due, async move |store, guest| {
                store
                    .run_concurrent(async move |accessor| {
                        guest.pipeline_check_plugin().call_run(accessor, request).await
                    })
                    .await?
            })
            .await;
        let result = ended.result.and_then(|answer| {
            answer.map_err(|failure| {
                Stopped::Failure(match failure {
                    contract::Failure::Settings(message) => format!("settings: {message}"),
                    contract::Failure::Call(error) => error.message().to_owned(),
                    contract::Failure::Other(message) => message,
                })
            })
        });
        Ended { result, log: ended.log }
    }

    async fn enter<T>(
        &self,
        session: Arc<Session>,
        budgets: &Budgets,
        due: i64,
        body: impl AsyncFnOnce(&mut Store<RunState>, Check) -> wasmtime::Result<T>,
    ) -> Ended<T> {
        let (state, log) = RunState::new(session.clone(), Limits::new(budgets.memory), due);
        let mut store = Store::new(self.pre.engine(), state);
        store.limiter(|state| state.limits());
        store.set_epoch_deadline(1);
        store.epoch_deadline_async_yield_and_update(1);

        let ended = tokio::time::timeout(budgets.timeout, async {
            let guest = self.pre.instantiate_async(&mut store).await?;
            body(&mut store, guest).await
        })
        .await;
        session.end();
        let result = match ended {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(_)) if store.data().memory_refused() => Err(Stopped::Memory(budgets.memory)),
            Ok(Err(error)) => Err(Stopped::Trap(reason(&error))),
            Err(_) => Err(Stopped::Timeout(budgets.timeout)),
        };
        drop(store);
        Ended { result, log: log.text() }
    }
}

/// What went wrong, without the frames of the guest's stack.
fn reason(error: &wasmtime::Error) -> String {
    match error.downcast_ref::<wasmtime::Trap>() {
        Some(trap) => trap.to_string().trim_start_matches("wasm trap: ").to_owned(),
        None => format!("{error:#}"),
    }
}
