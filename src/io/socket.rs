//! UDP sockets as the workers need them.
//!
//! Several sockets share a local address (SO_REUSEPORT): one per worker on a listener, a catch-all
//! and connected ones on a port towards the backends. SO_REUSEPORT alone would also let a second
//! balancer of the same user join in and silently take half of the traffic. So the first socket of
//! an address is bound without it, which fails if anybody has the port, and shares it afterwards.
//!
//! Among sockets that share an address the kernel chooses by a hash over both ends. For workers on a
//! listener that is right. On a port towards the backends everything must go to the catch-all but
//! what a connected socket takes: also while that one is bound and not yet connected. A one-line
//! program on the group sees to that.

use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};

/// SO_SNDBUF asked for, bytes: a turn's sends while a network card is busy.
const SEND_BUFFER: usize = 4 << 20;

/// Opens the first socket of a local address; others of this process may join it then.
///
/// # Errors
/// EADDRINUSE if anybody else has the port, on this address or on the wildcard; EACCES for a port
/// under 1024 without the right to it.
pub(crate) fn open_first(address: SocketAddr, receive_buffer: usize) -> io::Result<UdpSocket> {
    let socket = prepare(address, receive_buffer)?;
    socket.bind(&SockAddr::from(address))?;
    socket.set_reuse_port(true)?;
    Ok(socket.into())
}

/// Opens the first socket of a local address that only connected ones will join: this one takes
/// whatever they do not.
///
/// # Errors
/// As [`open_first`].
pub(crate) fn open_catch_all(address: SocketAddr, receive_buffer: usize) -> io::Result<UdpSocket> {
    let socket = prepare(address, receive_buffer)?;
    // A program can be attached to an unbound socket if it shares, or to one that others have joined.
    socket.set_reuse_port(true)?;
    choose_the_first(&socket)?;
    socket.set_reuse_port(false)?;
    socket.bind(&SockAddr::from(address))?;
    socket.set_reuse_port(true)?;
    Ok(socket.into())
}

