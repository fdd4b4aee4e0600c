//! Counts that a verdict does not tell: how requests found their way, and what tokens were worth.

use super::reason::{Routed, TokenResult};

/// Counts since the shard began. The worker copies them into its cells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Requests by what chose their way; by number of [`Routed`].
    pub routed: [u64; Routed::ALL.len()],
    /// Tokens read; by number of [`TokenResult`].
    pub tokens: [u64; TokenResult::ALL.len()],
}

impl Tally {
    pub(super) fn routed(&mut self, by: Routed) {
        self.routed[by as usize] += 1;
    }

    pub(super) fn token(&mut self, result: TokenResult) {
        self.tokens[result as usize] += 1;
    }
}
