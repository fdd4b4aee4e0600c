//! `random`: each call to one drawn by weight.
//!
//! The draws come from the worker's [`Turn`], a counter through a mixing function (SplitMix64): even,
//! cheap, and the same again for the same start, which tests and simulations want.

use super::super::hash::{mix, scale};
use super::{BackendSlot, Candidate, Turn};

/// Draws before the list is walked: with caps, nearly all may be passed over.
const DRAWS_MAX: usize = 16;

/// Those that take calls, with the sums of their weights.
pub(in crate::pool) struct Random {
    takers: Vec<Taker>,
}

#[derive(Clone, Copy)]
struct Taker {
    slot: BackendSlot,
    /// Of this one and all before it.
    weights: u64,
}

impl Random {
    pub(super) fn build(candidates: &[Candidate]) -> Self {
        let mut weights = 0;
        let taker = |candidate: &Candidate| {
            weights += u64::from(candidate.weight);
            Taker { slot: candidate.slot, weights }
        };
        Self { takers: candidates.iter().filter(|c| c.takes).map(taker).collect() }
    }

    pub(super) fn choose(
        &self,
        accepts: &impl Fn(BackendSlot) -> bool,
        turn: &mut Turn,
    ) -> Option<BackendSlot> {
        for _ in 0..DRAWS_MAX {
            let slot = self.draw(turn)?;
            if accepts(slot) {
                return Some(slot);
            }
        }
        let start = self.place(turn)?;
        let walk = self.takers[start..].iter().chain(&self.takers[..start]);
        walk.map(|taker| taker.slot).find(|slot| accepts(*slot))
    }

    /// One by weight; `None` if there is nobody.
    pub(super) fn draw(&self, turn: &mut Turn) -> Option<BackendSlot> {
        self.place(turn).map(|place| self.takers[place].slot)
    }

    fn place(&self, turn: &mut Turn) -> Option<usize> {
        let all = self.takers.last()?.weights;
        turn.0 = turn.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let drawn = scale(mix(turn.0), all as usize) as u64;
        Some(self.takers.partition_point(|taker| taker.weights <= drawn))
    }
}

#[cfg(test)]
mod tests {
    use super::super::candidates_of;
    use super::*;

    #[test]
    fn everybody_is_drawn_by_weight() {
        let weights = [1, 5, 2, 12];
        let random = Random::build(&candidates_of(&weights));
        let (mut turn, mut counts) = (Turn(7), [0u32; 4]);
        for _ in 0..20_000 {
            let slot = random.choose(&|_| true, &mut turn).expect("somebody");
            counts[usize::from(slot.0)] += 1;
        }
        for (weight, count) in weights.into_iter().zip(counts) {
            // The standard deviation of the largest is 70.
            assert!(count.abs_diff(u32::from(weight) * 1000) < 350, "{weight}: {count}");
        }
    }

    #[test]
    fn the_only_one_left_is_found_however_light_it_is() {
        let random = Random::build(&candidates_of(&[65_535, 1, 65_535]));
        for start in 0..50 {
            let found = random.choose(&|slot| slot.0 == 1, &mut Turn(start));
            assert_eq!(found, Some(BackendSlot(1)));
            assert_eq!(random.choose(&|_| false, &mut Turn(start)), None);
        }
        assert_eq!(Random::build(&[]).choose(&|_| true, &mut Turn(0)), None);
    }
}
