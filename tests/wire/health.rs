//! A backend is killed under load, and comes back.

use crate::balancer::{Balancer, Setup};
use crate::sipp::{Load, Part, Sipp};
use crate::stage::{Family, Stage, have, wait_until};
use std::net::SocketAddr;
use std::time::Duration;

/// Once the probes have found out, no new call goes to the dead backend; once it is back, none before
/// `rise` good probes, and some after them.
#[test]
fn a_killed_backend_gets_no_new_calls_until_its_probes_are_good_again() {
    if !have(&["sipp"]) {
        return;
    }
    for family in Family::all() {
        let stage = Stage::new(&format!("health-{family:?}"));
        let backends: Vec<SocketAddr> = (0..3).map(|_| family.free_address()).collect();
        let callee = Part::new("callee/probed");
        let start = |number: usize, name: &str| {
            Sipp::callee(&stage, name, &callee.clone().traced(), backends[number])
        };
        let _steady = [start(0, "b1"), start(2, "b3")];
        let killed = start(1, "b2");
        let mut setup = Setup::new(&[family.free_address()], &backends);
        setup.health = Some(HEALTH);
        let mut balancer = Balancer::start_from_file(&stage, "balancer", &setup, 2);
        let call = |name: &str, load: Load| {
            let (part, from) =
                (Part::new("caller/call").with("talk", "100"), family.free_address());
            Sipp::caller(&stage, name, &part, from, setup.listeners[0], load)
        };

        let load = call("under-load", ENDLESS);
        wait_until("the backend has calls", LONG, || killed.messages().contains("\nBYE sip:"));
        killed.kill_hard();
        wait_until("the backend is down", LONG, || {
            balancer.has("sipring_backend_up{backend=\"b2\"} 0")
        });
        assert!(balancer.has("sipring_backend_state{backend=\"b2\",state=\"down\"} 1"));
        call("while-down", CALLS).finish(); // whole: none has met the dead one
        assert!(balancer.has("sipring_backend_up{backend=\"b2\"} 0"));
        load.kill_hard(); // its last calls still ask for the dead one

        let back = start(1, "b2-again");
        call("while-back", CALLS).finish();
        wait_until("the backend is up", LONG, || {
            balancer.has("sipring_backend_up{backend=\"b2\"} 1")
        });
        call("afterwards", CALLS).finish();
        wait_until("it has calls again", LONG, || back.messages().contains("\nINVITE sip:"));
        let messages = back.messages();
        let (before, _) = messages.split_once("\nINVITE sip:").expect("it has calls");
        let probes = before.matches("\nOPTIONS sip:").count();
        assert!(probes >= RISE, "a call after {probes} probes");
        assert!(balancer.has("sipring_probe_transitions_total{backend=\"b2\",to=\"down\"} 1"));
        assert!(balancer.has("sipring_probe_transitions_total{backend=\"b2\",to=\"up\"} 1"));
        assert!(balancer.has("sipring_probe_transitions_total{backend=\"b1\",to=\"down\"} 0"));
        balancer.assert_alive();
    }
}

const RISE: usize = 3;

const HEALTH: &str = "interval = \"300ms\"\ntimeout = \"1s\"\nrise = 3\nfall = 3\n\
                      down_interval_max = \"300ms\"\n";

/// Enough to meet every backend, in a second and a half.
const CALLS: Load = Load { calls: 90, rate: 60, limit_s: 60 };

/// It is ended by the test.
const ENDLESS: Load = Load { calls: 3_000, rate: 50, limit_s: 60 };

const LONG: Duration = Duration::from_secs(30);
