//! The counts of load through whole datagrams: what policies see, and that nothing makes it drift.

use crate::world::{
    LISTENER, Outcome, PORT, Request, World, address, backends, response, routes_of_caller,
    settings,
};
use proptest::prelude::*;
use sipring::pool::{BackendId, BackendSlot, BackendSpec, Intake, Load, Policy, Pool, State};
use sipring::proxy::{Answer, Direction, Forwarded, Timing, Verdict};

const CLIENT: &str = "192.0.2.9:40000";

fn by(policy: Policy, specs: Vec<BackendSpec>) -> World {
    let mut world = World::with(settings(), specs.clone());
    world.pool = Pool::build(specs, policy, 7).expect("a good pool");
    world
}

fn send(world: &mut World, request: &Request<'_>) -> Outcome {
    world.push(CLIENT, LISTENER, request.to_string())
}

fn answer(world: &mut World, got: &Outcome, status: &str) -> Outcome {
    world.push(&got.forwarded_to().to_string(), PORT, response(&got.text(), status, "bob", ""))
}

fn invite(world: &mut World, call_id: &str) -> Outcome {
    send(world, &Request { call_id, ..Request::default() })
}

/// What the shard has of the backend that got this.
fn load(world: &World, got: &Outcome) -> Load {
    let slot = world.pool.by_address(got.forwarded_to()).expect("a backend");
    world.proxy.load_of(world.pool.backend(slot).id, world.now)
}

fn timing(outcome: &Outcome) -> Option<Timing> {
    match outcome.verdict {
        Verdict::Forward { kind: Forwarded::Response { timing, .. }, .. } => timing,
        other => panic!("no response: {other:?}"),
    }
}

#[test]
fn a_request_weighs_on_its_backend_until_its_final_response() {
    let mut world = World::new();
    let sent = invite(&mut world, "one");
    invite(&mut world, "one");
    let expected = Load { calls: 1, transactions: 1, work: 175, calls_begun: 1, ..Load::default() };
    assert_eq!(load(&world, &sent), expected);
    send(&mut world, &Request { call_id: "one", method: "CANCEL", ..Request::default() });
    assert_eq!(load(&world, &sent).transactions, 1, "neither CANCEL nor ACK");
    world.wait(4);
    answer(&mut world, &sent, "180 Ringing");
    assert_eq!((load(&world, &sent).transactions, load(&world, &sent).latency_us), (1, 4000));
    answer(&mut world, &sent, "200 OK");
    let load = load(&world, &sent);
    assert_eq!((load.calls, load.transactions, load.work), (1, 0, 0));
    assert_eq!(world.proxy.tally().retransmissions[Direction::ToBackend as usize], 1);
}

#[test]
fn a_failover_takes_the_weight_along_and_our_own_answer_takes_it_off() {
    let mut world = World::new();
    let first = invite(&mut world, "one");
    answer(&mut world, &first, "503 Service Unavailable");
    let second = world.poll().remove(0);
    assert_eq!((load(&world, &first).transactions, load(&world, &second).transactions), (0, 1));
    let slot = world.pool.by_address(second.forwarded_to()).expect("a backend");
    world.proxy.unreachable(&world.pool, second.forwarded_to());
    let third = world.poll().remove(0);
    world.proxy.unreachable(&world.pool, third.forwarded_to());
    let given_up = world.poll().remove(0);
    assert!(given_up.answer().starts_with("SIP/2.0 50"), "{}", given_up.text());
    assert_eq!(world.proxy.transactions(), 0);
    assert_eq!(world.proxy.load_of(world.pool.backend(slot).id, world.now).work, 0);
    assert_eq!(world.proxy.calls(), 0, "no call is left of it");
    assert!(invite(&mut world, "one").answer().starts_with("SIP/2.0 50"), "the same again");
    assert_eq!(world.proxy.calls(), 0);
    world.proxy.check_invariants();
}

#[test]
fn what_has_no_room_for_our_fields_is_no_call_and_speaks_against_nobody() {
    let mut world = World::new();
    let body = "x".repeat(65_100);
    let sent = send(&mut world, &Request { body: &body, ..Request::default() });
    assert!(sent.answer().starts_with("SIP/2.0 513 "), "{}", sent.text());
    assert_eq!((world.proxy.calls(), world.proxy.transactions()), (0, 0));
    assert!(world.wait(10_000).is_empty());
    assert_eq!(world.proxy.take_silent(), None, "nobody was asked anything");
}

#[test]
fn times_are_told_with_the_responses() {
    let mut world = World::new();
    let sent = invite(&mut world, "one");
    world.wait(3);
    let told = |outcome: &Outcome| {
        timing(outcome).map(|one| (one.first_us(), one.setup_us(), one.final_us()))
    };
    assert_eq!(told(&answer(&mut world, &sent, "100 Trying")), Some((Some(3000), None, None)));
    invite(&mut world, "one");
    world.wait(2);
    let ok = answer(&mut world, &sent, "200 OK");
    assert_eq!(told(&ok), Some((None, Some(5000), Some(5000))));
    assert_eq!(timing(&ok).map(|one| one.retransmissions), Some(1));
    assert_eq!(told(&answer(&mut world, &sent, "200 OK")), None, "repeated");
}

