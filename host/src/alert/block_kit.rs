//! Renders a notification as Slack's Block Kit, within Slack's limits, with all text from data or plugins escaped.
//! Limits: <https://docs.slack.dev/reference/block-kit/blocks>

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{Mentioned, Notification, Stage, Told, console};
use crate::{
    contract::slack::{Field, Section},
    record::Undelivered,
    text::turns,
};

/// Characters of a header's text.
const HEADER: usize = 150;
/// Characters of a section's text.
const SECTION: usize = 3000;
/// Characters of one field.
const FIELD: usize = 2000;
/// Fields of a section.
const FIELDS: usize = 10;
/// Blocks of a message.
const BLOCKS: usize = 50;
/// Characters of a plain text message; Slack shows 40,000.
const TEXT: usize = 30_000;
/// Characters of one line, so that one long name does not push out everything else.
const LINE: usize = 400;

/// Checks that the preview names.
const PREVIEWED: usize = 3;
/// Characters of what it says about each, so that the second is seen too.
const PREVIEW: usize = 120;

/// Characters of one command.
const CODE: usize = 1200;

/// Characters of the text of an update: <https://docs.slack.dev/reference/methods/chat.update#errors>
const UPDATE: usize = 4000;

/// How the incidents that a message began stand now.
#[derive(Debug, Default)]
pub(super) struct Present {
    /// Those of which more is known than the message says.
    pub(super) incidents: Vec<Mentioned>,
    /// Whether all of them are over.
    pub(super) over: bool,
    /// The block of its buttons.
    pub(super) buttons: Option<Value>,
}

impl Present {
    /// The headline of a message now.
    fn headline(&self, notification: &Notification) -> String {
        match (self.over, self.incidents.iter().any(|incident| incident.stage == Stage::GivenUp)) {
            (false, _) => notification.headline(),
            (true, false) => format!("✅ Resolved: {}", notification.title),
            (true, true) => format!("🔵 Ended: {}", notification.title),
        }
    }

    /// A line for each incident; of several dates of which the same is known, one.
    fn lines(&self) -> impl Iterator<Item = (String, &str)> {
        let line = |incident: &'_ Mentioned| {
            let mark = match incident.stage {
                Stage::Recovered => "✅ ",
                Stage::GivenUp => "🔵 ",
                Stage::Began | Stage::FollowUp => "",
            };
            format!("{mark}{}", incident.check)
        };
        let mut lines: Vec<(String, &str)> =
            self.incidents.iter().map(|incident| (line(incident), incident.state.as_str())).collect();
        let mut seen = BTreeSet::new();
        lines.retain(|line| seen.insert(line.clone()));
        lines.into_iter()
    }
}

/// The id in the last line of a message; the bot's also has that of the incident, if it is about only one.
pub(super) fn label(id: &str, notification: &Notification) -> String {
    match notification.incidents.as_slice() {
        [incident] => format!("{id}, incident {}", incident.id),
        _ => id.to_owned(),
    }
}

/// The payload for an incoming webhook, or for the bot. `label` is the message's id.
pub(super) fn payload(
    notification: &Notification,
    label: &str,
    undelivered: &[Undelivered],
    buttons: Option<Value>,
) -> Value {
    whole(notification, label, undelivered, &Present { buttons, ..Present::default() })
}

/// The payload that replaces a message, so that it says how its incidents stand.
pub(super) fn updated(
    notification: &Notification,
    label: &str,
    undelivered: &[Undelivered],
    present: &Present,
    as_text: bool,
) -> Value {
    if !as_text {
        return whole(notification, label, undelivered, present);
    }
    let now: Vec<String> = present.lines().map(|(name, state)| format!("Now: {name}: {state}")).collect();
    let text = [present.headline(notification), now.join("\n"), console::text(notification, undelivered)].join("\n");
    // An empty list removes the blocks that the message may have.
    json!({ "text": labelled(&text, label, UPDATE), "blocks": [] })
}

