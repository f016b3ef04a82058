//! Plugins in OCI registries: pushing them, finding their versions, and fetching exactly the wanted bytes.
//!
//! The layout is that of the Wasm working group, which `wkg` and registries understand: one layer with the component,
//! and a configuration that describes it. <https://tag-runtime.cncf.io/wgs/wasm/deliverables/wasm-oci-artifact/>

mod credentials;
mod place;

use std::{collections::BTreeMap, io::Write, time::Duration};

use anyhow::{Context, Result, bail};
use futures_util::StreamExt;
use jiff::Timestamp;
use oci_client::{
    Client, Reference, RegistryOperation,
    client::{ClientConfig, ClientProtocol, Config, ImageLayer},
    errors::{OciDistributionError, OciErrorCode},
    manifest::{OciDescriptor, OciImageManifest},
    secrets::RegistryAuth,
};
use semver::Version;
use serde_json::json;

pub use credentials::is_known_to;
pub use place::{Place, Wanted};

use crate::{
    http,
    package::{Digest, File},
};

/// A component.
const WASM: &str = "application/wasm";
/// The configuration of a component.
const WASM_CONFIG: &str = "application/vnd.wasm.config.v0+json";
/// A signature file of `host sign`.
const SIGNATURE: &str = "application/vnd.pipeline.check.signature.v1+json";
/// The configuration of a signature: `{}`.
/// <https://github.com/opencontainers/image-spec/blob/main/manifest.md#guidance-for-an-empty-descriptor>
const EMPTY: &str = "application/vnd.oci.empty.v1+json";
/// The largest component to fetch, in bytes. One in Python has 22 MB.
const COMPONENT_BYTES: usize = 256 << 20;
/// The largest signature file, in bytes.
const SIGNATURE_BYTES: usize = 64 << 10;
/// Tags on one page of a registry, and the most pages to ask for.
const PAGE: usize = 1000;
const PAGES: usize = 100;
/// Timeouts for connecting to a registry, and for each read.
const CONNECT: Duration = Duration::from_secs(10);
const SILENCE: Duration = Duration::from_secs(30);

/// A registry, as seen from one place in it.
pub struct Registry {
    client: Client,
    place: Place,
    auth: RegistryAuth,
}

/// The result of a push.
#[derive(Debug, PartialEq, Eq)]
pub enum Pushed {
    /// It was published.
    New,
    /// It was already published, with the same bytes.
    AsBefore,
}

impl Registry {
    /// A registry with the credentials in Docker's configuration.
    pub fn new(place: &Place) -> Result<Self> {
        http::choose_tls();
        let protocol = match place.is_loopback() {
            true => ClientProtocol::HttpsExcept(vec![place.registry.clone()]),
            false => ClientProtocol::Https,
        };
        let config = ClientConfig {
            protocol,
            connect_timeout: Some(CONNECT),
            read_timeout: Some(SILENCE),
            user_agent: concat!("pipeline-host/", env!("CARGO_PKG_VERSION")),
            ..ClientConfig::default()
        };
        let client = Client::try_from(config).context("no HTTP client")?;
        Ok(Self { client, place: place.clone(), auth: credentials::of(&place.registry)? })
    }

    /// The published versions, oldest first.
    pub async fn versions(&self) -> Result<Vec<Version>> {
        let any = self.place.reference("latest");
        self.enter(&any, RegistryOperation::Pull).await?;
        let mut versions = Vec::new();
        let mut last: Option<String> = None;
        for _ in 0..PAGES {
            let page = self.client.list_tags(&any, &self.auth, Some(PAGE), last.as_deref()).await;
            let tags = page.map_err(|error| self.explained(error))?.tags;
            versions.extend(tags.iter().filter_map(|tag| place::version(tag)));
            // A registry without pages sends the same tags again.
            if tags.len() < PAGE || tags.last() == last.as_ref() {
                break;
            }
            last = tags.last().cloned();
        }
        versions.sort();
        versions.dedup();
        Ok(versions)
    }

