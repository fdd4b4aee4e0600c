//! Another backend when one fails: RFC 3261 16.7 item 6, 16.9, 17.1, 9.1; RFC 3263 4.3.

use crate::world::{LISTENER, Outcome, PORT, Request, World, address, response, settings};
use sipring::pool::{BackendSpec, State};
use sipring::proxy::{Absorb, FailoverCause, Forwarded, Verdict};
use std::net::SocketAddr;

const CLIENT: &str = "192.0.2.9:40000";

fn invite(world: &mut World) -> Outcome {
    world.push(CLIENT, LISTENER, Request::default().to_string())
}

/// What `backend` answers to what it got.
fn answer(world: &mut World, got: &Outcome, status: &str) -> Outcome {
    let from = got.forwarded_to().to_string();
    world.push(&from, PORT, response(&got.text(), status, "bob", ""))
}

fn is_own(outcome: &Outcome, method: &str, to: SocketAddr) -> bool {
    matches!(outcome.verdict, Verdict::Forward { kind: Forwarded::Own, egress, .. } if egress.to == to)
        && outcome.text().starts_with(&format!("{method} "))
}

fn branch(outcome: &Outcome) -> String {
    outcome.rows("Via")[0].clone()
}

#[track_caller]
fn only(mut sent: Vec<Outcome>) -> Outcome {
    assert_eq!(sent.len(), 1, "{:?}", sent.iter().map(Outcome::text).collect::<Vec<_>>());
    sent.remove(0)
}

#[test]
fn a_503_is_acknowledged_by_us_and_the_next_backend_gets_the_request() {
    // 21.5.4, 17.1.1.3
    let mut world = World::new();
    let first = invite(&mut world);
    let ack = answer(&mut world, &first, "503 Service Unavailable");
    assert!(is_own(&ack, "ACK", first.forwarded_to()), "{}", ack.text());
    assert_eq!(ack.rows("Via"), [branch(&first)], "the branch of its INVITE, and one Via");
    assert_eq!(ack.row("CSeq"), "1 ACK");
    assert!(ack.row("To").ends_with(";tag=bob"));
    assert_eq!(ack.row("From"), first.row("From"));

    let second = only(world.poll());
    assert_ne!(second.forwarded_to(), first.forwarded_to());
    assert_ne!(branch(&second), branch(&first), "RFC 3263 4.3: a new transaction");
    assert_eq!(second.rows("Via")[1], first.rows("Via")[1]);
    assert_eq!(world.proxy.tally().failovers[FailoverCause::Refused as usize], 1);

    let ok = answer(&mut world, &second, "200 OK");
    assert_eq!(ok.forwarded_to(), address(CLIENT));
}

#[test]
fn retransmission_ack_and_cancel_follow_to_the_new_backend() {
    // 16.11
    let mut world = World::new();
    let first = invite(&mut world);
    answer(&mut world, &first, "503 Service Unavailable");
    let second = only(world.poll());
    let again = invite(&mut world);
    assert_eq!((again.egress(), &again.bytes), (second.egress(), &second.bytes));
    for method in ["CANCEL", "ACK"] {
        let request = Request { method, ..Default::default() }.to_string();
        let sent = world.push(CLIENT, LISTENER, request);
        assert_eq!(
            (sent.forwarded_to(), branch(&sent)),
            (second.forwarded_to(), branch(&second)),
            "{method}"
        );
    }
}

#[test]
fn silence_moves_the_request_after_its_time_and_not_before() {
    let mut world = World::new();
    let first = invite(&mut world);
    assert!(world.wait(2950).is_empty());
    let second = only(world.wait(100));
    assert_ne!(second.forwarded_to(), first.forwarded_to());
    assert_eq!(world.proxy.tally().failovers[FailoverCause::Silence as usize], 1);
}

#[test]
fn a_100_ends_the_waiting_for_silence() {
    // a 100 is a reply: RFC 3263 4.3
    let mut world = World::new();
    let first = invite(&mut world);
    assert_eq!(answer(&mut world, &first, "100 Trying").forwarded_to(), address(CLIENT));
    assert!(world.wait(30_000).is_empty());
}

