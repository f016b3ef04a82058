//! plugins.lock through the built host: what is pinned runs, and nothing else does.

use std::{fs, path::PathBuf};

use serde_json::Value;

use crate::support::{
    AT,
    command::{Ended, Sample, ended, shipped},
    watched::{plugin, reversioned},
};

/// A sample with copies of two plugins in `plugins/`.
pub(super) fn sample() -> Sample {
    let sample = Sample::new(None).unwrap();
    fs::create_dir(sample.path().join("plugins")).unwrap();
    for name in ["phase2-raw", "phase3-analytics"] {
        fs::copy(plugin(name), sample.path().join(format!("plugins/{name}.wasm"))).unwrap();
    }
    sample
}

fn files(sample: &Sample) -> Vec<PathBuf> {
    let entries = fs::read_dir(sample.path().join("plugins")).unwrap().flatten().map(|entry| entry.path());
    let hidden = |path: &PathBuf| path.file_name().unwrap().to_string_lossy().starts_with('.');
    let mut files: Vec<PathBuf> =
        entries.filter(|path| path.extension().is_some_and(|extension| extension == "wasm") && !hidden(path)).collect();
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
        locked.err.contains(
            "nothing is pinned: there is no plugins.lock; `host pin plugins/phase2-raw.wasm plugins/phase3-analytics.wasm` writes one"
        ),
        "{}",
        locked.err
    );

    let pinned = with_files(&sample, &["pin"]);
    assert_eq!(pinned.code, 0, "{pinned:?}");
    assert!(pinned.err.contains("phase2-raw: 0.1.0 sha256:") && pinned.err.contains("2 plugins pinned"), "{pinned:?}");
    let locked = run(&sample, &["--locked"]);
    assert_eq!(
        (locked.code, locked.err.as_str()),
        (0, "canaries: all 2 checks passed, data of 2026-02-05\n"),
        "quiet otherwise"
    );

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
    assert!(
        error.contains("2 plugins are named phase2-raw")
            && error.contains("or pin one, as with `host pin phase2-raw@0.2.0 "),
        "{error}"
    );
    let refused = with_files(&sample, &["pin"]);
    assert_eq!(refused.code, 64);
    assert!(refused.err.contains("choose one, as in `host pin phase2-raw@0.2.0 "), "{}", refused.err);
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
        "phase3-analytics: pinned as 0.1.0, but plugins/phase3-analytics.wasm does not exist; no other file there has its bytes",
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

/// After a new version the next command is named, with a check that host.toml gives to the plugin.
#[test]
fn a_new_version_can_be_replayed_as_the_hint_says() {
    let sample = Sample::new(None).unwrap();
    let file = sample.path().join("plugins/canary-sql.wasm");
    fs::create_dir(sample.path().join("plugins")).unwrap();
    fs::copy(plugin("canary-sql"), &file).unwrap();
    assert_eq!(sample.host(&["pin", "plugins/"]).unwrap().code, 0);
    let once = sample.host(&["run", "--once", "--at", AT, "--check", "weekly-signals"]).unwrap();
    assert!(once.code <= 2, "{once:?}");
    let mut other = fs::read(&file).unwrap();
    // A custom section of no meaning.
    other.extend([0, 2, 1, b'x']);
    fs::write(&file, other).unwrap();
    let pinned = sample.host(&["pin", "plugins/"]).unwrap();
    let hint = "next: `host replay weekly-signals --plugin plugins/canary-sql.wasm`";
    assert!(pinned.code == 0 && pinned.err.contains(hint), "{pinned:?}");
    let again = sample.host(&["replay", "weekly-signals", "--plugin", "plugins/canary-sql.wasm"]).unwrap();
    assert!(again.code == 0 && again.out.contains("1 would say the same"), "{again:?}");
}

