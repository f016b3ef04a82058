//! Runs data-pipeline checks as sandboxed WebAssembly components. See README.md for how to use it.

pub mod alert;
pub mod capability;
pub mod case;
pub mod check;
pub mod cli;
pub mod confined;
pub mod doctor;
pub mod gate;
pub mod google;
pub mod host;
mod http;
pub mod lanes;
pub mod log;
pub mod metrics;
pub mod plugin;
pub mod proof;
pub mod record;
pub mod recorder;
pub mod registry;
pub mod round;
pub mod run;
pub mod sandbox;
pub mod schedule;
pub mod service;
pub mod template;
pub mod web;

pub use host_config as config;
pub use host_contract as contract;
use host_googlesql as googlesql;
pub use host_oci as oci;
pub use host_package as package;
use host_text as text;

/// The stack of the host's threads, in bytes. Parsing and freeing SQL of the maximum length and nesting takes about
/// half of it.
pub const STACK: usize = 64 << 20;
