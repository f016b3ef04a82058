//! Checks a plugin's call against its grants: one small function, so that there is one place to trust.

use crate::{config::Grants, contract::Error, googlesql::TablePath};

/// The resource that a call uses.
#[derive(Debug, Clone, Copy)]
pub(super) enum Wish<'a> {
    /// Any query of the warehouse, also one that reads no table.
    Warehouse,
    Dataset(&'a str),
    /// A table or view that a query names: its dataset or itself must be granted.
    Table(&'a TablePath),
    /// A function that somebody made, `dataset.name`.
    Function(&'a str),
    Repository(&'a str),
    Service(&'a str),
    Channel(&'a str),
}

/// Denies a call that is not granted; the error names the line of host.toml that would allow it.
pub(super) fn check(plugin: &str, grants: &Grants, call: &str, wish: Wish<'_>) -> Result<(), Error> {
    let (kind, name, key, granted) = match wish {
        Wish::Warehouse if grants.warehouse.is_empty() && grants.views.is_empty() => {
            return Err(Error::Denied(format!(
                "{call} denied: no dataset is granted; add those that it needs to grants.{plugin}.warehouse in host.toml"
            )));
        }
        Wish::Warehouse => return Ok(()),
        Wish::Table(path) if is_view(grants, path) => return Ok(()),
        Wish::Table(path) => ("dataset", path.dataset.as_str(), "warehouse", &grants.warehouse),
        Wish::Dataset(name) => ("dataset", name, "warehouse", &grants.warehouse),
        Wish::Function(name) => ("function", name, "functions", &grants.functions),
        Wish::Repository(name) => ("repository", name, "git", &grants.git),
        Wish::Service(name) => ("service", name, "deployments", &grants.deployments),
        Wish::Channel(name) => ("channel", name, "slack", &grants.slack),
    };
    let all = matches!(wish, Wish::Service(_)) && granted.iter().any(|granted| granted == "*");
    if all || granted.iter().any(|granted| granted == name) {
        return Ok(());
    }
    Err(Error::Denied(format!(
        "{call} denied: {kind} {name} is not granted; add {name:?} to grants.{plugin}.{key} in host.toml"
    )))
}

/// Whether a table is granted by its own name, as a view.
pub(super) fn is_view(grants: &Grants, path: &TablePath) -> bool {
    let granted = grants.views.iter().filter_map(|view| view.split_once('.'));
    granted.into_iter().any(|granted| granted == (path.dataset.as_str(), path.table.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each line is allowed by the grants, and denied without them.
    #[test]
    fn only_what_is_granted_is_allowed() {
        let grants = Grants {
            warehouse: vec!["nba_raw".to_owned()],
            views: vec!["shared.games".to_owned()],
            functions: vec!["nba_raw.season".to_owned()],
            git: vec!["pipeline".to_owned()],
            deployments: vec!["worker".to_owned()],
            slack: vec!["#alerts".to_owned()],
            ..Grants::default()
        };
        let path = |dataset: &str, table: &str| TablePath { dataset: dataset.to_owned(), table: table.to_owned() };
        let (raw, view, other) = (path("nba_raw", "t"), path("shared", "games"), path("shared", "players"));
        let cases = [
            ("query", Wish::Table(&raw), Wish::Table(&other), "add \"shared\" to grants.p.warehouse"),
            ("query", Wish::Table(&view), Wish::Dataset("shared"), "add \"shared\" to grants.p.warehouse"),
            ("query", Wish::Dataset("nba_raw"), Wish::Dataset("nba_reference"), "grants.p.warehouse"),
            ("query", Wish::Warehouse, Wish::Dataset(""), "grants.p.warehouse"),
            ("query", Wish::Dataset("nba_raw"), Wish::Dataset("*"), "grants.p.warehouse"),
            ("query", Wish::Dataset("nba_raw"), Wish::Dataset("NBA_RAW"), "grants.p.warehouse"),
            ("query", Wish::Function("nba_raw.season"), Wish::Function("nba_raw.other"), "grants.p.functions"),
            ("query", Wish::Function("nba_raw.season"), Wish::Function("nba_reference.season"), "grants.p.functions"),
            ("latest", Wish::Repository("pipeline"), Wish::Repository("secrets"), "grants.p.git"),
            ("lookup", Wish::Service("worker"), Wish::Service("worker2"), "grants.p.deployments"),
            ("post", Wish::Channel("#alerts"), Wish::Channel("#general"), "grants.p.slack"),
        ];
        for (call, allowed, denied, key) in cases {
            assert_eq!(check("p", &grants, call, allowed), Ok(()));
            for grants in [&grants, &Grants::default()] {
                let error = check("p", grants, call, denied).expect_err("denied");
                assert!(error.message().contains(key) && error.message().starts_with(call), "{error:?}");
            }
            assert!(check("p", &Grants::default(), call, allowed).is_err());
        }
    }

    #[test]
    fn all_services_can_be_granted_and_all_of_nothing_else() {
        let all = vec!["*".to_owned()];
        let grants = Grants {
            deployments: all.clone(),
            warehouse: all.clone(),
            functions: all.clone(),
            git: all.clone(),
            slack: all,
            ..Grants::default()
        };
        assert_eq!(check("p", &grants, "lookup", Wish::Service("any")), Ok(()));
        for wish in [Wish::Dataset("any"), Wish::Function("any.f"), Wish::Repository("any"), Wish::Channel("#any")] {
            assert!(check("p", &grants, "call", wish).is_err());
        }
    }
}
