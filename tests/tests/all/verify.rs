//! `host pin --verify` says what `host run` would say, and plugins.lock keeps the order and the comments of its owner.

use std::fs;

use crate::support::{
    AT,
    command::{Ended, Sample},
    registry::Registry,
    watched::{plugin, reversioned},
};

/// A sample with two plugins in `plugins/`, pinned.
fn sample() -> Sample {
    let sample = super::pins::sample();
    assert_eq!(sample.host(&["pin", "plugins/"]).unwrap().code, 0);
    sample
}

fn lock(sample: &Sample) -> String {
    fs::read_to_string(sample.path().join("plugins.lock")).unwrap()
}

/// The pinned plugins, each from its own source.
fn run(sample: &Sample) -> Ended {
    sample.host(&["run", "--once", "--locked", "--at", AT, "--check", "phase2-raw"]).unwrap()
}

#[test]
fn a_directory_needs_no_slash_but_plugins() {
    let sample = sample();
    let host = |arguments: &[&str]| sample.host(arguments).unwrap();
    let before = lock(&sample);
    assert_eq!((host(&["pin", "plugins"]).code, host(&["pin", "--verify", "plugins"]).code), (0, 0));
    assert_eq!(lock(&sample), before);

    // Named like a pinned plugin, and empty.
    fs::create_dir(sample.path().join("phase2-raw")).unwrap();
    assert_eq!(host(&["pin", "phase2-raw"]).code, 0, "the plugin");
    for arguments in [&["pin", "phase2-raw/"][..], &["pin", "--verify", "phase2-raw/"]] {
        let none = host(arguments);
        assert_eq!((none.code, none.err.as_str()), (64, "error: there is no plugin in phase2-raw/\n"), "{none:?}");
    }

    fs::remove_file(sample.path().join("plugins/phase2-raw.wasm")).unwrap();
    let missing = host(&["pin", "--verify", "plugins"]);
    let said = "phase2-raw: pinned as 0.1.0, but plugins/phase2-raw.wasm does not have it";
    assert!(missing.code == 2 && missing.err.contains(said), "{missing:?}");
}

#[test]
fn a_file_that_was_renamed_is_a_difference() {
    let sample = sample();
    let host = |arguments: &[&str]| sample.host(arguments).unwrap();
    let moves = |from: &str, to: &str| fs::rename(sample.path().join(from), sample.path().join(to)).unwrap();
    assert_eq!((host(&["pin", "--verify"]).code, run(&sample).code), (0, 0));

    moves("plugins/phase2-raw.wasm", "plugins/renamed.wasm");
    let said = "phase2-raw: pinned as 0.1.0, but plugins/phase2-raw.wasm does not exist; \
                pin it where it is: `host pin phase2-raw@0.1.0 plugins/renamed.wasm`";
    for arguments in [&["pin", "--verify"][..], &["pin", "--verify", "phase2-raw"]] {
        let differs = host(arguments);
        assert_eq!(differs.code, 2, "{differs:?}");
        assert!(differs.err.contains(said), "{}", differs.err);
    }
    assert_eq!(host(&["pin", "--verify", "phase3-analytics"]).code, 0, "the other one is where it was");
    moves("plugins/phase3-analytics.wasm", "plugins/other.wasm");
    let nothing = run(&sample);
    assert_eq!(nothing.code, 64, "{nothing:?}");
    assert!(nothing.err.contains("on disk; pin them where they are, as in `host pin plugins/*.wasm`"), "{nothing:?}");
    assert_eq!(host(&["pin", "plugins/renamed.wasm", "plugins/other.wasm"]).code, 0);
    assert_eq!((host(&["pin", "--verify"]).code, run(&sample).code), (0, 0));

    // The pinned bytes beside a source with others: the host opens the source.
    fs::write(sample.path().join("plugins/phase2-raw.wasm"), reversioned("phase2-raw", "0.2.0")).unwrap();
    moves("plugins/renamed.wasm", "plugins/kept.wasm");
    moves("plugins/phase2-raw.wasm", "plugins/renamed.wasm");
    let differs = host(&["pin", "--verify"]);
    assert_eq!(differs.code, 2, "{differs:?}");
    assert!(differs.err.contains("but plugins/renamed.wasm is 0.2.0 sha256:"), "{}", differs.err);
    assert_ne!(run(&sample).code, 0);
    // A pinned file that is damaged, and one that holds another plugin.
    fs::write(sample.path().join("plugins/renamed.wasm"), "damaged").unwrap();
    let damaged = host(&["pin", "--verify"]);
    assert!(damaged.code == 64 && damaged.err.contains("renamed.wasm: is not a valid"), "{damaged:?}");
    fs::copy(plugin("phase2-gate"), sample.path().join("plugins/renamed.wasm")).unwrap();
    let other = host(&["pin", "--verify"]);
    assert!(other.code == 2 && other.err.contains("phase2-raw: pinned, but plugins/renamed.wasm is"), "{other:?}");
}

