//! Several hosts on one record, which a Postgres server keeps.

use std::{collections::BTreeSet, time::Duration};

use host_tests::{Fault, HOST_TOML};
use jiff::{SignedDuration, Timestamp};

use crate::{
    killed_in_fleet::failing_sample,
    support::{
        AT,
        command::{Ended, Sample, ended, shipped},
        postgres::{PASSWORD, Postgres, VARIABLE},
        service::{Service, install},
        slack::words,
    },
};

/// How long a claim lasts without being renewed, and how long another host may take to see that it is over.
pub(crate) const TAKEN_OVER: u64 = 30 + 15;

/// host.toml of the sample with the record on a server, where nothing gets too old for these tests, and more lines.
fn toml(more: &str) -> String {
    let state = format!("[state]\nurl_env = \"{VARIABLE}\"\nkeep = \"40000d\"\n");
    let toml = HOST_TOML.replace("[state]\ndirectory = \"state\"\nkeep = \"90d\"\n", &state);
    assert!(toml.contains(VARIABLE));
    format!("{toml}\n{more}\n")
}

pub(crate) fn host(sample: &Sample, url: &str, arguments: &[&str]) -> Ended {
    ended(sample.command().env(VARIABLE, url).args(arguments)).unwrap()
}

pub(crate) fn once(sample: &Sample, url: &str, at: &str, arguments: &[&str]) -> Ended {
    let mut command = sample.command();
    command.env(VARIABLE, url).args(["run", "--once", "--at", at]).args(arguments);
    ended(command.args(shipped().unwrap())).unwrap()
}

/// A host that stays.
pub(crate) fn join(sample: &Sample, url: &str) -> Service {
    let mut command = sample.command();
    command.env(VARIABLE, url).args(["run", "plugins"]);
    Service::launch(sample, command).unwrap()
}

/// A sample that ran once some hours ago, for which several hosts are started next.
fn started_before(fault: Option<Fault>, guests: &[&str], server: &Postgres, hours: i64, more: &str) -> Sample {
    let sample = Sample::now(fault).unwrap();
    sample.configure(&toml(&format!("{more}\n[web]\nlisten = \"127.0.0.1:0\"\n"))).unwrap();
    install(&sample, &[]).unwrap();
    if !guests.is_empty() {
        install(&sample, guests).unwrap();
    }
    let at = (Timestamp::now() - SignedDuration::from_hours(hours)).to_string();
    let ended = host(&sample, &server.url(), &["run", "--once", "--at", &at, "plugins"]);
    assert!(ended.code <= 3, "{ended:?}");
    sample
}

pub(crate) fn count(server: &Postgres, sql: &str) -> i64 {
    server.sql(sql).unwrap().parse().unwrap()
}

#[test]
fn the_record_can_be_a_postgres_database() {
    let server = Postgres::start().unwrap();
    let (sample, url) = (Sample::new(Some(Fault::NullNames)).unwrap(), server.url());
    sample.configure(&toml("")).unwrap();
    let first = once(&sample, &url, AT, &[]);
    assert_eq!(first.code, 2, "{first:?}");
    assert_eq!(sample.slack.received().len(), 1);
    let again = once(&sample, &url, AT, &["--check", "phase2-raw"]);
    assert_eq!(again.code, 2, "{again:?}");
    assert_eq!(sample.slack.received().len(), 1, "told once");
    let history = host(&sample, &url, &["history", "--limit", "100", "--output", "json"]);
    assert_eq!(history.code, 0, "{history:?}");
    let json = history.json();
    assert_eq!(json["runs"].as_array().unwrap().len(), 10);
    assert!(!sample.path().join("state").exists(), "the directory is not used");
    assert_eq!(count(&server, "SELECT COUNT(*) FROM runs"), 10);
    for ended in [first, again, history] {
        assert!(!ended.err.contains(PASSWORD) && !ended.out.contains(PASSWORD));
    }
}

