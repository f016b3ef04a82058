//! Recorded answers, and runs that are run again on them.

use std::{fmt::Write as _, fs, path::Path};

use rusqlite::Connection;
use serde_json::Value;

use crate::support::{
    AT,
    command::{Ended, Sample, ended, guest, python_plugin, shipped},
    sized,
};

/// A sample with the misbehaving plugin as checks of these names and settings, and more lines of host.toml.
fn misbehaving(checks: &[(&str, &str)], more: &str) -> Sample {
    let sample = Sample::new(None).unwrap();
    let mut toml = String::from(
        "timezone = \"America/New_York\"\n[slack]\ndeliver = \"console\"\n[warehouse]\nkind = \"sqlite\"\npath = \"warehouse\"\n\
         [git.pipeline]\npath = \"repository\"\nbranch = \"main\"\n[deployments]\nkind = \"file\"\npath = \"deployments.json\"\n\
         [state]\nkeep = \"40000d\"\n[scheduler]\nretries = 0\n[grants.misbehaving]\nwarehouse = [\"nba_raw\"]\ngit = [\"pipeline\"]\n\
         deployments = [\"*\"]\nslack = [\"#canary-alerts\"]\n",
    );
    if !more.contains("[record]") {
        toml += "[record]\nanswers = \"40000d\"\n";
    }
    for (name, settings) in checks {
        let _ = writeln!(toml, "[checks.{name}]\nplugin = \"misbehaving\"\nsettings = {{ {settings} }}");
    }
    sample.configure(&format!("{toml}{more}\n")).unwrap();
    sample
}

/// `host run --once` with the misbehaving plugin.
fn once(sample: &Sample) -> Ended {
    ended(sample.command().args(["run", "--once", "--at", AT]).arg(guest("misbehaving"))).unwrap()
}

fn replay(sample: &Sample, arguments: &[&str]) -> Ended {
    sample.host(&[&["replay"], arguments].concat()).unwrap()
}

fn record(sample: &Sample) -> Connection {
    Connection::open(sample.path().join("state/host.db")).unwrap()
}

fn change(sample: &Sample, sql: &str) {
    assert!(record(sample).execute(sql, []).unwrap() > 0, "{sql}");
}

fn rows(sample: &Sample, table: &str) -> i64 {
    record(sample).query_row(&format!("SELECT COUNT(*) FROM {table}"), [], |row| row.get(0)).unwrap()
}

/// Days of the shipped checks and of one in Python, thirty in `cargo xtask interop`, with faults on some of them: each run is the same
/// again, though its data and its repository are gone.
#[test]
fn days_of_runs_are_the_same_again() {
    let days = sized(30, 12);
    let sample = Sample::new(None).unwrap();
    let host_toml = fs::read_to_string(sample.path().join("host.toml")).unwrap();
    let kept = host_toml.replace("keep = \"90d\"", "keep = \"40000d\"");
    sample.configure(&format!("{kept}\n[record]\nanswers = \"40000d\"\n")).unwrap();
    let faults = [
        ("nba_raw", "UPDATE nbac_player_boxscore SET player_name = NULL WHERE rowid % 3 = 0"),
        ("nba_analytics", "DELETE FROM player_game_summary WHERE rowid % 2 = 0"),
        ("nba_reference", "DELETE FROM nba_schedule WHERE rowid % 5 = 0"),
    ];
    for day in 0..days {
        let third = days / faults.len();
        if day % third == third / 2 {
            let (dataset, sql) = faults[day / third];
            sample.sql(dataset, sql).unwrap();
        }
        let half = days / 2;
        let at =
            format!("2026-02-{:02}T{:02}:30:00Z", 1 + day % half * 14 / (half - 1), if day < half { 11 } else { 19 });
        let mut command = sample.command();
        command.args(["run", "--once", "--at", &at]).args(shipped().unwrap()).arg(python_plugin());
        assert!(ended(&mut command).unwrap().code <= 3);
    }
    for gone in ["warehouse", "repository"] {
        fs::remove_dir_all(sample.path().join(gone)).unwrap();
        fs::create_dir(sample.path().join(gone)).unwrap();
    }
    let checks = [
        "deployment-drift",
        "phase1-scrapers",
        "phase2-gate",
        "phase2-raw",
        "phase3-analytics",
        "phase4-precompute",
        "phase5-predictions",
        "phase6-publishing",
        "predicted-players",
        "weekly-signals",
    ];
    let mut statuses = std::collections::BTreeSet::new();
    for check in checks {
        let again = replay(&sample, &[check, "--output", "json"]);
        assert_eq!(again.code, 0, "{again:?}");
        let all = again.json();
        assert!(all["runs"].as_array().unwrap().len() >= days, "{check}");
        for run in all["runs"].as_array().unwrap() {
            assert_eq!(run["result"], "same", "{check}: {run}");
            statuses.insert(run["now"]["status"].as_str().unwrap().to_owned());
        }
    }
    assert!(statuses.len() >= 3, "they tell more than one thing: {statuses:?}");
}

