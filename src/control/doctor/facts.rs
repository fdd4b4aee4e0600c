//! What the machine says of itself. Everything here may be missing: a container hides much of it.

use super::{CONNECTIONS_MAX, local_sockets, ports, quota, workers};
use crate::config::Config;
use crate::io::{diagnose, os};
use crate::limits::SOCKETS_ADDED_MAX;
use std::fs;
use std::path::Path;

/// Capabilities by their bit (capabilities(7)).
pub(super) const CAP_NET_BIND_SERVICE: u32 = 10;
pub(super) const CAP_NET_ADMIN: u32 = 12;
const CAP_IPC_LOCK: u32 = 14;

/// A network card that is up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Receive queues.
    pub queues: usize,
    /// The kernel spreads what they receive over cores (RPS).
    pub steered: bool,
}

/// All that is judged.
#[derive(Clone, Debug, PartialEq)]
pub struct Facts {
    /// `uname -r`.
    pub release: String,
    /// Whether all workers get the rings that they need; else why not and what to do.
    pub rings: Result<(), String>,
    /// Bytes that this user may lock; `None`: no limit.
    pub locked_memory: Option<u64>,
    /// Whether the kernel can wait for several messages; else why not.
    pub gathering: Result<(), String>,
    /// Whether the kernel would steer; else why not.
    pub steering: Result<(), String>,
    /// Cores of the machine.
    pub cores: usize,
    /// Cores that this process may use.
    pub cores_allowed: usize,
    /// Cores' worth of CPU time that the control group gives; `None`: no limit.
    pub cpu_quota: Option<f64>,
    /// Hard limit of open files.
    pub open_files: u64,
    /// Bytes that a socket gets which asks for the configured receive buffer.
    pub receive_buffer: Option<usize>,
    /// The first port that needs no right.
    pub unprivileged_port: u16,
    /// The ports that the kernel gives to sockets that ask for any.
    pub ephemeral_ports: Option<(u16, u16)>,
    /// The ranges of ports that are kept back from that.
    pub reserved_ports: Vec<(u16, u16)>,
    /// The kernel's clock source.
    pub clock_source: Option<String>,
    /// `Seccomp:` of `/proc/self/status`.
    pub seccomp: Option<u8>,
    /// Effective capabilities, by bit.
    pub capabilities: u64,
    /// Network cards, without loopback.
    pub interfaces: Vec<Interface>,
    /// Addresses of this machine.
    pub addresses: usize,
    /// The kernel's SIP helper was loaded as a module.
    pub sip_helper: bool,
    /// Connections that the kernel tracks, and at most.
    pub conntrack: Option<(u64, u64)>,
}

impl Facts {
    /// Looks around, and tries what this configuration wants of the kernel.
    pub fn read(config: &Config) -> Self {
        let status = text("/proc/self/status");
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.map(|value| value.trim().to_owned())
        };
        let capabilities =
            field("CapEff:").and_then(|value| u64::from_str_radix(&value, 16).ok()).unwrap_or(0);
        let open_files = os::raise_file_limit().unwrap_or(0); // rings are files
        let cores_allowed = os::allowed_cores().map_or(1, |cores| cores.len());
        let addresses = os::local_addresses().map_or(1, |addresses| addresses.len());
        let files = local_sockets(config, addresses) + SOCKETS_ADDED_MAX + CONNECTIONS_MAX;
        let rings = diagnose::try_rings(workers(config, cores_allowed), files);
        Self {
            release: text("/proc/sys/kernel/osrelease"),
            rings: rings.map_err(|failure| failure.text),
            locked_memory: diagnose::locked_memory_limit()
                .filter(|_| capabilities >> CAP_IPC_LOCK & 1 == 0),
            gathering: diagnose::try_gathering(),
            steering: diagnose::try_steering(),
            cores: listed(&text("/sys/devices/system/cpu/online")).unwrap_or(1),
            cores_allowed,
            cpu_quota: quota::read(&text("/proc/self/cgroup"), Path::new("/sys/fs/cgroup")),
            open_files,
            receive_buffer: diagnose::granted_receive_buffer(config.limits.receive_buffer).ok(),
            unprivileged_port: number("/proc/sys/net/ipv4/ip_unprivileged_port_start")
                .unwrap_or(1024),
            ephemeral_ports: pair(&text("/proc/sys/net/ipv4/ip_local_port_range")),
            reserved_ports: ports::ranges(&text("/proc/sys/net/ipv4/ip_local_reserved_ports")),
            clock_source: Some(text(
                "/sys/devices/system/clocksource/clocksource0/current_clocksource",
            ))
            .filter(|name| !name.is_empty()),
            seccomp: field("Seccomp:").and_then(|value| value.parse().ok()),
            capabilities,
            interfaces: interfaces(Path::new("/sys/class/net")),
            addresses,
            sip_helper: Path::new("/sys/module/nf_conntrack_sip/initstate").exists(),
            conntrack: number("/proc/sys/net/netfilter/nf_conntrack_count")
                .zip(number("/proc/sys/net/netfilter/nf_conntrack_max")),
        }
    }

    /// Whether the process has a capability.
    pub(super) fn has(&self, capability: u32) -> bool {
        self.capabilities >> capability & 1 == 1
    }
}

