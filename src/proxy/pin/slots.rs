//! The slots under the pins: open addressing with linear probing, and a hand that sweeps.
//!
//! A key's home is its 64 bits scaled to the number of slots by multiply-shift, so the table has
//! any size, not a power of two. A key stands in its home or behind it, with no empty slot between.
//! A removal keeps that: it moves back whoever may stand nearer to home (backward-shift deletion),
//! so that no tombstones gather and no rebuild is ever due. At the bounded fill of 3/4, a search
//! looks at 2.5 slots if the key is there and at 8.5 if not, on average, one behind the other in
//! memory.

use super::{Class, PinKey};
use crate::pool::BackendId;

/// A pin, or an empty slot.
#[derive(Clone, Copy)]
pub(super) struct Slot {
    key_place: u64,
    key_check: u32,
    pub(super) backend: BackendId,
    /// The last second in which it is live.
    pub(super) expires_s: u32,
    pub(super) stage: Stage,
    pub(super) attempt: Attempt,
}

const _: () = assert!(size_of::<Slot>() == 24);

/// The state of a slot. The order is that of [`Class`], which a refresh never goes down in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(super) enum Stage {
    Empty,
    Transaction,
    /// A transaction that ended a dialog: traffic in the dialog revives it.
    Ended,
    Invite,
    Registration,
    Dialog,
}

/// How far the call that began with the pin has come, for the counts of attempts and results.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Attempt {
    /// The pin began with something else.
    None,
    /// No final response yet.
    Open,
    /// Challenged: the caller is to repeat it with credentials.
    Challenged,
    /// Its final response has been counted.
    Settled,
}

/// Where a key is, or would be.
pub(super) enum Probe {
    Found(usize),
    Vacant(usize),
}

/// The table.
pub(super) struct Slots {
    slots: Box<[Slot]>,
    used: usize,
    used_max: usize,
    hand: usize,
}

impl Slots {
    /// Room for `used_max` keys at a fill of 3/4. One more slot is always empty and ends every
    /// probe.
    pub(super) fn new(used_max: usize) -> Self {
        let count = used_max + used_max / 3 + 1;
        Self { slots: vec![Slot::EMPTY; count].into(), used: 0, used_max, hand: 0 }
    }

    #[inline]
    pub(super) fn find(&self, key: PinKey) -> Option<usize> {
        match self.probe(key) {
            Probe::Found(at) => Some(at),
            Probe::Vacant(_) => None,
        }
    }

    /// Asks for the memory where a probe for this key will begin.
    #[inline]
    pub(super) fn fetch(&self, key: PinKey) {
        let slot = &self.slots[self.home(key.place)];
        #[cfg(target_arch = "x86_64")]
        safe_arch::prefetch_t0(slot);
        // A read that nobody waits for: not as good, since it leaves the processor's window late.
        #[cfg(not(target_arch = "x86_64"))]
        std::hint::black_box(slot.stage);
    }

    #[inline]
    pub(super) fn probe(&self, key: PinKey) -> Probe {
        let mut at = self.home(key.place);
        loop {
            let slot = &self.slots[at];
            if slot.stage == Stage::Empty {
                return Probe::Vacant(at);
            }
            if slot.key_place == key.place && slot.key_check == key.check {
                return Probe::Found(at);
            }
            at = self.after(at);
        }
    }

    #[inline]
    pub(super) fn at(&self, at: usize) -> &Slot {
        &self.slots[at]
    }

    /// The stage may change, but never to or from `Empty`: that is for `put` and `sweep`.
    #[inline]
    pub(super) fn at_mut(&mut self, at: usize) -> &mut Slot {
        &mut self.slots[at]
    }

    /// Fills a slot that `probe` found for this key, and returns what stood there.
    pub(super) fn put(&mut self, at: usize, slot: Slot) -> Slot {
        let old = std::mem::replace(&mut self.slots[at], slot);
        self.used += usize::from(old.stage == Stage::Empty);
        debug_assert!(self.used <= self.used_max);
        old
    }

    /// Takes `looks` looks from the hand on and empties the slots that `gone` says yes to; returns
    /// how many. A look frees the slot or moves the hand on, so a round takes a look for each slot
    /// and one for each removal. What a removal moves comes from ahead of the hand: nobody is
    /// skipped.
    pub(super) fn sweep(&mut self, looks: usize, mut gone: impl FnMut(&Slot) -> bool) -> usize {
        let mut removed = 0;
        for _ in 0..looks.min(self.slots.len() + self.used) {
            let slot = &self.slots[self.hand];
            if slot.stage != Stage::Empty && gone(slot) {
                self.remove(self.hand); // somebody else may stand here now: look again
                removed += 1;
            } else {
                self.hand = self.after(self.hand);
            }
        }
        removed
    }

    fn remove(&mut self, at: usize) {
        let mut hole = at;
        let mut next = self.after(at);
        while self.slots[next].stage != Stage::Empty {
            let home = self.home(self.slots[next].key_place);
            // It may move back unless its home lies behind the hole.
            if self.distance(home, next) >= self.distance(hole, next) {
                self.slots[hole] = self.slots[next];
                hole = next;
            }
            next = self.after(next);
        }
        self.slots[hole] = Slot::EMPTY;
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

    /// Those in use.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Slot> {
        self.slots.iter().filter(|slot| slot.stage != Stage::Empty)
    }

    /// Panics if a key cannot be found where it stands, or the count is wrong.
    pub(super) fn check_invariants(&self) {
        assert_eq!(self.iter().count(), self.used, "used slots are miscounted");
        assert!(self.used <= self.used_max, "more pins than allowed");
        for (at, slot) in self.slots.iter().enumerate() {
            let key = PinKey { place: slot.key_place, check: slot.key_check };
            if slot.stage != Stage::Empty {
                assert_eq!(self.find(key), Some(at), "a pin is out of reach, or there twice");
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

impl Slot {
    pub(super) const EMPTY: Self = Self {
        key_place: 0,
        key_check: 0,
        backend: BackendId(0),
        expires_s: 0,
        stage: Stage::Empty,
        attempt: Attempt::None,
    };

    pub(super) fn new(key: PinKey, backend: BackendId, stage: Stage, expires_s: u32) -> Self {
        let (key_place, key_check) = (key.place, key.check);
        Self { key_place, key_check, backend, expires_s, stage, attempt: Attempt::None }
    }

    #[inline]
    pub(super) fn is_live(&self, now_s: u32) -> bool {
        now_s <= self.expires_s
    }
}

impl Stage {
    pub(super) fn of(class: Class) -> Self {
        match class {
            Class::Transaction => Self::Transaction,
            Class::Invite => Self::Invite,
            Class::Registration => Self::Registration,
            Class::Dialog => Self::Dialog,
        }
    }

    #[inline]
    pub(super) fn is_dialog(self) -> bool {
        self == Self::Dialog
    }

    /// A dialog, or an INVITE that may become one.
    #[inline]
    pub(super) fn is_call(self) -> bool {
        matches!(self, Self::Dialog | Self::Invite)
    }

    #[inline]
    pub(super) fn class(self) -> Class {
        match self {
            Self::Empty | Self::Transaction | Self::Ended => Class::Transaction,
            Self::Invite => Class::Invite,
            Self::Registration => Class::Registration,
            Self::Dialog => Class::Dialog,
        }
    }
}
