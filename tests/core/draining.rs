//! Other settings while it runs: a balancer that takes nothing new, and what stays.
//! RFC 3261 21.5.4.

use crate::world::{LISTENER, PORT, Request, World, address, response, routes_of_caller, rows};
use sipring::proxy::{Answer, Replaced, Verdict};

const CLIENT: &str = "192.0.2.9:40000";

fn draining(world: &mut World) {
    world.configure(|settings| settings.draining = true);
}

#[test]
fn what_would_begin_something_gets_503_and_when_to_come_back() {
    let mut world = World::new();
    draining(&mut world);
    for method in ["INVITE", "SUBSCRIBE", "REGISTER", "REFER"] {
        let request = Request { method, call_id: method, ..Default::default() };
        let outcome = world.push(CLIENT, LISTENER, request.to_string());
        assert_eq!(outcome.answer(), "SIP/2.0 503 Service Unavailable");
        assert_eq!(outcome.row("Retry-After"), "5");
        assert!(matches!(outcome.verdict, Verdict::Reply { answer: Answer::Draining, .. }));
    }
    assert_eq!(world.proxy.pins(), 0);
    let options =
        Request { method: "OPTIONS", uri: "sip:10.0.0.1:5060", ..Default::default() }.to_string();
    assert_eq!(world.push(CLIENT, LISTENER, &options).answer(), "SIP/2.0 503 Service Unavailable");
    world.configure(|settings| settings.draining = false);
    assert_eq!(world.push(CLIENT, LISTENER, &options).answer(), "SIP/2.0 200 OK");
    assert_eq!(world.push(CLIENT, LISTENER, &options).rows("Retry-After"), [""; 0]);
    world.push(CLIENT, LISTENER, Request::default().to_string()).forwarded_to();
}

#[test]
fn what_ends_by_itself_still_goes_through() {
    let mut world = World::new();
    draining(&mut world);
    for method in ["MESSAGE", "OPTIONS", "PUBLISH", "INFO"] {
        let request = Request { method, call_id: method, ..Default::default() };
        world.push(CLIENT, LISTENER, request.to_string()).forwarded_to();
    }
}

#[test]
fn transactions_and_dialogs_of_before_go_on() {
    let mut world = World::new();
    let invite = Request::default().to_string();
    let sent = world.push(CLIENT, LISTENER, &invite);
    let backend = sent.forwarded_to();
    draining(&mut world);
    let again = world.push(CLIENT, LISTENER, &invite);
    assert_eq!((again.forwarded_to(), &again.bytes), (backend, &sent.bytes), "retransmitted");
    let after_407 = Request { cseq: 2, ..Default::default() };
    assert_eq!(world.push(CLIENT, LISTENER, after_407.to_string()).forwarded_to(), backend);
    let cancel = Request { method: "CANCEL", ..Default::default() };
    assert_eq!(world.push(CLIENT, LISTENER, cancel.to_string()).forwarded_to(), backend);
    let ok = response(&sent.text(), "200 OK", "bob-1", "");
    let ok = world.push(&backend.to_string(), PORT, ok).text();
    let route = routes_of_caller(&ok);
    for (method, cseq) in [("ACK", 1), ("INVITE", 3), ("BYE", 4)] {
        let request =
            Request { method, cseq, to_tag: "bob-1", extra: &route, ..Default::default() };
        assert_eq!(world.push(CLIENT, LISTENER, request.to_string()).forwarded_to(), backend);
    }
}

#[test]
fn a_transfer_of_a_call_of_before_goes_on() {
    let mut world = World::new();
    draining(&mut world);
    let extra = "Replaces: call-9;to-tag=a;from-tag=b\r\n";
    let invite = Request { extra, ..Default::default() }.to_string();
    let asked = world.push(CLIENT, LISTENER, &invite);
    assert!(matches!(asked.verdict, Verdict::Ask { .. }), "{:?}", asked.verdict);
    let answered = Replaced::Answered(Some(world.pool.backends()[1].id));
    let outcome = world.push_replaced(CLIENT, LISTENER, &invite, answered);
    assert_eq!(outcome.forwarded_to(), address("10.1.0.2:5060"));
}

#[test]
fn a_refreshed_registration_goes_on_and_a_new_one_does_not() {
    let mut world = World::new();
    let register = |call_id, cseq| {
        let uri = "sip:example.com";
        Request { method: "REGISTER", uri, call_id, cseq, ..Default::default() }.to_string()
    };
    let backend = world.push(CLIENT, LISTENER, register("known", 1)).forwarded_to();
    draining(&mut world);
    assert_eq!(world.push(CLIENT, LISTENER, register("known", 2)).forwarded_to(), backend);
    assert!(world.push(CLIENT, LISTENER, register("new", 1)).answer().contains(" 503 "));
}

#[test]
fn a_call_that_a_backend_begins_is_new_too() {
    let mut world = World::new();
    draining(&mut world);
    let request = Request { uri: "sip:phone@198.51.100.7:5070", ..Default::default() }.to_string();
    assert!(world.push("10.1.0.1:5060", LISTENER, &request).answer().contains(" 503 "));
    world.configure(|settings| settings.draining = false);
    let outcome = world.push("10.1.0.1:5060", LISTENER, &request);
    assert_eq!(outcome.forwarded_to(), address("198.51.100.7:5070"));
}

#[test]
fn the_ack_of_the_503_ends_here() {
    let mut world = World::new();
    draining(&mut world);
    let refused = world.push(CLIENT, LISTENER, Request::default().to_string());
    let to = rows(&refused.text(), "To").remove(0);
    let tag = to.split(";tag=").nth(1).expect("a tag");
    let ack = Request { method: "ACK", to_tag: tag, ..Default::default() }.to_string();
    assert!(matches!(world.push(CLIENT, LISTENER, ack).verdict, Verdict::Absorb(_)));
}

#[test]
fn other_limits_hold_from_the_next_message_on() {
    let mut world = World::new();
    let invite = Request::default().to_string();
    world.push(CLIENT, LISTENER, &invite).forwarded_to();
    world.configure(|settings| {
        settings.max_message = invite.len() - 1;
        settings.record_route = false;
    });
    assert!(world.push(CLIENT, LISTENER, &invite).answer().contains(" 513 "));
    world.configure(|settings| settings.max_message = invite.len());
    let sent = world.push(CLIENT, LISTENER, &invite);
    assert_eq!(sent.rows("Record-Route"), [""; 0]);
    assert_eq!(world.proxy.pins(), 1, "the pin of before");
    // A dialog that begins now is kept for as long as is said now.
    world.configure(|settings| settings.dialog_idle_s = 300);
    let ok = response(&sent.text(), "200 OK", "bob-1", "");
    world.push(&sent.forwarded_to().to_string(), PORT, ok);
    assert_eq!((world.proxy.dialogs(), world.proxy.calls()), (1, 1));
    let id = world.pool.backend(world.pool.by_address(sent.forwarded_to()).unwrap()).id;
    assert_eq!((world.proxy.dialogs_on(id), world.proxy.load_of(id, world.now).calls), (1, 1));
    let call_id = b"call-1@192.0.2.9";
    let at = |s: u64| world.now.after_ms(s * 1000);
    assert_eq!(world.proxy.pinned(at(300), call_id), Some(id));
    assert_eq!(world.proxy.pinned(at(302), call_id), None);
}
