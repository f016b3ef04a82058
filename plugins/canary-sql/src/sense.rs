//! The rules for settings that a schema cannot express: limits that contradict each other, and types that do not exist.

use sdk::{Failure, Result};

use crate::{
    Settings,
    freshness::Freshness,
    limits::{Change, Limits},
};

/// BigQuery's types, as a schema may name them.
const TYPES: [&str; 14] = [
    "STRING",
    "INT64",
    "FLOAT64",
    "BOOL",
    "TIMESTAMP",
    "DATE",
    "DATETIME",
    "TIME",
    "NUMERIC",
    "BIGNUMERIC",
    "BYTES",
    "JSON",
    "GEOGRAPHY",
    "INTERVAL",
];
/// Its other names for some of them:
/// <https://cloud.google.com/bigquery/docs/reference/standard-sql/data-types>, and those of legacy SQL and the API.
const ALIASES: [(&str, &str); 11] = [
    ("INT", "INT64"),
    ("SMALLINT", "INT64"),
    ("INTEGER", "INT64"),
    ("BIGINT", "INT64"),
    ("TINYINT", "INT64"),
    ("BYTEINT", "INT64"),
    ("DECIMAL", "NUMERIC"),
    ("BIGDECIMAL", "BIGNUMERIC"),
    ("BOOLEAN", "BOOL"),
    ("FLOAT", "FLOAT64"),
    ("RECORD", "STRUCT"),
];

impl Settings {
    /// Whether all limits can be met, and each can be broken.
    pub(crate) fn make_sense(&self) -> Result<()> {
        for (column, limits) in &self.thresholds {
            let key = format!("thresholds.{column}");
            if let Some(same) =
                self.thresholds.keys().find(|other| *other < column && other.eq_ignore_ascii_case(column))
            {
                return Err(wrong(&key, &format!("thresholds.{same} is for the same column; merge the two")));
            }
            limits.make_sense(&key)?;
        }
        if let Some(limits) = &self.row_count {
            limits.make_sense("row_count")?;
        }
        if let Some(freshness) = &self.freshness {
            freshness.make_sense()?;
        }
        for (column, most) in &self.null_percent {
            if !(0.0..=100.0).contains(most) {
                return Err(wrong(
                    &format!("null_percent.{column}"),
                    &format!("{most} is not a percentage of rows; write 0 to 100"),
                ));
            }
        }
        for (column, kind) in &self.schema {
            canonical(kind).ok_or_else(|| {
                let names = TYPES.join(", ");
                wrong(
                    &format!("schema.{column}"),
                    &format!("`{kind}` is not a type of BigQuery; write {names}, ARRAY<…> or STRUCT<…>"),
                )
            })?;
        }
        Ok(())
    }
}

fn wrong(key: &str, problem: &str) -> Failure {
    Failure::Settings(format!("{key}: {problem}"))
}

impl Limits {
    fn make_sense(&self, key: &str) -> Result<()> {
        if !self.asks() {
            return Err(wrong(key, "it sets no limit; add min, max, warn_min, warn_max or change"));
        }
        let Self { min, max, warn_min, warn_max, change } = *self;
        let given = [("min", min), ("max", max), ("warn_min", warn_min), ("warn_max", warn_max)];
        if let Some((name, number)) =
            given.iter().find_map(|(name, number)| Some((name, number.filter(|number| !number.is_finite())?)))
        {
            return Err(wrong(key, &format!("{name} = {number} is not a number that a value can be compared with")));
        }
        let pair = |(name, one): (&str, Option<f64>),
                    (other_name, other): (&str, Option<f64>),
                    wrong_if: fn(f64, f64) -> bool,
                    words: &str| {
            let found = one.zip(other).filter(|(one, other)| wrong_if(*one, *other));
            found.map_or(Ok(()), |(one, other)| {
                Err(wrong(key, &format!("{name} = {one} {words} {other_name} = {other}")))
            })
        };
        let above: fn(f64, f64) -> bool = |one, other| one > other;
        let below: fn(f64, f64) -> bool = |one, other| one < other;
        pair(("warn_min", warn_min), ("min", min), below, "never warns, because it already fails below")?;
        pair(("warn_max", warn_max), ("max", max), above, "never warns, because it already fails above")?;
        for low in [("min", min), ("warn_min", warn_min)] {
            for high in [("max", max), ("warn_max", warn_max)] {
                pair(low, high, above, "lets no value pass, because it is above")?;
            }
        }
        change.map_or(Ok(()), |change| change.make_sense(&format!("{key}.change")))
    }
}

impl Change {
    fn make_sense(&self, key: &str) -> Result<()> {
        for (name, percent) in
            [("max_drop_percent", self.max_drop_percent), ("max_rise_percent", self.max_rise_percent)]
        {
            if let Some(percent) = percent.filter(|percent| !(percent.is_finite() && *percent >= 0.0)) {
                return Err(wrong(key, &format!("{name} = {percent}; write a percentage that is not below 0")));
            }
        }
        Ok(())
    }
}

