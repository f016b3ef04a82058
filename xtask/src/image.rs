//! The image of deploy/Dockerfile, built without a registry of images: Debian's packages and this machine's toolchain make
//! the base images.

use std::{
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
    process::Command,
};

use super::run::{Result, cargo, cargo_home, failed, output, root, run, run_for_code, step};

const DEBIAN: &str = "localhost/debian";
const BUILDER: &str = "localhost/rust";
/// The image's name.
pub(super) const IMAGE: &str = "localhost/host";
/// Where Debian's image finds programs.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// What debian:bookworm-slim leaves out, also of packages that are installed later.
const SLIM: &str = r#"
rm -rf usr/share/doc/* usr/share/info/* usr/share/locale/* usr/share/man/* var/cache/apt/* var/lib/apt/lists/*
printf 'path-exclude /usr/share/%s/*\n' doc info locale man > etc/dpkg/dpkg.cfg.d/slim
echo 'Dir::Cache::pkgcache ""; Dir::Cache::srcpkgcache ""; DPkg::Post-Invoke { "rm -f /var/cache/apt/archives/*.deb"; };' \
    > etc/apt/apt.conf.d/slim
"#;

/// Podman with all that it keeps in one directory, which can be removed.
pub(super) struct Podman {
    /// The directory.
    pub(super) place: PathBuf,
}

impl Podman {
    /// What it keeps stays there for the next time.
    pub(super) fn in_directory(place: &Path) -> Result<Self> {
        fs::create_dir_all(place.join("target")).map_err(failed(place))?;
        Ok(Self { place: fs::canonicalize(place).map_err(failed(place))? })
    }

    /// Its mounts are its own and end with it. It needs neither systemd nor a daemon.
    pub(super) fn command(&self) -> Command {
        let mut command = Command::new("unshare");
        command.args(["--mount", "podman", "--events-backend", "none", "--cgroup-manager", "cgroupfs"]);
        command.args(["--runtime", "runc", "--root"]).arg(self.place.join("storage"));
        command.arg("--runroot").arg(self.place.join("run"));
        command
    }

    /// Without options and context. In a chroot it can build inside of another container, too.
    fn build(&self, name: &str, dockerfile: &Path) -> Command {
        let mut build = self.command();
        build.args(["build", "--quiet", "--isolation", "chroot", "--layers=false", "--tag", name, "--file"]);
        build.arg(dockerfile);
        build
    }

    /// The base images; Debian's is kept from the last time.
    fn base(&self) -> Result<()> {
        let (file, tree) = (self.place.join("Dockerfile"), self.place.join("debian"));
        if run_for_code(self.command().args(["image", "exists", DEBIAN]))? != 0 {
            step("making the base image of Debian's packages");
            remove(&tree)?;
            run(Command::new("debootstrap").args(["--variant=minbase", "bookworm"]).arg(&tree))?;
            run(Command::new("sh").args(["-euc", SLIM]).current_dir(&tree))?;
            fs::write(&file, format!("FROM scratch\nENV PATH={PATH}\nCOPY . /\n")).map_err(failed(&file))?;
            output(self.build(DEBIAN, &file).arg(&tree))?;
        }
        // The variables of Rust's own image. What they name is mounted. Nothing may be downloaded, so that a build that
        // asks for another compiler fails.
        remove(&tree)?;
        fs::create_dir(&tree).map_err(failed(&tree))?;
        let (cargo_home, version) = (cargo_home()?, version()?);
        let cargo_home = cargo_home.display();
        let text = format!(
            "FROM {DEBIAN}\n\
            ENV RUST_VERSION={version} RUSTUP_HOME=/usr/local/rustup RUSTUP_AUTO_INSTALL=0\n\
            ENV CARGO_HOME={cargo_home} CARGO_NET_OFFLINE=true PATH={cargo_home}/bin:$PATH\n"
        );
        fs::write(&file, text).map_err(failed(&file))?;
        output(self.build(BUILDER, &file).arg(&tree)).map(drop)
    }

    /// The image, and the commit that its host names. What cargo builds for it is kept for the next time.
    pub(super) fn image(&self, profile: &str) -> Result<String> {
        self.base()?;
        step(&format!("building deploy/Dockerfile, profile {profile}"));
        cargo(&["fetch", "--locked"])?;
        let tuple = output(Command::new("rustc").args(["--print", "host-tuple"]))?;
        let toolchain = output(Command::new("rustc").args(["--print", "sysroot"]).current_dir(root()))?;
        let commit = output(Command::new("git").args(["rev-parse", "--short", "HEAD"]).current_dir(root()))?;
        let (cargo_home, place) = (cargo_home()?, self.place.display());
        let cargo_home = cargo_home.display();
        let mut build = self.build(IMAGE, &root().join("deploy").join("Dockerfile"));
        for volume in [
            format!("{toolchain}:/usr/local/rustup/toolchains/{}-{tuple}:ro", version()?),
            format!("{cargo_home}/bin:{cargo_home}/bin:ro"),
            format!("{cargo_home}/registry:{cargo_home}/registry"),
            format!("{place}/target:/src/target"),
        ] {
            build.args(["--volume", &volume]);
        }
        for (name, value) in [("BUILDER", BUILDER), ("BASE", DEBIAN), ("PROFILE", profile), ("HOST_COMMIT", &commit)] {
            build.args(["--build-arg", &format!("{name}={value}")]);
        }
        run(build.arg(root()))?;
        Ok(commit)
    }
}

/// This machine's compiler as Rust's own image names it: `1.95.0`.
fn version() -> Result<String> {
    let version = output(Command::new("rustc").arg("--version").current_dir(root()))?;
    version.split(' ').nth(1).map(str::to_owned).ok_or_else(|| format!("`{version}` names no version of rustc"))
}

/// Removes a directory if it is there.
pub(super) fn remove(directory: &Path) -> Result<()> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(failed(directory)(error)),
        _ => Ok(()),
    }
}
