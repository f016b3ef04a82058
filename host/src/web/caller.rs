//! Who calls: the token that comes with a request, and the name beside it.

use axum::http::{HeaderMap, header};
use base64::{Engine, engine::general_purpose::STANDARD};
use sha2::{Digest, Sha256};

use crate::text::printable;

/// The most characters of a name.
const NAME: usize = 60;

/// The digest of a request's token: `Bearer TOKEN`, or the password of `Basic`. Comparing digests reveals neither the
/// token's content nor its length by timing.
pub(super) fn given(headers: &HeaderMap) -> Option<[u8; 32]> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, rest) = value.split_once(' ')?;
    let token = match scheme.to_ascii_lowercase().as_str() {
        "bearer" => rest.trim().to_owned(),
        "basic" => basic(headers)?.1,
        _ => return None,
    };
    Some(Sha256::digest(token).into())
}

/// The name and the password of `Basic`.
fn basic(headers: &HeaderMap) -> Option<(String, String)> {
    let (scheme, rest) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    let text = String::from_utf8(STANDARD.decode(rest.trim()).ok()?).ok()?;
    let (name, password) = text.split_once(':')?;
    scheme.eq_ignore_ascii_case("basic").then(|| (name.to_owned(), password.to_owned()))
}

/// Who acts, for the audit trail and for others to read: the name that the browser was given beside the token, which nobody
/// verified, and where it was done.
pub(super) fn who(headers: &HeaderMap, place: &str) -> String {
    let name = basic(headers).map(|(name, _)| printable(&name.trim().chars().take(NAME).collect::<String>()));
    match name.filter(|name| !name.is_empty()) {
        Some(name) => format!("{name} ({place})"),
        None => place.to_owned(),
    }
}
