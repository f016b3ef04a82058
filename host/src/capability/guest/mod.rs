//! The imports of the contract, one file an interface. Each names its call and passes it to [`Calls`], which checks,
//! limits and records it; the backends answer.
//!
//! The imports are implemented on a marker type and reach the run's state through it, so that nothing here depends on
//! the rest of the run's store.

mod deployments;
mod evidence;
mod expectation;
mod git;
mod slack;
mod warehouse;

use std::sync::Arc;

use wasmtime::component::{Accessor, HasData};

use super::{Backends, calls::Calls};
use crate::contract::{Error, types};

/// The marker that the imports are implemented on.
#[derive(Debug, Clone, Copy)]
pub struct Imports;

/// What a component can reach: its run's calls and the backends; nothing during `describe` and `kind`.
#[derive(Debug, Clone)]
pub struct Reach(Option<(Arc<Calls>, Arc<Backends>)>);

impl HasData for Imports {
    type Data<'a> = &'a mut Reach;
}

impl types::Host for Reach {}

impl Reach {
    /// For one run.
    pub fn new(calls: Arc<Calls>, backends: Arc<Backends>) -> Self {
        Self(Some((calls, backends)))
    }

    /// For `describe` and `kind`.
    pub fn nothing() -> Self {
        Self(None)
    }

    /// The calls of the run; `None` during `describe` and `kind`.
    pub(crate) fn calls(&self) -> Option<Arc<Calls>> {
        self.0.as_ref().map(|(calls, _)| calls.clone())
    }

    fn own(&self) -> Result<(Arc<Calls>, Arc<Backends>), Error> {
        self.0.clone().ok_or_else(|| Error::Denied("host calls are not allowed in `describe` and `kind`".to_owned()))
    }
}

/// The calls and backends of the run.
fn reach<T: Send>(accessor: &Accessor<T, Imports>) -> Result<(Arc<Calls>, Arc<Backends>), Error> {
    accessor.with(|mut access| access.get().own())
}
