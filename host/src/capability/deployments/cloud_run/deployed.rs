//! What is deployed, from what Cloud Run says. Where it reports one fact in two places and they disagree, the deployment
//! is unknown.

use std::collections::BTreeMap;

use super::shapes::{Condition, Job, Revision, Service, Traffic, image, last};
use crate::{contract::deployments::Deployment, text::shortened};

/// The label, or the annotation, with the commit that the image was built from.
const COMMIT: &str = "commit-sha";
/// Bytes of Cloud Run's own words that are quoted.
const QUOTED: usize = 400;

/// Why a deployment is unknown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Unknown {
    /// Two facts disagree.
    Contradiction(String),
    /// Cloud Run itself says why, or leaves out what is needed.
    Stated(String),
}

/// A place that names a commit.
struct Claim {
    /// `the label commit-sha of worker`
    place: String,
    commit: String,
}

/// Whether a service has a revision that became ready, so that its traffic means something. While it is being deployed
/// its fields change, and after a first deployment that failed they are empty.
pub(super) fn settled(service: &Service) -> Result<(), Unknown> {
    let name = last(&service.name);
    if service.reconciling {
        return Err(Unknown::Stated(format!("{name} is being deployed right now")));
    }
    if !service.latest_ready_revision.is_empty() && !service.latest_created_revision.is_empty() {
        let latest = service.latest_ready_revision == service.latest_created_revision;
        // Without a newer revision nothing else shows that it failed, such as an image that does not exist.
        if latest && service.terminal_condition.failed() {
            let why = reason(&service.terminal_condition, &service.conditions);
            return Err(Unknown::Stated(format!("the last deployment of {name} failed{why}")));
        }
        return Ok(());
    }
    if service.terminal_condition.succeeded() {
        return Err(Unknown::Contradiction(format!("{name} says that it is ready, but names no revision that is")));
    }
    let why = reason(&service.terminal_condition, &service.conditions);
    Err(Unknown::Stated(format!("{name} never became ready{why}")))
}

/// Combines a service that is settled with its latest revision.
pub(super) fn service(service: &Service, revision: Option<&Revision>) -> Result<Deployment, Unknown> {
    let name = last(&service.name);
    let latest = last(&service.latest_created_revision);
    let Some(revision) = revision else {
        return Err(Unknown::Contradiction(format!(
            "{name} says its latest revision is {latest:?}, but that revision does not exist"
        )));
    };
    let Some(deployed) = revision.create_time else {
        return Err(Unknown::Stated(format!("revision {latest} does not say when it was created")));
    };
    Ok(Deployment {
        service: name.to_owned(),
        revision: latest.to_owned(),
        commit: commit_of_service(service, revision)?,
        deployed: deployed.as_second(),
        serves_latest: serves_latest(service)?,
        min_instances: service.scaling.min_instance_count.max(revision.scaling.min_instance_count),
    })
}

/// A job has no traffic and no instances: what is deployed is the template of its next execution.
pub(super) fn job(job: &Job) -> Result<Deployment, Unknown> {
    let name = last(&job.name);
    if job.reconciling {
        return Err(Unknown::Stated(format!("job {name} is being deployed right now")));
    }
    if job.terminal_condition.failed() {
        let why = reason(&job.terminal_condition, &job.conditions);
        return Err(Unknown::Stated(format!("job {name} is not ready{why}")));
    }
    let Some(image) = image(&job.template.template.containers) else {
        return Err(Unknown::Stated(format!("job {name} names no image")));
    };
    let tag = commit_tag(image);
    // <https://cloud.google.com/run/docs/managing/jobs#container-image-digest-and-tags>
    if digest(image).is_none() && tag.is_none() {
        return Err(Unknown::Stated(format!(
            "job {name} has the image {image}, a tag that Cloud Run resolves anew for each execution, so nothing says \
             which commit it runs; deploy it by digest (IMAGE@sha256:…), or with the commit as the tag"
        )));
    }
    let Some(deployed) = job.update_time else {
        return Err(Unknown::Stated(format!("job {name} does not say when it was changed")));
    };
    let mut claims = stated(&format!("job {name}"), &job.labels, &job.annotations);
    claims.extend(stated("its template", &job.template.labels, &job.template.annotations));
    claims.extend(tag.map(|commit| Claim { place: "the tag of its image".to_owned(), commit }));
    Ok(Deployment {
        service: name.to_owned(),
        revision: format!("generation {}", job.generation),
        commit: agreed(&claims)?,
        deployed: deployed.as_second(),
        serves_latest: true,
        min_instances: 0,
    })
}

