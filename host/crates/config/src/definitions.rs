//! The form of `for_each` as a JSON Schema: in an entry that has one, a placeholder may be wherever a value may be.

use serde_json::{Map, Value, json};

/// The key of a definition.
pub(super) const FOR_EACH: &str = "for_each";

const ABOUT: &str = "Makes several from this one, up to 2,000 in a file: `{ table = [\"a\", \"b\"] }` one for each value, several lists \
                     one for each combination, `[{ table = \"a\", rows = 3 }, { table = \"b\", rows = 9 }]` one for each table. `{table}` \
                     in the name, in keys and in texts becomes the value; a text that is only `{rows}` becomes the value with its type. \
                     `{{table}}` is the text `{table}`.";

/// Adds `for_each` to a schema of host.toml.
pub(super) fn describe(schema: &mut Value) {
    for (section, kind) in [("checks", "Check"), ("grants", "Grants")] {
        let parts = schema.get("$defs").and_then(Value::as_object).cloned().unwrap_or_default();
        let Some(single) = parts.get(kind) else { continue };
        let mut definition = filled(single, &parts);
        let lists =
            json!({ "type": "object", "additionalProperties": { "type": "array", "minItems": 1 }, "minProperties": 1 });
        let tables = json!({ "type": "array", "items": { "type": "object", "minProperties": 1 }, "minItems": 1 });
        let form =
            json!({ "description": ABOUT, "title": "a table of lists, or a list of tables", "anyOf": [lists, tables] });
        let single = schema.pointer_mut(&format!("/$defs/{kind}/properties"));
        for properties in [definition.pointer_mut("/properties"), single] {
            if let Some(properties) = properties.and_then(Value::as_object_mut) {
                properties.insert(FOR_EACH.to_owned(), form.clone());
            }
        }
        if let Some(entry) = schema.pointer_mut(&format!("/properties/{section}/additionalProperties")) {
            let single = json!({ "$ref": format!("#/$defs/{kind}") });
            *entry = json!({ "if": { "required": [FOR_EACH] }, "then": definition, "else": single });
        }
    }
}

/// A form in which each value may also be a text with a placeholder.
fn filled(form: &Value, parts: &Map<String, Value>) -> Value {
    let part = form.get("$ref").and_then(Value::as_str).and_then(|path| parts.get(path.strip_prefix("#/$defs/")?));
    let form = part.unwrap_or(form);
    let inner = |key: &str, change: &dyn Fn(&Value) -> Value| {
        let mut form = form.clone();
        if let Some(within) = form.get_mut(key) {
            *within = change(within);
        }
        form
    };
    let placeholder = json!({ "type": "string", "pattern": r"\{[A-Za-z_][A-Za-z0-9_]*\}" });
    let each = |within: &Value| match within {
        Value::Object(within) => within.iter().map(|(key, form)| (key.clone(), filled(form, parts))).collect(),
        Value::Array(within) => within.iter().map(|form| filled(form, parts)).collect(),
        other => other.clone(),
    };
    if form.get("properties").is_some() {
        return inner("properties", &each);
    }
    let form = match (form.get("anyOf"), form.get("items")) {
        (Some(_), _) => inner("anyOf", &each),
        (None, Some(_)) => inner("items", &|items| filled(items, parts)),
        (None, None) => form.clone(),
    };
    json!({ "anyOf": [form, placeholder] })
}
