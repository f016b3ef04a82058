//! A plugin that asks for far more than it may, through the built host and seen from outside: threads, memory and time of the
//! process stay within limits, everything ends with the run, and the other checks are not affected.

use std::{
    fs,
    process::Command,
    time::{Duration, Instant},
};

use host_tests::{Fault, HOST_TOML, Moment, make_code};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::google::on_cloud_run;
use crate::support::{
    AT, CANARIES, alone, an_hour_ago,
    command::{Ended, Sample, ended, guest, shipped},
    google::{asking, bigquery::BigQueryDouble, deployed},
    process::{Busy, Peak, computed, watched},
    say,
    service::{Service, install},
    slack::words,
};

const MIB: usize = 1 << 20;
const TABLE: &str = "nba_raw.nbac_player_boxscore";

/// The grants of the misbehaving plugin, with its own budgets.
fn granted(budgets: &str) -> String {
    format!(
        "\n[grants.misbehaving]\nwarehouse = ['nba_raw']\ngit = ['pipeline']\ndeployments = ['*']\n\
         slack = ['#canary-alerts']\nbudgets = {{ {budgets} }}\n"
    )
}

/// A check of the misbehaving plugin; `settings` are further ones.
fn hostile(name: &str, behaviour: &str, settings: &str) -> String {
    format!("[checks.{name}]\nplugin = 'misbehaving'\nsettings = {{ behaviour = '{behaviour}'{settings} }}\n")
}

/// `host run --once` with all shipped plugins and the misbehaving one.
fn once(sample: &Sample, at: &str, checks: &[&str]) -> Command {
    let mut command = sample.command();
    command
        .args(["run", "--once", "--at", at, "--output", "json"])
        .args(checks.iter().flat_map(|name| ["--check", name]));
    command.args(shipped().unwrap()).arg(guest("misbehaving"));
    command
}

fn error(run: &Value) -> &str {
    run["error"].as_str().unwrap_or_default()
}

fn passes(ended: &Ended, checks: &[&str]) {
    for check in checks {
        assert_eq!(ended.run(check)["status"], "pass", "{check}: {:#}", ended.run(check));
    }
}

/// 30,000 commits; a plugin that asks a hundred times for all of them, and one that begins four hundred walks and waits for
/// none.
#[test]
fn a_git_storm_is_bounded_and_ends_with_its_run() {
    let _alone = alone();
    let sample = Sample::now(None).unwrap();
    fs::remove_dir_all(sample.path().join("repository")).unwrap();
    make_code(sample.path(), &Moment::new(Timestamp::now()).unwrap(), 30_000).unwrap();
    install(&sample, &["misbehaving"]).unwrap();
    install(&sample, &[]).unwrap();
    let toml = format!(
        "{HOST_TOML}{}{}{}",
        granted("timeout = '4s', cpu = '20s'"),
        hostile("asks", "ask for the whole history", ""),
        hostile("drops", "drop what was asked", ", count = 400"),
    );
    sample.configure(&toml).unwrap();
    // An hour ago, so that they are due again at once.
    let before = an_hour_ago();
    let (storms, honest) = (["asks", "drops"], ["phase2-raw", "deployment-drift"]);
    let all = [storms, honest].concat();
    let (quiet, usual) = watched(&mut once(&sample, &before, &honest)).unwrap();
    passes(&quiet, &honest);
    let (stormy, peak) = watched(&mut once(&sample, &before, &all)).unwrap();
    passes(&stormy, &honest);
    say(&format!(
        "git storm: {} MiB and {} threads, alone {} and {}",
        peak.memory / MIB,
        peak.threads,
        usual.memory / MIB,
        usual.threads
    ));
    assert!(peak.memory < usual.memory + 200 * MIB, "{peak:?}, alone {usual:?}");
    // One plugin has four of them; the rest belongs to the runtimes.
    assert!(peak.threads <= usual.threads + 12, "{peak:?}, alone {usual:?}");
    let asks = stormy.run("asks");
    let over = ["rows", "result_bytes", "host_memory", "timeout"];
    let named = over.iter().any(|budget| error(&asks).contains(&format!("raise budgets.{budget}")));
    assert!(named || asks["status"] == "pass", "{:?}: {}", asks["status"], error(&asks));
    // What was begun and dropped is on record too; how many of the 400, when it was stopped by its time, is up to the machine.
    let drops = stormy.run("drops")["calls"].clone();
    let begun = drops.as_array().unwrap().iter().filter(|call| call["name"] == "git.changes").count();
    assert!(begun > 50, "{begun} begun: {}", error(&stormy.run("drops")));

    let due = ["asks", "drops", "phase2-raw"];
    let arguments: Vec<&str> = due.iter().flat_map(|name| ["--check", name]).collect();
    let service = Service::start(&sample, &format!("{toml}\n[scheduler]\nretries = 0\n"), &arguments).unwrap();
    service.wait_until("all three ran again", 60, |service| due.iter().all(|check| service.ran_since(check, &before)));
    // The plugin's metrics, while it is active.
    let used = |service: &Service| {
        let metrics = service.get("/metrics").body;
        let of_it = |line: &&str| line.starts_with("host_plugin_") && line.contains("\"misbehaving\"");
        metrics.lines().filter(of_it).collect::<Vec<_>>().join(", ")
    };
    let over = Instant::now();
    let mut seen = Vec::new();
    service.wait_until("nothing is done for the plugin", 10, |service| {
        let used = used(service);
        let nothing = used.is_empty();
        seen.push((over.elapsed(), used));
        nothing
    });
    // Within a second; and the machine is shared.
    assert!(over.elapsed() < Duration::from_secs(3), "after the runs were over: {seen:#?}");
    let start = computed(service.host.id()).unwrap();
    std::thread::sleep(Duration::from_secs(1));
    let after = computed(service.host.id()).unwrap() - start;
    assert!(after < Duration::from_millis(500), "it computed {after:?} of a second for nobody");
    service.host.end("TERM").unwrap();
}

