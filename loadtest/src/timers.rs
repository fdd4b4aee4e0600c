//! Deadlines of many calls, and the retransmission timers of RFC 3261 17.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

/// T2, the longest interval between retransmissions of all but an INVITE, in units of T1 (4 s).
pub(crate) const T2_IN_T1: u64 = 8;
/// Timers B, F and H, in units of T1 (32 s).
pub(crate) const GIVE_UP_IN_T1: u64 = 64;

/// Deadlines by Call-ID. An entry stays when its call gets another deadline: whoever takes it out
/// compares it with the deadline that the call has now.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    heap: BinaryHeap<Reverse<(u64, Arc<str>)>>,
}

impl Timers {
    /// Adds a deadline, in nanoseconds.
    pub(crate) fn arm(&mut self, due: u64, call_id: &Arc<str>) {
        self.heap.push(Reverse((due, Arc::clone(call_id))));
    }

    /// The earliest deadline.
    pub(crate) fn next(&self) -> Option<u64> {
        self.heap.peek().map(|Reverse((due, _))| *due)
    }

    /// Takes out the earliest deadline if it has come.
    pub(crate) fn take_due(&mut self, now: u64) -> Option<(u64, Arc<str>)> {
        if self.next()? > now {
            return None;
        }
        self.heap.pop().map(|Reverse(entry)| entry)
    }
}

/// When to send again: T1, 2*T1, 4*T1 and so on up to a cap, given up at 64*T1.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Backoff {
    interval: u64,
    cap: u64,
    until: u64,
}

impl Backoff {
    /// Timers A and B of an INVITE: no cap (RFC 3261 17.1.1.2). The first deadline is `.due(now)`.
    pub(crate) fn invite(now: u64, t1: u64) -> Self {
        Self { interval: t1, cap: u64::MAX, until: now + GIVE_UP_IN_T1 * t1 }
    }

    /// Timers E and F of a BYE (17.1.2.2), and those of a 2xx to an INVITE (13.3.1.4): up to T2.
    pub(crate) fn capped(now: u64, t1: u64) -> Self {
        Self { cap: T2_IN_T1 * t1, ..Self::invite(now, t1) }
    }

    /// The deadline after a transmission at `now`.
    pub(crate) fn due(&self, now: u64) -> u64 {
        (now + self.interval).min(self.until)
    }

    /// A deadline has come: the next one if it is to be sent again, `None` if it is to be given up.
    pub(crate) fn again(&mut self, now: u64) -> Option<u64> {
        if now >= self.until {
            return None;
        }
        self.interval = (self.interval * 2).min(self.cap);
        Some(self.due(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(mut backoff: Backoff) -> Vec<u64> {
        let mut due = backoff.due(0);
        let mut all = vec![due];
        while let Some(next) = backoff.again(due) {
            due = next;
            all.push(due);
        }
        all
    }

    // RFC 3261 17.1.1.2: INVITE at 0, 1, 3, 7, 15, 31 and 63 T1; timer B at 64.
    #[test]
    fn an_invite_is_sent_seven_times_and_given_up_at_64_t1() {
        assert_eq!(schedule(Backoff::invite(0, 500)), [500, 1500, 3500, 7500, 15500, 31500, 32000]);
    }

    // RFC 3261 17.1.2.2: 500 ms, 1 s, 2 s, 4 s, 4 s ...; timer F at 64 T1.
    #[test]
    fn other_messages_are_sent_every_t2_at_the_longest() {
        assert_eq!(
            schedule(Backoff::capped(0, 500)),
            [500, 1500, 3500, 7500, 11500, 15500, 19500, 23500, 27500, 31500, 32000]
        );
    }

    #[test]
    fn deadlines_come_in_order_and_not_early() {
        let (a, b): (Arc<str>, Arc<str>) = ("a".into(), "b".into());
        let mut timers = Timers::default();
        timers.arm(20, &a);
        timers.arm(10, &b);
        assert_eq!(timers.next(), Some(10));
        assert_eq!(timers.take_due(9), None);
        assert_eq!(timers.take_due(10), Some((10, b)));
        assert_eq!(timers.take_due(19), None);
        assert_eq!(timers.take_due(25), Some((20, a)));
        assert_eq!(timers.next(), None);
    }
}
