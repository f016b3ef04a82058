//! The record on a Postgres server: moved there and back, made by hosts that start at once, refused in words, through TLS and
//! through a pooler.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use host_tests::{Fault, HOST_TOML};

use crate::{
    fleet::{host, once},
    support::{
        AT,
        between::Between,
        command::{Ended, Sample, ended, guest, shipped},
        pooler::Pooler,
        postgres::{PASSWORD, Postgres, SHARED, VARIABLE, give},
        say,
        service::{Service, install},
        sized,
    },
};

/// Half an hour after [`AT`].
const LATER: &str = "2026-02-06T12:00:00Z";

/// host.toml of the sample, where nothing gets too old for these tests: with the record in a directory, or on a server.
fn toml(state: &str) -> String {
    let toml = HOST_TOML
        .replace("[state]\ndirectory = \"state\"\nkeep = \"90d\"\n", &format!("[state]\n{state}\nkeep = \"40000d\"\n"));
    assert!(toml.contains("40000d"));
    toml
}

fn on_server() -> String {
    toml(&format!("url_env = \"{VARIABLE}\""))
}

fn copy(sample: &Sample, url: &str, from: &str, to: &str, more: &[&str]) -> Ended {
    host(sample, url, &[&["state", "copy", "--from", from, "--to", to], more].concat())
}

/// What people see of a record.
fn seen(sample: &Sample, url: &str) -> Vec<String> {
    let asked: [&[&str]; 5] = [
        &["history", "--limit", "1000", "--output", "json"],
        &["history", "--dates", "--output", "json"],
        &["audit", "--output", "json"],
        &["silences", "--all", "--output", "json"],
        &["costs", "--output", "json"],
    ];
    asked
        .iter()
        .map(|arguments| {
            let ended = host(sample, url, arguments);
            assert_eq!(ended.code, 0, "{ended:?}");
            ended.out
        })
        .collect()
}

#[test]
fn a_record_moves_to_a_server_and_back_without_telling_anything_again() {
    let server = Postgres::start().unwrap();
    let (sample, url) = (Sample::new(Some(Fault::NullNames)).unwrap(), server.url());
    sample.configure(&toml("directory = \"state\"")).unwrap();
    assert_eq!(once(&sample, &url, AT, &[]).code, 2);
    let told = sample.slack.received().len();
    assert_eq!(told, 1);
    for arguments in [
        &["silence", "phase3-analytics", "--for", "4h", "--why", "reloading"][..],
        &["ack", "phase2-raw", "--for", "9999d", "--why", "known"],
    ] {
        assert_eq!(host(&sample, &url, arguments).code, 0);
    }
    let before = seen(&sample, &url);
    let file = fs::read(sample.path().join("state/host.db")).unwrap();

    let dry = copy(&sample, &url, "state", "env:HOST_STATE_URL", &["--dry-run"]);
    assert_eq!(dry.code, 0, "{dry:?}");
    assert!(dry.out.contains("runs            9\n") && dry.out.contains("Nothing was copied"), "{}", dry.out);
    assert_eq!(server.sql("SELECT COUNT(*) FROM pg_tables WHERE schemaname = 'public'").unwrap(), "0");
    let there = copy(&sample, &url, "state/host.db", "env:HOST_STATE_URL", &[]);
    assert_eq!(there.code, 0, "{there:?}");
    assert!(there.out.contains("runs            9\n") && there.out.contains("url_env"), "{}", there.out);
    assert_eq!(fs::read(sample.path().join("state/host.db")).unwrap(), file, "the source is as it was");
    assert_eq!(server.sql("SELECT turn FROM turns").unwrap(), "1");
    assert_eq!(server.sql("SELECT COUNT(*) || ' ' || MIN(turn) || ' ' || MAX(turn) FROM changes").unwrap(), "9 1 1");

    sample.configure(&on_server()).unwrap();
    assert_eq!(seen(&sample, &url), before);
    assert_eq!(once(&sample, &url, LATER, &[]).code, 2);
    assert_eq!(sample.slack.received().len(), told, "it was told before");
    assert_eq!(server.sql("SELECT COUNT(*), MAX(id), COUNT(DISTINCT id) FROM runs").unwrap(), "18|18|18");
    let again = copy(&sample, &url, "state", "env:HOST_STATE_URL", &[]);
    assert_eq!(again.code, 64);
    assert!(again.err.contains("something is recorded there already (`plugins`)"), "{}", again.err);
    let before = seen(&sample, &url);

    let back = copy(&sample, &url, "env:HOST_STATE_URL", "back", &["--output", "json"]);
    assert_eq!(back.code, 0, "{back:?}");
    assert_eq!(back.json()["tables"]["runs"], 18);
    sample.configure(&toml("directory = \"back\"")).unwrap();
    assert_eq!(seen(&sample, &url), before);
    sample.sql("nba_raw", "UPDATE nbac_player_boxscore SET player_name = 'A Name' WHERE player_name IS NULL").unwrap();
    once(&sample, &url, "2026-02-06T12:30:00Z", &[]);
    let received = sample.slack.received();
    assert_eq!(received.len(), told + 1, "{received:#?}");
    assert!(format!("{:?}", received[told]).contains("recovered"), "{received:#?}");
    for ended in [dry, there, again, back] {
        assert!(!ended.err.contains(PASSWORD) && !ended.out.contains(PASSWORD));
    }
}

