//! The addresses that a registry sends, and which of them the host visits: a registry must not make the host send
//! anything in the clear over a network.

use anyhow::{Context, Result, bail};
use url::Url;

use super::place::Place;

/// Docker's own registry is named after its website.
const DOCKER_HUB: &str = "registry-1.docker.io";

impl Place {
    /// The address of something in the registry: `https://ghcr.io/v2/data/raw/tags/list`.
    pub fn address(&self, rest: &str) -> Result<Url> {
        let scheme = if self.is_loopback() { "http" } else { "https" };
        let host = if self.registry == "docker.io" { DOCKER_HUB } else { &self.registry };
        let text = format!("{scheme}://{host}/v2/{}/{rest}", self.repository);
        Url::parse(&text).with_context(|| format!("{self}: {} is not the name of a server", self.registry))
    }

    /// Whether an address belongs to the registry itself, so that the registry's credentials are sent there.
    pub fn owns(&self, address: &Url) -> bool {
        self.address("").is_ok_and(|own| own.origin() == address.origin())
    }

    /// Whether the host visits an address that the registry sent: by https, or on the registry's own loopback address.
    pub fn may_send_to(&self, address: &Url) -> bool {
        let own = || self.address("").is_ok_and(|own| own.host() == address.host());
        match address.scheme() {
            "https" => true,
            "http" => self.is_loopback() && own(),
            _ => false,
        }
    }
}

/// The next page of a list, from its `Link` header: <https://www.rfc-editor.org/rfc/rfc8288#section-3>
pub fn next_page(place: &Place, page: &Url, link: &str) -> Result<Option<Url>> {
    let Some(target) = next(link) else { return Ok(None) };
    let address = page.join(target).ok().filter(|address| place.owns(address));
    match address {
        Some(address) => Ok(Some(address)),
        None => bail!("{place}: the registry's next page of versions is not its own: {target}"),
    }
}

/// Where a registry sends the host, from its `Location` header.
pub fn redirected(place: &Place, from: &Url, location: &str) -> Result<Url> {
    match from.join(location).ok().filter(|address| place.may_send_to(address)) {
        Some(address) => Ok(address),
        None => bail!("{place}: the registry redirects to an address without https"),
    }
}

/// The target of the link to the next page: `</v2/raw/tags/list?last=1.0.0>; rel="next"`.
fn next(link: &str) -> Option<&str> {
    let is_next = |parameter: &str| {
        let (name, value) = parameter.split_once('=')?;
        let relations = value.trim().trim_matches('"');
        let named = name.trim().eq_ignore_ascii_case("rel");
        (named && relations.split_whitespace().any(|one| one.eq_ignore_ascii_case("next"))).then_some(())
    };
    link.split('<').skip(1).find_map(|link| {
        let (target, parameters) = link.split_once('>')?;
        parameters.split([';', ',']).find_map(is_next).map(|()| target)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(text: &str) -> Place {
        text.parse().expect(text)
    }

    #[test]
    fn the_next_page_is_found_relative_or_absolute_and_only_at_the_registry() {
        let ghcr = place("oci://ghcr.io/data/raw");
        let page = ghcr.address("tags/list?n=100").unwrap();
        let next = |link: &str| next_page(&ghcr, &page, link);
        for (link, address) in [
            ("</v2/data/raw/tags/list?last=1.0.0&n=100>; rel=\"next\"", "/v2/data/raw/tags/list?last=1.0.0&n=100"),
            ("<https://ghcr.io/v2/data/raw/tags/list?page=2>; rel=next", "/v2/data/raw/tags/list?page=2"),
            ("<list?last=a>; title=x; REL=\"prefetch NEXT\"", "/v2/data/raw/tags/list?last=a"),
            ("</first>; rel=\"first\", </second>; rel=\"next\"", "/second"),
        ] {
            assert_eq!(next(link).unwrap().unwrap().as_str(), format!("https://ghcr.io{address}"), "{link}");
        }
        for none in ["", "next", "<>", "</a>; rel=prev", "</a; rel=next", "</a>; next", "<<>>"] {
            assert_eq!(next(none).unwrap(), None, "{none}");
        }
        for foreign in ["<https://evil.example/x>; rel=next", "<http://ghcr.io/x>; rel=next", "<//e/x>; rel=next"] {
            assert!(next(foreign).is_err(), "{foreign}");
        }
    }

    #[test]
    fn nothing_leaves_this_machine_in_the_clear() {
        let (ghcr, local) = (place("oci://ghcr.io/x"), place("oci://127.0.0.1:5000/x"));
        for (place, address, visited) in [
            (&ghcr, "https://auth.example/token", true),
            (&ghcr, "http://ghcr.io/token", false),
            (&ghcr, "http://127.0.0.1/token", false),
            (&ghcr, "file:///etc/passwd", false),
            (&local, "https://auth.example/token", true),
            (&local, "http://127.0.0.1:5001/token", true),
            (&local, "http://127.0.0.2:5000/token", false),
            (&local, "http://auth.example/token", false),
        ] {
            assert_eq!(place.may_send_to(&Url::parse(address).unwrap()), visited, "{place} {address}");
        }
        for (place, address, own) in [
            (&ghcr, "https://ghcr.io/v2/y", true),
            (&ghcr, "https://ghcr.io:8443/v2/y", false),
            (&local, "http://127.0.0.1:5000/v2/y", true),
            (&local, "http://127.0.0.1:5001/v2/y", false),
        ] {
            assert_eq!(place.owns(&Url::parse(address).unwrap()), own, "{place} {address}");
        }
    }
}