/// Answers come in an order of their own, some are called off, and a guest may sleep: all of that is repeated.
#[test]
fn the_order_of_answers_is_repeated() {
    let sql = "SELECT AT AS n, COUNT(*) AS c FROM nba_raw.nbac_player_boxscore AS a, nba_raw.nbac_player_boxscore AS b \
        WHERE LENGTH(a.player_name) > AT";
    let order = format!("behaviour = \"say the order\", count = 12, sql = \"{sql}\"");
    let dropped = "behaviour = \"drop what was asked\", count = 5";
    let all =
        "behaviour = \"ask everything at once\", sql = \"SELECT COUNT(*) AS n FROM nba_raw.nbac_player_boxscore\"";
    // The same question for each, since a comment is none of it; and more than may be asked at once, so that some are refused at once.
    let equal = "behaviour = \"say the order\", count = 110, sql = \"SELECT COUNT(*) AS c FROM nba_raw.nbac_player_boxscore -- AT\"";
    let denied = "behaviour = \"swallow an error\", sql = \"SELECT 1 AS n FROM secret.t\"";
    let checks = [("order", &*order), ("dropped", dropped), ("all", all), ("equal", equal), ("denied", denied)];
    let sample = misbehaving(&checks, "");
    for _ in 0..5 {
        once(&sample);
    }
    for check in checks.map(|(name, _)| name) {
        let again = replay(&sample, &[check]);
        assert_eq!(again.code, 0, "{check}: {again:?}");
        assert!(again.out.contains("5 recorded runs: 5 same, byte for byte."), "{again:?}");
    }
}

/// A plugin that sees more of the time than the order of its answers is not the same again, and that is said.
#[test]
fn a_plugin_that_polls_is_noticed() {
    let sql = "SELECT COUNT(*) AS n FROM nba_raw.nbac_player_boxscore";
    let sample = misbehaving(&[("polls", &format!("behaviour = \"count the polls\", sql = \"{sql}\""))], "");
    let ran = once(&sample);
    assert_eq!(ran.code, 0, "it gets its answer: {ran:?}");
    let again = replay(&sample, &["polls"]);
    assert_eq!(again.code, 1, "{again:?}");
    assert!(again.out.contains("1 says something else, though nothing changed"), "{again:?}");
    assert!(again.out.contains("the report: then") && again.out.contains("polls"), "{again:?}");
}

