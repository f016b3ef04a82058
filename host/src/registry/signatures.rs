//! Signatures in a registry. Several teams sign one component, each on its own machine, so a push adds to the signatures
//! that are there.
//!
//! They have a tag of their own, since many registries cannot list the referrers of a manifest. Registries have no write
//! that depends on what is there, so a push looks again after a while, and repeats itself if another one overwrote it.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use serde_json::json;

use super::{MANIFEST, Registry, descriptor};
use crate::{
    oci::{Layer, Manifest},
    package::{Digest, merge_signatures},
};

/// A signature file of `host sign`.
const SIGNATURE: &str = "application/vnd.pipeline.check.signature.v1+json";
/// The configuration of a signature: `{}`.
/// <https://github.com/opencontainers/image-spec/blob/main/manifest.md#guidance-for-an-empty-descriptor>
const EMPTY: &str = "application/vnd.oci.empty.v1+json";
/// The largest signature file, in bytes.
const SIGNATURE_BYTES: usize = 64 << 10;
/// How often a push is tried while others overwrite it.
const ATTEMPTS: usize = 20;
/// The shortest wait until a push looks again. Another push writes within two requests after it has read.
const SETTLE: Duration = Duration::from_millis(300);

impl Registry {
    /// The signatures of a component.
    pub async fn signatures(&self, digest: Digest) -> Result<Option<Vec<u8>>> {
        match self.signature_layer(digest).await? {
            Some(layer) => self.blob(layer, SIGNATURE_BYTES).await.map(Some),
            None => Ok(None),
        }
    }

    /// Adds signatures to those of a component, and makes sure that they stay.
    pub(super) async fn add_signatures(&self, digest: Digest, ours: &[u8]) -> Result<()> {
        for _ in 0..ATTEMPTS {
            let there = self.signature_layer(digest).await?;
            let union = match there {
                Some(layer) => {
                    let theirs = self.blob(layer, SIGNATURE_BYTES).await?;
                    let merged = merge_signatures(&theirs, ours);
                    merged.with_context(|| format!("{}: the published signatures of {digest}", self.place))?
                }
                None => Some(ours.to_vec()),
            };
            let Some(union) = union.map(Bytes::from) else { return Ok(()) };
            if union.len() > SIGNATURE_BYTES {
                bail!("{}: {digest} has too many signatures: more than {SIGNATURE_BYTES} B", self.place);
            }
            self.upload(union.clone()).await?;
            self.upload(Bytes::from_static(b"{}")).await?;
            // The uploads took a while: read again, so that little time is left for another push.
            let began = Instant::now();
            if self.signature_layer(digest).await? != there {
                continue;
            }
            let manifest = json!({
                "schemaVersion": 2,
                "mediaType": MANIFEST,
                "artifactType": SIGNATURE,
                "config": descriptor(EMPTY, b"{}"),
                "layers": [descriptor(SIGNATURE, &union)],
            });
            self.put_manifest(&tag(digest), &manifest).await?;
            // Two pushes that wait equally long would overwrite each other again.
            let random = Duration::from_millis(fastrand::u64(0..200));
            tokio::time::sleep(SETTLE.max(began.elapsed() * 4) + random).await;
        }
        bail!("{}: the signatures of {digest} keep changing; try again", self.place)
    }

    /// The digest of the signatures of a component.
    async fn signature_layer(&self, digest: Digest) -> Result<Option<Digest>> {
        let Some(Manifest::Artifact(artifact)) = self.manifest(&tag(digest)).await? else { return Ok(None) };
        let layer = artifact.layers.iter().find(|layer| layer.media_type == SIGNATURE);
        layer.map(Layer::sha256).transpose().with_context(|| self.place.to_string())
    }
}

fn tag(digest: Digest) -> String {
    format!("{}.sig", digest.to_string().replace(':', "-"))
}
