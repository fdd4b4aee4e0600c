//! Backends whose work takes time, and callers that follow a plan.

use sipring_loadtest::{
    Backend, BackendOptions, Caller, CallerOptions, Outcome, PlannedCall, Service, Workload,
};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(60);

fn local() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

fn backend(service: Service) -> Backend {
    let service = Some(service);
    Backend::start(BackendOptions { service, ..BackendOptions::named("b1", local()) }).unwrap()
}

/// Fixed times: 20 ms for an INVITE, 10 ms for a BYE.
fn service() -> Service {
    let times = Service::of(Duration::from_millis(20), Duration::from_millis(10));
    Service { variation: 0.0, ..times }
}

/// This many calls at once, all of which hang up as soon as they are answered.
fn at_once(count: usize) -> Arc<[PlannedCall]> {
    vec![PlannedCall { at_ns: 0, hold_ns: 0, source: 0, callee: 1 }; count].into()
}

fn run(to: SocketAddr, plan: Arc<[PlannedCall]>, t1: Duration) -> Caller {
    let caller =
        Caller::start(CallerOptions { plan: Some(plan), t1, ..CallerOptions::to(to) }).unwrap();
    assert!(caller.wait(LIMIT), "calls are open: {}", caller.report().json());
    caller
}

#[test]
fn requests_wait_for_each_other_and_each_is_worked_on_once() {
    let backend = backend(service());
    let caller = run(backend.address(), at_once(10), Duration::from_millis(30));
    let (calls, answered) = (&caller.report().through, backend.report());
    assert_eq!((calls.completed.value(), calls.lost()), (10, 0));
    // The last one waits for 200 ms of work: with a T1 of 30 ms its INVITE comes again.
    assert!(calls.invites_repeated.value() > 0 && answered.requests_repeated.value() > 0);
    assert_eq!(answered.worked_ns.value(), 10 * 30_000_000);
    assert_eq!(answered.queued.value(), 0);
    let records = caller.records();
    let slowest = records.iter().map(|call| call.answered_ns.unwrap() - call.invited_ns).max();
    assert!(slowest.unwrap() >= 190_000_000, "{slowest:?}");
    let repeats: u64 = records.iter().map(|call| u64::from(call.repeats)).sum();
    assert_eq!(repeats, calls.invites_repeated.value() + calls.byes_repeated.value());
}

#[test]
fn a_full_queue_refuses_with_503_or_loses() {
    let backend_503 = backend(Service { room: 3, refuses: true, ..service() });
    let caller = run(backend_503.address(), at_once(20), Duration::from_millis(500));
    let through = &caller.report().through;
    assert_eq!(through.failed_with(503), backend_503.report().overflowed.value());
    assert!(through.failed_with(503) > 0);
    let refused = |ended: Option<(u64, Outcome)>| matches!(ended, Some((_, Outcome::Failed(503))));
    let records = caller.records();
    let count = records.iter().filter(|call| refused(call.ended)).count() as u64;
    assert_eq!((records.len(), count), (20, through.failed_with(503)));

    // What is lost comes again, by timer A, when there is room.
    let silent = backend(Service { room: 3, ..service() });
    let caller = run(silent.address(), at_once(6), Duration::from_millis(100));
    assert_eq!(caller.report().through.completed.value(), 6);
    assert!(silent.report().overflowed.value() > 0);
}

#[test]
fn a_plan_is_followed_and_every_call_is_on_record() {
    let backend = Backend::start(BackendOptions::named("b1", local())).unwrap();
    let workload = Workload {
        rate: 400.0,
        length: Duration::from_millis(500),
        hold: Duration::from_millis(20),
        hold_variation: 0.5,
        rate_variation: 0.2,
        sources: 1,
        callees: 10,
        callee_skew: 0.0,
        seed: 1,
    };
    let plan: Arc<[PlannedCall]> = workload.calls().into();
    let caller = run(backend.address(), Arc::clone(&plan), Duration::from_millis(500));
    let mut records = caller.records();
    assert_eq!((records.len(), caller.report().through.completed.value()), (200, 200));
    records.sort_by_key(|call| call.invited_ns);
    for (planned, call) in plan.iter().zip(&records) {
        assert!(call.invited_ns >= planned.at_ns);
        assert_eq!(call.server.as_deref(), Some("b1"));
        assert!(matches!(call.ended, Some((at, Outcome::Completed)) if Some(at) > call.hung_up_ns));
    }
    let held: u64 = plan.iter().map(|call| call.hold_ns).sum();
    let found: u64 =
        records.iter().map(|call| call.hung_up_ns.unwrap() - call.answered_ns.unwrap()).sum();
    assert!(found >= held, "nobody hangs up before the plan says so");
}

#[test]
fn calls_that_are_open_are_on_record_too() {
    let silent = std::net::UdpSocket::bind(local()).unwrap();
    let to = silent.local_addr().unwrap();
    let options = CallerOptions { plan: Some(at_once(3)), ..CallerOptions::to(to) };
    let caller = Caller::start(options).unwrap();
    silent.recv(&mut [0; 2000]).unwrap();
    assert!(!caller.wait(Duration::from_millis(50)));
    let records = caller.records();
    assert_eq!(records.len(), 3);
    assert!(records.iter().all(|call| call.ended.is_none() && call.answered_ns.is_none()));
}
