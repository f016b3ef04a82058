//! Plugins of registries over time: signatures of several owners, changed bytes, roll-backs, and others who pin meanwhile.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use host_tests::HOST_TOML;
use serde_json::{Value, json};

use super::registries::{lock, ok};
use crate::support::{
    AT,
    command::{Sample, ended},
    http::{self, Reply},
    registry::{Hook, Proxy, Registry},
    watched::{plugin, reversioned},
};

/// A sample with two versions of a plugin, and one version with other bytes.
fn sample() -> Sample {
    let sample = Sample::new(None).unwrap();
    let write = |name: &str, bytes: &[u8]| fs::write(sample.path().join(name), bytes).unwrap();
    let mut bytes = fs::read(plugin("phase2-raw")).unwrap();
    write("0.1.0.wasm", &bytes);
    bytes.extend([0, 2, 1, b'x']);
    write("other.wasm", &bytes);
    write("0.2.0.wasm", &reversioned("phase2-raw", "0.2.0"));
    sample
}

fn place(host: &str) -> String {
    format!("oci://{host}/data/phase2-raw")
}

/// A registry with these files.
fn registry(sample: &Sample, files: &[&str]) -> Registry {
    let registry = Registry::start(false).unwrap();
    for file in files {
        ok(sample.host(&["push", file, &place(&registry.host())]).unwrap());
    }
    registry
}

/// The file of the only plugin in the store.
fn stored(sample: &Sample) -> String {
    let entries = fs::read_dir(sample.path().join("plugins.store")).unwrap().flatten();
    let names = entries.map(|entry| entry.file_name().into_string().unwrap());
    let plugins: Vec<String> = names.filter(|name| name.ends_with(".wasm")).collect();
    assert_eq!(plugins.len(), 1, "{plugins:?}");
    format!("plugins.store/{}", plugins[0])
}

/// An operator signs what came from a registry; whatever is fetched later adds to that.
#[test]
fn signatures_of_the_operator_stay() {
    let sample = sample();
    let host = |arguments: &[&str]| sample.host(arguments).unwrap();
    let [team, operator] = ["team.key", "operator.key"].map(|key| ok(host(&["keygen", key])).out.trim().to_owned());
    for file in ["0.1.0.wasm", "0.2.0.wasm"] {
        ok(host(&["sign", "--key", "team.key", file]));
    }
    let registry = registry(&sample, &["0.1.0.wasm"]);
    let fetched = Arc::new(AtomicUsize::new(0));
    let count = fetched.clone();
    let digest = |text: &str| text[text.find("sha256:").unwrap()..][..71].to_owned();
    let direct = place(&registry.host());
    ok(host(&["add", &direct]));
    let component = format!("/blobs/{} ", digest(&lock(&sample)));
    fs::remove_dir_all(sample.path().join("plugins.store")).unwrap();
    fs::remove_file(sample.path().join("plugins.lock")).unwrap();
    let hook: Hook = Box::new(move |head| {
        let asked = head.starts_with("GET") && head.contains(&component);
        count.fetch_add(usize::from(asked), Ordering::SeqCst);
        None
    });
    let proxy = Proxy::answering(&registry, hook).unwrap();
    let place = place(&proxy.host());

    ok(host(&["add", &place]));
    let file = stored(&sample);
    ok(host(&["sign", "--key", "operator.key", &file]));
    let signed = || fs::read_to_string(sample.path().join(format!("{file}.sig"))).unwrap();
    let both = signed();
    assert!(both.contains(&team) && both.contains(&operator), "{both}");
    let trust = |key: &str| sample.configure(&format!("{HOST_TOML}\n[trust]\nkeys = [\"{key}\"]\n")).unwrap();
    for keys in [None, Some(&team), Some(&operator)] {
        keys.inspect(|key| trust(key));
        for arguments in [&["update", "phase2-raw"][..], &["update", "--all"], &["add", &place], &["pull"]] {
            ok(host(arguments));
            assert_eq!(signed(), both, "{arguments:?}");
        }
    }
    assert_eq!(fetched.load(Ordering::SeqCst), 1, "what is there is not fetched again");
    // A store that lost the component but kept the signatures.
    fs::remove_file(sample.path().join(&file)).unwrap();
    ok(host(&["update", "phase2-raw"]));
    assert_eq!((signed(), fetched.load(Ordering::SeqCst)), (both, 2));

    // The twin: a new version that only the team signed.
    ok(host(&["push", "0.2.0.wasm", &direct]));
    let before = lock(&sample);
    let refused = host(&["update", "phase2-raw"]);
    assert_eq!(refused.code, 64, "{refused:?}");
    let said = format!("it is signed by {team}, which is not trusted (its published signatures)");
    assert!(refused.err.contains(&said) && !refused.err.contains("tmp"), "{}", refused.err);
    assert_eq!(lock(&sample), before);
}

