//! `call-id-hash` by Maglev: one look into a table of 65 537 entries, however many backends.
//!
//! The table (Eisenbud et al., NSDI 2016, section 3.4): each backend walks the entries in an order
//! of its own (a start and a stride, both from its identity; the size is prime, so a walk meets
//! every entry), and they take turns in claiming the next entry that is still free. Weights decide
//! who is at turn: the k-th claim (from 0) of a backend of weight w comes at time k/w, ties by
//! identity. That order has two merits over rounds that are measured by the heaviest backend. Who
//! comes or goes, even the heaviest, does not move the claims of the others in time. And everybody
//! claims once at time 0, so the smallest weight has an entry too.
//!
//! Entries are a function of the set of (identity, weight) alone, never of the order of the list.
//!
//! # What moves
//!
//! When a backend is removed, its entries go to others, and few entries change hands
//! between those that stay. Measured, the worst of 40 removals, with equal and with mixed weights,
//! in percent of the table: 0.1 for 3 backends, 0.4 for 16 and 17, 0.5 for 26, 0.7 for 100, 0.96
//! for 1000, 0.3 for 4096; a test holds 1 %. The peak is between 300 and 700 backends: 0.9 to 1.25.
//! (Nearly all of it happens when the table is nearly full. A larger table would halve it, at the
//! price of the cache; leaving the last entries to a rendezvous takes off a fifth, at the price of
//! even shares.)
//!
//! Draining, or being down, moves nothing else at all: the table is built over everybody with a
//! weight, and an entry whose backend takes no calls is then given to the backend of the next entry
//! that does. "Next" is by a fixed shuffle of the entries: the walks leave patterns among
//! neighbours, which would give some backend 10 % more of the share than its weight is worth. This
//! is done when the snapshot is built, so a look is one look still.
//!
//! The grain is one entry in 65 537: a share is off by that much, at most.

use super::super::hash::{mix, scale, spread};
use super::schedule::Schedule;
use super::{BackendSlot, CallHash, Candidate};

/// Entries; a prime. For ever the same, since every change moves nearly every call.
const SIZE: usize = 65_537;

/// Keep the two uses of an identity apart, and apart from rendezvous.
const PURPOSE_START: u32 = 1;
const PURPOSE_STRIDE: u32 = 2;

/// Random looks for somebody who is not passed over, before the table is walked.
const LOOKS_MAX: u64 = 64;

/// The table, and who is in it.
pub(in crate::pool) struct Maglev {
    /// Empty if nobody takes new calls.
    entries: Vec<BackendSlot>,
    takers: Vec<BackendSlot>,
}

impl Maglev {
    pub(super) fn build(mut candidates: Vec<Candidate>) -> Self {
        candidates.sort_unstable_by_key(|candidate| candidate.id);
        let takers: Vec<_> = candidates.iter().filter(|c| c.takes).map(|c| c.slot).collect();
        if takers.is_empty() {
            return Self { entries: Vec::new(), takers };
        }
        let mut owners = claims(&candidates);
        pass_over(&mut owners, |owner| candidates[owner].takes);
        let entries = owners.into_iter().map(|owner| candidates[owner].slot).collect();
        Self { entries, takers }
    }

    #[inline]
    pub(super) fn choose(
        &self,
        call: CallHash,
        accepts: &impl Fn(BackendSlot) -> bool,
    ) -> Option<BackendSlot> {
        let entry = scale(call.0, SIZE);
        let slot = *self.entries.get(entry)?;
        if accepts(slot) {
            return Some(slot);
        }
        self.choose_beyond(call, entry, accepts)
    }

    /// Looks into entries that follow from the call, and from `entry` on where nearly the whole
    /// table is passed over. Every taker has an entry, so the walk finds one.
    #[cold]
    fn choose_beyond(
        &self,
        call: CallHash,
        entry: usize,
        accepts: &impl Fn(BackendSlot) -> bool,
    ) -> Option<BackendSlot> {
        if !self.takers.iter().any(|slot| accepts(*slot)) {
            return None;
        }
        let looks =
            (1..=LOOKS_MAX).map(|look| self.entries[scale(mix(call.0.wrapping_add(look)), SIZE)]);
        let walk = self.entries[entry..].iter().chain(&self.entries[..entry]).copied();
        looks.chain(walk).find(|slot| accepts(*slot))
    }
}

