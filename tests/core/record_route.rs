//! Dialogs by Record-Route tokens: RFC 3261 12, 16.4, 16.6 items 4 and 6; RFC 5658.

use crate::world::{
    INNER, LISTENER, LISTENER_6, Outcome, PORT, Request, World, address, backends, response,
    routes_of_callee, routes_of_caller, settings,
};
use sipring::proxy::{Forwarded, TokenResult, Verdict};

const CLIENT: &str = "192.0.2.9:40000";

/// An INVITE through the world, and the 200 that came back to the caller.
fn call(world: &mut World, client: &str) -> (Outcome, Outcome) {
    let invite = world.push(client, LISTENER, Request::default().to_string());
    let ok = response(&invite.text(), "200 OK", "bob-1", "Contact: <sip:bob@10.1.0.1>\r\n");
    let back = world.push(&invite.forwarded_to().to_string(), PORT, ok);
    (invite, back)
}

fn from_caller<'a>(method: &'a str, routes: &'a str) -> Request<'a> {
    let via = "SIP/2.0/UDP 192.0.2.9:5062;branch=z9hG4bKclient2;rport";
    Request {
        method,
        via,
        uri: "sip:bob@10.99.0.1",
        to_tag: "bob-1",
        cseq: 2,
        extra: routes,
        ..Default::default()
    }
}

fn from_callee<'a>(method: &'a str, routes: &'a str) -> Request<'a> {
    let via = "SIP/2.0/UDP 10.1.0.1:5060;branch=z9hG4bKbob1";
    Request {
        method,
        via,
        uri: "sip:alice@192.168.7.7:5060",
        from_tag: "bob-1",
        to_tag: "alice-1",
        cseq: 1,
        extra: routes,
        ..Default::default()
    }
}

#[test]
fn dialog_forming_requests_get_a_loose_record_route_above_those_of_others() {
    // 16.6 item 4
    let mut world = World::new();
    for method in ["INVITE", "SUBSCRIBE", "REFER", "UNKNOWN"] {
        let extra = "Record-Route: <sip:edge.example;lr>\r\n";
        let sent = world.push(
            CLIENT,
            LISTENER,
            Request { method, extra, ..Default::default() }.to_string(),
        );
        let rows = sent.rows("Record-Route");
        assert!(rows[0].starts_with("<sip:10.0.0.1:5060;lr;lb="), "{method}: {rows:?}");
        assert_eq!(rows[1..], ["<sip:edge.example;lr>"], "{method}");
    }
    for method in ["MESSAGE", "OPTIONS", "PUBLISH", "REGISTER"] {
        let sent =
            world.push(CLIENT, LISTENER, Request { method, ..Default::default() }.to_string());
        assert!(sent.rows("Record-Route").is_empty(), "{method}");
    }
}

#[test]
fn without_record_route_none_is_inserted() {
    let mut settings = settings();
    settings.record_route = false;
    let mut world = World::with(settings, backends());
    let sent = world.push(CLIENT, LISTENER, Request::default().to_string());
    assert!(sent.rows("Record-Route").is_empty());
}

#[test]
fn the_caller_reaches_the_same_backend_by_token_alone() {
    // 16.11; also after a restart and with the backend drained or the pool reordered
    let mut world = World::new();
    let (invite, ok) = call(&mut world, CLIENT);
    let routes = routes_of_caller(&ok.text());
    world.restart();
    let mut list = backends();
    list.reverse();
    for backend in &mut list {
        backend.state = sipring::pool::State::Drained;
    }
    world.publish(list);
    for method in ["ACK", "INVITE", "BYE"] {
        let sent = world.push(CLIENT, LISTENER, from_caller(method, &routes).to_string());
        assert_eq!(sent.forwarded_to(), invite.forwarded_to(), "{method}");
        assert!(sent.rows("Route").is_empty(), "{method}: 16.4");
        assert!(sent.rows("Record-Route").is_empty(), "{method}");
    }
    assert_eq!(world.proxy.tally().tokens[TokenResult::Good as usize], 3);
}

#[test]
fn the_callee_reaches_the_caller_over_its_flow() {
    // The caller's Contact is a private address behind NAT: the flow is what works (RFC 5626 5.3)
    let mut world = World::new();
    let (invite, _) = call(&mut world, CLIENT);
    let routes = routes_of_callee(&invite.text());
    for method in ["BYE", "INVITE", "NOTIFY"] {
        let sent = world.push("10.1.0.1:5060", LISTENER, from_callee(method, &routes).to_string());
        assert_eq!(
            (sent.egress().to, sent.egress().socket),
            (address(CLIENT), LISTENER),
            "{method}"
        );
        assert!(matches!(
            sent.verdict,
            Verdict::Forward { kind: Forwarded::RequestToClient { .. }, .. }
        ));
        let via = &sent.rows("Via")[0];
        assert!(
            via.starts_with("SIP/2.0/UDP 10.0.0.1:5060;"),
            "{via}: the client's side knows the listener"
        );
    }
}

