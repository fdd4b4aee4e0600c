//! What a worker knows of each backend of the pool: its cells, how busy it is, its connected socket.
//!
//! A send on a connected socket costs the kernel a sixth less, and brings ICMP errors home. A worker
//! opens one from its own port to each backend that it has sent [`CONNECT_AFTER`] requests, for the
//! first [`CONNECTIONS_MAX`] of them. On a listener it must not: connected sockets would take
//! datagrams past the group that shares the listener.
//!
//! Nothing here walks all backends in one turn: there may be thousands, and messages wait meanwhile.

use super::core::Counts;
use crate::io::FileIndex;
use crate::limits::BACKENDS_MAX;
use crate::metrics::{BackendCells, BackendOutcome, Roster};
use crate::pool::{BackendSlot, Group, Load};
use crate::proxy::{Egress, Now, SocketIndex, Timing};
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;

/// Requests to a backend before it gets a connected socket.
pub(super) const CONNECT_AFTER: u32 = 64;

/// From one look at the other workers' loads to the next, microseconds, where it takes one turn.
const LOOK_US: u64 = 1000;

/// Cells of other workers that are looked at in a turn: some microseconds.
const LOOKS_PER_TURN: usize = 256;

/// Backends whose gauges are refreshed in a turn.
const REFRESHED_PER_TURN: usize = 128;

/// Backends of which other workers are told in a turn; of the others with the next ones.
const TOLD_PER_TURN: usize = 256;

/// Connected sockets of a worker.
pub(super) const CONNECTIONS_MAX: usize = 64;

impl Connection {
    /// The backend's address.
    pub(super) fn peer(&self) -> SocketAddr {
        self.peer
    }
}

/// A connected socket.
#[derive(Debug)]
pub(super) struct Connection {
    /// The socket; its file has the place of the connection.
    pub(super) socket: UdpSocket,
    /// The local address that it shares: what it receives came in there.
    pub(super) local: SocketIndex,
    peer: SocketAddr,
    state: State,
}

/// The life of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// In use.
    Open,
    /// Its backend has left the pool: the end of its receive is awaited.
    Closing,
    /// Turned away and drained: datagrams that were just being delivered are awaited.
    TurnedAway,
}

/// How requests go to the backend in one slot.
#[derive(Clone, Copy, Debug, Default)]
struct Way {
    /// Since this roster was taken over.
    requests: u32,
    connection: Option<u8>,
    /// It stays without a connected socket as long as this roster is used.
    unconnected: bool,
}

/// The backends of the roster that the worker has seen last.
#[derive(Debug)]
pub(super) struct Backends {
    roster: Arc<Roster>,
    /// This worker's number.
    worker: usize,
    /// By slot.
    ways: Vec<Way>,
    /// A group of the pool goes by loads, of which other workers have a part.
    exchanges: bool,
    /// The slot that is looked at next, in a look at the others' parts that is not over.
    looking: Option<usize>,
    /// When the next look at them begins.
    look_due: Now,
    /// The slot that is refreshed next, as long as gauges are to be.
    refreshing: Option<usize>,
    connections: [Option<Connection>; CONNECTIONS_MAX],
    /// The file of the first connection; those before it are the local sockets.
    first_file: u32,
}

impl Backends {
    /// For a worker whose table of files has its local sockets first.
    pub(super) fn new(worker: usize, local_sockets: usize, roster: Arc<Roster>) -> Self {
        let mut backends = Self {
            roster: Arc::clone(&roster),
            worker,
            ways: Vec::with_capacity(BACKENDS_MAX),
            exchanges: false,
            looking: None,
            look_due: Now { us: 0 },
            refreshing: None,
            connections: [const { None }; CONNECTIONS_MAX],
            first_file: local_sockets as u32,
        };
        backends.follow(roster);
        backends
    }

    /// Whether this is the roster that was taken over last.
    #[inline]
    pub(super) fn has(&self, roster: &Arc<Roster>) -> bool {
        Arc::ptr_eq(&self.roster, roster)
    }

    /// Takes over another roster. Returns the files of the connections whose backend is gone: their
    /// receives are to be cancelled.
    pub(super) fn follow(&mut self, roster: Arc<Roster>) -> Vec<FileIndex> {
        self.roster = roster;
        let pool = self.roster.pool();
        self.ways.clear();
        self.ways.resize(pool.backends().len(), Way::default());
        let by_loads = pool.groups().iter().any(Group::asks_for_loads);
        self.exchanges = by_loads && self.roster.workers() > 1;
        (self.looking, self.look_due) = (None, Now { us: 0 });
        self.refreshing = self.refreshing.map(|_| 0); // slots are others now
        self.close_those_without_backend()
    }

