//! The driver against the kernel, on loopback.

use super::*;
use crate::io::os::Event;
use crate::io::socket;
use std::net::UdpSocket;
use std::os::fd::AsFd;

const SECOND: Duration = Duration::from_secs(1);
pub(super) const SMALL: Sizes =
    Sizes { receive_slots: 4, send_slots: 4, message_size: 64, peers: 1 };
pub(super) const SOCKET: FileIndex = FileIndex(0);
pub(super) const SPARE: FileIndex = FileIndex(1);

pub(super) struct Rig {
    pub(super) driver: Driver,
    slots: ReceiveSlots,
    pub(super) socket: UdpSocket,
    event: Event,
    shared: OwnedFd,
}

pub(super) fn rig(sizes: &Sizes) -> Rig {
    let seed = RingSeed::build(sizes.submissions(), sizes.completions(2)).unwrap();
    let shared = seed.share().unwrap();
    let socket = socket::open_catch_all("127.0.0.1:0".parse().unwrap(), 1 << 20).unwrap();
    let event = Event::new().unwrap();
    let (driver, slots) =
        Driver::start(seed, sizes, &[socket.as_fd()], 1, event.share().unwrap()).unwrap();
    Rig { driver, slots, socket, event, shared }
}

impl Rig {
    pub(super) fn client(&self) -> UdpSocket {
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        client.connect(self.socket.local_addr().unwrap()).unwrap();
        client.set_read_timeout(Some(5 * SECOND)).unwrap();
        client
    }

    fn next(&mut self) -> Completion {
        for wait in [None, Some(5 * SECOND)] {
            if let Some(completion) = self.driver.completion() {
                return completion;
            }
            self.driver.enter(wait).unwrap();
        }
        self.driver.completion().expect("something comes")
    }

    pub(super) fn send(&mut self, bytes: &[u8], file: FileIndex, to: Option<SocketAddr>) {
        let slot = self.driver.take_slot().unwrap();
        self.driver.message(&slot)[..bytes.len()].copy_from_slice(bytes);
        self.driver.send(slot, bytes.len(), file, to).unwrap();
    }

    /// Points the spare file at a socket connected to a port where nobody listens.
    fn connect_to_nobody(&mut self) -> UdpSocket {
        let nobody = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let local = self.socket.local_addr().unwrap();
        let connected = socket::open_connected(local, nobody, 1 << 16).unwrap();
        self.driver.replace_file(SPARE, Some(connected.as_fd())).unwrap();
        connected
    }
}

#[test]
fn the_completion_queue_holds_all_that_can_be_outstanding() {
    let sizes = Sizes::of_a_worker(3);
    assert!(sizes.completions(10) >= 256 + 256 + 2 * 10 + 2 * 3 + 2);
    assert!(sizes.completions(10).is_power_of_two());
}

#[test]
fn a_datagram_comes_in_and_another_leaves() {
    let mut rig = rig(&SMALL);
    let client = rig.client();
    rig.driver.arm_receive(SOCKET).unwrap();
    client.send(b"ping").unwrap();
    let Completion::Datagram { received, armed: true } = rig.next() else { panic!() };
    let datagram = rig.slots.datagram(&received).unwrap();
    assert_eq!(datagram.bytes, b"ping");
    assert_eq!(datagram.source, client.local_addr().unwrap());
    let to = datagram.source;
    rig.slots.give_back(received);
    rig.send(b"pong", SOCKET, Some(to));
    let Completion::Sent { slot, result: Ok(4) } = rig.next() else { panic!() };
    rig.driver.put_back(slot);
    let mut bytes = [0; 16];
    assert_eq!(client.recv(&mut bytes).unwrap(), 4);
}

