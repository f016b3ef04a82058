//! Phase 4: the season averages as of yesterday cover enough players and games.

use std::collections::BTreeMap;

use sdk::{About, Canary, Change, Service, TableName, Threshold};

sdk::settings! {
    /// Settings of the Phase 4 canary.
    pub struct Settings {
        /// The table with the season averages.
        pub table: TableName = "nba_analytics.player_season_averages",
        /// Only this season, as in the column `season`; empty for any season.
        pub season: String = "",
        /// Minimum number of distinct player_lookup values.
        pub min_players: f64 = 200,
        /// Minimum average of games_played.
        pub min_average_games_played: f64 = 10,
        /// Maximum number of records without points_avg.
        pub max_null_points_avg: f64 = 0,
        /// The maximum change from the median of earlier good dates, by column, as a setting of `canary-sql`.
        pub change: BTreeMap<String, Change> = [],
        /// The Cloud Run service that writes the table, for the investigation steps.
        pub service: Service = "projects/nba-props-platform/locations/us-west2/services/nba-phase4-precompute-processors",
    }
}

struct Phase4;

impl Canary for Phase4 {
    type Settings = Settings;
    const TITLE: &'static str = "Phase 4: precompute";
    const ABOUT: About = About {
        summary: "Checks that season averages are up to date for enough players over enough games.",
        group: "canaries",
        cron: "*/30 * * * *",
        timezone: None,
        channel: "#canary-alerts",
        runbook: include_str!("../RUNBOOK.md"),
    };

    fn query(settings: &Settings) -> String {
        format!(
            "SELECT COUNT(DISTINCT player_lookup) AS players,
                    AVG(games_played) AS average_games_played,
                    COUNTIF(points_avg IS NULL) AS null_points_avg
             FROM {}
             WHERE as_of_date = @date{}",
            settings.table,
            sdk::only("season", &settings.season)
        )
    }

    fn table(settings: &Settings) -> &TableName {
        &settings.table
    }

    fn thresholds(settings: &Settings) -> Vec<Threshold> {
        vec![
            Threshold::min("players", settings.min_players),
            Threshold::min("average_games_played", settings.min_average_games_played),
            Threshold::max("null_points_avg", settings.max_null_points_avg),
        ]
    }

    fn changes(settings: &Settings) -> BTreeMap<String, Change> {
        settings.change.clone()
    }

    fn service(settings: &Settings) -> Option<&Service> {
        Some(&settings.service)
    }
}

sdk::export!(Phase4);
