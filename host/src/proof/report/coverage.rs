//! What nobody watches: dates that no run judged, and tables that no run asked.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use anyhow::Result;
use jiff::{Timestamp, civil::Date};
use serde::Serialize;
use serde_json::Value;

use crate::{
    capability::{Backends, Caller, Calls},
    check::Check,
    config::{Config, Dates, Grants},
    googlesql,
    record::{Included, Record},
    run::{Moment, When, first_due},
};

/// Runs whose queries are looked at, and bytes of their calls.
const RUNS: (u32, usize) = (5000, 64 << 20);

/// What no recorded run asked.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Unread {
    /// Tables of granted datasets.
    pub tables: Vec<String>,
    /// Queries that are too long to be recorded whole, so that nobody knows which tables they asked.
    pub unknown: usize,
}

impl Unread {
    /// What is not known of them: a sentence without its full stop.
    pub fn doubt(&self) -> Option<String> {
        match self.unknown {
            0 => None,
            1 => Some(
                "1 query is too long to be recorded whole; a table that only this one asks is listed, too".to_owned(),
            ),
            many => Some(format!(
                "{many} queries are too long to be recorded whole; tables that only these ask are listed, too"
            )),
        }
    }
}

/// The dates of a time, from a first one on, for which a check was due, and that it never judged.
pub(super) fn unjudged(
    check: &Check,
    config: &Config,
    (first, from, to): (Date, Timestamp, Timestamp),
    is_judged: &BTreeSet<(&str, Date)>,
) -> Vec<Date> {
    if check.dates() == Dates::Now || check.plugin().is_none() {
        return Vec::new();
    }
    let date = |at: Timestamp| at.to_zoned(config.timezone.rules()).date();
    let (first, last) = (first.max(date(from)), date(to));
    let all = std::iter::successors(Some(first), |date| date.tomorrow().ok()).take_while(|date| *date < last);
    let is_due = |date: &Date| {
        let due = first_due(check, *date, &config.timezone).filter(|due| *due < to);
        let moment = due.map(|due| Moment::of(check, config, due, When { at: Some(due), date: Some(*date) }));
        matches!(moment, Some(Ok(moment)) if moment.skip.is_none() && !moment.past)
    };
    all.filter(|date| !is_judged.contains(&(check.name.as_str(), *date)) && is_due(date)).collect()
}

/// The tables of granted datasets that no recorded run asked; `None` without a warehouse.
pub(super) async fn unread(record: &Record, config: &Config, backends: &Arc<Backends>) -> Result<Option<Unread>> {
    if config.warehouse.is_none() {
        return Ok(None);
    }
    let project = config.warehouse_project();
    let (asked, listed) = asked(record).await?;
    let mut read: BTreeSet<(String, String)> = BTreeSet::new();
    let mut found = Unread::default();
    for (sql, is_answered) in &asked {
        match googlesql::read(sql, project.as_deref()) {
            Ok(select) => read.extend(select.tables.into_iter().map(|path| (path.dataset, path.table.to_lowercase()))),
            // One that the warehouse answered was cut when it was recorded.
            Err(_) => found.unknown += usize::from(*is_answered),
        }
    }
    let datasets: BTreeSet<&String> = config.grants.values().flat_map(|grants| &grants.warehouse).collect();
    for dataset in datasets.into_iter().filter(|dataset| !listed.contains(*dataset)) {
        let grants = Grants { warehouse: vec![dataset.clone()], ..Grants::default() };
        let calls = Arc::new(Calls::new(Caller::default(), grants, config.budgets.clone()));
        // A dataset that cannot be asked is for doctor to say.
        let Ok(tables) = backends.tables(&calls, dataset).await else { continue };
        let unread = tables.iter().filter(|table| !read.contains(&(dataset.clone(), table.name.to_lowercase())));
        found.tables.extend(unread.map(|table| format!("{dataset}.{}", table.name)));
    }
    Ok(Some(found))
}

/// The queries of the recorded runs with whether the warehouse answered them, and the datasets of which a run asked for the tables: who asks
/// when those were written watches all of them.
async fn asked(record: &Record) -> Result<(BTreeMap<String, bool>, BTreeSet<String>)> {
    let mut queries: BTreeMap<String, bool> = BTreeMap::new();
    let mut listed = BTreeSet::new();
    let included = Included { report: false, calls: true, most: RUNS.1 };
    for run in record.runs(None, RUNS.0, included).await? {
        let calls: Vec<Value> = run.calls.and_then(|calls| serde_json::from_str(calls.get()).ok()).unwrap_or_default();
        for call in calls {
            let text = |key: &str| call.get(key).and_then(Value::as_str).unwrap_or_default();
            match text("name") {
                "warehouse.query" => {
                    *queries.entry(text("asked").to_owned()).or_default() |=
                        call.get("error").is_none_or(Value::is_null);
                }
                "warehouse.tables" => drop(listed.insert(text("asked").to_owned())),
                _ => {}
            }
        }
    }
    Ok((queries, listed))
}
