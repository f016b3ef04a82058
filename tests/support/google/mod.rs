//! Stand-ins for Google's services: each answers as the public reference documents, or as a test tells it to.

pub mod bigquery;
pub mod cloud_run;
pub mod emulator;
pub mod identity;
pub mod proxy;
pub mod secret_manager;

use host_tests::HOST_TOML;

/// The sample's host.toml, with another warehouse.
pub fn asking(warehouse: &str) -> String {
    replaced("[warehouse]", "# The code, to compare", warehouse)
}

/// The sample's host.toml, with another source of deployments.
pub fn deployed(deployments: &str) -> String {
    replaced("[deployments]", "# Messages are shown here", deployments)
}

fn replaced(from: &str, to: &str, with: &str) -> String {
    let place = |text| HOST_TOML.find(text).unwrap_or_else(|| panic!("the sample's host.toml has no {text}"));
    format!("{}{with}\n{}", &HOST_TOML[..place(from)], &HOST_TOML[place(to)..])
}
