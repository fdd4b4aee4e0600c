//! A table of fixed size: open addressing with linear probing, and a hand that sweeps.
//!
//! A key's home is its 64 bits scaled to the number of slots by multiply-shift, so the table has
//! any size, not a power of two. A key stands in its home or behind it, with no empty slot between.
//! A removal keeps that: it moves back whoever may stand nearer to home (backward-shift deletion),
//! so that no tombstones gather and no rebuild is ever due. At the bounded fill of 3/4, a search
//! looks at 2.5 slots if the key is there and at 8.5 if not, on average, one behind the other in
//! memory.

use std::ops::Range;

/// What stands in a slot.
pub(super) trait Entry: Copy {
    /// What it is found by.
    type Key: Copy + PartialEq;
    /// An empty slot.
    const EMPTY: Self;
    fn is_empty(&self) -> bool;
    fn key(&self) -> Self::Key;
    /// 64 bits of a key, as good as random.
    fn place(key: Self::Key) -> u64;
}

/// Where a key is, or would be.
pub(super) enum Probe {
    Found(usize),
    Vacant(usize),
}

/// How much a sweep does at most.
#[derive(Clone, Copy, Debug)]
pub struct Sweep {
    /// Slots that are looked at.
    pub looks: usize,
    /// Slots that are freed: each takes as long as dozens of looks, and many may run out together.
    pub removals: usize,
}

impl Sweep {
    /// A whole round.
    pub const ROUND: Self = Self { looks: usize::MAX, removals: usize::MAX };
}

/// The table.
pub(super) struct Slots<E> {
    slots: Box<[E]>,
    used: usize,
    used_max: usize,
    hand: usize,
}

impl<E: Entry> Slots<E> {
    /// Room for `used_max` keys at a fill of 3/4. One more slot is always empty and ends every
    /// probe.
    pub(super) fn new(used_max: usize) -> Self {
        let count = used_max + used_max / 3 + 1;
        Self { slots: vec![E::EMPTY; count].into(), used: 0, used_max, hand: 0 }
    }

    #[inline]
    pub(super) fn find(&self, key: E::Key) -> Option<usize> {
        match self.probe(key) {
            Probe::Found(at) => Some(at),
            Probe::Vacant(_) => None,
        }
    }

    #[inline]
    pub(super) fn probe(&self, key: E::Key) -> Probe {
        let mut at = self.home(E::place(key));
        loop {
            let slot = &self.slots[at];
            if slot.is_empty() {
                return Probe::Vacant(at);
            }
            if slot.key() == key {
                return Probe::Found(at);
            }
            at = self.after(at);
        }
    }

    /// Asks for the memory where a probe for this key will begin.
    #[inline]
    pub(super) fn fetch(&self, key: E::Key) {
        let slot = &self.slots[self.home(E::place(key))];
        #[cfg(target_arch = "x86_64")]
        safe_arch::prefetch_t0(slot);
        // A read that nobody waits for: not as good, since it leaves the processor's window late.
        #[cfg(not(target_arch = "x86_64"))]
        std::hint::black_box(slot.is_empty());
    }

    #[inline]
    pub(super) fn at(&self, at: usize) -> &E {
        &self.slots[at]
    }

    /// It may change, but neither its key nor whether it is empty: that is for `put`, `remove` and
    /// `sweep`.
    #[inline]
    pub(super) fn at_mut(&mut self, at: usize) -> &mut E {
        &mut self.slots[at]
    }

    /// Fills a slot that `probe` found for this key, and returns what stood there.
    pub(super) fn put(&mut self, at: usize, slot: E) -> E {
        let old = std::mem::replace(&mut self.slots[at], slot);
        self.used += usize::from(old.is_empty());
        debug_assert!(self.used <= self.used_max);
        old
    }

    /// Takes looks from the hand on, as many as `most` says, and empties the slots that `gone` says yes
    /// to; returns how many. A look frees the slot or moves the hand on, so a round takes a look for
    /// each slot and one for each removal. What a removal moves comes from ahead of the hand: nobody
    /// is skipped.
    pub(super) fn sweep(&mut self, most: Sweep, mut gone: impl FnMut(&E) -> bool) -> usize {
        let mut removed = 0;
        for _ in 0..most.looks.min(self.slots.len() + self.used) {
            if removed == most.removals {
                break;
            }
            let slot = &self.slots[self.hand];
            if !slot.is_empty() && gone(slot) {
                self.remove(self.hand); // somebody else may stand here now: look again
                removed += 1;
            } else {
                self.hand = self.after(self.hand);
            }
        }
        removed
    }

    /// Empties a slot. What the hand has before it may so come behind it: a round sees all that were
    /// not moved by somebody else's removal.
    pub(super) fn remove(&mut self, at: usize) {
        let mut hole = at;
        let mut next = self.after(at);
        while !self.slots[next].is_empty() {
            let home = self.home(E::place(self.slots[next].key()));
            // It may move back unless its home lies behind the hole.
            if self.distance(home, next) >= self.distance(hole, next) {
                self.slots[hole] = self.slots[next];
                hole = next;
            }
            next = self.after(next);
        }
        self.slots[hole] = E::EMPTY;
        self.used -= 1;
    }

    pub(super) fn used(&self) -> usize {
        self.used
    }

    pub(super) fn used_max(&self) -> usize {
        self.used_max
    }

    pub(super) fn is_full(&self) -> bool {
        self.used >= self.used_max
    }

    pub(super) fn count(&self) -> usize {
        self.slots.len()
    }

    pub(super) fn bytes(&self) -> usize {
        size_of_val(&*self.slots)
    }

    /// Where they stand, as addresses.
    pub(super) fn memory(&self) -> Range<usize> {
        let slots = self.slots.as_ptr_range();
        slots.start.addr()..slots.end.addr()
    }

    /// Those in use.
    pub(super) fn iter(&self) -> impl Iterator<Item = &E> {
        self.slots.iter().filter(|slot| !slot.is_empty())
    }

    /// Panics if a key cannot be found where it stands, or the count is wrong.
    pub(super) fn check_invariants(&self) {
        assert_eq!(self.iter().count(), self.used, "used slots are miscounted");
        assert!(self.used <= self.used_max, "more entries than allowed");
        for (at, slot) in self.slots.iter().enumerate() {
            if !slot.is_empty() {
                let found = self.find(slot.key());
                assert_eq!(found, Some(at), "an entry is out of reach, or there twice");
            }
        }
    }

    #[inline]
    fn home(&self, place: u64) -> usize {
        ((u128::from(place) * self.slots.len() as u128) >> 64) as usize
    }

    #[inline]
    fn after(&self, at: usize) -> usize {
        if at + 1 == self.slots.len() { 0 } else { at + 1 }
    }

    /// Steps from one slot on to another.
    #[inline]
    fn distance(&self, from: usize, to: usize) -> usize {
        if to >= from { to - from } else { to + self.slots.len() - from }
    }
}
