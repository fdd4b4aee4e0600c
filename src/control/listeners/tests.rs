//! Listeners in, sockets out; and real ones that come and go.

use super::super::balancer::tests::loopback;
use super::super::plan::tests::config;
use super::super::plan::{Network, outline};
use super::*;
use crate::config::BackendPorts;
use std::net::UdpSocket;
use std::sync::Arc;

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

/// The settings of one worker with these listeners, its backends reached from 10.0.0.1.
fn settings(listeners: &[&str], local: &[&str], ports: BackendPorts) -> Settings {
    let config = config(listeners, ports, &["10.9.0.1:5060"]);
    let local = local.iter().map(|text| ip(text)).collect();
    let network = Network { local, sources: vec![Ok(ip("10.0.0.1"))], towards_names: vec![] };
    let outline = outline(&config, 1, &network).expect("a good plan");
    let balancer = Balancer::start(loopback()).expect("it starts");
    let settings = Settings::clone(&balancer.live().settings[0]);
    Settings { sockets: outline.sockets, sides: outline.sides[0].clone(), ..settings }
}

const PORTS: BackendPorts = BackendPorts::Range(15_060, 15_060);

fn followed(settings: &Settings, listeners: &[&str], local: &[&str]) -> Result<Followed, Failure> {
    let config = config(listeners, PORTS, &["10.9.0.1:5060"]);
    let local: Vec<_> = local.iter().map(|text| ip(text)).collect();
    let numbers: Vec<_> = (0..config.listeners.len() as u16).map(Some).collect();
    follow(settings, (&config.listeners, &numbers), &local)
}

/// What a list of sockets is, as `ROLE ADDRESS` each.
fn shown(followed: &Followed) -> Vec<String> {
    let of = |socket: &LocalSocket| format!("{:?} {}", socket.role, socket.address);
    followed.sockets.iter().map(of).collect()
}

fn after(settings: &Settings, followed: &Followed) -> Settings {
    Settings {
        sockets: followed.sockets.clone(),
        since_start: followed.since_start.clone(),
        sides: followed.sides(&settings.sides),
        ..settings.clone()
    }
}

#[test]
fn a_place_belongs_to_its_address_for_good() {
    let one = settings(&["10.0.0.1:5060"], &[], PORTS);
    let two = followed(&one, &["10.0.0.2:5060", "10.0.0.1:5060"], &[]).unwrap();
    let places = ["Listener 10.0.0.1:5060", "BackendPort 10.0.0.1:15060", "Listener 10.0.0.2:5060"];
    assert_eq!(shown(&two), places);
    assert_eq!((&two.opened[..], two.left.len()), (&[SocketIndex(2)][..], 0));
    let left = followed(&after(&one, &two), &["10.0.0.2:5060"], &[]).unwrap();
    assert_eq!(shown(&left)[0], "Leaving 10.0.0.1:5060");
    assert_eq!((left.opened.len(), &left.left[..]), (0, &[SocketIndex(0)][..]));
    // Once more without it: it is leaving already.
    let left = after(&one, &left);
    let again = followed(&left, &["10.0.0.2:5060"], &[]).unwrap();
    assert!(!again.changes_sockets());
    let back = followed(&left, &["10.0.0.2:5060", "10.0.0.1:5060"], &[]).unwrap();
    assert_eq!(shown(&back), places);
    assert_eq!(back.opened, [], "it was still open");
    let mut gone = left;
    gone.sockets[0].role = Role::Gone;
    let back = followed(&gone, &["10.0.0.2:5060", "10.0.0.1:5060"], &[]).unwrap();
    assert_eq!(shown(&back), places);
    assert_eq!((&back.opened[..], back.since_start.sockets_added), (&[SocketIndex(0)][..], 1));
}

