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

mod slot;
#[cfg(test)]
mod tests;

use super::Now;
use super::counts::Counts;
use super::pin::PinKey;
use super::slots::{Probe, Slots, Sweep};
use crate::pool::BackendId;
use slot::{KEY_STEP, Transaction};

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
    /// The changes of the signing key, times [`KEY_STEP`].
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
                self.slots.at_mut(at).repeat(counts, sent.backend, now);
                return Came::Again;
            }
            Probe::Found(at) => {
                self.forget(counts, at);
                return self.request(counts, key, sent, now);
            }
            Probe::Vacant(_) if self.open >= self.open_max => return Came::Untracked,
            Probe::Vacant(at) => at,
        };
        let one = Transaction::new(key, sent, self.key_mark, now);
        one.count_in(counts);
        self.slots.put(at, one);
        self.open += 1;
        Came::New
    }

    /// One that ran out and was not swept yet.
    #[cold]
    fn forget(&mut self, counts: &mut Counts, at: usize) {
        self.count_out(counts, at);
        self.slots.remove(at);
    }

    /// A response is forwarded upstream: the backend of its attempt, its status, whether it is to an
    /// INVITE.
    #[inline]
    pub(super) fn response(
        &mut self,
        counts: &mut Counts,
        key: TransactionKey,
        response: (BackendId, u16, bool),
        now: Now,
    ) -> Heard {
        let Some(at) = self.slots.find(key) else { return Heard::default() };
        let one = self.slots.at_mut(at);
        if one.is_closed() || !one.is_live(now.seconds()) {
            return Heard::default();
        }
        let heard = one.hear(response, now);
        let (_, status, _) = response;
        if status >= 200 {
            self.end(counts, at, now);
        }
        heard
    }

    /// What begins from now on is signed with another key.
    pub(super) fn begin_key(&mut self) {
        self.key_mark = self.key_mark.wrapping_add(KEY_STEP);
    }

    /// How often [`Transactions::begin_key`] was called since a transaction began; 0 if it is not known.
    #[inline]
    pub(super) fn key_changes(&self, key: TransactionKey) -> usize {
        let one = self.slots.find(key).map(|at| self.slots.at(at));
        one.map_or(0, |one| one.key_changes(self.key_mark))
    }

    /// Whether it is there, and its time is not over: its request was forwarded already.
    pub(super) fn is_live(&self, key: TransactionKey, now: Now) -> bool {
        self.slots.find(key).is_some_and(|at| self.slots.at(at).is_live(now.seconds()))
    }

    /// The backend that a request went to, last. `None`: it is not tracked, or it came from a backend.
    pub(super) fn backend(&self, key: TransactionKey) -> Option<BackendId> {
        self.slots.find(key).and_then(|at| self.slots.at(at).server())
    }

    /// When the request was sent to the backend of an attempt; of one that was abandoned no more is
    /// known than when the request came. `None`: it is not tracked, or no more.
    pub(super) fn sent(&self, key: TransactionKey, backend: BackendId, now: Now) -> Option<Now> {
        self.slots.find(key).map(|at| self.slots.at(at).sent(backend, now))
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
        self.slots.at_mut(at).moved(counts, backend, now);
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
            if expired && !one.is_closed() {
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
        let open: Vec<_> = self.slots.iter().filter(|one| !one.is_closed()).collect();
        open.iter().for_each(|one| one.count_in(&mut walked));
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
        self.slots.at_mut(at).close(now);
    }

    /// An open one is counted out; a closed one was.
    fn count_out(&mut self, counts: &mut Counts, at: usize) {
        let one = self.slots.at(at);
        if !one.is_closed() {
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
