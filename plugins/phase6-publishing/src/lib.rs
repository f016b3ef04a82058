//! Phase 6: yesterday's signal was published.

use std::collections::BTreeMap;

use sdk::{About, Canary, Change, Service, TableName, Threshold};

sdk::settings! {
    /// Settings of the Phase 6 canary.
    pub struct Settings {
        /// The table with the published signals.
        pub table: TableName = "nba_predictions.daily_prediction_signals",
        /// Only this system_id; empty for all of them.
        pub system_id: String = "",
        /// Minimum number of signal records.
        pub min_signals: f64 = 1,
        /// Maximum number of records without daily_signal.
        pub max_null_daily_signals: f64 = 0,
        /// Maximum number of records without pct_over.
        pub max_null_pct_overs: f64 = 0,
        /// The maximum change from the median of earlier good dates, by column, as a setting of `canary-sql`.
        pub change: BTreeMap<String, Change> = [],
        /// The Cloud Run service that writes the table, for the investigation steps.
        pub service: Service = "projects/nba-props-platform/locations/us-west2/services/prediction-coordinator",
    }
}

struct Phase6;

impl Canary for Phase6 {
    type Settings = Settings;
    const TITLE: &'static str = "Phase 6: publishing";
    const ABOUT: About = About {
        summary: "Checks that a daily signal was published, with its direction and share of overs.",
        group: "canaries",
        cron: "*/30 * * * *",
        timezone: None,
        channel: "#canary-alerts",
        runbook: include_str!("../RUNBOOK.md"),
    };

    fn query(settings: &Settings) -> String {
        format!(
            "SELECT COUNT(*) AS signals,
                    COUNTIF(daily_signal IS NULL) AS null_daily_signals,
                    COUNTIF(pct_over IS NULL) AS null_pct_overs
             FROM {}
             WHERE game_date = @date{}",
            settings.table,
            sdk::only("system_id", &settings.system_id)
        )
    }

    fn table(settings: &Settings) -> &TableName {
        &settings.table
    }

    fn thresholds(settings: &Settings) -> Vec<Threshold> {
        vec![
            Threshold::min("signals", settings.min_signals),
            Threshold::max("null_daily_signals", settings.max_null_daily_signals),
            Threshold::max("null_pct_overs", settings.max_null_pct_overs),
        ]
    }

    fn changes(settings: &Settings) -> BTreeMap<String, Change> {
        settings.change.clone()
    }

    fn service(settings: &Settings) -> Option<&Service> {
        Some(&settings.service)
    }
}

sdk::export!(Phase6);