/// An older record is brought up to date on the way; a newer one, and one in use, are refused.
#[test]
fn a_record_that_cannot_be_copied_is_refused_in_words() {
    let server = Postgres::start().unwrap();
    let (sample, url) = (Sample::new(None).unwrap(), server.url());
    let state = sample.path().join("state");
    fs::create_dir(&state).unwrap();
    let file = |path: &Path| rusqlite::Connection::open(path).unwrap();
    file(&state.join("host.db")).execute_batch(include_str!("../../records/schema-6.sql")).unwrap();
    let old = fs::read(state.join("host.db")).unwrap();
    let refused = |from: &str, to: &str, words: &str| {
        let ended = copy(&sample, &url, from, to, &[]);
        assert_eq!(ended.code, 64, "{ended:?}");
        assert!(ended.err.contains(words), "{words}: {}", ended.err);
    };
    refused("nowhere", "env:HOST_STATE_URL", "--from: nowhere/host.db: there is no record");
    refused("env:HOST_STATE_URL", "other", "there is no record of a host in it");
    refused("env:NOT_SET", "other", "NOT_SET is not set: set it to the address");
    refused("state", "state/host.db", "is both --from and --to");
    refused("state", "no/such/file.db", "no/such: the directory is not there; make it");
    refused("state", "mysql://host@db/watch", "is not the address of a Postgres database");
    assert!(!sample.path().join("other").exists());

    let copied = copy(&sample, &url, "state", "env:HOST_STATE_URL", &["--output", "json"]);
    assert_eq!(copied.code, 0, "{copied:?}");
    assert_eq!(copied.json()["tables"]["dates"].as_u64(), Some(24), "migrated on the way");
    assert_eq!(fs::read(state.join("host.db")).unwrap(), old, "the old one is as it was");

    let newer = "INSERT INTO schema_versions (version) VALUES (99)";
    server.sql(newer).unwrap();
    refused("env:HOST_STATE_URL", "other", "written by a newer host (schema 99, this host knows");
    sample.configure(&on_server()).unwrap();
    let history = host(&sample, &url, &["history"]);
    assert_eq!(history.code, 64);
    assert!(history.err.contains("written by a newer host (schema 99, this host knows"), "{}", history.err);
    server.sql("DELETE FROM schema_versions WHERE version = 99").unwrap();

    // A host runs: on the server, and then on the directory.
    server
        .sql("INSERT INTO hosts (id, name, version, began, seen, digest) VALUES ('x', 'x', 'x', 0, clock_timestamp(), 'x')")
        .unwrap();
    refused("env:HOST_STATE_URL", "other", "a host is running on it; stop every host first");
    server.sql("DELETE FROM hosts").unwrap();
    sample.configure(&toml("directory = \"own\"")).unwrap();
    let mut running = sample.stay().unwrap();
    running.wait_for("next: ").unwrap();
    refused("own", "copied", "own/host.db: a host is running on it; stop it first");
    refused("env:HOST_STATE_URL", "own", "own/host.db: a host is running on it; stop it first");
    drop(running);
    refused("env:HOST_STATE_URL", "own", "something is recorded there already");
}

