//! A backend falls into a black hole under load: nftables drops all to and from it, and nobody is told.

use crate::balancer::Balancer;
use crate::lab::{BACKENDS, BALANCER_TO_CLIENTS, CLIENT, Lab};
use crate::sipp::{Load, Part, Sipp};
use crate::stage::{Stage, have, skipped, wait_until};
use std::net::SocketAddr;
use std::time::Duration;

/// New calls leave it, those that it never answered are set up at another, and no dialog is lost: not
/// its own either, which outlast the hole. It has no new call before `rise` good probes.
#[test]
fn a_backend_in_a_black_hole_of_nftables_gets_no_new_calls_until_its_probes_are_good() {
    if !have(&["nft"]) {
        return;
    }
    let Some(lab) = Lab::build() else { return };
    if !lab.nft(&lab.backends, "add table inet hole; delete table inet hole") {
        skipped("nftables has no tables in the network namespaces here");
        return;
    }
    let stage = Stage::new("black-hole");
    let callee = Part::new("callee/probed").with("ring", "0").inside(&lab.backends).traced();
    let start =
        |place: usize| Sipp::callee(&stage, &format!("b{}", place + 1), &callee, BACKENDS[place]);
    let [first, swallowed, third] = [0, 1, 2].map(start);
    let mut setup = lab.setup(3);
    setup.health = Some(HEALTH);
    setup.admin_socket = Some(stage.path("admin.sock"));
    let mut balancer = Balancer::start_inside_from_file(&stage, &setup, &lab.balancer);
    let call = |place: u16, talk: &str, load: Load| {
        let part = Part::new("caller/call").with("talk", talk).inside(&lab.clients);
        let from = SocketAddr::new(CLIENT.ip(), CLIENT.port() + place);
        Sipp::caller(&stage, &format!("caller-{place}"), &part, from, BALANCER_TO_CLIENTS, load)
    };
    let up = |is: u8| balancer.has(&format!("sipring_backend_up{{backend=\"b2\"}} {is}"));
    wait_until("all of them were probed", LONG, || {
        [&first, &swallowed, &third].iter().all(|one| one.messages().contains("\nOPTIONS sip:"))
    });

    let steady = call(0, "500", STEADY);
    wait_until("the backend has calls", LONG, || swallowed.messages().contains("\nBYE sip:"));
    dig(&lab);
    wait_until("the backend is down", LONG, || up(0));
    call(1, "50", CALLS).finish(); // meanwhile what was under way to it goes elsewhere
    let asked = invites_in_the_hole(&lab);
    assert!(asked > 0, "no call fell into the hole");
    call(2, "50", CALLS).finish();
    assert_eq!(invites_in_the_hole(&lab), asked, "new calls go to one that is down");
    assert!(up(0), "it is up without a probe that came back");

    let seen_before = swallowed.messages().len();
    fill(&lab);
    wait_until("the backend is up", LONG, || up(1));
    call(3, "50", CALLS).finish();
    let since = || swallowed.messages().split_off(seen_before);
    wait_until("it has calls again", LONG, || since().contains("\nINVITE sip:"));
    let since = since();
    let (before, _) = since.split_once("\nINVITE sip:").expect("it has calls");
    let probes = before.matches("\nOPTIONS sip:").count();
    assert!(probes >= RISE, "a call after {probes} probes");

    let called = steady.finish();
    assert_eq!((called.successful, called.failed), (u64::from(STEADY.calls), 0), "{called:?}");
    for one in [first.stop(), third.stop()] {
        assert_eq!((one.failed, one.out_of_call), (0, 0), "{} was disturbed: {one:?}", one.name);
    }
    let failovers = ["silence", "refused", "unreachable"]
        .map(|cause| balancer.value(&format!("sipring_failovers_total{{cause=\"{cause}\"}}")));
    assert!(failovers[0] > 0, "silence alone tells: {failovers:?}");
    assert_eq!(failovers[1..], [0, 0], "nobody says that there is a hole");
    for (backend, downs) in [("b1", 0), ("b2", 1), ("b3", 0)] {
        let series =
            format!("sipring_probe_transitions_total{{backend=\"{backend}\",to=\"down\"}}");
        assert_eq!(balancer.value(&series), downs, "{series}");
    }
    balancer.assert_alive();
}

/// Drops what comes in, on both sides: a rule on the way out would tell the sender. The backend's side
/// counts the INVITEs (bytes behind the UDP header).
fn dig(lab: &Lab) {
    let swallowed = BACKENDS[1].ip();
    let chain = "add table inet hole; \
                 add chain inet hole gate { type filter hook input priority 0; }; ";
    let near = format!("{chain} add rule inet hole gate ip saddr {swallowed} drop");
    let far = format!(
        "{chain} add counter inet hole invites; \
         add rule inet hole gate ip daddr {swallowed} udp dport {} @th,64,48 0x494e56495445 \
         counter name invites; \
         add rule inet hole gate ip daddr {swallowed} drop",
        BACKENDS[1].port()
    );
    assert!(lab.nft(&lab.backends, &far) && lab.nft(&lab.balancer, &near), "nftables has no rule");
}

fn fill(lab: &Lab) {
    for namespace in [&lab.balancer, &lab.backends] {
        assert!(lab.nft(namespace, "delete table inet hole"), "nftables keeps its rule");
    }
}

fn invites_in_the_hole(lab: &Lab) -> u64 {
    let listed = lab.nft_list(&lab.backends, "counter inet hole invites");
    let words: Vec<&str> = listed.split_whitespace().collect();
    let place = words.iter().position(|word| *word == "packets").expect("a counter of packets");
    words[place + 1].parse().expect("a number of packets")
}

const RISE: usize = 3;

const HEALTH: &str = "interval = \"300ms\"\ntimeout = \"500ms\"\nrise = 3\nfall = 3\n\
                      down_interval_max = \"300ms\"\n\n[limits]\nfailover_after = \"1s\"\n";

/// For as long as the scene takes, more or less.
const STEADY: Load = Load { calls: 300, rate: 30, limit_s: 60 };

/// Enough to meet every backend, in a second.
const CALLS: Load = Load { calls: 60, rate: 60, limit_s: 60 };

const LONG: Duration = Duration::from_secs(30);
