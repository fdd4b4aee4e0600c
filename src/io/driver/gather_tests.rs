//! Waiting for a batch, against the kernel. The timeout is an hour: a wait that it alone would end hangs.

use super::tests::{Rig, SMALL, SOCKET, SPARE, rig};
use super::*;
use crate::io::socket;
use std::net::UdpSocket;
use std::os::fd::AsFd;

const HOUR: Duration = Duration::from_secs(3600);

/// A second socket that is received from, and who sends to it.
fn second(rig: &Rig) -> (UdpSocket, UdpSocket) {
    let local = rig.socket.local_addr().unwrap();
    let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
    let socket = socket::open_connected(local, sender.local_addr().unwrap(), 1 << 16).unwrap();
    rig.driver.replace_file(SPARE, Some(socket.as_fd())).unwrap();
    sender.connect(local).unwrap();
    (socket, sender)
}

/// A rig that receives from two sockets, and who sends to each.
fn two() -> (Rig, UdpSocket, [UdpSocket; 2]) {
    let mut rig = rig(&SMALL);
    let client = rig.client();
    let (socket, sender) = second(&rig);
    rig.driver.arm_receive(SOCKET).unwrap();
    rig.driver.arm_receive(SPARE).unwrap();
    rig.driver.enter(None).unwrap();
    (rig, socket, [client, sender])
}

fn datagrams(rig: &mut Rig) -> usize {
    let taken = std::iter::from_fn(|| rig.driver.completion());
    taken.filter(|one| matches!(one, Completion::Datagram { .. })).count()
}

/// Sends when told to and after a moment, in which the other thread begins to wait.
fn later(client: UdpSocket) -> std::thread::JoinHandle<()> {
    std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(30));
        client.send(b"later").unwrap();
    })
}

#[test]
fn a_message_alone_is_not_kept_where_nobody_wants_more() {
    let (mut rig, _socket, [client, sender]) = two();
    client.send(b"now").unwrap();
    rig.driver.enter(Some(HOUR)).unwrap();
    assert_eq!(datagrams(&mut rig), 1);
    sender.send(b"later").unwrap(); // it could not have come with the first
    rig.driver.enter(Some(HOUR)).unwrap();
    assert_eq!(datagrams(&mut rig), 1);
}

#[test]
fn two_that_come_one_after_the_other_come_in_one_turn() {
    let (mut rig, _socket, [client, sender]) = two();
    client.send(b"now").unwrap();
    let thread = later(sender);
    rig.driver.gather(Batch { messages: 2, within: HOUR }, HOUR).unwrap();
    assert_eq!(datagrams(&mut rig), 2, "the second ends the wait");
    thread.join().unwrap();
}

#[test]
fn what_was_there_before_counts_message_by_message() {
    let (mut rig, _socket, [client, _]) = two();
    (0..3).for_each(|_| assert_eq!(client.send(b"now").unwrap(), 3));
    rig.driver.gather(Batch { messages: 3, within: HOUR }, HOUR).unwrap();
    assert_eq!(datagrams(&mut rig), 3);
}

#[test]
fn a_message_alone_is_kept_no_longer_than_the_batch_is_waited_for() {
    let (mut rig, _socket, [client, _]) = two();
    for within in [Duration::from_millis(5), Duration::from_nanos(500), Duration::ZERO] {
        client.send(b"now").unwrap();
        rig.driver.gather(Batch { messages: 2, within }, HOUR).unwrap();
        assert_eq!(datagrams(&mut rig), 1);
    }
}

#[test]
fn when_its_time_is_over_without_a_message_the_next_one_is_enough() {
    let (mut rig, _socket, [_, sender]) = two();
    let thread = later(sender);
    rig.driver.gather(Batch { messages: 2, within: Duration::from_micros(50) }, HOUR).unwrap();
    assert_eq!(datagrams(&mut rig), 1);
    thread.join().unwrap();
}

#[test]
fn the_timeout_ends_a_longer_wait() {
    let (mut rig, ..) = two();
    rig.driver.gather(Batch { messages: 2, within: HOUR }, Duration::from_millis(5)).unwrap();
    assert_eq!(datagrams(&mut rig), 0);
}

#[test]
fn own_sends_are_no_messages() {
    let (mut rig, _socket, [client, sender]) = two();
    rig.send(b"one", SOCKET, Some(client.local_addr().unwrap()));
    rig.send(b"two", SOCKET, Some(client.local_addr().unwrap()));
    client.send(b"now").unwrap();
    let thread = later(sender);
    rig.driver.gather(Batch { messages: 2, within: HOUR }, HOUR).unwrap();
    assert_eq!(datagrams(&mut rig), 2);
    thread.join().unwrap();
}
