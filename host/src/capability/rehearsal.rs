//! The rehearsal of a check: its host calls are answered with simulated data. What it asks about is looked up for real,
//! at no cost, so that a wrong query, directory or service is found; what comes back is made up.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use fastrand::Rng;
use jiff::{SignedDuration, Timestamp, ToSpan, civil::Date, tz::TimeZone};

use super::{
    shapes::{Problem, Shapes, lock},
    warehouse::Argument,
};
use crate::contract::{Value, warehouse::Column};

/// Larger than most counts of a check, and exact as a float.
const MANY: f64 = 1e6;
/// Numbers of a mixture.
const USUAL: [f64; 8] = [0.0, 0.0, 0.0, 1.0, 3.0, 60.0, 500.0, MANY];
/// Powers of ten of its other numbers.
const POWERS: std::ops::Range<i32> = -3..13;
/// Rows of a query that may return several.
const ROWS: usize = 3;
/// The most rows, for a limit on their number.
const MANY_ROWS: f64 = 1000.0;
/// Attempts at a limit of which every other one makes up all answers anew; later ones change earlier answers.
const ANEW: u64 = 8;
const HOUR: f64 = 3600.0;
const DAY: f64 = 24.0 * HOUR;

/// The kinds of simulated data.
#[derive(Debug, Clone, PartialEq)]
pub enum Answers {
    /// Every number as low as possible, every time long ago, everything behind, and tables with other types.
    Low,
    /// Every number high, every time the run's own, everything in sync.
    High,
    /// Everything that can be NULL is NULL.
    Null,
    /// All tables are empty, and nothing is deployed.
    Empty,
    /// A mixture of all, determined by the number.
    Mixed(u64),
    /// A mixture in which one metric is close to its limit.
    Aimed(Aim),
}

/// A limit to try.
#[derive(Debug, Clone, PartialEq)]
pub struct Aim {
    /// The name of the metric.
    pub metric: String,
    /// Its unit, which says how a time becomes a number.
    pub unit: Option<String>,
    /// The limit.
    pub limit: f64,
    /// How often it was tried before.
    pub attempt: u64,
    /// The answers of a rehearsal in which the metric had a value; most attempts change only a few of them.
    pub earlier: Arc<Given>,
}

/// The rows that answered each query of a rehearsal.
pub type Given = HashMap<String, Vec<Vec<Value>>>;

/// The times of a rehearsal: those of the run that it stands for.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    /// The run's clock.
    pub due: Timestamp,
    /// The data date.
    pub date: Date,
    /// When that date begins and ends.
    pub day: (Timestamp, Timestamp),
}

/// One run of a check on simulated answers.
#[derive(Debug)]
pub struct Rehearsal {
    answers: Answers,
    clock: Clock,
    /// All limits known so far.
    limits: Vec<f64>,
    /// Whether a query has a column of the name of the metric that is aimed at.
    direct: bool,
    pub(super) shapes: Arc<Shapes>,
    given: Mutex<Given>,
}

/// The numbers and times of one answer: the same for the same question with the same parameters.
pub(super) struct Draw<'r> {
    rehearsal: &'r Rehearsal,
    pub(super) random: Rng,
    /// How often a value is close to a limit, of 10.
    close: u8,
}

impl Rehearsal {
    /// `limits` are those of the check as far as they are known, `shapes` the shapes from its earlier rehearsals.
    pub fn new(answers: Answers, clock: Clock, limits: Vec<f64>, shapes: Arc<Shapes>) -> Self {
        let direct = match &answers {
            Answers::Aimed(aim) => shapes.columns().iter().any(|column| column.eq_ignore_ascii_case(&aim.metric)),
            _ => false,
        };
        Self { answers, clock, limits, direct, shapes, given: Mutex::default() }
    }

    /// The questions that cannot be answered.
    pub fn problems(&self) -> Vec<Problem> {
        self.shapes.problems()
    }

    /// What was answered in this rehearsal.
    pub fn given(&self) -> Given {
        std::mem::take(&mut *lock(&self.given))
    }

