//! The record: faults that prevent writing, and that they lose nothing.

use std::{
    fs,
    process::{Command, Stdio},
    time::Duration,
};

use host_tests::{Fault, HOST_TOML};
use rusqlite::Connection;
use serde_json::Value;

use crate::support::{
    command::{Ended, Sample, ended, guest, shipped},
    say,
};

/// A sample whose host gives up soon.
fn sample(fault: Option<Fault>) -> Sample {
    let sample = Sample::new(fault).unwrap();
    sample.configure(&format!("{HOST_TOML}\n[delivery]\nwait = \"1s\"\n")).unwrap();
    sample
}

fn history(sample: &Sample) -> Value {
    let ended = sample.host(&["history", "--limit", "100", "--output", "json"]).unwrap();
    assert_eq!(ended.code, 0, "{ended:?}");
    ended.json()
}

fn count(history: &Value, what: &str) -> usize {
    history[what].as_array().unwrap().len()
}

#[test]
fn runs_and_alerts_are_recorded() {
    let sample = sample(Some(Fault::NullNames));
    assert_eq!(sample.host(&["history"]).unwrap().code, 64);
    sample.once(&[]).unwrap();
    sample.once(&["--check", "phase2-raw"]).unwrap();
    sample.once(&["--check", "phase2-raw", "--date", "2026-02-01"]).unwrap();
    let recorded = history(&sample);
    assert_eq!(count(&recorded, "runs"), 11);
    let of: Vec<&Value> =
        recorded["runs"].as_array().unwrap().iter().filter(|run| run["check"] == "phase2-raw").collect();
    assert_eq!(of.len(), 3);
    let attempts: Vec<i64> = of.iter().filter_map(|run| run["attempt"].as_i64()).collect();
    assert_eq!(attempts, [1, 2, 1], "of one due time, the first of another date");
    assert_eq!((&of[0]["past"], &of[0]["data_date"]), (&Value::from(true), &Value::from("2026-02-01")));
    let run = of[2];
    assert_eq!(run["report"]["verdict"], "fail");
    assert_eq!(run["report"]["violations"][0]["message"], "null_player_names is above its maximum: 3 > 0");
    assert_eq!(run["report"]["metrics"][1]["value"], 120.0);
    assert_eq!(run["calls"][0]["name"], "warehouse.query");
    assert!(run["calls"][0]["seconds"].as_f64().unwrap() > 0.0 && run["calls"][0]["bytes"].is_u64());
    assert!(run["plugin"]["digest"].as_str().unwrap().starts_with("sha256:"));
    let alerts = recorded["alerts"].as_array().unwrap();
    assert_eq!(alerts.len(), 2, "{alerts:?}");
    assert_eq!((&alerts[0]["check"], &alerts[0]["severity"]), (&Value::from("phase2-raw"), &Value::from("critical")));
    assert!(alerts[0]["announced"].is_string() && alerts[0]["ended"].is_null());
    assert_eq!(sample.slack.received().len(), 1, "told once");

    let table = sample.host(&["history", "phase2-raw", "--limit", "3"]).unwrap().out;
    assert!(table.contains("2026-02-06 06:30 EST  2026-02-05  phase2-raw  fail    null_player_names"), "{table}");
    assert!(table.contains("(attempt 2)") && table.contains("ALERT SINCE"), "{table}");
    let wrong = sample.host(&["history", "phase2-rw"]).unwrap();
    assert!(wrong.err.contains("did you mean `phase2-raw`?"), "{}", wrong.err);
}

