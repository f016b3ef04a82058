//! Bad input through the built host: each is a clear error of its check, and the others keep running.

use std::{fs, path::PathBuf, process::Command};

use host_tests::HOST_TOML;

use crate::support::{
    command::{Ended, Sample, ended, guest, shipped},
    watched::plugin,
};
use serde_json::json;

/// Runs all shipped plugins and these files.
fn with_files(sample: &Sample, files: &[PathBuf]) -> Ended {
    let mut command = sample.command();
    command
        .args(["run", "--once", "--at", crate::support::AT, "--output", "json"])
        .args(shipped().unwrap())
        .args(files);
    ended(&mut command).unwrap()
}

/// The shipped checks are not affected.
fn assert_others_pass(ended: &Ended) {
    let passed = ended.json()["runs"].as_array().unwrap().iter().filter(|run| run["status"] == "pass").count();
    assert_eq!(passed, 9, "{ended:?}");
}

#[test]
fn files_that_are_no_plugins() {
    let sample = Sample::new(None).unwrap();
    let file = |name: &str, bytes: &[u8]| {
        let path = sample.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    };
    let wat = |name: &str, text: &str| file(name, &wat::parse_str(text).unwrap());
    let plugin = fs::read(shipped().unwrap().pop().unwrap()).unwrap();
    let cases = [
        (file("text.wasm", b"hello"), "text", "is not a valid WebAssembly component: it is a text file"),
        (file("nothing.wasm", b""), "nothing", "is not a valid WebAssembly component: the file is empty"),
        (
            file("cut.wasm", &plugin[..plugin.len() / 2]),
            "cut",
            "is not a valid WebAssembly component: it is damaged or incomplete; build or fetch it again",
        ),
        (wat("module.wasm", "(module)"), "module", "is a WebAssembly module, not a component"),
        (
            wat("empty.wasm", "(component)"),
            "empty",
            "does not export pipeline:check/plugin, so it is not a check plugin; it exports nothing",
        ),
        (
            wat("newer.wasm", r#"(component (instance $i) (export "pipeline:check/plugin@0.2.0" (instance $i)))"#),
            "newer",
            "was built for pipeline:check 0.2.0, but this host offers 0.1",
        ),
        (
            wat(
                "hollow.wasm",
                r#"(component $hollow (instance $i) (export "pipeline:check/plugin@0.1.0" (instance $i)) (@custom "version" "1.0.0"))"#,
            ),
            "hollow",
            "does not fit the contract",
        ),
        (
            wat(
                "foreign.wasm",
                r#"(component $foreign (import "acme:secrets/vault@1.0.0" (instance (export "read" (func)))) (instance $i) (export "pipeline:check/plugin@0.1.0" (instance $i)) (@custom "version" "1.0.0"))"#,
            ),
            "foreign",
            "does not fit the contract",
        ),
        (
            wat("nameless.wasm", r#"(component (instance $i) (export "pipeline:check/plugin@0.1.0" (instance $i)))"#),
            "nameless",
            "has no name in its metadata; build it with the SDK",
        ),
        (
            wat("old.wasm", r#"(component $old (instance $i) (export "pipeline:check/plugin@0.1.0" (instance $i)))"#),
            "old",
            "has no version in its metadata",
        ),
        (
            wat(
                "odd.wasm",
                r#"(component $Odd (instance $i) (export "pipeline:check/plugin@0.1.0" (instance $i)) (@custom "version" "1.0.0"))"#,
            ),
            "odd",
            "`Odd` is not a plugin name",
        ),
        (sample.path().join("absent.wasm"), "absent", "cannot be read"),
    ];
    for (path, check, words) in cases {
        let check = check.trim_start_matches(".tmp");
        let ended = with_files(&sample, std::slice::from_ref(&path));
        assert_eq!(ended.code, 3, "{check}: {ended:?}");
        assert_others_pass(&ended);
        let json = ended.json();
        let run = json["runs"].as_array().unwrap().iter().find(|run| run["status"] == "error").unwrap();
        let error = run["error"].as_str().unwrap();
        assert!(error.contains(words) && error.contains(path.to_str().unwrap()), "{check}: {error}");
    }
}

/// Random damage never panics and never runs as a pass of the damaged plugin alone.
#[test]
fn a_plugin_with_damaged_bytes_is_an_error_or_unharmed() {
    let sample = Sample::new(None).unwrap();
    let whole = fs::read(guest("misbehaving")).unwrap();
    for at in (0..whole.len()).step_by(whole.len() / 12) {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x55;
        let path = sample.path().join("damaged.wasm");
        fs::write(&path, &bytes).unwrap();
        let ended = with_files(&sample, &[path]);
        assert!(matches!(ended.code, 0 | 3), "byte {at}: {ended:?}");
        assert!(!ended.err.contains("panicked"), "byte {at}: {}", ended.err);
    }
}

#[test]
fn two_plugins_of_one_name() {
    let sample = Sample::new(None).unwrap();
    let original = shipped().unwrap().into_iter().find(|path| path.ends_with("phase2-raw.wasm")).unwrap();
    let copy = sample.path().join("copy.wasm");
    fs::copy(original, &copy).unwrap();
    let ended = with_files(&sample, &[copy]);
    assert_eq!(ended.code, 3);
    let error = ended.run("phase2-raw")["error"].as_str().unwrap().to_owned();
    assert!(error.contains("2 plugins are named phase2-raw") && error.contains("copy.wasm"), "{error}");
    assert_eq!(ended.json()["runs"].as_array().unwrap().iter().filter(|run| run["status"] == "pass").count(), 8);
}

/// Each behaviour of a plugin, and the result of its check.
#[test]
fn plugins_that_misbehave() {
    let sample = Sample::new(None).unwrap();
    let cases = [
        ("trap", "error", "panicked at tests/guests/misbehaving/src/lib.rs:"),
        ("trap", "error", ": out of cheese"),
        ("spin", "error", "timed out after 3 s; raise budgets.timeout, or grants.misbehaving.budgets.timeout"),
        (
            "allocate",
            "error",
            "needs more memory than 32 MiB; raise budgets.memory, or grants.misbehaving.budgets.memory",
        ),
        ("recurse", "error", "needs more stack than 512 KiB; raise budgets.stack"),
        ("flood the log", "error", "writes more to its output than 64 KiB; raise budgets.log_bytes"),
        ("fail on its own", "error", "I would rather not"),
        (
            "pass with a violation",
            "error",
            "returned a malformed report: the verdict is pass or skip, but it lists the violation \"it is not so\"",
        ),
        ("pass with a broken threshold", "error", "the metric games breaks its limit"),
        ("pass without a value", "error", "the metric games breaks its limit"),
        ("pass without knowing", "error", "unknown: whether it is so"),
        ("fail without a violation", "error", "the verdict is fail or warn, but no violation says why"),
        ("not a number", "error", "a metric is not a finite number"),
        ("skip", "skip", "skipped: nothing to do"),
        ("warn", "warn", "fine"),
        ("tell the time", "pass", "1770377400 1770377400"),
    ];
    let mut toml = HOST_TOML.to_owned()
        + "\n[grants.misbehaving]\nslack = [\"#canary-alerts\"]\nbudgets = { timeout = \"3s\", memory = \"32 MiB\" }\n";
    for (at, (behaviour, ..)) in cases.iter().enumerate() {
        toml +=
            &format!("\n[checks.case{at}]\nplugin = \"misbehaving\"\nsettings = {{ behaviour = \"{behaviour}\" }}\n");
    }
    sample.configure(&toml).unwrap();
    let ended = with_files(&sample, &[guest("misbehaving")]);
    assert_eq!(ended.code, 3);
    for (at, (behaviour, status, words)) in cases.iter().enumerate() {
        let run = ended.run(&format!("case{at}"));
        assert_eq!(run["status"], *status, "{behaviour}: {run:#}");
        assert!(run["summary"].as_str().unwrap().contains(words), "{behaviour}: {}", run["summary"]);
    }
    for check in [
        "deployment-drift",
        "phase1-scrapers",
        "phase2-gate",
        "phase2-raw",
        "phase3-analytics",
        "phase4-precompute",
        "phase5-predictions",
        "phase6-publishing",
    ] {
        assert_eq!(ended.run(check)["status"], "pass", "{check}");
    }
}

#[test]
fn queries_that_cannot_be_answered() {
    let sample = Sample::new(None).unwrap();
    fs::write(sample.path().join("warehouse/noise.db"), "no database ".repeat(500)).unwrap();
    let cases = [
        ("SELEC 1", "query failed: syntax error"),
        (
            "DELETE FROM nba_raw.nbac_schedule WHERE TRUE",
            "query refused: only a single SELECT is allowed; this is `DELETE`",
        ),
        ("SELECT 1; SELECT 2", "query refused: only a single SELECT is allowed; these are several statements"),
        (
            "SELECT COUNT(*) FROM nba_raw.nbac_shedule",
            "there is no table nba_raw.nbac_shedule; did you mean `nbac_schedule`?",
        ),
        (
            "SELECT MAX(processd_at) FROM nba_raw.nbac_schedule",
            "Unrecognized name: processd_at; did you mean `processed_at`?",
        ),
        (
            "SELECT COUNT(*) FROM nba_reference.nba_schedule",
            "query denied: dataset nba_reference is not granted; add \\\"nba_reference\\\" to grants.misbehaving.warehouse in host.toml",
        ),
        ("SELECT COUNT(*) FROM noise.t", "dataset noise"),
        ("SELECT COUNT(*) FROM gone.t", "there is no dataset gone"),
        ("SELECT source_file FROM nba_raw.nbac_schedule", "the query returned no rows"),
        (
            "WITH RECURSIVE x AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM x) SELECT COUNT(*) FROM x",
            "does not support WITH RECURSIVE",
        ),
        (
            "SELECT COUNT(*) FROM nba_raw.nbac_player_boxscore a, nba_raw.nbac_player_boxscore b, nba_raw.nbac_player_boxscore c",
            "timed out after 2 s",
        ),
    ];
    let mut toml = HOST_TOML.to_owned()
        + "\n[grants.misbehaving]\nslack = [\"#canary-alerts\"]\nwarehouse = [\"nba_raw\", \"noise\", \"gone\"]\nbudgets = { timeout = \"2s\" }\n";
    for (at, (sql, _)) in cases.iter().enumerate() {
        toml += &format!(
            "\n[checks.case{at}]\nplugin = \"misbehaving\"\nsettings = {{ behaviour = \"query\", sql = \"{sql}\" }}\n"
        );
    }
    sample.configure(&toml).unwrap();
    let ended = with_files(&sample, &[guest("misbehaving")]);
    assert_eq!(ended.code, 3);
    for (at, (sql, words)) in cases.iter().enumerate() {
        let run = ended.run(&format!("case{at}"));
        assert_eq!(run["status"], "error", "{sql}: {run:#}");
        let error = json!(run["error"]).to_string();
        assert!(error.contains(words), "{sql}: {error}");
    }
    assert_eq!(ended.run("phase2-raw")["status"], "pass");
}

/// An error that the plugin swallows is recorded all the same.
#[test]
fn a_denied_call_is_recorded_even_when_the_plugin_says_nothing() {
    let sample = Sample::new(None).unwrap();
    let toml = HOST_TOML.to_owned()
        + "\n[grants.misbehaving]\nslack = [\"#canary-alerts\"]\n[checks.sly]\nplugin = \"misbehaving\"\nsettings = { behaviour = \"swallow an error\", sql = \"SELECT 1 FROM nba_raw.nbac_schedule\" }\n";
    sample.configure(&toml).unwrap();
    let run = with_files(&sample, &[guest("misbehaving")]).run("sly");
    assert!(run["calls"][0]["error"].as_str().unwrap().contains("grants.misbehaving.warehouse"), "{run:#}");
}

#[test]
fn configurations_that_are_refused_at_start() {
    let sample = Sample::new(None).unwrap();
    let replaced = |from: &str, to: &str| {
        assert!(HOST_TOML.contains(from), "{from}");
        HOST_TOML.replace(from, to)
    };
    let cases = [
        (
            replaced(
                "timezone = \"America/New_York\"\n\n# The warehouse",
                "timezon = \"America/New_York\"\n\n# The warehouse",
            ),
            "did you mean `timezone`?",
        ),
        (
            replaced("path = \"warehouse\"", "path = \"warehous\""),
            "warehouse.path: there is no directory warehous; did you mean `warehouse`?",
        ),
        (replaced("path = \"deployments.json\"", "path = \"deploy.json\""), "deployments.path: there is no file"),
        (
            replaced("[git.pipeline]\npath = \"repository\"", "[git.pipeline]\npath = 3"),
            "wrong type: integer `3`, expected text in quotes",
        ),
        (replaced("schedule = \"30 6 * * *\"", "schedule = \"30 25 * * *\""), "`30 25 * * *` is not a valid schedule"),
        (replaced("schedule = \"30 6 * * *\"", "schedule = \"0 0 31 2 *\""), "is never due"),
        (
            replaced("git = [\"pipeline\"]", "git = [\"pipelin\"]"),
            "grants.deployment-drift.git: there is no [git.pipelin]; did you mean `pipeline`?",
        ),
        (replaced("[checks.phase2-raw]", "[checks.phase2-raw]\nchanel = \"#x\""), "did you mean `channel`?"),
    ];
    for (toml, words) in cases {
        sample.configure(&toml).unwrap();
        let ended = sample.once(&[]).unwrap();
        assert_eq!(ended.code, 64, "{words}: {ended:?}");
        assert!(ended.err.contains(words), "{words}: {}", ended.err);
        assert_eq!(ended.out, "");
    }
    let absent = sample.once(&["--config", "absent.toml"]).unwrap();
    assert_eq!(absent.code, 64);
    assert!(
        absent.err.contains("there is no absent.toml; `host init` writes host.toml, or name another with --config"),
        "{}",
        absent.err
    );
}

/// The schema comes from a plugin, so it stops its own check at most.
#[test]
fn settings_that_do_not_fit_are_an_error_of_their_check() {
    let sample = Sample::new(None).unwrap();
    for (settings, words) in [
        (
            "min_gmes = 3",
            "host.toml: checks.phase2-raw.settings: there is no setting min_gmes; did you mean `min_games`?",
        ),
        ("min_games = \"three\"", "checks.phase2-raw.settings: min_games must be a number, not \"three\""),
        (
            "table = \"boxscore; DROP TABLE x\"",
            "checks.phase2-raw.settings: table must be a table, as `dataset.table` or `project.dataset.table`, not \"boxscore",
        ),
    ] {
        let settings = format!("[checks.phase2-raw]\nsettings = {{ {settings} }}");
        sample.configure(&HOST_TOML.replace("[checks.phase2-raw]", &settings)).unwrap();
        let ended = sample.once(&["--output", "json"]).unwrap();
        assert_eq!(ended.code, 3, "{settings}: {ended:?}");
        let error = ended.run("phase2-raw")["error"].as_str().unwrap_or_default().to_owned();
        assert!(error.contains(words), "{settings}: {error}");
        let runs = ended.json()["runs"].as_array().cloned().unwrap();
        assert!(
            runs.iter().all(|run| run["check"] == "phase2-raw" || run["status"] == "pass"),
            "{settings}: {ended:?}"
        );
        let plan = planned(&sample);
        assert!(plan.code == 3 && plan.out.contains(words), "{settings}: {plan:?}");
    }
}

fn planned(sample: &Sample) -> Ended {
    ended(sample.command().arg("plan").args(shipped().unwrap())).unwrap()
}

/// A check that may not post to its own channel cannot run.
#[test]
fn a_check_that_may_not_post_where_it_posts_does_not_run() {
    let sample = Sample::new(None).unwrap();
    let ended = with_files(&sample, &[guest("misbehaving")]);
    assert_eq!(ended.code, 3);
    let run = ended.run("misbehaving");
    let words = "it posts to #canary-alerts, which is not granted; add \"#canary-alerts\" to grants.misbehaving.slack";
    assert!(run["error"].as_str().unwrap().contains(words), "{run:#}");
    assert_eq!(ended.run("phase2-raw")["status"], "pass");
}

#[test]
fn grants_of_plugins_that_are_not_run() {
    let sample = Sample::new(None).unwrap();
    let one = plugin("phase2-raw").display().to_string();
    let ended = sample.host(&["run", "--once", &one]).unwrap();
    assert!(!ended.err.contains("refused"), "{}", ended.err);
    sample.configure(&HOST_TOML.replace("[grants.phase2-raw]", "[grants.phase2-rav]")).unwrap();
    let ended = sample.once(&[]).unwrap();
    assert_eq!(ended.code, 64, "{ended:?}");
    let words = "grants.phase2-rav: no plugin has this name, neither in [checks] nor among the files; did you mean `phase2-raw`?";
    assert!(ended.err.contains(words), "{}", ended.err);
}

#[test]
fn a_check_whose_plugin_is_not_among_the_files() {
    let sample = Sample::new(None).unwrap();
    sample.configure(&(HOST_TOML.to_owned() + "\n[checks.lost]\nplugin = \"phase2-rav\"\n")).unwrap();
    let ended = sample.once(&["--output", "json"]).unwrap();
    assert_eq!(ended.code, 3);
    let error = ended.run("lost")["error"].as_str().unwrap().to_owned();
    assert!(error.contains("no file holds the plugin phase2-rav; did you mean `phase2-raw`?"), "{error}");
}

#[test]
fn a_channel_without_a_webhook_stops_the_start() {
    let sample = Sample::new(None).unwrap();
    let mut command = sample.command();
    command.env_remove("SLACK_WEBHOOK_URL_CANARY_ALERTS").args(["run", "--once"]).args(shipped().unwrap());
    let stopped = ended(&mut command).unwrap();
    assert_eq!(stopped.code, 64);
    assert!(stopped.err.contains("channel #canary-alerts has no webhook: set SLACK_WEBHOOK_URL_CANARY_ALERTS in the environment, or slack.deliver = \"console\""), "{}", stopped.err);
    command.env("SLACK_WEBHOOK_URL_CANARY_ALERTS", "http://example.com/secret");
    let stopped = ended(&mut command).unwrap();
    assert!(stopped.err.contains("is not https") && !stopped.err.contains("example.com"), "{}", stopped.err);
}

#[test]
fn arguments_that_cannot_be_used() {
    let sample = Sample::new(None).unwrap();
    for arguments in [
        &["run"][..],
        &["run", "--date", "yesterday", "--once", "x.wasm"],
        &["run", "--dat", "x.wasm"],
        &["walk"],
        &["run", "--date", "2026-02-05", "x.wasm"],
    ] {
        let ended = sample.host(arguments).unwrap();
        assert_eq!(ended.code, 64, "{arguments:?}: {ended:?}");
        assert!(ended.err.contains("error: "), "{arguments:?}: {}", ended.err);
    }
    let help = sample.host(&["run", "--help"]).unwrap();
    assert_eq!(help.code, 0);
    assert!(help.out.contains("Exit codes"), "{}", help.out);
}

/// Unreadable histories are an error of one check.
#[test]
fn repositories_that_cannot_answer() {
    let git = |directory: &std::path::Path, arguments: &[&str]| {
        let output = Command::new("git")
            .args(arguments)
            .current_dir(directory)
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .output()
            .unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    };
    let sample = Sample::new(None).unwrap();
    git(sample.path(), &["init", "--quiet", "--initial-branch=main", "unborn"]);
    let url = format!("file://{}", sample.path().join("repository").display());
    git(sample.path(), &["clone", "--quiet", "--depth=2", &url, "shallow"]);
    fs::create_dir(sample.path().join("no-repository")).unwrap();
    for (repository, words) in [
        ("unborn", "branch main has no commit yet"),
        ("shallow", "it is a shallow clone with an incomplete history; run `git -C shallow fetch --unshallow`"),
        ("no-repository", "it cannot be opened"),
    ] {
        sample.configure(&HOST_TOML.replace("path = \"repository\"", &format!("path = \"{repository}\""))).unwrap();
        let ended = sample.once(&["--output", "json"]).unwrap();
        assert_eq!(ended.code, 3, "{repository}");
        let error = ended.run("deployment-drift")["error"].as_str().unwrap().to_owned();
        assert!(error.contains(words), "{repository}: {error}");
        assert!(error.contains("prediction-worker: "), "each service is named: {error}");
        assert_eq!(ended.json()["runs"].as_array().unwrap().iter().filter(|run| run["status"] == "pass").count(), 8);
    }
}

/// Without `--once` the host keeps running, logs its next round, and shuts down when asked.
#[test]
fn a_host_that_stays_says_what_is_next_and_goes_at_ctrl_c() {
    let sample = Sample::new(None).unwrap();
    let mut host = sample.stay().unwrap();
    // Canaries are due at every half hour; at some hours drift and the gate are due with them.
    let next = host.wait_for("next: ").unwrap();
    assert!(next.contains("phase2-raw") && next.contains(" (in "), "{next}");
    assert!(next.contains(":00:00Z") || next.contains(":30:00Z"), "{next}");
    let (code, said) = host.interrupt().unwrap();
    assert_eq!(code, Some(0));
    assert!(said.contains("warning: nothing is pinned"), "{said}");
    assert!(said.contains("stopping: nothing is running"), "{said}");
}

/// Such a file would hold the host for ever, or fill its memory.
#[test]
fn a_pipe_or_a_device_among_the_plugins_fails_alone() {
    let sample = Sample::new(None).unwrap();
    let pipe = sample.path().join("pipe.wasm");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    std::os::unix::fs::symlink("/dev/zero", sample.path().join("zero.wasm")).unwrap();
    let mut command = sample.command();
    command
        .args(["run", "--once", "--at", crate::support::AT, "--output", "json", "pipe.wasm", "zero.wasm"])
        .arg(plugin("phase2-raw"));
    let ended = ended(&mut command).unwrap();
    assert_eq!(ended.run("phase2-raw")["status"], "pass");
    for name in ["pipe", "zero"] {
        let error = ended.run(name)["error"].as_str().unwrap().to_owned();
        assert!(error.contains(&format!("{name}.wasm: is not a regular file")), "{error}");
    }
}
