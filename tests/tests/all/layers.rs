//! What the image runs: one layer once with its record in a bucket, or every check with its record on a disk; and what
//! the machine does at its start.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use host_tests::{Fault, HOST_TOML};
use rusqlite::Connection;
use tempfile::TempDir;

use crate::support::{
    command::{Ended, Sample, binary, ended, repository, shipped},
    postgres::Postgres,
    slack::Reply,
};

/// The environment of a job: the image's /etc/host and a bucket.
fn job(sample: &Sample, layer: &str, disk: &Path) -> Ended {
    ended(&mut job_command(sample, layer, disk)).unwrap()
}

fn job_command(sample: &Sample, layer: &str, disk: &Path) -> Command {
    let etc = sample.path().join("etc");
    fs::create_dir_all(etc.join("plugins")).unwrap();
    for file in shipped().unwrap() {
        fs::copy(&file, etc.join("plugins").join(file.file_name().unwrap())).unwrap();
    }
    let toml = fs::read_to_string(sample.path().join("host.toml")).unwrap();
    let toml = toml.replace("directory = \"state\"", &format!("directory = \"{}\"", disk.join("state").display()));
    let toml = toml
        .replace("path = \"warehouse\"", "path = \"../warehouse\"")
        .replace("path = \"deployments.json\"", "path = \"../deployments.json\"");
    let toml = toml.replace("path = \"repository\"", &format!("path = \"{}\"", disk.join("repository").display()));
    fs::write(etc.join("host.toml"), toml).unwrap();
    fs::create_dir_all(disk).unwrap();
    if !etc.join("plugins.lock").exists() {
        let mut pin = sample.command();
        pin.args(["pin", "--lock"]).arg(etc.join("plugins.lock")).args(shipped().unwrap());
        assert_eq!(ended(&mut pin).unwrap().code, 0);
    }
    let path = format!("{}:{}", binary("").display(), std::env::var("PATH").unwrap());
    let mut command = Command::new(repository().join("deploy/run-layer.sh"));
    for (name, value) in sample.command().get_envs() {
        command.env(name, value.unwrap_or_default());
    }
    command.arg(layer).env("PATH", path).env("HOST_ETC", &etc).env("HOST_STATE", disk.join("state"));
    command.env("HOST_RECORD", sample.path().join("bucket")).env("HOST_REPOSITORY", disk.join("repository"));
    command.env("REPOSITORY", format!("file://{}", sample.path().join("repository").display()));
    command
}

/// Each start has an empty disk; the record in the bucket has the earlier alerts.
#[test]
fn a_job_remembers_through_the_bucket() {
    let sample = Sample::new(None).unwrap();
    // Made for a moment of the past: today's canaries find nothing, and fail.
    let disk = TempDir::new().unwrap();
    for start in 0..3 {
        let ran = job(&sample, "canaries", &disk.path().join(start.to_string()));
        assert_eq!(ran.code, 0, "a failing check is not a failure of the job: {ran:?}");
        assert!(ran.err.contains("run-layer: warning: the record is in a bucket"), "{ran:?}");
        assert_eq!(sample.slack.received().len(), 1, "told once");
    }
    assert!(sample.path().join("bucket/canaries/host.db").exists());
    let gate = job(&sample, "gate", &disk.path().join("gate"));
    assert_eq!(gate.code, 3, "the schedule is empty today, so there is no verdict: {gate:?}");
    assert!(sample.path().join("bucket/gate/host.db").exists());
}

