//! One worker's counters: plain stores by one writer, no atomic read-modify-write, no shared line.

use super::status_codes;
use super::times::Times;
use crate::pool::Load;
use crate::proxy::{
    Absorb, Answer, CallResult, Drop, FailoverCause, Method, RegistrationResult, Routed,
    TokenResult,
};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A counter or gauge with one writer. Readers may see it a moment late, never torn.
#[derive(Debug, Default)]
pub struct Cell(AtomicU64);

impl Cell {
    /// Adds `n`. Only the owning worker may call it: load and store are two steps.
    #[inline]
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(n), Relaxed);
    }

    /// Adds one.
    #[inline]
    pub fn increment(&self) {
        self.add(1);
    }

    /// Sets a gauge.
    #[inline]
    pub fn set(&self, value: u64) {
        self.0.store(value, Relaxed);
    }

    /// The value.
    #[inline]
    pub fn value(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// Upper bounds of the buckets of a [`Histogram`], nanoseconds; a last bucket has no bound. From a
/// lone small message to a turn that callers feel.
pub const BUCKETS_NS: [u64; 12] = [
    5_000,
    10_000,
    20_000,
    50_000,
    100_000,
    200_000,
    500_000,
    1_000_000,
    2_000_000,
    5_000_000,
    20_000_000,
    100_000_000,
];

/// Durations in fixed buckets, with one writer.
#[derive(Debug, Default)]
pub struct Histogram {
    /// Observations in each bucket, not cumulative; the last one is without a bound.
    pub buckets: [Cell; BUCKETS_NS.len() + 1],
    /// The sum of all, nanoseconds.
    pub sum_ns: Cell,
}

impl Histogram {
    /// Adds `n` observations of the same duration. Only the owning worker may call it.
    #[inline]
    pub fn observe(&self, ns: u64, n: u64) {
        self.buckets[BUCKETS_NS.partition_point(|&bound| bound < ns)].add(n);
        self.sum_ns.add(ns.saturating_mul(n));
    }
}

/// What requests met at a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BackendOutcome {
    /// A final response other than 503 to a request that may begin something.
    Answered,
    /// Such a request got 503.
    Refused,
    /// An ICMP error or a missing route, whatever was sent.
    Unreachable,
    /// Nothing at all came back, in the time for it, to an INVITE or a REGISTER outside a dialog that
    /// another backend has answered, or that nobody else was asked.
    Silent,
}

impl BackendOutcome {
    /// Each, in the order of the cells.
    pub const ALL: [Self; 4] = [Self::Answered, Self::Refused, Self::Unreachable, Self::Silent];

    /// The value of the label `outcome`.
    pub fn label(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Refused => "refused",
            Self::Unreachable => "unreachable",
            Self::Silent => "silent",
        }
    }
}

/// What one worker counts of one backend.
#[derive(Debug, Default)]
#[repr(align(64))]
pub struct BackendCells {
    /// Requests that it got.
    pub requests: Cell,
    /// Its responses, by class: 1xx at 0 to 6xx at 5.
    pub responses: [Cell; 6],
    /// What requests met at it.
    pub outcomes: [Cell; BackendOutcome::ALL.len()],
    /// What speaks against it: see [`BackendCells::speak_against`].
    against: Cell,
    /// 503s with Retry-After, and what the last one of them said, seconds.
    pub retry_afters: Cell,
    /// See above.
    pub retry_after_s: Cell,
    /// Confirmed dialogs, refreshed about once a second.
    pub dialogs: Cell,
    /// Calls, confirmed or still being set up. This and what follows is refreshed once a second, or
    /// with every turn where a group goes by loads.
    pub calls: Cell,
    /// Requests that wait for its final response.
    pub transactions: Cell,
    /// The same by what they weigh, hundredths.
    pub work: Cell,
    /// Moving average of the time to its first response, microseconds; 0: none has come yet.
    pub latency_us: Cell,
    /// Time to its first response.
    pub first_response: Times,
    /// Time to its final response.
    pub final_response: Times,
    /// Calls begun in a second, and in the upper half which second that is.
    begun: Cell,
}

impl BackendCells {
    /// A request that was sent at `sent_ms` has met something bad at a backend that counts as up since
    /// `up_since_ms`, as the snapshot of this worker says: of one that was sent earlier it says nothing.
    ///
    /// The count begins anew with each such time, which stands in its upper half. So what a worker
    /// says that does not know yet that the backend has come up is told from what it says afterwards.
    pub fn speak_against(&self, sent_ms: u64, up_since_ms: u64) {
        if sent_ms >= up_since_ms {
            let count = self.against(up_since_ms).saturating_add(1);
            self.against.set(u64::from(up_since_ms as u32) << 32 | u64::from(count));
        }
    }

