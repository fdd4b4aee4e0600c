//! Datagrams find their worker and their way, also in bursts and over hand-off rings.

use super::*;

fn timed(rig: &Rig) -> u64 {
    let count = |cells: &Cells| cells.forward_seconds.buckets.iter().map(Cell::value).sum::<u64>();
    rig.cells.iter().map(|cells| count(cells)).sum()
}

#[test]
fn a_request_goes_out_and_its_response_comes_back() {
    for (host, workers) in [(host(), 1), (host(), 2), ("::1".parse().unwrap(), 1)] {
        let rig = rig(workers, host);
        let client = rig.client();
        for number in 0..20 {
            client.send_to(format!("{number}\nout").as_bytes(), rig.listener).unwrap();
            let (request, egress) = receive(&rig.backend);
            assert_eq!(egress.ip(), host);
            rig.backend.send_to(request.as_bytes(), egress).unwrap();
            let (response, from) = receive(&client);
            assert_eq!(from, rig.listener, "from where the request was sent to");
            // The response reached us on the port that the request left from.
            let socket = egress.port() - rig.listener.port();
            assert!(response.starts_with(&format!("{socket} ")), "{response}");
        }
        rig.wait_until("all counted", |rig| rig.sum(|c| &c.datagrams_sent) == 40);
        assert_eq!(rig.sum(|cells| &cells.datagrams_received), 40);
        let invite = Method::Invite as usize;
        assert_eq!(rig.sum(|cells| &cells.requests_to_backends[invite]), 20);
        assert_eq!(rig.sum(|cells| &cells.call_attempts), 20);
        assert_eq!(rig.backend_requests(), 20);
        assert_eq!(rig.sum(|cells| &cells.responses[1]), 20);
        assert_eq!(rig.backend_responses(1), 20);
        rig.wait_until("all timed", |rig| timed(rig) == 40);
        assert!(rig.sum(|cells| &cells.forward_seconds.sum_ns) > 0);
        assert!(rig.sum(|cells| &cells.bytes_received) > 20 * 5);
        // Steering is about what comes in at listeners: the responses say nothing of it.
        let (right, handed) =
            (rig.sum(|cells| &cells.handoffs_spared), rig.sum(|cells| &cells.handoffs));
        assert!(
            right <= 20 && right + handed >= if workers > 1 { 20 } else { 0 },
            "{right} {handed}"
        );
    }
}

#[test]
fn one_call_id_has_one_worker_whatever_the_source() {
    let rig = rig(3, host());
    let clients: Vec<_> = (0..24).map(|_| rig.client()).collect();
    let mut owners = HashSet::new();
    for call_id in 0..12 {
        let message = format!("call-{call_id}@192.0.2.1\nwho");
        let answers: HashSet<_> = clients.iter().map(|client| rig.ask(client, &message)).collect();
        assert_eq!(answers.len(), 1, "{answers:?}");
        owners.extend(answers);
    }
    assert!(owners.len() > 1, "all calls on one worker");
    assert!(rig.sum(|cells| &cells.handoffs) > 0);
    assert!(rig.sum(|cells| &cells.doorbells) > 0);
    assert!(rig.sum(|cells| &cells.doorbells) <= rig.sum(|cells| &cells.handoffs));
    assert_eq!(rig.sum(|cells| &cells.handoff_full), 0);
}

#[test]
fn a_message_without_a_call_id_is_handled_by_whoever_received_it() {
    let rig = rig(2, host());
    rig.client().send_to(b"no line ends", rig.listener).unwrap();
    rig.client().send_to(b"", rig.listener).unwrap();
    let not_sip = Drop::NotSip as usize;
    rig.wait_until("both dropped", |rig| rig.sum(|cells| &cells.dropped[not_sip]) == 2);
    assert_eq!(rig.sum(|cells| &cells.handoffs), 0);
}