fn whole(notification: &Notification, label: &str, undelivered: &[Undelivered], present: &Present) -> Value {
    let mut blocks = vec![json!({
        "type": "header",
        "text": { "type": "plain_text", "text": cut(&present.headline(notification), HEADER), "emoji": true },
    })];
    let now: Vec<(String, String)> = present.lines().map(|(name, state)| (name, state.to_owned())).collect();
    blocks.extend(text_block("*Now*", named(&now)));
    let lost: Vec<(String, String)> = undelivered.iter().map(Undelivered::told).collect();
    let short = [
        text_block("*Could not be evaluated*", named(&notification.errors)),
        text_block("*Also not well*", named(&notification.below)),
        text_block("*Held back*", named(&notification.held)),
        text_block("*Still not well*", named(&notification.moved)),
        text_block("*No longer checked*", named(&notification.closed)),
        text_block("*Resolved*", named(&notification.recoveries)),
        text_block("*Undelivered messages*", named(&lost)),
    ];
    let short: Vec<Value> = short.into_iter().flatten().collect();
    // Short parts always fit; alerts that do not fit are only named. The footer and the buttons take one more block each.
    let room = BLOCKS - short.len() - 1 - usize::from(present.buttons.is_some());
    let mut named_only = Vec::new();
    for (at, told) in notification.alerts.iter().enumerate() {
        let divider = (at > 0).then(|| json!({ "type": "divider" }));
        let whole: Vec<Value> = divider.into_iter().chain(alert_blocks(told, notification)).collect();
        let last = at + 1 == notification.alerts.len();
        // One block is reserved for the names of the others.
        match named_only.is_empty() && blocks.len() + whole.len() <= room - usize::from(!last) {
            true => blocks.extend(whole),
            false => named_only.push((told.check.clone(), told.alert.title.clone())),
        }
    }
    let history = notification.history.as_deref().unwrap_or("host history");
    let more = format!("*More alerts, which `{}` lists*", escape(history));
    blocks.extend(text_block(&more, named(&named_only)));
    blocks.extend(short);
    blocks.extend(present.buttons.clone());
    blocks.push(context(&format!("{} Message {label}", escape(&notification.footer))));
    let preview = if present.over { present.headline(notification) } else { preview(notification) };
    json!({ "text": cut(&escape(&preview), SECTION), "blocks": blocks })
}

/// The line that a phone shows: the worst checks, and what is wrong with each.
fn preview(notification: &Notification) -> String {
    let all = notification.worst_first();
    if all.is_empty() {
        return notification.headline();
    }
    let named = all.iter().take(PREVIEWED).map(|(check, what)| {
        let what = what.split_whitespace().collect::<Vec<_>>().join(" ");
        // A report is of no check.
        if check.is_empty() { cut(&what, PREVIEW) } else { format!("{check}: {}", cut(&what, PREVIEW)) }
    });
    let mut named = named.collect::<Vec<_>>().join("; ");
    if let more @ 1.. = all.len().saturating_sub(PREVIEWED) {
        named += &format!("; and {more} more");
    }
    let reminder = if notification.reminder { "Reminder: " } else { "" };
    format!("{} {reminder}{named}", notification.mark())
}

/// The notification as plain text, for when Slack refuses the blocks.
pub(super) fn plain(notification: &Notification, label: &str, undelivered: &[Undelivered]) -> Value {
    json!({ "text": labelled(&console::text(notification, undelivered), label, TEXT) })
}

/// A text and the message's id, in at most so many characters.
fn labelled(text: &str, label: &str, most: usize) -> String {
    let end = format!("\nMessage {label}");
    cut(&escape(text), most - length(&end)) + &end
}

fn named(entries: &[(String, String)]) -> impl Iterator<Item = String> {
    entries.iter().map(|(name, text)| format!("*{}*: {}", line(name), line(text)))
}