    /// How much speaks against a backend that counts as up since then. Times are told apart by 32 bits,
    /// which come round in 49 days.
    pub fn against(&self, up_since_ms: u64) -> u32 {
        let cell = self.against.value();
        if (cell >> 32) as u32 == up_since_ms as u32 { cell as u32 } else { 0 }
    }

    /// What the worker has of this backend now, in a second of the clock that all workers share.
    pub fn publish(&self, load: Load, now_s: u32) {
        self.calls.set(load.calls.into());
        self.transactions.set(load.transactions.into());
        self.work.set(load.work.into());
        self.latency_us.set(load.latency_us.into());
        self.begun.set(u64::from(now_s) << 32 | u64::from(load.calls_begun));
    }

    /// What was published last; calls begun in another second than this do not count.
    pub fn load(&self, now_s: u32) -> Load {
        let narrow = |cell: &Cell| u32::try_from(cell.value()).unwrap_or(u32::MAX);
        let begun = self.begun.value();
        Load {
            calls: narrow(&self.calls),
            transactions: narrow(&self.transactions),
            work: narrow(&self.work),
            latency_us: narrow(&self.latency_us),
            calls_begun: if (begun >> 32) as u32 == now_s { begun as u32 } else { 0 },
        }
    }
}

/// The counters of one worker. Written by that worker alone, read by the scrape.
#[derive(Debug)]
#[repr(align(128))]
pub struct Cells {
    /// Datagrams received, before anything is known of them.
    pub datagrams_received: Cell,
    /// Bytes received.
    pub bytes_received: Cell,
    /// Datagrams given to the kernel and taken.
    pub datagrams_sent: Cell,
    /// Bytes sent.
    pub bytes_sent: Cell,
    /// Requests forwarded to the pool, by method.
    pub requests_to_backends: [Cell; Method::ALL.len()],
    /// Requests forwarded from the backends' side, by method.
    pub requests_to_clients: [Cell; Method::ALL.len()],
    /// Attempts to call: first INVITEs.
    pub call_attempts: Cell,
    /// Attempts that were answered, by result.
    pub call_results: [Cell; CallResult::ALL.len()],
    /// REGISTERs that backends answered, by result.
    pub registrations: [Cell; RegistrationResult::ALL.len()],
    /// Responses forwarded, by class: 1xx at 0 to 6xx at 5.
    pub responses: [Cell; 6],
    /// Responses forwarded, by status code.
    pub response_codes: [Cell; status_codes::PLACES],
    /// Our own answers, by reason.
    pub answers: [Cell; Answer::ALL.len()],
    /// Absorbed, by reason.
    pub absorbed: [Cell; Absorb::ALL.len()],
    /// Dropped by the core, by reason.
    pub dropped: [Cell; Drop::ALL.len()],
    /// Forwarded requests, by what chose their way; refreshed about once a second.
    pub routed: [Cell; Routed::ALL.len()],
    /// Tokens read, by what they were worth; refreshed about once a second.
    pub tokens: [Cell; TokenResult::ALL.len()],
    /// Further attempts at another backend, by cause; refreshed about once a second.
    pub failovers: [Cell; FailoverCause::ALL.len()],
    /// Requests that could not be kept for failover; refreshed about once a second.
    pub not_kept: Cell,
    /// Requests that came again, to backends and to clients; refreshed about once a
    /// second.
    pub retransmissions: [Cell; 2],
    /// Requests whose final response is not awaited; refreshed about once a second.
    pub not_tracked: Cell,
    /// Time to the first 18x or 2xx of a call.
    pub setup_seconds: Times,
    /// ACKs and CANCELs of our own for attempts that were given up.
    pub own_requests: Cell,
    /// Dropped: longer than a receive slot, so the tail was lost.
    pub truncated: Cell,
    /// Dropped: the hand-off ring of another worker was full.
    pub handoff_full: Cell,
    /// Lines of the message log that found no room.
    pub message_log_dropped: Cell,
    /// Messages given to the worker that owns their Call-ID.
    pub handoffs: Cell,
    /// Messages that came in at a listener, at the worker of several that owns their Call-ID.
    pub handoffs_spared: Cell,
    /// MSG_RING doorbells rung.
    pub doorbells: Cell,
    /// Sends that the kernel refused (any errno but those below).
    pub send_errors: Cell,
    /// Sends dropped because the socket's send buffer was full (EAGAIN).
    pub send_full: Cell,
    /// ICMP errors: ECONNREFUSED, EHOSTUNREACH, ENETUNREACH on a receive or a send.
    pub icmp_errors: Cell,
    /// Receives that ended with an errno other than ENOBUFS and the ICMP ones.
    pub receive_errors: Cell,
    /// Receives that ended because the buffer ring was empty (ENOBUFS).
    pub buffers_exhausted: Cell,
    /// CQ overflows seen.
    pub cq_overflows: Cell,
    /// Times that the submission queue was full in the middle of a turn.
    pub sq_full: Cell,
    /// Bytes that waited in the hand-off rings to this worker, looked at about once a second.
    pub handoff_queue: Cell,
    /// How long the turns lasted in which messages were forwarded, counted once a message.
    pub forward_seconds: Histogram,
    /// Calls of io_uring_enter.
    pub enters: Cell,
    /// Waits for more messages than one.
    pub gathers: Cell,
    /// How long those may have kept messages waiting, nanoseconds.
    pub gather_ns: Cell,
    /// Nanoseconds of this thread's CPU time, refreshed about once a second.
    pub cpu_ns: Cell,
    /// Pins in this shard.
    pub pins: Cell,
    /// Confirmed dialogs in this shard.
    pub dialogs: Cell,
    /// Calls in this shard, confirmed or still being set up.
    pub calls: Cell,
}

