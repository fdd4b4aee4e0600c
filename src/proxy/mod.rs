//! RFC 3261 section 16 as one pure call: a datagram in, a verdict out.
//!
//! # Contract
//! 1. The worker finds the owner of a message with [`crate::sip::call_key`] and gives it only to that worker.
//! 2. The owner calls [`Proxy::handle`] with the time, the pool of this turn, where the bytes came
//!    from, the bytes, and a buffer to write into.
//! 3. The [`Verdict`] says what to do with `out[..len]`. Nothing is kept of the bytes.
//! 4. After each call, and once a turn, [`Proxy::poll`] is called until it gives nothing more: retries
//!    at another backend, and what they bring with them.
//! 5. Once in a while the worker calls [`Proxy::handle_timeout`], which sweeps a few pins.
//!
//! No call blocks, allocates, logs, reads a clock or draws a random number.

mod address;
mod base64url;
mod branch;
mod counts;
mod facts;
pub mod failover;
mod failure;
mod hash_key;
mod head;
mod loads;
mod named;
pub mod pin;
pub mod reason;
mod reply;
mod request;
mod response;
mod retry;
mod rewrite;
mod rotation;
mod route;
pub mod settings;
mod sign;
mod slots;
mod spiral;
mod stun;
mod sweep;
mod tally;
mod target;
mod token;
mod transactions;
mod validate;

pub use failover::{FailoverSettings, TRIES_MAX};
pub use failure::{Refused, Silent};
pub use reason::{
    Absorb, Answer, CallResult, Drop, FailoverCause, Method, RegistrationResult, Routed,
    TokenResult,
};
pub use settings::{Key, Keys, LocalSocket, PathMode, Role, Settings, Side, SinceStart, WORK};
pub use tally::{Direction, Tally};
#[doc(hidden)]
pub use token::fuzz as fuzz_token;
pub use transactions::Timing;

use crate::limits::GROUPS_MAX;
use crate::pool::{BackendId, BackendSlot, Load, Pool, Turn};
use crate::sip::{Frame, Message, Start};
use address::Addresses;
use failover::Failover;
use loads::Board;
use pin::{Idle, PinTable};
use rewrite::Edits;
use route::Routes;
use sign::Signer;
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;
use sweep::Hands;
use transactions::Transactions;

/// A moment, from some moment in the past on; never goes back. Response times are told in
/// microseconds, what is kept lives for milliseconds or seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Now {
    /// Microseconds.
    pub us: u64,
}

impl Now {
    /// The moment at so many milliseconds.
    pub const fn from_ms(ms: u64) -> Self {
        Self { us: ms * 1000 }
    }

    /// So many milliseconds later.
    #[must_use]
    pub const fn after_ms(self, ms: u64) -> Self {
        Self { us: self.us + ms * 1000 }
    }

    /// Whole milliseconds.
    #[inline]
    pub const fn ms(self) -> u64 {
        self.us / 1000
    }

    /// Whole seconds; for 136 years, which is when 32 bits end.
    #[inline]
    pub const fn seconds(self) -> u32 {
        (self.us / 1_000_000) as u32
    }
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
    RequestToBackend {
        /// Its method.
        method: Method,
        /// It begins an attempt to call: the first INVITE of its Call-ID, no retransmission and no
        /// repeat after a challenge.
        attempt: bool,
    },
    /// A request from the backends' side.
    RequestToClient {
        /// Its method.
        method: Method,
    },
    /// A response.
    Response {
        /// Its status code, 100 to 699.
        status: u16,
        /// The backend that it comes from; `None` if it comes from a client.
        from: Option<BackendId>,
        /// Its request may begin something (INVITE, REGISTER, SUBSCRIBE, MESSAGE, PUBLISH, OPTIONS):
        /// it says how the backend takes what is new.
        begins: bool,
        /// What it is the end of, if it comes from a backend.
        settles: Option<Settled>,
        /// How long its request took; `None` where that is not known: a repeated response, or one
        /// to a request that was not tracked or came before a restart.
        timing: Option<Timing>,
    },
    /// An ACK or CANCEL of our own, for an attempt that was given up.
    Own,
}