/// A registry that replaces a version: nothing moves without a word.
#[test]
fn other_bytes_of_the_same_version_are_told() {
    let sample = sample();
    let host = |arguments: &[&str]| sample.host(arguments).unwrap();
    let registry = registry(&sample, &["0.1.0.wasm"]);
    let place = place(&registry.host());
    ok(host(&["add", &place]));
    ok(host(&["outdated"]));
    let before = lock(&sample);
    registry.remove_tag("data/phase2-raw", "0.1.0").unwrap();
    ok(host(&["push", "other.wasm", &place]));
    let changed = "has different bytes for 0.1.0 now, sha256:";
    let outdated = host(&["outdated"]);
    assert_eq!(outdated.code, 64, "{outdated:?}");
    assert!(outdated.err.contains(changed), "{}", outdated.err);
    assert!(outdated.out.lines().nth(1).unwrap().contains("phase2-raw"), "{}", outdated.out);
    let updated = host(&["update", "--all"]);
    assert!(updated.code == 64 && updated.err.contains(changed), "{updated:?}");
    assert_eq!(lock(&sample), before);
    let added = ok(host(&["add", &place]));
    assert!(added.err.contains("; same version, different bytes: previously sha256:"), "{}", added.err);
    assert_ne!(lock(&sample), before);
    ok(host(&["outdated"]));
}

/// The advice of `host pin` for an older file, followed, does not lose the registry.
#[test]
fn a_roll_back_to_a_file_keeps_the_registry() {
    let sample = sample();
    let host = |arguments: &[&str]| sample.host(arguments).unwrap();
    let registry = registry(&sample, &["0.1.0.wasm", "0.2.0.wasm"]);
    let place = place(&registry.host());
    let once = ["run", "--once", "--at", AT, "--output", "json", "--check", "phase2-raw"];
    for (file, code) in [("0.1.0.wasm", 2), ("other.wasm", 64)] {
        let _ = fs::remove_dir_all(sample.path().join("plugins.store"));
        ok(host(&["add", &place]));
        let refused = host(&["pin", file]);
        assert_eq!(refused.code, 64, "{refused:?}");
        let (_, advice) = refused.err.split_once("to roll back, run `host ").unwrap();
        let advised: Vec<&str> = advice.split_once('`').unwrap().0.split(' ').collect();
        assert_eq!(advised, ["pin", "phase2-raw@0.1.0", file]);
        let back = ok(host(&advised));
        assert!(back.err.contains("rolled back: 0.2.0 → 0.1.0"), "{}", back.err);
        assert!(back.err.contains(&format!("its place is still {place}")), "{}", back.err);
        assert!(lock(&sample).contains(&format!("source = \"{place}\"")), "{}", lock(&sample));
        assert_eq!(ok(host(&once)).run("phase2-raw")["plugin"]["version"], "0.1.0");
        // The registry has these bytes, or others: that shows as soon as it is asked.
        let outdated = host(&["outdated"]);
        assert_eq!(outdated.code, code, "{outdated:?}");
        assert!(outdated.out.contains("0.2.0"), "{}", outdated.out);
        assert_eq!(outdated.err.contains("has different bytes for 0.1.0 now"), file == "other.wasm");
        ok(host(&["update", "phase2-raw"]));
        assert!(lock(&sample).contains("version = \"0.2.0\""), "{}", lock(&sample));
    }
    registry.remove_tag("data/phase2-raw", "0.1.0").unwrap();
    ok(host(&["pin", "phase2-raw@0.1.0", "0.1.0.wasm"]));
    let outdated = host(&["outdated"]);
    assert_eq!(outdated.code, 2, "{outdated:?}");
    assert!(outdated.err.contains("phase2-raw: the pinned 0.1.0 is not published in oci://"), "{}", outdated.err);
}

