//! What each backend of the pool has to do, over all workers: what a choice looks at.
//!
//! A table by slot. It stays right over every swap that leaves the slots as they were
//! ([`Pool::layout`]), so that no message pays for it.

use super::Now;
use super::counts::Counts;
use crate::limits::BACKENDS_MAX;
use crate::pool::{BackendSlot, Load, Loads, Pool};

/// The table.
#[derive(Debug)]
pub(super) struct Board {
    /// [`Pool::layout`] of the pool that it is laid out for.
    layout: Option<u64>,
    places: Vec<Place>,
    /// The second in which `elsewhere` was told.
    told_s: u32,
}

/// What is known of the backend in one slot.
#[derive(Clone, Copy, Debug)]
struct Place {
    /// Its counter in this shard.
    counter: Option<u16>,
    /// What the other shards have of it.
    elsewhere: Load,
}

impl Board {
    pub(super) fn new() -> Self {
        let mut places = vec![Place { counter: None, elsewhere: Load::default() }; BACKENDS_MAX];
        places.clear(); // and its memory has been written to
        Self { layout: None, places, told_s: 0 }
    }

    /// Lays the table out for a pool; what the other shards have is 0 until it is told.
    #[inline]
    pub(super) fn follow(&mut self, pool: &Pool, counts: &mut Counts) {
        if self.layout != Some(pool.layout()) {
            self.layout = Some(pool.layout());
            self.places.clear();
            self.places.extend(pool.backends().iter().map(|backend| Place {
                counter: counts.number(backend.id),
                elsewhere: Load::default(),
            }));
        }
    }

    /// What the other shards have, for every slot of the pool that was followed.
    pub(super) fn tell(&mut self, elsewhere: impl Fn(BackendSlot) -> Load, now: Now) {
        self.told_s = now.seconds();
        for (slot, place) in self.places.iter_mut().enumerate() {
            place.elsewhere = elsewhere(BackendSlot(slot as u16));
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
        let Some(place) = self.board.places.get(usize::from(slot.0)) else {
            return Load::default();
        };
        let own = place.counter.map_or(Load::default(), |at| self.counts.load(at, self.now));
        let mut elsewhere = place.elsewhere;
        if self.board.told_s != self.now.seconds() {
            elsewhere.calls_begun = 0;
        }
        own.and(elsewhere)
    }

    fn for_call(&self) -> bool {
        self.for_call
    }
}
