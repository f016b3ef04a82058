//! Setting up on Google Cloud through the real gcloud and bq, where they are installed, and the recording of them that the
//! stand-in of the quick tests is held against.

use std::{
    collections::BTreeSet,
    env, fs,
    io::{BufRead, BufReader},
    os::unix::{fs::symlink, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use serde_json::Value;
use tempfile::TempDir;

use crate::{
    deploy::with_database,
    support::{
        command::{Ended, ended, repository},
        say,
    },
};

/// What each command line makes of it. `RECORD=1 cargo xtask interop` writes it anew.
const RECORDING: &str = "tests/records/gcloud-528.txt";
const VERSION: &str = "Google Cloud SDK 528.0.0";

/// Command lines with a mistake: what the real one refuses by itself.
const MISTAKEN: &[&str] = &[
    "secrets create x --nope",
    "secrets create x --replication-polic=automatic",
    "secrets versions add x",
    "scheduler jobs create http x --location=us-west2",
    "scheduler jobs create http x --location=us-west2 --schedule=x --uri=https://x.test --http-method=PUSH",
    "artifacts repositories create x --location=us-west2",
    "projects add-iam-policy-binding p --member=user:a@b.test",
    "projects add-iam-policy-binding p --member=user:a@b.test --role=roles/run.viewer --condition=Nothing",
    "storage buckets create gs://x --uniform-access",
    "run jobs deploy x --region=us-west2 --image=y/z --add-volume=name=record,type=cloud-storage,bucket=b,mount-options=uid=1",
    "beta run jobs deploy x --region=us-west2 --image=y/z --task-timeout=ten",
    "compute instances create x --zone=us-west2-a --machine-tipe=e2-small",
    "compute instances create x --zone=us-west2-a --metadata=image",
    "compute instances create x --zone=us-west2-a --disk=nam=y",
    "compute disks create x --zone=us-west2-a --size=ten",
];

/// A Google Cloud to set up, behind the real command line or behind the stand-in.
struct Cloud {
    directory: TempDir,
    environment: Vec<(String, String)>,
    server: Option<Child>,
}

/// One command: its words, how it ended, what it said first, and what it asked Google.
#[derive(Debug, Default)]
struct Asked {
    command: String,
    exit: i64,
    error: String,
    requests: Vec<String>,
}

impl Cloud {
    /// `None` where gcloud is not installed.
    fn real() -> Option<Self> {
        let real = |name: &str| {
            let places = env::var("PATH").unwrap();
            places.split(':').map(|place| Path::new(place).join(name)).find(|program| program.is_file())
        };
        let (gcloud, bq) = real("gcloud").zip(real("bq"))?;
        let mut cloud = Self::new("google/cloud/recorded.py");
        let home = cloud.path();
        let certificate = home.join("server.pem");
        let mut openssl = Command::new("openssl");
        openssl.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]);
        openssl.args(["-days", "2", "-subj", "/CN=loopback", "-addext", "subjectAltName=DNS:*.googleapis.com"]);
        openssl.arg("-keyout").arg(home.join("server.key")).arg("-out").arg(&certificate);
        assert_eq!(ended(&mut openssl).unwrap().code, 0);
        let mut server = Command::new(support("google/cloud/server.py"))
            .arg(&home)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut port = String::new();
        BufReader::new(server.stdout.take().unwrap()).read_line(&mut port).unwrap();
        cloud.server = Some(server);
        fs::write(home.join("token"), "not-a-token").unwrap();
        let here = home.display().to_string();
        for (name, value) in [
            ("CLOUD", here.clone()),
            ("REAL_GCLOUD", gcloud.display().to_string()),
            ("REAL_BQ", bq.display().to_string()),
            // Where ssh keys would be made.
            ("HOME", here.clone()),
            ("CLOUDSDK_CONFIG", format!("{here}/config")),
            ("CLOUDSDK_AUTH_ACCESS_TOKEN_FILE", format!("{here}/token")),
            // Every request goes through the proxy: none leaves this machine.
            ("CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE", certificate.display().to_string()),
            ("CLOUDSDK_PROXY_TYPE", "http".to_owned()),
            ("CLOUDSDK_PROXY_ADDRESS", "127.0.0.1".to_owned()),
            ("CLOUDSDK_PROXY_PORT", port.trim().to_owned()),
            ("CLOUDSDK_CORE_DISABLE_USAGE_REPORTING", "true".to_owned()),
        ] {
            cloud.environment.push((name.to_owned(), value));
        }
        Some(cloud)
    }

    fn stand_in() -> Self {
        let mut cloud = Self::new("google/gcloud.py");
        let home = cloud.path().display().to_string();
        cloud.environment.push(("GCLOUD_DOUBLE".to_owned(), home));
        cloud.environment.push(("GCLOUD_NEW_PROJECT".to_owned(), "1".to_owned()));
        cloud
    }

    fn new(script: &str) -> Self {
        let directory = TempDir::new().unwrap();
        fs::create_dir(directory.path().join("bin")).unwrap();
        for name in ["gcloud", "bq"] {
            symlink(support(script), directory.path().join("bin").join(name)).unwrap();
        }
        Self { directory, environment: Vec::new(), server: None }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().to_owned()
    }

    /// Runs a program with this cloud's `gcloud` and `bq`.
    fn run(&self, command: &mut Command) -> Ended {
        let path = format!("{}:{}", self.path().join("bin").display(), env::var("PATH").unwrap());
        command.current_dir(repository()).env("PATH", path).stdin(Stdio::null()).process_group(0);
        ended(command.envs(self.environment.iter().map(|(name, value)| (name, value)))).unwrap()
    }

    fn setup(&self, record: &str, arguments: &[&str], environment: &[(&str, &str)]) -> Ended {
        let settings = fs::read_to_string(repository().join("deploy/settings.sh")).unwrap();
        let file = self.path().join("settings.sh");
        fs::write(&file, settings.replace("RECORD=disk", &format!("RECORD={record}"))).unwrap();
        let mut setup = Command::new(repository().join("deploy/setup.sh"));
        self.run(setup.args(arguments).env("SETTINGS", file).envs(environment.iter().copied()))
    }

    /// The same with the record in a database, for so many hosts.
    fn setup_shared(&self, hosts: u32, arguments: &[&str], environment: &[(&str, &str)]) -> Ended {
        let setup = with_database(&self.path(), hosts);
        self.run(Command::new(setup).args(arguments).envs(environment.iter().copied()))
    }

    /// What there is.
    fn made(&self) -> Vec<String> {
        let (file, key) = if self.server.is_some() { ("made.json", "things") } else { ("memory.json", "made") };
        let made: Value = serde_json::from_slice(&fs::read(self.path().join(file)).unwrap()).unwrap();
        let mut made: Vec<_> =
            made[key].as_array().unwrap().iter().map(|name| name.as_str().unwrap().to_owned()).collect();
        made.retain(|name| !name.contains("/source/"));
        made.sort();
        made
    }

    /// Every command so far, in words that are the same each time.
    fn asked(&self) -> Vec<Asked> {
        let text = fs::read_to_string(self.path().join("asked.jsonl")).unwrap();
        let mut all: Vec<Asked> = Vec::new();
        for line in text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()) {
            if let Some(words) = line["command"].as_array() {
                let words: Vec<_> = words.iter().map(|word| word.as_str().unwrap()).collect();
                all.push(Asked { command: settled(&words.join(" ")), ..Asked::default() });
                continue;
            }
            let last = all.last_mut().unwrap();
            if let Some(exit) = line["exit"].as_i64() {
                (last.exit, last.error) = (exit, settled(line["error"].as_str().unwrap().trim_end()));
                continue;
            }
            let (method, path) = (line["method"].as_str().unwrap(), line["path"].as_str().unwrap());
            let body = match line["body"].to_string() {
                // Who may do what is the command's own words again.
                _ if path.ends_with("IamPolicy") || path.ends_with("/iam") => String::new(),
                empty if empty == "{}" || empty == "null" => String::new(),
                body => format!(" {body}"),
            };
            let request = settled(&format!("{} {method} {path}{body}", line["code"]));
            // It asks again until something is done.
            if last.requests.last() != Some(&request) {
                last.requests.push(request);
            }
        }
        all
    }
}

