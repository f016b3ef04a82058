//! The gate between Phase 2 and Phase 3: may the raw data of one date be processed?
//!
//! One broken hard rule blocks, whatever the score. The score is only for watching trends.

mod rules;

use rules::{Clock, Data, Findings};
use sdk::{
    About, Alert, Check, Failure, Gate, Metric, Need, Query, Report, Request, Result, Service, Severity, TableName,
    Verdict, deadline, investigation, step, try_join4,
};

sdk::settings! {
    /// Settings of the Phase 2→3 gate.
    pub struct Settings {
        /// The table with the scheduled games: game_id, game_date.
        pub schedule_table: TableName = "nba_reference.nba_schedule",
        /// The table with the raw box scores: game_id, game_date, player_name, team_abbr, points, minutes_played,
        /// player_status, processed_at.
        pub box_score_table: TableName = "nba_raw.nbac_player_boxscore",
        /// Minimum number of games with box scores on a date with scheduled games.
        pub min_games: u32 = 2u32,
        /// Minimum number of player records of each scheduled game.
        pub min_players_per_game: u32 = 20u32,
        /// Blocks when this percentage of NULLs, or more, is in any critical field.
        pub max_null_percent: f64 = 5,
        /// The player_status of players who need points and minutes_played.
        pub active_status: String = "active",
        /// Blocks when the newest record is this many hours old, or older.
        pub max_age_hours: f64 = 24,
        /// Warns when the newest record is this many hours old, or older.
        pub warn_age_hours: f64 = 12,
        /// A date without games may proceed only if the schedule has a game within this many days of it.
        pub schedule_window_days: u16 = 7u16,
        /// The Cloud Run service that writes the box scores, for the investigation steps.
        pub service: Service = "projects/nba-props-platform/locations/us-west2/services/nba-phase2-raw-processors",
    }
}

struct Phase2Gate;

impl Check for Phase2Gate {
    type Settings = Settings;
    const ABOUT: About = About {
        summary: "Checks that the raw data of a date is complete, valid and fresh enough for Phase 3.",
        group: "gates",
        cron: "30 6 * * *",
        timezone: Some("America/New_York"),
        channel: "#canary-alerts",
        runbook: include_str!("../RUNBOOK.md"),
    };

    fn needs(settings: &Settings) -> Vec<Need> {
        let mut datasets = vec![settings.schedule_table.dataset(), settings.box_score_table.dataset()];
        datasets.dedup();
        datasets.into_iter().map(|dataset| Need::Dataset(dataset.to_owned())).collect()
    }

    async fn run(request: Request, settings: Settings) -> Result<Report> {
        let data = ask(&request.data_date, &settings).await?;
        let date = &request.data_date;
        if data.scheduled.is_empty() && data.games_around == 0 {
            return Err(Failure::Other(format!(
                "no verdict: {} has no game within {} days of {date}, so it is not loaded",
                settings.schedule_table, settings.schedule_window_days
            )));
        }
        let findings = rules::judge(&data, &settings, Clock { due: request.due, deadline: deadline() });
        let mut unknown = Vec::new();
        if !findings.blocking.is_empty() || !findings.warnings.is_empty() {
            unknown.extend(alert(&request, &settings, &findings)?.told().await);
        }
        Ok(Report { unknown, ..report(date, &data, findings) })
    }
}

/// Runs the four queries concurrently.
async fn ask(date: &str, settings: &Settings) -> Result<Data> {
    let (schedule, scores) = (&settings.schedule_table, &settings.box_score_table);
    let scheduled = Query::new(format!(
        "SELECT DISTINCT game_id FROM {schedule} WHERE game_date = @date AND game_id IS NOT NULL ORDER BY game_id"
    ))
    .date("date", date);
    let around = Query::new(format!(
        "SELECT COUNT(*) AS games, COUNTIF(game_date = @date AND game_id IS NULL) AS nameless FROM {schedule}
         WHERE game_date BETWEEN DATE_SUB(@date, INTERVAL {days} DAY) AND DATE_ADD(@date, INTERVAL {days} DAY)",
        days = settings.schedule_window_days
    ))
    .date("date", date);
    let present = Query::new(format!(
        "SELECT game_id, COUNT(*) AS players FROM {scores}
         WHERE game_date = @date AND game_id IS NOT NULL GROUP BY game_id ORDER BY game_id"
    ))
    .date("date", date);
    let totals = Query::new(format!(
        "SELECT COUNT(*) AS records,
                COUNTIF(player_status = @active) AS active,
                COUNTIF(player_name IS NULL) AS player_name,
                COUNTIF(team_abbr IS NULL) AS team_abbr,
                COUNTIF(game_id IS NULL) AS game_id,
                COUNTIF(player_status = @active AND points IS NULL) AS points,
                COUNTIF(player_status = @active AND minutes_played IS NULL) AS minutes_played,
                MAX(processed_at) AS processed_at
         FROM {scores} WHERE game_date = @date"
    ))
    .date("date", date)
    .text("active", &settings.active_status);

    let (scheduled, around, present, totals) =
        try_join4(scheduled.rows(), around.row(), present.rows(), totals.row()).await?;
    let nameless = around.number("nameless");
    if nameless != Some(0.0) {
        return Err(Failure::Other(format!(
            "no verdict: {schedule} has {} games on {date} without a game_id, so missing games cannot be detected",
            nameless.unwrap_or_default()
        )));
    }
    Ok(Data {
        scheduled: scheduled.iter().filter_map(|row| row.text("game_id")).collect(),
        games_around: around.number("games").unwrap_or_default() as u64,
        present: present.iter().filter_map(|row| Some((row.text("game_id")?, row.number("players")? as u64))).collect(),
        totals,
    })
}

