//! The host's own documentation: completions and manual pages have every command, and every command has examples.

use std::{fs, process::Command};

use crate::support::command::{Ended, binary, ended};

fn host(arguments: &[&str]) -> Ended {
    ended(Command::new(binary("host")).args(arguments)).unwrap()
}

/// As `host --help` lists them, in groups.
fn commands() -> Vec<String> {
    let help = host(&["--help"]);
    let listed = help.out.split("Start:\n").nth(1).unwrap().split("Options:\n").next().unwrap();
    let names = listed.lines().filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    names.map(|line| line.split_whitespace().next().unwrap().to_owned()).filter(|name| name != "help").collect()
}

/// The command itself, and the commands of commands.
fn below() -> Vec<Vec<String>> {
    ["", "receivers test", "state copy"].map(|names| names.split_whitespace().map(str::to_owned).collect()).to_vec()
}

/// A command that no group names would be missing from `host --help`. Each has a manual page.
#[test]
fn help_lists_every_command_in_a_group() {
    let directory = tempfile::tempdir().unwrap();
    assert_eq!(host(&["man", directory.path().to_str().unwrap()]).code, 0);
    let listed = commands();
    let pages = fs::read_dir(directory.path()).unwrap().map(|page| page.unwrap().file_name().into_string().unwrap());
    let mut all: Vec<String> = pages
        .filter_map(|page| Some(page.strip_prefix("host-")?.strip_suffix(".1")?.to_owned()))
        .filter(|name| !name.contains('-') && name != "help")
        .collect();
    let mut sorted = listed.clone();
    all.sort();
    sorted.sort();
    assert_eq!(all, sorted);
    assert_eq!(listed[..4], ["init", "new", "test", "doctor"], "a newcomer's commands come first");
}

/// Each command with its help at 80 columns: nothing is wider, and no line of the examples is broken.
#[test]
fn help_fits_a_terminal_of_80_columns() {
    let mut asked: Vec<Vec<String>> = commands().into_iter().map(|command| vec![command]).collect();
    asked.extend(below());
    for command in asked {
        let help = |columns: &str| {
            let mut host = Command::new(binary("host"));
            ended(host.args(&command).arg("--help").env("COLUMNS", columns)).unwrap().out
        };
        let narrow = help("80");
        for line in narrow.lines() {
            assert!(line.chars().count() <= 80, "{command:?}: {line}");
        }
        let examples = |text: &str| text.split_once("\nExample").map(|(_, shown)| shown.to_owned());
        assert_eq!(examples(&narrow), examples(&help("100")), "{command:?}");
    }
}

/// In a narrow terminal the examples are in two parts: a command that a shell understands, and its description.
#[test]
fn help_fits_a_narrow_terminal() {
    let help = |command: &str, columns: &str| {
        let mut host = Command::new(binary("host"));
        ended(host.args(command.split_whitespace()).arg("--help").env("COLUMNS", columns)).unwrap().out
    };
    let mut asked = commands();
    asked.extend(below().iter().map(|names| names.join(" ")));
    for command in asked {
        let (narrow, wide) = (help(&command, "60"), help(&command, "100"));
        // clap does not break the line of the usage.
        for line in narrow.lines().filter(|line| !line.starts_with("Usage: ")) {
            assert!(line.chars().count() <= 60, "{command:?}: {line}");
        }
        assert_eq!(examples(&narrow.replace(" \\\n      ", " ")), examples(&wide), "{command}");
        let words = |text: &str| text.replace(" \\\n", "\n").split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(words(&narrow), words(&wide), "{command}");
    }
    let run = help("run", "60");
    assert!(run.contains("\n  host run --once plugins/\n      every check once\n"), "{run}");
}

#[test]
fn shells_complete_every_command() {
    let commands = commands();
    assert!(commands.len() > 20, "{commands:?}");
    for shell in ["bash", "zsh", "fish"] {
        let script = host(&["completions", shell]);
        assert_eq!(script.code, 0, "{script:?}");
        for command in &commands {
            assert!(script.out.contains(command.as_str()), "{shell} does not know {command}");
        }
    }
    // What bash reads it can run.
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("host.bash");
    fs::write(&path, host(&["completions", "bash"]).out).unwrap();
    let line = format!(
        "source {}; COMP_WORDS=(host pl); COMP_CWORD=1; _host host pl host; echo ${{COMPREPLY[@]}}",
        path.display()
    );
    let completed = ended(Command::new("bash").args(["-c", &line])).unwrap();
    assert_eq!(completed.out.trim(), "plan", "{completed:?}");
}

#[test]
fn every_command_has_a_manual_page() {
    let directory = tempfile::tempdir().unwrap();
    let written = host(&["man", directory.path().to_str().unwrap()]);
    assert_eq!(written.code, 0, "{written:?}");
    for command in commands() {
        let page = fs::read_to_string(directory.path().join(format!("host-{command}.1"))).unwrap();
        assert!(page.contains(".SH SYNOPSIS") || page.contains(".SH NAME"), "{command}: {page}");
    }
    assert!(directory.path().join("host.1").is_file());
}

/// The commands that a help text shows, each as its arguments.
fn examples(help: &str) -> Vec<Vec<String>> {
    let shown = help.split_once("\nExample").map(|(_, shown)| shown).unwrap_or_default();
    let commands = shown.lines().filter_map(|line| {
        let line = line.strip_prefix("  ").filter(|line| !line.starts_with(' '))?;
        // Two spaces set off what is said of it; the rest is the shell's.
        let command = line.split("  ").next()?.split(" && ").next()?.split(" > ").next()?;
        let (before, arguments) = command.split_once("host ")?;
        (before.is_empty() || before.starts_with("HOST_TOKEN=")).then(|| words(arguments))
    });
    commands.collect()
}

/// As a shell splits them; only double quotes are used.
pub(crate) fn words(line: &str) -> Vec<String> {
    let quoted = |(at, part): (usize, &str)| match at % 2 {
        0 => part.split_whitespace().map(str::to_owned).collect(),
        _ => vec![part.to_owned()],
    };
    line.split('"').enumerate().flat_map(quoted).collect()
}

/// An example that the command does not take would be worse than none. `--help` at the end keeps it from being done, and
/// what comes before it is read first.
#[test]
fn every_command_shows_examples_that_it_takes() {
    let mut asked: Vec<Vec<String>> = commands().into_iter().map(|command| vec![command]).collect();
    asked.extend(below());
    for command in asked {
        let help = ended(Command::new(binary("host")).args(&command).arg("--help")).unwrap();
        assert_eq!(help.code, 0, "{command:?}: {help:?}");
        let examples = examples(&help.out);
        assert!(!examples.is_empty(), "{command:?} has no example:\n{}", help.out);
        for example in examples {
            assert!(example.starts_with(&command), "{command:?} shows {example:?}");
            let taken = ended(Command::new(binary("host")).args(&example).arg("--help")).unwrap();
            assert_eq!(taken.code, 0, "{example:?}: {}", taken.err);
        }
    }
    // What is wrong would be noticed.
    assert_ne!(host(&["silences", "--end", "3", "--help"]).code, 0);
}
