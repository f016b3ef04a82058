//! What is wrong in host.toml, in words for people: the nearest valid name, and types as TOML writes them.

use std::path::Path;

use anyhow::{Result, bail};
use host_text::{directory_of, nearest};
use toml::de::{DeTable, DeValue};

use super::check_key;

pub(super) fn nearest_file(path: &Path) -> String {
    let Some(name) = path.file_name() else { return String::new() };
    let names: Vec<String> = std::fs::read_dir(directory_of(path))
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    nearest(&name.to_string_lossy(), names.iter())
}

/// toml's message with the nearest valid name for an unknown key or variant, and with types in TOML's words instead of Rust's.
pub(super) fn explained(error: &toml::de::Error) -> String {
    let message = error.message();
    let mut quoted = message.split('`').skip(1).step_by(2);
    let hint = match (message.starts_with("unknown "), quoted.next()) {
        (true, Some(wrong)) => nearest(wrong, quoted),
        _ => String::new(),
    };
    let mut whole = error.to_string().trim_end().to_owned();
    // The message is the end of it; before it, the text of host.toml is quoted.
    if let Some(plain) = with_types(message)
        && let Some(start) = whole.strip_suffix(message.trim_end()).map(str::len)
    {
        whole.replace_range(start.., &plain);
    }
    match hint.is_empty() {
        true => whole,
        false => format!("{whole}\n{}", hint.trim_start_matches("; ")),
    }
}

/// A message about a value of the wrong type, in TOML's words.
fn with_types(message: &str) -> Option<String> {
    if message == "wanted string or table" {
        return Some("wrong type: expected a name in quotes".to_owned());
    }
    let (found, expected) = message.rsplit_once(", expected ")?;
    let (about, found) =
        found.split_once(": ").filter(|(about, _)| ["invalid type", "invalid value"].contains(about))?;
    let found = match found {
        "sequence" => "a list",
        // toml hands over dates and times as tables.
        "map" => "a table, or a date or time without quotes",
        other => other,
    };
    let number;
    let expected = match expected {
        "a string" | "path string" => "text in quotes",
        "variant identifier" => "a name in quotes",
        "a sequence" => "a list: [..., ...]",
        "a map" => "a table",
        "a boolean" => "true or false",
        "f64" => "a number",
        "u8" | "u16" | "u32" | "u64" | "usize" => {
            let most = match expected {
                "u8" => u8::MAX.into(),
                "u16" => u16::MAX.into(),
                "u32" => u32::MAX.into(),
                _ => i64::MAX.unsigned_abs(),
            };
            number = format!("a whole number from 0 to {most}");
            &number
        }
        "i64" => "a whole number",
        other if other.starts_with("struct ") || other.starts_with("internally tagged enum ") => "a table",
        other => other,
    };
    let what = match about {
        "invalid type" => "wrong type",
        _ if found.starts_with("integer ") => "out of range",
        _ => "wrong value",
    };
    Some(format!("{what}: {found}, expected {expected}"))
}

/// Refuses a list where a table is meant, as `[[web]]` makes one: serde would take its entries for the values of the keys, one after
/// the other.
pub(super) fn only_tables(file: &DeTable<'_>) -> Result<()> {
    for (key, value) in file {
        let refused = |name: &str| bail!("{name} is a list; write a table, [{name}], in single brackets");
        match value.get_ref() {
            DeValue::Array(_) => refused(key.get_ref())?,
            DeValue::Table(entries) if OF_TABLES.contains(&key.get_ref().as_ref()) => {
                for (name, _) in entries.iter().filter(|(_, entry)| entry.get_ref().is_array()) {
                    refused(&format!("{}.{}", key.get_ref(), check_key(name.get_ref())))?;
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// The tables of host.toml whose values are tables.
const OF_TABLES: [&str; 4] = ["calendars", "checks", "git", "grants"];