/// Three hosts start at once on an empty database, and later have missed the same due times.
#[test]
fn each_due_time_runs_once_whichever_host_it_is() {
    let server = Postgres::start().unwrap();
    let report = "[report]\nchannel = \"#deployment-alerts\"\nschedule = \"* * * * *\"\n";
    let sample = started_before(Some(Fault::NullNames), &[], &server, 3, report);
    let said = |of_report: bool| {
        let all = sample.slack.received();
        all.iter().filter(|(_, message)| message.to_string().contains("Report of") == of_report).count()
    };
    let told = said(false);
    let hosts: Vec<Service> = (0..3).map(|_| join(&sample, &server.url())).collect();
    let missed = "SELECT COUNT(*) FROM runs WHERE left_out";
    let caught_up = "SELECT COUNT(*) FROM runs WHERE NOT left_out AND due > (SELECT MIN(due) FROM runs)";
    hosts[0].wait_until("all half-hourly checks are caught up", 60, |_| count(&server, caught_up) >= 7);
    // Time for a second run of any, and for messages.
    std::thread::sleep(Duration::from_secs(4));
    assert_eq!(
        count(
            &server,
            "SELECT COUNT(*) FROM (SELECT check_name, due FROM runs GROUP BY 1, 2 HAVING COUNT(*) > 1) AS twice"
        ),
        0
    );
    assert!(count(&server, missed) > 0, "each said what it missed, once");
    // After midnight in New York the fault is of a date that only the later rounds are about: then it is told now.
    assert_eq!(said(false), told.max(1), "nothing new is wrong");
    // Each of them would send the report of a minute; one does.
    hosts[0].wait_until("the report", 90, |_| said(true) > 0);
    let doubled = "SELECT COUNT(*) FROM (SELECT created / 60000 FROM outbox WHERE title LIKE 'Report of%' \
        GROUP BY 1 HAVING COUNT(*) > 1) AS twice";
    assert_eq!(count(&server, doubled), 0);
    // Each host shows what any of them recorded.
    let newest = |service: &Service| service.check("phase2-raw")["due"].clone();
    for service in &hosts {
        service.wait_until("the page shows the newest run", 60, |service| {
            newest(service) == newest(&hosts[0]) && newest(service).is_string()
        });
    }
    for service in hosts {
        let (code, said) = service.host.end("TERM").unwrap();
        assert_eq!(code, Some(0), "{said}");
    }
    assert_eq!(server.sql("SELECT key, holder, expires - now() FROM claims WHERE holder IS NOT NULL").unwrap(), "");
    assert_eq!(count(&server, "SELECT COUNT(*) FROM hosts"), 0);
}

/// The host that runs a check is killed; another one runs it once the lease is over.
#[test]
fn a_host_that_is_killed_in_the_middle_of_a_run_is_replaced() {
    let server = Postgres::start().unwrap();
    // It waits for as long as it may.
    let slow = "[checks.slow]\nplugin = \"misbehaving\"\nschedule = \"*/30 * * * *\"\nsettings = { behaviour = \"sleep\" }\n\
        [grants.misbehaving]\nslack = [\"#canary-alerts\"]\n[grants.misbehaving.budgets]\ntimeout = \"15s\"\n[scheduler]\nretries = 0\n";
    let sample = started_before(None, &["misbehaving"], &server, 1, slow);
    let one = join(&sample, &server.url());
    let running = "SELECT COUNT(*) FROM claims WHERE key = 'check slow' AND holder IS NOT NULL";
    one.wait_until("it runs", 100, |_| count(&server, running) == 1);
    let other = join(&sample, &server.url());
    one.host.signal("KILL").unwrap();
    let recorded = "SELECT COUNT(*) FROM runs WHERE check_name = 'slow' AND NOT left_out AND due % 1800000 = 0";
    other.wait_until("the other host runs it", TAKEN_OVER + 200, |_| count(&server, recorded) == 1);
    assert_eq!(
        server
            .sql("SELECT attempt FROM runs WHERE check_name = 'slow' AND due % 1800000 = 0 AND NOT left_out")
            .unwrap(),
        "2"
    );
    other.host.end("TERM").unwrap();
}