impl Freshness {
    fn make_sense(&self) -> Result<()> {
        let hours = [("max_hours", Some(self.max_hours)), ("warn_hours", self.warn_hours)];
        for (name, hours) in hours {
            if let Some(hours) = hours.filter(|hours| !(hours.is_finite() && *hours > 0.0)) {
                return Err(wrong("freshness", &format!("{name} = {hours}; write hours above 0")));
            }
        }
        match self.warn_hours.filter(|warn| *warn > self.max_hours) {
            Some(warn) => Err(wrong(
                "freshness",
                &format!(
                    "warn_hours = {warn} never warns, because it already fails above max_hours = {}",
                    self.max_hours
                ),
            )),
            None => Ok(()),
        }
    }
}

/// A type as the host names it: without aliases, sizes and spaces; `None` if there is no such type.
pub(crate) fn canonical(kind: &str) -> Option<String> {
    let kind: String = kind.to_ascii_uppercase().split_whitespace().collect::<Vec<_>>().join(" ");
    if let Some(element) = kind.strip_prefix("ARRAY<").and_then(|rest| rest.strip_suffix('>')) {
        return Some(format!("ARRAY<{}>", canonical(element)?));
    }
    if kind.starts_with("STRUCT<") && kind.ends_with('>') {
        return Some(kind);
    }
    // `NUMERIC(10, 2)` is a NUMERIC.
    let name = kind.split('(').next().unwrap_or_default().trim();
    let name = ALIASES.iter().find(|(alias, _)| *alias == name).map_or(name, |(_, name)| name);
    (TYPES.contains(&name) || name == "STRUCT" || name.starts_with("RANGE<")).then(|| name.to_owned())
}

/// Whether a column has a type. A STRUCT without its fields stands for any.
pub(crate) fn is_type(found: &str, wanted: &str) -> bool {
    let found = canonical(found).unwrap_or_else(|| found.to_owned());
    let wanted = canonical(wanted).unwrap_or_else(|| wanted.to_owned());
    found == wanted || (wanted == "STRUCT" && found.starts_with("STRUCT<"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_known_by_all_their_names() {
        for (found, wanted) in [
            ("INT64", "INTEGER"),
            ("INT64", "int"),
            ("BOOL", "BOOLEAN"),
            ("FLOAT64", "FLOAT"),
            ("NUMERIC", "DECIMAL(10, 2)"),
            ("STRING", "string(20)"),
            ("ARRAY<INT64>", "ARRAY<INTEGER>"),
            ("STRUCT<a INT64, b STRING>", "RECORD"),
            ("STRUCT<a INT64>", "struct<a int64>"),
        ] {
            assert!(is_type(found, wanted), "{found} {wanted}");
        }
        for (found, wanted) in
            [("INT64", "FLOAT64"), ("STRING", "INTEGER"), ("ARRAY<INT64>", "INT64"), ("BOOL", "STRUCT")]
        {
            assert!(!is_type(found, wanted), "{found} {wanted}");
        }
        for wrong in ["INT46", "", "ARRAY<INT46>", "TEXTUAL"] {
            assert_eq!(canonical(wrong), None, "{wrong}");
        }
    }

    fn refused(limits: &Limits) -> Option<String> {
        match limits.make_sense("k") {
            Ok(()) => None,
            Err(Failure::Settings(problem)) => Some(problem),
            Err(other) => Some(format!("{other:?}")),
        }
    }

    /// Each line is refused for its reason; without the part in question it is accepted.
    #[test]
    fn limits_that_contradict_each_other_are_refused() {
        let limits = |min, max, warn_min, warn_max| Limits { min, max, warn_min, warn_max, change: None };
        for (limits, words) in [
            (limits(Some(10.0), Some(5.0), None, None), "k: min = 10 lets no value pass, because it is above max = 5"),
            (
                limits(Some(10.0), None, Some(5.0), None),
                "k: warn_min = 5 never warns, because it already fails below min = 10",
            ),
            (
                limits(None, Some(5.0), None, Some(10.0)),
                "k: warn_max = 10 never warns, because it already fails above max = 5",
            ),
            (
                limits(None, Some(5.0), Some(10.0), None),
                "k: warn_min = 10 lets no value pass, because it is above max = 5",
            ),
            (
                limits(None, None, Some(10.0), Some(5.0)),
                "k: warn_min = 10 lets no value pass, because it is above warn_max = 5",
            ),
            (
                limits(Some(f64::NAN), None, None, None),
                "k: min = NaN is not a number that a value can be compared with",
            ),
            (limits(None, None, None, None), "k: it sets no limit; add min, max, warn_min, warn_max or change"),
        ] {
            assert_eq!(refused(&limits).as_deref(), Some(words));
        }
        for limits in [
            limits(Some(5.0), Some(5.0), None, None),
            limits(Some(5.0), Some(10.0), Some(6.0), Some(9.0)),
            limits(Some(-5.0), None, Some(0.0), None),
            limits(None, Some(5e6), None, None),
        ] {
            assert_eq!(refused(&limits), None);
        }
    }
}
