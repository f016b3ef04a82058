//! A notification as a reader of the channel would see it, for a terminal.

use super::{Notification, mark};

/// The message in plain text, framed.
pub fn shown(notification: &Notification) -> String {
    let mut lines = vec![format!("{} {}", mark(notification.severity), clean(&notification.title))];
    for alert in &notification.alerts {
        lines.push(String::new());
        if alert.title != notification.title {
            lines.push(clean(&alert.title));
        }
        lines.push(clean(&alert.summary));
        for section in &alert.sections {
            if !section.title.is_empty() {
                lines.push(format!("{}:", clean(&section.title)));
            }
            lines.extend(section.lines.iter().map(|line| format!("  {}", clean(line))));
            lines.extend(
                section.fields.iter().map(|field| format!("  {}: {}", clean(&field.name), clean(&field.value))),
            );
            lines.extend(section.code.iter().map(|code| format!("  {}", clean(code))));
        }
        if !alert.steps.is_empty() {
            lines.push("Next steps:".to_owned());
        }
        for step in &alert.steps {
            match &step.command {
                Some(command) => {
                    lines.push(format!("  {}:", clean(&step.text)));
                    lines.push(format!("    {}", clean(command)));
                }
                None => lines.push(format!("  {}", clean(&step.text))),
            }
        }
    }
    if !notification.errors.is_empty() {
        lines.push(String::new());
        lines.push("Could not be evaluated:".to_owned());
        lines.extend(notification.errors.iter().map(|(check, error)| format!("  {check}: {}", clean(error))));
    }
    lines.push(String::new());
    lines.push(clean(&notification.footer));
    let body: String = lines.iter().map(|line| format!("│ {line}").trim_end().to_owned() + "\n").collect();
    format!("┌─ {}\n{body}└─\n", notification.channel)
}

/// Without what would steer the terminal.
fn clean(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { ' ' } else { character }).collect()
}