fn alert_blocks(told: &Told, notification: &Notification) -> Vec<Value> {
    let Told { check, alert, note, downstream, .. } = told;
    let mut headline = match (alert.title == notification.title, check.is_empty()) {
        (true, true) => line(&alert.summary),
        (true, false) => format!("*{}*: {}", line(check), line(&alert.summary)),
        (false, true) => format!("*{}*\n{}", line(&alert.title), line(&alert.summary)),
        // A check without a title is named once.
        (false, false) if alert.title == *check => format!("*{}*\n{}", line(check), line(&alert.summary)),
        (false, false) => format!("*{}* ({})\n{}", line(&alert.title), line(check), line(&alert.summary)),
    };
    if let Some(link) = notification.link(check) {
        headline += &format!("\n<{}|Runbook and history>", line(&link));
    }
    if let Some(link) = notification.label_link(check) {
        headline += &format!(" · <{}|Was it real?>", line(&link));
    }
    if let Some(note) = note {
        headline += &format!("\n_{}_", line(note));
    }
    let mut blocks = vec![section(&headline)];
    for part in &alert.sections {
        blocks.extend(section_blocks(part));
    }
    blocks.extend(text_block("*Also not well downstream*", named(downstream)));
    let steps = alert.steps.iter().map(|step| match &step.command {
        Some(command) => format!("{}:\n{}", line(&step.text), code(command)),
        None => line(&step.text),
    });
    blocks.extend(text_block("*Next steps*", steps));
    blocks
}

fn section_blocks(part: &Section) -> Vec<Value> {
    let title = if part.title.is_empty() { String::new() } else { format!("*{}*", line(&part.title)) };
    let mut blocks = Vec::new();
    if !part.lines.is_empty() || part.fields.is_empty() && part.code.is_none() {
        blocks.extend(text_block(&title, part.lines.iter().map(|text| line(text))));
    }
    let field = |field: &Field| mrkdwn(&cut(&format!("{}\n*{}*", line(&field.name), line(&field.value)), FIELD));
    let shown = if part.fields.len() > FIELDS { FIELDS - 1 } else { part.fields.len() };
    let mut fields: Vec<Value> = part.fields.iter().take(shown).map(field).collect();
    if part.fields.len() > shown {
        fields.push(mrkdwn(&format!("… and {} more", part.fields.len() - shown)));
    }
    if !fields.is_empty() {
        // If there are lines, the title is already above them.
        blocks.push(match part.lines.is_empty() && !title.is_empty() {
            true => json!({ "type": "section", "text": mrkdwn(&title), "fields": fields }),
            false => json!({ "type": "section", "fields": fields }),
        });
    }
    if let Some(text) = &part.code {
        blocks.push(section(&code(text)));
    }
    blocks
}

/// A title and the lines that fit under it, with a count of the rest. No block without lines.
fn text_block(title: &str, lines: impl Iterator<Item = String>) -> Option<Value> {
    let lines: Vec<String> = lines.collect();
    let mut text = title.to_owned();
    let mut shown = 0;
    for line in &lines {
        // Reserve room for the count.
        if length(&text) + 1 + length(line) > SECTION - 40 {
            break;
        }
        if !text.is_empty() {
            text.push('\n');
        }
        text.push_str(line);
        shown += 1;
    }
    if shown < lines.len() {
        text.push_str(&format!("\n… and {} more", lines.len() - shown));
    }
    (!text.is_empty() && !lines.is_empty()).then(|| section(&text))
}

fn section(text: &str) -> Value {
    json!({ "type": "section", "text": mrkdwn(&cut(text, SECTION)) })
}

fn context(text: &str) -> Value {
    json!({ "type": "context", "elements": [mrkdwn(&cut(text, FIELD))] })
}

/// A text with Slack's formatting. `verbatim`: Slack makes no links and mentions of bare URLs, `#channel` or `@name`, which
/// may come from data. <https://docs.slack.dev/reference/block-kit/composition-objects/text-object>
fn mrkdwn(text: &str) -> Value {
    json!({ "type": "mrkdwn", "text": text, "verbatim": true })
}

/// Text from data or a plugin, on one line of bounded length.
fn line(text: &str) -> String {
    let one_line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    // Escaped first: an `&` of the text is no entity that could be cut in half.
    cut(&escape(&one_line), LINE)
}

/// A command, as code that can be copied.
fn code(text: &str) -> String {
    format!("```{}```", cut(&escape(text).replace("```", "'''"), CODE))
}

