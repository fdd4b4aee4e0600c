//! Whole calls between a caller and backends: directly, with losses, and with either side ending.

use sipring_loadtest::{
    Backend, BackendOptions, Caller, CallerOptions, Direct, Pace, Relay, RelayOptions,
};
use std::net::SocketAddr;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(60);

fn v4() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

fn v6() -> SocketAddr {
    "[::1]:0".parse().unwrap()
}

fn backend(name: &str, listen: SocketAddr) -> Backend {
    Backend::start(BackendOptions::named(name, listen)).unwrap()
}

/// Short calls, many at once.
fn options(to: SocketAddr, calls: u64) -> CallerOptions {
    CallerOptions {
        calls: Some(calls),
        pace: Pace::Closed { concurrent: 20 },
        hold: (Duration::from_millis(1), Duration::from_millis(20)),
        ..CallerOptions::to(to)
    }
}

fn run(options: CallerOptions) -> Caller {
    let caller = Caller::start(options).unwrap();
    assert!(caller.wait(LIMIT), "calls are open: {}", caller.report().json());
    caller
}

#[test]
fn calls_to_a_backend_complete_over_ipv4_and_ipv6() {
    for listen in [v4(), v6()] {
        let backend = backend("b1", listen);
        let caller = run(options(backend.address(), 200));
        let report = caller.report();
        assert_eq!((report.through.completed.value(), report.through.lost()), (200, 0));
        assert_eq!(report.servers(), [("b1".to_owned(), 200)].into());
        assert_eq!(report.through.first_response.count(), 200);
        assert_eq!(report.through.answer.count(), 200);
        assert_eq!(report.through.bye.count(), 200);
        let answered = backend.report();
        assert_eq!((answered.new_calls.value(), answered.completed.value()), (200, 200));
        assert_eq!((answered.dialogs.value(), answered.strangers.value()), (0, 0));
        assert_eq!(answered.acknowledged.count(), 200);
    }
}

#[test]
fn a_rate_starts_calls_in_an_open_loop() {
    let backend = backend("b1", v4());
    let caller = run(CallerOptions {
        pace: Pace::rate(400.0),
        calls: None,
        duration: Some(Duration::from_millis(500)),
        ..options(backend.address(), 0)
    });
    assert_eq!(caller.report().through.completed.value(), 200);
}

#[test]
fn the_callee_hangs_up_first_through_the_route_set() {
    let backends = [backend("b1", v4()), backend("b2", v4())];
    let addresses = backends.iter().map(Backend::address).collect();
    let relay = Relay::start(RelayOptions::between(v4(), addresses)).unwrap();
    let caller = run(CallerOptions {
        callee_hangs_up_per_mille: 1000,
        t1: Duration::from_millis(100),
        ..options(relay.address(), 40)
    });
    let report = caller.report();
    assert_eq!((report.through.completed.value(), report.through.lost()), (40, 0));
    assert_eq!(report.through.bye.count(), 0, "the caller sent no BYE");
    for backend in &backends {
        assert_eq!(backend.report().completed.value(), 20);
        assert_eq!(backend.report().byes_failed.value(), 0);
    }
}

#[test]
fn a_share_of_callees_hangs_up() {
    let backend = backend("b1", v4());
    let caller = run(CallerOptions {
        callee_hangs_up_per_mille: 500,
        t1: Duration::from_millis(100),
        ..options(backend.address(), 100)
    });
    let by_caller = caller.report().through.bye.count();
    assert_eq!(caller.report().through.completed.value(), 100);
    assert!((25..75).contains(&by_caller), "{by_caller} of 100 by the caller");
}

#[test]
fn calls_complete_though_a_backend_loses_a_fifth_of_what_it_sends() {
    let t1 = Duration::from_millis(30);
    let backend = Backend::start(BackendOptions {
        drop_per_mille: 200,
        t1,
        ..BackendOptions::named("b1", v4())
    })
    .unwrap();
    let caller = run(CallerOptions { t1, ..options(backend.address(), 200) });
    let report = caller.report();
    assert_eq!((report.through.completed.value(), report.through.lost()), (200, 0));
    assert!(backend.report().dropped.value() > 50);
    assert!(report.through.byes_repeated.value() > 0);
    assert!(backend.report().sends_repeated.value() > 0);
}