#[test]
fn a_turn_with_sends_still_enters_once() {
    let mut rig = rig(&SMALL);
    let to = rig.client().local_addr().unwrap();
    rig.driver.enter(None).unwrap();
    let before = rig.driver.enters();
    rig.send(b"one", SOCKET, Some(to));
    rig.send(b"two", SOCKET, Some(to));
    // It waits on past the two that complete at once, until there is something to do.
    rig.event.set();
    rig.driver.enter(Some(5 * SECOND)).unwrap();
    assert_eq!(rig.driver.enters(), before + 1);
    let all: Vec<_> = std::iter::from_fn(|| rig.driver.completion()).collect();
    assert!(matches!(all[..], [_, _, _]), "{all:?}");
    assert!(all.iter().any(|one| matches!(one, Completion::Event { .. })));
}

#[test]
fn an_empty_buffer_ring_ends_the_receive_and_loses_nothing() {
    let mut rig = rig(&SMALL);
    let client = rig.client();
    for number in 0..10u8 {
        client.send(&[number]).unwrap();
    }
    rig.driver.arm_receive(SOCKET).unwrap();
    let (mut seen, mut ended) = (Vec::new(), 0);
    let mut held = Vec::new();
    while seen.len() < 10 {
        match rig.next() {
            Completion::Datagram { received, .. } => {
                seen.push(rig.slots.datagram(&received).unwrap().bytes[0]);
                held.push(received);
            }
            Completion::ReceiveEnded { file: SOCKET, errno: Errno(libc::ENOBUFS) } => {
                ended += 1;
                assert_eq!(held.len(), 4);
                held.drain(..).for_each(|received| rig.slots.give_back(received));
                rig.slots.publish(); // before it is armed: else it would end again at once
                rig.driver.arm_receive(SOCKET).unwrap();
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(seen, (0..10).collect::<Vec<_>>());
    assert_eq!(ended, 2);
}

#[test]
fn a_datagram_longer_than_a_slot_is_marked_and_one_that_fills_it_is_not() {
    let mut rig = rig(&SMALL);
    let client = rig.client();
    rig.driver.arm_receive(SOCKET).unwrap();
    for (size, truncated) in [(64, false), (65, true)] {
        client.send(&vec![b'x'; size]).unwrap();
        let Completion::Datagram { received, armed: true } = rig.next() else { panic!() };
        let datagram = rig.slots.datagram(&received).unwrap();
        assert_eq!((datagram.bytes.len(), datagram.truncated), (64, truncated));
        rig.slots.give_back(received);
    }
}

#[test]
fn the_largest_datagram_goes_in_and_out() {
    let mut rig = rig(&Sizes::of_a_worker(0));
    let client = rig.client();
    rig.driver.arm_receive(SOCKET).unwrap();
    let sent: Vec<u8> = (0..crate::limits::DATAGRAM_SIZE_MAX).map(|i| i as u8).collect();
    client.send(&sent).unwrap();
    let Completion::Datagram { received, .. } = rig.next() else { panic!() };
    let datagram = rig.slots.datagram(&received).unwrap();
    assert!(!datagram.truncated && datagram.bytes == sent);
    let (copy, to) = (datagram.bytes.to_vec(), datagram.source);
    rig.send(&copy, SOCKET, Some(to));
    assert!(matches!(rig.next(), Completion::Sent { result: Ok(65_507), .. }));
    rig.send(&[copy, vec![0]].concat(), SOCKET, Some(to));
    let Completion::Sent { result, .. } = rig.next() else { panic!() };
    assert_eq!(result, Err(Errno(libc::EMSGSIZE)));
}

#[test]
fn a_refusal_ends_the_receive_of_a_connected_socket() {
    let mut rig = rig(&SMALL);
    let _socket = rig.connect_to_nobody();
    rig.driver.arm_receive(SPARE).unwrap();
    rig.send(b"anybody?", SPARE, None);
    let mut refused = false;
    for _ in 0..2 {
        match rig.next() {
            Completion::Sent { result: Ok(8), .. } => {}
            Completion::ReceiveEnded { file: SPARE, errno } => refused = errno.is_icmp(),
            other => panic!("{other:?}"),
        }
    }
    assert!(refused);
}

#[test]
fn a_send_that_failed_for_an_earlier_one_is_sent_again_once() {
    let mut rig = rig(&SMALL);
    let socket = rig.connect_to_nobody();
    socket.send(b"anybody?").unwrap(); // its refusal waits on the socket
    rig.send(b"again", SPARE, None);
    let Completion::Sent { slot, result } = rig.next() else { panic!() };
    assert_eq!(result, Err(Errno(libc::ECONNREFUSED)));
    assert!(rig.driver.send_again(slot).unwrap().is_none());
    let Completion::Sent { slot, result: Ok(5) } = rig.next() else { panic!() };
    assert!(rig.driver.send_again(slot).unwrap().is_some());
}

#[test]
fn a_full_socket_answers_at_once_instead_of_keeping_the_slot() {
    let mut rig = rig(&SMALL);
    let blocked = std::os::unix::net::UnixDatagram::pair().unwrap();
    rig.driver.replace_file(SPARE, Some(blocked.0.as_fd())).unwrap();
    let full = (0..1_000).find_map(|_| {
        rig.send(b"x", SPARE, None);
        let Completion::Sent { slot, result } = rig.next() else { panic!() };
        rig.driver.put_back(slot);
        result.err()
    });
    assert_eq!(full, Some(Errno(libc::EAGAIN)));
}

#[test]
fn a_cancelled_receive_says_so() {
    let mut rig = rig(&SMALL);
    rig.driver.arm_receive(SOCKET).unwrap();
    rig.driver.cancel_receive(SOCKET).unwrap();
    let both = [rig.next(), rig.next()];
    assert!(both.iter().any(|one| matches!(one, Completion::Cancelled)));
    let ended = Errno(libc::ECANCELED);
    assert!(
        both.iter()
            .any(|one| matches!(one, Completion::ReceiveEnded { errno, .. } if *errno == ended))
    );
}

#[test]
fn more_operations_than_the_submission_queue_holds_are_all_done() {
    let mut rig = rig(&SMALL);
    for _ in 0..20 {
        rig.driver.arm_receive(SPARE).unwrap(); // an empty place: each ends with EBADF
    }
    for _ in 0..20 {
        let Completion::ReceiveEnded { errno, .. } = rig.next() else { panic!() };
        assert_eq!(errno, Errno(libc::EBADF));
    }
}

#[test]
fn a_doorbell_wakes_a_ring_that_waits_on_another_thread() {
    let mut here = rig(&SMALL);
    let (sender, receiver) = std::sync::mpsc::channel();
    let waiting = std::thread::spawn(move || {
        let mut there = rig(&SMALL);
        sender.send(there.shared.try_clone().unwrap()).unwrap();
        matches!(there.next(), Completion::Doorbell)
    });
    let ring = receiver.recv().unwrap();
    here.driver.ring_doorbell(ring.as_fd(), 1).unwrap();
    here.driver.enter(None).unwrap();
    assert!(here.driver.completion().is_none(), "no completion when it rang");
    assert!(waiting.join().unwrap());
}

#[test]
fn a_doorbell_that_cannot_be_rung_says_whose() {
    let mut here = rig(&SMALL);
    let no_ring = std::fs::File::open("/dev/null").unwrap();
    here.driver.ring_doorbell(no_ring.as_fd(), 7).unwrap();
    let Completion::DoorbellFailed { target, .. } = here.next() else { panic!() };
    assert_eq!(target, 7);
}

#[test]
fn the_end_closes_the_sockets() {
    let mut rig = rig(&SMALL);
    rig.driver.arm_receive(SOCKET).unwrap();
    rig.driver.enter(None).unwrap();
    let address = rig.socket.local_addr().unwrap();
    let shared = rig.shared; // a ring that is still referred to must not keep them open
    drop((rig.driver, rig.socket));
    socket::open_first(address, 1 << 16).unwrap();
    drop(shared);
}
