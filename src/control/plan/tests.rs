//! Addresses in, sockets and sides out.

use super::*;
use crate::config::{BackendConfig, Cluster, DnsConfig, Limits, LogLevel, PoolConfig};
use crate::pool::{Intake, Policy, State};
use crate::proxy::{PathMode, WORK};

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

/// `listeners` are `ADDR` or `ADDR=HOST:PORT` with an advertised name.
pub(in super::super) fn config(
    listeners: &[&str],
    ports: BackendPorts,
    backends: &[&str],
) -> Config {
    let listener = |text: &&str| {
        let (bind, advertise) = text.split_once('=').unwrap_or((text, ""));
        let advertise = advertise.rsplit_once(':');
        Listener {
            bind: bind.parse().expect("a socket address"),
            advertise: advertise.map(|(host, port)| (host.into(), port.parse().expect("a port"))),
            force_rport: false,
        }
    };
    let backend = |(place, text): (usize, &&str)| BackendConfig {
        name: format!("b{place}"),
        address: text.parse().expect("a socket address"),
        weight: 1 + place as u16,
        state: State::Ready,
        sources: vec![],
        intake: Intake::default(),
    };
    Config {
        steering: true,
        workers: None,
        listeners: listeners.iter().map(listener).collect(),
        backend_ports: ports,
        pools: vec![PoolConfig::new(
            "default",
            Policy::CALL_ID_HASH,
            backends.iter().enumerate().map(backend).collect(),
        )],
        routes: vec![],
        work: WORK,
        record_route: true,
        path: PathMode::Always,
        dns: DnsConfig::default(),
        limits: Limits {
            max_message: 65_507,
            pins: 1000,
            dialog_idle_s: 43_200,
            registration_idle_s: 7200,
            failover_tries: 3,
            failover_after_s: 3,
            failover_kept: 64,
            receive_buffer: 1 << 20,
            ..Limits::default()
        },
        cluster: Cluster { current: None, previous: None, hash_seed: 0 },
        admin: "127.0.0.1:0".parse().expect("a socket address"),
        admin_socket: None,
        log: LogLevel::Error,
        message_log: None,
    }
}

/// `sources` are addresses, or `!text` for an error.
fn network(local: &[&str], sources: &[&str]) -> Network {
    let source = |text: &&str| match text.strip_prefix('!') {
        Some(error) => Err(error.to_owned()),
        None => Ok(ip(text)),
    };
    Network {
        local: local.iter().map(|text| ip(text)).collect(),
        sources: sources.iter().map(source).collect(),
        towards_names: Vec::new(),
    }
}

/// One line a socket: `L` or `B`, address, advertised name.
fn sockets(outline: &Outline) -> Vec<String> {
    let line = |socket: &LocalSocket| {
        let role = if socket.role == Role::Listener { 'L' } else { 'B' };
        let name = socket.advertise.as_ref().map(|(host, port)| format!(" {host}:{port}"));
        format!("{role} {}{}", socket.address, name.unwrap_or_default())
    };
    outline.sockets.iter().map(line).collect()
}

/// One line a side: local address, egress and contact as addresses.
fn sides(outline: &Outline, worker: usize) -> Vec<String> {
    let address = |at: SocketIndex| outline.sockets[usize::from(at.0)].address;
    let line = |side: &Side| {
        format!("{} from {} contact {}", side.local, address(side.egress), address(side.contact))
    };
    outline.sides[worker].iter().map(line).collect()
}

fn side_of_each(outline: &Outline) -> Vec<u8> {
    outline.backends.iter().flatten().map(|backend| backend.side).collect()
}

const TWO_PORTS: BackendPorts = BackendPorts::Range(6000, 6001);

