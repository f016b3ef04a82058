//! A hostile plugin does not change the results of honest ones, and sees nothing of the machine.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use host_tests::HOST_TOML;
use serde_json::Value;

use crate::support::{
    AT,
    command::{Ended, Sample, ended, guest, shipped},
    text::{Text, component},
};

const GRANTS: &str = "[grants.misbehaving]\nwarehouse = ['nba_raw']\ngit = ['pipeline']\ndeployments = ['*']\nslack = ['#canary-alerts']\nbudgets = { timeout = '4s', memory = '32 MiB' }\n";
/// Billions of rows, counted one by one.
const ENDLESS: &str = "SELECT COUNT(*) AS n FROM nba_raw.nbac_player_boxscore a, nba_raw.nbac_player_boxscore b, nba_raw.nbac_player_boxscore c";

fn misbehaving(sample: &Sample, behaviours: &[(&str, &str)]) {
    let mut toml = format!("{HOST_TOML}\n{GRANTS}");
    for (at, (behaviour, sql)) in behaviours.iter().enumerate() {
        toml += &format!(
            "[checks.hostile{at}]\nplugin = 'misbehaving'\nsettings = {{ behaviour = '{behaviour}', sql = '{sql}' }}\n"
        );
    }
    sample.configure(&toml).unwrap();
}

fn all(sample: &Sample) -> Ended {
    let mut command = sample.command();
    command.args(["run", "--once", "--at", AT, "--output", "json"]).args(shipped().unwrap());
    ended(command.arg(guest("misbehaving"))).unwrap()
}

/// The results of the shipped checks, without durations.
fn findings(ended: &Ended) -> Vec<Value> {
    let json = ended.json();
    let honest = json["runs"].as_array().unwrap().iter().filter(|run| run["plugin"]["name"] != "misbehaving");
    honest
        .map(|run| {
            let mut run = run.clone();
            let fields = run.as_object_mut().unwrap();
            fields.remove("seconds");
            fields.remove("attempt");
            for call in fields["calls"].as_array_mut().unwrap() {
                call.as_object_mut().unwrap().remove("seconds");
            }
            // Concurrent calls are answered in any order.
            fields["calls"].as_array_mut().unwrap().sort_by_key(Value::to_string);
            run
        })
        .collect()
}

#[test]
fn honest_checks_find_the_same_beside_hostile_ones() {
    let sample = Sample::new(None).unwrap();
    let alone = sample.once(&["--output", "json"]).unwrap();
    assert_eq!(alone.code, 0, "{alone:?}");
    let expected = findings(&alone);
    assert_eq!(expected.len(), 9);
    let hostile = [
        ("spin", ""),
        ("allocate", ""),
        ("recurse", ""),
        ("flood the log", ""),
        ("ask thousands at once", ENDLESS),
        ("ask everything at once", ENDLESS),
        ("report enormously", ""),
        ("trap", ""),
    ];
    for behaviour in &hostile {
        misbehaving(&sample, std::slice::from_ref(behaviour));
        let ended = all(&sample);
        assert_eq!(findings(&ended), expected, "{behaviour:?}");
    }
    // And beside all of them at once.
    misbehaving(&sample, &hostile);
    let ended = all(&sample);
    assert_eq!(findings(&ended), expected);
    for at in [0, 1, 2, 3, 4, 5, 7] {
        assert_eq!(ended.run(&format!("hostile{at}"))["status"], "error", "{}", hostile[at].0);
    }
}