#[test]
fn after_a_100_went_upstream_we_retransmit_to_the_next_backend() {
    // 17.1.1.2: the caller does not any more
    let mut world = World::new();
    let first = invite(&mut world);
    answer(&mut world, &first, "100 Trying");
    answer(&mut world, &first, "503 Service Unavailable");
    let second = only(world.poll());
    let repeated = world.wait(2000);
    assert_eq!(repeated.len(), 2, "timer A: 500 ms, then 1 s");
    assert!(repeated.iter().all(|one| one.bytes == second.bytes));
    answer(&mut world, &second, "180 Ringing");
    assert!(world.wait(10_000).is_empty());
}

#[test]
fn a_refused_port_moves_what_waits_at_once() {
    // 16.9
    let mut world = World::new();
    let first = invite(&mut world);
    world.proxy.unreachable(&world.pool, first.forwarded_to());
    world.proxy.unreachable(&world.pool, first.forwarded_to());
    let second = only(world.poll());
    assert_ne!(second.forwarded_to(), first.forwarded_to());
    world.proxy.unreachable(&world.pool, first.forwarded_to());
    assert!(world.poll().is_empty(), "the new attempt is somewhere else");
}

#[test]
fn no_attempt_follows_a_cancel() {
    // 9.1
    let mut world = World::new();
    let first = invite(&mut world);
    let cancel = Request { method: "CANCEL", ..Default::default() }.to_string();
    world.push(CLIENT, LISTENER, cancel);
    let refused = answer(&mut world, &first, "503 Service Unavailable");
    assert!(refused.text().starts_with("SIP/2.0 500 "), "it goes upstream: {}", refused.text());
    assert!(world.wait(10_000).is_empty());
}

#[test]
fn the_response_to_a_cancel_does_not_pass_for_one_to_the_invite() {
    let mut world = World::new();
    let first = invite(&mut world);
    let cancel = Request { method: "CANCEL", ..Default::default() }.to_string();
    let sent = world.push(CLIENT, LISTENER, cancel);
    assert_eq!(answer(&mut world, &sent, "200 OK").forwarded_to(), address(CLIENT));
    let gone = answer(&mut world, &first, "487 Request Terminated");
    assert!(gone.text().starts_with("SIP/2.0 487 "));
}

#[test]
fn a_lone_503_goes_upstream_as_500_and_as_503_when_nobody_can_be_served() {
    // 16.7 item 6
    let mut world = World::new();
    for expected in ["ACK ", "ACK ", "SIP/2.0 500 Server Internal Error\r\n"] {
        let sent = world.poll().pop().unwrap_or_else(|| invite(&mut world));
        let next = answer(&mut world, &sent, "503 Service Unavailable");
        assert!(next.text().starts_with(expected), "{}", next.text());
    }
    let mut world = World::new();
    let first = invite(&mut world);
    let mut drained = crate::world::backends();
    drained.iter_mut().for_each(|backend| backend.state = State::Drained);
    world.publish(drained);
    let refused = answer(&mut world, &first, "503 Service Unavailable");
    assert!(refused.text().starts_with("SIP/2.0 503 "), "{}", refused.text());
}

#[test]
fn when_all_backends_are_unreachable_the_caller_hears_it_at_once() {
    let mut world = World::new();
    let mut sent = invite(&mut world);
    for attempt in 1..=3 {
        world.proxy.unreachable(&world.pool, sent.forwarded_to());
        sent = only(world.poll());
        match attempt {
            3 => assert_eq!(sent.answer(), "SIP/2.0 503 Service Unavailable"),
            _ => assert!(matches!(sent.verdict, Verdict::Forward { .. })),
        }
    }
    let tag = sent.row("To").split("tag=").nth(1).expect("a tag").to_owned();
    let ack = Request { method: "ACK", to_tag: &tag, ..Default::default() };
    assert_eq!(
        world.push(CLIENT, LISTENER, ack.to_string()).verdict,
        Verdict::Absorb(Absorb::OwnAck)
    );
}

#[test]
fn what_an_abandoned_attempt_says_late_does_not_reach_the_caller() {
    let mut world = World::new();
    let first = invite(&mut world);
    let second = only(world.wait(3100));
    let cancel = answer(&mut world, &first, "180 Ringing");
    assert!(is_own(&cancel, "CANCEL", first.forwarded_to()), "{}", cancel.text());
    assert_eq!(cancel.rows("Via"), [branch(&first)]);
    assert!(!cancel.row("To").contains("tag="));
    let lone = world.push(
        &first.forwarded_to().to_string(),
        PORT,
        response(&cancel.text(), "200 OK", "bob", ""),
    );
    assert_eq!(lone.verdict, Verdict::Absorb(Absorb::OwnCancel));
    let ack = answer(&mut world, &first, "487 Request Terminated");
    assert!(is_own(&ack, "ACK", first.forwarded_to()));
    assert_eq!(answer(&mut world, &second, "180 Ringing").forwarded_to(), address(CLIENT));
    let ack = answer(&mut world, &first, "486 Busy Here");
    assert!(is_own(&ack, "ACK", first.forwarded_to()), "32 s long");
}

