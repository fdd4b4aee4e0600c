//! Via on the way there and back: RFC 3261 16.6 item 8, 16.11, 18.2.1, 18.2.2, RFC 3581.

use crate::world::{INNER, LISTENER, LISTENER_6, PORT, Request, World, address, response};
use sipring::proxy::{Drop, Forwarded, Verdict};

const CLIENT: &str = "192.0.2.9:40000";

#[test]
fn our_via_stands_on_top_and_names_this_workers_port() {
    // 16.6 item 8, 8.1.1.7
    let mut world = World::new();
    let sent = world.push(CLIENT, LISTENER, Request::default().to_string());
    let vias = sent.rows("Via");
    assert!(vias[0].starts_with("SIP/2.0/UDP 10.0.0.1:15060;branch=z9hG4bK"), "{vias:?}");
    assert_eq!(vias.len(), 2);
    assert_eq!(sent.egress().socket, PORT);
    assert!(matches!(
        sent.verdict,
        Verdict::Forward { kind: Forwarded::RequestToBackend { .. }, .. }
    ));
}

#[test]
fn rport_is_filled_and_brings_received_with_it() {
    // RFC 3581 4
    let mut world = World::new();
    let sent = world.push(CLIENT, LISTENER, Request::default().to_string());
    assert_eq!(
        sent.rows("Via")[1],
        "SIP/2.0/UDP 192.0.2.9:5062;branch=z9hG4bKclient1;rport=40000;received=192.0.2.9"
    );
}

#[test]
fn received_is_added_only_where_the_sent_by_is_not_the_source() {
    // 18.2.1
    let stamped = |via: &str| {
        let mut world = World::new();
        let sent = world.push(CLIENT, LISTENER, Request { via, ..Default::default() }.to_string());
        sent.rows("Via")[1].clone()
    };
    let branch = ";branch=z9hG4bKx";
    let same = format!("SIP/2.0/UDP 192.0.2.9{branch}");
    assert_eq!(stamped(&same), same);
    for host in ["192.0.2.8:5060", "client.example.com", "[2001:db8::9]:5060"] {
        let via = format!("SIP/2.0/UDP {host}{branch}");
        assert_eq!(stamped(&via), format!("{via};received=192.0.2.9"));
    }
}

#[test]
fn what_the_sender_wrote_into_received_and_rport_is_overwritten() {
    // RFC 6026 10: else it could aim the response at anybody.
    let mut world = World::new();
    let via = "SIP/2.0/UDP 192.0.2.9;received=198.51.100.7;rport=53;branch=z9hG4bKx";
    let sent = world.push(CLIENT, LISTENER, Request { via, ..Default::default() }.to_string());
    assert_eq!(
        sent.rows("Via")[1],
        "SIP/2.0/UDP 192.0.2.9;received=192.0.2.9;rport=40000;branch=z9hG4bKx"
    );
    let answer = response(&sent.text(), "200 OK", "bob", "");
    assert_eq!(world.push("10.1.0.1:5060", PORT, answer).forwarded_to(), address(CLIENT));
}

#[test]
fn only_the_top_value_of_a_joined_row_is_stamped() {
    // 7.3.1
    let mut world = World::new();
    let via = "SIP/2.0/UDP a.example;branch=z9hG4bK1;rport , SIP/2.0/UDP b.example;rport";
    let sent = world.push(CLIENT, LISTENER, Request { via, ..Default::default() }.to_string());
    assert_eq!(
        sent.rows("Via")[1],
        "SIP/2.0/UDP a.example;branch=z9hG4bK1;rport=40000;received=192.0.2.9 , SIP/2.0/UDP \
         b.example;rport"
    );
}

#[test]
fn a_retransmission_gets_the_same_bytes_even_after_a_restart() {
    // 16.11
    let mut world = World::new();
    let request = Request::default().to_string();
    let first = world.push(CLIENT, LISTENER, &request);
    assert_eq!(world.push(CLIENT, LISTENER, &request).bytes, first.bytes);
    world.restart();
    let again = world.push(CLIENT, LISTENER, &request);
    assert_eq!((again.bytes.clone(), again.egress()), (first.bytes.clone(), first.egress()));
}

fn branch(world: &mut World, request: Request<'_>) -> String {
    let sent = world.push(CLIENT, LISTENER, request.to_string());
    sent.rows("Via")[0].split("branch=").nth(1).expect("a branch").to_owned()
}

#[test]
fn cancel_and_failing_ack_get_the_branch_of_their_invite() {
    // 16.11, 9.1, 17.1.1.3; with a branch of RFC 3261 and with one of RFC 2543
    for via in [
        "SIP/2.0/UDP 192.0.2.9;branch=z9hG4bKa",
        "SIP/2.0/UDP 192.0.2.9;branch=old",
        "SIP/2.0/UDP 192.0.2.9",
    ] {
        let mut world = World::new();
        let invite = branch(&mut world, Request { via, ..Default::default() });
        let cancel = branch(&mut world, Request { via, method: "CANCEL", ..Default::default() });
        let ack = Request { via, method: "ACK", to_tag: "bob", ..Default::default() };
        assert_eq!(invite, cancel, "{via}");
        assert_eq!(invite, branch(&mut world, ack), "{via}");
    }
}

