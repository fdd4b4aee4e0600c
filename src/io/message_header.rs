//! What the kernel writes in front of a received datagram, and socket addresses as it wants them.
//!
//! A receive slot is filled like this (`io_uring_recvmsg_out`, then the areas that `msg_namelen` and
//! `msg_controllen` reserve; we reserve no control area):
//!
//! ```text
//! | namelen u32 | controllen u32 | payloadlen u32 | flags u32 | name, 28 bytes | payload ...
//! ```
//!
//! What the kernel writes is not trusted: nothing here can panic or read outside the slot.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

/// Room for a name: a `sockaddr_in6`, bytes.
pub(crate) const NAME_SIZE: usize = 28;

/// Bytes in front of the payload.
pub(crate) const HEADER_SIZE: usize = 16 + NAME_SIZE;

/// A received datagram, still in its slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Datagram<'a> {
    /// The sender.
    pub(crate) source: SocketAddr,
    /// What was sent, from the first byte on.
    pub(crate) bytes: &'a [u8],
    /// The datagram was longer than the slot and its tail is lost.
    pub(crate) truncated: bool,
}

/// The request header that goes with every receive: only these two lengths count.
pub(crate) fn request() -> libc::msghdr {
    libc::msghdr {
        msg_name: std::ptr::null_mut(),
        msg_namelen: NAME_SIZE as libc::socklen_t,
        msg_iov: std::ptr::null_mut(),
        msg_iovlen: 0,
        msg_control: std::ptr::null_mut(),
        msg_controllen: 0,
        msg_flags: 0,
    }
}

/// Reads a slot. `slot` is exactly what the completion says was written (its result), not the whole
/// slot. `None` if it is not what the kernel promises.
#[inline]
pub(crate) fn parse(slot: &[u8]) -> Option<Datagram<'_>> {
    let (header, payload) = slot.split_at_checked(HEADER_SIZE)?;
    let word = |at: usize| header[at..at + 4].try_into().map(u32::from_ne_bytes).unwrap_or(0);
    let (name_len, payload_len, flags) = (word(0), word(8), word(12));
    // Both lengths may name more than there was room for.
    let name = &header[16..16 + NAME_SIZE.min(name_len as usize)];
    Some(Datagram {
        source: decode(name)?,
        bytes: &payload[..payload.len().min(payload_len as usize)],
        truncated: flags & libc::MSG_TRUNC as u32 != 0,
    })
}

/// Reads a `sockaddr_in` or `sockaddr_in6`.
#[inline]
pub(crate) fn decode(name: &[u8]) -> Option<SocketAddr> {
    let family = u16::from_ne_bytes(name.get(0..2)?.try_into().ok()?);
    let port = u16::from_be_bytes(name.get(2..4)?.try_into().ok()?);
    match i32::from(family) {
        libc::AF_INET => {
            let address: [u8; 4] = name.get(4..8)?.try_into().ok()?;
            Some(SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::from(address), port)))
        }
        libc::AF_INET6 => {
            // The flow label (4..8) is no part of a peer's identity.
            let address: [u8; 16] = name.get(8..24)?.try_into().ok()?;
            let scope = u32::from_ne_bytes(name.get(24..28)?.try_into().ok()?);
            Some(SocketAddr::V6(SocketAddrV6::new(Ipv6Addr::from(address), port, 0, scope)))
        }
        _ => None,
    }
}

/// Writes a `sockaddr_in` or `sockaddr_in6` and returns its length.
#[inline]
pub(crate) fn encode(address: SocketAddr, name: &mut [u8; NAME_SIZE]) -> libc::socklen_t {
    name.fill(0);
    name[2..4].copy_from_slice(&address.port().to_be_bytes());
    match address {
        SocketAddr::V4(v4) => {
            name[0..2].copy_from_slice(&(libc::AF_INET as u16).to_ne_bytes());
            name[4..8].copy_from_slice(&v4.ip().octets());
            16
        }
        SocketAddr::V6(v6) => {
            name[0..2].copy_from_slice(&(libc::AF_INET6 as u16).to_ne_bytes());
            name[8..24].copy_from_slice(&v6.ip().octets());
            name[24..28].copy_from_slice(&v6.scope_id().to_ne_bytes());
            28
        }
    }
}

/// True for an IPv6 address that means something on one link only.
pub(crate) fn is_link_local_v6(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(v6) if v6.segments()[0] & 0xffc0 == 0xfe80)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn slot(name: &[u8], payload_len: u32, flags: u32, payload: &[u8]) -> Vec<u8> {
        let mut slot = Vec::new();
        for word in [name.len() as u32, 0, payload_len, flags] {
            slot.extend(word.to_ne_bytes());
        }
        slot.extend(name);
        slot.resize(HEADER_SIZE, 0);
        slot.extend(payload);
        slot
    }

    fn name(address: &str) -> Vec<u8> {
        let mut name = [0; NAME_SIZE];
        let len = encode(address.parse().unwrap(), &mut name);
        name[..len as usize].to_vec()
    }

    #[test]
    fn a_datagram_is_read_with_its_source() {
        for source in ["192.0.2.1:5060", "[2001:db8::1]:5060", "[fe80::1%3]:9"] {
            let slot = slot(&name(source), 5, 0, b"hello");
            let datagram = parse(&slot).unwrap();
            assert_eq!(datagram.source, source.parse().unwrap());
            assert_eq!(datagram.bytes, b"hello");
            assert!(!datagram.truncated);
        }
    }

    #[test]
    fn a_truncated_datagram_is_marked() {
        let slot = slot(&name("192.0.2.1:5060"), 900, libc::MSG_TRUNC as u32, b"hel");
        let datagram = parse(&slot).unwrap();
        assert!(datagram.truncated);
        assert_eq!(datagram.bytes, b"hel");
    }

    #[test]
    fn a_slot_one_byte_short_of_its_header_is_refused() {
        let slot = slot(&name("192.0.2.1:5060"), 0, 0, b"");
        assert!(parse(&slot).is_some());
        assert!(parse(&slot[..HEADER_SIZE - 1]).is_none());
    }

    #[test]
    fn names_that_are_cut_or_of_another_family_are_refused() {
        for whole in [name("192.0.2.1:5060"), name("[2001:db8::1]:5060")] {
            let needed = if whole.len() == 16 { 8 } else { 28 };
            assert!(decode(&whole[..needed]).is_some());
            assert!((0..needed).all(|len| decode(&whole[..len]).is_none()));
        }
        let mut unix = name("192.0.2.1:5060");
        unix[0..2].copy_from_slice(&(libc::AF_UNIX as u16).to_ne_bytes());
        assert!(decode(&unix).is_none());
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic_and_stay_inside(slot in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Some(datagram) = parse(&slot) {
                prop_assert!(datagram.bytes.len() <= slot.len() - HEADER_SIZE);
            }
            let _ = decode(&slot);
        }

        #[test]
        fn addresses_survive_the_way_there_and_back(ip: [u8; 16], v6: bool, port: u16, scope: u32) {
            let address = if v6 {
                SocketAddr::V6(SocketAddrV6::new(Ipv6Addr::from(ip), port, 0, scope))
            } else {
                SocketAddr::from(([ip[0], ip[1], ip[2], ip[3]], port))
            };
            let mut name = [0xff; NAME_SIZE];
            let len = encode(address, &mut name);
            prop_assert_eq!(decode(&name[..len as usize]), Some(address));
        }
    }
}
