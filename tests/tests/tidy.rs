//! Rules that hold for the source as a whole: who may use whom, no circular use, no file too long, no document that names
//! what is not there. It uses only the standard library and a package without dependencies, so it builds in a second.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

#[path = "tidy/documents.rs"]
mod documents;
#[path = "tidy/source.rs"]
mod source;

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    path::PathBuf,
};

use source::{Crate, sources};

/// The crates in host/crates, and which of the others each may use.
const CRATES: &[(&str, &[&str])] = &[
    ("text", &[]),
    ("contract", &[]),
    ("package", &["text"]),
    ("config", &["text", "package"]),
    ("oci", &["text", "package"]),
    ("googlesql", &["contract", "text"]),
];

/// The rooms of host/src, bottom up. A room may use the crates and what stands before its line; rooms in one line stand
/// beside each other, and do not use each other.
const HOUSE: &[&[&str]] = &[
    &["lanes"],
    &["http", "log"],
    &["confined"],
    &["google"],
    &["record"],
    &["capability"],
    &["sandbox"],
    &["plugin"],
    &["check"],
    &["run"],
    &["metrics"],
    &["alert"],
    &["schedule"],
    &["recorder"],
    &["proof"],
    &["host"],
    &["round"],
    &["gate"],
    &["service"],
    &["web"],
    // Used by `cli` only.
    &["registry", "case", "template"],
    &["doctor"],
    &["cli"],
];

/// A source file of more lines holds two things.
const LONGEST: usize = 500;

/// The repository: asked when run, because a target directory that clones share may hold this program built in another one.
fn root() -> PathBuf {
    PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("run by cargo")).join("..")
}

/// Fails with all that is wrong, a line each.
fn all_well(mut wrong: Vec<String>) {
    wrong.sort();
    wrong.dedup();
    assert!(wrong.is_empty(), "{} to put right:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn rooms_use_what_stands_below_them() {
    all_well(misplaced(&Crate::read(&root(), "host/src"), HOUSE));
}

#[test]
fn crates_use_what_they_may() {
    let mut wrong = Vec::new();
    let directory = root().join("host/crates");
    let found = fs::read_dir(&directory).expect("host/crates").flatten();
    let found: Vec<String> = found.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    for (name, _) in CRATES.iter().filter(|(name, _)| !found.iter().any(|found| found == name)) {
        wrong
            .push(format!("tests/tests/tidy.rs: CRATES names `{name}`, and there is no host/crates/{name}: remove it"));
    }
    for name in &found {
        let file = format!("host/crates/{name}/Cargo.toml");
        let Some((_, allowed)) = CRATES.iter().find(|(known, _)| known == name) else {
            wrong.push(format!(
                "{file}: CRATES in tests/tests/tidy.rs does not say which crates `{name}` may use: add it"
            ));
            continue;
        };
        let manifest = fs::read_to_string(root().join(&file)).expect("a manifest");
        for (line, used) in source::dependencies_of_ours(&manifest) {
            if !allowed.contains(&used.as_str()) {
                wrong.push(format!(
                    "{file}:{line}: `{name}` may not use `{used}`: hand in what it needs, or move what both need into a crate below"
                ));
            }
        }
    }
    all_well(wrong);
}

#[test]
fn no_use_of_files_is_circular() {
    let mut wrong = Vec::new();
    let crates = fs::read_dir(root().join("host/crates")).expect("host/crates").flatten();
    let crates = crates.map(|entry| format!("host/crates/{}/src", entry.file_name().to_string_lossy()));
    for place in ["host/src", "tests/src", "xtask/src", "plugins/sdk/src"].map(str::to_owned).into_iter().chain(crates)
    {
        wrong.extend(circles(&Crate::read(&root(), &place)));
    }
    all_well(wrong);
}

#[test]
fn no_file_is_too_long() {
    let long = sources(&root()).into_iter().filter_map(|(path, text)| {
        let lines = text.lines().count();
        (lines > LONGEST)
            .then(|| format!("{path}: {lines} lines, more than {LONGEST}: split it where it holds two things"))
    });
    all_well(long.collect());
}

#[test]
fn documents_name_what_is_there() {
    let mut wrong = Vec::new();
    let mut pages = vec!["README.md".to_owned(), "CONTRIBUTING.md".to_owned(), "tests/BENCH.md".to_owned()];
    pages.extend(pages_of_docs().into_iter().map(|page| format!("docs/{page}")));
    let there = documents::Tree::read(&root());
    for page in pages {
        let text = fs::read_to_string(root().join(&page)).expect("a page");
        wrong.extend(documents::mistakes(&page, &text, &there));
    }
    all_well(wrong);
}

#[test]
fn the_index_of_docs_has_every_page() {
    let read = |page: &str| fs::read_to_string(root().join(page)).expect("a page");
    assert!(read("README.md").contains("](docs/README.md)"), "README.md does not link to docs/README.md");
    all_well(documents::not_in_index(&read("docs/README.md"), &pages_of_docs()));
}

/// The names of the pages in docs/.
fn pages_of_docs() -> Vec<String> {
    let entries = fs::read_dir(root().join("docs")).expect("docs").flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).filter(|name| name.ends_with(".md")).collect()
}

