//! How a number changed since earlier good dates. Bad dates are left out: a source that fails slowly would otherwise be compared with its own
//! failure.

use std::{
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet},
};

use futures_util::future::join_all;
use jiff::civil::Date;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Error, Metric, Number, Query, Row, good_dates, measured};

/// The good dates to look through for those of one weekday.
const A_YEAR: u32 = 366;
/// Queries at a time, within the budget of concurrent calls.
const AT_ONCE: usize = 4;
/// The dates that a sentence names.
const NAMED: usize = 2;

/// The maximum change from the median of earlier dates that this check judged good: of the newest `days`, or of the newest
/// `weeks` on the same weekday.
#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Change {
    /// The number of good dates.
    #[schemars(range(max = 31))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub days: Option<u8>,
    /// The number of good dates on the same weekday.
    #[schemars(range(max = 12))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weeks: Option<u8>,
    /// The least number of good dates to compare with; with fewer the check still learns. Default: half of `days` or `weeks`,
    /// rounded up.
    #[schemars(range(min = 1, max = 31))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_dates: Option<u8>,
    /// The maximum drop, in percent: from 0 to 100, which is a drop to 0.
    #[schemars(range(min = 0, max = 100))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_drop_percent: Option<f64>,
    /// The maximum rise, in percent.
    #[schemars(range(min = 0))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_rise_percent: Option<f64>,
}

impl Change {
    /// How many dates to compare with, and how many days they are apart; `None` if it does not say.
    fn dates(&self) -> Option<(u8, i64)> {
        match (self.days, self.weeks) {
            (Some(days), None) if days > 0 => Some((days, 1)),
            (None, Some(weeks)) if weeks > 0 => Some((weeks, 7)),
            _ => None,
        }
    }

    /// The least number of good dates.
    fn least(&self) -> usize {
        let (count, _) = self.dates().unwrap_or_default();
        self.min_dates.unwrap_or(count.div_ceil(2)).into()
    }

    /// What is wrong with it, if no value could break it or there is nothing to compare with.
    pub fn problem(&self) -> Option<String> {
        if self.max_drop_percent.is_none() && self.max_rise_percent.is_none() {
            return Some("it has no limit; add max_drop_percent or max_rise_percent".to_owned());
        }
        match (self.dates(), self.days, self.weeks) {
            (Some((count, _)), ..) if !(1..=usize::from(count)).contains(&self.least()) => {
                Some(format!("min_dates = {}; write 1 to {count}, the number of dates", self.least()))
            }
            (Some(_), ..) => None,
            (None, Some(days), Some(weeks)) => {
                Some(format!("days = {days} and weeks = {weeks} exclude each other; leave one out"))
            }
            (None, ..) => Some("it has no dates; add days or weeks, at least 1".to_owned()),
        }
    }

    /// The change of a column in percent, with its limits.
    pub fn limits(&self, column: &str, percent: Option<f64>) -> Metric {
        Metric {
            min: self.max_drop_percent.map(|drop| -drop),
            max: self.max_rise_percent,
            ..measured(format!("{column}_change"), percent).unit("%")
        }
    }
}

/// A number on an earlier good date.
#[derive(Debug, Clone, PartialEq)]
struct Earlier {
    date: String,
    value: Option<Number>,
    /// Whether every column of that date is NULL or 0.
    empty: bool,
}

impl Earlier {
    fn new(date: &str, row: &Row, column: &str) -> Self {
        let nothing = |column: &String| row.text(column).is_none() || row.number(column) == Some(0.0);
        Self { date: date.to_owned(), value: Number::of(row, column), empty: row.columns().iter().all(nothing) }
    }
}

/// What came of a comparison.
#[derive(Debug, PartialEq)]
pub enum Compared {
    /// The change in percent from the median of the good dates, and the comparison in words.
    Changed(f64, String),
    /// There are too few good dates yet, in words.
    Learning(String),
    /// There is nothing to compare with, and why.
    Unknown(String),
}

/// The rows of earlier good dates, with which changes are compared.
pub struct Past {
    /// The dates to compare with, the newest first, by column.
    dates: Result<BTreeMap<String, Vec<String>>, Error>,
    /// The row of each date.
    rows: BTreeMap<String, Result<Row, Error>>,
}

impl Past {
    /// Asks for the rows that some columns are compared with: `query` is that of a date. Without a change nothing is asked.
    pub async fn ask(date: &str, changes: &BTreeMap<&str, Change>, query: impl Fn(&str) -> Query) -> Self {
        let dates = comparable(date, changes).await;
        let named: BTreeSet<&String> = dates.iter().flat_map(BTreeMap::values).flatten().collect();
        let named: Vec<&String> = named.into_iter().rev().collect();
        let mut rows = BTreeMap::new();
        for some in named.chunks(AT_ONCE) {
            let found = join_all(some.iter().map(|date| query(date).row())).await;
            rows.extend(some.iter().map(|date| (*date).clone()).zip(found));
        }
        Self { dates, rows }
    }

    /// Compares a column's value with those of its good dates. As in SQL, upper and lower case are the same.
    pub fn compare(&self, column: &str, now: Number, change: &Change) -> Compared {
        match self.earlier(column) {
            Ok(earlier) => compare(now, &earlier, change),
            Err(why) => Compared::Unknown(why),
        }
    }