    pub(super) fn gives(&self, asked: &str, rows: &[Vec<Value>]) {
        lock(&self.given).insert(asked.to_owned(), rows.to_vec());
    }

    /// The earlier answer to a question, if this rehearsal changes only a few values: most random answers to several
    /// queries contradict each other, and show nothing of the limit that is aimed at.
    pub(super) fn earlier(&self, asked: &str) -> Option<&Vec<Vec<Value>>> {
        match &self.answers {
            Answers::Aimed(aim) if aim.attempt % 2 == 1 || aim.attempt >= ANEW => aim.earlier.get(asked),
            _ => None,
        }
    }

    /// Whether tables have columns of other types than in reality.
    pub(super) fn changes_types(&self) -> bool {
        self.answers == Answers::Low
    }

    pub(super) fn is_empty(&self) -> bool {
        self.answers == Answers::Empty
    }

    /// A query with the parameters that it uses. Days and times are told from the run's own, so that a check gets the same
    /// answers on every day, also when clocks change, and is valid on every day or on none.
    pub(super) fn asked(&self, sql: &str, parameters: &[Argument]) -> String {
        let Clock { due, date, day: (start, end) } = self.clock;
        let midnight = date.to_zoned(TimeZone::UTC).map_or(0, |midnight| midnight.timestamp().as_second());
        let day = date.to_string();
        let mut asked = sql.replace(&day, "the date");
        let text = sql.to_ascii_lowercase();
        let is_used = |name: &str| text.contains(&format!("@{}", name.trim_start_matches('@').to_ascii_lowercase()));
        for Argument { name, value, .. } in parameters.iter().filter(|parameter| is_used(&parameter.name)) {
            let told = match value {
                Value::Date(text) => text.parse::<Date>().map_or(i64::MAX, |other| (other - date).get_days().into()),
                Value::Timestamp(second) if *second == due.as_second() => i64::MIN,
                Value::Timestamp(second) if *second == start.as_second() => i64::MIN + 1,
                Value::Timestamp(second) if *second == end.as_second() => i64::MIN + 2,
                Value::Timestamp(second) => second.saturating_sub(midnight),
                other => {
                    asked += &format!("\0{name}={other:?}");
                    continue;
                }
            };
            asked += &format!("\0{name}={told}");
        }
        asked
    }

    /// `asked` is the question with its parameters.
    pub(super) fn draw(&self, asked: &str) -> Draw<'_> {
        let (seed, close, metric) = match &self.answers {
            Answers::Mixed(seed) => (*seed, 3, ""),
            // A metric that is computed from several values may need a few of them elsewhere.
            Answers::Aimed(aim) => {
                let close = match third(aim.attempt / 3) {
                    0 => 2,
                    1 => 5,
                    _ => 9,
                };
                (aim.attempt.wrapping_add(0x5eed) ^ aim.limit.to_bits(), close, aim.metric.as_str())
            }
            Answers::Low | Answers::High | Answers::Null | Answers::Empty => (0, 0, ""),
        };
        let mixed = metric
            .bytes()
            .chain(asked.bytes())
            .fold(seed.wrapping_add(1), |hash, byte| hash.wrapping_mul(0x100_0000_01b3) ^ u64::from(byte));
        Draw { rehearsal: self, random: Rng::with_seed(mixed), close }
    }
}

/// The index of one of three.
fn third(number: u64) -> usize {
    (number % 3) as usize
}

/// A number just below a limit, at it, or just above it. `whole` numbers are on the same side of the limit.
fn beside(limit: f64, side: usize, whole: bool) -> f64 {
    let step = if whole { (limit.abs() * 1e-9).max(1.0) } else { (limit.abs() * 1e-3).max(1e-3) };
    match (side, whole) {
        (0, true) => (limit.ceil() - step).floor(),
        (0, false) => limit - step,
        (1, true) => limit.round(),
        (1, false) => limit,
        (_, true) => (limit.floor() + step).ceil(),
        (_, false) => limit + step,
    }
}

