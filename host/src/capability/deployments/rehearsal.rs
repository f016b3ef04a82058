//! Simulated deployments: whether a service exists is looked up, its state is made up.

use std::sync::Arc;

use super::Deployments;
use crate::{
    capability::{calls::Calls, rehearsal::Rehearsal, shapes::lock},
    contract::{Error, deployments::Deployment},
};

impl Rehearsal {
    pub(super) async fn lookup(
        &self,
        deployments: &Deployments,
        calls: &Arc<Calls>,
        service: &str,
    ) -> Result<Option<Deployment>, Error> {
        let known = lock(&self.shapes.services).get(service).cloned();
        let found = match known {
            Some(found) => found,
            None => match deployments.lookup(calls, service).await {
                Ok(found) => {
                    if found.is_none() {
                        // In the words of deployment-drift: what is told in other words is told again.
                        let kind = if service.starts_with("job:") { "job" } else { "service" };
                        let error = Error::NotFound(format!("{service}: no such {kind} is deployed"));
                        self.shapes.complain(service, &error);
                    }
                    lock(&self.shapes.services).insert(service.to_owned(), found.clone());
                    found
                }
                Err(error) => {
                    self.shapes.complain(service, &error);
                    return Err(error);
                }
            },
        };
        Ok(self.deployment(service, found))
    }

    fn deployment(&self, service: &str, found: Option<Deployment>) -> Option<Deployment> {
        if self.is_empty() {
            return None;
        }
        let mut draw = self.draw(service);
        let real = found.unwrap_or_else(|| Deployment {
            service: service.to_owned(),
            revision: format!("{service}-00001"),
            commit: None,
            deployed: 0,
            serves_latest: true,
            min_instances: 0,
        });
        if draw.as_it_is() {
            return Some(real);
        }
        if draw.seldom() {
            return None;
        }
        let commit = if draw.null("commit") { None } else { Some("1".repeat(40)) };
        Some(Deployment {
            commit,
            deployed: draw.moment().map_or(0, |moment| moment.as_second()),
            serves_latest: !draw.seldom(),
            min_instances: if draw.seldom() { real.min_instances + 1 } else { real.min_instances },
            ..real
        })
    }
}
