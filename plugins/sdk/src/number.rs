//! Numbers as the warehouse and host.toml have them. An INT64 beyond 2^53 has no exact float, so whole numbers stay whole.

use std::{borrow::Cow, cmp::Ordering, fmt};

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};

use crate::{Row, shown};

/// The largest whole number up to which each has a float of its own.
const EXACT: u64 = 1 << 53;

/// A whole number or a float.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize, Serialize)]
#[serde(untagged)]
pub enum Number {
    /// `7`
    Whole(i64),
    /// `0.5`
    Float(f64),
}

impl Number {
    /// The number of a column; `None` if the column is missing, NULL, or not a number.
    pub fn of(row: &Row, column: &str) -> Option<Self> {
        row.integer(column).map(Self::Whole).or_else(|| row.number(column).map(Self::Float))
    }

    /// The nearest float.
    pub fn float(self) -> f64 {
        match self {
            Self::Whole(number) => number as f64,
            Self::Float(number) => number,
        }
    }

    /// Whether a float would be another number.
    pub fn is_large(self) -> bool {
        matches!(self, Self::Whole(number) if number.unsigned_abs() > EXACT)
    }

    /// How it compares; `None` for NaN.
    pub fn compare(self, other: Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Whole(one), Self::Whole(other)) => Some(one.cmp(&other)),
            (one, other) => one.float().partial_cmp(&other.float()),
        }
    }

    /// The change from an earlier number, in percent of it.
    pub fn change(self, from: Self) -> f64 {
        let difference = match (self, from) {
            (Self::Whole(now), Self::Whole(from)) => (i128::from(now) - i128::from(from)) as f64,
            (now, from) => now.float() - from.float(),
        };
        100.0 * difference / from.float().abs()
    }

    /// The number in the middle; whole if both are and it is.
    pub fn between(self, other: Self) -> Self {
        if let (Self::Whole(one), Self::Whole(other)) = (self, other) {
            let sum = i128::from(one) + i128::from(other);
            if sum % 2 == 0
                && let Ok(middle) = i64::try_from(sum / 2)
            {
                return Self::Whole(middle);
            }
        }
        Self::Float((self.float() + other.float()) / 2.0)
    }
}

/// A schema knows only numbers.
impl JsonSchema for Number {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        f64::schema_name()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        f64::json_schema(generator)
    }
}

/// All digits of a whole number.
impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole(number) => write!(f, "{number}"),
            Self::Float(number) => f.write_str(&shown(*number, None)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers_beyond_floats_are_compared_exactly() {
        const LARGE: i64 = 9_007_199_254_740_992;
        let (less, more) = (Number::Whole(LARGE), Number::Whole(LARGE + 1));
        assert_eq!(less.float(), more.float());
        assert_eq!((less.compare(more), more.compare(more)), (Some(Ordering::Less), Some(Ordering::Equal)));
        assert!(more.change(less) > 0.0 && more.change(more) == 0.0);
        assert_eq!(less.between(Number::Whole(LARGE + 2)), more);
        assert_eq!(Number::Whole(1).between(Number::Whole(2)), Number::Float(1.5));
        assert!(more.is_large() && !less.is_large() && !Number::Float(1e300).is_large());
    }
}
