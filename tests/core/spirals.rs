//! Backends that are proxies: they send a call on through us, to a phone or to another backend.

use crate::world::{
    LISTENER, Outcome, PORT, Request, World, address, backends, response, routes_of_callee,
    routes_of_caller, rows,
};
use sipring::pool::{Policy, Pool};
use sipring::proxy::{CallResult, Forwarded, Settled, Verdict};

const CLIENT: &str = "192.0.2.9:40000";
const PHONE: &str = "192.0.2.77:5060";

/// A Route row out of the Path of a registration of the phone.
fn path_of_phone(world: &mut World) -> String {
    let (method, uri, call_id) = ("REGISTER", "sip:example.com", "boot");
    let register = Request { method, uri, call_id, ..Default::default() };
    let sent = world.push(PHONE, LISTENER, register.to_string());
    format!("Route: {}\r\n", sent.rows("Path")[0])
}

fn answer(world: &mut World, sent: &Outcome, status: &str) -> Outcome {
    world.push(&sent.forwarded_to().to_string(), PORT, response(&sent.text(), status, "bob", ""))
}

/// The proxy sends a response on: without its Via.
fn taken_on(response: &Outcome) -> String {
    let text = response.text();
    let at = text.find("Via: ").expect("its Via");
    let end = at + text[at..].find("\r\n").expect("a row") + 2;
    format!("{}{}", &text[..at], &text[end..])
}

/// A backend that is a proxy sends the request on: its Via on top, to `uri` over `routes`.
fn passed_on(sent: &Outcome, uri: &str, routes: &str, branch: &str) -> String {
    let backend = sent.forwarded_to();
    let text = sent.text();
    let (line, rest) = text.split_once("\r\n").unwrap();
    let method = line.split(' ').next().unwrap();
    format!(
        "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP {backend};branch={branch}\r\n{routes}{rest}"
    )
}

/// Hop by hop, as that proxy makes it from what it has sent (RFC 3261 9.1, 17.1.1.3).
fn own(passed: &str, method: &str, to: &str) -> String {
    let uri = passed.split(' ').nth(1).unwrap();
    let mut text = format!("{method} {uri} SIP/2.0\r\nVia: {}\r\n", rows(passed, "Via")[0]);
    for route in rows(passed, "Route") {
        text += &format!("Route: {route}\r\n");
    }
    let to = if to.is_empty() { rows(passed, "To").remove(0) } else { to.to_owned() };
    let cseq = rows(passed, "CSeq").remove(0);
    text += &format!(
        "Max-Forwards: 70\r\nFrom: {}\r\nTo: {to}\r\nCall-ID: {}\r\nCSeq: {} {method}\r\nContent-Length: 0\r\n\r\n",
        rows(passed, "From")[0],
        rows(passed, "Call-ID")[0],
        cseq.split(' ').next().unwrap(),
    );
    text
}

#[test]
fn a_cancel_and_the_ack_of_a_failure_follow_a_spiral() {
    // 9.1, 17.1.1.3: hop by hop, with one Via
    for uri in ["sip:bob@lb.example.com", "sip:bob@elsewhere.example"] {
        let mut world = World::new();
        let invite = Request { uri, ..Default::default() };
        let first = world.push(CLIENT, LISTENER, invite.to_string());
        let passed = passed_on(&first, uri, "", "z9hG4bKk1");
        let source = first.forwarded_to().to_string();
        let second = world.push(&source, LISTENER, &passed);
        assert_ne!(second.forwarded_to(), first.forwarded_to());
        let cancel = world.push(&source, LISTENER, own(&passed, "CANCEL", ""));
        assert_eq!(cancel.forwarded_to(), second.forwarded_to(), "CANCEL for {uri}");
        assert_eq!(cancel.rows("Via")[0], second.rows("Via")[0]);
        answer(&mut world, &cancel, "200 OK");
        answer(&mut world, &second, "487 Request Terminated");
        let ack =
            world.push(&source, LISTENER, own(&passed, "ACK", "<sip:bob@example.com>;tag=bob"));
        assert_eq!(ack.forwarded_to(), second.forwarded_to(), "ACK for {uri}");
        assert_eq!(ack.rows("Via")[0], second.rows("Via")[0]);
        // The caller's own go to the first one.
        let invite = Request { uri, ..Default::default() };
        let cancel = Request { method: "CANCEL", ..invite };
        let cancel = world.push(CLIENT, LISTENER, cancel.to_string());
        assert_eq!(cancel.forwarded_to(), first.forwarded_to());
    }
}

