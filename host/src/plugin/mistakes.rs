//! Words for mistakes in settings: the key, the rule, and the nearest valid name, as its author would look for them in
//! host.toml. A schema's keywords (`anyOf`, `pattern`) are not words for people.

mod order;

use jsonschema::{ValidationError, Validator, error::ValidationErrorKind};
use serde_json::Value;

use crate::config::nearest;

pub(super) use order::ORDERED;

/// Characters shown of a wrong value.
const SHOWN: usize = 60;

/// The mistakes in settings.
pub(super) fn complaints(schema: &Value, validator: &Validator, settings: &Value) -> Vec<String> {
    let words = Schema(schema);
    let found: Vec<String> = validator.iter_errors(settings).flat_map(|error| words.complaint(&error)).collect();
    if found.is_empty() { order::complaints(schema, settings) } else { found }
}

struct Schema<'s>(&'s Value);

impl Schema<'_> {
    fn complaint(&self, error: &ValidationError<'_>) -> Vec<String> {
        let place = place(error);
        let subject = if place.is_empty() { "settings" } else { place.as_str() };
        let within = |key: &str| within(&place, key);
        let must = |what: &str| format!("{subject} must be {what}, not {}", shown(error.instance()));
        match error.kind() {
            ValidationErrorKind::AdditionalProperties { unexpected } => {
                let known = self.properties(error);
                let unknown = |key: &String| {
                    let near = match (nearest(key, known.iter().copied()), place.is_empty()) {
                        (near, true) if near.is_empty() => self.inside(key),
                        (near, _) => near,
                    };
                    format!("there is no setting {}{near}", within(key))
                };
                unexpected.iter().map(unknown).collect()
            }
            ValidationErrorKind::AnyOf { context } | ValidationErrorKind::OneOfNotValid { context } => {
                self.choice(error, context).unwrap_or_else(|| {
                    let options: Vec<String> = context.iter().flat_map(|branch| self.options(error, branch)).collect();
                    vec![format!("{}{}", must(&either(&options)), near(error.instance(), &options))]
                })
            }
            ValidationErrorKind::Enum { options } => {
                let options: Vec<String> = options.as_array().into_iter().flatten().map(Value::to_string).collect();
                vec![format!("{}{}", must(&either(&options)), near(error.instance(), &options))]
            }
            ValidationErrorKind::Constant { expected_value } => vec![must(&expected_value.to_string())],
            ValidationErrorKind::Type { .. } => vec![must(&either(&self.kinds(error)))],
            ValidationErrorKind::Required { property } => {
                let key = property.as_str().map_or_else(|| property.to_string(), str::to_owned);
                vec![format!("{} is missing", within(&key))]
            }
            ValidationErrorKind::Pattern { pattern } => {
                let rule = self.beside(error, "description").and_then(Value::as_str);
                let rule = rule.map_or_else(|| format!("text that matches {pattern}"), in_a_sentence);
                vec![must(&rule)]
            }
            _ => vec![format!("{subject}: {error}")],
        }
    }

    /// The mistakes in the alternative that the value is meant to be: of its type, and with the fewest mistakes. `None`
    /// if no alternative has its type.
    fn choice(&self, error: &ValidationError<'_>, branches: &[Vec<ValidationError<'_>>]) -> Option<Vec<String>> {
        let fits = |branch: &&Vec<ValidationError<'_>>| {
            !branch.iter().any(|inner| {
                let whole =
                    matches!(inner.kind(), ValidationErrorKind::Type { .. } | ValidationErrorKind::Constant { .. });
                whole && inner.instance_path() == error.instance_path()
            })
        };
        let fitting: Vec<&Vec<ValidationError<'_>>> = branches.iter().filter(fits).collect();
        if let Some(missing) = missing(&fitting) {
            let named: Vec<String> = missing.into_iter().map(|key| within(&place(error), key)).collect();
            return Some(vec![format!("{} is missing", either(&named))]);
        }
        let meant = fitting.into_iter().min_by_key(|branch| branch.len())?;
        Some(meant.iter().flat_map(|inner| self.complaint(inner)).collect())
    }

    /// The values that an alternative would accept instead.
    fn options(&self, error: &ValidationError<'_>, branch: &[ValidationError<'_>]) -> Vec<String> {
        let here = || branch.iter().filter(|inner| inner.instance_path() == error.instance_path());
        let constants: Vec<String> = here()
            .filter_map(|inner| match inner.kind() {
                ValidationErrorKind::Constant { expected_value } => Some(expected_value.to_string()),
                _ => None,
            })
            .collect();
        match constants.is_empty() {
            true => here().flat_map(|inner| self.kinds(inner)).collect(),
            false => constants,
        }
    }

    /// The types that a value may have, in words. A key that is left out is null, so nobody writes that.
    fn kinds(&self, error: &ValidationError<'_>) -> Vec<String> {
        let asked = self.0.pointer(error.schema_path().as_str());
        let names: Vec<&str> = match asked {
            Some(Value::String(name)) => vec![name],
            Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        };
        let words = |name: &&str| match *name {
            "string" => "text".to_owned(),
            "integer" => "a whole number".to_owned(),
            "number" => "a number".to_owned(),
            "boolean" => "a boolean".to_owned(),
            "array" => "a list".to_owned(),
            "object" => match self.properties(error) {
                known if known.is_empty() => "a table".to_owned(),
                known => format!("a table with {}", known.join(", ")),
            },
            other => other.to_owned(),
        };
        names.iter().filter(|name| **name != "null").map(words).collect()
    }

    /// The names that are allowed where a keyword stands.
    fn properties(&self, error: &ValidationError<'_>) -> Vec<&str> {
        let known = self.beside(error, "properties").and_then(Value::as_object);
        known.map(|known| known.keys().map(String::as_str).collect()).unwrap_or_default()
    }

    /// A suggestion for a key that belongs inside one of the settings, if it is only one.
    fn inside(&self, key: &str) -> String {
        let resolved = |part: &Value| {
            let place = part.get("$ref").and_then(Value::as_str).and_then(|place| place.strip_prefix('#'));
            place.and_then(|place| self.0.pointer(place)).unwrap_or(part).get("properties")?.get(key).map(|_| ())
        };
        let has = |setting: &Value| {
            let choices = setting.get("anyOf").and_then(Value::as_array).into_iter().flatten();
            std::iter::once(setting).chain(choices).any(|part| resolved(part).is_some())
        };
        let settings = self.0.get("properties").and_then(Value::as_object).into_iter().flatten();
        let mut found = settings.filter(|(_, setting)| has(setting)).map(|(name, _)| name);
        match (found.next(), found.next()) {
            (Some(only), None) => format!("; did you mean `{only}.{key}`?"),
            _ => String::new(),
        }
    }

    /// Another keyword of the same part of the schema.
    fn beside(&self, error: &ValidationError<'_>, keyword: &str) -> Option<&Value> {
        let (part, _) = error.schema_path().as_str().rsplit_once('/')?;
        self.0.pointer(part)?.get(keyword)
    }
}

