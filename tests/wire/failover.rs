//! A backend that fails a request outside a dialog costs time, never the call.

use crate::balancer::{Balancer, Setup};
use crate::sipp::{FEW, Part, Sipp, Statistics};
use crate::stage::{Family, Stage, have};
use std::net::SocketAddr;

/// A 503 is acknowledged by the balancer, and the call set up at another backend (RFC 3261 16.7).
#[test]
fn a_backend_that_answers_503_loses_no_call() {
    let refuses = Part::new("callee/reject").with("status", "503 Service Unavailable");
    let Some(refused) = calls_with("failover-503", Some(&refuses)) else { return };
    assert!(refused.successful > 0, "it got calls, and an ACK for each of its 503s");
    assert_eq!(refused.failed, 0, "{refused:?}");
}

/// Nobody listens there: silence, or an ICMP error, moves the call (RFC 3261 16.9).
#[test]
fn a_backend_that_is_not_there_loses_no_call() {
    calls_with("failover-dead", None);
}

/// Few calls through one bad backend and two good ones: all of them are completed by the good ones.
fn calls_with(name: &str, bad: Option<&Part<'_>>) -> Option<Statistics> {
    if !have(&["sipp"]) {
        return None;
    }
    let stage = Stage::new(name);
    let backends: Vec<SocketAddr> = (0..3).map(|_| Family::V4.free_address()).collect();
    let bad = bad.map(|part| Sipp::callee(&stage, "bad", part, backends[0]));
    let good: Vec<Sipp> = (1..)
        .zip(&backends[1..])
        .map(|(n, address)| {
            Sipp::callee(&stage, &format!("good{n}"), &Part::new("callee/answer"), *address)
        })
        .collect();
    let listener = Family::V4.free_address();
    let mut balancer = Balancer::start(&stage, &Setup::new(&[listener], &backends), 2);
    let from = Family::V4.free_address();
    let called =
        Sipp::caller(&stage, "caller", &Part::new("caller/call"), from, listener, FEW).finish();
    assert_eq!((called.successful, called.failed), (u64::from(FEW.calls), 0), "{called:?}");
    let served: u64 = good.into_iter().map(Sipp::stop).map(|callee| callee.successful).sum();
    assert_eq!(served, u64::from(FEW.calls));
    balancer.assert_alive();
    bad.map(Sipp::stop)
}
