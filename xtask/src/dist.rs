//! `cargo xtask dist`: builds the files of a release into dist/. With the same tools a commit gives the same bytes in any directory.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use super::{
    build::{HOST, as_components, plugin_names},
    run::{Result, cargo_command, cargo_home, failed, output, root, run, step, target},
    tools,
};

/// The shells that have a file of completions.
const SHELLS: [&str; 3] = ["bash", "fish", "zsh"];

/// What a release has as it is in the commit: the documents, and each file that they link to.
const PACKED: [&str; 10] = [
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "LICENSE-APACHE",
    "LICENSE-MIT",
    "docs",
    "deploy",
    "tests/BENCH.md",
    "tests/sample/host.toml",
    "tests/sample/pipeline/host.toml",
];

/// Makes the directory, and an archive of it.
pub(super) fn dist() -> Result<u8> {
    tools::prerequisites()?;
    tools::archiving()?;
    let cyclonedx = tools::cyclonedx()?;
    let changed = output(Command::new("git").args(["status", "--porcelain"]).current_dir(root()))?;
    if !changed.is_empty() {
        return Err(format!("a release is made of a commit, and these files differ from it:\n{changed}"));
    }
    let build = Build::new()?;
    step("building the host and the plugins for a release");
    run(build.cargo().args(HOST).args(["--release", "--locked"]))?;
    run(as_components(build.cargo().args(["build", "--locked"]), &plugin_names()?))?;
    let platform = output(Command::new("rustc").args(["--print", "host-tuple"]))?;
    let name = format!("host-{}-{platform}", env!("CARGO_PKG_VERSION"));
    let place = root().join("dist").join(&name);
    step(&format!("making dist/{name}"));
    if root().join("dist").exists() {
        fs::remove_dir_all(root().join("dist")).map_err(failed(&root().join("dist")))?;
    }
    fs::create_dir_all(place.join("plugins")).map_err(failed(&place))?;
    build.binary(&place)?;
    build.plugins(&place)?;
    let packed = format!("git archive HEAD {} | tar --extract --directory dist/{name}", PACKED.join(" "));
    run(Command::new("sh").args(["-c", &packed]).current_dir(root()))?;
    build.bill_of_materials(&cyclonedx, &place.join("host.cdx.json"))?;
    let files = "find . -type f ! -name SHA256SUMS | LC_ALL=C sort | xargs sha256sum > SHA256SUMS";
    run(Command::new("sh").args(["-c", files]).current_dir(&place))?;
    let archive = format!(
        "tar --create --sort=name --mtime=@{} --owner=0 --group=0 --numeric-owner --mode=go=rX,u+w {name} | gzip --no-name > {name}.tar.gz",
        build.committed
    );
    run(Command::new("sh").args(["-c", &archive]).current_dir(root().join("dist")))?;
    step(&format!("made dist/{name}.tar.gz"));
    Ok(0)
}

/// A build without this machine's paths and times.
struct Build {
    target: PathBuf,
    flags: Vec<String>,
    c_flags: String,
    /// When the commit was made, in seconds since 1970.
    committed: String,
}

impl Build {
    fn new() -> Result<Self> {
        let absolute = |path: PathBuf| fs::canonicalize(&path).map_err(failed(&path));
        // Of its own: other flags would build everything again in the usual one.
        let target = target().join("dist");
        fs::create_dir_all(&target).map_err(failed(&target))?;
        // The last one that fits a path counts.
        let places = [
            ("/cargo", absolute(cargo_home()?)?),
            ("/host", absolute(root())?),
            ("/host/target", absolute(target.clone())?),
        ];
        let remapped = |flag: &str| {
            let each = places.iter().map(|(to, from)| format!("{flag}={}={to}", from.display()));
            each.collect::<Vec<_>>()
        };
        let committed = output(Command::new("git").args(["log", "-1", "--format=%ct"]).current_dir(root()))?;
        Ok(Self {
            target,
            flags: remapped("--remap-path-prefix"),
            c_flags: remapped("-ffile-prefix-map").join(" "),
            committed,
        })
    }

    fn cargo(&self) -> Command {
        let mut cargo = cargo_command();
        cargo
            .env("CARGO_TARGET_DIR", &self.target)
            .env("CFLAGS", &self.c_flags)
            .env_remove("CARGO_ENCODED_RUSTFLAGS")
            .env_remove("RUSTFLAGS");
        // Unlike flags from the environment, these join those that .cargo/config.toml has for plugins.
        cargo.args(["--config", &format!("target.'cfg(all())'.rustflags = {:?}", self.flags)]);
        cargo.env("SOURCE_DATE_EPOCH", &self.committed).env_remove("HOST_COMMIT");
        cargo
    }