impl Drop for Cloud {
    fn drop(&mut self) {
        if let Some(server) = &mut self.server {
            let _ = server.kill();
            let _ = server.wait();
        }
    }
}

fn support(file: &str) -> PathBuf {
    fs::canonicalize(repository().join("tests/support").join(file)).unwrap()
}

/// Without what differs from run to run: the commit, the moment, names made up, and the text of the machine's script.
fn settled(text: &str) -> String {
    let mut text = text.to_owned();
    for (before, end, by) in [
        ("_COMMIT=", " ", "COMMIT"),
        ("\"_COMMIT\":\"", "\"", "COMMIT"),
        ("/source/", ".tgz", "SOURCE"),
        ("source%2F", ".tgz", "SOURCE"),
        ("timestamp>=\\\"", "\\\"", "…"),
        ("\"source/", ".tgz", "SOURCE"),
        ("bqjob_", "\"", "JOB"),
        ("/queries/bqjob_", " ", "JOB"),
        ("/jobs/bqjob_", " ", "JOB"),
        ("\"#!/bin/sh", "\"}", "…"),
        ("access token from ", " specified", "TOKEN"),
        ("\"client.knative.dev/nonce\":\"", "\"", "…"),
        ("\"fingerprint\":\"", "\"", "…"),
        ("HOST_REVISION=", " ", "REVISION"),
        ("\"HOST_REVISION\",\"value\":\"", "\"", "REVISION"),
    ] {
        let mut from = 0;
        while let Some(at) = text[from..].find(before).map(|at| from + at + before.len()) {
            let rest = &text[at..];
            let mut until = rest.find(end).unwrap_or(rest.len());
            // The script has quotes of its own.
            if before.starts_with("\"#!") {
                until = rest.find("\\n\"}").map_or(until, |at| at + 2);
            }
            text.replace_range(at..at + until, by);
            from = at + by.len();
        }
    }
    text
}

