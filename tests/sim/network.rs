//! A network that loses, repeats, delays and reorders datagrams, all out of one seed.
//!
//! It loses the same bytes on the same way at most once. So every retransmission scheme must
//! succeed, and a call that does not complete is a finding, never bad luck.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashSet};
use std::net::SocketAddr;

/// Numbers out of a seed (splitmix64): the same on every machine.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// From `low` to one below `high`.
    pub(crate) fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.next() % (high - low)
    }

    /// True in `percent` of 100 cases.
    pub(crate) fn percent(&mut self, percent: u64) -> bool {
        self.between(0, 100) < percent
    }
}

/// A datagram on its way.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Datagram {
    pub(crate) from: SocketAddr,
    pub(crate) to: SocketAddr,
    pub(crate) text: String,
}

/// What the network does to datagrams. All zero: nothing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Faults {
    pub(crate) loss_percent: u64,
    pub(crate) repeat_percent: u64,
    /// Each datagram takes from 1 to this many milliseconds.
    pub(crate) delay_ms_max: u64,
}

pub(crate) struct Network {
    faults: Faults,
    /// By time of arrival, and then in the order of sending.
    underway: BinaryHeap<Reverse<(u64, u64, Datagram)>>,
    sent: u64,
    lost: HashSet<Datagram>,
}

impl Network {
    pub(crate) fn new(faults: Faults) -> Self {
        Self { faults, underway: BinaryHeap::new(), sent: 0, lost: HashSet::new() }
    }

    pub(crate) fn send(&mut self, random: &mut Random, now_ms: u64, datagram: Datagram) {
        if random.percent(self.faults.loss_percent) && self.lost.insert(datagram.clone()) {
            return;
        }
        let copies = if random.percent(self.faults.repeat_percent) { 2 } else { 1 };
        for _ in 0..copies {
            let arrival = now_ms + random.between(1, self.faults.delay_ms_max + 1);
            self.sent += 1;
            self.underway.push(Reverse((arrival, self.sent, datagram.clone())));
        }
    }

    /// When the next datagram arrives.
    pub(crate) fn next_ms(&self) -> Option<u64> {
        self.underway.peek().map(|Reverse((arrival, ..))| *arrival)
    }

    /// The next datagram that has arrived by now.
    pub(crate) fn receive(&mut self, now_ms: u64) -> Option<Datagram> {
        if self.next_ms()? > now_ms {
            return None;
        }
        self.underway.pop().map(|Reverse((.., datagram))| datagram)
    }

    /// How many copies were delivered or are underway, and how many were lost.
    pub(crate) fn counts(&self) -> (u64, usize) {
        (self.sent, self.lost.len())
    }
}
