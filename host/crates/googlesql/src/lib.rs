//! GoogleSQL: parses a query and rejects what a check may not ask; prints it again for BigQuery, or translates it to SQL
//! for SQLite and registers the functions that it needs. It does not depend on plugins, grants, files or runs.

mod allow_list;
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
mod held;
mod kind;
mod like;
mod literals;
mod moment_functions;
mod operators;
mod position;
mod print;
mod room;
mod scope;
mod text_functions;
mod typed;
mod watch;
mod zones;

pub use allow_list::{RoutinePath, functions, is_aggregate};
pub use call::VALUE_BYTES;
pub use dates::{clock, date};
pub use dialect::{Schema, Translated, translate};
pub use functions::{ENGINE, register};
pub use guard::{Select, TablePath, read};
pub use kind::Kind;
pub use print::Printed;
pub use scope::{Column, same};
pub use watch::Watch;