#[test]
fn a_late_200_is_forwarded_and_the_other_attempt_cancelled() {
    // RFC 6026: a 2xx is never lost
    let mut world = World::new();
    let first = invite(&mut world);
    let second = only(world.wait(3100));
    let ok = answer(&mut world, &first, "200 OK");
    assert_eq!(ok.forwarded_to(), address(CLIENT));
    let cancel = only(world.poll());
    assert!(is_own(&cancel, "CANCEL", second.forwarded_to()), "{}", cancel.text());
    let ack = answer(&mut world, &second, "487 Request Terminated");
    assert!(is_own(&ack, "ACK", second.forwarded_to()));
    assert_eq!(answer(&mut world, &first, "200 OK").forwarded_to(), address(CLIENT), "repeated");
}

#[test]
fn other_methods_fail_over_too_and_their_503_needs_no_ack() {
    for method in ["REGISTER", "OPTIONS", "MESSAGE", "SUBSCRIBE"] {
        let mut world = World::new();
        let request = Request { method, ..Default::default() }.to_string();
        let first = world.push(CLIENT, LISTENER, request);
        let absorbed = answer(&mut world, &first, "503 Service Unavailable");
        assert_eq!(absorbed.verdict, Verdict::Absorb(Absorb::Abandoned), "{method}");
        let second = only(world.poll());
        assert_eq!(
            answer(&mut world, &second, "200 OK").forwarded_to(),
            address(CLIENT),
            "{method}"
        );
    }
}

#[test]
fn requests_inside_a_dialog_stay_where_they_are() {
    let mut world = World::new();
    let request =
        Request { method: "INVITE", to_tag: "bob", uri: "sip:bob@10.1.0.2", ..Default::default() };
    let sent = world.push(CLIENT, LISTENER, request.to_string());
    let refused = answer(&mut world, &sent, "503 Service Unavailable");
    assert!(refused.text().starts_with("SIP/2.0 500 "));
    assert!(world.wait(10_000).is_empty());
}

#[test]
fn what_cannot_be_kept_is_counted_and_forwarded() {
    let mut settings = settings();
    settings.failover.kept_max = 2;
    let mut world = World::with(settings, crate::world::backends());
    for n in 0..3 {
        let call_id = format!("call-{n}");
        world.push(
            CLIENT,
            LISTENER,
            Request { call_id: &call_id, ..Default::default() }.to_string(),
        );
    }
    assert_eq!(world.proxy.tally().not_kept, 1);
    let long = Request { call_id: "long", body: &"x".repeat(5000), ..Default::default() };
    assert!(matches!(
        world.push(CLIENT, LISTENER, long.to_string()).verdict,
        Verdict::Forward { .. }
    ));
    assert_eq!(world.proxy.tally().not_kept, 2);
    assert_eq!(world.wait(3100).len(), 2, "those that are kept move");
    world.wait(120_000);
    assert!(!world.proxy.is_waiting(), "nothing is kept for ever");
}

#[test]
fn one_try_means_no_failover() {
    let mut settings = settings();
    settings.failover.tries = 1;
    let mut world = World::with(settings, crate::world::backends());
    let first = invite(&mut world);
    let refused = answer(&mut world, &first, "503 Service Unavailable");
    assert!(refused.text().starts_with("SIP/2.0 500 "));
    assert!(world.wait(10_000).is_empty() && !world.proxy.is_waiting());
}

/// The backends that were silent since the last time, as their addresses.
fn silent(world: &mut World) -> Vec<SocketAddr> {
    let silent = std::iter::from_fn(|| world.proxy.take_silent());
    let slots = silent.map(|one| world.pool.by_id(one.backend).expect("a backend of the pool"));
    slots.map(|slot| world.pool.backend(slot).spec.address).collect()
}