#[test]
fn requests_leave_from_where_they_did_and_the_contact_follows() {
    let one = settings(&["10.0.0.1:5060"], &[], PORTS);
    assert_eq!((one.sides[0].egress, one.sides[0].contact), (SocketIndex(1), SocketIndex(0)));
    let contact = |settings: &Settings, listeners: &[&str]| {
        let followed = followed(settings, listeners, &[]).unwrap();
        let settings = after(settings, &followed);
        assert_eq!(settings.sides[0].egress, SocketIndex(1));
        (settings.sides[0].contact, settings)
    };
    let (first, both) = contact(&one, &["10.0.0.1:5060", "10.0.0.1:5070"]);
    assert_eq!(first, SocketIndex(0));
    assert_eq!(contact(&both, &["10.0.0.1:5070"]).0, SocketIndex(2));
    let (port, without) = contact(&one, &["10.0.0.2:5060"]);
    assert_eq!(port, SocketIndex(1), "no listener there any more");
    assert_eq!(contact(&without, &["10.0.0.2:5060", "10.0.0.1:5070"]).0, SocketIndex(3));
    // With "listener" the one that requests leave from stays; others come beside it.
    let only = settings(&["10.0.0.1:5060"], &[], BackendPorts::Listener);
    let more = followed(&only, &["10.0.0.1:5060", "10.0.0.1:5070"], &[]).unwrap();
    assert_eq!(more.sides(&only.sides), only.sides);
}

#[test]
fn a_wildcard_gets_new_addresses_and_loses_none() {
    let all = settings(&["0.0.0.0:5060"], &["10.0.0.1", "10.0.0.2"], PORTS);
    let moved = followed(&all, &["0.0.0.0:5060"], &["10.0.0.1", "10.0.0.3"]).unwrap();
    assert_eq!(shown(&moved)[1], "Listener 10.0.0.2:5060", "it may come back");
    assert_eq!(shown(&moved)[3], "Listener 10.0.0.3:5060");
    assert_eq!((moved.opened.len(), moved.left.len()), (1, 0));
    let wildcard = config(&["0.0.0.0:5060"], PORTS, &[]).listeners;
    assert_eq!(moved.of_wildcards(&wildcard), ["listener udp:10.0.0.3:5060 added, of a wildcard"]);
    // Another port, another family, and one of its own.
    let other = followed(&all, &["0.0.0.0:5070"], &["10.0.0.1"]).unwrap();
    assert_eq!(other.left, [SocketIndex(0), SocketIndex(1)]);
    let one = followed(&all, &["10.0.0.2:5060"], &["10.0.0.1"]).unwrap();
    assert_eq!((one.left, one.opened), (vec![SocketIndex(0)], vec![]));
    assert!(followed(&all, &["[::]:5060"], &["10.0.0.1"]).unwrap_err().text.contains("IPv6"));
}

#[test]
fn earlier_names_are_remembered_once_each() {
    let mut now = settings(&["10.0.0.1:5060=a.example:5060"], &[], PORTS);
    for name in ["b.example", "a.example", "b.example"] {
        let listener = format!("10.0.0.1:5060={name}:5060");
        now = after(&now, &followed(&now, &[&listener], &[]).unwrap());
        assert_eq!(now.sockets[0].advertise, Some((name.to_owned(), 5060)));
    }
    let name = |host: &str| (host.to_owned(), 5060);
    assert_eq!(now.since_start.advertised_before, [name("a.example"), name("b.example")]);
    for number in 0..ADVERTISED_BEFORE_MAX {
        let listener = format!("10.0.0.1:5060=n{number}.example:5060");
        now = after(&now, &followed(&now, &[&listener], &[]).unwrap());
    }
    let before = &now.since_start.advertised_before;
    assert_eq!((before.len(), &before[0]), (ADVERTISED_BEFORE_MAX, &name("b.example")));
}

#[test]
fn what_cannot_be_is_refused() {
    let one = settings(&["10.0.0.1:5060"], &[], PORTS);
    let port = followed(&one, &["10.0.0.1:15060"], &[]).unwrap_err();
    assert!(port.text.contains("one of backend_ports"), "{port}");
    let mut full = one.clone();
    full.since_start.sockets_added = SOCKETS_ADDED_MAX - 1;
    let last = followed(&full, &["10.0.0.2:5060"], &[]).unwrap();
    let over = followed(&after(&full, &last), &["10.0.0.3:5060"], &[]).unwrap_err();
    assert!(over.text.contains("take a restart"), "{over}");
}