#[test]
fn a_copy_that_is_stopped_leaves_nothing_behind() {
    let server = Postgres::start().unwrap();
    let (sample, url) = (Sample::new(None).unwrap(), server.url());
    sample.configure(&toml("directory = \"state\"")).unwrap();
    assert_eq!(once(&sample, &url, AT, &[]).code, 0);
    let added = sized(20_000, 5_000);
    let more = format!(
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {added}) \
        INSERT INTO runs (check_name, due, data_date, attempt, past, status, summary, calls, seconds, recorded) \
        SELECT 'phase2-raw', i, '2026-02-05', 1, FALSE, 'pass', 'fine', '[]', 0.5, i FROM n"
    );
    rusqlite::Connection::open(sample.path().join("state/host.db")).unwrap().execute(&more, []).unwrap();
    let slow = Between::start(server.port).unwrap();
    slow.delay(Duration::from_millis(30));
    let stop = |from: &str, to: &str, query: &str| {
        let mut command = sample.command();
        command.env(VARIABLE, server.url_at(slow.port)).args(["state", "copy", "--from", from, "--to", to]);
        let copying = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let begun = Instant::now();
        let under_way =
            format!("SELECT COUNT(*) FROM pg_stat_activity WHERE application_name = 'host' AND query LIKE '{query}%'");
        while server.sql(&under_way).unwrap() == "0" {
            assert!(begun.elapsed() < Duration::from_secs(30), "it never came to {query}");
            std::thread::sleep(Duration::from_millis(2));
        }
        Command::new("kill").args(["-INT", &copying.id().to_string()]).status().unwrap();
        let output = copying.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(130));
        assert!(String::from_utf8_lossy(&output.stderr).contains("stopped; nothing was copied"));
    };
    stop("state", "env:HOST_STATE_URL", "INSERT INTO runs");
    assert_eq!(server.sql("SELECT (SELECT COUNT(*) FROM runs) + (SELECT COUNT(*) FROM plugins)").unwrap(), "0");
    let begun = Instant::now();
    let whole = copy(&sample, &url, "state", "env:HOST_STATE_URL", &[]);
    assert_eq!(whole.code, 0, "{whole:?}");
    let runs = added + 9;
    say(&format!("{runs} runs are copied to a server in {:.1} s", begun.elapsed().as_secs_f64()));
    assert_eq!(server.sql("SELECT COUNT(*) FROM runs").unwrap(), runs.to_string());
    stop("env:HOST_STATE_URL", "back", "SELECT id, due");
    assert!(!sample.path().join("back/host.db").exists());
    assert_eq!(copy(&sample, &url, "env:HOST_STATE_URL", "back", &[]).code, 0);
}

