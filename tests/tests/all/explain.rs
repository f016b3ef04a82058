//! What the host says of itself: completions and manual pages name every command, and every command has examples.

use std::{fs, process::Command};

use crate::support::command::{Ended, binary, ended};

fn host(arguments: &[&str]) -> Ended {
    ended(Command::new(binary("host")).args(arguments)).unwrap()
}

/// As `host --help` lists them.
fn commands() -> Vec<String> {
    let help = host(&["--help"]);
    let listed = help.out.split("Commands:\n").nth(1).unwrap().split("\n\n").next().unwrap();
    let names = listed.lines().filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    names.map(|line| line.split_whitespace().next().unwrap().to_owned()).filter(|name| name != "help").collect()
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
