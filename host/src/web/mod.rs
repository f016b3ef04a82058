//! The page.
use crate::service::Service;
use anyhow::Result;
use std::sync::Arc;

/// A server.
pub struct Web;

/// Starts it.
pub async fn start(_service: &Arc<Service>) -> Result<Option<Web>> {
    Ok(None)
}

impl Web {
    /// Ends it.
    pub async fn finish(self) {}
}
