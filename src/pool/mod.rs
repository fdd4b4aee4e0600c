//! Who can take a call: a snapshot of the backends, immutable once built.
//!
//! Identities last over swaps: a [`BackendId`] is a fixed hash of the backend's name and stands in
//! tokens and pins; a [`BackendSlot`] is a place in one snapshot and never outlives it.

use ipnet::IpNet;
use std::net::SocketAddr;

/// The identity of a backend, the same on every node and after every restart: a fixed hash of its name.
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
    /// Weighted rendezvous over the Call-ID: removing a backend moves its own share and nothing else.
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

/// Why a pool cannot be built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PoolError {
    /// More than [`crate::limits::BACKENDS_MAX`].
    TooMany(usize),
    /// Two backends of the same name.
    SameName(String),
    /// Two backends of the same address.
    SameAddress(String, String),
    /// The names of two backends have the same identity: rename one.
    SameIdentity(String, String),
}

/// All backends of one moment.
#[derive(Debug)]
pub struct Pool {
    backends: Vec<Backend>,
}

/// Where a worker's round robin stands.
#[derive(Clone, Copy, Debug, Default)]
pub struct Turn(pub u64);

impl Pool {
    /// Builds a snapshot. `seed` is the config's `hash_seed`, equal on every node.
    pub fn build(
        backends: Vec<BackendSpec>,
        _policy: Policy,
        _seed: u64,
    ) -> Result<Self, PoolError> {
        let backends =
            backends.into_iter().map(|spec| Backend { id: BackendId(0), spec }).collect();
        Ok(Self { backends })
    }

    /// Every backend, in the order of the config; a [`BackendSlot`] is a place in it.
    pub fn backends(&self) -> &[Backend] {
        &self.backends
    }

    /// The backend in this slot.
    ///
    /// # Panics
    /// If the slot is of another snapshot.
    pub fn backend(&self, slot: BackendSlot) -> &Backend {
        &self.backends[usize::from(slot.0)]
    }

    /// The backend with this identity.
    pub fn by_id(&self, _id: BackendId) -> Option<BackendSlot> {
        None
    }

    /// The backend that listens on this address.
    pub fn by_address(&self, _address: SocketAddr) -> Option<BackendSlot> {
        None
    }

    /// The backend that a datagram from this address comes from: its address, or one of its
    /// `source` networks (the first in order of the config).
    pub fn by_source(&self, _source: SocketAddr) -> Option<BackendSlot> {
        None
    }

    /// Where a new call with this Call-ID goes: `None` if nobody takes calls. Backends in
    /// `excluded` are passed over (a spiral's earlier backends; a few at most).
    pub fn choose(
        &self,
        _call_id: &[u8],
        _excluded: &[BackendSlot],
        _turn: &mut Turn,
    ) -> Option<BackendSlot> {
        None
    }
}
