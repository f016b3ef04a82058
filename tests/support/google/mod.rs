//! Stand-ins for Google's services: each answers what the public reference of its methods documents, and what a test
//! tells it to.

pub mod bigquery;
pub mod cloud_run;
pub mod emulator;
pub mod identity;
pub mod secret_manager;
