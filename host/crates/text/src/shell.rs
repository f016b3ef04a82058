//! Commands in messages, for people to copy into a POSIX shell.

use std::path::Path;

/// An argument as a shell reads it. A file whose name begins with `-` is not an option.
pub fn quoted(argument: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-/@:=,+%^".contains(c);
    let argument = if argument.starts_with('-') { format!("./{argument}") } else { argument.to_owned() };
    match !argument.is_empty() && argument.chars().all(plain) {
        true => argument,
        false => format!("'{}'", argument.replace('\'', r"'\''")),
    }
}

/// A path as a shell reads it.
pub fn quoted_path(path: &Path) -> String {
    quoted(&path.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A shell's own words for what it was given.
    #[test]
    fn a_shell_reads_what_was_meant() {
        for argument in
            ["plugins/a.wasm", "my plugins/it's $HOME.wasm", "", "a\nb", "`x` \"y\" \\z * ~", "~", "a;b|c&d", "é"]
        {
            let script = format!("printf %s {}", quoted(argument));
            let said = std::process::Command::new("sh").args(["-c", &script]).output().expect("a shell");
            assert_eq!(String::from_utf8_lossy(&said.stdout), argument, "{script}");
        }
        assert_eq!(quoted("-x.wasm"), "./-x.wasm");
        assert_eq!(quoted_path(Path::new("target/wasm32-wasip2/a.wasm")), "target/wasm32-wasip2/a.wasm");
    }
}
