//! The buttons under a message that begins incidents: `Acknowledge`, whose press Slack sends to the host, and `Open`, a link.
//! Limits: <https://docs.slack.dev/reference/block-kit/block-elements/button-element>

use serde_json::{Value, json};

use super::{Mentioned, Notification, block_kit::cut};

/// The beginning of the id of each `Acknowledge`.
pub const ACKNOWLEDGE: &str = "acknowledge";

/// Checks with buttons: a block has at most 25 elements.
const CHECKS: usize = 12;
/// Characters of a button's text.
const LABEL: usize = 75;
/// Characters of a value.
const VALUE: usize = 2000;
/// Characters of an address.
const ADDRESS: usize = 3000;

/// What a message can do about one of its incidents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Offer {
    /// It is over, or somebody works on it.
    Nothing,
    /// It can be acknowledged.
    Acknowledge,
}

/// The block of buttons: for each check of which the message began an incident, `None` for other incidents.
pub(super) fn block(notification: &Notification, offer: impl Fn(&Mentioned) -> Option<Offer>) -> Option<Value> {
    let mut checks: Vec<(&str, Offer)> = Vec::new();
    for incident in &notification.incidents {
        let Some(offer) = offer(incident) else { continue };
        // Whether a check can be evaluated is not a matter of a date's data, so nobody acknowledges it.
        let offer = if incident.data { offer } else { Offer::Nothing };
        match checks.iter_mut().find(|(check, _)| *check == incident.check) {
            Some((_, known)) => *known = offer.max(*known),
            None => checks.push((incident.check.as_str(), offer)),
        }
    }
    let only = checks.len() == 1;
    let label = |what: &str, check: &str| {
        let text = if only { what.to_owned() } else { format!("{what} {check}") };
        json!({ "type": "plain_text", "text": cut(&text, LABEL), "emoji": false })
    };
    let mut elements = Vec::new();
    for (number, (check, offer)) in checks.into_iter().take(CHECKS).enumerate() {
        if offer == Offer::Acknowledge && check.len() <= VALUE {
            elements.push(json!({
                "type": "button",
                "text": label("Acknowledge", check),
                "action_id": format!("{ACKNOWLEDGE}-{number}"),
                "value": check,
            }));
        }
        if let Some(link) = notification.link(check).filter(|link| link.len() <= ADDRESS) {
            elements.push(json!({
                "type": "button",
                "text": label("Open", check),
                "action_id": format!("open-{number}"),
                "url": link,
            }));
        }
    }
    (!elements.is_empty()).then(|| json!({ "type": "actions", "elements": elements }))
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::alert::{About, Stage};

    fn incident(check: &str, about: About) -> Mentioned {
        Mentioned::new((check, about.kind()), None, Timestamp::UNIX_EPOCH, Stage::Began)
    }

    fn labels(block: &Value) -> Vec<&str> {
        let elements = block["elements"].as_array().expect("elements");
        elements.iter().map(|button| button["text"]["text"].as_str().expect("a text")).collect()
    }

    #[test]
    fn each_check_has_its_buttons_within_the_limits() {
        let all = |_: &Mentioned| Some(Offer::Acknowledge);
        let notification = |incidents: Vec<Mentioned>| Notification {
            incidents,
            page: Some("https://host.example.com".to_owned()),
            ..Notification::default()
        };
        let one = notification(vec![incident("rows", About::Data), incident("rows", About::Data)]);
        assert_eq!(labels(&block(&one, all).expect("buttons")), ["Acknowledge", "Open"]);
        assert_eq!(labels(&block(&one, |_| Some(Offer::Nothing)).expect("buttons")), ["Open"]);
        assert_eq!(block(&one, |_| None), None);
        let errors = notification(vec![incident("rows", About::Evaluation), incident("names", About::Data)]);
        let block_of = block(&errors, all).expect("buttons");
        assert_eq!(labels(&block_of), ["Open rows", "Acknowledge names", "Open names"]);
        let many = (0..40).map(|at| incident(&format!("{at}{}", "x".repeat(90)), About::Data)).collect();
        let many = block(&notification(many), all).expect("buttons");
        let labels = labels(&many);
        assert!(labels.len() <= 25 && labels.iter().all(|label| label.chars().count() <= LABEL), "{labels:?}");
        let mut ids: Vec<&str> =
            many["elements"].as_array().expect("elements").iter().filter_map(|one| one["action_id"].as_str()).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), labels.len(), "the ids within a block differ");
        assert!(block(&Notification { page: None, ..one }, |_| Some(Offer::Nothing)).is_none(), "no empty block");
    }
}
