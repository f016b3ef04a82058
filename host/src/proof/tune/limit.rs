//! Where a limit lies: between the good values and what faults make of them.

use jiff::civil::Date;

use super::{
    super::{Side, knobs::Knob},
    rule::faults,
};
use crate::text::number;

/// How far a limit is from a value that it allows, where it must not be at it: a part of it, or a number.
const STEP: f64 = 0.01;

/// The share of the injected faults that a limit may miss for more room above it. Where faults of quiet dates are close to the good
/// dates, room is worth more: later dates are not within those that were seen.
const GIVEN_UP: f64 = 0.02;

/// The loosest limit that catches about as much as the tightest one that the alarms allow: of faults, and all bad dates that it does.
pub(super) fn fixed(knob: &Knob, good: &[(Date, f64)], bad: &[(Date, f64)], usual: f64, rank: usize) -> (f64, String) {
    // The low side as it is, the high side turned over.
    let sign = if knob.side == Side::Low { 1.0 } else { -1.0 };
    let mut values: Vec<f64> = good.iter().map(|(_, value)| value * sign).collect();
    values.sort_by(f64::total_cmp);
    let tightest = values.get(rank - 1).copied().unwrap_or_default();
    // Where all values are whole numbers, so is the limit.
    let whole = knob.whole || good.iter().all(|(_, value)| value.fract() == 0.0);
    let injected = good.iter().flat_map(|(_, value)| faults(knob, *value, usual)).map(|value| value * sign);
    let bad = bad.iter().map(|(_, value)| value * sign);
    let mut limit = loosest(&values, (injected, bad), tightest, whole);
    // One that a value must stay below is beyond all values that it allows.
    if knob.strict && values.contains(&limit) {
        limit -= if whole { 1.0 } else { (limit.abs() * STEP).max(STEP) };
    }
    let end = if knob.side == Side::Low { "lowest" } else { "highest" };
    let first = values.first().copied().unwrap_or_default();
    let why = match values.iter().filter(|value| **value < limit).count() {
        0 => format!("the {end} of {} good dates is {}", good.len(), number(first * sign)),
        beyond => format!("{beyond} of {} good dates are beyond it, the {end} is {}", good.len(), number(first * sign)),
    };
    (limit * sign, why)
}

/// A limit between the highest fault below the tightest limit and the first good value above that: it catches the same faults, and
/// has fewer good values below it. Of injected faults it may miss a few of the highest, of bad values none. The values are sorted.
pub(super) fn loosest(
    values: &[f64],
    (injected, bad): (impl Iterator<Item = f64>, impl Iterator<Item = f64>),
    tightest: f64,
    whole: bool,
) -> f64 {
    let injected: Vec<f64> = injected.collect();
    let few = (GIVEN_UP * injected.len() as f64) as usize;
    let mut caught: Vec<f64> = injected.into_iter().filter(|fault| *fault < tightest).collect();
    caught.sort_by(|one, other| other.total_cmp(one));
    let bad = bad.filter(|value| *value < tightest);
    let fault = bad.chain(caught.get(few).or(caught.last()).copied()).max_by(f64::total_cmp);
    let Some(fault) = fault else { return tightest };
    match values.iter().find(|value| **value > fault) {
        Some(good) => between(fault, *good, whole),
        None => tightest,
    }
}

/// A number with few digits between two, nearer to their middle than to either.
fn between(low: f64, high: f64, whole: bool) -> f64 {
    let (middle, room) = (low / 2.0 + high / 2.0, (high - low) / 4.0);
    if whole {
        // The highest is whole.
        return middle.ceil().min(high);
    }
    let scale = 10f64.powf(room.abs().max(f64::MIN_POSITIVE).log10().floor());
    let rounded = (middle / scale).round() * scale;
    // Powers of ten below 1 are not exact: 0.30000000000000004.
    let rounded = format!("{rounded:.11e}").parse().unwrap_or(rounded);
    if rounded > low && rounded <= high { rounded } else { high }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(values: &[f64], faults: &[f64], tightest: f64, whole: bool) -> f64 {
        loosest(values, (faults.iter().copied(), std::iter::empty()), tightest, whole)
    }

    #[test]
    fn a_limit_lies_between_the_good_values_and_the_faults() {
        assert_eq!(limit(&[100.0, 110.0, 120.0], &[0.0, 50.0, 60.0], 110.0, true), 80.0);
        assert_eq!(limit(&[0.5, 0.6], &[0.0, 0.25], 0.5, false), 0.38);
        // Where they overlap, between the highest fault that it catches and the next good value.
        assert_eq!(limit(&[40.0, 100.0, 110.0], &[50.0, 55.0], 100.0, true), 78.0);
        // Two of a hundred faults are given up for room, a bad date is not.
        let faults: Vec<f64> = (1..=100).map(f64::from).collect();
        let room = |bad: &[f64]| loosest(&[120.0], (faults.iter().copied(), bad.iter().copied()), 120.0, true);
        assert_eq!((room(&[]), room(&[100.0])), (109.0, 110.0));
        // Without a fault below it nothing is gained by a tighter one, and nothing is known of a looser one.
        assert_eq!(limit(&[1.0, 2.0], &[], 1.0, true), 1.0);
        assert_eq!(limit(&[0.0, 0.0], &[-1.0, -10.0], 0.0, true), 0.0);
    }

    #[test]
    fn a_number_between_two_has_few_digits() {
        let pairs =
            [(61.5, 70.0, true), (0.1, 0.2, false), (-50.0, -11.0, false), (1e9, 3e9, false), (1e-15, 3e-15, false)];
        for (low, high, whole) in pairs {
            let found = between(low, high, whole);
            assert!(low < found && (found < high || whole), "{low} {found} {high}");
            assert!(format!("{found:e}").trim_start_matches('-').len() <= 8, "{found:e}");
        }
        assert_eq!(between(2.5, 3.0, true), 3.0);
    }
}