fn report(date: &str, data: &Data, findings: Findings) -> Report {
    let Findings { blocking, warnings, metrics, score, .. } = findings;
    let (verdict, summary) = match (blocking.is_empty(), warnings.is_empty()) {
        (false, _) => (Verdict::Fail, format!("FAIL: Phase 3 must not process {date}: {}", listed(&blocking))),
        (true, false) => {
            (Verdict::Warn, format!("PROCEED_WITH_WARNING: {date} may be processed with care: {}", listed(&warnings)))
        }
        (true, true) if data.scheduled.is_empty() => (
            Verdict::Pass,
            format!("PROCEED: no games were scheduled on {date}; the schedule has {} around it", data.games_around),
        ),
        (true, true) => (Verdict::Pass, proceed(data, &metrics)),
    };
    let missing = data.missing();
    let gate = Gate {
        score,
        completeness: data.completeness(),
        expected: data.scheduled.len() as u64,
        actual: (data.scheduled.len() - missing.len()) as u64,
        missing,
        metadata: metrics
            .iter()
            .map(|metric| (metric.name.clone(), metric.value.map_or("none".to_owned(), |value| value.to_string())))
            .collect(),
    };
    let violations = blocking.into_iter().chain(warnings).collect();
    Report { verdict, summary, metrics, violations, unknown: Vec::new(), gate: Some(gate) }
}

/// Any NULL in a required field is at least a warning, so here there is none:
/// `PROCEED: all 5 scheduled games, 120 player records, no required value missing, scraped 3.3 hours ago`
fn proceed(data: &Data, metrics: &[Metric]) -> String {
    let value = |name: &str| metrics.iter().find(|metric| metric.name == name).and_then(|metric| metric.value);
    let scraped = match value("late") {
        Some(late) => format!("{late:.1} hours late"),
        None => format!("{:.1} hours ago", value("age").unwrap_or_default()),
    };
    format!(
        "PROCEED: all {} scheduled games, {} player records, no required value missing, scraped {scraped}",
        data.scheduled.len(),
        value("player_records").unwrap_or_default(),
    )
}

fn alert(request: &Request, settings: &Settings, findings: &Findings) -> Result<Alert> {
    let date = &request.data_date;
    let (severity, title, summary) = match findings.blocking.is_empty() {
        false => {
            (Severity::Critical, "Phase 2→3 gate: FAIL", format!("Phase 3 must not process the raw data of {date}."))
        }
        true => (
            Severity::Warning,
            "Phase 2→3 gate: PROCEED_WITH_WARNING",
            format!("Phase 3 may process the raw data of {date}, with the warnings below."),
        ),
    };
    let look = step(
        "Look at the records",
        format!(
            "bq query --use_legacy_sql=false --parameter=date:DATE:{date} 'SELECT game_id, COUNT(*) AS records, COUNTIF(player_name IS NULL) AS nameless FROM {} WHERE game_date = @date GROUP BY game_id'",
            settings.box_score_table
        ),
    );
    let messages = |violations: &[sdk::Violation]| {
        violations.iter().map(|violation| violation.message.clone()).collect::<Vec<_>>()
    };
    let mut alert = Alert::new(&request.channel, severity, title, summary);
    if !findings.blocking.is_empty() {
        alert = alert.lines("Blocking", messages(&findings.blocking));
    }
    if !findings.warnings.is_empty() {
        alert = alert.lines("Warnings", messages(&findings.warnings));
    }
    Ok(alert.steps(investigation(&settings.service)?).steps([look]))
}

fn listed(violations: &[sdk::Violation]) -> String {
    violations.iter().map(|violation| violation.message.as_str()).collect::<Vec<_>>().join("; ")
}

sdk::export!(Phase2Gate);
