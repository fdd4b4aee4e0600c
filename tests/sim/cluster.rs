//! Several balancers behind one address, each with several shards: one key, one pool, no other word
//! between them.

use crate::network::Datagram;
use crate::world::{self, INNER, LISTENER, LISTENER_6, PORT};
use sipring::pool::{BackendSpec, Policy, Pool};
use sipring::proxy::{
    Ingress, LocalSocket, Now, Proxy, Replaced, Role, Settings, SocketIndex, Verdict,
};
use sipring::sip::call_key;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

/// Shards of a node; each has a port of its own towards the backends.
const SHARDS: usize = 2;

/// What all nodes answer to.
pub(crate) const ADDRESS: &str = "10.0.0.1:5060";
pub(crate) const ADDRESS_6: &str = "[2001:db8::1]:5060";

struct Node {
    shards: Vec<Proxy>,
    restarts: u64,
}

pub(crate) struct Cluster {
    settings: Vec<Arc<Settings>>,
    nodes: Vec<Node>,
    pool: Pool,
    policy: Policy,
    /// Moves flows from node to node when it changes.
    pub(crate) route: u64,
    /// What came out for what came in: retransmissions must be alike (RFC 3261 16.11).
    written: HashMap<Datagram, Datagram>,
    /// Requests, responses, and repetitions among them.
    pub(crate) forwarded: u64,
    pub(crate) repeated: u64,
}

fn settings_of(shard: usize) -> Settings {
    let mut settings = world::settings();
    // A second attempt is a second backend: failover has tests of its own.
    settings.failover.tries = 1;
    let second = "10.0.0.1:15061".parse().expect("an address");
    settings.sockets.push(LocalSocket::new(second, Role::BackendPort));
    if shard == 1 {
        settings.sides[0].egress = SocketIndex(settings.sockets.len() as u16 - 1);
    }
    settings
}

impl Cluster {
    pub(crate) fn new(nodes: usize, policy: Policy, backends: Vec<BackendSpec>) -> Self {
        let settings: Vec<_> = (0..SHARDS).map(|shard| Arc::new(settings_of(shard))).collect();
        let nodes = (0..nodes).map(|_| Node { shards: Vec::new(), restarts: 0 }).collect();
        let pool = Pool::build(backends, policy, 7).expect("a good pool");
        let mut cluster = Self {
            settings,
            nodes,
            pool,
            policy,
            route: 0,
            written: HashMap::new(),
            forwarded: 0,
            repeated: 0,
        };
        (0..cluster.nodes.len()).for_each(|node| cluster.restart(node));
        cluster
    }

    pub(crate) fn nodes(&self) -> usize {
        self.nodes.len()
    }

    /// The pins of a node are gone.
    pub(crate) fn restart(&mut self, node: usize) {
        let restarts = &mut self.nodes[node].restarts;
        *restarts += 1;
        let keys = [node as u64, *restarts, 3, 4];
        let shards = self.settings.iter().map(|settings| Proxy::new(settings.clone(), keys));
        self.nodes[node].shards = shards.collect();
    }

    /// Another snapshot of the backends for all nodes.
    pub(crate) fn publish(&mut self, backends: Vec<BackendSpec>) {
        self.pool = Pool::build(backends, self.policy, 7).expect("a good pool");
    }

    pub(crate) fn handle_timeout(&mut self, now: Now) {
        for node in &mut self.nodes {
            node.shards.iter_mut().for_each(|shard| shard.handle_timeout(now));
        }
    }

    /// Dialogs that the nodes count.
    pub(crate) fn dialogs(&self) -> usize {
        self.nodes.iter().flat_map(|node| &node.shards).map(Proxy::dialogs).sum()
    }

    /// Every count is what the tables hold, in every shard.
    pub(crate) fn check_invariants(&self) {
        self.nodes.iter().flat_map(|node| &node.shards).for_each(Proxy::check_invariants);
    }

    /// Requests whose final response the nodes await.
    pub(crate) fn transactions(&self) -> usize {
        self.nodes.iter().flat_map(|node| &node.shards).map(Proxy::transactions).sum()
    }

    /// One datagram to us: the network chooses the node by its flow, the node the shard by Call-ID.
    pub(crate) fn handle(&mut self, now: Now, datagram: &Datagram) -> Result<Datagram, String> {
        let text = datagram.text.as_bytes();
        let key = call_key(text).ok_or("no Call-ID")?.of(text);
        let node = (hash(datagram.from.to_string().as_bytes()) ^ self.route) as usize;
        let shard = hash(key) as usize % SHARDS;
        let count = self.nodes.len();
        let proxy = &mut self.nodes[node % count].shards[shard];
        let ingress = Ingress {
            source: datagram.from,
            socket: self.settings[shard].socket_at(datagram.to).ok_or("not our address")?,
            replaced: Replaced::Unasked,
        };
        let mut out = [0; 8192];
        let verdict = proxy.handle(now, &self.pool, &ingress, text, &mut out);
        let Verdict::Forward { egress, len, .. } = verdict else {
            return Err(format!("{verdict:?}"));
        };
        let from = self.settings[shard].sockets[usize::from(egress.socket.0)].address;
        let text = String::from_utf8_lossy(&out[..len]).into_owned();
        let sent = Datagram { from, to: egress.to, text };
        self.compare(datagram, &sent)?;
        Ok(sent)
    }

    fn compare(&mut self, datagram: &Datagram, sent: &Datagram) -> Result<(), String> {
        self.forwarded += 1;
        let Some(before) = self.written.insert(datagram.clone(), sent.clone()) else {
            return Ok(());
        };
        self.repeated += 1;
        if before == *sent {
            return Ok(());
        }
        Err(format!("a retransmission came out otherwise:\n{before:#?}\nand now\n{sent:#?}"))
    }
}

trait SocketAt {
    fn socket_at(&self, address: SocketAddr) -> Option<SocketIndex>;
}

impl SocketAt for Settings {
    fn socket_at(&self, address: SocketAddr) -> Option<SocketIndex> {
        let place = self.sockets.iter().position(|socket| socket.address == address)?;
        Some(SocketIndex(place as u16))
    }
}

/// FNV-1a: any hash does that all nodes share.
fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[test]
fn the_addresses_are_those_of_the_settings() {
    let settings = settings_of(0);
    for (text, socket) in [(ADDRESS, LISTENER), (ADDRESS_6, LISTENER_6)] {
        assert_eq!(settings.socket_at(text.parse().unwrap()), Some(socket));
    }
    assert_eq!(settings.socket_at("10.0.0.1:15060".parse().unwrap()), Some(PORT));
    assert_eq!(settings.socket_at("10.1.0.254:5060".parse().unwrap()), Some(INNER));
}
