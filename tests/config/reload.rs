//! What differs between two configurations: what a reload does, and what waits for a restart.

use super::{LARGEST, SMALLEST, good};
use sipring::config::{BackendPorts, Config, Diff, Listener};
use std::path::PathBuf;

fn changed(change: impl FnOnce(&mut Config)) -> Diff {
    let old = good(LARGEST);
    let mut new = old.clone();
    change(&mut new);
    old.diff(&new)
}

#[test]
fn nothing_differs_from_itself() {
    for text in [SMALLEST, LARGEST] {
        assert!(good(text).diff(&good(text)).is_empty());
    }
}

#[test]
fn each_change_of_a_backend_has_its_line() {
    let diff = changed(|config| {
        let backends = &mut config.pools[0].backends;
        backends[0].weight += 1;
        backends[0].address.set_port(9);
        let mut new = backends[0].clone();
        new.name = "new".into();
        backends.push(new);
        backends.remove(1);
    });
    assert_eq!(diff.restart, [""; 0]);
    let kinds = ["address", "weight", "added", "removed"];
    assert_eq!(diff.live.len(), kinds.len(), "{diff}");
    for (line, kind) in diff.live.iter().zip(kinds) {
        assert!(line.contains(kind), "{line}");
    }
    let diff = changed(|config| config.pools[0].backends.reverse());
    assert_eq!(diff.live, ["order of the backends"]);
}

#[test]
fn keys_are_never_told() {
    let diff = changed(|config| {
        config.cluster.current.as_mut().expect("a key").bytes = [0xab; 16];
        config.cluster.previous = None;
    });
    assert_eq!(diff.live, ["[cluster] key", "[cluster] previous_key"]);
}

#[test]
fn what_needs_a_restart_is_kept_as_it_was_and_the_rest_is_taken_over() {
    let old = good(LARGEST);
    let mut new = old.clone();
    new.workers = Some(2);
    new.steering = !old.steering;
    new.listeners[0].advertise = None;
    new.listeners.remove(1);
    new.admin.set_port(1);
    new.admin_socket = Some(PathBuf::from("/run/x.sock"));
    new.limits.pins += 1;
    new.limits.receive_buffer += 1;
    new.limits.dialog_idle_s += 1;
    new.record_route = !new.record_route;
    let diff = old.diff(&new);
    assert_eq!(diff.restart.len(), 6, "{diff}");
    assert_eq!(diff.restart[1], "steering off -> auto");
    assert_eq!(diff.live.len(), 4, "{diff}");
    let both = old.taking_over(&new);
    assert_eq!(both.listeners, new.listeners);
    assert_eq!(
        (both.workers, both.steering, both.admin, both.limits.pins),
        (old.workers, old.steering, old.admin, old.limits.pins)
    );
    assert_eq!(both.limits.dialog_idle_s, new.limits.dialog_idle_s);
    assert!(old.diff(&both).restart.is_empty());
    assert_eq!(both.diff(&new).restart, diff.restart, "it is still to be done");
}

fn listener(bind: &str) -> Listener {
    Listener { bind: bind.parse().expect("an address"), advertise: None, force_rport: false }
}

#[test]
fn listeners_come_go_and_are_renamed_at_once() {
    let diff = changed(|config| {
        config.listeners[0].advertise = Some(("2001:db8::7".to_owned(), 5060));
        config.listeners[1] = listener("192.0.2.7:5070");
    });
    assert_eq!(diff.restart, [""; 0]);
    let [renamed, added, removed] = &diff.live[..] else { panic!("{diff}") };
    assert!(renamed.ends_with(" -> [2001:db8::7]:5060"), "{renamed}");
    assert_eq!(added, "listener udp:192.0.2.7:5070 added");
    assert!(removed.ends_with(" removed"), "{removed}");
}

#[test]
fn a_listener_that_requests_to_backends_leave_from_stays_until_a_restart() {
    let mut old = good(LARGEST);
    old.backend_ports = BackendPorts::Listener;
    old.listeners = vec![listener("0.0.0.0:5060"), listener("192.0.2.7:5070")];
    let mut new = old.clone();
    new.listeners = vec![listener("192.0.2.8:5070"), listener("192.0.2.7:5060")];
    let diff = old.diff(&new);
    assert_eq!(diff.live, ["listener udp:192.0.2.8:5070 added"]);
    // In the way of the wildcard that stays.
    assert_eq!(diff.restart[0], "listener udp:192.0.2.7:5060 added");
    assert!(diff.restart[1].starts_with("listener udp:0.0.0.0:5060 removed: "), "{diff}");
    assert!(diff.restart[2].starts_with("listener udp:192.0.2.7:5070 removed: "), "{diff}");
    let both = old.taking_over(&new);
    assert_eq!(both.listeners, [&new.listeners[..1], &old.listeners[..]].concat());
    assert_eq!(both.diff(&new).restart, diff.restart, "it is still to be done");
}

#[test]
fn a_listener_on_one_of_the_ports_of_now_needs_a_restart() {
    for (port, live) in [(15_059, true), (15_060, false), (15_061, false), (15_062, true)] {
        let mut old = good(LARGEST);
        old.backend_ports = BackendPorts::Range(15_060, 15_061);
        let mut new = old.clone();
        new.backend_ports = BackendPorts::Range(16_060, 16_061);
        new.listeners.push(listener(&format!("192.0.2.7:{port}")));
        assert_eq!(!old.diff(&new).live.is_empty(), live, "{port}");
        assert_eq!(old.taking_over(&new).listeners.len() > old.listeners.len(), live);
    }
}

#[test]
fn both_kinds_are_shown() {
    let shown = changed(|config| {
        config.workers = None;
        config.limits.drain_timeout_s = 0;
    })
    .to_string();
    assert_eq!(shown.lines().count(), 2);
    assert!(shown.contains("reload    drain_timeout ") && shown.contains("restart   workers 4 ->"));
}
