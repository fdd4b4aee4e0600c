//! Steering: a program in the kernel gives each datagram to the worker that owns its Call-ID.
//!
//! `steer/steer.bpf.c` is the program, `steer/steer.bpf.o` what `steer/build.sh` makes of it. Each group of
//! sockets that share an address gets a program of its own, with the sockets in order of the workers:
//! the kernel lets a program choose sockets of its own group only. A group holds its program, and that
//! its maps, so nothing need be kept here and nothing is left behind when the sockets are closed.
//!
//! Needs Linux 5.17 (`bpf_loop`), which is older than what the rings need.

mod refusal;
#[cfg(test)]
pub(crate) mod tests;

pub(crate) use refusal::Refusal;

use super::socket;
use aya::maps::ReusePortSockArray;
use aya::programs::SkReuseport;
use aya::{Ebpf, EbpfError, EbpfLoader, VerifierLogLevel};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};

static OBJECT: &[u8] = aya::include_bytes_aligned!("steer/steer.bpf.o");

/// The sockets of one local address, in order of the workers.
pub(crate) type Group<'a> = Vec<BorrowedFd<'a>>;

/// What the hash of a Call-ID begins with and is multiplied by; see `worker::shard`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HashKey {
    /// Added to the lower half of each eight bytes.
    pub(crate) low: u32,
    /// Added to their upper half.
    pub(crate) high: u32,
    /// Multiplies the sum before each addition.
    pub(crate) factor: u64,
    /// What the sum begins with, but for the length.
    pub(crate) start: u64,
}

/// Lets the kernel steer in each of these groups.
///
/// # Errors
/// When it refuses; some of the groups may be steered then, which does no harm.
pub(crate) fn attach(groups: &[Group<'_>], key: &HashKey) -> Result<(), Refusal> {
    attach_object(OBJECT, groups, key).map_err(|error| Refusal::of(&error))
}

/// Whether the kernel would steer: two sockets of its own are steered and closed again.
///
/// # Errors
/// Why not.
pub(crate) fn try_steering() -> Result<(), Refusal> {
    let first = socket::open_first(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), 1 << 16)?;
    let second = socket::open_another(first.local_addr()?, 1 << 16)?;
    let key = HashKey { low: 1, high: 1, factor: 1, start: 1 };
    attach(&[vec![first.as_fd(), second.as_fd()]], &key)
}

fn attach_object(object: &[u8], groups: &[Group<'_>], key: &HashKey) -> Result<(), EbpfError> {
    let Some(workers) = groups.iter().map(Vec::len).max() else { return Ok(()) };
    let (low, high, count) = (u64::from(key.low), u64::from(key.high), workers as u64);
    let mut loader = EbpfLoader::new();
    loader
        .btf(None) // nothing in the program goes by the kernel's structures
        .verifier_log_level(VerifierLogLevel::STATS)
        .override_global("key_low", &low, true)
        .override_global("key_high", &high, true)
        .override_global("factor", &key.factor, true)
        .override_global("start_sum", &key.start, true)
        .override_global("workers", &count, true)
        .map_max_entries("sockets", workers as u32);
    groups.iter().try_for_each(|group| attach_to(&mut loader.load(object)?, group))
}

fn attach_to(loaded: &mut Ebpf, group: &Group<'_>) -> Result<(), EbpfError> {
    if let Some(map) = loaded.map_mut("sockets") {
        let mut sockets = ReusePortSockArray::try_from(map)?;
        for (worker, socket) in (0..).zip(group) {
            sockets.set(worker, socket, 0)?;
        }
    }
    if let (Some(program), Some(socket)) = (loaded.program_mut("steer"), group.first()) {
        let program: &mut SkReuseport = program.try_into()?;
        program.load()?;
        program.attach(socket)?;
    }
    Ok(())
}
