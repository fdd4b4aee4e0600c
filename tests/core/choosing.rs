//! Who gets a request: tokens, names, Replaces, pins, policy; and who may aim outside the pool.
//! RFC 3261 16.4, 16.5, 16.11; RFC 3891, RFC 3911, RFC 4538.

use crate::world::{
    LISTENER, Outcome, PORT, Request, World, address, backends, response, settings,
};
use sipring::pool::State;
use sipring::proxy::{CallResult, Forwarded, Replaced, Routed, Settled, Verdict};
use std::net::SocketAddr;

const CLIENT: &str = "192.0.2.9:40000";

fn routed(world: &World, by: Routed) -> u64 {
    world.proxy.tally().routed[by as usize]
}

/// Where an INVITE with this Call-ID goes.
fn goes(world: &mut World, call_id: &str) -> SocketAddr {
    world
        .push(CLIENT, LISTENER, Request { call_id, ..Default::default() }.to_string())
        .forwarded_to()
}

#[test]
fn new_calls_spread_over_all_backends() {
    let mut world = World::new();
    let mut seen: Vec<_> = (0..60).map(|n| goes(&mut world, &format!("call-{n}"))).collect();
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 3);
    assert_eq!(routed(&world, Routed::Policy), 60);
}

#[test]
fn call_ids_are_compared_byte_for_byte() {
    // 8.1.1.4
    let mut world = World::new();
    goes(&mut world, "Call");
    goes(&mut world, "call");
    assert_eq!((world.proxy.pins(), routed(&world, Routed::Pin)), (2, 0));
}

#[test]
fn an_invite_repeated_after_407_goes_to_the_same_backend_even_while_it_drains() {
    let mut world = World::new();
    let first = goes(&mut world, "call");
    let mut list = backends();
    for backend in &mut list {
        if backend.address == first {
            backend.state = State::Drained;
        }
    }
    world.publish(list);
    let request = Request { call_id: "call", cseq: 2, ..Default::default() };
    assert_eq!(world.push(CLIENT, LISTENER, request.to_string()).forwarded_to(), first);
    assert_ne!(
        goes(&mut world, "another call of the same hash has no pin: call-1"),
        address("0.0.0.0:0")
    );
}

#[test]
fn a_transaction_is_not_rechosen_when_the_pool_changes() {
    // 16.11: retransmission, CANCEL and non-2xx ACK follow the INVITE; nothing else does after 32 s
    let mut world = World::new();
    let first = goes(&mut world, "call");
    let others: Vec<_> =
        backends().into_iter().filter(|backend| backend.address != first).collect();
    let mut all = others.clone();
    all.push(backends().into_iter().find(|backend| backend.address == first).expect("it is one"));
    for backend in &mut all {
        if backend.address == first {
            backend.state = State::Down;
        }
    }
    world.publish(all);
    for method in ["INVITE", "CANCEL", "ACK"] {
        let request = Request { method, call_id: "call", ..Default::default() };
        assert_eq!(
            world.push(CLIENT, LISTENER, request.to_string()).forwarded_to(),
            first,
            "{method}"
        );
    }
}

#[test]
fn the_next_transaction_leaves_a_backend_that_is_down_and_the_one_under_way_does_not() {
    for (method, status) in
        [("INVITE", "407 Auth"), ("OPTIONS", "200 OK"), ("REGISTER", "401 Auth")]
    {
        let mut settings = settings();
        settings.failover.tries = 1;
        let mut world = World::with(settings, backends());
        let request = Request { method, ..Default::default() };
        let first = world.push(CLIENT, LISTENER, request.to_string());
        let to = first.forwarded_to();
        let mut list = backends();
        list.iter_mut().filter(|one| one.address == to).for_each(|one| one.state = State::Down);
        world.publish(list);
        let again = world.push(CLIENT, LISTENER, request.to_string());
        assert_eq!(again.forwarded_to(), to, "{method}: a retransmission");
        world.push(&to.to_string(), PORT, response(&first.text(), status, "x", ""));
        let via = "SIP/2.0/UDP 192.0.2.9:5062;branch=z9hG4bKclient2;rport";
        let extra = "Proxy-Authorization: x\r\n";
        let next = Request { method, via, extra, cseq: 2, ..Default::default() }.to_string();
        let next = world.push(CLIENT, LISTENER, next);
        assert_ne!(next.forwarded_to(), to, "{method}");
        if method == "INVITE" {
            let ok = response(&next.text(), "200 OK", "x", "");
            let ok = world.push(&next.forwarded_to().to_string(), PORT, ok);
            assert!(settles_call(&ok), "it is the same attempt with another result");
        }
    }
}