/// A host that was stopped for longer than its lease records nothing of what it ran, and tells nobody.
#[test]
fn a_host_that_sleeps_through_its_lease_records_and_tells_nothing() {
    let server = Postgres::start().unwrap();
    let slow = "[checks.slow]\nplugin = \"misbehaving\"\nschedule = \"*/30 * * * *\"\nsettings = { behaviour = \"sleep\" }\n\
        [grants.misbehaving]\nslack = [\"#canary-alerts\"]\n[grants.misbehaving.budgets]\ntimeout = \"8s\"\n[scheduler]\nretries = 0\n";
    let sample = started_before(None, &["misbehaving"], &server, 1, slow);
    let mut one = join(&sample, &server.url());
    let running = "SELECT COUNT(*) FROM claims WHERE key = 'check slow' AND holder IS NOT NULL";
    one.wait_until("it runs", 100, |_| count(&server, running) == 1);
    one.host.signal("STOP").unwrap();
    let other = join(&sample, &server.url());
    let recorded = "SELECT COUNT(*) FROM runs WHERE check_name = 'slow' AND NOT left_out AND due % 1800000 = 0";
    other.wait_until("the other host runs it", TAKEN_OVER + 200, |_| count(&server, recorded) == 1);
    // A message is recorded with its run, and sent after that.
    let sent = "SELECT COUNT(*) FROM outbox WHERE state <> 'delivered'";
    other.wait_until("what it found is told", 60, |_| count(&server, sent) == 0);
    let told = sample.slack.received().len();
    one.host.signal("CONT").unwrap();
    one.host.wait_for("is not recorded: another host took it over").unwrap();
    assert_eq!(count(&server, recorded), 1);
    assert_eq!(sample.slack.received().len(), told);
    let ids: BTreeSet<String> = sample.slack.requests().into_iter().map(|request| request.id).collect();
    assert_eq!(ids.len(), told, "each message once");
    one.host.end("TERM").unwrap();
    other.host.end("TERM").unwrap();
}

/// Checks that wait for two seconds and then cannot be evaluated, due every minute.
fn slow(names: &[&str], more: &str) -> String {
    let check = |name: &&str| {
        format!(
            "[checks.{name}]\nplugin = \"misbehaving\"\nschedule = \"* * * * *\"\nsettings = {{ behaviour = \"doze\" }}\n"
        )
    };
    let checks: String = names.iter().map(check).collect();
    format!(
        "{checks}[grants.misbehaving]\nslack = [\"#canary-alerts\"]\n[grants.misbehaving.budgets]\ntimeout = \"60s\"\n\
         [scheduler]\nretries = 0\nruns = 1\n{more}\n[web]\nlisten = \"127.0.0.1:0\"\n"
    )
}

/// A sample with such checks only.
pub(crate) fn slow_sample(names: &[&str], more: &str) -> Sample {
    let sample = Sample::now(None).unwrap();
    let whole = toml(&slow(names, more));
    // The shipped plugins are not installed, so their checks and grants go.
    let start = whole.find("[checks.phase1-scrapers]").unwrap();
    let end = whole.find(&format!("[checks.{}]", names[0])).unwrap();
    sample.configure(&format!("{}{}", &whole[..start], &whole[end..])).unwrap();
    install(&sample, &["misbehaving"]).unwrap();
    sample
}

/// What several hosts find in one round is one message, since people read one pipeline.
#[test]
fn what_hosts_find_in_one_round_is_one_message() {
    let server = Postgres::start().unwrap();
    let sample = slow_sample(&["a", "b", "c", "d"], "");
    let hosts: Vec<Service> = (0..2).map(|_| join(&sample, &server.url())).collect();
    let recorded = "SELECT COUNT(DISTINCT check_name) FROM runs WHERE NOT left_out";
    hosts[0].wait_until("a round", 200, |_| count(&server, recorded) == 4);
    hosts[0].wait_until("a message", 200, |_| !sample.slack.requests().is_empty());
    let messages = sample.slack.received();
    assert_eq!(messages.len(), 1, "{messages:#?}");
    let text = messages[0].1.to_string();
    for check in ["a", "b", "c", "d"] {
        assert!(
            text.contains(&format!("*{check}*"))
                || text.contains(&format!("/{check}"))
                || text.contains(&format!(" {check}")),
            "{check}: {text}"
        );
    }
    for service in hosts {
        service.host.end("TERM").unwrap();
    }
}