/// The commit in the labels, if they and the image agree.
fn commit_of_service(service: &Service, revision: &Revision) -> Result<Option<String>, Unknown> {
    let (name, latest) = (last(&service.name), last(&revision.name));
    let (wanted, runs) = (image(&service.template.containers), image(&revision.containers));
    if let (Some(wanted), Some(runs)) = (wanted.and_then(digest), runs.and_then(digest))
        && wanted != runs
    {
        return Err(Unknown::Contradiction(format!(
            "{name} asks for the image {wanted}, but its revision {latest} runs {runs}"
        )));
    }
    let mut claims = stated(name, &service.labels, &service.annotations);
    claims.extend(stated(&format!("its revision {latest}"), &revision.labels, &revision.annotations));
    let commit = agreed(&claims)?;
    // A tag alone proves nothing: it may only look like a commit.
    if commit.is_some() {
        let tags = [wanted, runs].into_iter().flatten().filter_map(commit_tag);
        claims.extend(tags.map(|commit| Claim { place: "the tag of its image".to_owned(), commit }));
        agreed(&claims)?;
    }
    Ok(commit)
}

/// What the label and the annotation of something say.
fn stated(of: &str, labels: &BTreeMap<String, String>, annotations: &BTreeMap<String, String>) -> Vec<Claim> {
    let claim = |kind: &str, from: &BTreeMap<String, String>| {
        let commit = from.get(COMMIT).filter(|commit| !commit.is_empty())?.clone();
        Some(Claim { place: format!("the {kind} {COMMIT} of {of}"), commit })
    };
    [claim("label", labels), claim("annotation", annotations)].into_iter().flatten().collect()
}

/// The most exact of all claims, if all of them name the same commit.
fn agreed(claims: &[Claim]) -> Result<Option<String>, Unknown> {
    let same =
        |one: &Claim, other: &Claim| one.commit.starts_with(&other.commit) || other.commit.starts_with(&one.commit);
    for (at, one) in claims.iter().enumerate() {
        if let Some(other) = claims.iter().skip(at + 1).find(|other| !same(one, other)) {
            return Err(Unknown::Contradiction(format!(
                "{} is {}, but {} is {}",
                one.place, one.commit, other.place, other.commit
            )));
        }
    }
    Ok(claims.iter().map(|claim| &claim.commit).max_by_key(|commit| commit.len()).cloned())
}

/// Whether all traffic goes to the latest revision.
fn serves_latest(service: &Service) -> Result<bool, Unknown> {
    let name = last(&service.name);
    let whole: u32 = service.traffic_statuses.iter().map(|part| part.percent).sum();
    if whole != 100 {
        let why = match service.terminal_condition.failed() {
            true => reason(&service.terminal_condition, &service.conditions),
            false => String::new(),
        };
        return Err(Unknown::Contradiction(format!("the traffic of {name} adds up to {whole} %, not 100 %{why}")));
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

/// `: …`, the first line of Cloud Run's own words. Addresses of logs follow on further lines.
fn reason(terminal: &Condition, conditions: &[Condition]) -> String {
    let failed = conditions.iter().filter(|condition| condition.failed());
    let words = |condition: &Condition| {
        let line = condition.message.lines().map(str::trim).find(|line| !line.is_empty());
        line.or(Some(condition.reason.as_str())).filter(|words| !words.is_empty()).map(|words| shortened(words, QUOTED))
    };
    let told = std::iter::once(terminal).chain(failed).find_map(words);
    told.map(|words| format!(": {words}")).unwrap_or_default()
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

#[cfg(test)]
mod tests;