/// Postgres keeps no NUL in a text. A plugin and a reason may have one.
#[test]
fn a_nul_character_keeps_nothing_from_being_recorded() {
    let server = Postgres::start().unwrap();
    let (sample, url) = (Sample::now(None).unwrap(), server.url());
    let check = "[checks.nul]\nplugin = \"misbehaving\"\nsettings = { behaviour = \"say hostile things\", sql = \"SELECT name FROM nba_raw.names\" }\n\
        [checks.rows]\nplugin = \"misbehaving\"\nsettings = { behaviour = \"show rows\", count = 2 }\n\
        [grants.misbehaving]\nwarehouse = [\"nba_raw\"]\nslack = [\"#canary-alerts\"]\n";
    sample.configure(&format!("{}\n{check}\n[web]\nlisten = \"127.0.0.1:0\"\n", on_server())).unwrap();
    sample.sql("nba_raw", "CREATE TABLE names (name TEXT); INSERT INTO names VALUES ('a' || char(0) || 'b')").unwrap();
    let mut command = sample.command();
    command.env(VARIABLE, &url).args(["run", "--once", "--check", "nul", "--check", "rows"]).arg(guest("misbehaving"));
    let round = ended(&mut command).unwrap();
    // What the plugin could not measure makes it 3.
    assert_eq!(round.code, 3, "{round:?}");
    assert!(!round.err.contains("cannot be written"), "{round:?}");
    let summaries = server.sql("SELECT check_name, summary LIKE '%a\u{fffd}b' FROM runs ORDER BY 1").unwrap();
    assert_eq!(summaries, "nul|t\nrows|f");
    assert_eq!(sample.slack.received().len(), 1);

    install(&sample, &["misbehaving"]).unwrap();
    let mut command = sample.command();
    command.env(VARIABLE, &url).args(["run", "plugins"]);
    let service = Service::launch(&sample, command).unwrap();
    let silenced = service.post("/api/v1/silences", r#"{"checks": ["nul"], "for": "4h", "why": "a\u0000b"}"#);
    assert!(silenced.status < 300, "{silenced:?}");
    assert_eq!(server.sql("SELECT why FROM silences").unwrap(), "a\u{fffd}b");
    // Nor is one in a question an error of the server.
    for path in
        ["/api/v1/runs?check=a%00b", "/api/v1/checks/a%00b", "/?check=a%00b", "/api/v1/consultations?check=a%00b"]
    {
        let answered = service.get(path);
        assert!(answered.status < 500, "{path}: {answered:?}");
    }
    service.host.end("TERM").unwrap();

    // And a record in a file that has one goes to a server.
    let server = server.database("other").unwrap();
    sample.configure(&toml("directory = \"state\"")).unwrap();
    once(&sample, &server, &jiff::Timestamp::now().to_string(), &["--check", "phase2-raw"]);
    let record = rusqlite::Connection::open(sample.path().join("state/host.db")).unwrap();
    assert_eq!(record.execute("UPDATE runs SET summary = 'a' || char(0) || 'b'", []).unwrap(), 1);
    let copied = copy(&sample, &server, "state", "env:HOST_STATE_URL", &[]);
    assert_eq!(copied.code, 0, "{copied:?}");
    assert!(copied.out.contains("1 texts had a NUL character"), "{}", copied.out);
}

#[test]
fn hosts_that_start_at_once_migrate_once() {
    let server = Postgres::start().unwrap();
    let sample = Sample::new(None).unwrap();
    sample.configure(&on_server()).unwrap();
    let slow = Between::start(server.port).unwrap();
    // Long enough for all of them to find no table.
    slow.delay(Duration::from_millis(20));
    for (hosts, name) in [(2, "two"), (4, "four")] {
        let url = server.database(name).unwrap().replace(&server.port.to_string(), &slow.port.to_string());
        let start = |_| {
            let mut command = sample.command();
            command.env(VARIABLE, &url).arg("history").stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
        };
        let started: Vec<_> = (0..hosts).map(start).collect();
        for process in started {
            let output = process.wait_with_output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(0), "{said}");
        }
        // A statement that found a table there already would be in the server's log.
        let log = server.log();
        assert!(!log.contains("already exists") && !log.contains("duplicate key"), "{log}");
    }
}

