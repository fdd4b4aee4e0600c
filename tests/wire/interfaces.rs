//! A balancer with two interfaces, in network namespaces of its own: clients on one, backends on the
//! other, and no way between them but the balancer.

use crate::balancer::{Balancer, Setup, options};
use crate::process::Process;
use crate::sipp::{FEW, Part, Sipp, assert_whole};
use crate::stage::{Stage, have, search_path, skipped};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;
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
        let callee = Sipp::callee(&stage, "callee", &callee, BACKEND);
        let _balancer = Balancer::start_inside(&stage, &lab.setup(), &lab.balancer);

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
    let _balancer = Balancer::start_inside(&stage, &lab.setup(), &lab.balancer);
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

/// Three namespaces in a row: clients - balancer - backends.
struct Lab {
    clients: String,
    balancer: String,
    backends: String,
}

impl Lab {
    /// `None`, and SKIPPED aloud, where namespaces cannot be made.
    fn build() -> Option<Lab> {
        if !have(&["sipp", "ip", "bash"]) {
            return None;
        }
        let number = crate::stage::free_ports(1);
        let name = |side: &str| format!("sipring-{}-{number}-{side}", std::process::id());
        let lab = Lab { clients: name("c"), balancer: name("m"), backends: name("b") };
        if !ip(&format!("netns add {}", lab.balancer)) {
            skipped("no network namespace can be made here (this needs root)");
            return None;
        }
        let made = ip(&format!("netns add {}", lab.clients))
            && ip(&format!("netns add {}", lab.backends))
            && lab.join(
                "to-clients",
                &lab.clients,
                &["10.61.1.1/24", "10.61.1.9/24"],
                "10.61.1.2/24",
            )
            && lab.join("to-backends", &lab.backends, &["10.61.2.1/24"], "10.61.2.2/24");
        assert!(made, "namespaces can be made here, but not joined");
        Some(lab)
    }

    /// A pair of interfaces between the balancer's namespace and another.
    fn join(&self, link: &str, other: &str, near: &[&str], far: &str) -> bool {
        let near_side = &self.balancer;
        let mut good = ip(&format!(
            "link add {link} netns {near_side} type veth peer name {link} netns {other}"
        ));
        for address in near {
            good &= ip(&format!("-n {near_side} addr add {address} dev {link}"));
        }
        good &= ip(&format!("-n {other} addr add {far} dev {link}"));
        for namespace in [near_side, other] {
            good &= ip(&format!("-n {namespace} link set {link} up"));
            good &= ip(&format!("-n {namespace} link set lo up"));
        }
        good
    }

    fn setup(&self) -> Setup {
        let wildcard = SocketAddr::from((Ipv4Addr::UNSPECIFIED, BALANCER_TO_CLIENTS.port()));
        Setup::new(&[wildcard], &[BACKEND])
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for namespace in [&self.clients, &self.balancer, &self.backends] {
            ip(&format!("netns del {namespace}"));
        }
    }
}

fn ip(arguments: &str) -> bool {
    let output = Command::new("ip").args(arguments.split(' ')).env("PATH", search_path()).output();
    let output = output.expect("ip, which was found before");
    if !output.status.success() {
        eprintln!("ip {arguments}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    output.status.success()
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

const CLIENT: SocketAddr = address(1, 2, 5070);
const BALANCER_TO_CLIENTS: SocketAddr = address(1, 1, 5070);
const BALANCER_SECOND_ADDRESS: SocketAddr = address(1, 9, 5070);
const BALANCER_TO_BACKENDS: SocketAddr = address(2, 1, 5070);
const BACKEND: SocketAddr = address(2, 2, 5070);

const fn address(net: u8, host: u8, port: u16) -> SocketAddr {
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::new(10, 61, net, host)), port)
}