/// Uses of what does not stand below, and rooms that the table and the source do not share.
fn misplaced(house: &Crate, table: &[&[&str]]) -> Vec<String> {
    let level: BTreeMap<&str, usize> =
        table.iter().enumerate().flat_map(|(level, rooms)| rooms.iter().map(move |room| (*room, level))).collect();
    let is_crate = |room: &str| CRATES.iter().any(|(name, _)| *name == room);
    let mut wrong = Vec::new();
    let rooms = house.rooms();
    for room in level.keys().filter(|room| !rooms.contains_key(**room)) {
        wrong.push(format!("tests/tests/tidy.rs: HOUSE names `{room}`, and there is no such room: remove it"));
    }
    for (room, file) in rooms.iter().filter(|(room, _)| !level.contains_key(room.as_str())) {
        wrong.push(format!(
            "{file}: HOUSE in tests/tests/tidy.rs does not have the room `{room}`: move it into one that HOUSE has, or add it to HOUSE above the rooms that it uses"
        ));
    }
    let mut told = BTreeSet::new();
    for used in &house.uses {
        let (Some(from), Some(to)) = (used.by.first(), used.path.first()) else { continue };
        let (Some(own), Some(other)) = (level.get(from.as_str()), level.get(to.as_str())) else {
            // The root's own constants, and rooms that are complained of above.
            if !is_crate(to) && !rooms.contains_key(to) && !to.starts_with(char::is_uppercase) {
                wrong.push(format!("{}:{}: `{from}` uses `{to}`, which is not a room", used.file, used.line));
            }
            continue;
        };
        if from != to && other >= own && told.insert((&used.file, used.line, to)) {
            let place = if other == own { "beside" } else { "above" };
            wrong.push(format!(
                "{}:{}: `{from}` uses `{}`, which is {place} it: hand in what it needs, or move what both need into a room below `{from}`",
                used.file,
                used.line,
                used.path.join("::"),
            ));
        }
    }
    wrong
}

