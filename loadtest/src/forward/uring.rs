//! The forwarder of one io_uring.

use super::{CLIENTS_MAX, Clients, open_upstream};
use crate::kernel::{Completion, Uring};
use std::io;
use std::net::{SocketAddrV4, UdpSocket};

/// The place of the listener among the ring's files; clients' sockets come behind it.
const LISTENER: u32 = 0;

pub(super) fn run(listener: UdpSocket, backends: &[SocketAddrV4]) -> io::Result<()> {
    // All sockets towards backends are there from the start: those of clients that never come stay
    // idle.
    let upstreams = (0..CLIENTS_MAX).map(|place| open_upstream(place, backends));
    let sockets: io::Result<Vec<_>> = std::iter::once(Ok(listener)).chain(upstreams).collect();
    let mut ring = Uring::open(sockets?)?;
    let mut clients = Clients::default();
    ring.arm(LISTENER, true);
    loop {
        ring.turn()?;
        // A receive that ended for want of slots is armed when they have gone back: else it ends
        // again at once.
        let mut ended = Vec::new();
        while let Some(completion) = ring.next() {
            match completion {
                Completion::Received { file: LISTENER, datagram } => {
                    let place = datagram.from.and_then(|client| clients.place(client));
                    match place {
                        Some((place, is_new)) => {
                            let file = place as u32 + 1;
                            if is_new {
                                ring.arm(file, false);
                            }
                            ring.send(file, datagram, None);
                        }
                        None => ring.give_back(datagram.slot),
                    }
                }
                Completion::Received { file, datagram } => {
                    let client = clients.0[file as usize - 1];
                    ring.send(LISTENER, datagram, Some(client));
                }
                Completion::Ended { file } => ended.push(file),
                Completion::Sent => {}
            }
        }
        for file in ended {
            ring.arm(file, file == LISTENER);
        }
    }
}
