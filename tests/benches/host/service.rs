//! A running host: its punctuality while its API is used, the speed of its page, and its idle cost.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use host::record::{Batch, DateRow, Record};

use crate::{
    millis, record, row,
    support::{
        command::Sample,
        service::{Service, install},
    },
};

const CHECKS: usize = 1000;

/// A thousand checks of a plugin that asks nothing.
fn many(schedule: &str) -> String {
    let checks =
        (0..CHECKS).map(|at| format!("[checks.c{at:04}]\nplugin = \"misbehaving\"\nschedule = \"{schedule}\"\n"));
    let checks: String = checks.collect();
    format!(
        "validate_schedule = \"never\"\n[slack]\ndeliver = \"console\"\n[scheduler]\njitter = \"50s\"\n\
         [grants.misbehaving]\nslack = [\"#canary-alerts\"]\n{checks}"
    )
}

fn shown(mut times: Vec<Duration>) -> String {
    times.sort_unstable();
    format!("{} / {}", millis(times[times.len() / 2]), millis(times[times.len() * 99 / 100]))
}

/// A thousand checks a minute, spread by their jitter, while this process asks the API twenty times a second.
pub(crate) fn lag() {
    let sample = Sample::now(None).unwrap();
    install(&sample, &["misbehaving"]).unwrap();
    let service = Service::start(&sample, &many("* * * * *"), &[]).unwrap();
    let start = Instant::now();
    let mut times = Vec::new();
    while start.elapsed() < Duration::from_secs(190) {
        for path in ["/", "/checks", "/api/v1/checks", "/api/v1/runs?check=c0007", "/checks/c0007"] {
            let asked = Instant::now();
            assert_eq!(service.get(path).status, 200);
            times.push(asked.elapsed());
            std::thread::sleep(Duration::from_millis(50).saturating_sub(asked.elapsed()));
        }
    }
    let text = service.get("/metrics").body;
    let value = |start: &str| -> f64 {
        text.lines().find_map(|line| line.strip_prefix(start)).and_then(|value| value.trim().parse().ok()).unwrap()
    };
    let all = value("host_schedule_lag_seconds_count");
    let within = |limit: &str| value(&format!("host_schedule_lag_seconds_bucket{{le=\"{limit}\"}}")) / all * 100.0;
    let measured = format!(
        "{all:.0} runs: {:.2} % within 5 ms, {:.2} % within 25 ms, {:.2} % within 100 ms",
        within("0.005"),
        within("0.025"),
        within("0.1")
    );
    row("schedule lag with 1,000 checks a minute while the API is asked", &measured, "p99 < 100 ms");
    row("page and API meanwhile, p50 / p99", &shown(times), "");
    service.host.end("TERM").unwrap();
}

/// A thousand checks with a million recorded runs.
pub(crate) fn page() {
    let sample = Sample::now(None).unwrap();
    install(&sample, &["misbehaving"]).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let record = Record::open(&sample.path().join("state")).await.unwrap();
        let mut id = 0..;
        for round in 0..CHECKS {
            // A batch of eight has the reports; a thousand checks share them in turn.
            let mut batch = record::batch(round);
            let made: Vec<_> = (0..CHECKS / 8).flat_map(|_| record::batch(round).runs).collect();
            batch.runs = made;
            for (run, check) in batch.runs.iter_mut().zip(id.by_ref()) {
                let check: usize = check;
                run.check = format!("c{:04}", check % CHECKS);
            }
            record.keep(&batch).await.unwrap();
        }
        // The dates of the board.
        let now = jiff::Timestamp::now();
        let today = now.to_zoned(jiff::tz::TimeZone::UTC).date();
        let date = |back: usize| today.checked_sub(jiff::Span::new().days(i64::try_from(back).unwrap())).unwrap();
        let states = ["good", "good", "good", "good", "skipped", "warned", "bad", "given_up", "pending", "not_judged"];
        let row = |check: usize, back: usize| DateRow {
            check: format!("c{check:04}"),
            date: Some(date(back)),
            state: states[(check + back) % states.len()].to_owned(),
            at: now,
            look: None,
            late: None,
            began: 0,
            incident: None,
        };
        let dates = (0..CHECKS).flat_map(|check| (1..=60).map(move |back| row(check, back))).collect();
        record.keep(&Batch { dates, recorded: now, ..Batch::default() }).await.unwrap();
        record.close().await;
    });
    let started = Instant::now();
    let service = Service::start(&sample, &many("0 0 1 1 *"), &[]).unwrap();
    row("start with 1,000 checks and 1,000,000 recorded runs", &millis(started.elapsed()), "");
    for (what, path) in [
        ("board, 30 dates", "/"),
        ("board, 60 dates", "/?dates=60"),
        ("page of all checks", "/checks"),
        ("page of one check", "/checks/c0007"),
        ("API: all checks", "/api/v1/checks"),
        ("API: one check", "/api/v1/checks/c0007"),
        ("API: 100 runs of a check", "/api/v1/runs?check=c0007"),
        ("metrics", "/metrics"),
    ] {
        let mut size = 0;
        let times = (0..200)
            .map(|_| {
                let asked = Instant::now();
                let answer = service.get(path);
                assert_eq!(answer.status, 200);
                size = answer.body.len();
                asked.elapsed()
            })
            .collect();
        row(&format!("{what} ({} kB), p50 / p99", size / 1000), &shown(times), "");
    }
    service.host.end("TERM").unwrap();
}

/// Eight plugins on their own schedules, without requests, for ten minutes.
pub(crate) fn idle() {
    let sample = Sample::now(None).unwrap();
    install(&sample, &[]).unwrap();
    let service = Service::start(&sample, host_tests::HOST_TOML, &[]).unwrap();
    std::thread::sleep(Duration::from_secs(5));
    let before = cpu(service.host.id());
    std::thread::sleep(Duration::from_secs(600));
    let (used, memory) = (cpu(service.host.id()) - before, resident(service.host.id()));
    let measured = format!("{used:.2} s of CPU in ten minutes ({:.2} % of a core), {memory:.1} MB", used / 6.0);
    row("idle, eight plugins, with the page", &measured, "");
    service.host.end("TERM").unwrap();
}

/// CPU seconds of a process: <https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html>
fn cpu(id: u32) -> f64 {
    let stat = std::fs::read_to_string(PathBuf::from(format!("/proc/{id}/stat"))).unwrap();
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
    let ticks: f64 = fields[11..13].iter().map(|ticks| ticks.parse::<f64>().unwrap()).sum();
    // A tick is a hundredth of a second on every Linux that this runs on.
    ticks / 100.0
}

fn resident(id: u32) -> f64 {
    let status = std::fs::read_to_string(PathBuf::from(format!("/proc/{id}/status"))).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<f64>().unwrap() / 1024.0
}