    fn close_those_without_backend(&mut self) -> Vec<FileIndex> {
        let mut gone = Vec::new();
        for (place, connection) in self.connections.iter_mut().enumerate() {
            if let Some(connection) = connection
                && connection.state == State::Open
                && self.roster.pool().by_address(connection.peer).is_none()
            {
                connection.state = State::Closing;
                gone.push(FileIndex(self.first_file + place as u32));
            }
        }
        gone
    }

    /// Counts a request to a backend at this address. True: it is time to connect.
    #[inline]
    pub(super) fn count(&mut self, slot: BackendSlot, to: SocketAddr) -> bool {
        if let Some(cells) = self.cells_of(slot) {
            cells.requests.increment();
        }
        let Some(way) = self.ways.get_mut(usize::from(slot.0)) else { return false };
        if way.requests == 0 {
            way.connection = open_to(&self.connections, to);
        }
        way.requests = way.requests.saturating_add(1);
        way.requests >= CONNECT_AFTER && way.connection.is_none() && !way.unconnected
    }

    /// Counts a response of a backend, by the place of its class.
    #[inline]
    pub(super) fn count_response(&self, slot: BackendSlot, class: usize) {
        if let Some(cells) = self.cells_of(slot) {
            cells.responses[class].increment();
        }
    }

    /// Counts how long a backend took to its first and to its final response.
    #[inline]
    pub(super) fn count_times(&self, slot: BackendSlot, timing: &Timing) {
        if let Some(cells) = self.cells_of(slot) {
            timing.first_us().into_iter().for_each(|us| cells.first_response.observe(us));
            timing.final_us().into_iter().for_each(|us| cells.final_response.observe(us));
        }
    }

    /// Counts what a request met at a backend.
    #[inline]
    pub(super) fn count_outcome(&self, slot: BackendSlot, outcome: BackendOutcome) {
        if let Some(cells) = self.cells_of(slot) {
            cells.outcomes[outcome as usize].increment();
        }
    }

    /// Counts what a request met at a backend, and that it speaks against it, if it is of its time.
    pub(super) fn count_failure(&self, slot: BackendSlot, outcome: BackendOutcome, sent_ms: u64) {
        if let Some(cells) = self.cells_of(slot) {
            cells.outcomes[outcome as usize].increment();
            cells.speak_against(sent_ms, self.roster.pool().backend(slot).spec.up_since_ms);
        }
    }

    /// A backend asks to be left alone.
    pub(super) fn note_retry_after(&self, slot: BackendSlot, seconds: u32) {
        if let Some(cells) = self.cells_of(slot) {
            cells.retry_after_s.set(seconds.into());
            cells.retry_afters.increment(); // behind what it announces
        }
    }

    #[inline]
    fn cells_of(&self, slot: BackendSlot) -> Option<&BackendCells> {
        self.roster.cells(self.worker, slot)
    }

    /// There is more to look at or to refresh than the last turn could: the next one goes on.
    pub(super) fn has_more_to_do(&self) -> bool {
        self.looking.is_some() || self.refreshing.is_some()
    }

    /// The gauges of all backends are to be refreshed, from the first one on.
    pub(super) fn begin_refresh(&mut self) {
        self.refreshing = Some(0);
    }

    /// Refreshes the gauges of the next backends. True: that was the last of them.
    pub(super) fn refresh(&mut self, core: &impl Counts, now: Now) -> bool {
        let Some(first) = self.refreshing else { return false };
        let backends = self.roster.pool().backends();
        let end = backends.len().min(first + REFRESHED_PER_TURN);
        for (slot, backend) in (first..end).zip(&backends[first..end]) {
            if let Some(cells) = self.cells_of(BackendSlot(slot as u16)) {
                cells.dialogs.set(core.dialogs_on(backend.id) as u64);
                cells.publish(core.load_of(backend.id, now), now.seconds());
            }
        }
        self.refreshing = (end < backends.len()).then_some(end);
        self.refreshing.is_none()
    }