/// The budgets for the answers of queries also apply to walks.
#[test]
fn a_history_is_an_answer_like_any_other() {
    let sample = Sample::new(None).unwrap();
    for (budget, words) in [
        ("rows = 10", "changes refused: the answer has more than 10 rows; raise budgets.rows"),
        ("result_bytes = '2 KiB'", "changes refused: the answer is larger than 2 KiB; raise budgets.result_bytes"),
        (
            "host_memory = '16 KiB'",
            "the host would hold more than 16 KiB for this run at once; raise budgets.host_memory",
        ),
    ] {
        let check = hostile("asks", "ask for the whole history", ", count = 1");
        sample.configure(&format!("{HOST_TOML}{}{check}", granted(budget))).unwrap();
        let ended = ended(&mut once(&sample, AT, &["asks", "deployment-drift"])).unwrap();
        let run = ended.run("asks");
        assert!(error(&run).contains(words), "{budget}: {run:#}");
        passes(&ended, &["deployment-drift"]);
    }
}

/// Plugins that make their own validation costly: it ends inconclusively, and does not delay the others.
#[test]
fn a_validation_that_explodes_is_given_up() {
    let _alone = alone();
    let sample = Sample::new(None).unwrap();
    let columns = "COUNT(*) AS games, COUNT(game_id) AS a, COUNT(player_name) AS b, COUNT(team_abbr) AS c";
    let sql = format!(", sql = \"SELECT {columns} FROM {TABLE} WHERE game_date = @date\"");
    let bombs = ["alerts", "spins", "metrics"];
    let checks = [
        hostile("alerts", "alert as much as it may", &sql),
        hostile("spins", "ask and spin", &sql),
        hostile("metrics", "report ever new metrics", &sql),
    ];
    let lax = HOST_TOML.replace("[checks.phase2-raw]", "[checks.phase2-raw]\nsettings = { min_games = 0 }");
    let budgets = "timeout = '4s', report_bytes = '4 MiB'";
    sample
        .configure(&format!("validate_schedule = '0 5 * * *'\n{lax}{}{}", granted(budgets), checks.concat()))
        .unwrap();
    let validate = |checks: &[&str]| {
        let mut command = sample.command();
        command.args(["validate", "--output", "json"]).args(checks.iter().flat_map(|name| ["--check", name]));
        command.args(shipped().unwrap()).arg(guest("misbehaving"));
        command
    };
    let (_, usual) = watched(&mut validate(&["phase2-raw", "phase3-analytics"])).unwrap();
    let all = [&bombs[..], &["phase2-raw", "phase3-analytics"]].concat();
    let bounded = |what: &str, peak: Peak| {
        say(&format!(
            "{what} with bombs: {} MiB in {:?}, alone {} MiB",
            peak.memory / MIB,
            peak.took,
            usual.memory / MIB
        ));
        assert!(peak.memory < usual.memory + 200 * MIB, "{peak:?}, alone {usual:?}");
        assert!(peak.took < Duration::from_secs(60), "{peak:?}");
    };
    let (validated, run) = std::thread::scope(|scope| {
        let validated = scope.spawn(|| watched(&mut validate(&all)).unwrap());
        let run = watched(&mut once(&sample, AT, &all)).unwrap();
        (validated.join().unwrap(), run)
    });
    bounded("host validate", validated.1);
    bounded("host run --once", run.1);
    let found = validated.0.json();
    let of = |name: &str| {
        let checks = found["checks"].as_array().unwrap();
        checks.iter().find(|check| check["check"] == name).unwrap()["findings"].clone()
    };
    for bomb in ["spins", "metrics"] {
        let findings = of(bomb);
        assert_eq!(
            (findings.as_array().unwrap().len(), &findings[0]["kind"]),
            (1, &json!("unfinished")),
            "{bomb}: {findings}"
        );
        assert!(findings[0]["text"].as_str().unwrap().starts_with("it could not be validated: "), "{findings}");
        let line = format!("validation: {bomb}: it could not be validated: ");
        assert!(run.0.err.contains(&line), "{}", run.0.err);
    }
    // Its 4 MiB of alerts for each result are within the limits of a validation.
    let findings = of("alerts");
    let kinds: Vec<&serde_json::Value> = findings.as_array().unwrap().iter().map(|one| &one["kind"]).collect();
    assert_eq!(kinds, [&json!("remark"), &json!("cannot-fail")], "{findings}");
    assert!(run.0.err.contains("validation: alerts: games must be at least -1"), "{}", run.0.err);
    // The others' are known.
    let lax = "games must be at least 0, and every simulated result meets that";
    assert_eq!((&of("phase2-raw")[0]["text"], of("phase3-analytics")), (&json!(lax), json!([])));
    assert!(run.0.err.contains(&format!("validation: phase2-raw: {lax}")), "{}", run.0.err);
    passes(&run.0, &["phase2-raw", "phase3-analytics"]);
}

