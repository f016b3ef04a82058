//! Help in a terminal of fewer than 80 columns. The texts after the options are broken for 80, and breaking them again
//! would tear the columns of the examples apart; so they are laid out anew.

use clap::Command;
use unicode_width::UnicodeWidthStr;

use super::table::wrapped;

/// The width that the texts are written for.
const WRITTEN: usize = 80;
/// The indent of what an example's command goes on with, and of its description.
const INDENT: usize = 6;

/// The columns of the terminal, or of `COLUMNS` where there is none, if they are fewer than the texts need.
pub(super) fn columns() -> Option<usize> {
    let terminal = terminal_size::terminal_size().map(|(width, _)| usize::from(width.0));
    let columns = terminal.or_else(|| std::env::var("COLUMNS").ok()?.parse().ok());
    columns.filter(|columns| (2 * INDENT..WRITTEN).contains(columns))
}

/// A command, and those below it, with texts for this width.
pub(super) fn fitted(command: Command, columns: usize) -> Command {
    let text = command.get_after_help().map(|text| laid_out(&text.to_string(), columns));
    let command = command.mut_subcommands(|below| fitted(below, columns));
    match text {
        Some(text) => command.after_help(text),
        None => command,
    }
}

/// Lines at most this wide, each after an indent except the first.
pub(super) fn indented(text: &str, indent: usize, columns: usize) -> String {
    wrapped(text, columns.saturating_sub(indent).max(INDENT)).join(&format!("\n{:indent$}", ""))
}

/// Paragraphs of prose in one line each, which clap breaks, and examples of two parts.
fn laid_out(text: &str, columns: usize) -> String {
    let paragraphs: Vec<String> = text.split("\n\n").map(|paragraph| block(paragraph, columns)).collect();
    paragraphs.join("\n\n")
}

fn block(paragraph: &str, columns: usize) -> String {
    let (prose, examples): (Vec<&str>, Vec<&str>) = paragraph.lines().partition(|line| !line.starts_with("  "));
    let prose = prose.join(" ");
    if examples.is_empty() {
        return prose;
    }
    // As it is written, if all of it fits.
    if paragraph.lines().all(|line| line.width() <= columns) {
        return paragraph.to_owned();
    }
    let mut lines = vec![prose];
    let mut described: Vec<(&str, String)> = Vec::new();
    for line in examples {
        let (command, description) = line.trim().split_once("  ").unwrap_or((line.trim(), ""));
        match described.last_mut() {
            // A description of several lines.
            Some((_, before)) if line.starts_with("    ") => *before += &format!(" {command}"),
            _ => described.push((command, description.trim().to_owned())),
        }
    }
    for (command, description) in described {
        lines.push(format!("  {}", continued(command, columns)));
        if !description.is_empty() {
            lines.push(format!("{:INDENT$}{}", "", indented(&description, INDENT, columns)));
        }
    }
    lines.join("\n")
}

/// A command in several lines, as a shell reads them.
fn continued(command: &str, columns: usize) -> String {
    // Room for the indent and ` \`.
    let room = columns.saturating_sub(INDENT + 2);
    let (mut text, mut used) = (String::new(), 0);
    for unit in units(command) {
        if used > 0 && used + 1 + unit.width() > room {
            text += &format!(" \\\n{:INDENT$}", "");
            used = 0;
        } else if used > 0 {
            text.push(' ');
            used += 1;
        }
        text += &unit;
        used += unit.width();
    }
    text
}

/// The words of a command, an option with its value and a text in quotes whole.
fn units(command: &str) -> Vec<String> {
    let mut units: Vec<String> = Vec::new();
    for word in command.split(' ') {
        let more = |unit: &&mut String| {
            let option = unit.starts_with("--") && !unit.contains(' ') && !word.starts_with('-');
            option || unit.matches('"').count() % 2 == 1
        };
        match units.last_mut().filter(more) {
            Some(unit) => *unit += &format!(" {word}"),
            None => units.push(word.to_owned()),
        }
    }
    units
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn examples_that_do_not_fit_have_their_description_below() {
        let text = "Examples:
  host add oci://a/b          the newest version
  host add oci://a/b@^1.2     the newest 1.x from 1.2 on, also for
                              `host update`

A sentence that was broken for
80 columns.";
        assert_eq!(
            laid_out(text, 40),
            "Examples:
  host add oci://a/b
      the newest version
  host add oci://a/b@^1.2
      the newest 1.x from 1.2 on, also
      for `host update`

A sentence that was broken for 80 columns."
        );
        assert_eq!(laid_out(text, 79), text.replace("for\n80", "for 80"));
    }

    #[test]
    fn a_long_command_goes_on_in_the_next_line_but_not_within_quotes() {
        let command = "host silence phase2-raw --for 4h --why \"reloading the box scores\"";
        let expected = "host silence phase2-raw --for 4h \\\n      --why \"reloading the box scores\"";
        assert_eq!(continued(command, 40), expected);
        let command = "host silence a --why \"reloading the box scores\"";
        assert_eq!(continued(command, 40), command.replace(" --why", " \\\n      --why"));
        assert_eq!(continued("host doctor", 40), "host doctor");
    }
}
