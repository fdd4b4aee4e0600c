//! Who can take a call: a snapshot of the backends, immutable once built.
//!
//! Identities last over swaps: a [`BackendId`] is a fixed hash of the backend's name and stands in
//! tokens and pins; a [`BackendSlot`] is a place in one snapshot and never outlives it.
//!
//! Whether a backend can take calls is decided outside; [`health`] is the state machine for it.
//!
//! A new call is placed in two steps: [`Pool::call_hash`] once per message, then [`Pool::choose`],
//! which walks no list longer than it must and allocates nothing. The policies are in `policy/`,
//! one file each.

mod error;
mod hash;
pub mod health;
mod lookup;
mod policy;

pub use error::PoolError;
pub use hash::CallHash;

use crate::limits::BACKENDS_MAX;
use hash::CallHasher;
use ipnet::IpNet;
use lookup::Lookup;
use policy::Chooser;
use std::fmt;
use std::net::SocketAddr;

/// The identity of a backend, the same on every node and after every restart: a fixed hash of its
/// name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BackendId(pub u32);

/// The place of a backend in one [`Pool`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BackendSlot(pub u16);

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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// Weighted rendezvous over the Call-ID: removing a backend moves its own share and nothing
    /// else.
    CallIdHash,
    /// Weighted Maglev (65 537 entries) over the Call-ID: constant time, for very large pools.
    CallIdHashMaglev,
    /// In turn, by weight; each worker turns on its own.
    RoundRobin,
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
}

/// A backend of one snapshot.
#[derive(Clone, Debug)]
pub struct Backend {
    /// Identity.
    pub id: BackendId,
    /// What the config said.
    pub spec: BackendSpec,
}

impl Backend {
    /// True if the policy may give it new calls: ready, and its weight is not 0.
    pub fn takes_new_calls(&self) -> bool {
        self.spec.state == State::Ready && self.spec.weight > 0
    }
}

/// Where a worker's round robin stands. Give each worker another start (its number, say), so that
/// they do not all begin with the first backend.
#[derive(Clone, Copy, Debug, Default)]
pub struct Turn(pub u64);

/// All backends of one moment.
pub struct Pool {
    backends: Vec<Backend>,
    lookup: Lookup,
    hasher: CallHasher,
    chooser: Chooser,
}

impl Pool {
    /// Builds a snapshot. `seed` is the config's `hash_seed`, equal on every node.
    ///
    /// This takes some milliseconds with a large Maglev table: not for the data path.
    ///
    /// # Errors
    /// When there are too many backends, or two of them share a name, an address or an identity.
    /// An empty list is no error: such a pool has nobody for new calls.
    pub fn build(backends: Vec<BackendSpec>, policy: Policy, seed: u64) -> Result<Self, PoolError> {
        Self::build_with_leaving(backends, Vec::new(), policy, seed)
    }

    /// As [`Pool::build`], with backends behind the others that are on their way out: their
    /// identities find them as long as they are here, and nothing else does. One may have the address
    /// of another backend, which then counts as who is there (it was renamed).
    ///
    /// # Errors
    /// As [`Pool::build`].
    pub fn build_with_leaving(
        mut backends: Vec<BackendSpec>,
        leaving: Vec<BackendSpec>,
        policy: Policy,
        seed: u64,
    ) -> Result<Self, PoolError> {
        let staying = backends.len();
        // Without weight they have no part in any table: nodes that lose them later choose alike.
        backends.extend(leaving.into_iter().map(|spec| BackendSpec { weight: 0, ..spec }));
        if backends.len() > BACKENDS_MAX {
            return Err(PoolError::TooMany(backends.len()));
        }
        let backends: Vec<Backend> = backends
            .into_iter()
            .map(|spec| Backend { id: BackendId::of_name(&spec.name), spec })
            .collect();
        let lookup = Lookup::build(&backends, staying, seed)?;
        let chooser = Chooser::build(policy, &backends);
        Ok(Self { backends, lookup, hasher: CallHasher::new(seed), chooser })
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

    /// The backend that a datagram from this address comes from: its address, or one of its
    /// `source` networks (the first in order of the config).
    #[inline]
    pub fn by_source(&self, source: SocketAddr) -> Option<BackendSlot> {
        self.lookup.by_source(source)
    }

    /// Whether anybody takes new calls.
    pub fn takes_new_calls(&self) -> bool {
        self.backends.iter().any(|backend| backend.takes_new_calls() && backend.spec.weight > 0)
    }

    /// What the policies by hash go by; the same on every node with the same seed.
    #[inline]
    pub fn call_hash(&self, call_id: &[u8]) -> CallHash {
        self.hasher.hash(call_id)
    }

    /// Where a new call goes: `None` if nobody takes calls. Backends in `excluded` are passed over
    /// (a spiral's earlier backends; a few at most). `turn` is the worker's own, and only
    /// round robin reads and moves it.
    #[inline]
    pub fn choose(
        &self,
        call: CallHash,
        excluded: &[BackendSlot],
        turn: &mut Turn,
    ) -> Option<BackendSlot> {
        self.chooser.choose(call, excluded, turn)
    }

    /// Like [`Pool::choose`], but the same every time and on every node whatever the policy: for a
    /// request that no memory serves (a spiral, a full pin table, a dialog from before a restart).
    #[inline]
    pub fn choose_by_hash(&self, call: CallHash, excluded: &[BackendSlot]) -> Option<BackendSlot> {
        self.chooser.choose_by_hash(call, excluded)
    }
}

impl fmt::Debug for Pool {
    /// Without the seed, which is not for logs, and without the tables, which are long.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("backends", &self.backends).finish_non_exhaustive()
    }
}
