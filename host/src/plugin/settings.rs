//! Validates a check's settings against its plugin's schema, before anything runs. An obviously small schema is
//! evaluated here; any other in a confined process, since it may describe unbounded work.

use std::{sync::OnceLock, time::Duration};

use anyhow::{Context, Result, bail};
use jsonschema::{PatternOptions, ValidationError, Validator};
use serde_json::{Map, Value, json};

use super::mistakes::{ORDERED, complaints};
use crate::{
    config::Bytes,
    confined::{self, Failed, Limits, Task},
    lanes::{Allowance, Permit},
    text::shortened,
};

/// CPU time limit of a schema.
const CPU: Duration = Duration::from_secs(2);
/// Memory limit of a schema. An ordinary one needs less than 8 MiB; patterns take the memory that they compile to.
const MEMORY: Bytes = Bytes(128 << 20);
/// The maximum size of a schema, as text. Those of the shipped plugins have 0.9 to 4.8 KB.
const SCHEMA: Bytes = Bytes(1 << 20);

/// The limit for evaluation here: parts of the schema, counted at each reference, times parts of the settings. The
/// shipped plugins stay below it, so that loading them starts no process, which would take 20 ms.
const STEPS: usize = 200_000;
/// Bytes of an advice.
const ADVICE: usize = 300;
/// The maximum nesting of a schema for evaluation here.
const DEPTH: usize = 32;
/// The maximum total length of patterns for evaluation here.
const PATTERNS: usize = 4 << 10;
/// The maximum compiled size of a pattern for evaluation here, in bytes. Patterns are matched in linear time.
const PATTERN: usize = 256 << 10;
/// The same of all patterns of a schema together.
const ALL_PATTERNS: usize = 4 * PATTERN;
/// The most values within a schema that is kept, whatever they mean. Those of the shipped schemas have a few hundred.
const KEPT: usize = 10_000;

/// The keyword of a schema for what to do about a check that passes when its tables are empty: one advice for each
/// setting that makes it ask.
const WHEN_EMPTY: &str = "x-when-empty";

/// Sets one setting, which is named by its path: `thresholds.rows.min`. Tables on the way are made.
pub fn set(settings: &mut Value, path: &str, value: Value) -> Result<()> {
    let mut place = settings;
    for key in path.split('.') {
        let Some(object) = place.as_object_mut() else { bail!("{path}: {key} is in something that is not a table") };
        place = object.entry(key).or_insert_with(|| Value::Object(Map::new()));
    }
    *place = value;
    Ok(())
}

/// The advice of a schema for a check with these settings, if it passes when its tables are empty.
pub fn advice_when_empty(schema: &str, settings: &str) -> Option<String> {
    let schema: Value = serde_json::from_str(schema).ok()?;
    let settings: Map<String, Value> = serde_json::from_str(settings).ok()?;
    let is_set = |key: &String| settings.get(key).is_some_and(|value| !value.is_null() && value != "");
    let advice = schema.get(WHEN_EMPTY)?.as_object()?;
    let found = advice.iter().find(|(key, _)| is_set(key))?.1.as_str()?;
    Some(shortened(found, ADVICE))
}

/// The schema of a plugin's settings. If it is small, it is parsed and compiled once, when it is first asked: that takes
/// longer than validating, and a plugin may have many checks.
#[derive(Debug, Default)]
pub(super) struct Schema(OnceLock<Option<(Value, Validator)>>);

impl Schema {
    /// The mistakes in settings: the key, the reason and the nearest valid name. An invalid schema, or one that takes too
    /// much, is an error. `text` is always that of the same plugin.
    pub(super) async fn mistakes(&self, plugin: &str, text: &str, settings: &Value) -> Result<Vec<String>> {
        if text.len() > SCHEMA.0 {
            bail!("the plugin's settings schema has {} bytes; the maximum is {SCHEMA}", text.len());
        }
        let small = match self.0.get() {
            Some(small) => small,
            None => {
                let parsed = parsed(text)?;
                self.0.get_or_init(|| small(parsed))
            }
        };
        if let Some((schema, validator)) = small
            && is_small(schema, settings)
        {
            return Ok(complaints(schema, validator, settings));
        }
        let parsed = parsed(text)?;
        let input = json!({ "schema": parsed, "settings": settings }).to_string();
        let permit = Permit::new(plugin, Allowance { timeout: CPU, bytes: MEMORY.0 });
        match confined::run(&permit, Task::Settings, input.as_bytes(), Limits { cpu: CPU, memory: MEMORY.0 }).await {
            Ok((answer, _held)) => serde_json::from_slice(&answer).context("the plugin's settings schema: no answer"),
            Err(Failed::Cpu) => bail!("the plugin's settings schema takes longer than {} s", CPU.as_secs()),
            Err(Failed::Memory) => bail!("the plugin's settings schema needs more memory than {MEMORY}"),
            Err(failed) => bail!("the plugin's settings schema: {failed}"),
        }
    }
}

