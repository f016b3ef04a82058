//! Limits for a number, and for its change.

use sdk::{
    schemars::JsonSchema,
    serde::{Deserialize, Serialize},
};

use crate::number::Number;

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

/// The maximum change from the median of earlier dates that this check judged good: of the newest `days`, or of the newest
/// `weeks` on the same weekday.
#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(crate = "sdk::serde", default, deny_unknown_fields)]
#[schemars(crate = "sdk::schemars")]
pub struct Change {
    /// The number of good dates.
    #[schemars(range(max = 31))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub days: Option<u8>,
    /// The number of good dates on the same weekday.
    #[schemars(range(max = 12))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weeks: Option<u8>,
    /// The least number of good dates to compare with; with fewer the check still learns. Default: half of `days` or `weeks`,
    /// rounded up.
    #[schemars(range(min = 1, max = 31))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_dates: Option<u8>,
    /// The maximum drop, in percent: from 0 to 100, which is a drop to 0.
    #[schemars(range(min = 0, max = 100))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_drop_percent: Option<f64>,
    /// The maximum rise, in percent.
    #[schemars(range(min = 0))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_rise_percent: Option<f64>,
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

impl Change {
    /// How many dates to compare with, and how many days they are apart; `None` if it does not say.
    pub(crate) fn dates(&self) -> Option<(u8, i64)> {
        match (self.days, self.weeks) {
            (Some(days), None) if days > 0 => Some((days, 1)),
            (None, Some(weeks)) if weeks > 0 => Some((weeks, 7)),
            _ => None,
        }
    }

    /// The least number of good dates.
    pub(crate) fn least(&self) -> usize {
        let (count, _) = self.dates().unwrap_or_default();
        self.min_dates.unwrap_or(count.div_ceil(2)).into()
    }
}
