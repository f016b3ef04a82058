//! The needs and grants of plugins: `host inspect` and `host init`, and each grant with its denial.

use std::fs;

use host_tests::HOST_TOML;
use serde_json::{Value, json};

use crate::support::{
    AT,
    command::{Sample, ended, guest, shipped},
    watched::plugin,
};

#[test]
fn inspect_shows_what_a_plugin_is_and_may() {
    let sample = Sample::new(None).unwrap();
    let path = plugin("phase2-gate").display().to_string();
    let shown = sample.host(&["inspect", &path]).unwrap();
    assert_eq!(shown.code, 0, "{shown:?}");
    for words in [
        "phase2-gate 0.1.0\n",
        "digest    sha256:",
        "pinned    nothing is pinned",
        "api       pipeline:check 0.1.2",
        "schedule  30 6 * * * (America/New_York)",
        "pipeline:check/warehouse@0.1.2",
        "pipeline:check/plugin@0.1.2",
        "query dataset nba_raw",
        "granted",
        "min_games = 2",
    ] {
        assert!(shown.out.contains(words), "{words}: {}", shown.out);
    }
    assert!(!shown.out.contains("not granted"), "{}", shown.out);

    sample.configure(&HOST_TOML.replace("[\"nba_raw\", \"nba_reference\"]", "[\"nba_raw\"]")).unwrap();
    let json = sample.host(&["inspect", "--output", "json", &path]).unwrap().json();
    assert_eq!(
        (&json["name"], &json["version"], &json["api"]),
        (&json!("phase2-gate"), &json!("0.1.0"), &json!("0.1.2"))
    );
    assert_eq!(json["size"], json!(fs::metadata(plugin("phase2-gate")).unwrap().len()));
    let needs = json["needs"].as_array().unwrap();
    let reference = needs.iter().find(|need| need["need"] == "query dataset nba_reference").unwrap();
    assert_eq!((&reference["granted"], &reference["grant"]), (&json!(false), &json!("grants.phase2-gate.warehouse")));
    assert_eq!(json["settings"]["properties"]["min_games"]["default"], json!(2));
    let shown = sample.host(&["inspect", &path]).unwrap();
    assert!(shown.out.contains("not granted: see grants.phase2-gate.warehouse in host.toml"), "{}", shown.out);

    // Without a host.toml, nothing is shown as granted.
    fs::remove_file(sample.path().join("host.toml")).unwrap();
    let json = sample.host(&["inspect", "--output", "json", &path]).unwrap().json();
    assert!(json["needs"].as_array().unwrap().iter().all(|need| need["granted"] == Value::Null), "{json}");
    fs::write(sample.path().join("noise.wasm"), "noise").unwrap();
    let refused = sample.host(&["inspect", "noise.wasm"]).unwrap();
    assert_eq!(refused.code, 64);
    assert!(refused.err.contains("noise.wasm: is not a valid WebAssembly component"), "{}", refused.err);
}

/// The file that `host init` writes has the needed grants, and runs.
#[test]
fn init_writes_what_can_be_run() {
    let sample = Sample::new(None).unwrap();
    let mut files = shipped().unwrap();
    // Without configuration it has nothing to check.
    files.retain(|file| !file.ends_with("canary-sql.wasm"));
    let kept = ended(sample.command().arg("init").args(&files)).unwrap();
    assert_eq!(kept.code, 64, "a host.toml that is there stays: {kept:?}");
    fs::remove_file(sample.path().join("host.toml")).unwrap();
    let written = ended(sample.command().arg("init").args(&files)).unwrap();
    assert_eq!(written.code, 0, "{written:?}");
    let text = fs::read_to_string(sample.path().join("host.toml")).unwrap();
    for words in [
        "[grants.phase2-gate]\n# to query dataset nba_reference\n",
        "warehouse = [\"nba_reference\", \"nba_raw\"]",
        "git = [\"pipeline\"]",
        "# memory = \"64 MiB\"",
        "# min_games = 2",
        "# schedule = \"30 6 * * *\"",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
    let printed = ended(sample.command().args(["init", "--config", "-"]).args(&files)).unwrap();
    assert_eq!(printed.out, text);
    let once = || ended(sample.command().args(["run", "--once", "--at", AT]).args(&files)).unwrap();
    let run = once();
    assert_eq!(run.code, 0, "{run:?}");
    // With every comment of a value taken away, it is what runs anyway.
    let spelled: String = text
        .lines()
        .map(|line| match line.strip_prefix("# ") {
            Some(value) if value.contains(" = ") && toml_line(value) || value.starts_with("[checks.") => value,
            _ => line,
        })
        .map(|line| format!("{line}\n"))
        .collect();
    sample.configure(&spelled).unwrap();
    let run = once();
    assert_eq!(run.code, 0, "{run:?}\n{spelled}");
}

fn toml_line(line: &str) -> bool {
    let key = line.split(" = ").next().unwrap_or_default();
    key.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_') && key != "project"
}

/// Each kind of grant: with it the plugin gets an answer, without it the call is denied with the line that would allow it.
#[test]
fn each_grant_and_its_denial() {
    let sample = Sample::new(None).unwrap();
    let lines = [
        (
            "query",
            "warehouse = ['nba_raw']",
            "query denied: dataset nba_raw is not granted; add \"nba_raw\" to grants.misbehaving.warehouse",
        ),
        (
            "list tables",
            "warehouse = ['nba_raw']",
            "tables denied: dataset nba_raw is not granted; add \"nba_raw\" to grants.misbehaving.warehouse",
        ),
        (
            "look up git",
            "git = ['pipeline']",
            "latest denied: no repository is granted; add one to grants.misbehaving.git",
        ),
        (
            "look up a deployment",
            "deployments = ['*']",
            "lookup denied: service prediction-worker is not granted; add \"prediction-worker\" to grants.misbehaving.deployments",
        ),
        (
            "post elsewhere",
            "slack = ['#canary-alerts', '#deployment-alerts']",
            "post denied: channel #deployment-alerts is not granted; add \"#deployment-alerts\" to grants.misbehaving.slack",
        ),
    ];
    for (behaviour, grant, denial) in lines {
        for allowed in [true, false] {
            let channel = if grant.starts_with("slack") && allowed { "" } else { "slack = ['#canary-alerts']" };
            let grant = if allowed { grant } else { "" };
            sample
                .configure(&format!(
                    "{HOST_TOML}\n[grants.misbehaving]\n{channel}\n{grant}\n[checks.misbehaving]\nsettings = {{ behaviour = '{behaviour}', sql = 'SELECT COUNT(*) AS n FROM nba_raw.nbac_schedule' }}\n"
                ))
                .unwrap();
            let mut command = sample.command();
            command.args(["run", "--once", "--at", AT, "--output", "json", "--check", "misbehaving"]);
            let run = ended(command.arg(guest("misbehaving"))).unwrap().run("misbehaving");
            match allowed {
                true => assert_eq!(run["status"], "pass", "{behaviour}: {run:#}"),
                false => assert!(run["error"].as_str().unwrap().contains(denial), "{behaviour}: {run:#}"),
            }
        }
    }
}