/// The seconds of a unit in which a metric may measure time.
fn seconds(unit: Option<&str>) -> &'static [f64] {
    match unit.unwrap_or_default() {
        "s" | "sec" | "seconds" => &[1.0],
        "min" | "minutes" => &[60.0],
        "h" | "hours" => &[HOUR],
        "d" | "day" | "days" => &[DAY],
        _ => &[1.0, 60.0, HOUR, DAY],
    }
}

impl<'r> Draw<'r> {
    fn answers(&self) -> &'r Answers {
        &self.rehearsal.answers
    }

    /// True this often of 10.
    pub(super) fn often(&mut self, of_ten: u8) -> bool {
        self.random.u8(0..10) < of_ten
    }

    /// The limit to be close to, if this value is to be close to one.
    fn near(&mut self) -> Option<f64> {
        if !self.often(self.close) {
            return None;
        }
        match &self.rehearsal.answers {
            Answers::Aimed(aim) => Some(aim.limit),
            _ => self.random.choice(&self.rehearsal.limits).copied(),
        }
    }

    /// How many rows a query gives that may give several.
    pub(super) fn rows(&mut self, most: usize) -> usize {
        let rows = match self.answers() {
            Answers::Empty => 0,
            Answers::Low | Answers::High | Answers::Null => ROWS,
            Answers::Mixed(_) | Answers::Aimed(_) => match self.near().filter(|limit| (0.0..MANY_ROWS).contains(limit))
            {
                Some(limit) => beside(limit, self.random.usize(0..3), true) as usize,
                // Many checks take one row as their answer.
                None => *self.random.choice(&[0, 1, 1, 1, 2, ROWS, 2 * ROWS]).unwrap_or(&1),
            },
        };
        rows.min(most)
    }

    /// How many things are listed, such as commits.
    pub(super) fn few(&mut self) -> usize {
        match self.answers() {
            Answers::High | Answers::Null | Answers::Empty => 0,
            _ => self.rows(MANY_ROWS as usize),
        }
    }

    /// Whether something unusual happens: in one of eight mixtures.
    pub(super) fn seldom(&mut self) -> bool {
        match self.answers() {
            Answers::Mixed(_) | Answers::Aimed(_) => self.random.u8(0..8) == 0,
            answers => *answers == Answers::Low,
        }
    }

    /// Whether everything is as it is in reality.
    pub(super) fn as_it_is(&mut self) -> bool {
        match self.answers() {
            Answers::Mixed(_) | Answers::Aimed(_) => self.often(3),
            answers => *answers == Answers::High,
        }
    }

    pub(super) fn null(&mut self, column: &str) -> bool {
        match self.answers() {
            Answers::Empty | Answers::Null => true,
            Answers::Mixed(_) => self.random.u8(0..6) == 0,
            Answers::Aimed(aim) => !column.eq_ignore_ascii_case(&aim.metric) && self.random.u8(0..8) == 0,
            Answers::Low | Answers::High => false,
        }
    }

    /// A number for a column; never negative if it is a count.
    pub(super) fn number(&mut self, column: &str, count: bool, whole: bool) -> f64 {
        let lowest = if count { 0.0 } else { -MANY };
        let number = match self.answers() {
            Answers::Low => lowest,
            Answers::High => MANY,
            Answers::Empty => 0.0,
            Answers::Null => 100.0,
            Answers::Aimed(aim) if aim.metric.eq_ignore_ascii_case(column) => {
                beside(aim.limit, third(aim.attempt), whole)
            }
            // Something else is aimed at: a column of this name.
            Answers::Aimed(_) if self.rehearsal.direct => self.usual(lowest),
            Answers::Aimed(_) | Answers::Mixed(_) => match self.near() {
                Some(limit) => beside(limit, self.random.usize(0..3), whole),
                None => self.usual(lowest),
            },
        };
        let number = if whole { number.round() } else { number };
        if count { number.max(0.0) } else { number }
    }

    /// A value in the place of an earlier one, in a row with these values: mostly the same.
    pub(super) fn changed(&mut self, column: &Column, count: bool, row: usize, values: &[Value], was: &Value) -> Value {
        let Answers::Aimed(aim) = self.answers() else { return was.clone() };
        if !aim.metric.eq_ignore_ascii_case(&column.name) && self.random.u8(0..8) >= 1 << third(aim.attempt / 3) {
            return was.clone();
        }
        let largest = values.iter().filter_map(|value| match value {
            Value::Integer(number) => Some(*number as f64),
            Value::Float(number) => Some(*number),
            _ => None,
        });
        // A ratio is far from its limit unless its parts are alike, so one part takes the value of the other.
        match (was, largest.reduce(f64::max)) {
            (Value::Integer(_), Some(largest)) if self.often(5) => Value::Integer(largest as i64),
            (Value::Float(_), Some(largest)) if self.often(5) => Value::Float(largest),
            _ => self.value(column, count, row),
        }
    }

    fn usual(&mut self, lowest: f64) -> f64 {
        match self.random.u8(0..10) {
            0 => lowest,
            1 | 2 => 10_f64.powf(f64::from(self.random.i32(POWERS)) + self.random.f64()),
            _ => self.random.choice(&USUAL).copied().unwrap_or_default(),
        }
    }

    /// How many seconds before the run's clock something happened; `None` for never.
    fn age(&mut self) -> Option<f64> {
        match self.answers() {
            Answers::Low => Some(self.rehearsal.clock.due.as_second() as f64),
            Answers::High => Some(0.0),
            Answers::Null | Answers::Empty => None,
            Answers::Mixed(_) | Answers::Aimed(_) => {
                if let Some(limit) = self.near() {
                    let unit = match self.answers() {
                        Answers::Aimed(aim) => seconds(aim.unit.as_deref()),
                        _ => seconds(None),
                    };
                    let scale = self.random.choice(unit).copied().unwrap_or(HOUR);
                    let side = self.random.usize(0..3);
                    return Some(beside(limit, side, false) * scale + (side as f64 - 1.0));
                }
                match self.random.u8(0..7) {
                    0 => None,
                    1 => Some(self.rehearsal.clock.due.as_second() as f64),
                    2 => Some(13.0 * HOUR),
                    3 => Some(30.0 * HOUR),
                    4 => Some(10_f64.powf(8.0 * self.random.f64())),
                    _ => Some(HOUR),
                }
            }
        }
    }

    /// The time when something happened; `None` for never, and for a time out of range.
    pub(super) fn moment(&mut self) -> Option<Timestamp> {
        let age = SignedDuration::from_secs(self.age()? as i64);
        self.rehearsal.clock.due.checked_sub(age).ok()
    }

    /// A value of a column.
    pub(super) fn value(&mut self, column: &Column, count: bool, row: usize) -> Value {
        let name = &column.name;
        match column.kind.as_str() {
            _ if !count && self.null(name) => Value::Null,
            "INT64" => Value::Integer(self.number(name, count, true) as i64),
            "FLOAT64" | "NUMERIC" | "BIGNUMERIC" => Value::Float(self.number(name, count, false)),
            "BOOL" => Value::Boolean(match self.answers() {
                Answers::Mixed(_) | Answers::Aimed(_) => self.random.bool(),
                answers => *answers == Answers::High,
            }),
            "TIMESTAMP" => self.moment().map_or(Value::Null, |moment| Value::Timestamp(moment.as_second())),
            "DATETIME" => self.clock(),
            // An expression of a SQLite view: a number or a time.
            "ANY" => match self.answers() {
                Answers::Mixed(_) | Answers::Aimed(_) if self.often(5) => self.clock(),
                _ => Value::Float(self.number(name, count, false)),
            },
            "DATE" => self.date().map_or(Value::Null, |date| Value::Date(date.to_string())),
            kind if kind.starts_with("ARRAY") => Value::Text("[]".to_owned()),
            kind if kind.starts_with("STRUCT") || kind == "JSON" => Value::Text("{}".to_owned()),
            _ => Value::Text(format!("x{row}")),
        }
    }

    /// The time when something happened, as a DATETIME.
    fn clock(&mut self) -> Value {
        let moment = self.moment().map(|moment| moment.strftime("%Y-%m-%d %H:%M:%S").to_string());
        moment.map_or(Value::Null, Value::Text)
    }

    /// The data date, or one before it.
    fn date(&mut self) -> Option<Date> {
        let days = match self.answers() {
            Answers::Low => 20_000,
            Answers::High | Answers::Null | Answers::Empty => 0,
            Answers::Mixed(_) | Answers::Aimed(_) => match self.near() {
                Some(limit) => beside(limit, self.random.usize(0..3), true) as i64,
                None => *self.random.choice(&[0, 0, 0, 1, 2, 7, 30]).unwrap_or(&0),
            },
        };
        self.rehearsal.clock.date.checked_sub(days.clamp(-100_000, 100_000).days()).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_beside_a_limit_are_on_its_sides_whatever_its_size() {
        for limit in [0.0, 1.0, -3.5, 0.4, 40.0, 5e6, -5e6, 1e15, -1e15] {
            for whole in [false, true] {
                let [below, _, above] = [0, 1, 2].map(|side| beside(limit, side, whole));
                assert!(below < limit && above > limit, "{limit} {whole}: {below} {above}");
                assert!(!whole || (below.fract() == 0.0 && above.fract() == 0.0), "{limit}: {below} {above}");
            }
            assert_eq!(beside(limit, 1, false), limit);
        }
    }

    /// A check that is valid today is valid tomorrow.
    #[test]
    fn a_question_is_the_same_on_every_day() {
        let asked = |day: i8, before: i64| {
            let date = jiff::civil::date(2026, 2, day);
            let midnight = date.to_zoned(TimeZone::UTC).unwrap().timestamp();
            let due = midnight + SignedDuration::from_hours(30);
            // In New York in February, and where the clocks have changed.
            let start = midnight + SignedDuration::from_hours(if day > 20 { 4 } else { 5 });
            let clock = Clock { due, date, day: (start, start + SignedDuration::from_hours(24)) };
            let rehearsal = Rehearsal::new(Answers::Low, clock, Vec::new(), Arc::default());
            let parameter = |name: &str, value| Argument { name: name.to_owned(), value, kind: None };
            let parameters = [
                parameter("date", Value::Date((date - before.days()).to_string())),
                parameter("start", Value::Timestamp(start.as_second())),
                parameter("noon", Value::Timestamp(midnight.as_second() + 12 * 3600)),
                parameter("unused", Value::Integer(day.into())),
                parameter("now", Value::Timestamp(due.as_second())),
                parameter("active", Value::Text("active".to_owned())),
            ];
            rehearsal.asked(&format!("SELECT @Start, @date, @noon, @now, @active WHERE d = '{date}'"), &parameters)
        };
        assert_eq!(asked(5, 0), asked(26, 0));
        assert_eq!(asked(5, 7), asked(26, 7));
        assert_ne!(asked(5, 0), asked(5, 1));
    }

    /// Each date of a query has its own numbers, and always the same.
    #[test]
    fn an_answer_depends_on_the_question_and_its_parameters() {
        let (due, date) = (Timestamp::UNIX_EPOCH, jiff::civil::date(2026, 2, 5));
        let clock = Clock { due, date, day: (due, due) };
        let drawn = |asked: &str, mixture: u64| {
            let rehearsal = Rehearsal::new(Answers::Mixed(mixture), clock, Vec::new(), Arc::default());
            rehearsal.draw(asked).number("orders", true, true)
        };
        let other =
            (1..50).filter(|mixture| drawn("orders 2026-02-05", *mixture) != drawn("orders 2026-02-04", *mixture));
        assert!(other.count() > 20);
        assert!((1..50).all(|mixture| drawn("a", mixture) == drawn("a", mixture)));
    }
}
