//! Keys that change while requests are under way: tokens and branches of before, and what is over.
//! RFC 3261 9.1, 16.11, 17.1.1.3.

use crate::world::{LISTENER, Outcome, PORT, Request, World, address, response, routes_of_caller};
use sipring::proxy::{Absorb, Drop, Key, Keys, Verdict};

const CLIENT: &str = "192.0.2.9:40000";

/// From the key of the settings to the first of these, and so on. As in the config, the last digit of a
/// key is its number, which differs from that of the key before alone.
fn rotate(world: &mut World, keys: &[u8]) {
    for digit in keys {
        let new = Key { number: digit & 3, bytes: [*digit; 16] };
        world.configure(|settings| {
            settings.keys = Keys { current: new, previous: Some(settings.keys.current) };
        });
    }
}

/// Rotations within one transaction: the first key has number 1.
const ROTATIONS: [&[u8]; 5] = [&[2], &[2, 3], &[2, 5], &[2, 3, 4], &[2, 5, 10]];

fn invite() -> String {
    Request::default().to_string()
}

fn of_invite(method: &str, to_tag: &str) -> String {
    Request { method, to_tag, ..Default::default() }.to_string()
}

/// The INVITE that was sent goes on as if nothing had changed, to its end by a 487.
fn goes_on(world: &mut World, sent: &Outcome) {
    let backend = sent.forwarded_to().to_string();
    let again = world.push(CLIENT, LISTENER, invite());
    assert_eq!(again.text(), sent.text(), "a retransmission");
    let ringing = world.push(&backend, PORT, response(&sent.text(), "180 Ringing", "bob-1", ""));
    assert_eq!(ringing.forwarded_to(), address(CLIENT));
    let cancel = world.push(CLIENT, LISTENER, of_invite("CANCEL", ""));
    assert_eq!(cancel.rows("Via"), sent.rows("Via"));
    let answer = response(&cancel.text(), "200 OK", "bob-1", "");
    assert_eq!(world.push(&backend, PORT, answer).forwarded_to(), address(CLIENT));
    let refused = response(&sent.text(), "487 Request Terminated", "bob-1", "");
    for _ in 0..2 {
        assert_eq!(world.push(&backend, PORT, &refused).forwarded_to(), address(CLIENT));
        let ack = world.push(CLIENT, LISTENER, of_invite("ACK", "bob-1"));
        assert_eq!(ack.rows("Via"), sent.rows("Via"));
    }
}

#[test]
fn with_a_rotated_key_tokens_and_branches_of_before_are_read() {
    let mut world = World::new();
    let sent = world.push(CLIENT, LISTENER, invite());
    let ringing = response(&sent.text(), "180 Ringing", "bob-1", "");
    let backend = sent.forwarded_to().to_string();
    rotate(&mut world, &[2]);
    let ringing = world.push(&backend, PORT, ringing);
    assert_eq!(ringing.forwarded_to(), address(CLIENT));
    // Without its pin, by the token alone.
    let mut restarted = World::with(world.settings.clone(), crate::world::backends());
    let route = routes_of_caller(&ringing.text());
    let bye =
        Request { method: "BYE", cseq: 2, to_tag: "bob-1", extra: &route, ..Default::default() };
    let bye = restarted.push(CLIENT, LISTENER, bye.to_string());
    assert_eq!(bye.forwarded_to().to_string(), backend);
}

#[test]
fn a_transaction_keeps_its_branch_however_often_the_key_is_rotated() {
    for keys in ROTATIONS {
        let mut world = World::new();
        let sent = world.push(CLIENT, LISTENER, invite());
        rotate(&mut world, keys);
        goes_on(&mut world, &sent);
    }
}

#[test]
fn a_transaction_keeps_its_branch_when_its_key_is_cut_off() {
    let mut world = World::new();
    let sent = world.push(CLIENT, LISTENER, invite());
    rotate(&mut world, &[2]);
    world.configure(|settings| settings.keys.previous = None);
    goes_on(&mut world, &sent);
    let mut world = World::new();
    let sent = world.push(CLIENT, LISTENER, invite());
    for digit in [2, 6] {
        let key = Key { number: 2, bytes: [digit; 16] };
        world.configure(|settings| settings.keys = Keys { current: key, previous: None });
    }
    goes_on(&mut world, &sent);
}

