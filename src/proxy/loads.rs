//! What each backend of the pool has to do, over all workers: what a choice looks at.
//!
//! Slots are looked up by a table that stays right over every swap that leaves the slots as they were
//! ([`Pool::layout`]), so that no message pays for it. What the other shards have is kept by identity,
//! like what this one has: it outlives the pool that it was told with.

use super::Now;
use super::counts::{BACKENDS_COUNTED, Counts};
use crate::limits::BACKENDS_MAX;
use crate::pool::{BackendSlot, Load, Loads, Pool};
use std::ops::Range;

/// The table.
#[derive(Debug)]
pub(super) struct Board {
    /// [`Pool::layout`] of the pool that it is laid out for.
    layout: Option<u64>,
    /// The number of each slot's counter in this shard.
    counters: Vec<Option<u16>>,
    /// By the number of the counter.
    elsewhere: Box<[Elsewhere]>,
}

/// What the other shards have of a backend.
#[derive(Clone, Copy, Debug, Default)]
struct Elsewhere {
    load: Load,
    /// The second in which it was told.
    told_s: u32,
}

impl Board {
    pub(super) fn new() -> Self {
        let mut counters = vec![Some(0); BACKENDS_MAX];
        counters.clear(); // and its memory has been written to
        // The shared counter has number 0.
        let elsewhere = vec![Elsewhere { told_s: 1, ..Elsewhere::default() }; BACKENDS_COUNTED + 1];
        Self { layout: None, counters, elsewhere: elsewhere.into() }
    }

    /// Lays the table out for a pool.
    #[inline]
    pub(super) fn follow(&mut self, pool: &Pool, counts: &mut Counts) {
        if self.layout != Some(pool.layout()) {
            self.layout = Some(pool.layout());
            self.counters.clear();
            self.counters.extend(pool.backends().iter().map(|backend| counts.number(backend.id)));
        }
    }

    /// What the other shards have, for slots of the pool that was followed.
    pub(super) fn tell(
        &mut self,
        slots: Range<usize>,
        elsewhere: impl Fn(BackendSlot) -> Load,
        now: Now,
    ) {
        for (slot, counter) in slots.clone().zip(self.counters.get(slots).into_iter().flatten()) {
            if let Some(counter) = counter {
                let load = elsewhere(BackendSlot(slot as u16));
                self.elsewhere[usize::from(*counter)] = Elsewhere { load, told_s: now.seconds() };
            }
        }
    }
}

/// The loads of the pool that the board follows.
pub(super) struct LoadsNow<'a> {
    pub(super) board: &'a Board,
    pub(super) counts: &'a Counts,
    pub(super) now: Now,
    /// It is for a call that is to begin.
    pub(super) for_call: bool,
}

impl Loads for LoadsNow<'_> {
    #[inline]
    fn of(&self, slot: BackendSlot) -> Load {
        let Some(Some(counter)) = self.board.counters.get(usize::from(slot.0)) else {
            return Load::default();
        };
        let Elsewhere { mut load, told_s } = self.board.elsewhere[usize::from(*counter)];
        if told_s != self.now.seconds() {
            load.calls_begun = 0;
        }
        self.counts.load(*counter, self.now).and(load)
    }

    fn for_call(&self) -> bool {
        self.for_call
    }
}
