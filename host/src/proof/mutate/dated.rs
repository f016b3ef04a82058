//! Which column of a table has the date of a row, and how it is written there.

use jiff::{Timestamp, ToSpan, civil::Date};

use super::named::Named;
use crate::{
    capability::warehouse::scratch::quoted,
    contract::{Value, warehouse::Rows},
    run::Moment,
};

/// The format of a date without hyphens.
const COMPACT: &str = "%Y%m%d";

/// The column with the date of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Dated {
    /// Its name.
    pub(super) column: String,
    written: Written,
}

/// How a date is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Written {
    /// A DATE.
    Date,
    /// A DATETIME: it has no zone.
    Datetime,
    /// A TIMESTAMP of which the check asks for the date in its own zone.
    Timestamp,
    /// A TIMESTAMP of which the check asks for the date in UTC, as `DATE(at)` is.
    InUtc,
    /// A STRING that begins with `2026-02-05`.
    Text,
    /// A STRING that begins with `20260205`.
    CompactText,
    /// An INT64: 20260205.
    Number,
}

impl Dated {
    /// The columns that may have the date of a row, the likeliest first.
    pub(super) fn candidates(named: &Named, columns: &[(String, String)]) -> Vec<Self> {
        let times = ["DATE", "TIMESTAMP", "DATETIME"];
        let ranked = [
            (&named.equal, &times[..]),
            (&named.equal, &["STRING", "INT64"]),
            (&named.beyond, &times),
            (&named.all, &times),
        ];
        let mut found: Vec<Self> = Vec::new();
        for (names, kinds) in ranked {
            for kind in kinds {
                for (column, _) in
                    columns.iter().filter(|(name, of)| of == kind && names.contains(&name.to_lowercase()))
                {
                    let written: &[Written] = match *kind {
                        "DATE" => &[Written::Date],
                        "DATETIME" => &[Written::Datetime],
                        "TIMESTAMP" if named.utc.contains(&column.to_lowercase()) => &[Written::InUtc],
                        "TIMESTAMP" => &[Written::Timestamp],
                        "STRING" => &[Written::Text, Written::CompactText],
                        _ => &[Written::Number],
                    };
                    let dated = written.iter().map(|written| Self { column: column.clone(), written: *written });
                    found.extend(dated.filter(|dated| !found.contains(dated)).collect::<Vec<_>>());
                }
            }
        }
        found
    }

    /// Whether a row has the date of a moment.
    pub(super) fn is_in(&self, rows: &Rows, columns: &[(String, String)], moment: &Moment) -> bool {
        let Some(at) = columns.iter().position(|(name, _)| *name == self.column) else { return false };
        let (date, compact) = (moment.data_date.to_string(), moment.data_date.strftime(COMPACT).to_string());
        let is_of = |value: &Value| match (value, self.written) {
            (Value::Date(text) | Value::Text(text), Written::CompactText) => text.starts_with(&compact),
            (Value::Date(text) | Value::Text(text), _) => text.starts_with(&date),
            (Value::Timestamp(seconds), Written::InUtc) => moment_text(*seconds).starts_with(&date),
            (Value::Timestamp(seconds), _) => {
                (moment.day_start.as_second()..moment.day_end.as_second()).contains(seconds)
            }
            (Value::Integer(number), Written::Number) => number.to_string() == compact,
            _ => false,
        };
        rows.values.iter().any(|row| row.get(at).is_some_and(is_of))
    }

    /// A condition in GoogleSQL that all rows fulfil from one date to another one; some of later dates may, too.
    pub(super) fn between(&self, first: Date, last: Date) -> Result<String, jiff::Error> {
        let (column, after) = (format!("`{}`", self.column), last.checked_add(1.days())?);
        let compact = |date: Date| date.strftime(COMPACT).to_string();
        Ok(match self.written {
            Written::Date => format!("{column} >= DATE '{first}' AND {column} <= DATE '{last}'"),
            Written::Datetime | Written::Timestamp | Written::InUtc => {
                let kind = if self.written == Written::Datetime { "DATETIME" } else { "TIMESTAMP" };
                // A day of a zone west of Greenwich ends on the next one.
                let end = after.checked_add(1.days())?;
                format!("{column} >= {kind} '{first} 00:00:00' AND {column} < {kind} '{end} 00:00:00'")
            }
            Written::Text => format!("{column} >= '{first}' AND {column} < '{after}'"),
            Written::CompactText => {
                format!("{column} >= '{}' AND {column} < '{}'", compact(first), compact(after))
            }
            Written::Number => format!("{column} >= {} AND {column} <= {}", compact(first), compact(last)),
        })
    }

    /// The condition that selects the rows of the date in a copy.
    pub(super) fn is(&self, moment: &Moment) -> String {
        let (column, date) = (quoted(&self.column), moment.data_date);
        match self.written {
            Written::Date => format!("{column} = '{date}'"),
            Written::Datetime | Written::Text | Written::InUtc => format!("substr({column}, 1, 10) = '{date}'"),
            Written::Timestamp => {
                let (start, end) = (moment_text(moment.day_start.as_second()), moment_text(moment.day_end.as_second()));
                format!("{column} >= '{start}' AND {column} < '{end}'")
            }
            Written::CompactText => format!("substr({column}, 1, 8) = '{}'", date.strftime(COMPACT)),
            Written::Number => format!("{column} = {}", date.strftime(COMPACT)),
        }
    }

    /// The same value a day earlier, in a copy.
    pub(super) fn earlier(&self) -> String {
        let column = quoted(&self.column);
        let compact = |text: &str| {
            format!(
                "strftime('{COMPACT}', substr({text}, 1, 4) || '-' || substr({text}, 5, 2) || '-' || substr({text}, 7, 2), '-1 day')"
            )
        };
        match self.written {
            Written::Date => format!("date({column}, '-1 day')"),
            Written::Datetime => moved(&column, "DATETIME", "-1 day"),
            Written::Timestamp | Written::InUtc => moved(&column, "TIMESTAMP", "-1 day"),
            Written::Text => format!("date(substr({column}, 1, 10), '-1 day') || substr({column}, 11)"),
            Written::CompactText => format!("{} || substr({column}, 9)", compact(&column)),
            Written::Number => format!("CAST({} AS INTEGER)", compact(&format!("CAST({column} AS TEXT)"))),
        }
    }
}

/// A TIMESTAMP as BigQuery exports it, so that texts are in the order of the times.
pub(super) fn moment_text(seconds: i64) -> String {
    let moment = Timestamp::from_second(seconds).unwrap_or(Timestamp::UNIX_EPOCH);
    moment.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}

/// A time some days away, as a value of its type in a copy.
pub(super) fn moved(cell: &str, kind: &str, by: &str) -> String {
    let format = if kind == "DATETIME" { "%Y-%m-%d %H:%M:%S" } else { "%Y-%m-%d %H:%M:%S UTC" };
    format!("strftime('{format}', substr({cell}, 1, 19), '{by}')")
}