/// Who owns each entry, as a place in `candidates`, which are sorted by identity and not empty.
fn claims(candidates: &[Candidate]) -> Vec<usize> {
    const FREE: usize = usize::MAX;
    let mut owners = vec![FREE; SIZE];
    let start = |c: &Candidate| scale(spread(c.id, PURPOSE_START), SIZE);
    let stride = |c: &Candidate| 1 + scale(spread(c.id, PURPOSE_STRIDE), SIZE - 1);
    let mut walks: Vec<_> = candidates.iter().map(|c| (start(c), stride(c))).collect();
    let turns = Schedule::new(candidates.iter().map(|c| (0, u64::from(c.weight))), 1);
    for place in turns.take(SIZE) {
        let (entry, stride) = &mut walks[place];
        while owners[*entry] != FREE {
            *entry = (*entry + *stride) % SIZE;
        }
        owners[*entry] = place;
    }
    owners
}

/// Gives each entry whose owner does not take calls to the owner of the next entry that does, in
/// the order of a fixed shuffle. Somebody must take calls.
fn pass_over(owners: &mut [usize], takes: impl Fn(usize) -> bool) {
    if owners.iter().all(|owner| takes(*owner)) {
        return;
    }
    let mut shuffled: Vec<usize> = (0..owners.len()).collect();
    shuffled.sort_unstable_by_key(|entry| mix(*entry as u64));
    let Some(first) = shuffled.iter().find(|entry| takes(owners[**entry])) else { return };
    let mut next = owners[*first];
    for entry in shuffled.into_iter().rev() {
        match takes(owners[entry]) {
            true => next = owners[entry],
            false => owners[entry] = next,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::candidates_of as candidates;
    use super::*;

    fn shares(maglev: &Maglev, backends: usize) -> Vec<usize> {
        let mut shares = vec![0; backends];
        maglev.entries.iter().for_each(|slot| shares[usize::from(slot.0)] += 1);
        shares
    }

    #[test]
    fn equal_weights_have_equal_shares_but_for_one_entry() {
        for backends in [1, 3, 16, 100, 1000, 4096] {
            let maglev = Maglev::build(candidates(&vec![7; backends]));
            let (least, rest) = (SIZE / backends, usize::from(!SIZE.is_multiple_of(backends)));
            for share in shares(&maglev, backends) {
                assert!((least..=least + rest).contains(&share), "{share} of {backends}");
            }
        }
    }

    #[test]
    fn weights_are_met_to_the_grain_and_the_smallest_has_an_entry() {
        let weights = [1, 2, 3, 10, 100, 1000, 65_535];
        let sum: f64 = weights.iter().map(|weight| f64::from(*weight)).sum();
        let shares = shares(&Maglev::build(candidates(&weights)), weights.len());
        for (weight, share) in weights.iter().zip(&shares).rev() {
            let due = f64::from(*weight) / sum * SIZE as f64;
            let off = (*share as f64 - due).abs();
            assert!(*share >= 1 && off <= weights.len() as f64, "{share}, due {due}");
        }
    }

    #[test]
    fn an_entry_of_a_drained_backend_goes_to_the_next_that_takes_calls() {
        let mut order: Vec<usize> = (0..7).collect();
        order.sort_by_key(|entry| mix(*entry as u64));
        let in_order = |row: [usize; 7]| {
            let mut owners = [0; 7];
            order.iter().zip(row).for_each(|(entry, owner)| owners[*entry] = owner);
            owners
        };
        let mut owners = in_order([2, 0, 1, 2, 2, 1, 2]);
        pass_over(&mut owners, |owner| owner != 2);
        assert_eq!(owners, in_order([0, 0, 1, 1, 1, 1, 0]));
    }

    #[test]
    fn whoever_has_hardly_an_entry_is_found_when_the_rest_is_excluded() {
        let maglev = Maglev::build(candidates(&[65_535, 1]));
        assert!(shares(&maglev, 2)[1] <= 2);
        let slot = maglev.choose(CallHash(1 << 40), &|slot| slot != BackendSlot(0));
        assert_eq!(slot, Some(BackendSlot(1)));
    }
}
