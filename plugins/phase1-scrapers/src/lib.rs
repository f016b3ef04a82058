//! Phase 1: the scrapers wrote their source tables since the data date began.

use sdk::{
    About, Check, Failure, Need, Report, Request, Result, Service, investigation, measured, report, step, tables,
};

sdk::settings! {
    /// Settings of the Phase 1 canary.
    pub struct Settings {
        /// The dataset that the scrapers write.
        pub dataset: String = "nba_raw",
        /// Minimum number of tables written since the data date began.
        pub min_tables_written: f64 = 10,
        /// The Cloud Run service that writes them, for the investigation steps.
        pub service: Service = "projects/nba-props-platform/locations/us-west2/services/nba-phase1-scrapers",
    }
}

struct Phase1;

impl Check for Phase1 {
    type Settings = Settings;
    const ABOUT: About = About {
        summary: "Checks that enough source tables were written since the data date began.",
        group: "canaries",
        cron: "*/30 * * * *",
        timezone: None,
        channel: "#canary-alerts",
        runbook: include_str!("../RUNBOOK.md"),
    };

    fn needs(settings: &Settings) -> Vec<Need> {
        vec![Need::Dataset(settings.dataset.clone())]
    }

    async fn run(request: Request, settings: Settings) -> Result<Report> {
        let dataset = &settings.dataset;
        if !dataset.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
            return Err(Failure::Settings(format!("`{dataset}` is not a dataset name; use letters, digits and _")));
        }
        let found = tables(dataset).await?;
        // A listing without any write times is not evidence that nothing was written.
        let known = found.iter().any(|table| table.modified.is_some());
        let written =
            found.iter().filter(|table| table.modified.is_some_and(|modified| modified >= request.day_start)).count();
        let metrics = vec![
            measured("tables_written", known.then_some(written as f64)).at_least(settings.min_tables_written),
            measured("tables", Some(found.len() as f64)),
        ];
        let look = step(
            "Run the query yourself",
            format!(
                "bq query --use_legacy_sql=false 'SELECT table_id, TIMESTAMP_MILLIS(last_modified_time) AS written FROM {dataset}.__TABLES__ ORDER BY written'"
            ),
        );
        let steps = investigation(&settings.service)?.into_iter().chain([look]).collect();
        report(&request, "Phase 1: scrapers", Self::ABOUT.summary, metrics, steps).await
    }
}

sdk::export!(Phase1);
