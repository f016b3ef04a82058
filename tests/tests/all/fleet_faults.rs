//! What several hosts do when their record's server, or the way to it, fails.

use std::time::Duration;

use crate::{
    fleet::{TAKEN_OVER, count, join, slow_sample},
    support::{
        postgres::{Between, Postgres},
        service::Service,
    },
};

/// Debian's package `faketime`.
const FAKE: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1";
const RUNNING: &str = "SELECT COUNT(*) FROM claims WHERE key = 'check a' AND holder IS NOT NULL";
const RECORDED: &str = "SELECT COUNT(*) FROM runs WHERE check_name = 'a' AND NOT left_out AND NOT past";
const TWICE: &str =
    "SELECT COUNT(*) FROM (SELECT check_name, due FROM runs WHERE NOT past GROUP BY 1, 2 HAVING COUNT(*) > 1) AS twice";

/// Ids of messages that arrived more than once.
fn repeated(sample: &crate::support::command::Sample) -> usize {
    let mut ids: Vec<String> = sample.slack.requests().into_iter().map(|request| request.id).collect();
    let all = ids.len();
    ids.sort();
    ids.dedup();
    all - ids.len()
}

/// The server ends without a word while a check runs, and comes back.
#[test]
fn a_server_that_fails_in_the_middle_of_a_run_loses_nothing() {
    let mut server = Postgres::start().unwrap();
    let sample = slow_sample(&["a"], "");
    let host = join(&sample, &server.url());
    host.wait_until("it runs", 120, |_| count(&server, RUNNING) == 1);
    server.kill();
    host.wait_until("it is not ready", 20, |host| host.get("/readyz").status == 503);
    std::thread::sleep(Duration::from_secs(4));
    assert!(sample.slack.requests().is_empty(), "nothing that is not recorded is told");
    server.run().unwrap();
    host.wait_until("the run is recorded", 150, |_| count(&server, RECORDED) > 0);
    host.wait_until("it is ready", 20, |host| host.get("/readyz").status == 200);
    host.wait_until("it is told", 200, |_| !sample.slack.requests().is_empty());
    assert_eq!((count(&server, TWICE), repeated(&sample)), (0, 0));
    let (code, said) = host.host.end("TERM").unwrap();
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("the record does not answer"), "{said}");
}

/// The server commits, and the host does not hear so: it neither records the run again nor tells of it twice.
#[test]
fn a_commit_whose_answer_is_lost_is_seen_to_be_there() {
    let server = Postgres::start().unwrap();
    let between = Between::start(server.port).unwrap();
    let sample = slow_sample(&["a"], "");
    let host = join(&sample, &server.url_at(between.port));
    between.lose_commit_of("INSERT INTO batches");
    host.wait_until("an answer is lost", 150, |_| between.lost() == 1);
    host.wait_until("it is told", 200, |_| !sample.slack.requests().is_empty());
    assert_eq!((count(&server, TWICE), repeated(&sample)), (0, 0));
    let (_, said) = host.host.end("TERM").unwrap();
    assert!(
        said.contains("trying again") && !said.contains("NOT recorded") && !said.contains("took it over"),
        "{said}"
    );
}

/// A host that is cut off from the record, and not from Slack, sends nothing; another one does its work.
#[test]
fn a_host_that_is_cut_off_from_the_record_tells_nothing() {
    let server = Postgres::start().unwrap();
    let between = Between::start(server.port).unwrap();
    let sample = slow_sample(&["a"], "");
    let cut_off = join(&sample, &server.url_at(between.port));
    cut_off.wait_until("it runs", 120, |_| count(&server, RUNNING) == 1);
    between.cut(true);
    let other = join(&sample, &server.url());
    let own = |service: &Service| service.get("/readyz").status;
    other.wait_until("the other host does it", TAKEN_OVER + 200, |_| count(&server, RECORDED) > 0);
    assert_eq!(own(&other), 200);
    other.wait_until("it is told", 200, |_| !sample.slack.requests().is_empty());
    between.cut(false);
    cut_off.wait_until("it is back", 60, |host| host.get("/readyz").status == 200);
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!((count(&server, TWICE), repeated(&sample)), (0, 0));
    cut_off.host.end("TERM").unwrap();
    other.host.end("TERM").unwrap();
}

