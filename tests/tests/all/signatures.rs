//! Signed plugins through the built host: with keys in host.toml, only what one of them signed runs.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use host_tests::HOST_TOML;
use jiff::Timestamp;

use crate::support::{
    AT,
    command::{Ended, Sample, ended},
    service::Service,
    watched::plugin,
};

/// Makes a key, and returns the public key.
fn key(sample: &Sample, file: &str) -> String {
    let made = sample.host(&["keygen", file]).unwrap();
    assert_eq!(made.code, 0, "{made:?}");
    made.out.trim().to_owned()
}

fn run(sample: &Sample) -> Ended {
    let mut command = sample.command();
    command.args([
        "run",
        "--once",
        "--at",
        AT,
        "--output",
        "json",
        "--check",
        "phase2-raw",
        "--check",
        "phase3-analytics",
    ]);
    ended(command.args(["phase2-raw.wasm", "phase3-analytics.wasm"])).unwrap()
}

#[test]
fn only_what_a_trusted_key_signed_runs() {
    let sample = Sample::new(None).unwrap();
    for name in ["phase2-raw", "phase3-analytics"] {
        fs::copy(plugin(name), sample.path().join(format!("{name}.wasm"))).unwrap();
    }
    let (ours, theirs) = (key(&sample, "ours.key"), key(&sample, "theirs.key"));
    assert_ne!(ours, theirs);
    let mode = fs::metadata(sample.path().join("ours.key")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    sample.configure(&format!("{HOST_TOML}\n[trust]\nkeys = [\"{ours}\"]\n")).unwrap();

    let sign = |key: &str, file: &str| assert_eq!(sample.host(&["sign", "--key", key, file]).unwrap().code, 0);
    let signature = sample.path().join("phase2-raw.wasm.sig");
    let refused = |words: &str| {
        let ended = run(&sample);
        assert_eq!(ended.code, 3, "{ended:?}");
        let error = ended.run("phase2-raw")["error"].as_str().unwrap().to_owned();
        assert!(error.contains(words) && error.contains(&ours), "{words}: {error}");
        assert_eq!(ended.run("phase3-analytics")["status"], "pass");
    };
    sign("ours.key", "phase3-analytics.wasm");
    refused("phase2-raw@0.1.0 is not signed: there is no phase2-raw.wasm.sig");
    sign("theirs.key", "phase2-raw.wasm");
    refused(&format!("it is signed by {theirs}, which is not trusted"));
    sign("ours.key", "phase2-raw.wasm");
    assert_eq!(run(&sample).code, 0, "both keys signed it");

    let good = fs::read_to_string(&signature).unwrap();
    // Somebody else's signature under the trusted key's name.
    fs::write(&signature, good.replace(&theirs, &ours)).unwrap();
    assert_eq!(run(&sample).code, 0, "one of the two is right");
    fs::write(&signature, good.replace(&ours, &theirs).replacen(&theirs, &ours, 1)).unwrap();
    refused(&format!("the signature does not match {ours}"));
    fs::write(&signature, good.replace("phase2-raw@0.1.0", "phase2-raw@0.0.9")).unwrap();
    refused("the signature is for phase2-raw@0.0.9");
    fs::copy(sample.path().join("phase3-analytics.wasm.sig"), &signature).unwrap();
    refused("the signature is for phase3-analytics@0.1.0");
    fs::write(&signature, "{\"signatures\": []}").unwrap();
    refused("it has no signature");
    fs::write(&signature, "nonsense").unwrap();
    refused("phase2-raw.wasm.sig is not a signature file");

    fs::write(&signature, good).unwrap();
    let path = sample.path().join("phase2-raw.wasm");
    let mut bytes = fs::read(&path).unwrap();
    bytes.extend([0, 2, 1, b'x']);
    fs::write(&path, bytes).unwrap();
    refused("but the file is sha256:");
}

#[test]
fn keys_that_cannot_be_used() {
    let sample = Sample::new(None).unwrap();
    fs::copy(plugin("phase2-raw"), sample.path().join("p.wasm")).unwrap();
    key(&sample, "host.key");
    let again = sample.host(&["keygen"]).unwrap();
    assert_eq!(again.code, 64, "{again:?}");
    assert!(again.err.contains("host.key: not written"), "{}", again.err);

    let path = sample.path().join("host.key");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    let open = sample.host(&["sign", "p.wasm"]).unwrap();
    assert!(open.err.contains("others can read this key; run `chmod 600 host.key`"), "{}", open.err);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(&path, "ed25519-private:00").unwrap();
    assert!(sample.host(&["sign", "p.wasm"]).unwrap().err.contains("not a private key"));
    assert!(
        sample
            .host(&["sign", "--key", "absent.key", "p.wasm"])
            .unwrap()
            .err
            .contains("make a key with `host keygen absent.key`")
    );

    for wrong in ["abc", "ed25519:abc", "rsa:00"] {
        sample.configure(&format!("{HOST_TOML}\n[trust]\nkeys = [\"{wrong}\"]\n")).unwrap();
        let ended = sample.once(&[]).unwrap();
        assert_eq!(ended.code, 64, "{wrong}");
        assert!(ended.err.contains("is not a key") && ended.err.contains("keys"), "{}", ended.err);
    }
}

/// Keys have a first and a last day, and can be revoked.
#[test]
fn keys_end_and_are_revoked() {
    let sample = Sample::new(None).unwrap();
    for name in ["phase2-raw", "phase3-analytics"] {
        fs::copy(plugin(name), sample.path().join(format!("{name}.wasm"))).unwrap();
    }
    let (ours, theirs) = (key(&sample, "ours.key"), key(&sample, "theirs.key"));
    let sign = |key: &str, file: &str| assert_eq!(sample.host(&["sign", "--key", key, file]).unwrap().code, 0);
    sign("ours.key", "phase2-raw.wasm");
    sign("theirs.key", "phase3-analytics.wasm");
    let trust = |trust: &str| sample.configure(&format!("{HOST_TOML}\n[trust]\n{trust}\n")).unwrap();
    let dated = |days: &str| trust(&format!("keys = [{{ key = \"{ours}\", {days} }}, \"{theirs}\"]"));
    let refused = |words: &str| {
        let ended = run(&sample);
        assert_eq!(ended.code, 3, "{ended:?}");
        let error = ended.run("phase2-raw")["error"].as_str().unwrap().to_owned();
        assert!(error.contains(&format!("it is signed by {ours}, which is {words}")), "{words}: {error}");
        assert_eq!(ended.run("phase3-analytics")["status"], "pass");
    };
    dated("from = 2020-01-01, until = \"2999-12-31\"");
    assert_eq!(run(&sample).code, 0);
    dated("until = 2020-01-31");
    refused("expired: its last day was 2020-01-31");
    dated("from = 2999-01-01");
    refused("not valid before 2999-01-01");
    let doctor = sample.host(&["doctor"]).unwrap();
    assert!(doctor.out.contains("not valid before 2999-01-01"), "{doctor:?}");
    trust(&format!("keys = [\"{ours}\", \"{theirs}\"]\nrevoked = [\"{ours}\"]"));
    refused("revoked (trust.revoked)");
    // Another team's signature is enough.
    sign("theirs.key", "phase2-raw.wasm");
    assert_eq!(run(&sample).code, 0);
    // With no valid key nothing runs; revoking without trusting is a mistake.
    trust(&format!("keys = [\"{ours}\"]\nrevoked = [\"{ours}\"]"));
    let nothing = run(&sample);
    assert_eq!(nothing.code, 3);
    let error = nothing.run("phase2-raw")["error"].as_str().unwrap().to_owned();
    assert!(error.contains("no key of trust.keys in host.toml is valid today"), "{error}");
    trust(&format!("revoked = [\"{ours}\"]"));
    let mistake = run(&sample);
    assert!(mistake.code == 64 && mistake.err.contains("trust.revoked has no effect"), "{mistake:?}");
}

/// A plugin whose key is revoked does not keep running because the reload would make its check unable.
#[test]
fn a_revoked_key_stops_a_running_plugin() {
    let sample = Sample::now(None).unwrap();
    fs::create_dir(sample.path().join("plugins")).unwrap();
    fs::copy(plugin("phase2-raw"), sample.path().join("plugins/phase2-raw.wasm")).unwrap();
    let (ours, theirs) = (key(&sample, "ours.key"), key(&sample, "theirs.key"));
    let signed = sample.host(&["sign", "--key", "ours.key", "plugins/phase2-raw.wasm"]).unwrap();
    assert_eq!(signed.code, 0, "{signed:?}");
    let keys = format!("{HOST_TOML}\n[trust]\nkeys = [\"{ours}\", \"{theirs}\"]\n");
    sample.configure(&keys).unwrap();
    let mut command = sample.command();
    command.args(["run", "plugins"]);
    let mut host = sample.stay_with(command).unwrap();
    host.wait_for("next: ").unwrap();
    sample.configure(&format!("{keys}revoked = [\"{ours}\"]\n")).unwrap();
    host.wait_for("reloaded: ").unwrap();
    // The twin: an unsigned file in its place is refused as a whole, and what ran keeps running.
    sample.configure(&keys).unwrap();
    host.wait_for("reloaded: ").unwrap();
    fs::remove_file(sample.path().join("plugins/phase2-raw.wasm.sig")).unwrap();
    fs::write(
        sample.path().join("plugins/phase2-raw.wasm"),
        crate::support::watched::reversioned("phase2-raw", "0.2.0"),
    )
    .unwrap();
    host.wait_for("reload rejected; still running the previous configuration").unwrap();
}

/// Trust is withdrawn from what runs at once, whatever else is wrong with the files at that moment; and a new signature is
/// noticed without a signal.
#[test]
fn a_revoked_key_stops_a_plugin_also_when_the_files_are_rejected() {
    let sample = Sample::now(None).unwrap();
    let (ours, theirs) = (key(&sample, "ours.key"), key(&sample, "theirs.key"));
    fs::create_dir(sample.path().join("plugins")).unwrap();
    let file = sample.path().join("plugins/phase2-raw.wasm");
    let junk = sample.path().join("plugins/junk.wasm");
    let sign = |key: &str| {
        assert_eq!(sample.host(&["sign", "--key", key, "plugins/phase2-raw.wasm"]).unwrap().code, 0);
    };
    let whole = || {
        let _ = fs::remove_file(&junk);
        fs::copy(plugin("phase2-raw"), &file).unwrap();
        sign("ours.key");
    };
    whole();
    // Signed beforehand: each case changes its files at once, since the host looks every second.
    let spare = sample.path().join("spare");
    fs::create_dir(&spare).unwrap();
    fs::write(spare.join("phase2-raw.wasm"), crate::support::watched::reversioned("phase2-raw", "0.2.0")).unwrap();
    assert_eq!(sample.host(&["sign", "--key", "ours.key", "spare/phase2-raw.wasm"]).unwrap().code, 0);
    let trusted = format!("{HOST_TOML}\n[trust]\nkeys = [\"{ours}\", \"{theirs}\"]\n");
    let revoked = format!("{trusted}revoked = [\"{ours}\"]\n");
    let web = "\n[web]\nlisten = \"127.0.0.1:0\"\n";
    let mut service = Service::start(&sample, &trusted, &[]).unwrap();
    let cases: [(&str, &dyn Fn()); 4] = [
        ("the file is removed", &|| fs::remove_file(&file).unwrap()),
        ("another file, signed by the same key, is in its place", &|| {
            fs::copy(spare.join("phase2-raw.wasm"), &file).unwrap();
            fs::copy(spare.join("phase2-raw.wasm.sig"), sample.path().join("plugins/phase2-raw.wasm.sig")).unwrap();
        }),
        ("another file is junk", &|| fs::write(&junk, "junk").unwrap()),
        ("host.toml has a mistake elsewhere", &|| {
            sample.configure(&format!("{revoked}{web}\n[scheduler]\nrunz = 3\n")).unwrap();
        }),
    ];
    for (what, change) in cases {
        assert!(service.check("phase2-raw")["cannot_run"].is_null(), "before {what}");
        sample.configure(&format!("{revoked}{web}")).unwrap();
        change();
        service.host.wait_for("no longer trusted: phase2-raw").unwrap();
        let reason = service.check("phase2-raw")["cannot_run"].as_str().unwrap_or_default().to_owned();
        assert!(reason.contains(&format!("signed by {ours}, which is revoked")), "{what}: {reason}");
        // A signature by the other key: the check runs again, without a signal.
        whole();
        sample.configure(&format!("{revoked}{web}")).unwrap();
        let reload = |service: &Service| assert_eq!(service.post("/api/v1/reload", "").status, 200, "{what}");
        reload(&service);
        assert!(service.check("phase2-raw")["cannot_run"].is_string(), "{what}");
        sign("theirs.key");
        service.wait_until("it is signed again", 20, |service| service.check("phase2-raw")["cannot_run"].is_null());
        // For the next case, only the first key signs.
        fs::remove_file(sample.path().join("plugins/phase2-raw.wasm.sig")).unwrap();
        sign("ours.key");
        sample.configure(&format!("{trusted}{web}")).unwrap();
        reload(&service);
    }
    assert_eq!(service.host.end("TERM").unwrap().0, Some(0));
}

/// The last day of a key passes while the host runs: what only this key signed stops, though no file changed.
#[test]
fn a_key_that_ends_while_the_host_runs_stops_its_plugins() {
    let sample = Sample::new(None).unwrap();
    let (ours, theirs) = (key(&sample, "ours.key"), key(&sample, "theirs.key"));
    fs::create_dir(sample.path().join("plugins")).unwrap();
    let mut toml = HOST_TOML.to_owned();
    for (name, key) in [("phase2-raw", "ours.key"), ("phase3-analytics", "theirs.key")] {
        let file = format!("plugins/{name}.wasm");
        fs::copy(plugin(name), sample.path().join(&file)).unwrap();
        assert_eq!(sample.host(&["sign", "--key", key, &file]).unwrap().code, 0);
        let heading = format!("[checks.{name}]\n");
        let due = format!("{heading}schedule = \"30 0,11 * * *\"\ntimezone = \"UTC\"\n");
        toml = toml.replace(&heading, &due);
    }
    toml += &format!("\n[trust]\nkeys = [{{ key = \"{ours}\", until = 2026-02-06 }}, \"{theirs}\"]\n");
    sample.configure(&toml).unwrap();
    let clock = Clock::at(sample.path(), "2026-02-06T11:00:00Z");
    let mut command = sample.command();
    let own = ["run", "--check", "phase2-raw", "--check", "phase3-analytics", "plugins"];
    clock.set_for(&mut command).args(own);
    let mut host = sample.stay_with(command).unwrap();
    host.wait_for("next: ").unwrap();
    clock.put("2026-02-06T11:29:59Z");
    host.wait_for("phase2-raw 2026-02-05@2026-02-06T11:30:00Z-1: pass").unwrap();
    // The last seconds of the key's last day.
    clock.put("2026-02-06T23:59:58Z");
    let stopped = host.wait_for("reloaded: ").unwrap();
    assert!(stopped.starts_with("2026-02-07T00:00:"), "{stopped}");
    assert!(stopped.ends_with("reloaded: phase2-raw can no longer run\n"), "{stopped}");
    clock.put("2026-02-07T00:29:59Z");
    host.wait_for("@2026-02-07T00:30:00Z-1: ").unwrap();
    let (_, said) = host.interrupt().unwrap();
    let line = |check: &str| {
        let begin = format!(" {check} 2026-02-05@2026-02-07T00:30:00Z-1: ");
        said.lines().find(|line| line.contains(&begin)).unwrap_or_else(|| panic!("{check}: {said}"))
    };
    let expired = format!("it is signed by {ours}, which is expired: its last day was 2026-02-06 (trust.keys)");
    assert!(line("phase2-raw").contains(&expired), "{said}");
    assert!(line("phase3-analytics").contains("-1: pass"), "{said}");
}

/// The clock of a host, which a test sets.
struct Clock {
    library: PathBuf,
    ahead: PathBuf,
}

impl Clock {
    fn at(directory: &Path, time: &str) -> Self {
        let (source, library) = (directory.join("clock.c"), directory.join("clock.so"));
        fs::write(&source, CLOCK).unwrap();
        let built = Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&source).status();
        assert!(built.unwrap().success());
        let clock = Self { library, ahead: directory.join("clock.txt") };
        clock.put(time);
        clock
    }

    fn put(&self, time: &str) {
        let ahead = time.parse::<Timestamp>().unwrap().as_second() - Timestamp::now().as_second();
        let whole = self.ahead.with_extension("new");
        fs::write(&whole, ahead.to_string()).unwrap();
        fs::rename(whole, &self.ahead).unwrap();
    }

    fn set_for<'c>(&self, command: &'c mut Command) -> &'c mut Command {
        command.env("LD_PRELOAD", &self.library).env("CLOCK_AHEAD", &self.ahead)
    }
}

