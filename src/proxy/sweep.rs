//! The hands that go round the tables and free what has run out, a bounded number at a time.
//!
//! What has run out is not found whether or not it was swept; the reuse of its memory waits for the hand,
//! and its end in the counts.

use super::Now;
use super::pin::{PinTable, Sweep};
use super::transactions::Transactions;

/// The hands go round their whole tables in this time.
const ROUND_MS: u64 = 10_000;

/// Fewer slots are not worth a call.
const LOOKS_MIN: u64 = 16;

/// 48 KiB of the pins, which take ten microseconds, and 96 KiB of the transactions: both hands move in
/// one turn. No pause that a call could feel.
const LOOKS_MAX: u64 = 3072;

/// A removal moves others, and costs as much as dozens of looks: when many run out together, the hand
/// takes longer rather than the turn.
const REMOVALS_MAX: usize = 256;

/// Where the hands are in time.
#[derive(Debug)]
pub(super) struct Hands {
    /// When they last moved.
    moved: Now,
    /// More had run out than one could free.
    behind: bool,
}

impl Hands {
    pub(super) fn new() -> Self {
        Self { moved: Now { us: 0 }, behind: false }
    }

    /// Moves both hands on by what they have to do since the last time.
    pub(super) fn sweep(&mut self, pins: &mut PinTable, transactions: &mut Transactions, now: Now) {
        let passed_ms = now.ms() - self.moved.ms();
        let due = |slots: usize| slots as u64 * passed_ms / ROUND_MS;
        let most = |slots: usize| {
            let looks = due(slots).clamp(LOOKS_MIN, LOOKS_MAX) as usize;
            Sweep { looks, removals: REMOVALS_MAX }
        };
        if due(pins.slots().max(transactions.slots())) < LOOKS_MIN {
            return;
        }
        let freed = pins.sweep(now.seconds(), most(pins.slots()));
        let of_transactions = most(transactions.slots());
        let closed = transactions.sweep(pins.counts_mut(), now.seconds(), of_transactions);
        self.behind = freed.max(closed) == REMOVALS_MAX;
        if !self.behind {
            self.moved = now;
        }
    }

    /// How long they may rest and still go round in time, milliseconds.
    pub(super) fn pause_ms(&self, pins: &PinTable, transactions: &Transactions) -> u64 {
        if pins.pins() == 0 && transactions.is_empty() {
            return u64::MAX;
        }
        if self.behind {
            return 1;
        }
        let most = pins.slots().max(transactions.slots()) as u64;
        (ROUND_MS * LOOKS_MAX / most.max(1)).max(1)
    }
}
