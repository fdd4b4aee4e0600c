//! `least-dialogs` (CJSQ), `least-transactions` (TJSQ), `least-work` (TLWL): whoever has least to do in
//! proportion to its weight, with the call in question (Jiang et al., IEEE/ACM ToN 2012).
//!
//! Everybody is looked at. Among equals whose turn it is: the look begins one further each time, so
//! that workers that count apart do not all fill the same backend first.

use super::{BackendSlot, Candidate, Load, Loads, Turn};

/// Those that take calls.
pub(in crate::pool) struct Least {
    takers: Vec<(BackendSlot, u16)>,
    measure: fn(Load) -> u32,
}

impl Least {
    pub(super) fn build(candidates: &[Candidate], measure: fn(Load) -> u32) -> Self {
        let takers = candidates.iter().filter(|c| c.takes).map(|c| (c.slot, c.weight));
        Self { takers: takers.collect(), measure }
    }

    pub(super) fn choose(
        &self,
        loads: &impl Loads,
        accepts: &impl Fn(BackendSlot) -> bool,
        turn: &mut Turn,
    ) -> Option<BackendSlot> {
        if self.takers.is_empty() {
            return None;
        }
        let start = (turn.0 % self.takers.len() as u64) as usize;
        turn.0 = turn.0.wrapping_add(1);
        let mut least: Option<(BackendSlot, u64, u64)> = None;
        for (slot, weight) in self.takers[start..].iter().chain(&self.takers[..start]) {
            let (load, weight) = (u64::from((self.measure)(loads.of(*slot))), u64::from(*weight));
            // Load and weight as a fraction, compared crosswise.
            let less = |(_, least, of): (_, u64, u64)| (load + 1) * of < (least + 1) * weight;
            if least.is_none_or(less) && accepts(*slot) {
                least = Some((*slot, load, weight));
            }
        }
        least.map(|(slot, ..)| slot)
    }
}

#[cfg(test)]
mod tests {
    use super::super::candidates_of;
    use super::*;

    fn least(weights: &[u16]) -> Least {
        Least::build(&candidates_of(weights), |load| load.calls)
    }

    fn calls(calls: &[u32]) -> impl Loads {
        move |slot: BackendSlot| Load { calls: calls[usize::from(slot.0)], ..Load::default() }
    }

    #[test]
    fn whoever_has_least_for_its_weight_gets_the_call() {
        let choose = |weights: &[u16], loads: &[u32]| {
            let chosen = least(weights).choose(&calls(loads), &|_| true, &mut Turn(0));
            chosen.map(|slot| slot.0)
        };
        assert_eq!(choose(&[1, 1, 1], &[4, 3, 5]), Some(1));
        assert_eq!(choose(&[1, 3], &[1, 4]), Some(1), "2/1 and 5/3");
        assert_eq!(choose(&[1, 3], &[1, 5]), Some(0), "2/1 and 6/3 are equal: whose turn it is");
        assert_eq!(choose(&[1, 3], &[1, 6]), Some(0));
        assert_eq!(choose(&[], &[]), None);
    }

    #[test]
    fn equals_take_turns_and_the_passed_over_are_no_reason_to_stop() {
        let (policy, mut turn) = (least(&[1, 1, 1]), Turn(1));
        let mut next = |accepts: &dyn Fn(BackendSlot) -> bool| {
            let accepts = |slot| accepts(slot);
            policy.choose(&calls(&[2, 2, 2]), &accepts, &mut turn).map(|slot| slot.0)
        };
        assert_eq!([next(&|_| true), next(&|_| true), next(&|_| true)], [1, 2, 0].map(Some));
        assert_eq!(next(&|slot| slot.0 == 0), Some(0));
        assert_eq!(next(&|_| false), None);
    }

    #[test]
    fn loads_that_follow_the_choices_end_up_in_proportion_to_the_weights() {
        let (policy, mut turn, mut counts) = (least(&[1, 2, 5]), Turn(0), [0u32; 3]);
        for _ in 0..800 {
            let now = counts;
            let slot = policy.choose(&calls(&now), &|_| true, &mut turn).expect("somebody");
            counts[usize::from(slot.0)] += 1;
        }
        for (weight, count) in [100, 200, 500].into_iter().zip(counts) {
            assert!(count.abs_diff(weight) <= 3, "{counts:?}");
        }
    }
}
