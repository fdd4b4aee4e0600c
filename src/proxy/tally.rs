//! Counts that a verdict does not tell: how requests found their way, and what tokens were worth.

use super::reason::{FailoverCause, Routed, TokenResult};

/// Counts since the shard began. The worker copies them into its cells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Requests by what chose their way; by number of [`Routed`].
    pub routed: [u64; Routed::ALL.len()],
    /// Tokens read; by number of [`TokenResult`].
    pub tokens: [u64; TokenResult::ALL.len()],
    /// Further attempts, by their cause; by number of [`FailoverCause`].
    pub failovers: [u64; FailoverCause::ALL.len()],
    /// Requests that went without failover, because they were too long or too many to be kept.
    pub not_kept: u64,
}

impl Tally {
    pub(super) fn routed(&mut self, by: Routed) {
        self.routed[by as usize] += 1;
    }

    pub(super) fn failover(&mut self, cause: FailoverCause) {
        self.failovers[cause as usize] += 1;
    }

    pub(super) fn token(&mut self, result: TokenResult) {
        self.tokens[result as usize] += 1;
    }
}
