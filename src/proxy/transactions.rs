//! Requests that wait for their final response: what a backend has to do, and how soon it answers.
//!
//! Every request but ACK and CANCEL is remembered from its first forwarding to the first final response
//! (RFC 3261 17), in a table of fixed size:
//!
//! ```text
//!            request                   final response, our own answer
//!  (nothing) -------> open ------------------------------------------> closed ---> (nothing)
//!                      |  moved: failover to another backend             2 s
//!                      '--> (nothing): no word for 64*T1, or 200 s after a 1xx to an INVITE
//! ```
//!
//! A closed one is only there for its retransmissions: they open nothing. Open ones are counted for
//! their backend ([`Counts`]), in once and out once. What finds no room is not counted at all.

use super::Now;
use super::counts::Counts;
use super::pin::{INVITE_S, PinKey, TRANSACTION_S};
use super::slots::{Entry, Probe, Slots, Sweep};
use crate::pool::BackendId;

/// Identifies a transaction on the caller's side: equal for the request, its retransmissions, its
/// CANCEL and all responses to its attempts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct TransactionKey(pub(super) u64);

impl TransactionKey {
    /// That of its attempt at a backend.
    pub(super) fn at(self, backend: BackendId) -> Self {
        Self(self.0 ^ u64::from(backend.0).wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }
}

/// A closed one lives so long, seconds: the caller's first retransmissions come within one.
const LINGER_S: u32 = 2;

/// One transaction, or an empty slot.
#[derive(Clone, Copy)]
struct Transaction {
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
/// Toggled by each change of the signing key: that of its time.
const KEY: u8 = 1 << 7;

/// A request on its way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sent {
    /// Where its dialog is.
    pub(super) backend: BackendId,
    pub(super) to_backend: bool,
    /// Hundredths.
    pub(super) work: u16,
    /// An INVITE outside a dialog.
    pub(super) begins_call: bool,
    /// And its call has no pin.
    pub(super) unpinned: bool,
}

/// What a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Came {
    New,
    Again,
    /// New, or again: there was no room for it.
    Untracked,
}

/// What a response tells of the time that its request took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// Since the request came for the first time, microseconds.
    pub total_us: u32,
    /// Since it was sent to who answers now, microseconds: less than the other after a failover.
    pub attempt_us: u32,
    /// From when the request came for the first time until the caller got a first response, microseconds.
    pub heard_us: u32,
    /// It is the first word of who answers.
    pub first: bool,
    /// It is the first final one.
    pub last: bool,
    /// It is the first 18x or 2xx to an INVITE outside a dialog: the caller hears something (RFC 6076
    /// 4.3.1).
    pub sets_up: bool,
    /// How often the request was retransmitted until now, 255 at most.
    pub retransmissions: u8,
}

impl Timing {
    /// Time to the first response, microseconds, if this is it.
    pub fn first_us(&self) -> Option<u32> {
        self.first.then_some(self.attempt_us)
    }

    /// Time to the final response, microseconds, if this is it.
    pub fn final_us(&self) -> Option<u32> {
        self.last.then_some(self.attempt_us)
    }

    /// Time to the first 18x or 2xx of a call, microseconds, if this is it.
    pub fn setup_us(&self) -> Option<u32> {
        self.sets_up.then_some(self.total_us)
    }
}

/// A response, as it looks from its transaction.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Heard {
    /// `None` for a repeated response, and for one of an abandoned attempt.
    pub(super) timing: Option<Timing>,
    /// It is the result of a call that has no pin.
    pub(super) awaited: bool,
}

/// The transactions of a shard.
pub(super) struct Transactions {
    slots: Slots<Transaction, 2>,
    open: usize,
    open_max: usize,
    hash: ahash::RandomState,
    /// [`KEY`] of what begins now.
    key_mark: u8,
}

impl Transactions {
    /// Room for so many open ones, and for as many closed ones. `keys` are random.
    pub(super) fn new(open_max: usize, keys: [u64; 4]) -> Self {
        let hash = ahash::RandomState::with_seeds(!keys[0], !keys[1], !keys[2], !keys[3]);
        let slots = Slots::new(2 * open_max, 8 * open_max / 3);
        Self { slots, open: 0, open_max, hash, key_mark: 0 }
    }