/// A run is one of a check, a data date, a due time and an attempt.
#[test]
fn two_dates_judged_at_one_due_time_are_two_runs() {
    let sample = sample(None);
    for date in ["2026-02-05", "2026-02-01", "2026-02-02", "2026-02-01"] {
        sample.once(&["--check", "phase2-raw", "--date", date]).unwrap();
    }
    let recorded = history(&sample);
    let runs = recorded["runs"].as_array().unwrap().iter();
    let runs: Vec<(&str, i64, bool)> = runs
        .map(|run| (run["data_date"].as_str().unwrap(), run["attempt"].as_i64().unwrap(), run["past"] == true))
        .collect();
    let expected =
        [("2026-02-01", 2, true), ("2026-02-02", 1, true), ("2026-02-01", 1, true), ("2026-02-05", 1, false)];
    assert_eq!(runs, expected, "the newest first");
    let due = |at: usize| &recorded["runs"][at]["due"];
    assert!((1..4).all(|at| due(at) == due(0)), "{recorded:#}");
}

/// `tests/records/schema-3.sql` is what the host wrote before a run's data date told it from others: a round with a
/// failing check that was told, a second attempt, a date of the past, a question to the gate, and a silence.
#[test]
fn a_record_of_an_older_host_is_taken_over() {
    let sample = sample(Some(Fault::NullNames));
    // It does not get too old for this test.
    sample.configure(&HOST_TOML.replace("keep = \"90d\"", "keep = \"40000d\"")).unwrap();
    fs::create_dir(sample.path().join("state")).unwrap();
    let database = sample.path().join("state/host.db");
    Connection::open(&database).unwrap().execute_batch(include_str!("../../records/schema-3.sql")).unwrap();
    let all = |sql: &str| -> Vec<Vec<rusqlite::types::Value>> {
        let record = Connection::open(&database).unwrap();
        let mut query = record.prepare(sql).unwrap();
        let columns = query.column_count();
        let rows = query.query_map([], |row| (0..columns).map(|at| row.get(at)).collect()).unwrap();
        rows.collect::<Result<_, _>>().unwrap()
    };
    let columns = "id, check_name, due, data_date, attempt, left_out, status, summary, report, error, seconds, \
        plugin_id, calls, recorded";
    let runs = all(&format!("SELECT {columns}, replay FROM runs ORDER BY id"));
    let others = ["plugins", "standings", "alerts", "outbox", "receipts", "silences", "costs", "consultations"];
    // An alert has a data date now, and a message says whether it is composed.
    let columns_of = |table: &str| match table {
        "costs" => "check_name, day, bytes, queries",
        "outbox" => "position, id, receiver, title, notification, created, state, attempts, next_attempt, problem",
        "alerts" => "id, check_name, kind, severity, summary, began, ended, announced, held, recorded",
        _ => "*",
    };
    let rows = |table: &&str| all(&format!("SELECT {} FROM {table}", columns_of(table)));
    let before: Vec<_> = others.iter().map(rows).collect();
    assert!(runs.len() > 10 && before.iter().filter(|rows| !rows.is_empty()).count() > 5);

    let old = history(&sample);
    assert_eq!(all(&format!("SELECT {columns}, past FROM runs ORDER BY id")), runs, "nothing is lost or changed");
    let after: Vec<_> = others.iter().map(rows).collect();
    assert_eq!(after, before);
    let dated = all("SELECT data_date FROM alerts WHERE ended IS NULL AND kind = 'failure'");
    let date = rusqlite::types::Value::from("2026-02-05".to_owned());
    assert!(!dated.is_empty() && dated.iter().flatten().all(|one| *one == date), "of the last failing run: {dated:?}");
    assert_eq!(count(&old, "runs"), runs.len());
    let past = old["runs"].as_array().unwrap().iter().filter(|run| run["past"] == true).count();
    assert!(past > 0 && past < runs.len(), "{old:#}");

    // The host continues from there: alerts are not repeated, and attempts are counted on.
    let round = sample.once(&["--check", "phase2-raw"]).unwrap();
    assert_eq!(round.code, 2, "{round:?}");
    let now = history(&sample);
    let newest = now["runs"].as_array().unwrap().iter().find(|run| run["data_date"] == "2026-02-05").unwrap();
    assert_eq!((&newest["check"], &newest["attempt"]), (&"phase2-raw".into(), &3.into()), "{newest:#}");
    assert!(sample.slack.received().is_empty());
}

