//! Plugins as files: their metadata, pins, signatures, and the store of fetched files. Nothing here runs or compiles a
//! plugin.

mod claim;
mod digest;
mod file;
mod key;
mod layout;
mod listing;
mod lock;
mod metadata;
mod pin;
mod signature;
mod store;
mod temporary;
mod trust;

pub use claim::{Claim, holder, no_locks, unlocked};
pub use digest::Digest;
pub use file::{File, PLUGIN_NAME, is_plugin_name, name_of};
pub use key::PublicKey;
pub use listing::{files_in, is_named_like_a_plugin, plugins_in};
pub use lock::{LOCK, Lock, SCHEME, lock_command, pin_command};
pub use metadata::{API, Parts};
pub use pin::Pin;
pub use signature::{PrivateKey, beside, merge_signatures, read_signatures, signers};
pub use store::{Expected, Store};
pub use trust::{Keys, Standing, TrustedKey, today};
