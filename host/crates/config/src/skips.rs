//! `skip_when` of a check: skips that are decided by data.

use std::{fmt, time::Duration};

use serde::{
    Deserialize, Deserializer,
    de::{Error, MapAccess, Visitor, value::MapAccessDeserializer},
};

use super::{Time, budgets::quoted};

/// Seconds.
const DAY: u64 = 24 * 60 * 60;

/// When a check is skipped: the settings `skip_when`, `skip_unless_known` and `skip_at_most` together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skip {
    /// TRUE skips the run.
    pub when: SkipQuery,
    /// TRUE says that `when` can be relied on; `None` if it always can.
    pub unless_known: Option<SkipQuery>,
    /// How long the check may only skip before that is an error.
    pub at_most: SkipAtMost,
}

/// A query that gives one row with one BOOL, and what TRUE or FALSE means in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SkipQuery {
    /// The query.
    pub sql: String,
    /// The reason to show.
    pub why: Option<String>,
}

/// `skip_at_most`; `None` is `never`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SkipAtMost(pub Option<Time>);

impl Default for SkipAtMost {
    fn default() -> Self {
        Self(Some(Time(Duration::from_secs(14 * DAY))))
    }
}

/// `14d` or `never`, as host.toml has it.
impl fmt::Display for SkipAtMost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            None => f.write_str("never"),
            Some(time) if time.0.as_secs().is_multiple_of(DAY) => write!(f, "{}d", time.0.as_secs() / DAY),
            Some(time) => time.fmt(f),
        }
    }
}

impl<'de> Deserialize<'de> for SkipAtMost {
    fn deserialize<D: Deserializer<'de>>(source: D) -> Result<Self, D::Error> {
        match quoted(source, "a duration in quotes, such as \"14d\", or \"never\"")?.as_str() {
            "never" => Ok(Self(None)),
            text => text.parse().map(|time| Self(Some(time))).map_err(D::Error::custom),
        }
    }
}

impl<'de> Deserialize<'de> for SkipQuery {
    fn deserialize<D: Deserializer<'de>>(source: D) -> Result<Self, D::Error> {
        source.deserialize_any(TextOrTable)
    }
}

/// A query in SQL, or a table of it and its reason.
struct TextOrTable;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    sql: String,
    why: Option<String>,
}

impl<'de> Visitor<'de> for TextOrTable {
    type Value = SkipQuery;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a query, or { sql = \"…\", why = \"…\" }")
    }

    fn visit_str<E: Error>(self, sql: &str) -> Result<SkipQuery, E> {
        Ok(SkipQuery { sql: sql.to_owned(), why: None })
    }

    fn visit_map<A: MapAccess<'de>>(self, table: A) -> Result<SkipQuery, A::Error> {
        let Table { sql, why } = Table::deserialize(MapAccessDeserializer::new(table))?;
        Ok(SkipQuery { sql, why })
    }
}
