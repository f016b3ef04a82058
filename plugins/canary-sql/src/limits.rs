//! Limits for a number, and for its change.

use sdk::{
    Change, Number,
    schemars::JsonSchema,
    serde::{Deserialize, Serialize},
};

/// Limits for a number. A limit that is left out is not checked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(crate = "sdk::serde", default, deny_unknown_fields)]
#[schemars(crate = "sdk::schemars")]
#[schemars(extend("x-ordered" = [
    { "low": "min", "high": "max", "otherwise": "no value passes" },
    { "low": "min", "high": "warn_max", "otherwise": "no value passes" },
    { "low": "warn_min", "high": "max", "otherwise": "no value passes" },
    { "low": "warn_min", "high": "warn_max", "otherwise": "no value passes" },
    { "low": "min", "high": "warn_min", "idle": "warn_min", "otherwise": "warn_min never warns" },
    { "low": "warn_max", "high": "max", "idle": "warn_max", "otherwise": "warn_max never warns" },
]))]
pub struct Limits {
    /// Fails below this value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min: Option<Number>,
    /// Fails above this value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max: Option<Number>,
    /// Warns below this value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warn_min: Option<Number>,
    /// Warns above this value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warn_max: Option<Number>,
    /// The maximum change from earlier dates that were good.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub change: Option<Change>,
}

impl Limits {
    /// Whether any limit is set.
    pub(crate) fn asks(&self) -> bool {
        *self != Self::default()
    }

    /// Whether a limit is set that needs no earlier date.
    pub(crate) fn judges_alone(&self) -> bool {
        Self { change: None, ..*self }.asks()
    }
}