/// Set up from nothing, interrupted, again, a second time, removed, interrupted, again; then with the record in a bucket, and in a
/// database.
fn scenario(cloud: &Cloud) {
    let webhook = ("SLACK_WEBHOOK_URL_CANARY_ALERTS", "https://hooks.slack.com/services/T0/B0/s3cret");
    let fine = |ended: &Ended| assert_eq!(ended.code, 0, "{}\n{}", ended.out, ended.err);
    fine(&cloud.setup("disk", &["--dry-run"], &[webhook]));
    assert!(cloud.asked().iter().all(|asked| asked.command.contains(" describe ")), "a dry run only looks");
    let killed = cloud.setup("disk", &[], &[webhook, ("DIES_AT", "secrets create slack-webhook-deployment-alerts")]);
    assert_eq!(killed.code, -1, "{killed:?}");
    let first = cloud.setup("disk", &[], &[webhook]);
    fine(&first);
    assert!(!format!("{first:?}").contains("s3cret"));
    let made = cloud.made();
    assert_eq!(made.len(), 8, "{made:?}");
    fine(&cloud.setup("disk", &[], &[]));
    assert_eq!(cloud.made(), made, "nothing is made twice");
    fine(&cloud.setup("disk", &["--undo", "--dry-run"], &[]));
    assert_eq!(cloud.made(), made);
    let killed = cloud.setup("disk", &["--undo"], &[("DIES_AT", "projects remove-iam-policy-binding")]);
    assert_eq!(killed.code, -1, "{killed:?}");
    let undone = cloud.setup("disk", &["--undo"], &[]);
    fine(&undone);
    assert!(undone.out.contains("it is gone already"), "{}", undone.out);
    assert_eq!(cloud.made().len(), 3, "two secrets and the disk: {:?}", cloud.made());
    fine(&cloud.setup("disk", &["--undo", "--purge"], &[]));
    assert_eq!(cloud.made(), [] as [String; 0]);

    let risky = cloud.setup("bucket", &[], &[webhook]);
    fine(&risky);
    assert!(risky.err.contains("warning: with RECORD=bucket a record can be lost"), "{}", risky.err);
    assert_eq!(cloud.made().len(), 14, "{:?}", cloud.made());
    fine(&cloud.setup("bucket", &[], &[]));
    assert_eq!(cloud.made().len(), 14, "{:?}", cloud.made());
    let moved = cloud.setup("disk", &[], &[]);
    fine(&moved);
    assert!(!moved.err.contains("warning: with RECORD"), "{}", moved.err);
    let made = cloud.made();
    assert!(made.len() == 10 && !made.iter().any(|thing| thing.contains("pipeline-watch-gate")), "{made:?}");
    fine(&cloud.setup("bucket", &["--undo", "--purge"], &[]));
    assert_eq!(cloud.made(), [] as [String; 0]);

    let secrets = [webhook, ("HOST_STATE_URL", "postgres://host:s3cret@/watch"), ("HOST_TOKEN", "t0ken")];
    let shared = cloud.setup_shared(2, &[], &secrets);
    fine(&shared);
    assert!(!["s3cret", "t0ken"].iter().any(|secret| format!("{shared:?}").contains(secret)), "{shared:?}");
    assert_eq!(cloud.made().len(), 9, "{:?}", cloud.made());
    fine(&cloud.setup_shared(0, &[], &[]));
    // Three jobs and three triggers with their account instead of the service; no bucket for a record.
    assert_eq!(cloud.made().len(), 15, "{:?}", cloud.made());
    fine(&cloud.setup_shared(2, &["--undo", "--purge"], &[]));
    assert_eq!(cloud.made(), [] as [String; 0]);
}

/// The commands of the page, with its placeholders.
fn documented() -> Vec<String> {
    let page = fs::read_to_string(repository().join("docs/google-cloud.md")).unwrap();
    let typed = page.lines().filter_map(|line| line.strip_prefix("$ "));
    let quoted = page.split('`').filter(|quoted| !quoted.contains('\n'));
    let mut commands: Vec<String> = typed.chain(quoted).map(str::to_owned).collect();
    commands.retain(|command| command.starts_with("gcloud ") || command.starts_with("bq "));
    // The first one needs a browser; a name alone is not a command.
    commands.retain(|command| !command.starts_with("gcloud auth ") && command.contains(" -"));
    commands.dedup();
    commands
}

