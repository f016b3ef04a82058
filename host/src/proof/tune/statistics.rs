//! What can be said of limits from a number of dates. Order statistics and binomial intervals only: no distribution of the values is
//! assumed, but that a later date is like the earlier ones.

use serde::Serialize;

/// How often something was so: of how many.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Share {
    /// How often.
    pub hits: usize,
    /// Of how many.
    pub of: usize,
}

impl Share {
    pub(super) fn add(&mut self, hit: bool) {
        self.hits += usize::from(hit);
        self.of += 1;
    }

    /// The share; 0 of none.
    pub fn value(self) -> f64 {
        if self.of == 0 { 0.0 } else { self.hits as f64 / self.of as f64 }
    }
}

/// The probability outside of an interval, both sides together.
const OUTSIDE: f64 = 0.05;
/// How often an interval is halved: far below what is shown.
const HALVINGS: u32 = 60;

/// How many of the lowest values may be below a limit, so that a later date is below it with a probability of at most `share`; `None`
/// if even one is too many. Of `count` dates and a later one like them, each rank is equally likely, so the later one is below
/// the k-th lowest with probability k/(count + 1): split-conformal prediction (Vovk, Gammerman, Shafer, 2005).
pub(super) fn rank(count: usize, share: f64) -> Option<usize> {
    let rank = (share * (count as f64 + 1.0)).floor() as usize;
    (1..=count).contains(&rank).then_some(rank)
}

/// How many dates are needed before [`rank`] gives one.
pub(super) fn needed(share: f64) -> usize {
    (1.0 / share).ceil() as usize - 1
}

/// The interval of Clopper and Pearson (1934) for a share of which `hits` of `count` were seen, with 95 % confidence.
pub fn interval(hits: usize, count: usize) -> (f64, f64) {
    if count == 0 {
        return (0.0, 1.0);
    }
    let solve = |is_too_high: &dyn Fn(f64) -> bool| {
        let (mut low, mut high) = (0.0, 1.0);
        for _ in 0..HALVINGS {
            let middle = (low + high) / 2.0;
            if is_too_high(middle) {
                high = middle;
            } else {
                low = middle;
            }
        }
        low
    };
    let tail = OUTSIDE / 2.0;
    // At the lower end, so many or more are that unlikely; at the upper end, so many or fewer.
    let low = if hits == 0 { 0.0 } else { solve(&|share| 1.0 - at_most(hits - 1, count, share) > tail) };
    let high = if hits == count { 1.0 } else { solve(&|share| at_most(hits, count, share) < tail) };
    (low, high)
}

/// The probability of at most `hits` of `count`, each with a share.
fn at_most(hits: usize, count: usize, share: f64) -> f64 {
    if share <= 0.0 {
        return 1.0;
    }
    if share >= 1.0 {
        return if hits >= count { 1.0 } else { 0.0 };
    }
    // In logarithms, each term from the one before.
    let odds = share.ln() - (1.0 - share).ln();
    let mut term = count as f64 * (1.0 - share).ln();
    let mut sum = term.exp();
    for hit in 1..=hits {
        term += ((count - hit + 1) as f64).ln() - (hit as f64).ln() + odds;
        sum += term.exp();
    }
    sum.min(1.0)
}

/// The median; `None` without values.
pub(super) fn median(values: &[f64]) -> Option<f64> {
    quantile(values, 0.5)
}

/// The value below which a share of the values is, between two of them in proportion; `None` without values.
pub(super) fn quantile(values: &[f64], share: f64) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let place = share * (sorted.len().checked_sub(1)? as f64);
    let (low, high) = (sorted.get(place.floor() as usize)?, sorted.get(place.ceil() as usize)?);
    Some(low + (high - low) * place.fract())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rank_promises_no_more_than_the_dates_do() {
        // One alarm a month on one side of one metric: a share of 1/30.44.
        let month = 1.0 / 30.44;
        assert_eq!(rank(29, month), None);
        assert_eq!(needed(month), 30);
        assert_eq!(rank(30, month), Some(1));
        assert_eq!(rank(200, month), Some(6));
        assert_eq!(rank(0, 1.0), None);
        assert_eq!(rank(5, 2.0), None, "no limit at all");
    }

    /// The published table for 95 %: https://en.wikipedia.org/wiki/Binomial_proportion_confidence_interval and R's `binom.test`.
    #[test]
    fn an_interval_is_that_of_clopper_and_pearson() {
        let near = |found: (f64, f64), low: f64, high: f64| {
            assert!((found.0 - low).abs() < 5e-5 && (found.1 - high).abs() < 5e-5, "{found:?}");
        };
        near(interval(0, 10), 0.0, 0.3085);
        near(interval(10, 10), 0.6915, 1.0);
        near(interval(1, 10), 0.0025, 0.4450);
        near(interval(5, 10), 0.1871, 0.8129);
        near(interval(0, 0), 0.0, 1.0);
        let (low, high) = interval(1900, 2000);
        assert!(low > 0.93 && low < 0.95 && high > 0.95 && high < 0.97, "{low} {high}");
    }

    #[test]
    fn quantiles_lie_between_values() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(quantile(&[1.0, 2.0], 0.25), Some(1.25));
        assert_eq!(median(&[]), None);
    }
}