    /// The newest wanted version. An error lists the published ones.
    pub async fn newest(&self) -> Result<Version> {
        let versions = self.versions().await?;
        match versions.iter().rev().find(|version| self.place.wanted.fits(version)) {
            Some(version) => Ok(version.clone()),
            None if versions.is_empty() => bail!("{}: no version is published", self.place),
            None => {
                let there: Vec<String> = versions.iter().rev().take(10).map(Version::to_string).collect();
                bail!("{}: no such version; published are {}", self.place, there.join(", "))
            }
        }
    }

    /// The digest of a published version.
    pub async fn digest(&self, version: &Version) -> Result<Digest> {
        let manifest = self.manifest(&self.place.tagged(version)).await?;
        let manifest = manifest.with_context(|| format!("{}: version {version} is not published", self.place))?;
        let layers: Vec<&OciDescriptor> = manifest.layers.iter().filter(|layer| layer.media_type == WASM).collect();
        match layers.as_slice() {
            [layer] => layer.digest.parse(),
            _ => bail!("{}: version {version} is not a plugin: it has {} layers of {WASM}", self.place, layers.len()),
        }
    }

    /// Fetches the component with a digest, and refuses any other bytes.
    pub async fn component(&self, digest: Digest) -> Result<Vec<u8>> {
        let bytes = self.blob(digest, COMPONENT_BYTES).await?;
        let found = Digest::of(&bytes);
        if found != digest {
            bail!("{}: refused: asked for {digest}, got {found}", self.place);
        }
        Ok(bytes)
    }

    /// The signatures of a component.
    pub async fn signatures(&self, digest: Digest) -> Result<Option<Vec<u8>>> {
        let Some(manifest) = self.manifest(&self.signature_place(digest)).await? else { return Ok(None) };
        let Some(layer) = manifest.layers.iter().find(|layer| layer.media_type == SIGNATURE) else { return Ok(None) };
        let wanted: Digest = layer.digest.parse()?;
        let bytes = self.blob(wanted, SIGNATURE_BYTES).await?;
        let same = Digest::of(&bytes) == wanted;
        same.then_some(Some(bytes)).with_context(|| format!("{}: a signature differs from its digest", self.place))
    }

    /// Publishes a plugin as its version. A later push cannot replace it.
    pub async fn push(&self, file: &File, signatures: Option<Vec<u8>>) -> Result<Pushed> {
        let reference = self.place.tagged(&file.version);
        // Reading and writing can need different credentials.
        self.enter(&reference, RegistryOperation::Push).await?;
        let there = self.manifest(&reference).await?;
        let same =
            |manifest: &OciImageManifest| manifest.layers.iter().any(|layer| layer.digest == file.digest.to_string());
        let pushed = match there {
            Some(manifest) if same(&manifest) => Pushed::AsBefore,
            Some(_) => bail!(
                "{}: version {} is already published with different bytes, and stays; raise the plugin's version",
                self.place,
                file.version
            ),
            None => {
                self.send(&reference, component_artifact(file)?).await?;
                Pushed::New
            }
        };
        if let Some(signatures) = signatures {
            let layer = ImageLayer::new(signatures, SIGNATURE.to_owned(), None);
            let config = Config::new("{}", EMPTY.to_owned(), None);
            let mut manifest = OciImageManifest::build(std::slice::from_ref(&layer), &config, None);
            manifest.artifact_type = Some(SIGNATURE.to_owned());
            self.send(&self.signature_place(file.digest), (layer, config, manifest)).await?;
        }
        Ok(pushed)
    }

    /// Logs in.
    async fn enter(&self, reference: &Reference, operation: RegistryOperation) -> Result<()> {
        let entered = self.client.auth(reference, &self.auth, operation).await;
        entered.map(drop).map_err(|error| self.explained(error))
    }

    async fn send(&self, reference: &Reference, artifact: (ImageLayer, Config, OciImageManifest)) -> Result<()> {
        let (layer, config, manifest) = artifact;
        let sent = self.client.push(reference, &[layer], config, &self.auth, Some(manifest)).await;
        sent.map(drop).map_err(|error| self.explained(error))
    }

