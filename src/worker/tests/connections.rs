//! Connected sockets towards busy backends come and go, and nothing is lost by it.

use super::*;

#[test]
fn a_busy_backend_gets_a_connected_socket_and_nothing_is_lost_meanwhile() {
    const TOTAL: u32 = 4 * CONNECT_AFTER;
    let rig = rig(1, host());
    let (client, stranger) = (rig.client(), rig.client());
    let port = SocketAddr::new(rig.listener.ip(), rig.listener.port() + 1);
    let mut answers = 0;
    for _ in 0..TOTAL {
        client.send_to(b"x\nout", rig.listener).unwrap();
        // The backend answers, and somebody else sends to the same port, all the time.
        let (request, egress) = receive(&rig.backend);
        assert_eq!(egress, port, "always the same port");
        rig.backend.send_to(request.as_bytes(), egress).unwrap();
        let back = format!("x\nback {}", client.local_addr().unwrap());
        stranger.send_to(back.as_bytes(), port).unwrap();
        answers += [receive(&client).0, receive(&client).0].iter().filter(|a| *a == "1 0").count();
    }
    assert_eq!(answers as u32, 2 * TOTAL);
    assert!(shares_of(port) > 1, "a connected socket shares the port");
}

/// Sockets that are bound to this address, as the kernel lists them.
fn shares_of(address: SocketAddr) -> usize {
    let IpAddr::V4(ip) = address.ip() else { panic!("IPv4 only") };
    let local = format!("{:08X}:{:04X} ", u32::from_ne_bytes(ip.octets()), address.port());
    let table = std::fs::read_to_string("/proc/net/udp").unwrap();
    table.lines().filter(|line| line.contains(&format!(": {local}"))).count()
}

#[test]
fn a_stream_of_requests_loses_none_while_it_gets_connected() {
    // Requests are sent without waiting, so that sockets are connected while datagrams fly.
    let rig = rig(2, host());
    let client = rig.client();
    let total = 5 * CONNECT_AFTER;
    for number in 0..total {
        client.send_to(format!("{number}\nout {number}").as_bytes(), rig.listener).unwrap();
    }
    let mut seen = HashSet::new();
    for _ in 0..total {
        let (request, egress) = receive(&rig.backend);
        rig.backend.send_to(request.as_bytes(), egress).unwrap();
        seen.insert(request);
    }
    assert_eq!(seen.len(), total as usize);
    (0..total).for_each(|_| drop(receive(&client)));
}

#[test]
fn refused_datagrams_are_counted_and_the_receive_goes_on() {
    let mut rig = rig(1, host());
    let client = rig.client();
    for _ in 0..CONNECT_AFTER + 8 {
        client.send_to(b"x\nout", rig.listener).unwrap();
        receive(&rig.backend);
    }
    let address = rig.backend.local_addr().unwrap();
    rig.backend = self::client(SocketAddr::new(rig.listener.ip(), 0)); // closes the one before
    for _ in 0..20 {
        client.send_to(b"x\nout", rig.listener).unwrap();
        assert_eq!(rig.ask(&client, "x\nwho"), "0");
    }
    rig.wait_until("counted", |rig| rig.sum(|cells| &cells.icmp_errors) > 0);
    let outcome = |rig: &Rig, one: BackendOutcome| {
        let roster = rig.roster.load();
        roster.all(BackendSlot(0)).map(|of| of.outcomes[one as usize].value()).sum::<u64>()
    };
    rig.wait_until("blamed", |rig| outcome(rig, BackendOutcome::Unreachable) > 0);
    assert_eq!(outcome(&rig, BackendOutcome::Answered), 0);
    // The backend is back, on the same connected socket.
    rig.backend = self::client(address);
    client.send_to(b"x\nout back again", rig.listener).unwrap();
    while !receive(&rig.backend).0.ends_with("back again") {}
    let port = SocketAddr::new(rig.listener.ip(), rig.listener.port() + 1);
    let back = format!("x\nback {}", client.local_addr().unwrap());
    rig.backend.send_to(back.as_bytes(), port).unwrap();
    assert_eq!(receive(&client).0, "1 0");
    assert_eq!(outcome(&rig, BackendOutcome::Answered), 1);
    assert_eq!(rig.sum(|cells| &cells.receive_errors), 0);
}

#[test]
fn a_connected_socket_is_closed_when_its_backend_leaves_the_pool() {
    let mut rig = rig(1, host());
    let client = rig.client();
    let port = SocketAddr::new(rig.listener.ip(), rig.listener.port() + 1);
    for _ in 0..3 {
        for _ in 0..CONNECT_AFTER + 8 {
            client.send_to(b"x\nout", rig.listener).unwrap();
            receive(&rig.backend);
        }
        rig.wait_until("connected", |_| shares_of(port) == 2);
        let gone = std::mem::replace(
            &mut rig.backend,
            self::client(SocketAddr::new(rig.listener.ip(), 0)),
        );
        rig.roster.store(Arc::new(
            rig.roster.load().followed_by(pool(rig.backend.local_addr().unwrap())),
        ));
        // The old backend is heard whatever the state of its connection.
        let back = format!("x\nback {}", client.local_addr().unwrap());
        for _ in 0..50 {
            gone.send_to(back.as_bytes(), port).unwrap();
        }
        (0..50).for_each(|_| assert_eq!(receive(&client).0, "1 0"));
        rig.wait_until("closed", |_| shares_of(port) == 1);
    }
}

#[test]
fn a_listener_as_egress_stays_unconnected() {
    let backend = client(SocketAddr::new(host(), 0));
    let mut plan = plan(1, host(), 5060, backend.local_addr().unwrap());
    let mut changed = Settings::clone(&plan.settings[0]);
    let address = changed.sockets[0].address;
    changed.sockets[1].role = Role::Listener;
    plan.settings[0] = Arc::new(changed);
    let workers = start::start(plan, Script::new).unwrap();
    let client = client(SocketAddr::new(address.ip(), 0));
    for _ in 0..2 * CONNECT_AFTER {
        client.send_to(b"x\nout", address).unwrap();
        receive(&backend);
    }
    assert_eq!(shares_of(SocketAddr::new(address.ip(), address.port() + 1)), 1);
    workers.stop();
}