/// Two checks share one listing, which takes longer than one of them may.
#[test]
fn one_plugins_short_time_is_not_anothers() {
    let (sample, cloud_run) = on_cloud_run(None, |_| json!({}));
    cloud_run.delay(Duration::from_millis(500));
    let toml = deployed(&format!("[google]\ncredentials = \"none\"\n{}", cloud_run.deployments()));
    let checks = hostile("hurries", "look up a deployment", "");
    sample.configure(&format!("{toml}{}{checks}", granted("timeout = '1s'"))).unwrap();
    let ended = ended(&mut once(&sample, AT, &["hurries", "deployment-drift"])).unwrap();
    let hurries = ended.run("hurries");
    let words = "lookup failed: Cloud Run did not answer within this run's time";
    assert!(error(&hurries).contains(words), "{hurries:#}");
    assert!(hurries["seconds"].as_f64().unwrap() < 2.0, "{hurries:#}");
    passes(&ended, &["deployment-drift"]);
    // There was one listing, of two pages, and one request for each revision.
    assert_eq!(cloud_run.asked().len(), 12, "{:?}", cloud_run.asked());
}

/// Sixty queries at once, each answered with three pages of 3 MB.
#[test]
fn large_answers_at_once_share_what_a_run_may_hold() {
    let _alone = alone();
    let sample = Sample::new(None).unwrap();
    let double = BigQueryDouble::start().unwrap();
    double.answers_at_length("wide", 3, 3000, 1000);
    let toml = format!("{}\n[google]\ncredentials = \"none\"\n", asking(&double.warehouse()));
    let run = |count: u32| {
        let settings = format!(", count = {count}, sql = 'SELECT team_abbr AS wide FROM {TABLE}'");
        let check = hostile("wide", "count answers", &settings);
        sample.configure(&format!("{toml}{}{check}", granted("timeout = '20s'"))).unwrap();
        watched(&mut once(&sample, AT, &["wide", "phase2-raw"])).unwrap()
    };
    let (one, single) = run(1);
    assert_eq!(one.run("wide")["summary"], "1 answers, 0 errors", "{one:?}");
    let (many, peak) = run(60);
    let wide = many.run("wide");
    say(&format!("60 wide queries: {} MiB, one {} MiB: {}", peak.memory / MIB, single.memory / MIB, wide["summary"]));
    assert!(peak.memory < single.memory + 150 * MIB, "{peak:?}, one {single:?}");
    passes(&many, &["phase2-raw"]);
    let refused: Vec<&str> =
        wide["calls"].as_array().unwrap().iter().filter_map(|call| call["error"].as_str()).collect();
    assert!(!refused.is_empty(), "540 MB at once are more than it may hold: {}", wide["summary"]);
    for error in refused {
        assert!(error.contains("budgets.host_memory") || error.contains("budgets.result_bytes"), "{error}");
    }
}

