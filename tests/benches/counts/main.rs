//! Instruction counts, which hold on a noisy machine: `cargo xtask bench counts`. A piece of work is done a few times and many
//! times under valgrind, and the difference counts, so that the start of the program does not.
//!
//! `table.txt` keeps the counts; one that grew by more than 5 % is a failure. `cargo xtask bench counts --update` writes them.
#![allow(clippy::print_stdout, clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, missing_docs)]
#![allow(clippy::disallowed_methods, clippy::panic)]

#[path = "../../support/mod.rs"]
mod support;
mod work;

use std::{collections::BTreeMap, fmt::Write as _, fs, path::PathBuf, process::Command};

use support::command::repository;

/// How much a count may grow, in percent.
const GROWTH: f64 = 5.0;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["work", name, times] => work::find(name)(times.parse().unwrap()),
        ["--update"] => fs::write(table(), text(&counted(&[]))).unwrap(),
        names => {
            let unknown = names.iter().find(|name| work::ALL.iter().all(|piece| piece.name != **name));
            assert!(unknown.is_none(), "nothing called {unknown:?} is counted; `--update` stands alone");
            compare(&counted(names));
        }
    }
}

fn table() -> PathBuf {
    repository().join("tests/benches/counts/table.txt")
}

/// Counts the pieces with these names, or all.
fn counted(names: &[&str]) -> BTreeMap<String, u64> {
    let chosen = work::ALL.iter().filter(|piece| names.is_empty() || names.contains(&piece.name));
    let counts = chosen.map(|piece| {
        let [few, many] = piece.times;
        let more = instructions(piece.name, many).saturating_sub(instructions(piece.name, few));
        (piece.name.to_owned(), more / u64::from(many - few))
    });
    counts.collect()
}

/// The instructions of a process that does a piece of work so many times, all its threads together.
fn instructions(name: &str, times: u32) -> u64 {
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]);
    valgrind.arg(std::env::current_exe().unwrap()).args(["work", name, &times.to_string()]);
    let output = valgrind.output().expect("valgrind cannot be run; install it: `sudo apt-get install valgrind`");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name}: {said}");
    let count = said.lines().find_map(|line| line.split_once("Collected : ")?.1.split(' ').next()?.parse().ok());
    count.unwrap_or_else(|| panic!("valgrind says no count: {said}"))
}

fn text(counts: &BTreeMap<String, u64>) -> String {
    let mut text = String::new();
    for (name, count) in counts {
        writeln!(text, "{name} {count}").unwrap();
    }
    text
}

/// Prints the counts beside those of the table, and fails if one grew.
fn compare(counts: &BTreeMap<String, u64>) {
    let kept = fs::read_to_string(table()).unwrap();
    let kept: BTreeMap<&str, u64> =
        kept.lines().filter_map(|line| line.split_once(' ')).map(|(name, n)| (name, n.parse().unwrap())).collect();
    println!("| work | instructions | in the table | change |\n|---|---|---|---|");
    let mut grown = Vec::new();
    for (name, count) in counts {
        let what = work::ALL.iter().find(|piece| piece.name == name).map_or("", |piece| piece.what);
        let before =
            kept.get(name.as_str()).unwrap_or_else(|| panic!("the table has no {name}: write it with --update"));
        let change = (*count as f64 / *before as f64 - 1.0) * 100.0;
        println!("| {name}: {what} | {count} | {before} | {change:+.1} % |");
        if change > GROWTH {
            grown.push(name.as_str());
        }
    }
    if !grown.is_empty() {
        println!(
            "\nmore than {GROWTH} % above the table: {}; find out why, or keep it with `cargo xtask bench counts --update`",
            grown.join(", ")
        );
        std::process::exit(1);
    }
}