impl Default for Cells {
    /// All at 0.
    fn default() -> Self {
        let zero = Cell::default;
        Self {
            datagrams_received: zero(),
            bytes_received: zero(),
            datagrams_sent: zero(),
            bytes_sent: zero(),
            requests_to_backends: Default::default(),
            requests_to_clients: Default::default(),
            call_attempts: zero(),
            call_results: std::array::from_fn(|_| zero()),
            registrations: Default::default(),
            responses: Default::default(),
            response_codes: std::array::from_fn(|_| zero()),
            answers: std::array::from_fn(|_| zero()),
            absorbed: std::array::from_fn(|_| zero()),
            dropped: std::array::from_fn(|_| zero()),
            routed: std::array::from_fn(|_| zero()),
            tokens: std::array::from_fn(|_| zero()),
            failovers: std::array::from_fn(|_| zero()),
            not_kept: zero(),
            retransmissions: Default::default(),
            not_tracked: zero(),
            setup_seconds: Times::default(),
            own_requests: zero(),
            truncated: zero(),
            handoff_full: zero(),
            message_log_dropped: zero(),
            handoffs: zero(),
            handoffs_spared: zero(),
            doorbells: zero(),
            send_errors: zero(),
            send_full: zero(),
            icmp_errors: zero(),
            receive_errors: zero(),
            buffers_exhausted: zero(),
            cq_overflows: zero(),
            sq_full: zero(),
            handoff_queue: zero(),
            forward_seconds: Histogram::default(),
            enters: zero(),
            gathers: zero(),
            gather_ns: zero(),
            cpu_ns: zero(),
            pins: zero(),
            dialogs: zero(),
            calls: zero(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_on_a_bound_is_in_the_bucket_below_it() {
        let histogram = Histogram::default();
        for (place, bound) in BUCKETS_NS.into_iter().enumerate() {
            histogram.observe(bound, 2);
            assert_eq!(histogram.buckets[place].value(), 2 + u64::from(place > 0), "{bound}");
            histogram.observe(bound + 1, 1);
            assert_eq!(histogram.buckets[place + 1].value(), 1, "{bound}");
        }
        histogram.observe(0, 1);
        assert_eq!(histogram.buckets[0].value(), 3);
    }

    #[test]
    fn the_sum_counts_every_observation() {
        let histogram = Histogram::default();
        histogram.observe(700, 3);
        histogram.observe(u64::MAX, 0);
        assert_eq!(histogram.sum_ns.value(), 2100);
    }

    #[test]
    fn what_was_sent_before_a_backend_came_up_does_not_speak_against_it() {
        let cells = BackendCells::default();
        let since = 5_000_000_000; // beyond 32 bits of milliseconds
        cells.speak_against(since - 1, since);
        assert_eq!(cells.against(since), 0);
        cells.speak_against(since, since);
        cells.speak_against(since + 3000, since);
        assert_eq!((cells.against(since), cells.against(since + 1)), (2, 0));
    }

    #[test]
    fn a_worker_that_has_not_heard_of_its_coming_up_speaks_of_the_time_before() {
        let cells = BackendCells::default();
        let (before, after) = (1000, 7000);
        cells.speak_against(2000, before);
        cells.speak_against(7500, before); // its snapshot is an old one
        assert_eq!((cells.against(before), cells.against(after)), (2, 0));
        cells.speak_against(6999, after);
        assert_eq!((cells.against(before), cells.against(after)), (2, 0));
        cells.speak_against(7500, after);
        assert_eq!((cells.against(before), cells.against(after)), (0, 1));
    }
}
