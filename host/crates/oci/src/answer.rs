//! The bodies of a registry's answers. Unknown fields are ignored: registries add their own.

use anyhow::{Context, Result, bail};
use host_package::Digest;
use host_text::{printable, shortened};
use serde::Deserialize;

/// The media type of a component.
pub const WASM: &str = "application/wasm";
/// The longest reason of a registry to repeat, in bytes.
const REASON: usize = 300;

/// The answer for a tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Manifest {
    /// An artifact of layers, as plugins and their signatures are.
    Artifact(Artifact),
    /// A list of images, one for each platform. Plugins have none.
    Index,
}

/// An artifact of layers.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Artifact {
    /// Its layers, in order.
    pub layers: Vec<Layer>,
}

/// A part of an artifact.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Layer {
    /// `application/wasm`
    pub media_type: String,
    /// The digest of its bytes; registries also use algorithms that the host does not know.
    pub digest: String,
}

impl Manifest {
    /// Reads a manifest.
    pub fn read(body: &[u8]) -> Result<Self> {
        #[derive(Deserialize)]
        struct Either {
            layers: Option<Vec<Layer>>,
            manifests: Option<Vec<serde::de::IgnoredAny>>,
        }
        let read: Either = serde_json::from_slice(body).context("this is not a manifest")?;
        match read {
            Either { manifests: Some(_), .. } => Ok(Self::Index),
            Either { layers: Some(layers), .. } => Ok(Self::Artifact(Artifact { layers })),
            _ => bail!("this is not a manifest: it has no layers"),
        }
    }
}

impl Layer {
    /// The digest, if it is of the one kind that the host verifies.
    pub fn sha256(&self) -> Result<Digest> {
        // The parser's message would repeat any text.
        self.digest.parse().ok().context("the digest of a layer is not a SHA-256")
    }
}

impl Artifact {
    /// The digest of its component, if it is a plugin.
    pub fn component(&self) -> Result<Digest> {
        let layers: Vec<&Layer> = self.layers.iter().filter(|layer| layer.media_type == WASM).collect();
        match layers.as_slice() {
            [layer] => layer.sha256(),
            _ => bail!("it has {} layers of {WASM}", layers.len()),
        }
    }
}

/// One page of tags.
pub fn tags(body: &[u8]) -> Result<Vec<String>> {
    #[derive(Deserialize)]
    struct Tags {
        // Some registries send null instead of an empty list.
        tags: Option<Vec<String>>,
    }
    let Tags { tags } = serde_json::from_slice(body).context("this is not a list of tags")?;
    Ok(tags.unwrap_or_default())
}

/// The token of an authorization server. The error does not repeat the body, which may hold a secret.
pub fn token(body: &[u8]) -> Result<String> {
    #[derive(Deserialize)]
    struct Token {
        token: Option<String>,
        access_token: Option<String>,
    }
    let read = serde_json::from_slice(body).ok().and_then(|Token { token, access_token }| token.or(access_token));
    let read = read.filter(|token| !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic()));
    read.context("it sent no token")
}

/// The reason in a refusal, on one line: `DENIED: not your repository`.
pub fn reason(body: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Refusal {
        errors: Vec<Problem>,
    }
    #[derive(Deserialize)]
    struct Problem {
        #[serde(default)]
        code: String,
        message: Option<String>,
    }
    let text = match serde_json::from_slice(body) {
        Ok(Refusal { errors }) => {
            let told = |Problem { code, message }| message.map_or(code.clone(), |message| format!("{code}: {message}"));
            errors.into_iter().take(3).map(told).collect::<Vec<_>>().join("; ")
        }
        Err(_) => String::from_utf8_lossy(body).into_owned(),
    };
    // A line break would look like a line of the host's own.
    let line = printable(&text).split_whitespace().collect::<Vec<_>>().join(" ");
    shortened(&line, REASON)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn manifests_are_read_and_indexes_are_told_apart() {
        let digest = Digest::of(b"");
        let layer = format!(r#"{{"mediaType":"application/wasm","digest":"{digest}","size":3,"urls":[]}}"#);
        let read = |text: &str| Manifest::read(text.as_bytes());
        let artifact = |layers: &str| match read(&format!(r#"{{"schemaVersion":2,"layers":[{layers}]}}"#)).unwrap() {
            Manifest::Artifact(artifact) => artifact.component(),
            Manifest::Index => panic!("an index"),
        };
        assert_eq!(artifact(&layer).unwrap(), digest);
        assert!(artifact("").unwrap_err().to_string().contains("0 layers"));
        assert!(artifact(&format!("{layer},{layer}")).unwrap_err().to_string().contains("2 layers"));
        assert!(artifact(&layer.replace("sha256", "sha512")).is_err());
        assert_eq!(read(r#"{"manifests":[]}"#).unwrap(), Manifest::Index);
        assert_eq!(read(&format!(r#"{{"manifests":[{{}}],"layers":[{layer}]}}"#)).unwrap(), Manifest::Index);
        for text in ["", "{", "[]", "null", "{}", r#"{"layers":{}}"#, r#"{"layers":[{}]}"#] {
            assert!(read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_reason_is_one_short_line_and_a_token_fits_into_a_header() {
        let body = br#"{"errors":[{"code":"DENIED","message":"a\nerror: b\u001b[2J"},{"code":"X"}]}"#;
        assert_eq!(reason(body), "DENIED: a error: b [2J; X");
        assert_eq!(reason(b"<h1>\r\nBad\tGateway</h1>\n"), "<h1> Bad Gateway</h1>");
        assert!(reason(&[b'x'; 4096]).len() < 400);
        assert_eq!(token(br#"{"access_token":"a.b"}"#).unwrap(), "a.b");
        assert_eq!(token(br#"{"token":"t","access_token":"a"}"#).unwrap(), "t");
        for none in ["", "{}", r#"{"token":""}"#, r#"{"token":"a\r\nX: b"}"#, r#"{"token":"s3cret""#, r#""s3cret""#] {
            assert_eq!(format!("{:#}", token(none.as_bytes()).unwrap_err()), "it sent no token");
        }
        assert_eq!(tags(br#"{"name":"x","tags":null}"#).unwrap(), Vec::<String>::new());
        assert!(tags(br#"{"tags":"1.0.0"}"#).is_err());
    }
}
