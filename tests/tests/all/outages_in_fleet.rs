//! What several hosts do when their record's server, or the way to it, fails.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use jiff::Timestamp;

use crate::{
    fleet::{TAKEN_OVER, count, join, slow_sample},
    killed_in_fleet::failing_sample,
    support::{
        between::Between,
        http::{self, serve},
        postgres::{Postgres, VARIABLE},
        service::Service,
        slack::{Reply, words},
    },
};

/// Debian's package `faketime`.
const FAKE: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1";
const RUNNING: &str = "SELECT COUNT(*) FROM claims WHERE key = 'check a' AND holder IS NOT NULL";
const RECORDED: &str = "SELECT COUNT(*) FROM runs WHERE check_name = 'a' AND NOT left_out AND NOT past";
const SKIPPED: &str = "SELECT COUNT(*) FROM runs WHERE left_out AND summary LIKE '%still running%'";
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
    between.delay(Duration::from_millis(400));
    let sample = slow_sample(&["a", "b"], "");
    let hosts = [join(&sample, &server.url_at(between.port)), join(&sample, &server.url())];
    let both = "SELECT COUNT(DISTINCT check_name) FROM runs WHERE NOT left_out AND NOT past";
    hosts[0].wait_until("a round", 200, |_| count(&server, both) == 2);
    hosts[0].wait_until("it is told", 200, |_| !sample.slack.requests().is_empty());
    assert_eq!((count(&server, TWICE), repeated(&sample)), (0, 0));
    for host in hosts {
        let (_, said) = host.host.end("TERM").unwrap();
        assert!(!said.contains("the clock of this machine"), "that an answer takes long says nothing of it: {said}");
    }
}

/// The clocks of two hosts are ten minutes apart while daylight saving ends: due times follow the record's clock, and each minute is
/// run once.
#[test]
fn the_clock_of_the_record_counts_also_when_daylight_saving_ends() {
    // Clocks in New York, which host.toml has, go from 1:59 to 1:00 at 6:00 UTC on the first Sunday of November.
    let change: Timestamp = "2026-11-01T06:00:00Z".parse().unwrap();
    let ahead = change.as_second() - 100 - Timestamp::now().as_second();
    let fake = |more: i64| {
        let ahead = format!("{:+}", ahead + more);
        [("LD_PRELOAD", FAKE.to_owned()), ("FAKETIME", ahead), ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned())]
    };
    let server = Postgres::start_in(&[], &fake(0)).unwrap();
    let sample = slow_sample(&["a"], "");
    let start = |more: i64| {
        let mut command = sample.command();
        command.env(VARIABLE, server.url()).args(["run", "plugins"]).envs(fake(more));
        Service::launch(&sample, command).unwrap()
    };
    let hosts = [start(300), start(-300)];
    let after = format!("{RECORDED} AND due > {}", change.as_millisecond());
    hosts[0].wait_until("a run after the change", 250, |_| count(&server, &after) >= 1);
    let early = "SELECT COUNT(*) FROM runs WHERE due > EXTRACT(EPOCH FROM clock_timestamp()) * 1000";
    assert_eq!((count(&server, early), count(&server, TWICE), repeated(&sample)), (0, 0, 0));
    let on_time = "SELECT COUNT(*) FROM runs WHERE NOT left_out AND NOT past AND recorded - due BETWEEN 0 AND 30000";
    assert_eq!(count(&server, on_time), count(&server, RECORDED));
    let minutes = "SELECT (MAX(due) - MIN(due)) / 60000 + 1 FROM runs WHERE check_name = 'a' AND NOT past";
    assert_eq!(count(&server, minutes), count(&server, RECORDED), "none is left out, none comes again");
    assert!(count(&server, &format!("{RECORDED} AND due < {}", change.as_millisecond())) >= 1);
    for (host, side) in hosts.into_iter().zip(["ahead of", "behind"]) {
        let (_, said) = host.host.end("TERM").unwrap();
        assert!(said.contains(&format!(" min {side} that of the record, which counts")), "{said}");
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
    assert!(said.contains("the record is not as this host knew it"), "{said}");
}

