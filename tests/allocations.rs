//! Nothing is allocated for a message in steady state: a counting allocator under the whole core.

// A global allocator cannot be written without it; nothing else here is unsafe.
#![allow(unsafe_code)]

#[allow(dead_code)] // shared with the core's tests, which use all of it
#[path = "core/world.rs"]
mod world;

use sipring::pool::{
    BackendSpec, Domain, GroupSpec, HashKey, HashTable, Intake, Load, Policy, Pool, Rule,
};
use sipring::proxy::{Answer, Ingress, Replaced, SocketIndex, Verdict};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use world::{
    LISTENER, LISTENER_6, PORT, Request, World, address, response, routes_of_callee,
    routes_of_caller,
};

thread_local! {
    /// Calls into the allocator by this thread: tests run side by side.
    static CALLS: Cell<u64> = const { Cell::new(0) };
}

/// The system's allocator, counted.
struct Counting;

fn count() {
    // A thread that is being torn down counts no more.
    let _ = CALLS.try_with(|calls| calls.set(calls.get() + 1));
}

// SAFETY: every method hands its arguments to `System` unchanged, which keeps the contract.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller keeps the contract of `alloc`, which is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count();
        // SAFETY: the caller keeps the contract of `dealloc`; the pointer came from `System`.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: the caller keeps the contract of `realloc`; the pointer came from `System`.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// A world that counts what each message costs.
struct Counted {
    world: World,
    out: Vec<u8>,
    /// What allocated, and how often.
    found: Vec<(String, u64)>,
    armed: bool,
}

impl Counted {
    fn new() -> Self {
        let world = World::new();
        Self { world, out: vec![0; 70_000], found: Vec::new(), armed: false }
    }

    /// One datagram; what was written comes back as text.
    fn push(&mut self, from: &str, socket: SocketIndex, message: &str) -> (Verdict, String) {
        let ingress = Ingress { source: address(from), socket, replaced: Replaced::Answered(None) };
        let World { proxy, pool, now, .. } = &mut self.world;
        let before = CALLS.get();
        let verdict = proxy.handle(*now, pool, &ingress, message.as_bytes(), &mut self.out);
        let calls = CALLS.get() - before;
        if self.armed && calls > 0 {
            let line = message.lines().next().unwrap_or("").to_owned();
            self.found.push((line, calls));
        }
        let len = match verdict {
            Verdict::Forward { len, .. } | Verdict::Reply { len, .. } => len,
            _ => 0,
        };
        (verdict, String::from_utf8_lossy(&self.out[..len]).into_owned())
    }

    #[track_caller]
    fn forward(&mut self, from: &str, socket: SocketIndex, message: &str) -> (String, String) {
        match self.push(from, socket, message) {
            (Verdict::Forward { egress, .. }, text) => (text, egress.to.to_string()),
            (other, _) => panic!("{other:?} for\n{message}"),
        }
    }

    /// A whole call with a Call-ID of its own: both directions, by pin, token and branch.
    fn call(&mut self, number: usize, client: &str, listener: SocketIndex) {
        let call_id = format!("call-{number}@{client}");
        let body = "v=0\r\nc=IN IP4 192.0.2.9\r\nm=audio 49170 RTP/AVP 0\r\n";
        let request = |method, to_tag, cseq, extra: &str| {
            Request { method, to_tag, cseq, extra, call_id: &call_id, body, ..Default::default() }
                .to_string()
        };
        let (invite, backend) = self.forward(client, listener, &request("INVITE", "", 1, ""));
        self.forward(client, listener, &request("INVITE", "", 1, ""));
        self.forward(&backend, PORT, &response(&invite, "180 Ringing", "bob", ""));
        self.forward(client, listener, &request("CANCEL", "", 1, ""));
        let ok = response(&invite, "200 OK", "bob", "Contact: <sip:bob@10.1.0.1>\r\n");
        let (ok, _) = self.forward(&backend, PORT, &ok);
        let routes = routes_of_caller(&ok);
        self.forward(client, listener, &request("ACK", "bob", 1, &routes));
        let (again, _) = self.forward(client, listener, &request("INVITE", "bob", 2, &routes));
        self.forward(&backend, PORT, &response(&again, "200 OK", "", ""));
        let routes = routes_of_callee(&invite);
        let bye = Request {
            via: "SIP/2.0/UDP 10.1.0.1:5060;branch=z9hG4bKbob1",
            from_tag: "bob",
            to_tag: "alice-1",
            call_id: &call_id,
            method: "BYE",
            extra: &routes,
            ..Default::default()
        };
        let (bye, _) = self.forward(&backend, LISTENER, &bye.to_string());
        self.forward(client, listener, &response(&bye, "200 OK", "", ""));
        let register = Request { method: "REGISTER", call_id: &call_id, ..Default::default() };
        self.forward(client, listener, &register.to_string());
    }

