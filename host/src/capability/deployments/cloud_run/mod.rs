//! Deployments on Cloud Run, in one or several regions of a project. Services and jobs are looked up by name; a
//! function of the second generation is a service.

mod deployed;
mod name;
mod once;
mod region;
mod shapes;

use std::sync::Arc;

use futures_util::future::try_join_all;
use jiff::Timestamp;
use tokio::time::{Instant, timeout_at};

use crate::{
    capability::calls::Calls,
    config::{Endpoint, Regions},
    contract::{Error, deployments::Deployment},
    google::Google,
};
use deployed::Unknown;
use name::{Kind, Name};
use region::Region;

/// Regions of a project; clones share the answers of their lookups.
#[derive(Debug, Clone)]
pub struct CloudRun(Arc<[Region]>);

impl CloudRun {
    /// Makes no request before a check asks.
    pub fn new(google: &Google, project: &str, regions: &Regions, endpoint: &Endpoint) -> Self {
        Self(regions.names().map(|region| Region::new(google.clone(), project, region, endpoint)).collect())
    }

    pub(super) async fn lookup(&self, calls: &Calls, asked: &str) -> Result<Option<Deployment>, Error> {
        let name = Name::parse(asked)?;
        // The answers are shared and may take longer; this run waits only as long as its own time.
        let found = timeout_at(calls.deadline(), self.find(&name, calls.caller.due)).await.unwrap_or_else(|_| {
            Err(Error::TimedOut("lookup failed: Cloud Run did not answer within this run's time".to_owned()))
        })?;
        match found {
            None => Ok(None),
            Some(Ok(deployment)) => Ok(Some(Deployment { service: asked.to_owned(), ..deployment })),
            Some(Err(Unknown::Contradiction(why))) => {
                Err(Error::Unavailable(format!("lookup failed: Cloud Run contradicts itself: {why}")))
            }
            Some(Err(Unknown::Stated(why))) => Err(Error::Unavailable(format!("lookup failed: {why}"))),
        }
    }

    /// The number of services in all regions.
    pub(super) async fn count(&self, deadline: Instant) -> Result<usize, Error> {
        let counts = try_join_all(self.0.iter().map(|region| region.count(deadline))).await?;
        Ok(counts.into_iter().sum())
    }

    async fn find(&self, name: &Name<'_>, due: Timestamp) -> Result<Option<Result<Deployment, Unknown>>, Error> {
        let regions = self.named(name)?;
        match name.kind {
            Kind::Service => {
                let found = try_join_all(regions.iter().map(|region| region.service(name.plain, due))).await?;
                let Some((region, service)) = only(name, &regions, found)? else { return Ok(None) };
                if let Err(unknown) = deployed::settled(&service) {
                    return Ok(Some(Err(unknown)));
                }
                // By its name: an old service is behind the revisions of all others, page after page.
                let revision = region.revision(&service.latest_created_revision, due).await?;
                Ok(Some(deployed::service(&service, revision.as_deref())))
            }
            Kind::Job => {
                let found = try_join_all(regions.iter().map(|region| region.job(name.plain, due))).await?;
                Ok(only(name, &regions, found)?.map(|(_, job)| deployed::job(&job)))
            }
        }
    }

    /// The regions to ask: the one in the name, or all.
    fn named(&self, name: &Name<'_>) -> Result<Vec<&Region>, Error> {
        let Some(wanted) = name.region else { return Ok(self.0.iter().collect()) };
        let found = self.0.iter().find(|region| region.name() == wanted);
        found.map(|region| vec![region]).ok_or_else(|| {
            Error::Invalid(format!(
                "lookup failed: {wanted}, the region of {name}, is not in deployments.region in host.toml; add it"
            ))
        })
    }
}

/// The one region that has it. In two regions it is two deployments, so the name must say which one is meant.
fn only<'r, T>(
    name: &Name<'_>,
    regions: &[&'r Region],
    found: Vec<Option<T>>,
) -> Result<Option<(&'r Region, T)>, Error> {
    let mut found = regions.iter().zip(found).filter_map(|(region, found)| Some((*region, found?)));
    match (found.next(), found.next()) {
        (Some((one, _)), Some((other, _))) => Err(Error::Invalid(format!(
            "lookup failed: {name} exists in {} and in {}; write {} or {}",
            one.name(),
            other.name(),
            name.within(one.name()),
            name.within(other.name())
        ))),
        (one, _) => Ok(one),
    }
}
