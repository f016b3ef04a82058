//! The limits of a guest on memory and tables; an exceeded limit is recorded, so that the run's error can name it.

use wasmtime::ResourceLimiter;

use crate::config::Budgets;

/// The memories and tables of one run.
pub(super) struct Limits {
    memory: usize,
    used: usize,
    table_elements: usize,
    /// The budget that was exceeded, if any.
    pub(super) exceeded: Option<&'static str>,
}

impl Limits {
    pub(super) fn new(budgets: &Budgets) -> Self {
        let table_elements = budgets.table_elements.0 as usize;
        Self { memory: budgets.memory.0, used: 0, table_elements, exceeded: None }
    }
}

impl ResourceLimiter for Limits {
    fn memory_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let grown = self.used.saturating_sub(current).saturating_add(desired);
        if grown > self.memory {
            self.exceeded = Some("memory");
            return Ok(false);
        }
        self.used = grown;
        Ok(true)
    }

    fn table_growing(&mut self, _: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        if desired > self.table_elements {
            self.exceeded = Some("table_elements");
            return Ok(false);
        }
        Ok(true)
    }
}
