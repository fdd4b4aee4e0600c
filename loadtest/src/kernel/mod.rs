//! Calls that the standard library has no name for: many datagrams at once, readiness of many
//! sockets, one io_uring, where a thread runs. The only `unsafe` of this crate; what is public here is safe.
#![allow(unsafe_code)]

mod core;
mod mmsg;
mod poll;
mod train;
mod uring;

pub(crate) use self::core::{run_first, stay_on};
pub(crate) use mmsg::{Inbox, Postman, Trains};
pub(crate) use poll::{Interest, wait_readable};
pub(crate) use train::{SEGMENT_SIZE_MAX, SEGMENTS_MAX};
pub(crate) use uring::{Completion, Datagram, Uring};

use std::net::{Ipv4Addr, SocketAddrV4};

/// The kernel's form of an address.
fn to_name(address: SocketAddrV4) -> libc::sockaddr_in {
    libc::sockaddr_in {
        sin_family: libc::AF_INET as libc::sa_family_t,
        sin_port: address.port().to_be(),
        sin_addr: libc::in_addr { s_addr: u32::from(*address.ip()).to_be() },
        sin_zero: [0; 8],
    }
}

fn from_name(name: &libc::sockaddr_in) -> SocketAddrV4 {
    let ip = Ipv4Addr::from(u32::from_be(name.sin_addr.s_addr));
    SocketAddrV4::new(ip, u16::from_be(name.sin_port))
}

const NAME_LENGTH: libc::socklen_t = size_of::<libc::sockaddr_in>() as libc::socklen_t;
