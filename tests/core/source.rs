//! Where a request came from: told to the backends in a field of its own, and back to clients that did
//! not ask for `rport` (RFC 3581).

use crate::world::{
    INNER, LISTENER, LISTENER_6, PORT, Request, World, address, backends, response,
};
use sipring::pool::{GroupSpec, Policy, Pool};

const CLIENT: &str = "192.0.2.9:40000";

/// A world whose backends are told in `X-Source`.
fn telling() -> World {
    let mut world = World::new();
    let mut group = GroupSpec::new("one", Policy::CALL_ID_HASH, backends());
    group.source_header = Some("X-Source".to_owned());
    world.pool = Pool::build_groups(&[group], Vec::new(), 7).expect("a good pool");
    world
}

#[test]
fn backends_are_told_where_every_request_came_from() {
    let mut world = telling();
    for method in ["INVITE", "CANCEL", "ACK", "REGISTER", "OPTIONS"] {
        let text = Request { method, ..Request::default() }.to_string();
        let sent = world.push(CLIENT, LISTENER, &text);
        assert_eq!(sent.row("X-Source"), "192.0.2.9:40000;transport=udp", "{method}");
        assert_eq!(world.push(CLIENT, LISTENER, &text).bytes, sent.bytes, "16.11");
    }
    let text = Request { call_id: "six", ..Request::default() }.to_string();
    let sent = world.push("[2001:db8::9]:5060", LISTENER_6, text);
    assert_eq!(sent.row("X-Source"), "[2001:db8::9]:5060;transport=udp");
}

#[test]
fn what_a_client_says_there_itself_does_not_reach_a_backend() {
    let mut world = telling();
    let extra =
        "X-SOURCE: 10.9.9.9:1\r\nx-source:\r\n 10.9.9.8\r\nX-Source-2: stays\r\nX-Source : a\r\n";
    let sent = world.push(CLIENT, LISTENER, Request { extra, ..Request::default() }.to_string());
    assert_eq!(sent.row("X-Source"), "192.0.2.9:40000;transport=udp");
    assert_eq!(sent.row("X-Source-2"), "stays");
    assert!(!sent.text().contains("10.9.9"), "{}", sent.text());
}

#[test]
fn a_lone_cr_that_others_read_as_a_line_end_hides_nothing() {
    let mut world = telling();
    for extra in ["X-Other: a\rX-Source: 10.9.9.9:1\r\n", "X-Other: a\r\rX-Source: b\r\n"] {
        let text = Request { extra, ..Request::default() }.to_string();
        let answer = world.push(CLIENT, LISTENER, text);
        assert!(answer.text().starts_with("SIP/2.0 400 Bare CR\r\n"), "{}", answer.text());
    }
    assert_eq!(world.proxy.calls(), 0, "no backend has one");
    // Where nobody believes the field it is as malformed as other parts that we do not use (16.3).
    let extra = "X-Other: a\rX-Source: 10.9.9.9:1\r\n";
    let text = Request { extra, ..Request::default() }.to_string();
    assert!(World::new().push(CLIENT, LISTENER, text).text().contains(extra));
    // A body is no header.
    let text = Request::default()
        .to_string()
        .replace("Content-Length: 0\r\n\r\n", "Content-Length: 3\r\n\r\na\rb");
    assert!(text.ends_with("a\rb"), "{text}");
    assert_eq!(
        telling().push(CLIENT, LISTENER, text).row("X-Source"),
        "192.0.2.9:40000;transport=udp"
    );
}

#[test]
fn without_the_key_the_field_is_like_any_other() {
    let mut world = World::new();
    let extra = "X-Source: 10.9.9.9:1\r\n";
    let sent = world.push(CLIENT, LISTENER, Request { extra, ..Request::default() }.to_string());
    assert_eq!(sent.row("X-Source"), "10.9.9.9:1");
}

#[test]
fn what_comes_from_a_backend_is_left_as_it_is() {
    let mut world = telling();
    let extra = "X-Source: 192.0.2.9:40000;transport=udp\r\n";
    for uri in ["sip:bob@192.0.2.77:5060", "sip:bob@10.1.0.2:5060"] {
        let text = Request { uri, extra, call_id: uri, ..Request::default() }.to_string();
        let sent = world.push("10.1.0.1:5060", LISTENER, text);
        assert_eq!(sent.row("X-Source"), "192.0.2.9:40000;transport=udp", "{uri}");
    }
}

#[test]
fn a_retry_tells_the_same_source() {
    let mut world = telling();
    let sent = world.push(CLIENT, LISTENER, Request::default().to_string());
    let refusal = response(&sent.text(), "503 Service Unavailable", "bob", "");
    world.push(&sent.forwarded_to().to_string(), PORT, refusal);
    assert_eq!(world.poll().remove(0).row("X-Source"), "192.0.2.9:40000;transport=udp");
}

/// A world whose first listener takes every Via to ask for `rport`.
fn forcing() -> World {
    let mut world = World::new();
    world.configure(|settings| settings.sockets[usize::from(LISTENER.0)].force_rport = true);
    world
}

const PLAIN: &str = "SIP/2.0/UDP 192.168.7.7:5062;branch=z9hG4bKold";

#[test]
fn a_client_that_did_not_ask_is_answered_where_it_sent_from() {
    // RFC 3581 4
    let mut world = forcing();
    let text = Request { via: PLAIN, ..Request::default() }.to_string();
    let sent = world.push(CLIENT, LISTENER, &text);
    assert_eq!(sent.rows("Via")[1], format!("{PLAIN};rport=40000;received=192.0.2.9"));
    assert_eq!(world.push(CLIENT, LISTENER, text).bytes, sent.bytes, "16.11");
    let ok = response(&sent.text(), "200 OK", "bob", "");
    let ok = world.push(&sent.forwarded_to().to_string(), PORT, ok);
    assert_eq!(ok.forwarded_to(), address(CLIENT));
    assert!(ok.rows("Via")[0].ends_with(";rport=40000;received=192.0.2.9"));
}

#[test]
fn our_own_answers_go_there_too() {
    let mut world = forcing();
    let extra = "Proxy-Require: x\r\n";
    let text = Request { via: PLAIN, extra, ..Request::default() }.to_string();
    let answer = world.push(CLIENT, LISTENER, text);
    assert_eq!(answer.egress().to, address(CLIENT));
    assert_eq!(answer.row("Via"), format!("{PLAIN};rport=40000;received=192.0.2.9"));
}

#[test]
fn other_listeners_and_those_who_ask_are_dealt_with_as_ever() {
    let mut world = forcing();
    let text = Request { via: PLAIN, ..Request::default() }.to_string();
    let sent = world.push(CLIENT, INNER, text);
    assert_eq!(sent.rows("Via")[1], format!("{PLAIN};received=192.0.2.9"));
    let via = "SIP/2.0/UDP 192.168.7.7:5062;rport;branch=z9hG4bKnew";
    let text = Request { via, call_id: "asks", ..Request::default() }.to_string();
    let sent = world.push(CLIENT, LISTENER, text);
    let expected = "SIP/2.0/UDP 192.168.7.7:5062;rport=40000;branch=z9hG4bKnew;received=192.0.2.9";
    assert_eq!(sent.rows("Via")[1], expected);
}
