//! What each backend has of a shard's calls and requests: counted in once and out once, in memory taken
//! at start.
//!
//! An identity that was seen keeps its counter for ever, and once all counters are taken, new
//! identities share one. So the same counter serves an identity on its way in and on its way out,
//! and no count can drift. There are twice as many counters as backends in the largest pool, for
//! those that come and go with reloads.

use super::Now;
use crate::limits::BACKENDS_MAX;
use crate::pool::{BackendId, Load};

/// Backends that are counted one by one.
pub(super) const BACKENDS_COUNTED: usize = 2 * BACKENDS_MAX;

/// Places to look for them: half of them stay empty, so that a look is short.
const PLACES: usize = 2 * BACKENDS_COUNTED;
const _: () = assert!(BACKENDS_COUNTED + 1 < NOBODY as usize);

/// An empty place.
const NOBODY: u16 = u16::MAX;

/// The counter of all who have none of their own.
const SHARED: usize = 0;

/// How old a moving average is when it counts for half: a backend that was slow once, and is asked no
/// more for it, is tried again.
const LATENCY_HALVES_US: u64 = 2_000_000;

/// Fractions of a microsecond that an average is kept in, so that it can move by less than one.
const FRACTION: u32 = 16;

/// Dialogs and calls that one pin stands for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) dialogs: u32,
    pub(super) calls: u32,
}

/// What one backend has.
#[derive(Clone, Copy, Debug, Default)]
struct Counter {
    held: Held,
    transactions: u32,
    /// Of these transactions, hundredths.
    work: u64,
    /// Calls begun in the second that `begun_s` says.
    begun: u32,
    begun_s: u32,
    /// Average time to the first response, when it was last moved; 0: none has come yet.
    latency: u32,
    latency_at_us: u64,
    /// It stands in the list of changes.
    listed: bool,
}

/// The counters.
#[derive(Debug)]
pub(super) struct Counts {
    /// Index into `counters`, by identity, with linear probing; nothing is ever taken out.
    places: Box<[u16]>,
    /// The first one is [`SHARED`].
    counters: Vec<(BackendId, Counter)>,
    counters_max: usize,
    total: Counter,
    /// Those that have changed since they were asked for.
    changed: Vec<u16>,
}

impl Counts {
    pub(super) fn new() -> Self {
        Self::with_counters(BACKENDS_COUNTED)
    }

    fn with_counters(own: usize) -> Self {
        let counters_max = own + 1;
        // Written to once: a page that is new to the process takes as long as a message.
        let mut counters = vec![(BackendId(0), Counter::default()); counters_max];
        counters.truncate(1);
        let mut changed = vec![NOBODY; counters_max];
        changed.clear();
        Self {
            places: vec![NOBODY; PLACES].into(),
            counters,
            counters_max,
            total: Counter::default(),
            changed,
        }
    }

    /// A pin holds these on a backend from now on.
    #[inline]
    pub(super) fn hold(&mut self, backend: BackendId, held: Held) {
        if held != Held::default() {
            self.total.held.add(held);
            self.counter_mut(backend).held.add(held);
        }
    }

    /// It does not any more.
    #[inline]
    pub(super) fn release(&mut self, backend: BackendId, held: Held) {
        if held != Held::default() {
            self.total.held.take(held);
            self.counter_mut(backend).held.take(held);
        }
    }

    /// A request waits for the final response of a backend.
    #[inline]
    pub(super) fn open(&mut self, backend: BackendId, work: u16) {
        self.total.transactions += 1;
        let counter = self.counter_mut(backend);
        counter.transactions += 1;
        counter.work += u64::from(work);
    }

    /// It does not any more.
    #[inline]
    pub(super) fn close(&mut self, backend: BackendId, work: u16) {
        self.total.transactions -= 1;
        let counter = self.counter_mut(backend);
        counter.transactions -= 1;
        counter.work -= u64::from(work);
    }

