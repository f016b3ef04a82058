//! Every crate of a registry is built once: the demo's build serves the tests and the lints too. The package `features`
//! aligns what would differ.

use std::{
    collections::{BTreeMap, BTreeSet},
    process::{Command, Stdio},
};

use super::{
    run::{Result, shown},
    tools::TARGET,
};

/// The files that cargo built, or found built, of each crate of a registry.
#[derive(Debug, Default)]
pub(super) struct Artifacts {
    crates: BTreeMap<String, BTreeSet<String>>,
    /// The test programs, and what each is called.
    pub programs: Vec<(String, String)>,
}

impl Artifacts {
    /// Runs a cargo command that builds, and adds what it built.
    pub(super) fn build(&mut self, cargo: &mut Command) -> Result<()> {
        let built = Self::of(cargo)?;
        for (name, files) in built.crates {
            self.crates.entry(name).or_default().extend(files);
        }
        self.programs.extend(built.programs);
        Ok(())
    }

    /// Runs another cargo command; it may build other crates, but not one of these a second time.
    pub(super) fn nothing_twice(&self, cargo: &mut Command) -> Result<Self> {
        let built = Self::of(cargo)?;
        let twice = |(name, files): (&String, &BTreeSet<String>)| {
            let ours = self.crates.get(name)?;
            (!files.is_subset(ours)).then(|| name.rsplit(['#', '/']).next().unwrap_or(name).to_owned())
        };
        let again: Vec<String> = built.crates.iter().filter_map(twice).collect();
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
        Ok(artifacts)
    }

    /// Adds a line of cargo's, if it is about an artifact:
    /// <https://doc.rust-lang.org/cargo/reference/external-tools.html#artifact-messages>
    fn add(&mut self, line: &str) -> Option<()> {
        let line = line.strip_prefix(r#"{"reason":"compiler-artifact","package_id":""#)?;
        let (package, line) = line.split_once('"')?;
        if let Some(program) = line.split_once(r#""executable":""#).and_then(|(_, rest)| rest.split('"').next()) {
            let name = line.split_once(r#""name":""#).and_then(|(_, rest)| rest.split('"').next())?;
            self.programs.push((name.to_owned(), program.to_owned()));
        }
        if package.starts_with("registry+") {
            let (_, kind) = line.split_once(r#""kind":["#)?;
            let (kind, _) = kind.split_once(']')?;
            let (_, files) = line.split_once(r#""filenames":["#)?;
            let (files, _) = files.split_once(']')?;
            // The library of a crate and its build script are built separately, and each for a plugin and for this machine.
            let whose = if files.contains(TARGET) { TARGET } else { "" };
            let files = files.split(',').map(|file| file.trim_matches('"').to_owned());
            self.crates.entry(format!("{package} {kind} {whose}")).or_default().extend(files);
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn artifacts(file: &str) -> Artifacts {
        let mut artifacts = Artifacts::default();
        let package = "registry+https://github.com/rust-lang/crates.io-index#syn@2.0.119";
        artifacts.add(&format!(
            r#"{{"reason":"compiler-artifact","package_id":"{package}","target":{{"kind":["lib"],"name":"syn"}},"filenames":["{file}"],"executable":null}}"#
        ));
        artifacts
    }

    #[test]
    fn a_crate_of_other_features_is_another_file() {
        let once = artifacts("/libsyn-1.rlib");
        assert_eq!(once.crates.len(), 1);
        for (file, twice) in [("/libsyn-1.rlib", false), ("/libsyn-2.rlib", true)] {
            let other = artifacts(file);
            let again = other.crates.iter().any(|(name, files)| !files.is_subset(&once.crates[name]));
            assert_eq!(again, twice, "{file}");
        }
    }
}
