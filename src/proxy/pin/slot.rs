//! A pin as it stands in its slot, and what its call has come to.

use super::{Class, INVITE_S, PinKey, TRANSACTION_S};
use crate::limits::IDLE_S_MAX;
use crate::pool::BackendId;
use crate::proxy::counts::Held;
use crate::proxy::slots::Entry;

/// A pin, or an empty slot.
#[derive(Clone, Copy)]
pub(super) struct Slot {
    /// 0: empty.
    key: u64,
    pub(super) backend: BackendId,
    /// From the lowest bit on: two bits [`Attempt`], three [`Stage`], and the last second in which it
    /// is live, whose 27 bits come round in four years: see [`LIFETIME_S_MAX`].
    state: u32,
}

const _: () = assert!(size_of::<Slot>() == 16);

const STAGE_AT: u32 = 2;
const SECOND_AT: u32 = 5;

/// The longest time that a pin can be given, seconds: two years and some weeks. Of the seconds that 27
/// bits tell apart, half are to come and half are over: from 2^26 on, a pin would count as one that ran
/// out two years ago.
pub(super) const LIFETIME_S_MAX: u32 = (1 << (u32::BITS - SECOND_AT - 1)) - 1;

const _: () = assert!(IDLE_S_MAX <= LIFETIME_S_MAX, "a pin could run out at once");
const _: () = assert!(TRANSACTION_S <= LIFETIME_S_MAX && INVITE_S <= LIFETIME_S_MAX);

/// How far a pin has come. The order is that of [`Class`], which a refresh never goes down in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(super) enum Stage {
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

impl Entry for Slot {
    type Key = PinKey;

    const EMPTY: Self = Self { key: 0, backend: BackendId(0), state: 0 };

    #[inline]
    fn is_empty(&self) -> bool {
        self.key == 0
    }

    #[inline]
    fn key(&self) -> PinKey {
        PinKey(self.key)
    }

    #[inline]
    fn place(key: PinKey) -> u64 {
        key.0
    }
}

impl Slot {
    /// Live for so many seconds from now on: [`LIFETIME_S_MAX`] at most.
    pub(super) fn new(
        key: PinKey,
        backend: BackendId,
        stage: Stage,
        now_s: u32,
        lifetime_s: u32,
    ) -> Self {
        let mut slot = Self { key: key.0, backend, state: Attempt::None as u32 };
        slot.set_stage(stage, now_s, lifetime_s);
        slot
    }

    /// Sets the stage, live for so many seconds from now on: [`LIFETIME_S_MAX`] at most.
    #[inline]
    pub(super) fn set_stage(&mut self, stage: Stage, now_s: u32, lifetime_s: u32) {
        debug_assert!(lifetime_s <= LIFETIME_S_MAX, "{lifetime_s} s");
        let second = now_s.wrapping_add(lifetime_s) << SECOND_AT;
        self.state = second | (stage as u32) << STAGE_AT | self.attempt() as u32;
    }

    #[inline]
    pub(super) fn stage(&self) -> Stage {
        match self.state >> STAGE_AT & 7 {
            0 => Stage::Transaction,
            1 => Stage::Ended,
            2 => Stage::Invite,
            3 => Stage::Registration,
            _ => Stage::Dialog,
        }
    }

    #[inline]
    pub(super) fn set_attempt(&mut self, attempt: Attempt) {
        self.state = self.state & !3 | attempt as u32;
    }

    #[inline]
    pub(super) fn attempt(&self) -> Attempt {
        match self.state & 3 {
            0 => Attempt::None,
            1 => Attempt::Open,
            2 => Attempt::Challenged,
            _ => Attempt::Settled,
        }
    }

    /// One that ran out is known as such for 2^26 seconds: the hand of the table comes by in some.
    #[inline]
    pub(super) fn is_live(&self, now_s: u32) -> bool {
        self.left(now_s) >= 0
    }

    /// How many seconds a live one lives from now on.
    #[inline]
    pub(super) fn rest_s(&self, now_s: u32) -> u32 {
        (self.left(now_s) >> SECOND_AT) as u32
    }

    /// The same in units of the state's lowest bit; negative if it has run out.
    #[inline]
    fn left(&self, now_s: u32) -> i32 {
        self.state.wrapping_sub(now_s << SECOND_AT) as i32
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

    /// What its backend holds by it: a dialog, or an INVITE that may become one, is a call.
    #[inline]
    pub(super) fn held(self) -> Held {
        let dialog = self == Self::Dialog;
        Held { dialogs: dialog.into(), calls: (dialog || self == Self::Invite).into() }
    }

    #[inline]
    pub(super) fn class(self) -> Class {
        match self {
            Self::Transaction | Self::Ended => Class::Transaction,
            Self::Invite => Class::Invite,
            Self::Registration => Class::Registration,
            Self::Dialog => Class::Dialog,
        }
    }
}