#[test]
fn a_listener_keeps_its_number_wherever_it_stands() {
    let of = |listeners: &[&str]| config(listeners, PORTS, &[]);
    let first = of(&["10.0.0.1:5060", "10.0.0.2:5060"]);
    let second = of(&["10.0.0.3:5060", "10.0.0.2:5060", "10.0.0.1:5060"]);
    let known = binds(&first.binds(), &second);
    assert_eq!(numbers(&known, &second), [Some(2), Some(1), Some(0)]);
    let third = of(&["10.0.0.4:5060", "10.0.0.1:5060"]);
    let known = binds(&known, &third);
    assert_eq!(numbers(&known, &third), [Some(3), Some(0)]);
    let now = settings(&["10.0.0.1:5060", "10.0.0.2:5060"], &[], PORTS);
    let numbers = numbers(&known, &second);
    let followed = follow(&now, (&second.listeners, &numbers), &[]).unwrap();
    let told: Vec<_> = followed.sockets.iter().map(|socket| socket.listener).collect();
    assert_eq!(told, [Some(0), Some(1), None, Some(2)], "the third is a port towards backends");
}

#[test]
fn a_port_0_keeps_the_port_that_was_chosen() {
    let known = config(&["127.0.0.1:0", "127.0.0.2:5060"], PORTS, &[]).listeners;
    let bound = config(&["127.0.0.1:7777", "127.0.0.2:5060"], PORTS, &[]).listeners;
    let again = config(&["127.0.0.2:5060", "127.0.0.3:0", "127.0.0.1:0"], PORTS, &[]).listeners;
    let again = bind(&again, &known, &bound).unwrap();
    assert_eq!(again[0], bound[1]);
    assert_ne!(again[1].bind.port(), 0);
    assert_eq!(again[2], bound[0]);
}

#[test]
fn a_removed_listener_is_closed_when_its_time_is_over() {
    let mut config = loopback();
    let free = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    config.backend_ports = BackendPorts::Range(free, free);
    config.workers = Some(1);
    config.limits.remove_timeout_s = 100;
    let balancer = Balancer::start(config.clone()).unwrap();
    let first = balancer.listeners()[0];
    let second = UdpSocket::bind("127.0.0.2:0").unwrap().local_addr().unwrap();
    config.listeners.push(Listener { bind: second, advertise: None, force_rport: false });
    assert_eq!(balancer.reload(&config).unwrap().generation, 2);
    assert_eq!(balancer.listeners(), [first, second]);
    assert!(balancer.summary().contains(&second.to_string()), "{}", balancer.summary());
    config.listeners.pop();
    let now = SystemTime::now();
    assert_eq!(balancer.reload(&config).unwrap().generation, 3);
    assert_eq!(balancer.listeners(), [first]);
    balancer.look();
    assert_eq!(balancer.live().leaving.len(), 1);
    UdpSocket::bind(second).expect_err("it is open");
    let until = balancer.live().leaving[0].until;
    assert!(until >= now + Duration::from_secs(100));
    balancer.close_left(until - Duration::from_millis(1));
    assert_eq!(balancer.live().leaving.len(), 1);
    balancer.close_left(until);
    assert_eq!(balancer.live().leaving, []);
    let end = std::time::Instant::now() + Duration::from_secs(10);
    while UdpSocket::bind(second).is_err() {
        assert!(std::time::Instant::now() < end, "it stays open");
    }
    // It is ours for good, in Routes: no backend can be there.
    let mut own = config.clone();
    own.pools[0].backends[0].address = second;
    assert!(balancer.reload(&own).unwrap_err().text.contains("own socket"));
    config.listeners.push(Listener { bind: second, advertise: None, force_rport: false });
    balancer.reload(&config).unwrap();
    assert_eq!(balancer.listeners(), [first, second]);
    balancer.stop();
}

#[test]
fn a_port_that_is_taken_refuses_all_of_the_reload() {
    let mut config = loopback();
    let balancer = Balancer::start(config.clone()).unwrap();
    let (pool, settings) = (balancer.pool(), balancer.live().settings.clone());
    let taken = UdpSocket::bind("127.0.0.2:0").unwrap();
    let bind = taken.local_addr().unwrap();
    config.pools[0].backends[0].weight = 9;
    config.listeners.push(Listener { bind, advertise: None, force_rport: false });
    let failure = balancer.reload(&config).unwrap_err();
    assert_eq!(failure.exit, Failure::UNAVAILABLE);
    assert!(failure.text.contains(&format!("cannot listen on udp:{bind} ")), "{failure}");
    assert!(Arc::ptr_eq(&pool, &balancer.pool()));
    assert!(Arc::ptr_eq(&settings[0], &balancer.live().settings[0]));
    drop(taken);
    balancer.reload(&config).unwrap();
    assert_eq!(balancer.listeners()[1], bind);
    balancer.stop();
}
