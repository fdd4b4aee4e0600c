//! A balancer with two interfaces, in network namespaces of its own: clients on one, backends on the
//! other, and no way between them but the balancer.

use crate::balancer::{Balancer, options};
use crate::lab::{
    BACKENDS, BALANCER_SECOND_ADDRESS, BALANCER_TO_BACKENDS, BALANCER_TO_CLIENTS, CLIENT, Lab,
};
use crate::process::Process;
use crate::sipp::{FEW, Part, Sipp, assert_whole};
use crate::stage::Stage;
use std::time::Duration;

/// With a wildcard listener each side gets a Record-Route with an address that it can reach, and
/// calls are ended by the caller and by the callee (RFC 5658 6.2).
#[test]
fn each_interface_gets_its_own_record_route() {
    let Some(lab) = Lab::build() else { return };
    for (caller, callee) in [("call", "answer"), ("callee-ends", "ends")] {
        let stage = Stage::new(&format!("interfaces-{caller}"));
        let callee = format!("callee/{callee}");
        let callee = Part::new(&callee).inside(&lab.backends).traced();
        let callee = Sipp::callee(&stage, "callee", &callee, BACKENDS[0]);
        let _balancer = Balancer::start_inside(&stage, &lab.setup(1), &lab.balancer);

        let caller = format!("caller/{caller}");
        let caller = Part::new(&caller).inside(&lab.clients).traced();
        let caller = Sipp::caller(&stage, "caller", &caller, CLIENT, BALANCER_TO_CLIENTS, FEW);
        let messages = stage.path("callee.messages");
        let called = caller.finish();
        assert_whole(FEW, &called, &[callee.stop()]);

        let seen = std::fs::read_to_string(messages).expect("the messages of the callee");
        let hosts = record_route_hosts(&seen);
        let wanted = [BALANCER_TO_BACKENDS.ip(), BALANCER_TO_CLIENTS.ip()].map(|ip| ip.to_string());
        assert_eq!(hosts, wanted, "hosts of the Record-Routes that the callee saw, topmost first");
    }
}

/// A reply leaves from the address that its request came to, also if the kernel would have picked
/// another one (RFC 3581 4).
#[test]
fn replies_leave_from_the_address_that_was_asked() {
    let Some(lab) = Lab::build() else { return };
    let stage = Stage::new("interfaces-reply");
    let _balancer = Balancer::start_inside(&stage, &lab.setup(1), &lab.balancer);
    for to in [BALANCER_TO_CLIENTS, BALANCER_SECOND_ADDRESS] {
        // A connected socket takes datagrams from this one address alone.
        let request = stage.write("options.sip", &options(to, CLIENT));
        let script = format!(
            "exec 3<>/dev/udp/{}/{} && cat {} >&3 && timeout 10 head -c 12 <&3",
            to.ip(),
            to.port(),
            request.display()
        );
        let command =
            ["ip", "netns", "exec", &lab.clients, "bash", "-c", &script].map(str::to_owned);
        let name = format!("reply-{}", to.ip());
        let mut bash = Process::start(&stage, &name, None, &command);
        bash.wait(Duration::from_secs(20)).expect("the end of the probe");
        let reply = std::fs::read_to_string(stage.path(&format!("{name}.log"))).expect("its log");
        assert_eq!(reply, "SIP/2.0 200 ", "the reply that came from {to}");
    }
}

/// The host of each Record-Route value of the first INVITE in a trace.
fn record_route_hosts(trace: &str) -> Vec<String> {
    let start = trace.find("INVITE sip:").expect("an INVITE in the trace");
    let head = trace[start..].split("\r\n\r\n").next().unwrap_or_default();
    head.lines()
        .filter_map(|line| line.strip_prefix("Record-Route:"))
        .flat_map(|values| values.split("<sip:").skip(1))
        .map(|value| value.split([':', ';', '>']).next().unwrap_or_default().to_owned())
        .collect()
}