/// What a server refuses for a while is done later, and the log says what is wrong.
#[test]
fn a_server_that_is_full_or_locked_is_waited_for() {
    // How it begins, how it ends, and what the log says.
    type Case = (fn(&Postgres), fn(&Postgres), &'static str);
    let cases: [Case; 3] = [
        (
            |server| server.refuse("runs", "53100", "could not extend file: No space left on device").unwrap(),
            |server| server.accept("runs").unwrap(),
            "the server's disk is full",
        ),
        (
            |server| {
                server.background("BEGIN; LOCK TABLE turns IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep(15)").unwrap()
            },
            |_| {},
            "it waited too long for a lock or an answer",
        ),
        (
            |server| server.let_owner_in(false).unwrap(),
            |server| server.let_owner_in(true).unwrap(),
            "the server has no connection left",
        ),
    ];
    std::thread::scope(|scope| {
        for (begin, end, says) in cases {
            scope.spawn(move || {
                let server = Postgres::start().unwrap();
                let sample = slow_sample(&["a"], "");
                let mut host = join(&sample, &server.url_of_owner().unwrap());
                host.wait_until("it runs", 120, |_| count(&server, RUNNING) == 1);
                begin(&server);
                host.host.wait_for(says).unwrap();
                host.wait_until("it is not ready", 20, |host| host.get("/readyz").status == 503);
                if says.contains("disk") {
                    for _ in 0..20 {
                        assert_eq!(host.get("/readyz").status, 503, "as long as results wait");
                        std::thread::sleep(Duration::from_millis(200));
                    }
                }
                assert!(sample.slack.requests().is_empty(), "{says}: nothing that is not recorded is told");
                end(&server);
                host.wait_until(says, 200, |_| server.sql(RECORDED).is_ok_and(|count| count != "0"));
                host.wait_until("it is told", 200, |_| !sample.slack.requests().is_empty());
                assert_eq!((count(&server, TWICE), repeated(&sample)), (0, 0), "{says}");
                let (code, said) = host.host.end("TERM").unwrap();
                assert_eq!(code, Some(0), "{says}: {said}");
                assert!(!said.contains("NOT recorded"), "{says}: {said}");
            });
        }
    });
}

/// A run that cannot be recorded for as long as `delivery.wait` is given up and said so, and its check goes on: the claim is not
/// renewed for ever.
#[test]
fn a_run_that_is_given_up_keeps_no_claim() {
    let server = Postgres::start().unwrap();
    let heard = Arc::<Mutex<Vec<String>>>::default();
    let log = heard.clone();
    let beats = serve(move |request| {
        log.lock().unwrap().push(request.path.clone());
        http::Reply::Answer(200, "OK".to_owned())
    });
    let beats = beats.unwrap();
    let heartbeat = format!("[delivery]\nwait = \"2s\"\n[heartbeat]\nurl = \"{}/ping\"", beats.url());
    let sample = failing_sample(&["a"], &heartbeat);
    let idle = join(&sample, &server.url());
    let host = join(&sample, &server.url());
    host.wait_until("it takes part", 20, |host| host.get("/readyz").status == 200);
    server.refuse("runs", "53100", "could not extend file: No space left on device").unwrap();
    host.wait_until("a round failed", 120, |_| heard.lock().unwrap().iter().any(|path| path == "/ping/fail"));
    assert!(!heard.lock().unwrap().iter().any(|path| path == "/ping"), "nobody knows that it went well");
    server.accept("runs").unwrap();
    host.wait_until("the next run is recorded", TAKEN_OVER + 90, |_| count(&server, RECORDED) > 0);
    host.wait_until("it is told", 60, |_| {
        sample.slack.received().iter().any(|(_, message)| words(message).contains("bad is above its maximum"))
    });
    assert_eq!(count(&server, TWICE), 0);
    host.wait_until("the round is known to have gone well", 10, |_| {
        heard.lock().unwrap().iter().any(|path| path == "/ping")
    });
    let said = format!("{}{}", host.host.end("TERM").unwrap().1, idle.host.end("TERM").unwrap().1);
    assert!(said.contains("NOT recorded"), "{said}");
}

/// The server is lost, and its synchronous standby takes its place with all that was recorded.
#[test]
fn a_synchronous_standby_loses_nothing() {
    let mut server = Postgres::start().unwrap();
    let between = Between::start(server.port).unwrap();
    let sample = failing_sample(&["a"], "");
    let host = join(&sample, &server.url_at(between.port));
    let standby = server.standby().unwrap();
    host.wait_until("it is told", 120, |_| !sample.slack.requests().is_empty());
    server.kill();
    let before = count(&standby, RECORDED);
    assert!(before > 0, "what was told is on the standby");
    between.lead_to(standby.port);
    host.wait_until("it is not ready", 20, |host| host.get("/readyz").status == 503);
    standby.promote().unwrap();
    host.wait_until("a run after that", 150, |_| count(&standby, RECORDED) > before);
    host.wait_until("it is ready", 20, |host| host.get("/readyz").status == 200);
    assert_eq!((count(&standby, TWICE), sample.slack.requests().len()), (0, 1), "it was told before");
    let (code, said) = host.host.end("TERM").unwrap();
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("the record does not answer") && !said.contains("older than what this host knew"), "{said}");
}

