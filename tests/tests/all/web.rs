//! The page, the API and the metrics as programs see them: access, refusals, and that the API matches its document.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use host_tests::{Fault, HOST_TOML};
use serde_json::{Value, json};

use crate::support::{
    alone,
    command::{Sample, ended},
    say,
    service::{Answered, Client, Service, TOKEN, install},
};

fn service() -> (Sample, Service) {
    let sample = Sample::now(Some(Fault::NullNames)).unwrap();
    install(&sample, &[]).unwrap();
    let ended = sample.host(&["run", "--once", "plugins"]).unwrap();
    assert!(ended.code < 3, "{ended:?}");
    let service = Service::start(&sample, HOST_TOML, &[]).unwrap();
    (sample, service)
}

/// The path of orders about data dates.
const ORDER: &str = "/api/v1/checks/{name}/dates/{date}/{order}";

/// Resolves references, so that a schema can be used alone.
fn resolved(schema: &Value, document: &Value) -> Value {
    match schema {
        Value::Object(map) => match map.get("$ref").and_then(Value::as_str) {
            Some(reference) => resolved(document.pointer(reference.trim_start_matches('#')).unwrap(), document),
            None => Value::Object(map.iter().map(|(key, value)| (key.clone(), resolved(value, document))).collect()),
        },
        Value::Array(list) => Value::Array(list.iter().map(|value| resolved(value, document)).collect()),
        other => other.clone(),
    }
}

/// Checks that an answer matches the document for its path, method and status.
fn fits(document: &Value, path: &str, method: &str, answer: &Answered) {
    let operation = &document["paths"][path][method];
    let said = &operation["responses"][answer.status.to_string()];
    assert!(said.is_object(), "{method} {path} answered {}, which is not in the document: {answer:?}", answer.status);
    let Some(content) = said["content"].as_object() else { return };
    let (kind, of) = content.iter().next().unwrap();
    assert!(answer.head.contains(&format!("content-type: {kind}")), "{path}: {}", answer.head);
    if kind == "application/json" {
        let schema = resolved(&of["schema"], document);
        let validator = jsonschema::validator_for(&schema).unwrap();
        let wrong: Vec<String> =
            validator.iter_errors(&answer.json()).map(|error| format!("{}: {error}", error.instance_path())).collect();
        assert!(wrong.is_empty(), "{method} {path}: {wrong:?}: {}", answer.body);
    }
}

