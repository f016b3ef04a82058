//! Signed plugins through the built host: with keys in host.toml, only what one of them signed runs.

use std::{fs, os::unix::fs::PermissionsExt};

use host_tests::HOST_TOML;

use crate::support::{
    AT,
    command::{Ended, Sample, ended},
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
        sample.host(&["sign", "--key", "absent.key", "p.wasm"]).unwrap().err.contains("make a key with `host keygen`")
    );

    for wrong in ["abc", "ed25519:abc", "rsa:00"] {
        sample.configure(&format!("{HOST_TOML}\n[trust]\nkeys = [\"{wrong}\"]\n")).unwrap();
        let ended = sample.once(&[]).unwrap();
        assert_eq!(ended.code, 64, "{wrong}");
        assert!(ended.err.contains("is not a key") && ended.err.contains("keys"), "{}", ended.err);
    }
}
