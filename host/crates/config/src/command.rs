//! Commands of the host in messages, for a reader in the host's working directory.

use std::path::Path;

use host_text::quoted_path;

use super::Config;

/// The configuration that a command uses when none is named.
const USUAL: &str = "host.toml";

/// The commands that read a configuration.
const READERS: [&str; 12] = [
    "run",
    "plan",
    "gate",
    "validate",
    "query",
    "history",
    "audit",
    "costs",
    "silence",
    "silences",
    "receivers test",
    "doctor",
];

impl Config {
    /// A command of the host with the `--config` that this configuration needs: `host history raw` is
    /// `host history --config deploy/host.toml raw`. Other commands, and those that name one, stay.
    pub fn command(&self, command: &str) -> String {
        let file = self.file.strip_prefix(".").unwrap_or(&self.file);
        let usual = file == Path::new("") || file == Path::new(USUAL);
        let named = command.split(' ').any(|word| word == "--config" || word.starts_with("--config="));
        let parts = command.strip_prefix("host ").filter(|_| !usual && !named).and_then(|words| {
            let rest = |reader: &&str| {
                words.strip_prefix(*reader).filter(|rest| rest.is_empty() || rest.starts_with(char::is_whitespace))
            };
            READERS.iter().find_map(|reader| Some((reader, rest(reader)?)))
        });
        match parts {
            Some((reader, rest)) => format!("host {reader} --config {}{rest}", quoted_path(&self.file)),
            None => command.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_names_the_configuration_that_it_needs() {
        let at = |file: &str| Config { file: file.into(), ..Config::default() };
        for (command, wanted) in [
            ("host history raw", "host history --config 'my files/host.toml' raw"),
            ("host silences", "host silences --config 'my files/host.toml'"),
            ("host receivers test", "host receivers test --config 'my files/host.toml'"),
            ("host gate raw && echo", "host gate --config 'my files/host.toml' raw && echo"),
            ("host history --config a.toml", "host history --config a.toml"),
            ("host pin raw", "host pin raw"),
            ("host runs", "host runs"),
            ("bq query", "bq query"),
        ] {
            assert_eq!(at("my files/host.toml").command(command), wanted);
            assert_eq!(at(USUAL).command(command), command);
            assert_eq!(at("").command(command), command);
        }
    }
}