fn settles_call(sent: &Outcome) -> bool {
    let Verdict::Forward { kind: Forwarded::Response { settles, .. }, .. } = sent.verdict else {
        panic!("no response: {:?}", sent.verdict)
    };
    matches!(settles, Some(Settled::Call(CallResult::Ok)))
}

#[test]
fn a_pin_of_a_non_invite_lasts_for_64_t1_and_no_longer() {
    // 64*T1 = 32 s: one second below, and past it
    for (elapsed_ms, kept) in [(31_000, true), (33_000, false)] {
        let mut settings = settings();
        settings.failover.tries = 1; // silence would move it
        let mut world = World::with(settings, backends());
        let request = Request { method: "MESSAGE", ..Default::default() };
        let first = world.push(CLIENT, LISTENER, request.to_string()).forwarded_to();
        let mut list = backends();
        list.iter_mut().filter(|b| b.address == first).for_each(|b| b.state = State::Drained);
        world.publish(list);
        world.wait(elapsed_ms);
        let again = world.push(CLIENT, LISTENER, request.to_string()).forwarded_to();
        assert_eq!(again == first, kept, "after {elapsed_ms} ms");
    }
}

#[test]
fn an_in_dialog_request_without_route_goes_to_the_backend_that_it_names() {
    let mut world = World::new();
    for (uri, extra) in [
        ("sip:bob@10.1.0.3", ""),
        ("sip:bob@10.1.0.3:5060;x=y", ""),
        ("sip:bob@elsewhere.example", "Route: <sip:10.1.0.3;lr>\r\n"),
    ] {
        let request = Request { method: "BYE", uri, extra, to_tag: "bob", ..Default::default() };
        assert_eq!(
            world.push(CLIENT, LISTENER, request.to_string()).forwarded_to(),
            address("10.1.0.3:5060")
        );
    }
    assert_eq!(routed(&world, Routed::Named), 3);
}

#[test]
fn the_ack_of_a_failure_follows_its_invite_whomever_the_request_uri_names() {
    // 17.1.1.3: it has the Request-URI of the INVITE
    let mut world = World::new();
    for n in 0..20 {
        let call_id = format!("call-{n}");
        let invite = Request { uri: "sip:bob@10.1.0.3", call_id: &call_id, ..Default::default() };
        let sent = world.push(CLIENT, LISTENER, invite.to_string());
        let busy = response(&sent.text(), "486 Busy Here", "bob", "");
        world.push(&sent.forwarded_to().to_string(), PORT, busy);
        let ack = Request { method: "ACK", to_tag: "bob", ..invite };
        let ack = world.push(CLIENT, LISTENER, ack.to_string());
        assert_eq!(ack.forwarded_to(), sent.forwarded_to());
    }
}

#[test]
fn replaces_leads_to_the_backend_of_the_dialog_that_it_names() {
    // RFC 3891 3, RFC 3911, RFC 4538: attended transfer works
    for field in ["Replaces", "replaces", "Join", "Target-Dialog"] {
        let mut world = World::new();
        for n in 0..8 {
            let other = format!("old-{n}");
            let backend = goes(&mut world, &other);
            let extra = format!("{field}: {other};to-tag=1;from-tag=2\r\n");
            let call_id = format!("new-{n}");
            let invite =
                Request { call_id: &call_id, extra: &extra, ..Default::default() }.to_string();
            let Verdict::Ask { call_id } = world.push(CLIENT, LISTENER, &invite).verdict else {
                panic!("{field}: the owner of {other} must be asked");
            };
            assert_eq!(call_id.of(invite.as_bytes()), other.as_bytes());
            let pin = world.proxy.pinned(world.now, other.as_bytes());
            let sent = world.push_replaced(CLIENT, LISTENER, &invite, Replaced::Answered(pin));
            assert_eq!(sent.forwarded_to(), backend, "{field}");
        }
        assert_eq!(routed(&world, Routed::Replaced), 8);
    }
}

