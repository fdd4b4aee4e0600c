//! How long a worker keeps messages waiting for the sake of many backends: when the control thread has
//! published another pool, when it looks at what the other workers have, when it refreshes its gauges.
//!
//! `cargo bench --bench pauses`; results in `benches/results/`. The control thread publishes on another core, as
//! it does in the balancer, and the other workers' cells are written there too: so what the worker reads is in
//! nobody's cache that is near.

#[path = "instructions/src/times.rs"]
#[allow(dead_code)] // not all of it
mod times;
#[path = "../tests/core/world.rs"]
#[allow(dead_code)] // as above
mod world;

use arc_swap::ArcSwap;
use sipring::metrics::Roster;
use sipring::pool::{BackendSlot, BackendSpec, Load, Policy, Pool};
use sipring::proxy::{Ingress, Now, Replaced, Verdict};
use sipring::worker::rehearsal::Rehearsal;
use std::sync::Arc;
use std::thread;
use std::time::Duration;
use times::Times;
use world::{LISTENER, Request, address, settings};

/// Pools that are published, each with one backend that the one before did not have.
const POOLS: usize = 300;

/// Turns between two of them.
const TURNS: usize = 40;

/// Calls that begin in a turn.
const CALLS: usize = 16;

fn main() {
    Times::empty(Duration::from_secs(1));
    for (backends, workers, policy) in [
        (1000, 2, Policy::CALL_ID_HASH),
        (1000, 2, Policy::LeastTransactions),
        (1000, 8, Policy::LeastTransactions),
        (1000, 64, Policy::LeastTransactions),
        (4000, 2, Policy::CALL_ID_HASH),
        (4000, 64, Policy::LeastTransactions),
    ] {
        println!("\n{backends} backends, {workers} workers, {policy:?}");
        run(backends, workers, policy);
    }
}

fn run(backends: usize, workers: usize, policy: Policy) {
    let pool = |number| Pool::build(specs(backends, number), policy, 7).expect("a good pool");
    let shared = Arc::new(ArcSwap::from_pointee(Roster::new(pool(0), workers)));
    let mut worker = Rehearsal::new(Arc::new(settings()), Arc::clone(&shared));
    let mut configure = Times::new("takes over settings");
    let mut follow = Times::new("takes over a pool");
    let mut first = Times::new("its first message");
    let mut another = Times::new("another call's first message");
    let mut look = Times::new("looks at the others, a turn");
    let mut refresh = Times::new("refreshes gauges, a turn");
    let mut tell = Times::new("tells the others, a turn");
    let mut now = Now { us: 1_000_000 };
    let mut retired = Vec::new();
    for number in 1..=POOLS {
        let publish = || {
            let next = Arc::new(shared.load().followed_by(pool(number)));
            write_to_others(&next, now);
            shared.swap(next)
        };
        retired.push(thread::scope(|scope| scope.spawn(publish).join().expect("it is published")));
        let settings = Arc::new(settings());
        follow.of(|| worker.follow());
        configure.of(|| worker.configure(settings));
        let message = invite(number * TURNS * CALLS);
        first.of(|| handle(&mut worker, now, &message));
        worker.begin_refresh();
        for turn in 0..TURNS {
            now = now.after_ms(1);
            look.of(|| worker.look_elsewhere(now));
            refresh.of(|| worker.refresh(now));
            for n in 1..CALLS {
                let message = invite((number * TURNS + turn) * CALLS + n);
                another.of(|| handle(&mut worker, now, &message));
            }
            tell.of(|| worker.tell_others(now));
        }
        retired.retain(|roster| Arc::strong_count(roster) > 1); // frees them, as the control thread does
    }
    [configure, follow, first, another, look, refresh, tell].iter().for_each(Times::print);
}

/// Backends of which the first is another one each time.
fn specs(backends: usize, number: usize) -> Vec<BackendSpec> {
    let spec = |n: usize| {
        let name = format!("b{}", if n == 0 { backends + number } else { n });
        BackendSpec::new(&name, address(&format!("10.2.{}.{}:5060", n / 250, n % 250 + 1)))
    };
    (0..backends).map(spec).collect()
}

fn write_to_others(roster: &Roster, now: Now) {
    for worker in 1..roster.workers() {
        for slot in 0..roster.pool().backends().len() {
            let load = Load { calls: 1, ..Load::default() };
            let cells = roster.cells(worker, BackendSlot(slot as u16)).expect("its cells");
            cells.publish(load, now.seconds());
        }
    }
}

fn invite(number: usize) -> Vec<u8> {
    let call_id = format!("{number}@pauses.example");
    Request { call_id: &call_id, ..Request::default() }.to_string().into_bytes()
}

fn handle(worker: &mut Rehearsal, now: Now, message: &[u8]) {
    let ingress = Ingress {
        source: address("192.0.2.9:40000"),
        socket: LISTENER,
        replaced: Replaced::Unasked,
    };
    let verdict = worker.handle(now, &ingress, message, &mut [0; 4096]);
    assert!(matches!(verdict, Verdict::Forward { .. }), "{verdict:?}");
}