    /// A call begins at a backend.
    pub(super) fn begin(&mut self, backend: BackendId, now: Now) {
        let counter = self.counter_mut(backend);
        if counter.begun_s != now.seconds() {
            (counter.begun_s, counter.begun) = (now.seconds(), 0);
        }
        counter.begun += 1;
    }

    /// A backend has said its first word to a request after so long. The average moves by an eighth
    /// of the way, as RFC 6298 does it: a lost datagram does not speak against its backend for long.
    pub(super) fn answered(&mut self, backend: BackendId, us: u32, now: Now) {
        let counter = self.counter_mut(backend);
        let sample = i64::from(us.min(u32::MAX / FRACTION) * FRACTION);
        let average = match counter.aged_latency(now) {
            0 => sample,
            average => i64::from(average) + (sample - i64::from(average)) / 8,
        };
        counter.latency = (average as u32).max(1);
        counter.latency_at_us = now.us;
    }

    /// The number of a backend's counter, for [`Counts::load`]; `None` if it has none of its own.
    pub(super) fn number(&mut self, backend: BackendId) -> Option<u16> {
        let counter = self.counter_or_new(backend);
        (counter != SHARED).then_some(counter as u16)
    }

    /// The load in a counter.
    #[inline]
    pub(super) fn load(&self, number: u16, now: Now) -> Load {
        let counter = &self.counters[usize::from(number)].1;
        Load {
            calls: counter.held.calls,
            transactions: counter.transactions,
            work: u32::try_from(counter.work).unwrap_or(u32::MAX),
            latency_us: counter.aged_latency(now).div_ceil(FRACTION),
            calls_begun: if counter.begun_s == now.seconds() { counter.begun } else { 0 },
        }
    }

    /// The load of a backend.
    pub(super) fn load_of(&self, backend: BackendId, now: Now) -> Load {
        self.find(backend).0.map_or(Load::default(), |counter| self.load(counter as u16, now))
    }

    /// A backend whose counts have changed since it was given the last time.
    pub(super) fn take_changed(&mut self) -> Option<BackendId> {
        let number = usize::from(self.changed.pop()?);
        let (backend, counter) = &mut self.counters[number];
        counter.listed = false;
        Some(*backend)
    }

    /// Confirmed dialogs.
    pub(super) fn dialogs(&self) -> usize {
        self.total.held.dialogs as usize
    }

    /// Calls: confirmed dialogs, and INVITEs without a final response.
    pub(super) fn calls(&self) -> usize {
        self.total.held.calls as usize
    }

    /// Requests without a final response.
    pub(super) fn transactions(&self) -> usize {
        self.total.transactions as usize
    }

    /// Confirmed dialogs on this backend; 0 for one that is not counted by itself.
    pub(super) fn dialogs_on(&self, backend: BackendId) -> usize {
        self.find(backend).0.map_or(0, |at| self.counters[at].1.held.dialogs as usize)
    }

    /// Panics if the dialogs and calls are not those of `walked`.
    pub(super) fn check_pins(&self, walked: &Self) {
        let held = |counts: &Self| -> Vec<Held> {
            counts.counters.iter().map(|(_, counter)| counter.held).collect()
        };
        assert_eq!(held(self), held(walked), "dialogs or calls have drifted");
        assert_eq!(self.total.held, walked.total.held, "dialogs or calls have drifted");
    }

    /// Panics if the transactions and their work are not those of `walked`.
    pub(super) fn check_transactions(&self, walked: &Self) {
        let open = |counts: &Self| -> Vec<(u32, u64)> {
            counts.counters.iter().map(|(_, one)| (one.transactions, one.work)).collect()
        };
        assert_eq!(open(self), open(walked), "open transactions have drifted");
        assert_eq!(self.total.transactions, walked.total.transactions, "their sum has drifted");
    }

