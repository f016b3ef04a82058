//! `host doctor`: a healthy set-up, and every fault, each found before a run needs it.

use std::{fs, net::TcpListener, os::unix::fs::PermissionsExt, path::Path, process::Command};

use host_tests::HOST_TOML;
use jiff::{SignedDuration, Timestamp, fmt::rfc2822};
use serde_json::Value;

use crate::support::{
    command::{Ended, Sample, binary, ended, shipped},
    google::{
        asking,
        bigquery::{BigQueryDouble, Method, error},
        identity::IdentityDouble,
    },
    http::Reply,
    say,
};

/// A sample with its plugins in it, pinned.
fn sample() -> Sample {
    let sample = Sample::new(None).unwrap();
    fs::create_dir(sample.path().join("plugins")).unwrap();
    for plugin in shipped().unwrap() {
        fs::copy(&plugin, sample.path().join("plugins").join(plugin.file_name().unwrap())).unwrap();
    }
    let plugins = fs::read_dir(sample.path().join("plugins")).unwrap();
    let mut pin = sample.command();
    assert_eq!(ended(pin.arg("pin").args(plugins.map(|entry| entry.unwrap().path()))).unwrap().code, 0);
    sample
}

fn look(command: &mut Command) -> Ended {
    ended(command.args(["doctor", "--output", "json"])).unwrap()
}

/// How one thing is, and the words on it.
fn finding(ended: &Ended, what: &str) -> (String, String) {
    let json = ended.json();
    let findings = json["findings"].as_array().unwrap();
    let found = findings.iter().find(|finding| finding["what"] == what).unwrap_or_else(|| panic!("{what}: {json:#}"));
    (found["result"].as_str().unwrap().to_owned(), found["detail"].as_str().unwrap().to_owned())
}

fn entries(directory: &Path) -> usize {
    fs::read_dir(directory).unwrap().count()
}

#[test]
fn a_host_that_is_well_is_left_as_it_is() {
    let sample = sample();
    let before = entries(sample.path());
    // Not where rustup would install itself.
    let looked = look(sample.command().env("PATH", ""));
    assert_eq!(looked.code, 0, "{looked:?}");
    for (what, words) in [
        ("host.toml", "checks: 9"),
        ("plugins.lock", "pinned plugins: 9, all present, unchanged"),
        ("warehouse nba_raw", "tables: "),
        ("git pipeline", "main is at "),
        ("deployments", "services: 10"),
        ("channel #canary-alerts", "has a webhook"),
        ("permissions", "no other user"),
        ("state directory", "state: nothing is recorded yet"),
        ("disk", " free for the record"),
        ("cache", "keeps compiled plugins"),
        ("clock", ":"),
    ] {
        let (result, detail) = finding(&looked, what);
        assert!(result == "ok" && detail.contains(words), "{what}: {result} {detail}");
    }
    assert_eq!(finding(&looked, "fallback").0, "note");
    assert_eq!((entries(sample.path()), sample.slack.received().len()), (before, 0));

    // After a run it says when that was, and the record stays as it is.
    sample.once(&["--check", "phase2-raw"]).unwrap();
    assert!(finding(&look(&mut sample.command()), "state directory").1.contains("the newest run was recorded at 20"));
    let table = sample.host(&["doctor"]).unwrap();
    assert!(table.out.starts_with("WHAT ") && table.out.contains("\nplugins.lock "), "{}", table.out);
}

/// A fault: the change to a sample, the finding, and its text.
type Illness = (&'static str, fn(&Sample), &'static str, &'static [&'static str]);

fn write(sample: &Sample, path: &str, text: &str) {
    fs::write(sample.path().join(path), text).unwrap();
}

fn configured(sample: &Sample, from: &str, to: &str) {
    assert!(HOST_TOML.contains(from), "{from}");
    sample.configure(&HOST_TOML.replace(from, to)).unwrap();
}

