//! RFC 3261 section 16 as one pure call: a datagram in, a verdict out.
//!
//! # Contract
//! 1. The worker finds the owner of a message with [`crate::sip::call_key`] and gives it only to that worker.
//! 2. The owner calls [`Proxy::handle`] with the time, the pool of this turn, where the bytes came
//!    from, the bytes, and a buffer to write into.
//! 3. The [`Verdict`] says what to do with `out[..len]`. Nothing is kept of the bytes.
//! 4. Once in a while the worker calls [`Proxy::handle_timeout`], which sweeps a few pins.
//!
//! No call blocks, allocates, logs, reads a clock or draws a random number.

pub mod pin;
pub mod reason;
pub mod settings;

pub use reason::{Absorb, Answer, Drop};
pub use settings::{Key, Keys, LocalSocket, PathMode, Role, Settings, Side};

use crate::pool::{BackendId, BackendSlot, Pool};
use std::net::SocketAddr;
use std::sync::Arc;

/// Milliseconds since the process started; never goes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Now {
    /// Milliseconds.
    pub ms: u64,
}

/// The place of a local socket address in [`Settings::sockets`]; the same in every worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SocketIndex(pub u16);

/// Where a datagram came from.
#[derive(Clone, Copy, Debug)]
pub struct Ingress {
    /// The peer's address.
    pub source: SocketAddr,
    /// The local socket that received it.
    pub socket: SocketIndex,
    /// What the owner of a replaced dialog said, if it was asked ([`Verdict::Ask`]).
    pub replaced: Replaced,
}

/// The answer of the worker that owns the Call-ID in Replaces, Join or Target-Dialog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replaced {
    /// Nobody was asked yet.
    Unasked,
    /// The owner was asked: the backend of its pin, if it had one.
    Answered(Option<BackendId>),
}

/// Where a message leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Egress {
    /// The local socket to send from.
    pub socket: SocketIndex,
    /// The peer to send to.
    pub to: SocketAddr,
    /// The backend that `to` belongs to, where the message goes to the pool: the worker may use a
    /// connected socket.
    pub backend: Option<BackendSlot>,
}

/// What is to be done with a datagram. `len` bytes stand in `out`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Send `out[..len]`.
    Forward {
        /// Where to.
        egress: Egress,
        /// Bytes in `out`.
        len: usize,
        /// What it was, for the counters.
        kind: Forwarded,
    },
    /// Send our own answer `out[..len]` back to where the datagram came from.
    Reply {
        /// Where to.
        egress: Egress,
        /// Bytes in `out`.
        len: usize,
        /// Which answer.
        answer: Answer,
    },
    /// Ask the owner of another Call-ID (`shard hash` as of [`crate::sip::call_key`] over
    /// `call_id`, a range of the input bytes) for its pin, then call `handle` again with
    /// [`Replaced::Answered`].
    Ask {
        /// Where in the input the other Call-ID stands.
        call_id: crate::sip::Span,
    },
    /// Taken in and ended here, as the protocol wants it.
    Absorb(Absorb),
    /// Thrown away, with its reason.
    Drop(Drop),
}

/// What was forwarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forwarded {
    /// A request towards the pool.
    RequestToBackend,
    /// A request from the backends' side.
    RequestToClient,
    /// A response, with its status code (100 to 699).
    Response(u16),
}

/// One shard of the balancer: the pins of the Call-IDs that one worker owns.
#[derive(Debug)]
pub struct Proxy {
    settings: Arc<Settings>,
}

impl Proxy {
    /// A shard. `settings` are this worker's (its own egress sockets); `table_keys` are random and
    /// for the pin table alone.
    pub fn new(settings: Arc<Settings>, _table_keys: [u64; 4]) -> Self {
        Self { settings }
    }

    /// One datagram; see the module's contract.
    pub fn handle(
        &mut self,
        _now: Now,
        _pool: &Pool,
        _ingress: &Ingress,
        _bytes: &[u8],
        _out: &mut [u8],
    ) -> Verdict {
        let _ = &self.settings;
        Verdict::Drop(Drop::NotSip)
    }

    /// The backend of this Call-ID's pin ([`Verdict::Ask`] of another worker).
    pub fn pinned(&self, _call_id: &[u8]) -> Option<BackendId> {
        None
    }

    /// Sweeps a bounded number of pins. Call it once a turn and at least once a second.
    pub fn handle_timeout(&mut self, _now: Now) {}

    /// Pins in use, for the gauge.
    pub fn pins(&self) -> usize {
        0
    }

    /// Confirmed dialogs, for the gauge.
    pub fn dialogs(&self) -> usize {
        0
    }
}
