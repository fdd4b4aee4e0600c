//! What the values say of each other: a [`Raw`] becomes a [`Config`], or problems.

use super::file::{Raw, RawBackend, RawListener};
use super::messages;
use super::reader::At;
use super::report::{Problem, Report};
use super::{ADMIN, BACKEND_PORTS, BackendPorts, Cluster, Config, Listener};
use super::{LogLevel, dns, names, pools, route};
use crate::limits::{BACKEND_PORTS_MAX, SOCKETS_MAX};
use crate::proxy::{PathMode, WORK};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Checks everything and notes every problem; the result counts only if none is an error.
pub(super) fn validate(raw: Raw, report: &mut Report) -> Config {
    let ports = raw.backend_ports.map_or(BACKEND_PORTS, |at| at.value);
    listeners_agree(&raw, report);
    ports_agree(&raw, ports, report);
    keys_agree(&raw, report);
    for backend in raw.pools.iter().flat_map(|pool| &pool.backends) {
        no_loop(backend, &raw.listeners, ports, report);
        if let (BackendPorts::Listener, Some(at)) = (ports, raw.backend_ports) {
            families_agree(backend, &raw.listeners, at, report);
        }
    }
    names::agree(&raw.pools, report);
    dns::ttls_agree(&raw.dns, report);
    let seed = raw.hash_seed.unwrap_or(0);
    let pools = pools::pools(raw.pools, seed, report);
    let routes = route::agree(raw.routes, &pools, &raw.listeners, report);
    pools::led_to(&pools, &routes, report);
    let admin = raw.admin.map_or(ADMIN, |at| at.value);
    if let Some(at) = raw.admin.filter(|at| !at.value.ip().is_loopback()) {
        report.add(
            Problem::warning("the admin address can be reached from other machines")
                .at(at.place, "it asks nobody for a password")
                .help("listen on 127.0.0.1 or [::1], or let a firewall guard it"),
        );
    }
    Config {
        workers: raw.workers.map(|at| at.value),
        steering: raw.steering.unwrap_or(true),
        listeners: raw.listeners.into_iter().map(listener).collect(),
        backend_ports: ports,
        pools,
        routes,
        work: raw.work.unwrap_or(WORK),
        record_route: raw.record_route.unwrap_or(true),
        path: raw.path.unwrap_or(PathMode::Always),
        dns: raw.dns.config,
        limits: raw.limits,
        cluster: Cluster {
            current: raw.current_key.map(|at| at.value),
            previous: raw.previous_key.map(|at| at.value),
            hash_seed: seed,
        },
        admin,
        admin_socket: raw.admin_socket,
        log: raw.log.unwrap_or(LogLevel::Info),
        message_log: messages::agree(raw.messages, report),
    }
}

fn listener(raw: RawListener) -> Listener {
    let bind = raw.bind.value;
    let advertise = raw.advertise.map(|(host, port)| (host, port.unwrap_or(bind.port())));
    Listener { bind, advertise, force_rport: raw.force_rport }
}

fn listeners_agree(raw: &Raw, report: &mut Report) {
    if raw.listeners.is_empty() {
        report.add(Problem::error("there is no listener").help(
            "give --listen udp:0.0.0.0:5060, or a file with [[listener]] bind = \"udp:0.0.0.0:5060\"",
        ));
    }
    let most = SOCKETS_MAX - BACKEND_PORTS_MAX;
    if let Some(first_over) = raw.listeners.get(most) {
        let title = format!("there are {} listeners", raw.listeners.len());
        report
            .add(Problem::error(title).at(first_over.bind.place, format!("at most {most} can be")));
        return;
    }
    for (i, listener) in raw.listeners.iter().enumerate() {
        let earlier = raw.listeners[..i].iter();
        if let Some(other) = earlier.rev().find(|other| overlap(other, listener)) {
            let (title, label) = if other.bind.value == listener.bind.value {
                (format!("two listeners have the address {}", listener.bind.value), "again here")
            } else {
                (
                    format!("{} and {} overlap", other.bind.value, listener.bind.value),
                    "one of them stands for every address of its family",
                )
            };
            report.add(
                Problem::error(title)
                    .at(listener.bind.place, label)
                    .at(other.bind.place, "the first one"),
            );
        }
    }
}

fn overlap(one: &RawListener, other: &RawListener) -> bool {
    super::address::overlap(one.bind.value, other.bind.value)
}

