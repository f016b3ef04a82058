//! Access control for requests: by host name, token and origin.

use std::net::IpAddr;

use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::{
    Site,
    api::{Refused, refused},
    caller::given,
};

/// Headers of every response: no foreign content, no frames, no type guessing, no caching.
const HEADERS: [(header::HeaderName, &str); 5] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    // With `no-referrer` a browser would not send a form's origin.
    (header::REFERRER_POLICY, "same-origin"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::CACHE_CONTROL, "no-store"),
];

/// Makes a browser ask for the token.
const CHALLENGE: &str = "Basic realm=\"host: any name, the token as password\", charset=\"UTF-8\"";

/// The access rules.
#[derive(Debug)]
pub(super) struct Access {
    /// The digest of the token; the token itself is not kept.
    token: Option<[u8; 32]>,
    /// Whether only this machine can connect.
    loopback: bool,
    /// Accepted host names besides localhost and IP addresses.
    hosts: Vec<String>,
}

impl Access {
    pub(super) fn new(token: Option<String>, loopback: bool, hosts: Vec<String>) -> Self {
        Self { token: token.map(|token| Sha256::digest(token).into()), loopback, hosts }
    }

    /// Rejects a request that must not be answered.
    fn check(&self, method: &Method, headers: &HeaderMap) -> Result<(), Refused> {
        let acts = !matches!(*method, Method::GET | Method::HEAD);
        let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
        // Prevents DNS rebinding: another site can point its own name at this address.
        if !self.is_own(host) {
            let text = format!("unknown host name `{host}`; add it to web.hosts if it is this host's");
            return Err(refused(StatusCode::MISDIRECTED_REQUEST, text));
        }
        if acts && !same_site(headers, host) {
            return Err(refused(StatusCode::FORBIDDEN, "requests from other sites are refused"));
        }
        if self.loopback && !acts {
            return Ok(());
        }
        match &self.token {
            None => Err(refused(
                StatusCode::FORBIDDEN,
                "this action needs a token, and this host has none; set HOST_TOKEN, or the variable or file that web.token_env or web.token_file names",
            )),
            Some(token) if given(headers).is_some_and(|given| bool::from(given.ct_eq(token))) => Ok(()),
            Some(_) => Err(refused(StatusCode::UNAUTHORIZED, "a token is needed: `Authorization: Bearer TOKEN`")),
        }
    }

    fn is_own(&self, host: &str) -> bool {
        let name = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((address, _)) => address,
            None => host.rsplit_once(':').map_or(host, |(name, _)| name),
        };
        name.parse::<IpAddr>().is_ok()
            || name.eq_ignore_ascii_case("localhost")
            || self.hosts.iter().any(|own| own.eq_ignore_ascii_case(name) || own.eq_ignore_ascii_case(host))
    }
}

/// Whether a request comes from a page of this host, or from no page at all. Browsers send its origin:
/// <https://developer.mozilla.org/docs/Web/HTTP/Reference/Headers/Sec-Fetch-Site>
fn same_site(headers: &HeaderMap, host: &str) -> bool {
    let value = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or("other"));
    match (value("sec-fetch-site"), value("origin")) {
        (Some(site), _) => site == "same-origin" || site == "none",
        // Over plain HTTP to another machine, browsers send only this.
        (None, Some(origin)) => origin.split_once("://").is_some_and(|(_, from)| from.eq_ignore_ascii_case(host)),
        (None, None) => true,
    }
}

/// Rejects requests that must not be answered.
pub(super) async fn guard(site: State<Site>, request: Request, next: Next) -> Response {
    match site.0.0.access.check(request.method(), request.headers()) {
        Ok(()) => next.run(request).await,
        Err(refused) => {
            let mut answer = refused.into_response();
            if answer.status() == StatusCode::UNAUTHORIZED {
                answer.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(CHALLENGE));
            }
            answer
        }
    }
}

