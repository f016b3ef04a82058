//! Setting up on Google Cloud: the script against a stand-in for gcloud, and the configuration in the image.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;
use tempfile::TempDir;

use crate::support::command::{Ended, Sample, ended, repository, shipped};

const WEBHOOK: &str = "https://hooks.slack.com/services/T0/B0/s3cret";

/// A directory with the stand-in as `gcloud` and `bq`.
struct Cloud(TempDir);

impl Cloud {
    fn new() -> Self {
        let directory = TempDir::new().unwrap();
        let script = fs::canonicalize(repository().join("tests/support/google/gcloud.py")).unwrap();
        for name in ["gcloud", "bq"] {
            std::os::unix::fs::symlink(&script, directory.path().join(name)).unwrap();
        }
        Self(directory)
    }

    /// With the record in a bucket.
    fn setup_jobs(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Ended {
        self.setup_with("RECORD=bucket", arguments, environment)
    }

    fn setup_with(&self, record: &str, arguments: &[&str], environment: &[(&str, &str)]) -> Ended {
        let settings = fs::read_to_string(repository().join("deploy/settings.sh")).unwrap();
        let file = self.0.path().join("settings.sh");
        fs::write(&file, settings.replace("RECORD=disk", record)).unwrap();
        self.setup(arguments, &[environment, &[("SETTINGS", file.to_str().unwrap())]].concat())
    }

    fn setup(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Ended {
        self.run(&repository().join("deploy/setup.sh"), arguments, environment)
    }

    fn run(&self, script: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Ended {
        let path = format!("{}:{}", self.0.path().display(), std::env::var("PATH").unwrap());
        let mut command = Command::new(script);
        command.args(arguments).env("PATH", path).env("GCLOUD_DOUBLE", self.0.path());
        ended(command.envs(environment.iter().copied())).unwrap()
    }

    /// The commands that were run, since this was last asked.
    fn asked(&self) -> Vec<String> {
        let log = self.0.path().join("asked.jsonl");
        let text = fs::read_to_string(&log).unwrap_or_default();
        let _ = fs::remove_file(log);
        let words = |line: &str| serde_json::from_str::<Value>(line).unwrap()["command"].as_array().cloned();
        let commands = text.lines().filter_map(words);
        commands.map(|words| words.iter().map(|word| word.as_str().unwrap()).collect::<Vec<_>>().join(" ")).collect()
    }

    fn memory(&self) -> Value {
        let text = fs::read_to_string(self.0.path().join("memory.json")).unwrap_or_default();
        serde_json::from_str(&text).unwrap_or_default()
    }

    /// What an account may do, and on what.
    fn roles(&self, account: &str) -> Vec<String> {
        let is = format!("{account} is ");
        self.list("bindings").iter().filter_map(|entry| Some(entry.strip_prefix(&is)?.to_owned())).collect()
    }

    fn list(&self, what: &str) -> Vec<String> {
        let list = self.memory()[what].as_array().cloned().unwrap_or_default();
        let mut list: Vec<String> = list.iter().map(|entry| entry.as_str().unwrap().to_owned()).collect();
        list.sort();
        list
    }
}

/// The files of a set-up with the record in a database, which so many hosts of a service share, or three jobs. Gives its script.
pub(crate) fn with_database(directory: &Path, hosts: u32) -> PathBuf {
    let deploy = directory.join("with-database/deploy");
    fs::create_dir_all(&deploy).unwrap();
    for file in ["setup.sh", "settings.sh", "host.toml", "cloudbuild.yaml", "machine.sh"] {
        fs::copy(repository().join("deploy").join(file), deploy.join(file)).unwrap();
    }
    // What docs/google-cloud.md says to change.
    for (file, line, by) in [
        ("settings.sh", "\nRECORD=disk\n", "\nRECORD=database\n".to_owned()),
        ("settings.sh", "\nCLOUD_SQL=\n", "\nCLOUD_SQL=nba-props-platform:us-west2:watch\n".to_owned()),
        ("settings.sh", "\nHOSTS=2\n", format!("\nHOSTS={hosts}\n")),
        ("host.toml", "\n# url_env = \"HOST_STATE_URL\"\n", "\nurl_env = \"HOST_STATE_URL\"\n".to_owned()),
        ("host.toml", "\n# [web]\n# listen = \"127.0.0.1:8080\"\n", "\n[web]\nlisten = \"0.0.0.0:8080\"\n".to_owned()),
    ] {
        let text = fs::read_to_string(deploy.join(file)).unwrap();
        assert!(text.contains(line), "{file}: {line}");
        fs::write(deploy.join(file), text.replace(line, &by)).unwrap();
    }
    assert!(host::config::Config::parse(&fs::read_to_string(deploy.join("host.toml")).unwrap()).is_ok());
    deploy.join("setup.sh")
}

fn changes(asked: &[String]) -> Vec<&String> {
    asked.iter().filter(|command| !command.contains(" describe ")).collect()
}

#[test]
fn a_dry_run_shows_everything_and_changes_nothing() {
    let cloud = Cloud::new();
    let shown = cloud.setup(&["--dry-run"], &[("SLACK_WEBHOOK_URL_CANARY_ALERTS", WEBHOOK)]);
    assert_eq!(shown.code, 0, "{shown:?}");
    assert_eq!(changes(&cloud.asked()), [] as [&String; 0]);
    for words in [
        "gcloud iam service-accounts create pipeline-watch ",
        "--role=roles/bigquery.jobUser",
        "roles/bigquery.dataViewer",
        "gcloud secrets versions add slack-webhook-canary-alerts --data-file=-  # from SLACK_WEBHOOK_URL_CANARY_ALERTS",
        "gcloud compute instances create pipeline-watch ",
        ",_COMMIT=",
        "nothing was changed; ",
    ] {
        assert!(shown.out.contains(words), "{words}: {}", shown.out);
    }
    let build = std::fs::read_to_string(repository().join("deploy/cloudbuild.yaml")).unwrap();
    assert!(build.contains("HOST_COMMIT=$_COMMIT"), "{build}");
    assert!(!format!("{shown:?}").contains("s3cret"));
}

#[test]
fn it_is_set_up_once_and_can_be_run_again() {
    let cloud = Cloud::new();
    let webhooks = [("SLACK_WEBHOOK_URL_CANARY_ALERTS", WEBHOOK)];
    let first = cloud.setup(&[], &webhooks);
    assert_eq!(first.code, 0, "{first:?}");
    let asked = cloud.asked();
    assert!(!format!("{first:?} {asked:?}").contains("s3cret"), "a webhook is on no command line");
    assert_eq!(cloud.memory()["versions"]["slack-webhook-canary-alerts"][0], WEBHOOK);
    assert!(
        first.out.contains("slack-webhook-deployment-alerts is empty. Set SLACK_WEBHOOK_URL_DEPLOYMENT_ALERTS"),
        "{}",
        first.out
    );

    let account = "pipeline-watch@nba-props-platform.iam.gserviceaccount.com";
    let made = cloud.list("made");
    for thing in ["disk pipeline-watch-record", "machine pipeline-watch", "repository pipeline-watch"] {
        assert!(made.iter().any(|entry| entry == thing), "{thing}: {made:?}");
    }
    assert_eq!(made.len(), 8, "{made:?}");
    // The least privileges: it writes nothing but its log.
    assert_eq!(
        cloud.roles(account),
        [
            "roles/artifactregistry.reader on repository pipeline-watch",
            "roles/bigquery.dataViewer on dataset nba_analytics",
            "roles/bigquery.dataViewer on dataset nba_predictions",
            "roles/bigquery.dataViewer on dataset nba_raw",
            "roles/bigquery.dataViewer on dataset nba_reference",
            "roles/bigquery.jobUser on project",
            "roles/logging.logWriter on project",
            "roles/run.viewer on project",
            "roles/secretmanager.secretAccessor on secret slack-webhook-canary-alerts",
            "roles/secretmanager.secretAccessor on secret slack-webhook-deployment-alerts",
        ]
    );
    // The build may write its log, read its sources and push its image.
    assert_eq!(
        cloud.roles("pipeline-watch-build@nba-props-platform.iam.gserviceaccount.com"),
        [
            "roles/artifactregistry.writer on repository pipeline-watch",
            "roles/logging.logWriter on project",
            "roles/storage.objectViewer on bucket gs://nba-props-platform-pipeline-watch-build",
        ]
    );
    let asked = asked.join("\n");
    assert!(asked.contains("--disk=name=pipeline-watch-record,device-name=record "), "{asked}");

    let before = cloud.memory();
    let second = cloud.setup(&[], &[]);
    assert_eq!(second.code, 0, "{second:?}");
    assert_eq!(cloud.memory(), before, "nothing is made twice");
    let asked = cloud.asked();
    assert!(!asked.iter().any(|command| command.contains(" create ")), "{asked:?}");
    // What changed is read when the machine starts.
    let machine: Vec<_> = changes(&asked).into_iter().filter(|command| command.contains("compute instances")).collect();
    let verbs = ["stop", "add-metadata", "start"];
    assert!(
        machine.len() == 3 && machine.iter().zip(verbs).all(|(command, verb)| command.contains(verb)),
        "{machine:?}"
    );
}

/// With RECORD=bucket there are jobs instead of a machine, and it says what can be lost.
#[test]
fn jobs_are_a_start_that_says_what_it_risks() {
    let cloud = Cloud::new();
    let done = cloud.setup_jobs(&[], &[]);
    assert_eq!(done.code, 0, "{done:?}");
    assert!(done.err.contains("warning: with RECORD=bucket a record can be lost"), "{}", done.err);
    let made = cloud.list("made");
    for thing in
        ["bucket gs://nba-props-platform-pipeline-watch", "job pipeline-watch-drift", "trigger pipeline-watch-gate"]
    {
        assert!(made.iter().any(|entry| entry == thing), "{thing}: {made:?}");
    }
    assert!(made.len() == 14 && !made.iter().any(|entry| entry.starts_with("machine")), "{made:?}");
    let roles = cloud.roles("pipeline-watch@nba-props-platform.iam.gserviceaccount.com");
    let bucket = "roles/storage.objectUser on bucket gs://nba-props-platform-pipeline-watch";
    assert!(roles.len() == 9 && roles.last().is_some_and(|role| role == bucket), "{roles:?}");
    let asked = cloud.asked();
    let command = |words: String| asked.iter().find(|asked| asked.contains(&words)).unwrap();
    for (layer, schedule) in [("drift", "0 */2 * * *"), ("canaries", "*/30 * * * *"), ("gate", "30 6 * * *")] {
        let trigger = command(format!("scheduler jobs create http pipeline-watch-{layer}"));
        assert!(trigger.contains(&format!("--schedule={schedule} --time-zone=America/New_York")), "{trigger}");
        // A mount belongs to root, and the image's user could not write it.
        let job = command(format!("beta run jobs deploy pipeline-watch-{layer}"));
        assert!(job.contains("mount-options=uid=10001;gid=10001"), "{job}");
    }
    let file = fs::read_to_string(repository().join("deploy/Dockerfile")).unwrap();
    assert!(file.contains("\nUSER 10001\n"), "{file}");

    // Only one of the two runs.
    let moved = cloud.setup(&[], &[]);
    assert!(moved.code == 0 && !moved.err.contains("warning"), "{moved:?}");
    let made = cloud.list("made");
    let runs: Vec<_> =
        made.iter().filter(|entry| ["job ", "trigger ", "machine "].iter().any(|of| entry.starts_with(of))).collect();
    assert_eq!(runs, ["machine pipeline-watch"]);
    assert_eq!(cloud.setup_jobs(&[], &[]).code, 0);
    assert!(!cloud.list("made").iter().any(|entry| entry.starts_with("machine")), "{:?}", cloud.list("made"));
    let neither = cloud.setup_with("RECORD=memory", &[], &[]);
    assert!(neither.code == 64 && neither.err.contains("RECORD=memory in deploy/settings.sh"), "{neither:?}");
}

/// With RECORD=database several hosts share one record, or the jobs do; and nothing is set up whose record would be lost.
#[test]
fn several_hosts_share_a_database() {
    let cloud = Cloud::new();
    let home = cloud.0.path();
    let secrets = [("HOST_STATE_URL", "postgres://host:s3cret@/watch"), ("HOST_TOKEN", "t0ken")];
    let shown = cloud.run(&with_database(home, 3), &["--dry-run"], &secrets);
    assert!(shown.code == 0 && !shown.out.contains("s3cret") && !shown.out.contains("t0ken"), "{shown:?}");
    let line = |shown: &Ended, words: &str| {
        let line = shown.out.lines().find(|line| line.contains(words));
        line.unwrap_or_else(|| panic!("{words}: {shown:?}")).replace('\\', "")
    };
    let service = line(&shown, "gcloud run deploy pipeline-watch ");
    for words in [
        "--min-instances=3 --max-instances=3 --no-cpu-throttling ",
        "--ingress=internal --no-allow-unauthenticated ",
        "--set-cloudsql-instances=nba-props-platform:us-west2:watch ",
        "--set-secrets=HOST_STATE_URL=pipeline-watch-state-url:latest,HOST_TOKEN=pipeline-watch-token:latest ",
        ",HOST_REVISION=1",
    ] {
        assert!(service.contains(words), "{words}: {service}");
    }
    line(&shown, "secrets versions add pipeline-watch-state-url --data-file=-  # from HOST_STATE_URL");
    line(&shown, "secrets versions add pipeline-watch-token --data-file=-  # from HOST_TOKEN");
    assert!(!shown.out.contains(" run jobs ") && !shown.out.contains("compute.googleapis.com"), "{}", shown.out);

    let shown = cloud.run(&with_database(home, 0), &["--dry-run"], &secrets);
    let job = line(&shown, "gcloud run jobs deploy pipeline-watch-canaries ");
    for words in ["--set-cloudsql-instances=", "HOST_STATE_URL=pipeline-watch-state-url:latest", ",HOST_REVISION="] {
        assert!(job.contains(words), "{words}: {job}");
    }
    assert!(!shown.out.contains("run deploy") && !shown.out.contains("gs://nba-props-platform-pipeline-watch "));
    assert!(!shown.err.contains("warning"), "{}", shown.err);

    // A configuration that does not name the database, or that Cloud Run cannot ask.
    for (file, line, said) in [
        (
            "host.toml",
            "url_env = \"HOST_STATE_URL\"",
            "needs this line in deploy/host.toml: url_env = \"HOST_STATE_URL\"",
        ),
        ("host.toml", "listen = \"0.0.0.0:8080\"", "needs this line in deploy/host.toml: listen = \"0.0.0.0:8080\""),
        (
            "settings.sh",
            ":us-west2:watch",
            "CLOUD_SQL=nba-props-platform in deploy/settings.sh is not PROJECT:REGION:INSTANCE",
        ),
    ] {
        let script = with_database(home, 2);
        let file = script.with_file_name(file);
        let text = fs::read_to_string(&file).unwrap();
        assert!(text.contains(line), "{text}");
        fs::write(&file, text.replace(line, "")).unwrap();
        let refused = cloud.run(&script, &["--dry-run"], &secrets);
        assert!(refused.code == 64 && refused.err.contains(said), "{said}: {refused:?}");
    }
}

#[test]
fn it_is_taken_away_again() {
    let cloud = Cloud::new();
    let webhooks = [("SLACK_WEBHOOK_URL_CANARY_ALERTS", WEBHOOK)];
    assert_eq!(cloud.setup(&[], &webhooks).code, 0);
    cloud.asked();
    let shown = cloud.setup(&["--undo", "--dry-run"], &[]);
    assert_eq!((shown.code, changes(&cloud.asked()).len()), (0, 0), "{shown:?}");
    let undone = cloud.setup(&["--undo"], &[]);
    assert_eq!(undone.code, 0, "{undone:?}");
    assert!(undone.out.contains("kept: the secrets, and the record"), "{}", undone.out);
    let kept =
        ["disk pipeline-watch-record", "secret slack-webhook-canary-alerts", "secret slack-webhook-deployment-alerts"];
    assert_eq!(cloud.list("made"), kept);
    assert_eq!(cloud.setup(&["--undo"], &[]).code, 0, "it can be run again");
    assert_eq!(cloud.setup(&["--undo", "--purge"], &[]).code, 0);
    assert_eq!(cloud.list("made"), [] as [&str; 0]);
}

/// In a new project no API is enabled, and the default account of builds has no role.
#[test]
fn a_new_project_is_set_up_from_nothing() {
    let cloud = Cloud::new();
    let new = ("GCLOUD_NEW_PROJECT", "1");
    let shown = cloud.setup(&["--dry-run"], &[new]);
    assert_eq!(shown.code, 0, "{shown:?}");
    assert!(shown.out.contains("gcloud secrets create slack-webhook-canary-alerts "), "{}", shown.out);
    assert_eq!(changes(&cloud.asked()), [] as [&String; 0]);
    let done = cloud.setup(&[], &[new]);
    assert_eq!(done.code, 0, "{done:?}");
    let asked = cloud.asked();
    let looks = |command: &&String| command.contains(" describe ");
    assert!(
        asked.iter().filter(looks).all(|command| command.contains(" --quiet")),
        "nobody sees a question: {asked:?}"
    );
    // An API that is switched off hides what there is.
    let off = Cloud::new();
    let undone = off.setup(&["--undo", "--dry-run"], &[new]);
    assert!(undone.code == 1 && undone.err.contains("its API is not enabled yet"), "{undone:?}");
}

/// Neither of the two undoes what the other one has undone.
#[test]
fn an_interrupted_undo_is_finished_by_the_next() {
    let cloud = Cloud::new();
    assert_eq!(cloud.setup(&[], &[]).code, 0);
    let interrupted = cloud.setup(&["--undo"], &[("GCLOUD_FAILS", "iam service-accounts delete")]);
    assert_eq!(interrupted.code, 1, "{interrupted:?}");
    assert!(interrupted.err.contains("UNAVAILABLE"), "{interrupted:?}");
    let finished = cloud.setup(&["--undo"], &[]);
    assert_eq!(finished.code, 0, "{finished:?}");
    assert!(finished.out.contains("it is gone already"), "{}", finished.out);
    assert_eq!(cloud.list("made").len(), 3, "the secrets and the record");
    // Another refusal is not taken for that.
    let cloud = Cloud::new();
    assert_eq!(cloud.setup(&[], &[]).code, 0);
    let refused = cloud.setup(&["--undo"], &[("GCLOUD_FAILS", "projects remove-iam-policy-binding")]);
    assert!(refused.code == 1 && refused.err.contains("could not be removed"), "{refused:?}");
}

/// The table of permissions has each role that the script gives, and no role that nobody has.
#[test]
fn every_role_is_explained() {
    let roles = |text: &str| -> BTreeSet<String> {
        let named = text.split("roles/").skip(1);
        let end = |c: char| !c.is_ascii_alphanumeric() && c != '.';
        named.filter_map(|rest| rest.split(end).next()).map(|role| role.trim_end_matches('.').to_owned()).collect()
    };
    let read = |path: &str| fs::read_to_string(repository().join(path)).unwrap();
    let page = read("docs/google-cloud.md");
    let table: String = page.lines().filter(|line| line.starts_with("| ") && line.contains("`roles/")).collect();
    let (given, yours) = table.split_once("| you |").unwrap();
    assert_eq!(roles(given), roles(&read("deploy/setup.sh")));
    assert!(yours.contains("roles/iam.serviceAccountUser"), "{yours}");
}

/// Cloud Build's docker step has no BuildKit.
#[test]
fn the_image_is_built_without_buildkit() {
    let file = fs::read_to_string(repository().join("deploy/Dockerfile")).unwrap();
    assert!(!file.contains("syntax=") && !file.contains("<<"), "{file}");
    let steps: Vec<&str> = file.lines().filter(|line| line.starts_with("COPY ") || line.starts_with("RUN ")).collect();
    assert!(steps.len() > 5, "{steps:?}");
    for step in steps {
        let flags = step.split(' ').skip(1).take_while(|word| word.starts_with("--"));
        let needs: Vec<&str> =
            flags.filter(|flag| !flag.starts_with("--from=") && !flag.starts_with("--chown=")).collect();
        assert_eq!(needs, [] as [&str; 0], "{step}");
    }
    assert!(file.contains("chmod 0755 deploy/run-layer.sh"), "it is run by another user");
}

/// rust-toolchain.toml asks for the newest compiler, which would be fetched in each build; and what lies around here is not
/// sent along.
#[test]
fn the_image_is_built_with_the_compiler_of_its_base() {
    let read = |path: &str| fs::read_to_string(repository().join(path)).unwrap();
    let (file, manifest) = (read("deploy/Dockerfile"), read("Cargo.toml"));
    let version = manifest.lines().find_map(|line| line.strip_prefix("rust-version = ")).unwrap().trim_matches('"');
    assert!(file.contains(&format!("\nARG BUILDER=rust:{version}-slim-bookworm\n")), "{file}");
    assert!(file.contains("\nARG BASE=debian:bookworm-slim\n"), "the C library of both is the same: {file}");
    let (before, _) = file.split_once("RUN cargo ").unwrap();
    assert!(before.contains("\nENV RUSTUP_TOOLCHAIN=$RUST_VERSION\n"), "{file}");
    let left_out = read(".dockerignore");
    for path in ["target/", "plugins/*.wasm"] {
        assert!(left_out.lines().any(|line| line == path), "{path}: {left_out}");
    }
}

/// Jobs of other accounts are listed with `-a` alone, and one outside the US is found by its location alone.
#[test]
fn the_documents_jobs_are_found() {
    let pages: String = crate::docs::pages().into_iter().map(|(_, text)| text).collect();
    let commands = || pages.split('`').filter(|quoted| quoted.starts_with("bq "));
    assert!(commands().filter(|command| command.contains(" ls -j")).all(|command| command.contains(" -a")));
    let shown: Vec<&str> = commands().filter(|command| command.contains("show -j")).collect();
    assert!(!shown.is_empty() && shown.iter().all(|command| command.contains("--location=")), "{shown:?}");
}

#[test]
fn what_cannot_be_seen_stops_it() {
    let cloud = Cloud::new();
    let denied = cloud.setup(&["--undo"], &[("GCLOUD_DENIES", "1")]);
    assert_eq!(denied.code, 1, "{denied:?}");
    assert!(denied.err.contains("PERMISSION_DENIED"), "{}", denied.err);
    let unknown = cloud.setup(&["--dryrun"], &[]);
    assert_eq!(unknown.code, 64);
    assert!(unknown.err.contains("--dryrun is not known; see --help"), "{}", unknown.err);
    let help = cloud.setup(&["--help"], &[]);
    assert!(help.code == 0 && help.out.contains("--undo"), "{help:?}");
}

/// The configuration in the image is valid.
#[test]
fn the_jobs_configuration_is_valid() {
    let toml = fs::read_to_string(repository().join("deploy/host.toml")).unwrap();
    let config = host::config::Config::parse(&toml).unwrap();
    let sample = Sample::new(None).unwrap();
    sample.configure(&toml.replace("/tmp/repository", "repository").replace("/tmp/state", "state")).unwrap();
    // Checks without code have none there.
    for plugin in shipped().unwrap().into_iter().filter(|plugin| !plugin.ends_with("canary-sql.wasm")) {
        let inspected = ended(sample.command().arg("inspect").arg(plugin)).unwrap();
        assert!(inspected.code == 0 && !inspected.out.contains("not granted"), "{inspected:?}");
    }
    assert_eq!((config.checks.len(), config.grants.len()), (8, 8));
}
