//! Waiting for more messages than one: whether it pays, for how many, and for how long.
//!
//! A turn costs its waking and its `io_uring_enter`, whatever it deals with. Under load a short wait
//! gives a turn more to deal with: CPU is bought with latency, of which the config gives a budget. Nobody
//! waits for what is not likely to come, nor where a turn finds enough as it is.

use crate::io::driver::Batch;
use std::time::Duration;

/// Messages that a turn is to have: beyond them its fixed costs are a small part of all.
const ENOUGH: u64 = 32;

/// Messages that must be likely within the budget: with fewer, what is saved is not worth a wait.
const WORTH_WAITING: u64 = 8;

/// Messages of the last turn: after one that came alone the next is likely alone too.
const IN_COMPANY: u64 = 2;

/// Turns that the pace is taken from: with a quarter of it, chance alone makes a worker wait for what does not come.
const MEMORY: u64 = 32;

/// How fast messages come: sums over the recent turns, each turn counting less than the next by one part of
/// [`MEMORY`].
#[derive(Clone, Copy, Debug, Default)]
struct Pace {
    /// In 256ths.
    messages: u64,
    ns: u64,
}

impl Pace {
    fn note(&mut self, messages: u64, ns: u64) {
        self.messages = self.messages - self.messages / MEMORY + (messages << 8);
        self.ns = self.ns - self.ns / MEMORY + ns;
    }

    /// Messages that come within that time.
    fn within(&self, ns: u64) -> u64 {
        let sum = u128::from(self.messages) * u128::from(ns);
        (sum / (u128::from(self.ns.max(1)) << 8)) as u64
    }

    /// How long it takes until so many have come.
    fn until(&self, messages: u64) -> u64 {
        let sum = u128::from(messages << 8) * u128::from(self.ns);
        (sum / u128::from(self.messages.max(1))) as u64
    }
}

/// What a worker waits for at the end of a turn that took `turn_ns` to deal with its `messages`. The kernel
/// counts what has come during the turn, too.
fn batch(pace: &Pace, messages: u64, turn_ns: u64, budget_ns: u64) -> Option<Batch> {
    if messages < IN_COMPANY || pace.within(budget_ns) < WORTH_WAITING {
        return None;
    }
    let there = pace.within(turn_ns);
    let missing = ENOUGH.checked_sub(there).filter(|missing| *missing > 0)?;
    let ns = pace.until(missing).min(budget_ns);
    let messages = (there + pace.within(ns)).max(IN_COMPANY);
    Some(Batch { messages: messages as u32, within: Duration::from_nanos(ns) })
}

/// The waiting of one worker.
#[derive(Debug, Default)]
pub(super) struct Gathering {
    budget_ns: u64,
    pace: Pace,
    /// When the turn before ended; 0: that is not known.
    noted_ns: u64,
    /// The wait that is going on: since when, and how long at most.
    current: Option<(u64, u64)>,
}

impl Gathering {
    /// Sets what one wait may take; 0: there is none. With the same as before the pace stays known.
    pub(super) fn allow(&mut self, budget: Duration) {
        let budget_ns = budget.as_nanos() as u64;
        if budget_ns != self.budget_ns {
            *self = Self { budget_ns, ..Self::default() };
        }
    }

    /// A turn that began at `began_ns` ends now. What to wait for, if it is worth it.
    #[inline]
    pub(super) fn next(&mut self, messages: u64, began_ns: u64, now_ns: u64) -> Option<Batch> {
        if self.budget_ns == 0 {
            return None;
        }
        if self.noted_ns > 0 {
            self.pace.note(messages, now_ns.saturating_sub(self.noted_ns));
        }
        self.noted_ns = now_ns;
        batch(&self.pace, messages, now_ns.saturating_sub(began_ns), self.budget_ns)
    }

    /// The worker waits so, from now on.
    pub(super) fn begin(&mut self, batch: Batch, now_ns: u64) {
        self.current = Some((now_ns, batch.within.as_nanos() as u64));
    }

