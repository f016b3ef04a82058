//! The rules for settings that the schema does not express: columns that are named twice, and types that do not exist.

use sdk::{Failure, Result, Row};

use crate::{Settings, freshness::Freshness, limits::Limits};

/// The type of a column that the warehouse cannot tell: an expression of a SQLite view.
pub(crate) const ANY: &str = "ANY";

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
            let key = format!("null_percent.{column}");
            match *most {
                100.0 => return Err(wrong(&key, "no share is above 100; write less, or leave it out")),
                most if !(0.0..100.0).contains(&most) => {
                    return Err(wrong(
                        &key,
                        &format!("{most} is not a percentage of rows; write 0 or more, below 100"),
                    ));
                }
                _ => {}
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
        match self.change.and_then(|change| change.problem()) {
            Some(problem) => Err(wrong(&format!("{key}.change"), &problem)),
            None => Ok(()),
        }
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
        Ok(())
    }
}

/// The type of a column of a result, if it is not one of numbers or booleans.
pub(crate) fn not_numeric<'r>(row: &'r Row, column: &str) -> Option<&'r str> {
    match row.kind(column)? {
        "INT64" | "FLOAT64" | "NUMERIC" | "BIGNUMERIC" | "BOOL" => None,
        // An expression of a SQLite view: the value decides.
        ANY if row.number(column).is_some() || row.text(column).is_none() => None,
        kind => Some(kind),
    }
}

/// Why a column of a result cannot have limits, and what to write instead. The type decides: a value may be NULL.
pub(crate) fn no_number(row: &Row, column: &str) -> Option<String> {
    let kind = not_numeric(row, column)?;
    let advice = match kind {
        "DATE" => format!(
            "for an age in days write DATE_DIFF(@date, …, DAY) AS {column}; for one in hours, use `table` with `freshness`"
        ),
        "TIMESTAMP" => format!(
            "for an age in hours write TIMESTAMP_DIFF(@due, …, HOUR) AS {column}, or use `table` with `freshness`"
        ),
        "DATETIME" => "for an age, use `table` with `freshness`".to_owned(),
        "STRING" | ANY => format!(
            "write CAST(… AS FLOAT64) AS {column} if it holds numbers, or COUNTIF(… = 'text') AS {column}; for a list of texts, use `table` with `accepted_values`"
        ),
        _ => format!("write an expression that is a number AS {column}"),
    };
    let is = if kind == ANY { "holds text".to_owned() } else { format!("has the type {kind}") };
    Some(format!("{column} {is}, and limits are for numbers and booleans; {advice}"))
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
    use sdk::Number;

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

    #[test]
    fn limits_that_are_none_are_refused() {
        let nothing = Limits::default();
        let words = "k: it sets no limit; add min, max, warn_min, warn_max or change";
        assert_eq!(refused(&nothing).as_deref(), Some(words));
        assert_eq!(refused(&Limits { max: Some(Number::Float(5e6)), ..nothing }), None);
    }
}
