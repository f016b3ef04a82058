//! GoogleSQL for the embedded engine: translates a query to SQL for SQLite or rejects it, and registers the functions
//! that it needs. It does not depend on plugins, grants, files or runs.

mod builtin;
mod call;
mod casts;
mod date_functions;
mod dates;
mod dialect;
mod expression;
mod from;
mod functions;
mod guard;
mod kind;
mod like;
mod moment_functions;
mod operators;
mod room;
mod scope;
mod text_functions;
mod typed;
mod watch;

pub use builtin::is_aggregate;
pub use call::VALUE_BYTES;
pub use dates::{clock, date};
pub use dialect::{Schema, Translated, translate};
pub use functions::{ENGINE, register};
pub use guard::{Select, TablePath, read};
pub use kind::Kind;
pub use scope::{Column, same};
pub use watch::Watch;
