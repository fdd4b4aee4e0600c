//! Who can take a call: a snapshot of the backends, immutable once built.
//!
//! A snapshot holds every `[[pool]]` of the config as a [`Group`], and the rules that say which of them
//! a request is for. Identities last over swaps: a [`BackendId`] is a fixed hash of the backend's name
//! and stands in tokens and pins; a [`BackendSlot`] is a place in one snapshot and never outlives it.
//!
//! Whether a backend can take calls is decided outside; [`health`] is the state machine for it.
//!
//! A new call is placed in three steps: [`Pool::route`] finds its group, [`Pool::call_hash`] hashes what
//! the group's policy goes by, [`Pool::choose`] walks no list longer than it must and allocates nothing.
//! The policies are in `policy/`, one file each.

mod error;
mod group;
mod hash;
pub mod health;
mod key;
mod load;
mod lookup;
mod policy;
mod route;

pub use error::PoolError;
pub use group::{Choice, Group, GroupSpec};
pub use hash::CallHash;
pub use load::{Intake, Load, Loads};
pub use route::{Domain, Facts, HeaderRule, Rule};

use crate::limits::{BACKENDS_MAX, GROUPS_MAX};
use hash::CallHasher;
use ipnet::IpNet;
use lookup::Lookup;
use std::fmt;
use std::net::SocketAddr;

/// The identity of a backend, the same on every node and after every restart: a fixed hash of its
/// name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BackendId(pub u32);

/// The place of a backend in one [`Pool`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BackendSlot(pub u16);

/// The place of a `[[pool]]` in one [`Pool`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GroupIndex(pub u8);

/// Whether a backend takes calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Takes new calls.
    Ready,
    /// Takes no new calls; its dialogs go on.
    Drained,
    /// Takes no new calls and is not expected to answer; its dialogs still have nowhere else to go.
    Down,
}

/// How a new call finds its backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Policy {
    /// By a hash: the same every time and on every node.
    Hash {
        /// Of what.
        key: HashKey,
        /// How it becomes a backend.
        table: HashTable,
    },
    /// In turn, by weight; each worker turns on its own.
    RoundRobin,
    /// Drawn by weight.
    Random,
    /// Fewest calls for its weight (CJSQ).
    LeastDialogs,
    /// Fewest requests without a final response (TJSQ).
    LeastTransactions,
    /// Least work in such requests (TLWL).
    LeastWork,
    /// The sooner of two by the time to the first response.
    Latency,
}

/// What a policy by hash goes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HashKey {
    /// The Call-ID.
    CallId,
    /// The address that the request came from, without the port.
    Source,
    /// The user that is registered or called: To of a REGISTER, else the Request-URI.
    Aor,
    /// A header field of the group's choice; the Call-ID where it is not there.
    Header,
}

/// How a hash becomes a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HashTable {
    /// Weighted rendezvous: removing a backend moves its own share and nothing else.
    Rendezvous,
    /// Weighted Maglev (65 537 entries): constant time, for very large pools.
    Maglev,
}

impl Policy {
    /// `call-id-hash`, the default.
    pub const CALL_ID_HASH: Self =
        Self::Hash { key: HashKey::CallId, table: HashTable::Rendezvous };

    /// `call-id-hash` with `hash = "maglev"`.
    pub const CALL_ID_HASH_MAGLEV: Self =
        Self::Hash { key: HashKey::CallId, table: HashTable::Maglev };

    /// Whether it needs no memory.
    pub fn is_hash(self) -> bool {
        matches!(self, Self::Hash { .. })
    }

    /// What a choice without memory goes by: for other policies the Call-ID.
    pub fn hash_key(self) -> HashKey {
        match self {
            Self::Hash { key, .. } => key,
            _ => HashKey::CallId,
        }
    }

    /// Whether it looks at what backends have to do.
    pub fn asks_for_loads(self) -> bool {
        match self {
            Self::Hash { .. } | Self::RoundRobin | Self::Random => false,
            Self::LeastDialogs | Self::LeastTransactions | Self::LeastWork | Self::Latency => true,
        }
    }
}

