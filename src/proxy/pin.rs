//! Pins: which backend each Call-ID went to, for as long as that must not change.
//!
//! They make a stateless proxy legal while the pool changes (RFC 3261 16.11): what is in flight, a
//! registration, a dialog stays where it is. One pin serves all dialogs of a Call-ID (forks).
//!
//! # What a pin goes through
//!
//! ```text
//!            insert_or_refresh            confirm (2xx)              end (BYE)
//!  (nothing) -----------------> Invite ------------------> Dialog ------------> Transaction
//!                 |               | fail (300 to 699)        ^                      |
//!                 |               v                          '----------------------'
//!                 |--------> Transaction                       revive (a fork's traffic)
//!                 '--------> Registration
//! ```
//!
//! A refresh lifts a pin to a higher class (in the order of [`Class`]) or leaves its class as it
//! is: a retransmitted INVITE does not turn a dialog into a transaction. Only `end` and `fail`
//! lower it. A dialog is counted once, when a pin becomes [`Class::Dialog`], and counted out once,
//! when it stops being one, for whatever reason; so the counts are the number of such pins, always.
//!
//! # The table
//!
//! Fixed capacity, made at start; nothing is allocated later and nothing is evicted. A
//! pin that ran out is not found any more, and its place is free once the hand of
//! [`PinTable::sweep`] has come by. Time is in whole seconds: a pin lives as long as its class
//! says, and up to a second longer.

mod slot;
#[cfg(test)]
mod tests;

use super::Settings;
use super::counts::Counts;
pub use super::slots::Sweep;
use super::slots::{Entry, Probe, Slots};
use crate::pool::BackendId;
use ahash::RandomState;
use siphasher::sip::SipHasher24;
use slot::{Attempt, Slot, Stage};
use std::ops::Range;

/// A transaction's pin, seconds: 64*T1 (RFC 3261 17.1.1.1), after which nobody retransmits.
pub const TRANSACTION_S: u32 = 32;

/// The pin of an INVITE without a final response, seconds: more than timer C, which is over 3
/// minutes (RFC 3261 16.6 item 11).
pub const INVITE_S: u32 = 200;

/// What a pin is kept for, the lowest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// A request and its retransmissions: [`TRANSACTION_S`].
    Transaction,
    /// An INVITE that has no final response yet: [`INVITE_S`].
    Invite,
    /// A registration or subscription: [`Idle::registration_s`].
    Registration,
    /// A confirmed dialog: [`Idle::dialog_s`].
    Dialog,
}

/// How long pins without traffic are kept, each [`crate::limits::IDLE_S_MAX`] at most.
#[derive(Clone, Copy, Debug)]
pub struct Idle {
    /// Registrations and subscriptions, seconds.
    pub registration_s: u32,
    /// Confirmed dialogs, seconds.
    pub dialog_s: u32,
}

impl Idle {
    /// What the settings say.
    pub(super) fn of(settings: &Settings) -> Self {
        Self { registration_s: settings.registration_idle_s, dialog_s: settings.dialog_idle_s }
    }
}

/// 64 bits that stand for a Call-ID in one table, never 0. That a new Call-ID has the key of one of
/// 10 million others happens once in 10^12 times. Both calls then share one pin: both go to its backend,
/// one of them is not counted, a BYE of either leaves the other what a transaction has (32 s), and a
/// failover moves both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PinKey(u64);

/// What the table knows of a Call-ID.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pin {
    /// Where its requests go.
    pub backend: BackendId,
    /// What it is kept for.
    pub class: Class,
}

/// What became of an insertion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A new pin.
    Inserted,
    /// The pin was there: now with this backend, and its time begins anew.
    Refreshed,
    /// No room: the call goes on without a pin. The caller counts it.
    Full,
}

/// The pins of one shard.
pub struct PinTable {
    slots: Slots<Slot, 4>,
    /// Those of the shard: dialogs and calls change with the pins, and only with them.
    counts: Counts,
    idle: Idle,
    hash: RandomState,
}

impl PinTable {
    /// A table for up to `pins_max` pins. `keys` are random and for this table alone:
    /// without them nobody can aim at a collision.
    ///
    /// All memory is taken here: [`PinTable::bytes`], and about 500 KB for the counts.
    pub fn new(pins_max: usize, idle: Idle, keys: [u64; 4]) -> Self {
        let [k0, k1, k2, k3] = [0, 1, 2, 3].map(|number| derived(keys, number));
        let hash = RandomState::with_seeds(k0, k1, k2, k3);
        Self { slots: Slots::new(pins_max, 2 * pins_max), counts: Counts::new(), idle, hash }
    }

    /// How long pins are kept from their next traffic on.
    pub fn set_idle(&mut self, idle: Idle) {
        self.idle = idle;
    }

    /// The key of a Call-ID. Make it once per message.
    #[inline]
    pub fn key(&self, call_id: &[u8]) -> PinKey {
        PinKey(self.hash.hash_one(call_id).max(1))
    }