#[test]
fn one_interface() {
    let config = config(&["10.0.0.1:5060"], TWO_PORTS, &["10.0.0.11:5060", "10.0.0.12:5060"]);
    let outline = outline(&config, 2, &network(&[], &["10.0.0.1", "10.0.0.1"])).unwrap();
    assert_eq!(sockets(&outline), ["L 10.0.0.1:5060", "B 10.0.0.1:6000", "B 10.0.0.1:6001"]);
    assert_eq!(sides(&outline, 0), ["10.0.0.1 from 10.0.0.1:6000 contact 10.0.0.1:5060"]);
    assert_eq!(sides(&outline, 1), ["10.0.0.1 from 10.0.0.1:6001 contact 10.0.0.1:5060"]);
    assert_eq!(side_of_each(&outline), [0, 0]);
    let second = &outline.backends[0][1];
    assert_eq!((second.name.as_str(), second.weight, second.state), ("b1", 2, State::Ready));
    assert_eq!(second.address, "10.0.0.12:5060".parse().unwrap());
}

#[test]
fn every_port_is_opened_also_with_fewer_workers() {
    let config = config(&["10.0.0.1:5060"], BackendPorts::Range(6000, 6003), &["10.0.0.11:5060"]);
    let outline = outline(&config, 1, &network(&[], &["10.0.0.1"])).unwrap();
    assert_eq!(outline.sockets.len(), 1 + 4);
    assert_eq!(outline.sides.len(), 1);
}

#[test]
fn a_wildcard_stands_for_every_local_address_of_its_family() {
    let config = config(&["0.0.0.0:5060=sip.example.com:5070"], TWO_PORTS, &["10.0.0.11:5060"]);
    let network =
        network(&["127.0.0.1", "10.0.0.1", "::1", "2001:db8::1", "fe80::1"], &["10.0.0.1"]);
    let outline = outline(&config, 1, &network).unwrap();
    assert_eq!(
        sockets(&outline)[..2],
        ["L 127.0.0.1:5060 sip.example.com:5070", "L 10.0.0.1:5060 sip.example.com:5070"]
    );
    assert_eq!(sockets(&outline)[2..], ["B 10.0.0.1:6000", "B 10.0.0.1:6001"]);
    assert_eq!(sides(&outline, 0), ["10.0.0.1 from 10.0.0.1:6000 contact 10.0.0.1:5060"]);
}

#[test]
fn a_v6_wildcard_leaves_link_local_addresses_out() {
    let config = config(&["[::]:5060"], TWO_PORTS, &["[2001:db8::11]:5060"]);
    let network = network(&["127.0.0.1", "::1", "2001:db8::1", "fe80::1"], &["2001:db8::1"]);
    let outline = outline(&config, 1, &network).unwrap();
    assert_eq!(sockets(&outline)[..2], ["L [::1]:5060", "L [2001:db8::1]:5060"]);
}

#[test]
fn a_listener_of_its_own_takes_its_address_out_of_the_wildcard() {
    for order in [
        ["0.0.0.0:5060", "10.0.0.1:5060=a.example:5060"],
        ["10.0.0.1:5060=a.example:5060", "0.0.0.0:5060"],
    ] {
        let config = config(&order, TWO_PORTS, &["10.0.0.11:5060"]);
        let network = network(&["10.0.0.1", "10.0.0.2"], &["10.0.0.1"]);
        let mut listeners = sockets(&outline(&config, 1, &network).unwrap())[..2].to_vec();
        listeners.sort();
        assert_eq!(listeners, ["L 10.0.0.1:5060 a.example:5060", "L 10.0.0.2:5060"]);
    }
    // Another port is another socket.
    let config = config(&["0.0.0.0:5060", "10.0.0.1:5070"], TWO_PORTS, &["10.0.0.11:5060"]);
    let network = network(&["10.0.0.1"], &["10.0.0.1"]);
    let outline = outline(&config, 1, &network).unwrap();
    assert_eq!(sockets(&outline)[..2], ["L 10.0.0.1:5060", "L 10.0.0.1:5070"]);
}