    /// The same identities, all at 0.
    pub(super) fn like(&self) -> Self {
        let counters = self.counters.iter().map(|(id, _)| (*id, Counter::default())).collect();
        let (places, counters_max) = (self.places.clone(), self.counters_max);
        let changed = Vec::new();
        Self { places, counters, counters_max, total: Counter::default(), changed }
    }

    /// The counter of a backend, which is about to change.
    #[inline]
    fn counter_mut(&mut self, backend: BackendId) -> &mut Counter {
        let at = self.counter_or_new(backend);
        let counter = &mut self.counters[at].1;
        if !counter.listed && at != SHARED {
            counter.listed = true;
            self.changed.push(at as u16);
        }
        counter
    }

    /// The counter of this backend, or else the empty place where the look for it ended.
    #[inline]
    fn find(&self, backend: BackendId) -> (Option<usize>, usize) {
        // An identity is a hash already.
        let mut place = (backend.0 as usize * PLACES) >> 32;
        loop {
            match self.places[place] {
                NOBODY => return (None, place),
                at if self.counters[usize::from(at)].0 == backend => {
                    return (Some(usize::from(at)), place);
                }
                _ => place = (place + 1) % PLACES,
            }
        }
    }

    #[inline]
    fn counter_or_new(&mut self, backend: BackendId) -> usize {
        let (counter, place) = self.find(backend);
        match counter {
            Some(at) => at,
            None if self.counters.len() == self.counters_max => SHARED,
            None => {
                self.places[place] = self.counters.len() as u16;
                self.counters.push((backend, Counter::default()));
                self.counters.len() - 1
            }
        }
    }
}

impl Held {
    fn add(&mut self, other: Self) {
        self.dialogs += other.dialogs;
        self.calls += other.calls;
    }

    fn take(&mut self, other: Self) {
        self.dialogs -= other.dialogs;
        self.calls -= other.calls;
    }
}

