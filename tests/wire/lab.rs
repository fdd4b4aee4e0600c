//! Three network namespaces in a row, as a lab: clients, the balancer with two interfaces, backends.

use crate::balancer::Setup;
use crate::stage::{have, search_path, skipped};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;

/// Three namespaces in a row: clients - balancer - backends.
pub(crate) struct Lab {
    pub(crate) clients: String,
    pub(crate) balancer: String,
    pub(crate) backends: String,
}

impl Lab {
    /// `None`, and SKIPPED aloud, where namespaces cannot be made.
    pub(crate) fn build() -> Option<Lab> {
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
                &["10.61.1.2/24"],
            )
            && lab.join("to-backends", &lab.backends, &["10.61.2.1/24"], &BACKEND_NETS);
        assert!(made, "namespaces can be made here, but not joined");
        Some(lab)
    }

    /// A pair of interfaces between the balancer's namespace and another.
    fn join(&self, link: &str, other: &str, near: &[&str], far: &[&str]) -> bool {
        let near_side = &self.balancer;
        let mut good = ip(&format!(
            "link add {link} netns {near_side} type veth peer name {link} netns {other}"
        ));
        for address in near {
            good &= ip(&format!("-n {near_side} addr add {address} dev {link}"));
        }
        for address in far {
            good &= ip(&format!("-n {other} addr add {address} dev {link}"));
        }
        for namespace in [near_side, other] {
            good &= ip(&format!("-n {namespace} link set {link} up"));
            good &= ip(&format!("-n {namespace} link set lo up"));
        }
        good
    }

    /// A wildcard listener in front of so many of the backends.
    pub(crate) fn setup(&self, backends: usize) -> Setup {
        let wildcard = SocketAddr::from((Ipv4Addr::UNSPECIFIED, BALANCER_TO_CLIENTS.port()));
        Setup::new(&[wildcard], &BACKENDS[..backends])
    }

    /// Gives these commands to nftables in one of the namespaces; false if it does not take them.
    pub(crate) fn nft(&self, namespace: &str, commands: &str) -> bool {
        let nft = ["netns", "exec", namespace, "nft", commands];
        let output = Command::new("ip").args(nft).env("PATH", search_path()).output();
        let output = output.expect("ip, which was found before");
        if !output.status.success() {
            eprintln!("nft {commands}: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        output.status.success()
    }

    /// What nftables lists.
    pub(crate) fn nft_list(&self, namespace: &str, what: &str) -> String {
        let command = format!("netns exec {namespace} nft list {what}");
        let output =
            Command::new("ip").args(command.split(' ')).env("PATH", search_path()).output();
        String::from_utf8_lossy(&output.expect("ip, which was found before").stdout).into_owned()
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

pub(crate) const CLIENT: SocketAddr = address(1, 2, 5070);
pub(crate) const BALANCER_TO_CLIENTS: SocketAddr = address(1, 1, 5070);
pub(crate) const BALANCER_SECOND_ADDRESS: SocketAddr = address(1, 9, 5070);
pub(crate) const BALANCER_TO_BACKENDS: SocketAddr = address(2, 1, 5070);
pub(crate) const BACKENDS: [SocketAddr; 3] =
    [address(2, 2, 5070), address(2, 3, 5070), address(2, 4, 5070)];
const BACKEND_NETS: [&str; 3] = ["10.61.2.2/24", "10.61.2.3/24", "10.61.2.4/24"];

const fn address(net: u8, host: u8, port: u16) -> SocketAddr {
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::new(10, 61, net, host)), port)
}
