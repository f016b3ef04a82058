//! Every end-to-end test, in one program: it links once.
#![allow(missing_docs)]

#[path = "../../support/mod.rs"]
mod support;

mod acceptance;
mod bad_input;
mod canaries;
mod drift;
mod gate;
