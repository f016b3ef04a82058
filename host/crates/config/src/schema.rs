//! host.toml as a JSON Schema, so that editors complete it, and as a page of the documentation. Both come from the types
//! and their comments.

use std::{borrow::Cow, fmt::Write};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Map, Value};

use super::{Budgets, Bytes, Config, Count, Cron, Dates, Delay, Endpoint, SecretName, Time, ValidateSchedule, Zone};

/// How a public key is written. The key itself belongs to the crate that checks signatures, which knows no schemas.
pub(super) struct PublicKeyText;

/// Values that are read from a text: what it looks like, and what it means.
macro_rules! texts {
    ($($kind:ty: $name:literal, $pattern:literal, $about:literal;)+) => {
        $(impl JsonSchema for $kind {
            fn schema_name() -> Cow<'static, str> {
                $name.into()
            }

            fn inline_schema() -> bool {
                true
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "pattern": $pattern, "title": $about })
            }
        })+
    };
}

texts! {
    Time: "Time", r"^\s*\d+\s*\S+.*$", "a time: `90s`, `5m`, `4h`, `90d`";
    Delay: "Delay", r"^\s*\d+.*$", "a time: `0s`, `30s`, `5m`";
    Bytes: "Bytes", r"^\s*\d+\s*(B|KiB|MiB|GiB|TiB)\s*$", "a size: `64 MiB`";
    Zone: "Zone", r"^.+$", "an IANA time zone: `America/New_York`";
    Cron: "Cron", r"^\s*\S+(\s+\S+){4}\s*$", "five fields: minute, hour, day of month, month, day of week";
    ValidateSchedule: "ValidateSchedule", r"^(never|\s*\S+(\s+\S+){4}\s*)$", "five fields, or `never`";
    Dates: "Dates", r"^.+$", "a date or dates: `2026-12-25`, `12-25`, `07-01..09-30`";
    Endpoint: "Endpoint", r"^https?://", "an address: `http://127.0.0.1:9050`";
    SecretName: "SecretName", r"^secret:", "a secret's name: `secret:NAME`";
    PublicKeyText: "PublicKey", r"^ed25519:[0-9a-f]{64}$", "a public key, as `host keygen` prints it";
}

impl JsonSchema for Count {
    fn schema_name() -> Cow<'static, str> {
        "Count".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "integer", "minimum": 0, "maximum": u32::MAX, "title": "a whole number" })
    }
}

/// The JSON Schema (draft 2020-12) of host.toml.
pub fn schema() -> Value {
    let mut schema = SchemaGenerator::default().into_root_schema_for::<Config>().to_value();
    if let Some(schema) = schema.as_object_mut() {
        schema.insert("title".to_owned(), "host.toml".into());
    }
    schema
}

/// The same as a page: a table for each part of host.toml.
pub fn reference() -> String {
    let schema = schema();
    let mut page = String::from(
        "# host.toml\n\nMade by `host schema --markdown` from the code. `host schema > host.schema.json` writes a JSON Schema; \
         with `#:schema ./host.schema.json` as the first line of host.toml, editors complete it.\n\nRelative paths start from \
         host.toml's directory. What is not known is refused, with the nearest name.\n",
    );
    let nothing = Map::new();
    let parts = schema.get("$defs").and_then(Value::as_object).unwrap_or(&nothing);
    part(&mut page, "At the top", &schema, parts);
    for (name, found) in parts {
        part(&mut page, name, found, parts);
    }
    page
}

