//! How a number changed from dates that were good. A bad date is no measure of what is usual: a source that died slowly
//! would be compared with its own death.

use std::{cmp::Ordering, collections::BTreeMap};

use jiff::civil::Date;
use sdk::{Error, Row, good_dates};

use crate::{limits::Change, number::Number};

/// The good dates to look through for those of one weekday.
const A_YEAR: u32 = 366;
/// The dates that a sentence names.
const NAMED: usize = 2;

/// A number on an earlier good date.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Earlier {
    date: String,
    value: Option<Number>,
    /// Whether every column of that date is NULL or 0.
    empty: bool,
}

impl Earlier {
    pub(crate) fn new(date: &str, row: &Row, column: &str) -> Self {
        let nothing = |column: &String| row.text(column).is_none() || row.number(column) == Some(0.0);
        Self { date: date.to_owned(), value: Number::of(row, column), empty: row.columns().iter().all(nothing) }
    }
}

/// What came of a comparison.
#[derive(Debug, PartialEq)]
pub(crate) enum Compared {
    /// The change in percent from the median of the good dates, and the comparison in words.
    Changed(f64, String),
    /// There are too few good dates yet, in words.
    Learning(String),
    /// There is nothing to compare with, and why.
    Unknown(String),
}

/// The good dates of this check to compare with, the newest first, for each column with a change.
pub(crate) async fn comparable<'c>(
    date: &str,
    changes: &BTreeMap<&'c str, Change>,
) -> Result<BTreeMap<&'c str, Vec<String>>, Error> {
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
    Ok(changes.iter().map(|(column, change)| (*column, of(change))).collect())
}

/// Compares a number with those of good dates, the newest first.
pub(crate) fn compare(now: Number, before: &[Earlier], change: &Change) -> Compared {
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