#[test]
fn each_attempt_that_met_silence_tells_of_its_backend_once_when_another_gets_a_word() {
    for status in ["100 Trying", "503 Busy", "401 Unauthorized", "200 OK"] {
        let mut world = World::new();
        let first = invite(&mut world);
        assert!(world.wait(2950).is_empty() && silent(&mut world).is_empty());
        let second = only(world.wait(200));
        world.wait(2800);
        let third = only(
            world.wait(200).into_iter().filter(|sent| branch(sent) != branch(&second)).collect(),
        );
        assert!(silent(&mut world).is_empty(), "it may be the request");
        answer(&mut world, &third, status);
        let mut told = silent(&mut world);
        told.sort();
        let mut both = [first.forwarded_to(), second.forwarded_to()];
        both.sort();
        assert_eq!(told, both, "{status}");
        world.wait(120_000);
        assert!(silent(&mut world).is_empty() && !world.proxy.is_waiting(), "{status}");
    }
}

#[test]
fn a_request_that_nobody_answers_speaks_against_nobody() {
    // A scanner's, which every server drops without a word
    let mut world = World::new();
    let first = invite(&mut world);
    assert!(world.wait(10_000).iter().any(|sent| sent.forwarded_to() != first.forwarded_to()));
    answer(&mut world, &first, "100 Trying"); // it was slow
    let told = silent(&mut world);
    assert!(told.len() == 2 && !told.contains(&first.forwarded_to()), "the other two: {told:?}");
    let mut world = World::new();
    invite(&mut world);
    world.wait(120_000);
    assert!(silent(&mut world).is_empty() && !world.proxy.is_waiting());
}

#[test]
fn what_an_attempt_meets_is_of_the_time_when_it_was_sent() {
    let mut world = World::new();
    let began_ms = world.now.ms();
    let first = invite(&mut world);
    world.wait(2000);
    invite(&mut world); // the caller's retransmission begins nothing
    let second =
        only(world.wait(1100).into_iter().filter(|sent| branch(sent) != branch(&first)).collect());
    let second_ms = world.now.ms() - 100;
    world.wait(900);
    let third = only(answer_and_poll(&mut world, &second, "503 Busy"));
    let silent = world.proxy.take_silent().expect("the first one");
    let address = |id| world.pool.backend(world.pool.by_id(id).expect("there")).spec.address;
    assert_eq!((address(silent.backend), silent.sent_ms), (first.forwarded_to(), began_ms));
    let refused = world.proxy.take_refused().expect("the second one");
    assert!((second_ms..=second_ms + 100).contains(&refused.sent_ms), "{refused:?} {second_ms}");
    let third_ms = world.now.ms();
    answer(&mut world, &first, "503 Late");
    let refused = world.proxy.take_refused().expect("the first one, after all");
    assert_eq!(refused.sent_ms, began_ms);
    world.wait(2950);
    answer(&mut world, &third, "503 Busy");
    assert_eq!(world.proxy.take_refused().map(|one| one.sent_ms), Some(third_ms));
}

/// What is sent after this answer.
fn answer_and_poll(world: &mut World, got: &Outcome, status: &str) -> Vec<Outcome> {
    answer(world, got, status);
    world.poll()
}

#[test]
fn silence_is_told_of_a_lone_backend_without_failover_and_of_what_is_too_long_to_keep() {
    let lone: Vec<BackendSpec> = crate::world::backends().into_iter().take(1).collect();
    let mut off = settings();
    off.failover.tries = 1;
    let long = "x".repeat(5000);
    for (settings, backends, body) in [
        (settings(), lone, ""),
        (off, crate::world::backends(), ""),
        (settings(), crate::world::backends(), &long),
    ] {
        let mut world = World::with(settings, backends);
        let request = Request { body, ..Default::default() }.to_string();
        let first = world.push(CLIENT, LISTENER, &request).forwarded_to();
        assert!(world.wait(2000).is_empty());
        assert_eq!(world.push(CLIENT, LISTENER, &request).forwarded_to(), first, "repeated");
        assert!(world.wait(950).is_empty() && silent(&mut world).is_empty());
        assert!(world.wait(100).is_empty());
        assert_eq!(silent(&mut world), [first]);
    }
}

#[test]
fn whoever_says_anything_is_not_silent() {
    // a received 408 is a response: RFC 3261 21.4.9
    for status in ["100 Trying", "180 Ringing", "408 Request Timeout", "503 X", "200 OK"] {
        let mut settings = settings();
        settings.failover.tries = 1;
        let mut world = World::with(settings, crate::world::backends());
        let first = invite(&mut world);
        world.wait(2950);
        answer(&mut world, &first, status);
        world.wait(60_000);
        assert!(silent(&mut world).is_empty(), "{status}");
    }
}

