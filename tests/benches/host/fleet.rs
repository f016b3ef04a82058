//! Several hosts on one record, with a Postgres server beside them on this machine: what recording costs, what idle hosts ask, how long a
//! takeover takes, and the punctuality of many checks.

use std::time::{Duration, Instant};

use host::record::{Batch, Known, Record};
use tempfile::TempDir;

use super::{
    median, millis, record, row,
    support::{
        command::Sample,
        postgres::{Postgres, VARIABLE},
        service::{Service, install},
    },
};

const CHECKS: usize = 5000;

/// Five thousand checks a minute.
pub(super) fn punctuality() {
    for hosts in [1, 2, 4] {
        punctual(hosts);
    }
}

/// Rounds of eight checks on each engine, in turn.
pub(super) fn recording() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    // A commit is on the disk when it returns, as in a file.
    let server = Postgres::start_with(&["fsync=on"]).unwrap();
    let directory = TempDir::new().unwrap();
    let file = runtime.block_on(Record::open(directory.path())).unwrap();
    let shared = runtime.block_on(Record::server(&server.url())).unwrap();
    let (mut in_file, mut on_server) = (Vec::new(), Vec::new());
    let mut known = Known::default();
    for round in 0..400 {
        let batch = Batch { id: format!("{round}"), ..record::batch(round) };
        let started = Instant::now();
        runtime.block_on(file.keep(&batch)).unwrap();
        in_file.push(started.elapsed());
        let started = Instant::now();
        runtime
            .block_on(async {
                let (turn, changes) = shared.turn(&known, true).await?.unwrap();
                assert!(changes.checks.is_empty());
                known = Known { turn: turn.number(), batch: Some(batch.id.clone()) };
                turn.write(&batch).await
            })
            .unwrap();
        on_server.push(started.elapsed());
    }
    let (file, server) = (median(in_file), median(on_server));
    let rate = |round: Duration| 8.0 / round.as_secs_f64();
    let shown = format!("{:.0} / {:.0} ({} / {} a round)", rate(server), rate(file), millis(server), millis(file));
    row("runs recorded a second, in rounds of eight: on Postgres / in a file", &shown, "");
}

/// host.toml with checks of a plugin that asks nothing.
fn many(checks: usize, schedule: &str, jitter: &str, behaviour: &str) -> String {
    let check = |at| {
        format!(
            "[checks.c{at:04}]\nplugin = \"misbehaving\"\nschedule = \"{schedule}\"\nsettings = {{ behaviour = \"{behaviour}\" }}\n"
        )
    };
    let checks: String = (0..checks).map(check).collect();
    format!(
        "validate_schedule = \"never\"\n[slack]\ndeliver = \"console\"\n[state]\nurl_env = \"{VARIABLE}\"\n[scheduler]\njitter = \"{jitter}\"\n\
         retries = 0\n[grants.misbehaving]\nslack = [\"#canary-alerts\"]\nbudgets = {{ cpu = \"10s\", timeout = \"60s\" }}\n{checks}\
         [web]\nlisten = \"127.0.0.1:0\"\n"
    )
}

fn sample(toml: &str) -> Sample {
    let sample = Sample::now(None).unwrap();
    sample.configure(toml).unwrap();
    install(&sample, &["misbehaving"]).unwrap();
    sample
}

fn join(sample: &Sample, server: &Postgres) -> Service {
    let mut command = sample.command();
    command.env(VARIABLE, server.url()).args(["run", "plugins"]);
    Service::launch(sample, command).unwrap()
}

pub(super) fn number(server: &Postgres, sql: &str) -> f64 {
    server.sql(sql).unwrap().parse().unwrap()
}

