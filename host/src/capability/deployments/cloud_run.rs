//! Deployments on Cloud Run: one listing of a region's services and one of their revisions serve all lookups of a
//! round. Where the API reports one fact in two places and they disagree, the deployment is unknown.
//! <https://cloud.google.com/run/docs/reference/rest/v2/projects.locations.services>

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use futures_util::{
    FutureExt,
    future::{BoxFuture, Shared},
};
use jiff::Timestamp;
use serde::{Deserialize, de::DeserializeOwned};
use tokio::{
    sync::Mutex,
    time::{Instant, timeout_at},
};

use crate::{
    capability::calls::Calls,
    config::Endpoint,
    contract::{Error, deployments::Deployment},
    google::{Fault, Google, Kind, Request},
    text::encoded,
};

/// The usual address of the API.
const ENDPOINT: &str = "https://run.googleapis.com";
/// The label with the commit that the image was built from.
const COMMIT: &str = "commit-sha";
/// How long other lookups of the same due time may use a listing, also a failed one, so that they fail together.
const FRESH: Duration = Duration::from_secs(30);
/// How long a listing may take: several attempts, and less than a run usually has.
const LISTING: Duration = Duration::from_secs(45);
/// Items of one page of a listing.
const PAGE: u32 = 100;

/// A region of a project; clones share its listing.
#[derive(Debug, Clone)]
pub struct CloudRun(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    google: Google,
    /// `https://run.googleapis.com/v2/projects/PROJECT/locations/REGION`
    url: String,
    place: String,
    listed: Mutex<Option<Listed>>,
}

#[derive(Debug)]
struct Listed {
    due: Timestamp,
    at: Instant,
    services: Listing,
}

impl Listed {
    /// Whether it is running or recent.
    fn serves(&self) -> bool {
        self.services.peek().is_none() || self.at.elapsed() < LISTING + FRESH
    }
}

/// All services of a region, shared by all lookups.
type Listing = Shared<BoxFuture<'static, Result<Arc<HashMap<String, Known>>, Error>>>;

