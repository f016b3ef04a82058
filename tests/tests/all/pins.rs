//! plugins.lock through the built host: what is pinned runs, and nothing else does.

use std::{fs, path::PathBuf};

use serde_json::Value;

use crate::support::{
    AT,
    command::{Ended, Sample, ended, shipped},
    watched::{plugin, reversioned},
};

/// A sample with copies of two plugins in `plugins/`.
fn sample() -> Sample {
    let sample = Sample::new(None).unwrap();
    fs::create_dir(sample.path().join("plugins")).unwrap();
    for name in ["phase2-raw", "phase3-analytics"] {
        fs::copy(plugin(name), sample.path().join(format!("plugins/{name}.wasm"))).unwrap();
    }
    sample
}

fn files(sample: &Sample) -> Vec<PathBuf> {
    let entries = fs::read_dir(sample.path().join("plugins")).unwrap().flatten().map(|entry| entry.path());
    let mut files: Vec<PathBuf> =
        entries.filter(|path| path.extension().is_some_and(|extension| extension == "wasm")).collect();
    files.sort();
    files.into_iter().map(|path| PathBuf::from("plugins").join(path.file_name().unwrap())).collect()
}

/// `host … plugins/*.wasm`
fn with_files(sample: &Sample, arguments: &[&str]) -> Ended {
    ended(sample.command().args(arguments).args(files(sample))).unwrap()
}

fn run(sample: &Sample, arguments: &[&str]) -> Ended {
    let once =
        ["run", "--once", "--at", AT, "--output", "json", "--check", "phase2-raw", "--check", "phase3-analytics"];
    with_files(sample, &[&once[..], arguments].concat())
}

fn lock(sample: &Sample) -> String {
    fs::read_to_string(sample.path().join("plugins.lock")).unwrap()
}

#[test]
fn what_is_pinned_runs_and_other_bytes_do_not() {
    let sample = sample();
    let unpinned = run(&sample, &[]);
    assert_eq!(unpinned.code, 0, "{unpinned:?}");
    assert!(unpinned.err.contains("nothing is pinned: there is no plugins.lock"), "{}", unpinned.err);
    let locked = run(&sample, &["--locked"]);
    assert_eq!((locked.code, locked.out.as_str()), (64, ""));
    assert!(
        locked.err.contains("nothing is pinned: there is no plugins.lock; `host pin plugins/*.wasm` writes one"),
        "{}",
        locked.err
    );

    let pinned = with_files(&sample, &["pin"]);
    assert_eq!(pinned.code, 0, "{pinned:?}");
    assert!(pinned.err.contains("phase2-raw: 0.1.0 sha256:") && pinned.err.contains("2 plugins pinned"), "{pinned:?}");
    let locked = run(&sample, &["--locked"]);
    assert_eq!((locked.code, locked.err.as_str()), (0, ""));

    // One byte more, at the end, where it changes nothing but the digest.
    let path = sample.path().join("plugins/phase2-raw.wasm");
    let mut bytes = fs::read(&path).unwrap();
    bytes.extend([0, 2, 1, b'x']);
    fs::write(&path, &bytes).unwrap();
    let changed = run(&sample, &[]);
    assert_eq!(changed.code, 3, "{changed:?}");
    assert_eq!(changed.run("phase3-analytics")["status"], "pass");
    let checked = changed.run("phase2-raw");
    let error = checked["error"].as_str().unwrap();
    let digests = error.matches("sha256:").count();
    let command = "accept it with `host pin phase2-raw@0.1.0 plugins/phase2-raw.wasm`";
    assert!(digests == 2 && error.contains("is pinned to 0.1.0") && error.contains(command), "{error}");
    assert_eq!(checked["plugin"], Value::Null, "it did not run");

    // The command does what it says.
    let accepted = sample.host(&["pin", "phase2-raw@0.1.0", "plugins/phase2-raw.wasm"]).unwrap();
    assert!(accepted.err.contains("same version, different bytes: previously sha256:"), "{}", accepted.err);
    assert_eq!(run(&sample, &["--locked"]).code, 0);
}

#[test]
fn a_plugin_that_is_not_pinned_does_not_run() {
    let sample = sample();
    assert_eq!(sample.host(&["pin", "plugins/phase3-analytics.wasm"]).unwrap().code, 0);
    let ended = run(&sample, &[]);
    assert_eq!(ended.code, 3);
    let error = ended.run("phase2-raw")["error"].as_str().unwrap().to_owned();
    assert!(error.contains("is not pinned in plugins.lock; accept it with `host pin phase2-raw@0.1.0"), "{error}");
    assert_eq!(ended.run("phase3-analytics")["status"], "pass");
}

