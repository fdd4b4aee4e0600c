//! Listeners that a reload adds, removes or advertises otherwise: the local sockets that follow.
//!
//! A place in the list of sockets belongs to its address until the process ends, so the list only
//! grows. A listener that is gone from the config is leaving: its sockets stay open for what is
//! under way (tokens, Via branches and flows name them), but what would begin something gets 503.
//! Nobody could say when its last dialog is over, for a flow is known to the messages alone; so it
//! is closed when `remove_timeout` is over. Its address stays ours: Routes of dialogs name it.

use super::balancer::Live;
use super::{Balancer, Failure, plan, ports};
use crate::config::{Config, Listener};
use crate::limits::SOCKETS_ADDED_MAX;
use crate::proxy::{LocalSocket, Role, Settings, Side, SinceStart, SocketIndex};
use crate::worker::Opened;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, SystemTime};

/// Former names that are remembered; the oldest goes.
const ADVERTISED_BEFORE_MAX: usize = 256;

/// A listener that has left the config.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Leaving {
    pub(super) socket: SocketIndex,
    /// When it is closed.
    pub(super) until: SystemTime,
}

/// The local sockets that follow from other listeners.
#[derive(Clone, Debug)]
pub(super) struct Followed {
    pub(super) sockets: Vec<LocalSocket>,
    pub(super) since_start: SinceStart,
    /// Listeners that must be opened.
    pub(super) opened: Vec<SocketIndex>,
    /// Listeners that are leaving from now on.
    pub(super) left: Vec<SocketIndex>,
}

/// `listeners`, a port 0 as it was chosen before (`bound` holds those of `known`), or a free one.
///
/// # Errors
/// When an address has no free port.
pub(super) fn bind(
    listeners: &[Listener],
    known: &[Listener],
    bound: &[Listener],
) -> Result<Vec<Listener>, Failure> {
    let mut listeners = listeners.to_vec();
    for listener in &mut listeners {
        let before = known.iter().position(|known| known.bind == listener.bind);
        if let Some(place) = before {
            listener.bind = bound[place].bind;
        }
    }
    ports::choose(&mut listeners)?;
    Ok(listeners)
}

/// What [`Live::binds`] becomes with this configuration.
pub(super) fn binds(before: &[SocketAddr], config: &Config) -> Vec<SocketAddr> {
    let mut binds = before.to_vec();
    for bind in config.binds() {
        if !binds.contains(&bind) {
            binds.push(bind);
        }
    }
    binds
}

/// The number of each listener of the config.
pub(super) fn numbers(binds: &[SocketAddr], config: &Config) -> Vec<Option<u16>> {
    let number = |bind| binds.iter().position(|known| *known == bind)?.try_into().ok();
    config.binds().into_iter().map(number).collect()
}

/// What follows from these listeners and their numbers, where the sockets are those of `settings`. A wildcard listener
/// gets the addresses that are new on the machine, and keeps those that are not there just now.
///
/// # Errors
/// When the listeners contradict each other or what is open, or would fill the tables.
pub(super) fn follow(
    settings: &Settings,
    (listeners, numbers): (&[Listener], &[Option<u16>]),
    local: &[IpAddr],
) -> Result<Followed, Failure> {
    let mut followed = Followed {
        sockets: settings.sockets.clone(),
        since_start: settings.since_start.clone(),
        opened: Vec::new(),
        left: Vec::new(),
    };
    let mut wanted = plan::listener_sockets(listeners, local)?;
    for socket in &mut wanted {
        socket.listener = socket.listener.and_then(|place| *numbers.get(usize::from(place))?);
    }
    for socket in &wanted {
        followed.listen(socket)?;
    }
    for place in 0..followed.sockets.len() {
        let socket = &followed.sockets[place];
        let is_wanted = wanted.iter().any(|wanted| wanted.address == socket.address)
            || listeners.iter().any(|listener| is_within(socket.address, listener.bind));
        if socket.role == Role::Listener && !is_wanted {
            followed.sockets[place].role = Role::Leaving;
            followed.sockets[place].listener = None; // rules name others
            followed.left.push(index(place));
        }
    }
    Ok(followed)
}

impl Followed {
    fn listen(&mut self, wanted: &LocalSocket) -> Result<(), Failure> {
        let address = wanted.address;
        let Some(place) = self.sockets.iter().position(|socket| socket.address == address) else {
            if self.since_start.sockets_added == SOCKETS_ADDED_MAX {
                return Err(Failure::config(format!(
                    "listener udp:{address}: {SOCKETS_ADDED_MAX} addresses have come since the start, \
                     and each keeps its place: more take a restart"
                )));
            }
            self.since_start.sockets_added += 1;
            self.opened.push(index(self.sockets.len()));
            self.sockets.push(wanted.clone());
            return Ok(());
        };
        let socket = &mut self.sockets[place];
        match socket.role {
            Role::BackendPort => {
                return Err(Failure::config(format!(
                    "listener udp:{address}: this address and port are one of backend_ports: move one \
                     of them"
                )));
            }
            Role::Gone => self.opened.push(index(place)),
            Role::Listener | Role::Leaving => {}
        }
        let before = std::mem::replace(socket, wanted.clone());
        if before.advertise != wanted.advertise {
            self.remember(before.advertise);
        }
        Ok(())
    }