/// What editors, copying programs and people leave beside plugins is not a plugin.
#[test]
fn leftovers_are_not_plugins() {
    let sample = sample();
    let plugins = sample.path().join("plugins");
    let results = |ended: &Ended| {
        let runs = ended.json()["runs"].as_array().unwrap().clone();
        runs.iter().map(|run| (run["check"].clone(), run["status"].clone())).collect::<Vec<_>>()
    };
    let once = ["run", "--once", "--dry-run", "--at", AT, "--output", "json"];
    let directory = || results(&sample.host(&[&once[..], &["plugins/"]].concat()).unwrap());
    // As a shell writes `plugins/*.wasm`: with directories, without hidden files.
    let named = || results(&ended(sample.command().args(once).args(files(&sample))).unwrap());
    // The sample names more checks, whose plugins are not there.
    let before = directory();
    assert!(before.contains(&("phase2-raw".into(), "pass".into())), "{before:?}");
    assert!(before.contains(&("phase2-gate".into(), "error".into())), "{before:?}");
    for leftover in ["._phase2-raw.wasm", ".#phase3-analytics.wasm"] {
        fs::write(plugins.join(leftover), "not a component").unwrap();
    }
    fs::create_dir(plugins.join("old.wasm")).unwrap();
    fs::copy(plugin("phase2-gate"), plugins.join("old.wasm/phase2-gate.wasm")).unwrap();
    assert_eq!((directory(), named()), (before.clone(), before));

    let pinned = with_files(&sample, &["pin"]);
    assert_eq!(pinned.code, 0, "{pinned:?}");
    assert!(pinned.err.contains("skipped: plugins/old.wasm: it is a directory"), "{}", pinned.err);
    assert!(pinned.err.contains("2 plugins pinned") && !lock(&sample).contains("phase2-gate"), "{}", pinned.err);
    let before = lock(&sample);
    assert_eq!(sample.host(&["pin", "plugins/"]).unwrap().code, 0, "a directory, without what is left in it");
    assert_eq!(sample.host(&["pin", "--verify"]).unwrap().code, 0);
    assert_eq!(lock(&sample), before);
    // A file that is named is meant, whatever its name.
    let hidden = sample.host(&["pin", "plugins/._phase2-raw.wasm"]).unwrap();
    assert_eq!(hidden.code, 64);
    assert!(hidden.err.contains("._phase2-raw.wasm: is not a valid WebAssembly component"), "{}", hidden.err);
}

/// One file that nobody can read stops only what is about it.
#[test]
fn an_unreadable_file_stops_no_other() {
    let sample = sample();
    with_files(&sample, &["pin"]);
    let plugins = sample.path().join("plugins");
    std::os::unix::fs::symlink("nowhere", plugins.join("broken.wasm")).unwrap();
    fs::write(plugins.join("phase2-raw.wasm"), reversioned("phase2-raw", "0.2.0")).unwrap();

    let moved = sample.host(&["pin", "phase2-raw"]).unwrap();
    assert_eq!(moved.code, 0, "{moved:?}");
    assert!(moved.err.contains("skipped: plugins/broken.wasm: cannot be read"), "{}", moved.err);
    assert!(lock(&sample).contains("version = \"0.2.0\""));

    fs::write(plugins.join("phase2-raw.wasm"), reversioned("phase2-raw", "0.3.0")).unwrap();
    let verified = sample.host(&["pin", "--verify"]).unwrap();
    assert_eq!(verified.code, 2, "{verified:?}");
    for words in ["phase2-raw: pinned as 0.2.0 sha256:", "skipped: plugins/broken.wasm: cannot be read"] {
        assert!(verified.err.contains(words), "{words}: {}", verified.err);
    }
    // The twins: a file that is named, and one that is pinned.
    let named = sample.host(&["pin", "--verify", "plugins/broken.wasm", "plugins/phase2-raw.wasm"]).unwrap();
    assert_eq!(named.code, 64, "{named:?}");
    assert!(named.err.contains("phase2-raw: pinned as 0.2.0 sha256:"), "{}", named.err);
    let own = sample.host(&["pin", "--verify", "phase3-analytics"]).unwrap();
    assert_eq!(own.code, 0, "{own:?}");

    // Pruning removes pins without files, and accepts no other bytes by the way.
    fs::remove_file(plugins.join("phase3-analytics.wasm")).unwrap();
    let pruned = sample.host(&["pin", "--prune"]).unwrap();
    assert_eq!(pruned.code, 0, "{pruned:?}");
    assert!(pruned.err.contains("phase3-analytics: removed"), "{}", pruned.err);
    assert!(lock(&sample).contains("version = \"0.2.0\"") && !lock(&sample).contains("phase3-analytics"));

    // The twin: files that are named are pinned together or not at all.
    let before = lock(&sample);
    let named = sample.host(&["pin", "plugins/phase2-raw.wasm", "plugins/broken.wasm"]).unwrap();
    assert_eq!(named.code, 64, "{named:?}");
    assert_eq!(lock(&sample), before);
    // The plugin whose own file is damaged is not moved to an older one.
    fs::write(plugins.join("older.wasm"), reversioned("phase2-raw", "0.1.5")).unwrap();
    fs::write(plugins.join("phase2-raw.wasm"), "damaged").unwrap();
    let damaged = sample.host(&["pin", "phase2-raw"]).unwrap();
    assert_eq!(damaged.code, 64, "{damaged:?}");
    assert!(damaged.err.contains("name the version to pin"), "{}", damaged.err);
}

