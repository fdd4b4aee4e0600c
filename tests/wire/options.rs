//! OPTIONS to the balancer itself, by sipsak.

use crate::balancer::{Balancer, Setup};
use crate::process::Process;
use crate::stage::{Family, Stage, free_short_port, have};
use std::net::SocketAddr;
use std::time::Duration;

/// sipsak's OPTIONS to the balancer gets its 200 without any backend (RFC 3261 11.2). sipsak speaks
/// IPv4 only; over IPv6 every test here asks the same when it starts the balancer.
#[test]
fn the_balancer_answers_an_options_of_sipsak() {
    if !have(&["sipsak"]) {
        return;
    }
    let stage = Stage::new("options");
    let listener = SocketAddr::new(Family::V4.ip(), free_short_port());
    let nobody = Family::V4.free_address();
    let _balancer = Balancer::start(&stage, &Setup::new(&[listener], &[nobody]), 2);

    let command = ["sipsak", "-vv", "-s", &format!("sip:{listener}")].map(str::to_owned);
    let mut sipsak = Process::start(&stage, "sipsak", None, &command);
    let status = sipsak.wait(Duration::from_secs(30)).expect("the end of sipsak");
    assert!(status.success(), "sipsak: {status}");
}
