//! What a number must be, and the earlier dates that it is held against.

use jiff::{Span, civil::Date};
use sdk::{
    Failure, Result,
    schemars::JsonSchema,
    serde::{Deserialize, Serialize},
};

/// What a number must be. What is left out is not asked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(crate = "sdk::serde", default, deny_unknown_fields)]
#[schemars(crate = "sdk::schemars")]
pub struct Limits {
    /// The least that passes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min: Option<f64>,
    /// The most that passes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max: Option<f64>,
    /// Less than this warns.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warn_min: Option<f64>,
    /// More than this warns.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warn_max: Option<f64>,
    /// How far it may be from what it was on earlier dates.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub change: Option<Change>,
}

/// How far a number may be from the median of what it was on earlier dates: of the `days` before, or of the same
/// weekday in the `weeks` before.
#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(crate = "sdk::serde", default, deny_unknown_fields)]
#[schemars(crate = "sdk::schemars")]
pub struct Change {
    /// So many days before.
    #[schemars(range(max = 31))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub days: Option<u8>,
    /// The same weekday of so many weeks before.
    #[schemars(range(max = 12))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weeks: Option<u8>,
    /// How far below, in percent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_drop_percent: Option<f64>,
    /// How far above, in percent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_rise_percent: Option<f64>,
}

impl Limits {
    /// Whether there is anything that it asks.
    pub(crate) fn asks(&self) -> bool {
        *self != Self::default()
    }
}

/// The dates before one that a change is held against, newest first.
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
