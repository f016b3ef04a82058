//! Recorded answers with a fault in them, to see whether a check notices it.

use serde::{Serialize, de::DeserializeOwned};

use super::Event;
use crate::contract::{Error, deployments::Deployment, warehouse::Table};

/// A fault in answers that do not come from a warehouse.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Alteration {
    /// A repository cannot be read: `git.NAME`.
    Unreadable(String),
    /// The deployments cannot be read.
    NoDeployments,
    /// A service is not deployed.
    Gone(String),
    /// A service was deployed so many seconds earlier, from a commit that nobody knows.
    Behind(String, i64),
    /// Traffic goes to an older revision of a service.
    OldTraffic(String),
}

/// The services among recorded answers that are deployed.
pub fn deployed(events: &[Event]) -> Vec<String> {
    let lookups = events.iter().filter(|event| event.name == LOOKUP);
    let found = |event: &&Event| matches!(read::<Option<Deployment>>(event), Some(Ok(Some(_))));
    lookups.filter(found).map(|event| event.question.clone()).collect()
}

/// The datasets of which the tables were asked for, with these.
pub fn listed(events: &[Event]) -> Vec<(String, Vec<Table>)> {
    let listings = events.iter().filter(|event| event.name == "warehouse.tables");
    let found = listings.filter_map(|event| Some((event.question.clone(), read(event)?.ok()?)));
    let mut found: Vec<(String, Vec<Table>)> = found.collect();
    found.sort_by(|(one, _), (other, _)| one.cmp(other));
    found.dedup_by(|(one, _), (other, _)| one == other);
    found
}

/// The repositories that were asked: `git.NAME`.
pub fn repositories(events: &[Event]) -> Vec<String> {
    let sources = events.iter().filter(|event| event.name.starts_with("git.")).flat_map(|event| event.sources.clone());
    let mut sources: Vec<String> = sources.collect();
    sources.sort();
    sources.dedup();
    sources
}

/// The answers that do not come from a warehouse, with a fault. A question without an answer is asked again.
pub fn altered(events: &[Event], fault: &Alteration) -> Vec<Event> {
    let alter = |event: &Event| -> Option<Event> {
        let is_lookup = |service: &String| event.name == LOOKUP && event.question == *service;
        let with = |answer: Option<Vec<u8>>| Event { answer, ..event.clone() };
        match fault {
            Alteration::Unreadable(name) if event.sources.contains(name) => Some(with(failed())),
            Alteration::NoDeployments if event.name == LOOKUP => Some(with(failed())),
            Alteration::Gone(service) if is_lookup(service) => Some(with(written(&Ok(None::<Deployment>)))),
            Alteration::Behind(service, seconds) if is_lookup(service) => {
                let earlier =
                    |found: Deployment| Deployment { commit: None, deployed: found.deployed - seconds, ..found };
                Some(with(change(event, earlier)))
            }
            Alteration::OldTraffic(service) if is_lookup(service) => {
                Some(with(change(event, |found| Deployment { serves_latest: false, ..found })))
            }
            // What follows from the changed answer is asked anew.
            Alteration::Behind(..) if event.name.starts_with("git.") => None,
            _ => Some(event.clone()),
        }
    };
    events.iter().filter_map(alter).collect()
}

/// The name of a lookup among the calls.
const LOOKUP: &str = "deployments.lookup";

fn read<T: DeserializeOwned>(event: &Event) -> Option<Result<T, Error>> {
    postcard::from_bytes(event.answer.as_ref()?).ok()
}

fn written<T: Serialize>(answer: &Result<T, Error>) -> Option<Vec<u8>> {
    postcard::to_stdvec(answer).ok()
}

fn failed() -> Option<Vec<u8>> {
    written::<()>(&Err(Error::Unavailable("it cannot be read".to_owned())))
}

fn change(event: &Event, change: impl FnOnce(Deployment) -> Deployment) -> Option<Vec<u8>> {
    match read::<Option<Deployment>>(event)? {
        Ok(Some(found)) => written(&Ok(Some(change(found)))),
        other => written(&other),
    }
}
