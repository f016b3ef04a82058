//! The rows that a plugin gives to explain its violations, within the budgets of its run: the first ones, and a count of
//! the rest. So the worst day stays a failure, and no plugin fills the record.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use crate::{
    config::Budgets,
    contract::{Error, Value},
    text::{printable, shortened},
};

/// Bytes that are kept of one text in a row. Longer ones are cut, with a count.
const CELL: usize = 500;
/// Bytes that are kept of the name of a metric or a column.
const NAME: usize = 200;
/// What a table takes besides its names and rows, as JSON.
const TABLE: usize = 80;

/// Rows of one metric.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// The metric that they explain, or a few words.
    pub metric: String,
    /// The columns; none if the rows are withheld.
    pub columns: Vec<String>,
    /// The rows that are kept, each as long as the columns.
    pub rows: Vec<Vec<Json>>,
    /// How many rows there are in all.
    pub total: u64,
    /// Whether `privacy.rows_in_messages` is off, so that only the number is kept.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub withheld: bool,
}

impl Evidence {
    /// The metric and how many rows there are: `duplicates_id: 5 of 7 rows`.
    pub fn title(&self) -> String {
        let (shown, total) = (self.rows.len() as u64, self.total);
        let rows = if total == 1 { "row" } else { "rows" };
        match shown == total || shown == 0 {
            true => format!("{}: {total} {rows}", self.metric),
            false => format!("{}: {shown} of {total} {rows}", self.metric),
        }
    }

    /// A line for each row, or why there is none.
    pub fn lines(&self) -> Vec<String> {
        if self.withheld {
            return vec!["[privacy] rows_in_messages = true in host.toml shows them".to_owned()];
        }
        if self.rows.is_empty() {
            return vec!["not kept: more than budgets.evidence_rows or budgets.evidence_bytes".to_owned()];
        }
        let line = |row: &Vec<Json>| {
            let cells =
                self.columns.iter().zip(row).map(|(column, cell)| format!("{}: {}", printable(column), plain(cell)));
            cells.collect::<Vec<_>>().join(", ")
        };
        self.rows.iter().map(line).collect()
    }

    /// The same without its rows.
    pub fn without_rows(&self) -> Self {
        let (metric, columns) = (self.metric.clone(), self.columns.clone());
        Self { metric, columns, rows: Vec::new(), total: self.total, withheld: self.withheld }
    }
}

/// A value for people: NULL, or the text without control characters.
pub fn plain(cell: &Json) -> String {
    match cell {
        Json::Null => "NULL".to_owned(),
        Json::String(text) => printable(text),
        other => other.to_string(),
    }
}

/// The evidence of one run.
#[derive(Debug, Default)]
pub(super) struct Collected {
    tables: Vec<Table>,
    rows: usize,
    bytes: usize,
    /// Rows of the tables that did not fit.
    elsewhere: u64,
}

#[derive(Debug)]
struct Table {
    kept: Evidence,
    given: u64,
}

impl Collected {
    /// Adds rows; only their number unless they may be shown.
    pub(super) fn add(
        &mut self,
        metric: &str,
        columns: Vec<String>,
        rows: Vec<Vec<Value>>,
        budgets: &Budgets,
        shown: bool,
    ) -> Result<(), Error> {
        if let Some(row) = rows.iter().find(|row| row.len() != columns.len()) {
            let (values, columns) = (row.len(), columns.len());
            return Err(Error::Invalid(format!("add refused: columns: {columns}, but values in a row: {values}")));
        }
        let columns: Vec<String> = match shown {
            true => columns.iter().map(|column| shortened(column, NAME)).collect(),
            false => Vec::new(),
        };
        let given = rows.len() as u64;
        let Some(at) = self.table(metric, Some(columns), budgets, shown) else {
            self.elsewhere = self.elsewhere.saturating_add(given);
            return Ok(());
        };
        let mut kept = Vec::new();
        // What comes after the first row that does not fit is left out too: the first rows, not the shortest.
        let complete = self.tables.get(at).is_some_and(|table| table.kept.rows.len() as u64 == table.given);
        for row in rows.iter().filter(|_| shown && complete) {
            if self.rows >= budgets.evidence_rows.0 as usize {
                break;
            }
            let row: Vec<Json> = row.iter().map(cell).collect();
            let bytes = size(&row);
            if self.bytes + bytes > budgets.evidence_bytes.0 {
                break;
            }
            self.rows += 1;
            self.bytes += bytes;
            kept.push(row);
        }
        if let Some(table) = self.tables.get_mut(at) {
            table.given = table.given.saturating_add(given);
            table.kept.rows.append(&mut kept);
        }
        Ok(())
    }

    /// Says how many rows there are of a metric.
    pub(super) fn total(&mut self, metric: &str, rows: u64, budgets: &Budgets, shown: bool) {
        if let Some(table) = self.table(metric, None, budgets, shown).and_then(|at| self.tables.get_mut(at)) {
            table.kept.total = rows;
        }
    }