/// What a host without work asks.
pub(super) fn idle() {
    let server = Postgres::start().unwrap();
    let sample = sample(&many(10, "0 0 1 1 *", "0s", "pass"));
    let host = join(&sample, &server);
    std::thread::sleep(Duration::from_secs(10));
    let asked = "SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = 'watch'";
    let (before, started) = (number(&server, asked), Instant::now());
    std::thread::sleep(Duration::from_secs(30));
    let rate = (number(&server, asked) - before) / started.elapsed().as_secs_f64();
    row("transactions a second of an idle host on Postgres", &format!("{rate:.2}"), "≤ 1");
    host.host.end("TERM").unwrap();
}

/// From SIGKILL until another host has the killed one's run.
pub(super) fn takeover() {
    let server = Postgres::start().unwrap();
    let sample = sample(&many(1, "* * * * *", "0s", "spin"));
    let times = (0..3).map(|_| {
        let running = "SELECT COUNT(*) FROM claims WHERE key LIKE 'check %' AND holder IS NOT NULL";
        let one = join(&sample, &server);
        one.wait_until("it runs", 90, |_| number(&server, running) == 1.0);
        let epoch = "SELECT epoch FROM claims WHERE key LIKE 'check %'";
        let before = number(&server, epoch);
        let other = join(&sample, &server);
        one.host.signal("KILL").unwrap();
        let killed = Instant::now();
        other.wait_until("the other has it", 60, |_| number(&server, epoch) > before);
        let took = killed.elapsed();
        other.host.end("KILL").unwrap();
        server.sql("UPDATE claims SET holder = NULL, done = due").unwrap();
        took
    });
    let mut times: Vec<Duration> = times.collect();
    times.sort_unstable();
    let shown: Vec<String> = times.iter().map(|time| format!("{:.1}", time.as_secs_f64())).collect();
    row("seconds from SIGKILL until another host has the run", &shown.join(", "), "≤ 31");
}

/// Five thousand checks a minute, spread by their jitter.
fn punctual(count: usize) {
    let server = Postgres::start_with(&["max_connections=60"]).unwrap();
    let sample = sample(&many(CHECKS, "* * * * *", "50s", "pass"));
    let hosts: Vec<Service> = (0..count).map(|_| join(&sample, &server)).collect();
    std::thread::sleep(Duration::from_secs(190));
    let (mut all, mut buckets) = (0.0, std::collections::BTreeMap::new());
    for host in &hosts {
        for line in host.get("/metrics").body.lines() {
            let Some(rest) = line.strip_prefix("host_schedule_lag_seconds_bucket{le=\"") else { continue };
            let Some((limit, value)) = rest.split_once("\"} ") else { continue };
            *buckets.entry(limit.to_owned()).or_insert(0.0) += value.trim().parse::<f64>().unwrap();
        }
    }
    if let Some(infinite) = buckets.remove("+Inf") {
        all = infinite;
    }
    let mut limits: Vec<(f64, f64)> =
        buckets.into_iter().filter_map(|(limit, count)| Some((limit.parse().ok()?, count))).collect();
    limits.sort_by(|(one, _), (other, _)| one.total_cmp(other));
    let p99 = limits.iter().find(|(_, count)| *count >= all * 0.99).map(|(limit, _)| *limit);
    let twice = "SELECT COUNT(*) FROM (SELECT check_name, due FROM runs GROUP BY 1, 2 HAVING COUNT(*) > 1) AS twice";
    assert_eq!(number(&server, twice), 0.0, "each due time once");
    let minutes = "SELECT COUNT(*) / GREATEST(COUNT(DISTINCT due), 1) FROM runs WHERE NOT left_out";
    let shown = format!(
        "{all:.0} runs ({:.0} a minute), p99 {}",
        number(&server, minutes),
        p99.map_or("beyond the largest bucket".to_owned(), |p99| format!("≤ {p99} s"))
    );
    let bar = if count == 1 { "p99 ≤ 2 s" } else { "" };
    row(&format!("5,000 checks a minute on {count} of the hosts, lag"), &shown, bar);
    for host in hosts {
        host.host.end("TERM").unwrap();
    }
}