/// What a final response is the end of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// An attempt to call; a repeated response ends nothing.
    Call(CallResult),
    /// A REGISTER; repeated responses are not told apart.
    Registration(RegistrationResult),
}

/// One shard of the balancer: the pins of the Call-IDs that one worker owns.
#[derive(Debug)]
pub struct Proxy {
    settings: Arc<Settings>,
    addresses: Addresses,
    signer: Signer,
    pins: PinTable,
    failover: Failover,
    transactions: Transactions,
    board: Board,
    /// By group.
    turns: [Turn; GROUPS_MAX],
    tally: Tally,
    hands: Hands,
    // Reused from message to message, so that no message allocates.
    edits: Edits,
    routes: Routes,
    own: Vec<u8>,
    /// The 503 that came last.
    refused: Option<Refused>,
}

impl Proxy {
    /// A shard. `settings` are this worker's (its own egress sockets); `table_keys` are random and
    /// for the pin table alone.
    pub fn new(settings: Arc<Settings>, table_keys: [u64; 4]) -> Self {
        Self {
            addresses: Addresses::new(&settings),
            signer: Signer::new(&settings.keys),
            pins: PinTable::new(settings.pins_max, Idle::of(&settings), table_keys),
            transactions: Transactions::new(settings.transactions_max, table_keys),
            board: Board::new(),
            // Workers begin their rounds at different backends.
            turns: [Turn(table_keys[0]); GROUPS_MAX],
            tally: Tally::default(),
            hands: Hands::new(),
            edits: Edits::new(),
            routes: Routes::new(),
            own: Vec::with_capacity(failover::COPY_MAX),
            refused: None,
            failover: Failover::new(settings.failover),
            settings,
        }
    }

    /// Takes over other settings of the same worker; the pins stay. A pin that is there keeps its time
    /// until its next traffic; [`Settings::pins_max`] and [`Settings::transactions_max`] say nothing
    /// any more.
    ///
    /// Once a reload: it allocates.
    pub fn configure(&mut self, settings: Arc<Settings>) {
        self.addresses = Addresses::new(&settings);
        self.change_keys(&settings.keys);
        self.pins.set_idle(Idle::of(&settings));
        self.failover.configure(settings.failover);
        self.settings = settings;
    }

    /// One datagram; see the module's contract.
    pub fn handle(
        &mut self,
        now: Now,
        pool: &Pool,
        ingress: &Ingress,
        bytes: &[u8],
        out: &mut [u8],
    ) -> Verdict {
        let sip = match Frame::of(bytes) {
            Frame::Sip(sip) => sip,
            Frame::Stun(request) => return stun_verdict(ingress, request, out),
            Frame::Ping => return pong(ingress, out),
            Frame::KeepAlive => return Verdict::Absorb(Absorb::KeepAlive),
        };
        let Some(message) = Message::parse(sip) else { return Verdict::Drop(Drop::NotSip) };
        match message.start {
            Start::Request { .. } => {
                let mut verdict = self.request(now, pool, ingress, &message, out);
                if let Verdict::Ask { call_id } = &mut verdict {
                    *call_id = call_id.shifted(bytes.len() - sip.len());
                }
                verdict
            }
            Start::Response { .. } => self.response(now, pool, ingress, &message, out),
        }
    }

    /// The backend of this Call-ID's pin ([`Verdict::Ask`] of another worker).
    pub fn pinned(&self, now: Now, call_id: &[u8]) -> Option<BackendId> {
        self.pins.find(self.pins.key(call_id), now.seconds()).map(|pin| pin.backend)
    }

    /// Sweeps a bounded number of pins and transactions. Call it once a turn, about once a second without
    /// one, and again without waiting while [`Proxy::is_behind`].
    pub fn handle_timeout(&mut self, now: Now) {
        self.hands.sweep(&mut self.pins, &mut self.transactions, now);
    }