/// Adds the security headers to every response.
pub(super) async fn secured(request: Request, next: Next) -> Response {
    let mut answer = next.run(request).await.into_response();
    for (name, value) in HEADERS {
        answer.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    answer
}

#[cfg(test)]
mod tests {
    use base64::{Engine, engine::general_purpose::STANDARD};

    use super::*;

    const TOKEN: &str = "0123456789abcdef0123456789abcdef";

    fn answered(access: &Access, method: Method, headers: &[(&str, &str)]) -> u16 {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            let name: header::HeaderName = name.parse().expect("a name");
            map.insert(name, value.parse().expect("a value"));
        }
        access.check(&method, &map).err().map_or(200, |refused| refused.status.as_u16())
    }

    #[test]
    fn who_may_ask_what() {
        let bearer = format!("Bearer {TOKEN}");
        let basic = format!("Basic {}", STANDARD.encode(format!("ana:{TOKEN}")));
        let access = |token: bool, loopback| {
            Access::new(token.then(|| TOKEN.to_owned()), loopback, vec!["host.example.com".to_owned()])
        };
        let (here, there, tokenless) = (access(true, true), access(true, false), access(false, true));
        let own = ("host", "127.0.0.1:8080");
        let authorized = ("authorization", bearer.as_str());
        type Case<'c> = (&'c Access, Method, Vec<(&'c str, &'c str)>, u16);
        let cases: Vec<Case<'_>> = vec![
            // Reading is open on this machine, and nowhere else.
            (&here, Method::GET, vec![own], 200),
            (&there, Method::GET, vec![own], 401),
            (&there, Method::GET, vec![own, authorized], 200),
            (&there, Method::GET, vec![own, ("authorization", &basic)], 200),
            // Actions need a token everywhere.
            (&here, Method::POST, vec![own], 401),
            (&here, Method::POST, vec![own, authorized], 200),
            (&here, Method::DELETE, vec![own], 401),
            (&here, Method::PUT, vec![own], 401),
            (&tokenless, Method::POST, vec![own], 403),
            (&tokenless, Method::POST, vec![own, authorized], 403),
            // Invalid tokens.
            (&there, Method::GET, vec![own, ("authorization", "Bearer ")], 401),
            (&there, Method::GET, vec![own, ("authorization", "Bearer 0123456789abcdef0123456789abcdee")], 401),
            (&there, Method::GET, vec![own, ("authorization", TOKEN)], 401),
            (&there, Method::GET, vec![own, ("authorization", "Basic !!!")], 401),
            (&there, Method::GET, vec![own, ("authorization", "Digest 0123")], 401),
            // Other names.
            (&here, Method::GET, vec![("host", "evil.example")], 421),
            (&here, Method::GET, vec![("host", "evil.example:8080")], 421),
            (&here, Method::GET, vec![("host", "localhost.evil.example")], 421),
            (&here, Method::GET, vec![], 421),
            (&here, Method::GET, vec![("host", "localhost:8080")], 200),
            (&here, Method::GET, vec![("host", "[::1]:8080")], 200),
            (&here, Method::GET, vec![("host", "Host.Example.com")], 200),
            (&there, Method::GET, vec![("host", "host.example.com:443"), authorized], 200),
            // Other sites, also with the token that a browser adds by itself.
            (&here, Method::POST, vec![own, authorized, ("sec-fetch-site", "cross-site")], 403),
            (&here, Method::POST, vec![own, authorized, ("sec-fetch-site", "same-site")], 403),
            (&here, Method::POST, vec![own, authorized, ("sec-fetch-site", "same-origin")], 200),
            (&here, Method::POST, vec![own, authorized, ("origin", "http://evil.example")], 403),
            (&here, Method::POST, vec![own, authorized, ("origin", "null")], 403),
            (&here, Method::POST, vec![own, authorized, ("origin", "http://127.0.0.1:8080")], 200),
            (&here, Method::POST, vec![own, authorized, ("origin", "http://127.0.0.1:9090")], 403),
        ];
        for (access, method, headers, expected) in cases {
            assert_eq!(answered(access, method.clone(), &headers), expected, "{method} {headers:?}");
        }
    }
}
