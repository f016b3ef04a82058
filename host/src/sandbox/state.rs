//! The data in the store of one run.

use std::sync::Arc;

use wasmtime::{ResourceLimiter, component::ResourceTable};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

use super::{
    given::{self, Log, Seed},
    limits::Limits,
};
use crate::{
    capability::{Calls, Reach},
    config::Budgets,
};

/// The maximum number of WASI handles of a run; a check needs two, for its output.
const RESOURCES: usize = 1000;

/// The state of one run: its calls and backends, the empty WASI, and its limits.
pub struct RunState {
    reach: Reach,
    wasi: WasiCtx,
    resources: ResourceTable,
    log: Log,
    limits: Limits,
}

impl RunState {
    /// For one run.
    pub(super) fn new(reach: Reach, budgets: &Budgets, seed: Seed, log: &Log) -> Self {
        let mut resources = ResourceTable::new();
        resources.set_max_capacity(RESOURCES);
        Self { reach, wasi: given::context(&seed, log), resources, log: log.clone(), limits: Limits::new(budgets) }
    }

    /// The state of the imports.
    pub(super) fn reach(&mut self) -> &mut Reach {
        &mut self.reach
    }

    /// The calls of the run; `None` during `describe` and `kind`.
    pub(super) fn calls(&self) -> Option<Arc<Calls>> {
        self.reach.calls()
    }

    pub(super) fn resources(&mut self) -> &mut ResourceTable {
        &mut self.resources
    }

    pub(super) fn limits(&mut self) -> &mut dyn ResourceLimiter {
        &mut self.limits
    }

    /// The output of the run.
    pub(super) fn log(&self) -> &Log {
        &self.log
    }

    /// The budget of memory or tables that was exceeded, if any.
    pub(super) fn exceeded(&self) -> Option<&'static str> {
        self.limits.exceeded
    }
}

impl std::fmt::Debug for RunState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RunState").field("reach", &self.reach).finish_non_exhaustive()
    }
}

impl WasiView for RunState {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.resources }
    }
}
