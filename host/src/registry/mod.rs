//! Plugins in OCI registries: pushing them, finding their versions, and fetching exactly the wanted bytes.
//!
//! The layout is that of the Wasm working group, which `wkg` and registries understand: one layer with the component,
//! and a configuration that describes it. <https://tag-runtime.cncf.io/wgs/wasm/deliverables/wasm-oci-artifact/>

mod client;
mod credentials;
mod signatures;

use std::{collections::BTreeSet, time::Duration};

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use reqwest::{Method, StatusCode, Url, header};
use semver::Version;
use serde_json::{Value, json};

use client::{Ask, Client};
pub use credentials::{Known, known};

use crate::{
    oci::{self, Manifest, Place, WASM, Wanted},
    package::{Digest, File},
};

/// A manifest.
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// The manifests that a registry may answer with: those of one artifact, and lists of images.
const MANIFESTS: &str = "application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json, \
     application/vnd.oci.image.index.v1+json, application/vnd.docker.distribution.manifest.list.v2+json";
/// The configuration of a component.
const WASM_CONFIG: &str = "application/vnd.wasm.config.v0+json";
/// A file's name, under which other clients write it.
const TITLE: &str = "org.opencontainers.image.title";
/// The largest component to fetch, in bytes. One in Python has 22 MB.
const COMPONENT_BYTES: usize = 256 << 20;
/// Tags on one page of a registry. Some registries refuse the larger numbers, and then any.
const PAGES: [Option<u32>; 3] = [Some(1000), Some(100), None];
/// The most pages and the most versions of one plugin, and the time to read them.
const MOST_PAGES: usize = 1000;
const MOST_VERSIONS: usize = 100_000;
const LISTING: Duration = Duration::from_secs(120);

