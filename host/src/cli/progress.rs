//! A progress line on standard error. It shows on a terminal only, and disappears at the end.

use std::io::IsTerminal;

use crate::text::tell;

pub(super) struct Progress {
    what: String,
    terminal: bool,
}

impl Progress {
    pub(super) fn new(what: &str) -> Self {
        let progress = Self { what: what.to_owned(), terminal: std::io::stderr().is_terminal() };
        progress.show("");
        progress
    }

    /// Shows how many of all are done.
    pub(super) fn step(&self, done: usize, all: usize) {
        self.show(&format!(" {done} of {all}"));
    }

    fn show(&self, how_far: &str) {
        if self.terminal {
            tell(&format!("\r\x1b[K{} …{how_far}", self.what));
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.terminal {
            tell("\r\x1b[K");
        }
    }
}