    /// The key of a transaction; `None` for one without an RFC 3261 branch, which cannot be told from
    /// others. Asks for the memory of its slot: it is looked at soon, and mostly in no cache.
    #[inline]
    pub(super) fn key(
        &self,
        call: PinKey,
        cseq: u32,
        branch: Option<&[u8]>,
    ) -> Option<TransactionKey> {
        let branch = branch.filter(|branch| branch.len() > 7 && branch.starts_with(b"z9hG4bK"))?;
        let key = TransactionKey(self.hash.hash_one((call, cseq, branch)).max(1));
        self.slots.fetch(key);
        Some(key)
    }

    /// A request is forwarded.
    #[inline]
    pub(super) fn request(
        &mut self,
        counts: &mut Counts,
        key: TransactionKey,
        sent: &Sent,
        now: Now,
    ) -> Came {
        let at = match self.slots.probe(key) {
            Probe::Found(at) if self.slots.at(at).is_live(now.seconds()) => {
                self.repeat(counts, at, sent, now);
                return Came::Again;
            }
            Probe::Found(at) => {
                self.count_out(counts, at);
                self.slots.remove(at);
                return self.request(counts, key, sent, now);
            }
            Probe::Vacant(_) if self.open >= self.open_max => return Came::Untracked,
            Probe::Vacant(at) => at,
        };
        self.slots.put(at, Transaction::new(key, sent, self.key_mark, now));
        self.open += 1;
        if sent.to_backend {
            counts.open(sent.backend, sent.work);
        }
        Came::New
    }

    /// A retransmission. Wherever it goes now, the transaction goes with it.
    fn repeat(&mut self, counts: &mut Counts, at: usize, sent: &Sent, now: Now) {
        let one = self.slots.at_mut(at);
        one.again = one.again.saturating_add(1);
        let lives_s = if one.is(CLOSED) { LINGER_S } else { TRANSACTION_S };
        one.expires_s = one.expires_s.max(now.seconds().saturating_add(lives_s));
        if one.is(TO_BACKEND) && !one.is(CLOSED) && one.backend != sent.backend {
            one.move_to(counts, sent.backend, now);
        }
    }

    /// A response is forwarded upstream. `backend` is the one of its attempt.
    #[inline]
    pub(super) fn response(
        &mut self,
        counts: &mut Counts,
        key: TransactionKey,
        (backend, status, is_invite): (BackendId, u16, bool),
        now: Now,
    ) -> Heard {
        let Some(at) = self.slots.find(key) else { return Heard::default() };
        let one = self.slots.at_mut(at);
        if one.is(CLOSED) || !one.is_live(now.seconds()) {
            return Heard::default();
        }
        let total_us = one.age_us(now);
        if !one.is(HEARD) {
            one.heard_us = total_us;
            one.marks |= HEARD;
        }
        let timing = Timing {
            total_us,
            heard_us: one.heard_us,
            attempt_us: total_us - one.attempt_us.min(total_us),
            first: !one.is(FIRST),
            last: status >= 200,
            sets_up: one.is(SETS_UP) && (180..300).contains(&status),
            retransmissions: one.again,
        };
        let current = one.backend == backend;
        if current {
            one.marks |= FIRST;
        }
        if status >= 180 {
            one.marks &= !SETS_UP;
        }
        if status < 200 && is_invite {
            one.expires_s = one.expires_s.max(now.seconds().saturating_add(INVITE_S));
        }
        let awaited = status >= 200 && one.is(AWAITED);
        if status >= 200 {
            self.end(counts, at, now);
        }
        Heard { timing: current.then_some(timing), awaited }
    }

    /// What begins from now on is signed with another key.
    pub(super) fn begin_key(&mut self) {
        self.key_mark ^= KEY;
    }

    /// Whether a transaction has begun before the last [`Transactions::begin_key`].
    #[inline]
    pub(super) fn is_of_key_before(&self, key: TransactionKey) -> bool {
        let one = self.slots.find(key).map(|at| self.slots.at(at));
        one.is_some_and(|one| one.marks & KEY != self.key_mark)
    }

