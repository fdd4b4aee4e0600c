//! What the values say of each other: a [`Raw`] becomes a [`Config`], or problems.

use super::file::{HashName, PolicyName, Raw, RawBackend, RawListener, RawPool};
use super::reader::At;
use super::report::{Problem, Report};
use super::{ADMIN, BACKEND_PORTS, BackendConfig, BackendPorts, Cluster, Config, Listener};
use super::{LogLevel, PoolConfig};
use crate::limits::{BACKEND_PORTS_MAX, BACKENDS_MAX, SOCKETS_MAX};
use crate::pool::{BackendSpec, Intake, Policy, Pool, PoolError, State};
use crate::proxy::PathMode;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Checks everything and notes every problem; the result counts only if none is an error.
pub(super) fn validate(raw: Raw, report: &mut Report) -> Config {
    let ports = raw.backend_ports.map_or(BACKEND_PORTS, |at| at.value);
    listeners_agree(&raw, report);
    ports_agree(&raw, ports, report);
    keys_agree(&raw, report);
    several_pools(&raw.pools, report);
    let raw_pool = raw.pools.into_iter().next().unwrap_or_default();
    backends_agree(&raw_pool, report);
    for backend in &raw_pool.backends {
        no_loop(backend, &raw.listeners, ports, report);
    }
    if let (BackendPorts::Listener, Some(at)) = (ports, raw.backend_ports) {
        families_agree(&raw_pool, &raw.listeners, at, report);
    }
    let seed = raw.hash_seed.unwrap_or(0);
    let pool = pool(raw_pool, seed, report);
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
        listeners: raw.listeners.into_iter().map(listener).collect(),
        backend_ports: ports,
        pools: vec![pool],
        record_route: raw.record_route.unwrap_or(true),
        path: raw.path.unwrap_or(PathMode::Always),
        limits: raw.limits,
        cluster: Cluster {
            current: raw.current_key.map(|at| at.value),
            previous: raw.previous_key.map(|at| at.value),
            hash_seed: seed,
        },
        admin,
        admin_socket: raw.admin_socket,
        log: raw.log.unwrap_or(LogLevel::Info),
    }
}

fn listener(raw: RawListener) -> Listener {
    let bind = raw.bind.value;
    let advertise = raw.advertise.map(|(host, port)| (host, port.unwrap_or(bind.port())));
    Listener { bind, advertise }
}

fn pool(raw: RawPool, seed: u64, report: &mut Report) -> PoolConfig {
    let policy = match (raw.policy.map(|at| at.value), raw.hash) {
        (Some(PolicyName::RoundRobin), hash) => {
            if let (Some(policy), Some(hash)) = (raw.policy, hash) {
                report.add(hash_without_use(policy, hash, report));
            }
            Policy::RoundRobin
        }
        (_, Some(At { value: HashName::Maglev, .. })) => Policy::CALL_ID_HASH_MAGLEV,
        _ => Policy::CALL_ID_HASH,
    };
    let backends: Vec<BackendConfig> = raw
        .backends
        .into_iter()
        .map(|backend| BackendConfig {
            address: backend.address.value,
            weight: backend.weight.unwrap_or(1),
            state: backend.state.unwrap_or(State::Ready),
            name: identity(&backend),
            sources: backend.sources,
        })
        .collect();
    let takes_calls = |backend: &BackendConfig| backend.state == State::Ready && backend.weight > 0;
    if !backends.is_empty() && !backends.iter().any(takes_calls) {
        report.add(
            Problem::warning("no backend takes new calls")
                .at(raw.place, "all are drained, down, or have weight 0")
                .help("callers get 480 until one is ready"),
        );
    }
    if !report.has_errors() {
        identities_differ(&backends, policy, seed, report);
    }
    let name = raw.name.unwrap_or_else(|| "default".to_owned());
    PoolConfig { name, policy, health: raw.health, backends }
}

/// Without a name the address is the identity, in one spelling: every node must agree on it
/// however its file writes the address.
fn identity(backend: &RawBackend) -> String {
    match &backend.name {
        Some(name) => name.value.clone(),
        None => backend.address.value.to_string(),
    }
}

