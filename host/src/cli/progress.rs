//! A line that says what is going on, on a terminal only, and goes away when it is over.

use std::io::IsTerminal;

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

    /// How far it is.
    pub(super) fn step(&self, done: usize, all: usize) {
        self.show(&format!(" {done} of {all}"));
    }

    fn show(&self, how_far: &str) {
        if self.terminal {
            eprint!("\r\x1b[K{} …{how_far}", self.what);
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.terminal {
            eprint!("\r\x1b[K");
        }
    }
}
