//! The engine: what it offers, how much it holds, and the clock that its guests give way to.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result};
use wasmtime::{Config, Engine, InstanceAllocationStrategy, PoolingAllocationConfig};

use crate::config::Budgets;

/// How often a running guest is interrupted. Guests give way to others at the same beat.
const TICK: Duration = Duration::from_millis(5);

/// Runs at once. More wait for one of them to end: most runs wait for answers nearly all of their time, and so
/// many waiting ones keep two cores busy.
pub(super) const RUNS: u32 = 64;
/// Memories of one plugin: a Rust plugin has one, componentize-py's have two.
const MEMORIES: u32 = 4;
/// Tables of one plugin: a Rust plugin has three, one for each module in it; componentize-py's have a dozen.
const TABLES: u32 = 32;
/// Core instances of one plugin: a Rust plugin has four, componentize-py's about thirty.
const INSTANCES: u32 = 64;
/// What the engine keeps for one instance of a component or a module: the resolved imports and globals. Rust plugins
/// need a few KiB, componentize-py's tens of them.
const INSTANCE_BYTES: usize = 1 << 20;
/// What of a memory is cleared by hand and kept, instead of given back to the system: what an ordinary check touches.
const KEPT_MEMORY: usize = 128 << 10;
/// The same for stacks.
const KEPT_STACK: usize = 16 << 10;

pub(super) fn new(largest: &Budgets) -> Result<Engine> {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(RUNS)
        .total_core_instances(RUNS * INSTANCES)
        .total_memories(RUNS * MEMORIES)
        .total_tables(RUNS * TABLES)
        .total_stacks(RUNS)
        .max_memories_per_component(MEMORIES)
        .max_tables_per_component(TABLES)
        .max_memories_per_module(MEMORIES)
        .max_tables_per_module(TABLES)
        .max_core_instances_per_component(INSTANCES)
        .max_component_instance_size(INSTANCE_BYTES)
        .max_core_instance_size(INSTANCE_BYTES)
        .table_elements(largest.table_elements.0 as usize)
        .linear_memory_keep_resident(KEPT_MEMORY)
        .async_stack_keep_resident(KEPT_STACK);
    let mut config = Config::new();
    config
        .wasm_component_model_async(true)
        .epoch_interruption(true)
        .max_wasm_stack(largest.stack.0)
        // What the host's own functions need below the guest's.
        .async_stack_size(largest.stack.0 + (1 << 20))
        .wasm_backtrace_max_frames(None)
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    Engine::new(&config)
        .map_err(anyhow::Error::from)
        .context("the engine cannot start; it reserves address space for its guests, which `ulimit -v` must allow")
}

/// Counts the beats of an engine, until it is dropped.
pub(super) struct Clock(Arc<AtomicBool>);

impl Clock {
    pub(super) fn start(engine: &Engine) -> Result<Self> {
        let ticking = Arc::new(AtomicBool::new(true));
        let (engine, running) = (engine.weak(), ticking.clone());
        std::thread::Builder::new().name("epochs".to_owned()).spawn(move || {
            while running.load(Ordering::Relaxed) {
                std::thread::sleep(TICK);
                match engine.upgrade() {
                    Some(engine) => engine.increment_epoch(),
                    None => break,
                }
            }
        })?;
        Ok(Self(ticking))
    }
}

impl Drop for Clock {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}
