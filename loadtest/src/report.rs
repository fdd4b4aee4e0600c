//! What came of the calls: counters and histograms that any thread may read at any time.

use crate::histogram::Histogram;
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A number that goes up, or a gauge.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// The value now.
    pub fn value(&self) -> u64 {
        self.0.load(Relaxed)
    }

    pub(crate) fn increment(&self) {
        self.0.fetch_add(1, Relaxed);
    }

    pub(crate) fn add(&self, more: u64) {
        self.0.fetch_add(more, Relaxed);
    }

    pub(crate) fn decrement(&self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// From INVITE to the answered BYE.
    Completed,
    /// A final response of 300 to 699.
    Failed(u16),
    /// Something did not come within 64*T1.
    TimedOut(Stage),
}

/// What a call waited for in vain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The final response to the INVITE.
    Answer,
    /// The final response to the BYE.
    ByeAnswer,
    /// The BYE of a callee that was to hang up.
    CalleesBye,
}

/// The calls that went one way (through the balancer, or directly). Each call ends in exactly one
/// of completed, failed, timed out (three stages) and split.
#[derive(Debug)]
pub struct Tally {
    /// Calls whose INVITE was sent.
    pub started: Counter,
    /// Calls that went from INVITE to the answered BYE with one and the same backend.
    pub completed: Counter,
    /// No final response to the INVITE within 64*T1.
    pub timed_out_answer: Counter,
    /// No final response to the BYE within 64*T1.
    pub timed_out_bye: Counter,
    /// The callee was to hang up, and its BYE did not come.
    pub timed_out_callee: Counter,
    /// Calls of which two servers sent messages, however they ended.
    pub split: Counter,
    /// Calls that ended with a final response of 300 to 699.
    failed: [Counter; 400],
    /// INVITEs sent again (timer A).
    pub invites_repeated: Counter,
    /// BYEs sent again (timer E).
    pub byes_repeated: Counter,
    /// 200s to an INVITE that came again: the ACK was late or lost.
    pub answers_repeated: Counter,
    /// From the first INVITE to the first response of any kind.
    pub first_response: Histogram,
    /// From the first INVITE to the 200.
    pub answer: Histogram,
    /// From the first BYE to its 200.
    pub bye: Histogram,
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            started: Counter::default(),
            completed: Counter::default(),
            timed_out_answer: Counter::default(),
            timed_out_bye: Counter::default(),
            timed_out_callee: Counter::default(),
            split: Counter::default(),
            failed: std::array::from_fn(|_| Counter::default()),
            invites_repeated: Counter::default(),
            byes_repeated: Counter::default(),
            answers_repeated: Counter::default(),
            first_response: Histogram::default(),
            answer: Histogram::default(),
            bye: Histogram::default(),
        }
    }
}

impl Tally {
    /// Calls that ended with this status code (300 to 699; 0 for any other).
    pub fn failed_with(&self, code: u16) -> u64 {
        self.failed.get(usize::from(code).wrapping_sub(300)).map_or(0, Counter::value)
    }

    /// Calls that ended with a failure response, each code with its count.
    pub fn failures(&self) -> impl Iterator<Item = (u16, u64)> {
        (300..700).map(|code| (code, self.failed_with(code))).filter(|(_, count)| *count > 0)
    }

    /// Calls that ended in a time-out.
    pub fn timed_out(&self) -> u64 {
        self.timed_out_answer.value() + self.timed_out_bye.value() + self.timed_out_callee.value()
    }

    /// Calls that ended otherwise than completed.
    pub fn lost(&self) -> u64 {
        self.failures().map(|(_, count)| count).sum::<u64>() + self.timed_out() + self.split.value()
    }

    /// Calls that have not ended.
    pub fn open(&self) -> u64 {
        self.started.value().saturating_sub(self.completed.value() + self.lost())
    }

    pub(crate) fn end(&self, outcome: Outcome, split: bool) {
        match outcome {
            _ if split => self.split.increment(),
            Outcome::Completed => self.completed.increment(),
            Outcome::Failed(code) => {
                self.failed[usize::from(code.clamp(300, 699)) - 300].increment()
            }
            Outcome::TimedOut(Stage::Answer) => self.timed_out_answer.increment(),
            Outcome::TimedOut(Stage::ByeAnswer) => self.timed_out_bye.increment(),
            Outcome::TimedOut(Stage::CalleesBye) => self.timed_out_callee.increment(),
        }
    }
}

/// The report of a [`crate::Caller`].
#[derive(Debug, Default)]
pub struct CallerReport {
    /// The calls through what is under test.
    pub through: Tally,
    /// The baseline: calls sent directly to a backend, if [`crate::CallerOptions::direct`] asks
    /// for them.
    pub direct: Tally,
    /// Starts more than 10 ms behind the schedule of an open loop: this caller could not keep up,
    /// or `open_max` calls were open.
    pub late_starts: Counter,
    /// SIP messages that belong to no call, or not to the state that the call is in.
    pub strays: Counter,
    /// Second dialogs of a call, by a 2xx of another callee: acknowledged, and ended with a BYE.
    pub extra_dialogs: Counter,
    /// Those whose BYE was answered.
    pub extra_dialogs_ended: Counter,
    /// Datagrams that are no SIP message.
    pub garbage: Counter,
    /// Datagrams that the socket did not take, or ICMP errors that it told of.
    pub socket_errors: Counter,
    servers: Mutex<BTreeMap<String, u64>>,
}