/// Jobs, and whatever else runs on the same database, share one record: nothing is copied, and nothing is told twice.
#[test]
fn jobs_share_a_database() {
    let sample = Sample::new(None).unwrap();
    let server = Postgres::start().unwrap();
    let disk = TempDir::new().unwrap();
    let mut start = 0;
    let mut command = |layer: &str| {
        start += 1;
        let mut command = job_command(&sample, layer, &disk.path().join(start.to_string()));
        command.env("HOST_STATE_URL", server.url());
        command
    };
    let unnamed = ended(&mut command("canaries")).unwrap();
    assert!(unnamed.code == 64 && unnamed.err.contains("url_env = \"HOST_STATE_URL\""), "{unnamed:?}");
    sample.configure(&HOST_TOML.replace("[state]\n", "[state]\nurl_env = \"HOST_STATE_URL\"\n")).unwrap();
    for _ in 0..2 {
        let ran = ended(&mut command("canaries")).unwrap();
        assert_eq!(ran.code, 0, "a failing check is not a failure of the job: {ran:?}");
        assert!(!ran.err.contains("bucket"), "{ran:?}");
        assert_eq!(sample.slack.received().len(), 1, "told once");
    }
    // A round goes on without the clone, which one check needs; and that one is no pass.
    let mut once = command("once");
    let once = ended(once.env("REPOSITORY", "file:///nowhere")).unwrap();
    assert!(once.code == 3 && once.err.contains("/nowhere cannot be fetched; deployment-drift cannot be"), "{once:?}");
    assert_eq!(server.sql("SELECT COUNT(DISTINCT check_name) FROM runs").unwrap(), "9");
    let drift = "SELECT status FROM runs WHERE check_name = 'deployment-drift'";
    assert_eq!(server.sql(drift).unwrap(), "error");
    assert!(!sample.path().join("bucket").exists());
}

/// Cloud Run stops a job with SIGTERM: the host hears it, and what it recorded until then is kept.
#[test]
fn a_job_that_is_stopped_stops_its_host_and_keeps_the_record() {
    let sample = Sample::new(None).unwrap();
    sample.slack.answer(Reply::Hang);
    let disk = TempDir::new().unwrap();
    let mut job = job_command(&sample, "canaries", disk.path());
    let mut running = job.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    sample.slack.wait_for_connections(1).unwrap();
    Command::new("kill").args(["-TERM", &running.id().to_string()]).status().unwrap();
    assert_eq!(running.wait().unwrap().code(), Some(143), "the host's own code");
    let kept = sample.path().join("bucket/canaries/host.db");
    let record = Connection::open(kept).unwrap();
    let runs: i64 = record.query_row("SELECT COUNT(*) FROM runs", [], |row| row.get(0)).unwrap();
    assert_eq!(runs, 6);
}

/// A host that was killed leaves its last commits in a second file.
#[test]
fn the_record_of_a_killed_host_is_whole() {
    let sample = Sample::new(None).unwrap();
    let disk = TempDir::new().unwrap();
    let state = disk.path().join("state/host.db");
    let bin = sample.path().join("bin");
    fs::create_dir_all(&bin).unwrap();
    // Kills itself after a commit, as the system does when memory is short.
    let killed = format!(
        "#!/usr/bin/env python3\nimport os, signal, sqlite3, subprocess, sys\n\
        ended = subprocess.run(['{host}', *sys.argv[1:]])\n\
        if sys.argv[1] == 'run':\n    record = sqlite3.connect('{state}')\n    \
        record.executescript('CREATE TABLE last_commit (at); INSERT INTO last_commit VALUES (1)')\n    \
        os.kill(os.getpid(), signal.SIGKILL)\nsys.exit(ended.returncode)\n",
        host = binary("host").display(),
        state = state.display()
    );
    fs::write(bin.join("host"), killed).unwrap();
    Command::new("chmod").arg("+x").arg(bin.join("host")).status().unwrap();
    let mut job = job_command(&sample, "canaries", disk.path());
    job.env("PATH", format!("{}:{}", bin.display(), std::env::var("PATH").unwrap()));
    let ran = ended(&mut job).unwrap();
    assert_eq!(ran.code, 137, "{ran:?}");
    let kept = sample.path().join("bucket/canaries/host.db");
    // The bucket has this one file.
    assert_eq!(fs::read_dir(kept.parent().unwrap()).unwrap().count(), 1);
    let record = Connection::open(&kept).unwrap();
    let commits: i64 = record.query_row("SELECT COUNT(*) FROM last_commit", [], |row| row.get(0)).unwrap();
    assert_eq!(commits, 1);
}

#[test]
fn the_drift_layer_clones_the_repository() {
    let sample = Sample::new(Some(Fault::StaleDeployment)).unwrap();
    sample.configure(HOST_TOML).unwrap();
    let disk = TempDir::new().unwrap();
    let ran = job(&sample, "drift", &disk.path().join("1"));
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.out.contains("prediction-worker"), "{ran:?}");
    let [(channel, _)] = sample.slack.received().try_into().unwrap();
    assert_eq!(channel, "deployment-alerts");
    let unknown = job(&sample, "moon", &disk.path().join("2"));
    assert!(unknown.code == 64 && unknown.err.contains("drift, canaries or gate; or once, or all"), "{unknown:?}");
}

