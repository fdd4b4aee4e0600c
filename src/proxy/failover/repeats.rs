//! What we send again until it is answered, as nobody else would: the CANCEL of an attempt (RFC 3261
//! 17.1.2.2, timer E) and our own failing final response to an INVITE (17.2.1, timer G). Both end after
//! 64*T1 (timers F and H).
//!
//! A CANCEL is repeated until its INVITE has a final response: the 200 to it has no Via but ours, and
//! does not tell whose it is.

use super::{Failover, KeptSlot, LINGER_MS, Phase, T1_MS, TRIES_MAX, Work};
use crate::pool::BackendId;
use crate::proxy::transactions::TransactionKey;

/// RFC 3261 17.1.2.2: T2, the longest interval.
const T2_MS: u64 = 4000;

/// What is repeated for one kept request. One clock serves all of it: what begins later begins it anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::proxy) struct Repeats {
    /// By attempt: its CANCEL.
    cancels: [bool; TRIES_MAX],
    answer: bool,
    interval_ms: u64,
    at_ms: u64,
    until_ms: u64,
}

impl Repeats {
    /// Nothing.
    pub(super) const NONE: Self =
        Self { cancels: [false; TRIES_MAX], answer: false, interval_ms: 0, at_ms: 0, until_ms: 0 };

    /// The CANCEL of an attempt leaves now. False: it did before, and is repeated.
    pub(super) fn begin_cancel(&mut self, attempt: usize, now_ms: u64) -> bool {
        let begins = !self.cancels[attempt];
        if begins {
            self.cancels[attempt] = true;
            self.begin(now_ms);
        }
        begins
    }

    /// Our own answer leaves now.
    pub(super) fn begin_answer(&mut self, now_ms: u64) {
        self.answer = true;
        self.begin(now_ms);
    }

    fn begin(&mut self, now_ms: u64) {
        self.interval_ms = T1_MS;
        (self.at_ms, self.until_ms) = (now_ms + T1_MS, now_ms + LINGER_MS);
    }

    /// The INVITE of this attempt has its final response.
    pub(super) fn end_cancel(&mut self, attempt: usize) {
        self.cancels[attempt] = false;
    }

    /// The answer was acknowledged, or counts no more.
    pub(super) fn end_answer(&mut self) {
        self.answer = false;
    }

    /// Two attempts change places.
    pub(super) fn swap(&mut self, one: usize, other: usize) {
        self.cancels.swap(one, other);
    }

    /// Whether the CANCEL of this attempt is repeated.
    pub(super) fn has_cancel(&self, attempt: usize) -> bool {
        self.cancels[attempt]
    }

    /// Whether our own answer is.
    pub(super) fn has_answer(&self) -> bool {
        self.answer
    }

    /// When something is to be sent again; `None`: nothing is.
    pub(super) fn due_ms(&self) -> Option<u64> {
        (self.answer || self.cancels.contains(&true)).then_some(self.at_ms)
    }

    /// True if all that is repeated is to be sent now. The next time is twice as far away, up to T2.
    pub(super) fn take_due(&mut self, now_ms: u64) -> bool {
        if now_ms >= self.until_ms {
            *self = Self::NONE;
        }
        let is_due = self.due_ms().is_some_and(|due_ms| due_ms <= now_ms);
        if is_due {
            self.interval_ms = (2 * self.interval_ms).min(T2_MS);
            self.at_ms = now_ms + self.interval_ms;
        }
        is_due
    }
}

impl Failover {
    /// An attempt is to be cancelled, until its INVITE has a final response.
    pub(super) fn cancel(&mut self, slot: KeptSlot, backend: BackendId, now_ms: u64) {
        if self.begins_cancel(slot, backend, now_ms) {
            self.work.push_back(Work::Cancel(slot, backend));
        }
    }

    /// False if this attempt is being cancelled already.
    pub(super) fn begins_cancel(
        &mut self,
        slot: KeptSlot,
        backend: BackendId,
        now_ms: u64,
    ) -> bool {
        let entry = self.table.entry(slot);
        let attempt = entry.attempt_at(backend);
        let begins = attempt.is_some_and(|attempt| entry.repeats.begin_cancel(attempt, now_ms));
        let wake_ms = entry.wake_ms;
        self.wake(slot, wake_ms);
        begins
    }

    /// The caller has our own answer.
    pub(in crate::proxy) fn acknowledged(&mut self, key: TransactionKey) {
        if let Some(slot) = self.table.find(key) {
            self.table.entry(slot).repeats.end_answer();
        }
    }

    /// Queues what is to be sent again by now.
    pub(super) fn repeat(&mut self, slot: KeptSlot, now_ms: u64) {
        let entry = self.table.entry(slot);
        if entry.repeats.take_due(now_ms) {
            for (attempt, backend) in entry.tried().iter().enumerate() {
                if entry.repeats.has_cancel(attempt) {
                    self.work.push_back(Work::Cancel(slot, *backend));
                }
            }
            if let Some(answer) = entry.answer.filter(|_| entry.repeats.has_answer()) {
                self.work.push_back(Work::Answer(slot, answer));
            }
        }
        let wake_ms = entry.wake_ms;
        self.wake(slot, wake_ms);
    }

    /// Wakes then, or before for what is to be sent again.
    pub(super) fn wake(&mut self, slot: KeptSlot, wake_ms: u64) {
        let entry = self.table.entry(slot);
        entry.wake_ms = wake_ms;
        let due_ms = entry.repeats.due_ms().unwrap_or(wake_ms);
        self.wheel.schedule(slot.index, wake_ms.min(due_ms));
    }

    /// Between queueing and doing, the request may have been answered.
    pub(super) fn is_still_due(&self, work: Work) -> bool {
        let (Work::Retry(slot, _)
        | Work::Again(slot)
        | Work::Cancel(slot, _)
        | Work::Answer(slot, _)) = work;
        let entry = self.table.get(slot);
        self.table.is_kept(slot)
            && match work {
                Work::Retry(..) => entry.phase < Phase::Ringing,
                Work::Again(_) => true,
                Work::Cancel(_, backend) => {
                    entry.attempt_at(backend).is_some_and(|one| entry.repeats.has_cancel(one))
                }
                Work::Answer(..) => entry.repeats.has_answer(),
            }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_due_after_t1_then_twice_as_late_up_to_t2_and_ends_after_64_t1() {
        let mut repeats = Repeats::NONE;
        assert_eq!(repeats.due_ms(), None);
        assert!(repeats.begin_cancel(1, 1000));
        assert!(!repeats.begin_cancel(1, 1100), "it goes on as it was");
        assert!(!repeats.take_due(1499));
        let due: Vec<_> = (1499..40_000).filter(|now_ms| repeats.take_due(*now_ms)).collect();
        assert_eq!(due[..5], [1500, 2500, 4500, 8500, 12_500]);
        assert_eq!(due.last(), Some(&32_500), "and not at 33 000 or behind");
        assert_eq!(repeats, Repeats::NONE);
    }

    #[test]
    fn each_ends_by_itself() {
        let mut repeats = Repeats::NONE;
        repeats.begin_cancel(0, 0);
        repeats.begin_answer(100);
        assert_eq!(repeats.due_ms(), Some(600), "the later one has begun the clock anew");
        repeats.swap(0, 2);
        repeats.end_cancel(0);
        assert!(repeats.has_cancel(2) && repeats.has_answer());
        repeats.end_answer();
        assert!(repeats.due_ms().is_some());
        repeats.end_cancel(2);
        assert_eq!(repeats.due_ms(), None);
    }
}
