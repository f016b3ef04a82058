//! The crates that are in the host: licences that everybody may use, and one version of each. deny.toml names both.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    process::Command,
};

use crate::support::command::repository;

/// The texts of a list in deny.toml.
fn list(key: &str) -> BTreeSet<String> {
    let text = fs::read_to_string(repository().join("deny.toml")).unwrap();
    let list = text.split(&format!("\n{key} = [\n")).nth(1).unwrap().split("\n]").next().unwrap();
    list.lines().map(|line| line.trim().trim_end_matches(',').trim_matches('"').to_owned()).collect()
}

/// Whether an SPDX expression leaves a choice that is allowed. Each of its parts must; some crates write `/` for OR.
fn allowed(licence: &str, allow: &BTreeSet<String>) -> bool {
    licence.split(" AND ").all(|part| {
        let choices = part.trim_matches(['(', ')']).replace('/', " OR ");
        choices.split(" OR ").any(|choice| allow.contains(choice.trim()))
    })
}

#[test]
fn the_crates_of_the_host_have_known_licences_and_one_version() {
    let mut cargo = Command::new("cargo");
    cargo.args(["tree", "--locked", "--package", "host", "--edges", "normal", "--prefix", "none"]);
    let output = cargo.args(["--format", "{p}|{l}"]).current_dir(repository()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let (allow, skip) = (list("allow"), list("skip"));
    let mut versions: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for line in String::from_utf8(output.stdout).unwrap().lines() {
        let (package, licence) = line.split_once('|').unwrap();
        let licence = licence.trim_end_matches(" (*)");
        let mut words = package.split(' ');
        let (name, version) = (words.next().unwrap().to_owned(), words.next().unwrap().to_owned());
        assert!(allowed(licence, &allow), "{name} {version}: {licence:?} is not among the licences in deny.toml");
        versions.entry(name).or_default().insert(version);
    }
    assert!(versions.len() > 300, "{}", versions.len());
    let several = versions.iter().filter(|(_, versions)| versions.len() > 1);
    let several: BTreeSet<String> = several.map(|(name, _)| name.clone()).collect();
    assert_eq!(several, skip, "bans.skip in deny.toml names the crates that come in several versions");
}

#[test]
fn a_licence_needs_an_allowed_choice_in_each_part() {
    let allow = BTreeSet::from(["MIT".to_owned(), "Unicode-3.0".to_owned()]);
    for (licence, expected) in [
        ("MIT", true),
        ("Apache-2.0/MIT", true),
        ("GPL-3.0 OR MIT", true),
        ("(MIT OR Apache-2.0) AND Unicode-3.0", true),
        ("MIT AND GPL-3.0", false),
        ("GPL-3.0", false),
        ("", false),
    ] {
        assert_eq!(allowed(licence, &allow), expected, "{licence}");
    }
}
