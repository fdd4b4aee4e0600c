//! A table of fixed size: open addressing with linear probing, and a hand that sweeps.
//!
//! A key's home is the first slot of a cache line: its 64 bits scaled to the number of lines by
//! multiply-shift, so the table has any size, not a power of two. A key stands in its home or
//! behind it, with no empty slot between. A removal keeps that: it moves back whoever may stand
//! nearer to home (backward-shift deletion), so that no tombstones gather and no rebuild is ever
//! due. With four slots a line and half of them in use, 95 % of the searches for a key that is there
//! end in the line where they begin, and five of six of the others.

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

/// What the processor brings at once from memory: `N` slots fill it.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Line<E, const N: usize>([E; N]);

/// The table, with `N` slots a cache line.
pub(super) struct Slots<E, const N: usize> {
    lines: Box<[Line<E, N>]>,
    used: usize,
    used_max: usize,
    hand: usize,
}

impl<E: Entry, const N: usize> Slots<E, N> {
    /// Room for `used_max` keys in `count` slots or a few more: the fuller, the longer are searches.
    /// At least one slot is always empty and ends every probe.
    pub(super) fn new(used_max: usize, count: usize) -> Self {
        const { assert!(size_of::<[E; N]>() == size_of::<Line<E, N>>(), "a line is not filled") }
        let lines = vec![Line([E::EMPTY; N]); count.max(used_max) / N + 1].into();
        Self { lines, used: 0, used_max, hand: 0 }
    }

    #[inline]
    pub(super) fn find(&self, key: E::Key) -> Option<usize> {
        match self.probe(key) {
            Probe::Found(at) => Some(at),
            Probe::Vacant(_) => None,
        }
    }

    /// Empty slots are the last of a line. Where a key stands in its line is chance, so all are compared
    /// before anything is decided: a branch at each would be guessed wrong every second time.
    #[inline(never)] // each message asks several times: one copy of it in the instruction cache
    pub(super) fn probe(&self, key: E::Key) -> Probe {
        let mut first = self.home(E::place(key));
        loop {
            let Line(slots) = &self.lines[first / N];
            let (mut found, mut used) = (N, 0);
            for (at, slot) in slots.iter().enumerate() {
                found = if slot.key() == key { at } else { found };
                used += usize::from(!slot.is_empty());
            }
            if found < N {
                return Probe::Found(first + found);
            }
            if used < N {
                return Probe::Vacant(first + used);
            }
            first += N;
            if first == self.count() {
                first = 0;
            }
        }
    }

    /// Asks for the memory where a probe for this key will begin.
    #[inline]
    pub(super) fn fetch(&self, key: E::Key) {
        let slot = self.at(self.home(E::place(key)));
        #[cfg(target_arch = "x86_64")]
        safe_arch::prefetch_t0(slot);
        // A read that nobody waits for: not as good, since it leaves the processor's window late.
        #[cfg(not(target_arch = "x86_64"))]
        std::hint::black_box(slot.is_empty());
    }

    #[inline]
    pub(super) fn at(&self, at: usize) -> &E {
        &self.lines[at / N].0[at % N]
    }

    /// It may change, but neither its key nor whether it is empty: that is for `put`, `remove` and
    /// `sweep`.
    #[inline]
    pub(super) fn at_mut(&mut self, at: usize) -> &mut E {
        &mut self.lines[at / N].0[at % N]
    }

    /// Fills a slot that `probe` found for this key, and returns what stood there.
    pub(super) fn put(&mut self, at: usize, slot: E) -> E {
        let old = std::mem::replace(self.at_mut(at), slot);
        self.used += usize::from(old.is_empty());
        debug_assert!(self.used <= self.used_max);
        old
    }

