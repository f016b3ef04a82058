//! `[privacy]`: what of the data leaves the warehouse.

use schemars::JsonSchema;
use serde::Deserialize;

use super::Warehouse;

/// `[privacy]`
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Privacy {
    /// Whether rows that explain a violation are shown in messages, on the page and in the record. If not, only their number
    /// is kept. Default: false with BigQuery, true with SQLite.
    pub rows_in_messages: Option<bool>,
}

impl Privacy {
    /// Whether rows may be shown.
    pub fn shows_rows(&self, warehouse: Option<&Warehouse>) -> bool {
        self.rows_in_messages.unwrap_or(!matches!(warehouse, Some(Warehouse::BigQuery { .. })))
    }
}
