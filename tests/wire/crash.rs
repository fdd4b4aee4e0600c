//! The balancer dies between 180 and 200, and comes back with another number of workers.

use crate::balancer::{Balancer, Setup};
use crate::sipp::{Load, Part, Sipp, Statistics, assert_whole};
use crate::stage::{Family, Stage, have, wait_until};
use std::net::SocketAddr;
use std::time::Duration;

/// After `kill -9` and a start with one worker instead of two, the 200 reaches its caller, and ACK
/// and BYE their backend.
#[test]
fn calls_survive_a_restart_with_fewer_workers() {
    restart(1);
}

/// The same with three workers.
#[test]
fn calls_survive_a_restart_with_more_workers() {
    restart(3);
}

fn restart(workers_after: usize) {
    if !have(&["sipp"]) {
        return;
    }
    for family in Family::all() {
        let stage = Stage::new(&format!("restart-{workers_after}-{family:?}"));
        let backends: Vec<SocketAddr> = (0..3).map(|_| family.free_address()).collect();
        let callee = Part::new("callee/answer").with("ring", "4000");
        let callees: Vec<Sipp> = (1..)
            .zip(&backends)
            .map(|(number, address)| Sipp::callee(&stage, &format!("b{number}"), &callee, *address))
            .collect();
        let setup = Setup::new(&[family.free_address()], &backends);
        let balancer = Balancer::start_from_file(&stage, "before", &setup, 2);

        let part = Part::new("caller/call").traced();
        let from = family.free_address();
        let caller = Sipp::caller(&stage, "caller", &part, from, setup.listeners[0], CALLS);
        wait_until("all phones rang", Duration::from_secs(20), || {
            let rung = caller.messages().matches("SIP/2.0 180 ").count();
            rung >= CALLS.calls as usize
        });
        assert!(!caller.messages().contains("SIP/2.0 200 "), "answered before the balancer died");
        balancer.kill_hard();
        let mut balancer = Balancer::start_from_file(&stage, "after", &setup, workers_after);

        let called = caller.finish();
        let callees: Vec<Statistics> = callees.into_iter().map(Sipp::stop).collect();
        assert_whole(CALLS, &called, &callees);
        balancer.assert_alive();
    }
}

/// All of them ring before the first is answered.
const CALLS: Load = Load { calls: 20, rate: 100, limit_s: 60 };
