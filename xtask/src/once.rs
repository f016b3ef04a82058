//! Every crate of a registry is built once: the demo's build serves the tests and the lints too. The package `features`
//! aligns what would differ.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use super::{
    build::demo_builds,
    run::{Result, shown},
};

/// The files of each crate of a registry, built or already present.
#[derive(Debug, Default)]
pub(super) struct Artifacts {
    crates: BTreeMap<String, BTreeSet<String>>,
    /// The crates that had to be built.
    built: BTreeSet<String>,
    pub(super) programs: Vec<Program>,
}

/// A program that runs tests.
#[derive(Debug)]
pub(super) struct Program {
    pub(super) name: String,
    pub(super) path: String,
    /// The package's directory, where cargo would run it.
    pub(super) package: PathBuf,
}

impl Artifacts {
    /// Builds what the demo builds, and nothing twice.
    pub(super) fn of_demo() -> Result<Self> {
        let mut demo = Self::default();
        for mut command in demo_builds()? {
            let built = demo.nothing_twice(&mut command)?;
            for (name, files) in built.crates {
                demo.crates.entry(name).or_default().extend(files);
            }
        }
        match demo.in_two_ways() {
            again if again.is_empty() => Ok(demo),
            again => Err(format!(
                "the demo builds crates twice: {}; a build script or procedural macro asks for other features of one of \
                 them than a program: add these to features/Cargo.toml",
                again.join(", ")
            )),
        }
    }

    /// The crates that are built in two ways for one target.
    fn in_two_ways(&self) -> Vec<String> {
        let libraries = |files: &BTreeSet<String>| files.iter().filter(|file| file.ends_with(".rlib")).count();
        self.crates.iter().filter(|(_, files)| libraries(files) > 1).filter_map(|(name, _)| package(name)).collect()
    }

    /// Runs another cargo command; it may build other crates, but not one of these a second time.
    pub(super) fn nothing_twice(&self, cargo: &mut Command) -> Result<Self> {
        let built = Self::of(cargo)?;
        let again = self.twice(&built);
        if !again.is_empty() {
            return Err(format!(
                "`{}` builds crates again that the demo has built: {}; it asks for other features of one of them: add \
                 these to features/Cargo.toml",
                shown(cargo),
                again.join(", ")
            ));
        }
        Ok(built)
    }

    /// The crates of ours that another command built again.
    fn twice(&self, other: &Self) -> Vec<String> {
        let again = other.crates.iter().filter(|(name, files)| {
            let ours = self.crates.get(*name);
            ours.is_some_and(|ours| !files.is_subset(ours) || other.built.contains(*name))
        });
        again.filter_map(|(name, _)| package(name)).collect()
    }

    fn of(cargo: &mut Command) -> Result<Self> {
        let command = cargo.arg("--message-format=json-render-diagnostics").stdout(Stdio::piped());
        let output = command.stderr(Stdio::inherit()).output();
        let output = output.map_err(|error| format!("`{}` cannot be run: {error}", shown(cargo)))?;
        if !output.status.success() {
            return Err(format!("`{}` failed", shown(cargo)));
        }
        let mut artifacts = Self::default();
        for line in String::from_utf8_lossy(&output.stdout).lines() {
            artifacts.add(line);
        }
        match artifacts.crates.is_empty() {
            true => Err(format!("`{}` named no crate: cargo writes its messages in another way now", shown(cargo))),
            false => Ok(artifacts),
        }
    }

