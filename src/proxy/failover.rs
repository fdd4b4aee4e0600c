//! Failover: requests outside a dialog are kept until a response above 100, and tried at another
//! backend after a 503, a transport error or silence (RFC 3261 16.7 item 6, 16.9; RFC 3263 4.3).
//!
//! This is the one transaction layer (RFC 3261 17, RFC 6026) of a balancer that is stateless
//! otherwise. It remembers a request that is under way, in a table of fixed size:
//!
//! ```text
//!            100                     above 100
//!  Silent ---------> Proceeding ------------------> (forgotten; after a failover Ringing, Answered)
//!    | silence, 503,     | 503
//!    | transport error   |
//!    '----> Retry <------'   next backend, or the failure goes upstream
//! ```
//!
//! After a failover the entry stays for 64*T1: it knows which attempts were abandoned, whose late
//! responses must not reach the caller. Never a new attempt after a CANCEL (RFC 3261 9.1).
//!
//! Who stays silent is told ([`Failover::take_silent`], `silence`), whether or not another attempt follows: so
//! a request that cannot be tried again is watched too, without its bytes.

mod kept;
mod recent;
mod repeats;
mod silence;
mod wheel;

use super::reason::{Answer, FailoverCause as Cause, Method};
use super::transactions::TransactionKey;
use super::{Ingress, Silent};
use crate::pool::BackendId;
use kept::{Kept, Phase, Table};
use recent::Recent;
use std::collections::VecDeque;
use std::ops::Range;
use wheel::Wheel;

/// Attempts of one request at most, the first included.
pub const TRIES_MAX: usize = 4;

/// The longest request that is kept, bytes; a longer one is forwarded without failover, and watched.
pub const COPY_MAX: usize = 4096;

/// RFC 3261 17.1.1.1: T1, and how long an abandoned attempt may still answer (64*T1).
const T1_MS: u64 = 500;
const LINGER_MS: u64 = 64 * T1_MS;

/// When and how often another backend is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FailoverSettings {
    /// Attempts of one request, the first included, 1 (no failover) to [`TRIES_MAX`].
    pub tries: u8,
    /// How long a backend may say nothing at all, milliseconds.
    pub silence_ms: u32,
    /// Requests kept at once in this shard; beyond them requests go without failover.
    pub kept_max: usize,
}

/// The place of a kept request; good until the entry is forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct KeptSlot {
    index: u32,
    generation: u32,
}

/// What becomes of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It goes upstream.
    Forward,
    /// So does this 2xx, and the call is where it comes from.
    Adopt,
    /// A failing final that ends an attempt: ACKed where it is an INVITE's; another attempt follows
    /// if the entry says so ([`Work::Retry`]).
    Absorb(KeptSlot),
    /// A provisional of an abandoned attempt: it is cancelled.
    Cancel(KeptSlot),
}

/// What is to be done without a message having come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Work {
    /// Choose another backend and send.
    Retry(KeptSlot, Cause),
    /// Send the current attempt again (RFC 3261 17.1.1.2 timer A).
    Again(KeptSlot),
    /// Cancel this attempt, or repeat that (timer E).
    Cancel(KeptSlot, BackendId),
    /// Give our own answer again (timer G).
    Answer(KeptSlot, Answer),
}

/// The kept requests of a shard.
#[derive(Debug)]
pub(super) struct Failover {
    settings: FailoverSettings,
    table: Table,
    wheel: Wheel,
    recent: Recent,
    /// Attempts that met a 503.
    refusals: Recent,
    /// Work that is due now: a retry, an answer or CANCELs of each entry.
    work: VecDeque<Work>,
    /// Who was silent, to be told.
    silent: Vec<Silent>,
}

impl Failover {
    pub(super) fn new(settings: FailoverSettings) -> Self {
        let kept_max = settings.kept_max;
        Self {
            settings,
            table: Table::new(kept_max),
            wheel: Wheel::new(kept_max),
            recent: Recent::new(kept_max),
            refusals: Recent::new(kept_max),
            work: VecDeque::with_capacity((1 + TRIES_MAX) * kept_max),
            silent: Vec::with_capacity(kept_max),
        }
    }