#[test]
fn calls_complete_though_every_seventh_datagram_of_both_sides_is_lost() {
    let t1 = Duration::from_millis(30);
    let options_of = |name| BackendOptions { t1, ..BackendOptions::named(name, v4()) };
    let backends = ["b1", "b2"].map(|name| Backend::start(options_of(name)).unwrap());
    let relay = Relay::start(RelayOptions {
        drop_per_mille: 143,
        ..RelayOptions::between(v4(), backends.iter().map(Backend::address).collect())
    })
    .unwrap();
    let caller =
        run(CallerOptions { t1, callee_hangs_up_per_mille: 300, ..options(relay.address(), 200) });
    let report = caller.report();
    assert_eq!((report.through.completed.value(), report.through.lost()), (200, 0));
    assert!(relay.dropped() > 100);
    assert!(report.through.invites_repeated.value() > 0);
    assert!(report.through.answers_repeated.value() > 0, "lost ACKs were sent again");
    for backend in &backends {
        assert_eq!(backend.report().strangers.value(), 0);
        assert_eq!(backend.report().merged.value(), 0);
    }
}

#[test]
fn a_refused_call_is_failed_with_its_code() {
    let backend = Backend::start(BackendOptions {
        refuse: Some("486 Busy Here".to_owned()),
        ..BackendOptions::named("b1", v4())
    })
    .unwrap();
    let t1 = Duration::from_millis(50);
    let caller = run(CallerOptions { t1, ..options(backend.address(), 10) });
    let through = &caller.report().through;
    assert_eq!((through.failed_with(486), through.lost(), through.completed.value()), (10, 10, 0));
    assert_eq!(backend.report().strangers.value(), 0, "each refusal was acknowledged");
}

#[test]
fn a_call_that_nobody_answers_times_out() {
    let silent = std::net::UdpSocket::bind(v4()).unwrap();
    let t1 = Duration::from_millis(5);
    let caller = run(CallerOptions { t1, ..options(silent.local_addr().unwrap(), 3) });
    let through = &caller.report().through;
    assert_eq!((through.timed_out_answer.value(), through.lost()), (3, 3));
    // RFC 3261 17.1.1.2: at 1, 3, 7, 15, 31 and 63 T1.
    assert_eq!(through.invites_repeated.value(), 18);
}

#[test]
fn direct_calls_are_counted_apart() {
    let (pool, baseline) = (backend("b1", v4()), backend("base", v4()));
    let caller = run(CallerOptions {
        direct: Some(Direct { to: baseline.address(), every: 10 }),
        ..options(pool.address(), 100)
    });
    let report = caller.report();
    assert_eq!((report.through.completed.value(), report.direct.completed.value()), (90, 10));
    assert_eq!((pool.report().new_calls.value(), baseline.report().new_calls.value()), (90, 10));
    assert_eq!(report.servers(), [("b1".to_owned(), 90)].into());
    assert!(report.added_ns(0.5).is_some());
}

#[test]
fn the_same_seed_makes_the_same_calls() {
    // The first Call-ID of seed 1, the same on every machine.
    const KNOWN: &str = "0.810145e2f14b896d@sipring-loadtest";
    let saw_it = |seed| {
        let backend = backend("b1", v4());
        run(CallerOptions { seed, ..options(backend.address(), 1) });
        assert_eq!(backend.report().new_calls.value(), 1);
        backend.saw(KNOWN)
    };
    assert_eq!((saw_it(1), saw_it(1), saw_it(2)), (true, true, false));
}

#[test]
fn a_killed_backend_refuses_all_and_comes_back_with_its_calls() {
    let mut backend = backend("b1", v4());
    let caller = Caller::start(CallerOptions {
        pace: Pace::Closed { concurrent: 20 },
        calls: Some(20),
        t1: Duration::from_millis(50),
        // Their BYEs meet nobody at first.
        hold: (Duration::from_millis(1000), Duration::from_millis(1200)),
        ..CallerOptions::to(backend.address())
    })
    .unwrap();
    wait_until(|| caller.report().through.answer.count() == 20);
    wait_until(|| backend.report().acknowledged.count() == 20);
    backend.kill();
    let stranger = std::net::UdpSocket::bind(v4()).unwrap();
    stranger.connect(backend.address()).unwrap();
    stranger.send(b"hello").unwrap();
    let refused = stranger.recv(&mut [0]).unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);

    wait_until(|| caller.report().through.byes_repeated.value() > 0);
    let (address, before) = (backend.address(), backend.report().new_calls.value());
    backend.start_again().unwrap();
    assert!(caller.wait(LIMIT), "calls are open: {}", caller.report().json());
    assert_eq!((caller.report().through.completed.value(), backend.address()), (20, address));
    let report = backend.report();
    assert_eq!((report.new_calls.value(), report.strangers.value()), (before, 0));
    backend.kill();
    backend.kill();
    backend.start_again().unwrap();
    backend.start_again().unwrap();
    let others = run(CallerOptions { seed: 2, ..options(backend.address(), 20) });
    assert_eq!(others.report().through.completed.value(), 20);
}

fn wait_until(holds: impl Fn() -> bool) {
    let begin = std::time::Instant::now();
    while !holds() {
        assert!(begin.elapsed() < LIMIT, "waited in vain");
        std::thread::sleep(Duration::from_millis(1));
    }
}