    /// Adds a line of cargo's, if it is about an artifact:
    /// <https://doc.rust-lang.org/cargo/reference/external-tools.html#artifact-messages>
    fn add(&mut self, line: &str) -> Option<()> {
        let line = line.strip_prefix(r#"{"reason":"compiler-artifact","package_id":""#)?;
        let (package, line) = line.split_once('"')?;
        let text = |key: &str| line.split_once(key).and_then(|(_, rest)| rest.split('"').next());
        // `target` has a key of this name too, and says whether it can be tested.
        let (_, profile) = line.split_once(r#""profile":{"#)?;
        if let Some(path) = text(r#""executable":""#)
            && profile.split('}').next().is_some_and(|profile| profile.contains(r#""test":true"#))
        {
            let manifest = Path::new(text(r#""manifest_path":""#)?);
            let (name, path) = (text(r#""name":""#)?.to_owned(), path.to_owned());
            self.programs.push(Program { name, path, package: manifest.parent()?.to_owned() });
        }
        // A build script takes a fraction of a second, and differs when its crate has other features for another target.
        if package.starts_with("registry+") && text(r#""kind":[""#)? != "custom-build" {
            let (_, files) = line.split_once(r#""filenames":["#)?;
            let (files, _) = files.split_once(']')?;
            // A crate is built for each profile and target; these have directories of their own.
            let directory = files.split("/deps/").next().unwrap_or_default();
            let files = files.split(',').map(|file| file.trim_matches('"').to_owned());
            let name = format!("{package} {directory}");
            if !line.contains(r#""fresh":true"#) {
                self.built.insert(name.clone());
            }
            self.crates.entry(name).or_default().extend(files);
        }
        Some(())
    }
}

/// `syn@2.0.119`, of a crate's whole name.
fn package(name: &str) -> Option<String> {
    name.split(' ').next().and_then(|package| package.rsplit(['#', '/']).next()).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn artifacts(file: &str, fresh: bool) -> Artifacts {
        let mut artifacts = Artifacts::default();
        let package = "registry+https://github.com/rust-lang/crates.io-index#syn@2.0.119";
        let added = artifacts.add(&format!(
            r#"{{"reason":"compiler-artifact","package_id":"{package}","manifest_path":"/syn/Cargo.toml","target":{{"kind":["lib"],"name":"syn","test":true}},"profile":{{"opt_level":"0","test":false}},"filenames":["{file}"],"executable":null,"fresh":{fresh}}}"#
        ));
        assert!(added.is_some());
        artifacts
    }

    #[test]
    fn a_crate_is_built_again_when_its_file_is_another_or_not_fresh() {
        let once = artifacts("/debug/deps/libsyn-1.rlib", true);
        for (file, fresh, twice) in [
            ("/debug/deps/libsyn-1.rlib", true, false),
            ("/debug/deps/libsyn-2.rlib", true, true),
            ("/debug/deps/libsyn-1.rlib", false, true),
        ] {
            let other = artifacts(file, fresh);
            assert_eq!(!once.twice(&other).is_empty(), twice, "{file} {fresh}");
        }
    }

    #[test]
    fn a_crate_with_two_libraries_is_built_in_two_ways() {
        let mut demo = artifacts("/debug/deps/libsyn-1.rlib", true);
        assert!(demo.in_two_ways().is_empty());
        demo.crates.extend(artifacts("/wasm32-wasip2/debug/deps/libsyn-2.rlib", true).crates);
        assert!(demo.in_two_ways().is_empty(), "for another target");
        for (name, files) in artifacts("/debug/deps/libsyn-3.rlib", true).crates {
            demo.crates.entry(name).or_default().extend(files);
        }
        assert_eq!(demo.in_two_ways(), ["syn@2.0.119"]);
    }

    #[test]
    fn only_programs_that_run_tests_are_programs() {
        let mut artifacts = Artifacts::default();
        for test in [true, false] {
            artifacts.add(&format!(
                r#"{{"reason":"compiler-artifact","package_id":"path+file:///tests","manifest_path":"/tests/Cargo.toml","target":{{"kind":["test"],"name":"all","test":true}},"profile":{{"test":{test}}},"filenames":["/all-{test}"],"executable":"/all-{test}","fresh":true}}"#
            ));
        }
        let [program] = artifacts.programs.as_slice() else { panic!("{artifacts:?}") };
        assert_eq!((program.name.as_str(), program.path.as_str()), ("all", "/all-true"));
        assert_eq!(program.package, Path::new("/tests"));
    }
}
