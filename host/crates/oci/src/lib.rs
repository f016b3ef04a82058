//! OCI registries without a network: the places of plugins in them, and how their answers are read. The host trusts no
//! answer, so everything that reads one is here, where it can be fuzzed without building the rest.
//!
//! The protocol: <https://github.com/opencontainers/distribution-spec/blob/main/spec.md>

mod address;
mod answer;
mod challenge;
mod place;

pub use address::{next_page, redirected};
pub use answer::{Artifact, Layer, Manifest, WASM, reason, tags, token};
pub use challenge::Challenge;
pub use place::{Place, Wanted, version};