    /// Whether [`Proxy::handle_timeout`] has left something for the next time. What has run out is counted
    /// until then. To wait for a short time only would be the costlier way: it sets the clock of the
    /// processor each time, for a host to set on a virtual one.
    pub fn is_behind(&self) -> bool {
        self.hands.is_behind()
    }

    /// Pins in use, for the gauge.
    pub fn pins(&self) -> usize {
        self.pins.pins()
    }

    /// Confirmed dialogs, for the gauge.
    pub fn dialogs(&self) -> usize {
        self.pins.counts().dialogs()
    }

    /// Confirmed dialogs on this backend.
    pub fn dialogs_on(&self, backend: BackendId) -> usize {
        self.pins.counts().dialogs_on(backend)
    }

    /// Calls, confirmed or still being set up.
    pub fn calls(&self) -> usize {
        self.pins.counts().calls()
    }

    /// Requests that wait for the final response of a backend.
    pub fn transactions(&self) -> usize {
        self.pins.counts().transactions()
    }

    /// What this shard has of a backend.
    pub fn load_of(&self, backend: BackendId, now: Now) -> Load {
        self.pins.counts().load_of(backend, now)
    }

    /// A backend whose load in this shard has changed since it was given the last time; to be asked
    /// until there is none. Moving averages change with time too, which is not told.
    #[inline]
    pub fn take_changed(&mut self) -> Option<BackendId> {
        self.pins.counts_mut().take_changed()
    }

    /// Tells what the other shards have of the backends in these slots of the pool, where policies and caps
    /// are of them all. It holds until it is told again; calls begun, until the second ends. A range
    /// that is not of this pool tells nothing.
    pub fn set_elsewhere(
        &mut self,
        now: Now,
        pool: &Pool,
        slots: Range<usize>,
        of: impl Fn(BackendSlot) -> Load,
    ) {
        self.board.follow(pool, self.pins.counts_mut());
        self.board.tell(slots, of, now);
    }

    /// Where the pins stand, as addresses: for huge pages. That memory has been written to.
    pub fn memory(&self) -> Range<usize> {
        self.pins.memory()
    }

    /// Walks all tables: for tests and simulations.
    ///
    /// # Panics
    /// If one has lost its order, or a count is not what it holds.
    pub fn check_invariants(&self) {
        self.pins.check_invariants();
        self.transactions.check_invariants(self.pins.counts());
    }

    /// The 503 that the last [`Proxy::handle`] has seen, whether it went upstream or failover took it: to
    /// be asked after each. `None`: there was none, or it was taken already.
    #[inline]
    pub fn take_refused(&mut self) -> Option<Refused> {
        self.refused.take()
    }

    /// A request that got no word at all in the time for it: a timeout of ours, never a 408 that came. To
    /// be asked after each [`Proxy::poll`] until there is none.
    #[inline]
    pub fn take_silent(&mut self) -> Option<Silent> {
        self.failover.take_silent()
    }

    /// What verdicts do not tell.
    pub fn tally(&self) -> &Tally {
        &self.tally
    }
}

#[inline(never)]
fn stun_verdict(ingress: &Ingress, request: &[u8], out: &mut [u8]) -> Verdict {
    match stun::respond(request, ingress.source, out) {
        Some(len) => back(ingress, len, Answer::StunBinding),
        None => Verdict::Absorb(Absorb::Stun),
    }
}

#[inline(never)]
fn pong(ingress: &Ingress, out: &mut [u8]) -> Verdict {
    match out.first_chunk_mut() {
        Some(place) => {
            *place = *b"\r\n";
            back(ingress, 2, Answer::Pong)
        }
        None => Verdict::Absorb(Absorb::KeepAlive),
    }
}

fn back(ingress: &Ingress, len: usize, answer: Answer) -> Verdict {
    let egress = Egress { socket: ingress.socket, to: ingress.source, backend: None };
    Verdict::Reply { egress, len, answer }
}
