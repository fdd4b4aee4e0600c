//! The table of kept requests: a slot each, with room for the bytes. Made at start, never grows.

use super::repeats::Repeats;
use super::{COPY_MAX, KeptSlot, TRIES_MAX};
use crate::pool::BackendId;
use crate::proxy::transactions::TransactionKey;
use crate::proxy::{Answer, Ingress, Method, Replaced, SocketIndex};
use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::Range;

/// How far a kept request has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::proxy) enum Phase {
    /// The current attempt has said nothing.
    Silent,
    /// It said 100: silence ends no more, a 503 still does.
    Proceeding,
    /// More than a 100 went upstream: this attempt is not exchanged any more.
    Ringing,
    /// The caller has its final answer; only abandoned attempts matter.
    Answered,
}

/// A kept request.
#[derive(Clone, Copy, Debug)]
pub(in crate::proxy) struct Kept {
    pub(in crate::proxy) key: TransactionKey,
    /// How often the slot was taken: an old [`KeptSlot`] is told from a new one.
    pub(super) generation: u32,
    /// In use.
    pub(super) used: bool,
    /// A retry of it is waiting to be done.
    pub(super) queued: bool,
    /// Where it came in.
    pub(in crate::proxy) ingress: Ingress,
    /// Its length, bytes; 0: it is only watched.
    pub(super) len: usize,
    pub(in crate::proxy) is_invite: bool,
    /// Silence speaks against the backend: an INVITE gets a 100 even if it is passed on (RFC 3261
    /// 17.2.1), a REGISTER is for the registrar. To others a proxy says nothing for as long as the
    /// phone behind it does (RFC 4320 4.1).
    pub(super) answers_itself: bool,
    /// Its backends, the first `tried` of them; the last one is current.
    pub(super) attempts: [BackendId; TRIES_MAX],
    pub(super) tried: u8,
    pub(super) phase: Phase,
    pub(super) cancelled: bool,
    /// Our own final answer went upstream: what an attempt may still say is late.
    pub(super) answer: Option<Answer>,
    /// Whose failing final response went upstream: the ACK of it goes there.
    pub(super) failed_at: Option<BackendId>,
    /// We retransmit: the caller does no more after a 100, and too seldom for a second attempt.
    pub(super) resends: bool,
    pub(super) interval_ms: u64,
    /// When the current attempt was sent first.
    pub(super) sent_ms: u64,
    pub(super) silent_until_ms: u64,
    /// By attempt: when it was sent, if it has got no word in time, and that is not told yet.
    pub(super) silences: [Option<u64>; TRIES_MAX],
    /// Some attempt has got a word.
    pub(super) has_word: bool,
    /// When its state is looked at next; for what is repeated it wakes before.
    pub(super) wake_ms: u64,
    /// What is sent again until it is answered.
    pub(super) repeats: Repeats,
}

impl Kept {
    /// Its first attempt begins. Who keeps it sets how long that may be silent.
    pub(super) fn begin(
        &mut self,
        ingress: &Ingress,
        method: Method,
        backend: BackendId,
        now_ms: u64,
    ) {
        *self = Self {
            sent_ms: now_ms,
            ingress: *ingress,
            is_invite: method == Method::Invite,
            answers_itself: matches!(method, Method::Invite | Method::Register),
            attempts: [backend; TRIES_MAX],
            tried: 1,
            phase: Phase::Silent,
            cancelled: false,
            answer: None,
            failed_at: None,
            resends: false,
            interval_ms: 0,
            silences: [None; TRIES_MAX],
            has_word: false,
            repeats: Repeats::NONE,
            ..*self
        };
    }

    /// The backend of the current attempt.
    pub(in crate::proxy) fn current(&self) -> BackendId {
        self.attempts[usize::from(self.tried) - 1]
    }

    /// An abandoned attempt has answered first after all.
    pub(super) fn make_current(&mut self, backend: BackendId) {
        let last = usize::from(self.tried) - 1;
        if let Some(place) = self.attempts[..last].iter().position(|other| *other == backend) {
            self.attempts.swap(place, last);
            self.silences.swap(place, last);
            self.repeats.swap(place, last);
        }
    }

    /// Which attempt went to this backend.
    pub(super) fn attempt_at(&self, backend: BackendId) -> Option<usize> {
        self.tried().iter().position(|other| *other == backend)
    }

    /// The INVITE at this backend has its final response: its CANCEL need not be repeated.
    pub(super) fn end_cancel(&mut self, backend: BackendId) {
        if let Some(attempt) = self.attempt_at(backend) {
            self.repeats.end_cancel(attempt);
        }
    }

