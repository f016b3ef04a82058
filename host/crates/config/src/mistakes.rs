//! What is wrong in host.toml, in words for people: the nearest valid name, and types as TOML writes them.

use std::path::Path;

use host_text::nearest;

pub(super) fn nearest_file(path: &Path) -> String {
    let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else { return String::new() };
    let directory = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
    let names: Vec<String> = std::fs::read_dir(directory)
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
    let whole = error.to_string();
    format!(
        "{}{}",
        with_types(message).map_or_else(|| whole.clone(), |plain| whole.replace(message, &plain)).trim_end(),
        if hint.is_empty() { hint } else { format!("\n{}", hint.trim_start_matches("; ")) }
    )
}

/// A message about a value of the wrong type, with the type that is expected in TOML's words.
fn with_types(message: &str) -> Option<String> {
    let (found, expected) = message.strip_prefix("invalid type: ")?.split_once(", expected ")?;
    let plain = match expected {
        "a string" | "path string" => "text in quotes",
        "a sequence" => "a list: [\"...\", \"...\"]",
        "a map" => "a table",
        "a boolean" => "true or false",
        "u8" | "u16" | "u32" | "u64" | "usize" | "i64" => "a whole number",
        "f64" => "a number",
        other if other.starts_with("struct ") || other.starts_with("internally tagged enum ") => "a table",
        other => other,
    };
    Some(format!("wrong type: {found}, but this key takes {plain}"))
}