/// Things that Rust cannot express: invalid values, and mischief before the first run.
#[test]
fn values_that_are_broken_are_an_error_of_their_check() {
    let sample = Sample::new(None).unwrap();
    let run = |run| Text { run, ..Text::default() };
    let cases = [
        ("fine", Text::default(), ""),
        ("outside", run("(call $return (i32.const -8)) (i32.const 0)"), "trapped: "),
        (
            "no-such-case",
            run("(i32.store8 (i32.const 0) (i32.const 77)) (call $return (i32.const 0)) (i32.const 0)"),
            "trapped: ",
        ),
        // A summary that is not UTF-8.
        (
            "no-text",
            run("(i32.store (i32.const 20) (i32.const 100)) (i32.store (i32.const 24) (i32.const 1))
                 (i32.store8 (i32.const 100) (i32.const 255)) (call $return (i32.const 0)) (i32.const 0)"),
            "trapped: ",
        ),
        // 2,000 unknown items, each the same 64 KiB: 128 MiB for the host.
        (
            "enormous",
            Text {
                items: "(global $at (mut i32) (i32.const 65536))",
                run: "(loop $again
                        (i32.store (global.get $at) (i32.const 131072))
                        (i32.store offset=4 (global.get $at) (i32.const 65536))
                        (global.set $at (i32.add (global.get $at) (i32.const 8)))
                        (br_if $again (i32.lt_u (global.get $at) (i32.const 81536))))
                      (i32.store (i32.const 44) (i32.const 65536)) (i32.store (i32.const 48) (i32.const 2000))
                      (call $return (i32.const 0)) (i32.const 0)",
                ..Text::default()
            },
            "passes more than 8 MiB to the host in one call; raise budgets.transfer_bytes",
        ),
        ("twice", run("(call $return (i32.const 0)) (call $return (i32.const 0)) (i32.const 0)"), "trapped: "),
        ("never", run("(i32.const 0)"), "trapped: "),
        ("describe-traps", Text { describe: "unreachable", ..Text::default() }, "describe trapped: "),
        (
            "describe-spins",
            Text { describe: "(loop $again (br $again))", ..Text::default() },
            "describe timed out after 4 s",
        ),
        (
            "starts-badly",
            Text { items: "(func $start unreachable) (start $start)", ..Text::default() },
            "describe trapped: ",
        ),
    ];
    let mut toml = HOST_TOML.replace("timeout = \"30s\"", "timeout = \"4s\"");
    let mut files = Vec::new();
    for (name, text, _) in &cases {
        toml += &format!("\n[grants.{name}]\nslack = ['#canary-alerts']\n");
        let path = sample.path().join(format!("{name}.wasm"));
        fs::write(&path, component(name, *text)).unwrap();
        files.push(path);
    }
    sample.configure(&toml).unwrap();
    let mut command = sample.command();
    command.args(["run", "--once", "--at", AT, "--output", "json"]).args(shipped().unwrap()).args(&files);
    let ended = ended(&mut command).unwrap();
    assert!(!ended.err.contains("panicked"), "{}", ended.err);
    for (name, _, words) in cases {
        let run = ended.run(name);
        match words {
            "" => assert_eq!(run["status"], "pass", "{name}: {run:#}"),
            words => assert!(run["error"].as_str().is_some_and(|error| error.contains(words)), "{name}: {run:#}"),
        }
    }
    assert_eq!(
        findings(&ended).iter().filter(|run| run["status"] == "pass").count(),
        10,
        "those of the sample, and the fine one"
    );
}

#[test]
fn what_a_plugin_tries_of_the_system_fails_and_is_in_its_log() {
    let sample = Sample::new(None).unwrap();
    misbehaving(&sample, &[("look around", "")]);
    let ended = all(&sample);
    let run = ended.run("hostile0");
    assert_eq!(run["summary"], "environment 0, arguments 0, file false, directory false, socket false, name false");
    let log = run["log"].as_str().unwrap();
    for tried in ["to read the environment", "to open a file", "to open a TCP socket", "to use the network"] {
        assert!(log.contains(&format!("host: it tried {tried}, which is not allowed\n")), "{tried}: {log}");
    }
    assert_eq!(ended.run("phase2-raw")["log"], "", "a plugin that tries nothing has an empty log");
}

/// The same run gives the same report, dice included; another check's dice differ.
#[test]
fn dice_fall_as_the_run_says() {
    let sample = Sample::new(None).unwrap();
    misbehaving(&sample, &[("roll dice", ""), ("roll dice", "")]);
    let (once, again) = (all(&sample), all(&sample));
    let rolled = |ended: &Ended, check: &str| ended.run(check)["summary"].as_str().unwrap().to_owned();
    assert_eq!(rolled(&once, "hostile0"), rolled(&again, "hostile0"));
    assert_ne!(rolled(&once, "hostile0"), rolled(&once, "hostile1"));
}

