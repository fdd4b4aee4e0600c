//! `call-id-hash`: weighted rendezvous. Every backend bids for the call; the highest bid wins.
//!
//! A bid depends on the call and on that backend alone. So removing or draining a backend moves the
//! calls that it would have won and no other, a new one takes calls from the others only for
//! itself, and the order of the list plays no part.
//!
//! With `u` uniform in (0, 1], the bid is `-weight / ln(u)`: the backend that wins then has a share
//! in proportion to its weight. Where weights are equal, the higher `u` is the higher bid, and no
//! logarithm is taken. That is the same choice, since the logarithm of this room keeps the order of
//! `u` and ties are broken by `u`.

use super::super::hash::{mix, spread};
use super::logarithm::cost;
use super::{BackendSlot, CallHash, Candidate};

/// Keeps these uses of an identity apart from Maglev's.
const PURPOSE: u32 = 0;

/// The backends that take new calls.
pub(in crate::pool) struct Rendezvous {
    bidders: Vec<Bidder>,
    equal_weights: bool,
}

#[derive(Clone, Copy)]
struct Bidder {
    /// The identity, spread over 64 bits.
    key: u64,
    weight: u16,
    slot: BackendSlot,
}

impl Rendezvous {
    pub(super) fn build(candidates: &[Candidate]) -> Self {
        let bidder =
            |c: &Candidate| Bidder { key: spread(c.id, PURPOSE), weight: c.weight, slot: c.slot };
        let bidders: Vec<_> = candidates.iter().filter(|c| c.takes).map(bidder).collect();
        let equal_weights = bidders.windows(2).all(|pair| pair[0].weight == pair[1].weight);
        Self { bidders, equal_weights }
    }

    #[inline]
    pub(super) fn choose(
        &self,
        call: CallHash,
        accepts: &impl Fn(BackendSlot) -> bool,
    ) -> Option<BackendSlot> {
        match self.equal_weights {
            true => self.choose_by_score(call, accepts),
            false => self.choose_by_bid(call, accepts),
        }
    }

    /// For equal weights.
    fn choose_by_score(
        &self,
        call: CallHash,
        accepts: &impl Fn(BackendSlot) -> bool,
    ) -> Option<BackendSlot> {
        let mut best: Option<(u64, &Bidder)> = None;
        for bidder in &self.bidders {
            let score = mix(call.0 ^ bidder.key);
            let higher = best.is_none_or(|(top, by)| (score, bidder.key) > (top, by.key));
            if higher && accepts(bidder.slot) {
                best = Some((score, bidder));
            }
        }
        best.map(|(_, bidder)| bidder.slot)
    }

    /// For any weights. The best bid is the lowest `cost / weight`, compared as fractions.
    fn choose_by_bid(
        &self,
        call: CallHash,
        accepts: &impl Fn(BackendSlot) -> bool,
    ) -> Option<BackendSlot> {
        let mut best: Option<Bid<'_>> = None;
        for bidder in &self.bidders {
            let score = mix(call.0 ^ bidder.key);
            // Neither luckier nor heavier: no need for the logarithm.
            if best.is_some_and(|best| score < best.score && bidder.weight <= best.bidder.weight) {
                continue;
            }
            let bid = Bid { bidder, score, cost: cost(score) };
            let higher = best.is_none_or(|best| bid.is_higher_than(&best));
            if higher && accepts(bidder.slot) {
                best = Some(bid);
            }
        }
        best.map(|bid| bid.bidder.slot)
    }
}

#[derive(Clone, Copy)]
struct Bid<'a> {
    bidder: &'a Bidder,
    score: u64,
    cost: u64,
}

impl Bid<'_> {
    #[inline]
    fn is_higher_than(&self, other: &Self) -> bool {
        let own = self.cost * u64::from(other.bidder.weight);
        let theirs = other.cost * u64::from(self.bidder.weight);
        match own == theirs {
            false => own < theirs,
            true => (self.score, self.bidder.key) > (other.score, other.bidder.key),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::candidates_of;
    use super::*;

    fn rendezvous(weights: &[u16]) -> Rendezvous {
        Rendezvous::build(&candidates_of(weights))
    }

    fn calls() -> impl Iterator<Item = CallHash> {
        (0..20_000).map(|i| CallHash(mix(i)))
    }

    #[test]
    fn equal_weights_choose_the_same_with_and_without_logarithm() {
        for weight in [1, 7, 65_535] {
            let policy = rendezvous(&[weight; 17]);
            assert!(policy.equal_weights);
            for call in calls() {
                let by_score = policy.choose_by_score(call, &|_| true);
                assert_eq!(by_score, policy.choose_by_bid(call, &|_| true));
            }
        }
    }

    #[test]
    fn skipping_logarithms_changes_nothing() {
        let policy = rendezvous(&[1, 5, 2, 65_535, 400, 5, 1, 30_000, 9]);
        assert!(!policy.equal_weights);
        for call in calls() {
            let bids = policy.bidders.iter().map(|bidder| {
                let score = mix(call.0 ^ bidder.key);
                Bid { bidder, score, cost: cost(score) }
            });
            let best = bids.reduce(|best, bid| if bid.is_higher_than(&best) { bid } else { best });
            assert_eq!(policy.choose_by_bid(call, &|_| true), best.map(|bid| bid.bidder.slot));
        }
    }

    #[test]
    fn a_larger_weight_only_draws_calls_to_itself() {
        let before = rendezvous(&[3, 3, 3, 3, 3]);
        let after = rendezvous(&[3, 3, 4, 3, 3]);
        let mut drawn = 0;
        for call in calls() {
            let (old, new) = (before.choose(call, &|_| true), after.choose(call, &|_| true));
            assert!(old == new || new == Some(BackendSlot(2)), "{old:?} became {new:?}");
            drawn += u32::from(old != new);
        }
        assert!(drawn > 0);
    }
}
