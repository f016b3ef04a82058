//! Phase 2: yesterday's raw box scores are complete, with names and teams.

use std::collections::BTreeMap;

use sdk::{About, Canary, Change, Service, TableName, Threshold};

sdk::settings! {
    /// Settings of the Phase 2 canary.
    pub struct Settings {
        /// The table with the raw box scores.
        pub table: TableName = "nba_raw.nbac_player_boxscore",
        /// Minimum number of games.
        pub min_games: f64 = 2,
        /// Minimum number of player records.
        pub min_player_records: f64 = 40,
        /// Maximum number of records without player_name.
        pub max_null_player_names: f64 = 0,
        /// Maximum number of records without team_abbr.
        pub max_null_team_abbrs: f64 = 0,
        /// The maximum change from the median of earlier good dates, by column, as a setting of `canary-sql`.
        pub change: BTreeMap<String, Change> = [],
        /// The Cloud Run service that writes the table, for the investigation steps.
        pub service: Service = "projects/nba-props-platform/locations/us-west2/services/nba-phase2-raw-processors",
    }
}

struct Phase2;

impl Canary for Phase2 {
    type Settings = Settings;
    const TITLE: &'static str = "Phase 2: raw data";
    const ABOUT: About = About {
        summary: "Checks that raw box scores are complete and that every record names its player and team.",
        group: "canaries",
        cron: "*/30 * * * *",
        timezone: None,
        channel: "#canary-alerts",
        runbook: include_str!("../RUNBOOK.md"),
    };

    fn query(settings: &Settings) -> String {
        format!(
            "SELECT COUNT(DISTINCT game_id) AS games,
                    COUNT(*) AS player_records,
                    COUNTIF(player_name IS NULL) AS null_player_names,
                    COUNTIF(team_abbr IS NULL) AS null_team_abbrs
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
            Threshold::min("games", settings.min_games),
            Threshold::min("player_records", settings.min_player_records),
            Threshold::max("null_player_names", settings.max_null_player_names),
            Threshold::max("null_team_abbrs", settings.max_null_team_abbrs),
        ]
    }

    fn changes(settings: &Settings) -> BTreeMap<String, Change> {
        settings.change.clone()
    }

    fn service(settings: &Settings) -> Option<&Service> {
        Some(&settings.service)
    }
}

sdk::export!(Phase2);
