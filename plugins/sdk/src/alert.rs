//! What a plugin asks the host to tell people.

pub use crate::bindings::pipeline::check::slack::{Severity, Step};
use crate::bindings::pipeline::check::{
    slack::{self, Field},
    types::Error,
};

/// A part of the message under its own heading.
pub type Section = slack::Section;

/// An alert, built up and then posted.
pub struct Alert(slack::Alert);

impl Alert {
    /// To a channel (the request names the check's): what is wrong in a few words, and what it means.
    pub fn new(channel: &str, severity: Severity, title: impl Into<String>, summary: impl Into<String>) -> Self {
        Self(slack::Alert {
            channel: channel.to_owned(),
            severity,
            title: title.into(),
            summary: summary.into(),
            sections: Vec::new(),
            steps: Vec::new(),
        })
    }

    /// Adds evidence: one line each.
    pub fn lines(self, title: &str, lines: impl IntoIterator<Item = String>) -> Self {
        self.section(Section { lines: lines.into_iter().collect(), ..empty(title) })
    }

    /// Adds values with their names.
    pub fn fields(self, title: &str, fields: impl IntoIterator<Item = (String, String)>) -> Self {
        let fields = fields.into_iter().map(|(name, value)| Field { name, value }).collect();
        self.section(Section { fields, ..empty(title) })
    }

    /// Adds a section.
    pub fn section(mut self, section: Section) -> Self {
        self.0.sections.push(section);
        self
    }

    /// Adds things to do, in their order.
    pub fn steps(mut self, steps: impl IntoIterator<Item = Step>) -> Self {
        self.0.steps.extend(steps);
        self
    }

    /// Hands it to the host. That the host did not take it, and why, belongs into [`Report::unknown`](crate::Report):
    /// what was found is reported all the same.
    pub async fn told(self) -> Option<String> {
        self.post().await.err().map(|error| format!("the alert was not accepted: {}", error.reason()))
    }

    /// Hands it to the host.
    pub async fn post(self) -> Result<(), Error> {
        slack::post(self.0).await.map(|_| ())
    }
}

/// An instruction with the command that carries it out.
pub fn step(text: impl Into<String>, command: impl Into<String>) -> Step {
    Step { text: text.into(), command: Some(command.into()) }
}

fn empty(title: &str) -> Section {
    Section { title: title.to_owned(), lines: Vec::new(), fields: Vec::new(), code: None }
}