/// A registry, as seen from one place in it.
pub struct Registry {
    client: Client,
    place: Place,
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
        Ok(Self { client: Client::new(place)?, place: place.clone() })
    }

    /// The published versions, oldest first.
    pub async fn versions(&self) -> Result<Vec<Version>> {
        let listed = tokio::time::timeout(LISTING, self.list()).await;
        let late = || format!("{}: the list of versions takes longer than {} s", self.place, LISTING.as_secs());
        Ok(listed.with_context(late)??.into_iter().collect())
    }

    async fn list(&self) -> Result<BTreeSet<Version>> {
        let mut versions = BTreeSet::new();
        let (mut page, mut links) = (self.first_page().await?, false);
        let (mut before, mut read) = (Vec::new(), BTreeSet::from([page.address.to_string()]));
        for _ in 0..MOST_PAGES {
            let tags = oci::tags(&page.body).with_context(|| self.place.to_string())?;
            versions.extend(tags.iter().filter_map(|tag| oci::version(tag)));
            if versions.len() > MOST_VERSIONS {
                bail!("{}: refused: more than {MOST_VERSIONS} versions", self.place);
            }
            let link = page.header(header::LINK).unwrap_or_default();
            let next = match (oci::next_page(&self.place, &page.address, link)?, tags.last()) {
                (Some(next), _) => {
                    // A part of the list would offer an old version as the newest.
                    let again = !tags.is_empty() && tags == before;
                    if again || !read.insert(next.to_string()) {
                        bail!("{}: refused: the pages of versions repeat themselves", self.place);
                    }
                    links = true;
                    next
                }
                // A registry without links ends with an empty page, or sends the same page again.
                (None, Some(last)) if !links && tags != before => {
                    let mut next = page.address.clone();
                    let others: Vec<(String, String)> = next
                        .query_pairs()
                        .filter(|(key, _)| key != "last")
                        .map(|(k, v)| (k.into(), v.into()))
                        .collect();
                    next.query_pairs_mut().clear().extend_pairs(others).append_pair("last", last);
                    next
                }
                _ => return Ok(versions),
            };
            before = tags;
            page = self.client.find(Ask::new(Method::GET, next)).await?.with_context(|| self.absent())?;
        }
        bail!("{}: refused: more than {MOST_PAGES} pages of versions", self.place)
    }

    async fn first_page(&self) -> Result<client::Answer> {
        let refuses = [StatusCode::BAD_REQUEST, StatusCode::RANGE_NOT_SATISFIABLE, StatusCode::UNPROCESSABLE_ENTITY];
        for size in PAGES {
            let mut address = self.place.address("tags/list")?;
            if let Some(size) = size {
                address.query_pairs_mut().append_pair("n", &size.to_string());
            }
            let answer = self.client.ask(Ask::new(Method::GET, address)).await?;
            match answer.status {
                status if status.is_success() => return Ok(answer),
                StatusCode::NOT_FOUND => bail!(self.absent()),
                status if size.is_some() && refuses.contains(&status) => {}
                _ => return Err(self.client.refused(&answer)),
            }
        }
        bail!(self.absent())
    }

    fn absent(&self) -> String {
        format!("{}: no such repository or version", self.place)
    }

    /// The newest wanted version and its digest. An error lists the published versions.
    pub async fn newest(&self) -> Result<(Version, Digest)> {
        if let Wanted::Exactly(version) = &self.place.wanted
            && let Some(digest) = self.published(version).await?
        {
            return Ok((version.clone(), digest));
        }
        let versions = self.versions().await.map_err(|error| match &self.place.wanted {
            Wanted::Exactly(version) => error.context(format!(
                "{}: version {version} is not published, and the published versions cannot be listed",
                self.place
            )),
            _ => error,
        })?;
        let Some(version) = versions.iter().rev().find(|version| self.place.wanted.fits(version)) else {
            if versions.is_empty() {
                bail!("{}: no version is published", self.place)
            }
            let there: Vec<String> = versions.iter().rev().take(10).map(Version::to_string).collect();
            bail!("{}: no such version; published are {}", self.place, there.join(", "))
        };
        let digest = self.published(version).await?;
        Ok((version.clone(), digest.with_context(|| format!("{}: version {version} is not published", self.place))?))
    }

    /// The digest of a version, if it is published.
    pub async fn published(&self, version: &Version) -> Result<Option<Digest>> {
        match self.manifest(&Place::tag(version)).await? {
            None => Ok(None),
            Some(Manifest::Index) => {
                bail!("{}: version {version} is not a plugin: it is a list of images for several platforms", self.place)
            }
            Some(Manifest::Artifact(artifact)) => {
                let component = artifact.component();
                component.map(Some).with_context(|| format!("{}: version {version} is not a plugin", self.place))
            }
        }
    }

    /// Fetches the component with a digest, and refuses any other bytes.
    pub async fn component(&self, digest: Digest) -> Result<Vec<u8>> {
        self.blob(digest, COMPONENT_BYTES).await
    }

    /// Publishes a plugin as its version. A later push cannot replace it.
    pub async fn push(&self, file: &File, signatures: Option<Vec<u8>>) -> Result<Pushed> {
        let tag = Place::tag(&file.version);
        let pushed = match self.manifest(&tag).await? {
            Some(Manifest::Artifact(there))
                if there.layers.iter().any(|layer| layer.digest == file.digest.to_string()) =>
            {
                Pushed::AsBefore
            }
            Some(there) => {
                let what = if there == Manifest::Index { "as a list of images" } else { "with different bytes" };
                bail!(
                    "{}: version {} is already published {what}, and stays; raise the plugin's version",
                    self.place,
                    file.version
                )
            }
            None => {
                let config = component_config(file);
                self.upload(file.bytes.clone().into()).await?;
                self.upload(config.clone()).await?;
                self.put_manifest(&tag, &component_manifest(file, &config)).await?;
                Pushed::New
            }
        };
        if let Some(signatures) = signatures {
            self.add_signatures(file.digest, &signatures).await?;
        }
        Ok(pushed)
    }

    /// The manifest of a tag, if the tag exists.
    async fn manifest(&self, tag: &str) -> Result<Option<Manifest>> {
        let ask = Ask::new(Method::GET, self.place.address(&format!("manifests/{tag}"))?);
        let Some(answer) = self.client.find(ask.with(header::ACCEPT, MANIFESTS)).await? else { return Ok(None) };
        Manifest::read(&answer.body).map(Some).with_context(|| format!("{}: {tag}", self.place))
    }

    async fn put_manifest(&self, tag: &str, manifest: &Value) -> Result<()> {
        let ask = Ask::new(Method::PUT, self.place.address(&format!("manifests/{tag}"))?);
        let ask = ask.with(header::CONTENT_TYPE, MANIFEST).sending(manifest.to_string().into());
        self.client.find(ask).await?.map(drop).with_context(|| self.absent())
    }

    /// A blob of the repository, by its digest. Other bytes are refused.
    async fn blob(&self, digest: Digest, most: usize) -> Result<Vec<u8>> {
        let ask = Ask::new(Method::GET, self.place.address(&format!("blobs/{digest}"))?).at_most(most);
        let answer = self.client.find(ask).await.with_context(|| format!("{digest} was not fetched"))?;
        let bytes = answer.with_context(|| self.absent())?.body;
        let found = Digest::of(&bytes);
        if found != digest {
            bail!("{}: refused: asked for {digest}, got {found}", self.place);
        }
        Ok(bytes)
    }

    /// Uploads a blob, unless it is there.
    async fn upload(&self, bytes: Bytes) -> Result<()> {
        let digest = Digest::of(&bytes).to_string();
        let there = Ask::new(Method::HEAD, self.place.address(&format!("blobs/{digest}"))?);
        if self.client.find(there).await?.is_some() {
            return Ok(());
        }
        let begin = Ask::new(Method::POST, self.place.address("blobs/uploads/")?);
        let began = self.client.find(begin).await?.with_context(|| self.absent())?;
        let nowhere = || format!("{}: the registry does not say where to upload", self.place);
        let location = began.header(header::LOCATION).with_context(nowhere)?;
        let mut address: Url = oci::redirected(&self.place, &began.address, location)?;
        address.query_pairs_mut().append_pair("digest", &digest);
        let ask = Ask::new(Method::PUT, address).with(header::CONTENT_TYPE, "application/octet-stream");
        self.client.find(ask.sending(bytes)).await?.map(drop).with_context(|| self.absent())
    }
}

/// The configuration of a component.
fn component_config(file: &File) -> Bytes {
    let config = json!({
        "created": crate::record::now().to_string(),
        "architecture": "wasm",
        "os": "wasip2",
        "layerDigests": [file.digest.to_string()],
        "component": { "exports": file.exports, "imports": file.imports, "target": null },
    });
    config.to_string().into()
}

fn component_manifest(file: &File, config: &Bytes) -> Value {
    json!({
        "schemaVersion": 2,
        // Readers of the working group's layout require it.
        "mediaType": MANIFEST,
        "config": descriptor(WASM_CONFIG, config),
        "layers": [{
            "mediaType": WASM,
            "digest": file.digest.to_string(),
            "size": file.bytes.len(),
            "annotations": { TITLE: format!("{}.wasm", file.name) },
        }],
        "annotations": {
            TITLE: file.name,
            "org.opencontainers.image.version": file.version.to_string(),
        },
    })
}

fn descriptor(media_type: &str, bytes: &[u8]) -> Value {
    json!({ "mediaType": media_type, "digest": Digest::of(bytes).to_string(), "size": bytes.len() })
}