/// Each message says what to do, and none has the password.
#[test]
fn a_server_that_cannot_be_used_is_said_with_what_to_do() {
    let mut server = Postgres::start_with_password(&[]).unwrap();
    let sample = Sample::new(None).unwrap();
    sample.configure(&on_server()).unwrap();
    server
        .sql("CREATE ROLE guest LOGIN PASSWORD 'not-a-secret-4711'; REVOKE CREATE ON SCHEMA public FROM PUBLIC")
        .unwrap();
    let url = server.url();
    let refused = |url: &str, words: &str| {
        for arguments in [&["history"][..], &["run", "--once", "--check", "phase2-raw"], &["doctor"]] {
            let mut command = sample.command();
            command.env(VARIABLE, url).args(arguments);
            if arguments[0] == "run" {
                command.args(shipped().unwrap());
            }
            let ended = ended(&mut command).unwrap();
            let (text, code) = if arguments[0] == "doctor" { (&ended.out, 2) } else { (&ended.err, 64) };
            assert_eq!(ended.code, code, "{url} {arguments:?}: {ended:?}");
            assert!(text.contains(words), "{url} {arguments:?} does not say {words:?}: {ended:?}");
            for secret in [PASSWORD, "hunter2"] {
                assert!(!ended.err.contains(secret) && !ended.out.contains(secret), "{url} {arguments:?}: {ended:?}");
            }
        }
    };
    refused("", "HOST_STATE_URL is not set: `url_env` under [state] names it; set it to the address");
    refused("hunter2", "HOST_STATE_URL: is not an address; write it as postgres://USER@HOST/DATABASE");
    refused("postgre://host:hunter2@127.0.0.1/watch", "HOST_STATE_URL: is not the address of a Postgres database");
    refused(&url.replace(PASSWORD, "hunter2"), "correct the user and the password in its address");
    refused(&url.replace("/watch", "/wach"), "the server has no such database; create it, as with `createdb`");
    refused(&url.replace("//host:", "//guest:"), "make it the owner of the database");
    refused(&url.replace("127.0.0.1", "no-such-host.invalid"), "the server cannot be reached");
    refused(&url.replace("sslmode=disable", "sslmode=sometimes"), "has no sslmode `sometimes`; the modes are disable");
    refused(&url.replace("sslmode=disable", "sslmod=verify-full"), "no parameter `sslmod`; did you mean `sslmode`?");
    refused(&url.replace("sslmode=disable", "sslmode=require"), "see sslmode and sslrootcert in docs/fleet.md");
    // One that may only read, and one whose tables are another program's.
    let only_reads =
        "CREATE ROLE reader LOGIN PASSWORD 'not-a-secret-4711'; GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader";
    let once = ended(sample.command().env(VARIABLE, &url).args(["run", "--once"]).args(shipped().unwrap())).unwrap();
    assert!(once.code <= 3, "{once:?}");
    server.sql(only_reads).unwrap();
    let doctor = |url: &str| ended(sample.command().env(VARIABLE, url).arg("doctor")).unwrap();
    let reader = doctor(&url.replace("//host:", "//reader:"));
    assert!(reader.out.contains("this user may only read it"), "{reader:?}");
    let read = ended(sample.command().env(VARIABLE, url.replace("//host:", "//reader:")).arg("history")).unwrap();
    assert!(read.code == 0 && !read.err.contains("warning"), "{read:?}");
    let foreign = server.database("foreign_tables").unwrap();
    server.sql_in("foreign_tables", "CREATE TABLE runs (n INT)").unwrap();
    assert!(doctor(&foreign).out.contains("it has tables that are not of a host"), "{:?}", doctor(&foreign));
    let once =
        ended(sample.command().env(VARIABLE, &foreign).args(["run", "--once"]).args(shipped().unwrap())).unwrap();
    assert!(once.code == 64 && once.err.contains("name an empty database"), "{once:?}");
    server.stop();
    refused(&url, "cannot be reached");
    sample.configure(&toml(&format!("url_env = \"{url}\""))).unwrap();
    refused(&url, "`url_env` under [state] takes the name of a variable");
    sample.configure(&toml(&format!("url = \"{url}\""))).unwrap();
    let unknown = ended(sample.command().arg("history")).unwrap();
    assert!(unknown.code == 64 && unknown.err.contains("host:…@127.0.0.1"), "{unknown:?}");
    assert!(!unknown.err.contains(PASSWORD), "{unknown:?}");
}

