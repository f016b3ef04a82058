//! The identity of a run, defined in one place.

use jiff::{Timestamp, civil::Date};

/// The id of a run among the runs of its check: `2026-02-05@2026-02-06T11:30:00Z-1` is the first attempt at the data of
/// 2026-02-05 for that due time. Used in logs and in the labels of queries.
pub fn run_id(data_date: Date, due: Timestamp, attempt: u32) -> String {
    format!("{data_date}@{due}-{attempt}")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gates may be asked several times in a second.
    #[test]
    fn no_two_runs_of_a_check_have_the_same() {
        let (date, due) = ("2026-02-05".parse().expect("a date"), "2026-02-06T11:30:00Z".parse().expect("a time"));
        assert_eq!(run_id(date, due, 1), "2026-02-05@2026-02-06T11:30:00Z-1");
        let ids = [
            run_id(date, due, 1),
            run_id(date, due, 2),
            run_id("2026-02-04".parse().expect("a date"), due, 1),
            run_id(date, due + jiff::SignedDuration::from_millis(1), 1),
        ];
        for (at, id) in ids.iter().enumerate() {
            assert!(!ids[..at].contains(id), "{id}");
        }
    }
}
