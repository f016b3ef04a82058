//! Suggestions for misspelt words in host.toml.

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

/// Adds the nearest valid name to toml's message about an unknown key or variant.
pub(super) fn with_nearest(error: &toml::de::Error) -> String {
    let message = error.message();
    let mut quoted = message.split('`').skip(1).step_by(2);
    let hint = match (message.starts_with("unknown "), quoted.next()) {
        (true, Some(wrong)) => nearest(wrong, quoted),
        _ => String::new(),
    };
    format!(
        "{}{}",
        error.to_string().trim_end(),
        if hint.is_empty() { hint } else { format!("\n{}", hint.trim_start_matches("; ")) }
    )
}
