//! Plugins as files: their metadata, pins, signatures, and the store of fetched files. Nothing here runs or compiles a
//! plugin.

mod digest;
mod file;
mod key;
mod lock;
mod metadata;
mod signature;
mod store;

pub use digest::Digest;
pub use file::{File, is_plugin_name};
pub use key::PublicKey;
pub use lock::{LOCK, Lock, Pin, SCHEME, pin_command};
pub use metadata::{API, Parts};
pub use signature::{PrivateKey, read_signatures, verify};
pub use store::{Expected, Store};
