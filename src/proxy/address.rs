//! Which addresses are ours, how they are written in a message, and how a token names them.

use super::SocketIndex;
use super::branch::COOKIE;
use super::settings::{Role, Settings};
use super::token::Flow;
use crate::sip::uri;
use siphasher::sip::SipHasher24;
use std::collections::{BTreeSet, HashSet};
use std::net::{IpAddr, SocketAddr};

/// The wire identity of a local socket: a fixed hash of its address, so that every node and every
/// restart with the same address agrees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct SocketId(pub(super) u16);

/// A local address, ready to be written.
#[derive(Debug)]
struct Entry {
    address: SocketAddr,
    id: SocketId,
    /// As bound.
    raw: Written,
    /// As advertised, where it is.
    advertised: Option<Written>,
    role: Role,
}

/// The fields of ours that begin with an address, up to where each message has something of its own.
#[derive(Debug)]
pub(super) struct Written {
    /// Up to the branch, behind its cookie.
    pub(super) via: String,
    /// Up to the token.
    pub(super) path: String,
    /// Up to the token.
    pub(super) record_route: String,
    /// One of two: each names its transport (RFC 5658 6.2).
    pub(super) record_route_of_two: String,
}

impl Written {
    /// `contact`: host and port.
    fn new(contact: &str) -> Self {
        Self {
            via: format!("Via: SIP/2.0/UDP {contact};branch={COOKIE}"),
            path: format!("Path: <sip:{contact};lr;lb="),
            record_route: format!("Record-Route: <sip:{contact};lr;lb="),
            record_route_of_two: format!("Record-Route: <sip:{contact};transport=udp;lr;lb="),
        }
    }
}

/// All local addresses.
#[derive(Debug)]
pub(super) struct Addresses {
    entries: Vec<Entry>,
    by_id: Vec<(SocketId, SocketIndex)>,
    own: HashSet<SocketAddr, ahash::RandomState>,
    /// Lower-case names that are us, and the port if only with that one.
    names: Vec<(String, Option<u16>)>,
}

impl Addresses {
    pub(super) fn new(settings: &Settings) -> Self {
        let mut own: HashSet<_, _> =
            HashSet::with_hasher(ahash::RandomState::with_seeds(1, 2, 3, 4));
        let mut names: Vec<_> = settings.aliases.iter().map(|name| (name.clone(), None)).collect();
        own.extend(settings.sockets.iter().map(|socket| socket.address));
        let advertised = settings.sockets.iter().filter_map(|socket| socket.advertise.as_ref());
        for (host, port) in advertised.chain(&settings.since_start.advertised_before) {
            match uri::ip(host.as_bytes()) {
                Some(ip) => drop(own.insert(SocketAddr::new(ip, *port))),
                None => names.push((host.to_ascii_lowercase(), Some(*port))),
            }
        }
        let addresses: Vec<_> = settings.sockets.iter().map(|socket| socket.address).collect();
        let ids = identities(&addresses, settings.since_start.sockets_added);
        let entries: Vec<_> = settings
            .sockets
            .iter()
            .zip(ids)
            .map(|(socket, id)| Entry {
                address: socket.address,
                id,
                raw: Written::new(&socket.address.to_string()),
                advertised: socket
                    .advertise
                    .as_ref()
                    .map(|(host, port)| Written::new(&contact(host, *port))),
                role: socket.role,
            })
            .collect();
        let mut by_id: Vec<_> = entries
            .iter()
            .enumerate()
            .map(|(place, entry)| (entry.id, SocketIndex(place as u16)))
            .collect();
        by_id.sort_unstable_by_key(|&(id, _)| id);
        Self { entries, by_id, own, names }
    }

    /// RFC 3261 16.4: every address, port, alias and advertised name that we ever put anywhere, on
    /// every listener.
    pub(super) fn is_us(&self, host: &[u8], port: u16) -> bool {
        if let Some(ip) = uri::ip(host) {
            return self.own.contains(&SocketAddr::new(ip, port));
        }
        self.is_our_name(host, port)
    }

    #[inline(never)]
    fn is_our_name(&self, host: &[u8], port: u16) -> bool {
        self.names.iter().any(|(name, only)| {
            name.as_bytes().eq_ignore_ascii_case(host) && only.is_none_or(|only| only == port)
        })
    }

    /// Whether this host is us on any port (`maddr`, RFC 3261 16.4).
    pub(super) fn is_our_host(&self, host: &[u8]) -> bool {
        if let Some(ip) = uri::ip(host) {
            return self.own.iter().any(|address| address.ip() == ip);
        }
        self.names.iter().any(|(name, _)| name.as_bytes().eq_ignore_ascii_case(host))
    }

