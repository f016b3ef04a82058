//! What a plugin says of a check with some settings: that it is about the data of one date, or about now.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use super::Plugin;
use crate::{
    config::{Budgets, Dates},
    contract::Subject,
    sandbox::exception,
    text::shortened,
};

/// Answers that are kept, so that a reload asks only about settings that changed.
const KEPT: usize = 10_000;
/// Bytes of a refusal.
const REASON: usize = 2000;

/// The answers so far, by settings.
pub(super) type Answers = Mutex<HashMap<String, Dates>>;

/// Why a plugin did not say what a check is about.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unsaid {
    /// It refuses the settings.
    #[error("settings: {0}")]
    Refused(String),
    /// It trapped, or exceeded a budget.
    #[error("`kind` {0}")]
    Stopped(String),
}

impl Plugin {
    /// What a check with these settings is about. A plugin that does not say is about dates.
    pub async fn dates(&self, settings: String, budgets: &Budgets) -> Result<Dates, Unsaid> {
        if let Some(known) = self.known().get(&settings) {
            return Ok(*known);
        }
        let name = &self.file.name;
        let Some(ended) = self.guest.kind(name, settings.clone(), budgets).await else { return Ok(Dates::default()) };
        let answer = ended.result.map_err(|stopped| match exception(&ended.log) {
            Some(exception) => Unsaid::Stopped(format!("failed: {}", shortened(&exception, REASON))),
            None => Unsaid::Stopped(stopped.to_string()),
        })?;
        let dates = match answer.map_err(|refused| Unsaid::Refused(shortened(&refused, REASON)))? {
            Subject::Dated => Dates::Dated,
            Subject::Now => Dates::Now,
        };
        let mut known = self.known();
        if known.len() >= KEPT {
            known.clear();
        }
        known.insert(settings, dates);
        Ok(dates)
    }

    fn known(&self) -> std::sync::MutexGuard<'_, HashMap<String, Dates>> {
        self.dates.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
