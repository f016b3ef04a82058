//! Remarks of a validation: a check is sound, but may not notice something. Each is told once; nothing is wrong, so
//! nothing recovers.

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
    texts: Vec<&'r str>,
}

impl<'r> Remark<'r> {
    /// The remarks that were not told before, if any; those of a silenced check are told after the silence.
    pub(super) fn new(validation: &'r Validation, standing: &mut Standing, rules: Rules<'_>) -> Option<Self> {
        let told = |remark: &&String| standing.remarks.contains(remark);
        let texts: Vec<&str> = validation.remarks.iter().filter(|remark| !told(remark)).map(String::as_str).collect();
        let channel = validation.family.as_ref().map(|family| family.channel.as_str());
        let silenced = silenced(&validation.check, News::Validation(validation), rules).is_some();
        if silenced && !texts.is_empty() {
            return None;
        }
        standing.remarks.clone_from(&validation.remarks);
        Some(Self { channel: channel?, check: &validation.check, texts }).filter(|remark| !remark.texts.is_empty())
    }
}

/// The messages with the remarks, one a channel.
pub fn remarks(remarks: &[Remark<'_>], page: Option<&str>) -> Vec<Notification> {
    let mut channels: BTreeMap<&str, Vec<&Remark<'_>>> = BTreeMap::new();
    for remark in remarks {
        channels.entry(remark.channel).or_default().push(remark);
    }
    let made = channels.into_iter().map(|(channel, remarks)| {
        let names: Vec<&str> = remarks.iter().map(|remark| remark.check).collect();
        let title = format!("Remark: {}", names.join(", "));
        let told = |remark: &&Remark<'_>| Told {
            check: remark.check.to_owned(),
            alert: Alert {
                channel: channel.to_owned(),
                severity: Severity::Info,
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
            level: Some(Level::Info),
            alerts: remarks.iter().map(told).collect(),
            footer: "Nothing failed. This is about the check itself, and is told once.".to_owned(),
            page: page.map(str::to_owned),
            title,
            ..Notification::default()
        }
    });
    made.collect()
}
