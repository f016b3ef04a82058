//! Deployments from a JSON file.

use std::{io::ErrorKind, path::PathBuf};

use serde::Deserialize;

use crate::contract::{Error, deployments::Deployment};

/// A JSON file with a list of deployments, written by whoever deploys:
///
/// ```json
/// [{ "service": "prediction-worker", "revision": "prediction-worker-00042-abc", "commit": "3f2a…",
///    "deployed": "2026-02-04T15:00:00Z", "serves_latest": true, "min_instances": 0 }]
/// ```
///
/// `commit` is optional; everything else is required. The file is read again for each lookup.
#[derive(Debug, Clone)]
pub struct File {
    path: PathBuf,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    service: String,
    revision: String,
    #[serde(default)]
    commit: Option<String>,
    deployed: jiff::Timestamp,
    serves_latest: bool,
    min_instances: u32,
}

impl File {
    /// The file need not exist before the first lookup.
    pub fn new(path: PathBuf) -> Self {
        Self { path }
    }

    pub(super) fn count(&self) -> Result<usize, Error> {
        Ok(self.read()?.len())
    }

    fn read(&self) -> Result<Vec<Entry>, Error> {
        let text = std::fs::read_to_string(&self.path).map_err(|error| match error.kind() {
            // The wrong path, not a file that cannot be read at the moment.
            ErrorKind::NotFound => Error::NotFound(self.problem(&error)),
            _ => self.unusable(&error),
        })?;
        serde_json::from_str(&text).map_err(|error| self.unusable(&error))
    }

    fn unusable(&self, problem: &dyn std::fmt::Display) -> Error {
        Error::Unavailable(self.problem(problem))
    }

    fn problem(&self, problem: &dyn std::fmt::Display) -> String {
        format!("lookup failed: {}: {problem}", self.path.display())
    }

    pub(super) fn lookup(&self, service: &str) -> Result<Option<Deployment>, Error> {
        let mut found = self.read()?.into_iter().filter(|entry| entry.service == service);
        match (found.next(), found.next()) {
            (Some(_), Some(_)) => Err(self.unusable(&format!("{service} is listed twice"))),
            (found, _) => Ok(found.map(|entry| Deployment {
                service: entry.service,
                revision: entry.revision,
                commit: entry.commit.filter(|commit| !commit.trim().is_empty()),
                deployed: entry.deployed.as_second(),
                serves_latest: entry.serves_latest,
                min_instances: entry.min_instances,
            })),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lookup(text: &str, service: &str) -> Result<Option<Deployment>, Error> {
        let directory = tempfile::tempdir().expect("directory");
        let path = directory.path().join("deployments.json");
        std::fs::write(&path, text).expect("written");
        File::new(path).lookup(service)
    }

    #[test]
    fn a_service_is_found_or_not_and_a_bad_file_is_an_error() {
        let entry = r#"{"service":"a","revision":"a-1","commit":" ","deployed":"2026-02-04T15:00:00Z","serves_latest":true,"min_instances":1}"#;
        let found = lookup(&format!("[{entry}]"), "a").expect("readable").expect("listed");
        assert_eq!((found.revision.as_str(), found.commit, found.deployed), ("a-1", None, 1_770_217_200));
        assert_eq!(lookup(&format!("[{entry}]"), "b"), Ok(None));
        assert!(lookup(&format!("[{entry},{entry}]"), "a").expect_err("twice").message().contains("a is listed twice"));
        assert!(lookup("[", "a").expect_err("cut off").message().contains("deployments.json"));
        assert!(lookup("", "a").is_err());
        assert!(lookup(r#"[{"service":"a"}]"#, "a").expect_err("incomplete").message().contains("revision"));
    }
}
