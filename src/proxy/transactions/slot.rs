//! A transaction as it stands in its slot: what is remembered of it, and what a response makes of that.

use super::{Heard, Sent, Timing, TransactionKey};
use crate::pool::BackendId;
use crate::proxy::Now;
use crate::proxy::counts::Counts;
use crate::proxy::pin::{INVITE_S, TRANSACTION_S};
use crate::proxy::slots::Entry;

/// A closed one lives so long, seconds: the caller's first retransmissions come within one.
const LINGER_S: u32 = 2;

/// One transaction, or an empty slot.
#[derive(Clone, Copy)]
pub(super) struct Transaction {
    /// 0: empty.
    key: u64,
    /// When its request came for the first time: the lower half of the clock, which comes round in 71
    /// minutes.
    start_us: u32,
    /// From then to its first response upstream; see [`HEARD`].
    heard_us: u32,
    /// From then to its current attempt.
    attempt_us: u32,
    /// The last second in which it is live.
    expires_s: u32,
    backend: BackendId,
    /// What it counts for, hundredths.
    work: u16,
    /// Retransmissions of its request.
    again: u8,
    marks: u8,
}

const _: () = assert!(size_of::<Transaction>() == 32);

/// The backend is its server; else a client is.
const TO_BACKEND: u8 = 1;
/// Its first response has come.
const FIRST: u8 = 1 << 1;
/// An INVITE outside a dialog that nobody has answered with 180 or more.
const SETS_UP: u8 = 1 << 2;
/// Its call has no pin, and its result is awaited here.
const AWAITED: u8 = 1 << 3;
/// Its final response has come.
const CLOSED: u8 = 1 << 4;
/// A response of whatever attempt has gone upstream.
const HEARD: u8 = 1 << 5;
/// Two bits that count the changes of the signing key: as they were when it began.
const KEY: u8 = 3 << KEY_AT;
const KEY_AT: u8 = 6;
/// What a change adds to them.
pub(super) const KEY_STEP: u8 = 1 << KEY_AT;

impl Entry for Transaction {
    type Key = TransactionKey;

    const EMPTY: Self = Self {
        key: 0,
        start_us: 0,
        heard_us: 0,
        attempt_us: 0,
        expires_s: 0,
        backend: BackendId(0),
        work: 0,
        again: 0,
        marks: 0,
    };

    #[inline]
    fn is_empty(&self) -> bool {
        self.key == 0
    }

    #[inline]
    fn key(&self) -> TransactionKey {
        TransactionKey(self.key)
    }

    #[inline]
    fn place(key: TransactionKey) -> u64 {
        key.0
    }
}

impl Transaction {
    /// An open one. `key_mark` is the changes of the signing key until now, times [`KEY_STEP`].
    pub(super) fn new(key: TransactionKey, sent: &Sent, key_mark: u8, now: Now) -> Self {
        let mark = |is: bool, mark: u8| if is { mark } else { 0 };
        Self {
            key: key.0,
            start_us: now.us as u32,
            heard_us: 0,
            attempt_us: 0,
            expires_s: now.seconds().saturating_add(TRANSACTION_S),
            backend: sent.backend,
            work: sent.work,
            again: 0,
            marks: key_mark
                | mark(sent.to_backend, TO_BACKEND)
                | mark(sent.begins_call, SETS_UP)
                | mark(sent.unpinned, AWAITED),
        }
    }

    #[inline]
    pub(super) fn is_live(&self, now_s: u32) -> bool {
        now_s <= self.expires_s
    }

    /// The backend that it is at now; `None`: it came from one.
    pub(super) fn server(&self) -> Option<BackendId> {
        self.is(TO_BACKEND).then_some(self.backend)
    }

    /// Its final response has come.
    #[inline]
    pub(super) fn is_closed(&self) -> bool {
        self.is(CLOSED)
    }

    /// How many changes of the signing key, which are `key_mark` by now, it has seen: 4 look like none.
    #[inline]
    pub(super) fn key_changes(&self, key_mark: u8) -> usize {
        usize::from(key_mark.wrapping_sub(self.marks & KEY) >> KEY_AT)
    }

    /// A retransmission. Wherever it goes now, the transaction goes with it.
    #[cold]
    pub(super) fn repeat(&mut self, counts: &mut Counts, backend: BackendId, now: Now) {
        self.again = self.again.saturating_add(1);
        self.live_on(if self.is_closed() { LINGER_S } else { TRANSACTION_S }, now);
        if self.backend != backend {
            self.move_to(counts, backend, now);
        }
    }

    /// A failover: its request goes to another backend from now on.
    pub(super) fn moved(&mut self, counts: &mut Counts, backend: BackendId, now: Now) {
        if self.move_to(counts, backend, now) {
            self.live_on(TRANSACTION_S, now);
        }
    }

    /// A response to an open one is forwarded upstream.
    #[inline]
    pub(super) fn hear(
        &mut self,
        (backend, status, is_invite): (BackendId, u16, bool),
        now: Now,
    ) -> Heard {
        let total_us = self.age_us(now);
        if !self.is(HEARD) {
            self.heard_us = total_us;
            self.marks |= HEARD;
        }
        let timing = Timing {
            total_us,
            heard_us: self.heard_us,
            attempt_us: total_us - self.attempt_us.min(total_us),
            first: !self.is(FIRST),
            last: status >= 200,
            sets_up: self.is(SETS_UP) && (180..300).contains(&status),
            retransmissions: self.again,
        };
        let current = self.backend == backend;
        if current {
            self.marks |= FIRST;
        }
        if status >= 180 {
            self.marks &= !SETS_UP;
        }
        if status < 200 && is_invite {
            self.live_on(INVITE_S, now);
        }
        let awaited = status >= 200 && self.is(AWAITED);
        Heard { timing: current.then_some(timing), awaited }
    }

    /// When its request was sent to this backend; to one that was abandoned, when it came.
    pub(super) fn sent(&self, backend: BackendId, now: Now) -> Now {
        let attempt_us = if self.backend == backend { self.attempt_us } else { 0 };
        let age_us = u64::from(self.age_us(now).saturating_sub(attempt_us));
        Now { us: now.us.saturating_sub(age_us) }
    }

    /// It stays for its retransmissions alone.
    pub(super) fn close(&mut self, now: Now) {
        self.marks |= CLOSED;
        self.expires_s = now.seconds().saturating_add(LINGER_S);
    }

    /// What its backend has to do is counted.
    pub(super) fn count_in(&self, counts: &mut Counts) {
        if self.is(TO_BACKEND) {
            counts.open(self.backend, self.work);
        }
    }

    /// And no more.
    pub(super) fn count_out(&self, counts: &mut Counts) {
        if self.is(TO_BACKEND) {
            counts.close(self.backend, self.work);
        }
    }

    #[inline]
    fn is(&self, mark: u8) -> bool {
        self.marks & mark != 0
    }

    fn age_us(&self, now: Now) -> u32 {
        (now.us as u32).wrapping_sub(self.start_us)
    }

    /// For so many seconds at least.
    fn live_on(&mut self, seconds: u32, now: Now) {
        self.expires_s = self.expires_s.max(now.seconds().saturating_add(seconds));
    }

    /// False if there is nothing to count: it is closed, or a client's to answer.
    fn move_to(&mut self, counts: &mut Counts, backend: BackendId, now: Now) -> bool {
        let counted = self.is(TO_BACKEND) && !self.is_closed();
        if counted {
            self.count_out(counts);
            self.backend = backend;
            self.count_in(counts);
            self.attempt_us = self.age_us(now);
            self.marks &= !FIRST;
        }
        counted
    }
}