/// A program of this name and text in a directory, which is returned.
fn program(directory: &Path, name: &str, text: &str) -> PathBuf {
    let bin = directory.join("bin");
    fs::create_dir_all(&bin).unwrap();
    fs::write(bin.join(name), text).unwrap();
    fs::set_permissions(bin.join(name), fs::Permissions::from_mode(0o755)).unwrap();
    bin
}

fn before_path(bin: &Path) -> String {
    format!("{}:{}", bin.display(), std::env::var("PATH").unwrap())
}

fn eventually(what: &str, mut is: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is() {
        assert!(began.elapsed() < Duration::from_secs(120), "{what}");
        thread::sleep(Duration::from_millis(50));
    }
}

/// Cloud Scheduler can start a job twice. The second to end does not overwrite what the first one kept.
#[test]
fn of_two_executions_one_keeps_its_record_and_the_other_says_so() {
    let sample = Sample::new(None).unwrap();
    let disk = TempDir::new().unwrap();
    assert_eq!(job(&sample, "canaries", &disk.path().join("1")).code, 0);
    let kept = sample.path().join("bucket/canaries/host.db");
    let other = format!(
        "#!/bin/sh\n{} \"$@\"\ncode=$?\n[ \"$1\" = run ] && echo other >{}\nexit $code\n",
        binary("host").display(),
        kept.display()
    );
    let bin = program(sample.path(), "host", &other);
    let mut second = job_command(&sample, "canaries", &disk.path().join("2"));
    let ran = ended(second.env("PATH", before_path(&bin))).unwrap();
    assert_eq!(ran.code, 3, "{ran:?}");
    assert!(ran.err.contains("run-layer: another execution of canaries has kept its record meanwhile"), "{ran:?}");
    assert_eq!(fs::read_to_string(&kept).unwrap(), "other\n");
}

/// A bucket that was mounted for another user.
#[test]
fn a_record_that_cannot_be_kept_is_an_error() {
    let sample = Sample::new(None).unwrap();
    let disk = TempDir::new().unwrap();
    // root may write everywhere, but not below a file.
    fs::write(sample.path().join("bucket"), "").unwrap();
    let ran = job(&sample, "canaries", disk.path());
    assert!(
        ran.code == 3 && ran.err.contains("bucket/canaries cannot be written, so this run's record is lost"),
        "{ran:?}"
    );
}

/// On a machine one host runs every check, on a record that stays where it is, and the clone follows the repository.
#[test]
fn a_machine_runs_every_check_until_it_is_stopped() {
    let sample = Sample::new(None).unwrap();
    let disk = TempDir::new().unwrap();
    let errors = disk.path().join("errors");
    let mut all = job_command(&sample, "all", disk.path());
    all.env("FETCH_EVERY", "0.1").stdout(Stdio::null()).stderr(fs::File::create(&errors).unwrap());
    let mut running = all.spawn().unwrap();
    let tip = |place: PathBuf| {
        ended(Command::new("git").arg("-C").arg(place).args(["rev-parse", "--verify", "--quiet", "refs/heads/main"]))
            .unwrap()
    };
    let (origin, clone) = (sample.path().join("repository"), disk.path().join("repository"));
    eventually("the host opens its record", || disk.path().join("state/host.db").exists());
    eventually("the clone is there", || tip(clone.clone()).code == 0);

    let mut commit = Command::new("git");
    commit.arg("-C").arg(&origin).args(["-c", "user.name=a", "-c", "user.email=a@b.test"]);
    assert_eq!(ended(commit.args(["commit", "--allow-empty", "--message", "new"])).unwrap().code, 0);
    let newest = tip(origin.clone()).out;
    eventually("the clone follows", || tip(clone.clone()).out == newest);
    // Held against old commits, old deployments would pass.
    let away = sample.path().join("away");
    fs::rename(&origin, &away).unwrap();
    eventually("a clone that cannot follow has no branch", || tip(clone.clone()).code != 0);
    fs::rename(&away, &origin).unwrap();
    eventually("and has it again", || tip(clone.clone()).out == newest);

    eventually("the host runs", || fs::read_to_string(&errors).unwrap().contains("next: "));
    Command::new("kill").args(["-TERM", &running.id().to_string()]).status().unwrap();
    assert_eq!(running.wait().unwrap().code(), Some(0), "{}", fs::read_to_string(&errors).unwrap());
    let errors = fs::read_to_string(&errors).unwrap();
    assert!(errors.contains("cannot be fetched; deployment-drift cannot be evaluated until it can"), "{errors}");
    assert!(!sample.path().join("bucket").exists());
}

