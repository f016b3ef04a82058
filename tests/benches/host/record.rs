//! The cost of recording and delivery: runs a second, the time from a verdict to Slack, and a record of a million runs.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use host::{
    alert::{self, Delivery, Receivers},
    config::Config,
    record::{Batch, NewMessage, NewRun, PluginKey, Record},
};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use tempfile::TempDir;

use super::{
    median, millis, row,
    support::{
        command::{Sample, ended},
        slack::SlackDouble,
    },
};

/// Checks of a round.
const CHECKS: [&str; 8] = [
    "deployment-drift",
    "phase1-scrapers",
    "phase2-gate",
    "phase2-raw",
    "phase3-analytics",
    "phase4-precompute",
    "phase5-predictions",
    "phase6-publishing",
];

/// Rounds of eight checks, each a transaction that is on the disk when it is over.
pub(super) fn recording() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let directory = TempDir::new().unwrap();
    let record = runtime.block_on(Record::open(directory.path())).unwrap();
    let mut times = Vec::new();
    for round in 0..600 {
        let batch = batch(round);
        let started = Instant::now();
        runtime.block_on(record.keep(&batch)).unwrap();
        times.push(started.elapsed());
    }
    let round = median(times);
    let rate = CHECKS.len() as f64 / round.as_secs_f64();
    row("runs recorded a second, in rounds of eight", &format!("{rate:.0} ({} a round)", millis(round)), "");
}

/// From the verdict until Slack has read the request: the decision, the transaction, the worker.
pub(super) fn telling() {
    const MESSAGES: usize = 300;
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let directory = TempDir::new().unwrap();
    let slack = SlackDouble::start().unwrap();
    // A channel each, since a channel gets one message a second.
    std::fs::write(directory.path().join("webhook"), slack.webhook("bench")).unwrap();
    let channels: String =
        (0..MESSAGES).map(|at| format!("[slack.channels.\"#c{at}\"]\nwebhook_file = \"webhook\"\n")).collect();
    let mut config = Config::parse(&channels).unwrap();
    config.directory = directory.path().to_owned();
    let record = runtime.block_on(Record::open(directory.path())).unwrap();
    let receivers = runtime.block_on(Receivers::find(&config, [], &BTreeSet::new())).unwrap();
    let delivery = Delivery::new(record.clone(), receivers, config.delivery.clone(), Default::default());
    runtime.spawn(delivery.clone().run());
    let mut times: Vec<Duration> = (0..MESSAGES)
        .map(|at| {
            let mut batch = batch(at);
            let notification = alert::Notification { channel: format!("#c{at}"), ..alert::Notification::default() };
            let started = Instant::now();
            batch.messages.push(NewMessage {
                id: alert::id(&format!("{at}")),
                receiver: notification.channel.clone(),
                title: "bench".to_owned(),
                notification: serde_json::to_string(&notification).unwrap(),
                created: Timestamp::now(),
                checks: notification.checks(),
            });
            runtime.block_on(record.keep(&batch)).unwrap();
            delivery.wake();
            slack.wait_for(at + 1).unwrap();
            slack.requests()[at].at - started
        })
        .collect();
    times.sort_unstable();
    let shown = format!("{} / {}", millis(times[MESSAGES / 2]), millis(times[MESSAGES * 99 / 100]));
    row("from verdict to request at Slack, p50 / p99", &shown, "");
}

/// The disk space of a million runs, and the time to look something up in them.
pub(super) fn million() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let sample = Sample::new(None).unwrap();
    let directory = sample.path().join("state");
    runtime.block_on(async {
        let record = Record::open(&directory).await.unwrap();
        for block in 0..1250 {
            let mut many = batch(block * 100);
            many.runs.extend((1..100).flat_map(|round| batch(block * 100 + round).runs));
            record.keep(&many).await.unwrap();
        }
        record.close().await;
    });
    let size = std::fs::metadata(directory.join("host.db")).unwrap().len();
    row("state file after 1,000,000 runs", &format!("{:.0} MB ({} B a run)", size as f64 / 1e6, size / 1_000_000), "");
    let show = |arguments: &[&str]| {
        let times = (0..15).map(|_| {
            let started = Instant::now();
            let ended = ended(sample.command().arg("history").args(arguments)).unwrap();
            assert_eq!(ended.code, 0, "{ended:?}");
            started.elapsed()
        });
        millis(median(times.collect()))
    };
    row("`host history` on it, whole process", &show(&[]), "");
    row("`host history phase2-raw`, whole process", &show(&["phase2-raw"]), "");
}

/// A round as the sample's is: reports and calls of the usual size.
pub(super) fn batch(round: usize) -> Batch {
    let due = Timestamp::UNIX_EPOCH + SignedDuration::from_mins(30 * i64::try_from(round).unwrap());
    let metric =
        |name: &str| json!({ "name": name, "value": 120.0, "min": 40.0, "max": null, "below": null, "unit": null });
    let report = json!({
        "verdict": "pass",
        "summary": "games 5, player_records 120, null_player_names 0, null_team_abbrs 0",
        "metrics": [metric("games"), metric("player_records"), metric("null_player_names"), metric("null_team_abbrs")],
        "violations": [],
        "unknown": [],
        "gate": null,
    });
    let asked = "SELECT COUNT(DISTINCT game_id) AS games, COUNT(*) AS player_records, COUNTIF(player_name IS NULL) AS null_player_names, COUNTIF(team_abbr IS NULL) AS null_team_abbrs FROM nba_raw.nbac_player_boxscore WHERE game_date = @date";
    let calls = json!([{ "name": "warehouse.query", "asked": asked, "bytes": 0, "seconds": 0.004_2, "error": null }]);
    let (report, calls) = (report.to_string(), calls.to_string());
    let runs = CHECKS.map(|check| NewRun {
        check: check.to_owned(),
        plugin: Some(PluginKey {
            name: check.to_owned(),
            version: "0.1.0".to_owned(),
            digest: format!("sha256:{check}"),
        }),
        due,
        data_date: due.to_zoned(jiff::tz::TimeZone::UTC).date(),
        attempt: 1,
        past: false,
        status: "pass",
        summary: "games 5, player_records 120, null_player_names 0, null_team_abbrs 0".to_owned(),
        report: Some(report.clone()),
        evidence: None,
        error: None,
        seconds: 0.01,
        calls: calls.clone(),
        left_out: false,
        cut: None,
        tape: None,
    });
    Batch { runs: runs.into(), recorded: Timestamp::now(), ..Batch::default() }
}