#[test]
fn the_callees_direction_needs_no_known_source_address() {
    // Direction is in the message: a backend may send from any address
    let mut world = World::new();
    let (invite, _) = call(&mut world, CLIENT);
    let routes = routes_of_callee(&invite.text());
    let sent = world.push("10.77.0.1:33333", LISTENER, from_callee("BYE", &routes).to_string());
    assert_eq!(sent.forwarded_to(), address(CLIENT));
}

#[test]
fn the_response_to_the_callees_request_returns_to_the_callee() {
    let mut world = World::new();
    let (invite, _) = call(&mut world, CLIENT);
    let routes = routes_of_callee(&invite.text());
    let bye = world.push("10.1.0.1:5060", LISTENER, from_callee("BYE", &routes).to_string());
    let back = world.push(CLIENT, LISTENER, response(&bye.text(), "200 OK", "", ""));
    assert_eq!(back.forwarded_to(), address("10.1.0.1:5060"));
}

#[test]
fn two_interfaces_make_a_double_record_route_and_each_side_sees_its_own() {
    // RFC 5658 6.2
    let mut world = World::two_sided();
    let (invite, ok) = call(&mut world, CLIENT);
    let rows = invite.rows("Record-Route");
    assert!(rows[0].starts_with("<sip:10.1.0.254:5060;transport=udp;lr;lb="), "{rows:?}");
    assert!(rows[1].starts_with("<sip:10.0.0.1:5060;transport=udp;lr;lb="), "{rows:?}");

    let routes = routes_of_caller(&ok.text());
    let sent = world.push(CLIENT, LISTENER, from_caller("BYE", &routes).to_string());
    assert_eq!(sent.forwarded_to(), invite.forwarded_to());
    assert!(sent.rows("Route").is_empty(), "16.4: both are taken off");

    let routes = routes_of_callee(&invite.text());
    let sent = world.push("10.1.0.1:5060", INNER, from_callee("BYE", &routes).to_string());
    assert_eq!((sent.egress().to, sent.egress().socket), (address(CLIENT), LISTENER));
    assert!(sent.rows("Route").is_empty());
}

#[test]
fn an_ipv6_client_of_ipv4_backends_gets_a_double_record_route() {
    // RFC 5658 6.2: the families differ
    let mut world = World::new();
    let client = "[2001:db8::9]:5060";
    let invite = world.push(client, LISTENER_6, Request::default().to_string());
    let rows = invite.rows("Record-Route");
    assert!(rows[0].starts_with("<sip:10.0.0.1:5060;transport=udp;lr;lb="), "{rows:?}");
    assert!(rows[1].starts_with("<sip:[2001:db8::1]:5060;transport=udp;lr;lb="), "{rows:?}");
    let routes = routes_of_callee(&invite.text());
    let sent = world.push("10.1.0.1:5060", LISTENER, from_callee("BYE", &routes).to_string());
    assert_eq!((sent.egress().to, sent.egress().socket), (address(client), LISTENER_6));
}

#[test]
fn an_advertised_name_is_told_to_clients_and_the_bound_address_to_backends() {
    let mut settings = settings();
    settings.sockets[0].advertise = Some(("sip.example.com".to_owned(), 5060));
    let mut world = World::with(settings, backends());
    let (invite, ok) = call(&mut world, CLIENT);
    let rows = invite.rows("Record-Route");
    assert!(rows[0].starts_with("<sip:10.0.0.1:5060;"), "{rows:?}");
    assert!(rows[1].starts_with("<sip:sip.example.com:5060;"), "{rows:?}");
    let routes = routes_of_caller(&ok.text()).replace("sip.example.com:5060", "SIP.Example.COM");
    let sent = world.push(CLIENT, LISTENER, from_caller("BYE", &routes).to_string());
    assert_eq!(sent.forwarded_to(), invite.forwarded_to());
    assert!(sent.rows("Route").is_empty(), "our name in any case, and 5060 is the default port");
}

#[test]
fn our_route_is_ours_on_every_listener() {
    // Others recognised it only on the listener that had written it
    let mut world = World::new();
    let (invite, ok) = call(&mut world, CLIENT);
    let routes = routes_of_caller(&ok.text());
    for written in ["10.0.0.1", "10.1.0.254:5060", "lb.example.com", "[2001:db8::1]"] {
        for socket in [LISTENER, INNER, LISTENER_6] {
            let routes = routes.replace("10.0.0.1:5060", written);
            let sent = world.push(CLIENT, socket, from_caller("BYE", &routes).to_string());
            assert_eq!(sent.forwarded_to(), invite.forwarded_to(), "{written} at {socket:?}");
            assert!(sent.rows("Route").is_empty(), "{written} at {socket:?}");
        }
    }
}

