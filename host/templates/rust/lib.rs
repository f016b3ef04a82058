//! {{title}}: each date has events, and every event has an id.

use sdk::{About, Canary, TableName, Threshold};

sdk::settings! {
    /// The check's settings in host.toml.
    pub struct Settings {
        /// The table.
        pub table: TableName = "raw.events",
        /// Minimum number of records.
        pub min_records: f64 = 1,
        /// Maximum number of records without id.
        pub max_null_ids: f64 = 0,
    }
}

struct Events;

impl Canary for Events {
    type Settings = Settings;
    const TITLE: &'static str = "{{title}}";
    const ABOUT: About = About {
        summary: "Checks that each date has events, and that every event has an id.",
        group: "canaries",
        cron: "*/30 * * * *",
        timezone: None,
        channel: "#canary-alerts",
        runbook: include_str!("../RUNBOOK.md"),
    };

    fn query(settings: &Settings) -> String {
        format!(
            "SELECT COUNT(*) AS records, COUNTIF(id IS NULL) AS null_ids FROM {} WHERE day = @date",
            settings.table
        )
    }

    fn table(settings: &Settings) -> &TableName {
        &settings.table
    }

    fn thresholds(settings: &Settings) -> Vec<Threshold> {
        vec![Threshold::min("records", settings.min_records), Threshold::max("null_ids", settings.max_null_ids)]
    }
}

sdk::export!(Events);