/// Slack's three control characters. Without them no text can mention anyone or link anywhere.
/// <https://docs.slack.dev/messaging/formatting-message-text#escaping>
pub(super) fn escape(text: &str) -> String {
    let text: String = text.chars().filter(|c| !turns(*c)).collect();
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// Cuts a text to a number of characters; the last is `…` if something was left out.
pub(super) fn cut(text: &str, most: usize) -> String {
    if length(text) <= most {
        return text.to_owned();
    }
    let mut room = most - 1;
    let mut kept: String = text
        .chars()
        .take_while(|character| {
            let fits = character.len_utf16() <= room;
            room = room.saturating_sub(character.len_utf16());
            fits
        })
        .collect();
    // Half of an entity would be shown literally.
    if let Some(start) = kept.rfind('&').filter(|start| !kept.get(*start..).unwrap_or_default().contains(';')) {
        kept.truncate(start);
    }
    kept + "…"
}

/// The length as Slack counts it: in UTF-16 units; an emoji has two.
fn length(text: &str) -> usize {
    text.chars().map(char::len_utf16).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        alert::Level,
        contract::slack::{Alert, Severity, Step},
    };

    fn notification(alerts: Vec<Alert>, others: Vec<(String, String)>) -> Notification {
        let told = |alert| Told {
            check: "phase2-raw".to_owned(),
            alert,
            found: "names <!here>: 3 > 0".to_owned(),
            note: Some("<!here>".to_owned()),
            downstream: others.clone(),
        };
        Notification {
            channel: "#canary-alerts".to_owned(),
            level: Some(Level::Critical),
            title: "canaries: 1 failed".to_owned(),
            reminder: false,
            alerts: alerts.into_iter().map(told).collect(),
            errors: others.clone(),
            held: others.clone(),
            below: others.clone(),
            moved: others.clone(),
            closed: others.clone(),
            recoveries: others.clone(),
            incidents: Vec::new(),
            footer: "Data of 2026-02-05.".to_owned(),
            page: None,
            history: None,
        }
    }

    fn payload(notification: &Notification) -> Value {
        super::payload(notification, "4f2a", &[], None)
    }

    fn alert(lines: Vec<String>) -> Alert {
        Alert {
            channel: "#canary-alerts".to_owned(),
            severity: Severity::Critical,
            title: "Phase 2".to_owned(),
            summary: "Names".to_owned(),
            sections: vec![Section {
                title: "Violations".to_owned(),
                lines,
                fields: (0..14).map(|n| Field { name: format!("metric {n}"), value: n.to_string() }).collect(),
                code: None,
            }],
            steps: vec![Step { text: "Look".to_owned(), command: Some("ls ``` <x>".to_owned()) }],
        }
    }

    /// Every message is within the limits that Slack documents.
    fn assert_within_limits(payload: &Value) {
        let blocks = payload["blocks"].as_array().expect("blocks");
        assert!((1..=50).contains(&blocks.len()), "{} blocks", blocks.len());
        for block in blocks {
            let text = block["text"]["text"].as_str();
            match block["type"].as_str() {
                Some("header") => assert!((1..=150).contains(&length(text.expect("text")))),
                Some("section") => {
                    assert!(text.is_none_or(|text| (1..=3000).contains(&length(text))));
                    let fields = block["fields"].as_array();
                    assert!(fields.is_none_or(|fields| (1..=10).contains(&fields.len())));
                    assert!(text.is_some() || fields.is_some());
                    for field in fields.into_iter().flatten() {
                        assert!((1..=2000).contains(&length(field["text"].as_str().expect("text"))));
                    }
                }
                Some("context") => assert_eq!(block["elements"].as_array().map(Vec::len), Some(1)),
                Some("divider" | "actions") => {}
                other => panic!("unknown block {other:?}"),
            }
        }
    }

    #[test]
    fn nothing_in_the_data_can_leave_its_place() {
        let hostile =
            ["<!channel> & <@U1>".to_owned(), "x".repeat(3000), "🏀".repeat(2000), "مرحبا".to_owned(), String::new()];
        let lines: Vec<String> = (0..40).map(|n| format!("{n} {}", hostile[n % hostile.len()])).collect();
        let payload = payload(&notification(vec![alert(lines)], vec![("<b>".to_owned(), "a\nb".to_owned())]));
        assert_within_limits(&payload);
        let text = payload.to_string();
        assert!(!text.contains("<!channel>") && text.contains("&lt;!channel&gt; &amp; &lt;@U1&gt;"));
        assert!(text.contains("… and ") && text.contains("more"), "what was left out is counted");
        assert!(text.contains("ls ''' &lt;x&gt;"));
    }

    #[test]
    fn an_update_stays_within_the_limits() {
        let incidents: Vec<Mentioned> = (0..100)
            .map(|number| Mentioned {
                id: number.to_string(),
                check: format!("check-{number}"),
                stage: Stage::Recovered,
                state: "<!here> 🏀".repeat(400),
                date: None,
                data: true,
                acknowledged: false,
            })
            .collect();
        let alerts = (0..30).map(|_| alert(vec!["x".to_owned()])).collect();
        let notification = notification(alerts, vec![("a".to_owned(), "b".to_owned())]);
        let present = Present { incidents, over: true, buttons: Some(json!({ "type": "actions" })) };
        let updated = |as_text| updated(&notification, "4f2a", &[], &present, as_text);
        assert_within_limits(&updated(false));
        assert!(updated(false).to_string().contains("✅ Resolved: canaries: 1 failed"));
        let text = updated(true)["text"].as_str().expect("a text").to_owned();
        assert!(length(&text) <= UPDATE && text.ends_with("\nMessage 4f2a") && !text.contains("<!here>"), "{text}");
        assert_eq!(updated(true)["blocks"], json!([]));
    }

    #[test]
    fn a_message_of_many_alerts_stays_within_the_limits_and_says_what_it_left_out() {
        let alerts: Vec<Alert> = (0..30)
            .map(|number| Alert { title: format!("Alert {number:02}"), ..alert(vec!["x".to_owned()]) })
            .collect();
        let payload = payload(&notification(alerts, vec![("phase6".to_owned(), "over".to_owned())]));
        assert_within_limits(&payload);
        let text = payload.to_string();
        for number in 0..30 {
            assert!(text.contains(&format!("Alert {number:02}")), "each is named");
        }
        for title in
            ["*Could not be evaluated*", "*Held back*", "*Still not well*", "*No longer checked*", "*Resolved*"]
        {
            assert!(text.contains(title), "{title} is not pushed out");
        }
    }

    /// A phone shows the worst checks, and what is wrong with each.
    #[test]
    fn the_preview_names_the_worst_checks() {
        let told = |check: &str, severity, found: &str| Told {
            check: check.to_owned(),
            alert: Alert { severity, ..alert(Vec::new()) },
            found: found.to_owned(),
            note: None,
            downstream: Vec::new(),
        };
        let text = |alerts: Vec<Told>, reminder| {
            let made = Notification { alerts, reminder, ..notification(Vec::new(), Vec::new()) };
            payload(&made)["text"].as_str().map(str::to_owned)
        };
        let (critical, warning) = (Severity::Critical, Severity::Warning);
        let rows = told("rows", warning, "rows is low: 3 < 5");
        let names = told("names", critical, "names is <b>:\n3 > 0");
        let two = text(vec![rows.clone(), names.clone()], false);
        assert_eq!(two.as_deref(), Some("🔴 names: names is &lt;b&gt;: 3 &gt; 0; rows: rows is low: 3 &lt; 5"));
        let many = (0..5).map(|at| told(&format!("c{at}"), critical, &"x".repeat(200))).collect();
        let many = text(many, true).unwrap_or_default();
        assert!(many.starts_with("🔴 Reminder: c0: xxx") && many.ends_with("…; and 2 more"), "{many}");
        let whole = text(vec![told("empty", critical, "")], false);
        assert_eq!(whole.as_deref(), Some("🔴 empty: Names"), "the alert's own words");
        assert_eq!(text(Vec::new(), false).as_deref(), Some("🔴 canaries: 1 failed"));
    }

    #[test]
    fn an_alert_of_empty_texts_has_no_empty_block() {
        let empty = Alert {
            title: String::new(),
            summary: String::new(),
            sections: vec![Section { title: String::new(), lines: Vec::new(), fields: Vec::new(), code: None }],
            steps: Vec::new(),
            ..alert(Vec::new())
        };
        assert_within_limits(&payload(&notification(vec![empty], Vec::new())));
    }
}