impl Counter {
    /// The average, halved for each [`LATENCY_HALVES_US`] that nothing has come, in between in a
    /// straight line.
    #[inline]
    fn aged_latency(&self, now: Now) -> u32 {
        let age_us = now.us.saturating_sub(self.latency_at_us);
        let (halves, rest) = (age_us / LATENCY_HALVES_US, age_us % LATENCY_HALVES_US);
        let halved = u64::from(self.latency.checked_shr(halves as u32).unwrap_or(0));
        let aged = halved - halved * rest / (2 * LATENCY_HALVES_US);
        // It is not forgotten that there is one.
        (aged as u32).max(self.latency.min(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALL: Held = Held { dialogs: 1, calls: 1 };

    #[test]
    fn backends_beyond_the_counters_share_one_and_do_not_drift() {
        let mut counts = Counts::with_counters(2);
        let [a, b, c, d] = [1, 2, 3, 4].map(BackendId);
        [a, b, c, d, c].into_iter().for_each(|backend| counts.hold(backend, CALL));
        assert_eq!([a, b, c, d].map(|backend| counts.dialogs_on(backend)), [1, 1, 0, 0]);
        assert_eq!((counts.counters[SHARED].1.held.dialogs, counts.dialogs()), (3, 5));
        // A counter at 0 is not given to another, who would count out of it what went in elsewhere.
        [a, c, c, d, b].into_iter().for_each(|backend| counts.release(backend, CALL));
        counts.hold(c, CALL);
        assert_eq!((counts.dialogs_on(c), counts.dialogs(), counts.calls()), (0, 1, 1));
        assert_eq!((counts.number(c), counts.number(a)), (None, Some(1)));
        counts.release(c, CALL);
        assert_eq!((counts.counters[SHARED].1.held.dialogs, counts.dialogs()), (0, 0));
    }

    #[test]
    fn the_counters_never_grow() {
        let mut counts = Counts::new();
        let before =
            (counts.counters.capacity(), counts.counters.as_ptr(), counts.changed.as_ptr());
        // Identities in one place, so that they probe one behind the other, round the end too.
        (0..20_000).for_each(|i| counts.hold(BackendId(u32::MAX - i), CALL));
        let after = (counts.counters.capacity(), counts.counters.as_ptr(), counts.changed.as_ptr());
        assert_eq!(after, before);
        assert_eq!(counts.counters[SHARED].1.held.dialogs as usize, 20_000 - BACKENDS_COUNTED);
        (0..20_000).for_each(|i| counts.release(BackendId(u32::MAX - i), CALL));
        assert_eq!((counts.dialogs(), counts.calls()), (0, 0));
    }

    #[test]
    fn work_is_the_sum_of_what_is_open() {
        let (mut counts, now) = (Counts::new(), Now::from_ms(5000));
        let [a, b] = [1, 2].map(BackendId);
        for (backend, work) in [(a, 175), (a, 100), (b, 65_535)] {
            counts.open(backend, work);
        }
        let load = |counts: &Counts, backend| {
            let load = counts.load_of(backend, now);
            (load.transactions, load.work)
        };
        assert_eq!((load(&counts, a), load(&counts, b)), ((2, 275), (1, 65_535)));
        counts.close(a, 175);
        assert_eq!((load(&counts, a), counts.transactions()), ((1, 100), 2));
    }

    #[test]
    fn calls_begun_are_those_of_the_running_second() {
        let (mut counts, a) = (Counts::new(), BackendId(1));
        let at = |ms| Now::from_ms(ms);
        [5000, 5999].into_iter().for_each(|ms| counts.begin(a, at(ms)));
        assert_eq!(counts.load_of(a, at(5999)).calls_begun, 2);
        assert_eq!(counts.load_of(a, at(6000)).calls_begun, 0);
        counts.begin(a, at(6000));
        assert_eq!(counts.load_of(a, at(6999)).calls_begun, 1);
    }

    #[test]
    fn the_average_follows_what_comes_and_fades_when_nothing_does() {
        let (mut counts, a) = (Counts::new(), BackendId(1));
        let mut now = Now::from_ms(1000);
        let average = |counts: &Counts, now| counts.load_of(a, now).latency_us;
        assert_eq!(average(&counts, now), 0, "not known");
        counts.answered(a, 800, now);
        assert_eq!(average(&counts, now), 800, "the first one is all there is");
        counts.answered(a, 1600, now);
        assert_eq!(average(&counts, now), 900);
        for _ in 0..100 {
            now = now.after_ms(1);
            counts.answered(a, 1600, now);
        }
        assert!(average(&counts, now).abs_diff(1600) <= 8, "{}", average(&counts, now));
        // A lost datagram among many is gone after some dozens.
        counts.answered(a, 500_000, now);
        (0..60).for_each(|_| counts.answered(a, 1600, now));
        assert!(average(&counts, now) < 1650, "{}", average(&counts, now));
        let before = average(&counts, now);
        for (ms, expected) in
            [(1000, before * 3 / 4), (2000, before / 2), (3000, before * 3 / 8), (4000, before / 4)]
        {
            let aged = average(&counts, now.after_ms(ms));
            assert!(aged.abs_diff(expected) <= 1, "{ms} ms: {aged}, not {expected}");
        }
        assert_eq!(average(&counts, now.after_ms(1 << 40)), 1, "known, but of no weight");
    }

    #[test]
    fn a_change_is_told_once_however_many_there_were() {
        let mut counts = Counts::new();
        let [a, b] = [1, 2].map(BackendId);
        [a, b, a].into_iter().for_each(|backend| counts.open(backend, 100));
        let mut changed: Vec<_> = std::iter::from_fn(|| counts.take_changed()).collect();
        changed.sort();
        assert_eq!(changed, [a, b]);
        counts.close(b, 100);
        assert_eq!((counts.take_changed(), counts.take_changed()), (Some(b), None));
    }
}
