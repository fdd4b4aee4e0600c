//! What differs between two configurations: what a reload does, and what waits for a restart.

use super::{LARGEST, SMALLEST, good};
use sipring::config::{Config, Diff};
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
    new.listeners[0].advertise = None;
    new.listeners.remove(1);
    new.admin.set_port(1);
    new.admin_socket = Some(PathBuf::from("/run/x.sock"));
    new.limits.pins += 1;
    new.limits.receive_buffer += 1;
    new.limits.dialog_idle_s += 1;
    new.record_route = !new.record_route;
    let diff = old.diff(&new);
    assert_eq!(diff.restart.len(), 7, "{diff}");
    assert_eq!(diff.live.len(), 2, "{diff}");
    let both = old.taking_over(&new);
    assert_eq!(both.listeners, old.listeners);
    assert_eq!(
        (both.workers, both.admin, both.limits.pins),
        (old.workers, old.admin, old.limits.pins)
    );
    assert_eq!(both.limits.dialog_idle_s, new.limits.dialog_idle_s);
    assert!(old.diff(&both).restart.is_empty());
    assert_eq!(both.diff(&new).restart, diff.restart, "it is still to be done");
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