/// What depends on a check that another host runs waits for its result, and is told below it.
#[test]
fn a_check_waits_for_its_upstream_on_another_host() {
    let server = Postgres::start().unwrap();
    let check = |name: &str, sql: &str, more: &str| {
        format!(
            "[checks.{name}]\nplugin = \"canary-sql\"\ndates = \"now\"\nschedule = \"* * * * *\"\n{more}\n\
             settings = {{ sql = \"{sql}\", thresholds = {{ bad = {{ max = 0 }} }} }}\n"
        )
    };
    let slow = "SELECT COUNT(*) AS bad FROM nba_raw.big AS a CROSS JOIN nba_raw.big AS b WHERE a.n + b.n > 0";
    let checks = [
        check("down", "SELECT 1 AS bad", "depends_on = [\"up\"]"),
        check("up", slow, ""),
        "[scheduler]\nruns = 1\n[alerts]\ngroup_wait = \"10s\"\n[grants.canary-sql.budgets]\ncpu = \"120s\"\ntimeout = \"120s\"\n"
            .to_owned(),
    ];
    let sample = failing_sample(&[], &checks.concat());
    let rows: Vec<String> = (1..=2500).map(|n| format!("({n})")).collect();
    sample.sql("nba_raw", &format!("CREATE TABLE big (n INT64); INSERT INTO big VALUES {}", rows.join(","))).unwrap();
    let hosts = [join(&sample, &server.url()), join(&sample, &server.url())];
    // Of the rounds with both runs, those in which `up` was recorded before, or after, `down`. One host records both at once.
    let recorded = |order: &str| {
        let rounds = format!(
            "SELECT COUNT(*) FROM runs AS up JOIN runs AS down ON up.due = down.due WHERE up.check_name = 'up' AND NOT up.left_out \
                AND down.check_name = 'down' AND NOT down.left_out AND up.recorded {order} down.recorded"
        );
        count(&server, &rounds)
    };
    hosts[0].wait_until("a round of two hosts, with the upstream first", 200, |_| recorded("<") >= 1);
    assert_eq!(recorded(">"), 0);
    hosts[0].wait_until("it is told", 60, |_| !sample.slack.requests().is_empty());
    let took = "SELECT (seconds > 0.2)::int FROM runs WHERE check_name = 'up' AND NOT left_out ORDER BY id LIMIT 1";
    assert_eq!(count(&server, took), 1, "it took long");
    let texts: Vec<String> = sample.slack.received().iter().map(|(_, message)| words(message)).collect();
    let all = texts.join("\n");
    let below = "Also not well down: bad is above its maximum: 1 > 0; it depends on up, which was reported";
    assert!(all.contains(below) && !all.contains("'SELECT 1 AS bad'"), "{all}");
    assert_eq!(texts.len(), 1, "{all}");
    for service in hosts {
        service.host.end("TERM").unwrap();
    }
}

