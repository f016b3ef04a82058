//! Holding a check's settings against the schema that its plugin describes, before anything runs.

use std::{sync::mpsc, time::Duration};

use anyhow::{Context, Result, bail};
use jsonschema::{ValidationError, error::ValidationErrorKind};
use serde_json::Value;

use crate::{config::nearest, lanes};

/// How long a schema may take: a plugin may describe one that never ends.
const DEADLINE: Duration = Duration::from_secs(2);

/// What does not fit the schema: the key, the reason and the nearest valid name. A schema that is none, or that takes
/// too long, is an error.
pub fn check_settings(schema: &str, settings: &Value) -> Result<Vec<String>> {
    let (schema, settings) = (schema.to_owned(), settings.clone());
    let (done, wait) = mpsc::channel();
    // A thread of its own, for which nothing waits: what never ends cannot be ended.
    lanes::thread("settings", move || {
        // Nobody listens any more when it was late.
        let _ = done.send(complaints(&schema, &settings));
    })?;
    wait.recv_timeout(DEADLINE)
        .unwrap_or_else(|_| bail!("the plugin's schema of its settings takes longer than {} s", DEADLINE.as_secs()))
}

fn complaints(schema: &str, settings: &Value) -> Result<Vec<String>> {
    let schema: Value = serde_json::from_str(schema).context("the plugin's schema of its settings is no JSON")?;
    let validator = jsonschema::validator_for(&schema)
        .map_err(|error| anyhow::anyhow!("the plugin's schema of its settings: {error}"))?;
    Ok(validator.iter_errors(settings).map(|error| complaint(&schema, &error)).collect())
}

fn complaint(schema: &Value, error: &ValidationError<'_>) -> String {
    let path = error.instance_path().to_string();
    let place = path.trim_start_matches('/').replace('/', ".");
    match error.kind() {
        ValidationErrorKind::AdditionalProperties { unexpected } => {
            // The schema's own keyword stands beside the names that are allowed.
            let pointer = error.schema_path().to_string();
            let beside = pointer.rsplit_once('/').map_or("", |(beside, _)| beside);
            let known = schema.pointer(beside).and_then(|object| object.get("properties")).and_then(Value::as_object);
            let known: Vec<&String> = known.map(|known| known.keys().collect()).unwrap_or_default();
            let prefix = if place.is_empty() { String::new() } else { format!("{place}.") };
            let name =
                |key: &String| format!("there is no setting {prefix}{key}{}", nearest(key, known.iter().copied()));
            unexpected.iter().map(name).collect::<Vec<_>>().join("; ")
        }
        _ if place.is_empty() => error.to_string(),
        _ => format!("{place}: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// Each definition doubles the one before: to look at all of it would take years.
    #[test]
    fn a_schema_without_end_is_refused() {
        let definitions: serde_json::Map<String, Value> = (1..60)
            .map(|at| {
                let before = json!({ "$ref": format!("#/$defs/a{}", at - 1) });
                (format!("a{at}"), json!({ "allOf": [before, before] }))
            })
            .chain([("a0".to_owned(), json!({ "type": "object" }))])
            .collect();
        let schema = json!({ "$ref": "#/$defs/a59", "$defs": definitions }).to_string();
        let error = check_settings(&schema, &json!({})).expect_err("no end");
        assert!(error.to_string().contains("takes longer than 2 s"), "{error}");
    }

    #[test]
    fn mistakes_are_named() {
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
        let complaint = |settings: Value| check_settings(&schema, &settings).expect("a schema").join("; ");
        assert_eq!(complaint(json!({ "min_games": 3 })), "");
        assert_eq!(complaint(json!({ "min_game": 3 })), "there is no setting min_game; did you mean `min_games`?");
        assert!(complaint(json!({ "min_games": "3" })).starts_with("min_games: "));
        assert!(
            complaint(json!({ "services": [{ "nam": "x" }] }))
                .contains("there is no setting services.0.nam; did you mean `name`?")
        );
        assert!(complaint(json!({ "services": [{}] })).contains("name"));
    }

    #[test]
    fn a_schema_that_is_none_is_an_error() {
        assert!(check_settings("{", &json!({})).is_err());
        assert!(check_settings(r#"{"type": "nonsense"}"#, &json!({})).is_err());
        assert!(check_settings(r##"{"$ref": "https://example.com/schema"}"##, &json!({})).is_err());
    }
}
