//! A pin as it stands in its slot, and what its call has come to.

use super::{Class, PinKey};
use crate::pool::BackendId;
use crate::proxy::counts::Held;
use crate::proxy::slots::Entry;

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

impl Entry for Slot {
    type Key = PinKey;

    const EMPTY: Self = Self {
        key_place: 0,
        key_check: 0,
        backend: BackendId(0),
        expires_s: 0,
        stage: Stage::Empty,
        attempt: Attempt::None,
    };

    #[inline]
    fn is_empty(&self) -> bool {
        self.stage == Stage::Empty
    }

    #[inline]
    fn key(&self) -> PinKey {
        PinKey { place: self.key_place, check: self.key_check }
    }

    #[inline]
    fn place(key: PinKey) -> u64 {
        key.place
    }
}

impl Slot {
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

    /// What its backend holds by it: a dialog, or an INVITE that may become one, is a call.
    #[inline]
    pub(super) fn held(self) -> Held {
        let dialog = self == Self::Dialog;
        Held { dialogs: dialog.into(), calls: (dialog || self == Self::Invite).into() }
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