#[test]
fn replaces_without_a_pin_goes_where_the_hash_of_the_old_call_leads() {
    let mut world = World::new();
    let backend = goes(&mut world, "old");
    world.restart();
    let extra = "\r\n";
    let invite = Request { extra: "Replaces: old;to-tag=1\r\n", ..Default::default() }.to_string();
    // Line ends in front of the message do not shift what is asked for (7.5).
    let shifted = format!("{extra}{invite}");
    let Verdict::Ask { call_id } = world.push(CLIENT, LISTENER, &shifted).verdict else {
        panic!("nobody was asked");
    };
    assert_eq!(call_id.of(shifted.as_bytes()), b"old");
    let sent = world.push_replaced(CLIENT, LISTENER, &shifted, Replaced::Answered(None));
    assert_eq!(sent.forwarded_to(), backend);
    assert!(sent.text().starts_with("INVITE "), "7.5");
}

#[test]
fn a_strangers_route_and_request_uri_lead_nowhere_but_into_the_pool() {
    // 16.4: no open relay
    let mut world = World::new();
    for (uri, extra) in [
        ("sip:victim@203.0.113.5:5060", ""),
        ("sip:bob@example.com", "Route: <sip:203.0.113.5;lr>\r\n"),
        ("sip:bob@example.com", "Route: <sip:10.0.0.1;lr>, <sip:203.0.113.5;lr>\r\n"),
        ("sip:bob@example.com", "Route: <sip:10.0.0.1;lr;lb=AAAA>, <sip:203.0.113.5;lr>\r\n"),
        ("tel:+4930123456", ""),
        ("urn:service:sos", ""),
        ("unknown:x", ""),
    ] {
        for to_tag in ["", "bob"] {
            let request = Request { uri, extra, to_tag, ..Default::default() };
            let to = world.push(CLIENT, LISTENER, request.to_string()).forwarded_to();
            assert!(world.pool.by_address(to).is_some(), "{uri} {extra} went to {to}");
        }
    }
}

#[test]
fn our_route_without_a_token_is_taken_off_and_counts_for_nothing() {
    // 16.4: an outbound proxy setting preloads it
    let mut world = World::new();
    let plain = goes(&mut world, "call-1@192.0.2.9");
    let extra = "Route: <sip:lb.example.com;lr>\r\n";
    let sent = world.push(CLIENT, LISTENER, Request { extra, ..Default::default() }.to_string());
    assert_eq!(sent.forwarded_to(), plain);
    assert!(sent.rows("Route").is_empty());
}

#[test]
fn a_backend_may_send_to_any_address() {
    let mut world = World::new();
    let via = "SIP/2.0/UDP 10.1.0.2;branch=z9hG4bKb2";
    for (uri, extra) in [
        ("sip:trunk@203.0.113.5:5080", ""),
        ("sip:x@example.com", "Route: <sip:10.0.0.1;lr>\r\nRoute: <sip:203.0.113.5:5080;lr>\r\n"),
    ] {
        let request = Request { uri, via, extra, ..Default::default() };
        let sent = world.push("10.1.0.2:5060", LISTENER, request.to_string());
        assert_eq!(
            (sent.egress().to, sent.egress().socket),
            (address("203.0.113.5:5080"), LISTENER)
        );
        assert!(sent.row("Record-Route").starts_with("<sip:10.0.0.1:5060;lr;lb="));
    }
    let request = Request { uri: "sip:x@10.1.0.3", via, ..Default::default() };
    let sent = world.push("10.1.0.2:5060", LISTENER, request.to_string());
    assert_eq!((sent.egress().to, sent.egress().socket), (address("10.1.0.3:5060"), PORT));
}

