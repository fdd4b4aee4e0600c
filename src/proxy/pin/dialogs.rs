//! Dialogs per backend: counted in once and out once, in memory taken at start.
//!
//! An identity that was seen keeps its counter for ever, and once all counters are taken, new
//! identities share one. So the same counter serves an identity on its way in and on its way out,
//! and no count can drift. There are twice as many counters as backends in the largest pool, for
//! those that come and go with reloads.

use super::slots::{Slot, Stage};
use crate::limits::BACKENDS_MAX;
use crate::pool::BackendId;

/// Backends that are counted one by one.
const BACKENDS_COUNTED: usize = 2 * BACKENDS_MAX;

/// Places to look for them: half of them stay empty, so that a look is short.
const PLACES: usize = 2 * BACKENDS_COUNTED;
const _: () = assert!(BACKENDS_COUNTED < NOBODY as usize);

/// An empty place.
const NOBODY: u16 = u16::MAX;

/// The counters.
pub(super) struct DialogCounts {
    /// Index into `counters`, by identity, with linear probing; nothing is ever taken out.
    places: Box<[u16]>,
    counters: Vec<(BackendId, u32)>,
    counters_max: usize,
    elsewhere: usize,
    total: usize,
}

impl DialogCounts {
    pub(super) fn new() -> Self {
        Self::with_counters(BACKENDS_COUNTED)
    }

    pub(super) fn with_counters(counters_max: usize) -> Self {
        Self {
            places: vec![NOBODY; PLACES].into(),
            counters: Vec::with_capacity(counters_max),
            counters_max,
            elsewhere: 0,
            total: 0,
        }
    }

    /// The same identities, all at 0.
    pub(super) fn like(other: &Self) -> Self {
        let counters = other.counters.iter().map(|(backend, _)| (*backend, 0)).collect();
        let places = other.places.clone();
        Self { places, counters, counters_max: other.counters_max, elsewhere: 0, total: 0 }
    }

    /// A slot has changed, of which those with a stage that `counts` are counted.
    #[inline]
    pub(super) fn recount(&mut self, counts: fn(Stage) -> bool, old: &Slot, new: &Slot) {
        let of = |slot: &Slot| counts(slot.stage).then_some(slot.backend);
        if of(old) != of(new) {
            of(old).into_iter().for_each(|backend| self.count_out(backend));
            of(new).into_iter().for_each(|backend| self.count_in(backend));
        }
    }

    pub(super) fn count_in(&mut self, backend: BackendId) {
        self.total += 1;
        match self.counter_or_new(backend) {
            Some(counter) => self.counters[counter].1 += 1,
            None => self.elsewhere += 1,
        }
    }

    pub(super) fn count_out(&mut self, backend: BackendId) {
        debug_assert!(self.total > 0);
        self.total -= 1;
        match self.counter(backend).0 {
            Some(counter) => self.counters[counter].1 -= 1,
            None => self.elsewhere -= 1,
        }
    }

    pub(super) fn total(&self) -> usize {
        self.total
    }

    pub(super) fn elsewhere(&self) -> usize {
        self.elsewhere
    }

    pub(super) fn on(&self, backend: BackendId) -> usize {
        self.counter(backend).0.map_or(0, |counter| self.counters[counter].1 as usize)
    }

    pub(super) fn by_backend(&self) -> impl Iterator<Item = (BackendId, usize)> {
        self.counters.iter().map(|(backend, count)| (*backend, *count as usize))
    }

    /// The counter of this backend, or else the empty place where the look for it ended.
    fn counter(&self, backend: BackendId) -> (Option<usize>, usize) {
        // An identity is a hash already.
        let mut place = (backend.0 as usize * PLACES) >> 32;
        loop {
            match self.places[place] {
                NOBODY => return (None, place),
                i if self.counters[usize::from(i)].0 == backend => {
                    return (Some(usize::from(i)), place);
                }
                _ => place = (place + 1) % PLACES,
            }
        }
    }

    fn counter_or_new(&mut self, backend: BackendId) -> Option<usize> {
        let (counter, place) = self.counter(backend);
        if counter.is_some() || self.counters.len() == self.counters_max {
            return counter;
        }
        self.places[place] = self.counters.len() as u16;
        self.counters.push((backend, 0));
        Some(self.counters.len() - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backends_beyond_the_counters_share_one_and_do_not_drift() {
        let mut counts = DialogCounts::with_counters(2);
        let [a, b, c, d] = [1, 2, 3, 4].map(BackendId);
        [a, b, c, d, c].into_iter().for_each(|backend| counts.count_in(backend));
        assert_eq!([a, b, c, d].map(|backend| counts.on(backend)), [1, 1, 0, 0]);
        assert_eq!((counts.elsewhere(), counts.total()), (3, 5));
        // A counter at 0 is not given to another, who would count out of it what went in elsewhere.
        [a, c, c, d, b].into_iter().for_each(|backend| counts.count_out(backend));
        counts.count_in(c);
        assert_eq!((counts.on(c), counts.elsewhere(), counts.total()), (0, 1, 1));
        counts.count_out(c);
        assert_eq!((counts.elsewhere(), counts.total()), (0, 0));
    }

    #[test]
    fn the_counters_never_grow() {
        let mut counts = DialogCounts::new();
        let before = (counts.counters.capacity(), counts.counters.as_ptr());
        // Identities in one place, so that they probe one behind the other, round the end too.
        (0..20_000).for_each(|i| counts.count_in(BackendId(u32::MAX - i)));
        assert_eq!((counts.counters.capacity(), counts.counters.as_ptr()), before);
        assert_eq!(counts.by_backend().map(|(_, count)| count).sum::<usize>(), BACKENDS_COUNTED);
        assert_eq!(counts.elsewhere(), 20_000 - BACKENDS_COUNTED);
        (0..20_000).for_each(|i| counts.count_out(BackendId(u32::MAX - i)));
        assert_eq!((counts.total(), counts.elsewhere()), (0, 0));
    }
}
