//! Names of plugins, checks, groups and channels: an accepted name shows as itself in a log line and in host.toml, and is no
//! name that the host gives.
#![no_main]

use std::path::Path;

use host_config::{CONSULTED, Config, channel_name, check_key, check_name};
use host_package::{Lock, is_plugin_name, name_of};
use host_text::{encoded, printable, turns};
use libfuzzer_sys::fuzz_target;

/// Any text as a basic string of TOML.
fn quoted(text: &str) -> String {
    let escaped = |c: char| match c {
        '"' | '\\' => format!("\\{c}"),
        c if c.is_control() => format!("\\u{:04X}", u32::from(c)),
        c => c.to_string(),
    };
    format!("\"{}\"", text.chars().map(escaped).collect::<String>())
}

/// It cannot steer a terminal or turn the text around it, and no two names look like one for an invisible character.
fn shows(name: &str) {
    assert_eq!(printable(name), name);
    assert!(
        !name.is_empty()
            && name.len() <= 400
            && !name.contains(|c: char| c.is_control() || c.is_whitespace() || turns(c))
    );
    assert!(name.escape_debug().eq(name.chars()), "{name:?}");
    let line = format!("2026-02-06T11:30:00Z error {name} 2026-02-05: pass");
    assert_eq!(line.lines().count(), 1);
    assert_eq!(line.split(' ').nth(2), Some(name));
}

fn is_check(name: &str) -> bool {
    if check_name(name).is_err() {
        return false;
    }
    shows(name);
    // No name ends like the host's own, and no accepted name's own watch could have been a name.
    assert!(!name.to_lowercase().ends_with(CONSULTED) && check_name(&format!("{name}{CONSULTED}")).is_err());
    assert_eq!(encoded(name), name);
    let key = check_key(name);
    let read: toml::Table = format!("checks.{key}.plugin = 'p'").parse().expect("a key");
    assert!(read["checks"][name].get("plugin").is_some(), "{key}");
    true
}

/// The one key of a table of host.toml, if it is accepted.
fn key(text: &str, keys: impl Fn(&Config) -> Vec<String>) -> Option<String> {
    let config = Config::parse(text).ok()?;
    let keys = keys(&config);
    assert_eq!(keys.len(), 1, "{text}");
    keys.into_iter().next()
}

fuzz_target!(|name: &str| {
    let quoted = quoted(name);
    let accepted = is_check(name).then(|| name.to_owned());
    assert_eq!(key(&format!("[checks.{quoted}]"), |config| config.checks.keys().cloned().collect()), accepted);

    let plugin = is_plugin_name(name).then(|| name.to_owned());
    assert_eq!(key(&format!("[grants.{quoted}]"), |config| config.grants.keys().cloned().collect()), plugin);
    let text = format!(
        "format = 1\n[plugin.{quoted}]\nversion = '1.0.0'\napi = '0.1.0'\ndigest = 'sha256:{}'\nsource = 'p.wasm'\n",
        "0".repeat(64)
    );
    let lock = Lock::parse(Path::new("plugins.lock"), &text);
    assert_eq!(lock.is_ok(), plugin.is_some());
    // A plugin without a check of its own is a check of its name, and its key in host.toml needs no quotes.
    assert!(plugin.is_none() || (accepted.is_some() && check_key(name) == name));
    // So is a file that cannot be read.
    assert!(is_check(&name_of(Path::new(name))), "{}", name_of(Path::new(name)));

    for channel in [name.to_owned(), format!("#{name}")] {
        let given = channel_name(&channel).is_ok();
        assert!(!given || channel.starts_with('#') && channel.len() > 1);
        if given {
            shows(&channel);
            // As the line to add shows it.
            let read: toml::Table = format!("slack = [\"{channel}\"]").parse().expect("a channel");
            assert_eq!(read["slack"][0].as_str(), Some(channel.as_str()));
        }
    }
});
