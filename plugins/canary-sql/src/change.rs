//! How a number changed from earlier dates. The result says what was compared with what, since a table may be younger
//! than the dates that a check looks back to.

use std::cmp::Ordering;

use sdk::Row;

use crate::number::Number;

/// A number on an earlier date.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Earlier {
    value: Option<Number>,
    /// Whether every column of that date is NULL or 0.
    empty: bool,
}

impl Earlier {
    pub(crate) fn new(row: &Row, column: &str) -> Self {
        let nothing = |column: &String| row.text(column).is_none() || row.number(column) == Some(0.0);
        Self { value: Number::of(row, column), empty: row.columns().iter().all(nothing) }
    }
}

/// The change in percent from the median of earlier dates (newest first), and the comparison in words; or why there is
/// none.
pub(crate) fn compare(now: Number, before: &[Earlier]) -> Result<(f64, String), String> {
    // Before a table had rows, its counts are 0: the oldest dates, if they are empty, are not usual ones.
    let young = before.iter().rposition(|earlier| !earlier.empty).map_or(before.len(), |oldest| oldest + 1);
    let values: Vec<Number> = before.iter().take(young).filter_map(|earlier| earlier.value).collect();
    let (dates, zeros) = (values.len(), values.iter().filter(|value| value.float() == 0.0).count());
    let usual = match (median(values), before.len()) {
        (Some(usual), _) => usual,
        (None, 1) => return Err("the earlier date has no value to compare with".to_owned()),
        (None, asked) => return Err(format!("none of the {asked} earlier dates has a value to compare with")),
    };
    let percent = match usual.float() {
        // Also if it is 0 again: nothing came, as on the dates before.
        0.0 => {
            let was = match (dates, zeros) {
                (1, _) => "it was 0 on 1 earlier date".to_owned(),
                (dates, zeros) if dates == zeros => format!("it was 0 on {dates} earlier dates"),
                (dates, zeros) => format!("the median of {dates} earlier dates is 0 (it was 0 on {zeros} of them)"),
            };
            return Err(format!("{was}, so the change to {now} has no percentage"));
        }
        _ => now.change(usual),
    };
    let mut words = match dates {
        1 => format!("{now}, against {usual} on 1 earlier date"),
        dates => format!("{now}, against a median of {usual} on {dates} earlier dates"),
    };
    match before.len() - young {
        0 => {}
        1 => words += "; 1 older date has no data",
        older => words += &format!("; {older} older dates have no data"),
    }
    match young - dates {
        0 => {}
        1 => words += "; 1 date has no value",
        without => words += &format!("; {without} dates have no value"),
    }
    Ok((percent, words))
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
