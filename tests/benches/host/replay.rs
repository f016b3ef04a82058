//! What recorded answers cost a run, and how fast recorded runs are run again.

use std::{path::PathBuf, sync::Arc, time::Instant};

use host::{
    capability::{Event, Heard, Tape},
    config::{Budgets, Keeping},
    package::Digest,
    plugin::Origin,
    record::{Batch, Record},
    run::{Given, Keeper, Moment, Run, Tapes},
};
use tempfile::TempDir;

use super::{
    median, micros,
    record::batch,
    row,
    support::{
        AT,
        command::{Sample, ended, shipped},
    },
};

/// Runs that are run again.
const RUNS: usize = 3000;

/// `host replay` of a canary in Rust, whole process, of one run and of many: the difference is that of the runs.
pub(super) fn replays() {
    let sample = Sample::new(None).unwrap();
    let toml = std::fs::read_to_string(sample.path().join("host.toml")).unwrap();
    let kept = toml.replace("keep = \"90d\"", "keep = \"40000d\"") + "\n[record]\nanswers = \"40000d\"\n";
    sample.configure(&kept).unwrap();
    ended(sample.command().args(["run", "--once", "--at", AT]).args(shipped().unwrap())).unwrap();
    let more = format!(
        "WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {RUNS}) \
         INSERT INTO tapes SELECT check_name, data_date, due + n, attempt, digest, moment, script, outcome, why, recorded FROM tapes, numbers \
         WHERE check_name = 'phase2-raw'"
    );
    rusqlite::Connection::open(sample.path().join("state/host.db")).unwrap().execute(&more, []).unwrap();
    let one = format!("2026-02-05@{AT}-1");
    let timed = |arguments: &[&str]| {
        let started = Instant::now();
        let again = ended(sample.command().args(["replay", "phase2-raw"]).args(arguments)).unwrap();
        assert_eq!(again.code, 0, "{again:?}");
        started.elapsed()
    };
    let (mut single, mut all) = (Vec::new(), Vec::new());
    for _ in 0..5 {
        single.push(timed(&["--run", &one]));
        all.push(timed(&[]));
    }
    let runs = median(all).saturating_sub(median(single));
    row(
        "recorded runs of a canary in Rust, run again a second",
        &format!("{:.0} ({} a run)", RUNS as f64 / runs.as_secs_f64(), micros(runs / u32::try_from(RUNS).unwrap())),
        "≥ 500",
    );
}

/// Rounds of eight runs with the answers of a canary, which differ in every fourth round, and without, in turn.
pub(super) fn answers() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let keeper = Keeper::new(b"a key for a benchmark");
    let places = [TempDir::new().unwrap(), TempDir::new().unwrap()];
    let records = [0, 1].map(|at: usize| runtime.block_on(Record::open(places[at].path())).unwrap());
    let (mut plain, mut taped, mut made) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..400 {
        let without = batch(round);
        let run = answered(i64::try_from(round / 4).unwrap());
        let started = Instant::now();
        let tapes: Vec<_> = (0..8).map(|_| keeper.tape(&run, |_| Keeping::On).unwrap().map(Arc::new)).collect();
        made.push(started.elapsed());
        let runs = without.runs.iter().cloned().zip(tapes);
        let runs = runs.map(|(run, tape)| host::record::NewRun { tape, ..run }).collect();
        let with = Batch { runs, answers_per_day: u64::MAX, recorded: without.recorded, ..Batch::default() };
        for (record, batch, times) in [(&records[0], &without, &mut plain), (&records[1], &with, &mut taped)] {
            let started = Instant::now();
            runtime.block_on(record.keep(batch)).unwrap();
            times.push(started.elapsed());
        }
    }
    let more = (median(taped) + median(made)).saturating_sub(median(plain));
    for record in records {
        runtime.block_on(record.close());
    }
    let size = |at: usize| std::fs::metadata(places[at].path().join("host.db")).unwrap().len();
    let bytes = size(1).saturating_sub(size(0)) / (400 * 8);
    row("recorded answers, a run", &format!("{} and {bytes} B", micros(more / 8)), "");
}

/// A run of a canary with one query, whose answer depends on a number.
fn answered(number: i64) -> Run {
    let names = ["games", "player_records", "null_player_names", "null_team_abbrs"];
    let answer = names.map(|name| format!("{name} INT64 {number}")).join("\n");
    let event = Event {
        name: "warehouse.query".to_owned(),
        question: "SELECT COUNT(DISTINCT game_id) AS games, COUNT(*) AS player_records FROM nba_raw.nbac_player_boxscore WHERE game_date = @date\n@date DATE Date(\"2026-02-05\")".to_owned(),
        sources: ["nba_raw".to_owned()].into(),
        heard: Heard::Later(1),
        answer: Some(answer.into_bytes()),
    };
    let zone = host::config::Config::default().timezone;
    let moment = Moment::new(AT.parse().unwrap(), "2026-02-05".parse().unwrap(), &zone).unwrap();
    let tape = Tape { events: vec![event], ..Tape::default() };
    let given = Given {
        moment,
        settings: "{\"min_games\":2}".to_owned(),
        channel: "#canary-alerts".to_owned(),
        budgets: Budgets::default(),
        skip: None,
    };
    let plugin = Origin {
        name: "phase2-raw".to_owned(),
        version: "0.1.0".to_owned(),
        digest: Digest::of(b"phase2-raw"),
        path: PathBuf::new(),
    };
    Run {
        plugin: Some(plugin),
        tapes: Tapes { skip: None, plugin: Some(tape) },
        given: Some(Box::new(given)),
        ..super::dates::run("phase2-raw", AT.parse().unwrap(), "2026-02-05".parse().unwrap(), false, false)
    }
}