/// A run of 1,001 calls, each with 8 KiB of question and of error, would take 16 MB: it is cut to its budget, and says
/// what is missing.
#[test]
fn a_run_leaves_no_more_than_its_budget() {
    let sample = sample(None);
    let sql = format!("SELECT 1 AS one FROM {}.t", "x".repeat(2000));
    let database = sample.path().join("state/host.db");
    let run = |budget: &str, minute: usize| {
        let grants = format!("[grants.misbehaving]\nwarehouse = ['nba_raw']\nslack = ['#canary-alerts']\n{budget}");
        let check = format!("[checks.misbehaving]\nsettings = {{ behaviour = 'call without end', sql = '{sql}' }}\n");
        sample.configure(&format!("{HOST_TOML}\n{grants}{check}")).unwrap();
        let at = format!("2026-02-06T11:{minute:02}:00Z");
        let mut command = sample.command();
        command.args(["run", "--once", "--at", &at, "--output", "json", "--check", "misbehaving"]);
        let ended = ended(command.arg(guest("misbehaving"))).unwrap();
        assert_eq!(ended.code, 3, "{ended:?}");
        let calls = ended.run("misbehaving")["calls"].as_array().unwrap().len();
        assert_eq!(calls, 1001);
        fs::metadata(&database).unwrap().len()
    };
    // The first is not told yet, the second is.
    let sizes: Vec<u64> = (0..6).map(|minute| run("", minute)).collect();
    let grown = (sizes[5] - sizes[1]) / 4;
    say(&format!("a run of 1,001 calls of 4 KiB leaves {grown} B"));
    assert!(grown <= (128 << 10) + 8192, "{sizes:?}");
    let larger = run("budgets = { record_bytes = '512 KiB' }\n", 6) - sizes[5];
    assert!(larger > 384 << 10 && larger <= (512 << 10) + 16384, "{larger}");

    let recorded = history(&sample);
    let newest = &recorded["runs"][0];
    assert_eq!(newest["calls"].as_array().unwrap().len(), 1001, "each call is named, with what it cost");
    let run = &recorded["runs"][1];
    assert_eq!((&run["status"], run["error"].is_string()), (&"error".into(), true), "its status is kept");
    let cut = run["cut"].as_str().unwrap();
    let raise = "the limit for one run is 128 KiB: raise budgets.record_bytes, or grants.misbehaving.budgets.record_bytes, in host.toml";
    assert!(cut.starts_with("not recorded: ") && cut.ends_with(raise), "{cut}");
}

#[test]
fn what_is_old_is_removed() {
    let sample = sample(None);
    sample.once(&["--check", "phase2-raw"]).unwrap();
    assert_eq!(count(&history(&sample), "runs"), 1);
    let record = Connection::open(sample.path().join("state/host.db")).unwrap();
    record.execute("UPDATE runs SET recorded = recorded - 2 * 86400000", []).unwrap();
    sample.once(&["--check", "phase4-precompute"]).unwrap();
    assert_eq!(count(&history(&sample), "runs"), 2, "not before its time");
    sample.configure(&HOST_TOML.replace("keep = \"90d\"", "keep = \"1d\"")).unwrap();
    sample.once(&["--check", "phase3-analytics"]).unwrap();
    let left = history(&sample);
    let names: Vec<&Value> = left["runs"].as_array().unwrap().iter().map(|run| &run["check"]).collect();
    assert!(!names.contains(&&Value::from("phase2-raw")), "{names:?}");
}

#[test]
fn nothing_is_recorded_or_sent_in_a_dry_run() {
    let sample = sample(Some(Fault::NullNames));
    let ended = sample.once(&["--dry-run", "--output", "json"]).unwrap();
    assert_eq!(ended.code, 2);
    assert!(ended.err.contains("┌─ #canary-alerts"), "the message is shown: {}", ended.err);
    assert!(sample.slack.received().is_empty() && !sample.path().join("state").exists());
}

