//! A worker without ring and sockets, for `benches/pauses.rs`: what it does by itself where there are many
//! backends. No part of the program calls it.

use super::backends::{Backends, CONNECTIONS_MAX};
use crate::metrics::Roster;
use crate::pool::Pool;
use crate::proxy::{Egress, Ingress, Now, Proxy, Settings, SocketIndex, Verdict};
use arc_swap::ArcSwap;
use std::net::UdpSocket;
use std::sync::Arc;

/// The first of all workers. Each function is a part of its turn.
#[derive(Debug)]
pub struct Rehearsal {
    pool: Arc<Pool>,
    backends: Backends,
    core: Proxy,
    shared: Arc<ArcSwap<Roster>>,
}

impl Rehearsal {
    /// With connected sockets to the first backends.
    ///
    /// # Panics
    /// If there is no socket to be had.
    pub fn new(settings: Arc<Settings>, shared: Arc<ArcSwap<Roster>>) -> Self {
        let roster = shared.load_full();
        let pool = Arc::clone(roster.pool());
        let mut backends = Backends::new(0, 1, roster);
        for backend in pool.backends().iter().take(CONNECTIONS_MAX) {
            let file = backends.free_file().expect("there is a place");
            let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
            let to = backend.spec.address;
            backends.connected(file, &Egress { socket: SocketIndex(0), to, backend: None }, socket);
        }
        Self { pool, backends, core: Proxy::new(settings, [1, 2, 3, 4]), shared }
    }

    /// Takes over other settings.
    pub fn configure(&mut self, settings: Arc<Settings>) {
        self.core.configure(settings);
    }

    /// Takes over the roster of the moment.
    pub fn follow(&mut self) {
        let current = self.shared.load_full();
        self.pool = Arc::clone(current.pool());
        self.backends.follow(current);
    }

    /// Looks at a part of what the other workers have.
    pub fn look_elsewhere(&mut self, now: Now) {
        self.backends.look_elsewhere(&mut self.core, now);
    }

    /// Refreshes the gauges of some backends. True: those were the last.
    pub fn refresh(&mut self, now: Now) -> bool {
        self.backends.refresh(&self.core, now)
    }

    /// All gauges are to be refreshed.
    pub fn begin_refresh(&mut self) {
        self.backends.begin_refresh();
    }

    /// Tells the other workers what has changed.
    pub fn tell_others(&mut self, now: Now) {
        self.backends.tell_others(&mut self.core, now);
    }

    /// A message.
    pub fn handle(&mut self, now: Now, ingress: &Ingress, bytes: &[u8], out: &mut [u8]) -> Verdict {
        self.core.handle(now, &self.pool, ingress, bytes, out)
    }
}
