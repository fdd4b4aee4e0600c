//! `forward`: the least that can stand between callers and backends. Nothing is read of a message:
//! each client address is given a backend, in turn, and a socket of its own towards it, so that
//! answers find their way back. What a balancer takes more than this is the price of knowing SIP.

mod mmsg;
mod train;
mod uring;

pub(crate) use train::Coupling;

use socket2::{Domain, Socket, Type};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};

/// Client addresses at most.
const CLIENTS_MAX: usize = 64;
/// Asked of the kernel, as balancers do.
const RECEIVE_BUFFER: usize = 4 << 20;

/// How datagrams are received and sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Engine {
    /// recvmmsg and sendmmsg.
    Mmsg,
    /// The same, and neighbours of one size leave as one UDP_SEGMENT send.
    MmsgTrains,
    /// One io_uring: multishot receives, buffer ring, batched sends.
    Uring,
}

/// What a forwarder is asked to do.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) listen: SocketAddrV4,
    pub(crate) backends: Vec<SocketAddrV4>,
    pub(crate) engine: Engine,
    /// What io_uring's forwarder sends to backends as one; towards clients it never does.
    pub(crate) coupling: Coupling,
    /// Sockets towards backends are connected.
    pub(crate) connected: bool,
}

/// Forwards until the process is ended.
pub(crate) fn forward(options: &Options) -> io::Result<()> {
    let listener = open(options.listen)?;
    eprintln!("forwarding from {} to {:?}", options.listen, options.backends);
    match options.engine {
        Engine::Mmsg => mmsg::run(listener, options, crate::kernel::Trains::Off),
        Engine::MmsgTrains => mmsg::run(listener, options, crate::kernel::Trains::EqualSizes),
        Engine::Uring => uring::run(listener, options),
    }
}

/// The clients that have come so far, by place: few, so a list that is looked through is fastest.
#[derive(Default)]
struct Clients(Vec<SocketAddrV4>);

impl Clients {
    /// The place of a client; true if it is a new one. `None` when there are too many.
    fn place(&mut self, client: SocketAddrV4) -> Option<(usize, bool)> {
        if let Some(place) = self.0.iter().position(|&known| known == client) {
            return Some((place, false));
        }
        if self.0.len() == CLIENTS_MAX {
            return None;
        }
        self.0.push(client);
        Some((self.0.len() - 1, true))
    }
}

/// The socket of the client at this place towards its backend.
fn open_upstream(place: usize, options: &Options) -> io::Result<UdpSocket> {
    let socket = open(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0))?;
    if options.connected {
        let backends = &options.backends;
        socket.connect(SocketAddr::V4(backends[place % backends.len()]))?;
    }
    Ok(socket)
}

fn open(address: SocketAddrV4) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, None)?;
    socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SocketAddr::V4(address).into())?;
    Ok(socket.into())
}
