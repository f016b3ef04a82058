//! The gate's rules: from the warehouse's answers to blocking issues, warnings and the score. They make no host call,
//! so that each rule can be read and tested by itself.

use sdk::{Metric, Row, Violation, hours_between, measured};

use crate::Settings;

/// A field whose NULLs are counted.
struct Field {
    /// Its column.
    name: &'static str,
    /// The records that need a value.
    base: Base,
}

/// The records that a rate is a share of.
#[derive(Clone, Copy)]
enum Base {
    Records,
    /// Only active players need points and minutes.
    ActivePlayers,
}

impl Base {
    /// The column of the totals that counts them.
    fn column(self) -> &'static str {
        match self {
            Self::Records => "records",
            Self::ActivePlayers => "active",
        }
    }

    /// The plural for messages.
    fn plural(self) -> &'static str {
        match self {
            Self::Records => "records",
            Self::ActivePlayers => "active players",
        }
    }
}

const CRITICAL_FIELDS: [Field; 5] = [
    Field { name: "player_name", base: Base::Records },
    Field { name: "team_abbr", base: Base::Records },
    Field { name: "game_id", base: Base::Records },
    Field { name: "points", base: Base::ActivePlayers },
    Field { name: "minutes_played", base: Base::ActivePlayers },
];

/// The warehouse's answers.
pub(crate) struct Data {
    /// The ids of the games scheduled on the date.
    pub(crate) scheduled: Vec<String>,
    /// The number of scheduled games around the date.
    pub(crate) games_around: u64,
    /// The games with box scores, and the number of player records of each.
    pub(crate) present: Vec<(String, u64)>,
    /// One row: records, active, NULLs by field, the newest processed_at.
    pub(crate) totals: Row,
}

impl Data {
    /// The player records of one game.
    fn players(&self, game: &str) -> u64 {
        self.present.iter().find(|(id, _)| id == game).map_or(0, |(_, players)| *players)
    }

    /// The scheduled games without any box score.
    pub(crate) fn missing(&self) -> Vec<String> {
        self.scheduled.iter().filter(|game| self.players(game) == 0).cloned().collect()
    }

    /// The share of scheduled games with box scores, in percent.
    pub(crate) fn completeness(&self) -> Option<f64> {
        let expected = self.scheduled.len();
        (expected > 0).then(|| 100.0 * (expected - self.missing().len()) as f64 / expected as f64)
    }
}

/// The result of the rules.
pub(crate) struct Findings {
    /// Blocking issues; one is enough.
    pub(crate) blocking: Vec<Violation>,
    /// Imperfections within the thresholds.
    pub(crate) warnings: Vec<Violation>,
    pub(crate) metrics: Vec<Metric>,
    /// The mean of completeness, player coverage, soundness and freshness, each from 0 to 1.
    pub(crate) score: f64,
}

/// The clocks of a run, in seconds.
pub(crate) struct Clock {
    /// The run's own.
    pub(crate) due: i64,
    /// By when the date's data is expected. Its age is measured against this: a date that is repaired later does not age
    /// meanwhile.
    pub(crate) deadline: i64,
}

