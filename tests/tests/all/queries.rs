//! The cost of queries, through the built host: a query ends with its run, stays within its memory, and does not affect
//! the other checks and the record.

use std::{fs, time::Duration};

use host_tests::HOST_TOML;
use rusqlite::Connection;
use serde_json::Value;

use crate::support::{
    AT, alone, an_hour_ago,
    command::{Sample, ended, guest, shipped},
    process::{computed, watched},
    service::{Service, install},
};

const TABLE: &str = "nba_raw.nbac_player_boxscore";

/// Checks that ask one query each.
fn asking(queries: &[String], timeout: &str) -> String {
    let mut toml = format!(
        "{HOST_TOML}\n[grants.misbehaving]\nwarehouse = ['nba_raw']\nslack = ['#canary-alerts']\n\
         budgets = {{ timeout = '{timeout}' }}\n"
    );
    for (at, sql) in queries.iter().enumerate() {
        toml += &format!(
            "[checks.asks{at}]\nplugin = \"misbehaving\"\nsettings = {{ behaviour = \"query\", sql = \"{sql}\" }}\n"
        );
    }
    toml
}

/// A letter, `thousands` thousand times.
fn many(letter: &str, thousands: usize) -> String {
    format!("REPLACE(REPLACE('{}', 'x', '{}'), 'x', '{}')", "x".repeat(thousands), "x".repeat(10), letter.repeat(100))
}

/// SQLite looks at nothing within a function; the thread of this query used to compute for minutes.
#[test]
fn no_thread_works_for_a_query_after_its_run() {
    let _alone = alone();
    let sample = Sample::now(None).unwrap();
    let directory = install(&sample, &["misbehaving"]).unwrap();
    for file in shipped().unwrap() {
        fs::copy(&file, directory.join(file.file_name().unwrap())).unwrap();
    }
    let a = many("a", 100);
    let slow = format!(
        "SELECT SUM(STRPOS(CONCAT({a}, {a}, CAST(p.game_id AS STRING)), CONCAT({a}, 'b'))) AS n FROM {TABLE} p, {TABLE} q, {TABLE} r"
    );
    // One row of sixteen: it sorts for as long as it has time, without needing much memory.
    let sorts = format!(
        "SELECT MAX(n) AS n FROM (SELECT ROW_NUMBER() OVER (ORDER BY q.player_name, p.game_id) AS n \
         FROM {TABLE} p, {TABLE} q, {TABLE} r, {TABLE} s \
         WHERE MOD(LENGTH(CONCAT(p.player_name, q.player_name, r.player_name, s.player_name)), 16) = 0)"
    );
    let toml = asking(&[slow, sorts], "2s");
    sample.configure(&toml).unwrap();
    // An hour ago, so that they are due again at once.
    let before = an_hour_ago();
    let checks = ["--check", "asks0", "--check", "asks1", "--check", "phase2-raw"];
    let once = sample.host(&[&["run", "--once", "--at", &before, "plugins"][..], &checks].concat()).unwrap();
    assert_eq!(once.code, 3, "{once:?}");
    let service = Service::start(&sample, &format!("{toml}\n[scheduler]\nretries = 0\n"), &checks).unwrap();
    let last = |service: &Service, check: &str| -> Value {
        service.get(&format!("/api/v1/runs?check={check}")).json()["runs"][0].clone()
    };
    service.wait_until("all three ran again", 60, |service| {
        ["asks0", "asks1", "phase2-raw"].iter().all(|check| service.ran_since(check, &before))
    });
    // A recorded run has ended; a second later nothing computes for it any more.
    std::thread::sleep(Duration::from_secs(1));
    let start = computed(service.host.id()).unwrap();
    std::thread::sleep(Duration::from_secs(3));
    let after = computed(service.host.id()).unwrap() - start;
    assert!(after < Duration::from_secs(1), "it computed {after:?} of 3 s for nobody");
    for check in ["asks0", "asks1"] {
        let run = last(&service, check);
        assert!(run["error"].as_str().is_some_and(|error| error.contains("timed out after 2 s")), "{run:#}");
    }
    assert_eq!(last(&service, "phase2-raw")["status"], "pass");
    service.host.end("TERM").unwrap();
}