/// What another setting would have said, and how many messages people would have had.
#[test]
fn other_settings_show_what_they_would_have_said() {
    let sample = Sample::new(None).unwrap();
    let host_toml = fs::read_to_string(sample.path().join("host.toml")).unwrap();
    let kept = host_toml.replace("keep = \"90d\"", "keep = \"40000d\"") + "\n[record]\nanswers = \"40000d\"\n";
    sample.configure(&kept).unwrap();
    for hour in ["09", "10", "11"] {
        let mut command = sample.command();
        let at = format!("2026-02-06T{hour}:30:00Z");
        assert_eq!(ended(command.args(["run", "--once", "--at", &at]).args(shipped().unwrap())).unwrap().code, 0);
    }
    let same = replay(&sample, &["phase2-raw", "--set", "min_games=2"]);
    assert!(same.code == 0 && same.out.contains("3 would say the same"), "{same:?}");
    assert!(same.out.contains("0 messages for what ran then, 0 messages with this"), "{same:?}");
    let other = replay(&sample, &["phase2-raw", "--set", "min_games=1000"]);
    assert_eq!(other.code, 1, "{other:?}");
    for words in ["pass", "fail", "new: games is below its minimum: 5 < 1000", "3 would say something else"] {
        assert!(other.out.contains(words), "{words}: {other:?}");
    }
    // Three rounds are one message: the policy is the real one.
    assert!(other.out.contains("0 messages for what ran then, 1 message with this"), "{other:?}");
    let newer = fs::read_to_string(sample.path().join("host.toml")).unwrap();
    let told = replay(&sample, &["phase2-raw", "--set", "min_games=1000", "--output", "json"]).json();
    assert_eq!(told["messages"]["now"].as_array().unwrap().len(), 1, "{told}");
    assert_eq!(told["runs"][0]["then"]["verdict"], Value::from("pass"), "{told}");
    let junit = replay(&sample, &["phase2-raw", "--set", "min_games=1000", "--output", "junit"]).out;
    assert!(junit.contains("tests=\"3\" failures=\"3\""), "{junit}");
    // Of another table nothing was asked then.
    let asked = replay(&sample, &["phase2-raw", "--set", "table=nba_raw.other"]);
    assert!(asked.code == 3 && asked.out.contains("it asks what was not asked then: warehouse.query"), "{asked:?}");
    let other = shipped().unwrap().into_iter().find(|path| path.ends_with("phase3-analytics.wasm")).unwrap();
    let other = other.to_str().unwrap();

    // Mistakes of the command line.
    for (arguments, words) in [
        (&["phase2-ra"][..], "did you mean `phase2-raw`?"),
        (&["phase2-raw", "--set", "min_gamez=1"], "there is no setting min_gamez; did you mean `min_games`?"),
        (&["phase2-raw", "--set", "min_games"], "KEY=VALUE"),
        (&["phase2-raw", "--run", "2026-02-05"], "no run 2026-02-05 of phase2-raw is recorded with its answers"),
        (&["phase2-raw", "--plugin", "nothing.wasm"], "nothing.wasm"),
        (&["phase2-raw", "--plugin", other], "phase2-raw runs the plugin phase2-raw; "),
    ] {
        let refused = replay(&sample, arguments);
        assert!(refused.code == 64 && refused.err.contains(words), "{arguments:?}: {refused:?}");
    }
    let one = replay(&sample, &["phase2-raw", "--run", "2026-02-05@2026-02-06T10:30:00Z-1"]);
    assert!(one.code == 0 && one.out.contains("1 recorded run: 1 same"), "{one:?}");

    // A replay is no way round a grant, and what is not granted any more does not stay.
    sample
        .configure(
            &newer.replace("[grants.phase2-raw]\nwarehouse = [\"nba_raw\"]", "[grants.phase2-raw]\nwarehouse = []"),
        )
        .unwrap();
    let denied = replay(&sample, &["phase2-raw"]);
    assert!(denied.code == 1 && denied.out.contains("3 ask what is not granted today"), "{denied:?}");
    let nothing = newer.replace("nba_raw\"", "nba_other\"");
    sample.configure(&nothing).unwrap();
    ended(sample.command().args(["run", "--once", "--at", AT]).args(shipped().unwrap())).unwrap();
    let gone = replay(&sample, &["phase2-raw"]);
    assert!(gone.out.contains("nba_raw is not granted any more"), "{gone:?}");
}

