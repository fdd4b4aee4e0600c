//! `round-robin`: each in turn, by weight. The row of turns is laid out when the snapshot is built.
//!
//! With equal weights the row is the list of backends: a strict rotation. With others, each
//! backend's turns stand evenly apart, and different backends' turns are staggered, so that a heavy
//! one gets its calls spread and not in a burst.

use super::schedule::Schedule;
use super::{BackendSlot, Candidate, Turn};

/// Turns in the row, at most, before each backend is given at least one: larger sums of weights are
/// scaled down to it. 16 turns a backend in the largest pool, so a share is off by 3 % at worst.
const TURNS_MAX: u64 = 65_536;

/// The row of turns, and who is in it.
pub(in crate::pool) struct RoundRobin {
    row: Vec<BackendSlot>,
    takers: Vec<BackendSlot>,
}

impl RoundRobin {
    pub(super) fn build(candidates: &[Candidate]) -> Self {
        let takers: Vec<_> = candidates.iter().filter(|c| c.takes).collect();
        let weights = scaled(takers.iter().map(|c| u64::from(c.weight)).collect());
        let turns = weights.iter().sum::<u64>() as usize;
        // Times in units of 1 / 2n: the first turn of place i is (i + 1/2) / n of a step late.
        let step = 2 * takers.len() as u64;
        let places = weights.iter().enumerate().map(|(i, weight)| (2 * i as u64 + 1, *weight));
        let row = Schedule::new(places, step).take(turns).map(|place| takers[place].slot);
        Self { row: row.collect(), takers: takers.iter().map(|c| c.slot).collect() }
    }

    /// Moves `turn` behind the one that was chosen.
    pub(super) fn choose(
        &self,
        accepts: &impl Fn(BackendSlot) -> bool,
        turn: &mut Turn,
    ) -> Option<BackendSlot> {
        if !self.takers.iter().any(|slot| accepts(*slot)) {
            return None;
        }
        let length = self.row.len() as u64;
        let start = turn.0 % length;
        let turns = self.row[start as usize..].iter().chain(&self.row[..start as usize]);
        let passed = turns.clone().take_while(|slot| !accepts(**slot)).count() as u64;
        turn.0 = (start + passed + 1) % length;
        turns.copied().nth(passed as usize)
    }
}

/// The same proportions in numbers whose sum is small. None becomes 0.
fn scaled(mut weights: Vec<u64>) -> Vec<u64> {
    let divisor = weights.iter().copied().fold(0, greatest_common_divisor).max(1);
    weights.iter_mut().for_each(|weight| *weight /= divisor);
    let sum: u64 = weights.iter().sum();
    if sum > TURNS_MAX {
        let scale = |weight: u64| ((weight * TURNS_MAX + sum / 2) / sum).max(1);
        weights.iter_mut().for_each(|weight| *weight = scale(*weight));
    }
    weights
}

fn greatest_common_divisor(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::super::candidates_of;
    use super::*;

    fn row(weights: &[u16]) -> Vec<u16> {
        RoundRobin::build(&candidates_of(weights)).row.iter().map(|slot| slot.0).collect()
    }

    #[test]
    fn equal_weights_are_a_strict_rotation() {
        assert_eq!(row(&[1, 1, 1]), [0, 1, 2]);
        assert_eq!(row(&[500, 500]), [0, 1]);
    }

    #[test]
    fn a_heavy_backend_does_not_get_its_turns_in_a_burst() {
        assert_eq!(row(&[5, 1, 1]), [0, 0, 0, 1, 0, 0, 2]);
        assert_eq!(row(&[2, 4]), [0, 1, 1]);
        assert_eq!(row(&[3, 4]), [0, 1, 0, 1, 1, 0, 1]);
    }

    #[test]
    fn the_row_is_bounded_and_leaves_nobody_out() {
        let row = row(&[65_535, 1, 65_534, 2]);
        assert!(row.len() as u64 <= TURNS_MAX + 4);
        for place in 0..4 {
            assert!(row.contains(&place), "backend {place} has no turn");
        }
    }

    #[test]
    fn weights_up_to_the_bound_are_exact() {
        let exact = row(&[65_535, 1]);
        assert_eq!(exact.len(), 65_536);
        assert_eq!(exact.iter().filter(|place| **place == 1).count(), 1);
    }
}
