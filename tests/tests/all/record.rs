//! The record: what keeps it from being written, and that nothing in it is lost by that.

use std::{
    fs,
    process::{Command, Stdio},
    time::Duration,
};

use host_tests::{Fault, HOST_TOML};
use rusqlite::Connection;
use serde_json::Value;

use crate::support::{
    command::{Ended, Sample, ended, shipped},
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
    assert_eq!(attempts, [3, 2, 1], "of one due time");
    assert_eq!((&of[0]["replay"], &of[0]["data_date"]), (&Value::from(true), &Value::from("2026-02-01")));
    let run = of[2];
    assert_eq!(run["report"]["verdict"], "fail");
    assert_eq!(run["report"]["violations"][0]["message"], "null_player_names: 3 > 0 (max)");
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
    assert!(ended.err.contains("┌─ #canary-alerts"), "what would be said is shown: {}", ended.err);
    assert!(sample.slack.received().is_empty() && !sample.path().join("state").exists());
}

#[test]
fn two_hosts_do_not_share_a_record() {
    let sample = sample(None);
    let mut first = sample.stay().unwrap();
    first.wait_for("next: ").unwrap();
    let second = sample.once(&[]).unwrap();
    let third = sample.once(&["--dry-run"]).unwrap();
    let read = sample.host(&["history"]).unwrap();
    drop(first);
    assert_eq!(second.code, 64);
    assert!(second.err.contains("another host runs on state; stop it"), "{}", second.err);
    assert_eq!((third.code, read.code), (0, 0), "{third:?} {read:?}");
    // Two rounds at once: one waits for the other.
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
    refused("garbage", &["state/host.db", "it is damaged or no database of this host; move it away"]);
    fs::write(&database, &good).unwrap();

    Connection::open(&database)
        .unwrap()
        .execute(
            "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) VALUES (99, 'x', TRUE, x'00', 0)",
            [],
        )
        .unwrap();
    refused("newer", &["written by a newer host (schema 99, this host knows 3)", "use that host"]);
    fs::write(&database, &good).unwrap();

    fs::remove_dir_all(&state).unwrap();
    fs::write(&state, "a file").unwrap();
    refused("a file in its place", &["the state directory state cannot be made"]);
    fs::remove_file(&state).unwrap();

    sample.configure(&HOST_TOML.replace("directory = \"state\"", "directory = \"/proc/state\"")).unwrap();
    refused("nowhere to write", &["the state directory /proc/state cannot be made"]);
}

/// Damage in the middle is found when it is read, and what could be read is not touched.
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
    // Given up in time: the host goes on as if nothing had been.
    let mut command = sample.command();
    command.args(["run", "--once", "--at", crate::support::AT]).args(shipped().unwrap());
    let host = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    std::thread::sleep(Duration::from_secs(2));
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
    assert_eq!(sample.slack.received().len(), 1, "and people are told as soon as it can be recorded");
}