/// Why a run cannot be run again is said, for each of them.
#[test]
fn what_cannot_be_run_again_is_said_with_its_reason() {
    let query = "behaviour = \"query\", sql = \"SELECT COUNT(*) AS n FROM nba_raw.nbac_player_boxscore\"";
    let spin = "behaviour = \"spin\"";
    // The settings, lines of host.toml, and the reason.
    for (settings, more, reason) in [
        (spin, "[grants.misbehaving.budgets]\ncpu = \"100ms\"", "it was ended by budgets.cpu"),
        (query, "[record]\nanswers_per_run = \"10 B\"", "larger than record.answers_per_run"),
        (query, "[record]\nanswers_per_day = \"10 B\"", "more than record.answers_per_day"),
        (
            query,
            "[record]\ndatasets = { nba_raw = \"off\" }",
            "the answers of nba_raw are not recorded (record.datasets)",
        ),
        (query, "[record]\ndatasets = { nba_raw = \"digest\" }", "only digests of the answers of nba_raw are kept"),
    ] {
        let more = more.replace("[record]\n", "[record]\nanswers = \"40000d\"\n");
        let sample = misbehaving(&[("it", settings)], &more);
        once(&sample);
        let again = replay(&sample, &["it"]);
        assert!(again.code == 3 && again.out.contains(reason), "{reason}: {again:?}");
        if more.contains("digest") {
            let kept: i64 = record(&sample)
                .query_row(
                    "SELECT COUNT(*) FROM answers JOIN answer_sources ON answer_id = id WHERE source = 'nba_raw' AND content IS NOT NULL",
                    [],
                    |row| row.get(0),
                )
                .unwrap();
            assert_eq!((kept, rows(&sample, "answers") > 1), (0, true), "only digests");
        }
    }
    let off = misbehaving(&[("it", query)], "[record]\nanswers = \"off\"");
    once(&off);
    let refused = replay(&off, &["it"]);
    assert!(refused.code == 64 && refused.err.contains("[record] answers is off"), "{refused:?}");
    assert_eq!((rows(&off, "tapes"), rows(&off, "answers")), (0, 0));
    let wrong = misbehaving(&[("it", query)], "[record]\ndatasets = { nba_rwa = \"off\" }");
    assert!(once(&wrong).err.contains("no plugin is granted a dataset nba_rwa; did you mean `nba_raw`?"));
}

/// A version or settings that do not end would say something else, whatever the machine.
#[test]
fn new_settings_that_never_end_are_a_change() {
    let query = "behaviour = \"query\", sql = \"SELECT COUNT(*) AS n FROM nba_raw.nbac_player_boxscore\"";
    let sample = misbehaving(&[("it", query)], "[grants.misbehaving.budgets]\ncpu = \"300ms\"");
    once(&sample);
    let spins = replay(&sample, &["it", "--set", "behaviour=spin"]);
    assert!(spins.code == 1 && spins.out.contains("1 would say something else"), "{spins:?}");
    let junit = replay(&sample, &["it", "--set", "behaviour=spin", "--output", "junit"]).out;
    assert!(junit.contains("failures=\"1\""), "{junit}");
}

/// What is purged is in no byte of the record, and what was kept as a digest is kept whole once host.toml says so.
#[test]
fn what_is_kept_follows_the_configuration() {
    let query = "behaviour = \"query\", sql = \"SELECT player_name AS n FROM nba_raw.nbac_player_boxscore\"";
    let kept = |how: &str| format!("[record]\nanswers = \"40000d\"\ndatasets = {{ nba_raw = \"{how}\" }}");
    let sample = misbehaving(&[("it", query)], &kept("digest"));
    let digest = fs::read_to_string(sample.path().join("host.toml")).unwrap();
    let on = digest.replace(&kept("digest"), &kept("on"));
    once(&sample);
    sample.configure(&on).unwrap();
    once(&sample);
    let again = replay(&sample, &["it"]);
    assert!(again.out.contains("1 same, byte for byte") && again.out.contains("only digests"), "{again:?}");

    let answer: Vec<u8> = record(&sample)
        .query_row("SELECT content FROM answers JOIN answer_sources ON answer_id = id WHERE source = 'nba_raw' ORDER BY bytes DESC", [], |row| row.get(0))
        .unwrap();
    // Short enough to be on one page.
    let end = &answer[answer.len() - 24..];
    let is_there = || {
        let files = fs::read_dir(sample.path().join("state")).unwrap().flatten();
        files
            .filter_map(|file| fs::read(file.path()).ok())
            .any(|bytes| bytes.windows(end.len()).any(|part| part == end))
    };
    assert!(is_there(), "it is what is looked for");
    sample.configure(&digest).unwrap();
    once(&sample);
    assert!(!is_there(), "it was purged");
    let again = replay(&sample, &["it"]);
    let said = "not replayable: only digests of the answers of nba_raw are kept (record.datasets)";
    assert!(again.code == 3 && again.out.contains(said), "{again:?}");
    assert!(again.out.contains("3 cannot be run again"), "{again:?}");
}

