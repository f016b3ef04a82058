//! Compiles a component to machine code, in a confined process: bytes that make the compiler compute or allocate
//! without end are an error of their plugin, and do not hold up the others.

use std::{
    num::NonZero,
    sync::{Arc, LazyLock},
};

use anyhow::{Context, Result, bail};
use tokio::sync::Semaphore;
use wasmtime::{Engine, component::Component};

use super::{Cache, Digest, File};
use crate::{
    config::{Budgets, raise},
    confined::{self, Failed, Limits, Task},
    lanes::{self, Allowance, Held, Permit},
    sandbox,
};

/// Concurrent compilers. Each uses one core; there are at least two, so that a slow one does not block the others.
static COMPILERS: LazyLock<Semaphore> =
    LazyLock::new(|| Semaphore::new(std::thread::available_parallelism().map_or(1, NonZero::get).max(2)));

/// The compiled component, from the cache or newly compiled. Dropping this stops the compiler.
pub(super) async fn compiled(engine: &Engine, cache: &Arc<Cache>, file: &File, budgets: &Budgets) -> Result<Component> {
    let digest = file.digest;
    let (kept, asked) = (cache.clone(), engine.clone());
    let found = lanes::own(move || kept.find(&asked, digest)).await;
    if let Some(component) = found.context("reading compiled code stopped unexpectedly")? {
        return Ok(component);
    }
    let limits = Limits { cpu: budgets.compile_cpu.0, memory: budgets.compile_memory.0 };
    let permit = Permit::new(&file.name, Allowance { timeout: limits.cpu, bytes: limits.memory });
    let (code, held) = compile(&permit, file, limits, budgets).await?;
    let (cache, engine) = (cache.clone(), engine.clone());
    let loaded = lanes::own(move || {
        let _held = held;
        load(&engine, &cache, digest, &code)
    });
    loaded.await.context("loading compiled code stopped unexpectedly")?
}

async fn compile(permit: &Permit, file: &File, limits: Limits, budgets: &Budgets) -> Result<(Vec<u8>, Held)> {
    // The semaphore is never closed; if it were, the compiler would start at once.
    let _turn = COMPILERS.acquire().await;
    let failed = match confined::run(permit, Task::Compile, &file.bytes, limits).await {
        Ok(code) => return Ok(code),
        Err(failed) => failed,
    };
    let raise = |budget| raise(&file.name, budget);
    match failed {
        Failed::Cpu => bail!("needs more CPU time to compile than {}; {}", budgets.compile_cpu, raise("compile_cpu")),
        Failed::Memory => {
            bail!("needs more memory to compile than {}; {}", budgets.compile_memory, raise("compile_memory"))
        }
        Failed::Refused(reason) => bail!("is not a valid WebAssembly component: {reason}"),
        Failed::Broken(_) => bail!("cannot be compiled: {failed}; try again, or rebuild the plugin"),
    }
}

/// Loads the compiled code, and caches it.
fn load(engine: &Engine, cache: &Cache, digest: Digest, code: &[u8]) -> Result<Component> {
    // SAFETY: this host's compiler wrote it just now for this engine, in a process that others cannot access, and it
    // came through a private pipe.
    #[allow(unsafe_code)]
    let loaded = unsafe { Component::deserialize(engine, code) };
    let component = loaded.map_err(anyhow::Error::from).context("does not fit into the sandbox")?;
    cache.keep(engine, digest, code);
    Ok(component)
}

/// The work of the confined process.
pub(super) fn answer(bytes: &[u8]) -> Result<Vec<u8>, String> {
    let engine = sandbox::compiling_engine().map_err(|error| format!("{error:#}"))?;
    engine.precompile_component(bytes).map_err(|error| format!("{error:#}"))
}