fn hash_without_use(policy: At<PolicyName>, hash: At<HashName>, report: &Report) -> Problem {
    let title = "`hash` goes with the policy call-id-hash only";
    // A flag tries another policy on a file that is right by itself.
    let overridden = report.is_flag(policy.place);
    let problem = if overridden { Problem::warning(title) } else { Problem::error(title) };
    problem
        .at(hash.place, if overridden { "without effect" } else { "remove it, or the policy" })
        .at(policy.place, "the policy is round-robin")
}

fn several_pools(pools: &[RawPool], report: &mut Report) {
    for pool in pools.iter().skip(1) {
        report.add(
            Problem::error("several pools come with a later version")
                .at(pool.place, "the second [[pool]]")
                .at(pools[0].place, "the first one")
                .help("[[route]] will say which requests go to which pool; until then have one"),
        );
    }
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

fn backends_agree(pool: &RawPool, report: &mut Report) {
    if pool.backends.is_empty() {
        report.add(
            Problem::error("there is no backend")
                .at(pool.place, "this pool is empty")
                .help("give --backend 10.0.0.11:5060, or a file with [[pool.backend]] address = \"10.0.0.11:5060\""),
        );
    }
    if let Some(first_over) = pool.backends.get(BACKENDS_MAX) {
        let title = format!("there are {} backends", pool.backends.len());
        let label = format!("at most {BACKENDS_MAX} can be");
        report.add(Problem::error(title).at(first_over.address.place, label));
    }
    let mut by_address = HashMap::new();
    let mut by_name = HashMap::new();
    for backend in &pool.backends {
        let address = backend.address;
        if let Some(other) = by_address.insert(address.value, address.place) {
            report.add(
                Problem::error(format!("two backends have the address {}", address.value))
                    .at(address.place, "again here")
                    .at(other, "the first one"),
            );
            continue;
        }
        let name = identity(backend);
        let place = backend.name.as_ref().map_or(address.place, |name| name.place);
        let title = format!("two backends have the name `{name}`");
        if let Some(other) = by_name.insert(name, place) {
            report.add(
                Problem::error(title)
                    .at(place, "again here")
                    .at(other, "the first one")
                    .help("the name is the backend's identity in tokens and metrics"),
            );
        }
    }
}

/// A backend that is ourselves would get its own requests back, each time with one Via more.
fn no_loop(
    backend: &RawBackend,
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
    pool: &RawPool,
    listeners: &[RawListener],
    ports: At<BackendPorts>,
    report: &mut Report,
) {
    for backend in &pool.backends {
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
}

/// Two different names may still have the same identity, a fixed hash of the name.
fn identities_differ(backends: &[BackendConfig], policy: Policy, seed: u64, report: &mut Report) {
    let spec = |backend: &BackendConfig| BackendSpec {
        name: backend.name.clone(),
        address: backend.address,
        weight: backend.weight,
        state: backend.state,
        sources: Vec::new(),
        side: 0,
        intake: Intake::default(),
    };
    let title = match Pool::build(backends.iter().map(spec).collect(), policy, seed) {
        Ok(_) => return,
        Err(PoolError::Groups(count)) => format!("there are {count} pools"),
        Err(PoolError::TooMany(count)) => format!("there are {count} backends"),
        Err(PoolError::SameName(name)) => format!("two backends have the name `{name}`"),
        Err(PoolError::SameAddress(one, other)) => {
            format!("the backends `{one}` and `{other}` have the same address")
        }
        Err(PoolError::SameIdentity(one, other)) => {
            format!("the names `{one}` and `{other}` have the same hash: rename one of them")
        }
    };
    report.add(Problem::error(title));
}

/// Addresses that are this machine's wherever it is.
fn is_this_machine(address: SocketAddr) -> bool {
    let ip = address.ip();
    ip == IpAddr::V4(Ipv4Addr::LOCALHOST) || ip == IpAddr::V6(Ipv6Addr::LOCALHOST)
}

/// `net.ipv4.ip_local_port_range` as Linux sets it at boot.
const EPHEMERAL_FIRST: u16 = 32_768;