/// Answers that are damaged, gone or purged are clear errors; the runs themselves stay.
#[test]
fn answers_that_are_gone_are_missed() {
    let query = "behaviour = \"query\", sql = \"SELECT COUNT(*) AS n FROM nba_raw.nbac_player_boxscore\"";
    type Way = (fn(&Sample), &'static str);
    let ways: [Way; 4] = [
        (|sample| change(sample, "UPDATE answers SET content = X'00'"), "damaged in the record"),
        (|sample| change(sample, "DELETE FROM answers"), "not recorded"),
        (|sample| fs::remove_dir_all(stored(sample)).unwrap(), "is not kept any more; name a file with --plugin"),
        (
            |sample| {
                let unknown = sample.host(&["state", "purge", "--dataset", "nba_rew"]).unwrap();
                assert!(unknown.code == 64 && unknown.err.contains("did you mean `nba_raw`?"), "{unknown:?}");
                let purged = sample.host(&["state", "purge", "--dataset", "nba_raw"]).unwrap();
                assert!(purged.code == 0 && purged.out.contains("1 run cannot be replayed"), "{purged:?}");
                assert_eq!(rows(sample, "answers"), 0);
            },
            "its answers were removed with `host state purge`",
        ),
    ];
    for (way, words) in ways {
        let sample = misbehaving(&[("it", query)], "");
        assert_eq!(once(&sample).code, 0);
        assert_eq!(replay(&sample, &["it"]).code, 0);
        way(&sample);
        let again = replay(&sample, &["it"]);
        assert!(again.code == 3 && again.out.contains(words), "{words}: {again:?}");
        assert_eq!(rows(&sample, "runs"), 1);
    }
    let sample = misbehaving(&[("it", query)], "");
    once(&sample);
    let purged = sample.host(&["state", "purge", "--before", "9000-01-01"]).unwrap();
    assert_eq!((purged.code, rows(&sample, "answers"), rows(&sample, "tapes"), rows(&sample, "runs")), (0, 0, 0, 1));
}

/// An answer that stays the same is kept once, and nothing but a replay shows it.
#[test]
fn an_answer_is_kept_once_and_shown_nowhere() {
    let sql = "SELECT 'a very secret name' AS n FROM nba_raw.nbac_player_boxscore LIMIT 1";
    let sample = misbehaving(&[("it", &format!("behaviour = \"add up\", sql = \"{sql}\""))], "");
    once(&sample);
    let before = rows(&sample, "answers");
    for _ in 0..3 {
        once(&sample);
    }
    assert_eq!((rows(&sample, "answers"), rows(&sample, "tapes")), (before, 4));
    let shown = sample.host(&["history", "--output", "json"]).unwrap().out;
    // The question is, the answer is not.
    assert_eq!(shown.replace(sql, "").matches("a very secret name").count(), 0, "{shown}");
    let live = replay(&sample, &["it", "--set", "sql='SELECT 1 AS n'", "--live"]);
    assert!(live.code == 1 && live.out.contains("4 were answered in part today"), "marked: {live:?}");
}

fn stored(sample: &Sample) -> impl AsRef<Path> {
    sample.path().join("state/host.plugins")
}

/// A denied query leaves no trace of what it names, and a purge by day leaves what later runs need.
#[test]
fn what_later_runs_need_is_not_purged() {
    let query = "behaviour = \"query\", sql = \"SELECT COUNT(*) AS n FROM nba_raw.nbac_player_boxscore\"";
    let denied = "behaviour = \"swallow an error\", sql = \"SELECT 1 AS n FROM secret.t\"";
    let sample = misbehaving(&[("denied", denied), ("it", query)], "");
    once(&sample);
    once(&sample);
    assert_eq!(rows(&sample, "answer_sources WHERE source = 'secret'"), 0);
    let today = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).date();
    let midnight = today.to_zoned(jiff::tz::TimeZone::UTC).unwrap().timestamp().as_millisecond();
    // The first run was late yesterday, and the answer was marked then.
    change(&sample, &format!("UPDATE tapes SET recorded = {} WHERE attempt = 1", midnight - 1));
    change(&sample, &format!("UPDATE answers SET used = {}", midnight - 1));
    let purged = sample.host(&["state", "purge", "--before", &today.to_string()]).unwrap();
    assert!(purged.code == 0 && purged.out.contains("2 runs cannot be replayed"), "{purged:?}");
    let again = replay(&sample, &["it"]);
    assert!(again.code == 0 && again.out.contains("1 recorded run: 1 same"), "{again:?}");
}