    /// Takes other settings; the table keeps its size and what it holds.
    pub(super) fn configure(&mut self, settings: FailoverSettings) {
        self.settings = settings;
    }

    /// True if nothing is kept: then nothing here needs to be asked.
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.table.len() == 0
    }

    /// Keeps a request that goes to its first backend, unless it is one of a moment ago. False if it
    /// goes without the failover that it should have: there is no room for it.
    pub(super) fn keep(
        &mut self,
        key: TransactionKey,
        ingress: &Ingress,
        method: Method,
        backend: BackendId,
        bytes: &[u8],
        now_ms: u64,
    ) -> bool {
        if self.recent.has(key, now_ms) {
            return true;
        }
        let wanted = self.settings.tries > 1;
        let fits = bytes.len() <= COPY_MAX;
        let copy = if wanted && fits { bytes } else { &[] };
        let Some(slot) = self.table.insert(key, copy) else { return !wanted };
        let silent_until_ms = now_ms + u64::from(self.settings.silence_ms);
        let entry = self.table.entry(slot);
        entry.begin(ingress, method, backend, now_ms);
        entry.silent_until_ms = silent_until_ms;
        self.wake(slot, silent_until_ms);
        fits || !wanted
    }

    /// Where a transaction is kept.
    pub(super) fn find(&self, key: TransactionKey) -> Option<KeptSlot> {
        self.table.find(key)
    }

    /// Whether another attempt of it may follow.
    pub(super) fn may_retry(&self, slot: KeptSlot) -> bool {
        self.table.get(slot).may_try_again(self.settings.tries)
    }

    /// The backend of the current attempt.
    pub(super) fn current(&self, key: TransactionKey) -> Option<BackendId> {
        self.table.find(key).map(|slot| self.table.get(slot).current())
    }

    /// A CANCEL came: no attempt follows (RFC 3261 9.1).
    pub(super) fn cancelled(&mut self, key: TransactionKey) {
        if let Some(slot) = self.table.find(key) {
            self.table.entry(slot).cancelled = true;
        }
    }

    /// A 503 of this transaction from `backend`, kept or not: whether it is the first one in 64*T1.
    pub(super) fn is_first_refusal(
        &mut self,
        key: TransactionKey,
        backend: BackendId,
        now_ms: u64,
    ) -> bool {
        let attempt = key.at(backend);
        let is_first = !self.refusals.has(attempt, now_ms);
        self.refusals.note(attempt, now_ms);
        is_first
    }

    /// A response of the attempt at `backend`; `another`: one is left to try.
    pub(super) fn response(
        &mut self,
        key: TransactionKey,
        backend: BackendId,
        status: u16,
        another: bool,
        now_ms: u64,
    ) -> Fate {
        let Some(slot) = self.table.find(key) else { return Fate::Forward };
        if status >= 200 {
            self.table.entry(slot).end_cancel(backend);
        }
        self.has_word(slot, self.table.get(slot).attempt_at(backend));
        let entry = self.table.get(slot);
        let is_late = entry.tried > 1 && entry.current() != backend;
        if is_late || entry.answer.is_some() {
            return self.abandoned(slot, backend, status, now_ms);
        }
        match status {
            100 => {
                if entry.phase == Phase::Silent {
                    let entry = self.table.entry(slot);
                    (entry.phase, entry.resends) = (Phase::Proceeding, true);
                    self.wake(slot, now_ms + LINGER_MS);
                }
                Fate::Forward
            }
            503 if another && self.may_retry(slot) => {
                self.queue_retry(slot, Cause::Refused);
                Fate::Absorb(slot)
            }
            _ => {
                // The caller's CANCEL may have come to this backend before the request did.
                if entry.is_invite && entry.cancelled && entry.tried > 1 && status < 200 {
                    self.cancel(slot, backend, now_ms);
                }
                if status >= 300 {
                    self.table.entry(slot).failed_at = Some(backend);
                }
                let phase = if status < 200 { Phase::Ringing } else { Phase::Answered };
                self.heard(slot, phase, now_ms);
                Fate::Forward
            }
        }
    }

    /// A late response of an abandoned attempt: RFC 3261 16.7 item 5 forwards every 2xx to INVITE,
    /// and one that is the first answer at all; the rest ends here.
    fn abandoned(&mut self, slot: KeptSlot, backend: BackendId, status: u16, now_ms: u64) -> Fate {
        let is_first = self.table.get(slot).phase != Phase::Answered;
        if self.table.get(slot).phase != Phase::Silent {
            // It repeats its final response for 64*T1 from the first one on.
            self.wake(slot, now_ms + LINGER_MS);
        }
        let entry = self.table.get(slot);
        match status {
            ..=199 if entry.is_invite => match self.begins_cancel(slot, backend, now_ms) {
                true => Fate::Cancel(slot),
                false => Fate::Absorb(slot),
            },
            ..=199 => Fate::Absorb(slot),
            200..=299 if entry.is_invite || is_first => {
                if is_first && entry.is_invite {
                    let current = entry.current();
                    self.cancel(slot, current, now_ms);
                }
                // The other is the abandoned one now: no failure, of it or of ours, follows this 2xx.
                let entry = self.table.entry(slot);
                entry.make_current(backend);
                entry.answer = None;
                entry.repeats.end_answer();
                self.heard(slot, Phase::Answered, now_ms);
                Fate::Adopt
            }
            _ => Fate::Absorb(slot),
        }
    }

    /// The caller hears of this attempt: what never failed over is forgotten.
    fn heard(&mut self, slot: KeptSlot, phase: Phase, now_ms: u64) {
        let entry = self.table.entry(slot);
        if entry.tried == 1 {
            return self.let_go(slot, now_ms);
        }
        entry.phase = entry.phase.max(phase);
        self.wake(slot, now_ms + LINGER_MS);
    }

    /// A transport error towards these backends: every request that waits for the first word of one
    /// goes elsewhere at once (RFC 3261 16.9).
    pub(super) fn unreachable(&mut self, are_there: impl Fn(BackendId) -> bool) {
        if self.is_empty() {
            return;
        }
        for index in 0..self.table.capacity() {
            let slot = self.table.slot(index);
            let entry = self.table.get(slot);
            if !entry.used || entry.phase != Phase::Silent || !are_there(entry.current()) {
                continue;
            }
            if entry.has_copy() {
                self.queue_retry(slot, Cause::Unreachable);
            } else {
                self.forget(slot); // it says no more than this error does
            }
        }
    }

    /// Another attempt is to follow, or the failure to go upstream; once.
    fn queue_retry(&mut self, slot: KeptSlot, cause: Cause) {
        let entry = self.table.entry(slot);
        if !entry.queued && !entry.cancelled && entry.phase < Phase::Ringing {
            entry.queued = true;
            self.work.push_back(Work::Retry(slot, cause));
        }
    }

    /// What is to be done next, if anything.
    pub(super) fn next_work(&mut self, now_ms: u64) -> Option<Work> {
        loop {
            if let Some(work) = self.work.pop_front() {
                if self.is_still_due(work) {
                    return Some(work);
                }
                continue;
            }
            let slot = self.table.slot(self.wheel.due(now_ms)?);
            if let Some(work) = self.timeout(slot, now_ms) {
                return Some(work);
            }
        }
    }

    fn timeout(&mut self, slot: KeptSlot, now_ms: u64) -> Option<Work> {
        let entry = self.table.get(slot);
        if now_ms < entry.wake_ms {
            self.repeat(slot, now_ms);
            return None;
        }
        if entry.phase != Phase::Silent {
            self.let_go(slot, now_ms);
            return None;
        }
        if now_ms < entry.silent_until_ms {
            self.schedule(slot, now_ms);
            return Some(Work::Again(slot));
        }
        self.is_silent(slot);
        if self.may_retry(slot) {
            return Some(Work::Retry(slot, Cause::Silence));
        }
        self.tell_if_alone(slot);
        // The last attempt stays silent: the caller's own timer B or F ends it. What it may still
        // say goes upstream; what the others may say does not.
        self.heard(slot, Phase::Ringing, now_ms);
        None
    }

    /// The attempt at the next backend begins.
    pub(super) fn next_attempt(&mut self, slot: KeptSlot, backend: BackendId, now_ms: u64) {
        let entry = self.table.entry(slot);
        entry.attempts[usize::from(entry.tried)] = backend;
        entry.tried += 1;
        entry.phase = Phase::Silent;
        entry.sent_ms = now_ms;
        entry.silent_until_ms = now_ms + u64::from(self.settings.silence_ms);
        (entry.resends, entry.interval_ms) = (true, 0);
        entry.queued = false;
        self.schedule(slot, now_ms);
    }

    /// Wakes for the next retransmission of ours (timer A or E), or for the end of the silence.
    fn schedule(&mut self, slot: KeptSlot, now_ms: u64) {
        let entry = self.table.entry(slot);
        let mut wake_ms = entry.silent_until_ms;
        if entry.resends {
            entry.interval_ms = (entry.interval_ms * 2).max(T1_MS);
            wake_ms = wake_ms.min(now_ms + entry.interval_ms);
        }
        self.wake(slot, wake_ms);
    }

    /// No backend is left. Silence may be slowness: the caller's own timer decides, and the last
    /// attempt may still answer. Else the caller gets this `answer` now, and the entry lives on for
    /// abandoned attempts only. True: it does.
    pub(super) fn given_up(
        &mut self,
        slot: KeptSlot,
        cause: Cause,
        answer: Answer,
        now_ms: u64,
    ) -> bool {
        let entry = self.table.entry(slot);
        entry.queued = false;
        (entry.phase, entry.answer) = match cause {
            Cause::Silence => (Phase::Proceeding, None),
            Cause::Refused | Cause::Unreachable => (Phase::Answered, Some(answer)),
        };
        let is_answered = entry.answer.is_some();
        if is_answered && entry.is_invite {
            entry.repeats.begin_answer(now_ms);
        }
        self.tell_if_alone(slot);
        self.wake(slot, now_ms + LINGER_MS);
        is_answered
    }

    /// The backend whose failure of this INVITE went upstream, though the call may be elsewhere by now:
    /// an ACK there would pass for one of its 2xx.
    pub(super) fn failed_at(&self, key: TransactionKey) -> Option<BackendId> {
        self.table.find(key).and_then(|slot| self.table.get(slot).failed_at)
    }

    /// What we have answered a transaction ourselves: a retransmission gets the same.
    pub(super) fn own_answer(&self, key: TransactionKey) -> Option<Answer> {
        self.table.find(key).and_then(|slot| self.table.get(slot).answer)
    }

    /// The entry in a slot.
    pub(super) fn kept(&self, slot: KeptSlot) -> &Kept {
        self.table.get(slot)
    }

    /// Where its bytes stand in the copies.
    pub(super) fn range(&self, slot: KeptSlot) -> Range<usize> {
        self.table.range(slot)
    }

    /// Lends the copies out, so that the rest of the shard can be used while one is read.
    pub(super) fn lend_copies(&mut self) -> Vec<u8> {
        self.table.lend_copies()
    }

    /// Gives them back.
    pub(super) fn take_back_copies(&mut self, copies: Vec<u8>) {
        self.table.take_back_copies(copies);
    }

    /// It is over; its retransmissions are still known.
    fn let_go(&mut self, slot: KeptSlot, now_ms: u64) {
        self.recent.note(self.table.get(slot).key, now_ms);
        self.forget(slot);
    }

    /// Ends it without a trace.
    pub(super) fn forget(&mut self, slot: KeptSlot) {
        self.wheel.cancel(slot.index);
        self.table.remove(slot);
    }
}