/// Makes the group of `socket` choose its first member for every datagram.
fn choose_the_first(socket: &Socket) -> io::Result<()> {
    let code = (libc::BPF_RET | libc::BPF_K) as u16;
    let mut filter = libc::sock_filter { code, jt: 0, jf: 0, k: 0 };
    let program = libc::sock_fprog { len: 1, filter: &raw mut filter };
    let len = size_of_val(&program) as libc::socklen_t;
    let (level, option) = (libc::SOL_SOCKET, libc::SO_ATTACH_REUSEPORT_CBPF);
    let fd = socket.as_fd().as_raw_fd();
    // SAFETY: the option takes a program, which is copied during the call.
    let result = unsafe { libc::setsockopt(fd, level, option, (&raw const program).cast(), len) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Opens another socket of an address that [`open_first`] has opened.
///
/// # Errors
/// What the kernel says.
pub(crate) fn open_another(address: SocketAddr, receive_buffer: usize) -> io::Result<UdpSocket> {
    let socket = prepare(address, receive_buffer)?;
    socket.set_reuse_port(true)?;
    socket.bind(&SockAddr::from(address))?;
    Ok(socket.into())
}

/// Opens another socket of `local`, which [`open_catch_all`] has opened, that takes what `peer` sends
/// there. Its datagrams are to be read with their source, like those of the catch-all: on a
/// kernel that knows it only bound it could have taken one of somebody else.
///
/// # Errors
/// What the kernel says; ENETUNREACH if there is no route to `peer`.
pub(crate) fn open_connected(
    local: SocketAddr,
    peer: SocketAddr,
    receive_buffer: usize,
) -> io::Result<UdpSocket> {
    let socket = open_another(local, receive_buffer)?;
    socket.connect(peer)?;
    Ok(socket)
}

/// Gives the peer of a connected socket back to the catch-all, by connecting the socket to itself:
/// nothing new comes in from now on, but what another core is just delivering.
///
/// (Dissolving the connection instead makes it take everything: on Linux 6.18 the socket is then
/// no more a member of the group, and is preferred on the core where it last received.)
///
/// # Errors
/// What the kernel says.
pub(crate) fn turn_away(socket: &UdpSocket) -> io::Result<()> {
    socket.connect(socket.local_addr()?)
}

/// Takes one waiting datagram out of a socket that is about to be closed.
pub(crate) fn drain(socket: &UdpSocket, into: &mut [u8]) -> Option<(usize, SocketAddr)> {
    socket.set_nonblocking(true).ok()?;
    loop {
        match socket.recv_from(into) {
            Ok(datagram) => return Some(datagram),
            // An ICMP error stands in front of the datagrams: reading it removes it.
            Err(error) if error.raw_os_error() == Some(libc::ECONNREFUSED) => {}
            Err(_) => return None,
        }
    }
}

/// The receive buffer that a socket got, in the bytes of the setting (the kernel keeps, and tells,
/// twice that for its own bookkeeping).
///
/// # Errors
/// What the kernel says.
pub(crate) fn receive_buffer(socket: &UdpSocket) -> io::Result<usize> {
    Ok(socket2::SockRef::from(socket).recv_buffer_size()? / 2)
}

fn prepare(address: SocketAddr, receive_buffer: usize) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    // A floating address may be bound before it is moved here.
    match address {
        SocketAddr::V4(_) => socket.set_freebind_v4(true)?,
        SocketAddr::V6(_) => {
            socket.set_only_v6(true)?;
            socket.set_freebind_v6(true)?;
        }
    }
    set_buffer(&socket, libc::SO_RCVBUFFORCE, receive_buffer);
    if socket.recv_buffer_size()? < 2 * receive_buffer {
        socket.set_recv_buffer_size(receive_buffer)?;
    }
    set_buffer(&socket, libc::SO_SNDBUFFORCE, SEND_BUFFER);
    if socket.send_buffer_size()? < 2 * SEND_BUFFER {
        socket.set_send_buffer_size(SEND_BUFFER)?;
    }
    Ok(socket)
}

/// Sets a buffer beyond `net.core.rmem_max` where we may (CAP_NET_ADMIN); without effect elsewhere.
fn set_buffer(socket: &impl AsFd, option: libc::c_int, bytes: usize) {
    let value = libc::c_int::try_from(bytes).unwrap_or(libc::c_int::MAX);
    let fd = socket.as_fd().as_raw_fd();
    let len = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: the option takes an int, which is read during the call.
    unsafe { libc::setsockopt(fd, libc::SOL_SOCKET, option, (&raw const value).cast(), len) };
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::IpAddr;
    use std::time::Duration;

    const LOCAL: [&str; 2] = ["127.0.0.1:0", "[::1]:0"];

    fn client(like: SocketAddr) -> UdpSocket {
        let ip: IpAddr = like.ip();
        let socket = UdpSocket::bind((ip, 0)).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        socket
    }

    #[test]
    fn a_second_balancer_cannot_join_an_address() {
        for local in LOCAL {
            let first = open_first(local.parse().unwrap(), 1 << 16).unwrap();
            let address = first.local_addr().unwrap();
            let error = open_first(address, 1 << 16).unwrap_err();
            assert_eq!(error.raw_os_error(), Some(libc::EADDRINUSE));
            open_another(address, 1 << 16).unwrap();
            // Nor while several share it.
            let error = open_first(address, 1 << 16).unwrap_err();
            assert_eq!(error.raw_os_error(), Some(libc::EADDRINUSE));
        }
    }

    #[test]
    fn the_kernel_spreads_over_sockets_that_joined() {
        let first = open_first(LOCAL[0].parse().unwrap(), 1 << 16).unwrap();
        let address = first.local_addr().unwrap();
        let second = open_another(address, 1 << 16).unwrap();
        for _ in 0..64 {
            client(address).send_to(b"x", address).unwrap();
        }
        let (one, two) = (count(&first), count(&second));
        assert_eq!(one + two, 64);
        assert!(one > 0 && two > 0, "{one} and {two}");
    }

    fn count(socket: &UdpSocket) -> usize {
        let mut bytes = [0; 16];
        std::iter::from_fn(|| drain(socket, &mut bytes)).count()
    }

    #[test]
    fn a_second_balancer_cannot_join_a_catch_all() {
        let first = open_catch_all(LOCAL[0].parse().unwrap(), 1 << 16).unwrap();
        let address = first.local_addr().unwrap();
        for open in [open_first, open_catch_all] {
            let error = open(address, 1 << 16).unwrap_err();
            assert_eq!(error.raw_os_error(), Some(libc::EADDRINUSE));
        }
    }

    #[test]
    fn a_connected_socket_takes_its_peer_and_nobody_else() {
        for local in LOCAL {
            let first = open_catch_all(local.parse().unwrap(), 1 << 16).unwrap();
            let address = first.local_addr().unwrap();
            let peer = client(address);
            let connected = open_connected(address, peer.local_addr().unwrap(), 1 << 16).unwrap();
            peer.send_to(b"peer", address).unwrap();
            for _ in 0..32 {
                client(address).send_to(b"stranger", address).unwrap();
            }
            let mut bytes = [0; 16];
            let (len, source) = drain(&connected, &mut bytes).unwrap();
            assert_eq!((&bytes[..len], source), (&b"peer"[..], peer.local_addr().unwrap()));
            assert_eq!((count(&connected), count(&first)), (0, 32));
        }
    }

    #[test]
    fn the_catch_all_takes_everything_before_the_connect_and_at_the_end() {
        for local in LOCAL {
            let first = open_catch_all(local.parse().unwrap(), 1 << 16).unwrap();
            let address = first.local_addr().unwrap();
            let other = open_another(address, 1 << 16).unwrap();
            let closed_before = open_another(address, 1 << 16).unwrap();
            drop(closed_before);
            let peers: Vec<_> = (0..32).map(|_| client(address)).collect();
            let all_send =
                || peers.iter().for_each(|p| assert_eq!(p.send_to(b"x", address).unwrap(), 1));
            all_send();
            assert_eq!((count(&first), count(&other)), (32, 0), "bound");
            other.connect(peers[0].local_addr().unwrap()).unwrap();
            all_send();
            assert_eq!((count(&first), count(&other)), (31, 1), "connected");
            turn_away(&other).unwrap();
            all_send();
            assert_eq!((count(&first), count(&other)), (32, 0), "turned away");
        }
    }

    #[test]
    fn draining_passes_over_an_icmp_error() {
        let gone = client(LOCAL[0].parse().unwrap()).local_addr().unwrap();
        let first = open_catch_all(LOCAL[0].parse().unwrap(), 1 << 16).unwrap();
        let socket = open_connected(first.local_addr().unwrap(), gone, 1 << 16).unwrap();
        socket.send(b"x").unwrap();
        let back = UdpSocket::bind(gone).unwrap();
        back.send_to(b"y", first.local_addr().unwrap()).unwrap();
        let mut bytes = [0; 16];
        assert_eq!(drain(&socket, &mut bytes), Some((1, gone)));
    }

    #[test]
    fn the_receive_buffer_is_read_back() {
        let socket = open_first(LOCAL[0].parse().unwrap(), 1 << 17).unwrap();
        assert_eq!(receive_buffer(&socket).unwrap(), 1 << 17);
    }

    #[test]
    fn an_address_that_is_not_here_yet_can_be_bound() {
        // 192.0.2.0/24 is for documentation: no machine has it.
        open_first("192.0.2.1:0".parse().unwrap(), 1 << 16).unwrap();
    }
}