    /// Takes looks from the hand on, as many as `most` says, and empties the slots that `gone` says yes
    /// to; returns how many. A look frees the slot or moves the hand on, so a round takes a look for
    /// each slot and one for each removal. What a removal moves comes from ahead of the hand: nobody
    /// is skipped.
    pub(super) fn sweep(&mut self, most: Sweep, mut gone: impl FnMut(&E) -> bool) -> usize {
        let (mut looks, mut removed) = (most.looks.min(self.count() + self.used), 0);
        while looks > 0 && removed < most.removals {
            let Line(slots) = &self.lines[self.hand / N];
            let rest = &slots[self.hand % N..];
            let rest = &rest[..rest.len().min(looks)];
            match rest.iter().position(|slot| !slot.is_empty() && gone(slot)) {
                Some(stay) => {
                    looks -= stay + 1;
                    self.hand += stay;
                    self.remove(self.hand); // somebody else may stand here now: look again
                    removed += 1;
                }
                None => {
                    looks -= rest.len();
                    self.hand += rest.len();
                    if self.hand == self.count() {
                        self.hand = 0;
                    }
                }
            }
        }
        removed
    }

    /// Empties a slot. What the hand has before it may so come behind it: a round sees all that were
    /// not moved by somebody else's removal.
    pub(super) fn remove(&mut self, at: usize) {
        let mut hole = at;
        let mut next = self.after(at);
        while !self.at(next).is_empty() {
            let home = self.home(E::place(self.at(next).key()));
            // It may move back unless its home lies behind the hole.
            if self.distance(home, next) >= self.distance(hole, next) {
                *self.at_mut(hole) = *self.at(next);
                hole = next;
            }
            next = self.after(next);
        }
        *self.at_mut(hole) = E::EMPTY;
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
        self.lines.len() * N
    }

    pub(super) fn bytes(&self) -> usize {
        size_of_val(&*self.lines)
    }

    /// Where they stand, as addresses.
    pub(super) fn memory(&self) -> Range<usize> {
        let lines = self.lines.as_ptr_range();
        lines.start.addr()..lines.end.addr()
    }

    /// Those in use.
    pub(super) fn iter(&self) -> impl Iterator<Item = &E> {
        self.lines.iter().flat_map(|line| &line.0).filter(|slot| !slot.is_empty())
    }

    /// Panics if a key cannot be found where it stands, or the count is wrong.
    pub(super) fn check_invariants(&self) {
        assert_eq!(self.iter().count(), self.used, "used slots are miscounted");
        assert!(self.used <= self.used_max, "more entries than allowed");
        for at in 0..self.count() {
            let slot = self.at(at);
            if !slot.is_empty() {
                let found = self.find(slot.key());
                assert_eq!(found, Some(at), "an entry is out of reach, or there twice");
            }
        }
    }

    #[inline]
    fn home(&self, place: u64) -> usize {
        ((u128::from(place) * self.lines.len() as u128) >> 64) as usize * N
    }

    #[inline]
    fn after(&self, at: usize) -> usize {
        if at + 1 == self.count() { 0 } else { at + 1 }
    }

    /// Steps from one slot on to another.
    #[inline]
    fn distance(&self, from: usize, to: usize) -> usize {
        if to >= from { to - from } else { to + self.count() - from }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A key of 16 bytes, so that four fill a line.
    impl Entry for u128 {
        type Key = u64;
        const EMPTY: Self = 0;

        fn is_empty(&self) -> bool {
            *self == 0
        }

        fn key(&self) -> u64 {
            *self as u64
        }

        fn place(key: u64) -> u64 {
            key
        }
    }

    #[test]
    fn searches_in_a_full_table_seldom_leave_the_line_where_they_begin() {
        const KEYS: u64 = 100_000;
        let hash = ahash::RandomState::with_seeds(1, 2, 3, 4);
        let mut slots: Slots<u128, 4> = Slots::new(KEYS as usize, 2 * KEYS as usize);
        for number in 0..KEYS {
            let key = hash.hash_one(number);
            let Probe::Vacant(at) = slots.probe(key) else { panic!("{key} is there") };
            slots.put(at, key.into());
        }
        slots.check_invariants();
        assert!(slots.is_full() && slots.memory().start.is_multiple_of(64));
        let leaves = |number: &u64| match slots.probe(hash.hash_one(number)) {
            Probe::Found(at) | Probe::Vacant(at) => {
                slots.distance(slots.home(hash.hash_one(number)), at) >= 4
            }
        };
        let [there, not] = [0..KEYS, KEYS..2 * KEYS].map(|keys| keys.filter(leaves).count());
        assert!(
            there < KEYS as usize / 20 && not < KEYS as usize / 6,
            "{there} and {not} of {KEYS}"
        );
    }
}