/// Two hosts that are asked about one date at the same time evaluate it once.
#[test]
fn a_gate_that_is_asked_at_two_hosts_is_evaluated_once() {
    let server = Postgres::start().unwrap();
    let sample = slow_sample(&["gate"], "");
    let hosts: Vec<Service> = (0..2).map(|_| join(&sample, &server.url())).collect();
    let ask = |service: &Service| {
        let client = service.client();
        std::thread::spawn(move || {
            let token = format!("Bearer {}", crate::support::service::TOKEN);
            let answer =
                client.ask("POST", "/api/v1/gates/gate", &[("authorization", &token)], r#"{"date": "2026-02-01"}"#);
            answer.unwrap().body
        })
    };
    let answers: Vec<String> =
        hosts.iter().map(ask).collect::<Vec<_>>().into_iter().map(|asked| asked.join().unwrap()).collect();
    assert_eq!(answers[0], answers[1]);
    assert!(answers[0].contains("NOT_EVALUATED"), "{}", answers[0]);
    assert_eq!(count(&server, "SELECT COUNT(*) FROM runs WHERE data_date = '2026-02-01'"), 1);
    assert_eq!(count(&server, "SELECT COUNT(*) FROM consultations"), 2);
    for service in hosts {
        service.host.end("TERM").unwrap();
    }
}

/// A check that waits for room has no claim yet. What comes due meanwhile is left out, as by a host on its own.
#[test]
fn due_times_of_a_check_that_waits_for_room_are_left_out() {
    let server = Postgres::start().unwrap();
    let sample = slow_sample(&["a", "b"], "");
    let path = sample.path().join("host.toml");
    let host_toml = std::fs::read_to_string(&path).unwrap();
    let host_toml = host_toml
        .replacen("behaviour = \"doze\"", "behaviour = \"sleep\"", 1)
        .replace("timeout = \"60s\"", "timeout = \"150s\"");
    std::fs::write(&path, host_toml).unwrap();
    let host = crate::fleet::join(&sample, &server.url());
    let left_out = "SELECT COUNT(*) FROM runs WHERE left_out AND check_name = 'b' AND summary LIKE '%still running%'";
    host.wait_until("the check that waits is left out", 200, |_| count(&server, left_out) >= 1);
    host.wait_until("it runs once there is room", 120, |_| {
        count(&server, "SELECT COUNT(*) FROM runs WHERE NOT left_out AND check_name = 'b'") >= 1
    });
    let never = "SELECT COUNT(*) FROM runs WHERE summary LIKE '%the host was down%'";
    assert_eq!(count(&server, never), 0);
    host.host.end("TERM").unwrap();
}

/// A check that ends its hosts is begun three times in a row; then it is an error, which people hear of, instead of another run.
#[test]
fn a_check_that_ends_its_hosts_becomes_an_error() {
    let server = Postgres::start().unwrap();
    let sample = slow_sample(&["a"], "");
    // Makes the tables.
    assert_eq!(host(&sample, &server.url(), &["history"]).code, 0);
    // What three hosts that were killed leave behind.
    server.sql("INSERT INTO claims (key, epoch, attempt) VALUES ('check a', 3, 3)").unwrap();
    let service = join(&sample, &server.url());
    let recorded = "SELECT error FROM runs WHERE check_name = 'a' AND NOT left_out ORDER BY id LIMIT 1";
    service.wait_until("a result", 120, |_| !server.sql(recorded).unwrap().is_empty());
    let error = server.sql(recorded).unwrap();
    assert!(error.contains("begun 3 times in a row without a result"), "{error}");
    assert_eq!(
        count(&server, "SELECT MAX(attempt) FROM claims WHERE key = 'check a' AND holder IS NULL"),
        0,
        "it may begin anew"
    );
    service.host.end("TERM").unwrap();
}

/// The tables as the host before this one made them.
#[test]
fn a_record_of_an_older_host_on_a_server_is_taken_over() {
    let server = Postgres::start().unwrap();
    let sample = Sample::new(Some(Fault::NullNames)).unwrap();
    sample.configure(&toml("")).unwrap();
    server
        .sql("CREATE TABLE schema_versions (version BIGINT PRIMARY KEY); INSERT INTO schema_versions VALUES (9)")
        .unwrap();
    server.sql(include_str!("../../../host/src/record/migrations/postgres/0009_start.sql")).unwrap();
    server.sql("INSERT INTO batches (id, recorded) VALUES ('older', 1); UPDATE turns SET turn = 7").unwrap();
    let ended = once(&sample, &server.url(), AT, &["--check", "phase2-raw"]);
    assert_eq!(ended.code, 2, "{ended:?}");
    assert_eq!(sample.slack.received().len(), 1);
    assert_eq!(count(&server, "SELECT MAX(version) FROM schema_versions"), 13);
    assert_eq!(count(&server, "SELECT COUNT(*) FROM batches WHERE turn > 7"), 1);
}