fn parsed(text: &str) -> Result<Value> {
    serde_json::from_str(text).context("the plugin's settings schema is not JSON")
}

/// A schema with its validator, if validating the smallest settings is cheap in any case.
fn small(schema: Value) -> Option<(Value, Validator)> {
    if parts(&schema) > KEPT || !is_small(&schema, &Value::Null) {
        return None;
    }
    let validator = small_validator(&schema).ok()?;
    Some((schema, validator))
}

/// The work of the confined process.
pub(super) fn answer(input: &[u8]) -> Result<Vec<u8>, String> {
    let input: Value = serde_json::from_slice(input).map_err(|error| error.to_string())?;
    let (Some(schema), Some(settings)) = (input.get("schema"), input.get("settings")) else {
        return Err("nothing was asked".to_owned());
    };
    let validator = jsonschema::validator_for(schema).map_err(|error| error.to_string())?;
    serde_json::to_vec(&complaints(schema, &validator, settings)).map_err(|error| error.to_string())
}

/// A validator with bounded patterns; it rejects schemas with other patterns.
fn small_validator(schema: &Value) -> Result<Validator, ValidationError<'static>> {
    let most = PATTERN.min(ALL_PATTERNS / patterns(schema).max(1));
    let patterns = PatternOptions::regex().size_limit(most).dfa_size_limit(most);
    jsonschema::options().with_pattern_options(patterns).build(schema)
}

/// Whether validating settings against a schema is cheap in any case.
fn is_small(schema: &Value, settings: &Value) -> bool {
    let mut walk = Walk { root: schema, left: STEPS / parts(settings).max(1), patterns: PATTERNS };
    walk.schema(schema, DEPTH).is_some()
}

/// The most patterns that a schema can have: a setting may be called `pattern` too.
fn patterns(schema: &Value) -> usize {
    match schema {
        Value::Array(values) => values.iter().map(patterns).sum(),
        Value::Object(object) => {
            usize::from(object.contains_key("pattern")) + object.values().map(patterns).sum::<usize>()
        }
        _ => 0,
    }
}

/// The number of values within a value.
fn parts(value: &Value) -> usize {
    1 + match value {
        Value::Array(values) => values.iter().map(parts).sum(),
        Value::Object(object) => object.values().map(parts).sum(),
        _ => 0,
    }
}

/// Counts the worst-case steps of a validator. `None` if they are too many or cannot be determined.
struct Walk<'s> {
    root: &'s Value,
    left: usize,
    patterns: usize,
}