#[test]
fn two_hosts_do_not_share_a_record() {
    let sample = Sample::new(None).unwrap();
    // The host says after a second that it waits. On a busy machine a wait of one second is over by then.
    sample.configure(&format!("{HOST_TOML}\n[delivery]\nwait = \"5s\"\n")).unwrap();
    let mut first = sample.stay().unwrap();
    first.wait_for("next: ").unwrap();
    let second = sample.once(&[]).unwrap();
    let third = sample.once(&["--dry-run"]).unwrap();
    let read = sample.host(&["history"]).unwrap();
    drop(first);
    assert_eq!(second.code, 64);
    assert!(second.err.contains("another host is running on state; stop it"), "{}", second.err);
    assert!(second.err.contains("another host is running on state; waiting up to"), "{}", second.err);
    assert_eq!((third.code, read.code), (0, 0), "{third:?} {read:?}");
    // Two rounds at once: one waits for the other, for as long as messages may take.
    sample.configure(HOST_TOML).unwrap();
    let rounds = [0; 2].map(|_| {
        let mut command = sample.command();
        command.args(["run", "--once", "--at", crate::support::AT]).args(shipped().unwrap());
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    });
    let codes = rounds.map(|mut round| round.wait().unwrap().code());
    assert_eq!(codes, [Some(0), Some(0)]);
    assert_eq!(sample.once(&[]).unwrap().code, 0, "the claim ends with its process, however it ends");
}

#[test]
fn a_record_that_cannot_be_used_is_said_with_what_to_do() {
    let sample = sample(None);
    sample.once(&["--check", "phase2-raw"]).unwrap();
    let state = sample.path().join("state");
    let database = state.join("host.db");
    let refused = |why: &str, words: &[&str]| {
        let ended = sample.once(&[]).unwrap();
        assert_eq!(ended.code, 64, "{why}: {ended:?}");
        for word in words {
            assert!(ended.err.contains(word), "{why}: {}", ended.err);
        }
    };

    let good = fs::read(&database).unwrap();
    fs::write(&database, "no database at all, but a text of some length".repeat(100)).unwrap();
    refused("garbage", &["state/host.db", "it is damaged, or not a database of this host; move it away"]);
    fs::write(&database, &good).unwrap();

    Connection::open(&database)
        .unwrap()
        .execute(
            "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) VALUES (99, 'x', TRUE, x'00', 0)",
            [],
        )
        .unwrap();
    refused("newer", &["written by a newer host (schema 99, this host knows 13)", "use that host"]);
    fs::write(&database, &good).unwrap();

    fs::remove_dir_all(&state).unwrap();
    fs::write(&state, "a file").unwrap();
    refused("a file in its place", &["the state directory state cannot be made"]);
    fs::remove_file(&state).unwrap();

    sample.configure(&HOST_TOML.replace("directory = \"state\"", "directory = \"/proc/state\"")).unwrap();
    refused("nowhere to write", &["the state directory /proc/state cannot be made"]);
}

/// Damage in the middle is found when it is read, and the readable part stays unchanged.
#[test]
fn a_damaged_page_is_said_when_it_is_met() {
    let sample = sample(None);
    for _ in 0..3 {
        sample.once(&[]).unwrap();
    }
    let database = sample.path().join("state/host.db");
    let mut bytes = fs::read(&database).unwrap();
    // Everything but the first page, which holds the schema's root.
    for byte in bytes.iter_mut().skip(4096) {
        *byte ^= 0x5a;
    }
    fs::write(&database, &bytes).unwrap();
    let ended = sample.once(&[]).unwrap();
    assert_ne!(ended.code, 0);
    assert!(ended.err.contains("it is damaged"), "{}", ended.err);
}