    /// Tells the core what the other workers have, of all backends about once a millisecond. Where there are
    /// many, and many workers, that is more than a turn should take: it goes on over the next ones, and
    /// begins the more seldom the longer it takes.
    pub(super) fn look_elsewhere(&mut self, core: &mut impl Counts, now: Now) {
        if !self.exchanges {
            return;
        }
        let (pool, others) = (self.roster.pool(), self.roster.workers() - 1);
        let per_turn = (LOOKS_PER_TURN / others).max(1);
        let all = pool.backends().len();
        let first = match self.looking {
            Some(first) => first,
            None if now.us < self.look_due.us => return,
            None => {
                self.look_due = Now { us: now.us + LOOK_US * all.div_ceil(per_turn) as u64 };
                0
            }
        };
        let end = all.min(first + per_turn);
        core.set_elsewhere(now, pool, first..end, |slot| {
            let others = (0..self.roster.workers()).filter(|worker| *worker != self.worker);
            let cells = others.filter_map(|worker| self.roster.cells(worker, slot));
            cells.map(|cells| cells.load(now.seconds())).fold(Load::default(), Load::and)
        });
        self.looking = (end < all).then_some(end);
    }

    /// Tells the other workers what has changed in this turn. What there is no room for is told with the
    /// next ones, and with the gauges in any case.
    pub(super) fn tell_others(&self, core: &mut impl Counts, now: Now) {
        if !self.exchanges {
            return;
        }
        for _ in 0..TOLD_PER_TURN {
            let Some(id) = core.take_changed() else { return };
            if let Some(cells) = self.roster.pool().by_id(id).and_then(|slot| self.cells_of(slot)) {
                cells.publish(core.load_of(id, now), now.seconds());
            }
        }
    }

    /// Asks no more for a connected socket to this backend.
    pub(super) fn leave_unconnected(&mut self, slot: BackendSlot) {
        if let Some(way) = self.ways.get_mut(usize::from(slot.0)) {
            way.unconnected = true;
        }
    }

    /// The file to send on, and the address where the file does not imply it.
    #[inline]
    pub(super) fn way(&self, egress: &Egress) -> (FileIndex, Option<SocketAddr>) {
        if let Some(slot) = egress.backend
            && let Some(way) = self.ways.get(usize::from(slot.0))
            && let Some(place) = way.connection
            && let Some(connection) = &self.connections[usize::from(place)]
            && connection.peer == egress.to
            && connection.local == egress.socket
        {
            return (FileIndex(self.first_file + u32::from(place)), None);
        }
        (FileIndex(u32::from(egress.socket.0)), Some(egress.to))
    }

    /// A free place for a connection.
    pub(super) fn free_file(&self) -> Option<FileIndex> {
        let place = self.connections.iter().position(Option::is_none)?;
        Some(FileIndex(self.first_file + place as u32))
    }

    /// Remembers the connected socket that was put into `file`, which [`Backends::free_file`] gave.
    pub(super) fn connected(&mut self, file: FileIndex, egress: &Egress, socket: UdpSocket) {
        let place = (file.0 - self.first_file) as usize;
        let (local, peer) = (egress.socket, egress.to);
        self.connections[place] = Some(Connection { socket, local, peer, state: State::Open });
        if let Some(slot) = egress.backend {
            self.ways[usize::from(slot.0)].connection = Some(place as u8);
        }
    }

    /// The connection in a file; `None` for a local socket.
    #[inline]
    pub(super) fn connection(&self, file: FileIndex) -> Option<&Connection> {
        let place = file.0.checked_sub(self.first_file)?;
        self.connections.get(place as usize)?.as_ref()
    }

    /// The local socket that a file's datagrams have come in on.
    #[inline]
    pub(super) fn ingress(&self, file: FileIndex) -> Option<SocketIndex> {
        if file.0 < self.first_file {
            return Some(SocketIndex(file.0 as u16));
        }
        self.connection(file).map(|connection| connection.local)
    }

    /// True for a connection that is on its way to be closed.
    pub(super) fn is_closing(&self, file: FileIndex) -> bool {
        self.connection(file).is_some_and(|connection| connection.state != State::Open)
    }

    /// The connection in a file, if its receive has just ended and its peer is to be turned away.
    pub(super) fn turn_away(&mut self, file: FileIndex) -> Option<&Connection> {
        let place = file.0.checked_sub(self.first_file)?;
        let connection = self.connections.get_mut(place as usize)?.as_mut()?;
        let due = connection.state == State::Closing;
        connection.state = State::TurnedAway;
        due.then_some(connection)
    }

    /// Takes a connection whose peer was turned away; its place is free then.
    pub(super) fn close(&mut self, file: FileIndex) -> Option<Connection> {
        let place = file.0.checked_sub(self.first_file)?;
        self.connections.get_mut(place as usize)?.take()
    }
}

/// The connection to this address that is in use.
fn open_to(connections: &[Option<Connection>], to: SocketAddr) -> Option<u8> {
    let is_open = |one: &Connection| one.state == State::Open && one.peer == to;
    let place = connections.iter().position(|one| one.as_ref().is_some_and(is_open));
    place.map(|place| place as u8)
}

#[cfg(test)]
mod tests;