impl Walk<'_> {
    fn schema(&mut self, schema: &Value, depth: usize) -> Option<()> {
        self.left = self.left.checked_sub(1)?;
        let depth = depth.checked_sub(1)?;
        let Value::Object(keywords) = schema else { return schema.is_boolean().then_some(()) };
        for (keyword, value) in keywords {
            match keyword.as_str() {
                WHEN_EMPTY
                | "title"
                | "description"
                | "default"
                | "examples"
                | "deprecated"
                | "$schema"
                | "$comment"
                | "type"
                | super::ONLY_NAMED
                | ORDERED
                | "required"
                | "minimum"
                | "maximum"
                | "exclusiveMinimum"
                | "exclusiveMaximum"
                | "minLength"
                | "maxLength"
                | "minItems"
                | "maxItems"
                | "minProperties"
                | "maxProperties"
                | "format" => {}
                "const" | "enum" => self.left = self.left.checked_sub(parts(value))?,
                "pattern" => self.patterns = self.patterns.checked_sub(value.as_str()?.len())?,
                "items" | "additionalProperties" | "not" => self.schema(value, depth)?,
                "properties" => self.each(value.as_object()?, depth)?,
                "allOf" | "anyOf" | "oneOf" | "prefixItems" => {
                    value.as_array()?.iter().try_for_each(|schema| self.schema(schema, depth))?;
                }
                // A reference counts as often as it is used.
                "$defs" | "definitions" => {}
                "$ref" => {
                    let place = value.as_str()?.strip_prefix('#')?;
                    let root = self.root;
                    self.schema(root.pointer(place)?, depth)?;
                }
                _ => return None,
            }
        }
        Some(())
    }

    fn each(&mut self, schemas: &Map<String, Value>, depth: usize) -> Option<()> {
        schemas.values().try_for_each(|schema| self.schema(schema, depth))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn small(schema: Value) -> bool {
        is_small(&schema, &json!({}))
    }

    #[test]
    fn what_may_take_without_end_is_left_to_a_process() {
        // Each definition doubles the one before: evaluating all of it would take years.
        let doubling: Map<String, Value> = (1..60)
            .map(|at| {
                let before = json!({ "$ref": format!("#/$defs/a{}", at - 1) });
                (format!("a{at}"), json!({ "allOf": [before, before] }))
            })
            .chain([("a0".to_owned(), json!({ "type": "object" }))])
            .collect();
        let mut deep = json!({});
        for _ in 0..100 {
            deep = json!({ "items": deep });
        }
        let many: Vec<Value> = (0..300_000).map(Value::from).collect();
        for schema in [
            json!({ "$ref": "#/$defs/a25", "$defs": doubling }),
            json!({ "$ref": "#" }),
            json!({ "$ref": "https://example.com/schema" }),
            json!({ "properties": { "a": { "$ref": "#/properties/a" } } }),
            json!({ "properties": { "a": { "pattern": "a".repeat(PATTERNS + 1) } } }),
            json!({ "unevaluatedProperties": false }),
            json!({ "enum": many }),
            deep,
        ] {
            assert!(!small(schema.clone()), "{schema:.100}");
        }
        // Small by itself, but not for large settings.
        let schema = json!({ "items": { "enum": [1, 2, 3] } });
        assert!(is_small(&schema, &json!([1])) && !is_small(&schema, &json!(vec![1; STEPS])));
    }

    #[test]
    fn a_pattern_that_compiles_to_much_is_left_to_a_process() {
        let schema = |pattern: &str| json!({ "properties": { "a": { "pattern": pattern } } });
        assert!(small_validator(&schema("^([A-Za-z0-9_-]+\\.){1,2}[A-Za-z0-9_-]+$")).is_ok());
        // Beyond the limit; beyond what is linear.
        for pattern in ["(((a{100}){100}){100}){100}", "(?=a)b"] {
            assert!(small(schema(pattern)) && small_validator(&schema(pattern)).is_err(), "{pattern}");
        }
    }

    #[tokio::test]
    async fn a_schema_that_is_too_large_is_refused() {
        let schema = json!({ "description": "x".repeat(SCHEMA.0) }).to_string();
        let error = Schema::default().mistakes("any", &schema, &json!({})).await.expect_err("too large");
        assert!(error.to_string().contains("the maximum is 1 MiB"), "{error}");
    }

    #[test]
    fn the_advice_is_that_of_the_setting_in_use() {
        let schema = json!({ "type": "object", "x-when-empty": { "table": "a", "sql": "b" } });
        let advice = |settings: Value| advice_when_empty(&schema.to_string(), &settings.to_string());
        assert_eq!(advice(json!({ "table": "d.t" })).as_deref(), Some("a"));
        assert_eq!(advice(json!({ "sql": "SELECT 1", "table": null })).as_deref(), Some("b"));
        assert_eq!(advice(json!({ "sql": "" })), None);
        assert_eq!(advice_when_empty("{}", "{\"sql\": \"x\"}"), None);
        assert!(small(schema));
    }

    #[tokio::test]
    async fn mistakes_are_named() {
        let schema = json!({
            "type": "object",
            "additionalProperties": false,
            "properties": {
                "min_games": { "type": "number" },
                "services": { "type": "array", "items": { "$ref": "#/$defs/service" } }
            },
            "$defs": { "service": {
                "type": "object", "additionalProperties": false, "required": ["name"],
                "properties": { "name": { "type": "string" } }
            } }
        })
        .to_string();
        let known = Schema::default();
        let complaint =
            async |settings: Value| known.mistakes("any", &schema, &settings).await.expect("a schema").join("; ");
        assert_eq!(complaint(json!({ "min_games": 3 })).await, "");
        assert_eq!(
            complaint(json!({ "min_game": 3 })).await,
            "there is no setting min_game; did you mean `min_games`?"
        );
        assert_eq!(complaint(json!({ "min_games": "3" })).await, "min_games must be a number, not \"3\"");
        assert!(
            complaint(json!({ "services": [{ "nam": "x" }] }))
                .await
                .contains("there is no setting services.0.nam; did you mean `name`?")
        );
        assert_eq!(complaint(json!({ "services": [{}] })).await, "services.0.name is missing");
    }

    #[tokio::test]
    async fn a_schema_that_is_none_is_an_error() {
        assert!(Schema::default().mistakes("any", "{", &json!({})).await.is_err());
        assert!(answer(br#"{"schema": {"type": "nonsense"}, "settings": {}}"#).is_err());
        assert!(answer(br##"{"schema": {"$ref": "https://example.com/schema"}, "settings": {}}"##).is_err());
    }
}
