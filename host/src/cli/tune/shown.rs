//! What `host tune` shows of its proposals.

use std::fmt::Write as _;

use jiff::civil::Date;
use serde_json::{Value, json};

use crate::{
    cli::table::Table,
    proof::{Confirm, Figures, Proposal, Share, Side, Tuned, interval},
    text::{self, counted, number},
};

/// Dates that are named in a line.
const NAMED: usize = 6;

/// The proposals, and what the later dates say of them. `alarms` is how many false alarms a month are allowed.
pub(super) fn text(check: &str, tuned: &Tuned, alarms: f64, writes: bool) -> String {
    let mut text = match tuned.proposals.as_slice() {
        [] => format!("{check} has no setting with a limit that could be tuned.\n"),
        proposals => limits(proposals, tuned.month) + "\n",
    };
    let range = |(first, last, count): (Date, Date, usize)| {
        format!("{} from {first} to {last}", counted(count, "date", "dates"))
    };
    let _ = writeln!(text, "{}: tuned on {}, reported on {}.", check, range(tuned.tuned), range(tuned.reported));
    let figures = |figures: &Figures| {
        let of = per_month_with(figures.alarms, tuned.month);
        format!("{of} false alarms a month, {} of faults on the limited sides caught", percent_with(figures.caught))
    };
    if !tuned.proposals.is_empty() {
        let _ = writeln!(text, "These limits as they are: {}.", figures(&tuned.now));
        let _ = writeln!(text, "With the proposals:       {}.", figures(&tuned.then));
    }
    if tuned.then.alarms.value() * tuned.month > alarms && tuned.refused.is_none() {
        let (low, _) = interval(tuned.then.alarms.hits, tuned.then.alarms.of);
        let _ = match low * tuned.month > alarms {
            true => writeln!(text, "That is more than {alarms} a month."),
            false => writeln!(
                text,
                "That is more than {alarms} a month; too few dates to say whether that is the true rate."
            ),
        };
    }
    for (dates, words) in
        [(&tuned.now.alarmed, "The limits as they are alarm on"), (&tuned.then.alarmed, "The proposals would alarm on")]
    {
        let is_open = |date: &&Date| !tuned.known.iter().any(|known| known.date == **date);
        let dates: Vec<Date> = dates.iter().filter(is_open).copied().collect();
        if !dates.is_empty() {
            let _ = writeln!(
                text,
                "{words} {}; if a date was bad, label its alert or name it in known_bad.",
                listed(&dates)
            );
        }
    }
    if !tuned.unjudged.is_empty() {
        let _ = writeln!(
            text,
            "Known, but never judged, so nothing here is about them: {}; `host backtest {check} --known` asks.",
            listed(&tuned.unjudged)
        );
    }
    if tuned.others > 0 {
        let _ = writeln!(
            text,
            "Not counted: {} asked about with other settings; `host backtest` asks again.",
            counted(tuned.others, "date that was", "dates that were")
        );
    }
    if tuned.recorded > 0 {
        let _ = writeln!(
            text,
            "Of recorded runs, whatever settings they had: {}.",
            counted(tuned.recorded, "date", "dates")
        );
    }
    if !tuned.bad.is_empty() {
        let _ = writeln!(text, "Not tuned on, since they were bad: {}.", listed(&tuned.bad));
    }
    if !tuned.apart.is_empty() {
        let _ = writeln!(
            text,
            "Not tuned on, since they stand far apart from all others: {}; name those that were good in known_good.",
            listed(&tuned.apart)
        );
    }
    for known in &tuned.known {
        let says = |alarms: bool| if alarms { "alarms" } else { "does not alarm" };
        let was = match (known.bad, known.noise) {
            (true, _) => "bad",
            (false, true) => "noise",
            (false, false) => "good",
        };
        let mark = if known.then == known.bad { "" } else { " NOT as expected:" };
        let _ = writeln!(
            text,
            "{} was {was}:{mark} it {} today, and {} with the proposals.",
            known.date,
            says(known.now),
            says(known.then)
        );
    }
    let Confirm { now, proposed, why } = &tuned.confirm;
    let _ = match proposed {
        Some(confirm) => writeln!(text, "alerts.confirm: {confirm} instead of {now}: {why}."),
        None => writeln!(text, "alerts.confirm: {now} stays: {why}."),
    };
    if !tuned.unlimited.is_empty() {
        let _ = writeln!(text, "No setting limits {}, so no figure here counts it.", tuned.unlimited.join(", "));
    }
    match &tuned.refused {
        Some(why) => text += &format!("The proposals cannot be used: {why}\n"),
        None if !writes && tuned.proposes() => {
            text += "--write puts the proposals into host.toml.\n";
        }
        None => {}
    }
    text
}