    pub(super) fn id(&self, socket: SocketIndex) -> SocketId {
        self.entries[usize::from(socket.0)].id
    }

    pub(super) fn ip(&self, socket: SocketIndex) -> IpAddr {
        self.entries[usize::from(socket.0)].address.ip()
    }

    /// As bound: what the backends are told.
    pub(super) fn raw(&self, socket: SocketIndex) -> &Written {
        &self.entries[usize::from(socket.0)].raw
    }

    /// As clients are told: advertised, else as bound.
    pub(super) fn contact(&self, socket: SocketIndex) -> &Written {
        let entry = &self.entries[usize::from(socket.0)];
        entry.advertised.as_ref().unwrap_or(&entry.raw)
    }

    pub(super) fn is_advertised(&self, socket: SocketIndex) -> bool {
        self.entries[usize::from(socket.0)].advertised.is_some()
    }

    /// The socket that a token names; on a node that lacks it, the first listener that can reach
    /// `peer` at all. One that is closed is lacking too.
    pub(super) fn socket_for(&self, id: SocketId, peer: SocketAddr) -> Option<SocketIndex> {
        let place = self.by_id.binary_search_by_key(&id, |&(id, _)| id).ok();
        let usable =
            |entry: &Entry| entry.role != Role::Gone && entry.address.is_ipv4() == peer.is_ipv4();
        place
            .map(|place| self.by_id[place].1)
            .filter(|socket| usable(&self.entries[usize::from(socket.0)]))
            .or_else(|| self.listener_towards(peer))
    }

    /// The first listener of the peer's address family, or else one that is leaving.
    pub(super) fn listener_towards(&self, peer: SocketAddr) -> Option<SocketIndex> {
        let first = |role| {
            self.entries
                .iter()
                .position(|entry| entry.role == role && entry.address.is_ipv4() == peer.is_ipv4())
        };
        let place = first(Role::Listener).or_else(|| first(Role::Leaving))?;
        Some(SocketIndex(place as u16))
    }

    /// The flow of a peer that sent to, or is reached from, this socket.
    pub(super) fn flow(&self, socket: SocketIndex, peer: SocketAddr) -> Flow {
        Flow { socket: self.id(socket), peer }
    }
}

/// `host:port`, an IPv6 address in brackets.
fn contact(host: &str, port: u16) -> String {
    match uri::ip(host.as_bytes()) {
        Some(ip) => SocketAddr::new(ip, port).to_string(),
        None => format!("{host}:{port}"),
    }
}

/// A 16-bit hash of each address; the later of two equal ones (in the order of the addresses, not of
/// the config) takes the next free number. The last `added` came while tokens of the others were
/// about, and take what is left.
fn identities(addresses: &[SocketAddr], added: usize) -> Vec<SocketId> {
    let mut order: Vec<usize> = (0..addresses.len()).collect();
    order[..addresses.len() - added].sort_by_key(|&place| addresses[place]);
    let mut taken = BTreeSet::new();
    let mut ids = vec![SocketId(0); addresses.len()];
    for place in order {
        let text = addresses[place].to_string();
        let mut id = SipHasher24::new_with_keys(0, 0).hash(text.as_bytes()) as u16;
        while !taken.insert(id) {
            id = id.wrapping_add(1);
        }
        ids[place] = SocketId(id);
    }
    ids
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identities_hang_on_the_address_not_on_its_place() {
        let parse = |text: &str| text.parse::<SocketAddr>().unwrap();
        let (a, b) = (parse("10.0.0.1:5060"), parse("[::1]:5060"));
        let forward = identities(&[a, b], 0);
        let backward = identities(&[b, a], 0);
        assert_eq!(forward, [backward[1], backward[0]]);
        assert_ne!(forward[0], forward[1]);
        // For ever: tokens in flight carry it.
        assert_eq!(forward[0], identities(&[a], 0)[0]);
    }

    #[test]
    fn equal_hashes_get_different_identities() {
        let many = |range: std::ops::Range<u32>| -> Vec<_> {
            range.map(|n| SocketAddr::new(IpAddr::V4(n.into()), 5060)).collect()
        };
        let mut ids = identities(&many(0..4096), 0);
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), 4096);
        // Whoever comes later changes nobody's, wherever its address stands in the order.
        let first = identities(&many(2048..4096), 0);
        let both = identities(&[many(2048..4096), many(0..2048)].concat(), 2048);
        assert_eq!(both[..2048], first);
        assert_ne!(identities(&[many(2048..4096), many(0..2048)].concat(), 0)[..2048], first);
    }
}