/// Circular use between files, each from its first file around. A file and those below it may: `mod.rs` says what
/// its folder is, and the folder's files speak of that.
fn circles(of: &Crate) -> Vec<String> {
    let edges = of.edges();
    let mut found = BTreeMap::new();
    for start in edges.keys() {
        // The shortest way back to where it began.
        let mut ways = vec![vec![start.clone()]];
        let mut seen = vec![];
        let around = 'search: loop {
            let mut longer = vec![];
            for way in &ways {
                for next in edges.get(way.last().expect("not empty")).into_iter().flatten() {
                    if next.0 == start {
                        break 'search Some(way.clone());
                    }
                    if !seen.contains(next.0) {
                        seen.push(next.0.clone());
                        longer.push([&way[..], std::slice::from_ref(next.0)].concat());
                    }
                }
            }
            if longer.is_empty() {
                break None;
            }
            ways = longer;
        };
        if let Some(around) = around {
            let mut members = around.clone();
            members.sort();
            found.entry(members).or_insert(around);
        }
    }
    let told = found.into_values().map(|around| {
        let steps = around.iter().zip(around.iter().cycle().skip(1)).map(|(from, to)| {
            let (file, line) = &edges[from][to];
            format!("{file}:{line} uses {}", to.join("::"))
        });
        format!("circular use: {}; move what they share into a file below them", steps.collect::<Vec<_>>().join(", "))
    });
    told.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made_up(files: &[(&str, &str)]) -> Crate {
        Crate::of("host/src", files.iter().map(|(path, text)| (format!("host/src/{path}"), (*text).to_owned())))
    }

    #[test]
    fn a_use_of_what_stands_above_is_found_however_it_is_written() {
        let table: &[&[&str]] = &[&["low", "beside"], &["high"]];
        let complaints = |text: &str| {
            misplaced(
                &made_up(&[("low/mod.rs", text), ("beside.rs", ""), ("high.rs", "use crate::low::Allowed;")]),
                table,
            )
        };
        for text in [
            "use crate::high::Thing;",
            "use crate::{\n    low::Own,\n    high::{self, Thing},\n};",
            "fn f() { crate::high::thing::<u8>() }",
            "use super::high::Thing;",
            "mod inner { use super::super::high; }",
            "pub(crate) use crate::high as other;",
            "use crate::beside;",
        ] {
            let found = complaints(text);
            assert!(found.len() == 1 && found[0].starts_with("host/src/low/mod.rs:"), "{text}: {found:?}");
        }
        assert!(
            complaints("use crate::{\n    low::Own,\n    high::Thing,\n};")[0].starts_with("host/src/low/mod.rs:3: ")
        );
        for text in [
            "use crate::low::Own; use crate::text::printable; use crate::STACK;",
            "// use crate::high::Thing;\n/* crate::high */",
            "const A: &str = \"use crate::high::Thing;\"; const B: &str = r#\"\"crate::high\"#; const C: char = '\"';",
            "fn f<'a>(x: &'a str) -> char { '\\'' }",
            "pub(in crate::high) fn f() {}",
        ] {
            assert_eq!(complaints(text), Vec::<String>::new(), "{text}");
        }
    }

    #[test]
    fn rooms_and_table_are_held_against_each_other() {
        let wrong = misplaced(&made_up(&[("new.rs", "use crate::nowhere::X;")]), &[&["old"]]).join("\n");
        for words in ["HOUSE names `old`", "host/src/new.rs: HOUSE", "host/src/new.rs:1: `new` uses `nowhere`"] {
            assert!(wrong.contains(words), "{wrong}");
        }
    }

    #[test]
    fn circles_are_found_also_through_what_mod_rs_hands_on() {
        let folder = "mod one; mod two; pub use one::One; pub(crate) use two::{Two as Other, three};";
        let through = made_up(&[
            ("mod/mod.rs", folder),
            ("mod/one.rs", "use super::Other;"),
            ("mod/two.rs", "use super::{Third, One};"),
        ]);
        let found = circles(&through);
        assert_eq!(found.len(), 1, "{found:?}");
        for part in ["host/src/mod/one.rs:1 uses mod::two", "host/src/mod/two.rs:1 uses mod::one"] {
            assert!(found[0].contains(part), "{found:?}");
        }
        let three = [("a.rs", "use crate::b;"), ("b.rs", "use crate::c::X;"), ("c.rs", "fn f() { crate::a::g() }")];
        assert_eq!(circles(&made_up(&three)).len(), 1);
        assert!(circles(&made_up(&three[..2])).is_empty());
        // A folder and its files are one thing.
        let folder = [("mod/mod.rs", "mod one; use one::One; pub struct Own;"), ("mod/one.rs", "use super::Own;")];
        assert!(circles(&made_up(&folder)).is_empty());
    }
}
