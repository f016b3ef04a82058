//! What the store of one run holds.

use std::sync::Arc;

use wasmtime::{ResourceLimiter, component::ResourceTable};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

use super::wasi::{self, Log};
use crate::{capability::Session, contract::types};

/// Handles of WASI that a run may hold at once; a check needs two, for its output.
const RESOURCES: usize = 1000;

/// The state of one run: its session, the WASI that grants nothing, and its limits.
pub struct RunState {
    session: Arc<Session>,
    wasi: WasiCtx,
    resources: ResourceTable,
    limits: Limits,
}

impl RunState {
    /// For a run whose clock stands at `due`, in seconds since the Unix epoch.
    pub(super) fn new(session: Arc<Session>, limits: Limits, due: i64) -> (Self, Log) {
        let log = Log::default();
        let wasi = wasi::context(due, &log);
        let mut resources = ResourceTable::new();
        resources.set_max_capacity(RESOURCES);
        (Self { session, wasi, resources, limits }, log)
    }

    /// What the run may reach.
    pub fn session(&self) -> Arc<Session> {
        self.session.clone()
    }

    pub(super) fn limits(&mut self) -> &mut dyn ResourceLimiter {
        &mut self.limits
    }

    pub(super) fn memory_refused(&self) -> bool {
        self.limits.refused
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

/// The memory of one run, over all its linear memories.
pub(super) struct Limits {
    memory: usize,
    used: usize,
    refused: bool,
}

impl Limits {
    /// `memory` in bytes.
    pub(super) fn new(memory: usize) -> Self {
        Self { memory, used: 0, refused: false }
    }
}

impl ResourceLimiter for Limits {
    fn memory_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let grown = self.used.saturating_sub(current).saturating_add(desired);
        if grown > self.memory {
            self.refused = true;
            return Ok(false);
        }
        self.used = grown;
        Ok(true)
    }

    fn table_growing(&mut self, _: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        // A function reference takes 8 bytes; tables this size belong to no check.
        Ok(desired <= 100_000)
    }
}