/// The file of somebody who keeps plugins.lock elsewhere, private, commented, or with the line endings of Windows.
#[test]
fn the_lock_file_stays_as_its_owner_made_it() {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let sample = sample();
    with_files(&sample, &["pin"]);
    let elsewhere = sample.path().join("deploy");
    fs::create_dir(&elsewhere).unwrap();
    let (link, real) = (sample.path().join("plugins.lock"), elsewhere.join("plugins.lock"));
    let text = lock(&sample)
        .replace("[plugin.phase2-raw]", "# Agreed in May.\n[plugin.phase2-raw] # by the raw team")
        .replace("[plugin.phase3-analytics]", "[ plugin.phase3-analytics ] # reviewed")
        .replace('\n', "\r\n");
    fs::write(&real, &text).unwrap();
    fs::set_permissions(&real, fs::Permissions::from_mode(0o640)).unwrap();
    fs::remove_file(&link).unwrap();
    symlink("deploy/plugins.lock", &link).unwrap();
    fs::write(sample.path().join("plugins/phase2-raw.wasm"), reversioned("phase2-raw", "0.2.0")).unwrap();

    assert_eq!(sample.host(&["pin", "phase2-raw"]).unwrap().code, 0);
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink(), "the link stays");
    assert_eq!(fs::metadata(&real).unwrap().permissions().mode() & 0o777, 0o640);
    let after = fs::read_to_string(&real).unwrap();
    let changed = text.lines().zip(after.lines()).filter(|(old, new)| old != new).count();
    assert_eq!((changed, text.lines().count()), (2, after.lines().count()), "{after}");
    assert_eq!(after.matches('\n').count(), after.matches("\r\n").count(), "{after:?}");
    assert_eq!(run(&sample, &["--locked"]).code, 0, "and it is read as before");

    // A new file has the mode that this user's files have.
    fs::remove_file(&link).unwrap();
    let mut command = std::process::Command::new("sh");
    let pin = format!(
        "umask 077; exec {} pin plugins/phase3-analytics.wasm",
        crate::support::command::binary("host").display()
    );
    assert_eq!(ended(command.args(["-c", &pin]).current_dir(sample.path())).unwrap().code, 0);
    assert_eq!(fs::metadata(&link).unwrap().permissions().mode() & 0o777, 0o600);
}

