//! One worker's counters: plain stores by one writer, no atomic read-modify-write, no shared line.

use crate::pool::BackendId;
use crate::proxy::{Absorb, Answer, Drop, Routed, TokenResult};
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

/// What requests met at a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BackendOutcome {
    /// A final response other than 503 to a request that may begin something.
    Answered,
    /// Such a request got 503.
    Refused,
    /// An ICMP error or a missing route, whatever was sent.
    Unreachable,
}

impl BackendOutcome {
    /// Each, in the order of the cells.
    pub const ALL: [Self; 3] = [Self::Answered, Self::Refused, Self::Unreachable];

    /// The value of the label `outcome`.
    pub fn label(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Refused => "refused",
            Self::Unreachable => "unreachable",
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
    /// Requests forwarded to the pool.
    pub requests_to_backends: Cell,
    /// Requests forwarded from the backends' side.
    pub requests_to_clients: Cell,
    /// Responses forwarded, by class: 1xx at 0 to 6xx at 5.
    pub responses: [Cell; 6],
    /// Requests that each backend got; the backend at a place is that of `backend_ids`.
    pub backend_requests: Vec<Cell>,
    /// What requests met at each backend, at the places of `backend_requests`.
    pub backend_outcomes: Vec<[Cell; BackendOutcome::ALL.len()]>,
    /// The identity behind each place of `backend_requests`.
    pub backend_ids: Vec<BackendId>,
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
    /// Dropped: longer than a receive slot, so the tail was lost.
    pub truncated: Cell,
    /// Dropped: the hand-off ring of another worker was full.
    pub handoff_full: Cell,
    /// Messages given to the worker that owns their Call-ID.
    pub handoffs: Cell,
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
    /// Calls of io_uring_enter.
    pub enters: Cell,
    /// Nanoseconds of this thread's CPU time, refreshed about once a second.
    pub cpu_ns: Cell,
    /// Pins in this shard.
    pub pins: Cell,
    /// Confirmed dialogs in this shard.
    pub dialogs: Cell,
}

impl Cells {
    /// Cells for a worker that knows these backends, all at 0: every series exists from the start.
    pub fn new(backend_ids: Vec<BackendId>) -> Self {
        let zero = Cell::default;
        Self {
            datagrams_received: zero(),
            bytes_received: zero(),
            datagrams_sent: zero(),
            bytes_sent: zero(),
            requests_to_backends: zero(),
            requests_to_clients: zero(),
            responses: Default::default(),
            backend_requests: backend_ids.iter().map(|_| zero()).collect(),
            backend_outcomes: backend_ids.iter().map(|_| Default::default()).collect(),
            backend_ids,
            answers: std::array::from_fn(|_| zero()),
            absorbed: std::array::from_fn(|_| zero()),
            dropped: std::array::from_fn(|_| zero()),
            routed: std::array::from_fn(|_| zero()),
            tokens: std::array::from_fn(|_| zero()),
            truncated: zero(),
            handoff_full: zero(),
            handoffs: zero(),
            doorbells: zero(),
            send_errors: zero(),
            send_full: zero(),
            icmp_errors: zero(),
            receive_errors: zero(),
            buffers_exhausted: zero(),
            cq_overflows: zero(),
            enters: zero(),
            cpu_ns: zero(),
            pins: zero(),
            dialogs: zero(),
        }
    }
}