/// Nothing at all answers while a check comes due: its due times are run again afterwards.
#[test]
fn a_server_that_is_away_at_a_due_time_stops_nothing() {
    let mut server = Postgres::start().unwrap();
    let sample = failing_sample(&["a"], "");
    let host = join(&sample, &server.url());
    host.wait_until("it takes part", 20, |host| host.get("/readyz").status == 200);
    let into_minute = Timestamp::now().as_second() % 60;
    std::thread::sleep(Duration::from_secs(u64::try_from((115 - into_minute) % 60).unwrap()));
    server.kill();
    std::thread::sleep(Duration::from_secs(18));
    server.run().unwrap();
    host.wait_until("two runs are recorded", 200, |_| count(&server, RECORDED) >= 2);
    assert_eq!((count(&server, TWICE), count(&server, SKIPPED)), (0, 0));
    host.wait_until("it is told", 60, |_| !sample.slack.requests().is_empty());
    let (code, said) = host.host.end("TERM").unwrap();
    assert_eq!(code, Some(0), "{said}");
}

/// The way to the server is lost without a word, as when a machine between is replaced: what waits for an answer is given up.
#[test]
fn connections_that_are_lost_without_a_word_are_given_up() {
    let server = Postgres::start().unwrap();
    let between = Between::start(server.port).unwrap();
    let sample = slow_sample(&["a"], "");
    let host = join(&sample, &server.url_at(between.port));
    host.wait_until("it runs", 120, |_| count(&server, RUNNING) == 1);
    between.lose_connections();
    host.wait_until("the run is recorded", 120, |_| count(&server, RECORDED) > 0);
    host.wait_until("it is ready", 60, |host| host.get("/readyz").status == 200);
    host.wait_until("it is told", 200, |_| !sample.slack.requests().is_empty());
    assert_eq!((count(&server, TWICE), repeated(&sample)), (0, 0));
    let (code, said) = host.host.end("TERM").unwrap();
    assert_eq!(code, Some(0), "{said}");
}

/// While one host waits for Slack, which refuses all, the others ask the record no more than usual.
#[test]
fn hosts_do_not_ask_without_end_whose_channel_it_is() {
    let server = Postgres::start().unwrap();
    let sample = failing_sample(&["a"], "");
    sample.slack.answer(Reply::Answer(500, "", "rollup_error"));
    let hosts = [join(&sample, &server.url()), join(&sample, &server.url())];
    hosts[0].wait_until("it is tried", 120, |_| sample.slack.requests().len() > 1);
    let asked = || count(&server, "SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = 'watch'");
    let before = asked();
    std::thread::sleep(Duration::from_secs(10));
    let more = asked() - before;
    assert!(more < 200, "{more} transactions in ten seconds");
    for host in hosts {
        let (code, said) = host.host.end("TERM").unwrap();
        assert_eq!(code, Some(0), "{said}");
    }
}