#[test]
fn routes_of_others_stay_and_joined_rows_are_cut_at_the_right_place() {
    // 16.4, 7.3.1
    let mut world = World::new();
    let (_, ok) = call(&mut world, CLIENT);
    let ours = routes_of_caller(&ok.text());
    let ours = ours.trim_end().strip_prefix("Route: ").expect("one Route");
    for (extra, left) in [
        (format!("Route: {ours}, <sip:p1.example;lr>\r\n"), vec!["<sip:p1.example;lr>"]),
        (
            format!("ROUTE : {ours} ,<sip:p1.example;lr>\r\n ,<sip:p2.example;lr>\r\n"),
            vec!["<sip:p1.example;lr>"],
        ),
        (format!("Route: {ours}\r\nRoute: <sip:p1.example;lr>\r\n"), vec!["<sip:p1.example;lr>"]),
    ] {
        let sent = world.push(CLIENT, LISTENER, from_caller("BYE", &extra).to_string());
        assert_eq!(sent.rows("Route"), left, "{extra}");
    }
}

#[test]
fn a_next_strict_router_becomes_the_request_uri() {
    // 16.6 item 6
    let mut world = World::new();
    let (_, ok) = call(&mut world, CLIENT);
    let extra =
        routes_of_caller(&ok.text()) + "Route: <sip:strict.example>, <sip:p2.example;lr>\r\n";
    let sent = world.push(CLIENT, LISTENER, from_caller("BYE", &extra).to_string());
    assert!(sent.text().starts_with("BYE sip:strict.example SIP/2.0\r\n"), "{}", sent.text());
    assert_eq!(sent.rows("Route"), ["<sip:p2.example;lr>, <sip:bob@10.99.0.1>"]);

    let extra = routes_of_caller(&ok.text()) + "Route: <sip:strict.example>\r\n";
    let sent = world.push(CLIENT, LISTENER, from_caller("BYE", &extra).to_string());
    assert!(sent.text().starts_with("BYE sip:strict.example SIP/2.0\r\n"), "{}", sent.text());
    assert_eq!(sent.rows("Route"), ["<sip:bob@10.99.0.1>"]);
}

#[test]
fn a_strict_router_upstream_is_undone() {
    // 16.4: our Record-Route value is the Request-URI, and the target is the last Route
    let mut world = World::new();
    let (invite, ok) = call(&mut world, CLIENT);
    let ours = routes_of_caller(&ok.text());
    let ours = ours.trim_end().strip_prefix("Route: <").and_then(|r| r.strip_suffix('>')).unwrap();
    let request = Request {
        uri: ours,
        ..from_caller("BYE", "Route: <sip:p1.example;lr>, <sip:bob@10.99.0.1>\r\n")
    };
    let sent = world.push(CLIENT, LISTENER, request.to_string());
    assert!(sent.text().starts_with("BYE sip:bob@10.99.0.1 SIP/2.0\r\n"), "{}", sent.text());
    assert_eq!(sent.rows("Route"), ["<sip:p1.example;lr>"]);
    assert_eq!(sent.forwarded_to(), invite.forwarded_to());
}

#[test]
fn a_forged_token_is_counted_and_never_routed_by() {
    let mut world = World::new();
    let (invite, ok) = call(&mut world, CLIENT);
    let routes = routes_of_caller(&ok.text());
    let at = routes.find("lb=").unwrap() + 10;
    let mut forged = routes.clone().into_bytes();
    forged[at] = if forged[at] == b'A' { b'B' } else { b'A' };
    let forged = String::from_utf8(forged).unwrap();
    let sent = world.push(CLIENT, LISTENER, from_caller("BYE", &forged).to_string());
    assert_eq!(sent.forwarded_to(), invite.forwarded_to(), "by the pin");
    assert_eq!(world.proxy.tally().tokens[TokenResult::Forged as usize], 1);

    let other = Request { call_id: "another call", ..from_caller("BYE", &routes) };
    world.push(CLIENT, LISTENER, other.to_string());
    assert_eq!(
        world.proxy.tally().tokens[TokenResult::Forged as usize],
        2,
        "a token is of one call"
    );
}

#[test]
fn the_previous_key_still_serves_its_dialogs() {
    let mut world = World::new();
    let (invite, ok) = call(&mut world, CLIENT);
    let old = world.settings.keys.current;
    world.settings.keys.previous = Some(old);
    world.settings.keys.current = sipring::proxy::Key { number: 2, bytes: [43; 16] };
    world.restart();
    let routes = routes_of_caller(&ok.text());
    let sent = world.push(CLIENT, LISTENER, from_caller("BYE", &routes).to_string());
    assert_eq!(sent.forwarded_to(), invite.forwarded_to());
    assert_eq!(world.proxy.tally().tokens[TokenResult::Good as usize], 1);
    let routes = routes_of_callee(&invite.text());
    let sent = world.push("10.1.0.1:5060", LISTENER, from_callee("BYE", &routes).to_string());
    assert_eq!(sent.forwarded_to(), address(CLIENT));
}
