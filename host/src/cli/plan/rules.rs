//! The rules of host.toml that decide whether a check runs and whom it tells: dependencies, calendars, silences, routes,
//! limits, and how a schedule with two kinds of days is read.

use std::fmt::Write as _;

use jiff::tz::TimeZone;
use serde_json::{Map, Value, json};

use crate::{
    check::Check,
    cli::{local, table::one_line},
    config::{Budgets, Calendar, Config, DataDate, DateRange, Effect, Route, Skip, SkipQuery},
    host::Host,
    record::Silence,
    text::{printable, span},
};

/// Limits that `host plan` always names; the others only where they differ from the default.
const USUAL: [&str; 4] = ["timeout", "cpu", "memory", "query_bytes"];

/// The rules for a check.
struct Rules<'h> {
    /// The `for_each` that makes it.
    made_by: Option<String>,
    data_date: DataDate,
    depends_on: &'h [String],
    skip: Option<&'h Skip>,
    /// How its days are read, if cron programs differ.
    days: Option<String>,
    /// The calendars by their names, with the effect, the reason, and when they apply.
    calendars: Vec<(&'h str, &'static str, &'h str, String)>,
    silences: Vec<&'h Silence>,
    budgets: Option<Budgets>,
}

impl<'h> Rules<'h> {
    fn of(check: &'h Check, config: &'h Config, silences: &'h [Silence]) -> Self {
        let own = config.checks.get(&check.name);
        let calendars = config.calendars.iter().filter(|(_, calendar)| calendar.names(&check.name));
        let effect = |effect| match effect {
            Effect::Skip => "skip",
            Effect::Silence => "silence",
        };
        Self {
            made_by: config.origin(&check.name).map(ToString::to_string),
            data_date: check.data_date,
            depends_on: own.map(|own| own.depends_on.as_slice()).unwrap_or_default(),
            skip: check.plugin().and_then(|ready| ready.skip.as_ref()),
            days: check.schedule.days(),
            calendars: calendars
                .map(|(name, calendar)| {
                    let when = applies(calendar, config);
                    (name.as_str(), effect(calendar.effect), calendar.why.as_str(), when)
                })
                .collect(),
            silences: silences.iter().filter(|silence| silence.checks.contains(&check.name)).collect(),
            budgets: check.plugin().map(|ready| ready.budgets.clone()),
        }
    }

    /// A line each, except the limits.
    fn lines(&self, zone: &TimeZone) -> Vec<String> {
        let mut lines: Vec<String> = self.made_by.iter().map(|origin| format!("made by {origin}")).collect();
        lines.extend(self.days.iter().map(|days| format!("is due {days}")));
        if self.data_date != DataDate::default() {
            lines.push(format!("judges the data of {} (data_date = \"{}\")", self.data_date.words(), self.data_date));
        }
        if !self.depends_on.is_empty() {
            lines.push(format!("depends on {}", self.depends_on.join(", ")));
        }
        if let Some(skip) = self.skip {
            let why = skip.when.why.as_ref().map(|why| format!(" ({why})")).unwrap_or_default();
            let most = skip.at_most.0.map(|_| format!(", for at most {}", skip.at_most)).unwrap_or_default();
            lines.push(format!("is skipped if `{}`{why}{most}", one_line(&skip.when.sql)));
            if let Some(known) = &skip.unless_known {
                lines.push(format!("and only if `{}`; otherwise it is not evaluated", one_line(&known.sql)));
            }
        }
        for (name, effect, why, when) in &self.calendars {
            let does = if *effect == "skip" { "is skipped" } else { "is silent" };
            lines.push(format!("{does} by calendars.{name}, {when}: {why}"));
        }
        for silence in &self.silences {
            let (from, until) = (local(silence.began, zone), local(silence.ends, zone));
            lines.push(format!("silence {}, {from} to {until}: {}", silence.id, silence.why));
        }
        lines
    }
}

