//! UDP sockets as the workers need them.
//!
//! Several sockets share a local address (SO_REUSEPORT): one per worker on a listener, a catch-all
//! and connected ones on a port towards the backends. SO_REUSEPORT alone would also let a second
//! balancer of the same user join in and silently take half of the traffic. So the first socket of
//! an address is bound without it, which fails if anybody has the port, and shares it afterwards.

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

/// Opens another socket of `local` that takes what `peer` sends there.
///
/// Between bind and connect it also gets datagrams of others, chosen by the kernel's hash; they
/// wait in it. So its datagrams are to be read with their source, like those of the first socket.
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
        let count = |socket: &UdpSocket| {
            let mut bytes = [0; 16];
            std::iter::from_fn(|| drain(socket, &mut bytes)).count()
        };
        let (one, two) = (count(&first), count(&second));
        assert_eq!(one + two, 64);
        assert!(one > 0 && two > 0, "{one} and {two}");
    }

    #[test]
    fn a_connected_socket_takes_its_peer_and_nobody_else() {
        for local in LOCAL {
            let first = open_first(local.parse().unwrap(), 1 << 16).unwrap();
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
            assert!(drain(&connected, &mut bytes).is_none());
            assert_eq!(std::iter::from_fn(|| drain(&first, &mut bytes)).count(), 32);
        }
    }

    #[test]
    fn draining_passes_over_an_icmp_error() {
        let gone = client(LOCAL[0].parse().unwrap()).local_addr().unwrap();
        let first = open_first(LOCAL[0].parse().unwrap(), 1 << 16).unwrap();
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