#[test]
fn two_interfaces() {
    let config = config(
        &["192.0.2.1:5060"],
        TWO_PORTS,
        &["10.0.0.11:5060", "192.0.2.9:5060", "10.0.0.12:5060"],
    );
    let network = network(&[], &["10.0.0.1", "192.0.2.1", "10.0.0.1"]);
    let outline = outline(&config, 2, &network).unwrap();
    assert_eq!(
        sockets(&outline),
        [
            "L 192.0.2.1:5060",
            "B 10.0.0.1:6000",
            "B 192.0.2.1:6000",
            "B 10.0.0.1:6001",
            "B 192.0.2.1:6001"
        ]
    );
    assert_eq!(
        sides(&outline, 1),
        [
            "10.0.0.1 from 10.0.0.1:6001 contact 10.0.0.1:6000",
            "192.0.2.1 from 192.0.2.1:6001 contact 192.0.2.1:5060"
        ]
    );
    assert_eq!(side_of_each(&outline), [0, 1, 0]);
}

#[test]
fn both_families() {
    let config = config(
        &["10.0.0.1:5060", "[2001:db8::1]:5060"],
        TWO_PORTS,
        &["[2001:db8::11]:5060", "10.0.0.11:5060"],
    );
    let outline = outline(&config, 1, &network(&[], &["2001:db8::1", "10.0.0.1"])).unwrap();
    assert_eq!(
        sides(&outline, 0),
        [
            "10.0.0.1 from 10.0.0.1:6000 contact 10.0.0.1:5060",
            "2001:db8::1 from [2001:db8::1]:6000 contact [2001:db8::1]:5060"
        ]
    );
    assert_eq!(side_of_each(&outline), [1, 0]);
}

#[test]
fn clients_on_v4_and_backends_on_v6() {
    let config = config(&["10.0.0.1:5060"], TWO_PORTS, &["[2001:db8::11]:5060"]);
    let outline = outline(&config, 1, &network(&[], &["2001:db8::1"])).unwrap();
    assert_eq!(
        sides(&outline, 0),
        ["2001:db8::1 from [2001:db8::1]:6000 contact [2001:db8::1]:6000"]
    );
}

#[test]
fn requests_leave_from_the_listener_where_the_config_says_so() {
    let config = config(
        &["10.0.0.1:5060", "192.0.2.1:5060"],
        BackendPorts::Listener,
        &["192.0.2.9:5060", "10.0.0.11:5060"],
    );
    let outline = outline(&config, 2, &network(&[], &["192.0.2.1", "10.0.0.1"])).unwrap();
    assert_eq!(sockets(&outline), ["L 10.0.0.1:5060", "L 192.0.2.1:5060"]);
    for worker in 0..2 {
        assert_eq!(
            sides(&outline, worker),
            [
                "10.0.0.1 from 10.0.0.1:5060 contact 10.0.0.1:5060",
                "192.0.2.1 from 192.0.2.1:5060 contact 192.0.2.1:5060"
            ]
        );
    }
}

#[test]
fn the_only_listener_of_a_family_sends_also_from_another_address() {
    let config = config(&["10.0.0.1:5060", "[::1]:5060"], BackendPorts::Listener, &["10.0.0.9:1"]);
    let outline = outline(&config, 1, &network(&[], &["10.0.0.2"])).unwrap();
    assert_eq!(sides(&outline, 0), ["10.0.0.2 from 10.0.0.1:5060 contact 10.0.0.1:5060"]);
}

#[test]
fn advertise_stays_with_its_listener() {
    let config = config(&["10.0.0.1:5060=sip.example.com:5060"], TWO_PORTS, &["10.0.0.11:5060"]);
    let outline = outline(&config, 1, &network(&[], &["10.0.0.1"])).unwrap();
    assert_eq!(sockets(&outline)[0], "L 10.0.0.1:5060 sip.example.com:5060");
    assert_eq!(sockets(&outline)[1], "B 10.0.0.1:6000");
}

/// Listeners, ports, backends, local addresses, sources, exit code, words of the text.
type Refused = (
    &'static [&'static str],
    BackendPorts,
    &'static [&'static str],
    &'static [&'static str],
    &'static [&'static str],
    u8,
    &'static [&'static str],
);

