//! What Cloud Run answers: <https://cloud.google.com/run/docs/reference/rest/v2/projects.locations.services> and
//! `….jobs`. Only the fields that are read.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Deserialize;

/// A page of a listing.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Services {
    pub(super) services: Vec<Service>,
    pub(super) next_page_token: String,
    pub(super) unreachable: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Service {
    pub(super) name: String,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) annotations: BTreeMap<String, String>,
    pub(super) latest_ready_revision: String,
    pub(super) latest_created_revision: String,
    pub(super) template: Template,
    pub(super) traffic_statuses: Vec<Traffic>,
    pub(super) scaling: Scaling,
    pub(super) reconciling: bool,
    pub(super) terminal_condition: Condition,
    pub(super) conditions: Vec<Condition>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Revision {
    pub(super) name: String,
    pub(super) create_time: Option<Timestamp>,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) annotations: BTreeMap<String, String>,
    pub(super) containers: Vec<Container>,
    pub(super) scaling: Scaling,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Job {
    pub(super) name: String,
    /// An int64, as text.
    pub(super) generation: String,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) annotations: BTreeMap<String, String>,
    /// When somebody last changed it. An execution does not change it.
    pub(super) update_time: Option<Timestamp>,
    pub(super) template: ExecutionTemplate,
    pub(super) reconciling: bool,
    pub(super) terminal_condition: Condition,
    pub(super) conditions: Vec<Condition>,
}

/// What each execution of a job is made from.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ExecutionTemplate {
    pub(super) labels: BTreeMap<String, String>,
    pub(super) annotations: BTreeMap<String, String>,
    pub(super) template: Template,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Template {
    pub(super) containers: Vec<Container>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Container {
    pub(super) image: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Scaling {
    pub(super) min_instance_count: u32,
}

/// A share of the traffic; `revision` is empty for the latest one.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Traffic {
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) revision: String,
    pub(super) percent: u32,
}

/// How a deployment, or a part of it, ended.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Condition {
    pub(super) state: String,
    pub(super) message: String,
    pub(super) reason: String,
}

impl Condition {
    pub(super) fn failed(&self) -> bool {
        self.state == "CONDITION_FAILED"
    }

    pub(super) fn succeeded(&self) -> bool {
        self.state == "CONDITION_SUCCEEDED"
    }
}

/// The first container's image.
pub(super) fn image(containers: &[Container]) -> Option<&str> {
    containers.first().map(|container| container.image.as_str()).filter(|image| !image.is_empty())
}

/// The last part of `projects/P/locations/R/services/NAME`.
pub(super) fn last(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or_default()
}