/// Capped at so many calls each, and so many in a second.
fn capped(calls_max: Option<u32>, calls_per_second_max: Option<u32>) -> World {
    let intake = Intake { calls_max, calls_per_second_max, ..Intake::default() };
    let specs = backends().into_iter().map(|spec| BackendSpec { intake, ..spec });
    by(Policy::CALL_ID_HASH, specs.collect())
}

fn is_refused(outcome: &Outcome) -> bool {
    matches!(outcome.verdict, Verdict::Reply { answer: Answer::Overloaded, .. })
}

#[test]
fn a_cap_of_calls_holds_and_opens_when_a_call_ends() {
    let mut world = capped(Some(2), None);
    let sent: Vec<_> = (0..6).map(|n| invite(&mut world, &format!("call-{n}"))).collect();
    assert!(sent.iter().all(|one| load(&world, one).calls == 2));
    assert!(is_refused(&invite(&mut world, "one too many")));
    assert!(matches!(invite(&mut world, "call-3").verdict, Verdict::Forward { .. }), "not new");
    let register = Request { method: "REGISTER", call_id: "r", ..Request::default() };
    assert!(matches!(send(&mut world, &register).verdict, Verdict::Forward { .. }), "no call");
    answer(&mut world, &sent[0], "486 Busy Here");
    let placed = invite(&mut world, "one more");
    assert_eq!(placed.forwarded_to(), sent[0].forwarded_to());
}

#[test]
fn a_cap_of_calls_a_second_holds_for_that_second() {
    let mut world = capped(None, Some(1));
    let sent: Vec<_> = (0..3).map(|n| invite(&mut world, &format!("call-{n}"))).collect();
    sent.iter().for_each(|one| assert_eq!(load(&world, one).calls_begun, 1));
    assert!(is_refused(&invite(&mut world, "one too many")));
    world.wait(1000);
    assert!(!is_refused(&invite(&mut world, "one too many")));
}

#[test]
fn what_other_workers_have_counts_with_our_own() {
    let mut world = capped(Some(2), None);
    let full = Load { calls: 2, ..Load::default() };
    let all_but_one = |slot: BackendSlot| if slot.0 == 1 { Load::default() } else { full };
    world.proxy.set_elsewhere(world.now, &world.pool, 0..2, all_but_one);
    world.proxy.set_elsewhere(world.now, &world.pool, 2..3, all_but_one);
    world.proxy.set_elsewhere(world.now, &world.pool, 3..4, |_| panic!("there are three"));
    let sent: Vec<_> = (0..2).map(|n| invite(&mut world, &format!("call-{n}"))).collect();
    sent.iter().for_each(|one| assert_eq!(one.forwarded_to(), address("10.1.0.2:5060")));
    assert!(is_refused(&invite(&mut world, "one too many")));
    // In the next second the calls that were begun elsewhere in this one are no load any more.
    let mut world = capped(None, Some(1));
    let begun = Load { calls_begun: 1, ..Load::default() };
    world.proxy.set_elsewhere(world.now, &world.pool, 0..3, |_| begun);
    assert!(is_refused(&invite(&mut world, "one")));
    world.wait(1000);
    assert!(!is_refused(&invite(&mut world, "one")));
}

#[test]
fn what_other_workers_have_of_a_backend_holds_wherever_the_next_pool_puts_it() {
    let mut world = capped(Some(1), None);
    let full = Load { calls: 1, ..Load::default() };
    let first_is_full = |slot: BackendSlot| if slot.0 == 0 { full } else { Load::default() };
    world.proxy.set_elsewhere(world.now, &world.pool, 0..3, first_is_full);
    let mut turned = world.pool.backends().iter().map(|it| it.spec.clone()).collect::<Vec<_>>();
    turned.rotate_left(1);
    world.pool = by(Policy::RoundRobin, turned).pool;
    let sent: Vec<_> = (0..2).map(|n| invite(&mut world, &format!("call-{n}"))).collect();
    let full = address("10.1.0.1:5060");
    assert!(sent.iter().all(|one| one.forwarded_to() != full));
    assert!(is_refused(&invite(&mut world, "one too many")));
}

#[test]
fn policies_by_load_even_out_what_they_look_at() {
    for policy in [Policy::LeastDialogs, Policy::LeastTransactions, Policy::LeastWork] {
        let mut world = by(policy, backends());
        let sent: Vec<_> = (0..30).map(|n| invite(&mut world, &format!("call-{n}"))).collect();
        assert!(sent.iter().all(|one| load(&world, one).calls == 10), "{policy:?}");
    }
}