#[test]
fn a_record_that_is_locked_is_waited_for_and_then_said() {
    let sample = sample(Some(Fault::NullNames));
    sample.once(&["--check", "phase3-analytics"]).unwrap();
    let lock = Connection::open(sample.path().join("state/host.db")).unwrap();
    lock.execute_batch("BEGIN IMMEDIATE").unwrap();
    let refused = sample.once(&[]).unwrap();
    assert_eq!(refused.code, 64, "{refused:?}");
    assert!(refused.err.contains("another process has locked it"), "{}", refused.err);
    // The lock is released in time: the host continues normally.
    let mut command = sample.command();
    command.args(["run", "--once", "--at", crate::support::AT]).args(shipped().unwrap());
    let host = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let has_it_open = || {
        let open = fs::read_dir(format!("/proc/{}/fd", host.id())).unwrap().flatten();
        open.filter_map(|file| fs::read_link(file.path()).ok()).any(|file| file.ends_with("state/host.db"))
    };
    while !has_it_open() {
        std::thread::sleep(Duration::from_millis(20));
    }
    lock.execute_batch("ROLLBACK").unwrap();
    let output = host.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(count(&history(&sample), "runs"), 10);
    assert_eq!(sample.slack.received().len(), 1);
}

/// On a small disk of its own, which is filled and emptied between runs.
#[test]
fn a_full_disk_loses_nothing_that_was_recorded() {
    let sample = sample(Some(Fault::NullNames));
    let toml = fs::read_to_string(sample.path().join("host.toml")).unwrap();
    // The disk is too small for a plugin.
    sample.configure(&format!("{toml}\n[record]\nanswers = \"off\"\n")).unwrap();
    if !Command::new("unshare").args(["-rm", "true"]).status().is_ok_and(|status| status.success()) {
        say("not tried: a full disk, since this system lets nobody have one of their own (unshare -rm)");
        return;
    }
    let host = sample.command().get_program().to_owned();
    let script = "mkdir -p state && mount -t tmpfs -o size=1m none state || exit 99
         run() { check=$1 at=$2; shift 2; \"$HOST\" run --once --at $at --check $check \"$@\"; echo \"exit $?\"; }
         run phase3-analytics 2026-02-06T11:30:00Z \"$@\"
         left() { df --output=avail -B1 state | tail -1; }
         head -c 2000000 /dev/zero > state/filler 2>/dev/null
         run phase2-raw 2026-02-06T12:00:00Z \"$@\"
         rm state/filler
         head -c $(($(left) - 61440)) /dev/zero > state/filler
         run phase2-raw 2026-02-06T12:00:00Z \"$@\"
         rm state/filler
         run phase2-raw 2026-02-06T12:30:00Z \"$@\"
         \"$HOST\" history --output json > history.json";
    let mut command = sample.command();
    let environment: Vec<(std::ffi::OsString, Option<std::ffi::OsString>)> =
        command.get_envs().map(|(name, value)| (name.to_owned(), value.map(ToOwned::to_owned))).collect();
    command = Command::new("unshare");
    command.current_dir(sample.path()).env_clear();
    for (name, value) in environment {
        command.env(name, value.unwrap_or_default());
    }
    command.env("HOST", host).args(["-rm", "bash", "-c", script, "bash"]).args(shipped().unwrap());
    let done: Ended = ended(&mut command).unwrap();
    let exits: Vec<&str> = done.out.lines().filter(|line| line.starts_with("exit ")).collect();
    assert_eq!(exits, ["exit 0", "exit 64", "exit 3", "exit 2"], "{done:?}");
    for words in [
        "\nerror: state/host.db: the disk is full; make room",
        "the runs of phase2-raw are NOT recorded: state/host.db: the disk is full; make room",
    ] {
        assert!(done.err.contains(words), "{}", done.err);
    }
    let history: Value =
        serde_json::from_str(&fs::read_to_string(sample.path().join("history.json")).unwrap()).unwrap();
    let runs: Vec<&Value> = history["runs"].as_array().unwrap().iter().map(|run| &run["check"]).collect();
    assert_eq!(runs, ["phase2-raw", "phase3-analytics"], "what was recorded is there, and what came after");
    assert_eq!(sample.slack.received().len(), 1, "and the alert is sent as soon as it can be recorded");
}

/// Results quote data, so other users of the machine do not read them.
#[test]
fn the_state_directory_is_private() {
    use std::os::unix::fs::{PermissionsExt, chown};
    let sample = sample(None);
    let state = sample.path().join("state");
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let allow = |path: &std::path::Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    let once = || sample.once(&["--check", "phase2-raw"]).unwrap();
    assert_eq!(once().code, 0);
    assert_eq!((mode(&state), mode(&state.join("host.db"))), (0o700, 0o600));

    // As an older host, or somebody else, made it.
    allow(&state, 0o755);
    allow(&state.join("host.db"), 0o644);
    let repaired = once();
    assert_eq!(repaired.code, 0, "{repaired:?}");
    assert_eq!((mode(&state), mode(&state.join("host.db"))), (0o700, 0o600));
    for words in ["state: other users could read it (mode 755); its mode is now 700", "state/host.db: other users"] {
        assert_eq!(repaired.err.matches(words).count(), 1, "{words}: {}", repaired.err);
    }
    let quiet = once();
    assert_eq!((quiet.code, quiet.err.contains("mode")), (0, false), "it is said once: {}", quiet.err);

    // A directory with other files: readable, it is left as it is; writable, it is refused.
    fs::write(state.join("notes.txt"), "").unwrap();
    allow(&state, 0o755);
    allow(&state.join("host.db"), 0o644);
    assert_eq!((once().code, mode(&state), mode(&state.join("host.db"))), (0, 0o755, 0o600));
    allow(&state, 0o777);
    let refused = once();
    assert_eq!((refused.code, mode(&state)), (64, 0o777), "{refused:?}");
    assert!(refused.err.contains("run `chmod 700 state`, or name another state.directory"), "{}", refused.err);
    fs::remove_file(state.join("notes.txt")).unwrap();

    // A link is not followed to a file of others, and nobody is told to change that file.
    allow(&state, 0o700);
    fs::write(sample.path().join("victim"), "").unwrap();
    allow(&sample.path().join("victim"), 0o644);
    std::os::unix::fs::symlink("../victim", state.join("host.db-extra")).unwrap();
    let link = once();
    assert_eq!((link.code, mode(&sample.path().join("victim"))), (64, 0o644), "{link:?}");
    let said = "state/host.db-extra is a link to a file that other users can read (mode 644): remove the link";
    assert!(link.err.contains(said) && !link.err.contains("chmod"), "{}", link.err);
    fs::remove_file(state.join("host.db-extra")).unwrap();
    // A file that another user put there could be read by that user for ever.
    fs::write(state.join("host.planted"), "").unwrap();
    allow(&state.join("host.planted"), 0o600);
    if chown(state.join("host.planted"), Some(12345), None).is_ok() {
        let planted = once();
        assert_eq!(planted.code, 64, "{planted:?}");
        assert!(planted.err.contains("state/host.planted belongs to user 12345, who may"), "{}", planted.err);
    }
    fs::remove_file(state.join("host.planted")).unwrap();
    allow(&state, 0o777);

    // Somebody else's directory; only root can give one away.
    if chown(&state, Some(12345), None).is_ok() {
        let foreign = once();
        assert_eq!((foreign.code, mode(&state)), (64, 0o777), "{foreign:?}");
        assert!(foreign.err.contains("belongs to user 12345: run `chmod 700 state` as that user"), "{}", foreign.err);
        allow(&state, 0o700);
        assert_eq!(once().code, 0);
    }
}
