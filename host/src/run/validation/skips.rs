//! Validates `skip_when` and `skip_unless_known`: each is prepared like the plugin's own queries, and `skip_when` is asked
//! about the latest dates, since a check that is always skipped notices nothing.

use std::{sync::Arc, time::Duration};

use jiff::SignedDuration;
use tokio::time::{Instant, timeout_at};

use super::{Finding, Kind, refused};
use crate::{
    capability::{Answers, Backends, Clock, Problem, Rehearsal, Shapes, Taping},
    check::{Check, Ready},
    config::{Skip, Zone},
    googlesql,
    run::{
        Moment,
        skip::{UNLESS_KNOWN, WHEN, ask, truth, wrong_columns},
    },
};

/// How many of the latest dates are asked about.
const DATES: i32 = 30;
/// How long that may take; no remark is made of what was not asked by then.
const TIMEOUT: Duration = Duration::from_secs(20);

pub(super) async fn validate(
    check: &Check,
    ready: &Ready,
    skip: &Skip,
    backends: &Backends,
    moment: &Moment,
    zone: &Zone,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    let known = skip.unless_known.as_ref().map(|known| (UNLESS_KNOWN, known));
    for (setting, query) in [(WHEN, &skip.when)].into_iter().chain(known) {
        let shapes = Arc::<Shapes>::default();
        let Moment { due, data_date: date, day_start, day_end, .. } = *moment;
        let clock = Clock { due, date, day: (day_start, day_end) };
        let rehearsal = Arc::new(Rehearsal::new(Answers::High, clock, Vec::new(), shapes.clone()));
        let calls = check.calls(ready, ready.budgets.clone(), moment, Taping::Off);
        let answer = ask(query, &backends.rehearsing(&rehearsal), &calls, moment).await;
        let mut problems = shapes.problems();
        if let (true, Err(error)) = (problems.is_empty(), &answer) {
            problems.push(Problem { asked: query.sql.clone(), error: error.clone() });
        }
        findings.extend(problems.iter().map(|problem| {
            let found = refused(problem);
            Finding { text: format!("{setting}: {}", found.text), ..found }
        }));
        let (true, Ok(rows)) = (problems.is_empty(), answer) else { continue };
        if let Some(wrong) = wrong_columns(&rows) {
            findings.push(Finding::new(Kind::Refused, format!("{setting} gives {wrong}")));
        } else if rows.values.len() != 1 {
            let text = "may give no row or several, and then the run is an error; COUNT(*) = 0 and EXISTS (…) give one";
            findings.push(Finding::new(Kind::Remark, format!("{setting} {text}")));
        }
    }
    if findings.iter().any(|finding| finding.kind != Kind::Remark) {
        return findings;
    }
    if skip.unless_known.is_none() && reads_tables(&skip.when.sql) {
        let text = "skip_when cannot tell a date with nothing to do from a table that is not loaded yet; add skip_unless_known";
        findings.push(Finding::new(Kind::Remark, text.to_owned()));
    }
    if let Ok(true) = timeout_at(Instant::now() + TIMEOUT, always(check, ready, skip, backends, moment, zone)).await {
        let text = format!("skip_when is TRUE for each of the last {DATES} dates, so the check would have judged none");
        findings.push(Finding::new(Kind::Remark, text));
    }
    findings
}

fn reads_tables(sql: &str) -> bool {
    // A name with a project is that of a table.
    !googlesql::read(sql, None).is_ok_and(|select| select.datasets.is_empty())
}

/// Whether `skip_when` is TRUE for all of the latest dates. The newest is asked first, and usually answers.
async fn always(check: &Check, ready: &Ready, skip: &Skip, backends: &Backends, moment: &Moment, zone: &Zone) -> bool {
    for back in 0..DATES {
        let due = moment.due.checked_sub(SignedDuration::from_hours(24 * i64::from(back)));
        let date = moment.data_date.checked_sub(jiff::Span::new().days(back));
        let (Ok(due), Ok(date)) = (due, date) else { return false };
        let Ok(moment) = Moment::new(due, date, zone) else { return false };
        let calls = check.calls(ready, ready.budgets.clone(), &moment, Taping::Off);
        if truth(WHEN, &skip.when, backends, &calls, &moment).await != Ok(true) {
            return false;
        }
    }
    true
}
