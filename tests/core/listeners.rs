//! Listeners that come, leave, go and are advertised otherwise while dialogs are about.

use crate::world::{
    LISTENER, Outcome, PORT, Request, World, address, response, routes_of_callee, routes_of_caller,
};
use sipring::proxy::{LocalSocket, Role, SocketIndex};

const CLIENT: &str = "192.0.2.9:40000";

/// The sockets of the world are 0 to 4.
const ADDED: SocketIndex = SocketIndex(5);

fn add(world: &mut World, text: &str) {
    world.configure(|settings| {
        settings.sockets.push(LocalSocket::new(address(text), Role::Listener));
        settings.since_start.sockets_added += 1;
    });
}

fn set(world: &mut World, socket: SocketIndex, role: Role) {
    world.configure(|settings| settings.sockets[usize::from(socket.0)].role = role);
}

/// The INVITE of a call as its backend got it, and the 200 as the client did.
fn call(world: &mut World, socket: SocketIndex) -> (Outcome, Outcome) {
    let invite = world.push(CLIENT, socket, Request::default().to_string());
    let ok = response(&invite.text(), "200 OK", "bob-1", "");
    let ok = world.push(&invite.forwarded_to().to_string(), PORT, ok);
    assert_eq!(ok.egress().socket, socket, "from where the client expects it");
    (invite, ok)
}

fn bye_of_caller(ok: &Outcome) -> String {
    let routes = routes_of_caller(&ok.text());
    Request { method: "BYE", to_tag: "bob-1", cseq: 2, extra: &routes, ..Default::default() }
        .to_string()
}

fn bye_of_callee(invite: &Outcome) -> String {
    let routes = routes_of_callee(&invite.text());
    let (from_tag, to_tag) = ("bob-1", "alice-1");
    let via = "SIP/2.0/UDP 10.1.0.1:5060;branch=z9hG4bKserver1";
    let uri = "sip:alice@192.0.2.9:40000";
    let request = Request { method: "BYE", uri, via, from_tag, to_tag, ..Default::default() };
    Request { cseq: 7, extra: &routes, ..request }.to_string()
}

#[test]
fn an_added_listener_is_one_like_the_others_and_changes_nothing_of_theirs() {
    let mut world = World::new();
    let invite = Request::default().to_string();
    let before = world.push(CLIENT, LISTENER, &invite);
    add(&mut world, "10.0.0.1:5070");
    assert_eq!(world.push(CLIENT, LISTENER, &invite).bytes, before.bytes, "retransmitted");
    let mut world = World::new();
    add(&mut world, "10.9.0.1:5070");
    let (invite, ok) = call(&mut world, ADDED);
    let backend = invite.forwarded_to();
    assert_eq!(world.push(CLIENT, ADDED, bye_of_caller(&ok)).forwarded_to(), backend);
    let bye = world.push(&backend.to_string(), LISTENER, bye_of_callee(&invite));
    assert_eq!((bye.egress().to, bye.egress().socket), (address(CLIENT), ADDED));
}

#[test]
fn a_leaving_listener_goes_on_with_its_calls_and_takes_no_new_ones() {
    let mut world = World::new();
    add(&mut world, "10.9.0.1:5070");
    let (invite, ok) = call(&mut world, ADDED);
    set(&mut world, ADDED, Role::Leaving);
    let backend = invite.forwarded_to();
    let again = world.push(CLIENT, ADDED, Request::default().to_string());
    assert_eq!(again.bytes, invite.bytes, "retransmitted");
    let new = Request { call_id: "new", ..Default::default() }.to_string();
    assert!(world.push(CLIENT, ADDED, &new).answer().contains(" 503 "));
    world.push(CLIENT, LISTENER, &new).forwarded_to(); // the others take it
    let options = Request { method: "OPTIONS", uri: "sip:10.9.0.1:5070", ..Default::default() };
    assert!(world.push(CLIENT, ADDED, options.to_string()).answer().contains(" 503 "));
    assert!(world.push(CLIENT, LISTENER, options.to_string()).answer().contains(" 200 "));
    assert_eq!(world.push(CLIENT, ADDED, bye_of_caller(&ok)).forwarded_to(), backend);
    let bye = world.push(&backend.to_string(), LISTENER, bye_of_callee(&invite));
    assert_eq!((bye.egress().to, bye.egress().socket), (address(CLIENT), ADDED), "the same flow");
    assert!(bye.rows("Route").is_empty());
    set(&mut world, ADDED, Role::Listener);
    world.push(CLIENT, ADDED, &new).forwarded_to();
}