#[test]
fn the_api_is_what_its_document_says() {
    let (_sample, service) = service();
    let document = service.get("/api/v1/openapi.json").json();
    let token = format!("Bearer {TOKEN}");
    let act =
        |method: &str, path: &str, body: &str| service.ask(method, path, &[("authorization", &token)], body).unwrap();
    service.post("/api/v1/gates/phase2-gate", "");
    let silence = r#"{"checks": ["phase2-raw"], "for": "4h", "why": "x"}"#;
    // Each path of the document, with each answer that can be caused here.
    let asked = [
        ("/healthz", "get", "/healthz", ""),
        ("/readyz", "get", "/readyz", ""),
        ("/metrics", "get", "/metrics", ""),
        ("/api/v1/openapi.json", "get", "/api/v1/openapi.json", ""),
        ("/api/v1/checks", "get", "/api/v1/checks", ""),
        ("/api/v1/checks/{name}", "get", "/api/v1/checks/phase2-raw", ""),
        ("/api/v1/checks/{name}", "get", "/api/v1/checks/nothing", ""),
        ("/api/v1/checks/{name}/badge.svg", "get", "/api/v1/checks/phase2-raw/badge.svg", ""),
        ("/api/v1/checks/{name}/badge.svg", "get", "/api/v1/checks/nothing/badge.svg", ""),
        ("/api/v1/runs", "get", "/api/v1/runs", ""),
        ("/api/v1/runs", "get", "/api/v1/runs?check=phase2-raw&limit=1", ""),
        ("/api/v1/runs", "get", "/api/v1/runs?include=report", ""),
        ("/api/v1/runs", "get", "/api/v1/runs?include=report,calls&limit=3", ""),
        ("/api/v1/runs", "get", "/api/v1/runs?include=everything", ""),
        ("/api/v1/runs", "get", "/api/v1/runs?limit=0", ""),
        ("/api/v1/runs", "get", "/api/v1/runs?limit=many", ""),
        ("/api/v1/runs", "get", "/api/v1/runs?chekc=phase2-raw", ""),
        ("/api/v1/runs", "get", "/api/v1/runs?date=2026-02-05", ""),
        ("/api/v1/runs", "get", "/api/v1/runs?date=soon", ""),
        ("/api/v1/dates", "get", "/api/v1/dates", ""),
        ("/api/v1/dates", "get", "/api/v1/dates?check=phase2-raw&open=true", ""),
        ("/api/v1/dates", "get", "/api/v1/dates?open=maybe", ""),
        (ORDER, "post", "/api/v1/checks/phase2-raw/dates/open/ack", r#"{"why": "x", "for": "4h"}"#),
        (ORDER, "post", "/api/v1/checks/phase2-raw/dates/open/ack", "{}"),
        (ORDER, "post", "/api/v1/checks/phase2-raw/dates/1999-01-01/close", r#"{"why": "x"}"#),
        (ORDER, "post", "/api/v1/checks/nothing/dates/open/recheck", ""),
        ("/api/v1/alerts", "get", "/api/v1/alerts", ""),
        ("/api/v1/messages", "get", "/api/v1/messages", ""),
        ("/api/v1/messages", "get", "/api/v1/messages?check=phase2-raw", ""),
        ("/api/v1/consultations", "get", "/api/v1/consultations", ""),
        ("/api/v1/gates/{name}", "post", "/api/v1/gates/phase2-gate", "{}"),
        ("/api/v1/gates/{name}", "post", "/api/v1/gates/phase2-gate", "no json"),
        ("/api/v1/gates/{name}", "post", "/api/v1/gates/nothing", ""),
        ("/api/v1/gates/{name}", "post", "/api/v1/gates/phase2-gate", r#"{"date": "1999-01-01"}"#),
        ("/api/v1/silences", "post", "/api/v1/silences", silence),
        ("/api/v1/silences", "post", "/api/v1/silences", "{}"),
        ("/api/v1/hosts", "get", "/api/v1/hosts", ""),
        ("/api/v1/silences", "get", "/api/v1/silences", ""),
        ("/api/v1/silences/{id}", "delete", "/api/v1/silences/1", ""),
        ("/api/v1/silences/{id}", "delete", "/api/v1/silences/1", ""),
        ("/api/v1/reload", "post", "/api/v1/reload", ""),
    ];
    let mut covered = Vec::new();
    for (path, method, target, body) in asked {
        let answer = act(&method.to_uppercase(), target, body);
        fits(&document, path, method, &answer);
        covered.push((path, method));
        if method != "get" {
            fits(&document, path, method, &service.ask(&method.to_uppercase(), target, &[], body).unwrap());
            let elsewhere = [("authorization", token.as_str()), ("sec-fetch-site", "cross-site")];
            fits(&document, path, method, &service.ask(&method.to_uppercase(), target, &elsewhere, body).unwrap());
        }
    }
    for (path, methods) in document["paths"].as_object().unwrap() {
        for method in methods.as_object().unwrap().keys() {
            assert!(covered.contains(&(path.as_str(), method.as_str())), "{method} {path} was not tried");
        }
    }
    let short = service.get("/api/v1/runs?check=phase2-raw&limit=1").json();
    let fields = short["runs"][0].as_object().unwrap();
    assert!(!fields.contains_key("report") && !fields.contains_key("calls"), "only when asked: {short}");
    let run = service.get("/api/v1/runs?check=phase2-raw&limit=1&include=calls,report").json();
    assert_eq!(run["runs"][0]["calls"][0]["name"], "warehouse.query");
    assert_eq!(run["runs"][0]["report"]["violations"][0]["message"], "null_player_names is above its maximum: 3 > 0");
    assert_eq!(service.get("/api/v1/checks/phase2-raw").json()["metrics"][2]["value"], json!(3.0));
    let message = service.get("/api/v1/messages?check=phase2-raw").json();
    assert_eq!(message["messages"][0]["receipts"][0]["answer"], "taken");
    assert_eq!(service.get("/api/v1/messages?check=phase6-publishing").json()["messages"], json!([]));
    let badge = service.get("/api/v1/checks/phase2-raw/badge.svg").body;
    assert!(badge.contains(">phase2-raw</text>") && badge.contains(">fail</text>"), "{badge}");
    service.host.end("TERM").unwrap();
}

#[test]
fn metrics_are_counted() {
    let (_sample, service) = service();
    service.post("/api/v1/gates/phase2-gate", "");
    let text = service.get("/metrics").body;
    for line in [
        "host_runs_total{check=\"phase2-gate\",status=\"warn\"} 1",
        "host_check_status{check=\"phase2-gate\"} 1",
        "host_calls_total{plugin=\"phase2-gate\",call=\"warehouse.query\",outcome=\"ok\"} 4",
        "host_gate_consultations_total{gate=\"phase2-gate\",decision=\"PROCEED_WITH_WARNING\"} 1",
        "host_configuration_ok 1",
        "host_messages_undelivered 0",
        "host_run_duration_seconds_count{plugin=\"phase2-gate\"} 1",
        "host_http_requests_total{route=\"/api/v1/gates/{name}\",code=\"200\"} 1",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}: {text}");
    }
    assert!(text.ends_with("# EOF\n"));
    let memory = text.lines().find_map(|line| line.strip_prefix("host_resident_memory_bytes "));
    assert!(memory.unwrap().parse::<u64>().unwrap() > 10_000_000);
    // Names end as the conventions say: https://prometheus.io/docs/practices/naming/
    for line in text.lines().filter(|line| line.starts_with("# TYPE ")) {
        let (name, kind) = line[7..].split_once(' ').unwrap();
        assert!(name.starts_with("host_") && name.chars().all(|c| c.is_ascii_lowercase() || c == '_'), "{line}");
        assert!(kind != "histogram" || name.ends_with("_seconds") || name.ends_with("_bytes"), "{line}");
    }
    service.host.end("TERM").unwrap();
}

#[test]
fn nobody_else_may_ask() {
    let (_sample, service) = service();
    let token = format!("Bearer {TOKEN}");
    let status =
        |method: &str, path: &str, headers: &[(&str, &str)]| service.ask(method, path, headers, "").unwrap().status;
    assert_eq!(status("GET", "/", &[]), 200);
    assert_eq!(status("GET", "/", &[("host", "evil.example")]), 421, "a name that was rebound to this address");
    assert_eq!(status("POST", "/api/v1/reload", &[]), 401);
    assert_eq!(status("POST", "/api/v1/reload", &[("authorization", "Bearer wrong")]), 401);
    assert_eq!(status("POST", "/api/v1/reload", &[("authorization", &token), ("origin", "http://evil.example")]), 403);
    assert_eq!(status("POST", "/checks/phase2-raw/silences", &[]), 401, "a form");
    assert_eq!(status("POST", "/api/v1/checks/phase2-raw/dates/open/ack", &[]), 401);
    assert_eq!(status("PUT", "/api/v1/reload", &[("authorization", &token)]), 405);
    assert_eq!(status("GET", "/../../etc/passwd", &[]), 404);
    assert_eq!(status("GET", "/checks/%2e%2e%2fx", &[]), 404);
    for path in ["/", "/style.css", "/healthz", "/api/v1/checks", "/nothing", "/checks/nothing"] {
        let head = service.get(path).head;
        for part in [
            "content-security-policy: default-src 'none'",
            "x-content-type-options: nosniff",
            "cache-control: no-store",
        ] {
            assert!(head.contains(part), "{path}: {head}");
        }
        assert!(!head.contains("unsafe"), "{head}");
    }
    service.host.end("TERM").unwrap();
}

/// Beyond loopback everything needs a token, and without one the host does not start.
#[test]
fn an_address_beyond_loopback_needs_a_token() {
    let sample = Sample::now(None).unwrap();
    install(&sample, &[]).unwrap();
    sample.configure(&format!("{HOST_TOML}\n[web]\nlisten = \"0.0.0.0:0\"\n")).unwrap();
    let refused = ended(sample.command().args(["run", "plugins"])).unwrap();
    assert!(refused.code == 64 && refused.err.contains("needs a token: set HOST_TOKEN"), "{refused:?}");
    let short = ended(sample.command().env("HOST_TOKEN", "short").args(["run", "plugins"])).unwrap();
    assert!(short.code == 64 && short.err.contains("can be guessed") && !short.err.contains("short\""), "{short:?}");

    let service = Service::start_at(&sample, HOST_TOML, &[], "0.0.0.0:0").unwrap();
    let status = |path: &str, headers: &[(&str, &str)]| service.ask("GET", path, headers, "").unwrap().status;
    for path in ["/", "/metrics", "/api/v1/checks", "/api/v1/checks/phase2-raw/badge.svg", "/nothing"] {
        assert_eq!(status(path, &[]), 401, "{path}");
        assert_ne!(status(path, &[("authorization", &format!("Bearer {TOKEN}"))]), 401, "{path}");
    }
    assert_eq!((status("/healthz", &[]), status("/readyz", &[])), (200, 200), "what load balancers ask");
    let asked = service.get("/").head;
    assert!(asked.contains("www-authenticate: basic"), "{asked}");
    service.host.end("TERM").unwrap();
}

/// Slow, half-open, huge or invalid requests are refused within limits, and do not disturb others.
#[test]
fn bad_clients_are_refused_within_limits() {
    let (_sample, service) = service();
    // Half-open: headers that never end. Two hundred of them at once.
    let half_open: Vec<TcpStream> = (0..200)
        .map(|_| {
            let mut stream = TcpStream::connect(&service.address).unwrap();
            stream.write_all(b"GET / HTTP/1.1\r\nhost: 127.0.0.1\r\nx-slow: ").unwrap();
            stream
        })
        .collect();
    let began = Instant::now();
    assert_eq!(service.get("/").status, 200);
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());

    // A hundred megabytes, announced or not.
    let token = format!("authorization: Bearer {TOKEN}\r\nhost: {}\r\nconnection: close\r\n", service.address);
    let announced = format!("POST /api/v1/gates/phase2-gate HTTP/1.1\r\n{token}content-length: 104857600\r\n\r\n");
    let large = [announced.into_bytes(), vec![b' '; 1 << 20]].concat();
    assert_eq!(service.send(&large).unwrap().status, 413);
    let chunk = format!("{:x}\r\n{}\r\n", 1 << 16, " ".repeat(1 << 16));
    let unannounced = format!(
        "POST /api/v1/gates/phase2-gate HTTP/1.1\r\n{token}transfer-encoding: chunked\r\n\r\n{}",
        chunk.repeat(100)
    );
    assert_eq!(service.send(unannounced.as_bytes()).unwrap().status, 413);

    // Invalid requests.
    for (bytes, expected) in [
        (&b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..], Some(400)),
        (b"GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n bad\r\n\r\n", Some(400)),
        (b"GET / HTTP/9.9\r\n\r\n", Some(400)),
        (b"BREW / HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n", Some(401)),
        (b"GET http://evil.example/ HTTP/1.1\r\nhost: evil.example\r\nconnection: close\r\n\r\n", Some(421)),
        (b"GET /%00%ff HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n", Some(404)),
    ] {
        let status = service.send(bytes).ok().map(|answer| answer.status);
        assert_eq!(status, expected, "{}", String::from_utf8_lossy(bytes));
    }
    let long = format!("GET /{} HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n", "a".repeat(1 << 20));
    let status = service.send(long.as_bytes()).map(|answer| answer.status).unwrap();
    assert!(matches!(status, 414 | 431), "{status}");
    let many = format!("GET / HTTP/1.1\r\nhost: 127.0.0.1\r\n{}\r\n", "x: y\r\n".repeat(1000));
    assert_eq!(service.send(many.as_bytes()).unwrap().status, 431);

    // A body that does not come ends by itself, and so do the half-open ones.
    let stuck = format!("POST /api/v1/gates/phase2-gate HTTP/1.1\r\n{token}content-length: 10\r\n\r\n{{");
    let began = Instant::now();
    assert_eq!(service.send(stuck.as_bytes()).unwrap().status, 408);
    assert!(began.elapsed() < Duration::from_secs(20));
    for mut stream in half_open {
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut rest = Vec::new();
        // Closed, with or without a word; one that gave up its place before its bytes were read is reset.
        let ended = stream.read_to_end(&mut rest);
        let reset = ended.as_ref().is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionReset);
        assert!(ended.is_ok() || reset || !rest.is_empty(), "{ended:?}");
    }
    assert_eq!(service.get("/healthz").status, 200);
    service.host.end("TERM").unwrap();
}

