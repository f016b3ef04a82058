//! Remarks of a validation about a check itself: it may not notice something, or no data can make it fail, or pass. Its
//! runs are evaluated all the same, so each remark is told once, and nothing recovers.

use std::collections::BTreeMap;

use super::{
    Level, Notification, Told,
    spoken::News,
    standing::{Rules, Standing, silenced},
};
use crate::{
    contract::slack::{Alert, Severity},
    run::validation::Validation,
};

/// The new remarks on a check, for its channel.
#[derive(Debug)]
pub struct Remark<'r> {
    channel: &'r str,
    check: &'r str,
    severity: Severity,
    texts: Vec<&'r str>,
}

impl<'r> Remark<'r> {
    /// The remarks that were not told before, if any. Those of a silenced check wait for the next validation after the
    /// silence.
    pub(super) fn new(validation: &'r Validation, standing: &mut Standing, rules: Rules<'_>) -> Option<Self> {
        if !validation.judged {
            return None;
        }
        let known = |remark: &&String| standing.remarks.iter().any(|told| subject(told) == subject(remark));
        let all = validation.wrong.iter().chain(&validation.remarks);
        let (told, new): (Vec<&String>, Vec<&String>) = all.partition(known);
        standing.remarks = told.into_iter().cloned().collect();
        if silenced(&validation.check, News::Validation(validation).at(), rules).is_some() {
            standing.unheard = new.into_iter().cloned().collect();
            return None;
        }
        standing.unheard.clear();
        standing.remarks.extend(new.iter().copied().cloned());
        let wrong = new.iter().any(|remark| validation.wrong.contains(remark));
        let severity = if wrong { Severity::Warning } else { Severity::Info };
        let (channel, check) = (validation.family.as_ref()?.channel.as_str(), validation.check.as_str());
        let texts: Vec<&str> = new.into_iter().map(String::as_str).collect();
        (!texts.is_empty()).then_some(Self { channel, check, severity, texts })
    }
}

/// A remark without the number of simulated results, which depends on the speed of the machine.
fn subject(remark: &str) -> &str {
    remark.split_once(" simulated results").map_or(remark, |(_, rest)| rest)
}

/// The messages with the remarks, one a channel.
pub fn remarks(remarks: &[Remark<'_>], page: Option<&str>) -> Vec<Notification> {
    let mut channels: BTreeMap<&str, Vec<&Remark<'_>>> = BTreeMap::new();
    for remark in remarks {
        channels.entry(remark.channel).or_default().push(remark);
    }
    let made = channels.into_iter().map(|(channel, remarks)| {
        let title = title(&remarks);
        let told = |remark: &&Remark<'_>| Told {
            check: remark.check.to_owned(),
            alert: Alert {
                channel: channel.to_owned(),
                severity: remark.severity,
                title: title.clone(),
                summary: remark.texts.join("; "),
                sections: Vec::new(),
                steps: Vec::new(),
            },
            found: remark.texts.join("; "),
            note: None,
            downstream: Vec::new(),
        };
        Notification {
            channel: channel.to_owned(),
            level: remarks.iter().map(|remark| Level::from(remark.severity)).max(),
            alerts: remarks.iter().map(told).collect(),
            footer: "This is about the check itself, not about one date's data, and is told once.".to_owned(),
            page: page.map(str::to_owned),
            title,
            ..Notification::default()
        }
    });
    made.collect()
}

/// `lax cannot be trusted; remark: negative, unique`
fn title(remarks: &[&Remark<'_>]) -> String {
    let names = |severity: Severity| {
        let of = remarks.iter().filter(|remark| remark.severity == severity);
        of.map(|remark| remark.check).collect::<Vec<_>>().join(", ")
    };
    match (names(Severity::Warning).as_str(), names(Severity::Info).as_str()) {
        ("", others) => format!("Remark: {others}"),
        (wrong, "") => format!("{wrong} cannot be trusted"),
        (wrong, others) => format!("{wrong} cannot be trusted; remark: {others}"),
    }
}
