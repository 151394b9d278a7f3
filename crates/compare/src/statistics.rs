//! Medians, and how far apart the rounds are.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The median of some rounds, with the outermost of them.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Median {
    /// The value in the middle, or the mean of the two there.
    pub median: f64,
    /// The smallest.
    pub low: f64,
    /// The largest.
    pub high: f64,
}

impl Median {
    /// The median of `values`; none of none.
    pub fn of(values: impl Iterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<_> = values.collect();
        values.sort_by(f64::total_cmp);
        let (low, high) = (*values.first()?, *values.last()?);
        let middle = values.len() / 2;
        let median = if values.len() % 2 == 1 {
            values[middle]
        } else {
            (values[middle - 1] + values[middle]) / 2.0
        };
        Some(Self { median, low, high })
    }

    /// Half the distance of the outermost, as a share of the median.
    pub fn spread(&self) -> f64 {
        if self.median > 0.0 { (self.high - self.low) / 2.0 / self.median } else { 0.0 }
    }

    /// Whether the two ranges have nothing in common: only then do they differ.
    pub fn differs_from(&self, other: &Self) -> bool {
        self.high < other.low || other.high < self.low
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn median(values: &[f64]) -> Option<Median> {
        Median::of(values.iter().copied())
    }

    #[test]
    fn a_median_is_the_middle_and_knows_the_outermost() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[5.0]), Some(Median { median: 5.0, low: 5.0, high: 5.0 }));
        assert_eq!(median(&[9.0, 8.0, 10.0]).map(|it| it.median), Some(9.0));
        let two = median(&[12.0, 8.0]).unwrap();
        assert_eq!((two.median, two.spread()), (10.0, 0.2));
        assert_eq!(median(&[0.0, 0.0]).unwrap().spread(), 0.0);
    }

    #[test]
    fn ranges_that_touch_do_not_differ() {
        let [low, middle, high] =
            [[1.0, 2.0], [2.0, 3.0], [3.5, 4.0]].map(|values| median(&values).unwrap());
        assert!(!low.differs_from(&middle));
        assert!(middle.differs_from(&high) && high.differs_from(&low));
    }
}
