//! The tables that a record in a file and one on a server have in common, so that a copy moves every column of them.

/// A table: its columns by the type of their values.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) name: &'static str,
    /// The column whose numbers the database gives out.
    pub(super) numbered: Option<&'static str>,
    pub(super) numbers: &'static [&'static str],
    pub(super) texts: &'static [&'static str],
    pub(super) reals: &'static [&'static str],
    /// Bytes.
    pub(super) blobs: &'static [&'static str],
    /// Yes or no: SQLite keeps a number for them.
    pub(super) flags: &'static [&'static str],
}

const NONE: Table = Table { name: "", numbered: None, numbers: &[], texts: &[], reals: &[], blobs: &[], flags: &[] };

/// In an order in which each row finds the rows that it refers to. Not among them: `owner`, which names a file by its path from
/// the directory, `answer_keys`, since each record has a key of its own for what comes, and the tables that only several hosts need, which are about the hosts that run.
pub(super) const TABLES: &[Table] = &[
    Table { name: "plugins", numbered: Some("id"), numbers: &["id"], texts: &["name", "version", "digest"], ..NONE },
    Table {
        name: "runs",
        numbered: Some("id"),
        numbers: &["id", "due", "attempt", "plugin_id", "recorded"],
        texts: &["check_name", "data_date", "status", "summary", "error", "cut", "report", "calls", "evidence"],
        reals: &["seconds"],
        flags: &["past", "left_out"],
        ..NONE
    },
    Table { name: "standings", texts: &["check_name", "standing"], ..NONE },
    Table {
        name: "dates",
        numbers: &["at", "look_at", "look_tries", "look_from", "late", "began"],
        texts: &["check_name", "data_date", "state", "incident"],
        ..NONE
    },
    Table {
        name: "alerts",
        numbered: Some("id"),
        numbers: &["id", "began", "ended", "announced", "recorded"],
        texts: &["check_name", "data_date", "kind", "severity", "summary", "held"],
        ..NONE
    },
    Table {
        name: "outbox",
        numbered: Some("position"),
        numbers: &["position", "created", "attempts", "next_attempt"],
        texts: &["id", "receiver", "title", "notification", "state", "problem", "checks"],
        flags: &["plain", "alarmed", "told", "composed"],
        ..NONE
    },
    Table {
        name: "receipts",
        numbered: Some("id"),
        numbers: &["id", "attempt", "at"],
        texts: &["message_id", "answer"],
        ..NONE
    },
    Table {
        name: "threads",
        numbers: &["attempts", "next_attempt", "used"],
        texts: &["incident", "channel", "channel_id", "ts", "message_id", "undelivered", "state", "shown"],
        ..NONE
    },
    Table {
        name: "silences",
        numbered: Some("id"),
        numbers: &["id", "began", "ends"],
        texts: &["checks", "why"],
        ..NONE
    },
    Table { name: "costs", numbers: &["bytes", "queries", "again"], texts: &["check_name", "day"], ..NONE },
    Table { name: "validations", numbers: &["id", "at"], texts: &["checks"], ..NONE },
    Table {
        name: "consultations",
        numbered: Some("id"),
        numbers: &["id", "at"],
        texts: &["check_name", "data_date", "caller", "decision", "message", "answer"],
        ..NONE
    },
    Table { name: "audit", numbered: Some("id"), numbers: &["id", "at"], texts: &["who", "place", "change"], ..NONE },
    Table { name: "rights", numbers: &["id"], texts: &["rights"], ..NONE },
    Table {
        name: "orders",
        numbered: Some("id"),
        numbers: &["id", "at"],
        texts: &["check_name", "data_date", "wanted", "who", "answer"],
        ..NONE
    },
    Table { name: "answers", numbers: &["bytes", "used"], texts: &["id"], blobs: &["content"], ..NONE },
    Table { name: "answer_sources", texts: &["source", "answer_id"], ..NONE },
    Table { name: "answer_days", numbers: &["bytes"], texts: &["day"], ..NONE },
    Table {
        name: "tapes",
        numbers: &["due", "attempt", "recorded"],
        texts: &["check_name", "data_date", "digest", "moment", "script", "outcome", "why"],
        ..NONE
    },
    Table {
        name: "backtests",
        numbers: &["due", "asked", "bytes"],
        texts: &["check_name", "data_date", "tried", "outcome", "asks", "settings"],
        ..NONE
    },
    Table { name: "labels", numbers: &["alert_id", "at"], texts: &["label", "why", "who"], ..NONE },
    Table {
        name: "scores",
        numbers: &["at", "caught", "counted"],
        texts: &["check_name", "data_date", "tried", "mutants"],
        ..NONE
    },
    Table { name: "reports", numbers: &["id", "at"], ..NONE },
];

impl Table {
    /// All columns, as they are written: numbers, texts, reals, blobs, flags.
    pub(super) fn columns(&self) -> Vec<&'static str> {
        [self.numbers, self.texts, self.reals, self.blobs, self.flags].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::{super::sql::query_as, *};
    use crate::record::Record;

    /// A column or a table that a migration adds and that is not here would be left behind.
    #[tokio::test]
    async fn every_column_of_a_file_is_copied() {
        let record = Record::memory().await.expect("a record");
        let sql = "SELECT tables.name, columns.name FROM sqlite_master AS tables, pragma_table_info(tables.name) AS columns \
            WHERE tables.type = 'table' AND tables.name NOT IN ('_sqlx_migrations', 'owner', 'answer_keys') ORDER BY 1, 2";
        let mut read = record.read().await.expect("a connection");
        let there: Vec<(String, String)> = query_as(sql).fetch_all(&mut read).await.expect("columns");
        let mut copied: Vec<(String, String)> = TABLES
            .iter()
            .flat_map(|table| table.columns().into_iter().map(|column| (table.name.to_owned(), column.to_owned())))
            .collect();
        copied.sort();
        assert_eq!(copied, there);
    }
}