#[test]
fn a_refused_port_is_not_silent_too() {
    for tries in [1, 3] {
        let mut settings = settings();
        settings.failover.tries = tries;
        let mut world = World::with(settings, crate::world::backends());
        let first = invite(&mut world);
        world.proxy.unreachable(&world.pool, first.forwarded_to());
        for second in world.poll() {
            answer(&mut world, &second, "180 Ringing");
        }
        world.wait(60_000);
        assert!(silent(&mut world).is_empty(), "{tries} tries");
    }
}

#[test]
fn silence_tells_nothing_where_the_backend_may_be_waiting_for_a_phone() {
    // RFC 4320 4.1: no provisional response to a non-INVITE for that long
    for (method, tells) in [("REGISTER", true), ("MESSAGE", false), ("OPTIONS", false)] {
        let mut world = World::new();
        let request = Request { method, ..Default::default() }.to_string();
        let first = world.push(CLIENT, LISTENER, request).forwarded_to();
        let second = only(world.wait(3100)); // it is tried elsewhere
        answer(&mut world, &second, "100 Trying");
        assert_eq!(silent(&mut world), if tells { vec![first] } else { vec![] }, "{method}");
    }
    let mut world = World::new();
    let inside = Request { to_tag: "bob", uri: "sip:bob@10.1.0.2", ..Default::default() };
    world.push(CLIENT, LISTENER, inside.to_string());
    world.wait(60_000);
    assert!(silent(&mut world).is_empty(), "inside a dialog");
}

#[test]
fn a_late_retransmission_is_no_new_request() {
    // RFC 6026 7.1: the backend may absorb it without a word; nobody else is to ring for it.
    let mut world = World::new();
    let first = invite(&mut world);
    answer(&mut world, &first, "200 OK");
    let again = invite(&mut world);
    assert_eq!(again.bytes, first.bytes);
    assert!(world.wait(10_000).is_empty() && silent(&mut world).is_empty());
    world.proxy.unreachable(&world.pool, first.forwarded_to());
    assert!(world.poll().is_empty());
    // With credentials it is a new one.
    let via = "SIP/2.0/UDP 192.0.2.9:5062;branch=z9hG4bKclient2;rport";
    let repeated = Request { cseq: 2, via, ..Default::default() }.to_string();
    world.push(CLIENT, LISTENER, repeated);
    assert_eq!(only(world.wait(3100)).row("CSeq"), "2 INVITE");
}

#[test]
fn the_second_attempt_is_retransmitted_by_us() {
    // 17.1.1.2: the caller's timer A has grown too long to make up for a loss
    let mut world = World::new();
    invite(&mut world);
    let second = only(world.wait(3050));
    let repeated = world.wait(2000);
    assert_eq!(repeated.len(), 2, "500 ms, then 1 s");
    assert!(repeated.iter().all(|one| one.bytes == second.bytes));
}

#[test]
fn a_failure_of_one_that_rings_does_not_follow_a_late_200_of_the_other() {
    // 16.7 item 5
    let mut world = World::new();
    let first = invite(&mut world);
    let second = only(world.wait(3050));
    answer(&mut world, &second, "180 Ringing");
    let ok = answer(&mut world, &first, "200 OK");
    assert_eq!(ok.forwarded_to(), address(CLIENT));
    assert!(is_own(&only(world.poll()), "CANCEL", second.forwarded_to()));
    let ack = answer(&mut world, &second, "486 Busy Here");
    assert!(is_own(&ack, "ACK", second.forwarded_to()), "{}", ack.text());
}

#[test]
fn a_failure_is_not_repeated_after_the_late_200_of_an_abandoned_attempt() {
    let mut world = World::new();
    let first = invite(&mut world);
    let second = only(world.wait(3050));
    answer(&mut world, &second, "486 Busy Here");
    assert_eq!(answer(&mut world, &first, "200 OK").forwarded_to(), address(CLIENT));
    assert!(world.poll().is_empty(), "nothing is left to cancel");
    // 17.1.1.3: to the backend of the 200 it would pass for an ACK of that.
    let ack = Request { method: "ACK", to_tag: "bob", ..Default::default() }.to_string();
    assert_eq!(world.push(CLIENT, LISTENER, ack).forwarded_to(), second.forwarded_to());
    let ack = answer(&mut world, &second, "486 Busy Here");
    assert!(is_own(&ack, "ACK", second.forwarded_to()), "{}", ack.text());
}

