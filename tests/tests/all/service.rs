//! A running host: due times, missed runs, shutdown, reload, many checks, hanging backends.

use std::{
    fs,
    io::Write,
    process::{Command, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use host_tests::{Fault, HOST_TOML};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::support::{
    command::{Sample, Staying, shipped},
    http::{Reply, Request, serve},
    service::{Service, install},
};

/// Runs the half-hourly checks once, some time ago.
fn recorded(sample: &Sample, hours: i64) {
    let at = (Timestamp::now() - SignedDuration::from_hours(hours)).to_string();
    let ended = sample.host(&["run", "--once", "--at", &at, "--check", "phase2-raw", "plugins"]).unwrap();
    assert!(ended.code < 3, "{ended:?}");
}

fn runs(service: &Service, check: &str) -> Vec<Value> {
    let answer = service.get(&format!("/api/v1/runs?check={check}"));
    answer.json()["runs"].as_array().cloned().unwrap_or_default()
}

#[test]
fn what_was_missed_is_caught_up_at_the_start() {
    let sample = Sample::now(None).unwrap();
    install(&sample, &[]).unwrap();
    recorded(&sample, 3);
    let service = Service::start(&sample, HOST_TOML, &[]).unwrap();
    service.wait_until("two more runs of phase2-raw", 20, |service| runs(service, "phase2-raw").len() == 3);
    let runs = runs(&service, "phase2-raw");
    let now = Timestamp::now();
    let due: Timestamp = runs[0]["due"].as_str().unwrap().parse().unwrap();
    assert_eq!(due.as_second() % 1800, 0, "the newest due time: {due}");
    assert!(now.duration_since(due) < SignedDuration::from_mins(31), "{due} at {now}");
    assert_eq!(runs[0]["left_out"], false);
    assert_eq!(runs[1]["left_out"], true);
    let said = runs[1]["summary"].as_str().unwrap();
    assert!(said.contains("due times from") && said.contains("the host was down"), "{said}");
    // Others never ran, so nothing of theirs was missed.
    assert!(self::runs(&service, "phase3-analytics").is_empty());
    let (code, said) = service.host.end("TERM").unwrap();
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("warning phase2-raw") && said.contains("missed: 5 due times"), "{said}");
}

/// A failure is sent at shutdown although another check is still running; the cancelled run is caught up.
#[test]
fn a_host_that_goes_loses_no_message_and_is_caught_up() {
    let sample = Sample::now(Some(Fault::NullNames)).unwrap();
    install(&sample, &["misbehaving"]).unwrap();
    install(&sample, &[]).unwrap();
    let with = |behaviour: &str| {
        format!(
            "{HOST_TOML}\n[checks.slow]\nplugin = \"misbehaving\"\nsettings = {{ behaviour = \"{behaviour}\" }}\n\
             [grants.misbehaving]\nslack = [\"#canary-alerts\"]\n[scheduler]\ngrace = \"6s\"\nretries = 0\n"
        )
    };
    sample.configure(&with("pass")).unwrap();
    let at = (Timestamp::now() - SignedDuration::from_hours(1)).to_string();
    // Both are due again, and phase2-raw was all right then.
    sample.sql("nba_raw", "CREATE TABLE kept AS SELECT * FROM nbac_player_boxscore").unwrap();
    // An hour ago it may have been another day.
    let day_before = "UPDATE before SET game_date = DATE(game_date, '-1 day')";
    let insert = "INSERT INTO nbac_player_boxscore SELECT * FROM before; DROP TABLE before";
    let copied = format!("CREATE TABLE before AS SELECT * FROM kept; {day_before}; {insert}");
    sample.sql("nba_raw", &copied).unwrap();
    sample.sql("nba_raw", "UPDATE nbac_player_boxscore SET player_name = 'x'").unwrap();
    let check = ["run", "--once", "--at", &at, "--check", "phase2-raw", "--check", "slow", "plugins"];
    let ended = sample.host(&check).unwrap();
    assert!(ended.code < 3, "{ended:?}");
    let before = sample.slack.requests().len();
    sample
        .sql("nba_raw", "DELETE FROM nbac_player_boxscore; INSERT INTO nbac_player_boxscore SELECT * FROM kept")
        .unwrap();

    let wanted = ["--check", "phase2-raw", "--check", "slow"];
    let service = Service::start(&sample, &with("spin"), &wanted).unwrap();
    service.wait_until("both run", 20, |service| {
        service.get("/metrics").body.contains("host_schedule_lag_seconds_count 2\n")
    });
    assert_eq!(sample.slack.requests().len(), before, "the round waits for the other check");
    let asked = Instant::now();
    let (code, said) = service.host.end("TERM").unwrap();
    assert_eq!(code, Some(0), "{said}");
    assert!(asked.elapsed() < Duration::from_secs(15), "{:?}", asked.elapsed());
    assert!(said.contains("cancelled by shutdown: slow"), "{said}");
    let told = sample.slack.requests();
    assert_eq!(told.len(), before + 1, "{said}");
    assert!(told[before].message.to_string().contains("null_player_names"), "{told:?}");

    // The next start catches up the cancelled run, and repeats no message; also after being killed.
    let mut service = Service::start(&sample, &with("pass"), &wanted).unwrap();
    service.wait_until("slow is caught up", 20, |service| service.check("slow")["status"] == "pass");
    service.host.signal("KILL").unwrap();
    assert!(service.host.wait_for("never said").is_err());
    let service = Service::start(&sample, &with("pass"), &wanted).unwrap();
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(sample.slack.requests().len(), before + 1);
    assert_eq!(service.check("phase2-raw")["status"], "fail", "what was recorded is shown");
    assert_eq!(service.host.end("INT").unwrap().0, Some(0));
}

/// Retried within the round: both attempts are recorded, and one of them counts.
#[test]
fn what_gave_no_verdict_is_tried_again() {
    let sample = Sample::now(None).unwrap();
    install(&sample, &[]).unwrap();
    recorded(&sample, 1);
    sample.sql("nba_raw", "ALTER TABLE nbac_player_boxscore RENAME TO away").unwrap();
    let toml =
        format!("{HOST_TOML}\n[scheduler]\nretries = 2\nretry_wait = \"3s\"\n[alerts]\nrepeat_interval = \"4h\"\n")
            .replace("[alerts]\nrepeat_interval = \"4h\"\n\n", "");
    let mut service = Service::start(&sample, &toml, &["--check", "phase2-raw"]).unwrap();
    // It comes back between the attempts.
    let said = service.host.wait_for("attempt 1 gave no verdict").unwrap();
    assert!(said.contains("phase2-raw") && said.contains("the next is in 3s: "), "{said}");
    sample.sql("nba_raw", "ALTER TABLE away RENAME TO nbac_player_boxscore").unwrap();
    service.wait_until("it passes", 20, |service| {
        let last = &runs(service, "phase2-raw")[0];
        last["status"] == "pass" && last["attempt"] == 2
    });
    let runs = runs(&service, "phase2-raw");
    let of = |at: usize| (runs[at]["status"].as_str().unwrap(), runs[at]["attempt"].as_u64().unwrap());
    assert_eq!((of(0), of(1)), (("pass", 2), ("error", 1)), "{runs:?}");
    let alerts = service.get("/api/v1/alerts?check=phase2-raw").json();
    assert_eq!(alerts["alerts"].as_array().unwrap().len(), 0, "{alerts}");
    service.host.end("TERM").unwrap();
}

#[test]
fn files_that_change_are_taken_on_or_refused_whole() {
    let sample = Sample::now(Some(Fault::NullNames)).unwrap();
    let plugins = install(&sample, &[]).unwrap();
    assert_eq!(
        sample
            .host(&["pin", "plugins/phase2-raw.wasm", "plugins/phase2-gate.wasm", "plugins/deployment-drift.wasm"])
            .unwrap()
            .code,
        0
    );
    for file in fs::read_dir(&plugins).unwrap().flatten() {
        let name = file.file_name().into_string().unwrap();
        if !["phase2-raw.wasm", "phase2-gate.wasm", "deployment-drift.wasm"].contains(&name.as_str()) {
            fs::remove_file(file.path()).unwrap();
        }
    }
    let wanted = "[checks.phase2-raw]\ndepends_on = [\"phase1-scrapers\"]";
    // No due time comes while the test runs.
    let drift = "[checks.deployment-drift]\nschedule = \"0 */2 * * *\"";
    assert!(HOST_TOML.contains(wanted) && HOST_TOML.contains(drift));
    let mut toml = HOST_TOML.replace(wanted, "[checks.phase2-raw]");
    toml = toml.replace(drift, "[checks.deployment-drift]\nschedule = \"30 4 1 1 *\"");
    for gone in ["phase1-scrapers", "phase3-analytics", "phase4-precompute", "phase5-predictions", "phase6-publishing"]
    {
        let lines: Vec<&str> = toml.split("\n\n").filter(|part| !part.contains(&format!("[checks.{gone}]"))).collect();
        toml = lines.join("\n\n");
    }
    let mut service = Service::start(&sample, &toml, &[]).unwrap();
    let web = "\n[web]\nlisten = \"127.0.0.1:0\"\n";
    let drift = service.check("deployment-drift")["next_due"].clone();
    let metric = |service: &Service, name: &str| {
        let text = service.get("/metrics").body;
        text.lines().find_map(|line| line.strip_prefix(&format!("{name} ")).map(str::to_owned)).unwrap_or_default()
    };
    assert_eq!(metric(&service, "host_configuration_ok"), "1");

    // A schedule changes, by watching: only that check is due at another time.
    let changed = toml.replace("[checks.phase2-raw]", "[checks.phase2-raw]\nschedule = \"17 3 * * *\"");
    sample.configure(&format!("{changed}{web}")).unwrap();
    service.host.wait_for("reloaded: host.toml changed").unwrap();
    assert_eq!(service.check("phase2-raw")["schedule"], "17 3 * * *");
    assert_eq!(service.check("deployment-drift")["next_due"], drift);

    // A mistake is rejected: the previous configuration keeps running, and three places report it.
    sample.configure(&format!("{changed}{web}\n[scheduler]\nrunz = 3\n")).unwrap();
    service.host.wait_for("reload rejected; still running the previous configuration").unwrap();
    service.host.wait_for("unknown field `runz`").unwrap();
    assert_eq!(metric(&service, "host_configuration_ok"), "0");
    let page = service.get("/").body;
    assert!(page.contains("The configuration on disk was rejected") && page.contains("runz"), "{page}");
    assert!(service.get("/api/v1/checks").json()["configuration_refused"]["reason"].as_str().unwrap().contains("runz"));
    assert_eq!(service.check("phase2-raw")["schedule"], "17 3 * * *");
    assert_eq!(service.post("/api/v1/reload", "").status, 422);

    // Corrected, and reloaded by a signal.
    sample.configure(&format!("{changed}{web}")).unwrap();
    service.host.signal("HUP").unwrap();
    service.wait_until("it is reloaded", 20, |service| metric(service, "host_configuration_ok") == "1");
    assert!(!service.get("/").body.contains("refused"));

    // New bytes of one plugin do not run until they are pinned; then that check alone changes.
    let digest = |service: &Service, check: &str| service.check(check)["plugin"]["digest"].clone();
    let (raw, gate) = (digest(&service, "phase2-raw"), digest(&service, "phase2-gate"));
    let mut file = fs::OpenOptions::new().append(true).open(plugins.join("phase2-raw.wasm")).unwrap();
    // A custom section named `x`, which changes nothing but the bytes.
    file.write_all(&[0, 2, 1, b'x']).unwrap();
    drop(file);
    let refused = service.host.wait_for("phase2-raw is pinned to").unwrap();
    assert!(refused.contains("reload rejected") && refused.contains("host pin"), "{refused}");
    assert_eq!(digest(&service, "phase2-raw"), raw);
    assert_eq!(sample.host(&["pin", "plugins/phase2-raw.wasm"]).unwrap().code, 0);
    let said = service.host.wait_for("reloaded: ").unwrap();
    assert!(said.contains("reloaded: phase2-raw is ") && !said.contains("gate"), "{said}");
    assert_ne!(digest(&service, "phase2-raw"), raw);
    assert_eq!(digest(&service, "phase2-gate"), gate);
    assert_eq!(service.check("deployment-drift")["next_due"], drift);

    // A plugin's file that is gone, or half there, changes nothing.
    let whole = fs::read(plugins.join("phase2-gate.wasm")).unwrap();
    fs::write(plugins.join("phase2-gate.wasm"), &whole[..whole.len() / 2]).unwrap();
    service.host.wait_for("phase2-gate.wasm: ").unwrap();
    fs::remove_file(plugins.join("phase2-gate.wasm")).unwrap();
    service.host.wait_for("no file holds the plugin phase2-gate").unwrap();
    assert_eq!(digest(&service, "phase2-gate"), gate);
    let answer = service.post("/api/v1/gates/phase2-gate", "");
    assert_eq!(answer.status, 200, "it still answers: {answer:?}");
    let (code, said) = service.host.end("TERM").unwrap();
    assert_eq!(code, Some(0), "{said}");
}

/// A thousand checks due at one second, beside ones whose warehouse hangs: all run, and those that need no warehouse are
/// not held up. The heartbeat is told of the round, and every line of the log is JSON.
#[test]
fn a_thousand_checks_beside_a_backend_that_hangs() {
    let sample = Sample::now(None).unwrap();
    install(&sample, &["misbehaving"]).unwrap();
    let hanging = serve(|_| Reply::Hang).unwrap().url();
    let beaten = Arc::<Mutex<Vec<Request>>>::default();
    let heard = beaten.clone();
    let beats = serve(move |request| {
        heard.lock().unwrap().push(request.clone());
        Reply::Answer(200, "OK".to_owned())
    });
    let beats = beats.unwrap().url();
    let mut toml = format!(
        "validate_schedule = \"never\"\ntimezone = \"America/New_York\"\n[slack]\ndeliver = \"webhook\"\n\
         [warehouse]\nkind = \"bigquery\"\nproject = \"p\"\nlocation = \"US\"\nendpoint = \"{hanging}\"\n\
         [google]\ncredentials = \"none\"\n[heartbeat]\nurl = \"{beats}/ping/abc\"\n\
         [alerts]\ngroup_wait = \"2s\"\n[scheduler]\nwarehouse_runs = 4\nretries = 0\n[budgets]\ntimeout = \"20s\"\n\
         [grants.misbehaving]\nslack = [\"#canary-alerts\"]\n"
    );
    // The hanging ones are another plugin, with a grant of the warehouse.
    fs::copy(crate::support::watched::plugin("phase2-raw"), sample.path().join("plugins/phase2-raw.wasm")).unwrap();
    toml += "[grants.phase2-raw]\nwarehouse = [\"nba_raw\"]\nslack = [\"#canary-alerts\"]\n";
    for at in 0..1000 {
        toml += &format!("[checks.c{at:04}]\nplugin = \"misbehaving\"\nschedule = \"* * * * *\"\n");
    }
    for at in 0..20 {
        toml += &format!("[checks.h{at:02}]\nplugin = \"phase2-raw\"\nschedule = \"* * * * *\"\n");
    }
    let service = Service::start(&sample, &toml, &["--log", "json"]).unwrap();
    let count = |service: &Service, status: &str| {
        let checks = service.get("/api/v1/checks").json();
        let all = checks["checks"].as_array().unwrap();
        all.iter().filter(|check| check["name"].as_str().unwrap().starts_with('c') && check["status"] == status).count()
    };
    // Their results are recorded when `group_wait` is over, since the hanging ones still run.
    service.wait_until("a thousand runs", 130, |service| count(service, "pass") == 1000);
    let text = service.get("/metrics").body;
    let lag = |limit: &str| -> f64 {
        let line =
            text.lines().find(|line| line.starts_with(&format!("host_schedule_lag_seconds_bucket{{le=\"{limit}\"}}")));
        line.and_then(|line| line.rsplit(' ').next()).and_then(|count| count.parse().ok()).unwrap()
    };
    assert!(lag("30.0") >= 1000.0, "{text}");
    let started = Instant::now();
    assert_eq!(service.get("/").status, 200);
    assert!(started.elapsed() < Duration::from_secs(5));
    let (code, said) = service.host.end("TERM").unwrap();
    assert_eq!(code, Some(0), "{said}");
    for line in said.lines() {
        let line: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        let message = line["message"].as_str().unwrap();
        assert!(line["time"].is_string() && line["level"].is_string());
        if message.starts_with("pass: ") {
            assert!(line["check"].is_string() && line["run"].as_str().unwrap().contains("Z-"), "{line}");
        }
    }
    let beaten: Vec<_> = beaten.lock().unwrap().clone();
    let start = beaten.iter().find(|beat| beat.path == "/ping/abc/start").expect("a start");
    assert!(start.query.starts_with("rid="), "{start:?}");
}

/// A silence and the end of one, as the API has them.
#[test]
fn silences_can_be_begun_and_ended() {
    let sample = Sample::now(None).unwrap();
    install(&sample, &[]).unwrap();
    let service = Service::start(&sample, HOST_TOML, &[]).unwrap();
    let silence = |body: &str| service.post("/api/v1/silences", body);
    let made = silence(r#"{"checks": ["phase2-raw"], "for": "4h", "why": "loaded again"}"#);
    assert_eq!((made.status, made.json()["id"].as_i64()), (201, Some(1)));
    let held = service.get("/api/v1/silences").json();
    assert_eq!(held["silences"][0]["why"], "loaded again");
    for (body, status) in [
        ("", 400),
        ("{", 400),
        (r#"{"checks": ["phase2-rav"], "for": "4h", "why": "x"}"#, 404),
        (r#"{"checks": ["phase2-raw"], "for": "soon", "why": "x"}"#, 400),
        (r#"{"checks": ["phase2-raw"], "for": "4h", "why": " "}"#, 400),
        (r#"{"checks": [], "for": "4h", "why": "x"}"#, 400),
        (r#"{"checks": ["phase2-raw"], "for": "4h", "why": "x", "who": "me"}"#, 400),
    ] {
        let answer = silence(body);
        assert_eq!(answer.status, status, "{body}: {answer:?}");
        assert!(answer.json()["error"].is_string());
    }
    let token = format!("Bearer {}", crate::support::service::TOKEN);
    let end = || service.ask("DELETE", "/api/v1/silences/1", &[("authorization", &token)], "").unwrap().status;
    assert_eq!((end(), end()), (204, 404));
    stopped(service.host);
}

fn stopped(host: Staying) {
    let (code, said) = host.end("TERM").unwrap();
    assert_eq!(code, Some(0), "{said}");
}

/// A host that stays shows the rounds that ran something, and nothing each time it finds that no date is to be looked at again.
#[test]
fn a_round_that_ran_nothing_is_not_shown() {
    let sample = Sample::now(None).unwrap();
    let seldom = "[checks.phase6-publishing]\nschedule = \"0 0 1 1 *\"";
    sample.configure(&HOST_TOML.replace("[checks.phase6-publishing]", seldom)).unwrap();
    let mut command = sample.command();
    command.args(["run", "--check", "phase6-publishing", "--output", "json"]).args(shipped().unwrap());
    let host = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    // It looks for such dates every ten seconds.
    std::thread::sleep(Duration::from_secs(15));
    let ended = Command::new("kill").arg(host.id().to_string()).status().unwrap();
    let output = host.wait_with_output().unwrap();
    assert!(ended.success() && output.status.success(), "{output:?}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "");
}
