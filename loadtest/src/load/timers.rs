//! The retransmission timers of very many transactions, RFC 3261 17: T1, 2*T1, 4*T1 and so on.
//!
//! All that wait for the same interval become due in the order in which they began to wait: a queue
//! for each interval does, and a transaction that is over stays in it until its turn.

use super::Number;
use std::collections::VecDeque;
use std::time::Duration;

/// Intervals: T1 to 32*T1.
const LEVELS: usize = 6;
/// The longest interval of all but an INVITE: T2, 8*T1 (17.1.2.2).
const CAPPED_LEVEL: usize = 3;
/// Repetitions until timer B or F ends it, 64*T1: of an INVITE, and of what is repeated every T2.
const REPETITIONS: u8 = 6;
const CAPPED_REPETITIONS: u8 = 10;

/// One wait of one transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wait {
    pub(super) number: Number,
    /// Which transaction of the call.
    pub(super) transaction: u8,
    /// Waits before this one.
    earlier: u8,
}

pub(super) struct Timers {
    t1_ns: u64,
    queues: [VecDeque<(u64, Wait)>; LEVELS],
}

impl Timers {
    pub(super) fn new(t1: Duration) -> Self {
        Self { t1_ns: t1.as_nanos() as u64, queues: Default::default() }
    }

    /// Begins the first wait, of T1.
    pub(super) fn arm(&mut self, now: u64, number: Number, transaction: u8) {
        self.push(now, Wait { number, transaction, earlier: 0 }, LEVELS - 1);
    }

    /// Begins the next wait, twice as long, of T2 at most if it is `capped`: it is to be sent again.
    /// False when it is given up.
    pub(super) fn again(&mut self, now: u64, wait: Wait, capped: bool) -> bool {
        let (level_max, repetitions) = match capped {
            true => (CAPPED_LEVEL, CAPPED_REPETITIONS),
            false => (LEVELS - 1, REPETITIONS),
        };
        if wait.earlier == repetitions {
            return false;
        }
        self.push(now, Wait { earlier: wait.earlier + 1, ..wait }, level_max);
        true
    }

    /// Takes out a wait that is over.
    pub(super) fn take_due(&mut self, now: u64) -> Option<Wait> {
        let queue = self
            .queues
            .iter_mut()
            .find(|queue| queue.front().is_some_and(|(due, _)| *due <= now))?;
        queue.pop_front().map(|(_, wait)| wait)
    }

    /// When the next wait is over.
    pub(super) fn next(&self) -> Option<u64> {
        self.queues.iter().filter_map(|queue| queue.front().map(|(due, _)| *due)).min()
    }

    fn push(&mut self, now: u64, wait: Wait, level_max: usize) {
        let level = usize::from(wait.earlier).min(level_max);
        self.queues[level].push_back((now + (self.t1_ns << level), wait));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(capped: bool) -> Vec<u64> {
        let mut timers = Timers::new(Duration::from_nanos(10));
        let number = Number { slot: 1, generation: 2 };
        timers.arm(0, number, 3);
        let mut times = Vec::new();
        while let Some(due) = timers.next() {
            assert_eq!(timers.take_due(due - 1), None);
            let wait = timers.take_due(due).unwrap();
            assert_eq!((wait.number, wait.transaction), (number, 3));
            if timers.again(due, wait, capped) {
                times.push(due);
            }
        }
        times
    }

    // RFC 3261 17.1.1.2 and 17.1.2.2, with T1 = 10.
    #[test]
    fn waits_double_and_those_that_are_capped_stay_at_t2() {
        assert_eq!(times(false), [10, 30, 70, 150, 310, 630]);
        assert_eq!(times(true), [10, 30, 70, 150, 230, 310, 390, 470, 550, 630]);
    }

    #[test]
    fn waits_that_began_later_are_over_later() {
        let mut timers = Timers::new(Duration::from_nanos(10));
        for generation in 0..3 {
            timers.arm(u64::from(generation), Number { slot: 0, generation }, 0);
        }
        let due = [10, 11, 12].map(|now| timers.take_due(now).unwrap().number.generation);
        assert_eq!((due, timers.take_due(100)), ([0, 1, 2], None));
    }
}