#[test]
fn the_trunks_in_dialog_requests_return_to_the_backend_that_called() {
    let mut world = World::new();
    let request = Request {
        uri: "sip:trunk@203.0.113.5:5080",
        via: "SIP/2.0/UDP 10.1.0.2;branch=z9hG4bKb2",
        ..Default::default()
    };
    let invite = world.push("10.1.0.2:5060", LISTENER, request.to_string());
    let bye = Request {
        method: "BYE",
        uri: "sip:b2@10.1.0.2",
        via: "SIP/2.0/UDP 203.0.113.5:5080;branch=z9hG4bKt",
        from_tag: "trunk",
        to_tag: "alice-1",
        extra: &crate::world::routes_of_callee(&invite.text()),
        ..Default::default()
    };
    let sent = world.push("203.0.113.5:5080", LISTENER, bye.to_string());
    assert_eq!(sent.forwarded_to(), address("10.1.0.2:5060"));
}

#[test]
fn a_source_network_makes_its_senders_a_backend() {
    let mut list = backends();
    list[1].sources = vec!["10.7.0.0/16".parse().expect("a network")];
    let mut world = World::with(settings(), list);
    let request = Request {
        uri: "sip:t@203.0.113.5",
        via: "SIP/2.0/UDP 10.7.0.3;branch=z9hG4bKb",
        ..Default::default()
    };
    let sent = world.push("10.7.0.3:31000", LISTENER, request.to_string());
    assert_eq!(sent.forwarded_to(), address("203.0.113.5:5060"));
    let sent = world.push("10.8.0.3:31000", LISTENER, request.to_string());
    assert!(world.pool.by_address(sent.forwarded_to()).is_some());
}

#[test]
fn a_backends_request_to_a_name_is_answered_500() {
    let mut world = World::new();
    let via = "SIP/2.0/UDP 10.1.0.2;branch=z9hG4bKb2";
    for uri in ["sip:x@carrier.example", "tel:+49", "sip:x@0.0.0.0", "sip:x@224.0.1.75"] {
        let answer = world.push(
            "10.1.0.2:5060",
            LISTENER,
            Request { uri, via, ..Default::default() }.to_string(),
        );
        assert_eq!(answer.answer(), "SIP/2.0 500 Next Hop Is A Name", "{uri}");
    }
}

/// Sends `message` back as a backend that forwards it would: with a Via of its own on top.
fn bounce(message: &str, backend: SocketAddr, n: usize) -> String {
    let via = format!("\r\nVia: SIP/2.0/UDP {backend};branch=z9hG4bKbounce{n}\r\nVia:");
    message.replacen("\r\nVia:", &via, 1)
}

#[test]
fn a_spiral_visits_each_backend_once_and_ends_with_482() {
    // 16.3 item 4
    let mut world = World::new();
    let uri = "sip:bob@lb.example.com";
    let mut sent = world.push(CLIENT, LISTENER, Request { uri, ..Default::default() }.to_string());
    let mut met = vec![sent.forwarded_to()];
    for n in 0..2 {
        let backend = *met.last().expect("one at least");
        let back = bounce(&sent.text(), backend, n);
        sent = world.push(&backend.to_string(), LISTENER, &back);
        assert_eq!(world.push(&backend.to_string(), LISTENER, &back).bytes, sent.bytes, "16.11");
        met.push(sent.forwarded_to());
    }
    let last = met[2];
    met.sort();
    met.dedup();
    assert_eq!(met.len(), 3);
    let end = world.push(&last.to_string(), LISTENER, bounce(&sent.text(), last, 9));
    assert_eq!(end.answer(), "SIP/2.0 482 Loop Detected");
    assert_eq!(end.forwarded_or_replied_to(), last);

    let again = Request { uri, ..Default::default() }.to_string();
    let first = world.push(CLIENT, LISTENER, again).forwarded_to();
    assert_eq!(
        Some(first),
        world.proxy.pinned(world.now, b"call-1@192.0.2.9").and_then(|id| {
            world.pool.by_id(id).map(|slot| world.pool.backend(slot).spec.address)
        }),
        "the pin is the first passage's"
    );
}