/// The machine's clock and the seconds in a file.
const CLOCK: &str = r#"
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int clock_gettime(clockid_t clock, struct timespec *time) {
    int result = syscall(SYS_clock_gettime, clock, time);
    FILE *file = clock == CLOCK_REALTIME ? fopen(getenv("CLOCK_AHEAD"), "r") : NULL;
    long ahead;
    if (file && fscanf(file, "%ld", &ahead) == 1) time->tv_sec += ahead;
    if (file) fclose(file);
    return result;
}
"#;

/// A signature never ends, so an old version that is put in the place of a new one is refused without a pin.
#[test]
fn an_older_signed_version_does_not_come_back_as_a_file() {
    let sample = Sample::new(None).unwrap();
    let path = sample.path().join("phase2-raw.wasm");
    fs::copy(plugin("phase3-analytics"), sample.path().join("phase3-analytics.wasm")).unwrap();
    let ours = key(&sample, "ours.key");
    let put = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        assert_eq!(sample.host(&["sign", "--key", "ours.key", "phase2-raw.wasm"]).unwrap().code, 0);
    };
    let (old, new) =
        (fs::read(plugin("phase2-raw")).unwrap(), crate::support::watched::reversioned("phase2-raw", "0.2.0"));
    let version = |ended: &Ended| ended.run("phase2-raw")["plugin"]["version"].clone();
    // Without trusted keys any file runs, also an older one.
    put(&new);
    assert_eq!(version(&run(&sample)), "0.2.0");
    put(&old);
    assert_eq!(version(&run(&sample)), "0.1.0");

    sample.configure(&format!("{HOST_TOML}\n[trust]\nkeys = [\"{ours}\"]\n")).unwrap();
    assert_eq!(sample.host(&["sign", "--key", "ours.key", "phase3-analytics.wasm"]).unwrap().code, 0);
    let refused = run(&sample);
    let error = refused.run("phase2-raw")["error"].as_str().unwrap().to_owned();
    let said = "phase2-raw 0.1.0 in phase2-raw.wasm is older than 0.2.0, which ran before; to roll back, pin it: \
                `host pin phase2-raw@0.1.0 phase2-raw.wasm`";
    assert!(error.contains(said), "{error}");
    assert_eq!(refused.run("phase3-analytics")["status"], "pass");
    // A newer one runs; the old one too, once it is pinned on purpose.
    put(&new);
    assert_eq!(version(&run(&sample)), "0.2.0");
    put(&old);
    assert_eq!(sample.host(&["pin", "phase2-raw@0.1.0", "phase2-raw.wasm"]).unwrap().code, 0);
    assert_eq!(sample.host(&["pin", "phase3-analytics.wasm"]).unwrap().code, 0);
    assert_eq!(version(&run(&sample)), "0.1.0");
}
