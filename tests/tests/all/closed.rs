//! Closed outputs: `host … | head -1` ends the reader. Every command then does its work and ends as it would have, and
//! says nothing before it is true.

use std::{fs, io::pipe, path::Path, process::Stdio};

use crate::support::{
    AT,
    command::{Sample, repository, shipped},
    registry::Registry,
};

/// An output whose reader has ended.
fn closed() -> Stdio {
    let (reader, writer) = pipe().unwrap();
    drop(reader);
    Stdio::from(writer)
}

/// The arguments of a command, its exit code, and the file that it writes, if any. `OCI` is a place in a registry.
type Step = (&'static str, i32, &'static str);

/// Two plugins of the sample.
const TOML: &str = "timezone = \"America/New_York\"
[warehouse]
kind = \"sqlite\"
path = \"warehouse\"
project = \"nba-props-platform\"
[slack]
deliver = \"webhook\"
[grants.phase2-raw]
warehouse = [\"nba_raw\"]
slack = [\"#canary-alerts\"]
[grants.phase2-gate]
warehouse = [\"nba_raw\", \"nba_reference\"]
slack = [\"#canary-alerts\"]
";

/// At least one for each command of `host --help`.
const STEPS: &[Step] = &[
    ("--help", 0, ""),
    ("help run", 0, ""),
    ("no-such-command", 64, ""),
    ("run --once no-such-file.wasm", 64, ""),
    ("schema", 0, ""),
    ("completions bash", 0, ""),
    ("man man", 0, "man/host.1"),
    ("init --config new.toml plugins/phase2-raw.wasm", 0, "new.toml"),
    ("new raw-events", 0, "raw-events/Cargo.toml"),
    ("keygen", 0, "host.key"),
    ("sign --key host.key plugins/phase2-raw.wasm", 0, "plugins/phase2-raw.wasm.sig"),
    ("pin plugins/phase2-raw.wasm plugins/phase2-gate.wasm", 0, "plugins.lock"),
    ("pin --verify", 0, ""),
    ("test plugins/phase2-raw.wasm CASES", 0, ""),
    ("inspect plugins/phase2-raw.wasm", 0, ""),
    ("plan", 0, ""),
    ("doctor", 0, ""),
    ("validate", 0, ""),
    ("run --once --at AT", 0, "state/host.db"),
    ("gate phase2-gate --date 2026-02-05 --caller test", 0, ""),
    ("query SQL", 0, ""),
    // Its record is in a directory, for one host.
    ("fleet", 64, ""),
    ("state copy --from state --to moved", 0, "moved/host.db"),
    ("replay phase2-raw", 0, ""),
    ("backtest phase2-raw --from 2026-02-04 --to 2026-02-05", 0, ""),
    ("tune phase2-raw --from 2026-02-01 --to 2026-02-05", 3, ""),
    ("mutate phase2-raw --date 2026-02-05", 0, ""),
    ("report", 0, ""),
    ("label 99 real --why none", 64, ""),
    ("state purge --before 2000-01-01", 0, ""),
    ("history", 0, ""),
    ("audit", 0, ""),
    ("costs", 0, ""),
    ("recheck phase2-raw --date 2026-02-05", 0, ""),
    ("ack phase2-raw --why testing", 64, ""),
    ("close phase2-raw --date 2026-02-05 --why testing", 64, ""),
    ("silence phase2-raw --for 1h --why testing", 0, ""),
    ("silences --expire 1", 0, ""),
    ("silences --expire 1", 64, ""),
    ("receivers test", 0, ""),
    ("push plugins/phase2-raw.wasm OCI", 0, ""),
    ("add --lock other/plugins.lock OCI", 0, "other/plugins.lock"),
    ("outdated --lock other/plugins.lock", 0, ""),
    ("update --all --lock other/plugins.lock", 0, ""),
    ("pull --lock other/plugins.lock", 0, ""),
];

/// Runs every step in a new directory; gives what is not as it should be.
fn steps(out: fn() -> Stdio, err: fn() -> Stdio) -> Vec<String> {
    let sample = Sample::new(None).unwrap();
    sample.configure(TOML).unwrap();
    let place = sample.path();
    fs::create_dir(place.join("plugins")).unwrap();
    fs::create_dir(place.join("other")).unwrap();
    for file in shipped().unwrap() {
        let name = file.file_name().unwrap();
        if ["phase2-raw.wasm", "phase2-gate.wasm"].iter().any(|wanted| name == *wanted) {
            fs::copy(&file, place.join("plugins").join(name)).unwrap();
        }
    }
    let registry = Registry::start(false).unwrap();
    let oci = format!("oci://{}/phase2-raw", registry.host());
    let cases = repository().join("plugins/phase2-raw/cases").display().to_string();
    let mut wrong = Vec::new();
    for (step, code, file) in STEPS {
        let argument = |word: &str| match word {
            "AT" => AT.to_owned(),
            "OCI" => oci.clone(),
            "CASES" => cases.clone(),
            "SQL" => "SELECT COUNT(*) AS n FROM nba_raw.nbac_player_boxscore".to_owned(),
            word => word.to_owned(),
        };
        let mut command = sample.command();
        let ended = command.args(step.split(' ').map(argument)).stdout(out()).stderr(err()).output().unwrap();
        if ended.status.code() != Some(*code) {
            let said = String::from_utf8_lossy(&ended.stderr).into_owned();
            wrong.push(format!("host {step}: {} and not {code}: {said}", ended.status));
        }
        if !file.is_empty() && !place.join(file).exists() {
            wrong.push(format!("host {step} did not write {file}"));
        }
    }
    wrong
}

#[test]
fn every_command_survives_closed_outputs_and_does_its_work() {
    let sample = Sample::new(None).unwrap();
    let help = sample.host(&["--help"]).unwrap().out;
    let listed = help.lines().skip_while(|line| *line != "Start:").take_while(|line| *line != "Options:");
    let own = listed.filter(|line| !line.starts_with("   "));
    let commands: Vec<&str> = own.filter_map(|line| line.strip_prefix("  ")?.split_whitespace().next()).collect();
    assert!(commands.len() > 20, "{help}");
    for command in commands {
        assert!(STEPS.iter().any(|(step, ..)| step.split(' ').next() == Some(command)), "no step for {command}");
    }
    for (name, out, err) in [
        ("open", Stdio::piped as fn() -> Stdio, Stdio::piped as fn() -> Stdio),
        ("standard output closed", closed, Stdio::piped),
        ("standard error closed", Stdio::piped, closed),
        ("both closed", closed, closed),
    ] {
        let wrong = steps(out, err);
        assert!(wrong.is_empty(), "{name}:\n{}", wrong.join("\n"));
    }
}

/// A service without outputs runs on.
#[test]
fn a_host_that_stays_survives_closed_outputs() {
    let sample = Sample::new(None).unwrap();
    let mut command = sample.command();
    let plugin = shipped().unwrap().into_iter().find(|file| file.ends_with("phase2-raw.wasm")).unwrap();
    let mut process =
        command.args(["run", "--output", "json"]).arg(plugin).stdout(closed()).stderr(closed()).spawn().unwrap();
    let record = sample.path().join("state/host.db");
    let started = std::time::Instant::now();
    while !record.exists() && started.elapsed().as_secs() < 60 {
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    assert!(process.try_wait().unwrap().is_none(), "it ended by itself");
    std::process::Command::new("kill").args(["-INT", &process.id().to_string()]).status().unwrap();
    // 130 if it was still loading the plugin. A panic would be 101.
    let code = process.wait().unwrap().code();
    assert!([Some(0), Some(130)].contains(&code), "{code:?}");
    assert!(record.exists());
}

/// No line says "new" of a pin that could not be written.
#[test]
fn nothing_is_said_before_it_is_true() {
    let sample = Sample::new(None).unwrap();
    let plugin = shipped().unwrap().into_iter().find(|file| file.ends_with("phase2-raw.wasm")).unwrap();
    let plugin = plugin.to_str().unwrap();
    let pinned = sample.host(&["pin", plugin]).unwrap();
    assert!(pinned.code == 0 && pinned.err.contains(", new\n") && pinned.err.contains("1 plugin pinned"), "{pinned:?}");
    // Nothing can be written there.
    let lock = Path::new("/proc/plugins.lock");
    let failed = sample.host(&["pin", "--lock", lock.to_str().unwrap(), plugin]).unwrap();
    assert!(failed.code == 64 && failed.err.contains("/proc"), "{failed:?}");
    assert!(!failed.err.contains(", new") && !failed.err.contains("pinned\n"), "{failed:?}");
    assert!(!failed.err.contains(".tmp"), "it names a file that does not exist: {failed:?}");
}
