//! Registries as they are: with pages, busy, unreachable, with credentials in several forms, and hostile ones.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use base64::{Engine, prelude::BASE64_STANDARD};
use host_tests::HOST_TOML;
use serde_json::{Value, json};

use crate::support::{
    command::{Ended, Sample, ended},
    http::{self, Reply, Request},
    registry::{Hook, Proxy, Registry, USER},
    watched::{plugin, reversioned},
};

pub(super) fn ok(ended: Ended) -> Ended {
    assert_eq!(ended.code, 0, "{ended:?}");
    ended
}

pub(super) fn lock(sample: &Sample) -> String {
    fs::read_to_string(sample.path().join("plugins.lock")).unwrap_or_default()
}

/// A sample with three versions of a plugin.
fn sample() -> Sample {
    let sample = Sample::new(None).unwrap();
    fs::write(sample.path().join("0.1.0.wasm"), fs::read(plugin("phase2-raw")).unwrap()).unwrap();
    for version in ["0.1.7", "0.2.0"] {
        fs::write(sample.path().join(format!("{version}.wasm")), reversioned("phase2-raw", version)).unwrap();
    }
    sample
}

/// A registry that has all of them.
fn filled(sample: &Sample) -> Registry {
    let registry = Registry::start(false).unwrap();
    for version in ["0.1.0", "0.1.7", "0.2.0"] {
        let place = format!("oci://{}/data/phase2-raw", registry.host());
        ok(sample.host(&["push", &format!("{version}.wasm"), &place]).unwrap());
    }
    registry
}

fn whole(status: u16, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status} X\r\n{headers}Content-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())
}