/// More connections than there may be, each with two hundred requests and none that reads: the page, probes and gates are
/// answered meanwhile, and each connection gets one answer.
#[test]
fn clients_that_never_read_hold_nothing_up() {
    let (_sample, service) = service();
    let path = "/api/v1/runs?limit=1000&include=report";
    let one = format!("GET {path} HTTP/1.1\r\nhost: {}\r\n\r\n", service.address);
    let over = AtomicBool::new(false);
    let slowest = std::thread::scope(|scope| {
        // Also if something below fails.
        let ending = Ending(&over);
        let flood = scope.spawn(|| {
            let mut held = std::collections::VecDeque::new();
            while !over.load(Ordering::Relaxed) {
                if let Ok(mut stream) = TcpStream::connect(&service.address) {
                    // It may be closed already.
                    let _ = stream.set_nonblocking(true).and_then(|()| stream.write_all(one.repeat(200).as_bytes()));
                    held.push_back(stream);
                }
                if held.len() > 400 {
                    held.pop_front();
                    std::thread::sleep(Duration::from_millis(5));
                }
            }
            held.len()
        });
        std::thread::sleep(Duration::from_secs(2));
        let mut slowest = Duration::ZERO;
        for _ in 0..20 {
            let began = Instant::now();
            assert_eq!((service.get("/healthz").status, service.get("/readyz").status), (200, 200));
            slowest = slowest.max(began.elapsed());
        }
        let began = Instant::now();
        let asked = service.post("/api/v1/gates/phase2-gate", "");
        assert_eq!(asked.json()["gate"], "phase2-gate", "{asked:?}");
        let gate = began.elapsed();
        let began = Instant::now();
        assert!(matches!(service.get("/style.css").status, 200 | 503));
        let page = began.elapsed();
        drop(ending);
        let held = flood.join().unwrap();
        assert!(held > 256, "more than there are places: {held}");
        say(&format!("beside a flood: two probes in {slowest:?} at most, a gate in {gate:?}, a file in {page:?}"));
        slowest.max(gate).max(page)
    });
    assert!(slowest < Duration::from_secs(10), "{slowest:?}");
    // Once nobody sends any more, everything is free again, without waiting for those who do not read.
    service.wait_until("the page is there", 15, |service| service.get("/").status == 200);

    // One request a connection, whatever is sent behind it.
    let twice = format!("GET /healthz HTTP/1.1\r\nhost: {}\r\n\r\n", service.address).repeat(2);
    let answer = service.send(twice.as_bytes()).unwrap();
    assert!(answer.status == 200 && answer.head.contains("connection: close"), "{answer:?}");
    assert_eq!(answer.body, "ok\n");
    service.host.end("TERM").unwrap();
}

