//! Phase 3: yesterday's player summaries exist, and are complete for everyone who played.

use std::collections::BTreeMap;

use sdk::{About, Canary, Change, Service, TableName, Threshold};

sdk::settings! {
    /// Settings of the Phase 3 canary.
    pub struct Settings {
        /// The table with the player summaries.
        pub table: TableName = "nba_analytics.player_game_summary",
        /// Minimum number of records, including players who did not play.
        pub min_records: f64 = 40,
        /// Maximum number of records without possessions, among players who played.
        pub max_null_possessions: f64 = 0,
        /// Maximum number of records without minutes_played, among players who played.
        pub max_null_minutes_played: f64 = 0,
        /// Maximum number of records without points, among players who played.
        pub max_null_points: f64 = 0,
        /// Minimum average of possessions, over players who played.
        pub min_average_possessions: f64 = 50,
        /// The maximum change from the median of earlier good dates, by column, as a setting of `canary-sql`.
        pub change: BTreeMap<String, Change> = [],
        /// The Cloud Run service that writes the table, for the investigation steps.
        pub service: Service = "projects/nba-props-platform/locations/us-west2/services/nba-phase3-analytics-processors",
    }
}

struct Phase3;

impl Canary for Phase3 {
    type Settings = Settings;
    const TITLE: &'static str = "Phase 3: analytics";
    const ABOUT: About = About {
        summary: "Checks that player summaries have possessions, minutes and points for everyone who played.",
        group: "canaries",
        cron: "*/30 * * * *",
        timezone: None,
        channel: "#canary-alerts",
        runbook: include_str!("../RUNBOOK.md"),
    };

    fn query(settings: &Settings) -> String {
        format!(
            "SELECT COUNT(*) AS records,
                    COUNTIF(is_dnp = FALSE AND possessions IS NULL) AS null_possessions,
                    COUNTIF(is_dnp = FALSE AND minutes_played IS NULL) AS null_minutes_played,
                    COUNTIF(is_dnp = FALSE AND points IS NULL) AS null_points,
                    AVG(IF(is_dnp = FALSE, possessions, NULL)) AS average_possessions
             FROM {}
             WHERE game_date = @date",
            settings.table
        )
    }

    fn table(settings: &Settings) -> &TableName {
        &settings.table
    }

    fn thresholds(settings: &Settings) -> Vec<Threshold> {
        vec![
            Threshold::min("records", settings.min_records),
            Threshold::max("null_possessions", settings.max_null_possessions),
            Threshold::max("null_minutes_played", settings.max_null_minutes_played),
            Threshold::max("null_points", settings.max_null_points),
            Threshold::min("average_possessions", settings.min_average_possessions),
        ]
    }

    fn changes(settings: &Settings) -> BTreeMap<String, Change> {
        settings.change.clone()
    }

    fn service(settings: &Settings) -> Option<&Service> {
        Some(&settings.service)
    }
}

sdk::export!(Phase3);
