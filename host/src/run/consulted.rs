//! The built-in check of a gate with `expect_consult`: was the gate asked about the date?

use anyhow::Result;

use super::Moment;
use crate::{
    check::Check,
    config::local,
    contract::{
        Report, Verdict, Violation,
        slack::{Alert, Severity, Step},
    },
    record::Record,
};

/// The report whether somebody asked a gate about this moment's date, with an alert if nobody did, unless the gate itself was
/// skipped.
pub(super) async fn consulted(
    check: &Check,
    gate: &str,
    record: &Record,
    moment: &Moment,
) -> Result<(Report, Vec<Alert>)> {
    let asked = record.consultations_about(gate, moment.data_date).await?;
    let date = moment.data_date;
    let by = local(moment.due, &check.zone.rules());
    let report = |verdict, summary: String, violations| Report {
        verdict,
        summary,
        metrics: Vec::new(),
        violations,
        unknown: Vec::new(),
        gate: None,
    };
    if asked > 0 {
        return Ok((report(Verdict::Pass, format!("{gate} was asked about {date}"), Vec::new()), Vec::new()));
    }
    // A window of a calendar, or the gate's own reason: there was nothing to ask about.
    if let Some(why) = record.skipped(gate, date).await? {
        return Ok((report(Verdict::Skip(format!("{gate} was {why}")), String::new(), Vec::new()), Vec::new()));
    }
    let nobody = format!("nobody asked {gate} about {date} by {by}");
    let alert = Alert {
        channel: check.family.as_ref().map(|family| family.channel.clone()).unwrap_or_default(),
        severity: Severity::Critical,
        title: format!("Nobody asked {gate}"),
        summary: format!("{nobody}: the next phase either ran without asking or did not run."),
        sections: Vec::new(),
        steps: vec![
            Step {
                text: "See who asked before, and the answers".to_owned(),
                command: Some(format!("host history {gate}")),
            },
            Step {
                text: "Ask now, before the next phase starts".to_owned(),
                command: Some(format!("host gate {gate} --date {date}")),
            },
        ],
    };
    let violation = Violation { metric: None, message: format!("consultations: {nobody}") };
    Ok((report(Verdict::Fail, nobody, vec![violation]), vec![alert]))
}