/// A hundred and twenty probes arrive while the host gets no time, more than one address has places: each is answered, since none of
/// them has held anything up.
#[test]
fn a_crowd_that_had_to_wait_is_answered() {
    let (_sample, service) = service();
    service.host.signal("STOP").unwrap();
    let probe = format!("GET /healthz HTTP/1.1\r\nhost: {}\r\n\r\n", service.address);
    let waiting: Vec<TcpStream> = (0..120)
        .map(|_| {
            let mut stream = TcpStream::connect(&service.address).unwrap();
            stream.write_all(probe.as_bytes()).unwrap();
            stream
        })
        .collect();
    service.host.signal("CONT").unwrap();
    let answered = waiting.into_iter().filter(|mut stream| {
        let mut answer = String::new();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.read_to_string(&mut answer).is_ok() && answer.ends_with("\r\n\r\nok\n")
    });
    assert_eq!(answered.count(), 120);
    service.host.end("TERM").unwrap();
}

/// Ends a flood when it is dropped.
struct Ending<'o>(&'o AtomicBool);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A server that answers at once, to measure the machine's own delay.
fn does_nothing() -> Client {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            // The client may be gone.
            let _ = stream.read(&mut [0; 1024]);
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
        }
    });
    Client::at(address)
}

/// A plugin reports as much as it can, and eight people view it: liveness probes are answered at once, and the pages
/// are cut to size.
#[test]
fn a_huge_report_holds_nothing_up() {
    let _alone = alone();
    let sample = Sample::now(None).unwrap();
    install(&sample, &["misbehaving"]).unwrap();
    let check = |name: &str, behaviour: &str| {
        // The dates since February would be judged meanwhile.
        format!("[checks.{name}]\nplugin = 'misbehaving'\ndates = 'now'\nsettings = {{ behaviour = '{behaviour}' }}\n")
    };
    let checks = ["report many metrics", "report many violations", "report long texts"];
    let checks: String = checks.iter().map(|behaviour| check(&behaviour.replace(' ', "-"), behaviour)).collect();
    // As much as can be allowed: by default, 13,000 metrics are an error.
    let budgets = "budgets = { report_metrics = 20000, report_bytes = '8 MiB', report_lines = 100000, record_bytes = '8 MiB', report_text_bytes = '1 MiB' }";
    let toml = format!(
        "[slack]\ndeliver = \"console\"\n[grants.misbehaving]\nslack = ['#canary-alerts']\n{budgets}\n{checks}"
    );
    sample.configure(&toml).unwrap();
    for minute in 10..13 {
        let at = format!("2026-02-06T11:{minute}:00Z");
        let round = sample.host(&["run", "--once", "--at", &at, "--output", "json", "plugins"]).unwrap();
        assert_eq!(round.code, 2, "{}", round.err);
        let metrics = round.run("report-many-metrics")["metrics"].as_array().unwrap().len();
        assert_eq!(metrics, 13_000);
    }
    let service = Service::start(&sample, &toml, &[]).unwrap();
    let over = AtomicBool::new(false);
    let ((slowest, machine), pages, lists) = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..8)
            .map(|at| {
                let name = ["many-metrics", "many-violations", "long-texts"][at % 3];
                let (client, asked) = (service.client(), Instant::now());
                scope.spawn(move || {
                    let answers = [format!("/checks/report-{name}"), "/".to_owned()].map(|path| client.get(&path));
                    (answers, asked.elapsed())
                })
            })
            .collect();
        let (lists, over) = (service.client(), &over);
        let (alive, idle) = (service.client(), does_nothing());
        let lists = scope.spawn(move || {
            let path = "/api/v1/runs?limit=1000&include=report";
            ["/api/v1/checks", "/api/v1/runs?limit=1000", path].map(|path| lists.get(path))
        });
        let alive = scope.spawn(move || {
            let (mut slowest, mut machine) = (Duration::ZERO, Duration::ZERO);
            let timed = |client: &Client, path| {
                let asked = Instant::now();
                assert_eq!(client.get(path).status, 200);
                asked.elapsed()
            };
            while !over.load(Ordering::Relaxed) {
                machine = machine.max(timed(&idle, "/"));
                slowest = slowest.max(timed(&alive, "/healthz")).max(timed(&alive, "/readyz"));
                std::thread::sleep(Duration::from_millis(5));
            }
            (slowest, machine)
        });
        let pages: Vec<_> = clients.into_iter().map(|client| client.join().unwrap()).collect();
        let lists = lists.join().unwrap();
        over.store(true, Ordering::Relaxed);
        (alive.join().unwrap(), pages, lists)
    });
    for (answers, took) in &pages {
        say(&format!("two pages of {} and {} B in {took:?}", answers[0].body.len(), answers[1].body.len()));
        assert!(answers.iter().all(|answer| answer.status == 200 && answer.body.len() < 2_000_000));
        assert!(*took < Duration::from_secs(20), "{took:?}");
    }
    say(&format!(
        "the slowest answer of /healthz and /readyz meanwhile: {slowest:?}; of a server that does nothing: {machine:?}"
    ));
    assert!(slowest < Duration::from_millis(100) + machine, "{slowest:?}, {machine:?}");
    let metrics = &pages[0].0[0].body;
    assert_eq!(metrics.matches("<figure").count(), 30);
    assert!(metrics.contains("and 12970 more metrics in the API"), "hidden metrics are counted");
    let [checks, short, long] = lists;
    assert!(checks.status == 200 && checks.body.len() < 100_000, "{}", checks.body.len());
    assert_eq!(checks.json()["checks"].as_array().unwrap().len(), 3);
    assert!(short.status == 200 && short.body.len() < 100_000, "{}", short.body.len());
    assert_eq!(long.status, 400, "more than one answer holds");
    assert!(long.body.contains("larger than 8 MiB; write"), "{}", long.body);
    let all = service.get("/api/v1/checks/report-many-metrics").json();
    assert_eq!(all["metrics"].as_array().unwrap().len(), 13_000);
    service.host.end("TERM").unwrap();
}