    /// Asks for the memory of this Call-ID's pin. A table of many pins is in no cache: what stands
    /// between this and [`PinTable::find`] is done while it comes.
    #[inline]
    pub fn fetch(&self, key: PinKey) {
        self.slots.fetch(key);
    }

    /// The pin of this Call-ID, if it has not run out.
    #[inline]
    pub fn find(&self, key: PinKey, now_s: u32) -> Option<Pin> {
        let slot = self.slots.find(key).map(|at| self.slots.at(at))?;
        slot.is_live(now_s).then(|| Pin { backend: slot.backend, class: slot.stage().class() })
    }

    /// Pins the Call-ID to this backend, or refreshes its pin: its class becomes the higher of the
    /// two, its backend the given one (a token or a failover may have moved it), its time begins
    /// anew.
    pub fn insert_or_refresh(
        &mut self,
        key: PinKey,
        backend: BackendId,
        class: Class,
        now_s: u32,
    ) -> Outcome {
        let stage = Stage::of(class);
        let at = match self.slots.probe(key) {
            Probe::Found(at) if self.slots.at(at).is_live(now_s) => {
                self.change(at, stage, Some(backend), now_s);
                return Outcome::Refreshed;
            }
            Probe::Found(at) => at,
            Probe::Vacant(_) if self.slots.is_full() => return Outcome::Full,
            Probe::Vacant(at) => at,
        };
        let new = Slot::new(key, backend, stage, now_s, self.lifetime_s(stage));
        let old = self.slots.put(at, new);
        recount(&mut self.counts, &old, &new);
        Outcome::Inserted
    }

    /// A 2xx to an INVITE: the pin is of a dialog from now on. After an `end` it is only refreshed:
    /// a 2xx repeated across the BYE begins nothing. False if there is no pin.
    pub fn confirm(&mut self, key: PinKey, now_s: u32) -> bool {
        let Some(at) = self.live(key, now_s) else { return false };
        let stage = match self.slots.at(at).stage() {
            Stage::Ended => Stage::Ended,
            _ => Stage::Dialog,
        };
        self.change(at, stage, None, now_s);
        true
    }

    /// Traffic that tells nothing of a dialog: the pin's time begins anew. False if there is no pin.
    pub fn touch(&mut self, key: PinKey, now_s: u32) -> bool {
        let Some(at) = self.live(key, now_s) else { return false };
        let stage = self.slots.at(at).stage();
        self.change(at, stage, None, now_s);
        true
    }

    /// A BYE (or what else ends a dialog): the pin stays for one more transaction. A pin of no
    /// dialog is left alone. False if there is no pin.
    pub fn end(&mut self, key: PinKey, now_s: u32) -> bool {
        let Some(at) = self.live(key, now_s) else { return false };
        if matches!(self.slots.at(at).stage(), Stage::Dialog | Stage::Ended) {
            self.lower(at, Stage::Ended, now_s);
        }
        true
    }

    /// Traffic inside a dialog. After an `end` there is another dialog then with this Call-ID, of a
    /// fork: the pin is of a dialog again. Any other pin is only refreshed. False if there is no
    /// pin.
    pub fn revive(&mut self, key: PinKey, now_s: u32) -> bool {
        let Some(at) = self.live(key, now_s) else { return false };
        let stage = match self.slots.at(at).stage() {
            Stage::Ended => Stage::Dialog,
            stage => stage,
        };
        self.change(at, stage, None, now_s);
        true
    }

    /// A failing final response (300 to 699) to an INVITE: its pin stays for one more transaction.
    /// Any other pin is left alone: a failed re-INVITE ends no dialog. False if there is no pin.
    pub fn fail(&mut self, key: PinKey, now_s: u32) -> bool {
        let Some(at) = self.live(key, now_s) else { return false };
        if self.slots.at(at).stage() == Stage::Invite {
            self.lower(at, Stage::Transaction, now_s);
        }
        true
    }

    /// The pin was inserted for an INVITE that begins a call: its result is awaited.
    pub fn begin_attempt(&mut self, key: PinKey) {
        if let Some(at) = self.slots.find(key) {
            self.slots.at_mut(at).set_attempt(Attempt::Open);
        }
    }

    /// The INVITE of the call again. Only after a challenge a result is awaited once more: a
    /// retransmission makes its final response come again too, and that is none.
    pub fn repeat_attempt(&mut self, key: PinKey) {
        if let Some(at) = self.slots.find(key) {
            let slot = self.slots.at_mut(at);
            if slot.attempt() == Attempt::Challenged {
                slot.set_attempt(Attempt::Open);
            }
        }
    }