#[test]
fn the_owner_of_another_call_id_is_asked() {
    let rig = rig(3, host());
    let client = rig.client();
    let owner = |call_id: &str| rig.ask(&client, &format!("{call_id}\nwho"));
    let mut ways = HashSet::new();
    for number in 0..30 {
        let (own, other) = (format!("own-{number}"), format!("other-{number}"));
        let (mine, theirs) = (owner(&own), owner(&other));
        let answer = rig.ask(&client, &format!("{own}\nask {other}"));
        assert_eq!(answer, format!("{mine} says Answered(Some(BackendId({theirs})))"));
        ways.insert(mine == theirs);
    }
    assert_eq!(ways.len(), 2, "both ways were tried");
    let answer = rig.ask(&client, "own\nask unknown");
    assert!(answer.ends_with("says Answered(None)"));
}

#[test]
fn an_answer_leaves_from_the_port_that_was_asked_whoever_receives_there() {
    let rig = rig(2, host());
    let client = rig.client();
    let mut answers = HashSet::new();
    for port in 1..=2 {
        let port = SocketAddr::new(rig.listener.ip(), rig.listener.port() + port);
        for number in 0..20 {
            client.send_to(format!("{number}\nwho").as_bytes(), port).unwrap();
            let (owner, from) = receive(&client);
            assert_eq!(from, port);
            answers.insert((port, owner));
        }
    }
    assert_eq!(answers.len(), 4, "both workers answer from both ports");
}

#[test]
fn ports_of_workers_that_are_no_more_are_still_heard() {
    let host = host();
    let mut plan = plan(1, host, 5060, SocketAddr::new(host, 9));
    let more = settings(0, 3, host, 5060); // one worker, and the ports of three
    plan.settings[0] = more;
    let workers = start::start(plan, Script::new).unwrap();
    let client = client(SocketAddr::new(host, 0));
    for port in 5061..=5063 {
        client.send_to(b"x\nwho", (host, port)).unwrap();
        assert_eq!(receive(&client), ("0".to_owned(), SocketAddr::new(host, port)));
    }
    workers.stop();
}

#[test]
fn a_burst_beyond_all_slots_arrives_whole() {
    let rig = rig(2, host());
    let client = rig.client();
    for number in 0..400 {
        client.send_to(format!("{number}\ncopy").as_bytes(), rig.listener).unwrap();
    }
    let answers: HashSet<_> = (0..400).map(|_| receive(&client).0).collect();
    assert_eq!(answers.len(), 400);
    assert_eq!(rig.sum(|cells| &cells.send_full), 0);
}

#[test]
fn a_worker_does_not_wait_with_datagrams_in_its_hands() {
    // While it stalls, sixteen times as many come in as it has slots for, on as many sockets as take
    // all slots at once. Were it to wait after each slotful until it looks at its gauges, a second
    // later, it would answer too late.
    const PORTS: u16 = 12;
    const EACH: u64 = 16 * 256 / 12;
    let host = host();
    let mut plan = plan(1, host, 5060, SocketAddr::new(host, 9));
    plan.settings[0] = settings(0, usize::from(PORTS), host, 5060);
    let cells = Arc::clone(&plan.cells[0]);
    let workers = start::start(plan, Script::new).unwrap();
    let client = client(SocketAddr::new(host, 0));
    client.send_to(b"x\nstall", (host, 5060)).unwrap();
    for _ in 0..EACH {
        for port in 1..=PORTS {
            client.send_to(b"x\ncopy", (host, 5060 + port)).unwrap();
        }
    }
    let (start, all) = (Instant::now(), 1 + EACH * u64::from(PORTS));
    while cells.datagrams_sent.value() < all {
        assert!(start.elapsed() < PATIENCE, "{cells:?}");
        std::thread::sleep(Duration::from_millis(2));
    }
    workers.stop();
}

#[test]
fn what_is_due_in_masses_is_sent_a_part_a_turn_without_waiting_between() {
    // Ten seconds' patience for forty turns, each of which would wait a second.
    let rig = rig(1, host());
    let client = rig.client();
    let count = 40 * POLLS_PER_TURN;
    client.send_to(format!("x\nlater {count}").as_bytes(), rig.listener).unwrap();
    rig.wait_until("all sent", |rig| rig.sum(|cells| &cells.datagrams_sent) == count as u64);
}