/// Beside busy processes, checks get their fair share of the machine.
#[test]
fn a_round_beside_busy_processes_ends() {
    let _alone = alone();
    let sample = Sample::new(None).unwrap();
    let round = || {
        let started = Instant::now();
        let ended = ended(&mut once(&sample, AT, &CANARIES)).unwrap();
        passes(&ended, &CANARIES);
        started.elapsed()
    };
    let fastest = || (0..3).map(|_| round()).min().unwrap();
    round();
    let mut measured = Vec::new();
    // Other load on the machine varies.
    for _ in 0..3 {
        let quiet = fastest();
        let busy = [Busy::start().unwrap(), Busy::start().unwrap()];
        let beside = fastest();
        drop(busy);
        measured.push((quiet, beside));
        if beside <= 4 * quiet {
            say(&format!("six canaries beside two busy processes: {beside:?}, alone {quiet:?}"));
            return;
        }
    }
    panic!("alone, and beside two busy processes: {measured:?}");
}

/// A plugin with sixty checks has one plugin's share, not sixty: other checks finish and are reported meanwhile.
#[test]
fn a_plugin_with_many_checks_does_not_keep_one_with_a_single_check_waiting() {
    let _alone = alone();
    let sample = Sample::new(Some(Fault::HalfNullNames)).unwrap();
    let sql = format!(", sql = \"SELECT COUNT(*) AS n FROM {TABLE} a, {TABLE} b, {TABLE} c\"");
    let checks: String = (0..60).map(|at| hostile(&format!("endless{at}"), "query", &sql)).collect();
    let toml = HOST_TOML.replace("[alerts]", "[alerts]\ngroup_wait = '100ms'");
    let grants =
        "\n[grants.misbehaving]\nwarehouse = ['nba_raw']\nslack = ['#canary-alerts']\nbudgets = { timeout = '3s' }\n";
    sample.configure(&format!("{toml}{grants}{checks}")).unwrap();
    let names: Vec<String> = (0..60).map(|at| format!("endless{at}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).chain(["phase2-raw"]).collect();
    let (told, (ended, peak)) = std::thread::scope(|scope| {
        let told = scope.spawn(|| {
            let started = Instant::now();
            sample.slack.wait_for(1).unwrap();
            (started.elapsed(), words(&sample.slack.received()[0].1))
        });
        let ran = watched(&mut once(&sample, AT, &names)).unwrap();
        (told.join().unwrap(), ran)
    });
    let seconds = ended.run("phase2-raw")["seconds"].as_f64().unwrap();
    say(&format!(
        "an honest check beside sixty endless ones: {seconds} s, told of after {:?} of {:?}",
        told.0, peak.took
    ));
    assert!(seconds < 1.5, "{seconds} s");
    // Two rounds of three seconds are the least that sixty runs take.
    assert!(told.0 < peak.took.saturating_sub(Duration::from_secs(3)), "{told:?} of {peak:?}");
    assert!(told.1.contains("phase2-raw") && !told.1.contains("endless"), "{}", told.1);
    assert_eq!(ended.run("phase2-raw")["status"], "fail");
    for name in names.iter().filter(|name| name.starts_with("endless")) {
        assert!(error(&ended.run(name)).contains("timed out after 3 s"), "{:#}", ended.run(name));
    }
}