#[test]
fn of_several_versions_the_pinned_one_runs() {
    let sample = sample();
    with_files(&sample, &["pin"]);
    fs::write(sample.path().join("plugins/newer.wasm"), reversioned("phase2-raw", "0.2.0")).unwrap();
    assert_eq!(run(&sample, &[]).run("phase2-raw")["plugin"]["version"], "0.1.0");
    // Pinning everything again moves nothing.
    let before = lock(&sample);
    assert_eq!(with_files(&sample, &["pin"]).code, 0);
    assert_eq!(lock(&sample), before);

    // Moving one plugin leaves every other line as it was.
    let moved = sample.host(&["pin", "phase2-raw"]).unwrap();
    assert_eq!(moved.code, 0, "{moved:?}");
    assert!(moved.err.contains("phase2-raw: 0.1.0 → 0.2.0 sha256:"), "{}", moved.err);
    let ended = run(&sample, &[]);
    assert_eq!((ended.code, &ended.run("phase2-raw")["plugin"]["version"]), (0, &Value::from("0.2.0")));
    let after = lock(&sample);
    let differ: Vec<&str> =
        after.lines().zip(before.lines()).filter(|(after, before)| after != before).map(|(after, _)| after).collect();
    assert_eq!(differ.len(), 3, "{differ:?}");
    assert!(differ[0] == "version = \"0.2.0\"" && differ[2] == "source = \"plugins/newer.wasm\"", "{differ:?}");

    // And back, by version.
    assert_eq!(sample.host(&["pin", "phase2-raw@0.1.0"]).unwrap().code, 0);
    assert_eq!(lock(&sample), before);

    // Without a lock nobody can say which.
    fs::remove_file(sample.path().join("plugins.lock")).unwrap();
    let error = run(&sample, &[]).run("phase2-raw")["error"].as_str().unwrap().to_owned();
    assert!(error.contains("2 plugins are named phase2-raw") && error.contains("pin one with `host pin`"), "{error}");
    let refused = with_files(&sample, &["pin"]);
    assert_eq!(refused.code, 64);
    assert!(refused.err.contains("choose one, as in `host pin phase2-raw@0.2.0`"), "{}", refused.err);
    assert!(!sample.path().join("plugins.lock").exists());
}

#[test]
fn comparing_changes_nothing() {
    let sample = sample();
    let nothing = with_files(&sample, &["pin", "--verify"]);
    assert_eq!(nothing.code, 64, "{nothing:?}");
    with_files(&sample, &["pin"]);
    let before = lock(&sample);
    assert_eq!(with_files(&sample, &["pin", "--verify"]).code, 0);
    assert_eq!(sample.host(&["pin", "--verify"]).unwrap().code, 0);

    fs::write(sample.path().join("plugins/phase2-raw.wasm"), reversioned("phase2-raw", "0.3.0")).unwrap();
    fs::copy(plugin("phase2-gate"), sample.path().join("plugins/phase2-gate.wasm")).unwrap();
    fs::remove_file(sample.path().join("plugins/phase3-analytics.wasm")).unwrap();
    let differs = sample.host(&["pin", "--verify"]).unwrap();
    assert_eq!(differs.code, 2, "{differs:?}");
    for words in [
        "phase2-raw: pinned as 0.1.0 sha256:",
        "phase2-raw.wasm is 0.3.0 sha256:",
        "phase2-gate: not pinned",
        "phase3-analytics: pinned as 0.1.0, but no file holds it",
    ] {
        assert!(differs.err.contains(words), "{words}: {}", differs.err);
    }
    assert_eq!(lock(&sample), before);

    assert!(with_files(&sample, &["pin"]).err.contains("phase3-analytics: its file is gone; `host pin --prune`"));
    assert_eq!(sample.host(&["pin", "--prune"]).unwrap().code, 0);
    assert!(!lock(&sample).contains("phase3-analytics"));
}

