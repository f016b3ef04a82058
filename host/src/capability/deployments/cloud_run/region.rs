//! One region of Cloud Run. All lookups of a due time share one listing of its services; a revision and a job are asked
//! for by their names. So a round costs one request for each page of services, and one for each service or job that a
//! check looks up, however many revisions there are.

use std::{collections::HashMap, sync::Arc};

use jiff::Timestamp;
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use super::{
    once::{Once, PATIENCE},
    shapes::{Job, Revision, Service, Services, last},
};
use crate::{
    config::Endpoint,
    contract::Error,
    google::{Fault, Google, Kind, Request},
    text::encoded,
};

/// The usual address of the API.
const ENDPOINT: &str = "https://run.googleapis.com";
/// Services of one page of a listing.
const PAGE: u32 = 100;

#[derive(Debug)]
pub(super) struct Region {
    name: String,
    api: Api,
    services: Once<Arc<HashMap<String, Arc<Service>>>>,
    revisions: Once<Option<Arc<Revision>>>,
    jobs: Once<Option<Arc<Job>>>,
}

/// What a request needs; shared with the tasks that wait for answers.
#[derive(Debug, Clone)]
struct Api(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    google: Google,
    /// `https://run.googleapis.com/v2/`
    root: String,
    /// `projects/PROJECT/locations/REGION`
    parent: String,
    place: String,
}

impl Region {
    pub(super) fn new(google: Google, project: &str, region: &str, endpoint: &Endpoint) -> Self {
        let inner = Inner {
            google,
            root: format!("{}/v2/", endpoint.or(ENDPOINT)),
            parent: format!("projects/{project}/locations/{region}"),
            place: format!("region {region} of project {project}"),
        };
        Self {
            name: region.to_owned(),
            api: Api(Arc::new(inner)),
            services: Once::default(),
            revisions: Once::default(),
            jobs: Once::default(),
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) async fn count(&self, deadline: Instant) -> Result<usize, Error> {
        let services = self.api.services(deadline).await;
        services.map(|services| services.len()).map_err(|fault| self.api.explained(fault))
    }

    pub(super) async fn service(&self, name: &str, due: Timestamp) -> Result<Option<Arc<Service>>, Error> {
        let api = self.api.clone();
        let listing = async move {
            let services = api.services(Instant::now() + PATIENCE).await.map_err(|fault| api.explained(fault))?;
            let services = services.into_iter().map(|service| (last(&service.name).to_owned(), Arc::new(service)));
            Ok(Arc::new(services.collect::<HashMap<_, _>>()))
        };
        let services = self.services.ask("", due, listing).await?;
        Ok(services.get(name).cloned())
    }

    /// A revision by its full name, `projects/P/locations/R/services/S/revisions/NAME`.
    pub(super) async fn revision(&self, name: &str, due: Timestamp) -> Result<Option<Arc<Revision>>, Error> {
        self.revisions.ask(name, due, self.api.clone().item(name.to_owned())).await
    }

    pub(super) async fn job(&self, name: &str, due: Timestamp) -> Result<Option<Arc<Job>>, Error> {
        let path = format!("{}/jobs/{name}", self.api.0.parent);
        self.jobs.ask(name, due, self.api.clone().item(path)).await
    }
}

impl Api {
    async fn services(&self, deadline: Instant) -> Result<Vec<Service>, Fault> {
        let mut services = Vec::new();
        let mut token = String::new();
        loop {
            let path =
                format!("{}/services?pageSize={PAGE}&pageToken={}", encoded_path(&self.0.parent), encoded(&token));
            let page: Services = self.get(&path, deadline).await?;
            if let [place, ..] = page.unreachable.as_slice() {
                return Err(Fault::new(
                    Kind::Busy,
                    &format!("{place} is unreachable, and the listing is incomplete without it"),
                ));
            }
            services.extend(page.services);
            token = page.next_page_token;
            if token.is_empty() {
                return Ok(services);
            }
        }
    }

    /// Something by its full name; `None` if it does not exist.
    async fn item<T: DeserializeOwned>(self, name: String) -> Result<Option<Arc<T>>, Error> {
        match self.get(&encoded_path(&name), Instant::now() + PATIENCE).await {
            Ok(item) => Ok(Some(Arc::new(item))),
            Err(fault) if fault.kind == Kind::NotFound => Ok(None),
            Err(fault) => Err(self.explained(fault)),
        }
    }

    async fn get<T: DeserializeOwned>(&self, path: &str, deadline: Instant) -> Result<T, Fault> {
        let body = self.0.google.call(Request::get(format!("{}{path}", self.0.root)), deadline).await?;
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

/// The parts of a resource's name, encoded: a revision's name comes from the API.
fn encoded_path(name: &str) -> String {
    name.split('/').map(encoded).collect::<Vec<_>>().join("/")
}
