//! Numbers of a table that contradict each other, such as a minimum above its maximum. JSON Schema compares no two values,
//! so a schema says it in a keyword of its own: `"x-ordered": [{ "low": "min", "high": "max", "otherwise": "no value passes" }]`.

use std::cmp::Ordering;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::within;

/// The keyword.
pub(in crate::plugin) const ORDERED: &str = "x-ordered";
/// The maximum nesting of a schema, references included.
const DEPTH: usize = 32;
/// Parts of a schema that are looked at, each as often as it is used.
const PARTS: usize = 10_000;

/// Two keys of a table, and the order of their numbers.
#[derive(Deserialize)]
struct Pair {
    low: String,
    high: String,
    /// The key that says nothing if both are equal; without it they may be.
    #[serde(default)]
    idle: Option<String>,
    /// What follows from the wrong order, after `so`.
    otherwise: String,
}

/// The numbers in settings that are in the wrong order.
pub(super) fn complaints(schema: &Value, settings: &Value) -> Vec<String> {
    let mut walk = Walk { root: schema, left: PARTS, found: Vec::new() };
    walk.schema(schema, settings, "", DEPTH);
    walk.found
}

struct Walk<'s> {
    root: &'s Value,
    left: usize,
    found: Vec<String>,
}

impl Walk<'_> {
    /// Stops silently where a schema is too large: its keyword is then without effect.
    fn schema(&mut self, schema: &Value, value: &Value, place: &str, depth: usize) {
        let (Some(left), Some(depth)) = (self.left.checked_sub(1), depth.checked_sub(1)) else { return };
        self.left = left;
        let root = self.root;
        if let Some(path) = schema.get("$ref").and_then(Value::as_str).and_then(|path| path.strip_prefix('#'))
            && let Some(referred) = root.pointer(path)
        {
            self.schema(referred, value, place, depth);
        }
        for choice in ["allOf", "anyOf", "oneOf"] {
            for schema in schema.get(choice).and_then(Value::as_array).into_iter().flatten() {
                self.schema(schema, value, place, depth);
            }
        }
        let Some(table) = value.as_object() else { return };
        let pairs = schema.get(ORDERED).and_then(Value::as_array).into_iter().flatten();
        for pair in pairs.filter_map(|pair| Pair::deserialize(pair).ok()) {
            self.found.extend(pair.complaint(table, place));
        }
        let (properties, others) = (schema.get("properties"), schema.get("additionalProperties"));
        for (key, value) in table {
            if let Some(schema) = properties.and_then(|properties| properties.get(key)).or(others) {
                self.schema(schema, value, &within(place, key), depth);
            }
        }
    }
}

impl Pair {
    fn complaint(&self, table: &Map<String, Value>, place: &str) -> Option<String> {
        let Self { low, high, idle, otherwise } = self;
        let (less, more) = (table.get(low)?, table.get(high)?);
        let (relation, advice) = match (compare(less, more)?, idle) {
            (Ordering::Greater, _) => ("is above", format!("write {low} = {more} and {high} = {less}")),
            (Ordering::Equal, Some(idle)) => {
                let side = if idle == low { "below" } else { "above" };
                ("equals", format!("write {idle} {side} {more}, or leave it out"))
            }
            _ => return None,
        };
        let place = if place.is_empty() { "settings" } else { place };
        Some(format!("{place}: {low} = {less} {relation} {high} = {more}, so {otherwise}; {advice}"))
    }
}

/// Whole numbers are compared exactly.
fn compare(one: &Value, other: &Value) -> Option<Ordering> {
    match (one.as_i64(), other.as_i64()) {
        (Some(one), Some(other)) => Some(one.cmp(&other)),
        _ => one.as_f64()?.partial_cmp(&other.as_f64()?),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// As the SDK writes schemas: references, optional tables, maps.
    #[test]
    fn numbers_in_the_wrong_order_are_named_with_what_to_write() {
        let schema = json!({
            "type": "object",
            "properties": {
                "row_count": { "anyOf": [{ "$ref": "#/$defs/limits" }, { "type": "null" }] },
                "thresholds": { "type": "object", "additionalProperties": { "$ref": "#/$defs/limits" } }
            },
            "$defs": { "limits": { "type": "object", "x-ordered": [
                { "low": "min", "high": "max", "otherwise": "no value passes" },
                { "low": "warn_max", "high": "max", "idle": "warn_max", "otherwise": "warn_max never warns" },
                { "low": "min", "high": "warn_min", "idle": "warn_min", "otherwise": "warn_min never warns" },
            ] } }
        });
        for (settings, said) in [
            (json!({ "row_count": { "min": 5, "max": 5, "warn_min": 6, "warn_max": 4.5 } }), ""),
            (json!({ "row_count": null, "thresholds": { "a": { "min": 1 } } }), ""),
            (
                json!({ "row_count": { "min": 10, "max": 5 } }),
                "row_count: min = 10 is above max = 5, so no value passes; write min = 5 and max = 10",
            ),
            (
                json!({ "thresholds": { "a": { "max": 5, "warn_max": 5.0 } } }),
                "thresholds.a: warn_max = 5.0 equals max = 5, so warn_max never warns; write warn_max below 5, or leave it out",
            ),
            (
                json!({ "thresholds": { "a": { "min": 5, "warn_min": 5 } } }),
                "thresholds.a: min = 5 equals warn_min = 5, so warn_min never warns; write warn_min above 5, or leave it out",
            ),
            // Beyond 2^53 they would be the same float.
            (json!({ "row_count": { "warn_max": 9_007_199_254_740_992_i64, "max": 9_007_199_254_740_993_i64 } }), ""),
        ] {
            assert_eq!(complaints(&schema, &settings).join("; "), said, "{settings}");
        }
    }

    #[test]
    fn a_schema_that_refers_to_itself_ends() {
        let endless = json!({ "allOf": [{ "$ref": "#" }, { "$ref": "#" }] });
        assert_eq!(complaints(&endless, &json!({})), Vec::<String>::new());
    }
}
