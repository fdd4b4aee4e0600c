//! The policies: how a new call finds its backend, one file each.

mod logarithm;
mod maglev;
mod rendezvous;
mod round_robin;
mod schedule;

use super::{Backend, BackendId, BackendSlot, CallHash, Policy, Turn};
use maglev::Maglev;
use rendezvous::Rendezvous;
use round_robin::RoundRobin;

/// A policy, built for one snapshot.
pub(super) enum Chooser {
    Rendezvous(Rendezvous),
    Maglev(Maglev),
    /// In turn; what must find the same backend again without memory goes by rendezvous.
    RoundRobin(RoundRobin, Rendezvous),
}

impl Chooser {
    pub(super) fn build(policy: Policy, backends: &[Backend]) -> Self {
        let candidates = candidates(backends);
        match policy {
            Policy::CallIdHash => Self::Rendezvous(Rendezvous::build(&candidates)),
            Policy::CallIdHashMaglev => Self::Maglev(Maglev::build(candidates)),
            Policy::RoundRobin => {
                Self::RoundRobin(RoundRobin::build(&candidates), Rendezvous::build(&candidates))
            }
        }
    }

    #[inline]
    pub(super) fn choose(
        &self,
        call: CallHash,
        excluded: &[BackendSlot],
        turn: &mut Turn,
    ) -> Option<BackendSlot> {
        match self {
            Self::Rendezvous(policy) => policy.choose(call, excluded),
            Self::Maglev(policy) => policy.choose(call, excluded),
            Self::RoundRobin(policy, _) => policy.choose(excluded, turn),
        }
    }

    #[inline]
    pub(super) fn choose_by_hash(
        &self,
        call: CallHash,
        excluded: &[BackendSlot],
    ) -> Option<BackendSlot> {
        match self {
            Self::Rendezvous(policy) | Self::RoundRobin(_, policy) => policy.choose(call, excluded),
            Self::Maglev(policy) => policy.choose(call, excluded),
        }
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
fn candidates(backends: &[Backend]) -> Vec<Candidate> {
    let candidate = |(place, backend): (usize, &Backend)| Candidate {
        id: backend.id,
        slot: BackendSlot(place as u16),
        weight: backend.spec.weight,
        takes: backend.takes_new_calls(),
    };
    backends.iter().enumerate().map(candidate).filter(|c| c.weight > 0).collect()
}

/// True if `excluded` leaves nobody. Cheap: `excluded` is short, so a longer list of takers has one
/// who is not in it, without a look.
fn nobody_left(takers: &[BackendSlot], excluded: &[BackendSlot]) -> bool {
    takers.len() <= excluded.len() && takers.iter().all(|slot| excluded.contains(slot))
}
