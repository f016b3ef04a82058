//! Renders a notification for a terminal, as a reader of the channel would see it.

use super::{Level, Notification, Told};
use crate::{contract::slack::Alert, record::Undelivered, text::turns};

/// The message in plain text, framed.
pub(super) fn shown(notification: &Notification, undelivered: &[Undelivered]) -> String {
    let text = text(notification, undelivered);
    let body: String = text.lines().map(|line| format!("│ {line}").trim_end().to_owned() + "\n").collect();
    format!("┌─ {}\n{body}└─\n", notification.channel)
}

/// The message in plain text.
pub(super) fn text(notification: &Notification, undelivered: &[Undelivered]) -> String {
    let mut lines = vec![clean(&notification.headline())];
    for Told { check, alert, note, downstream, .. } in &notification.alerts {
        lines.push(String::new());
        let name = clean(check);
        if alert.title == notification.title {
            // A report is of no check.
            let name = if check.is_empty() { String::new() } else { format!("{name}: ") };
            lines.push(format!("{name}{}", clean(&alert.summary)));
        } else {
            // A check without a title is named once.
            let named = if alert.title == *check { String::new() } else { format!(" ({name})") };
            lines.push(format!("{}{named}", clean(&alert.title)));
            lines.push(clean(&alert.summary));
        }
        lines.extend(notification.link(check).map(|link| format!("Runbook and history: {}", clean(&link))));
        lines.extend(note.as_deref().map(clean));
        lines.extend(evidence(alert));
        if !downstream.is_empty() {
            lines.push("Also not well downstream:".to_owned());
        }
        lines.extend(downstream.iter().map(|(check, found)| format!("  {check}: {}", clean(found))));
        lines.extend(steps(alert));
    }
    for (title, entries) in [
        ("Could not be evaluated:", &notification.errors),
        ("Also not well:", &notification.below),
        ("Held back:", &notification.held),
        ("Still not well:", &notification.moved),
        ("No longer checked:", &notification.closed),
        ("Resolved:", &notification.recoveries),
    ] {
        lines.extend(listed(title, entries));
    }
    let undelivered: Vec<(String, String)> = undelivered.iter().map(Undelivered::told).collect();
    lines.extend(listed("Undelivered messages:", &undelivered));
    lines.push(String::new());
    lines.push(clean(&notification.footer));
    lines.join("\n")
}

/// One alert by itself: its severity, channel and text.
pub fn plain(alert: &Alert) -> String {
    let headline = format!("{} to {}: {}", Level::from(alert.severity).name(), alert.channel, clean(&alert.title));
    let lines = [headline, clean(&alert.summary)].into_iter().chain(evidence(alert)).chain(steps(alert));
    lines.collect::<Vec<_>>().join("\n")
}

fn evidence(alert: &Alert) -> Vec<String> {
    let mut lines = Vec::new();
    for section in &alert.sections {
        if !section.title.is_empty() {
            lines.push(format!("{}:", clean(&section.title)));
        }
        lines.extend(section.lines.iter().map(|line| format!("  {}", clean(line))));
        lines.extend(section.fields.iter().map(|field| format!("  {}: {}", clean(&field.name), clean(&field.value))));
        lines.extend(section.code.iter().map(|code| format!("  {}", clean(code))));
    }
    lines
}

fn steps(alert: &Alert) -> Vec<String> {
    let mut lines = Vec::new();
    if !alert.steps.is_empty() {
        lines.push("Next steps:".to_owned());
    }
    for step in &alert.steps {
        match &step.command {
            Some(command) => lines.extend([format!("  {}:", clean(&step.text)), format!("    {}", clean(command))]),
            None => lines.push(format!("  {}", clean(&step.text))),
        }
    }
    lines
}

/// A title and its lines after an empty line; nothing without lines.
fn listed(title: &str, entries: &[(String, String)]) -> Vec<String> {
    match entries {
        [] => Vec::new(),
        entries => {
            let lines = entries.iter().map(|(name, text)| format!("  {}: {}", clean(name), clean(text)));
            [String::new(), title.to_owned()].into_iter().chain(lines).collect()
        }
    }
}

/// Removes control characters.
fn clean(text: &str) -> String {
    text.chars().map(|character| if character.is_control() || turns(character) { ' ' } else { character }).collect()
}
