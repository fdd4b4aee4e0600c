//! Turns in proportion to weights: whose turn comes next, in whole numbers.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

/// An endless row of places. The turns of a place with weight `w` come at the times
/// `phase/w, (phase + step)/w, (phase + 2 step)/w, ...`; earlier times first, lower places first
/// among equal times.
pub(super) struct Schedule {
    due: BinaryHeap<Reverse<Due>>,
    step: u64,
}

impl Schedule {
    /// A place for each `(phase, weight)`. The largest phase + step x turns, times the largest
    /// weight, must fit 64 bits.
    pub(super) fn new(places: impl Iterator<Item = (u64, u64)>, step: u64) -> Self {
        let due = |(place, (time, weight))| Reverse(Due { time, weight, place });
        Self { due: places.enumerate().map(due).collect(), step }
    }
}

impl Iterator for Schedule {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        let Reverse(mut due) = self.due.pop()?;
        due.time += self.step;
        let place = due.place;
        self.due.push(Reverse(due));
        Some(place)
    }
}

/// The next turn of one place, at `time / weight`.
struct Due {
    time: u64,
    weight: u64,
    place: usize,
}

impl Ord for Due {
    fn cmp(&self, other: &Self) -> Ordering {
        let (own, theirs) = (self.time * other.weight, other.time * self.weight);
        own.cmp(&theirs).then(self.place.cmp(&other.place))
    }
}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Due {}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(count: usize, places: &[(u64, u64)], step: u64) -> Vec<usize> {
        Schedule::new(places.iter().copied(), step).take(count).collect()
    }

    #[test]
    fn equal_weights_rotate() {
        assert_eq!(first(7, &[(0, 9), (0, 9), (0, 9)], 1), [0, 1, 2, 0, 1, 2, 0]);
    }

    #[test]
    fn every_prefix_is_close_to_the_weights() {
        let row = first(600, &[(0, 3), (0, 2), (0, 1)], 1);
        for (place, weight) in [(0, 3.0), (1, 2.0), (2, 1.0)] {
            let mut turns = 0.0;
            for (i, chosen) in row.iter().enumerate() {
                turns += f64::from(*chosen == place);
                let due = (i + 1) as f64 * weight / 6.0;
                assert!((turns - due).abs() <= 1.5, "place {place} has {turns}, due {due}");
            }
        }
    }

    #[test]
    fn nobody_is_an_empty_row() {
        assert!(first(3, &[], 1).is_empty());
    }
}