impl CallerReport {
    /// How much longer a call through the balancer waits for its first response than a direct one:
    /// the difference between the quantiles (0.5: medians) of the two distributions, in
    /// nanoseconds, since the start. `None` while one of them has too few samples for that
    /// quantile (2 for the median, 100 for 0.99).
    ///
    /// It is a difference of two quantiles and no quantile of differences; it holds the balancer's
    /// work, two more passages through the kernel and, where cores are shared, the waiting for
    /// one; and if the direct backend has less to do than the others, their queues too. It can be
    /// negative by chance while samples are few.
    pub fn added_ns(&self, share: f64) -> Option<i64> {
        let enough = (1.0 / (1.0 - share)).round() as u64;
        let quantile = |tally: &Tally| {
            let histogram = &tally.first_response;
            let latency = histogram.quantile(share).filter(|_| histogram.count() >= enough)?;
            Some(latency.as_nanos() as i64)
        };
        Some(quantile(&self.through)? - quantile(&self.direct)?)
    }

    /// Calls through the balancer by the name of the backend that answered.
    pub fn servers(&self) -> BTreeMap<String, u64> {
        self.servers.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Counts an answered call for this name. Past 1024 names all others are "other".
    pub(crate) fn answered_by(&self, server: &str) {
        let mut servers = self.servers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = servers.get_mut(server) {
            *count += 1;
        } else {
            let name = if servers.len() < 1024 { server } else { "other" };
            *servers.entry(name.to_owned()).or_default() += 1;
        }
    }
}

/// The report of a [`crate::Backend`].
#[derive(Debug, Default)]
pub struct BackendReport {
    /// INVITEs with a Call-ID that this backend did not know.
    pub new_calls: Counter,
    /// Calls that have not ended (a gauge).
    pub dialogs: Counter,
    /// Calls ended by a BYE, of either side, and its 200.
    pub completed: Counter,
    /// Calls whose 200 nobody acknowledged within 64*T1.
    pub unacknowledged: Counter,
    /// BYEs of this backend that were refused or not answered within 64*T1.
    pub byes_failed: Counter,
    /// INVITEs refused, by option or because the table was full.
    pub refused: Counter,
    /// In-dialog requests of dialogs that this backend does not hold: they went astray.
    pub strangers: Counter,
    /// INVITEs of a known call with another branch (answered 482, RFC 3261 8.2.2.2).
    pub merged: Counter,
    /// Requests that came again.
    pub requests_repeated: Counter,
    /// 200s and BYEs sent again.
    pub sends_repeated: Counter,
    /// OPTIONS answered.
    pub options: Counter,
    /// INVITEs of new calls that nothing was said to, by its manner.
    pub ignored: Counter,
    /// Requests in the queue of its service (a gauge).
    pub queued: Counter,
    /// Nanoseconds that its servers have worked, counted when a service ends.
    pub worked_ns: Counter,
    /// Requests that found no room in the queue.
    pub overflowed: Counter,
    /// Datagrams not sent, by `drop_per_mille`.
    pub dropped: Counter,
    /// Datagrams that are no SIP message.
    pub garbage: Counter,
    /// Datagrams that the socket did not take, or ICMP errors that it told of.
    pub socket_errors: Counter,
    /// From the first 200 to the ACK.
    pub acknowledged: Histogram,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_call_ends_in_exactly_one_place() {
        let tally = Tally::default();
        (0..7).for_each(|_| tally.started.increment());
        tally.end(Outcome::Completed, false);
        tally.end(Outcome::Completed, true);
        tally.end(Outcome::Failed(486), false);
        tally.end(Outcome::Failed(699), false);
        tally.end(Outcome::TimedOut(Stage::Answer), false);
        tally.end(Outcome::TimedOut(Stage::CalleesBye), false);
        assert_eq!((tally.completed.value(), tally.lost(), tally.open()), (1, 5, 1));
        assert_eq!(tally.split.value(), 1);
        assert_eq!(tally.timed_out(), 2);
        assert_eq!(tally.failures().collect::<Vec<_>>(), [(486, 1), (699, 1)]);
        assert_eq!((tally.failed_with(200), tally.failed_with(700)), (0, 0));
    }

    #[test]
    fn the_added_latency_is_the_difference_of_the_quantiles() {
        let report = CallerReport::default();
        (0..99).for_each(|_| report.through.first_response.record(150));
        report.direct.first_response.record(40);
        assert_eq!(report.added_ns(0.5), None, "one direct call has no median");
        (0..99).for_each(|_| report.direct.first_response.record(40));
        assert_eq!(report.added_ns(0.5), Some(110));
        assert_eq!(report.added_ns(0.99), None, "99 calls have no 99th percentile");
        report.through.first_response.record(150);
        assert_eq!(report.added_ns(0.99), Some(110));
    }

    #[test]
    fn names_beyond_the_bound_are_counted_together() {
        let report = CallerReport::default();
        (0..1030).for_each(|n| report.answered_by(&format!("s{n}")));
        let servers = report.servers();
        assert_eq!((servers.len(), servers["other"], servers["s1023"]), (1025, 6, 1));
    }
}