    /// The signatures have a tag of their own, since many registries cannot list the referrers of a manifest.
    fn signature_place(&self, digest: Digest) -> Reference {
        self.place.reference(&format!("{}.sig", digest.to_string().replace(':', "-")))
    }

    /// The manifest of a tag, if the tag exists.
    async fn manifest(&self, reference: &Reference) -> Result<Option<OciImageManifest>> {
        match self.client.pull_image_manifest(reference, &self.auth).await {
            Ok((manifest, _)) => Ok(Some(manifest)),
            Err(error) if is_absent(&error) => Ok(None),
            Err(error) => Err(self.explained(error)),
        }
    }

    /// A blob of the repository, by its digest.
    async fn blob(&self, digest: Digest, most: usize) -> Result<Vec<u8>> {
        let any = self.place.reference("latest");
        self.enter(&any, RegistryOperation::Pull).await?;
        let layer =
            OciDescriptor { digest: digest.to_string(), media_type: WASM.to_owned(), ..OciDescriptor::default() };
        let stream = self.client.pull_blob_stream(&any, &layer).await.map_err(|error| self.explained(error))?;
        let mut stream = stream.stream;
        let mut bytes = Vec::new();
        while let Some(part) = stream.next().await {
            let part = part.with_context(|| format!("{}: {digest} arrived incomplete", self.place))?;
            if bytes.len() + part.len() > most {
                bail!("{}: refused: {digest} is larger than {most} B", self.place);
            }
            bytes.write_all(&part)?;
        }
        Ok(bytes)
    }

    /// An error with the place and the next step.
    fn explained(&self, error: OciDistributionError) -> anyhow::Error {
        let registry = &self.place.registry;
        let what = match &error {
            OciDistributionError::UnauthorizedError { .. } | OciDistributionError::AuthenticationFailure(_) => {
                format!(
                    "{registry} refuses the credentials; log in with `docker login {registry}`, or correct its `auths` in Docker's config.json"
                )
            }
            OciDistributionError::RequestError(error) if error.is_connect() || error.is_timeout() => {
                format!("{registry} cannot be reached")
            }
            error if is_absent(error) => "no such repository or version".to_owned(),
            _ => format!("{registry} gave no usable answer"),
        };
        anyhow::Error::from(error).context(format!("{}: {what}", self.place))
    }
}

fn is_absent(error: &OciDistributionError) -> bool {
    match error {
        OciDistributionError::ImageManifestNotFoundError(_) => true,
        OciDistributionError::RegistryError { envelope, .. } => envelope.errors.iter().any(|error| {
            matches!(
                error.code,
                OciErrorCode::ManifestUnknown
                    | OciErrorCode::NameUnknown
                    | OciErrorCode::BlobUnknown
                    | OciErrorCode::NotFound
            )
        }),
        OciDistributionError::ServerError { code, .. } => *code == 404,
        _ => false,
    }
}

/// The layer, configuration and manifest of one component.
fn component_artifact(file: &File) -> Result<(ImageLayer, Config, OciImageManifest)> {
    let layer = ImageLayer::new(file.bytes.clone(), WASM.to_owned(), None);
    let config = json!({
        "created": Timestamp::now().to_string(),
        "architecture": "wasm",
        "os": "wasip2",
        "layerDigests": [file.digest.to_string()],
        "component": { "exports": file.exports, "imports": file.imports, "target": null },
    });
    let config = Config::new(config.to_string(), WASM_CONFIG.to_owned(), None);
    let about = BTreeMap::from([
        ("org.opencontainers.image.title".to_owned(), file.name.clone()),
        ("org.opencontainers.image.version".to_owned(), file.version.to_string()),
    ]);
    let mut manifest = OciImageManifest::build(std::slice::from_ref(&layer), &config, Some(about));
    // Readers of the working group's layout require it.
    manifest.media_type = Some(oci_client::manifest::OCI_IMAGE_MEDIA_TYPE.to_owned());
    Ok((layer, config, manifest))
}