#[test]
fn the_password_can_be_in_a_file_and_the_server_can_be_held_to_its_certificate() {
    let keys = tempfile::tempdir().unwrap();
    give(keys.path()).unwrap();
    let openssl = |arguments: &str| {
        let made = ended(Command::new("openssl").current_dir(keys.path()).args(arguments.split_whitespace())).unwrap();
        assert_eq!(made.code, 0, "{made:?}");
    };
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
    for ca in ["ca", "other"] {
        openssl(&format!("req -x509 {key} -keyout {ca}.key -out {ca}.pem -subj /CN={ca} -days 2"));
    }
    fs::write(keys.path().join("names"), "subjectAltName = DNS:localhost\n").unwrap();
    openssl(&format!("req {key} -keyout server.key -out server.csr -subj /CN=localhost"));
    openssl("x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out server.pem -days 2 -extfile names");
    for file in ["server.key", "server.pem"] {
        give(&keys.path().join(file)).unwrap();
    }
    let path = |name: &str| keys.path().join(name).display().to_string();
    let (certificate, key) =
        (format!("ssl_cert_file={}", path("server.pem")), format!("ssl_key_file={}", path("server.key")));
    let server = Postgres::start_with_password(&["ssl=on", &certificate, &key]).unwrap();
    let sample = Sample::new(None).unwrap();
    sample.configure(&on_server()).unwrap();
    let passwords = sample.path().join("passwords");
    fs::write(&passwords, format!("*:{}:watch:host:{PASSWORD}\n", server.port)).unwrap();
    Command::new("chmod").arg("600").arg(&passwords).status().unwrap();
    let history = |name: &str, more: &str| {
        let url = format!("postgres://host@{name}:{}/watch?{more}", server.port);
        ended(sample.command().env(VARIABLE, url).env("PGPASSFILE", &passwords).arg("history")).unwrap()
    };
    let verified = |ca: &str| format!("sslmode=verify-full&sslrootcert={}", path(ca));
    for (name, more) in [("localhost", verified("ca.pem")), ("127.0.0.1", "sslmode=require".to_owned())] {
        let ended = history(name, &more);
        assert_eq!(ended.code, 0, "{more}: {ended:?}");
    }
    for (name, more) in [("localhost", verified("other.pem")), ("127.0.0.1", verified("ca.pem"))] {
        let ended = history(name, &more);
        assert_eq!(ended.code, 64, "{more}: {ended:?}");
        assert!(ended.err.contains("see sslmode and sslrootcert in docs/fleet.md"), "{more}: {}", ended.err);
    }
    fs::remove_file(&passwords).unwrap();
    assert_eq!(history("localhost", "sslmode=require").code, 64, "the file was needed");
}

/// Each transaction may go to another connection: nothing may be left in a session.
#[test]
fn a_whole_round_goes_through_a_pooler() {
    let server = Postgres::start().unwrap();
    let pooler = Pooler::start(server.port, "host", "watch").unwrap();
    let (sample, url) = (Sample::new(Some(Fault::NullNames)).unwrap(), server.url_at(pooler.port));
    sample.configure(&toml("directory = \"state\"")).unwrap();
    assert_eq!(once(&sample, &url, AT, &[]).code, 2);
    let copied = copy(&sample, &url, "state", "env:HOST_STATE_URL", &[]);
    assert_eq!(copied.code, 0, "{copied:?}");
    sample.configure(&on_server()).unwrap();
    let round = once(&sample, &url, LATER, &[]);
    assert_eq!(round.code, 2, "{round:?}");
    assert_eq!(sample.slack.received().len(), 1, "told once");
    for arguments in [
        &["silence", "phase2-raw", "--for", "4h", "--why", "reloading"][..],
        &["silences", "--expire", "1"],
        &["ack", "phase2-raw", "--why", "known"],
        &["doctor"],
    ] {
        let ended = host(&sample, &url, arguments);
        assert!(ended.code == 0 || arguments[0] == "doctor" && !ended.out.contains("cannot be used"), "{ended:?}");
    }
    seen(&sample, &url);
    let back = copy(&sample, &url, "env:HOST_STATE_URL", "back", &[]);
    assert_eq!(back.code, 0, "{back:?}");
    assert_eq!(server.sql("SELECT COUNT(*) FROM runs").unwrap(), "18");
    assert!(pooler.transactions() > 50, "{}", pooler.transactions());
}

