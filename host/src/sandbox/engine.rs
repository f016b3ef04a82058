//! The engine: its features, its capacity, and the clock that makes guests yield.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::Thread,
    time::Duration,
};

use anyhow::{Context, Result};
use wasmtime::{Config, Engine, InstanceAllocationStrategy, PoolingAllocationConfig};

use crate::{config::Budgets, package::Parts};

/// How often a running guest is interrupted, to yield to others and to check its CPU time.
const TICK: Duration = Duration::from_millis(1);

/// Concurrent runs; further ones wait. Most runs wait for answers nearly all of their time, so this many keep two cores
/// busy.
pub(super) const RUNS: u32 = 64;
/// Memories of one plugin: a Rust plugin has one, componentize-py's have two.
const MEMORIES: u32 = 4;
/// Tables of one plugin: a Rust plugin has three, one for each module in it; componentize-py's have a dozen.
const TABLES: u32 = 32;
/// Core instances of one plugin: a Rust plugin has four, componentize-py's about thirty.
const INSTANCES: u32 = 64;
/// Stacks of one run of a plugin with a single component: tasks that wait for the host only use the run's own.
const STACKS: u32 = 1;
/// Stacks of one run of a plugin composed of several components: each may have one task that waits for another's and
/// keeps its stack meanwhile. They take 20 ms to set up, and 8,000 entries of the process's memory map.
const STACKS_COMPOSED: u32 = INSTANCES + 1;
/// The engine's data for one instance of a component or a module: resolved imports and globals. Rust plugins need a few
/// KiB, componentize-py's a few tens of KiB.
const INSTANCE_BYTES: usize = 1 << 20;
/// The part of a memory that is cleared and kept instead of being returned to the system: as much as an ordinary check
/// uses.
const KEPT_MEMORY: usize = 128 << 10;
/// The same for stacks.
const KEPT_STACK: usize = 16 << 10;

pub(super) fn new(largest: &Budgets, parts: Parts) -> Result<Engine> {
    let stacks = match parts {
        Parts::One => STACKS,
        Parts::Several => STACKS_COMPOSED,
    };
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(RUNS)
        .total_core_instances(RUNS * INSTANCES)
        .total_memories(RUNS * MEMORIES)
        .total_tables(RUNS * TABLES)
        .total_stacks(RUNS * stacks)
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
    let mut config = code();
    config
        .max_wasm_stack(largest.stack.0)
        // The stack that host functions need below the guest's.
        .async_stack_size(largest.stack.0 + (1 << 20))
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    Engine::new(&config)
        .map_err(anyhow::Error::from)
        .context("the engine cannot start; it reserves address space for its guests, which `ulimit -v` must allow")
}

/// The engine of the confined compiler, which runs nothing: without a pool, whose addresses its process may not
/// reserve. It compiles on one thread, so that each plugin uses at most one core, the process needs no second thread,
/// and memory is not spread over one arena per thread.
pub(crate) fn compiling() -> Result<Engine> {
    Engine::new(code().parallel_compilation(false)).map_err(anyhow::Error::from)
}

/// The settings of code generation, the same for the compiling and the running engines.
fn code() -> Config {
    let mut config = Config::new();
    config
        .wasm_component_model_async(true)
        .epoch_interruption(true)
        // The same inputs give the same report on every machine.
        .cranelift_nan_canonicalization(true)
        .relaxed_simd_deterministic(true)
        // People read a trap's message; its frames would be half of the compiled code.
        .wasm_backtrace_max_frames(None)
        .generate_address_map(false)
        .native_unwind_info(false);
    config
}

/// Ticks an engine's epoch while any of its guests runs, until it is dropped.
#[derive(Clone)]
pub(super) struct Clock(Arc<Beat>);

struct Beat {
    guests: AtomicUsize,
    thread: OnceLock<Thread>,
    dropped: AtomicBool,
}

/// A running guest.
pub(super) struct Running(Arc<Beat>);

impl Clock {
    pub(super) fn start(engine: &Engine) -> Result<Self> {
        let beat = Beat { guests: AtomicUsize::new(0), thread: OnceLock::new(), dropped: AtomicBool::new(false) };
        let beat = Arc::new(beat);
        let (engine, counted) = (engine.weak(), beat.clone());
        let thread = crate::lanes::thread("epochs", move || {
            while !counted.dropped.load(Ordering::Acquire) {
                match counted.guests.load(Ordering::Acquire) {
                    0 => std::thread::park(),
                    _ => std::thread::sleep(TICK),
                }
                match engine.upgrade() {
                    Some(engine) => engine.increment_epoch(),
                    None => break,
                }
            }
        })?;
        let _ = beat.thread.set(thread.thread().clone());
        Ok(Self(beat))
    }

    /// Keeps the clock running until the returned guard is dropped.
    pub(super) fn run(&self) -> Running {
        if self.0.guests.fetch_add(1, Ordering::AcqRel) == 0 {
            self.0.wake();
        }
        Running(self.0.clone())
    }

    /// Stops the clock.
    pub(super) fn stop(&self) {
        self.0.dropped.store(true, Ordering::Release);
        self.0.wake();
    }
}

impl Beat {
    fn wake(&self) {
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.guests.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use std::hash::{DefaultHasher, Hash, Hasher};

    use super::*;
    use crate::config::Bytes;

    /// Otherwise each plugin would be compiled at each start, and rejected when it is loaded.
    #[test]
    fn the_engine_that_compiles_makes_code_for_those_that_run() {
        let hash = |engine: &Engine| {
            let mut hasher = DefaultHasher::new();
            engine.precompile_compatibility_hash().hash(&mut hasher);
            hasher.finish()
        };
        let compiling = hash(&compiling().expect("an engine"));
        for (stack, parts) in [(Budgets::default().stack, Parts::One), (Bytes(4 << 20), Parts::Several)] {
            let budgets = Budgets { stack, ..Budgets::default() };
            assert_eq!(hash(&new(&budgets, parts).expect("an engine")), compiling);
        }
    }
}
