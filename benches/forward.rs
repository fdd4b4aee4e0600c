//! How long does the core take for one message? Aim: under 600 ns for an INVITE of 1 KB.
//!
//! `cargo bench --bench forward`. Everything is in the cache here and the branches are learnt: a
//! busy worker pays more, see `loadtest/`.

#![allow(missing_docs)] // criterion's macro makes a public function

mod setup;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use setup::Case;
use sipring::sip::{Message, call_key};
use std::hint::black_box;

/// What every message pays before it has found its worker and while it is read.
fn reading(criterion: &mut Criterion) {
    let message = Case::invite().message;
    let mut group = criterion.benchmark_group("read a 1 KB INVITE");
    group.throughput(Throughput::Bytes(message.len() as u64));
    group.bench_function("call_key", |bencher| bencher.iter(|| call_key(black_box(&message))));
    group.bench_function("Message::parse", |bencher| {
        bencher.iter(|| Message::parse(black_box(&message)).map(|message| message.body));
    });
    group.finish();
}

/// The whole of the core, by kind of message.
fn handling(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("Proxy::handle");
    let mut case = Case::invite();
    group.bench_function("INVITE, new call", |bencher| {
        bencher.iter(|| {
            case.next_call();
            case.handle()
        });
    });
    for (name, mut case) in [
        ("INVITE, pinned", Case::invite()),
        ("re-INVITE by token", Case::in_dialog()),
        ("200 response", Case::ok()),
    ] {
        group.bench_function(name, |bencher| bencher.iter(|| case.handle()));
    }
    group.finish();
}

criterion_group!(benches, reading, handling);
criterion_main!(benches);
