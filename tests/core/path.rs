//! Registrations and calls to phones: RFC 3327, RFC 5626 5.3.

use crate::world::{
    INNER, LISTENER, LISTENER_6, PORT, Request, World, address, backends, response,
    routes_of_callee, routes_of_caller, rows, settings,
};
use sipring::proxy::{PathMode, Verdict};

const PHONE: &str = "192.0.2.9:40000";

fn register<'a>(extra: &'a str) -> Request<'a> {
    let uri = "sip:example.com";
    Request { method: "REGISTER", uri, call_id: "boot-1", extra, ..Default::default() }
}

/// A call of the registrar to the phone, by the Path of its registration.
fn call_to_phone<'a>(path: &'a str) -> Request<'a> {
    Request {
        uri: "sip:alice@192.168.1.7:5062",
        via: "SIP/2.0/UDP 10.1.0.2:5060;branch=z9hG4bKreg1",
        call_id: "to-the-phone",
        from_tag: "caller",
        extra: path,
        ..Default::default()
    }
}

fn path_of(sent: &crate::world::Outcome) -> String {
    format!("Route: {}\r\n", sent.rows("Path")[0])
}

#[test]
fn register_gets_our_path_above_those_of_others() {
    // RFC 3327 5.2
    let mut world = World::new();
    let sent = world.push(PHONE, LISTENER, register("Path: <sip:edge.example;lr>\r\n").to_string());
    let paths = sent.rows("Path");
    assert!(paths[0].starts_with("<sip:10.0.0.1:5060;lr;lb="), "{paths:?}");
    assert_eq!(paths[1], "<sip:edge.example;lr>");
    assert!(sent.rows("Record-Route").is_empty(), "16.6 item 4: it has no meaning in REGISTER");
}

#[test]
fn path_follows_its_setting() {
    for (mode, extra, expected) in [
        (PathMode::Supported, "", 0),
        (PathMode::Supported, "Supported: outbound, path\r\n", 1),
        (PathMode::Supported, "k: PATH\r\n", 1),
        (PathMode::Supported, "k: pathology\r\n", 0),
        (PathMode::Off, "Supported: path\r\n", 0),
        (PathMode::Always, "", 1),
    ] {
        let mut settings = settings();
        settings.path = mode;
        let mut world = World::with(settings, backends());
        let sent = world.push(PHONE, LISTENER, register(extra).to_string());
        assert_eq!(sent.rows("Path").len(), expected, "{mode:?} {extra}");
    }
}

#[test]
fn a_refresh_goes_to_the_same_backend_and_moves_if_that_is_down() {
    // 10.2.4: a phone keeps its Call-ID
    let mut world = World::new();
    let first = world.push(PHONE, LISTENER, register("").to_string());
    world.push("10.1.0.1:5060", PORT, response(&first.text(), "200 OK", "r", ""));
    let mut list = backends();
    list.iter_mut()
        .filter(|b| b.address == first.forwarded_to())
        .for_each(|b| b.state = sipring::pool::State::Drained);
    world.publish(list.clone());
    world.now = world.now.after_ms(3_600_000);
    let refresh = Request { cseq: 2, ..register("") }.to_string();
    assert_eq!(world.push(PHONE, LISTENER, &refresh).forwarded_to(), first.forwarded_to());
    list.iter_mut()
        .filter(|b| b.address == first.forwarded_to())
        .for_each(|b| b.state = sipring::pool::State::Down);
    world.publish(list);
    let next = Request { cseq: 3, ..register("") }.to_string();
    assert_ne!(world.push(PHONE, LISTENER, &next).forwarded_to(), first.forwarded_to());
}