/// Another process that keeps the lock is waited for, for a while, and named.
#[test]
fn a_lock_of_another_process_is_waited_for_and_named() {
    let sample = sample();
    let lock = || {
        let directory = fs::File::open(sample.path()).unwrap();
        directory.lock().unwrap();
        directory
    };
    let ours = format!("process {}", std::process::id());
    let held = lock();
    let started = std::time::Instant::now();
    let refused = with_files(&sample, &["pin"]);
    assert_eq!(refused.code, 64, "{refused:?}");
    assert!((5..30).contains(&started.elapsed().as_secs()), "{:?}", started.elapsed());
    assert!(refused.err.contains(&format!("is locked by {ours}")), "{}", refused.err);
    assert!(refused.err.contains("end that process, or try again"), "{}", refused.err);
    assert!(!sample.path().join("plugins.lock").exists());
    drop(held);

    let held = lock();
    let ends = std::thread::spawn(move || {
        std::thread::sleep(std::time::Duration::from_secs(3));
        drop(held);
    });
    let waited = with_files(&sample, &["pin"]);
    ends.join().unwrap();
    assert_eq!(waited.code, 0, "{waited:?}");
    assert!(waited.err.contains(&format!("waiting for {ours}")), "{}", waited.err);
}

/// File systems without locks, as NFS may be: the host says so and goes on.
#[test]
fn a_file_system_without_locks_is_a_warning() {
    let sample = sample();
    let (source, library) = (sample.path().join("flock.c"), sample.path().join("flock.so"));
    let text = "#include <errno.h>\n#include <stdlib.h>\n\
                int flock(int file, int what) { errno = atoi(getenv(\"FLOCK_ERROR\")); return -1; }\n";
    fs::write(&source, text).unwrap();
    let built = std::process::Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&source).status();
    assert!(built.unwrap().success());
    let with = |error: i32, arguments: &[&str]| {
        let mut command = sample.command();
        command.env("LD_PRELOAD", &library).env("FLOCK_ERROR", error.to_string()).args(arguments).args(files(&sample));
        ended(&mut command).unwrap()
    };
    // EBADF, ENOLCK, ENOTSUP
    for error in [9, 37, 95] {
        let pinned = with(error, &["pin"]);
        assert_eq!(pinned.code, 0, "{pinned:?}");
        assert!(pinned.err.contains("warning: .: this file system has no locks"), "{}", pinned.err);
        let ran = with(error, &["run", "--once", "--at", AT, "--check", "phase2-raw"]);
        assert_eq!(ran.code, 0, "{ran:?}");
        assert!(ran.err.contains("state/host.lock: this file system has no locks"), "{}", ran.err);
    }
    // Any other error is one: EIO.
    let broken = with(5, &["pin"]);
    assert_eq!(broken.code, 64, "{broken:?}");
}

/// An old version does not come back because its file does; whoever names the version wants it.
#[test]
fn an_older_file_moves_no_pin_by_itself() {
    let sample = sample();
    let path = sample.path().join("plugins/phase2-raw.wasm");
    let old = fs::read(&path).unwrap();
    fs::write(&path, reversioned("phase2-raw", "0.2.0")).unwrap();
    assert_eq!(with_files(&sample, &["pin"]).code, 0);
    let before = lock(&sample);
    fs::write(&path, &old).unwrap();
    for arguments in [&["pin", "plugins/phase2-raw.wasm"][..], &["pin", "plugins/"], &["pin", "phase2-raw"]] {
        let refused = sample.host(arguments).unwrap();
        assert_eq!(refused.code, 64, "{arguments:?}: {refused:?}");
        let said = "is 0.1.0, older than the pinned 0.2.0; to roll back, run \
                    `host pin phase2-raw@0.1.0 plugins/phase2-raw.wasm`";
        assert!(refused.err.contains(said), "{arguments:?}: {}", refused.err);
        assert_eq!(lock(&sample), before);
    }
    let back = sample.host(&["pin", "phase2-raw@0.1.0", "plugins/phase2-raw.wasm"]).unwrap();
    assert_eq!(back.code, 0, "{back:?}");
    assert!(back.err.contains("phase2-raw: rolled back: 0.2.0 → 0.1.0 sha256:"), "{}", back.err);
    assert_eq!(run(&sample, &["--locked"]).run("phase2-raw")["plugin"]["version"], "0.1.0");
}