    /// The wait is over. How long what has come may have been kept waiting, nanoseconds; `None`: it was no
    /// wait for more.
    #[inline]
    pub(super) fn end(&mut self, now_ns: u64) -> Option<u64> {
        let (began_ns, longest_ns) = self.current.take()?;
        Some(now_ns.saturating_sub(began_ns).min(longest_ns))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const US: u64 = 1000;

    /// So many messages a millisecond, in turns of a millisecond, for long.
    fn pace(messages: u64) -> Pace {
        let mut pace = Pace::default();
        (0..200).for_each(|_| pace.note(messages, 1000 * US));
        pace
    }

    #[test]
    fn a_steady_pace_is_known_both_ways() {
        for messages in [1, 8, 120, 1000] {
            let pace = pace(messages);
            let per_second = pace.within(1_000_000 * US);
            assert!(
                per_second.abs_diff(messages * 1000) <= messages * 10,
                "{messages}: {per_second}"
            );
            let ns = pace.until(messages);
            assert!(ns.abs_diff(1000 * US) <= 10 * US, "{messages}: {ns}");
        }
    }

    #[test]
    fn nothing_is_known_of_a_worker_that_has_met_nothing() {
        assert_eq!(Pace::default().within(u64::MAX), 0);
        assert_eq!(batch(&Pace::default(), 100, 1, u64::MAX), None);
    }

    #[test]
    fn a_pace_is_forgotten_with_the_turns_that_follow() {
        let mut pace = pace(100);
        pace.note(0, 1_000_000 * US); // a second without a word
        assert!(pace.within(1000 * US) < 5, "{pace:?}");
        (0..500).for_each(|_| pace.note(10, 100 * US));
        assert!((95..=100).contains(&pace.within(1000 * US)), "{pace:?}");
    }

    #[test]
    fn after_a_message_alone_nobody_waits() {
        let pace = pace(100);
        assert_eq!(batch(&pace, IN_COMPANY - 1, 10 * US, 500 * US), None);
        assert!(batch(&pace, IN_COMPANY, 10 * US, 500 * US).is_some());
        assert_eq!(batch(&pace, 0, 10 * US, 500 * US), None);
    }

    #[test]
    fn a_budget_in_which_too_little_comes_is_none() {
        let pace = pace(100); // one in 10 us
        assert_eq!(batch(&pace, 4, 10 * US, 10 * (WORTH_WAITING - 1) * US), None);
        assert!(batch(&pace, 4, 10 * US, 10 * (WORTH_WAITING + 1) * US).is_some());
        assert_eq!(batch(&pace, 4, 10 * US, 0), None);
    }

    #[test]
    fn a_turn_that_finds_enough_when_it_ends_does_not_wait() {
        let pace = pace(100);
        assert_eq!(batch(&pace, 40, 10 * (ENOUGH + 1) * US, 500 * US), None);
        let last = batch(&pace, 40, 10 * (ENOUGH - 1) * US, 500 * US).unwrap();
        assert!(last.within <= Duration::from_micros(21), "for one or two more: {last:?}");
    }

    #[test]
    fn the_wait_is_for_what_is_missing_and_within_the_budget() {
        let pace = pace(100);
        // 10 have come meanwhile, 22 more take 220 us.
        let wished = batch(&pace, 10, 100 * US, 500 * US).unwrap();
        assert!((210..=240).contains(&(wished.within.as_micros() as u64)), "{wished:?}");
        assert!((30..=32).contains(&wished.messages), "{wished:?}");
        // The budget ends before that.
        let cut = batch(&pace, 10, 100 * US, 150 * US).unwrap();
        assert_eq!(cut.within, Duration::from_micros(150));
        assert!((23..=25).contains(&cut.messages), "{cut:?}");
    }

    #[test]
    fn without_a_budget_nothing_is_even_counted() {
        let mut gathering = Gathering::default();
        (1..100).for_each(|turn| assert_eq!(gathering.next(50, turn * US, turn * US), None));
        assert_eq!((gathering.pace.messages, gathering.end(1)), (0, None));
    }

    #[test]
    fn a_budget_is_taken_over_and_taken_back() {
        let mut gathering = Gathering::default();
        let turns = |gathering: &mut Gathering| {
            let waits =
                (1..100u64).map(|turn| gathering.next(4, 40 * turn * US, (40 * turn + 10) * US));
            waits.flatten().count()
        };
        gathering.allow(Duration::from_micros(500));
        assert!(turns(&mut gathering) > 50);
        let known = gathering.pace.messages;
        gathering.allow(Duration::from_micros(500)); // a reload that changes something else
        assert_eq!(gathering.pace.messages, known);
        gathering.allow(Duration::from_micros(400));
        assert_eq!(gathering.pace.messages, 0);
        gathering.allow(Duration::ZERO);
        assert_eq!(turns(&mut gathering), 0);
    }

    #[test]
    fn what_was_kept_waiting_counts_up_to_the_longest_wait_and_once() {
        let mut gathering = Gathering::default();
        let batch = Batch { messages: 8, within: Duration::from_micros(100) };
        for (ended, held) in [(60, 60), (100, 100), (101, 100), (90_000, 100)] {
            gathering.begin(batch, 5000 * US);
            assert_eq!(gathering.end((5000 + ended) * US), Some(held * US));
            assert_eq!(gathering.end(6000 * US), None);
        }
    }
}