fn written(asked: &[Asked]) -> String {
    let mut seen = BTreeSet::new();
    let mut text = String::new();
    for Asked { command, exit, error, requests } in asked {
        let error = if error.is_empty() { String::new() } else { format!(" {error}") };
        let mut entry = format!("$ {command}\n= {exit}{error}\n");
        entry.extend(requests.iter().map(|request| format!("> {request}\n")));
        if seen.insert(entry.clone()) {
            text += &entry;
        }
    }
    text
}

#[test]
#[ignore = "long: needs gcloud"]
fn the_real_gcloud_accepts_every_command() {
    let Some(cloud) = Cloud::real() else {
        return say("gcloud is not installed: deploy/setup.sh was run with the stand-in alone");
    };
    scenario(&cloud);
    for mistaken in MISTAKEN {
        cloud.run(Command::new("gcloud").args(mistaken.split(' ')).args(["--project=nba-props-platform", "--quiet"]));
    }
    let before = cloud.asked().len();
    for command in documented() {
        let ran =
            cloud.run(Command::new("sh").args(["-c", &command]).env("CLOUDSDK_CORE_PROJECT", "nba-props-platform"));
        let usage = ran.code == 2 && command.starts_with("gcloud ");
        let refused = usage || format!("{}{}", ran.out, ran.err).contains("lags parsing error");
        assert!(!refused, "docs/google-cloud.md: {command}: {ran:?}");
    }
    let asked = cloud.asked();
    assert!(asked.len() > before + 5);
    let unknown: Vec<_> =
        asked[..before].iter().filter(|asked| asked.error.contains("is not known to this double")).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
    let version = cloud.run(Command::new("gcloud").arg("--version")).out;
    let text = format!(
        "# What {VERSION} makes of each command line: `$` the command, `=` how it ended, `>` each request and the code\n\
        # of its answer. The answers are those of tests/support/google/cloud. tests/tests/all/real_gcloud.rs writes it.\n{}",
        written(&asked)
    );
    let file = repository().join(RECORDING);
    if !version.starts_with(VERSION) {
        say(&format!("{}: not compared with the recording of {VERSION}", version.lines().next().unwrap_or_default()));
    } else if env::var_os("RECORD").is_some() {
        fs::write(file, text).unwrap();
    } else {
        let recorded = fs::read_to_string(file).unwrap();
        let different = text.lines().zip(recorded.lines()).find(|(now, before)| now != before);
        assert!(text == recorded, "{different:?}; RECORD=1 writes {RECORDING} anew");
    }
}

/// The stand-in does what the real one did: each command of the set-up ends so, and each mistake is refused so.
#[test]
#[ignore = "long: each command that the real one was given"]
fn the_stand_in_does_what_the_real_gcloud_did() {
    let recording = fs::read_to_string(repository().join(RECORDING)).unwrap();
    let mut recorded: Vec<(&str, &str)> = Vec::new();
    for line in recording.lines() {
        if let Some(command) = line.strip_prefix("$ ") {
            recorded.push((command, ""));
        } else if let Some(ended) = line.strip_prefix("= ") {
            recorded.last_mut().unwrap().1 = ended;
        }
    }
    let cloud = Cloud::stand_in();
    scenario(&cloud);
    let asked = cloud.asked();
    let ends: BTreeSet<(String, String)> =
        asked.iter().map(|asked| (asked.command.clone(), asked.exit.to_string())).collect();
    let last = recorded.iter().position(|(command, _)| command.contains("secrets create x --nope")).unwrap();
    let real: BTreeSet<(String, String)> = recorded[..last]
        .iter()
        .map(|(command, ended)| ((*command).to_owned(), ended.split(' ').next().unwrap().to_owned()))
        .collect();
    let only = |of: &BTreeSet<_>, other: &BTreeSet<_>| of.difference(other).cloned().collect::<Vec<_>>();
    assert_eq!(
        (only(&ends, &real), only(&real, &ends)),
        (Vec::new(), Vec::new()),
        "the stand-in alone, the real one alone"
    );

    for mistaken in MISTAKEN {
        let command = format!("{mistaken} --project=nba-props-platform --quiet");
        let ran = cloud.run(Command::new("gcloud").args(command.split(' ')));
        let (_, real) = recorded.iter().find(|(recorded, _)| *recorded == format!("gcloud {command}")).unwrap();
        let said = format!("{} {}", ran.code, ran.err.lines().next().unwrap_or_default());
        assert!(real.starts_with(&said), "{command}: the stand-in: {said}; the real one: {real}");
    }
}