    /// What a worker asks of the core beside messages; how many it had to send.
    fn turn(&mut self) -> usize {
        let World { proxy, pool, now, .. } = &mut self.world;
        let before = CALLS.get();
        proxy.handle_timeout(*now);
        let sent = std::iter::from_fn(|| proxy.poll(*now, pool, &mut self.out)).count();
        while proxy.take_silent().is_some() {}
        let calls = CALLS.get() - before;
        if self.armed && calls > 0 {
            self.found.push(("a turn".to_owned(), calls));
        }
        sent
    }

    /// Counts from now on.
    fn arm(&mut self) {
        self.armed = true;
    }

    #[track_caller]
    fn assert_nothing_allocated(&self) {
        assert!(self.found.is_empty(), "allocator calls by message: {:#?}", self.found);
    }
}

#[test]
fn forwarding_allocates_nothing() {
    let mut counted = Counted::new();
    for numbers in [0..250, 250..300] {
        for number in numbers {
            counted.call(number, "192.0.2.9:40000", LISTENER);
            counted.call(number, "[2001:db8::9]:5060", LISTENER_6);
        }
        counted.arm();
    }
    counted.assert_nothing_allocated();
}

#[test]
fn sweeps_and_retries_allocate_nothing() {
    let mut counted = Counted::new();
    for number in 0..60 {
        // Some get no word at all and go to the next backend; what nobody answers runs out.
        let call_id = format!("silent-{number}");
        let invite = Request { call_id: &call_id, ..Default::default() }.to_string();
        counted.forward("192.0.2.9:40000", LISTENER, &invite);
        let mut sent = 0;
        for _ in 0..50 {
            counted.world.now = counted.world.now.after_ms(100);
            sent += counted.turn();
        }
        assert!(sent > 0, "nobody has been tried again");
        if number == 20 {
            counted.arm();
        }
    }
    counted.world.now = counted.world.now.after_ms(400_000);
    while counted.world.proxy.pins() > 0 {
        counted.turn();
        counted.world.now = counted.world.now.after_ms(100);
    }
    counted.assert_nothing_allocated();
}

#[test]
fn no_policy_allocates_whatever_it_looks_at() {
    let hash = |key| Policy::Hash { key, table: HashTable::Rendezvous };
    let keys = [HashKey::CallId, HashKey::Source, HashKey::Aor, HashKey::Header];
    let others = [
        Policy::CALL_ID_HASH_MAGLEV,
        Policy::RoundRobin,
        Policy::Random,
        Policy::LeastDialogs,
        Policy::LeastTransactions,
        Policy::LeastWork,
        Policy::Latency,
    ];
    for policy in keys.map(hash).into_iter().chain(others) {
        let mut counted = Counted::new();
        let intake = Intake { calls_max: Some(10_000), ..Intake::default() };
        let specs = world::backends().into_iter().map(|spec| BackendSpec { intake, ..spec });
        let mut group = GroupSpec::new("all", policy, specs.collect());
        (group.bound_percent, group.hash_header) = (Some(125), Some("X-Tenant".to_owned()));
        group.source_header = Some("X-Source".to_owned());
        let rule =
            Rule { from_domains: vec![Domain::Exactly("none.example".into())], ..Rule::default() };
        counted.world.pool = Pool::build_groups(&[group], vec![rule], 7).expect("a good pool");
        for numbers in [0..50, 50..70] {
            let World { proxy, pool, now, .. } = &mut counted.world;
            proxy.set_elsewhere(*now, pool, 0..pool.backends().len(), |_| Load {
                calls: 1,
                ..Load::default()
            });
            numbers.for_each(|number| counted.call(number, "192.0.2.9:40000", LISTENER));
            while counted.world.proxy.take_changed().is_some() {}
            counted.arm();
        }
        counted.assert_nothing_allocated();
    }
}

#[test]
fn own_answers_allocate_nothing() {
    let mut counted = Counted::new();
    let refused = [
        (Request { extra: "Proxy-Require: a\r\nProxy-Require: b\r\n", ..Default::default() }, 420),
        (Request { method: "OPTIONS", uri: "sip:lb.example.com", ..Default::default() }, 200),
        (Request { extra: "Call-ID: another\r\n", ..Default::default() }, 400),
        (
            Request {
                via: "SIP/2.0/UDP a;received=b;rport , SIP/2.0/UDP c,",
                ..Default::default()
            },
            400,
        ),
    ];
    for _ in 0..2 {
        for (request, code) in &refused {
            let (verdict, text) = counted.push("192.0.2.9:40000", LISTENER, &request.to_string());
            assert!(
                matches!(verdict, Verdict::Reply { answer, .. } if answer.status() == *code),
                "{verdict:?}: {text}"
            );
        }
        let (verdict, _) = counted.push("192.0.2.9:40000", LISTENER, "\r\n\r\n");
        assert!(matches!(verdict, Verdict::Reply { answer: Answer::Pong, .. }));
        counted.arm();
    }
    counted.assert_nothing_allocated();
}

#[test]
fn the_counter_counts() {
    let before = CALLS.get();
    drop(std::hint::black_box(Box::new(1)));
    assert_eq!(CALLS.get() - before, 2);
}