/// A client whose datagrams one worker receives, and a Call-ID that the other one owns.
fn crossing(rig: &Rig) -> (UdpSocket, String) {
    let client = rig.client();
    let call_id = (0..).map(|number| format!("crossing-{number}")).find(|call_id| {
        let before = rig.sum(|cells| &cells.handoffs);
        rig.ask(&client, &format!("{call_id}\nwho"));
        rig.sum(|cells| &cells.handoffs) > before
    });
    (client, call_id.unwrap())
}

#[test]
fn a_worker_that_stalls_catches_up_with_more_than_it_has_slots_for() {
    let rig = rig(2, host());
    let (client, call_id) = crossing(&rig);
    let others: Vec<_> = (0..16).map(|_| rig.client()).collect();
    client.send_to(format!("{call_id}\nstall").as_bytes(), rig.listener).unwrap();
    // 320 handed over, and some of these 160 received by the stalled worker itself.
    for number in 0..320 {
        client.send_to(format!("{call_id}\ncopy {number}").as_bytes(), rig.listener).unwrap();
    }
    for other in &others {
        for _ in 0..10 {
            other.send_to(format!("{call_id}\ncopy").as_bytes(), rig.listener).unwrap();
        }
    }
    let answers: HashSet<_> = (0..321).map(|_| receive(&client).0).collect();
    assert_eq!(answers.len(), 321);
    others.iter().for_each(|other| (0..10).for_each(|_| drop(receive(other))));
    assert_eq!(rig.sum(|cells| &cells.send_full) + rig.sum(|cells| &cells.handoff_full), 0);
}

#[test]
fn a_full_handoff_ring_drops_and_counts_and_works_again() {
    let rig = rig(2, host());
    let (client, call_id) = crossing(&rig);
    let before = rig.sum(|cells| &cells.handoffs);
    client.send_to(format!("{call_id}\nstall").as_bytes(), rig.listener).unwrap();
    let large = format!("{call_id}\nquiet\n{}", "x".repeat(60_000));
    for number in 1..=20 {
        client.send_to(large.as_bytes(), rig.listener).unwrap();
        let dealt_with = |rig: &Rig| {
            let handed = rig.sum(|cells| &cells.handoffs) - before;
            handed + rig.sum(|cells| &cells.handoff_full)
        };
        rig.wait_until("handed over or dropped", |rig| dealt_with(rig) == number + 1);
    }
    assert!(rig.sum(|cells| &cells.handoff_full) > 0);
    assert_eq!(receive(&client).0, "back again");
    rig.ask(&client, &format!("{call_id}\nwho"));
}

#[test]
fn the_largest_datagram_is_forwarded_also_from_worker_to_worker() {
    let rig = rig(3, host());
    let client = rig.client();
    for number in 0..6 {
        let mut message = format!("{number}\ncopy\n");
        message.extend(std::iter::repeat_n('x', 65_507 - message.len()));
        assert!(rig.ask(&client, &message) == message);
    }
    assert!(rig.sum(|cells| &cells.handoffs) > 0);
    assert_eq!(rig.sum(|cells| &cells.truncated), 0);
}

#[test]
fn absorbed_and_dropped_messages_give_their_slots_back() {
    let rig = rig(1, host());
    let client = rig.client();
    for _ in 0..600 {
        client.send_to(b"x\nquiet", rig.listener).unwrap();
        client.send_to(b"x\nnonsense", rig.listener).unwrap();
    }
    assert_eq!(rig.ask(&client, "x\nwho"), "0");
    assert_eq!(rig.sum(|cells| &cells.absorbed[Absorb::KeepAlive as usize]), 600);
    assert_eq!(rig.sum(|cells| &cells.dropped[Drop::NotSip as usize]), 600);
}