#[test]
fn each_transaction_goes_by_the_key_of_its_time() {
    let mut world = World::new();
    let message = |n: u32| {
        let via = format!("SIP/2.0/UDP 192.0.2.9:5062;branch=z9hG4bKclient{n};rport");
        Request { method: "MESSAGE", cseq: n, via: &via, ..Default::default() }.to_string()
    };
    let mut sent = Vec::new();
    for (n, digit) in (1..).zip([2, 3, 5, 6]) {
        sent.push(world.push(CLIENT, LISTENER, message(n)));
        rotate(&mut world, &[digit]);
        for (n, sent) in (1..).zip(&sent).skip(sent.len().saturating_sub(3)) {
            let again = world.push(CLIENT, LISTENER, message(n));
            assert_eq!(again.text(), sent.text(), "{n} after key {digit}");
        }
    }
}

#[test]
fn what_begins_now_has_a_branch_of_the_key_of_now() {
    let mut world = World::new();
    world.push(CLIENT, LISTENER, invite());
    rotate(&mut world, &[2]);
    let via = "SIP/2.0/UDP 192.0.2.9:5062;branch=z9hG4bKclient2;rport";
    let next = Request { cseq: 2, via, ..Default::default() }.to_string();
    let next = world.push(CLIENT, LISTENER, next);
    let mut fresh = World::with(world.settings.clone(), crate::world::backends());
    let ringing = response(&next.text(), "180 Ringing", "bob-1", "");
    fresh.configure(|settings| settings.keys.previous = None);
    let got = fresh.push(&next.forwarded_to().to_string(), PORT, ringing);
    assert_eq!(got.forwarded_to(), address(CLIENT), "it is read without the previous key");
}

#[test]
fn a_key_that_is_gone_is_believed_for_what_it_began_and_for_no_longer() {
    for keys in ROTATIONS.into_iter().skip(1) {
        let mut world = World::new();
        let sent = world.push(CLIENT, LISTENER, invite());
        let backend = sent.forwarded_to().to_string();
        rotate(&mut world, keys);
        let ringing = response(&sent.text(), "180 Ringing", "bob-1", "");
        let forged = |world: &mut World, response: &str| {
            let verdict = world.push(&backend, PORT, response).verdict;
            assert!(matches!(verdict, Verdict::Drop(Drop::BranchForged)), "{verdict:?}");
        };
        let others = ringing.replace("z9hG4bKclient", "z9hG4bKother");
        assert_ne!(others, ringing);
        forged(&mut world, &others);
        let mut other = World::with(world.settings.clone(), crate::world::backends());
        forged(&mut other, &ringing);
        world.push(&backend, PORT, &ringing).forwarded_to();
        world.wait(230_000);
        forged(&mut world, &ringing);
    }
}

#[test]
fn an_answer_of_ours_is_acknowledged_over_rotations() {
    for keys in ROTATIONS {
        let mut world = World::new();
        world.configure(|settings| settings.draining = true);
        let refused = world.push(CLIENT, LISTENER, invite()).row("To");
        let tag = refused.split(";tag=").nth(1).expect("a tag");
        rotate(&mut world, keys);
        let acknowledged = world.push(CLIENT, LISTENER, of_invite("ACK", tag)).verdict;
        assert!(matches!(acknowledged, Verdict::Absorb(Absorb::OwnAck)), "{acknowledged:?}");
    }
}

#[test]
fn an_attempt_of_before_rotations_is_cancelled_and_acknowledged_as_it_was_sent() {
    for keys in ROTATIONS {
        let mut world = World::new();
        let first = world.push(CLIENT, LISTENER, invite());
        rotate(&mut world, keys);
        let sent = world.wait(3100);
        assert_eq!(sent.len(), 1, "another backend");
        let from = first.forwarded_to().to_string();
        for (status, method) in [("180 Ringing", "CANCEL "), ("486 Busy Here", "ACK ")] {
            let answer = world.push(&from, PORT, response(&first.text(), status, "bob-1", ""));
            assert!(answer.text().starts_with(method), "{}", answer.text());
            assert_eq!(answer.rows("Via"), first.rows("Via")[..1]);
        }
    }
}