#[test]
fn a_host_has_at_most_five_connections() {
    let server = Postgres::start().unwrap();
    let (sample, url) = (Sample::new(None).unwrap(), server.url());
    let checks: String = (0..100)
        .map(|at| {
            format!(
                "[checks.c{at}]\nplugin = \"canary-sql\"\nsettings = {{ sql = \"SELECT COUNT(*) AS n FROM nba_predictions.daily_prediction_signals WHERE game_date = @date\", thresholds = {{ n = {{ min = 1 }} }} }}\n"
            )
        })
        .collect();
    sample.configure(&format!("{}\n{checks}", on_server())).unwrap();
    let mut command = sample.command();
    command.env(VARIABLE, &url).args(["run", "--once", "--at", AT]);
    command.arg(shipped().unwrap().into_iter().find(|file| file.ends_with("canary-sql.wasm")).unwrap());
    let mut running = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut most = 0;
    while running.try_wait().unwrap().is_none() {
        let now = server.sql("SELECT COUNT(*) FROM pg_stat_activity WHERE application_name = 'host'").unwrap();
        most = most.max(now.parse::<u32>().unwrap());
    }
    let output = running.wait_with_output().unwrap();
    let passed = server.sql("SELECT COUNT(*) FROM runs WHERE check_name LIKE 'c%' AND status = 'pass'").unwrap();
    assert_eq!(passed, "100", "{}", String::from_utf8_lossy(&output.stderr));
    assert!((1..=5).contains(&most), "{most} connections");
}

/// Tests of what a host remembers, which pass with the record in a file: told once, recovered, dates and looks at them, silences,
/// acknowledgements, threads, consultations, what history shows.
const REMEMBERED: &[&str] = &[
    "alerting::a_failure_is_said_once_reminded_of_and_over",
    "alerting::an_error_is_confirmed_worded_as_one_and_over",
    "alerting::something_wrong_besides_is_news",
    "alerting::what_was_listed_resolves",
    "buttons::a_press_acknowledges_and_the_first_message_says_who",
    "consult::every_question_is_written_down_with_its_answer",
    "dates::a_bad_date_stays_bad_until_that_date_is_good",
    "dates::a_date_is_acknowledged_and_closed",
    "dates::dates_that_nobody_judged_are_judged",
    "looks::the_audit_trail_tells_what_was_done",
    "looks::the_same_order_twice_is_one",
    "news::history_is_sorted_by_the_time_that_it_shows",
    "odd_dates::nobody_is_reminded_of_a_date_that_is_good",
    "odd_dates::several_dates_are_given_up_together",
    "record::two_dates_judged_at_one_due_time_are_two_runs",
    "replay::the_order_of_answers_is_repeated",
    "service::silences_can_be_begun_and_ended",
    "threads::a_message_about_several_incidents_has_one_place",
    "threads::what_follows_is_in_the_thread",
    "threads::the_first_message_says_who_works_on_it",
];

/// One suite for both engines: the same tests with each record in a database of its own.
#[test]
fn what_is_remembered_in_a_file_is_remembered_on_a_server() {
    let server = Postgres::start_with(&["max_connections=300"]).unwrap();
    let mut tests = Command::new(std::env::current_exe().unwrap());
    tests.args(["--exact", "--test-threads=4"]).args(REMEMBERED).env(SHARED, server.url());
    let run = ended(&mut tests).unwrap();
    assert_eq!(run.code, 0, "{}\n{}", run.out, run.err);
    assert!(run.out.contains(&format!("test result: ok. {} passed", REMEMBERED.len())), "{}", run.out);
    let recorded = server.sql("SELECT COUNT(*) FROM pg_database WHERE datname LIKE 'sample_%'").unwrap();
    assert!(recorded.parse::<usize>().unwrap() >= REMEMBERED.len(), "{recorded}");
}
