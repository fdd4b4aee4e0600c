//! One `[[pool]]` of the config inside a snapshot: its tiers, its policy, its bound.
//!
//! A choice walks the tiers in their order and takes the first backend that its policy gives, passing
//! over those that are excluded or full. So a tier is used when all before it are away, or full.

use super::load::{Load, Loads};
use super::policy::{Asked, Chooser};
use super::{Backend, BackendSlot, BackendSpec, CallHash, Policy, Turn};

/// What the config says of one `[[pool]]`.
#[derive(Clone, Debug)]
pub struct GroupSpec {
    /// Its name.
    pub name: String,
    /// How new calls are spread.
    pub policy: Policy,
    /// The header field that [`super::HashKey::Header`] goes by.
    pub hash_header: Option<String>,
    /// For policies by hash: the calls of a backend at most, in per cent of what its weight makes
    /// fair; above 100. `None`: as many as the hash gives it.
    pub bound_percent: Option<u16>,
    /// The header field that tells the backends where a request came from; `None`: none does.
    pub source_header: Option<String>,
    /// Those that the config has.
    pub backends: Vec<BackendSpec>,
    /// Those on their way out: found by identity alone.
    pub leaving: Vec<BackendSpec>,
}

impl GroupSpec {
    /// A group without anything beside a policy and backends.
    pub fn new(name: impl Into<String>, policy: Policy, backends: Vec<BackendSpec>) -> Self {
        Self {
            name: name.into(),
            policy,
            hash_header: None,
            bound_percent: None,
            source_header: None,
            backends,
            leaving: Vec::new(),
        }
    }
}

/// What came of a choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// This backend.
    Backend(BackendSlot),
    /// Somebody takes calls, but all of them have reached a cap.
    Full,
    /// Nobody takes calls.
    Nobody,
}

impl Choice {
    /// The backend, if it is one.
    pub fn slot(self) -> Option<BackendSlot> {
        match self {
            Self::Backend(slot) => Some(slot),
            Self::Full | Self::Nobody => None,
        }
    }
}

/// A group of one snapshot.
pub struct Group {
    name: String,
    policy: Policy,
    hash_header: Option<String>,
    source_header: Option<String>,
    bound_percent: Option<u16>,
    /// Somebody has a cap.
    capped: bool,
    /// In their order; only such as have somebody with a weight.
    tiers: Vec<Tier>,
}

struct Tier {
    chooser: Chooser,
    takers: Vec<BackendSlot>,
    /// Of the takers.
    weight: u64,
}

impl Group {
    /// `members` are the group's backends that stay, with their slots.
    pub(super) fn build(spec: &GroupSpec, members: &[(BackendSlot, &Backend)]) -> Self {
        let tier_of = |backend: &Backend| backend.spec.intake.tier();
        let mut order: Vec<u32> = members.iter().map(|(_, backend)| tier_of(backend)).collect();
        order.sort_unstable();
        order.dedup();
        let of_tier = |tier: &u32| -> Vec<_> {
            members.iter().filter(|(_, backend)| tier_of(backend) == *tier).copied().collect()
        };
        let tiers = order.iter().map(|tier| Tier::build(spec.policy, &of_tier(tier)));
        Self {
            name: spec.name.clone(),
            policy: spec.policy,
            hash_header: spec.hash_header.clone(),
            source_header: spec.source_header.clone(),
            bound_percent: spec.bound_percent.filter(|_| spec.policy.is_hash()),
            capped: members.iter().any(|(_, backend)| backend.spec.intake.is_capped()),
            tiers: tiers.collect(),
        }
    }

    /// Its name in the config.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How it spreads new calls.
    pub fn policy(&self) -> Policy {
        self.policy
    }

    /// The header field that [`super::HashKey::Header`] goes by.
    pub fn hash_header(&self) -> Option<&str> {
        self.hash_header.as_deref()
    }

    /// The header field that tells the backends where a request came from.
    pub fn source_header(&self) -> Option<&str> {
        self.source_header.as_deref()
    }

    /// Whether anybody takes new calls.
    pub fn takes_new_calls(&self) -> bool {
        self.tiers.iter().any(|tier| !tier.takers.is_empty())
    }

    /// Whether [`Group::choose`] looks at loads.
    pub fn asks_for_loads(&self) -> bool {
        self.capped || self.bound_percent.is_some() || self.policy.asks_for_loads()
    }

    pub(super) fn choose(
        &self,
        backends: &[Backend],
        call: CallHash,
        excluded: &[BackendSlot],
        loads: &impl Loads,
        turn: &mut Turn,
    ) -> Choice {
        let free = |slot: BackendSlot| {
            let intake = &backends[usize::from(slot.0)].spec.intake;
            !(excluded.contains(&slot)
                || self.capped && loads.for_call() && intake.is_full(loads.of(slot)))
        };
        for tier in &self.tiers {
            let asked = Asked { call, loads };
            let found = match self.bound_percent.filter(|_| loads.for_call()) {
                Some(percent) => {
                    let bound = tier.bound(percent, loads);
                    let within = |slot: BackendSlot| {
                        let weight = backends[usize::from(slot.0)].spec.weight;
                        free(slot) && bound.allows(loads.of(slot), weight)
                    };
                    // Where exclusions leave nobody within the bound, a full one is better than none.
                    let found = tier.chooser.choose(&asked, &within, turn);
                    found.or_else(|| tier.chooser.choose(&asked, &free, turn))
                }
                None => tier.chooser.choose(&asked, &free, turn),
            };
            if let Some(slot) = found {
                return Choice::Backend(slot);
            }
        }
        let left = |slot: &BackendSlot| !excluded.contains(slot);
        match self.tiers.iter().any(|tier| tier.takers.iter().any(left)) {
            true => Choice::Full,
            false => Choice::Nobody,
        }
    }

    pub(super) fn choose_by_hash(
        &self,
        call: CallHash,
        excluded: &[BackendSlot],
    ) -> Option<BackendSlot> {
        let accepts = |slot: BackendSlot| !excluded.contains(&slot);
        self.tiers.iter().find_map(|tier| tier.chooser.choose_by_hash(call, &accepts))
    }
}

impl Tier {
    fn build(policy: Policy, members: &[(BackendSlot, &Backend)]) -> Self {
        let takes = |(_, backend): &&(BackendSlot, &Backend)| backend.takes_new_calls();
        let weight = |(_, backend): &(BackendSlot, &Backend)| u64::from(backend.spec.weight);
        Self {
            chooser: Chooser::build(policy, members),
            takers: members.iter().filter(takes).map(|(slot, _)| *slot).collect(),
            weight: members.iter().filter(takes).map(weight).sum(),
        }
    }

    fn bound(&self, percent: u16, loads: &impl Loads) -> Bound {
        let all: u64 = self.takers.iter().map(|slot| u64::from(loads.of(*slot).calls)).sum();
        Bound { calls_percent: u64::from(percent) * (all + 1), weight: self.weight.max(1) }
    }
}

/// Consistent hashing with bounded loads (Mirrokni, Thorup, Zadimoghaddam, 2018): with the call in
/// question, nobody has more than its part of the bound, rounded up. As that sums up to more than
/// all calls, somebody is always within it.
struct Bound {
    /// All calls of the tier and one more, times the per cent of what is fair.
    calls_percent: u64,
    /// Of the tier.
    weight: u64,
}

impl Bound {
    fn allows(&self, load: Load, weight: u16) -> bool {
        let most = (self.calls_percent * u64::from(weight)).div_ceil(100 * self.weight);
        u64::from(load.calls) < most
    }
}