#[test]
fn what_cannot_work_is_refused_with_its_reason() {
    const LISTENER: BackendPorts = BackendPorts::Listener;
    let cases: [Refused; 9] = [
        (
            &["10.0.0.1:5060"],
            TWO_PORTS,
            &["10.9.0.1:5060"],
            &[],
            &["!Network is unreachable"],
            69,
            &["b0", "10.9.0.1:5060", "Network is unreachable", "route"],
        ),
        (
            &["10.0.0.1:5060"],
            TWO_PORTS,
            &["[fe80::9]:5060"],
            &[],
            &["fe80::1"],
            69,
            &["link-local", "fe80::1"],
        ),
        (
            &["[::]:5060"],
            TWO_PORTS,
            &["10.0.0.9:1"],
            &["10.0.0.1"],
            &["10.0.0.1"],
            69,
            &["udp:[::]:5060", "no IPv6 address"],
        ),
        (
            &["[::1]:5060"],
            LISTENER,
            &["10.0.0.9:1"],
            &[],
            &["10.0.0.1"],
            78,
            &["no listener", "10.0.0.1"],
        ),
        (
            &["10.0.0.1:5060", "10.0.0.2:5060"],
            LISTENER,
            &["10.1.0.9:1"],
            &[],
            &["10.1.0.1"],
            78,
            &["not clear which", "10.1.0.1"],
        ),
        (
            &["10.0.0.1:6001"],
            TWO_PORTS,
            &["10.0.0.9:1"],
            &[],
            &["10.0.0.1"],
            78,
            &["backend_ports 6000-6001", "10.0.0.1:6001"],
        ),
        (
            &["10.0.0.1:5060", "10.0.0.1:5060"],
            TWO_PORTS,
            &["10.0.0.9:1"],
            &[],
            &["10.0.0.1"],
            78,
            &["two listeners", "10.0.0.1:5060"],
        ),
        (
            &["10.0.0.1:5060"],
            TWO_PORTS,
            &["10.0.0.1:5060"],
            &[],
            &["10.0.0.1"],
            78,
            &["b0", "own socket"],
        ),
        (
            &["10.0.0.1:5060"],
            TWO_PORTS,
            &["10.0.0.1:6001"],
            &[],
            &["10.0.0.1"],
            78,
            &["own socket"],
        ),
    ];
    for (listeners, ports, backends, local, sources, exit, words) in cases {
        let refused = outline(&config(listeners, ports, backends), 1, &network(local, sources));
        let failure = refused.expect_err(words[0]);
        assert_eq!(failure.exit, exit, "{failure}");
        for word in words {
            assert!(failure.text.contains(word), "no {word:?} in {failure}");
        }
    }
}

#[test]
fn as_many_sockets_as_fit_and_not_one_more() {
    // One port on each of these addresses, and one listener, towards one backend on each side.
    let with_ports = |last| {
        let config =
            config(&["10.0.0.1:5060"], BackendPorts::Range(10_001, last), &["10.0.0.9:5060"]);
        outline(&config, 1, &network(&[], &["10.0.0.1"]))
    };
    let fit = 10_000 + SOCKETS_MAX as u16 - 1;
    assert_eq!(with_ports(fit).unwrap().sockets.len(), SOCKETS_MAX);
    let failure = with_ports(fit + 1).unwrap_err();
    assert_eq!(failure.exit, 78);
    assert!(failure.text.contains("4097"), "{failure}");
}

#[test]
fn one_worker_per_core_within_the_ports() {
    let mut config = config(&["10.0.0.1:5060"], TWO_PORTS, &["10.0.0.9:1"]);
    assert_eq!(worker_count(&config, 1), Ok(1));
    assert_eq!(worker_count(&config, 2), Ok(2));
    assert_eq!(worker_count(&config, 8), Ok(2));
    config.workers = Some(2);
    assert_eq!(worker_count(&config, 8), Ok(2));
    config.workers = Some(3);
    let failure = worker_count(&config, 8).unwrap_err();
    assert!(failure.exit == 78 && failure.text.contains("backend_ports has 2 ports"), "{failure}");
    config.backend_ports = BackendPorts::Listener;
    assert_eq!(worker_count(&config, 8), Ok(3));
    config.workers = None;
    assert_eq!(worker_count(&config, 1000), Ok(crate::limits::WORKERS_MAX));
}
