//! What the loop asks of the core. [`Proxy`] is the core; tests of the loop bring a simpler one.

use crate::pool::{BackendId, BackendSlot, Load, Pool};
use crate::proxy::{Ingress, Now, Proxy, Refused, Settings, Silent, Tally, Verdict};
use crate::sip::{self, Span};
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;

/// What a shard counts of each backend, and what it is told of the others' counts.
pub(super) trait Counts {
    /// Confirmed dialogs on a backend.
    fn dialogs_on(&self, backend: BackendId) -> usize;

    /// What this shard has of a backend.
    fn load_of(&self, backend: BackendId, now: Now) -> Load;

    /// A backend whose load has changed since it was given the last time; asked until there is none.
    fn take_changed(&mut self) -> Option<BackendId> {
        None
    }

    /// What the other shards have of the backends in these slots of the pool.
    fn set_elsewhere(
        &mut self,
        _now: Now,
        _pool: &Pool,
        _slots: Range<usize>,
        _of: impl Fn(BackendSlot) -> Load,
    ) {
    }
}

/// One shard; see the contract in [`crate::proxy`].
pub(super) trait Core: Counts {
    /// The Call-ID of a datagram.
    fn call_key(bytes: &[u8]) -> Option<Span>;

    /// One datagram.
    fn handle(
        &mut self,
        now: Now,
        pool: &Pool,
        ingress: &Ingress,
        bytes: &[u8],
        out: &mut [u8],
    ) -> Verdict;

    /// The 503 that [`Core::handle`] has just seen.
    fn take_refused(&mut self) -> Option<Refused> {
        None
    }

    /// A request that [`Core::poll`] has found without a word; asked until there is none.
    fn take_silent(&mut self) -> Option<Silent> {
        None
    }

    /// What is due without a message having come; asked until there is nothing more.
    fn poll(&mut self, now: Now, pool: &Pool, out: &mut [u8]) -> Option<Verdict>;

    /// Whether [`Core::poll`] may have something soon.
    fn is_waiting(&self) -> bool;

    /// Whether [`Core::handle_timeout`] has left something for the next turn.
    fn is_behind(&self) -> bool {
        false
    }

    /// A transport error towards a backend.
    fn unreachable(&mut self, pool: &Pool, address: SocketAddr);

    /// The backend of this Call-ID's pin.
    fn pinned(&self, now: Now, call_id: &[u8]) -> Option<BackendId>;

    /// Sweeps; called once a turn.
    fn handle_timeout(&mut self, now: Now);

    /// Where its large tables stand, as addresses.
    fn memory(&self) -> Range<usize> {
        0..0
    }

    /// Pins in use.
    fn pins(&self) -> usize;

    /// Confirmed dialogs.
    fn dialogs(&self) -> usize;

    /// Calls, confirmed or still being set up.
    fn calls(&self) -> usize;

    /// What verdicts do not tell.
    fn tally(&self) -> Tally;

    /// Takes over other settings.
    fn configure(&mut self, settings: Arc<Settings>);
}

impl Counts for Proxy {
    fn dialogs_on(&self, backend: BackendId) -> usize {
        Self::dialogs_on(self, backend)
    }

    fn load_of(&self, backend: BackendId, now: Now) -> Load {
        Self::load_of(self, backend, now)
    }

    #[inline]
    fn take_changed(&mut self) -> Option<BackendId> {
        Self::take_changed(self)
    }

    fn set_elsewhere(
        &mut self,
        now: Now,
        pool: &Pool,
        slots: Range<usize>,
        of: impl Fn(BackendSlot) -> Load,
    ) {
        Self::set_elsewhere(self, now, pool, slots, of);
    }
}

impl Core for Proxy {
    #[inline]
    fn call_key(bytes: &[u8]) -> Option<Span> {
        sip::call_key(bytes)
    }

    #[inline]
    fn handle(
        &mut self,
        now: Now,
        pool: &Pool,
        ingress: &Ingress,
        bytes: &[u8],
        out: &mut [u8],
    ) -> Verdict {
        Self::handle(self, now, pool, ingress, bytes, out)
    }

    #[inline]
    fn take_refused(&mut self) -> Option<Refused> {
        Self::take_refused(self)
    }

    fn take_silent(&mut self) -> Option<Silent> {
        Self::take_silent(self)
    }

    fn poll(&mut self, now: Now, pool: &Pool, out: &mut [u8]) -> Option<Verdict> {
        Self::poll(self, now, pool, out)
    }

    fn is_waiting(&self) -> bool {
        Self::is_waiting(self)
    }

    fn is_behind(&self) -> bool {
        Self::is_behind(self)
    }

    fn unreachable(&mut self, pool: &Pool, address: SocketAddr) {
        Self::unreachable(self, pool, address);
    }

    fn pinned(&self, now: Now, call_id: &[u8]) -> Option<BackendId> {
        Self::pinned(self, now, call_id)
    }

    fn handle_timeout(&mut self, now: Now) {
        Self::handle_timeout(self, now);
    }

    fn memory(&self) -> Range<usize> {
        Self::memory(self)
    }

    fn pins(&self) -> usize {
        Self::pins(self)
    }

    fn dialogs(&self) -> usize {
        Self::dialogs(self)
    }

    fn calls(&self) -> usize {
        Self::calls(self)
    }

    fn tally(&self) -> Tally {
        *Self::tally(self)
    }

    fn configure(&mut self, settings: Arc<Settings>) {
        Self::configure(self, settings);
    }
}
