//! A stand-in for the Cloud Run Admin API v2. Methods: services.list and services.revisions.list with `-` for all
//! services, as in <https://cloud.google.com/run/docs/reference/rest/v2/projects.locations.services>.

use std::{
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
    revisions: Vec<Value>,
    refusal: Option<Reply>,
    /// The delay of every answer.
    delay: Duration,
}

impl CloudRunDouble {
    /// A region without services.
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

    /// The part of host.toml that uses it.
    pub fn deployments(&self) -> String {
        format!(
            "[deployments]\nkind = \"cloud-run\"\nproject = \"nba-props-platform\"\nregion = \"us-west2\"\nendpoint = \"{}\"\n",
            self.address.url()
        )
    }

    /// Deploys a service; `change` is merged into its entry in the API.
    pub fn deploy(&self, name: &str, commit: Option<&str>, deployed: &str, min_instances: u32, change: Value) {
        let service = format!("projects/nba-props-platform/locations/us-west2/services/{name}");
        let revision = format!("{service}/revisions/{name}-00001-abc");
        let labels = commit.map_or(json!({}), |commit| json!({ "commit-sha": commit }));
        let tag = commit.unwrap_or("latest");
        let mut said = json!({
            "name": service,
            "labels": labels,
            "generation": "1",
            "latestReadyRevision": revision,
            "latestCreatedRevision": revision,
            "template": { "containers": [{ "image": format!("us-docker.pkg.dev/p/images/{name}:{tag}") }] },
            "trafficStatuses": [{ "type": "TRAFFIC_TARGET_ALLOCATION_TYPE_LATEST", "percent": 100 }],
        });
        for (key, value) in change.as_object().into_iter().flatten() {
            said[key] = value.clone();
        }
        let mut desk = lock(&self.desk);
        desk.services.push(said);
        for (number, created) in [("00000-old", "2020-01-01T00:00:00Z"), ("00001-abc", deployed)] {
            desk.revisions.push(json!({
                "name": format!("{service}/revisions/{name}-{number}"),
                "createTime": created,
                "labels": labels,
                "containers": [{ "image": format!("us-docker.pkg.dev/p/images/{name}@sha256:{:064x}", name.len()) }],
                "scaling": { "minInstanceCount": min_instances },
            }));
        }
    }

    /// Answers everything with this from now on.
    pub fn refuse(&self, reply: Reply) {
        lock(&self.desk).refusal = Some(reply);
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
        if let Some(refusal) = &self.refusal {
            return refusal.clone();
        }
        let (name, list) = match request.path.as_str() {
            "/v2/projects/nba-props-platform/locations/us-west2/services" => ("services", &self.services),
            "/v2/projects/nba-props-platform/locations/us-west2/services/-/revisions" => ("revisions", &self.revisions),
            _ => return Reply::Answer(404, json!({ "error": { "code": 404, "status": "NOT_FOUND" } }).to_string()),
        };
        // Seven a page, so that there are several.
        let token = request.query.split('&').find_map(|part| part.strip_prefix("pageToken="));
        let from: usize = token.and_then(|token| token.parse().ok()).unwrap_or_default();
        let to = (from + 7).min(list.len());
        let mut page = json!({ name: list[from..to] });
        if to < list.len() {
            page["nextPageToken"] = to.to_string().into();
        }
        Reply::ok(&page)
    }
}

fn lock(desk: &Mutex<Desk>) -> MutexGuard<'_, Desk> {
    desk.lock().unwrap_or_else(PoisonError::into_inner)
}
