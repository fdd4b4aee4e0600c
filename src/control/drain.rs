//! When a balancer that takes no new calls has none left.

use super::Balancer;
use crate::worker::Answer;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::AcqRel, Ordering::Acquire};
use std::time::{Duration, Instant};

/// The last answers and retransmissions of the last call: without a datagram for this long they are
/// through.
const QUIET: Duration = Duration::from_millis(500);

/// Others may go on sending for ever (OPTIONS, registrations): after this long that is all they do.
const QUIET_MAX: Duration = Duration::from_secs(2);

/// When datagrams came in last, as seen by looking now and then.
#[derive(Clone, Copy, Debug)]
pub(super) struct Traffic {
    datagrams: u64,
    at: Instant,
}

impl Traffic {
    pub(super) fn new(now: Instant) -> Self {
        Self { datagrams: 0, at: now }
    }

    pub(super) fn look(&mut self, datagrams: u64, now: Instant) {
        if datagrams != self.datagrams {
            *self = Self { datagrams, at: now };
        }
    }
}

/// A drain that is going on.
#[derive(Debug)]
pub(super) struct Drain {
    until: Option<Instant>,
    /// Workers that have answered the last question, after which their counts are fresh.
    answered: Arc<AtomicUsize>,
    /// Since when there is no call.
    empty: Option<Instant>,
}

/// How it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Calls are left, or not all is known yet.
    GoesOn,
    /// Nothing is left.
    Empty,
    /// The deadline is over, with so many calls left.
    Overdue(u64),
}

impl Drain {
    /// Asks the workers for fresh counts; `until` is the deadline.
    pub(super) fn begin(balancer: &Balancer, until: Option<Instant>) -> Self {
        let mut drain = Self { until, answered: Arc::default(), empty: None };
        drain.ask(balancer);
        drain
    }

    fn ask(&mut self, balancer: &Balancer) {
        self.answered = Arc::default();
        let answered = Arc::clone(&self.answered);
        let answer: Answer = Arc::new(move |_| {
            answered.fetch_add(1, AcqRel);
        });
        balancer.ask(b"", &answer);
    }

    /// To be called every now and then.
    pub(super) fn look(&mut self, balancer: &Balancer, traffic: Traffic, now: Instant) -> Standing {
        let fresh = self.answered.load(Acquire) >= balancer.cells().len();
        let calls = balancer.calls();
        let standing = self.judge(fresh.then_some(calls), traffic, now);
        if fresh {
            self.ask(balancer);
        }
        match standing {
            Standing::Overdue(_) => Standing::Overdue(calls),
            standing => standing,
        }
    }

    /// `calls`: where the counts are fresh.
    fn judge(&mut self, calls: Option<u64>, traffic: Traffic, now: Instant) -> Standing {
        match calls {
            Some(0) => {
                let since = *self.empty.get_or_insert(now);
                let quiet = now.saturating_duration_since(traffic.at) >= QUIET;
                if quiet || now.saturating_duration_since(since) >= QUIET_MAX {
                    return Standing::Empty;
                }
            }
            Some(_) => self.empty = None,
            None => {}
        }
        match self.until {
            Some(until) if now >= until => Standing::Overdue(calls.unwrap_or(0)),
            _ => Standing::GoesOn,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(until: Option<Instant>) -> Drain {
        Drain { until, answered: Arc::default(), empty: None }
    }

    #[test]
    fn it_is_over_when_no_call_is_left_and_the_last_answers_are_through() {
        let now = Instant::now();
        let traffic = Traffic { datagrams: 1, at: now };
        let mut drain = drain(None);
        assert_eq!(drain.judge(None, traffic, now + QUIET_MAX), Standing::GoesOn, "unknown");
        assert_eq!(drain.judge(Some(1), traffic, now + QUIET), Standing::GoesOn);
        let just = QUIET - Duration::from_millis(1);
        assert_eq!(drain.judge(Some(0), traffic, now + just), Standing::GoesOn);
        assert_eq!(drain.judge(Some(0), traffic, now + QUIET), Standing::Empty);
    }

    #[test]
    fn traffic_that_never_ends_does_not_hold_it_up() {
        let now = Instant::now();
        let mut drain = drain(None);
        let busy = |at| Traffic { datagrams: 1, at };
        assert_eq!(drain.judge(Some(0), busy(now), now), Standing::GoesOn);
        let later = now + QUIET_MAX;
        let just = later - Duration::from_millis(1);
        assert_eq!(drain.judge(Some(0), busy(just), just), Standing::GoesOn);
        assert_eq!(drain.judge(Some(0), busy(later), later), Standing::Empty);
    }

    #[test]
    fn the_deadline_ends_it_with_what_is_left() {
        let now = Instant::now();
        let until = now + Duration::from_secs(5);
        let mut drain = drain(Some(until));
        let traffic = Traffic { datagrams: 1, at: now };
        let just = until - Duration::from_millis(1);
        assert_eq!(drain.judge(Some(3), traffic, just), Standing::GoesOn);
        assert_eq!(drain.judge(Some(3), traffic, until), Standing::Overdue(3));
        assert_eq!(drain.judge(None, traffic, until), Standing::Overdue(0), "nobody answers");
    }

    #[test]
    fn traffic_is_what_has_changed_the_count() {
        let now = Instant::now();
        let mut traffic = Traffic::new(now);
        traffic.look(0, now + QUIET);
        assert_eq!(traffic.at, now);
        traffic.look(1, now + QUIET);
        assert_eq!(traffic.at, now + QUIET);
    }
}
