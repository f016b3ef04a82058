//! From a component's bytes to machine code. The compiler works in a confined process: bytes that make it compute or
//! allocate without end are an error of their plugin, and hold nobody up.

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

/// Compilers at once. Each computes on one core, so that a plugin takes no more than its share of them; two at least, so that
/// there is a way past one that takes long.
static COMPILERS: LazyLock<Semaphore> =
    LazyLock::new(|| Semaphore::new(std::thread::available_parallelism().map_or(1, NonZero::get).max(2)));

/// The compiled component: from the cache, or compiled and kept there. The compiler is stopped when this is dropped.
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
    // Closed never; were it, the compiler would start at once.
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

/// Makes something that runs of what the compiler gave, and keeps it.
fn load(engine: &Engine, cache: &Cache, digest: Digest, code: &[u8]) -> Result<Component> {
    // SAFETY: this host's compiler wrote it just now for this engine, in a process that nobody else can reach, and it came
    // through a pipe that nobody else has.
    #[allow(unsafe_code)]
    let loaded = unsafe { Component::deserialize(engine, code) };
    let component = loaded.map_err(anyhow::Error::from).context("does not fit into the sandbox")?;
    cache.keep(engine, digest, code);
    Ok(component)
}

/// What the confined process does.
pub(super) fn answer(bytes: &[u8]) -> Result<Vec<u8>, String> {
    let engine = sandbox::compiling_engine().map_err(|error| format!("{error:#}"))?;
    engine.precompile_component(bytes).map_err(|error| format!("{error:#}"))
}