/// What the config says of one backend.
#[derive(Clone, Debug)]
pub struct BackendSpec {
    /// The identity; the address where the config gives no name.
    pub name: String,
    /// Where requests go.
    pub address: SocketAddr,
    /// Share of new calls relative to the others, 0 to 65 535; 0 takes none.
    pub weight: u16,
    /// Takes calls or not.
    pub state: State,
    /// Networks whose requests count as coming from this backend, beside its own address.
    pub sources: Vec<IpNet>,
    /// Place in [`crate::proxy::Settings::sides`].
    pub side: u8,
    /// Its tier and its caps.
    pub intake: Intake,
    /// Since when it counts as up, milliseconds on the clock of the data path: what a request met that
    /// was sent before says nothing of it.
    pub up_since_ms: u64,
}

impl BackendSpec {
    /// A backend like any other: ready, of weight 1, with nothing of its own beside name and address.
    pub fn new(name: &str, address: SocketAddr) -> Self {
        Self {
            name: name.to_owned(),
            address,
            weight: 1,
            state: State::Ready,
            sources: Vec::new(),
            side: 0,
            intake: Intake::default(),
            up_since_ms: 0,
        }
    }
}

/// A backend of one snapshot.
#[derive(Clone, Debug)]
pub struct Backend {
    /// Identity.
    pub id: BackendId,
    /// The `[[pool]]` that it is in.
    pub group: GroupIndex,
    /// What the config said.
    pub spec: BackendSpec,
}

impl Backend {
    /// True if the policy may give it new calls: ready, and its weight is not 0.
    pub fn takes_new_calls(&self) -> bool {
        self.spec.state == State::Ready && self.spec.weight > 0
    }
}

/// Where a worker stands in a group: whose turn it is, which draw comes next. Give each worker another
/// start, so that they do not all begin with the first backend.
#[derive(Clone, Copy, Debug, Default)]
pub struct Turn(pub u64);

/// All backends of one moment.
pub struct Pool {
    backends: Vec<Backend>,
    groups: Vec<Group>,
    rules: Vec<Rule>,
    lookup: Lookup,
    hasher: CallHasher,
    layout: u64,
}

impl Pool {
    /// A snapshot of one group. `seed` is the config's `hash_seed`, equal on every node.
    ///
    /// This takes some milliseconds with a large Maglev table: not for the data path.
    ///
    /// # Errors
    /// As [`Pool::build_groups`].
    pub fn build(backends: Vec<BackendSpec>, policy: Policy, seed: u64) -> Result<Self, PoolError> {
        Self::build_groups(&[GroupSpec::new("default", policy, backends)], Vec::new(), seed)
    }

    /// A snapshot of all groups; the first of them takes what no rule gives to another.
    ///
    /// Backends stand in the order of the groups, behind them those that are leaving: their identities
    /// find them as long as they are here, and nothing else does. One may have the address of another
    /// backend, which then counts as who is there (it was renamed). So may backends of different
    /// groups: the one of the first group counts then.
    ///
    /// # Errors
    /// When there is no group, there are too many groups or backends, or two backends share a name or
    /// an identity, or two of a group an address. A group without backends is no error: it has nobody
    /// for new calls.
    pub fn build_groups(
        specs: &[GroupSpec],
        rules: Vec<Rule>,
        seed: u64,
    ) -> Result<Self, PoolError> {
        if specs.is_empty() || specs.len() > GROUPS_MAX {
            return Err(PoolError::Groups(specs.len()));
        }
        let count = specs.iter().map(|group| group.backends.len() + group.leaving.len()).sum();
        if count > BACKENDS_MAX {
            return Err(PoolError::TooMany(count));
        }
        debug_assert!(rules.iter().all(|rule| usize::from(rule.group.0) < specs.len()));
        let (backends, staying) = in_order(specs);
        let lookup = Lookup::build(&backends, staying, seed)?;
        let of_group = |group: GroupIndex| -> Vec<(BackendSlot, &Backend)> {
            let slots = backends[..staying].iter().enumerate();
            let slots = slots.map(|(place, backend)| (BackendSlot(place as u16), backend));
            slots.filter(|(_, backend)| backend.group == group).collect()
        };
        let group = |(place, spec)| Group::build(spec, &of_group(GroupIndex(place as u8)));
        let groups = specs.iter().enumerate().map(group).collect();
        let layout = hash::layout(backends.iter().map(|backend| backend.id));
        Ok(Self { groups, rules, lookup, hasher: CallHasher::new(seed), layout, backends })
    }

    /// Every backend, in the order of the config; a [`BackendSlot`] is a place in it.
    pub fn backends(&self) -> &[Backend] {
        &self.backends
    }

    /// The backend in this slot.
    ///
    /// # Panics
    /// If the slot is of another snapshot.
    #[inline]
    pub fn backend(&self, slot: BackendSlot) -> &Backend {
        &self.backends[usize::from(slot.0)]
    }

