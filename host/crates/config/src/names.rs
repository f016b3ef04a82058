//! The names that host.toml and plugins may use, and their rules. A name is shown on terminals, pages and in messages, is
//! part of addresses, and keys the record, so it has no line break, control or direction character.

use anyhow::{Result, bail};
use host_package::{PLUGIN_NAME, is_plugin_name};
use host_text::turns;

use super::Config;

/// The end of the name of a check that watches whether a gate was asked; only the host gives such names.
pub const CONSULTED: &str = ".consulted";
/// The longest name of a check or group.
const NAME: usize = 100;
/// The longest name of a channel, in characters: Slack's limit is 80.
const CHANNEL: usize = 80;

/// Checks the name of a check, or of a plugin's group.
pub fn check_name(name: &str) -> Result<()> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let begins = name.starts_with(|c: char| c.is_ascii_alphanumeric());
    if !begins || name.len() > NAME || !name.chars().all(plain) {
        bail!(
            "`{}` is not a valid name: use up to {NAME} letters, digits, -, _ and ., beginning with a letter or digit",
            shown(name)
        );
    }
    if name.to_ascii_lowercase().ends_with(CONSULTED) {
        bail!("`{name}` ends with {CONSULTED}, which only the host adds to names; use another name");
    }
    Ok(())
}

/// Checks the name of a channel.
pub fn channel_name(name: &str) -> Result<()> {
    if is_channel(name) {
        return Ok(());
    }
    let meant = format!("#{}", name.trim());
    if is_channel(&meant) {
        bail!("`{}` is not a channel name; write \"{meant}\"", shown(name));
    }
    bail!(
        "`{}` is not a channel name: use # and up to {CHANNEL} visible characters without spaces, quotes and \\",
        shown(name)
    )
}

fn is_channel(name: &str) -> bool {
    let Some(own) = name.strip_prefix('#') else { return false };
    // A channel with a character that does not show would look like another channel.
    let shows = name.escape_debug().eq(name.chars());
    let wrong = |c: char| c.is_whitespace() || c == '#';
    !own.is_empty() && own.chars().count() <= CHANNEL && !own.contains(wrong) && shows
}

/// The name of a check as a key of host.toml: `phase2-raw`, `"events.v2"`.
pub fn check_key(name: &str) -> String {
    if name.contains('.') { format!("{name:?}") } else { name.to_owned() }
}

/// Checks the names of checks and plugins in host.toml.
pub(super) fn check(config: &Config) -> Result<()> {
    for (name, check) in &config.checks {
        check_name(name).map_err(|error| anyhow::anyhow!("checks: {error}"))?;
        if let Some(plugin) = &check.plugin {
            plugin_name(plugin)
                .map_err(|error| anyhow::anyhow!("{}", config.at("checks", name, format!("plugin: {error}"))))?;
        }
    }
    config.grants.keys().try_for_each(|name| plugin_name(name).map_err(|error| anyhow::anyhow!("grants: {error}")))
}

pub(super) fn plugin_name(name: &str) -> Result<()> {
    if !is_plugin_name(name) {
        bail!("`{}` is not a plugin name: {PLUGIN_NAME}", shown(name));
    }
    Ok(())
}

/// The beginning of a name, with everything escaped that does not show as itself.
fn shown(name: &str) -> String {
    name.chars()
        .take(NAME)
        .map(|c| if turns(c) { c.escape_unicode().to_string() } else { c.escape_debug().to_string() })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each valid name has a twin that is refused.
    #[test]
    fn names_show_as_themselves_and_are_no_names_of_the_host() {
        for (valid, refused) in [
            ("phase2-raw", "phase2\nraw"),
            ("Raw_events.v2", "Raw events.v2"),
            ("evil.consult", "evil.consulted"),
            ("a.consulted-not", "a.Consulted"),
            ("consulted", ".consulted"),
            ("a", ""),
            ("cod", "c\u{202e}od"),
            ("red", "\u{1b}[31mred"),
            ("0", "-"),
            ("a..b", ".."),
        ] {
            assert!(check_name(valid).is_ok(), "{valid}");
            let error = check_name(refused).expect_err(refused).to_string();
            assert!(!error.contains(|c: char| c.is_control() || turns(c)), "{error:?}");
        }
        assert!(check_name(&"n".repeat(NAME)).is_ok() && check_name(&"n".repeat(NAME + 1)).is_err());
    }

    #[test]
    fn a_channel_begins_with_a_number_sign_and_is_one_word() {
        for (valid, refused) in [
            ("#on-call", "on-call"),
            ("#fallback", "fallback"),
            ("#données", "#données "),
            ("#a_b.c", "#a\nb"),
            ("#a", "#"),
            ("#cod", "#c\u{202e}od"),
            ("#on-call", "#on-call\u{200b}"),
            ("#donne\u{301}es", "#\u{feff}on-call"),
            ("#o/n", "#o\\n"),
            ("#हिन्दी", "#o\"n"),
            ("#b", "##b"),
        ] {
            assert!(channel_name(valid).is_ok(), "{valid}");
            assert!(channel_name(refused).is_err(), "{refused}");
        }
        assert!(channel_name(&format!("#{}", "n".repeat(CHANNEL + 1))).is_err());
        // A name is suggested only if it is one.
        let suggested = |name: &str| {
            let error = channel_name(name).expect_err(name).to_string();
            error.split_once("write \"").map(|(_, name)| name.trim_end_matches('"').to_owned())
        };
        assert_eq!(suggested("fallback      ").as_deref(), Some("#fallback"));
        for none in ["on call", "", " ", "#on call", "a\nb", "a#b", &"n".repeat(CHANNEL + 1)] {
            assert_eq!(suggested(none), None, "{none}");
        }
    }
}