/// While a registry takes its time, others pin; what they pinned is not overwritten.
#[test]
fn a_slow_registry_keeps_nobody_from_pinning() {
    let sample = sample();
    let registry = registry(&sample, &["0.1.0.wasm", "0.2.0.wasm"]);
    let hook: Hook = Box::new(|head| {
        if head.contains("/manifests/0.2.0") {
            std::thread::sleep(Duration::from_secs(12));
        }
        None
    });
    let slow = place(&Proxy::answering(&registry, hook).unwrap().host());
    fs::copy(plugin("phase3-analytics"), sample.path().join("phase3.wasm")).unwrap();
    // Longer than a lock is waited for.
    let meanwhile = |slow: &[&str], fast: &[&str]| {
        std::thread::scope(|scope| {
            let slow = scope.spawn(|| sample.host(slow).unwrap());
            std::thread::sleep(Duration::from_secs(1));
            let began = Instant::now();
            ok(sample.host(fast).unwrap());
            assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
            slow.join().unwrap()
        })
    };
    ok(meanwhile(&["add", &slow], &["pin", "phase3.wasm"]));
    let both = lock(&sample);
    assert!(both.contains("[plugin.phase3-analytics]") && both.contains("version = \"0.2.0\""), "{both}");

    // Another process moves the plugin that is being updated.
    ok(sample.host(&["add", &format!("{slow}:0.1.0")]).unwrap());
    let any = lock(&sample).replace(&format!("{slow}:0.1.0"), &slow);
    fs::write(sample.path().join("plugins.lock"), &any).unwrap();
    let update = meanwhile(&["update", "--all"], &["pin", "phase2-raw@0.1.0", "other.wasm"]);
    assert_eq!(update.code, 64, "{update:?}");
    assert!(update.err.contains("phase2-raw: another process changed its pin meanwhile"), "{}", update.err);
    assert!(lock(&sample).contains("source = \"other.wasm\""), "{}", lock(&sample));
}

/// Where the list of versions is forbidden, one version is still found, or known to be absent.
#[test]
fn a_registry_without_a_list_says_what_it_knows() {
    let sample = sample();
    let host = |arguments: &[&str]| sample.host(arguments).unwrap();
    let registry = registry(&sample, &["0.1.0.wasm"]);
    let hook: Hook = Box::new(|head| {
        let answer = "HTTP/1.1 403 X\r\nContent-Length: 11\r\nConnection: close\r\n\r\nnot for you";
        head.contains("/tags/list").then(|| answer.to_owned())
    });
    let place = place(&Proxy::answering(&registry, hook).unwrap().host());
    let absent = host(&["add", &format!("{place}:0.9.0")]);
    assert_eq!(absent.code, 64, "{absent:?}");
    assert!(absent.err.contains("version 0.9.0 is not published"), "{}", absent.err);
    ok(host(&["add", &format!("{place}:0.1.0")]));
    let outdated = ok(host(&["outdated"]));
    let row: Vec<&str> = outdated.out.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!(row[..4], ["phase2-raw", "0.1.0", "0.1.0", "unknown"]);
    assert!(outdated.err.contains("phase2-raw: no list of versions: "), "{}", outdated.err);
    let json = ok(host(&["outdated", "--output", "json"])).json();
    assert_eq!((&json["plugins"][0]["wanted"], &json["plugins"][0]["newest"]), (&json!("0.1.0"), &Value::Null));
    // The twin: a range needs the list.
    fs::write(sample.path().join("plugins.lock"), lock(&sample).replace(":0.1.0\"", "@^0.1\"")).unwrap();
    let needed = host(&["outdated"]);
    assert!(needed.code == 64 && needed.err.contains("denies access"), "{needed:?}");
}

