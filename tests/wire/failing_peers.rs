//! SIPp and Kamailio as backends that fail under load: 503 to calls, silence to calls, `kill -9`. No call
//! is lost, and one that is back is used again.

use crate::balancer::{Balancer, Setup};
use crate::kamailio::kamailio;
use crate::sipp::{Load, Part, Sipp};
use crate::stage::{Family, Stage, have, wait_until};
use std::net::SocketAddr;
use std::time::Duration;

/// One SIPp answers calls with 503, one says nothing to them; both answer OPTIONS. Their calls take them
/// down, each call is set up at the third, and when the first answers calls it gets some.
#[test]
fn sipp_backends_that_answer_options_but_no_calls_lose_none() {
    if !have(&["sipp"]) {
        return;
    }
    let stage = Stage::new("failing-sipp");
    let backends: Vec<SocketAddr> = (0..3).map(|_| Family::V4.free_address()).collect();
    let start = |name: &str, scenario: &str, place: usize| {
        Sipp::callee(&stage, name, &Part::new(scenario).traced(), backends[place])
    };
    let (busy, deaf) = (start("b1", "callee/busy", 0), start("b2", "callee/deaf", 1));
    let good = start("b3", "callee/probed", 2);
    let listener = Family::V4.free_address();
    let mut setup = Setup::new(&[listener], &backends);
    setup.health = Some(HEALTH);
    let mut balancer = Balancer::start_from_file(&stage, "balancer", &setup, 2);

    call(&stage, "while-failing", listener, CALLS).finish_whole();
    for (place, sipp) in [(1, &busy), (2, &deaf)] {
        assert!(sipp.messages().contains("\nINVITE sip:"), "b{place} was asked");
        let why = if place == 1 { "refused" } else { "silent" };
        let outcomes =
            format!("sipring_backend_outcomes_total{{backend=\"b{place}\",outcome=\"{why}\"}}");
        assert!(balancer.value(&outcomes) >= 3, "{outcomes}");
        assert!(downs(&balancer, place) > 0, "its calls take b{place} down");
    }
    assert_eq!(downs(&balancer, 3), 0);

    busy.kill_hard();
    let mended = start("b1-again", "callee/probed", 0);
    wait_until("it has calls", LONG, || {
        call(&stage, "afterwards", listener, FEW).finish_whole();
        mended.messages().contains("\nINVITE sip:")
    });
    let served = good.stop();
    assert_eq!((served.failed, served.out_of_call), (0, 0), "{served:?}");
    balancer.assert_alive();
}

/// Two record-routing Kamailios, each in front of a phone. One is killed under load and brought back: it
/// knows its dialogs by their Routes alone, so that they too come to a good end.
#[test]
fn a_killed_kamailio_loses_no_call_and_is_used_again() {
    if !have(&["sipp", "kamailio"]) {
        return;
    }
    let stage = Stage::new("failing-kamailio");
    let address = || Family::V4.free_address();
    let (backends, phones) = ([address(), address()], [address(), address()]);
    let phone = |place: usize| {
        let part = Part::new("callee/answer").traced();
        Sipp::callee(&stage, &format!("phone{}", place + 1), &part, phones[place])
    };
    let called = [phone(0), phone(1)];
    let start = |name: &str, place: usize| {
        kamailio(&stage, (name, "proxy"), backends[place], Some(phones[place]))
    };
    let (killed, _steady) = (start("k1", 0), start("k2", 1));
    let listener = address();
    let mut setup = Setup::new(&[listener], &backends);
    setup.health = Some(HEALTH);
    let mut balancer = Balancer::start_from_file(&stage, "balancer", &setup, 2);
    let up = |is: u8| balancer.has(&format!("sipring_backend_up{{backend=\"b1\"}} {is}"));
    let invites = || called[0].messages().matches("\nINVITE sip:").count();

    let load = call(&stage, "under-load", listener, STEADY);
    wait_until("it has calls", LONG, || called[0].messages().contains("\nBYE sip:"));
    killed.kill_hard();
    wait_until("it is down", LONG, || up(0));
    call(&stage, "while-down", listener, FEW).finish_whole();
    assert!(up(0), "nobody is there");

    let before = invites();
    let _back = start("k1-again", 0);
    wait_until("it is up", LONG, || up(1));
    wait_until("it has calls again", LONG, || {
        call(&stage, "afterwards", listener, FEW).finish_whole();
        invites() > before
    });
    load.finish_whole();
    assert_eq!((downs(&balancer, 1), downs(&balancer, 2)), (1, 0));
    balancer.assert_alive();
}

fn call(stage: &Stage, name: &str, listener: SocketAddr, load: Load) -> Caller {
    let part = Part::new("caller/call").with("talk", "100");
    let from = Family::V4.free_address();
    Caller { sipp: Sipp::caller(stage, name, &part, from, listener, load), calls: load.calls }
}

struct Caller {
    sipp: Sipp,
    calls: u32,
}

impl Caller {
    /// Waits for the end of its calls: none may fail.
    fn finish_whole(self) {
        let called = self.sipp.finish();
        assert_eq!((called.successful, called.failed), (self.calls.into(), 0), "{called:?}");
    }
}

fn downs(balancer: &Balancer, place: usize) -> u64 {
    balancer.value(&format!("sipring_probe_transitions_total{{backend=\"b{place}\",to=\"down\"}}"))
}

const HEALTH: &str = "interval = \"300ms\"\ntimeout = \"1s\"\nrise = 3\nfall = 3\n\
                      down_interval_max = \"300ms\"\n\n[limits]\nfailover_after = \"1s\"\n";

/// For some seconds.
const STEADY: Load = Load { calls: 180, rate: 30, limit_s: 60 };

/// Enough to take two backends down.
const CALLS: Load = Load { calls: 90, rate: 45, limit_s: 60 };

/// Enough to meet every backend.
const FEW: Load = Load { calls: 24, rate: 48, limit_s: 60 };

const LONG: Duration = Duration::from_secs(30);