/// A server whose answers take long, and one with few connections left: slower, and nothing is lost.
#[test]
fn a_slow_server_is_waited_for() {
    let server = Postgres::start().unwrap();
    let between = Between::start(server.port).unwrap();
    between.delay(Duration::from_millis(150));
    let sample = slow_sample(&["a", "b"], "");
    let hosts = [join(&sample, &server.url_at(between.port)), join(&sample, &server.url())];
    let both = "SELECT COUNT(DISTINCT check_name) FROM runs WHERE NOT left_out AND NOT past";
    hosts[0].wait_until("a round", 200, |_| count(&server, both) == 2);
    hosts[0].wait_until("it is told", 200, |_| !sample.slack.requests().is_empty());
    assert_eq!((count(&server, TWICE), repeated(&sample)), (0, 0));
    for host in hosts {
        host.host.end("TERM").unwrap();
    }
}

/// The clocks of two hosts are ten minutes apart: due times follow the record's, and each is run once.
#[test]
fn the_clock_of_the_record_counts() {
    let server = Postgres::start().unwrap();
    let sample = slow_sample(&["a"], "");
    let start = |ahead: &str| {
        let mut command = sample.command();
        command.env(crate::fleet::VARIABLE, server.url()).args(["run", "plugins"]);
        // A clock of this process alone.
        command.env("LD_PRELOAD", FAKE).env("FAKETIME", ahead).env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        Service::launch(&sample, command).unwrap()
    };
    let hosts = [start("+5m"), start("-5m")];
    hosts[0].wait_until("two runs", 250, |_| count(&server, RECORDED) >= 2);
    let early = "SELECT COUNT(*) FROM runs WHERE due > EXTRACT(EPOCH FROM clock_timestamp()) * 1000";
    assert_eq!((count(&server, early), count(&server, TWICE), repeated(&sample)), (0, 0, 0));
    let on_time = "SELECT COUNT(*) FROM runs WHERE NOT left_out AND NOT past AND recorded - due BETWEEN 0 AND 30000";
    assert_eq!(count(&server, on_time), count(&server, RECORDED));
    for (host, side) in hosts.into_iter().zip(["ahead of", "behind"]) {
        let (_, said) = host.host.end("TERM").unwrap();
        assert!(
            said.contains(" min {SIDE} that of the record, which counts".replace("{SIDE}", side).as_str()),
            "{said}"
        );
    }
}

/// After an older backup is restored, what was lost is judged again, and nobody is told that it recovered.
#[test]
fn a_restored_backup_makes_nothing_recover() {
    let server = Postgres::start().unwrap();
    let sample = slow_sample(&["a"], "");
    let host = join(&sample, &server.url());
    host.wait_until("it takes part", 20, |host| host.get("/readyz").status == 200);
    let backup = server.backup().unwrap();
    host.wait_until("it is told", 200, |_| sample.slack.requests().len() == 1);
    host.wait_until("the run is over", 30, |_| count(&server, RUNNING) == 0);
    server.restore(&backup).unwrap();
    assert_eq!(count(&server, RECORDED), 0);
    host.wait_until("it is judged and told again", 200, |_| sample.slack.requests().len() == 2);
    assert!(count(&server, RECORDED) > 0);
    let texts = sample.slack.received().iter().map(|(_, message)| message.to_string()).collect::<String>();
    assert!(!texts.contains("recovered") && !texts.contains("evaluated again"), "{texts}");
    let (_, said) = host.host.end("TERM").unwrap();
    assert!(said.contains("the record is older than what this host knew"), "{said}");
}