#[test]
fn pins_that_cannot_be() {
    let sample = sample();
    with_files(&sample, &["pin"]);
    let before = lock(&sample);
    fs::write(sample.path().join("plugins/noise.bin.wasm"), "no component").unwrap();
    for (arguments, words) in [
        (&["pin"][..], "name plugin files or a plugin"),
        (
            &["pin", "phase2-rav", "plugins/phase2-raw.wasm"],
            "no file holds the plugin phase2-rav; did you mean `phase2-raw`?",
        ),
        (&["pin", "phase2-raw@2", "plugins/phase2-raw.wasm"], "`2` is not a version; write it as in phase2-raw@1.2.0"),
        (
            &["pin", "phase2-raw@9.9.9", "plugins/phase2-raw.wasm"],
            "none of the files holds phase2-raw 9.9.9; found: 0.1.0 in plugins/phase2-raw.wasm",
        ),
        (
            &["pin", "plugins/phase2-raw.wasm", "plugins/noise.bin.wasm"],
            "noise.bin.wasm: is not a valid WebAssembly component",
        ),
        (&["pin", "plugins/absent.wasm"], "absent.wasm: cannot be read"),
    ] {
        let ended = sample.host(arguments).unwrap();
        assert_eq!(ended.code, 64, "{arguments:?}: {ended:?}");
        assert!(ended.err.contains(words), "{arguments:?}: {}", ended.err);
    }
    assert_eq!(lock(&sample), before);
    fs::write(sample.path().join("plugins.lock"), before.replace("format = 1", "format = 7")).unwrap();
    let ended = run(&sample, &[]);
    assert_eq!(ended.code, 64, "{ended:?}");
    assert!(ended.err.contains("plugins.lock: refused") && ended.err.contains("run a newer host"), "{}", ended.err);
}

/// The file's name does not matter; the plugin's description must agree with its metadata.
#[test]
fn names_and_versions_are_inside_the_component() {
    let sample = sample();
    fs::rename(sample.path().join("plugins/phase2-raw.wasm"), sample.path().join("plugins/other.wasm")).unwrap();
    assert_eq!(run(&sample, &[]).code, 0);
    // An outer section wins over the SDK's; then `describe` says something else.
    let mut bytes = fs::read(plugin("phase2-raw")).unwrap();
    bytes.extend([0, 13, 7]);
    bytes.extend(b"version9.9.9");
    fs::write(sample.path().join("plugins/other.wasm"), bytes).unwrap();
    let error = run(&sample, &[]).run("phase2-raw")["error"].as_str().unwrap().to_owned();
    assert!(error.contains("describes itself with the version 0.1.0, but its metadata says 9.9.9"), "{error}");
}

/// Concurrent pins of two processes are all kept, and comments stay with the plugin below them.
#[test]
fn pins_of_others_are_kept() {
    let sample = Sample::new(None).unwrap();
    let pinning: Vec<std::process::Child> = shipped()
        .unwrap()
        .iter()
        .map(|file| sample.command().arg("pin").arg(file).stderr(std::process::Stdio::null()).spawn().unwrap())
        .collect();
    for mut process in pinning {
        assert!(process.wait().unwrap().success());
    }
    let path = sample.path().join("plugins.lock");
    let text = fs::read_to_string(&path).unwrap();
    assert_eq!(text.matches("[plugin.").count(), 9, "{text}");

    let above = text.replace("[plugin.phase2-raw]", "# Agreed with the raw team.\n[plugin.phase2-raw]");
    let other = above.replace("[plugin.phase2-gate]\nversion = \"0.1.0\"", "[plugin.phase2-gate]\nversion = \"0.0.9\"");
    fs::write(&path, &other).unwrap();
    let shipped = shipped().unwrap();
    let gate = shipped.iter().find(|file| file.ends_with("phase2-gate.wasm")).unwrap();
    let check = sample.host(&["pin", "--verify", &gate.display().to_string()]).unwrap();
    assert_eq!(check.code, 2, "another version is a difference: {check:?}");
    assert_eq!(sample.host(&["pin", &gate.display().to_string()]).unwrap().code, 0);
    assert_eq!(fs::read_to_string(&path).unwrap(), above);
}

/// Two different files with the same name and version: neither is chosen silently.
#[test]
fn a_twin_with_other_bytes_is_not_chosen() {
    let sample = Sample::new(None).unwrap();
    let raw = shipped().unwrap().into_iter().find(|file| file.ends_with("phase2-raw.wasm")).unwrap();
    let directory = sample.path().join("plugins");
    fs::create_dir(&directory).unwrap();
    fs::copy(&raw, directory.join("phase2-raw.wasm")).unwrap();
    assert_eq!(sample.host(&["pin", "plugins/phase2-raw.wasm"]).unwrap().code, 0);
    let mut twin = fs::read(&raw).unwrap();
    // A custom section of no meaning.
    twin.extend([0, 2, 1, b'x']);
    fs::write(directory.join("zz.wasm"), twin).unwrap();
    let refused = sample.host(&["pin", "phase2-raw@0.1.0"]).unwrap();
    assert_eq!(refused.code, 64, "{refused:?}");
    assert!(refused.err.contains("exists twice with different bytes"), "{}", refused.err);
}