    /// The values of a column on its good dates, newest first; or why they are not all known.
    fn earlier(&self, column: &str) -> Result<Vec<Earlier>, String> {
        let dates = self.dates.as_ref().map_err(|error| error.reason().to_owned())?;
        let dates = dates.iter().find(|(name, _)| name.eq_ignore_ascii_case(column)).map(|(_, dates)| dates);
        let asked = || dates.into_iter().flatten().filter_map(|date| Some((date, self.rows.get(date)?)));
        let mut failed = asked().filter_map(|(date, found)| Some((date, found.as_ref().err()?)));
        if let Some((date, error)) = failed.next() {
            let others = match failed.count() {
                0 => String::new(),
                1 => ", and of 1 date before it,".to_owned(),
                others => format!(", and of {others} dates before it,"),
            };
            return Err(format!("the query of {date}{others} has no answer: {}", error.reason()));
        }
        Ok(asked().filter_map(|(date, found)| Some(Earlier::new(date, found.as_ref().ok()?, column))).collect())
    }
}

/// The good dates of this check to compare with, the newest first, for each column with a change.
async fn comparable(date: &str, changes: &BTreeMap<&str, Change>) -> Result<BTreeMap<String, Vec<String>>, Error> {
    let Ok(date) = date.parse::<Date>() else { return Ok(BTreeMap::new()) };
    let asked =
        |change: &Change| change.dates().map_or(0, |(count, apart)| if apart == 1 { count.into() } else { A_YEAR });
    let good = match changes.values().map(asked).max() {
        None => return Ok(BTreeMap::new()),
        Some(limit) => good_dates(limit).await?,
    };
    let of = |change: &Change| {
        let (count, apart) = change.dates().unwrap_or_default();
        let fits = |good: &&String| {
            let back = good.parse::<Date>().map(|good| i64::from((date - good).get_days()));
            back.is_ok_and(|back| back > 0 && back % apart.max(1) == 0)
        };
        good.iter().filter(fits).take(count.into()).cloned().collect()
    };
    Ok(changes.iter().map(|(column, change)| ((*column).to_owned(), of(change))).collect())
}

/// Compares a number with those of good dates, the newest first.
fn compare(now: Number, before: &[Earlier], change: &Change) -> Compared {
    let least = change.least();
    if before.len() < least {
        let named = match before {
            [] => String::new(),
            _ => format!(", {}", listed(before)),
        };
        return Compared::Learning(format!("learning: {} of {least} good dates{named}", before.len()));
    }
    // What was good may be gone by now: the oldest dates, if they are empty, are not usual ones.
    let kept = before.iter().rposition(|earlier| !earlier.empty).map_or(before.len(), |oldest| oldest + 1);
    let compared: Vec<&Earlier> = before.iter().take(kept).filter(|earlier| earlier.value.is_some()).collect();
    let values: Vec<Number> = compared.iter().filter_map(|earlier| earlier.value).collect();
    let (dates, zeros) = (values.len(), values.iter().filter(|value| value.float() == 0.0).count());
    if dates < least {
        let (have, are) = (if dates == 1 { "has" } else { "have" }, if least == 1 { "is" } else { "are" });
        let all = before.len();
        return Compared::Unknown(format!(
            "only {dates} of {all} good dates {have} a value; at least {least} {are} needed"
        ));
    }
    let Some(usual) = median(values) else {
        return Compared::Unknown("no good date has a value to compare with".to_owned());
    };
    if usual.float() == 0.0 {
        // Also if it is 0 again: nothing came, as on the dates before.
        let was = match (dates, zeros) {
            (1, _) => "it was 0 on 1 good date".to_owned(),
            (dates, zeros) if dates == zeros => format!("it was 0 on {dates} good dates"),
            (dates, zeros) => format!("the median of {dates} good dates is 0 (it was 0 on {zeros} of them)"),
        };
        return Compared::Unknown(format!("{was}, so the change to {now} has no percentage"));
    }
    let of = if dates == 1 { "" } else { "a median of " };
    let mut words = format!("{now}, against {of}{usual} on {}", listed(compared.iter().copied()));
    match before.len() - kept {
        0 => {}
        1 => words += "; 1 older good date has no data any more",
        older => words += &format!("; {older} older good dates have no data any more"),
    }
    match kept - dates {
        0 => {}
        1 => words += "; 1 good date has no value",
        without => words += &format!("; {without} good dates have no value"),
    }
    Compared::Changed(now.change(usual), words)
}

/// `2026-02-04, 2026-02-03 and 5 more good dates`
fn listed<'e>(dates: impl IntoIterator<Item = &'e Earlier>) -> String {
    let dates: Vec<&str> = dates.into_iter().map(|earlier| earlier.date.as_str()).collect();
    match dates.as_slice() {
        [one, other] => format!("{one} and {other}"),
        named if named.len() <= NAMED => named.join(", "),
        all => {
            let more = all.len() - NAMED;
            let named = all.iter().take(NAMED).copied().collect::<Vec<_>>().join(", ");
            format!("{named} and {more} more good date{}", if more == 1 { "" } else { "s" })
        }
    }
}

fn median(mut values: Vec<Number>) -> Option<Number> {
    values.sort_by(|one, other| one.compare(*other).unwrap_or(Ordering::Equal));
    let middle = values.len() / 2;
    let upper = *values.get(middle)?;
    match values.len() % 2 {
        1 => Some(upper),
        _ => Some(values.get(middle.checked_sub(1)?)?.between(upper)),
    }
}