#[test]
fn a_dialog_is_counted_where_its_late_200_comes_from() {
    let mut world = World::new();
    let first = invite(&mut world);
    let second = only(world.wait(3050));
    answer(&mut world, &first, "200 OK");
    let on = |at: &Outcome| {
        let slot = world.pool.by_address(at.forwarded_to()).expect("a backend");
        world.proxy.dialogs_on(world.pool.backend(slot).id)
    };
    assert_eq!((on(&first), on(&second)), (1, 0));
}

#[test]
fn a_cancel_that_overtook_the_second_attempt_is_repeated_when_that_rings() {
    // 9.1: the backend that has no INVITE yet answers the CANCEL with 481
    let mut world = World::new();
    let first = invite(&mut world);
    answer(&mut world, &first, "100 Trying");
    answer(&mut world, &first, "503 Service Unavailable");
    let second = only(world.poll());
    let cancel = Request { method: "CANCEL", ..Default::default() }.to_string();
    let overtaking = world.push(CLIENT, LISTENER, cancel);
    answer(&mut world, &overtaking, "481 Call Does Not Exist");
    assert_eq!(answer(&mut world, &second, "180 Ringing").forwarded_to(), address(CLIENT));
    let again = only(world.poll());
    assert!(is_own(&again, "CANCEL", second.forwarded_to()), "{}", again.text());
    assert_eq!(branch(&again), branch(&second));
}

#[test]
fn after_our_own_answer_a_retransmission_gets_it_again_and_late_failures_end_here() {
    let mut world = World::new();
    let mut sent = invite(&mut world);
    let mut last = sent.forwarded_to();
    while let Verdict::Forward { egress, .. } = sent.verdict {
        last = egress.to;
        world.proxy.unreachable(&world.pool, last);
        let next = only(world.poll());
        if matches!(next.verdict, Verdict::Reply { .. }) {
            let again = invite(&mut world);
            assert_eq!(again.bytes, next.bytes, "the same answer");
            break;
        }
        sent = next;
    }
    let ack = answer(&mut world, &sent, "486 Busy Here");
    assert!(is_own(&ack, "ACK", last), "{}", ack.text());
    assert_eq!(answer(&mut world, &sent, "200 OK").forwarded_to(), address(CLIENT));
}

#[test]
fn a_kept_request_that_can_no_longer_be_read_is_let_go() {
    let mut world = World::new();
    // The second value is broken; nobody looks at it while the first is not ours.
    let extra = "Route: <sip:soon-ours.example.com;lr>, <sip:\r\n";
    let request = Request { extra, ..Default::default() }.to_string();
    let sent = world.push(CLIENT, LISTENER, request);
    assert!(matches!(sent.verdict, Verdict::Forward { .. }), "{}", sent.text());
    world.configure(|settings| settings.aliases.push("soon-ours.example.com".to_owned()));
    assert!(world.wait(3100).is_empty());
    assert!(!world.proxy.is_waiting());
}

#[test]
fn a_lone_backend_is_left_to_the_callers_timers() {
    let backends: Vec<BackendSpec> = crate::world::backends().into_iter().take(1).collect();
    let mut world = World::with(settings(), backends);
    let first = invite(&mut world);
    assert!(world.wait(10_000).is_empty());
    assert_eq!(
        answer(&mut world, &first, "200 OK").forwarded_to(),
        address(CLIENT),
        "slow is not dead"
    );
}

#[test]
fn an_answer_that_comes_before_the_retry_ends_it() {
    let mut world = World::new();
    let first = invite(&mut world);
    answer(&mut world, &first, "503 Service Unavailable");
    let second = only(world.poll());
    world.proxy.unreachable(&world.pool, second.forwarded_to());
    assert_eq!(answer(&mut world, &second, "180 Ringing").forwarded_to(), address(CLIENT));
    assert!(world.wait(10_000).is_empty());
}

#[test]
fn a_named_backend_is_not_exchanged_for_another() {
    let mut world = World::new();
    let via = "SIP/2.0/UDP 10.1.0.2;branch=z9hG4bKb2";
    let request = Request { uri: "sip:x@10.1.0.3", via, ..Default::default() };
    let sent = world.push("10.1.0.2:5060", LISTENER, request.to_string());
    assert_eq!(sent.forwarded_to(), address("10.1.0.3:5060"));
    assert!(world.wait(10_000).is_empty(), "another backend addressed it");
}