fn allow(sample: &Sample, path: &str, mode: u32) {
    fs::set_permissions(sample.path().join(path), fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn everything_that_is_wrong_is_found_with_what_to_do() {
    let illnesses: &[Illness] = &[
        (
            "a typo",
            |sample| configured(sample, "depends_on", "depend_on"),
            "host.toml",
            &["unknown field `depend_on`", "did you mean `depends_on`?"],
        ),
        (
            "a directory that is not there",
            |sample| configured(sample, "path = \"repository\"", "path = \"repo\""),
            "host.toml",
            &["git.pipeline.path", "repo"],
        ),
        ("a lock that is none", |sample| write(sample, "plugins.lock", "format = 7"), "plugins.lock", &["format 7"]),
        (
            "a plugin that is gone",
            |sample| fs::remove_file(sample.path().join("plugins/phase2-raw.wasm")).unwrap(),
            "plugin phase2-raw",
            &["there is no ", "host pin"],
        ),
        (
            "another plugin",
            |sample| {
                drop(fs::copy(
                    sample.path().join("plugins/phase3-analytics.wasm"),
                    sample.path().join("plugins/phase2-raw.wasm"),
                ))
            },
            "plugin phase2-raw",
            &["differs from its pin"],
        ),
        (
            "a plugin that nobody signed",
            |sample| {
                let trusted = format!("[trust]\nkeys = [\"ed25519:{}\"]\n", "ab".repeat(32));
                sample.configure(&format!("{HOST_TOML}\n{trusted}")).unwrap();
            },
            "plugin phase2-raw",
            &["is not signed", "host sign"],
        ),
        (
            "a dataset that is gone",
            |sample| fs::remove_file(sample.path().join("warehouse/nba_raw.db")).unwrap(),
            "warehouse nba_raw",
            &["nba_raw"],
        ),
        (
            "a dataset that is none",
            |sample| write(sample, "warehouse/nba_raw.db", "not a database at all"),
            "warehouse nba_raw",
            &["not a database"],
        ),
        (
            "no warehouse",
            |sample| {
                configured(
                    sample,
                    "[warehouse]\nkind = \"sqlite\"\npath = \"warehouse\"\nproject = \"nba-props-platform\"",
                    "",
                )
            },
            "warehouse",
            &["host.toml has no [warehouse]"],
        ),
        (
            "another branch",
            |sample| configured(sample, "branch = \"main\"", "branch = \"release\""),
            "git pipeline",
            &["no branch release", "git.pipeline.branch"],
        ),
        (
            "deployments that are none",
            |sample| write(sample, "deployments.json", "[{]"),
            "deployments",
            &["deployments.json"],
        ),
        (
            "a channel without a webhook",
            |sample| sample.configure(&format!("{HOST_TOML}\n[slack.channels.\"#other\"]\n")).unwrap(),
            "channel #other",
            &["set SLACK_WEBHOOK_URL_OTHER in the environment"],
        ),
        (
            "a fallback without a webhook",
            |sample| sample.configure(&format!("{HOST_TOML}\n[fallback]\nwebhook_env = \"NOBODY\"\n")).unwrap(),
            "fallback",
            &["set NOBODY in the environment"],
        ),
        (
            "a heartbeat that goes nowhere",
            |sample| sample.configure(&format!("{HOST_TOML}\n[heartbeat]\nurl_env = \"NOWHERE\"\n")).unwrap(),
            "heartbeat",
            &["NOWHERE is not set"],
        ),
        (
            "a page for everybody",
            |sample| sample.configure(&format!("{HOST_TOML}\n[web]\nlisten = \"0.0.0.0:0\"\n")).unwrap(),
            "page",
            &["needs a token", "HOST_TOKEN"],
        ),
        ("what everybody can change", |sample| allow(sample, "plugins.lock", 0o666), "plugins.lock", &["chmod o-w"]),
        (
            "a record that is none",
            |sample| {
                fs::create_dir(sample.path().join("state")).unwrap();
                write(sample, "state/host.db", &"not a database".repeat(100));
            },
            "state directory",
            &["state/host.db: it is damaged"],
        ),
        (
            "a record of the future",
            |sample| {
                sample.once(&["--check", "phase2-raw"]).unwrap();
                let record = rusqlite::Connection::open(sample.path().join("state/host.db")).unwrap();
                record.execute("UPDATE runs SET recorded = recorded + 7200000", ()).unwrap();
            },
            "clock",
            &["the clock was set back"],
        ),
    ];
    for (illness, fall, what, words) in illnesses {
        let sample = sample();
        fall(&sample);
        let looked = look(&mut sample.command());
        assert_eq!(looked.code, 2, "{illness}: {looked:?}");
        let json = looked.json();
        let wrong = json["findings"].as_array().unwrap().iter().filter(|finding| finding["result"] == "wrong");
        let wrong: Vec<&Value> = wrong.collect();
        let found = wrong.iter().find(|finding| finding["what"] == *what);
        let detail = found.unwrap_or_else(|| panic!("{illness}: {json:#}"))["detail"].as_str().unwrap();
        for part in *words {
            assert!(detail.contains(part), "{illness}: {detail}");
        }
        // Other parts are not blamed, except that a missing signature affects all, and a wrong name in host.toml is
        // missing.
        let related = ["a plugin that nobody signed", "a directory that is not there"].contains(illness);
        assert!(wrong.len() == 1 || related, "{illness}: {wrong:#?}");
    }
}

#[test]
fn what_works_and_could_be_better_is_a_note() {
    let sample = sample();
    write(&sample, "token", &"0123456789abcdef".repeat(2));
    allow(&sample, "token", 0o644);
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let web = format!("[web]\ntoken_file = \"token\"\nlisten = \"{}\"\n", taken.local_addr().unwrap());
    sample.configure(&format!("{HOST_TOML}\n{web}")).unwrap();
    fs::create_dir(sample.path().join("state")).unwrap();
    allow(&sample, "state", 0o755);
    let looked = look(&mut sample.command());
    let (result, detail) = finding(&looked, "token");
    assert!(result == "note" && detail.contains("chmod 600 token"), "{result} {detail}");
    let (result, detail) = finding(&looked, "state directory");
    assert!(result == "note" && detail.contains("chmod 700 state"), "{result} {detail}");
    // Another program has the page's port.
    assert_eq!((looked.code, finding(&looked, "page").0.as_str()), (2, "wrong"));
    drop(taken);
    assert_eq!(look(&mut sample.command()).code, 0);
}

#[test]
fn a_page_that_this_host_serves_is_well() {
    let sample = sample();
    sample.configure(&format!("{HOST_TOML}\n[web]\nlisten = \"127.0.0.1:0\"\n")).unwrap();
    let mut staying = sample.stay().unwrap();
    let line = staying.wait_for("the page is at http://").unwrap();
    let listen = line.split("http://").nth(1).unwrap().trim().trim_end_matches('/').to_owned();
    sample.configure(&format!("{HOST_TOML}\n[web]\nlisten = \"{listen}\"\n")).unwrap();
    let (result, detail) = finding(&look(&mut sample.command()), "page");
    assert!(result == "ok" && detail.contains("a host runs on this state directory"), "{result} {detail}");
    staying.interrupt().unwrap();
}

#[test]
fn a_directory_without_anything_is_no_fault_unless_it_was_named() {
    let directory = tempfile::tempdir().unwrap();
    let doctor = |arguments: &[&str]| {
        let mut command = Command::new(binary("host"));
        command.current_dir(directory.path()).env("HOME", directory.path());
        ended(command.args(["doctor", "--output", "json"]).args(arguments)).unwrap()
    };
    let looked = doctor(&[]);
    let (result, detail) = finding(&looked, "host.toml");
    assert!(looked.code == 0 && result == "note" && detail.contains("host init"), "{looked:?}");
    let named = doctor(&["--config", "other.toml"]);
    assert_eq!((named.code, finding(&named, "other.toml").0.as_str()), (2, "wrong"));
}

/// On BigQuery: credentials, each dataset by a dry run, and a clock to compare with.
#[test]
fn bigquery_is_asked_for_nothing_that_bills() {
    let sample = sample();
    let (bigquery, identity) = (BigQueryDouble::start().unwrap(), IdentityDouble::start(3600).unwrap());
    sample.configure(&asking(&bigquery.warehouse())).unwrap();
    let doctor = || look(sample.command().env("GCE_METADATA_HOST", identity.address.host()));
    bigquery.dated(&rfc2822::to_string(&Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC)).unwrap());
    let looked = doctor();
    assert_eq!(looked.code, 0, "{looked:?}");
    assert!(finding(&looked, "Google credentials").1.contains("the metadata server"));
    assert!(finding(&looked, "warehouse nba_raw").1.contains("in us-west2 of project nba-props-platform"));
    assert!(finding(&looked, "clock").1.contains("the same as 127.0.0.1"), "{looked:?}");
    assert!(!bigquery.asked(Method::DryRun).is_empty());
    assert_eq!(bigquery.jobs(), 0, "nothing is billed");

    // Its clock is right, and this one is an hour behind.
    let later = Timestamp::now() + SignedDuration::from_hours(1);
    bigquery.dated(&rfc2822::to_string(&later.to_zoned(jiff::tz::TimeZone::UTC)).unwrap());
    bigquery.answer_next(Method::DryRun, [error(403, "accessDenied", "Access Denied: Dataset")]);
    let looked = doctor();
    let (result, detail) = finding(&looked, "clock");
    assert!(result == "wrong" && detail.contains("behind 127.0.0.1"), "{result} {detail}");
    let json = looked.json();
    let denied =
        json["findings"].as_array().unwrap().iter().find(|finding| {
            finding["what"].as_str().unwrap().starts_with("warehouse ") && finding["result"] == "wrong"
        });
    assert!(denied.unwrap()["detail"].as_str().unwrap().contains("roles/bigquery.dataViewer"), "{json:#}");

    identity.refuse(Reply::Answer(404, "no service account".to_owned()));
    let (result, detail) = finding(&doctor(), "Google credentials");
    assert!(result == "wrong" && detail.contains("no access token"), "{result} {detail}");
}

/// Missing, outdated, failing or hanging tools are notes, since only plugin authors need them.
#[test]
fn toolchains_are_looked_at_and_not_needed() {
    let sample = sample();
    let bin = sample.path().join("bin");
    fs::create_dir(&bin).unwrap();
    for (name, script) in [
        ("rustc", "echo rustc 1.95.0"),
        ("rustup", "echo x86_64-unknown-linux-gnu"),
        ("python3", "echo Python 3.9.1"),
        ("node", "exec /bin/sleep 60"),
    ] {
        write(&sample, &format!("bin/{name}"), &format!("#!/bin/sh\n{script}\n"));
        allow(&sample, &format!("bin/{name}"), 0o755);
    }
    let looked = look(sample.command().env("PATH", &bin));
    for (what, words) in [
        ("Rust plugins", "rustup target add wasm32-wasip2"),
        ("Python plugins", "Python 3.9.1 is too old"),
        ("JavaScript plugins", "install Node.js 20"),
    ] {
        let (result, detail) = finding(&looked, what);
        assert!(result == "note" && detail.contains(words), "{what}: {result} {detail}");
    }
    assert_eq!(looked.code, 0);
}

#[test]
fn a_disk_that_is_nearly_full_is_found() {
    let sample = sample();
    if !Command::new("unshare").args(["-rm", "true"]).status().is_ok_and(|status| status.success()) {
        say("not tried: a full disk, since this system lets nobody have one of their own (unshare -rm)");
        return;
    }
    fs::create_dir(sample.path().join("state")).unwrap();
    let script = "mount -t tmpfs -o size=1m,mode=700 none state && \"$0\" doctor --output json";
    let host = sample.command().get_program().to_owned();
    let mut command = Command::new("unshare");
    command.current_dir(sample.path()).args(["-rm", "bash", "-c", script]).arg(host);
    command.env("SLACK_WEBHOOK_URL_CANARY_ALERTS", sample.slack.webhook("canary-alerts"));
    command.env("SLACK_WEBHOOK_URL_DEPLOYMENT_ALERTS", sample.slack.webhook("deployment-alerts"));
    let looked = ended(&mut command).unwrap();
    let (result, detail) = finding(&looked, "disk");
    assert!(looked.code == 2 && result == "wrong" && detail.contains("lower state.keep"), "{looked:?}");
}

/// A command that pins plugins is suggested where there are plugins.
#[test]
fn pinning_is_suggested_where_there_are_plugins() {
    let sample = Sample::new(None).unwrap();
    let said = || finding(&look(&mut sample.command()), "plugins.lock").1;
    assert!(said().contains("there is none in plugins/; `host pin --help` says how"), "{}", said());
    fs::create_dir(sample.path().join("plugins")).unwrap();
    assert!(said().contains("there is none in plugins/"), "{}", said());
    fs::write(sample.path().join("plugins/a.wasm"), "").unwrap();
    assert!(said().ends_with("`host pin plugins/*.wasm` writes it"), "{}", said());
}