    /// A final response to the INVITE. True if it is the result that was awaited. Call it before
    /// [`PinTable::confirm`] and [`PinTable::fail`], in any case before the pin runs out.
    pub fn settle_attempt(&mut self, key: PinKey, challenge: bool, now_s: u32) -> bool {
        let Some(at) = self.live(key, now_s) else { return false };
        let slot = self.slots.at_mut(at);
        let awaited = slot.attempt() == Attempt::Open;
        if awaited {
            slot.set_attempt(if challenge { Attempt::Challenged } else { Attempt::Settled });
        }
        awaited
    }

    /// Looks at so many slots (a whole round at most) and frees those that ran out; returns how many.
    /// A table is gone round once in [`PinTable::slots`] / [`Sweep::looks`] calls: choose them so that
    /// this takes a few seconds, since a full table waits for it.
    pub fn sweep(&mut self, now_s: u32, most: Sweep) -> usize {
        let Self { slots: table, counts, .. } = self;
        table.sweep(most, |slot| {
            let expired = !slot.is_live(now_s);
            if expired {
                recount(counts, slot, &Slot::EMPTY);
            }
            expired
        })
    }

    /// Pins in use. Those that ran out count until they are swept.
    pub fn pins(&self) -> usize {
        self.slots.used()
    }

    /// Pins at most.
    pub fn pins_max(&self) -> usize {
        self.slots.used_max()
    }

    /// Slots: twice as many as pins at most, so that a search seldom leaves its cache line.
    pub fn slots(&self) -> usize {
        self.slots.count()
    }

    /// Bytes of the slots: 32 for each of the pins at most.
    pub fn bytes(&self) -> usize {
        self.slots.bytes()
    }

    /// Where the slots stand, as addresses: for huge pages. They have been written to.
    pub fn memory(&self) -> Range<usize> {
        self.slots.memory()
    }

    /// All that is counted in this shard.
    pub(super) fn counts(&self) -> &Counts {
        &self.counts
    }

    /// For what is counted beside the pins.
    pub(super) fn counts_mut(&mut self) -> &mut Counts {
        &mut self.counts
    }

    /// Walks the whole table: for tests and simulations.
    ///
    /// # Panics
    /// If the table has lost its order, or its counts are not what it holds.
    pub fn check_invariants(&self) {
        self.slots.check_invariants();
        let mut counts = self.counts.like();
        for slot in self.slots.iter() {
            recount(&mut counts, &Slot::EMPTY, slot);
        }
        self.counts.check_pins(&counts);
    }

    fn live(&self, key: PinKey, now_s: u32) -> Option<usize> {
        self.slots.find(key).filter(|at| self.slots.at(*at).is_live(now_s))
    }

    /// Lifts the stage, sets the backend, begins the time of a live pin anew; never shortens it.
    fn change(&mut self, at: usize, stage: Stage, backend: Option<BackendId>, now_s: u32) {
        let old = *self.slots.at(at);
        let new_stage = old.stage().max(stage);
        let lifetime_s = self.lifetime_s(new_stage).max(self.lifetime_s(stage));
        let slot = self.slots.at_mut(at);
        slot.set_stage(new_stage, now_s, lifetime_s.max(old.rest_s(now_s)));
        slot.backend = backend.unwrap_or(old.backend);
        let new = *slot;
        recount(&mut self.counts, &old, &new);
    }

    /// Lowers the stage to one that lives for a transaction.
    fn lower(&mut self, at: usize, stage: Stage, now_s: u32) {
        let old = *self.slots.at(at);
        let slot = self.slots.at_mut(at);
        slot.set_stage(stage, now_s, TRANSACTION_S);
        let new = *slot;
        recount(&mut self.counts, &old, &new);
    }

    fn lifetime_s(&self, stage: Stage) -> u32 {
        match stage.class() {
            Class::Transaction => TRANSACTION_S,
            Class::Invite => INVITE_S,
            Class::Registration => self.idle.registration_s,
            Class::Dialog => self.idle.dialog_s,
        }
    }
}

/// A slot has changed.
#[inline]
fn recount(counts: &mut Counts, old: &Slot, new: &Slot) {
    let (was, is) = ((old.stage().held(), old.backend), (new.stage().held(), new.backend));
    if was != is {
        counts.release(was.1, was.0);
        counts.hold(is.1, is.0);
    }
}

impl std::fmt::Debug for PinTable {
    /// Without the keys, and without millions of slots.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PinTable")
            .field("pins", &self.pins())
            .field("pins_max", &self.pins_max())
            .field("dialogs", &self.counts.dialogs())
            .finish_non_exhaustive()
    }
}

/// One of the seeds of the hash, out of the four keys.
fn derived(keys: [u64; 4], number: u64) -> u64 {
    let mut input = [0; 24];
    for (bytes, word) in input.chunks_exact_mut(8).zip([number, keys[2], keys[3]]) {
        bytes.copy_from_slice(&word.to_le_bytes());
    }
    SipHasher24::new_with_keys(keys[0], keys[1]).hash(&input)
}