/// The proposals as a table.
fn limits(proposals: &[Proposal], month: f64) -> String {
    let mut table = Table::new(["SETTING", "NOW", "PROPOSED", "FALSE/MONTH", "CAUGHT", "WHY"]);
    for one in proposals {
        table.row(vec![
            one.setting.clone(),
            one.now.map_or_else(|| "-".to_owned(), number),
            proposed(one),
            per_month(one.alarms, month),
            percent(one.caught),
            one.why.clone(),
        ]);
    }
    table.text()
}

/// The same as JSON.
pub(super) fn json(check: &str, tuned: &Tuned) -> Value {
    let share = |share: Share, times: f64| {
        let (low, high) = interval(share.hits, share.of);
        json!({ "hits": share.hits, "of": share.of, "value": share.value() * times, "low": low * times, "high": high * times })
    };
    let figures = |figures: &Figures| {
        json!({
            "false_alarms_per_month": share(figures.alarms, tuned.month),
            "caught": share(figures.caught, 1.0),
            "alarmed": figures.alarmed,
        })
    };
    let range = |(first, last, count): (Date, Date, usize)| json!({ "from": first, "to": last, "dates": count });
    let proposal = |one: &Proposal| {
        json!({
            "metric": one.metric,
            "side": if one.side == Side::Low { "low" } else { "high" },
            "setting": one.setting,
            "now": one.now,
            "proposed": one.proposed,
            "why": one.why,
            "false_alarms_per_month": share(one.alarms, tuned.month),
            "caught": share(one.caught, 1.0),
        })
    };
    json!({
        "check": check,
        "tuned_on": range(tuned.tuned),
        "reported_on": range(tuned.reported),
        "bad": tuned.bad,
        "apart": tuned.apart,
        "limits": tuned.proposals.iter().map(proposal).collect::<Vec<_>>(),
        "now": figures(&tuned.now),
        "then": figures(&tuned.then),
        "known": tuned.known.iter().map(|known| json!({ "data_date": known.date, "bad": known.bad, "noise": known.noise, "now": known.now, "then": known.then })).collect::<Vec<_>>(),
        "confirm": tuned.confirm,
        "unjudged": tuned.unjudged,
        "others": tuned.others,
        "recorded": tuned.recorded,
        "unlimited": tuned.unlimited,
        "refused": tuned.refused,
    })
}

fn proposed(one: &Proposal) -> String {
    match &one.proposed {
        Some(Value::Number(value)) => value.as_f64().map_or_else(String::new, number),
        Some(Value::Object(object)) => {
            let parts: Vec<String> = object.iter().map(|(key, value)| format!("{key} = {value}")).collect();
            format!("{{ {} }}", parts.join(", "))
        }
        Some(other) => other.to_string(),
        None => "stays".to_owned(),
    }
}

/// Alarms a month: `0.8`.
fn per_month(share: Share, month: f64) -> String {
    format!("{:.1}", share.value() * month)
}

/// The same with its interval of 95 %.
fn per_month_with(share: Share, month: f64) -> String {
    let (low, high) = interval(share.hits, share.of);
    format!("{} (95 %: {:.1} to {:.1})", per_month(share, month), low * month, high * month)
}

fn percent(share: Share) -> String {
    match share.of {
        0 => "-".to_owned(),
        of => format!("{:.0} % of {of}", share.value() * 100.0),
    }
}

fn percent_with(share: Share) -> String {
    let (low, high) = interval(share.hits, share.of);
    format!("{} (95 %: {:.0} to {:.0})", percent(share), low * 100.0, high * 100.0)
}

fn listed(dates: &[Date]) -> String {
    text::listed(&dates.iter().map(Date::to_string).collect::<Vec<_>>(), NAMED)
}