    /// When the request was sent to the backend of an attempt; of one that was abandoned no more is
    /// known than when the request came. `None`: it is not tracked, or no more.
    pub(super) fn sent(&self, key: TransactionKey, backend: BackendId, now: Now) -> Option<Now> {
        let one = self.slots.at(self.slots.find(key)?);
        let attempt_us = if one.backend == backend { one.attempt_us } else { 0 };
        let age_us = u64::from(one.age_us(now).saturating_sub(attempt_us));
        Some(Now { us: now.us.saturating_sub(age_us) })
    }

    /// The request goes to another backend from now on.
    pub(super) fn moved(
        &mut self,
        counts: &mut Counts,
        key: TransactionKey,
        backend: BackendId,
        now: Now,
    ) {
        let Some(at) = self.slots.find(key) else { return };
        let one = self.slots.at_mut(at);
        if one.is(TO_BACKEND) && !one.is(CLOSED) {
            one.move_to(counts, backend, now);
            one.expires_s = one.expires_s.max(now.seconds().saturating_add(TRANSACTION_S));
        }
    }

    /// It was answered by ourselves, or went nowhere.
    pub(super) fn close(&mut self, counts: &mut Counts, key: TransactionKey, now: Now) {
        if let Some(at) = self.slots.find(key) {
            self.end(counts, at, now);
        }
    }

    /// Looks at some slots and frees those that ran out; returns how many. A round of the hand is the
    /// longest that one is counted beyond its time.
    pub(super) fn sweep(&mut self, counts: &mut Counts, now_s: u32, most: Sweep) -> usize {
        let Self { slots, open, .. } = self;
        slots.sweep(most, |one| {
            let expired = !one.is_live(now_s);
            if expired && !one.is(CLOSED) {
                *open -= 1;
                one.count_out(counts);
            }
            expired
        })
    }

    /// True if nothing is remembered.
    pub(super) fn is_empty(&self) -> bool {
        self.slots.used() == 0
    }

    /// Slots, used or not.
    pub(super) fn slots(&self) -> usize {
        self.slots.count()
    }

    /// Panics if the table has lost its order, or the counts are not what it holds.
    pub(super) fn check_invariants(&self, counts: &Counts) {
        self.slots.check_invariants();
        let mut walked = counts.like();
        let open: Vec<_> = self.slots.iter().filter(|one| !one.is(CLOSED)).collect();
        let counted = open.iter().filter(|one| one.is(TO_BACKEND));
        counted.for_each(|one| walked.open(one.backend, one.work));
        counts.check_transactions(&walked);
        assert_eq!(self.open, open.len(), "open transactions are miscounted");
        assert!(self.open <= self.open_max);
    }

    fn end(&mut self, counts: &mut Counts, at: usize, now: Now) {
        self.count_out(counts, at);
        if self.slots.used() - self.open > self.open_max {
            self.slots.remove(at); // as many linger as there may be
            return;
        }
        let one = self.slots.at_mut(at);
        one.marks |= CLOSED;
        one.expires_s = now.seconds().saturating_add(LINGER_S);
    }

    /// An open one is counted out; a closed one was.
    fn count_out(&mut self, counts: &mut Counts, at: usize) {
        let one = self.slots.at(at);
        if !one.is(CLOSED) {
            self.open -= 1;
            one.count_out(counts);
        }
    }
}

impl std::fmt::Debug for Transactions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Transactions").field("open", &self.open).finish_non_exhaustive()
    }
}

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
    fn new(key: TransactionKey, sent: &Sent, key_mark: u8, now: Now) -> Self {
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
    fn is(&self, mark: u8) -> bool {
        self.marks & mark != 0
    }

    #[inline]
    fn is_live(&self, now_s: u32) -> bool {
        now_s <= self.expires_s
    }

    fn age_us(&self, now: Now) -> u32 {
        (now.us as u32).wrapping_sub(self.start_us)
    }

    fn move_to(&mut self, counts: &mut Counts, backend: BackendId, now: Now) {
        counts.close(self.backend, self.work);
        counts.open(backend, self.work);
        self.backend = backend;
        self.attempt_us = self.age_us(now);
        self.marks &= !FIRST;
    }

    fn count_out(&self, counts: &mut Counts) {
        if self.is(TO_BACKEND) {
            counts.close(self.backend, self.work);
        }
    }
}

#[cfg(test)]
mod tests;
