//! What a worker knows of each backend of the pool: its cell, how busy it is, its connected socket.
//!
//! A send on a connected socket costs the kernel a sixth less, and brings ICMP errors home. A worker
//! opens one from its own port to each backend that it has sent [`CONNECT_AFTER`] requests, for the
//! first [`CONNECTIONS_MAX`] of them. On a listener it must not: connected sockets would take
//! datagrams past the group that shares the listener.

use super::core::Core;
use crate::io::FileIndex;
use crate::metrics::{BackendCells, BackendOutcome, Cells};
use crate::pool::{BackendId, BackendSlot, Group, Load, Pool};
use crate::proxy::{Egress, Now, SocketIndex, Timing};
use std::collections::HashMap;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;

/// Requests to a backend before it gets a connected socket.
pub(super) const CONNECT_AFTER: u32 = 64;

/// From one look at the other workers' loads to the next, microseconds.
const LOOK_US: u64 = 1000;

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

#[derive(Debug)]
struct Entry {
    id: BackendId,
    /// The control thread makes them before it publishes a pool.
    cells: Option<Arc<BackendCells>>,
    /// [`crate::pool::BackendSpec::up_since_ms`].
    up_since_ms: u64,
    requests: u32,
    /// Of the other workers, where a group goes by loads.
    elsewhere: Vec<Arc<BackendCells>>,
    connection: Option<u8>,
    /// It stays without a connected socket as long as this pool is used.
    unconnected: bool,
}

/// The backends of the pool that the worker has seen last.
#[derive(Debug)]
pub(super) struct Backends {
    cells: Arc<Cells>,
    /// Of the other workers.
    others: Vec<Arc<Cells>>,
    /// A group of the pool goes by loads, of which others have a part.
    exchanges: bool,
    /// When the others' part was looked at last.
    looked: Now,
    entries: Vec<Entry>,
    connections: [Option<Connection>; CONNECTIONS_MAX],
    /// The file of the first connection; those before it are the local sockets.
    first_file: u32,
}

impl Backends {
    /// For a worker whose table of files has its local sockets first.
    pub(super) fn new(
        cells: Arc<Cells>,
        others: Vec<Arc<Cells>>,
        local_sockets: usize,
        pool: &Pool,
    ) -> Self {
        let mut backends = Self {
            cells,
            others,
            exchanges: false,
            looked: Now { us: 0 },
            entries: Vec::new(),
            connections: [const { None }; CONNECTIONS_MAX],
            first_file: local_sockets as u32,
        };
        backends.follow(pool, pool);
        backends
    }

    /// Takes over another pool from the one before. Returns the files of the connections whose backend is
    /// gone: their receives are to be cancelled.
    ///
    /// Of a backend that stays, the cells are only compared, never taken again: the control thread and the
    /// other workers have them too, and a thousand shared counters to raise and lower would hold up the turn.
    pub(super) fn follow(&mut self, before: &Pool, pool: &Pool) -> Vec<FileIndex> {
        let gone = self.close_those_without_backend(pool);
        let by_loads = pool.groups().iter().any(Group::asks_for_loads);
        let exchanges = by_loads && !self.others.is_empty();
        let exchanged = std::mem::replace(&mut self.exchanges, exchanges);
        self.looked = Now { us: 0 };
        let own = self.cells.backends.all();
        let others: Vec<_> = match exchanges {
            true => self.others.iter().map(|one| one.backends.all()).collect(),
            false => Vec::new(),
        };
        let open = self.open_by_peer();
        let mut entries = std::mem::take(&mut self.entries);
        let entry = |(place, backend): (usize, &crate::pool::Backend)| {
            let cells = own.get(&backend.id);
            // Most stand where they stood.
            let slot = match entries.get(place) {
                Some(entry) if entry.id == backend.id => Some(place),
                _ => before.by_id(backend.id).map(|slot| usize::from(slot.0)),
            };
            let stays = slot.and_then(|slot| entries.get_mut(slot)).filter(|entry| {
                let same = entry.cells.as_ref().zip(cells).is_some_and(|(a, b)| Arc::ptr_eq(a, b));
                same && exchanged == exchanges
            });
            let (cells, elsewhere) = match stays {
                // All workers' cells of a backend are made and forgotten together.
                Some(entry) => (entry.cells.take(), std::mem::take(&mut entry.elsewhere)),
                None => {
                    let elsewhere = others.iter().filter_map(|one| one.get(&backend.id));
                    (cells.cloned(), elsewhere.cloned().collect())
                }
            };
            Entry {
                id: backend.id,
                cells,
                up_since_ms: backend.spec.up_since_ms,
                requests: 0,
                elsewhere,
                connection: open.get(&backend.spec.address).copied(),
                unconnected: false,
            }
        };
        self.entries = pool.backends().iter().enumerate().map(entry).collect();
        gone
    }

