//! Faults of pipelines, one at a time.

use std::path::Path;

use anyhow::Result;
use jiff::Span;
use rusqlite::{Connection, params};
use serde_json::json;

use crate::{Moment, code, data};

/// One thing that is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// prediction-worker was deployed from an old commit.
    StaleDeployment,
    /// Three box scores have no player name.
    NullNames,
    /// Half of the box scores have no player name.
    HalfNullNames,
    /// Phase 5 wrote nothing for the date.
    EmptyPhase,
    /// The table of Phase 4 is gone.
    MissingTable,
    /// A service that is watched is not deployed.
    UnknownService,
    /// The schedule is empty.
    EmptySchedule,
    /// The box scores are 14 hours old.
    OldData,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::StaleDeployment,
        Self::NullNames,
        Self::HalfNullNames,
        Self::EmptyPhase,
        Self::MissingTable,
        Self::UnknownService,
        Self::EmptySchedule,
        Self::OldData,
    ];

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::StaleDeployment => "stale-deployment",
            Self::NullNames => "null-names",
            Self::HalfNullNames => "half-null-names",
            Self::EmptyPhase => "empty-phase",
            Self::MissingTable => "missing-table",
            Self::UnknownService => "unknown-service",
            Self::EmptySchedule => "empty-schedule",
            Self::OldData => "old-data",
        }
    }

    /// Its effect, for `--help`.
    pub fn about(self) -> &'static str {
        match self {
            Self::StaleDeployment => "prediction-worker is deployed from an old commit: drift",
            Self::NullNames => "three box scores have no player name: the Phase 2 canary fails, the gate warns",
            Self::HalfNullNames => "half of the box scores have no player name: the gate blocks",
            Self::EmptyPhase => "Phase 5 wrote nothing: its canary fails",
            Self::MissingTable => "the table of Phase 4 is gone: its canary cannot be evaluated",
            Self::UnknownService => "a watched service is not deployed: drift cannot be evaluated for it",
            Self::EmptySchedule => "the schedule is not loaded: the gate cannot be evaluated",
            Self::OldData => "the box scores are 14 hours old: the gate warns",
        }
    }

    /// By its name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|fault| fault.name() == name)
    }

    pub(super) fn inject(self, directory: &Path, moment: &Moment) -> Result<()> {
        let open = |dataset: &str| Connection::open(directory.join("warehouse").join(format!("{dataset}.db")));
        let date = moment.data_date.to_string();
        match self {
            Self::StaleDeployment => {
                let commit = code::commit_before(directory, "predictions/worker", 3)?;
                let deployed = moment.at.checked_sub(Span::new().hours(500))?;
                code::redeploy(directory, "prediction-worker", |service| {
                    service["commit"] = json!(commit);
                    service["deployed"] = json!(deployed.to_string());
                    Some(())
                })
            }
            Self::NullNames => {
                open("nba_raw")?.execute(
                    "UPDATE nbac_player_boxscore SET player_name = NULL WHERE rowid IN
                     (SELECT rowid FROM nbac_player_boxscore WHERE game_date = ? ORDER BY rowid LIMIT 3)",
                    params![date],
                )?;
                Ok(())
            }
            Self::HalfNullNames => {
                open("nba_raw")?.execute(
                    "UPDATE nbac_player_boxscore SET player_name = NULL WHERE game_date = ? AND rowid % 2 = 0",
                    params![date],
                )?;
                Ok(())
            }
            Self::EmptyPhase => {
                open("nba_predictions")?
                    .execute("DELETE FROM player_prop_predictions WHERE game_date = ?", params![date])?;
                Ok(())
            }
            Self::MissingTable => Ok(open("nba_analytics")?.execute_batch("DROP TABLE player_season_averages")?),
            Self::UnknownService => code::redeploy(directory, "nba-grading-service", |_| None),
            Self::EmptySchedule => Ok(open("nba_reference")?.execute_batch("DELETE FROM nba_schedule")?),
            Self::OldData => {
                let processed = data::text(moment.expected()?.checked_sub(Span::new().hours(14))?);
                open("nba_raw")?.execute(
                    "UPDATE nbac_player_boxscore SET processed_at = ? WHERE game_date = ?",
                    params![processed, date],
                )?;
                Ok(())
            }
        }
    }
}
