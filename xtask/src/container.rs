//! `cargo xtask container`: builds the image of deploy/Dockerfile and runs it as Cloud Run does, as its own user and with a
//! read-only root. No registry of images is asked: the base images are made of Debian's packages and this machine's
//! toolchain.

use std::{
    fs,
    io::ErrorKind,
    net::TcpListener,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use super::{
    build::SAMPLE,
    run::{Result, cargo, cargo_home, output, root, run, run_for_code, shown, step, target},
    tools,
};

const DEBIAN: &str = "localhost/debian";
const BUILDER: &str = "localhost/rust";
const IMAGE: &str = "localhost/host";
/// The user of the image.
const USER: &str = "10001";
/// The container that is stopped.
const STOPPED: &str = "host-to-stop";
/// How long a container may take to ask for something.
const PATIENCE: Duration = Duration::from_secs(180);

/// Builds and tries the image, or says what is missing for it.
pub(super) fn container(profile: &str) -> Result<()> {
    if let Err(missing) = tools::podman() {
        step(&format!("skipping the image: {missing}"));
        return Ok(());
    }
    let place = target().join("container");
    fs::create_dir_all(&place).map_err(|error| format!("{}: {error}", place.display()))?;
    let place = fs::canonicalize(&place).map_err(|error| format!("{}: {error}", place.display()))?;
    let podman = Podman { place };
    podman.base()?;
    podman.image(profile)?;
    podman.sample()?;
    podman.layers()?;
    podman.read_only()?;
    podman.stopped()
}

/// Podman with everything it keeps in one directory, which can be removed.
struct Podman {
    place: PathBuf,
}

impl Podman {
    /// Its mounts are seen by itself alone, and end with it. It needs neither systemd nor a daemon.
    fn command(&self) -> Command {
        let mut command = Command::new("unshare");
        command.args(["--mount", "podman", "--events-backend", "none", "--cgroup-manager", "cgroupfs"]);
        command.args(["--runtime", "runc"]);
        command.arg("--root").arg(self.place.join("storage")).arg("--runroot").arg(self.place.join("run"));
        command
    }

    /// Builds an image from a Dockerfile. Its commands run in a chroot, which is possible inside of a container, too.
    fn build(&self, name: &str, dockerfile: &Path, context: &Path, options: &[String]) -> Result<()> {
        let mut build = self.command();
        build.args(["build", "--quiet", "--isolation", "chroot", "--layers=false", "--tag", name]);
        run(build.arg("--file").arg(dockerfile).args(options).arg(context))?;
        // The one that had this name.
        run(self.command().args(["image", "prune", "--force"]))
    }

    /// The base images, unless they are there from the last time.
    fn base(&self) -> Result<()> {
        let file = self.place.join("Dockerfile");
        let write = |text: &str| fs::write(&file, text).map_err(|error| format!("{}: {error}", file.display()));
        if run_for_code(self.command().args(["image", "exists", DEBIAN]))? != 0 {
            step("making the base image of Debian's packages");
            let tree = self.place.join("debian");
            remove(&tree)?;
            run(Command::new("debootstrap").args(["--variant=minbase", "bookworm"]).arg(&tree))?;
            write("FROM scratch\nCOPY . /\n")?;
            self.build(DEBIAN, &file, &tree, &[])?;
            remove(&tree)?;
        }
        // What the image of the Rust project says. All else is this machine's and mounted. It may not fetch a compiler
        // or a crate, so a build that asks for more than its image has fails.
        let (cargo_home, version) = (cargo_home()?, version()?);
        let bin = cargo_home.join("bin");
        write(&format!(
            "FROM {DEBIAN}\n\
            ENV RUST_VERSION={version} RUSTUP_HOME=/usr/local/rustup RUSTUP_AUTO_INSTALL=0\n\
            ENV CARGO_HOME={} CARGO_NET_OFFLINE=true PATH={}:$PATH\n",
            cargo_home.display(),
            bin.display()
        ))?;
        self.build(BUILDER, &file, &self.place, &["--ignorefile".to_owned(), "/dev/null".to_owned()])
    }

    /// The image. What cargo builds is kept for the next time.
    fn image(&self, profile: &str) -> Result<()> {
        step(&format!("building the image from deploy/Dockerfile, profile {profile}"));
        cargo(&["fetch", "--locked"])?;
        let built = self.place.join("target");
        fs::create_dir_all(&built).map_err(|error| format!("{}: {error}", built.display()))?;
        let tuple = output(Command::new("rustc").args(["--print", "host-tuple"]))?;
        let sysroot = output(Command::new("rustc").args(["--print", "sysroot"]).current_dir(root()))?;
        let toolchain = format!("{sysroot}:/usr/local/rustup/toolchains/{}-{tuple}:ro", version()?);
        let cargo_home = cargo_home()?.display().to_string();
        let commit = output(Command::new("git").args(["rev-parse", "--short", "HEAD"]).current_dir(root()))?;
        let mut options = Vec::new();
        for volume in [
            toolchain,
            format!("{cargo_home}/bin:{cargo_home}/bin:ro"),
            format!("{cargo_home}/registry:{cargo_home}/registry"),
            format!("{}:/src/target", built.display()),
        ] {
            options.extend(["--volume".to_owned(), volume]);
        }
        for argument in [
            format!("BUILDER={BUILDER}"),
            format!("BASE={DEBIAN}"),
            format!("PROFILE={profile}"),
            format!("HOST_COMMIT={commit}"),
        ] {
            options.extend(["--build-arg".to_owned(), argument]);
        }
        self.build(IMAGE, &root().join("deploy").join("Dockerfile"), &root(), &options)?;
        let size = output(self.command().args(["image", "inspect", "--format", "{{.Size}}", IMAGE]))?;
        let begun = Instant::now();
        let version = output(self.container(&[]).args(["--entrypoint", "host", IMAGE, "--version"]))?;
        if !version.contains(&commit) {
            return Err(format!("the image was built from {commit}, and its host says `{version}`"));
        }
        let megabytes = size.parse::<u64>().map_err(|_| format!("`{size}` is not a size"))? / 1_000_000;
        step(&format!("the image has {megabytes} MB; `{version}` came after {:.1} s", begun.elapsed().as_secs_f64()));
        Ok(())
    }

    /// The sample pipeline, its data of today, with a fault to find; and its host.toml with the image's paths.
    fn sample(&self) -> Result<()> {
        cargo(&SAMPLE)?;
        let sample = self.place.join("sample");
        remove(&sample)?;
        run(Command::new(target().join("debug").join("sample")).arg(&sample).args(["--fault", "null-names"]))?;
        let file = sample.join("host.toml");
        let mut toml = fs::read_to_string(&file).map_err(|error| format!("{}: {error}", file.display()))?;
        for (here, there) in [
            ("warehouse", "/sample/warehouse"),
            ("repository", "/tmp/repository"),
            ("deployments.json", "/sample/deployments.json"),
        ] {
            toml = toml.replace(&format!("path = \"{here}\""), &format!("path = \"{there}\""));
        }
        toml = toml.replace("directory = \"state\"", "directory = \"/tmp/state\"");
        let written = fs::write(&file, &toml)
            .and_then(|()| fs::write(sample.join("slack.toml"), toml.replace("\"console\"", "\"webhook\"")))
            .and_then(|()| fs::create_dir(sample.join("record")));
        written.map_err(|error| format!("{}: {error}", sample.display()))?;
        // git reads no repository of another user, and the record is written.
        run(Command::new("chown").args(["--recursive", USER]).arg(&sample))
    }

    /// `podman run` as Cloud Run would, with the sample, without the image's name.
    fn container(&self, options: &[&str]) -> Command {
        let sample = self.place.join("sample").display().to_string();
        let mut command = self.command();
        command.args(["run", "--rm", "--read-only", "--tmpfs", "/tmp", "--network", "host"]);
        // Podman's own limits are more than this machine's user may set, in some sandboxes.
        command.args(["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024"]);
        command.args(["--volume", &format!("{sample}:/sample:ro"), "--volume", &format!("{sample}/record:/record")]);
        command.args(["--env", "REPOSITORY=file:///sample/repository"]).args(options);
        command
    }

    /// Each layer of the job does its work.
    fn layers(&self) -> Result<()> {
        let toml = format!("{}:/etc/host/host.toml:ro", self.place.join("sample").join("host.toml").display());
        for (layer, said) in
            [("canaries", "1 failed, 5 passed"), ("gate", "PROCEED"), ("drift", "10 of 10 services in sync")]
        {
            let begun = Instant::now();
            let said_all = output(self.container(&["--volume", &toml]).args([IMAGE, layer]))?;
            if !said_all.contains(said) {
                return Err(format!("run-layer {layer} did not say `{said}`:\n{said_all}"));
            }
            self.recorded(layer)?;
            step(&format!("run-layer {layer}: `{said}` after {:.1} s", begun.elapsed().as_secs_f64()));
        }
        Ok(())
    }

    /// Nobody can write to its root, not even root; and it is not root who runs.
    fn read_only(&self) -> Result<()> {
        let user = output(self.container(&["--entrypoint", "id"]).args([IMAGE, "--user"]))?;
        if user != USER {
            return Err(format!("the image runs as user {user}, and should as {USER}"));
        }
        for (file, may) in [("/tmp/new", true), ("/etc/host/new", false)] {
            let touched = self.container(&["--user", "0", "--entrypoint", "touch"]).args([IMAGE, file]).output();
            let touched = touched.map_err(|error| format!("podman: {error}"))?;
            if touched.status.success() != may {
                return Err(format!("{file} in the container: {}", String::from_utf8_lossy(&touched.stderr)));
            }
        }
        step("only /tmp can be written");
        Ok(())
    }

    /// A job that waits for Slack, which never answers, hears SIGTERM and keeps its record.
    fn stopped(&self) -> Result<()> {
        let failed = |error: std::io::Error| format!("the stand-in of Slack: {error}");
        let slack = TcpListener::bind("127.0.0.1:0").map_err(failed)?;
        slack.set_nonblocking(true).map_err(failed)?;
        let webhook =
            format!("SLACK_WEBHOOK_URL_CANARY_ALERTS=http://{}/services/T0/B0/x", slack.local_addr().map_err(failed)?);
        let toml = format!("{}:/etc/host/host.toml:ro", self.place.join("sample").join("slack.toml").display());
        let options = ["--name", STOPPED, "--volume", &toml, "--env", &webhook, "--env", "HOST_RECORD=/record/stopped"];
        let mut job = self.container(&options);
        job.args([IMAGE, "canaries"]);
        let mut running = job.spawn().map_err(|error| format!("`{}`: {error}", shown(&job)))?;
        let begun = Instant::now();
        let _asked = loop {
            match slack.accept() {
                Ok(asked) => break asked,
                Err(error) if error.kind() != ErrorKind::WouldBlock => return Err(failed(error)),
                Err(_) if begun.elapsed() > PATIENCE || running.try_wait().is_ok_and(|ended| ended.is_some()) => {
                    return Err("the job told Slack nothing".to_owned());
                }
                Err(_) => thread::sleep(Duration::from_millis(20)),
            }
        };
        let told = Instant::now();
        run(self.command().args(["kill", "--signal", "TERM", STOPPED]))?;
        let ended = running.wait().map_err(|error| format!("podman: {error}"))?;
        if ended.code() != Some(143) {
            return Err(format!("a job that got SIGTERM ended with {ended}, and should with exit code 143"));
        }
        self.recorded("stopped/canaries")?;
        step(&format!(
            "SIGTERM was heard: the job ended after {:.1} s and kept its record",
            told.elapsed().as_secs_f64()
        ));
        Ok(())
    }

    /// A layer has left its record.
    fn recorded(&self, layer: &str) -> Result<()> {
        let record = self.place.join("sample").join("record").join(layer).join("host.db");
        if record.is_file() { Ok(()) } else { Err(format!("{}: run-layer left no record", record.display())) }
    }
}

/// This machine's compiler, as the image of the Rust project names its own: `1.95.0`.
fn version() -> Result<String> {
    let version = output(Command::new("rustc").arg("--version").current_dir(root()))?;
    version.split(' ').nth(1).map(str::to_owned).ok_or_else(|| format!("`{version}` names no version of rustc"))
}

fn remove(directory: &Path) -> Result<()> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(format!("{}: {error}", directory.display())),
        _ => Ok(()),
    }
}
