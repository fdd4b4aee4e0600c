//! Callers and backends on UDP sockets: batches in, batches out.

use super::answerer::Answerer;
use super::caller::Callers;
use super::options::Options;
use super::outbox::Outbox;
use crate::kernel::{Inbox, Interest, Postman, Trains, wait_readable};
use socket2::{Domain, Socket, Type};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::time::Duration;

/// Asked of the kernel; it gives what `net.core.rmem_max` allows.
const RECEIVE_BUFFER: usize = 4 << 20;
/// Batches from one socket before the next has its turn.
const BATCHES_MAX: usize = 4;

pub(super) struct Sockets {
    callers: Vec<UdpSocket>,
    backends: Vec<UdpSocket>,
    interests: Vec<Interest>,
    inbox: Inbox,
    postman: Postman,
    /// Messages that the kernel did not take.
    pub(super) unsent: u64,
}

impl Sockets {
    /// Opens the backends' sockets and those of the callers, which are connected to the balancer, or
    /// each to a backend.
    pub(super) fn open(options: &Options) -> io::Result<Self> {
        let backends: io::Result<Vec<_>> = options.backends.iter().map(|&at| open(at)).collect();
        let caller = |source: u32| {
            let socket = open(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0))?;
            let backend = options.backends[source as usize % options.backends.len()];
            socket.connect(SocketAddr::V4(options.to.unwrap_or(backend)))?;
            Ok(socket)
        };
        let callers: io::Result<Vec<_>> = (0..options.sources).map(caller).collect();
        let (callers, backends) = (callers?, backends?);
        let trains = if options.trains { Trains::EqualSizes } else { Trains::Off };
        Ok(Self {
            interests: callers.iter().chain(&backends).map(Interest::in_socket).collect(),
            callers,
            backends,
            inbox: Inbox::new(),
            postman: Postman::new(trains),
            unsent: 0,
        })
    }

    /// The callers' own addresses.
    pub(super) fn sources(&self) -> io::Result<Vec<SocketAddrV4>> {
        self.callers.iter().map(|socket| address(socket.local_addr()?)).collect()
    }

    /// Waits until something comes in, or the time is over.
    pub(super) fn wait(&mut self, patience: Duration) -> io::Result<()> {
        wait_readable(&mut self.interests, patience)
    }

    /// Sends what the callers have to say.
    pub(super) fn send_callers(&mut self, callers: &mut Callers) {
        for (socket, outbox) in self.callers.iter().zip(&mut callers.outboxes) {
            self.unsent += send(&mut self.postman, socket, outbox);
        }
    }

    /// Hands the backends what came for them, and sends what they answer.
    pub(super) fn serve(&mut self, now: u64, backends: &mut [Answerer], outbox: &mut Outbox) {
        let ready = &self.interests[self.callers.len()..];
        for ((socket, backend), interest) in self.backends.iter().zip(backends).zip(ready) {
            for _ in 0..if interest.is_ready() { BATCHES_MAX } else { 0 } {
                let Ok(count) = self.inbox.receive(socket) else { break };
                for place in 0..count {
                    let (bytes, from) = self.inbox.datagram(place);
                    backend.receive(now, from, bytes, outbox);
                }
                self.unsent += send(&mut self.postman, socket, outbox);
                if !self.inbox.was_full() {
                    break;
                }
            }
            backend.wake(now, outbox);
            self.unsent += send(&mut self.postman, socket, outbox);
        }
    }

    /// Hands the callers what came for them.
    pub(super) fn listen(&mut self, now: u64, callers: &mut Callers) {
        let ready = self.callers.iter().zip(&self.interests).enumerate();
        for (source, (socket, _)) in ready.filter(|(_, (_, interest))| interest.is_ready()) {
            for _ in 0..BATCHES_MAX {
                // An error is that of a datagram that nobody was there for.
                let Ok(count) = self.inbox.receive(socket) else { break };
                for place in 0..count {
                    callers.receive(now, source, self.inbox.datagram(place).0);
                }
                if !self.inbox.was_full() {
                    break;
                }
            }
        }
    }
}

/// Sends and empties an outbox; how many were not sent.
fn send(postman: &mut Postman, socket: &UdpSocket, outbox: &mut Outbox) -> u64 {
    if outbox.len() == 0 {
        return 0;
    }
    let messages: Vec<_> = outbox.messages().collect();
    let unsent = postman.send(socket, &messages);
    outbox.clear();
    unsent as u64
}

fn open(at: SocketAddrV4) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, None)?;
    socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
    socket.set_nonblocking(true)?;
    socket
        .bind(&SocketAddr::V4(at).into())
        .map_err(|e| io::Error::new(e.kind(), format!("{at}: {e}")))?;
    Ok(socket.into())
}

fn address(address: SocketAddr) -> io::Result<SocketAddrV4> {
    match address {
        SocketAddr::V4(address) => Ok(address),
        SocketAddr::V6(_) => Err(io::Error::other(format!("{address}: IPv4 would be right"))),
    }
}