#[test]
fn the_fifth_passage_ends_a_spiral_however_many_backends_there_are() {
    let list = (1..=20)
        .map(|n| sipring::pool::BackendSpec {
            name: format!("b{n}"),
            address: address(&format!("10.1.0.{n}:5060")),
            ..backends()[0].clone()
        })
        .collect();
    let mut world = World::with(settings(), list);
    let uri = "sip:bob@lb.example.com";
    let mut sent = world.push(CLIENT, LISTENER, Request { uri, ..Default::default() }.to_string());
    for passage in 1..=5 {
        let backend = sent.forwarded_to();
        let back = bounce(&sent.text(), backend, passage);
        sent = world.push(&backend.to_string(), LISTENER, back);
        match passage {
            5 => assert_eq!(sent.answer(), "SIP/2.0 482 Loop Detected"),
            _ => assert!(matches!(sent.verdict, Verdict::Forward { .. }), "passage {passage}"),
        }
    }
}

#[test]
fn a_forged_via_of_ours_is_no_passage() {
    let mut world = World::new();
    let via = "SIP/2.0/UDP 10.1.0.2;branch=z9hG4bKx";
    let forged = "Via: SIP/2.0/UDP 10.0.0.1:15060;branch=z9hG4bKAAAAAAAAAAAAAAAAAAAA\r\n";
    let extra = format!("{}Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKy\r\n", forged.repeat(5));
    let sent = world.push(
        CLIENT,
        LISTENER,
        Request { via, extra: &extra, ..Default::default() }.to_string(),
    );
    assert!(matches!(sent.verdict, Verdict::Forward { .. }));
    assert_eq!(routed(&world, Routed::Policy), 1);
}

#[test]
fn a_full_pin_table_never_evicts_and_new_calls_go_by_the_hash() {
    let mut settings = settings();
    settings.pins_max = 10;
    let mut world = World::with(settings, backends());
    for n in 0..40 {
        goes(&mut world, &format!("call-{n}"));
    }
    assert_eq!((world.proxy.pins(), routed(&world, Routed::Unpinned)), (10, 30));
    assert!(world.proxy.pinned(world.now, b"call-0").is_some());
    let first = goes(&mut world, "call-39");
    assert_eq!(goes(&mut world, "call-39"), first, "the hash needs no memory");
}

#[test]
fn dialogs_are_counted_once_in_and_once_out() {
    let mut world = World::new();
    let invite = world.push(CLIENT, LISTENER, Request::default().to_string());
    assert_eq!(world.proxy.dialogs(), 0);
    let ok = response(&invite.text(), "200 OK", "bob", "");
    for _ in 0..3 {
        world.push("10.1.0.1:5060", PORT, &ok);
        assert_eq!(world.proxy.dialogs(), 1, "a 200 repeated counts no more");
    }
    let bye = Request { method: "BYE", to_tag: "bob", cseq: 2, ..Default::default() }.to_string();
    for _ in 0..3 {
        world.push(CLIENT, LISTENER, &bye);
        assert_eq!(world.proxy.dialogs(), 0, "a BYE repeated counts no more");
    }
}

#[test]
fn nobody_for_new_calls_is_480_and_dialogs_go_on() {
    let mut world = World::new();
    let invite = world.push(CLIENT, LISTENER, Request::default().to_string());
    let mut list = backends();
    list.iter_mut().for_each(|backend| backend.state = State::Drained);
    world.publish(list);
    let new = Request { call_id: "new", ..Default::default() };
    let answer = world.push(CLIENT, LISTENER, new.to_string());
    assert_eq!(answer.answer(), "SIP/2.0 480 Temporarily Unavailable");
    let bye = Request { method: "BYE", to_tag: "bob", cseq: 2, ..Default::default() }.to_string();
    assert_eq!(world.push(CLIENT, LISTENER, bye).forwarded_to(), invite.forwarded_to());
}
