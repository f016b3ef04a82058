//! The report as a message for a channel.

use jiff::Timestamp;

use super::{Figured, OfCheck, Report};
use crate::{
    alert::{Level, Notification, Told},
    config::Config,
    contract::slack::{Alert, Section, Severity, Step},
    text::{bytes, counted, listed},
};

/// Names in a line.
const NAMED: usize = 12;

impl Report {
    /// What nobody watches, and what it cost: a sentence each, without its full stop.
    pub fn gaps(&self) -> Vec<String> {
        let names = |words: &str, of: &dyn Fn(&OfCheck) -> Option<String>| {
            let names: Vec<String> = self.checks.iter().filter_map(of).collect();
            (!names.is_empty()).then(|| format!("{words}: {}", listed(&names, NAMED)))
        };
        let missed = |own: &OfCheck| {
            let dates: Vec<String> = own.missed.iter().map(ToString::to_string).collect();
            (!dates.is_empty()).then(|| format!("{} ({})", own.check, dates.join(", ")))
        };
        let unjudged = |own: &OfCheck| match own.unjudged.len() {
            0 => None,
            dates => Some(format!("{} ({})", own.check, counted(dates, "date", "dates"))),
        };
        let never = |own: &OfCheck| own.never().then(|| own.check.clone());
        let billed: u64 = self.checks.iter().map(|own| own.bytes).sum();
        [
            names("Known bad dates of which nobody was told", &missed),
            names("Never failed; not known whether they can", &never),
            names("Dates were never judged", &unjudged),
            (billed > 0).then(|| format!("Billed: {}", bytes(billed))),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    /// The message for a channel.
    pub fn message(&self, channel: &str, config: &Config) -> Notification {
        let zone = config.timezone.rules();
        let day = |at: Timestamp| at.to_zoned(zone.clone()).strftime("%Y-%m-%d").to_string();
        let lines = |title: &str, lines: Vec<String>| Section {
            title: title.to_owned(),
            lines,
            fields: Vec::new(),
            code: None,
        };
        let figures = self.figures();
        let shown = |one: &Figured| {
            let mark = if one.met == Some(false) { ", missed" } else { "" };
            format!("{}: {} (target: {}{mark})", one.what, one.value, one.target)
        };
        let mut sections = vec![lines("Figures", figures.iter().map(shown).collect())];
        let gaps = self.gaps();
        if !gaps.is_empty() {
            sections.push(lines("What nobody watches", gaps));
        }
        if !self.mend.is_empty() {
            let mend = self.mend.iter().map(|mend| format!("{}: {}", mend.check, mend.why));
            sections.push(lines("Fix first", mend.collect()));
        }
        let lasting: Vec<String> = self
            .silences
            .iter()
            .map(|silence| format!("{} is silenced: {}", silence.checks.join(", "), silence.why))
            .chain(self.acknowledged.iter().map(|date| format!("{} is acknowledged", date.check)))
            .collect();
        if !lasting.is_empty() {
            sections.push(lines("For more than a week", lasting));
        }
        let alerts: usize = self.checks.iter().map(|check| check.alerts).sum();
        let title = format!("Report of {} to {}", day(self.from), day(self.to));
        let summary = match (alerts, self.unlabelled()) {
            (0, _) => "There was no alert.".to_owned(),
            (1, 0) => "1 alert, which is labelled or was over by itself.".to_owned(),
            (1, _) => "1 alert. Nobody has said what it was.".to_owned(),
            (alerts, 0) => format!("{alerts} alerts, all of them labelled or resolved by themselves."),
            (alerts, open) => format!("{alerts} alerts. Nobody has said of {open} what they were."),
        };
        let alert = Alert {
            channel: channel.to_owned(),
            severity: Severity::Info,
            title: title.clone(),
            summary,
            sections,
            steps: if self.unlabelled() > 0 { label_steps(config) } else { Vec::new() },
        };
        let told = Told { check: String::new(), alert, found: String::new(), note: None, downstream: Vec::new() };
        Notification {
            channel: channel.to_owned(),
            level: Some(Level::Info),
            title,
            alerts: vec![told],
            ..Notification::default()
        }
    }
}

/// How to say what an alert was.
fn label_steps(config: &Config) -> Vec<Step> {
    let step = |text: &str, command: &str| Step { text: text.to_owned(), command: Some(config.command(command)) };
    vec![
        step("See the numbers of the alerts", "host history"),
        step("Say what one was", "host label NUMBER real|false|noise --why REASON"),
    ]
}