/// The key, as host.toml has it.
fn place(error: &ValidationError<'_>) -> String {
    error.instance_path().to_string().trim_start_matches('/').replace('/', ".")
}

/// A key of the settings, with those around it.
fn within(place: &str, key: &str) -> String {
    if place.is_empty() { key.to_owned() } else { format!("{place}.{key}") }
}

/// The keys of which one is enough, if each alternative lacks nothing but one key.
fn missing<'e>(branches: &[&'e Vec<ValidationError<'_>>]) -> Option<Vec<&'e str>> {
    let key = |branch: &&'e Vec<ValidationError<'_>>| match branch.as_slice() {
        [only] => match only.kind() {
            ValidationErrorKind::Required { property } => property.as_str(),
            _ => None,
        },
        _ => None,
    };
    let keys: Option<Vec<&str>> = branches.iter().map(key).collect();
    keys.filter(|keys| keys.len() > 1)
}

/// `a`, `a or b`, `a, b or c`.
fn either(options: &[String]) -> String {
    let mut options: Vec<&str> = options.iter().map(String::as_str).collect();
    // A whole number is a number.
    if options.contains(&"a number") {
        options.retain(|option| *option != "a whole number");
    }
    match options.as_slice() {
        [] => "another value".to_owned(),
        [one] => (*one).to_owned(),
        [rest @ .., last] => format!("{} or {last}", rest.join(", ")),
    }
}

