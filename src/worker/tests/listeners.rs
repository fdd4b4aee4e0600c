//! Listeners that come and go while the workers run.

use super::super::listeners::Opened;
use super::*;

/// The place of what is added.
const ADDED: SocketIndex = SocketIndex(3);

fn added(rig: &Rig, port: u16) -> LocalSocket {
    let address = SocketAddr::new(rig.listener.ip(), port);
    LocalSocket::new(address, Role::Listener)
}

/// Settings of two workers with one socket more.
fn with(rig: &Rig, socket: &LocalSocket) -> Vec<Arc<Settings>> {
    let settings = |number| {
        let mut settings = Settings::clone(&settings(number, 2, rig.listener.ip(), 5060));
        settings.sockets.push(socket.clone());
        Arc::new(settings)
    };
    (0..2).map(settings).collect()
}

fn without(rig: &Rig) -> Vec<Arc<Settings>> {
    (0..2).map(|number| settings(number, 2, rig.listener.ip(), 5060)).collect()
}

fn open(rig: &Rig, socket: &LocalSocket) -> Result<Opened, StartError> {
    let workers = rig.workers.as_ref().expect("they run");
    workers.open(std::iter::once((ADDED, socket)), 1 << 16)
}

#[test]
fn an_added_listener_is_received_from_once_every_worker_knows_it() {
    let rig = rig(2, host());
    let workers = rig.workers.as_ref().unwrap();
    let socket = added(&rig, 5080);
    let opened = open(&rig, &socket).unwrap();
    let clients: Vec<_> = (0..16).map(|_| rig.client()).collect();
    for client in &clients {
        client.send_to(b"x\nwho", socket.address).unwrap();
    }
    workers.take_over(opened, &with(&rig, &socket)).unwrap();
    rig.wait_until("ticks", |rig| rig.sum(|cells| &cells.enters) > 6);
    assert_eq!(rig.sum(|cells| &cells.datagrams_received), 0, "nobody receives yet");
    workers.receive(&[ADDED]).unwrap();
    for client in &clients {
        // From where it was sent to, also when another worker owns the call.
        assert_eq!(receive(client).1, socket.address, "what came before has waited");
    }
    assert!(rig.cells.iter().all(|cells| cells.datagrams_received.value() > 0), "both have one");
    assert!(rig.sum(|cells| &cells.handoffs) > 0);
    rig.ask(&clients[0], "x\nwho");
}

#[test]
fn a_closed_listener_frees_its_address_and_can_come_back() {
    let rig = rig(2, host());
    let workers = rig.workers.as_ref().unwrap();
    let socket = added(&rig, 5080);
    let client = rig.client();
    for _ in 0..20 {
        workers.take_over(open(&rig, &socket).unwrap(), &with(&rig, &socket)).unwrap();
        workers.receive(&[ADDED]).unwrap();
        for call_id in 0..4 {
            client.send_to(format!("{call_id}\nwho").as_bytes(), socket.address).unwrap();
            assert_eq!(receive(&client).1, socket.address);
        }
        workers.close(&[ADDED]).unwrap();
        rig.ask(&client, "x\nwho");
    }
    // A moment after the answer: the kernel closes it when nothing uses it any more.
    rig.wait_until("it is free", |_| UdpSocket::bind(socket.address).is_ok());
    assert!(!workers.failed());
    assert_eq!(rig.sum(|cells| &cells.send_errors), 0);
}

#[test]
fn an_address_that_is_taken_changes_nothing() {
    let rig = rig(2, host());
    let (free, taken) = (added(&rig, 5080), added(&rig, 5081));
    let other = UdpSocket::bind(taken.address).unwrap();
    let workers = rig.workers.as_ref().unwrap();
    let both = [(ADDED, &free), (SocketIndex(4), &taken)];
    match workers.open(both.into_iter(), 1 << 16).unwrap_err() {
        StartError::Unavailable(text) => assert!(text.contains(":5081"), "{text}"),
        StartError::Permission(text) => panic!("{text}"),
    }
    drop(other);
    UdpSocket::bind(free.address).expect("it was closed again");
}

#[test]
fn sockets_are_taken_back() {
    let rig = rig(2, host());
    let workers = rig.workers.as_ref().unwrap();
    let socket = added(&rig, 5080);
    workers.take_over(open(&rig, &socket).unwrap(), &with(&rig, &socket)).unwrap();
    workers.take_back(&[ADDED], &without(&rig));
    rig.wait_until("it is free", |_| UdpSocket::bind(socket.address).is_ok());
    rig.ask(&rig.client(), "x\nwho");
}

#[test]
fn a_dead_worker_is_not_waited_for_for_ever() {
    let rig = rig(2, host());
    let workers = rig.workers.as_ref().unwrap();
    rig.client().send_to(b"x\ndie", rig.listener).unwrap();
    rig.wait_until("dead", |_| workers.failed());
    let socket = added(&rig, 5080);
    assert!(workers.take_over(open(&rig, &socket).unwrap(), &with(&rig, &socket)).is_err());
}
