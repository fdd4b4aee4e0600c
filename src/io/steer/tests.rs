//! The committed object is what its source makes, and what it makes is loaded and chooses.
//!
//! What it chooses for which datagram is tested where the reading of Call-IDs is known: `worker::steering`.

use super::super::socket;
use super::*;
use std::fs;
use std::net::UdpSocket;
use std::process::Command;

const KEY: HashKey = HashKey { low: 0x89ab_cdef, high: 0x0123_4567, factor: 0xfedc_ba99, start: 7 };

/// The compiler that the committed object is of.
const COMPILER: &str = "clang version 14.";

/// So many sockets of one address.
pub(crate) fn group(workers: usize) -> Vec<UdpSocket> {
    let first = socket::open_first("127.0.0.1:0".parse().unwrap(), 1 << 20).unwrap();
    let address = first.local_addr().unwrap();
    let more = (1..workers).map(|_| socket::open_another(address, 1 << 20).unwrap());
    std::iter::once(first).chain(more).collect()
}

pub(crate) fn borrowed(sockets: &[UdpSocket]) -> Group<'_> {
    sockets.iter().map(AsFd::as_fd).collect()
}

/// Where the kernel may not be asked: says so, and gives `None`.
pub(crate) fn may_steer(test: &str) -> Option<()> {
    match try_steering() {
        Ok(()) => Some(()),
        Err(refusal) => {
            println!("SKIPPED: {test}: {refusal}");
            None
        }
    }
}

/// How many of 64 Call-IDs, each from a port of its own, came in at each socket.
fn shares(sockets: &[UdpSocket]) -> Vec<Vec<String>> {
    let address = sockets[0].local_addr().unwrap();
    for number in 0..64 {
        let text = format!("OPTIONS sip:a SIP/2.0\r\nCall-ID: {number}@example.com\r\n\r\n");
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        sender.send_to(text.as_bytes(), address).unwrap();
    }
    let mut bytes = [0; 200];
    let mut all = |socket| {
        let next = || socket::drain(socket, &mut bytes).map(|(len, _)| bytes[..len].to_vec());
        std::iter::from_fn(next).map(|text| String::from_utf8(text).unwrap()).collect::<Vec<_>>()
    };
    sockets.iter().map(&mut all).collect()
}

#[test]
fn the_committed_object_is_that_of_its_source() {
    let Ok(version) = Command::new("clang").arg("--version").output() else {
        let required = std::env::var("SIPRING_REQUIRE_PEERS").is_ok_and(|value| value == "1");
        assert!(!required, "clang is not installed, and SIPRING_REQUIRE_PEERS=1 wants it");
        println!("SKIPPED: clang is not installed");
        return;
    };
    let directory = tempfile::tempdir().unwrap();
    let made = directory.path().join("steer.bpf.o");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/src/io/steer/build.sh");
    let built = Command::new(script).arg(&made).output().unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    let made = fs::read(&made).unwrap();
    let version = String::from_utf8_lossy(&version.stdout).into_owned();
    if version.contains(COMPILER) {
        assert!(made == OBJECT, "steer.bpf.o is not of this steer.bpf.c: run {script}");
        return;
    }
    // Another compiler makes other bytes: they must do the same.
    println!("SKIPPED: comparison of the bytes: they are of {COMPILER}, this is {version}");
    if may_steer("comparison of what the programs do").is_some() {
        let [ours, theirs] = [OBJECT, &made[..]].map(|object| {
            let sockets = group(3);
            attach_object(object, &[borrowed(&sockets)], &KEY).unwrap();
            shares(&sockets)
        });
        assert_eq!(ours, theirs);
    }
}

#[test]
fn where_a_call_id_goes_is_the_same_from_everywhere() {
    if may_steer("where_a_call_id_goes_is_the_same_from_everywhere").is_none() {
        return;
    }
    let (one, other) = (group(4), group(4));
    attach(&[borrowed(&one), borrowed(&other)], &KEY).unwrap();
    let first = shares(&one);
    assert!(first.iter().all(|share| share.len() > 4), "{first:?}");
    assert_eq!(first, shares(&one), "from other ports");
    assert_eq!(first, shares(&other), "in another group");
    // With another key they go elsewhere.
    attach(&[borrowed(&other)], &HashKey { start: 8, ..KEY }).unwrap_err();
    let third = group(4);
    attach(&[borrowed(&third)], &HashKey { low: 1, ..KEY }).unwrap();
    assert_ne!(first, shares(&third));
}

#[test]
fn what_was_for_a_closed_socket_goes_to_another() {
    if may_steer("what_was_for_a_closed_socket_goes_to_another").is_none() {
        return;
    }
    let mut sockets = group(3);
    attach(&[borrowed(&sockets)], &KEY).unwrap();
    let before = shares(&sockets);
    drop(sockets.pop());
    let after = shares(&sockets);
    assert_eq!(after.iter().map(Vec::len).sum::<usize>(), 64);
    for (before, after) in before.iter().zip(&after) {
        assert!(before.iter().all(|message| after.contains(message)), "the others stay");
    }
}
