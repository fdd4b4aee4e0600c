//! Ten thousand calls.

use crate::balancer::{Balancer, Setup};
use crate::sipp::{Load, Part, Sipp, Statistics, assert_whole};
use crate::stage::{Family, Stage, have};
use std::net::SocketAddr;

/// 10 000 calls through two workers and three backends: none fails, no dialog is split.
#[test]
fn ten_thousand_calls_lose_nothing() {
    if !have(&["sipp"]) {
        return;
    }
    let stage = Stage::alone("load");
    let backends: Vec<SocketAddr> = (0..3).map(|_| Family::V4.free_address()).collect();
    let callee = Part::new("callee/answer").with("ring", "10");
    let callees: Vec<Sipp> = (1..)
        .zip(&backends)
        .map(|(number, address)| Sipp::callee(&stage, &format!("b{number}"), &callee, *address))
        .collect();
    let listener = Family::V4.free_address();
    let mut balancer = Balancer::start(&stage, &Setup::new(&[listener], &backends), 2);

    let part = Part::new("caller/call").with("talk", "10");
    let from = Family::V4.free_address();
    let called = Sipp::caller(&stage, "caller", &part, from, listener, CALLS).finish();
    let callees: Vec<Statistics> = callees.into_iter().map(Sipp::stop).collect();

    assert_whole(CALLS, &called, &callees);
    for callee in &callees {
        let share = callee.successful;
        assert!(share.abs_diff(3333) < 333, "equal weights, but {} got {share}", callee.name);
    }
    balancer.assert_alive();
}

/// A rate that two cores bear with all of SIPp beside the balancer.
const CALLS: Load = Load { calls: 10_000, rate: 400, limit_s: 240 };