    /// The backends that were tried.
    pub(in crate::proxy) fn tried(&self) -> &[BackendId] {
        &self.attempts[..usize::from(self.tried)]
    }

    /// Whether an attempt may follow.
    pub(super) fn may_try_again(&self, tries: u8) -> bool {
        self.has_copy() && !self.cancelled && self.phase < Phase::Ringing && self.tried < tries
    }

    /// Whether it can be sent again.
    pub(super) fn has_copy(&self) -> bool {
        self.len > 0
    }
}

/// Slots, their bytes, and where each key is.
#[derive(Debug)]
pub(super) struct Table {
    entries: Vec<Kept>,
    copies: Vec<u8>,
    free: Vec<u32>,
    by_key: HashMap<TransactionKey, u32, ahash::RandomState>,
}

impl Table {
    pub(super) fn new(slots: usize) -> Self {
        let nowhere = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        let ingress =
            Ingress { source: nowhere, socket: SocketIndex(0), replaced: Replaced::Unasked };
        let empty = Kept {
            key: TransactionKey(0),
            generation: 0,
            used: false,
            queued: false,
            ingress,
            len: 0,
            is_invite: false,
            answers_itself: false,
            attempts: [BackendId(0); TRIES_MAX],
            tried: 1,
            phase: Phase::Answered,
            cancelled: false,
            answer: None,
            failed_at: None,
            resends: false,
            interval_ms: 0,
            sent_ms: 0,
            silent_until_ms: 0,
            silences: [None; TRIES_MAX],
            has_word: false,
            wake_ms: 0,
            repeats: Repeats::NONE,
        };
        // The keys are keyed hashes already; this one only spreads them.
        let hasher = ahash::RandomState::with_seeds(1, 2, 3, 4);
        Self {
            entries: vec![empty; slots],
            copies: vec![0; slots * COPY_MAX],
            free: (0..slots as u32).rev().collect(),
            // Twice the room: removals leave marks, and the map must not grow for them.
            by_key: HashMap::with_capacity_and_hasher(2 * slots, hasher),
        }
    }

    /// Takes a slot and copies the bytes, [`COPY_MAX`] at most, into it.
    pub(super) fn insert(&mut self, key: TransactionKey, bytes: &[u8]) -> Option<KeptSlot> {
        let index = self.free.pop()?;
        let start = index as usize * COPY_MAX;
        self.copies[start..start + bytes.len()].copy_from_slice(bytes);
        self.by_key.insert(key, index);
        let entry = &mut self.entries[index as usize];
        entry.generation = entry.generation.wrapping_add(1);
        (entry.used, entry.queued) = (true, false);
        (entry.key, entry.len) = (key, bytes.len());
        Some(KeptSlot { index, generation: entry.generation })
    }

    pub(super) fn find(&self, key: TransactionKey) -> Option<KeptSlot> {
        self.by_key.get(&key).map(|index| self.slot(*index))
    }

    /// The slot of this number, as it is used now.
    pub(super) fn slot(&self, index: u32) -> KeptSlot {
        KeptSlot { index, generation: self.entries[index as usize].generation }
    }

    /// Whether the request of this slot is still kept.
    pub(super) fn is_kept(&self, slot: KeptSlot) -> bool {
        let entry = &self.entries[slot.index as usize];
        entry.used && entry.generation == slot.generation
    }

    pub(super) fn remove(&mut self, slot: KeptSlot) {
        let entry = &mut self.entries[slot.index as usize];
        entry.used = false;
        self.by_key.remove(&entry.key);
        self.free.push(slot.index);
    }

    pub(super) fn get(&self, slot: KeptSlot) -> &Kept {
        &self.entries[slot.index as usize]
    }

    pub(super) fn entry(&mut self, slot: KeptSlot) -> &mut Kept {
        &mut self.entries[slot.index as usize]
    }

    /// Kept requests.
    pub(super) fn len(&self) -> usize {
        self.by_key.len()
    }

    /// Slots, used or not.
    pub(super) fn capacity(&self) -> u32 {
        self.entries.len() as u32
    }

    pub(super) fn lend_copies(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.copies)
    }

    pub(super) fn take_back_copies(&mut self, copies: Vec<u8>) {
        self.copies = copies;
    }

    /// Where the bytes of a slot stand in the copies.
    pub(super) fn range(&self, slot: KeptSlot) -> Range<usize> {
        let start = slot.index as usize * COPY_MAX;
        start..start + self.get(slot).len
    }
}