    /// The host with its completions and manual pages, and its symbols beside it.
    fn binary(&self, place: &Path) -> Result<()> {
        let (built, host) = (self.target.join("release").join("host"), place.join("host"));
        let debug = place.join("host.debug");
        run(Command::new("objcopy").arg("--only-keep-debug").args([&built, &debug]))?;
        run(Command::new("objcopy")
            .arg("--strip-debug")
            .arg(format!("--add-gnu-debuglink={}", debug.display()))
            .args([&built, &host]))?;
        fs::create_dir_all(place.join("completions")).map_err(failed(place))?;
        for shell in SHELLS {
            let script = output(Command::new(&host).args(["completions", shell]))?;
            // Where zsh looks, a function's file has its name.
            let name = if shell == "zsh" { "_host".to_owned() } else { format!("host.{shell}") };
            let file = place.join("completions").join(name);
            fs::write(&file, script + "\n").map_err(failed(&file))?;
        }
        run(Command::new(&host).arg("man").arg(place.join("man")))
    }

    /// The plugins and the lock file that pins them.
    fn plugins(&self, place: &Path) -> Result<()> {
        let mut pin = Command::new(place.join("host"));
        pin.arg("pin").current_dir(place);
        for name in plugin_names()? {
            let built = self.target.join(tools::TARGET).join("debug").join(format!("{}.wasm", name.replace('-', "_")));
            let file = Path::new("plugins").join(format!("{name}.wasm"));
            fs::copy(&built, place.join(&file)).map_err(failed(&built))?;
            pin.arg(file);
        }
        run(&mut pin)
    }

    /// Every crate that is in the host, in CycloneDX's format.
    fn bill_of_materials(&self, cyclonedx: &Path, file: &Path) -> Result<()> {
        let package = root().join("host");
        let made = package.join("host.cdx.json");
        let mut command = Command::new(cyclonedx);
        command.args(["cyclonedx", "--format", "json", "--spec-version", "1.5", "--quiet", "--manifest-path"]);
        run(command.arg(package.join("Cargo.toml")).env("SOURCE_DATE_EPOCH", &self.committed))?;
        let text = fs::read_to_string(&made).map_err(failed(&made))?;
        let here = fs::canonicalize(root()).map_err(failed(&root()))?;
        fs::write(file, text.replace(&here.display().to_string(), "/host")).map_err(failed(file))?;
        // It writes one beside each package of the workspace.
        let packages = output(Command::new("git").args(["ls-files", "*Cargo.toml"]).current_dir(root()))?;
        for package in packages.lines().map(|manifest| root().join(manifest).with_file_name("")) {
            for entry in fs::read_dir(&package).map_err(failed(&package))?.flatten() {
                if entry.file_name().to_string_lossy().ends_with(".cdx.json") {
                    fs::remove_file(entry.path()).map_err(failed(&entry.path()))?;
                }
            }
        }
        Ok(())
    }
}

/// Makes a release of this commit in two directories of other names, and compares them.
pub(super) fn twice() -> Result<()> {
    // The second is made much later.
    let commit = output(Command::new("git").args(["rev-parse", "HEAD"]).current_dir(root()))?;
    let mut sums = Vec::new();
    for name in ["first", "a-second-one-elsewhere"] {
        let place = target().join("twice").join(name);
        if place.exists() {
            fs::remove_dir_all(&place).map_err(failed(&place))?;
        }
        fs::create_dir_all(place.parent().unwrap_or(&place)).map_err(failed(&place))?;
        run(Command::new("git").args(["clone", "--quiet", "."]).arg(&place).current_dir(root()))?;
        run(Command::new("git").args(["checkout", "--quiet", "--detach", &commit]).current_dir(&place))?;
        let mut made = cargo_command();
        run(made.args(["xtask", "dist"]).current_dir(&place).env("CARGO_TARGET_DIR", place.join("target")))?;
        let sum = "cat dist/*/SHA256SUMS && sha256sum dist/*.tar.gz";
        sums.push(output(Command::new("sh").args(["-c", sum]).current_dir(&place))?);
    }
    match sums.as_slice() {
        [one, other] if one == other => Ok(()),
        _ => Err(format!("two builds of this commit differ:\n{}", sums.join("\n\n"))),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::{fs, path::Path};

    use super::{PACKED, root};

    #[test]
    fn a_release_has_each_file_that_its_documents_link_to() {
        let packed = |path: &Path| PACKED.iter().any(|packed| path.starts_with(packed));
        let entries = fs::read_dir(root().join("docs")).unwrap().flatten();
        let mut documents: Vec<_> = entries.map(|entry| Path::new("docs").join(entry.file_name())).collect();
        documents.extend(PACKED.iter().map(Path::new).map(Path::to_owned));
        documents.retain(|file| file.extension().is_some_and(|extension| extension == "md"));
        let mut links = 0;
        for file in documents {
            let text = fs::read_to_string(root().join(&file)).unwrap();
            for link in text.split("](").skip(1).filter_map(|rest| rest.split(['#', ')']).next()) {
                if link.is_empty() || link.contains("://") {
                    continue;
                }
                let mut place = file.parent().unwrap().to_owned();
                for part in Path::new(link).components() {
                    match part {
                        std::path::Component::ParentDir => drop(place.pop()),
                        part => place.push(part),
                    }
                }
                assert!(packed(&place), "{}: {link} is not in a release", file.display());
                links += 1;
            }
        }
        assert!(links > 50, "{links}");
    }
}
