//! Phase 5: there are active predictions for yesterday, with a value and an edge.

use std::collections::BTreeMap;

use sdk::{About, Canary, Change, Service, TableName, Threshold};

sdk::settings! {
    /// Settings of the Phase 5 canary.
    pub struct Settings {
        /// The table with the predictions; only rows with is_active count.
        pub table: TableName = "nba_predictions.player_prop_predictions",
        /// Minimum number of predictions.
        pub min_predictions: f64 = 50,
        /// Minimum number of distinct player_lookup values.
        pub min_players: f64 = 20,
        /// Maximum number of predictions without predicted_value.
        pub max_null_predicted_values: f64 = 0,
        /// Maximum number of predictions without edge_percent.
        pub max_null_edge_percents: f64 = 0,
        /// The maximum change from the median of earlier good dates, by column, as a setting of `canary-sql`.
        pub change: BTreeMap<String, Change> = [],
        /// The Cloud Run service that writes the table, for the investigation steps.
        pub service: Service = "projects/nba-props-platform/locations/us-west2/services/prediction-worker",
    }
}

struct Phase5;

impl Canary for Phase5 {
    type Settings = Settings;
    const TITLE: &'static str = "Phase 5: predictions";
    const ABOUT: About = About {
        summary: "Checks that enough players have active predictions, each with a value and an edge.",
        group: "canaries",
        cron: "*/30 * * * *",
        timezone: None,
        channel: "#canary-alerts",
        runbook: include_str!("../RUNBOOK.md"),
    };

    fn query(settings: &Settings) -> String {
        format!(
            "SELECT COUNT(*) AS predictions,
                    COUNT(DISTINCT player_lookup) AS players,
                    COUNTIF(predicted_value IS NULL) AS null_predicted_values,
                    COUNTIF(edge_percent IS NULL) AS null_edge_percents
             FROM {}
             WHERE game_date = @date AND is_active = TRUE",
            settings.table
        )
    }

    fn table(settings: &Settings) -> &TableName {
        &settings.table
    }

    fn thresholds(settings: &Settings) -> Vec<Threshold> {
        vec![
            Threshold::min("predictions", settings.min_predictions),
            Threshold::min("players", settings.min_players),
            Threshold::max("null_predicted_values", settings.max_null_predicted_values),
            Threshold::max("null_edge_percents", settings.max_null_edge_percents),
        ]
    }

    fn changes(settings: &Settings) -> BTreeMap<String, Change> {
        settings.change.clone()
    }

    fn service(settings: &Settings) -> Option<&Service> {
        Some(&settings.service)
    }
}

sdk::export!(Phase5);
