//! What a balancer could do wrong is seen, and what strangers send harms nothing.

use sipring_loadtest::{Backend, BackendOptions, Caller, CallerOptions, Pace, Relay, RelayOptions};
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(60);

fn any() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

fn backends() -> [Backend; 2] {
    ["b1", "b2"].map(|name| Backend::start(BackendOptions::named(name, any())).unwrap())
}

fn options(to: SocketAddr, calls: u64) -> CallerOptions {
    CallerOptions {
        calls: Some(calls),
        pace: Pace::Closed { concurrent: 10 },
        hold: (Duration::from_millis(1), Duration::from_millis(10)),
        ..CallerOptions::to(to)
    }
}

fn run(options: CallerOptions) -> Caller {
    let caller = Caller::start(options).unwrap();
    assert!(caller.wait(LIMIT), "calls are open: {}", caller.report().json());
    caller
}

#[test]
fn a_dialog_that_changes_its_backend_is_split() {
    let backends = backends();
    let relay = Relay::start(RelayOptions {
        splits_dialogs: true,
        ..RelayOptions::between(any(), backends.iter().map(Backend::address).collect())
    })
    .unwrap();
    let caller = run(options(relay.address(), 20));
    let through = &caller.report().through;
    assert_eq!((through.split.value(), through.lost(), through.completed.value()), (20, 20, 0));
    let strangers: u64 = backends.iter().map(|b| b.report().strangers.value()).sum();
    assert!(strangers >= 20, "{strangers} requests came to a backend that has no such dialog");
}

#[test]
fn a_dialog_that_keeps_its_backend_is_not_split() {
    let backends = backends();
    let addresses = backends.iter().map(Backend::address).collect();
    let relay = Relay::start(RelayOptions::between(any(), addresses)).unwrap();
    let caller = run(options(relay.address(), 20));
    assert_eq!(caller.report().through.completed.value(), 20);
    assert_eq!(caller.report().servers(), [("b1".to_owned(), 10), ("b2".to_owned(), 10)].into());
}

// RFC 3261 12.1.1 and 12.1.2: the relay pushes n=1 last of all, on top. The caller sends it back
// reversed (3, 2, 1), the callee as it stands.
#[test]
fn the_route_set_has_its_order_on_both_sides() {
    let backend = Backend::start(BackendOptions::named("b1", any())).unwrap();
    for (callee_hangs_up_per_mille, order) in
        [(0, ["n=1", "n=2", "n=3"]), (1000, ["n=3", "n=2", "n=1"])]
    {
        let relay = Relay::start(RelayOptions {
            record_routes: 3,
            ..RelayOptions::between(any(), vec![backend.address()])
        })
        .unwrap();
        let t1 = Duration::from_millis(50);
        let seed = 10 + u64::from(callee_hangs_up_per_mille);
        run(CallerOptions { callee_hangs_up_per_mille, t1, seed, ..options(relay.address(), 1) });
        let routes = relay.routes();
        assert_eq!(routes.len(), 2, "ACK and BYE: {routes:?}");
        let (ack, bye) = (&routes[0], &routes[1]);
        let ends: Vec<_> =
            bye.iter().map(|route| &route[route.len() - 4..route.len() - 1]).collect();
        assert_eq!(ends, order, "{bye:?}");
        assert_eq!(ack.len(), 3);
    }
}

#[test]
fn garbage_harms_neither_side() {
    let backend = Backend::start(BackendOptions::named("b1", any())).unwrap();
    let caller = Caller::start(options(backend.address(), 300)).unwrap();
    let rogue = UdpSocket::bind(any()).unwrap();
    let garbage: [&[u8]; 9] = [
        b"",
        b"\r\n\r\n",
        b"\0\x01\x02",
        b"SIP/2.0 200 OK\r\n\r\n",
        b"SIP/2.0 999 X\r\nVia: x\r\nFrom: a\r\nTo: b\r\nCall-ID: c\r\nCSeq: 1 INVITE\r\n\r\n",
        b"INVITE sip:a SIP/2.0\r\nVia: \xff\xfe\r\n\r\n",
        b"BYE sip:a SIP/2.0\r\nCSeq: 99999999999999 BYE\r\nCall-ID: x\r\n\r\n",
        b"INVITE sip:a SIP/2.0\r\nContent-Length: 99\r\nCall-ID: y\r\n\r\n",
        &[b'A'; 60_000],
    ];
    // Well formed, and of no dialog: answered 481, and otherwise without effect.
    let stranger = |method: &str| {
        format!(
            "{method} sip:a@h SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:9;rport;branch=z9hG4bKx\r\n\
             From: <sip:x@h>;tag=1\r\nTo: <sip:y@h>;tag=2\r\nCall-ID: z\r\nCSeq: 1 {method}\r\n\r\n"
        )
    };
    for to in [backend.address(), caller.local()] {
        for bytes in garbage {
            rogue.send_to(bytes, to).unwrap();
        }
        rogue.send_to(stranger("BYE").as_bytes(), to).unwrap();
        let mut answer = [0; 2000];
        rogue.set_read_timeout(Some(LIMIT)).unwrap();
        let length = rogue.recv(&mut answer).unwrap();
        assert!(answer[..length].starts_with(b"SIP/2.0 481 "), "both ends live and refuse");
    }
    assert!(caller.wait(LIMIT));
    assert_eq!(caller.report().through.completed.value(), 300);
    assert_eq!(caller.report().garbage.value(), 9);
    assert_eq!(backend.report().garbage.value(), 9);
    assert_eq!(backend.report().strangers.value(), 1);
}

#[test]
fn options_are_answered() {
    let backend = Backend::start(BackendOptions::named("b1", any())).unwrap();
    let peer = UdpSocket::bind(any()).unwrap();
    let local = peer.local_addr().unwrap();
    let request = format!(
        "OPTIONS sip:{} SIP/2.0\r\nVia: SIP/2.0/UDP {local};branch=z9hG4bKo\r\n\
         From: <sip:x@h>;tag=1\r\nTo: <sip:y@h>\r\nCall-ID: o\r\nCSeq: 1 OPTIONS\r\n\r\n",
        backend.address()
    );
    peer.set_read_timeout(Some(LIMIT)).unwrap();
    peer.send_to(request.as_bytes(), backend.address()).unwrap();
    let mut answer = [0; 2000];
    let length = peer.recv(&mut answer).unwrap();
    let text = String::from_utf8_lossy(&answer[..length]);
    assert!(text.starts_with("SIP/2.0 200 OK\r\n"), "{text}");
    assert!(text.contains("Server: b1\r\n") && text.contains("Allow: "), "{text}");
}