/// Applies every rule.
pub(crate) fn judge(data: &Data, settings: &Settings, Clock { due, deadline }: Clock) -> Findings {
    let mut blocking = Vec::new();
    let mut warnings = Vec::new();
    let records = data.totals.number("records");
    let has_records = records.is_some_and(|records| records > 0.0);
    let nothing_to_judge = data.scheduled.is_empty() && !has_records;

    let mut metrics = vec![measured("games_scheduled", Some(data.scheduled.len() as f64))];
    let games = measured("games", Some(data.present.len() as f64));
    let mut rates = Vec::new();
    let mut age = None;
    if data.scheduled.is_empty() {
        metrics.push(games);
    } else {
        metrics.push(games.at_least(settings.min_games.into()));
        let fewest = data.scheduled.iter().map(|game| data.players(game)).min().map(|players| players as f64);
        metrics.push(measured("fewest_players_of_a_game", fewest).at_least(settings.min_players_per_game.into()));
    }
    metrics.push(measured("player_records", records));
    if !nothing_to_judge {
        for Field { name, base } in CRITICAL_FIELDS {
            let rate = percent(data.totals.number(name), data.totals.number(base.column()));
            rates.push(rate);
            metrics.push(measured(format!("null_rate_{name}"), rate).below(settings.max_null_percent).unit("%"));
        }
        let scraped = data.totals.timestamp("processed_at");
        age = scraped.map(|scraped| match scraped > due {
            true => hours_between(scraped, due),
            false => hours_between(scraped, deadline).max(0.0),
        });
        metrics.push(measured("age", age).below(settings.max_age_hours).unit("h"));
        let late = scraped.filter(|scraped| (deadline + 1..=due).contains(scraped));
        metrics.extend(late.map(|scraped| measured("late", Some(hours_between(deadline, scraped))).unit("h")));
    }

    blocking.extend(sdk::judge(&metrics));
    for game in &data.scheduled {
        match data.players(game) {
            0 => blocking.push(about("games", format!("game {game} is scheduled but has no box score"))),
            players if players < settings.min_players_per_game.into() => blocking.push(about(
                "fewest_players_of_a_game",
                format!("game {game} has {players} player records, fewer than {}", settings.min_players_per_game),
            )),
            _ => {}
        }
    }
    for (game, _) in data.present.iter().filter(|(game, _)| !data.scheduled.contains(game)) {
        warnings.push(about("games", format!("game {game} has box scores but is not scheduled")));
    }
    for (rate, field) in rates.iter().zip(CRITICAL_FIELDS) {
        if rate.is_some_and(|rate| rate > 0.0 && rate < settings.max_null_percent) {
            warnings.push(about(&format!("null_rate_{}", field.name), without(&data.totals, &field)));
        }
    }
    match age {
        Some(age) if age < 0.0 => {
            warnings.push(about("age", format!("processed_at is {:.1} h later than this run's clock", -age)));
        }
        Some(age) if (settings.warn_age_hours..settings.max_age_hours).contains(&age) => {
            warnings.push(about(
                "age",
                format!("the newest record is {age:.1} h old (warning from {} h)", settings.warn_age_hours),
            ));
        }
        _ => {}
    }

    let score = if nothing_to_judge { 1.0 } else { score(data, settings, &rates, age) };
    Findings { blocking, warnings, metrics, score }
}

fn score(data: &Data, settings: &Settings, rates: &[Option<f64>], age: Option<f64>) -> f64 {
    let completeness = data.completeness().map_or(1.0, |percent| percent / 100.0);
    let wanted = f64::from(settings.min_players_per_game).max(1.0);
    let coverage = match data.scheduled.len() {
        0 => 1.0,
        games => {
            let share = |game: &String| (data.players(game) as f64 / wanted).min(1.0);
            data.scheduled.iter().map(share).sum::<f64>() / games as f64
        }
    };
    let worst = rates.iter().map(|rate| rate.unwrap_or(100.0)).fold(0.0, f64::max);
    let freshness = age.map_or(0.0, |age| (1.0 - age / settings.max_age_hours).clamp(0.0, 1.0));
    (completeness + coverage + (1.0 - worst / 100.0) + freshness) / 4.0
}

/// A percentage; `None` if the whole is 0.
fn percent(part: Option<f64>, whole: Option<f64>) -> Option<f64> {
    let (part, whole) = (part?, whole?);
    (whole > 0.0).then(|| 100.0 * part / whole)
}

/// `3 of 120 records have no player_name`
fn without(totals: &Row, field: &Field) -> String {
    let count = |column| totals.number(column).unwrap_or_default();
    let nulls = count(field.name);
    let have = if nulls == 1.0 { "has" } else { "have" };
    format!("{nulls} of {} {} {have} no {}", count(field.base.column()), field.base.plural(), field.name)
}

fn about(metric: &str, message: String) -> Violation {
    Violation { metric: Some(metric.to_owned()), message }
}
