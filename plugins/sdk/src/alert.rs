//! Alerts that a plugin posts.

pub use crate::bindings::pipeline::check::slack::{Severity, Step};
use crate::bindings::pipeline::check::{
    slack::{self, Field},
    types::Error,
};

/// A section of the message with its own heading.
pub type Section = slack::Section;

/// An alert: build it, then post it.
pub struct Alert(slack::Alert);

impl Alert {
    /// An alert to a channel (the request names the check's), with a short title and a summary.
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

    /// Adds steps to take, in order.
    pub fn steps(mut self, steps: impl IntoIterator<Item = Step>) -> Self {
        self.0.steps.extend(steps);
        self
    }

    /// Posts the alert. Put a returned error into [`Report::unknown`](crate::Report), so that the findings are still
    /// reported.
    pub async fn told(self) -> Option<String> {
        self.post().await.err().map(|error| format!("the alert was not accepted: {}", error.reason()))
    }

    /// Posts the alert.
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