/// What stands in a file, without the white around it; nothing where there is none.
pub(super) fn text(path: impl AsRef<Path>) -> String {
    fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

fn number<T: std::str::FromStr>(path: &str) -> Option<T> {
    text(path).parse().ok()
}

fn pair(text: &str) -> Option<(u16, u16)> {
    let mut words = text.split_whitespace().map(|word| word.parse().ok());
    words.next().flatten().zip(words.next().flatten())
}

/// How many `0-3,8` lists.
fn listed(text: &str) -> Option<usize> {
    let of_range = |range: &str| match range.split_once('-') {
        Some((first, last)) => {
            let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
            last.checked_sub(first).map(|more| more + 1)
        }
        None => range.parse::<usize>().ok().map(|_| 1),
    };
    text.split(',').map(of_range).sum()
}

fn interfaces(net: &Path) -> Vec<Interface> {
    let mut interfaces: Vec<_> = fs::read_dir(net)
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| entry.path().join("device").exists())
        .filter(|entry| text(entry.path().join("operstate")) == "up")
        .map(|entry| interface(&entry.path(), entry.file_name().to_string_lossy().into_owned()))
        .collect();
    interfaces.sort_by(|one, other| one.name.cmp(&other.name));
    interfaces
}

fn interface(path: &Path, name: String) -> Interface {
    let queues: Vec<_> = fs::read_dir(path.join("queues"))
        .into_iter()
        .flatten()
        .flatten()
        .filter(|queue| queue.file_name().to_string_lossy().starts_with("rx-"))
        .collect();
    let is_steered = |queue: &fs::DirEntry| {
        let cores = text(queue.path().join("rps_cpus"));
        cores.bytes().any(|byte| byte.is_ascii_hexdigit() && byte != b'0')
    };
    Interface { name, queues: queues.len(), steered: queues.iter().any(is_steered) }
}

#[cfg(test)]
mod tests {
    use super::super::super::plan::tests::config;
    use super::*;
    use crate::config::BackendPorts;

    #[test]
    fn lists_of_cores_are_counted() {
        let cases = [("0", 1), ("0-3", 4), ("0-1,4,8-11", 7)];
        cases.into_iter().for_each(|(text, count)| assert_eq!(listed(text), Some(count), "{text}"));
        ["", "a", "3-1", "0-x"]
            .into_iter()
            .for_each(|text| assert_eq!(listed(text), None, "{text}"));
    }

    #[test]
    fn cards_are_found_with_their_queues() {
        let net = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = net.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("eth0/operstate", "up\n");
        write("eth0/device/x", "");
        write("eth0/queues/rx-0/rps_cpus", "00000000,00000000\n");
        write("eth0/queues/rx-1/rps_cpus", "0\n");
        write("eth0/queues/tx-0/xps_cpus", "3\n");
        write("eth1/operstate", "up\n");
        write("eth1/device/x", "");
        write("eth1/queues/rx-0/rps_cpus", "00000000,0000000c\n");
        write("eth2/operstate", "down\n");
        write("eth2/device/x", "");
        write("lo/operstate", "unknown\n");
        let card = |name: &str, queues, steered| Interface { name: name.into(), queues, steered };
        assert_eq!(interfaces(net.path()), [card("eth0", 2, false), card("eth1", 1, true)]);
    }

    #[test]
    fn this_machine_can_be_read() {
        let config = config(&["127.0.0.1:5060"], BackendPorts::Listener, &["127.0.0.1:5061"]);
        let facts = Facts::read(&config);
        assert_eq!(facts.rings, Ok(()), "the tests need io_uring");
        assert!(facts.cores >= facts.cores_allowed && facts.cores_allowed > 0);
        assert!(facts.open_files > 0 && facts.receive_buffer.is_some());
        assert!(facts.ephemeral_ports.is_some_and(|(low, high)| low < high));
    }
}
