//! The forwarder of one io_uring.

use super::train::{Coupling, next_train};
use super::{CLIENTS_MAX, Clients, Options, open_upstream};
use crate::kernel::{Completion, Datagram, Uring};
use std::io;
use std::net::{SocketAddrV4, UdpSocket};

/// The place of the listener among the ring's files; clients' sockets come behind it.
const LISTENER: u32 = 0;

struct Forwarder {
    ring: Uring,
    clients: Clients,
    coupling: Coupling,
    /// The addresses of backends by place of a client, where the sockets are not connected to them.
    addresses: Vec<Option<SocketAddrV4>>,
    /// What leaves for a backend at the end of the turn, by place of a client.
    waiting: Vec<Vec<Datagram>>,
}

pub(super) fn run(listener: UdpSocket, options: &Options) -> io::Result<()> {
    // All sockets towards backends are there from the start: those of clients that never come stay
    // idle.
    let upstreams = (0..CLIENTS_MAX).map(|place| open_upstream(place, options));
    let sockets: io::Result<Vec<_>> = std::iter::once(Ok(listener)).chain(upstreams).collect();
    let backend = |place: usize| options.backends[place % options.backends.len()];
    let address = |place: usize| (!options.connected).then(|| backend(place));
    let mut forwarder = Forwarder {
        ring: Uring::open(sockets?)?,
        clients: Clients::default(),
        coupling: options.coupling,
        addresses: (0..CLIENTS_MAX).map(address).collect(),
        waiting: (0..CLIENTS_MAX).map(|_| Vec::new()).collect(),
    };
    forwarder.ring.arm(LISTENER, true);
    loop {
        forwarder.turn()?;
    }
}

impl Forwarder {
    fn turn(&mut self) -> io::Result<()> {
        self.ring.turn()?;
        // A receive that ended for want of slots is armed when they have gone back: else it ends
        // again at once.
        let mut ended = Vec::new();
        while let Some(completion) = self.ring.next() {
            match completion {
                Completion::Received { file: LISTENER, datagram } => self.up(datagram),
                Completion::Received { file, datagram } => {
                    let client = self.clients.0[file as usize - 1];
                    self.ring.send(LISTENER, datagram, Some(client));
                }
                Completion::Ended { file } => ended.push(file),
                Completion::Sent => {}
            }
        }
        self.depart();
        for file in ended {
            self.ring.arm(file, file == LISTENER);
        }
        Ok(())
    }

    /// From a client to its backend.
    fn up(&mut self, datagram: Datagram) {
        let place = datagram.from.and_then(|client| self.clients.place(client));
        let Some((place, is_new)) = place else { return self.ring.give_back(datagram.slot) };
        let file = place as u32 + 1;
        if is_new {
            self.ring.arm(file, false);
        }
        match self.coupling {
            Coupling::Off => self.ring.send(file, datagram, self.addresses[place]),
            _ => self.waiting[place].push(datagram),
        }
    }

    /// Sends what has waited for the end of the turn, in its order.
    fn depart(&mut self) {
        for place in 0..self.clients.0.len() {
            let waiting = &mut self.waiting[place];
            while !waiting.is_empty() {
                let lengths = waiting.iter().map(|datagram| datagram.length);
                let rest = waiting.split_off(next_train(self.coupling, lengths));
                self.ring.send_train(place as u32 + 1, waiting, self.addresses[place]);
                *waiting = rest;
            }
        }
    }
}
