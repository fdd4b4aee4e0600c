//! What a backend does wrong on purpose, switched while it runs.

use crate::random::Random;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::SocketAddr;
use std::time::Duration;

/// How a backend meets new calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Manner {
    /// It answers them.
    #[default]
    Good,
    /// It answers them, and OPTIONS, with 503.
    Busy,
    /// It says nothing to them, and answers everything else.
    DeafToCalls,
    /// Nothing goes in: a black hole.
    Mute,
    /// It says nothing to them for a time between these two, drawn by seed and Call-ID, and then
    /// answers.
    Slow(Duration, Duration),
}

/// INVITEs that a slow backend has not looked at yet.
#[derive(Debug, Default)]
pub(super) struct Held {
    heap: BinaryHeap<Reverse<Waiting>>,
    count: u64,
}

/// By when they are due, and then in the order that they came in: when, number, source, bytes.
type Waiting = (u64, u64, SocketAddr, Vec<u8>);

impl Held {
    pub(super) fn hold(
        &mut self,
        now: u64,
        (shortest, longest): (Duration, Duration),
        random: &mut Random,
        source: SocketAddr,
        bytes: &[u8],
    ) {
        let wait = random.between(shortest.as_nanos() as u64, longest.as_nanos() as u64);
        self.count += 1;
        self.heap.push(Reverse((now + wait, self.count, source, bytes.to_vec())));
    }

    /// When the next one is due, nanoseconds.
    pub(super) fn next(&self) -> Option<u64> {
        self.heap.peek().map(|Reverse((due, ..))| *due)
    }

    /// One that is due.
    pub(super) fn take_due(&mut self, now: u64) -> Option<(SocketAddr, Vec<u8>)> {
        if self.next()? > now {
            return None;
        }
        self.heap.pop().map(|Reverse((_, _, source, bytes))| (source, bytes))
    }
}