    /// All of it.
    pub(super) fn take(&mut self) -> Vec<Evidence> {
        let collected = std::mem::take(self);
        let tables = collected.tables.into_iter().map(|Table { kept, given }| {
            let total = kept.total.max(given);
            Evidence { total, ..kept }
        });
        let elsewhere = (collected.elsewhere > 0).then(|| Evidence {
            metric: "other evidence".to_owned(),
            columns: Vec::new(),
            rows: Vec::new(),
            total: collected.elsewhere,
            withheld: false,
        });
        tables.chain(elsewhere).collect()
    }

    /// The place of a table, which is made if it fits. Without columns, the last one of the metric.
    fn table(&mut self, metric: &str, columns: Option<Vec<String>>, budgets: &Budgets, shown: bool) -> Option<usize> {
        let metric = shortened(metric, NAME);
        let same = |table: &Table| {
            table.kept.metric == metric && columns.as_ref().is_none_or(|columns| *columns == table.kept.columns)
        };
        if let Some(at) = self.tables.iter().rposition(same) {
            return Some(at);
        }
        let columns = columns.unwrap_or_default();
        let bytes = TABLE + size(&(&metric, &columns));
        if self.bytes + bytes > budgets.evidence_bytes.0 {
            return None;
        }
        self.bytes += bytes;
        let kept = Evidence { metric, columns, rows: Vec::new(), total: 0, withheld: !shown };
        self.tables.push(Table { kept, given: 0 });
        self.tables.len().checked_sub(1)
    }
}

/// A value as JSON; what JSON has no number for is a text.
fn cell(value: &Value) -> Json {
    match value {
        Value::Null => Json::Null,
        Value::Boolean(truth) => (*truth).into(),
        Value::Integer(number) => (*number).into(),
        Value::Float(number) => {
            serde_json::Number::from_f64(*number).map_or_else(|| Json::String(number.to_string()), Json::Number)
        }
        Value::Text(text) | Value::Date(text) => Json::String(shortened(text, CELL)),
        Value::Timestamp(seconds) => Json::String(
            Timestamp::from_second(*seconds).map_or_else(|_| seconds.to_string(), |moment| moment.to_string()),
        ),
    }
}

/// Bytes as JSON, with a comma.
fn size(value: &impl Serialize) -> usize {
    serde_json::to_string(value).map_or(usize::MAX / 2, |text| text.len() + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Bytes, Count};

    fn columns() -> Vec<String> {
        vec!["id".to_owned(), "name".to_owned()]
    }

    fn row(id: i64, name: &str) -> Vec<Value> {
        vec![Value::Integer(id), Value::Text(name.to_owned())]
    }

    #[test]
    fn the_first_rows_are_kept_and_the_rest_is_counted() {
        let budgets = Budgets { evidence_rows: Count(3), evidence_bytes: Bytes(4 << 10), ..Budgets::default() };
        let mut collected = Collected::default();
        for id in 0..1000 {
            collected.add("twice", columns(), vec![row(id, "x")], &budgets, true).expect("rows");
        }
        collected.add("late", columns(), vec![row(7, "y")], &budgets, true).expect("rows");
        collected.total("late", 20, &budgets, true);
        let found = collected.take();
        let counts: Vec<_> = found.iter().map(|one| (one.metric.as_str(), one.rows.len(), one.total)).collect();
        assert_eq!(counts, [("twice", 3, 1000), ("late", 0, 20)]);
        assert_eq!(collected.take(), []);
    }

    /// However many tables, names and values a plugin gives.
    #[test]
    fn evidence_stays_within_its_bytes() {
        let budgets = Budgets { evidence_bytes: Bytes(2000), ..Budgets::default() };
        let mut collected = Collected::default();
        for at in 0..100_000 {
            let wide = vec![format!("{}{at}", "c".repeat(300)); at % 50];
            let row = vec![Value::Text("\u{0}\u{1}".repeat(2000)); wide.len()];
            collected.add(&format!("metric {at}"), wide, vec![row], &budgets, true).expect("rows");
        }
        let found = collected.take();
        assert_eq!(found.iter().map(|one| one.total).sum::<u64>(), 100_000);
        let kept = serde_json::to_string(&found).expect("JSON").len();
        assert!(kept < 2500, "{kept}");
    }

    #[test]
    fn rows_that_may_not_be_shown_are_only_counted() {
        let budgets = Budgets::default();
        let mut collected = Collected::default();
        collected.add("twice", columns(), vec![row(1, "secret"), row(2, "secret")], &budgets, false).expect("rows");
        let found = collected.take();
        assert_eq!(serde_json::to_string(&found).expect("JSON").find("secret"), None);
        assert_eq!((found[0].total, found[0].rows.len(), found[0].withheld), (2, 0, true));
    }

    #[test]
    fn a_row_that_does_not_fit_its_columns_is_refused() {
        let mut collected = Collected::default();
        let refused = collected.add("twice", columns(), vec![vec![Value::Null]], &Budgets::default(), true);
        assert!(matches!(refused, Err(Error::Invalid(_))), "{refused:?}");
    }
}