/// Compiled code that was damaged, or that others could have written, is rebuilt and never run.
#[test]
fn the_cache_of_compiled_code_is_not_trusted() {
    let sample = Sample::new(None).unwrap();
    let cache = sample.path().join("cache/host/compiled");
    // It is compiled in no time, a dozen times.
    let plugin = sample.path().join("small.wasm");
    fs::write(&plugin, component("small", Text::default())).unwrap();
    sample.configure(&format!("{HOST_TOML}\n[grants.small]\nslack = ['#canary-alerts']\n")).unwrap();
    let run = || {
        let mut command = sample.command();
        command.env("XDG_CACHE_HOME", sample.path().join("cache"));
        command.args(["run", "--once", "--at", AT, "--output", "json", "--check", "small"]);
        let ended = ended(command.arg(&plugin)).unwrap();
        assert_eq!(ended.code, 0, "{ended:?}");
    };
    let kept = || {
        let mut files: Vec<_> =
            fs::read_dir(&cache).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
        assert!(files.len() <= 1, "{files:?}");
        files.pop()
    };
    run();
    let path = kept().unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&cache), mode(&path)), (0o700, 0o600));
    let whole = fs::read(&path).unwrap();
    let damaged = |at: usize| {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        bytes
    };
    for bytes in [damaged(0), damaged(40), damaged(whole.len() - 1), whole[..whole.len() / 2].to_vec(), Vec::new()] {
        fs::write(&path, bytes).unwrap();
        run();
        assert!(fs::read(&path).unwrap().len() == whole.len(), "it was written again");
    }
    // A file, and then a directory, that others can write.
    let foreign = damaged(whole.len() - 1);
    fs::write(&path, &foreign).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
    run();
    assert_eq!(mode(&path), 0o600);
    fs::write(&path, &foreign).unwrap();
    fs::set_permissions(&cache, fs::Permissions::from_mode(0o777)).unwrap();
    run();
    assert_eq!(fs::read(&path).unwrap(), foreign, "neither read nor written there");
    fs::set_permissions(&cache, fs::Permissions::from_mode(0o700)).unwrap();
    run();
    assert_ne!(fs::read(&path).unwrap(), foreign, "the same, when nobody else can");
    // A directory above: who can change it can put another in the place of ours.
    let above = sample.path().join("cache");
    fs::write(&path, &foreign).unwrap();
    fs::set_permissions(&above, fs::Permissions::from_mode(0o777)).unwrap();
    run();
    assert_eq!(fs::read(&path).unwrap(), foreign, "neither read nor written below it");
    fs::set_permissions(&above, fs::Permissions::from_mode(0o1777)).unwrap();
    run();
    assert_ne!(fs::read(&path).unwrap(), foreign, "in a sticky directory, as /tmp, others cannot");
    if std::os::unix::fs::chown(&above, Some(12345), None).is_ok() {
        fs::set_permissions(&above, fs::Permissions::from_mode(0o755)).unwrap();
        fs::write(&path, &foreign).unwrap();
        run();
        assert_eq!(fs::read(&path).unwrap(), foreign, "another user's directory");
    }
    // The name holds the whole digest of the component, and of the engine that it was compiled for.
    let name = path.file_name().unwrap().to_str().unwrap();
    assert_eq!(name.len(), 64 + 1 + 64 + ".cwasm".len(), "{name}");
    // No place for it at all.
    fs::remove_dir_all(sample.path().join("cache")).unwrap();
    fs::write(sample.path().join("cache"), "no directory").unwrap();
    run();
}

/// Queries that would take everything or never end, each an error of its own check, beside one that honestly takes much.
#[test]
fn queries_of_a_plugin_take_nothing_from_others() {
    let sample = Sample::new(None).unwrap();
    let long = |letter: &str| letter.repeat(400);
    let (table, wide) = ("nba_raw.nbac_player_boxscore", format!("REPLACE('{}', 'x', '{}')", long("x"), long("y")));
    let cases = [
        (
            format!(
                "WITH x AS (SELECT CONCAT(a.player_name, b.player_name, {wide}) AS k FROM {table} a, {table} b LIMIT 3100) \
                 SELECT COUNT(*) AS n FROM x p, x q, {table} b WHERE LENGTH(p.k) < LENGTH(q.k) + LENGTH(b.player_name)"
            ),
            "error",
            "query failed: it needs more than 256 MiB of memory",
        ),
        (
            format!(
                "SELECT COUNT(DISTINCT CONCAT(a.player_name, b.player_name, a.game_id)) AS n FROM {table} a, {table} b WHERE a.player_name < 'C'"
            ),
            "pass",
            "",
        ),
        (format!("SELECT {wide} LIKE {wide} AS n"), "error", "LIKE or GLOB pattern too complex"),
        (format!("SELECT LENGTH(REPLACE({wide}, 'y', '{}')) AS n", long("z")), "error", "string or blob too big"),
    ];
    let mut toml =
        HOST_TOML.to_owned() + "\n[grants.misbehaving]\nwarehouse = [\"nba_raw\"]\nslack = [\"#canary-alerts\"]\n";
    for (at, (sql, ..)) in cases.iter().enumerate() {
        toml += &format!(
            "[checks.case{at}]\nplugin = \"misbehaving\"\nsettings = {{ behaviour = \"query\", sql = \"{sql}\" }}\n"
        );
    }
    sample.configure(&toml).unwrap();
    let ended = all(&sample);
    for (at, (sql, status, words)) in cases.iter().enumerate() {
        let run = ended.run(&format!("case{at}"));
        assert_eq!(run["status"], *status, "{sql}: {run:#}");
        assert!(run["summary"].as_str().unwrap().contains(words), "{sql}: {}", run["summary"]);
    }
}

/// A query that reads no table still needs a grant.
#[test]
fn a_query_without_a_table_needs_a_grant() {
    let sample = Sample::new(None).unwrap();
    let asking = "[grants.misbehaving]\nslack = [\"#canary-alerts\"]\n[checks.misbehaving]\nsettings = { behaviour = \"query\" }\n";
    sample.configure(&format!("{HOST_TOML}\n{asking}")).unwrap();
    let run = all(&sample).run("misbehaving");
    assert_eq!(run["status"], "error");
    let denied =
        "query denied: no dataset is granted; add those that it needs to grants.misbehaving.warehouse in host.toml";
    assert!(run["summary"].as_str().unwrap().contains(denied), "{}", run["summary"]);
}