#[test]
fn other_transactions_get_other_branches() {
    // 16.11: by branch, CSeq number and Call-ID; where there is no branch by Request-URI too
    let mut world = World::new();
    let via = "SIP/2.0/UDP 192.0.2.9";
    let mut seen = vec![
        branch(&mut world, Request::default()),
        branch(
            &mut world,
            Request { via: "SIP/2.0/UDP 192.0.2.9;branch=z9hG4bKb", ..Default::default() },
        ),
        branch(&mut world, Request { cseq: 2, ..Default::default() }),
        branch(&mut world, Request { call_id: "other", ..Default::default() }),
        branch(&mut world, Request { via, ..Default::default() }),
        branch(&mut world, Request { via, uri: "sip:carol@example.com", ..Default::default() }),
        branch(&mut world, Request { via, from_tag: "other", ..Default::default() }),
    ];
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 7);
}

#[test]
fn a_response_goes_back_from_where_the_request_came_in() {
    // 16.7 item 3, RFC 3581 4
    let mut world = World::new();
    for (socket, client) in
        [(LISTENER, CLIENT), (INNER, CLIENT), (LISTENER_6, "[2001:db8::9]:5060")]
    {
        let sent = world.push(client, socket, Request::default().to_string());
        let answer = response(&sent.text(), "180 Ringing", "bob", "");
        let back = world.push("10.1.0.9:9", PORT, answer);
        assert_eq!((back.egress().socket, back.egress().to), (socket, address(client)));
        assert_eq!(back.rows("Via").len(), 1);
        assert!(matches!(
            back.verdict,
            Verdict::Forward { kind: Forwarded::Response { status: 180, begins: true, .. }, .. }
        ));
    }
}

#[test]
fn without_rport_the_response_goes_to_the_sent_by_port() {
    // 18.2.2
    let mut world = World::new();
    let via = "SIP/2.0/UDP phone.example:5070;branch=z9hG4bKx;maddr=198.51.100.1";
    let sent = world.push(CLIENT, LISTENER, Request { via, ..Default::default() }.to_string());
    let back = world.push("10.1.0.1:5060", PORT, response(&sent.text(), "200 OK", "bob", ""));
    assert_eq!(back.forwarded_to(), address("192.0.2.9:5070"));
    assert!(back.row("Via").contains("received=192.0.2.9"), "16.7 item 9: received stays");
}

#[test]
fn a_backend_may_join_the_vias_into_one_row() {
    // 7.3.1: rows may be joined by anybody on the way
    let mut world = World::new();
    let sent = world.push(CLIENT, LISTENER, Request::default().to_string());
    let answer = response(&sent.text(), "200 OK", "bob", "");
    let vias = sent.rows("Via");
    let joined = answer.replace(&format!("\r\nVia: {}", vias[1]), &format!(" ,\r\n {}", vias[1]));
    assert_ne!(answer, joined);
    let back = world.push("10.1.0.1:5060", PORT, joined);
    assert_eq!(back.row("Via"), vias[1]);
}

#[test]
fn a_response_survives_a_restart_with_another_port_for_this_worker() {
    // 16.11: whoever receives it forwards it from the branch alone
    let mut world = World::new();
    let sent = world.push(CLIENT, LISTENER, Request::default().to_string());
    world.restart();
    let back = world.push("10.1.0.1:5060", LISTENER, response(&sent.text(), "200 OK", "bob", ""));
    assert_eq!((back.egress().socket, back.egress().to), (LISTENER, address(CLIENT)));
}

#[test]
fn responses_that_are_not_ours_are_dropped() {
    // 16.11, 18.1.2; RFC 6026 10: a stateless proxy must not become a reflector
    let mut world = World::new();
    let sent = world.push(CLIENT, LISTENER, Request::default().to_string());
    let good = response(&sent.text(), "200 OK", "bob", "");
    let mut drop = |text: String| match world.push("198.51.100.7:5060", PORT, text).verdict {
        Verdict::Drop(reason) => reason,
        other => panic!("{other:?}"),
    };
    assert_eq!(drop(good.replace("10.0.0.1:15060", "10.9.9.9:15060")), Drop::ViaNotOurs);
    assert_eq!(
        drop(good.replace("received=192.0.2.9", "received=203.0.113.1")),
        Drop::BranchForged
    );
    assert_eq!(drop(good.replace("rport=40000", "rport=53")), Drop::BranchForged);
    assert_eq!(drop(good.replace("call-1@", "call-2@")), Drop::BranchForged);
    assert_eq!(drop(good.replace("1 INVITE", "2 INVITE")), Drop::BranchForged);
    assert_eq!(drop(good.replace("z9hG4bKclient1", "z9hG4bKclient2")), Drop::BranchForged);
    assert_eq!(drop(good.replace("branch=z9hG4bKU", "branch=z9hG4bKV")), Drop::BranchForged);
    let lone: String =
        good.lines().filter(|line| !line.contains("client1")).map(|l| format!("{l}\r\n")).collect();
    assert_eq!(drop(lone), Drop::NoNextVia);
}

#[test]
fn keep_has_no_value_once_it_has_passed_us() {
    // RFC 6223 10: a callee must not make our clients send keep-alives that we did not agree to
    let mut world = World::new();
    let via =
        "SIP/2.0/UDP 192.0.2.9;keep;branch=z9hG4bKx, SIP/2.0/UDP u.example;keep;branch=z9hG4bKy";
    let sent = world.push(CLIENT, LISTENER, Request { via, ..Default::default() }.to_string());
    assert_eq!(sent.rows("Via")[1], via, "in a request nothing is put there");
    let answer = response(&sent.text(), "200 OK", "bob", "").replace(";keep;", ";keep=30;");
    let back = world.push("10.1.0.1:5060", PORT, answer);
    assert_eq!(back.rows("Via"), [via]);
}
