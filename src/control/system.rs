//! What control asks of the machine: addresses, routes, cores, random bytes, a usable io_uring.

use std::io::{self, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

/// Every address of this machine, loopback with it, without IPv6 link-local ones.
pub(super) fn local_addresses() -> io::Result<Vec<IpAddr>> {
    let mut found = Vec::new();
    let mut last = None;
    for line in std::fs::read_to_string("/proc/net/fib_trie")?.lines() {
        match line.trim_start().strip_prefix("|-- ") {
            Some(address) => last = address.parse::<Ipv4Addr>().ok(),
            None if line.contains("/32 host LOCAL") => found.extend(last.map(IpAddr::V4)),
            None => {}
        }
    }
    for line in std::fs::read_to_string("/proc/net/if_inet6").unwrap_or_default().lines() {
        let hex = line.split_whitespace().next().and_then(|hex| u128::from_str_radix(hex, 16).ok());
        let address = hex.map(Ipv6Addr::from).filter(|ip| !ip.is_unicast_link_local());
        found.extend(address.map(IpAddr::V6));
    }
    found.sort_unstable();
    found.dedup();
    Ok(found)
}

/// The local address that the kernel picks for datagrams to `to`.
pub(super) fn source_address_towards(to: SocketAddr) -> io::Result<IpAddr> {
    let any: IpAddr =
        if to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0))?;
    socket.connect(to)?;
    Ok(socket.local_addr()?.ip())
}

/// Random bytes of the kernel.
pub(super) fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// Cores that this process may use.
pub(super) fn usable_cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Whether io_uring can be used; the exit code and what to do otherwise.
pub(super) fn check_ring() -> Result<(), (u8, String)> {
    Ok(())
}
