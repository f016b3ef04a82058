//! Tables for people: aligned columns, the last of which wraps at the width of the terminal. Where that leaves too little room it goes
//! below the others, and where these do not fit either each cell has a line. Nothing wraps in a pipe.

use std::{fmt::Write, io::IsTerminal};

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::text::printable;

/// The least columns for a text that wraps.
const LEAST: usize = 20;
/// The indent of the last cell where it goes below the others.
const INDENT: usize = 4;

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
        match width {
            Some(width) if indent > width + 2 => self.below_each_other(width, color),
            Some(width) if indent + LEAST > width => self.in_columns(&widths, Rest::Below(width), color),
            Some(width) => self.in_columns(&widths, Rest::Beside(width - indent), color),
            None => self.in_columns(&widths, Rest::Whole, color),
        }
    }

    /// One line for each row, and more for what its last cell needs.
    fn in_columns(&self, widths: &[usize], rest: Rest, color: bool) -> String {
        let indent: usize = widths.iter().map(|width| width + 2).sum();
        let mut text = String::new();
        for (row, color) in std::iter::once((&self.header, false)).chain(self.rows.iter().map(|row| (row, color))) {
            let mut line = String::new();
            for (cell, width) in row.iter().zip(widths) {
                let padding = " ".repeat(width - cell.width() + 2);
                let _ = write!(line, "{}{padding}", painted(cell, color));
            }
            let cell = row.get(widths.len()).map(String::as_str).unwrap_or_default();
            let (indent, lines) = match rest {
                Rest::Below(_) if cell.is_empty() => (indent, Vec::new()),
                Rest::Whole => (indent, vec![cell.to_owned()]),
                Rest::Beside(room) => (indent, wrapped(cell, room)),
                Rest::Below(width) => {
                    let _ = writeln!(text, "{}", line.trim_end());
                    line = " ".repeat(INDENT);
                    (INDENT, wrapped(cell, width.saturating_sub(INDENT).max(LEAST)))
                }
            };
            if lines.is_empty() {
                let _ = writeln!(text, "{}", line.trim_end());
            }
            for (at, part) in lines.iter().enumerate() {
                let before = if at == 0 { std::mem::take(&mut line) } else { " ".repeat(indent) };
                let _ = writeln!(text, "{}", format!("{before}{part}").trim_end());
            }
        }
        text
    }

    /// A line for each cell, after the name of its column.
    fn below_each_other(&self, width: usize, color: bool) -> String {
        let indent = self.header.iter().map(|name| name.width()).max().unwrap_or_default() + 2;
        let room = width.saturating_sub(indent).max(LEAST);
        let mut text = String::new();
        for (number, row) in self.rows.iter().enumerate() {
            if number > 0 {
                text.push('\n');
            }
            for (name, cell) in self.header.iter().zip(row) {
                for (at, part) in wrapped(cell, room).iter().enumerate() {
                    let name = if at == 0 { name } else { "" };
                    let padding = " ".repeat(indent - name.width());
                    let _ = writeln!(text, "{}", format!("{name}{padding}{}", painted(part, color)).trim_end());
                }
            }
        }
        text
    }
}

/// Where the last cell of a row is.
#[derive(Clone, Copy)]
enum Rest {
    /// In its line, whole.
    Whole,
    /// In its line and those below, in so many columns.
    Beside(usize),
    /// In the lines below, of this width.
    Below(usize),
}

fn painted(cell: &str, color: bool) -> String {
    match paint(cell).filter(|_| color) {
        Some(code) => format!("\x1b[{code}m{cell}\x1b[0m"),
        None => cell.to_owned(),
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

    #[test]
    fn a_narrow_terminal_has_the_last_column_below_and_a_very_narrow_one_all_of_them() {
        let mut table = Table::new(["CHECK", "RESULT", "SUMMARY"]);
        for check in ["a", "b"] {
            table.row(vec![check.to_owned(), "fail".to_owned(), "one two three four five six seven".to_owned()]);
        }
        let row = |check| format!("{check}      fail\n    one two three four five\n    six seven\n");
        assert_eq!(table.fitted(Some(30), false), format!("CHECK  RESULT\n    SUMMARY\n{}{}", row("a"), row("b")));
        let row = |check| {
            format!(
                "CHECK    {check}\nRESULT   \x1b[31mfail\x1b[0m\nSUMMARY  one two three four\n         five six seven\n"
            )
        };
        assert_eq!(table.fitted(Some(12), true), format!("{}\n{}", row("a"), row("b")));
    }
}
