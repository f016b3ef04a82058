//! Publishing plugins and running what is pinned, against a real registry, and against one that lies.

use std::{fs, os::unix::fs::PermissionsExt};

use base64::{Engine, prelude::BASE64_STANDARD};
use host_tests::HOST_TOML;
use serde_json::json;

use crate::support::{
    AT,
    command::{Ended, Sample, ended},
    registry::{Fault, Proxy, Registry, USER},
    watched::{plugin, reversioned},
};

/// A sample with two versions of a plugin and one of another.
fn sample() -> Sample {
    let sample = Sample::new(None).unwrap();
    let write = |name: &str, bytes: &[u8]| fs::write(sample.path().join(name), bytes).unwrap();
    write("old.wasm", &fs::read(plugin("phase2-raw")).unwrap());
    write("new.wasm", &reversioned("phase2-raw", "0.1.7"));
    write("next.wasm", &reversioned("phase2-raw", "0.2.0"));
    sample
}

fn ok(ended: Ended) -> Ended {
    assert_eq!(ended.code, 0, "{ended:?}");
    ended
}

fn stored(sample: &Sample) -> Vec<String> {
    let entries = fs::read_dir(sample.path().join("plugins.store")).into_iter().flatten();
    let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn lock(sample: &Sample) -> String {
    fs::read_to_string(sample.path().join("plugins.lock")).unwrap_or_default()
}

#[test]
fn a_plugin_is_published_added_run_and_updated() {
    let registry = Registry::start(false).unwrap();
    let place = format!("oci://{}/data/phase2-raw", registry.host());
    let sample = sample();
    let host = |arguments: &[&str]| sample.host(arguments).unwrap();

    let nothing = host(&["add", &place]);
    assert_eq!(nothing.code, 64, "{nothing:?}");
    assert!(nothing.err.contains("no such repository or version"), "{}", nothing.err);
    let pushed = ok(host(&["push", "old.wasm", &format!("{place}:0.1.0")]));
    assert!(pushed.out.contains(":0.1.0 is sha256:"), "{}", pushed.out);
    assert!(ok(host(&["push", "old.wasm", &place])).out.contains("already published"));

    ok(host(&["add", &format!("{place}@^0.1")]));
    assert!(lock(&sample).contains(&format!("source = \"{place}@^0.1\"")), "{}", lock(&sample));
    let once = ["run", "--once", "--at", AT, "--output", "json", "--check", "phase2-raw"];
    assert_eq!(ok(host(&once)).run("phase2-raw")["plugin"]["version"], "0.1.0");

    ok(host(&["push", "new.wasm", &place]));
    ok(host(&["push", "next.wasm", &place]));
    let outdated = host(&["outdated"]);
    assert_eq!(outdated.code, 2, "{outdated:?}");
    let row: Vec<&str> = outdated.out.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!(row[..4], ["phase2-raw", "0.1.0", "0.1.7", "0.2.0"]);
    let json = host(&["outdated", "--output", "json"]);
    let row = &json.json()["plugins"][0];
    assert_eq!(
        (json.code, &row["pinned"], &row["wanted"], &row["newest"]),
        (2, &json!("0.1.0"), &json!("0.1.7"), &json!("0.2.0"))
    );
    assert_eq!(ok(host(&once)).run("phase2-raw")["plugin"]["version"], "0.1.0", "nothing moves by itself");
    let updated = ok(host(&["update", "phase2-raw"]));
    assert!(updated.err.contains("0.1.7") && updated.err.contains("previously 0.1.0"), "{}", updated.err);
    assert_eq!(ok(host(&once)).run("phase2-raw")["plugin"]["version"], "0.1.7");
    assert_eq!(host(&["outdated"]).code, 0);

    let near = host(&["update", "phase2-row"]);
    assert!(near.err.contains("did you mean `phase2-raw`"), "{}", near.err);
    let none = host(&["add", &format!("{place}:3.0.0")]);
    assert!(none.err.contains("no such version; published are 0.2.0, 0.1.7, 0.1.0"), "{}", none.err);

    // Another machine, with the lock file alone.
    let other = Sample::new(None).unwrap();
    fs::copy(sample.path().join("plugins.lock"), other.path().join("plugins.lock")).unwrap();
    let missing = other.host(&once).unwrap();
    assert!(missing.err.contains("`host pull` fetches"), "{}", missing.err);
    assert!(ok(other.host(&["pull"]).unwrap()).err.contains("phase2-raw: 0.1.7"));
    assert!(ok(other.host(&["pull"]).unwrap()).err.contains("is present"));
    assert_eq!(ok(other.host(&once).unwrap()).run("phase2-raw")["plugin"]["version"], "0.1.7");
    // A damaged store is repaired, and a damaged file does not run.
    let damaged = other.path().join("plugins.store").join(&stored(&other)[0]);
    fs::write(&damaged, "x").unwrap();
    assert_ne!(other.host(&once).unwrap().code, 0);
    assert!(ok(other.host(&["pull"]).unwrap()).err.contains("fetched"));
    ok(other.host(&once).unwrap());
}

#[test]
fn what_is_published_stays_and_a_moved_tag_moves_no_pin() {
    let registry = Registry::start(false).unwrap();
    let place = format!("oci://{}/data/phase2-raw", registry.host());
    let sample = sample();
    let host = |arguments: &[&str]| sample.host(arguments).unwrap();
    ok(host(&["push", "old.wasm", &place]));
    ok(host(&["push", "next.wasm", &place]));
    let mut other = fs::read(sample.path().join("old.wasm")).unwrap();
    other.extend([0, 2, 1, b'x']);
    fs::write(sample.path().join("other.wasm"), other).unwrap();
    for (file, place, complaint) in [
        ("other.wasm", place.clone(), "is already published with different bytes"),
        ("old.wasm", format!("{place}:0.2.0"), "the plugin's version is 0.1.0, not 0.2.0"),
        ("old.wasm", place.replace("phase2-raw", "phase3"), "the plugin's name, phase2-raw"),
        ("old.wasm", format!("{place}@^1"), "not with a range"),
        ("old.wasm", place.replace("oci://", ""), "write oci://REGISTRY/REPOSITORY"),
    ] {
        let refused = host(&["push", file, &place]);
        assert_eq!(refused.code, 64, "{refused:?}");
        assert!(refused.err.contains(complaint), "{complaint}: {}", refused.err);
    }

    ok(host(&["add", &format!("{place}:0.1.0")]));
    let pinned = lock(&sample);
    registry.move_tag("data/phase2-raw", "0.1.0", "0.2.0").unwrap();
    fs::remove_dir_all(sample.path().join("plugins.store")).unwrap();
    ok(host(&["pull"]));
    assert_eq!(lock(&sample), pinned);
    let once = ["run", "--once", "--at", AT, "--output", "json", "--check", "phase2-raw"];
    assert_eq!(ok(host(&once)).run("phase2-raw")["plugin"]["version"], "0.1.0");
    // A new `add` reports that the tag changed; accepting it reports that the tag is wrong.
    let changed = host(&["update", "phase2-raw"]);
    assert!(changed.code == 64 && changed.err.contains("has different bytes for 0.1.0 now"), "{changed:?}");
    let lied = host(&["add", &format!("{place}:0.1.0")]);
    assert!(lied.err.contains("0.1.0 was requested, but phase2-raw 0.2.0 was received"), "{}", lied.err);
    assert_eq!(lock(&sample), pinned);
    // An update does not go back to an older version either.
    let newer = pinned.replace("version = \"0.1.0\"", "version = \"0.1.9\"");
    fs::write(sample.path().join("plugins.lock"), &newer).unwrap();
    let back = ok(host(&["update", "--all"]));
    assert!(back.err.contains("phase2-raw: keeping 0.1.9; the newest version in "), "{}", back.err);
    assert_eq!(lock(&sample), newer);
}

#[test]
fn what_arrives_otherwise_never_reaches_the_store() {
    let registry = Registry::start(false).unwrap();
    let proxy = Proxy::before(&registry).unwrap();
    let sample = sample();
    ok(sample.host(&["push", "old.wasm", &format!("oci://{}/data/phase2-raw", registry.host())]).unwrap());
    let place = format!("oci://{}/data/phase2-raw", proxy.host());
    let next = fs::read(sample.path().join("next.wasm")).unwrap();
    for fault in
        [Fault::Altered, Fault::CutOff, Fault::Interrupted, Fault::Substituted(next), Fault::Substituted(Vec::new())]
    {
        let shown = format!("{fault:?}").chars().take(20).collect::<String>();
        proxy.fault(fault);
        let refused = sample.host(&["add", &place]).unwrap();
        assert_eq!(refused.code, 64, "{shown}: {refused:?}");
        assert!(refused.err.contains(&place), "{shown}: {}", refused.err);
        assert_eq!((stored(&sample), lock(&sample)), (Vec::new(), String::new()), "{shown}");
    }
    proxy.fault(Fault::None);
    ok(sample.host(&["add", &place]).unwrap());
    assert_eq!(stored(&sample).len(), 1);
}

#[test]
fn a_closed_registry_wants_dockers_credentials() {
    let registry = Registry::start(true).unwrap();
    let place = format!("oci://{}/data/phase2-raw", registry.host());
    let sample = sample();
    let refused = sample.host(&["push", "old.wasm", &place]).unwrap();
    assert!(refused.err.contains("configuration has none for it; log in with `docker login"), "{}", refused.err);
    let docker = sample.path().join(".docker");
    fs::create_dir(&docker).unwrap();
    let log_in = |password: &str| {
        let auth = BASE64_STANDARD.encode(format!("{}:{password}", USER.0));
        let config = json!({ "auths": { registry.host(): { "auth": auth } } });
        fs::write(docker.join("config.json"), config.to_string()).unwrap();
    };
    log_in("wrong-password");
    let refused = sample.host(&["push", "old.wasm", &place]).unwrap();
    assert!(refused.err.contains("refuses the credentials"), "{}", refused.err);
    assert!(!refused.err.contains("wrong-password"), "{}", refused.err);
    log_in(USER.1);
    ok(sample.host(&["push", "old.wasm", &place]).unwrap());
    ok(sample.host(&["add", &place]).unwrap());
    fs::write(docker.join("config.json"), "{").unwrap();
    let broken = sample.host(&["outdated"]).unwrap();
    assert!(broken.err.contains("the credentials in Docker's configuration cannot be used"), "{}", broken.err);
}

#[test]
fn signatures_go_with_a_plugin_and_are_asked_for_before_it_is_kept() {
    let registry = Registry::start(false).unwrap();
    let place = format!("oci://{}/data/phase2-raw", registry.host());
    let sample = sample();
    let host = |arguments: &[&str]| sample.host(arguments).unwrap();
    let key = ok(host(&["keygen", "ours.key"])).out.trim().to_owned();
    sample.configure(&format!("{HOST_TOML}\n[trust]\nkeys = [\"{key}\"]\n")).unwrap();

    ok(host(&["push", "old.wasm", &place]));
    let refused = host(&["add", &place]);
    assert_eq!(refused.code, 64, "{refused:?}");
    assert!(refused.err.contains("phase2-raw@0.1.0 is not signed"), "{}", refused.err);
    assert_eq!(stored(&sample), Vec::<String>::new());

    ok(host(&["sign", "--key", "ours.key", "old.wasm"]));
    assert!(ok(host(&["push", "old.wasm", &place])).out.contains("already published, with its signatures"));
    ok(host(&["add", &place]));
    assert_eq!(stored(&sample).len(), 2, "{:?}", stored(&sample));
    let once = ["run", "--once", "--at", AT, "--output", "json", "--check", "phase2-raw"];
    ok(host(&once));
}

/// What `docker login` leaves to a program, as with gcloud's or the desktop's.
#[test]
fn a_credential_helper_is_asked() {
    let registry = Registry::start(true).unwrap();
    let place = format!("oci://{}/data/phase2-raw", registry.host());
    let sample = sample();
    let (docker, bin) = (sample.path().join(".docker"), sample.path().join("bin"));
    fs::create_dir(&docker).unwrap();
    fs::create_dir(&bin).unwrap();
    let config = json!({ "credHelpers": { registry.host(): "vault" } });
    fs::write(docker.join("config.json"), config.to_string()).unwrap();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let host = |arguments: &[&str]| ended(sample.command().env("PATH", &path).args(arguments)).unwrap();
    let helper = |script: &str| {
        let file = bin.join("docker-credential-vault");
        fs::write(&file, format!("#!/bin/sh\nread server\n{script}\n")).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
    };
    let missing = host(&["push", "old.wasm", &place]);
    let words = "Docker's configuration cannot be used: docker-credential-vault is not installed";
    assert!(missing.code == 64 && missing.err.contains(words), "{missing:?}");
    helper("echo s3cret; echo s3cret >&2; exit 1");
    let failed = host(&["push", "old.wasm", &place]);
    assert!(
        failed.code == 64 && failed.err.contains("the credential helper docker-credential-vault failed"),
        "{failed:?}"
    );
    assert!(!failed.err.contains("s3cret"), "{failed:?}");
    helper(r#"echo '{"ServerURL":"x","Username":"<token>","Secret":"s3cret"}'"#);
    let token = host(&["push", "old.wasm", &place]);
    assert!(token.code == 64 && token.err.contains("the identity token") && !token.err.contains("s3cret"), "{token:?}");
    helper(&format!(
        r#"[ "$server" = {} ] && echo '{{"ServerURL":"x","Username":"{}","Secret":"{}"}}'"#,
        registry.host(),
        USER.0,
        USER.1
    ));
    ok(host(&["push", "old.wasm", &place]));
    ok(host(&["add", &place]));
    let looked = host(&["doctor"]);
    let row = format!("registry {}", registry.host());
    let line = looked.out.lines().find(|line| line.starts_with(&row)).unwrap_or_else(|| panic!("{looked:?}"));
    assert!(line.contains("Docker's configuration has credentials"), "{line}");
    fs::remove_file(bin.join("docker-credential-vault")).unwrap();
    let looked = host(&["doctor"]);
    let line = looked.out.lines().find(|line| line.starts_with(&row)).unwrap_or_else(|| panic!("{looked:?}"));
    assert!(line.contains("note") && line.contains("docker-credential-vault, which Docker's"), "{line}");
}

/// What the ecosystem's own reader asks of an artifact before it takes it for a component: oci-wasm 0.6, `WasmClient::pull`
/// and `WasmConfig`.
#[test]
fn what_is_pushed_is_laid_out_as_others_read_it() {
    let registry = Registry::start(false).unwrap();
    let sample = sample();
    ok(sample.host(&["push", "old.wasm", &format!("oci://{}/data/phase2-raw", registry.host())]).unwrap());
    let manifest = registry.manifest("data/phase2-raw", "0.1.0").unwrap();
    assert_eq!(manifest["mediaType"], "application/vnd.oci.image.manifest.v1+json");
    assert_eq!(manifest["config"]["mediaType"], "application/vnd.wasm.config.v0+json");
    let [layer] = manifest["layers"].as_array().unwrap().as_slice() else { panic!("{manifest}") };
    let bytes = fs::read(sample.path().join("old.wasm")).unwrap();
    assert_eq!((&layer["mediaType"], &layer["size"]), (&json!("application/wasm"), &json!(bytes.len())));
    assert_eq!(layer["annotations"]["org.opencontainers.image.title"], "phase2-raw.wasm", "oras writes this file");
    let config = registry.json(manifest["config"]["digest"].as_str().unwrap()).unwrap();
    assert!(config["created"].as_str().unwrap().parse::<jiff::Timestamp>().is_ok(), "{config}");
    assert_eq!((&config["architecture"], &config["os"]), (&json!("wasm"), &json!("wasip2")));
    assert_eq!(config["layerDigests"], json!([layer["digest"]]));
    let named = |list: &str, name: &str| config["component"][list].as_array().unwrap().contains(&json!(name));
    assert!(named("exports", "pipeline:check/plugin@0.1.2"), "{config}");
    assert!(named("imports", "pipeline:check/warehouse@0.1.2"), "{config}");
}
