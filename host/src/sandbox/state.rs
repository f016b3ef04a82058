//! What the store of one run holds.

use std::sync::Arc;

use wasmtime::{ResourceLimiter, component::ResourceTable};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

use super::{
    limits::Limits,
    wasi::{self, Log, Seed},
};
use crate::{capability::Session, config::Budgets, contract::types};

/// Handles of WASI that a run may hold at once; a check needs two, for its output.
const RESOURCES: usize = 1000;

/// The state of one run: its session, the WASI that grants nothing, and its limits.
pub struct RunState {
    session: Arc<Session>,
    wasi: WasiCtx,
    resources: ResourceTable,
    log: Log,
    limits: Limits,
}

impl RunState {
    /// For one run.
    pub(super) fn new(session: Arc<Session>, budgets: &Budgets, seed: Seed, log: &Log) -> Self {
        let mut resources = ResourceTable::new();
        resources.set_max_capacity(RESOURCES);
        Self { session, wasi: wasi::context(&seed, log), resources, log: log.clone(), limits: Limits::new(budgets) }
    }

    /// What the run may reach.
    pub fn session(&self) -> Arc<Session> {
        self.session.clone()
    }

    pub(super) fn limits(&mut self) -> &mut dyn ResourceLimiter {
        &mut self.limits
    }

    /// What the run writes.
    pub(super) fn log(&self) -> &Log {
        &self.log
    }

    /// The budget of memory or tables that was asked too much of.
    pub(super) fn exceeded(&self) -> Option<&'static str> {
        self.limits.exceeded
    }
}

impl types::Host for RunState {}

impl std::fmt::Debug for RunState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RunState").field("session", &self.session).finish_non_exhaustive()
    }
}

impl WasiView for RunState {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.resources }
    }
}
