//! `cargo xtask container`: builds the image and runs its jobs on the sample pipeline as Cloud Run would: as the image's user,
//! on a read-only root.

use std::{
    fs,
    io::ErrorKind,
    net::TcpListener,
    path::PathBuf,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use super::{
    build::SAMPLE,
    image::{IMAGE, Podman, remove},
    run::{Result, cargo, failed, output, run, run_for_code, step, target},
    tools,
};

/// The image's user.
const USER: &str = "10001";
/// How long a job may take until it tells Slack.
const PATIENCE: Duration = Duration::from_secs(180);

/// Builds and tries the image, or says what is missing for it.
pub(super) fn container(profile: &str) -> Result<()> {
    if let Err(missing) = tools::podman() {
        step(&format!("skipping the image: {missing}"));
        return Ok(());
    }
    let podman = Podman::in_directory(&target().join("container"))?;
    let container = Container { sample: podman.place.join("sample"), podman };
    container.sample()?;
    let commit = container.podman.image(profile)?;
    container.starts(&commit)?;
    container.layers()?;
    container.read_only()?;
    container.stopped()?;
    // Images that lost their name to a newer one.
    output(container.podman.command().args(["image", "prune", "--force"])).map(drop)
}

/// The image with the sample pipeline.
struct Container {
    podman: Podman,
    sample: PathBuf,
}

impl Container {
    /// The sample pipeline with data of today and a fault to find, and its host.toml with the paths of the container.
    fn sample(&self) -> Result<()> {
        cargo(&SAMPLE)?;
        let sample = &self.sample;
        remove(sample)?;
        run(Command::new(target().join("debug").join("sample")).arg(sample).args(["--fault", "null-names"]))?;
        let file = sample.join("host.toml");
        let toml = fs::read_to_string(&file).map_err(failed(&file))?;
        let toml = toml.replace("\"warehouse\"", "\"/sample/warehouse\"").replace("\"state\"", "\"/tmp/state\"");
        let toml = toml.replace("\"repository\"", "\"/tmp/repository\"");
        let toml = toml.replace("\"deployments.json\"", "\"/sample/deployments.json\"");
        let written = fs::write(&file, &toml)
            .and_then(|()| fs::write(sample.join("slack.toml"), toml.replace("\"console\"", "\"webhook\"")))
            .and_then(|()| fs::create_dir(sample.join("record")));
        written.map_err(failed(sample))?;
        // git reads no repository of another user.
        run(Command::new("chown").args(["--recursive", USER]).arg(sample))
    }

    /// `podman run` as Cloud Run would, with the sample, without image and arguments.
    fn job(&self, options: &[&str]) -> Command {
        let sample = self.sample.display();
        let mut command = self.podman.command();
        command.args(["run", "--rm", "--read-only", "--tmpfs", "/tmp", "--network", "host"]);
        // Its own limits are higher than a sandbox may allow.
        command.args(["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024"]);
        command.args(["--volume", &format!("{sample}:/sample:ro"), "--volume", &format!("{sample}/record:/record")]);
        command.args(["--env", "REPOSITORY=file:///sample/repository"]).args(options);
        command
    }

    /// The option for a host.toml of the sample.
    fn toml(&self, name: &str) -> String {
        format!("--volume={}:/etc/host/host.toml:ro", self.sample.join(name).display())
    }

    /// Its host is that of the commit.
    fn starts(&self, commit: &str) -> Result<()> {
        let size = output(self.podman.command().args(["image", "inspect", "--format", "{{.Size}}", IMAGE]))?;
        let begun = Instant::now();
        let version = output(self.job(&["--entrypoint", "host"]).args([IMAGE, "--version"]))?;
        if !version.contains(commit) {
            return Err(format!("the image was built from {commit}, and its host says `{version}`"));
        }
        let megabytes = size.parse::<u64>().map_err(|_| format!("`{size}` is not a size"))? / 1_000_000;
        step(&format!("the image has {megabytes} MB; `{version}` came after {:.1} s", begun.elapsed().as_secs_f64()));
        Ok(())
    }

    /// Each layer does its work.
    fn layers(&self) -> Result<()> {
        let works = [("canaries", "1 failed, 5 passed"), ("gate", "PROCEED"), ("drift", "10 of 10 services in sync")];
        for (layer, words) in works {
            let begun = Instant::now();
            let said = output(self.job(&[&self.toml("host.toml")]).args([IMAGE, layer]))?;
            if !said.contains(words) {
                return Err(format!("run-layer {layer} does not say `{words}`:\n{said}"));
            }
            self.recorded(layer)?;
            step(&format!("run-layer {layer}: `{words}` after {:.1} s", begun.elapsed().as_secs_f64()));
        }
        Ok(())
    }

    /// It is not root who runs, and even root could write to /tmp alone.
    fn read_only(&self) -> Result<()> {
        let user = output(self.job(&["--entrypoint", "id"]).args([IMAGE, "--user"]))?;
        if user != USER {
            return Err(format!("the image runs as user {user}, and should as {USER}"));
        }
        for (file, may) in [("/tmp/new", true), ("/etc/host/new", false)] {
            let mut touch = self.job(&["--user", "0", "--entrypoint", "touch"]);
            if (run_for_code(touch.args([IMAGE, file]))? == 0) != may {
                return Err(format!("the container may write {file}: {}", !may));
            }
        }
        step("only /tmp can be written");
        Ok(())
    }

    /// A job that waits for Slack, which never answers, hears SIGTERM and keeps its record.
    fn stopped(&self) -> Result<()> {
        let failed = |error: std::io::Error| format!("a job that is stopped: {error}");
        let slack = TcpListener::bind("127.0.0.1:0").map_err(failed)?;
        slack.set_nonblocking(true).map_err(failed)?;
        let address = slack.local_addr().map_err(failed)?;
        let webhook = format!("--env=SLACK_WEBHOOK_URL_CANARY_ALERTS=http://{address}/services/T0/B0/x");
        let options = ["--name", "stopped", &self.toml("slack.toml"), &webhook, "--env=HOST_RECORD=/record/stopped"];
        let mut job = self.job(&options).args([IMAGE, "canaries"]).spawn().map_err(failed)?;
        let begun = Instant::now();
        // Dropped at the end, so that the job waits until then.
        let _told = loop {
            match slack.accept() {
                Ok(told) => break told,
                Err(error) if error.kind() != ErrorKind::WouldBlock => return Err(failed(error)),
                Err(_) if begun.elapsed() > PATIENCE || job.try_wait().map_err(failed)?.is_some() => {
                    return Err("run-layer canaries told Slack nothing".to_owned());
                }
                Err(_) => thread::sleep(Duration::from_millis(20)),
            }
        };
        let told = Instant::now();
        run(self.podman.command().args(["kill", "--signal", "TERM", "stopped"]))?;
        let ended = job.wait().map_err(failed)?;
        if ended.code() != Some(143) {
            return Err(format!("SIGTERM should end a job with exit code 143; it ended with {ended}"));
        }
        self.recorded("stopped/canaries")?;
        step(&format!("SIGTERM ended a job after {:.1} s, and its record was kept", told.elapsed().as_secs_f64()));
        Ok(())
    }

    fn recorded(&self, layer: &str) -> Result<()> {
        let record = self.sample.join("record").join(layer).join("host.db");
        if record.is_file() { Ok(()) } else { Err(format!("{}: run-layer left no record", record.display())) }
    }
}