/// Each query is within its own limit, but all together exceed the total: they run one after the other, or get an
/// error.
#[test]
fn queries_that_need_much_wait_for_their_turn() {
    let checks = 11;
    let sample = Sample::new(None).unwrap();
    let wide = many("y", 20);
    // 100 MB of different values, for which SQLite sets aside twice as much; no query is the same as another.
    let query = |at: usize| {
        format!(
            "SELECT COUNT(DISTINCT k) AS n FROM (SELECT CONCAT(a.player_name, b.player_name, a.game_id, {wide}) AS k \
             FROM {TABLE} a, {TABLE} b LIMIT {})",
            5000 + at
        )
    };
    sample.configure(&asking(&(0..checks).map(query).collect::<Vec<_>>(), "20s")).unwrap();
    let mut command = sample.command();
    command.args(["run", "--once", "--at", AT, "--output", "json"]).args(shipped().unwrap());
    let ended = ended(command.arg(guest("misbehaving"))).unwrap();
    let mut answered = 0;
    for at in 0..checks {
        let run = ended.run(&format!("asks{at}"));
        let error = run["error"].as_str().unwrap_or_default();
        match run["status"].as_str() {
            Some("pass") => answered += 1,
            _ => assert!(error.contains("other large queries use all the memory reserved for them"), "{run:#}"),
        }
    }
    assert!(answered >= 2, "{answered} of {checks} were answered");
    let passed = ended.json()["runs"].as_array().unwrap().iter().filter(|run| run["status"] == "pass").count();
    assert_eq!(passed, 9 + answered, "the honest ones all pass");
    // The record has them all.
    let record = Connection::open(sample.path().join("state/host.db")).unwrap();
    let runs: i64 = record.query_row("SELECT COUNT(*) FROM runs", [], |row| row.get(0)).unwrap();
    assert_eq!(usize::try_from(runs).unwrap(), 9 + checks);
}

/// 59 names, each of which reads the one before twice: asked, and described.
#[test]
fn what_stands_for_a_huge_query_costs_nothing() {
    let sample = Sample::new(None).unwrap();
    let mut doubling = "WITH c0 AS (SELECT 1 AS x)".to_owned();
    for n in 1..60 {
        doubling += &format!(", c{n} AS (SELECT a.x FROM c{} AS a CROSS JOIN c{} AS b)", n - 1, n - 1);
    }
    doubling += " SELECT x FROM c59";
    let words = "query refused: too large: with its WITH clauses expanded it reads more than 1000 tables";
    let mut most = Vec::new();
    for sql in ["SELECT 1 AS one".to_owned(), doubling] {
        sample.configure(&asking(std::slice::from_ref(&sql), "20s")).unwrap();
        for arguments in [&["run", "--once", "--at", AT][..], &["validate"]] {
            let mut command = sample.command();
            command.args(arguments).args(["--output", "json", "--check", "asks0"]).arg(guest("misbehaving"));
            let (ended, peak) = watched(&mut command).unwrap();
            assert_eq!(ended.out.contains(words), sql.starts_with("WITH"), "{arguments:?}: {ended:?}");
            assert!(peak.took < Duration::from_secs(20), "{peak:?}");
            most.push(peak.memory);
        }
    }
    // The peaks of running and describing the simple one, then of the doubling one.
    assert!(most[0] > 0 && most[2] < most[0] + (64 << 20) && most[3] < most[1] + (64 << 20), "{most:?}");
}

/// Others write the files of the warehouse; their schema calls none of the host's functions.
#[test]
fn the_schema_of_a_dataset_is_not_trusted() {
    let sample = Sample::new(None).unwrap();
    let views = "CREATE VIEW computes AS SELECT g_concat('a', 'b') AS n; CREATE VIEW plain AS SELECT upper('a') AS n";
    sample.sql("nba_raw", views).unwrap();
    let queries = ["computes", "plain"].map(|view| format!("SELECT COUNT(n) AS n FROM nba_raw.{view}"));
    sample.configure(&asking(&queries, "5s")).unwrap();
    let mut command = sample.command();
    command.args(["run", "--once", "--at", AT, "--output", "json", "--check", "asks0", "--check", "asks1"]);
    let ended = ended(command.arg(guest("misbehaving"))).unwrap();
    let refused = ended.run("asks0")["error"].as_str().unwrap_or_default().to_owned();
    assert!(refused.contains("unsafe use of g_concat"), "{refused}: {ended:?}");
    assert_eq!(ended.run("asks1")["error"], Value::Null, "{ended:?}");
}
