//! What a registry answers: read or refused, on one line, and nothing is sent where somebody listens in.
#![no_main]

use host_oci::{Challenge, Manifest, Place, next_page, reason, redirected, tags, token, version};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|answer: (&str, &[u8])| {
    let (header, body) = answer;
    for place in ["oci://ghcr.io/data/x", "oci://127.0.0.1:5000/x", "oci://[::1]/x", "oci://docker.io/data/x"] {
        let place: Place = place.parse().expect("a place");
        let page = place.address("tags/list?n=1000").expect("an address");
        if let Ok(Some(next)) = next_page(&place, &page, header) {
            assert!(place.owns(&next));
        }
        let safe = |address: &url::Url| address.scheme() == "https" || (place.is_loopback() && address.host() == page.host());
        assert!(redirected(&place, &page, header).map_or(true, |address| safe(&address)));
        if let Ok(Challenge::Bearer { realm, .. }) = Challenge::read(&place, [header].into_iter()) {
            assert!(safe(&realm));
        }
    }
    if let Ok(tags) = tags(body) {
        for version in tags.iter().filter_map(|tag| version(tag)) {
            assert_eq!(self::version(&Place::tag(&version)), Some(version));
        }
    }
    if let Ok(Manifest::Artifact(artifact)) = Manifest::read(body) {
        if let Ok(digest) = artifact.component() {
            assert!(artifact.layers.iter().any(|layer| layer.digest.ends_with(&digest.digits())));
        }
    }
    let reason = reason(body);
    assert!(reason.len() < 400 && !reason.chars().any(char::is_control));
    assert!(token(body).map_or(true, |token| token.bytes().all(|byte| byte.is_ascii_graphic())));
    if let Ok(place) = header.parse::<Place>() {
        assert_eq!(place.to_string().parse::<Place>().expect("a place"), place);
        if let Ok(address) = place.address("") {
            let here = match address.host() {
                Some(url::Host::Domain(name)) => name == "localhost",
                Some(url::Host::Ipv4(address)) => address.is_loopback(),
                Some(url::Host::Ipv6(address)) => address.is_loopback(),
                None => false,
            };
            assert!(address.scheme() == "https" || here);
        }
    }
});
