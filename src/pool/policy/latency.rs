//! `latency`: of two drawn by weight, the one that would answer sooner.
//!
//! What is compared is the average time to the first response times the requests that are waiting with
//! the new one: a backend that slows down shows it at once by those that wait, long before its average
//! has moved. Two draws and not the best of all: the best would get every call until its average says
//! otherwise (Mitzenmacher, "The power of two choices", 2001).

use super::random::Random;
use super::{BackendSlot, Candidate, Loads, Turn};

/// Those that take calls.
pub(in crate::pool) struct Latency {
    random: Random,
}

impl Latency {
    pub(super) fn build(candidates: &[Candidate]) -> Self {
        Self { random: Random::build(candidates) }
    }

    pub(super) fn choose(
        &self,
        loads: &impl Loads,
        accepts: &impl Fn(BackendSlot) -> bool,
        turn: &mut Turn,
    ) -> Option<BackendSlot> {
        let one = self.random.choose(accepts, turn)?;
        let another = |slot: BackendSlot| slot != one && accepts(slot);
        let Some(other) = self.random.choose(&another, turn) else { return Some(one) };
        let (first, second) = (loads.of(one), loads.of(other));
        // Nobody knows yet how fast one of them is: as fast as the other, until it has answered.
        let known = first.latency_us.max(second.latency_us).max(1);
        let wait = |latency_us: u32, transactions: u32| {
            let latency_us = if latency_us == 0 { known } else { latency_us };
            u64::from(latency_us) * (u64::from(transactions) + 1)
        };
        let sooner = wait(first.latency_us, first.transactions)
            <= wait(second.latency_us, second.transactions);
        Some(if sooner { one } else { other })
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Load, candidates_of};
    use super::*;

    fn shares(weights: &[u16], load: impl Fn(u16) -> (u32, u32)) -> Vec<u32> {
        let policy = Latency::build(&candidates_of(weights));
        let loads = |slot: BackendSlot| {
            let (latency_us, transactions) = load(slot.0);
            Load { latency_us, transactions, ..Load::default() }
        };
        let (mut turn, mut shares) = (Turn(3), vec![0; weights.len()]);
        for _ in 0..9_000 {
            let slot = policy.choose(&loads, &|_| true, &mut turn).expect("somebody");
            shares[usize::from(slot.0)] += 1;
        }
        shares
    }

    #[test]
    fn the_slowest_of_three_is_never_chosen_and_the_middle_one_by_a_third() {
        let shares = shares(&[1, 1, 1], |slot| ([100, 300, 200][usize::from(slot)], 0));
        // Of the three pairs the fastest wins two.
        assert_eq!(shares[1], 0);
        assert!(shares[2].abs_diff(3_000) < 250, "{shares:?}");
    }

    #[test]
    fn those_that_wait_count_as_much_as_the_average() {
        let shares =
            shares(&[1, 1], |slot| ([100, 300][usize::from(slot)], [3, 0][usize::from(slot)]));
        assert_eq!(shares, [0, 9_000], "4 x 100 against 1 x 300");
    }

    #[test]
    fn who_has_not_answered_yet_counts_as_fast_as_the_other() {
        let fair = shares(&[1, 1], |slot| ([0, 300][usize::from(slot)], 1));
        assert!(fair[0].abs_diff(4_500) < 300, "{fair:?}");
        let busy = shares(&[1, 1], |slot| ([0, 300][usize::from(slot)], [2, 1][usize::from(slot)]));
        assert_eq!(busy, [0, 9_000], "no flood to the unknown");
    }

    #[test]
    fn one_alone_gets_all_and_nobody_none() {
        assert_eq!(shares(&[4], |_| (9, 9)), [9_000]);
        let nobody = Latency::build(&[]).choose(&(), &|_| true, &mut Turn(0));
        assert_eq!(nobody, None);
    }
}