/// Pages that link to themselves or to each other, as a hostile or broken registry sends them.
#[test]
fn pages_of_versions_that_repeat_themselves_are_refused() {
    let sample = sample();
    for (what, most) in [("itself", 2), ("each other", 3), ("a new address of the same page", 3)] {
        let asked = Arc::new(AtomicUsize::new(0));
        let count = asked.clone();
        let server = http::serve(move |request| {
            let before = count.fetch_add(1, Ordering::SeqCst);
            let (path, query) = (&request.path, &request.query);
            let (next, tag) = match what {
                "itself" => (format!("{path}?{query}"), "1.0.0"),
                "each other" if before.is_multiple_of(2) => (format!("{path}?b"), "1.0.0"),
                "each other" => (format!("{path}?a"), "1.1.0"),
                _ => (format!("{path}?{before}"), "1.0.0"),
            };
            let link = format!("Link: <{next}>; rel=\"next\"\r\n");
            Reply::With(200, link, json!({ "tags": [tag] }).to_string())
        });
        let refused = sample.host(&["add", &format!("oci://{}/data/x", server.unwrap().host())]).unwrap();
        assert_eq!(refused.code, 64, "{what}: {refused:?}");
        assert!(refused.err.contains("the pages of versions repeat themselves"), "{what}: {}", refused.err);
        assert!(asked.load(Ordering::SeqCst) <= most, "{what}: {asked:?}");
    }
}

/// A helper that never stops talking, and one that started others: neither outlives the question.
#[test]
fn a_credential_helper_is_bounded_and_ended_whole() {
    let sample = sample();
    let closed = http::serve(|_| Reply::With(401, "WWW-Authenticate: Basic realm=\"x\"\r\n".to_owned(), String::new()));
    let place = place(&closed.unwrap().host());
    let bin = sample.path().join("bin");
    for directory in [&bin, &sample.path().join(".docker")] {
        fs::create_dir(directory).unwrap();
    }
    fs::write(sample.path().join(".docker/config.json"), json!({ "credsStore": "x" }).to_string()).unwrap();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let with = |script: &str| {
        let file = bin.join("docker-credential-x");
        fs::write(&file, format!("#!/bin/sh\ncat > /dev/null\n{script}\n")).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
        let began = Instant::now();
        let refused = ended(sample.command().env("PATH", &path).args(["add", &place])).unwrap();
        assert_eq!(refused.code, 64, "{refused:?}");
        (refused.err, began.elapsed())
    };
    for script in ["yes", "yes >&2"] {
        let (err, took) = with(script);
        assert!(err.contains("x failed") && err.contains("its output is larger than 64.0 KiB"), "{script}: {err}");
        assert!(took < Duration::from_secs(8), "{took:?}");
    }
    let (err, _) = with("sleep 300 & echo $! > child; wait");
    assert!(err.contains("it did not answer within 10 s"), "{err}");
    let child = fs::read_to_string(sample.path().join("child")).unwrap();
    let state = || {
        let stat = fs::read_to_string(format!("/proc/{}/stat", child.trim())).ok()?;
        stat.rsplit(") ").next()?.chars().next()
    };
    let began = Instant::now();
    while state().is_some_and(|state| state != 'Z') {
        assert!(began.elapsed() < Duration::from_secs(5), "its child still runs: {:?}", state());
        std::thread::sleep(Duration::from_millis(50));
    }
    // The twin: an answer of a usual size, and nothing to find.
    let (err, _) = with("echo 'credentials not found in native keychain'; exit 1");
    assert!(err.contains("requires credentials, and Docker's configuration has none for it"), "{err}");
    // A refusal that asks for no credentials blames none.
    let silent = http::serve(|_| Reply::Answer(401, String::new())).unwrap().host();
    let refused = sample.host(&["add", &format!("oci://{silent}/data/x")]).unwrap();
    assert!(refused.err.contains("requires credentials, but does not say which"), "{}", refused.err);
}
