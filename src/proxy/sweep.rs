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
    /// Up to when they have done what was due; `None`: they have not begun.
    moved_ms: Option<u64>,
    /// More was due than one turn could do.
    behind: bool,
}

impl Hands {
    pub(super) fn new() -> Self {
        Self { moved_ms: None, behind: false }
    }

    /// Moves both hands on by what they have to do since the last time, or by as much of that as one turn
    /// may do: then [`Hands::is_behind`].
    pub(super) fn sweep(&mut self, pins: &mut PinTable, transactions: &mut Transactions, now: Now) {
        self.behind = false;
        let is_empty = pins.pins() == 0 && transactions.is_empty();
        let Some(moved_ms) = self.moved_ms.filter(|_| !is_empty) else {
            self.moved_ms = Some(now.ms());
            return;
        };
        let due = |slots: usize, ms: u64| slots as u64 * ms / ROUND_MS;
        let slots = pins.slots().max(transactions.slots());
        // A second round sees what a removal has moved behind the hand in the first.
        let passed_ms = (now.ms() - moved_ms).min(2 * ROUND_MS);
        if due(slots, passed_ms) < LOOKS_MIN {
            return;
        }
        let step_ms = passed_ms.min((ROUND_MS * LOOKS_MAX / slots as u64).max(1));
        let most = |slots: usize| {
            let looks = due(slots, step_ms).clamp(LOOKS_MIN, LOOKS_MAX) as usize;
            Sweep { looks, removals: REMOVALS_MAX }
        };
        let freed = pins.sweep(now.seconds(), most(pins.slots()));
        let of_transactions = most(transactions.slots());
        let closed = transactions.sweep(pins.counts_mut(), now.seconds(), of_transactions);
        let held_up = freed.max(closed) == REMOVALS_MAX;
        if !held_up {
            self.moved_ms = Some(now.ms() - passed_ms + step_ms);
        }
        self.behind = held_up || step_ms < passed_ms;
    }

    /// Whether the next turn is to go on at once.
    pub(super) fn is_behind(&self) -> bool {
        self.behind
    }
}