#[test]
fn a_branch_that_fails_is_not_the_call() {
    // No hash remembers here
    let mut world = World::new();
    let round_robin = || Pool::build(backends(), Policy::RoundRobin, 7).expect("a good pool");
    world.pool = round_robin();
    let path = path_of_phone(&mut world);
    let first = world.push(CLIENT, LISTENER, Request::default().to_string());
    let source = first.forwarded_to().to_string();
    // To this phone, and perhaps to another one.
    let passed = passed_on(&first, "sip:bob@192.168.1.7", &path, "z9hG4bKfork1");
    let branch = world.push(&source, LISTENER, &passed);
    assert_eq!(branch.forwarded_to(), address(PHONE));
    for status in ["486 Busy Here", "481 Gone"] {
        world.push(PHONE, LISTENER, response(&branch.text(), status, "one", ""));
        assert_eq!(world.proxy.calls(), 1, "another one may ring");
    }
    world.now = world.now.after_ms(40_000);
    world.pool = round_robin();
    let cancel = Request { method: "CANCEL", ..Default::default() }.to_string();
    assert_eq!(world.push(CLIENT, LISTENER, cancel).forwarded_to(), first.forwarded_to());
    answer(&mut world, &first, "487 Request Terminated");
    assert_eq!(world.proxy.calls(), 0, "the call's own final response ends it");
}

#[test]
fn a_call_is_set_up_once_however_often_it_passes() {
    // RFC 6076 4.3.1
    let mut world = World::new();
    let path = path_of_phone(&mut world);
    let first = world.push(CLIENT, LISTENER, Request::default().to_string());
    let passed = passed_on(&first, "sip:bob@192.168.1.7", &path, "z9hG4bKk1");
    let second = world.push(&first.forwarded_to().to_string(), LISTENER, &passed);
    let sets_up = |back: &Outcome| match back.verdict {
        Verdict::Forward { kind: Forwarded::Response { timing: Some(timing), .. }, .. } => {
            timing.setup_us().is_some()
        }
        other => panic!("{other:?}"),
    };
    let rings = world.push(PHONE, LISTENER, response(&second.text(), "180 Ringing", "bob", ""));
    assert!(!sets_up(&rings), "that is for the backend");
    let rings = world.push(&first.forwarded_to().to_string(), PORT, taken_on(&rings));
    assert_eq!((rings.forwarded_to(), sets_up(&rings)), (address(CLIENT), true));
}

#[test]
fn a_branch_that_fails_at_another_backend_is_no_result_of_the_call() {
    let mut world = World::new();
    let uri = "sip:bob@lb.example.com";
    let first = world.push(CLIENT, LISTENER, Request { uri, ..Default::default() }.to_string());
    let passed = passed_on(&first, uri, "", "z9hG4bKk1");
    let second = world.push(&first.forwarded_to().to_string(), LISTENER, &passed);
    let settled = |back: &Outcome| match back.verdict {
        Verdict::Forward { kind: Forwarded::Response { settles, .. }, .. } => settles,
        other => panic!("{other:?}"),
    };
    assert_eq!(settled(&answer(&mut world, &second, "486 Busy Here")), None);
    let ok = answer(&mut world, &first, "200 OK");
    assert_eq!(settled(&ok), Some(Settled::Call(CallResult::Ok)));
}

#[test]
fn a_dialog_goes_past_a_proxy_that_wants_no_part_in_it() {
    // 16.4, 16.12: two of our Record-Routes in a row are two passages
    let two_sided = || World::two_sided();
    for new in [World::new as fn() -> World, two_sided] {
        let mut world = new();
        let path = path_of_phone(&mut world);
        let first = world.push(CLIENT, LISTENER, Request::default().to_string());
        let source = first.forwarded_to().to_string();
        let passed = passed_on(&first, "sip:bob@192.168.1.7", &path, "z9hG4bKproxy");
        let second = world.push(&source, LISTENER, &passed);
        let contact = "Contact: <sip:bob@192.168.1.7>\r\n";
        let ok = world.push(PHONE, LISTENER, response(&second.text(), "200 OK", "bob", contact));
        let ok = world.push(&source, PORT, taken_on(&ok));
        assert_eq!((ok.forwarded_to(), world.proxy.dialogs()), (address(CLIENT), 1));
        let bye = Request {
            method: "BYE",
            uri: "sip:bob@192.168.1.7",
            to_tag: "bob",
            cseq: 2,
            extra: &routes_of_caller(&ok.text()),
            ..Default::default()
        };
        let bye = world.push(CLIENT, LISTENER, bye.to_string());
        assert_eq!(bye.forwarded_to(), address(PHONE), "the proxy knows of no dialog");
        assert!(bye.rows("Route").is_empty());
        assert_eq!(world.proxy.dialogs(), 0);
        let bye = Request {
            method: "BYE",
            uri: "sip:alice@192.168.1.9",
            from_tag: "bob",
            to_tag: "alice-1",
            extra: &routes_of_callee(&second.text()),
            ..Default::default()
        };
        assert_eq!(world.push(PHONE, LISTENER, bye.to_string()).forwarded_to(), address(CLIENT));
    }
}