/// A deployment, or why it is unknown.
type Known = Result<Deployment, String>;

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Services {
    services: Vec<Service>,
    next_page_token: String,
    unreachable: Vec<String>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Revisions {
    revisions: Vec<Revision>,
    next_page_token: String,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Service {
    name: String,
    labels: BTreeMap<String, String>,
    latest_ready_revision: String,
    latest_created_revision: String,
    template: Template,
    traffic_statuses: Vec<Traffic>,
    scaling: Scaling,
    reconciling: bool,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Template {
    containers: Vec<Container>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Revision {
    name: String,
    create_time: Option<Timestamp>,
    labels: BTreeMap<String, String>,
    containers: Vec<Container>,
    scaling: Scaling,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Container {
    image: String,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Scaling {
    min_instance_count: u32,
}

/// A share of the traffic; `revision` is empty for the latest one.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Traffic {
    #[serde(rename = "type")]
    kind: String,
    revision: String,
    percent: u32,
}

impl CloudRun {
    /// Makes no request before a check asks.
    pub fn new(google: Google, project: &str, region: &str, endpoint: &Endpoint) -> Self {
        Self(Arc::new(Inner {
            google,
            url: format!("{}/v2/projects/{project}/locations/{region}", endpoint.or(ENDPOINT)),
            place: format!("region {region} of project {project}"),
            listed: Mutex::default(),
        }))
    }

    pub(super) async fn lookup(&self, calls: &Calls, service: &str) -> Result<Option<Deployment>, Error> {
        // The listing is shared and may take longer; this run waits only as long as its own time.
        let listing = self.listing(calls.caller.due).await;
        let services = timeout_at(calls.deadline(), listing).await.unwrap_or_else(|_| {
            Err(Error::TimedOut("lookup failed: Cloud Run did not answer within this run's time".to_owned()))
        })?;
        match services.get(service) {
            None => Ok(None),
            Some(Ok(deployment)) => Ok(Some(deployment.clone())),
            Some(Err(why)) => Err(Error::Unavailable(format!("lookup failed: Cloud Run contradicts itself: {why}"))),
        }
    }

    pub(super) async fn count(&self, deadline: Instant) -> Result<usize, Error> {
        self.list(deadline).await.map(|services| services.len()).map_err(|fault| self.explained(fault))
    }

    /// The listing of a due time; the first lookup starts it.
    async fn listing(&self, due: Timestamp) -> Listing {
        let mut listed = self.0.listed.lock().await;
        if let Some(known) = listed.as_ref().filter(|it| it.due == due && it.serves()) {
            return known.services.clone();
        }
        let this = self.clone();
        // A task of the host, so that the end of one run does not cancel it for the others.
        let listing = tokio::spawn(async move {
            let services = this.list(Instant::now() + LISTING).await;
            services.map(Arc::new).map_err(|fault| this.explained(fault))
        });
        let services = async move {
            let broken = |_| Err(Error::Unavailable("lookup failed: the listing stopped unexpectedly".to_owned()));
            listing.await.unwrap_or_else(broken)
        };
        let services = services.boxed().shared();
        *listed = Some(Listed { due, at: Instant::now(), services: services.clone() });
        services
    }

    async fn list(&self, deadline: Instant) -> Result<HashMap<String, Known>, Fault> {
        let mut services = Vec::new();
        let mut token = String::new();
        loop {
            let page: Services = self.page("services", &token, deadline).await?;
            if let [place, ..] = page.unreachable.as_slice() {
                return Err(Fault::new(
                    Kind::Busy,
                    &format!("{place} is unreachable, and the listing is incomplete without it"),
                ));
            }
            services.extend(page.services);
            token = page.next_page_token;
            if token.is_empty() {
                break;
            }
        }
        // Of all past revisions, only the latest of each service matters.
        let mut wanted: BTreeSet<&str> =
            services.iter().map(|service| service.latest_created_revision.as_str()).collect();
        let mut revisions = HashMap::new();
        while !wanted.is_empty() {
            let page: Revisions = self.page("services/-/revisions", &token, deadline).await?;
            for revision in page.revisions.into_iter().filter(|revision| wanted.remove(revision.name.as_str())) {
                revisions.insert(revision.name.clone(), revision);
            }
            token = page.next_page_token;
            if token.is_empty() {
                break;
            }
        }
        let known = services.iter().map(|service| {
            let revision = revisions.get(&service.latest_created_revision);
            (last(&service.name).to_owned(), deployment(service, revision))
        });
        Ok(known.collect())
    }

    async fn page<T: DeserializeOwned>(&self, what: &str, token: &str, deadline: Instant) -> Result<T, Fault> {
        let url = format!("{}/{what}?pageSize={PAGE}&pageToken={}", self.0.url, encoded(token));
        let body = self.0.google.call(Request::get(url), deadline).await?;
        serde_json::from_slice(&body).map_err(|error| Fault::garbled(&error))
    }

    fn explained(&self, fault: Fault) -> Error {
        let said = format!("lookup failed: Cloud Run, {}: {}", self.0.place, fault.message);
        match fault.kind {
            Kind::Denied => Error::Denied(format!(
                "{said}; the host's own credentials need roles/run.viewer; they are {}",
                self.0.google.source()
            )),
            Kind::Perimeter | Kind::Disabled | Kind::Unbilled => {
                Error::Denied(format!("{said}; {}", fault.kind.remedy().unwrap_or_default()))
            }
            Kind::Quota => Error::Unavailable(format!("{said}; {}", fault.kind.remedy().unwrap_or_default())),
            Kind::TimedOut => Error::TimedOut(said),
            _ => Error::Unavailable(said),
        }
    }
}

/// Combines a service and its latest revision.
fn deployment(service: &Service, revision: Option<&Revision>) -> Known {
    let name = last(&service.name);
    if service.reconciling {
        return Err(format!("{name} is being deployed right now"));
    }
    let latest = last(&service.latest_created_revision);
    let Some(revision) = revision else {
        return Err(format!("{name} says its latest revision is {latest:?}, but that revision does not exist"));
    };
    let Some(deployed) = revision.create_time else {
        return Err(format!("revision {latest} does not say when it was created"));
    };
    let commit = commit(service, revision)?;
    Ok(Deployment {
        service: name.to_owned(),
        revision: latest.to_owned(),
        commit,
        deployed: deployed.as_second(),
        serves_latest: serves_latest(service)?,
        min_instances: service.scaling.min_instance_count.max(revision.scaling.min_instance_count),
    })
}

/// The commit in the labels, if they and the image agree.
fn commit(service: &Service, revision: &Revision) -> Result<Option<String>, String> {
    let label = |labels: &BTreeMap<String, String>| labels.get(COMMIT).filter(|commit| !commit.is_empty()).cloned();
    let latest = last(&revision.name);
    let same = |one: &str, other: &str| one.starts_with(other) || other.starts_with(one);
    let of_service = label(&service.labels);
    let of_revision = label(&revision.labels);
    if let (Some(one), Some(other)) = (&of_service, &of_revision)
        && !same(one, other)
    {
        let name = last(&service.name);
        return Err(format!("the label {COMMIT} of {name} is {one}, but its revision {latest} has {other}"));
    }
    let image = |containers: &[Container]| containers.first().map(|container| container.image.clone());
    let (wanted, runs) = (image(&service.template.containers), image(&revision.containers));
    if let (Some(wanted), Some(runs)) = (wanted.as_deref().and_then(digest), runs.as_deref().and_then(digest))
        && wanted != runs
    {
        let name = last(&service.name);
        return Err(format!("{name} asks for the image {wanted}, but its revision {latest} runs {runs}"));
    }
    let commit = of_revision.or(of_service);
    let tags = [wanted, runs].into_iter().flatten().filter_map(|image| commit_tag(&image));
    for tag in tags {
        if let Some(commit) = commit.as_ref().filter(|commit| !same(commit, &tag)) {
            return Err(format!("the label {COMMIT} of {latest} is {commit}, but its image is tagged {tag}"));
        }
    }
    Ok(commit)
}

/// Whether all traffic goes to the latest revision.
fn serves_latest(service: &Service) -> Result<bool, String> {
    let name = last(&service.name);
    let whole: u32 = service.traffic_statuses.iter().map(|part| part.percent).sum();
    if whole != 100 {
        return Err(format!("the traffic of {name} adds up to {whole} %, not 100 %"));
    }
    let latest = last(&service.latest_created_revision);
    let ready = last(&service.latest_ready_revision);
    let is_latest = |part: &Traffic| match part.kind.as_str() {
        // The latest ready revision, which is an older one if the latest does not start.
        "TRAFFIC_TARGET_ALLOCATION_TYPE_LATEST" => ready == latest,
        _ => last(&part.revision) == latest,
    };
    Ok(service.traffic_statuses.iter().filter(|part| part.percent > 0).all(is_latest))
}

/// The `sha256:…` in an image's name.
fn digest(image: &str) -> Option<&str> {
    image.split_once('@').map(|(_, digest)| digest)
}

/// A tag that looks like a commit: seven to forty hexadecimal digits, both letters and decimal digits.
fn commit_tag(image: &str) -> Option<String> {
    let path = image.split('@').next().unwrap_or_default();
    let (_, tag) = path.rsplit('/').next()?.split_once(':')?;
    let hexadecimal = (7..=40).contains(&tag.len()) && tag.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f'));
    let mixed = tag.bytes().any(|c| c.is_ascii_digit()) && tag.bytes().any(|c| c.is_ascii_lowercase());
    (hexadecimal && mixed).then(|| tag.to_owned())
}

/// The last part of `projects/P/locations/R/services/NAME`.
fn last(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(change: &str) -> Service {
        let mut service = serde_json::json!({
            "name": "projects/p/locations/r/services/worker",
            "labels": { "commit-sha": "3f2a1bc" },
            "latestReadyRevision": "projects/p/locations/r/services/worker/revisions/worker-2",
            "latestCreatedRevision": "projects/p/locations/r/services/worker/revisions/worker-2",
            "template": { "containers": [{ "image": "us-docker.pkg.dev/p/i/worker:3f2a1bc" }] },
            "trafficStatuses": [{ "type": "TRAFFIC_TARGET_ALLOCATION_TYPE_LATEST", "percent": 100 }],
            "scaling": { "minInstanceCount": 1 },
        });
        let change: serde_json::Value = serde_json::from_str(change).expect("JSON");
        for (key, value) in change.as_object().expect("an object") {
            service[key] = value.clone();
        }
        serde_json::from_value(service).expect("a service")
    }

    fn revision() -> Revision {
        let json = r#"{
            "name": "projects/p/locations/r/services/worker/revisions/worker-2",
            "createTime": "2026-02-04T15:00:00.5Z",
            "labels": { "commit-sha": "3f2a1bc9d8" },
            "containers": [{ "image": "us-docker.pkg.dev/p/i/worker@sha256:aa" }]
        }"#;
        serde_json::from_str(json).expect("a revision")
    }

    #[test]
    fn a_service_and_its_revision_say_what_is_deployed() {
        let known = deployment(&service("{}"), Some(&revision())).expect("known");
        assert_eq!((known.service.as_str(), known.revision.as_str()), ("worker", "worker-2"));
        assert_eq!((known.commit.as_deref(), known.deployed), (Some("3f2a1bc9d8"), 1_770_217_200));
        assert!(known.serves_latest);
        assert_eq!(known.min_instances, 1);
        let not_ready = service(r#"{"latestReadyRevision": "x/worker-1"}"#);
        assert!(!deployment(&not_ready, Some(&revision())).expect("known").serves_latest);
        let split = service(
            r#"{"trafficStatuses": [{"revision": "worker-2", "percent": 90}, {"revision": "worker-1", "percent": 10}]}"#,
        );
        assert!(!deployment(&split, Some(&revision())).expect("known").serves_latest);
        let unlabelled = Revision { labels: BTreeMap::new(), ..revision() };
        let plain = service(r#"{"labels": {}, "template": {}}"#);
        assert_eq!(deployment(&plain, Some(&unlabelled)).expect("known").commit, None);
    }

    #[test]
    fn what_contradicts_itself_is_unknown_with_both_facts() {
        for (change, facts) in [
            (r#"{"labels": {"commit-sha": "aaaaaaa"}}"#, ["aaaaaaa", "3f2a1bc9d8"]),
            (r#"{"template": {"containers": [{"image": "i@sha256:bb"}]}}"#, ["sha256:bb", "sha256:aa"]),
            (r#"{"template": {"containers": [{"image": "i:0123abc"}]}}"#, ["0123abc", "3f2a1bc9d8"]),
            (r#"{"trafficStatuses": []}"#, ["worker", "0 %"]),
            (r#"{"trafficStatuses": [{"revision": "worker-2", "percent": 60}]}"#, ["worker", "60 %"]),
            (r#"{"reconciling": true}"#, ["worker", "being deployed"]),
        ] {
            let unknown = deployment(&service(change), Some(&revision())).expect_err(change);
            for fact in facts {
                assert!(unknown.contains(fact), "{change}: {unknown}");
            }
        }
        assert!(deployment(&service("{}"), None).expect_err("no revision").contains("does not exist"));
        assert!(deployment(&service("{}"), Some(&Revision { create_time: None, ..revision() })).is_err());
    }
}
