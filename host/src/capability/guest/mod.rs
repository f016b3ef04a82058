//! What a component sees of the host: the imports of the contract, one file an interface. Each names its call and hands it
//! to [`Calls`], which allows, bounds and records it; the backends answer.
//!
//! The imports are implemented on a marker of our own, and reach what a run has through it, so that nothing here knows what
//! else the store of a run holds.

mod deployments;
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

/// What a component reaches: its run's calls, and the backends that answer them. Nothing while it describes itself.
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

    /// For a plugin that says who it is.
    pub fn nothing() -> Self {
        Self(None)
    }
}

/// What the caller's run may use.
fn reach<T: Send>(accessor: &Accessor<T, Imports>) -> Result<(Arc<Calls>, Arc<Backends>), Error> {
    let reach = accessor.with(|mut access| access.get().0.clone());
    reach.ok_or_else(|| Error::Denied("host calls are not allowed in `describe`".to_owned()))
}