    /// The backend with this identity.
    #[inline]
    pub fn by_id(&self, id: BackendId) -> Option<BackendSlot> {
        self.lookup.by_id(id)
    }

    /// The backend that listens on this address.
    #[inline]
    pub fn by_address(&self, address: SocketAddr) -> Option<BackendSlot> {
        self.lookup.by_address(address)
    }

    /// Every backend on this address: of several groups, or leaving. Walks them all if there is one.
    pub fn all_by_address(&self, address: SocketAddr) -> impl Iterator<Item = BackendSlot> {
        let first = self.by_address(address).map_or(self.backends.len(), |slot| slot.0.into());
        let places = first..self.backends.len();
        places
            .filter(move |place| self.backends[*place].spec.address == address)
            .map(|place| BackendSlot(place as u16))
    }

    /// The backend that a datagram from this address comes from: its address, or one of its
    /// `source` networks (the first in order of the config).
    #[inline]
    pub fn by_source(&self, source: SocketAddr) -> Option<BackendSlot> {
        self.lookup.by_source(source)
    }

    /// Every group, in the order of the config; a [`GroupIndex`] is a place in it.
    pub fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// A group.
    ///
    /// # Panics
    /// If the index is of another snapshot.
    #[inline]
    pub fn group(&self, group: GroupIndex) -> &Group {
        &self.groups[usize::from(group.0)]
    }

    /// The rules, in their order.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// The group that a new request is for: of the first rule that matches, else the first one.
    #[inline]
    pub fn route(&self, facts: &impl Facts) -> GroupIndex {
        match self.rules.is_empty() {
            true => GroupIndex(0),
            false => route::group_for(&self.rules, facts),
        }
    }

    /// Equal in snapshots whose slots hold the same backends: tables by slot stay right over a swap
    /// that leaves it as it is.
    #[inline]
    pub fn layout(&self) -> u64 {
        self.layout
    }

    /// Whether anybody at all takes new calls.
    pub fn takes_new_calls(&self) -> bool {
        self.groups.iter().any(Group::takes_new_calls)
    }

    /// What the policies by hash go by; the same on every node with the same seed.
    #[inline]
    pub fn call_hash(&self, key: &[u8]) -> CallHash {
        self.hasher.hash(key)
    }

    /// Where a new call of this group goes. `call` is the hash of what its policy goes by
    /// ([`Policy::hash_key`]). Backends in `excluded` are passed over (a spiral's earlier backends; a
    /// few at most). `turn` is the worker's own for this group.
    #[inline]
    pub fn choose(
        &self,
        group: GroupIndex,
        call: CallHash,
        excluded: &[BackendSlot],
        loads: &impl Loads,
        turn: &mut Turn,
    ) -> Choice {
        self.group(group).choose(&self.backends, call, excluded, loads, turn)
    }

    /// Like [`Pool::choose`], but the same every time and on every node whatever the policy, the bound
    /// and the caps: for a request that no memory serves (a spiral, a full pin table, a dialog from
    /// before a restart).
    #[inline]
    pub fn choose_by_hash(
        &self,
        group: GroupIndex,
        call: CallHash,
        excluded: &[BackendSlot],
    ) -> Option<BackendSlot> {
        self.group(group).choose_by_hash(call, excluded)
    }
}

/// All backends: those that stay, in the order of their groups, then those that are leaving; and how
/// many stay. Without weight the leaving have no part in any table: nodes that lose them later choose
/// alike.
fn in_order(specs: &[GroupSpec]) -> (Vec<Backend>, usize) {
    let backend = |group: usize, spec: BackendSpec| Backend {
        id: BackendId::of_name(&spec.name),
        group: GroupIndex(group as u8),
        spec,
    };
    let mut backends = Vec::new();
    for (group, spec) in specs.iter().enumerate() {
        backends.extend(spec.backends.iter().map(|spec| backend(group, spec.clone())));
    }
    let staying = backends.len();
    for (group, spec) in specs.iter().enumerate() {
        let without_weight = |spec: &BackendSpec| BackendSpec { weight: 0, ..spec.clone() };
        backends.extend(spec.leaving.iter().map(|spec| backend(group, without_weight(spec))));
    }
    (backends, staying)
}

impl fmt::Debug for Pool {
    /// Without the seed, which is not for logs, and without the tables, which are long.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("backends", &self.backends).finish_non_exhaustive()
    }
}