fn near(value: &Value, options: &[String]) -> String {
    let quoted: Vec<&str> = options.iter().filter_map(|option| option.strip_prefix('"')?.strip_suffix('"')).collect();
    value.as_str().map(|wrong| nearest(wrong, quoted)).unwrap_or_default()
}

fn shown(value: &Value) -> String {
    let text = value.to_string();
    match text.chars().count() > SHOWN {
        true => format!("{}…", text.chars().take(SHOWN).collect::<String>()),
        false => text,
    }
}

/// A description within a sentence: `A table.` becomes `a table`.
fn in_a_sentence(description: &str) -> String {
    let text = description.trim().trim_end_matches('.');
    match text.split_once(' ') {
        Some((first @ ("A" | "An" | "The"), rest)) => format!("{} {rest}", first.to_lowercase()),
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn complaint(schema: &Value, settings: &Value) -> String {
        let validator = jsonschema::validator_for(schema).unwrap();
        complaints(schema, &validator, settings).join("; ")
    }

    /// An optional table, a choice of types and a choice of words, as the SDK's schemas have them.
    #[test]
    fn mistakes_within_a_choice_are_named_like_any_other() {
        let schema = json!({
            "type": "object", "additionalProperties": false,
            "properties": {
                "row_count": { "anyOf": [{ "$ref": "#/$defs/limits" }, { "type": "null" }] },
                "value": { "anyOf": [{ "type": "string" }, { "type": "integer" }, { "type": "number" }] },
                "optional": { "anyOf": [{ "$ref": "#/properties/value" }, { "type": "null" }] },
                "severity": { "oneOf": [{ "type": "string", "const": "critical" }, { "type": "string", "const": "warning" }] },
                "mode": { "enum": ["fast", "slow"] },
                "table": { "anyOf": [{ "$ref": "#/$defs/table" }, { "type": "null" }] },
                "code": { "type": "string", "pattern": "^[a-z]$" },
                "source": { "type": "object", "anyOf": [{ "required": ["sql"] }, { "required": ["table"] }] }
            },
            "$defs": {
                "limits": {
                    "type": "object", "additionalProperties": false, "required": ["min"],
                    "properties": { "min": { "type": ["number", "null"] }, "max": { "type": "number", "maximum": 9 } }
                },
                "table": { "type": "string", "pattern": "^[a-z]+\\.[a-z]+$", "description": "A table, as `dataset.table`." }
            }
        });
        for (settings, said) in [
            (json!({ "row_count": { "min": 1 } }), ""),
            (json!({ "row_count": { "min": 1, "mxa": 2 } }), "there is no setting row_count.mxa; did you mean `max`?"),
            (json!({ "row_count": { "min": "1" } }), "row_count.min must be a number, not \"1\""),
            (json!({ "row_count": { "min": 1, "max": 10 } }), "row_count.max: 10 is greater than the maximum of 9"),
            (json!({ "row_count": {} }), "row_count.min is missing"),
            (json!({ "row_count": 5 }), "row_count must be a table with min, max, not 5"),
            (json!({ "value": true }), "value must be text or a number, not true"),
            (json!({ "optional": [1] }), "optional must be text or a number, not [1]"),
            (
                json!({ "severity": "warn" }),
                "severity must be \"critical\" or \"warning\", not \"warn\"; did you mean `warning`?",
            ),
            (json!({ "severity": 3 }), "severity must be \"critical\" or \"warning\", not 3"),
            (json!({ "mode": "fats" }), "mode must be \"fast\" or \"slow\", not \"fats\"; did you mean `fast`?"),
            (json!({ "table": "shop" }), "table must be a table, as `dataset.table`, not \"shop\""),
            (json!({ "code": "AB" }), "code must be text that matches ^[a-z]$, not \"AB\""),
            (json!({ "source": {} }), "source.sql or source.table is missing"),
            (json!({ "source": { "table": 1 } }), ""),
            (
                json!([]),
                "settings must be a table with row_count, value, optional, severity, mode, table, code, source, not []",
            ),
        ] {
            assert_eq!(complaint(&schema, &settings), said, "{settings}");
        }
    }
}
