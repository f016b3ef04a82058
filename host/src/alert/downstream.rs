//! Lists failing checks in the message of the check that they depend on.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    day::At,
    roots::{How, Roots, waits_for},
    say::Say,
    spoken::{About, Notice},
    standing::{Rules, Standing, Standings, holds_until, shown, silenced},
};

/// Failing checks and their results, by the check that speaks for them and the data date.
type Under = BTreeMap<(String, At), Vec<(String, String)>>;

/// Lists failing checks in the message of the check that they depend on, also in the one about its recovery; and drops the
/// lines that this makes superfluous.
pub(super) fn list_downstream(
    notices: &mut Vec<Notice<'_>>,
    touched: &mut BTreeSet<String>,
    standings: &mut Standings,
    (rules, roots): (Rules<'_>, &mut Roots<'_>),
) {
    let mut under = Under::new();
    for at in notices.iter().filter_map(place).collect::<BTreeSet<At>>() {
        find(at, touched, standings, rules, (&mut under, roots));
    }
    // The checks of which each channel gets an alert of its own now, or a line in the message about another one.
    let mut alerted: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
    for notice in notices.iter().filter(|notice| notice.about == About::Data && !notice.say.is_line()) {
        alerted.entry(notice.channel.clone()).or_default().insert(notice.news.check());
    }
    let mut listed: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
    for notice in notices.iter_mut().filter(|notice| notice.about == About::Data) {
        let again = matches!(notice.say, Say::Recovered { .. } | Say::Reminder { .. });
        let found = place(notice).and_then(|at| Some((at, under.get(&(notice.news.check().to_owned(), at))?)));
        let Some((at, downstream)) = found.filter(|_| again || !notice.say.is_line()) else {
            continue;
        };
        let (alerted, listed) = (alerted.get(&notice.channel), listed.entry(notice.channel.clone()).or_default());
        for (check, found) in downstream {
            let Some(standing) = standings.get_mut(check) else { continue };
            // A channel that got its own alert, now or before, is not told a second time.
            let alerted = alerted.is_some_and(|alerted| alerted.contains(check.as_str()));
            let subject = standing.subject(at.date);
            let known = standing.side(About::Data, subject, at.due, |side| {
                let sent = side.is_sent(&notice.channel);
                let listed = side.listed.contains(&notice.channel);
                if !alerted && !listed && (again || !sent) {
                    side.list(&notice.channel);
                }
                sent
            });
            if alerted || !again && known {
                continue;
            }
            touched.insert(check.clone());
            listed.insert(check);
            notice.downstream.push((check.clone(), found.clone()));
        }
    }
    let is_listed =
        |notice: &Notice<'_>| listed.get(&notice.channel).is_some_and(|listed| listed.contains(notice.news.check()));
    notices.retain(|notice| !matches!(notice.say, Say::Below { .. }) || !is_listed(notice));
}

/// When and about which date a notice about a check's data speaks.
fn place(notice: &Notice<'_>) -> Option<At> {
    let date = notice.subject.unwrap_or(notice.news.data_date());
    (notice.about == About::Data).then(|| At { due: notice.news.due(), date })
}

/// The failing checks of one date, under the checks that speak for them.
fn find(
    at: At,
    touched: &BTreeSet<String>,
    standings: &Standings,
    rules: Rules<'_>,
    (under, roots): (&mut Under, &mut Roots<'_>),
) {
    for (check, standing) in standings {
        let Some(side) = standing.failing_at(at.date) else { continue };
        let confirmed = side.is_confirmed(rules.config.alerts(check).confirm.0);
        if !confirmed || !in_force(check, standing, at, rules) || silenced(check, at, rules).is_some() {
            continue;
        }
        let reported = roots.of(check, at, standings).filter(|root| root.how == How::Reported);
        if let Some(root) = reported.map(|root| root.check).or_else(|| recovered(check, standing, at, standings, rules))
        {
            let before = if touched.contains(check) { String::new() } else { last_checked(standing, at, rules) };
            under.entry((root, at)).or_default().push((check.clone(), format!("{}{before}", side.summary)));
        }
    }
}

/// The run that a result is of, if that is not one of this round.
fn last_checked(standing: &Standing, at: At, rules: Rules<'_>) -> String {
    let subject = standing.subject(at.date);
    let ran = standing.days.get(&subject).map(|day| day.at).or(standing.ran);
    let ran = ran.map(|ran| format!("last checked at {}", shown(ran, rules.config)));
    let date = subject.or(standing.date).map(|date| format!("data of {date}"));
    let parts: Vec<String> = ran.into_iter().chain(date).collect();
    if parts.is_empty() { String::new() } else { format!(" ({})", parts.join(", ")) }
}

/// Whether a check's last result about a date is its present state: a verdict, and the check is still run.
fn in_force(check: &str, standing: &Standing, at: At, rules: Rules<'_>) -> bool {
    standing.is_judged(at.date) && holds_until(check, standing, rules.config).is_some_and(|until| until >= at.due)
}

/// The check that a failing check waited for, if that has recovered.
fn recovered(check: &str, standing: &Standing, at: At, standings: &Standings, rules: Rules<'_>) -> Option<String> {
    let mut root = &waits_for(check, standing, at, rules)?.root;
    // Checks may wait for each other only since host.toml changed in between.
    for _ in 0..standings.len() {
        let above = standings.get(root)?;
        match waits_for(root, above, at, rules).filter(|_| above.failing_at(at.date).is_some()) {
            Some(further) => root = &further.root,
            None => return above.passes(at.date).then(|| root.clone()),
        }
    }
    None
}
