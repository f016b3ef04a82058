//! Tables that BigQuery reads only with a filter on their partitions, `require_partition_filter`:
//! <https://cloud.google.com/bigquery/docs/querying-partitioned-tables#require_a_partition_filter_in_queries>

/// The end of BigQuery's message.
const REASON: &str = "that can be used for partition elimination";

/// Whether BigQuery asks for a filter.
pub(super) fn is_missing(message: &str) -> bool {
    message.contains(REASON)
}

/// What to add to the query; empty if BigQuery does not ask for a filter.
pub(super) fn advice(message: &str) -> String {
    match columns(message).first() {
        None => String::new(),
        Some(column) => format!(
            "; add a condition on {column} to the query's WHERE, such as `{column} = @date` (canary-sql: the setting `where`)"
        ),
    }
}

/// The columns in `without a filter over column(s) 'a', 'b' that can be used …`; any of them will do.
fn columns(message: &str) -> Vec<&str> {
    let Some((before, _)) = message.split_once(REASON) else { return Vec::new() };
    let Some((_, list)) = before.rsplit_once("column(s) ") else { return Vec::new() };
    let names = list.split(',').map(|name| name.trim().trim_matches(['\'', '`', '"']));
    names.filter(|name| !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || c == '_')).collect()
}
