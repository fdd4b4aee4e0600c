//! What the balancer sends again by itself: RFC 3261 17.1.2.2 timer E, 17.2.1 timer G, 64*T1; and what
//! a backend sends again.

use crate::world::{LISTENER, Outcome, PORT, Request, World, response};
use sipring::proxy::{Forwarded, Verdict};

const CLIENT: &str = "192.0.2.9:40000";

/// A backend answers what it got.
fn answer(world: &mut World, got: &Outcome, status: &str) -> Outcome {
    let from = got.forwarded_to().to_string();
    world.push(&from, PORT, response(&got.text(), status, "bob", ""))
}

/// What leaves within `ms` milliseconds: when, and what.
fn sent_within(world: &mut World, ms: u64) -> Vec<(u64, Outcome)> {
    const STEP_MS: u64 = 20;
    let mut sent = Vec::new();
    for now_ms in (STEP_MS..=ms).step_by(STEP_MS as usize) {
        sent.extend(world.wait(STEP_MS).into_iter().map(|outcome| (now_ms, outcome)));
    }
    sent
}

fn seconds(sent: &[(u64, Outcome)]) -> Vec<u64> {
    sent.iter().map(|(ms, _)| ms / 500).collect()
}

/// A call whose first attempt rings after it was abandoned, and whose second was busy.
fn cancelled(world: &mut World) -> (Outcome, Outcome) {
    let first = world.push(CLIENT, LISTENER, Request::default().to_string());
    let second = world.wait(3100).remove(0);
    answer(world, &second, "486 Busy Here");
    let cancel = answer(world, &first, "180 Ringing");
    assert!(cancel.text().starts_with("CANCEL "), "{}", cancel.text());
    (first, cancel)
}

#[test]
fn a_cancel_of_ours_is_repeated_until_its_invite_has_a_final_response() {
    let mut world = World::new();
    let (first, cancel) = cancelled(&mut world);
    let sent = sent_within(&mut world, 8100);
    assert_eq!(seconds(&sent), [1, 3, 7, 15], "half seconds: T1, then twice as long, up to T2");
    for (_, again) in &sent {
        assert_eq!(again.bytes, cancel.bytes);
        assert!(matches!(again.verdict, Verdict::Forward { kind: Forwarded::Own, .. }));
    }
    let absorbed = answer(&mut world, &first, "180 Ringing");
    assert!(!matches!(absorbed.verdict, Verdict::Forward { .. }), "the timer does it");
    answer(&mut world, &first, "487 Request Terminated");
    assert!(sent_within(&mut world, 20_000).is_empty());
}

#[test]
fn it_is_repeated_for_64_t1() {
    let mut world = World::new();
    cancelled(&mut world);
    let sent = sent_within(&mut world, 60_000);
    assert_eq!(sent.len(), 10, "{:?}", seconds(&sent)); // 17.1.2.2: 0.5, 1.5, 3.5, 7.5, 11.5 ... 31.5 s
    assert!(!world.proxy.is_waiting());
}

/// A request whose backends are all unreachable: the answer that it gets.
fn refused(world: &mut World, method: &str) -> Outcome {
    let mut sent =
        world.push(CLIENT, LISTENER, Request { method, ..Default::default() }.to_string());
    while matches!(sent.verdict, Verdict::Forward { .. }) {
        world.proxy.unreachable(&world.pool, sent.forwarded_to());
        sent = world.poll().remove(0);
    }
    assert_eq!(sent.answer(), "SIP/2.0 503 Service Unavailable");
    sent
}

#[test]
fn our_own_answer_to_an_invite_is_repeated_until_it_is_acknowledged() {
    let mut world = World::new();
    let answer = refused(&mut world, "INVITE");
    let sent = sent_within(&mut world, 4000);
    assert_eq!(seconds(&sent), [1, 3, 7]);
    assert!(sent.iter().all(|(_, again)| again.bytes == answer.bytes));
    let tag = answer.row("To").split("tag=").nth(1).expect("a tag").to_owned();
    let ack = Request { method: "ACK", to_tag: &tag, ..Default::default() };
    world.push(CLIENT, LISTENER, ack.to_string());
    assert!(sent_within(&mut world, 40_000).is_empty());
}

#[test]
fn that_to_another_request_is_repeated_by_who_asks_again() {
    // 17.2.2: a server transaction of another method repeats nothing by itself
    let mut world = World::new();
    refused(&mut world, "REGISTER");
    assert!(sent_within(&mut world, 40_000).is_empty());
}

/// Whether this 503 is a sign against its backend.
fn is_refused(world: &mut World, got: &Outcome) -> bool {
    answer(world, got, "503 Busy");
    world.proxy.take_refused().is_some()
}

#[test]
fn a_503_that_is_repeated_because_nobody_acknowledges_it_is_one_bad_sign() {
    let mut world = World::new();
    let first = world.push(CLIENT, LISTENER, Request::default().to_string());
    assert!(is_refused(&mut world, &first));
    let second = world.poll().remove(0);
    assert!(is_refused(&mut world, &second));
    let third = world.poll().remove(0);
    assert!(!is_refused(&mut world, &first), "again, for our ACK was lost");
    assert!(is_refused(&mut world, &third), "the last, which goes upstream");
    for _ in 0..10 {
        world.wait(4000); // the caller is gone
        assert!(!is_refused(&mut world, &third));
    }
}

#[test]
fn so_is_that_of_a_lone_backend_after_which_nothing_is_kept() {
    let lone = crate::world::backends().into_iter().take(1).collect();
    let mut world = World::with(crate::world::settings(), lone);
    let sent = world.push(CLIENT, LISTENER, Request::default().to_string());
    assert!(is_refused(&mut world, &sent));
    for _ in 0..10 {
        world.wait(4000);
        assert!(!is_refused(&mut world, &sent));
    }
    let another = Request { call_id: "another", ..Request::default() };
    let sent = world.push(CLIENT, LISTENER, another.to_string());
    assert!(is_refused(&mut world, &sent));
}

#[test]
fn nor_does_it_count_again_when_the_caller_repeats_the_request() {
    let lone = crate::world::backends().into_iter().take(1).collect();
    let mut world = World::with(crate::world::settings(), lone);
    let sent = world.push(CLIENT, LISTENER, Request::default().to_string());
    assert!(is_refused(&mut world, &sent));
    for gap_ms in [500, 1000, 2000, 4000, 8000, 16_000] {
        world.wait(gap_ms); // 17.1.1.2, timer A
        let again = world.push(CLIENT, LISTENER, Request::default().to_string());
        assert!(!is_refused(&mut world, &again), "after {gap_ms} ms");
    }
}
