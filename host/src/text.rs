//! Text that others wrote, fit for a terminal.

/// Without what would steer the terminal; lines stay lines.
pub(crate) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' { ' ' } else { c }).collect()
}
