//! Finding a backend by identity, address or source, built once per snapshot.

use super::{Backend, BackendId, BackendSlot, PoolError};
use ahash::RandomState;
use ipnet::IpNet;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::{IpAddr, SocketAddr};

/// The maps of one snapshot. Their keys come from the config alone: what peers send is looked up
/// and never put in, so that nobody can make them slow and a fixed seed is safe.
pub(super) struct Lookup {
    by_id: HashMap<BackendId, BackendSlot, RandomState>,
    by_address: HashMap<SocketAddr, BackendSlot, RandomState>,
    /// `source` networks of a single address: the first backend that lists it.
    source_hosts: HashMap<IpAddr, BackendSlot, RandomState>,
    /// The other `source` networks, in the order of the config.
    source_networks: Vec<(IpNet, BackendSlot)>,
}

impl Lookup {
    /// Those from `staying` on are leaving: an address may be theirs and another's. Of the others it
    /// may be theirs and another group's.
    pub(super) fn build(
        backends: &[Backend],
        staying: usize,
        seed: u64,
    ) -> Result<Self, PoolError> {
        let state = || RandomState::with_seeds(seed, 1, 2, 3);
        let mut lookup = Self {
            by_id: HashMap::with_capacity_and_hasher(backends.len(), state()),
            by_address: HashMap::with_capacity_and_hasher(backends.len(), state()),
            source_hosts: HashMap::with_hasher(state()),
            source_networks: Vec::new(),
        };
        for (place, backend) in backends.iter().enumerate() {
            lookup.insert(backends, backend, BackendSlot(place as u16), place < staying)?;
        }
        Ok(lookup)
    }

    fn insert(
        &mut self,
        backends: &[Backend],
        backend: &Backend,
        slot: BackendSlot,
        stays: bool,
    ) -> Result<(), PoolError> {
        let name = |slot: BackendSlot| backends[usize::from(slot.0)].spec.name.clone();
        if let Some(earlier) = self.by_id.insert(backend.id, slot) {
            return Err(match name(earlier) == name(slot) {
                true => PoolError::SameName(name(slot)),
                false => PoolError::SameIdentity(name(earlier), name(slot)),
            });
        }
        match self.by_address.entry(backend.spec.address) {
            Entry::Vacant(free) => drop(free.insert(slot)),
            Entry::Occupied(taken)
                if stays && backends[usize::from(taken.get().0)].group == backend.group =>
            {
                return Err(PoolError::SameAddress(name(*taken.get()), name(slot)));
            }
            Entry::Occupied(_) => {}
        }
        for network in &backend.spec.sources {
            if network.prefix_len() == network.max_prefix_len() {
                self.source_hosts.entry(network.addr()).or_insert(slot);
            } else {
                self.source_networks.push((*network, slot));
            }
        }
        Ok(())
    }

    #[inline]
    pub(super) fn by_id(&self, id: BackendId) -> Option<BackendSlot> {
        self.by_id.get(&id).copied()
    }

    #[inline]
    pub(super) fn by_address(&self, address: SocketAddr) -> Option<BackendSlot> {
        self.by_address.get(&address).copied()
    }

    /// The exact address first; then the first network in the order of the config. Single
    /// addresses stand in a map, so the walk is over real networks only and ends where the map's
    /// answer would come first.
    pub(super) fn by_source(&self, source: SocketAddr) -> Option<BackendSlot> {
        if let Some(slot) = self.by_address(source) {
            return Some(slot);
        }
        let host = self.source_hosts.get(&source.ip()).copied();
        self.source_networks
            .iter()
            .take_while(|(_, slot)| host.is_none_or(|host| *slot < host))
            .find(|(network, _)| network.contains(&source.ip()))
            .map(|(_, slot)| *slot)
            .or(host)
    }
}