/// The rules of all checks as text, after the table; empty without checks.
pub(super) fn text(host: &Host, silences: &[Silence]) -> String {
    let config = &host.config;
    let zone = config.timezone.rules();
    let mut text = String::new();
    let mut line = |name: &str, what: &str| {
        let _ = writeln!(text, "  {}", printable(&format!("{name}: {what}")));
    };
    let usual = limits(&config.budgets, &USUAL);
    for check in &host.checks {
        let rules = Rules::of(check, config, silences);
        rules.lines(&zone).iter().for_each(|what| line(&check.name, what));
        if let Some(own) = rules.budgets.map(|own| differences(&own, &config.budgets)).filter(|own| !own.is_empty()) {
            line(&check.name, &format!("limits {own}"));
        }
    }
    for (route, channels) in &config.alerts.routes {
        line("every check", &format!("{} also go to {}", told(*route), channels.join(", ")));
    }
    if !host.checks.is_empty() {
        let further = differences(&config.budgets, &Budgets::default());
        let further = if further.is_empty() { String::new() } else { format!("; not the default: {further}") };
        line("every check", &format!("limits {usual}{further}"));
    }
    if text.is_empty() { text } else { format!("\nRules:\n{text}") }
}

/// When a calendar applies: ``for data of 12-25, 07-01..09-30 and for 2 h from `0 2 * * *` America/New_York``.
fn applies(calendar: &Calendar, config: &Config) -> String {
    let zone = calendar.timezone.as_ref().unwrap_or(&config.timezone).name();
    let joined = |parts: Vec<String>| (!parts.is_empty()).then(|| parts.join(", "));
    let dates = joined(calendar.dates.iter().map(DateRange::words).collect());
    let windows = calendar.windows.iter().map(|window| {
        let length = span(i64::try_from(window.length.0.as_secs()).unwrap_or(i64::MAX));
        format!("for {length} from `{}` {zone}", window.cron)
    });
    let parts = dates.map(|dates| format!("for data of {dates}")).into_iter().chain(joined(windows.collect()));
    parts.collect::<Vec<_>>().join(" and ")
}

/// The alerts of a route. A check that could not be evaluated counts as a warning.
fn told(route: Route) -> String {
    match route {
        Route::Warning => "warning alerts, and errors (not evaluated),".to_owned(),
        other => format!("{} alerts", other.name()),
    }
}

/// The rules of one check for programs.
pub(super) fn json(check: &Check, host: &Host, silences: &[Silence]) -> Vec<(&'static str, Value)> {
    let rules = Rules::of(check, &host.config, silences);
    let calendars = rules
        .calendars
        .iter()
        .map(|(name, effect, why, when)| json!({ "name": name, "effect": effect, "why": why, "when": when }));
    let limits = rules.budgets.map(|budgets| {
        let limits = budgets.list().into_iter().map(|(key, value, _)| (key.to_owned(), json!(value)));
        limits.collect::<Map<_, _>>()
    });
    vec![
        ("made_by", json!(rules.made_by)),
        ("days", json!(rules.days)),
        ("data_date", json!(rules.data_date.to_string())),
        ("depends_on", json!(rules.depends_on)),
        ("skip", json!(rules.skip.map(in_json))),
        ("calendars", calendars.collect()),
        ("silences", json!(rules.silences)),
        ("limits", json!(limits)),
    ]
}

fn in_json(skip: &Skip) -> Value {
    let query = |query: &SkipQuery| json!({ "sql": query.sql, "why": query.why });
    json!({
        "when": query(&skip.when),
        "unless_known": skip.unless_known.as_ref().map(query),
        "at_most": skip.at_most.to_string(),
    })
}

/// The routes of all alerts for programs, by severity.
pub(super) fn routes(config: &Config) -> Value {
    let routes = config.alerts.routes.iter().map(|(route, channels)| (route.name().to_owned(), json!(channels)));
    routes.collect::<Map<_, _>>().into()
}

fn limits(budgets: &Budgets, keys: &[&str]) -> String {
    let named = budgets.list().into_iter().filter(|(key, ..)| keys.contains(key));
    named.map(|(key, value, _)| format!("{key} {value}")).collect::<Vec<_>>().join(", ")
}

/// The limits that differ from others.
fn differences(budgets: &Budgets, from: &Budgets) -> String {
    let pairs = budgets.list().into_iter().zip(from.list());
    let keys: Vec<&str> = pairs.filter(|((_, own, _), (_, other, _))| own != other).map(|((key, ..), _)| key).collect();
    limits(budgets, &keys)
}
