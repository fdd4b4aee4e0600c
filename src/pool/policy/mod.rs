//! The policies: how a new call finds its backend, one file each.

mod latency;
mod least;
mod logarithm;
mod maglev;
mod random;
mod rendezvous;
mod round_robin;
mod schedule;

use super::load::{Load, Loads};
use super::{Backend, BackendId, BackendSlot, CallHash, HashTable, Policy, Turn};
use latency::Latency;
use least::Least;
use maglev::Maglev;
use random::Random;
use rendezvous::Rendezvous;
use round_robin::RoundRobin;

/// A policy, built for one tier of one snapshot.
pub(super) struct Chooser {
    by_hash: ByHash,
    /// `None`: the hash is the policy. Else what must find the same backend again without memory
    /// still goes by the hash.
    by_memory: Option<ByMemory>,
}

enum ByHash {
    Rendezvous(Rendezvous),
    Maglev(Maglev),
}

enum ByMemory {
    RoundRobin(RoundRobin),
    Random(Random),
    Least(Least),
    Latency(Latency),
}

/// What a call is placed by.
pub(super) struct Asked<'a, L> {
    pub(super) call: CallHash,
    pub(super) loads: &'a L,
}

impl Chooser {
    pub(super) fn build(policy: Policy, members: &[(BackendSlot, &Backend)]) -> Self {
        let candidates = candidates(members);
        let by_memory = match policy {
            Policy::Hash { .. } => None,
            Policy::RoundRobin => Some(ByMemory::RoundRobin(RoundRobin::build(&candidates))),
            Policy::Random => Some(ByMemory::Random(Random::build(&candidates))),
            Policy::LeastDialogs => Some(ByMemory::least(&candidates, |load| load.calls)),
            Policy::LeastTransactions => {
                Some(ByMemory::least(&candidates, |load| load.transactions))
            }
            Policy::LeastWork => Some(ByMemory::least(&candidates, |load| load.work)),
            Policy::Latency => Some(ByMemory::Latency(Latency::build(&candidates))),
        };
        let by_hash = match policy {
            Policy::Hash { table: HashTable::Maglev, .. } => {
                ByHash::Maglev(Maglev::build(candidates))
            }
            _ => ByHash::Rendezvous(Rendezvous::build(&candidates)),
        };
        Self { by_hash, by_memory }
    }

    /// Whom the policy gives the call to, among those that `accepts` does not pass over.
    #[inline]
    pub(super) fn choose(
        &self,
        asked: &Asked<'_, impl Loads>,
        accepts: &impl Fn(BackendSlot) -> bool,
        turn: &mut Turn,
    ) -> Option<BackendSlot> {
        match &self.by_memory {
            None => self.choose_by_hash(asked.call, accepts),
            Some(ByMemory::RoundRobin(policy)) => policy.choose(accepts, turn),
            Some(ByMemory::Random(policy)) => policy.choose(accepts, turn),
            Some(ByMemory::Least(policy)) => policy.choose(asked.loads, accepts, turn),
            Some(ByMemory::Latency(policy)) => policy.choose(asked.loads, accepts, turn),
        }
    }

    #[inline]
    pub(super) fn choose_by_hash(
        &self,
        call: CallHash,
        accepts: &impl Fn(BackendSlot) -> bool,
    ) -> Option<BackendSlot> {
        match &self.by_hash {
            ByHash::Rendezvous(policy) => policy.choose(call, accepts),
            ByHash::Maglev(policy) => policy.choose(call, accepts),
        }
    }
}

impl ByMemory {
    fn least(candidates: &[Candidate], measure: fn(Load) -> u32) -> Self {
        Self::Least(Least::build(candidates, measure))
    }
}

/// What the policies know of a backend.
#[derive(Clone, Copy)]
struct Candidate {
    id: BackendId,
    slot: BackendSlot,
    /// 1 or more.
    weight: u16,
    /// Takes new calls now. One that does not may still have a part in a table, so that the others
    /// keep theirs.
    takes: bool,
}

/// Every backend with a weight, in the order of the config.
fn candidates(members: &[(BackendSlot, &Backend)]) -> Vec<Candidate> {
    let candidate = |(slot, backend): &(BackendSlot, &Backend)| Candidate {
        id: backend.id,
        slot: *slot,
        weight: backend.spec.weight,
        takes: backend.takes_new_calls(),
    };
    members.iter().map(candidate).filter(|c| c.weight > 0).collect()
}

#[cfg(test)]
fn candidates_of(weights: &[u16]) -> Vec<Candidate> {
    let candidate = |(place, weight): (usize, &u16)| Candidate {
        id: BackendId::of_name(&format!("proxy-{place}")),
        slot: BackendSlot(place as u16),
        weight: *weight,
        takes: true,
    };
    weights.iter().enumerate().map(candidate).collect()
}