/// One type under its heading: its keys, or the words that it can be.
fn part(page: &mut String, name: &str, found: &Value, parts: &Map<String, Value>) {
    let text = |value: &Value| value.get("description").and_then(Value::as_str).unwrap_or_default().replace('\n', " ");
    let about = text(found);
    let _ = write!(page, "\n## {name}\n\n{}{}", about, if about.is_empty() { "" } else { "\n\n" });
    let kinds = found.get("oneOf").and_then(Value::as_array);
    for kind in kinds.into_iter().flatten() {
        let word = kind.get("const").or_else(|| kind.pointer("/properties/kind/const")).and_then(Value::as_str);
        let _ = writeln!(page, "- `{}`: {}", word.unwrap_or_default(), text(kind));
        for (key, value) in kind.get("properties").and_then(Value::as_object).into_iter().flatten() {
            if key != "kind" {
                let _ = writeln!(page, "  - `{key}`: {}", text(value));
            }
        }
    }
    if let Some(properties) = found.get("properties").and_then(Value::as_object) {
        page.push_str("| key | is | |\n|---|---|---|\n");
        let defaults = if name == "Budgets" { Budgets::default().list() } else { Vec::new() };
        for (key, value) in properties {
            let default = defaults.iter().find(|(budget, ..)| budget == key);
            let default = default.map(|(_, default, _)| format!(" Default: {default}.")).unwrap_or_default();
            let _ = writeln!(page, "| `{key}` | {} | {}{default} |", is(value, parts), text(value).replace('|', "\\|"));
        }
    }
}

/// What a value is, in a few words; a type of this page is a link to it.
fn is(value: &Value, parts: &Map<String, Value>) -> String {
    if let Some(name) = value.get("$ref").and_then(Value::as_str).and_then(|path| path.strip_prefix("#/$defs/")) {
        return match parts.contains_key(name) {
            true => format!("[{name}](#{})", name.to_lowercase()),
            false => name.to_owned(),
        };
    }
    if let Some(any) = value.get("anyOf").and_then(Value::as_array) {
        let known = any.iter().filter(|one| one.get("type").and_then(Value::as_str) != Some("null"));
        return known.map(|one| is(one, parts)).collect::<Vec<_>>().join(" or ");
    }
    if let Some(title) = value.get("title").and_then(Value::as_str) {
        return title.to_owned();
    }
    let kind = match value.get("type") {
        Some(Value::Array(kinds)) => kinds.iter().filter_map(Value::as_str).find(|kind| *kind != "null"),
        Some(kind) => kind.as_str(),
        None => None,
    };
    match kind {
        Some("array") => match value.get("items") {
            Some(items) => format!("a list: {}", is(items, parts)),
            None => "a list".to_owned(),
        },
        Some("object") => match value.get("additionalProperties").filter(|of| of.is_object()) {
            Some(of) => format!("a table by name: {}", is(of, parts)),
            None => "a table".to_owned(),
        },
        Some("string") => "a text".to_owned(),
        Some("boolean") => "`true` or `false`".to_owned(),
        Some("integer") => "a whole number".to_owned(),
        Some("number") => "a number".to_owned(),
        _ => "anything".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complaints(text: &str) -> Vec<String> {
        let validator = jsonschema::validator_for(&schema()).expect("a schema");
        let value: toml::Table = toml::from_str(text).expect("TOML");
        let value = serde_json::to_value(value).expect("JSON");
        validator.iter_errors(&value).map(|error| error.to_string()).collect()
    }

    /// What the host takes the schema takes, and the other way round where it can tell.
    #[test]
    fn the_schema_takes_what_the_host_takes() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../..");
        for file in ["tests/sample/host.toml", "deploy/host.toml"] {
            let text = std::fs::read_to_string(root.join(file)).expect(file);
            assert_eq!(complaints(&text), Vec::<String>::new(), "{file}");
        }
        for text in [
            "timezoen = \"UTC\"",
            "[warehouse]\nkind = \"sqlite\"",
            "[warehouse]\nkind = \"duckdb\"\npath = \"x\"",
            "[checks.a]\nschedule = \"hourly\"",
            "[budgets]\nmemory = 64",
            "[budgets]\nmemory = \"64 MB\"",
            "[grants.a]\nwarehuose = []",
            "[scheduler]\nretries = -1",
            "[trust]\nkeys = [\"rsa:1\"]",
        ] {
            assert!(Config::parse(text).is_err() && !complaints(text).is_empty(), "{text}");
        }
    }

    #[test]
    fn the_reference_is_that_of_the_code() {
        let page = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../docs/configuration.md");
        let text = std::fs::read_to_string(&page).unwrap_or_default();
        assert!(text == reference(), "docs/configuration.md is old: `host schema --markdown > docs/configuration.md`");
    }
}