/// The startup script, with a file for the disk, and stand-ins for what only a machine of Google's has.
#[test]
fn a_machine_never_formats_a_disk_with_a_record() {
    let directory = TempDir::new().unwrap();
    let home = directory.path();
    let log = home.join("asked");
    let record = format!("#!/bin/sh\necho \"$(basename \"$0\") $*\" >>{}\n", log.display());
    for name in ["mount", "chown", "docker", "docker-credential-gcr", "systemctl", "systemd-run"] {
        program(home, name, &record);
    }
    program(home, "mountpoint", "#!/bin/sh\nexit 1\n");
    let metadata = format!(
        "{record}for address; do :; done\ncase $address in\n*/image) printf us-west2-docker.pkg.dev/p/n/host:latest ;;\n\
        */repository) printf https://x.test/r.git ;;\n*/git-token-secret) printf git-token ;;\n*/project-id) printf p ;;\n\
        */token) printf '{{\"access_token\":\"t0ken\",\"expires_in\":3599}}' ;;\n\
        */secrets/git-token/versions/latest:access)\n  [ -e \"$0.known\" ] || {{ touch \"$0.known\"; exit 22; }}\n  grep -qx 'Authorization: Bearer t0ken' \"{}/run/authorization\" || exit 22\n\
        printf '{{\\n  \"name\": \"n\",\\n  \"payload\": {{\\n    \"data\": \"czNjcmV0\"\\n  }}\\n}}' ;;\n*) exit 22 ;;\nesac\n",
        home.display()
    );
    let bin = program(home, "curl", &metadata);
    let disk = home.join("disk");
    fs::File::create(&disk).unwrap().set_len(16 << 20).unwrap();
    let start = || {
        let _ = fs::remove_file(&log);
        let mut machine = Command::new(repository().join("deploy/machine.sh"));
        let path = format!("{}:/usr/sbin:/sbin", before_path(&bin));
        machine
            .env("PATH", path)
            .env("PAUSE", "0")
            .env("DISK", &disk)
            .env("MOUNT", home.join("mnt"))
            .env("RUN", home.join("run"));
        let ran = ended(&mut machine).unwrap();
        (ran, fs::read_to_string(&log).unwrap_or_default())
    };
    let identity = || ended(Command::new("/sbin/blkid").args(["--probe", "--output", "value"]).arg(&disk)).unwrap().out;
    let (first, asked) = start();
    assert_eq!(first.code, 0, "{first:?}");
    assert!(first.err.contains("read_git_token failed, is tried again"), "{first:?}");
    let made = identity();
    assert!(made.contains("ext4"), "{made}");
    for words in [
        "docker-credential-gcr configure-docker --registries=us-west2-docker.pkg.dev\n",
        "docker pull --quiet us-west2-docker.pkg.dev/p/n/host:latest\n",
        "/mnt/state:/tmp/state --env-file=",
        " us-west2-docker.pkg.dev/p/n/host:latest all\n",
    ] {
        assert!(asked.contains(words), "{words}: {asked}");
    }
    // Secrets are on no command line, and for root alone.
    assert!(!asked.contains("s3cret") && !asked.contains("t0ken"), "{asked}");
    let environment = home.join("run/environment");
    assert_eq!(fs::read_to_string(&environment).unwrap(), "REPOSITORY=https://x.test/r.git\nGIT_TOKEN=s3cret\n");
    assert_eq!(fs::metadata(&environment).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(!home.join("run/authorization").exists());

    assert_eq!(start().0.code, 0);
    assert_eq!(identity(), made, "the disk was formatted once");
    fs::remove_file(&disk).unwrap();
    let (missing, asked) = start();
    assert!(missing.code == 1 && missing.err.contains("cannot be read"), "{missing:?}");
    assert!(!asked.contains("mount ") && !asked.contains("systemd-run"), "{asked}");
}
