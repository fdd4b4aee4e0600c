//! Counts that a verdict does not tell: how requests found their way, and what tokens were worth.

use super::reason::{FailoverCause, Routed, TokenResult};

/// Which way a request goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Into the pool.
    ToBackend,
    /// From the backends' side.
    ToClient,
}

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
    /// Requests that came again before or right after their final response; by number of
    /// [`Direction`].
    pub retransmissions: [u64; 2],
    /// Requests whose final response is not awaited: too many at once, or without an RFC 3261 branch.
    pub not_tracked: u64,
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
