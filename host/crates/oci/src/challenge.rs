//! How a registry asks for credentials: <https://distribution.github.io/distribution/spec/auth/token/>

use anyhow::{Context, Result, bail};
use http_auth::{ChallengeRef, parse_challenges};
use url::Url;

use super::place::Place;

/// What a registry asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Challenge {
    /// The user and password, with each request.
    Basic,
    /// A token from an authorization server.
    Bearer {
        /// The authorization server.
        realm: Url,
        /// The name of the registry there.
        service: Option<String>,
        /// The rights to ask for.
        scope: Option<String>,
    },
}

impl Challenge {
    /// Reads the `WWW-Authenticate` headers of a registry's answer. A realm that would get the credentials in the clear is
    /// refused.
    pub fn read<'h>(place: &Place, headers: impl Iterator<Item = &'h str>) -> Result<Self> {
        let found: Vec<ChallengeRef<'_>> =
            headers.filter_map(|header| parse_challenges(header).ok()).flatten().collect();
        let named = |scheme: &str| found.iter().find(|one| one.scheme.eq_ignore_ascii_case(scheme));
        let Some(bearer) = named("Bearer") else {
            let basic = named("Basic").map(|_| Self::Basic);
            return basic.with_context(|| format!("{place}: the registry does not say how to log in"));
        };
        let parameter = |name: &str| {
            let found = bearer.params.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
            found.map(|(_, value)| value.to_unescaped())
        };
        let realm = parameter("realm").and_then(|realm| Url::parse(&realm).ok());
        let Some(realm) = realm else { bail!("{place}: the registry does not say where to log in") };
        if !place.may_send_to(&realm) {
            bail!(
                "{place}: refused to log in at {}, which is not https; the registry sent this address",
                realm.origin().ascii_serialization()
            );
        }
        Ok(Self::Bearer { realm, service: parameter("service"), scope: parameter("scope") })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_asked_for_where_nobody_listens_in() {
        let read = |place: &str, header: &str| Challenge::read(&place.parse().unwrap(), [header].into_iter());
        let bearer =
            r#"Basic realm="x", Bearer realm="https://auth.io/token",service="reg",scope="repository:a:pull,push""#;
        let Challenge::Bearer { realm, service, scope } = read("oci://ghcr.io/a", bearer).unwrap() else { panic!() };
        assert_eq!((realm.as_str(), service.as_deref()), ("https://auth.io/token", Some("reg")));
        assert_eq!(scope.as_deref(), Some("repository:a:pull,push"));
        assert_eq!(read("oci://ghcr.io/a", "basic realm=x").unwrap(), Challenge::Basic);
        for (place, header, words) in [
            (
                "oci://ghcr.io/a",
                r#"Bearer realm="http://evil.example/token""#,
                "http://evil.example, which is not https",
            ),
            ("oci://localhost:5000/a", r#"Bearer realm="http://evil.example/token""#, "which is not https"),
            ("oci://ghcr.io/a", r#"Bearer realm="/token""#, "does not say where"),
            ("oci://ghcr.io/a", "Bearer", "does not say"),
            ("oci://ghcr.io/a", "Negotiate", "does not say how"),
            ("oci://ghcr.io/a", "", "does not say how"),
        ] {
            let error = read(place, header).unwrap_err().to_string();
            assert!(error.contains(words), "{header}: {error}");
        }
        assert!(read("oci://localhost:5000/a", r#"Bearer realm="http://localhost:5001/token""#).is_ok());
    }
}