/// One tag a page, with the next page in these headers. `%` stands for the address behind the registry's name.
fn one_tag_a_page(most: usize, link: &'static str) -> Hook {
    Box::new(move |head| {
        let target = head.split(' ').nth(1)?;
        let (_, query) = target.split_once("/tags/list").map(|(path, query)| (path, query.trim_start_matches('?')))?;
        let value = |name: &str| query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
        let asked = value("n").map_or(1, |n| n.parse().unwrap());
        if asked > most {
            return Some(whole(400, "", r#"{"errors":[{"code":"PAGINATION_NUMBER_INVALID"}]}"#));
        }
        let tags = ["0.1.0", "0.1.7", "0.2.0", "latest", "sha256-00.sig"];
        let first = value("last").map_or(0, |last| tags.iter().position(|tag| *tag == last).unwrap() + 1);
        let tag: Vec<&str> = tags[first..].iter().take(1).copied().collect();
        let host = head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("host: ").map(str::to_owned))?;
        let more = first + 1 < tags.len() && !link.is_empty();
        let next = format!("/v2/data/phase2-raw/tags/list?last={}&n={asked}", tags[first.min(4)]);
        let next = link.replace("HOST", &host).replace('%', &next);
        let headers = if more { format!("Link: <{next}>; rel=\"next\"\r\n") } else { String::new() };
        Some(whole(200, &headers, &json!({ "name": "data/phase2-raw", "tags": tag }).to_string()))
    })
}

#[test]
fn every_page_of_versions_is_read() {
    let sample = sample();
    let registry = filled(&sample);
    for (what, most, link) in [
        ("relative links", 1000, "%"),
        ("absolute links", 1000, "http://HOST%"),
        ("no links", 1000, ""),
        ("pages of at most 100", 100, "%"),
        ("no number of tags", 1, "%"),
    ] {
        let proxy = Proxy::answering(&registry, one_tag_a_page(most, link)).unwrap();
        let place = format!("oci://{}/data/phase2-raw", proxy.host());
        let _ = fs::remove_file(sample.path().join("plugins.lock"));
        ok(sample.host(&["add", &format!("{place}@^0.1")]).unwrap());
        assert!(lock(&sample).contains("version = \"0.1.7\""), "{what}: {}", lock(&sample));
        let outdated = sample.host(&["outdated", "--output", "json"]).unwrap();
        assert_eq!(outdated.json()["plugins"][0]["newest"], "0.2.0", "{what}: {outdated:?}");
        ok(sample.host(&["add", &place]).unwrap());
        assert!(lock(&sample).contains("version = \"0.2.0\""), "{what}");
    }
    let foreign = Proxy::answering(&registry, one_tag_a_page(1000, "http://127.0.0.1:9%")).unwrap();
    let refused = sample.host(&["add", &format!("oci://{}/data/phase2-raw", foreign.host())]).unwrap();
    assert_eq!(refused.code, 64, "{refused:?}");
    assert!(refused.err.contains("next page of versions is not its own"), "{}", refused.err);
}

#[test]
fn one_version_needs_no_list() {
    let sample = sample();
    let registry = filled(&sample);
    let hook: Hook = Box::new(|head| head.contains("/tags/list").then(|| whole(403, "", "not for you")));
    let proxy = Proxy::answering(&registry, hook).unwrap();
    let place = format!("oci://{}/data/phase2-raw", proxy.host());
    ok(sample.host(&["add", &format!("{place}:0.1.7")]).unwrap());
    assert!(lock(&sample).contains("version = \"0.1.7\""));
    let any = sample.host(&["add", &place]).unwrap();
    assert!(any.code == 64 && any.err.contains("denies access to data/phase2-raw: not for you"), "{any:?}");
}

#[test]
fn a_busy_registry_is_asked_again() {
    let sample = sample();
    let registry = filled(&sample);
    for status in [429, 503] {
        // What is in the store is not fetched again.
        let _ = fs::remove_dir_all(sample.path().join("plugins.store"));
        let asked = Arc::new(AtomicUsize::new(0));
        let count = asked.clone();
        let hook: Hook = Box::new(move |_| {
            let asked = count.fetch_add(1, Ordering::SeqCst);
            (asked % 3 != 2).then(|| whole(status, "Retry-After: 0\r\n", "busy"))
        });
        let proxy = Proxy::answering(&registry, hook).unwrap();
        ok(sample.host(&["add", &format!("oci://{}/data/phase2-raw:0.1.0", proxy.host())]).unwrap());
        assert!(asked.load(Ordering::SeqCst) >= 9, "{status}");
    }
    let hook: Hook = Box::new(|_| Some(whole(503, "Retry-After: 0\r\n", "down\nfor maintenance")));
    let proxy = Proxy::answering(&registry, hook).unwrap();
    let never = sample.host(&["add", &format!("oci://{}/data/phase2-raw", proxy.host())]).unwrap();
    assert!(never.code == 64 && never.err.contains("fails with 503: down for maintenance; try again"), "{never:?}");
}

#[test]
fn a_list_of_images_is_not_a_plugin_and_stays() {
    let sample = sample();
    let registry = filled(&sample);
    let place = format!("oci://{}/data/phase2-raw", registry.host());
    registry.remove_tag("data/phase2-raw", "0.2.0").unwrap();
    registry.push_index("data/phase2-raw", "0.2.0").unwrap();
    let pushed = sample.host(&["push", "0.2.0.wasm", &place]).unwrap();
    assert!(pushed.code == 64 && pushed.err.contains("0.2.0 is already published as a list of images"), "{pushed:?}");
    for place in [format!("{place}:0.2.0"), place] {
        let added = sample.host(&["add", &place]).unwrap();
        assert!(added.code == 64 && added.err.contains("0.2.0 is not a plugin: it is a list of images"), "{added:?}");
    }
}

#[test]
fn one_registry_that_is_down_keeps_nobody_else() {
    let sample = sample();
    let registry = filled(&sample);
    let place = format!("oci://{}/data/phase2-raw", registry.host());
    let host = |arguments: &[&str]| sample.host(arguments).unwrap();
    ok(host(&["add", &format!("{place}:0.1.0")]));
    let pins = lock(&sample).replace(":0.1.0\"", "@^0.1\"");
    let block = &pins[pins.find("[plugin.").unwrap()..];
    // Names before and after it, so that the order does not matter.
    let down = |name: &str| {
        let digest = format!("sha256:{}", "0".repeat(64));
        let lines = block.lines().map(|line| match line.split_once(" = ") {
            None => format!("[plugin.{name}]"),
            Some(("source", _)) => "source = \"oci://127.0.0.1:9/x\"".to_owned(),
            Some(("digest", _)) => format!("digest = \"{digest}\""),
            Some(_) => line.to_owned(),
        });
        lines.collect::<Vec<_>>().join("\n")
    };
    fs::write(sample.path().join("plugins.lock"), format!("{pins}\n{}\n\n{}\n", down("aaa"), down("zzz"))).unwrap();

    let outdated = host(&["outdated"]);
    assert_eq!(outdated.code, 64, "{outdated:?}");
    assert!(outdated.out.contains("phase2-raw") && outdated.out.contains("0.1.7"), "{}", outdated.out);
    let errors: Vec<&str> = outdated.err.lines().filter(|line| line.starts_with("error: ")).collect();
    assert!(errors.len() == 2 && errors[1].contains("zzz: oci://127.0.0.1:9/x: 127.0.0.1:9 cannot be"), "{errors:?}");

    let updated = host(&["update", "--all"]);
    assert_eq!(updated.code, 64, "{updated:?}");
    assert!(lock(&sample).contains("version = \"0.1.7\""), "{}", lock(&sample));
    assert!(updated.err.trim_end().lines().last().unwrap().starts_with("error: zzz"), "{}", updated.err);

    fs::remove_dir_all(sample.path().join("plugins.store")).unwrap();
    let pulled = host(&["pull"]);
    assert_eq!(pulled.code, 64, "{pulled:?}");
    assert!(pulled.err.contains("phase2-raw: 0.1.7") && pulled.err.contains("fetched"), "{}", pulled.err);
    assert!(!pulled.err.contains("all present"), "{}", pulled.err);
    assert!(ok(host(&["update", "phase2-raw"])).err.contains("unchanged"), "the others are not asked");
}

/// The registry that a hostile owner runs.
fn hostile(answer: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> String {
    http::serve(answer).unwrap().host()
}

#[test]
fn no_answer_is_too_long_or_takes_for_ever() {
    // In one directory: no `add` waits for another.
    let sample = Sample::new(None).unwrap();
    let add = |host: &str| sample.host(&["add", &format!("oci://{host}/data/x:1.0.0")]).unwrap();
    let began = Instant::now();
    let large = add(&hostile(|_| Reply::Endless(b' ', Duration::ZERO)));
    assert!(large.code == 64 && large.err.contains("the answer is larger than 4.0 MiB"), "{large:?}");
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());

    // The three at the same time: each waits for the whole timeout.
    let host = |pause: u64| hostile(move |_| Reply::Endless(b' ', Duration::from_secs(pause)));
    let silent = hostile(|_| Reply::Hang);
    std::thread::scope(|scope| {
        for host in [host(1), host(5), silent] {
            let add = &add;
            scope.spawn(move || {
                let slow = add(&host);
                assert!(slow.code == 64 && slow.err.contains("127.0.0.1 does not answer in time"), "{slow:?}");
            });
        }
    });
    assert!(began.elapsed() < Duration::from_secs(45), "{:?}", began.elapsed());

    let round = hostile(|request| Reply::With(307, format!("Location: {}\r\n", request.path), String::new()));
    let round = add(&round);
    assert!(round.code == 64 && round.err.contains("redirects to nowhere"), "{round:?}");
    let lines =
        json!({ "errors": [{ "code": "DENIED", "message": "no\nerror: a line of ours\u{1b}[2J" }] }).to_string();
    let lines = add(&hostile(move |_| Reply::Answer(418, lines.clone())));
    assert_eq!(lines.err.lines().count(), 1, "{}", lines.err);
    assert!(lines.code == 64 && lines.err.contains("418: DENIED: no error: a line of ours [2J"), "{lines:?}");
}

/// Docker's configuration, as `docker login` writes it.
fn log_in(sample: &Sample, host: &str, entry: &Value) {
    configure(sample, &json!({ "auths": { host: entry } }));
}

fn configure(sample: &Sample, config: &Value) {
    let docker = sample.path().join(".docker");
    fs::create_dir_all(&docker).unwrap();
    fs::write(docker.join("config.json"), config.to_string()).unwrap();
}

fn user() -> Value {
    json!({ "auth": BASE64_STANDARD.encode(format!("{}:{}", USER.0, USER.1)) })
}

/// What a registry's authorization server saw.
type Seen = Arc<Mutex<Vec<Request>>>;

/// A registry without versions, and its authorization server; the realm is made from its own address.
fn with_tokens(realm: impl Fn(&str) -> String + Send + Sync + 'static) -> (String, Seen) {
    let seen = Seen::default();
    let server = seen.clone();
    let host = hostile(move |request| {
        if request.path == "/token" {
            server.lock().unwrap().push(request.clone());
            let refused =
                request.header("authorization").is_empty() && !request.body.contains("refresh_token=long-lived");
            return match refused {
                true => Reply::Answer(401, String::new()),
                false => Reply::ok(&json!({ "access_token": "short-lived" })),
            };
        }
        if request.header("authorization") == "Bearer short-lived" {
            return Reply::ok(&json!({ "name": "data/x", "tags": [] }));
        }
        let realm = realm(request.header("host"));
        let header =
            format!("WWW-Authenticate: Bearer realm=\"{realm}\",service=\"reg\",scope=\"repository:data/x:pull\"\r\n");
        Reply::With(401, header, String::new())
    });
    (host, seen)
}

#[test]
fn a_password_goes_only_where_nobody_listens_in() {
    let sample = sample();
    let add = |host: &str| sample.host(&["add", &format!("oci://{host}/data/x")]).unwrap();
    // The registry is localhost, and its authorization server 127.0.0.1: that may be another one.
    let (foreign, collected) = with_tokens(|host| format!("http://{}/token", host.replace("localhost", "127.0.0.1")));
    let foreign = foreign.replace("127.0.0.1", "localhost");
    log_in(&sample, &foreign, &user());
    let refused = add(&foreign);
    assert!(refused.code == 64 && refused.err.contains("which is not https"), "{refused:?}");
    assert!(collected.lock().unwrap().is_empty());

    let (own, seen) = with_tokens(|host| format!("http://{host}/token"));
    let anonymous = add(&own);
    assert!(
        anonymous.code == 64
            && anonymous.err.contains("requires credentials, and Docker's configuration has none for it"),
        "{anonymous:?}"
    );
    log_in(&sample, &own, &user());
    assert!(add(&own).err.contains("no version is published"));
    let asked = seen.lock().unwrap().last().unwrap().clone();
    assert_eq!(
        (asked.method.as_str(), asked.query.as_str()),
        ("GET", "scope=repository%3Adata%2Fx%3Apull&service=reg")
    );
    assert_eq!(asked.header("authorization"), format!("Basic {}", user()["auth"].as_str().unwrap()));

    // A proxy for the network sees nothing of this machine's own registry.
    let seen = Arc::new(AtomicUsize::new(0));
    let count = seen.clone();
    let proxy = http::serve(move |_| {
        count.fetch_add(1, Ordering::SeqCst);
        Reply::Answer(502, String::new())
    });
    let mut command = sample.command();
    let proxied = proxy.unwrap().url();
    command.env("HTTP_PROXY", &proxied).env("http_proxy", &proxied).env("ALL_PROXY", &proxied);
    let direct = ended(command.args(["add", &format!("oci://{own}/data/x")])).unwrap();
    assert!(direct.err.contains("no version is published"), "{direct:?}");
    assert_eq!(seen.load(Ordering::SeqCst), 0);
}

#[test]
fn an_identity_token_is_exchanged() {
    let sample = sample();
    let (host, seen) = with_tokens(|host| format!("http://{host}/token"));
    let add = || sample.host(&["add", &format!("oci://{host}/data/x")]).unwrap();
    log_in(&sample, &host, &json!({ "auth": user()["auth"], "identitytoken": "long-lived" }));
    let added = add();
    assert!(added.err.contains("no version is published"), "{added:?}");
    let asked = seen.lock().unwrap().last().unwrap().clone();
    assert_eq!((asked.method.as_str(), asked.header("authorization")), ("POST", ""));
    for pair in ["grant_type=refresh_token", "service=reg", "scope=repository%3Adata%2Fx%3Apull"] {
        assert!(asked.body.split('&').any(|given| given == pair), "{pair}: {}", asked.body);
    }
    log_in(&sample, &host, &json!({ "identitytoken": "expired" }));
    let refused = add();
    assert!(refused.code == 64 && refused.err.contains("refuses the credentials"), "{refused:?}");
    assert!(!refused.err.contains("expired"), "{refused:?}");
}

#[test]
fn no_credentials_are_no_error_until_they_are_needed() {
    let sample = sample();
    let (open, closed) = (Registry::start(false).unwrap(), Registry::start(true).unwrap());
    let bin = sample.path().join("bin");
    fs::create_dir(&bin).unwrap();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let push = |registry: &Registry| {
        let place = format!("oci://{}/data/phase2-raw", registry.host());
        ended(sample.command().env("PATH", &path).args(["push", "0.1.0.wasm", &place])).unwrap()
    };
    let helper = |script: &str| {
        let file: PathBuf = bin.join("docker-credential-desktop");
        fs::write(&file, format!("#!/bin/sh\ncat > /dev/null\n{script}\n")).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
    };
    let hosts = [open.host(), closed.host()];
    let of_both = |entry: &Value| json!({ "auths": { &hosts[0]: entry, &hosts[1]: entry } });
    let refused = "requires credentials, and Docker's configuration has none for it; log in with `docker login";
    for config in [of_both(&json!({})), of_both(&json!({ "auth": "" })), json!({}), json!({ "auths": {} })] {
        configure(&sample, &config);
        ok(push(&open));
        let closed = push(&closed);
        assert!(closed.code == 64 && closed.err.contains(refused), "{config}: {closed:?}");
    }
    fs::write(sample.path().join(".docker/config.json"), "").unwrap();
    ok(push(&open));
    assert!(push(&closed).err.contains(refused));

    // The layout of Docker Desktop: an empty entry for each registry, and a store.
    let mut desktop = of_both(&json!({}));
    desktop["credsStore"] = "desktop".into();
    configure(&sample, &desktop);
    ok(push(&open));
    let missing = push(&closed);
    assert!(missing.code == 64 && missing.err.contains("docker-credential-desktop is not installed"), "{missing:?}");
    helper("echo 'credentials not found in native keychain'; exit 1");
    ok(push(&open));
    assert!(push(&closed).err.contains(refused));
    helper("sleep 60");
    let began = Instant::now();
    let hung = push(&closed);
    assert!(hung.code == 64 && hung.err.contains("desktop failed") && hung.err.contains("within 10 s"), "{hung:?}");
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
    helper(&format!("echo '{{\"ServerURL\":\"x\",\"Username\":\"{}\",\"Secret\":\"{}\"}}'", USER.0, USER.1));
    ok(push(&closed));
}

#[test]
fn signatures_of_two_teams_add_up() {
    let sample = sample();
    let registry = Registry::start(false).unwrap();
    let place = format!("oci://{}/data/phase2-raw", registry.host());
    let host = |arguments: &[&str]| sample.host(arguments).unwrap();
    // Each team has its own copy, as on its own machine.
    let keys = ["a", "b"].map(|team| {
        fs::create_dir(sample.path().join(team)).unwrap();
        let file = format!("{team}/plugin.wasm");
        fs::copy(sample.path().join("0.1.0.wasm"), sample.path().join(&file)).unwrap();
        let key = ok(host(&["keygen", &format!("{team}.key")])).out.trim().to_owned();
        ok(host(&["sign", "--key", &format!("{team}.key"), &file]));
        key
    });
    let trust = |key: &str| sample.configure(&format!("{HOST_TOML}\n[trust]\nkeys = [\"{key}\"]\n")).unwrap();

    ok(host(&["push", "a/plugin.wasm", &place]));
    ok(host(&["add", &place]));
    trust(&keys[1]);
    let unsigned = host(&["pull"]);
    assert!(unsigned.code == 64 && unsigned.err.contains("is not trusted"), "{unsigned:?}");
    // What is there already gets the signature that was pushed since.
    ok(host(&["push", "b/plugin.wasm", &place]));
    assert!(ok(host(&["pull"])).err.contains("is present"));
    for key in &keys {
        trust(key);
        ok(host(&["pull"]));
        fs::remove_dir_all(sample.path().join("plugins.store")).unwrap();
        assert!(ok(host(&["pull"])).err.contains("fetched"));
    }

    let tag = registry.manifest_tags("data/phase2-raw").unwrap().into_iter().find(|tag| tag.ends_with(".sig")).unwrap();
    for round in 0..20 {
        registry.remove_tag("data/phase2-raw", &tag).unwrap();
        std::thread::scope(|scope| {
            for team in ["a", "b"] {
                let (sample, place) = (&sample, &place);
                scope.spawn(move || ok(sample.host(&["push", &format!("{team}/plugin.wasm"), place]).unwrap()));
            }
        });
        let manifest = registry.manifest("data/phase2-raw", &tag).unwrap();
        let signatures = registry.json(manifest["layers"][0]["digest"].as_str().unwrap()).unwrap();
        for key in &keys {
            let named = |signature: &Value| signature["key"] == key.as_str();
            assert!(signatures["signatures"].as_array().unwrap().iter().any(named), "round {round}: {signatures}");
        }
    }
}

#[test]
fn a_pin_keeps_its_registry() {
    let sample = sample();
    let registry = filled(&sample);
    let place = format!("oci://{}/data/phase2-raw", registry.host());
    let host = |arguments: &[&str]| sample.host(arguments).unwrap();
    let source = |wanted: &str| {
        let line = format!("source = \"{place}{wanted}\"");
        assert!(lock(&sample).contains(&line), "{line}: {}", lock(&sample));
    };
    ok(host(&["add", &format!("{place}:0.1.0")]));
    let before = lock(&sample);
    ok(host(&["pin", "phase2-raw"]));
    assert_eq!(lock(&sample), before, "the same bytes");
    ok(host(&["pin", "0.1.0.wasm"]));
    assert_eq!(lock(&sample), before, "the same bytes from elsewhere");

    // Forwards and back: the place stays, with the version that was chosen.
    ok(host(&["add", &place]));
    source("");
    assert!(ok(host(&["pin", "phase2-raw@0.1.0"])).err.contains("0.2.0 → 0.1.0"));
    source("");
    assert_eq!(host(&["outdated"]).code, 2);
    ok(host(&["add", &format!("{place}:0.2.0")]));
    ok(host(&["pin", "phase2-raw@0.1.0"]));
    source(":0.1.0");
    // Other bytes from elsewhere do not come from the registry.
    ok(host(&["pin", "0.1.7.wasm"]));
    assert!(lock(&sample).contains("source = \"0.1.7.wasm\""), "{}", lock(&sample));

    // A fresh checkout has the lock file alone.
    ok(host(&["add", &place]));
    fs::write(sample.path().join("gone.wasm"), fs::read(plugin("phase3-analytics")).unwrap()).unwrap();
    ok(host(&["pin", "gone.wasm"]));
    fs::remove_file(sample.path().join("gone.wasm")).unwrap();
    fs::remove_dir_all(sample.path().join("plugins.store")).unwrap();
    let pruned = ok(host(&["pin", "--prune"]));
    assert!(pruned.err.contains("phase2-raw: not in plugins.store; `host pull` fetches it"), "{}", pruned.err);
    assert!(pruned.err.contains("phase3-analytics: removed"), "{}", pruned.err);
    source("");
    ok(host(&["pull"]));
}