    fn close_those_without_backend(&mut self, pool: &Pool) -> Vec<FileIndex> {
        let mut gone = Vec::new();
        for (place, connection) in self.connections.iter_mut().enumerate() {
            if let Some(connection) = connection
                && connection.state == State::Open
                && pool.by_address(connection.peer).is_none()
            {
                connection.state = State::Closing;
                gone.push(FileIndex(self.first_file + place as u32));
            }
        }
        gone
    }

    /// Open connections, by their backends' addresses.
    fn open_by_peer(&self) -> HashMap<SocketAddr, u8, ahash::RandomState> {
        let open = self.connections.iter().zip(0_u8..).filter_map(|(one, place)| {
            one.as_ref().filter(|one| one.state == State::Open).map(|one| (one.peer, place))
        });
        open.collect()
    }

    /// Counts a request to a backend. True: it is time to connect.
    #[inline]
    pub(super) fn count(&mut self, slot: BackendSlot) -> bool {
        let Some(entry) = self.entries.get_mut(usize::from(slot.0)) else { return false };
        if let Some(cells) = &entry.cells {
            cells.requests.increment();
        }
        entry.requests = entry.requests.saturating_add(1);
        entry.requests >= CONNECT_AFTER && entry.connection.is_none() && !entry.unconnected
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
        self.count_outcome(slot, outcome);
        if let Some(Entry { cells: Some(cells), up_since_ms, .. }) =
            self.entries.get(usize::from(slot.0))
        {
            cells.speak_against(sent_ms, *up_since_ms);
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
        self.entries.get(usize::from(slot.0))?.cells.as_deref()
    }

    /// Refreshes the gauges of each backend.
    pub(super) fn refresh(&self, core: &impl Core, now: Now) {
        for entry in &self.entries {
            if let Some(cells) = &entry.cells {
                cells.dialogs.set(core.dialogs_on(entry.id) as u64);
                cells.publish(core.load_of(entry.id, now), now.seconds());
            }
        }
    }

    /// Tells the core what the other workers have. Not more often than a turn under load takes: with
    /// many backends and workers it is many cells to look at.
    pub(super) fn look_elsewhere(&mut self, core: &mut impl Core, pool: &Pool, now: Now) {
        if self.exchanges && now.us >= self.looked.us + LOOK_US {
            self.looked = now;
            let of = |slot: BackendSlot| {
                let cells = self.entries.get(usize::from(slot.0)).map(|entry| &entry.elsewhere);
                let loads = cells.into_iter().flatten().map(|cells| cells.load(now.seconds()));
                loads.fold(Load::default(), Load::and)
            };
            core.set_elsewhere(now, pool, of);
        }
    }

    /// Tells the other workers what has changed in this turn.
    pub(super) fn tell_others(&self, core: &mut impl Core, pool: &Pool, now: Now) {
        if !self.exchanges {
            return;
        }
        while let Some(id) = core.take_changed() {
            if let Some(cells) = pool.by_id(id).and_then(|slot| self.cells_of(slot)) {
                cells.publish(core.load_of(id, now), now.seconds());
            }
        }
    }

    /// Asks no more for a connected socket to this backend.
    pub(super) fn leave_unconnected(&mut self, slot: BackendSlot) {
        if let Some(entry) = self.entries.get_mut(usize::from(slot.0)) {
            entry.unconnected = true;
        }
    }

    /// The file to send on, and the address where the file does not imply it.
    #[inline]
    pub(super) fn way(&self, egress: &Egress) -> (FileIndex, Option<SocketAddr>) {
        if let Some(slot) = egress.backend
            && let Some(entry) = self.entries.get(usize::from(slot.0))
            && let Some(place) = entry.connection
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
            self.entries[usize::from(slot.0)].connection = Some(place as u8);
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

#[cfg(test)]
mod tests;