    fn remember(&mut self, advertised: Option<(String, u16)>) {
        let names = &mut self.since_start.advertised_before;
        if let Some(name) = advertised.filter(|name| !names.contains(name)) {
            if names.len() == ADVERTISED_BEFORE_MAX {
                names.remove(0);
            }
            names.push(name);
        }
    }

    /// The sides with the listeners of now as their contacts. Where requests leave from never
    /// changes: transactions that are under way name it.
    pub(super) fn sides(&self, sides: &[Side]) -> Vec<Side> {
        let first = |role, local| {
            let here = |one: &LocalSocket| one.role == role && one.address.ip() == local;
            self.sockets.iter().position(here).map(index)
        };
        let contact = |side: &Side| {
            let listener = first(Role::Listener, side.local);
            listener.or_else(|| first(Role::BackendPort, side.local)).unwrap_or(side.egress)
        };
        sides.iter().map(|side| Side { contact: contact(side), ..*side }).collect()
    }

    /// In words, the addresses that only a wildcard among `listeners` has brought.
    pub(super) fn of_wildcards(&self, listeners: &[Listener]) -> Vec<String> {
        let addresses = self.opened.iter().map(|index| self.sockets[usize::from(index.0)].address);
        let added = addresses.filter(|address| listeners.iter().all(|one| one.bind != *address));
        added.map(|address| format!("listener udp:{address} added, of a wildcard")).collect()
    }

    pub(super) fn changes_sockets(&self) -> bool {
        !self.opened.is_empty() || !self.left.is_empty()
    }
}

fn index(place: usize) -> SocketIndex {
    SocketIndex(place as u16) // SOCKETS_MAX and what was added are far below
}

fn is_within(address: SocketAddr, wildcard: SocketAddr) -> bool {
    wildcard.ip().is_unspecified()
        && wildcard.port() == address.port()
        && wildcard.is_ipv4() == address.is_ipv4()
}

impl Balancer {
    /// Binds the sockets of listeners that are to be opened.
    ///
    /// # Errors
    /// When one cannot be had; none is held then.
    pub(super) fn open(&self, followed: &Followed, config: &Config) -> Result<Opened, Failure> {
        let added =
            followed.opened.iter().map(|index| (*index, &followed.sockets[usize::from(index.0)]));
        match &*self.workers() {
            Some(workers) => Ok(workers.open(added, config.limits.receive_buffer)?),
            None => Ok(Opened::default()),
        }
    }

    /// Gives the workers sockets and settings in such an order that none ever meets a socket that it
    /// does not know; `then` publishes what needs the settings. Returns when every worker receives.
    ///
    /// # Errors
    /// When a worker does not answer; the others have got back what was.
    pub(super) fn hand_out(
        &self,
        opened: Opened,
        followed: &Followed,
        (before, next): (&Live, &Live),
        then: impl FnOnce(),
    ) -> Result<(), Failure> {
        let workers = self.workers();
        let Some(workers) = &*workers else { return Ok(()) };
        if let Err(error) = workers.take_over(opened, &next.settings) {
            workers.take_back(&followed.opened, &before.settings);
            return Err(Failure::run_time(format!("the sockets cannot be handed out: {error}")));
        }
        then();
        if let Err(error) = workers.receive(&followed.opened) {
            tracing::error!("some of the new listeners are not received from yet: {error}");
        }
        Ok(())
    }

    /// Closes the listeners whose time to leave is over.
    pub(super) fn close_left(&self, now: SystemTime) {
        let mut live = self.live();
        let over: Vec<_> =
            live.leaving.iter().filter(|one| one.until <= now).map(|one| one.socket).collect();
        if over.is_empty() {
            return;
        }
        let gone = |settings: &Settings| {
            let mut sockets = settings.sockets.clone();
            over.iter().for_each(|index| sockets[usize::from(index.0)].role = Role::Gone);
            Settings { sockets, ..settings.clone() }
        };
        let settings: Vec<_> = live.settings.iter().map(|one| gone(one).into()).collect();
        let closed = match &*self.workers() {
            Some(workers) => {
                workers.take_over(Opened::default(), &settings).and_then(|()| workers.close(&over))
            }
            None => Ok(()),
        };
        if let Err(error) = closed {
            // They have the order and will follow it, or end.
            tracing::error!("removed listeners may still be open: {error}");
        }
        live.settings = settings;
        live.leaving.retain(|one| one.until > now);
        for index in over {
            let address = live.settings[0].sockets[usize::from(index.0)].address;
            tracing::info!("listener udp:{address} is closed");
        }
    }
}

/// Who is leaving after a reload: those who were, but for who is back, and those who are from now on.
pub(super) fn leaving(
    before: &[Leaving],
    followed: &Followed,
    within: Duration,
    now: SystemTime,
) -> Vec<Leaving> {
    let is_leaving =
        |one: &&Leaving| followed.sockets[usize::from(one.socket.0)].role == Role::Leaving;
    let new = followed.left.iter().map(|socket| Leaving { socket: *socket, until: now + within });
    before.iter().filter(is_leaving).copied().chain(new).collect()
}

/// Says what became of the listeners; every worker receives by now.
pub(super) fn log(followed: &Followed, within: Duration) {
    let address = |index: &SocketIndex| followed.sockets[usize::from(index.0)].address;
    for socket in &followed.opened {
        tracing::info!("listener udp:{}: every worker receives", address(socket));
    }
    for socket in &followed.left {
        tracing::info!(
            "listener udp:{}: takes nothing new; closed in {} s",
            address(socket),
            within.as_secs()
        );
    }
}

#[cfg(test)]
mod tests;