#[test]
fn a_dialog_of_a_closed_listener_goes_on_from_another() {
    let mut world = World::new();
    add(&mut world, "10.9.0.1:5070");
    let (invite, ok) = call(&mut world, ADDED);
    let ringing = Request { call_id: "ringing", ..Default::default() }.to_string();
    let ringing = world.push(CLIENT, ADDED, ringing);
    set(&mut world, ADDED, Role::Gone);
    let backend = invite.forwarded_to();
    let bye = world.push(&backend.to_string(), LISTENER, bye_of_callee(&invite));
    assert_eq!((bye.egress().to, bye.egress().socket), (address(CLIENT), LISTENER));
    assert!(bye.rows("Route").is_empty(), "its address is still ours");
    let bye = world.push(CLIENT, LISTENER, bye_of_caller(&ok));
    assert_eq!(bye.forwarded_to(), backend);
    assert!(bye.rows("Route").is_empty());
    let late = response(&ringing.text(), "180 Ringing", "bob-2", "");
    let late = world.push(&ringing.forwarded_to().to_string(), PORT, late);
    assert_eq!((late.egress().to, late.egress().socket), (address(CLIENT), LISTENER));
}

#[test]
fn an_earlier_name_is_still_ours() {
    let mut world = World::new();
    let advertise = |world: &mut World, name: Option<(&str, u16)>, before: &[(&str, u16)]| {
        let owned = |(host, port): (&str, u16)| (host.to_owned(), port);
        world.configure(|settings| {
            settings.sockets[0].advertise = name.map(owned);
            settings.since_start.advertised_before = before.iter().copied().map(owned).collect();
        });
    };
    for old in [("old.example.com", 5060), ("192.0.2.77", 5080)] {
        advertise(&mut world, Some(old), &[]);
        let (invite, ok) = call(&mut world, LISTENER);
        assert!(ok.text().contains(&format!("<sip:{}:{};", old.0, old.1)), "{}", ok.text());
        for new in [Some(("new.example.com", 5060)), None] {
            advertise(&mut world, new, &[old]);
            let bye = world.push(CLIENT, LISTENER, bye_of_caller(&ok));
            assert_eq!(bye.forwarded_to(), invite.forwarded_to());
            assert!(bye.rows("Route").is_empty(), "{}", bye.text());
            let bye = world.push("10.1.0.1:5060", LISTENER, bye_of_callee(&invite));
            assert_eq!(bye.forwarded_to(), address(CLIENT));
            assert!(bye.rows("Route").is_empty(), "{}", bye.text());
        }
        world.restart();
    }
}

#[test]
fn a_backend_begins_its_calls_from_a_listener_that_stays() {
    let mut world = World::new();
    let request = Request { uri: "sip:phone@198.51.100.7:5070", ..Default::default() }.to_string();
    let from = |world: &mut World| world.push("10.1.0.1:5060", LISTENER, &request).egress().socket;
    assert_eq!(from(&mut world), LISTENER);
    let mut world = World::new();
    add(&mut world, "10.9.0.1:5070");
    let inner = SocketIndex(1);
    world.push("10.1.0.1:5060", LISTENER, &request).forwarded_to(); // pinned: known from here on
    set(&mut world, LISTENER, Role::Leaving);
    assert_eq!(from(&mut world), inner);
    set(&mut world, inner, Role::Gone);
    set(&mut world, ADDED, Role::Leaving);
    assert_eq!(from(&mut world), LISTENER, "before none at all");
}
