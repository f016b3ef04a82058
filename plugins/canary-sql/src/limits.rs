//! Limits for a number, and the earlier dates that it is compared with.

use jiff::{Span, civil::Date};
use sdk::{
    Failure, Result,
    schemars::JsonSchema,
    serde::{Deserialize, Serialize},
};

/// Limits for a number. A limit that is left out is not checked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(crate = "sdk::serde", default, deny_unknown_fields)]
#[schemars(crate = "sdk::schemars")]
pub struct Limits {
    /// Fails below this value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min: Option<f64>,
    /// Fails above this value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max: Option<f64>,
    /// Warns below this value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warn_min: Option<f64>,
    /// Warns above this value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warn_max: Option<f64>,
    /// The maximum change from earlier dates.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub change: Option<Change>,
}

/// The maximum change from the median of earlier dates: of the previous `days`, or of the same weekday in the previous
/// `weeks`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(crate = "sdk::serde", default, deny_unknown_fields)]
#[schemars(crate = "sdk::schemars")]
pub struct Change {
    /// The number of previous days.
    #[schemars(range(max = 31))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub days: Option<u8>,
    /// The number of previous weeks, on the same weekday.
    #[schemars(range(max = 12))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weeks: Option<u8>,
    /// The maximum drop, in percent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_drop_percent: Option<f64>,
    /// The maximum rise, in percent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_rise_percent: Option<f64>,
}

impl Limits {
    /// Whether any limit is set.
    pub(crate) fn asks(&self) -> bool {
        *self != Self::default()
    }
}

/// The earlier dates to compare with, newest first.
pub(crate) fn earlier(date: &str, change: &Change) -> Result<Vec<String>> {
    let problem = |problem: &str| Failure::Settings(format!("change: {problem}"));
    let date: Date = date.parse().map_err(|_| problem("the data date is not a date"))?;
    if change.max_drop_percent.is_none() && change.max_rise_percent.is_none() {
        return Err(problem("it has no limit; add max_drop_percent or max_rise_percent"));
    }
    let (count, apart) = match (change.days, change.weeks) {
        (Some(days), None) if days > 0 => (days, 1),
        (None, Some(weeks)) if weeks > 0 => (weeks, 7),
        _ => return Err(problem("set either `days` or `weeks`")),
    };
    let dates = (1..=i64::from(count)).map(|back| {
        let date = date.checked_sub(Span::new().days(back * apart)).map_err(|_| problem("it looks back too far"))?;
        Ok(date.to_string())
    });
    dates.collect()
}