const POLICIES: [Policy; 5] = [
    Policy::CALL_ID_HASH,
    Policy::RoundRobin,
    Policy::LeastDialogs,
    Policy::LeastWork,
    Policy::Latency,
];

/// One of the calls of a run, as both parties know it.
#[derive(Default)]
struct Call {
    /// What the backend got last.
    invite: Option<Outcome>,
    routes: String,
    bye: Option<Outcome>,
}

/// One step: the operation, the call, the milliseconds that pass.
type Step = (u8, usize, u64);

fn step(world: &mut World, calls: &mut [Call], (operation, number, ms): Step) {
    let id = format!("call-{number}");
    let call = &mut calls[number];
    let base = || Request { call_id: &id, ..Request::default() };
    let in_dialog = |method, cseq| Request { method, to_tag: "bob", cseq, ..base() };
    match operation {
        0..=2 => {
            let sent = send(world, &base());
            if matches!(sent.verdict, Verdict::Forward { .. }) {
                call.invite = Some(sent);
            }
        }
        3..=8 => {
            let status = [
                "100 Trying",
                "180 Ringing",
                "200 OK",
                "486 Busy Here",
                "481 Gone",
                "503 Service Unavailable",
            ][usize::from(operation) - 3];
            let Some(invite) = &call.invite else { return };
            let text = response(&invite.text(), status, "bob", "");
            let from = invite.forwarded_to().to_string();
            let back = world.push(&from, PORT, text);
            if status == "200 OK" {
                call.routes = routes_of_caller(&back.text());
            }
        }
        9 => drop(send(world, &Request { method: "CANCEL", ..base() })),
        10 | 11 => {
            let extra = call.routes.clone();
            let sent = send(world, &Request { extra: &extra, ..in_dialog("BYE", 2) });
            call.bye = matches!(sent.verdict, Verdict::Forward { .. }).then_some(sent);
        }
        12 => {
            let status = if ms % 2 == 0 { "200 OK" } else { "481 Call/Transaction Does Not Exist" };
            if let Some(bye) = &call.bye {
                answer(world, bye, status);
            }
        }
        13 => {
            let extra = call.routes.clone();
            send(world, &Request { extra: &extra, ..in_dialog("INVITE", 3) });
        }
        14 => {
            let mut specs = backends();
            specs.rotate_left(ms as usize % 3);
            specs[0].state = if ms % 5 == 0 { State::Drained } else { State::Ready };
            specs.truncate(1 + ms as usize % 3);
            let policy = POLICIES[ms as usize % POLICIES.len()];
            world.pool = Pool::build(specs, policy, 7).expect("a good pool");
        }
        15 => world.proxy.unreachable(&world.pool, address("10.1.0.1:5060")),
        _ => drop(world.wait(ms.min(5_000))),
    }
    for sent in world.poll() {
        let to_backend = matches!(
            sent.verdict,
            Verdict::Forward { kind: Forwarded::RequestToBackend { .. }, .. }
        );
        if let Some(call) = calls.iter_mut().find(|call| {
            to_backend
                && call.invite.as_ref().is_some_and(|one| one.row("Call-ID") == sent.row("Call-ID"))
        }) {
            call.invite = Some(sent);
        }
    }
    world.now = world.now.after_ms(ms % 700);
    world.proxy.handle_timeout(world.now);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// Lost and doubled BYEs, CANCEL across 200, 481s, early death, expiry, reloads: whatever comes in
    /// whatever order, the counts are what the tables hold, and nothing is left in the end.
    #[test]
    fn no_order_of_events_makes_a_count_drift(
        steps in prop::collection::vec((0u8..18, 0usize..5, 0u64..40_000), 1..120),
    ) {
        let mut settings = settings();
        (settings.pins_max, settings.transactions_max, settings.failover.kept_max) = (4, 6, 3);
        let mut world = World::with(settings, backends());
        let mut calls: [Call; 5] = Default::default();
        for one in steps {
            step(&mut world, &mut calls, one);
            world.proxy.check_invariants();
        }
        // The last retry is soon over, and all else within the idle limit of dialogs.
        for _ in 0..60 {
            world.now = world.now.after_ms(1000);
            world.poll();
        }
        world.now = world.now.after_ms(13 * 3600 * 1000);
        world.proxy.handle_timeout(world.now);
        world.proxy.check_invariants();
        let left = (world.proxy.dialogs(), world.proxy.calls(), world.proxy.transactions());
        prop_assert_eq!(left, (0, 0, 0));
        for n in 1..=3 {
            let load = world.proxy.load_of(BackendId::of_name(&format!("b{n}")), world.now);
            let expected = Load { latency_us: load.latency_us, ..Load::default() };
            prop_assert_eq!(load, expected);
        }
    }
}