#[test]
fn a_call_by_path_reaches_the_phone_over_its_flow_and_its_dialog_stays_with_the_caller() {
    // RFC 5626 5.3
    for (phone, socket) in [(PHONE, LISTENER), ("[2001:db8::9]:4000", LISTENER_6)] {
        let mut world = World::new();
        let path = path_of(&world.push(phone, socket, register("").to_string()));
        world.restart();
        let invite = world.push("10.1.0.2:5060", LISTENER, call_to_phone(&path).to_string());
        assert_eq!((invite.egress().to, invite.egress().socket), (address(phone), socket));
        assert!(invite.rows("Route").is_empty());
        let routes = invite.rows("Record-Route");
        assert_eq!(routes.len(), if socket == LISTENER { 1 } else { 2 });

        let back = world.push(phone, socket, response(&invite.text(), "200 OK", "alice", ""));
        assert_eq!((back.egress().to, back.egress().socket), (address("10.1.0.2:5060"), LISTENER));

        let from_phone = Request {
            method: "BYE",
            uri: "sip:bob@10.1.0.2",
            call_id: "to-the-phone",
            from_tag: "alice",
            to_tag: "caller",
            extra: &routes_of_callee(&invite.text()),
            ..Default::default()
        };
        let bye = world.push(phone, socket, from_phone.to_string());
        assert_eq!(bye.forwarded_to(), address("10.1.0.2:5060"), "not the hash, not the registrar");

        let routes = routes_of_caller(&back.text());
        let request = Request { method: "BYE", to_tag: "alice", cseq: 2, ..call_to_phone(&routes) };
        let bye = world.push("10.1.0.2:5060", LISTENER, request.to_string());
        assert_eq!((bye.egress().to, bye.egress().socket), (address(phone), socket));
    }
}

#[test]
fn any_backend_may_use_the_path() {
    let mut world = World::new();
    let path = path_of(&world.push(PHONE, LISTENER, register("").to_string()));
    for backend in ["10.1.0.1:5060", "10.1.0.3:5060", "10.66.0.1:7777"] {
        let invite = world.push(backend, LISTENER, call_to_phone(&path).to_string());
        assert_eq!(invite.forwarded_to(), address(PHONE), "{backend}");
    }
}

#[test]
fn a_forged_flow_is_403() {
    // RFC 5626 5.3.1
    let mut world = World::new();
    let path = path_of(&world.push(PHONE, LISTENER, register("").to_string()));
    let at = path.find("lb=").unwrap() + 30;
    let mut forged = path.clone().into_bytes();
    forged[at] = if forged[at] == b'A' { b'B' } else { b'A' };
    let forged = String::from_utf8(forged).unwrap();
    let answer = world.push("10.1.0.2:5060", LISTENER, call_to_phone(&forged).to_string());
    assert_eq!(answer.answer(), "SIP/2.0 403 Forbidden");
}

#[test]
fn a_flow_that_no_socket_here_can_reach_is_430() {
    // RFC 5626 5.3.1: the token is good, but this node has no IPv6
    let mut world = World::new();
    let path = path_of(&world.push("[2001:db8::9]:4000", LISTENER_6, register("").to_string()));
    let mut settings = settings();
    settings.sockets.retain(|socket| socket.address.is_ipv4());
    settings.sides.truncate(1);
    settings.sides[0].egress = sipring::proxy::SocketIndex(2);
    let mut world = World::with(settings, backends());
    let answer = world.push("10.1.0.2:5060", LISTENER, call_to_phone(&path).to_string());
    assert_eq!(answer.answer(), "SIP/2.0 430 Flow Failed");
}

#[test]
fn the_path_names_the_backends_side() {
    let mut world = World::two_sided();
    let sent = world.push(PHONE, LISTENER, register("").to_string());
    assert!(sent.row("Path").starts_with("<sip:10.1.0.254:5060;lr;lb="));
    let path = path_of(&sent);
    let invite = world.push("10.1.0.2:5060", INNER, call_to_phone(&path).to_string());
    assert_eq!((invite.egress().to, invite.egress().socket), (address(PHONE), LISTENER));
    let routes = invite.rows("Record-Route");
    assert!(routes[0].starts_with("<sip:10.0.0.1:5060;transport=udp;lr;lb="), "{routes:?}");
    assert!(routes[1].starts_with("<sip:10.1.0.254:5060;transport=udp;lr;lb="), "{routes:?}");
}

#[test]
fn path_and_service_route_stay_in_the_response() {
    // RFC 3327 5.3, RFC 3608 6: proxies leave both alone
    let mut world = World::new();
    let sent = world.push(PHONE, LISTENER, register("").to_string());
    let kept = format!("Path: {}\r\nService-Route: <sip:10.1.0.1;lr>\r\n", sent.rows("Path")[0]);
    let back = world.push("10.1.0.1:5060", PORT, response(&sent.text(), "200 OK", "r", &kept));
    assert!(back.text().contains(&kept));
    assert!(matches!(back.verdict, Verdict::Forward { .. }));
    assert_eq!(rows(&back.text(), "Via").len(), 1);
}
