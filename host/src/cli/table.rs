//! Tables for people: aligned columns, the last of which wraps at the width of the terminal. Nothing wraps in a pipe.

use std::{fmt::Write, io::IsTerminal};

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::text::printable;

/// Rows under a header.
pub(super) struct Table {
    header: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these columns.
    pub(super) fn new<N: Into<String>>(header: impl IntoIterator<Item = N>) -> Self {
        Self { header: header.into_iter().map(Into::into).collect(), rows: Vec::new() }
    }

    /// Adds a row with one cell for each column.
    pub(super) fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells.iter().map(|cell| one_line(cell)).collect());
    }

    /// The table, fitted to standard output.
    pub(super) fn text(&self) -> String {
        let terminal = std::io::stdout().is_terminal();
        let width = terminal.then(terminal_size::terminal_size).flatten().map(|(width, _)| usize::from(width.0));
        self.fitted(width, terminal && std::env::var_os("NO_COLOR").is_none())
    }

    fn fitted(&self, width: Option<usize>, color: bool) -> String {
        let last = self.header.len().saturating_sub(1);
        let widths: Vec<usize> = (0..last)
            .map(|at| {
                let cells = self.rows.iter().filter_map(|row| row.get(at)).map(|cell| cell.width());
                cells.chain(self.header.get(at).map(|name| name.width())).max().unwrap_or_default()
            })
            .collect();
        let indent: usize = widths.iter().map(|width| width + 2).sum();
        let room = width.map(|width| width.saturating_sub(indent).max(20));
        let mut text = String::new();
        for (row, color) in std::iter::once((&self.header, false)).chain(self.rows.iter().map(|row| (row, color))) {
            for (cell, width) in row.iter().zip(&widths) {
                let padding = " ".repeat(width - cell.width() + 2);
                let _ = match paint(cell).filter(|_| color) {
                    Some(code) => write!(text, "\x1b[{code}m{cell}\x1b[0m{padding}"),
                    None => write!(text, "{cell}{padding}"),
                };
            }
            let cell = row.get(last).map(String::as_str).unwrap_or_default();
            let lines = room.map_or_else(|| vec![cell.to_owned()], |room| wrapped(cell, room));
            for (at, line) in lines.iter().enumerate() {
                let indent = if at == 0 { 0 } else { indent };
                let _ = writeln!(text, "{}", format!("{:indent$}{line}", "").trim_end());
            }
        }
        text
    }
}

/// The colour of a result.
fn paint(status: &str) -> Option<u8> {
    match status {
        "pass" => Some(32),
        "skip" => Some(36),
        "warn" => Some(33),
        "fail" => Some(31),
        "error" => Some(35),
        _ => None,
    }
}

/// Text in one line, without control characters.
pub(super) fn one_line(text: &str) -> String {
    printable(text).split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Wraps at spaces, and within a word that is wider than the room.
pub(super) fn wrapped(text: &str, room: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    let mut used = 0;
    for word in text.split(' ') {
        let space = usize::from(used > 0);
        if used + space + word.width() > room && used > 0 {
            lines.push(String::new());
            used = 0;
        }
        let Some(line) = lines.last_mut() else { break };
        if used > 0 {
            line.push(' ');
            used += 1;
        }
        for character in word.chars() {
            let wide = character.width().unwrap_or_default();
            if used + wide > room {
                lines.push(String::new());
                used = 0;
            }
            if let Some(line) = lines.last_mut() {
                line.push(character);
            }
            used += wide;
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_broken_at_spaces_and_never_wider_than_the_room() {
        assert_eq!(wrapped("one two three", 7), ["one two", "three"]);
        assert_eq!(wrapped("abcdefghij", 4), ["abcd", "efgh", "ij"]);
        assert_eq!(wrapped("", 4), [""]);
        assert!(wrapped("🏀🏀🏀 x", 4).iter().all(|line| line.width() <= 4));
    }

    #[test]
    fn what_does_not_fit_goes_on_below() {
        let mut table = Table::new(["CHECK", "RESULT", "SUMMARY"]);
        table.row(vec!["a".to_owned(), "fail".to_owned(), "one two three four five six".to_owned()]);
        let expected = "CHECK  RESULT  SUMMARY\na      fail    one two three four\n               five six\n";
        assert_eq!(table.fitted(Some(35), false), expected);
        assert!(table.fitted(None, true).contains("\x1b[31mfail\x1b[0m    one two three four five six\n"));
    }
}
