//! What ends a call in the counts, whatever crosses it: a dialog that is counted and is none holds up
//! every drain until it runs out, and a place under a cap.

use crate::world::{
    LISTENER, Outcome, PORT, Request, World, address, response, routes_of_callee, routes_of_caller,
};
use sipring::proxy::Replaced;

const CLIENT: &str = "192.0.2.9:40000";

fn call(world: &mut World) -> (Outcome, Outcome) {
    let invite = world.push(CLIENT, LISTENER, Request::default().to_string());
    let ok = response(&invite.text(), "200 OK", "bob", "Contact: <sip:bob@10.1.0.1>\r\n");
    let back = world.push(&invite.forwarded_to().to_string(), PORT, ok);
    (invite, back)
}

fn in_dialog(world: &mut World, back: &Outcome, method: &str, cseq: u32) -> Outcome {
    let routes = routes_of_caller(&back.text());
    let via = format!("SIP/2.0/UDP 192.0.2.9:5062;branch=z9hG4bKin{cseq}{method};rport");
    let request =
        Request { method, via: &via, to_tag: "bob", cseq, extra: &routes, ..Default::default() };
    world.push(CLIENT, LISTENER, request.to_string())
}

fn answer(world: &mut World, sent: &Outcome, status: &str) -> Outcome {
    world.push(&sent.forwarded_to().to_string(), PORT, response(&sent.text(), status, "bob", ""))
}

#[test]
fn what_crosses_a_bye_brings_no_dialog_back() {
    for method in ["INFO", "UPDATE", "NOTIFY", "INVITE"] {
        let mut world = World::new();
        let (_, back) = call(&mut world);
        let info = in_dialog(&mut world, &back, method, 2);
        let bye = in_dialog(&mut world, &back, "BYE", 3);
        answer(&mut world, &info, "200 OK");
        answer(&mut world, &bye, "200 OK");
        assert_eq!((world.proxy.dialogs(), world.proxy.calls()), (0, 0), "{method}");
    }
}

#[test]
fn a_transfers_last_notify_brings_no_dialog_back() {
    let mut world = World::new();
    let (invite, back) = call(&mut world);
    let refer = in_dialog(&mut world, &back, "REFER", 2);
    answer(&mut world, &refer, "202 Accepted");
    let bye = in_dialog(&mut world, &back, "BYE", 3);
    answer(&mut world, &bye, "200 OK");
    let routes = routes_of_callee(&invite.text());
    let request = Request {
        method: "NOTIFY",
        via: "SIP/2.0/UDP 10.1.0.1:5060;branch=z9hG4bKbob1",
        uri: "sip:alice@192.168.7.7:5060",
        from_tag: "bob",
        to_tag: "alice-1",
        extra: &routes,
        ..Default::default()
    };
    let notify = world.push(&invite.forwarded_to().to_string(), LISTENER, request.to_string());
    assert_eq!(notify.forwarded_to(), address(CLIENT));
    let ok = world.push(CLIENT, LISTENER, response(&notify.text(), "200 OK", "", ""));
    assert_eq!(ok.forwarded_to(), invite.forwarded_to());
    assert_eq!((world.proxy.dialogs(), world.proxy.calls()), (0, 0));
}

#[test]
fn a_481_ends_the_call_that_it_refuses() {
    let mut world = World::new();
    let extra = "Replaces: other;to-tag=a;from-tag=b\r\n";
    let request = Request { extra, ..Default::default() }.to_string();
    let invite = world.push_replaced(CLIENT, LISTENER, request, Replaced::Answered(None));
    assert_eq!(world.proxy.calls(), 1);
    answer(&mut world, &invite, "481 Call/Transaction Does Not Exist");
    assert_eq!(world.proxy.calls(), 0);
}

#[test]
fn a_reinvite_that_comes_after_the_bye_brings_no_dialog_back() {
    for status in ["200 OK", "481 Gone", "491 Pending"] {
        let mut world = World::new();
        let (_, back) = call(&mut world);
        let bye = in_dialog(&mut world, &back, "BYE", 3);
        let reinvite = in_dialog(&mut world, &back, "INVITE", 2);
        answer(&mut world, &reinvite, status);
        answer(&mut world, &bye, "200 OK");
        assert_eq!((world.proxy.dialogs(), world.proxy.calls()), (0, 0), "{status}");
    }
}

#[test]
fn the_other_dialog_of_a_fork_counts_again_when_something_is_said_in_it() {
    let mut world = World::new();
    let (invite, back) = call(&mut world);
    let other = response(&invite.text(), "200 OK", "carol", "Contact: <sip:carol@10.1.0.1>\r\n");
    world.push(&invite.forwarded_to().to_string(), PORT, other);
    let bye = in_dialog(&mut world, &back, "BYE", 2);
    answer(&mut world, &bye, "200 OK");
    assert_eq!(world.proxy.dialogs(), 0);
    let routes = routes_of_caller(&back.text());
    let info = Request {
        method: "INFO",
        to_tag: "carol",
        via: "SIP/2.0/UDP 192.0.2.9:5062;branch=z9hG4bKcarol;rport",
        cseq: 2,
        extra: &routes,
        ..Default::default()
    };
    let info = world.push(CLIENT, LISTENER, info.to_string());
    answer(&mut world, &info, "200 OK");
    assert_eq!(world.proxy.dialogs(), 1);
}

#[test]
fn a_dialog_of_before_a_restart_counts_again_when_something_is_said_in_it() {
    for (method, status, dialogs) in [
        ("UPDATE", "200 OK", 1),
        ("INFO", "200 OK", 1),
        ("INVITE", "200 OK", 1),
        ("UPDATE", "481 Gone", 0),
        // RFC 3262: its dialog is an early one.
        ("PRACK", "200 OK", 0),
        // Of a subscription, too.
        ("NOTIFY", "200 OK", 0),
    ] {
        let mut world = World::new();
        let (_, back) = call(&mut world);
        world.restart();
        assert_eq!(world.proxy.dialogs(), 0);
        let sent = in_dialog(&mut world, &back, method, 2);
        assert_eq!(world.proxy.dialogs(), 0);
        answer(&mut world, &sent, status);
        assert_eq!(world.proxy.dialogs(), dialogs, "{method}: {status}");
        let bye = in_dialog(&mut world, &back, "BYE", 3);
        answer(&mut world, &bye, "200 OK");
        assert_eq!((world.proxy.dialogs(), world.proxy.calls()), (0, 0), "{method}: {status}");
        world.proxy.check_invariants();
    }
}
