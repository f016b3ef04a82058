//! A stand-in for the Cloud Run Admin API v2. Methods: services.list, services.revisions.get and jobs.get. The shapes are
//! those of <https://cloud.google.com/run/docs/reference/rest/v2/projects.locations.services>, `….services.revisions` and
//! `….jobs`, as gcloud 528 has them in `generated_clients/apis/run/v2/run_v2_messages.py`: an int64 is text, a field with
//! its default value is left out, and `terminalCondition` says how the last change ended.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::Result;
use serde_json::{Value, json};

use super::super::http::{Address, Reply, Request, serve};

/// The stand-in.
pub struct CloudRunDouble {
    pub address: Address,
    desk: Arc<Mutex<Desk>>,
}

#[derive(Default)]
struct Desk {
    asked: Vec<String>,
    services: Vec<Value>,
    /// Revisions and jobs, by their names.
    items: BTreeMap<String, Value>,
    refusal: Option<Reply>,
    /// Answers of one region.
    refusals: BTreeMap<String, Reply>,
    /// The delay of every answer.
    delay: Duration,
}

impl CloudRunDouble {
    /// A project without services.
    pub fn start() -> Result<Self> {
        let desk = Arc::<Mutex<Desk>>::default();
        let shared = desk.clone();
        let address = serve(move |request| {
            let (reply, delay) = {
                let mut desk = lock(&shared);
                (desk.answer(request), desk.delay)
            };
            std::thread::sleep(delay);
            reply
        })?;
        Ok(Self { address, desk })
    }

    /// The part of host.toml that uses it, with one region.
    pub fn deployments(&self) -> String {
        self.deployments_in("\"us-west2\"")
    }

    /// The same, with these regions as TOML.
    pub fn deployments_in(&self, regions: &str) -> String {
        format!(
            "[deployments]\nkind = \"cloud-run\"\nproject = \"nba-props-platform\"\nregion = {regions}\nendpoint = \"{}\"\n",
            self.address.url()
        )
    }

    /// Deploys a service in us-west2; `change` is merged into its entry in the API.
    pub fn deploy(&self, name: &str, commit: Option<&str>, deployed: &str, min_instances: u32, change: Value) {
        self.deploy_in("us-west2", name, commit, deployed, min_instances, change);
    }

    /// The same in any region.
    pub fn deploy_in(
        &self,
        region: &str,
        name: &str,
        commit: Option<&str>,
        deployed: &str,
        min_instances: u32,
        change: Value,
    ) {
        let service = format!("projects/nba-props-platform/locations/{region}/services/{name}");
        let revision = format!("{service}/revisions/{name}-00001-abc");
        let labels = commit.map_or(json!({}), |commit| json!({ "commit-sha": commit }));
        let tag = commit.unwrap_or("latest");
        let said = json!({
            "name": service,
            "labels": labels,
            "generation": "1",
            "latestReadyRevision": revision,
            "latestCreatedRevision": revision,
            "template": { "containers": [{ "image": format!("us-docker.pkg.dev/p/images/{name}:{tag}") }] },
            "terminalCondition": { "type": "Ready", "state": "CONDITION_SUCCEEDED" },
            "trafficStatuses": [{ "type": "TRAFFIC_TARGET_ALLOCATION_TYPE_LATEST", "percent": 100 }],
        });
        let mut desk = lock(&self.desk);
        desk.services.push(merged(said, &change));
        for (number, created) in [("00000-old", "2020-01-01T00:00:00Z"), ("00001-abc", deployed)] {
            let name_of_revision = format!("{service}/revisions/{name}-{number}");
            let revision = json!({
                "name": name_of_revision,
                "createTime": created,
                "labels": labels,
                "containers": [{ "image": format!("us-docker.pkg.dev/p/images/{name}@sha256:{:064x}", name.len()) }],
                "scaling": { "minInstanceCount": min_instances },
            });
            desk.items.insert(name_of_revision, revision);
        }
    }

    /// Removes a service.
    pub fn remove(&self, name: &str) {
        lock(&self.desk).services.retain(|service| !service["name"].as_str().unwrap_or_default().ends_with(name));
    }

    /// Deploys a job; `change` is merged into its entry in the API.
    pub fn job(&self, region: &str, name: &str, commit: &str, changed: &str, change: Value) {
        let full = format!("projects/nba-props-platform/locations/{region}/jobs/{name}");
        let said = json!({
            "name": full,
            "labels": { "commit-sha": commit },
            "generation": "3",
            "observedGeneration": "3",
            "createTime": "2020-01-01T00:00:00Z",
            "updateTime": changed,
            "executionCount": 40,
            "latestCreatedExecution": {
                "name": format!("{name}-x7k2p"), "createTime": changed, "completionStatus": "EXECUTION_SUCCEEDED",
            },
            "template": { "taskCount": 1, "template": {
                "containers": [{ "image": format!("us-docker.pkg.dev/p/images/{name}@sha256:{:064x}", name.len()) }],
                "maxRetries": 3, "timeout": "600s",
            } },
            "terminalCondition": { "type": "Ready", "state": "CONDITION_SUCCEEDED" },
        });
        lock(&self.desk).items.insert(full, merged(said, &change));
    }

    /// Answers everything with this from now on.
    pub fn refuse(&self, reply: Reply) {
        lock(&self.desk).refusal = Some(reply);
    }

    /// Answers everything about a region with this from now on.
    pub fn refuse_in(&self, region: &str, reply: Reply) {
        lock(&self.desk).refusals.insert(format!("/locations/{region}/"), reply);
    }

    /// Delays every answer.
    pub fn delay(&self, delay: Duration) {
        lock(&self.desk).delay = delay;
    }

    /// The requested paths.
    pub fn asked(&self) -> Vec<String> {
        lock(&self.desk).asked.clone()
    }
}

impl Desk {
    fn answer(&mut self, request: &Request) -> Reply {
        self.asked.push(request.path.clone());
        let mut refusals = self.refusals.iter().filter(|(region, _)| request.path.contains(*region));
        if let Some(refusal) = self.refusal.as_ref().or_else(|| refusals.next().map(|(_, refusal)| refusal)) {
            return refusal.clone();
        }
        let path = request.path.trim_start_matches("/v2/");
        if let Some(item) = self.items.get(path) {
            return Reply::ok(item);
        }
        if !path.starts_with("projects/nba-props-platform/locations/") || !path.ends_with("/services") {
            let error =
                json!({ "code": 404, "status": "NOT_FOUND", "message": format!("Resource '{path}' was not found") });
            return Reply::Answer(404, json!({ "error": error }).to_string());
        }
        let within = format!("{path}/");
        let listed = |service: &&Value| service["name"].as_str().is_some_and(|name| name.starts_with(&within));
        let list: Vec<&Value> = self.services.iter().filter(listed).collect();
        // Seven a page, so that there are several.
        let token = request.query.split('&').find_map(|part| part.strip_prefix("pageToken="));
        let from: usize = token.and_then(|token| token.parse().ok()).unwrap_or_default();
        let to = (from + 7).min(list.len());
        let mut page = json!({ "services": list[from..to] });
        if to < list.len() {
            page["nextPageToken"] = to.to_string().into();
        }
        Reply::ok(&page)
    }
}

fn merged(mut said: Value, change: &Value) -> Value {
    for (key, value) in change.as_object().into_iter().flatten() {
        said[key] = value.clone();
    }
    said
}

fn lock(desk: &Mutex<Desk>) -> MutexGuard<'_, Desk> {
    desk.lock().unwrap_or_else(PoisonError::into_inner)
}
