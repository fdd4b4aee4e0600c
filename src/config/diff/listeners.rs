//! Listeners come, go and are advertised otherwise with a reload, but for those that something else
//! depends on until a restart.

use super::Diff;
use crate::config::address::overlap;
use crate::config::show::advertised;
use crate::config::{BackendPorts, Config, Listener};

/// What differs in the listeners, each in words.
pub(super) fn differences(old: &Config, new: &Config, diff: &mut Diff) {
    let live = live(old, new);
    let of =
        |list: &[Listener], bind| list.iter().find(|one: &&Listener| one.bind == bind).cloned();
    for listener in &new.listeners {
        let (bind, was) = (listener.bind, of(&old.listeners, listener.bind));
        let mut changes = Vec::new();
        match was {
            None => changes.push("added".to_owned()),
            Some(was) => {
                let name = |one: &Listener| advertised(one).unwrap_or("its address".to_owned());
                if was.advertise != listener.advertise {
                    changes.push(format!("advertise {} -> {}", name(&was), name(listener)));
                }
                let (before, after) = (was.force_rport, listener.force_rport);
                if before != after {
                    changes.push(format!("force_rport {before} -> {after}"));
                }
            }
        }
        let list = match of(&live, bind).as_ref() == Some(listener) {
            true => &mut diff.live,
            false => &mut diff.restart,
        };
        list.extend(changes.iter().map(|change| format!("listener udp:{bind} {change}")));
    }
    for listener in old.listeners.iter().filter(|one| of(&new.listeners, one.bind).is_none()) {
        let text = format!("listener udp:{} removed", listener.bind);
        match of(&live, listener.bind) {
            None => diff.live.push(text),
            Some(_) => {
                diff.restart.push(format!("{text}: requests to backends leave from listeners"))
            }
        }
    }
}

/// The listeners after a reload. What requests to backends leave from stays: transactions that are
/// under way name it. And nothing comes where it is in the way of what stays.
pub(super) fn live(old: &Config, new: &Config) -> Vec<Listener> {
    let has = |list: &[Listener], bind| list.iter().any(|one| one.bind == bind);
    let stays = |one: &&Listener| {
        old.backend_ports == BackendPorts::Listener && !has(&new.listeners, one.bind)
    };
    let staying: Vec<_> = old.listeners.iter().filter(stays).cloned().collect();
    let fits = |one: &&Listener| {
        let is_port = match old.backend_ports {
            BackendPorts::Range(first, last) => (first..=last).contains(&one.bind.port()),
            BackendPorts::Listener => false,
        };
        !is_port && !staying.iter().any(|other| overlap(one.bind, other.bind))
    };
    new.listeners.iter().filter(fits).chain(&staying).cloned().collect()
}
