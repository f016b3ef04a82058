//! What BigQuery's protocol costs: the host's own part of a query, rows into a guest, and checks that wait side by side.

use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::{
    median, millis, row,
    support::{
        AT,
        google::{
            asking,
            bigquery::{BigQueryDouble, row as values},
        },
        watched::Watched,
    },
    timed,
};

fn watched(bigquery: &BigQueryDouble, plugins: &[&str], guests: &[&str], more: &str) -> Watched {
    let google = "[google]\ncredentials = \"none\"\n";
    let toml = asking(&format!("{google}{}", bigquery.warehouse())) + more;
    Watched::with_guests(plugins, guests, |_| toml.clone()).unwrap()
}

/// A canary's run on a server that answers at once, so that only the host's own time and the loopback remain. The
/// estimate is cached after the first run, so each run requests a table's version, a job and its answer.
pub(super) fn one_query() {
    let bigquery = BigQueryDouble::start().unwrap();
    let watched = watched(&bigquery, &["phase2-raw"], &[], "");
    let (mut whole, mut own) = (Vec::new(), Vec::new());
    for at in 0..400 {
        bigquery.busy();
        let time = timed(|| assert_eq!(watched.run_alone("phase2-raw").unwrap().error, None));
        if at >= 50 {
            whole.push(time);
            own.push(time.saturating_sub(bigquery.busy()));
        }
    }
    let (whole, own) = (median(whole), median(own));
    row(
        "a canary's run on BigQuery's protocol, the server's time and the record of bytes included / the host's own",
        &format!("{} / {}", millis(whole), millis(own)),
        "",
    );
}

/// A hundred thousand rows of three columns, two pages, from the first request until the guest has added them up.
pub(super) fn many_rows() {
    const ROWS: usize = 100_000;
    let bigquery = BigQueryDouble::start().unwrap();
    let rows = (0..ROWS).map(|n| values(&[n.to_string(), format!("player-{n}"), "12.5".to_owned()].map(Value::from)));
    bigquery.holds(&[("n", "INTEGER"), ("player", "STRING"), ("score", "FLOAT")], rows.collect(), usize::MAX);
    let check = "\n[checks.rows]\nplugin = \"misbehaving\"\nsettings = { behaviour = \"add up\", sql = \"SELECT n, player, score FROM nba_raw.t\" }\n[grants.misbehaving]\nwarehouse = [\"nba_raw\"]\nslack = [\"#canary-alerts\"]\n";
    let watched = watched(&bigquery, &[], &["misbehaving"], check);
    let mut times = Vec::new();
    for _ in 0..9 {
        bigquery.busy();
        let started = Instant::now();
        let run = watched.run_alone("rows").unwrap();
        let time = started.elapsed().saturating_sub(bigquery.busy());
        assert!(run.summary().starts_with("100000 rows"), "{}", run.summary());
        times.push(time);
    }
    let time = median(times);
    let rate = ROWS as f64 / time.as_secs_f64();
    row(
        "rows a second from a BigQuery answer into a guest, the server's time left out",
        &format!("{rate:.0} ({} for {ROWS} of three columns)", millis(time)),
        "",
    );
}

/// Eight checks on a server that takes 50 ms for each answer.
pub(super) fn side_by_side() {
    let bigquery = BigQueryDouble::start().unwrap();
    let names = [
        "deployment-drift",
        "phase1-scrapers",
        "phase2-gate",
        "phase2-raw",
        "phase3-analytics",
        "phase4-precompute",
        "phase5-predictions",
        "phase6-publishing",
    ];
    let watched = watched(&bigquery, &names, &[], "");
    bigquery.delay(Duration::from_millis(50));
    let start: Timestamp = AT.parse().unwrap();
    let (mut together, mut alone) = (Vec::new(), Vec::new());
    for round in 0..7 {
        let at = start + SignedDuration::from_mins(2 * round);
        together.push(timed(|| watched.round(&names, at).unwrap()));
        let at = at + SignedDuration::from_mins(1);
        alone.push(timed(|| names.iter().for_each(|name| drop(watched.round(&[name], at).unwrap()))));
    }
    let (together, alone) = (median(together), median(alone));
    row(
        "eight checks one at a time / at once, each answer of BigQuery after 50 ms",
        &format!("{} / {} = {:.1}", millis(alone), millis(together), alone.as_secs_f64() / together.as_secs_f64()),
        "",
    );
}
