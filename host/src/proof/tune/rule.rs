//! A limit as it may be proposed, what it makes of a date, and the faults that it should notice.

use std::collections::BTreeMap;

use jiff::{ToSpan, civil::Date};

use super::{
    super::{Side, knobs::Knob},
    statistics::median,
};

/// Good dates of a weekday that a change is compared with.
pub(super) const WEEKS: usize = 4;
/// The least of them.
pub(super) const LEAST: usize = 2;
/// How many weeks back they are looked for.
const BACK: i64 = 52;

/// The values of one metric by date.
pub(super) type Series = BTreeMap<Date, f64>;

/// A limit on one side of a metric.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Rule {
    /// On the value itself.
    Fixed(Side, f64),
    /// On the value itself, which must stay below it.
    Below(f64),
    /// On the drop in percent from the median of the newest good dates of the same weekday.
    Drop(f64),
    /// On the rise from it.
    Rise(f64),
}

impl Rule {
    /// Whether a value breaks it on a date; `usual` are the dates that are compared with. `None` if it cannot tell.
    pub(super) fn is_broken(self, date: Date, value: f64, usual: &Series) -> Option<bool> {
        match self {
            Self::Fixed(Side::Low, limit) => Some(value < limit),
            Self::Fixed(Side::High, limit) => Some(value > limit),
            Self::Below(limit) => Some(value >= limit),
            Self::Drop(most) => Some(change(date, value, usual)? < -most),
            Self::Rise(most) => Some(change(date, value, usual)? > most),
        }
    }
}

impl Knob {
    /// The rule with a limit.
    pub(super) fn rule(&self, limit: f64) -> Rule {
        if self.strict { Rule::Below(limit) } else { Rule::Fixed(self.side, limit) }
    }
}

/// The change of a value in percent from the median of the newest good dates of the same weekday.
pub(super) fn change(date: Date, value: f64, usual: &Series) -> Option<f64> {
    change_from(date, value, usual, (WEEKS, LEAST, true))
}

/// The same from the newest so many good dates, of which some least number must be there, of the same weekday or of any.
pub(super) fn change_from(
    date: Date,
    value: f64,
    usual: &Series,
    (count, least, same_weekday): (usize, usize, bool),
) -> Option<f64> {
    let first = date.checked_sub(BACK.weeks()).unwrap_or(Date::MIN);
    let is_like = |other: &Date| !same_weekday || other.weekday() == date.weekday();
    let earlier = usual.range(first..date).rev().filter(|(other, _)| is_like(other));
    let earlier: Vec<f64> = earlier.map(|(_, value)| *value).take(count).collect();
    let usual = median(&earlier).filter(|usual| *usual != 0.0 && earlier.len() >= least)?;
    Some(100.0 * (value - usual) / usual.abs())
}

/// The residuals of a series from the median of their weekday on the dates up to one, pooled: a factor where all medians are above 0,
/// else a difference.
pub(super) fn residuals(series: &Series, last: Date) -> BTreeMap<Date, f64> {
    let mut days: BTreeMap<i8, Vec<f64>> = BTreeMap::new();
    for (date, value) in series.range(..=last) {
        days.entry(date.weekday().to_monday_zero_offset()).or_default().push(*value);
    }
    let medians: BTreeMap<i8, f64> = days.iter().filter_map(|(day, values)| Some((*day, median(values)?))).collect();
    let positive = medians.values().all(|median| *median > 0.0);
    // Of a weekday that was never seen nothing is known.
    let residual = |(date, value): (&Date, &f64)| {
        let usual = medians.get(&date.weekday().to_monday_zero_offset()).copied()?;
        Some((*date, if positive { value / usual } else { value - usual }))
    };
    series.iter().filter_map(residual).collect()
}

/// What faults make of a value of a metric, on the side that a knob limits; `usual` is the median of good dates.
pub(super) fn faults(Knob { side, of_change, .. }: &Knob, value: f64, usual: f64) -> Vec<f64> {
    let side = *side;
    // A change in percent from what is usual: the level is what a fault halves or doubles.
    if *of_change {
        let level = 1.0 + value / 100.0;
        let factors: &[f64] = if side == Side::Low { &[0.0, 0.5] } else { &[2.0, 10.0] };
        return factors.iter().map(|factor| 100.0 * (level * factor - 1.0)).collect();
    }
    match side {
        // Nothing there, and half of it.
        Side::Low if value > 0.0 => vec![0.0, value / 2.0],
        // Where there is nothing on good dates: one, and ten.
        Side::High if usual == 0.0 => vec![value + 1.0, value + 10.0],
        // Twice as much, and another unit.
        Side::High if value > 0.0 => vec![value * 2.0, value * 10.0],
        Side::Low | Side::High => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn date(text: &str) -> Date {
        text.parse().expect("a date")
    }

    #[test]
    fn a_change_is_from_the_median_of_the_same_weekday() {
        // Thursdays.
        let usual: Series = [("2026-02-05", 100.0), ("2026-01-29", 110.0), ("2026-01-22", 90.0), ("2026-02-11", 1.0)]
            .map(|(day, value)| (date(day), value))
            .into();
        assert_eq!(change(date("2026-02-12"), 50.0, &usual), Some(-50.0));
        assert_eq!(change(date("2026-02-13"), 50.0, &usual), None, "no earlier Friday");
        assert_eq!(Rule::Drop(40.0).is_broken(date("2026-02-12"), 50.0, &usual), Some(true));
        assert_eq!(Rule::Drop(60.0).is_broken(date("2026-02-12"), 50.0, &usual), Some(false));
        assert_eq!(Rule::Rise(60.0).is_broken(date("2026-02-12"), 170.0, &usual), Some(true));
        assert_eq!(Rule::Rise(60.0).is_broken(date("2026-02-12"), 50.0, &usual), Some(false));
        assert_eq!(Rule::Fixed(Side::Low, 50.0).is_broken(date("2026-02-12"), 50.0, &usual), Some(false));
        assert_eq!(Rule::Fixed(Side::High, 49.0).is_broken(date("2026-02-12"), 50.0, &usual), Some(true));
    }

    #[test]
    fn faults_are_other_values() {
        let faults = |side, of_change, value, usual| {
            let (path, metric) = (String::new(), String::new());
            let knob = Knob { path, metric, side, factor: 1.0, limit: None, whole: false, strict: false, of_change };
            super::faults(&knob, value, usual)
        };
        assert_eq!(faults(Side::Low, false, 10.0, 10.0), [0.0, 5.0]);
        assert_eq!(faults(Side::Low, false, 0.0, 10.0), Vec::<f64>::new());
        assert_eq!(faults(Side::High, false, 0.0, 0.0), [1.0, 10.0]);
        assert_eq!(faults(Side::High, false, 3.0, 3.0), [6.0, 30.0]);
        assert_eq!(faults(Side::Low, true, 0.0, 0.0), [-100.0, -50.0]);
    }
}