#[test]
fn a_plugin_that_was_not_pulled_is_a_difference() {
    let sample = sample();
    let registry = Registry::start(false).unwrap();
    let host = |arguments: &[&str]| sample.host(arguments).unwrap();
    let place = format!("oci://{}/data/phase2-raw", registry.host());
    assert_eq!(host(&["push", "plugins/phase2-raw.wasm", &place]).code, 0);
    assert_eq!(host(&["add", &place]).code, 0);
    assert_eq!(host(&["pin", "--verify"]).code, 0);
    fs::remove_dir_all(sample.path().join("plugins.store")).unwrap();
    let absent = host(&["pin", "--verify"]);
    assert_eq!(absent.code, 2, "{absent:?}");
    assert!(absent.err.contains(".wasm does not exist; `host pull` fetches it"), "{}", absent.err);
    assert_eq!(host(&["pull"]).code, 0);
    assert_eq!(host(&["pin", "--verify"]).code, 0);
}

/// A file that somebody sorted in another way, with comments between and below the pins.
#[test]
fn the_order_of_the_lock_file_stays() {
    let sample = sample();
    let text = lock(&sample);
    let (head, pins) = text.split_at(text.find("\n[plugin.").unwrap());
    let (raw, analytics) = pins.split_at(pins.rfind("\n[plugin.").unwrap());
    let text =
        format!("{head}{analytics}\n# Below: everything about phase 2.\n{raw}\n# Ask the data team before a change.\n");
    fs::write(sample.path().join("plugins.lock"), &text).unwrap();
    assert_eq!(sample.host(&["pin", "plugins/"]).unwrap().code, 0);
    assert_eq!(lock(&sample), text, "nothing moved");

    fs::write(sample.path().join("plugins/phase3-analytics.wasm"), reversioned("phase3-analytics", "0.2.0")).unwrap();
    assert_eq!(sample.host(&["pin", "phase3-analytics"]).unwrap().code, 0);
    let moved = lock(&sample);
    let changed = text.lines().zip(moved.lines()).filter(|(old, new)| old != new).count();
    assert_eq!((changed, text.lines().count()), (2, moved.lines().count()), "{moved}");
    // A further pin adds lines, and removing it takes them.
    fs::copy(plugin("phase6-publishing"), sample.path().join("plugins/phase6.wasm")).unwrap();
    assert_eq!(sample.host(&["pin", "plugins/phase6.wasm"]).unwrap().code, 0);
    let more = lock(&sample);
    assert!(more.ends_with("\n\n# Ask the data team before a change.\n"), "{more}");
    assert_eq!(more.lines().count(), moved.lines().count() + 6, "{more}");
    fs::remove_file(sample.path().join("plugins/phase6.wasm")).unwrap();
    assert_eq!(sample.host(&["pin", "--prune"]).unwrap().code, 0);
    assert_eq!(lock(&sample), moved);
}
