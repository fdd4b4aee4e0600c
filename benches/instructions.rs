//! How many instructions does the core take for one message? The same on every machine and in every
//! run, so that a change of one per cent shows.
//!
//! `cargo bench --bench instructions`. Needs valgrind and gungraun-runner 0.20.0
//! (`cargo install gungraun-runner --version 0.20.0`).

#![allow(missing_docs)] // gungraun's macros make public items

mod setup;

use gungraun::prelude::*;
use setup::Case;
use sipring::proxy::Verdict;
use sipring::sip::{Message, Span};
use std::hint::black_box;

fn new_call() -> Case {
    let mut case = Case::invite();
    case.next_call();
    case
}

#[library_benchmark]
#[bench::invite(Case::invite())]
fn call_key(case: Case) -> (Option<Span>, Case) {
    (sipring::sip::call_key(black_box(&case.message)), case)
}

#[library_benchmark]
#[bench::invite(Case::invite())]
fn parse(case: Case) -> (Option<usize>, Case) {
    (Message::parse(black_box(&case.message)).and_then(|message| message.body), case)
}

// The case goes back out, so that its end is not counted.
#[library_benchmark]
#[bench::invite_of_a_new_call(new_call())]
#[bench::invite_pinned(Case::invite())]
#[bench::reinvite_by_token(Case::in_dialog())]
#[bench::ok_response(Case::ok())]
fn handle(mut case: Case) -> (Verdict, Case) {
    (case.handle(), case)
}

library_benchmark_group!(name = core, benchmarks = [call_key, parse, handle]);
main!(library_benchmark_groups = core);