fn ports_agree(raw: &Raw, ports: BackendPorts, report: &mut Report) {
    let BackendPorts::Range(first, last) = ports else { return };
    let place = raw.backend_ports.map(|at| at.place);
    for listener in &raw.listeners {
        let port = listener.bind.value.port();
        if (first..=last).contains(&port) {
            report.add(
                Problem::error(format!("the listener's port {port} is among the backend ports"))
                    .at(listener.bind.place, format!("backend_ports is {first}-{last}"))
                    .at(place, "these ports")
                    .help("requests to backends leave from those ports: give the listener another"),
            );
        }
    }
    let count = usize::from(last - first) + 1;
    if let Some(workers) = raw.workers.filter(|workers| workers.value > count) {
        let title = format!("{} workers cannot share {count} backend ports", workers.value);
        report.add(
            Problem::error(title)
                .at(workers.place, "each worker needs a port of its own")
                .at(place, format!("{count} ports"))
                .help("widen backend_ports or have fewer workers"),
        );
    }
    if last >= EPHEMERAL_FIRST {
        report.add(
            Problem::warning("backend_ports reaches into the kernel's ephemeral ports")
                .at(place, format!("{EPHEMERAL_FIRST} and above by default"))
                .help("another program may hold one of them when this one starts"),
        );
    }
}

fn keys_agree(raw: &Raw, report: &mut Report) {
    match (raw.current_key, raw.previous_key) {
        (None, None) => report.add(Problem::warning("there is no cluster key").help(
            "one is drawn at each start: tokens of other nodes and of earlier starts cannot be \
             read, and their dialogs go by hash; set [cluster] key to: openssl rand -hex 16",
        )),
        (None, Some(previous)) => report.add(
            Problem::error("there is a previous key, but no current one")
                .at(previous.place, "this key verifies only")
                .help("set `key` to the key that signs"),
        ),
        (Some(key), Some(previous)) if key.value.bytes == previous.value.bytes => report.add(
            Problem::error("both keys are the same")
                .at(previous.place, "expected the key before this one")
                .at(key.place, "the key that signs")
                .help("remove `previous_key` when the rotation is over"),
        ),
        (Some(key), Some(previous)) if key.value.number == previous.value.number => report.add(
            Problem::error("both keys have the same number")
                .at(previous.place, "this one verifies only")
                .at(key.place, "this one signs")
                .help(format!(
                    "a token bears the number of its key: the last hex digit modulo 4, here {}; \
                     draw the new key again until that differs",
                    key.value.number
                )),
        ),
        _ => {}
    }
}

/// A backend that is ourselves would get its own requests back, each time with one Via more.
fn no_loop(
    backend: &RawBackend<SocketAddr>,
    listeners: &[RawListener],
    ports: BackendPorts,
    report: &mut Report,
) {
    let At { value: address, place } = backend.address;
    let heard = |listener: &&RawListener| {
        let bind = listener.bind.value;
        let wildcard = bind.ip().is_unspecified() && bind.is_ipv4() == address.is_ipv4();
        bind == address || (wildcard && bind.port() == address.port() && is_this_machine(address))
    };
    if let Some(listener) = listeners.iter().find(heard) {
        report.add(
            Problem::error(format!("the backend {address} is a listener: a loop"))
                .at(place, "requests would come back to this balancer")
                .at(listener.bind.place, "it listens here"),
        );
    }
    if let BackendPorts::Range(first, last) = ports
        && (first..=last).contains(&address.port())
        && is_this_machine(address)
    {
        report.add(
            Problem::error(format!("the backend {address} is on one of the backend ports"))
                .at(place, format!("the balancer itself opens {first}-{last}"))
                .help("set backend_ports to a range that no program on this machine uses"),
        );
    }
}

/// With `backend_ports = "listener"` a request leaves from a listener of the backend's family.
fn families_agree(
    backend: &RawBackend<SocketAddr>,
    listeners: &[RawListener],
    ports: At<BackendPorts>,
    report: &mut Report,
) {
    let At { value: address, place } = backend.address;
    if listeners.iter().all(|listener| listener.bind.value.is_ipv4() != address.is_ipv4()) {
        let family = if address.is_ipv4() { "IPv4" } else { "IPv6" };
        report.add(
            Problem::error(format!("no listener can reach the backend {address}"))
                .at(place, format!("expected a listener on {family}"))
                .at(ports.place, "requests leave from the listeners")
                .help(format!("add a listener on {family}, or give backend_ports a range")),
        );
    }
}

/// Addresses that are this machine's wherever it is.
fn is_this_machine(address: SocketAddr) -> bool {
    let ip = address.ip();
    ip == IpAddr::V4(Ipv4Addr::LOCALHOST) || ip == IpAddr::V6(Ipv6Addr::LOCALHOST)
}

/// `net.ipv4.ip_local_port_range` as Linux sets it at boot.
const EPHEMERAL_FIRST: u16 = 32_768;
