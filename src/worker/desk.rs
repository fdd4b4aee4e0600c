//! Where a datagram is dealt with: whose it is, what the core says, where the answer leaves.
//!
//! It has everything of a worker but the receive slots and the hand-off inboxes, from which the loop
//! lends it one message at a time.

use super::backends::{Backends, Connection};
use super::core::Core;
use super::count;
use super::message_log::Pen;
use super::record::{self, Task};
use super::shard::Shard;
use crate::io::buffers::{Received, SendSlot};
use crate::io::driver::{Completion, Driver, Errno};
use crate::io::handoff::{Doorbell, Outbox};
use crate::io::{FileIndex, os, socket};
use crate::metrics::{BackendOutcome, Cells};
use crate::pool::{BackendId, BackendSlot, Pool};
use crate::proxy::{
    Drop, Egress, Forwarded, Ingress, Now, Refused, Replaced, Role, Settings, Silent, Verdict,
};
use crate::sip::Span;
use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::mpsc::Sender;

/// A port that nobody listens on says so within a round trip, milliseconds: T1 (RFC 3261 17.1.1.1).
const REFUSED_MS: u64 = 500;

/// That nobody answers to ARP the kernel says when it has asked three times, a second each.
const UNREACHABLE_MS: u64 = 3000 + REFUSED_MS;

/// How other workers reach one.
#[derive(Debug)]
pub(super) struct Mailbox {
    /// Says whether its ring must be rung.
    pub(super) doorbell: Doorbell,
    /// Its ring.
    pub(super) ring: OwnedFd,
}

/// The worker but for what it reads from.
pub(super) struct Desk<C> {
    pub(super) core: C,
    pub(super) driver: Driver,
    pub(super) cells: Arc<Cells>,
    pub(super) settings: Arc<Settings>,
    pub(super) pool: Arc<Pool>,
    pub(super) backends: Backends,
    pub(super) shard: Shard,
    /// This worker's number.
    pub(super) number: usize,
    /// By worker; `None` at our own place.
    pub(super) outboxes: Vec<Option<Outbox>>,
    pub(super) mailboxes: Arc<[Mailbox]>,
    /// Workers that something was written to in this turn.
    pub(super) written_to: Vec<usize>,
    /// Datagrams that the kernel has delivered and the loop has not yet taken.
    pub(super) received: VecDeque<Received>,
    /// Receives that have ended and are to be armed again, or closed.
    pub(super) ended: Vec<FileIndex>,
    /// Receives that failed in a way that arming them at once may repeat: armed at the next tick.
    pub(super) later: Vec<FileIndex>,
    /// Messages forwarded in this turn.
    pub(super) forwarded: u64,
    /// A backend to connect to at the end of the turn.
    pub(super) connect: Option<(BackendSlot, Egress)>,
    /// SO_RCVBUF of a connected socket, bytes.
    pub(super) receive_buffer: usize,
    /// What messages are logged with, if they are.
    pub(super) pen: Option<Pen>,
    /// Local sockets to close when their receive has ended.
    pub(super) closing: Vec<FileIndex>,
    /// Who waits for orders to be followed.
    pub(super) waiting: Vec<Sender<()>>,
    /// The control thread has an order for this worker.
    pub(super) called: bool,
    /// The core may have more to send by itself than the last turn has asked for.
    pub(super) more_is_due: bool,
}

/// What the core may send by itself in a turn.
pub(super) const POLLS_PER_TURN: usize = 64;

impl<C: Core> Desk<C> {
    /// A datagram from a socket: handles it, or gives it to the worker that owns its Call-ID.
    #[inline]
    pub(super) fn route(&mut self, now: Now, ingress: Ingress, bytes: &[u8]) -> io::Result<()> {
        if self.shard.is_split()
            && let Some(call_id) = C::call_key(bytes).and_then(|span| part(bytes, span))
        {
            let owner = self.shard.owner(call_id);
            if owner != self.number {
                if self.hand_over(owner, Task::Handle, &ingress, bytes) {
                    self.cells.handoffs.increment();
                }
                return Ok(());
            }
            let role = self.settings.sockets[usize::from(ingress.socket.0)].role;
            self.cells.handoffs_spared.add(u64::from(role != Role::BackendPort));
        }
        // Without a Call-ID it has no owner, and needs none.
        self.handle(now, ingress, bytes)
    }

    /// A record from another worker.
    pub(super) fn record(&mut self, now: Now, from: usize, record: &[u8]) -> io::Result<()> {
        let Some((task, mut ingress, bytes)) = record::decode(record) else {
            debug_assert!(false, "worker {from} wrote a record that is none");
            return Ok(());
        };
        match task {
            Task::Handle => self.handle(now, ingress, bytes),
            Task::Ask(span) => {
                ingress.replaced = Replaced::Answered(self.pinned(now, bytes, span));
                self.hand_over(from, Task::Handle, &ingress, bytes);
                Ok(())
            }
        }
    }

    /// A message whose Call-ID is ours.
    #[inline]
    fn handle(&mut self, now: Now, mut ingress: Ingress, bytes: &[u8]) -> io::Result<()> {
        let Some(slot) = self.take_slot()? else {
            self.cells.send_full.increment();
            return Ok(());
        };
        let mut verdict = self.ask_core(now, &ingress, bytes, &slot);
        if let Verdict::Ask { call_id } = verdict {
            let Some(answer) = self.ask_owner(now, &ingress, bytes, call_id) else {
                self.driver.put_back(slot);
                return Ok(());
            };
            ingress.replaced = answer;
            verdict = self.ask_core(now, &ingress, bytes, &slot);
        }
        self.act(now, verdict, slot)
    }

    #[inline]
    fn ask_core(&mut self, now: Now, ingress: &Ingress, bytes: &[u8], slot: &SendSlot) -> Verdict {
        let out = self.driver.message(slot);
        let verdict = self.core.handle(now, &self.pool, ingress, bytes, out);
        if let Some(Refused { backend, sent_ms, retry_after_s }) = self.core.take_refused()
            && let Some(slot) = self.pool.by_id(backend)
        {
            self.backends.count_failure(slot, BackendOutcome::Refused, sent_ms);
            if let Some(seconds) = retry_after_s {
                self.backends.note_retry_after(slot, seconds);
            }
        }
        verdict
    }

    /// The answer for [`Verdict::Ask`] if this worker has it; else the message is on its way to the
    /// one that has, and comes back, or was dropped.
    fn ask_owner(
        &mut self,
        now: Now,
        ingress: &Ingress,
        bytes: &[u8],
        span: Span,
    ) -> Option<Replaced> {
        if ingress.replaced != Replaced::Unasked {
            // The core was answered already: asking on and on would be a loop.
            debug_assert!(false, "the core asks a second time");
            self.cells.dropped[Drop::Unanswerable as usize].increment();
            return None;
        }
        let owner = part(bytes, span).map_or(self.number, |call_id| self.shard.owner(call_id));
        if owner == self.number {
            return Some(Replaced::Answered(self.pinned(now, bytes, span)));
        }
        self.hand_over(owner, Task::Ask(span), ingress, bytes);
        None
    }

    fn pinned(&self, now: Now, bytes: &[u8], span: Span) -> Option<BackendId> {
        part(bytes, span).and_then(|call_id| self.core.pinned(now, call_id))
    }

    /// What the core has to send without a message having come: retries, and what follows them. Not all
    /// at once when a backend has died and thousands of requests are due: what comes in goes on.
    pub(super) fn poll(&mut self, now: Now) -> io::Result<()> {
        self.more_is_due = false;
        for _ in 0..POLLS_PER_TURN {
            let Some(slot) = self.take_slot()? else { return Ok(()) };
            let out = self.driver.message(&slot);
            let verdict = self.core.poll(now, &self.pool, out);
            while let Some(Silent { backend, sent_ms }) = self.core.take_silent() {
                if let Some(slot) = self.pool.by_id(backend) {
                    self.backends.count_failure(slot, BackendOutcome::Silent, sent_ms);
                }
            }
            match verdict {
                Some(verdict) => self.act(now, verdict, slot)?,
                None => {
                    self.driver.put_back(slot);
                    return Ok(());
                }
            }
        }
        self.more_is_due = true;
        Ok(())
    }

    #[inline]
    fn act(&mut self, now: Now, verdict: Verdict, slot: SendSlot) -> io::Result<()> {
        count::verdict(&self.cells, &verdict);
        self.log_message(now, &verdict, &slot);
        match verdict {
            Verdict::Forward { egress, len, kind } => {
                self.forwarded += 1;
                if let Some(backend) = egress.backend {
                    self.note_request(backend, &egress);
                }
                if let Forwarded::Response { status, from: Some(backend), begins, timing, .. } =
                    kind
                    && let Some(slot) = self.pool.by_id(backend)
                {
                    self.backends.count_response(slot, count::class(status));
                    timing.iter().for_each(|timing| self.backends.count_times(slot, timing));
                    if let Some(outcome) = count::outcome(status, begins) {
                        self.backends.count_outcome(slot, outcome);
                    }
                }
                self.send(slot, len, &egress)
            }
            Verdict::Reply { egress, len, .. } => self.send(slot, len, &egress),
            Verdict::Absorb(_) | Verdict::Drop(_) => {
                self.driver.put_back(slot);
                Ok(())
            }
            Verdict::Ask { .. } => {
                debug_assert!(false, "the core asks a second time");
                self.cells.dropped[Drop::Unanswerable as usize].increment();
                self.driver.put_back(slot);
                Ok(())
            }
        }
    }

    #[inline]
    fn note_request(&mut self, backend: BackendSlot, egress: &Egress) {
        if self.backends.count(backend, egress.to) && self.connect.is_none() {
            // From a listener, and from another worker's port, it stays unconnected.
            let socket = &self.settings.sockets[usize::from(egress.socket.0)];
            let ours = self.settings.sides.iter().any(|side| side.egress == egress.socket);
            if socket.role == Role::BackendPort && ours {
                self.connect = Some((backend, *egress));
            } else {
                self.backends.leave_unconnected(backend);
            }
        }
    }

    #[inline]
    fn send(&mut self, slot: SendSlot, len: usize, egress: &Egress) -> io::Result<()> {
        let (file, to) = self.backends.way(egress);
        self.driver.send(slot, len, file, to)
    }

    /// Writes a message into the ring of another worker. False: it is full, and the message dropped.
    fn hand_over(&mut self, to: usize, task: Task, ingress: &Ingress, bytes: &[u8]) -> bool {
        let header = record::encode(task, ingress);
        let outbox = self.outboxes.get_mut(to).and_then(Option::as_mut);
        if !outbox.is_some_and(|outbox| outbox.push(&header, bytes)) {
            self.cells.handoff_full.increment();
            return false;
        }
        if !self.written_to.contains(&to) {
            self.written_to.push(to);
        }
        true
    }

    /// One doorbell for each worker that was written to in this turn and is asleep.
    pub(super) fn ring_doorbells(&mut self) -> io::Result<()> {
        while let Some(to) = self.written_to.pop() {
            let mailbox = &self.mailboxes[to];
            if mailbox.doorbell.push() {
                self.cells.doorbells.increment();
                self.driver.ring_doorbell(mailbox.ring.as_fd(), to as u32)?;
            }
        }
        Ok(())
    }

    /// A send slot. When all are used up in one turn: submits what is queued, which frees them.
    #[inline]
    fn take_slot(&mut self) -> io::Result<Option<SendSlot>> {
        match self.driver.take_slot() {
            Some(slot) => Ok(Some(slot)),
            None => {
                self.driver.enter(None)?;
                self.reap()?;
                Ok(self.driver.take_slot())
            }
        }
    }

    /// Takes every completion. Datagrams wait in `received`, of which there are never more than
    /// receive slots: a slot is given back only when its datagram was dealt with.
    pub(super) fn reap(&mut self) -> io::Result<()> {
        while let Some(completion) = self.driver.completion() {
            match completion {
                Completion::Datagram { received, armed } => {
                    if !armed {
                        self.ended.push(received.file);
                    }
                    self.received.push_back(received);
                }
                Completion::ReceiveEnded { file, errno } => self.receive_ended(file, errno)?,
                Completion::Sent { slot, result } => self.sent(slot, result)?,
                Completion::Event { armed } => {
                    self.called = true;
                    if !armed {
                        self.driver.watch()?;
                    }
                }
                Completion::DoorbellFailed { target, errno } => {
                    // What was written stays; the worker finds it when it wakes, within a second.
                    let target = target as usize;
                    self.mailboxes[target].doorbell.failed();
                    if !matches!(errno, Errno(libc::EBADFD | libc::EOWNERDEAD)) {
                        self.written_to.push(target); // ring again in this turn
                    }
                }
                Completion::Doorbell | Completion::Cancelled => {}
            }
        }
        Ok(())
    }

    /// Nothing is left for the next turn to do. A turn that runs out of send slots reaps in the middle
    /// ([`Desk::take_slot`]), maybe behind its last look at what came: to wait then would be to wait for
    /// datagrams with all receive slots full and no receive armed.
    pub(super) fn is_clear(&self) -> bool {
        let took_all = self.received.is_empty() && self.ended.is_empty() && !self.called;
        took_all && !self.more_is_due && !self.core.is_behind() && !self.backends.has_more_to_do()
    }

    fn receive_ended(&mut self, file: FileIndex, errno: Errno) -> io::Result<()> {
        count::receive_ended(&self.cells, errno);
        if errno.is_icmp() {
            self.unreachable(self.backends.connection(file).map(Connection::peer), errno);
        }
        match errno.0 {
            // A socket that is none, or a request that makes no sense: no arming again helps.
            libc::EBADF | libc::ENOTSOCK | libc::EINVAL | libc::EOPNOTSUPP | libc::EFAULT => {
                return Err(io::Error::from_raw_os_error(errno.0));
            }
            libc::ENOBUFS | libc::ECANCELED => self.ended.push(file),
            _ if errno.is_icmp() => self.ended.push(file),
            _ => self.later.push(file),
        }
        Ok(())
    }

    fn sent(&mut self, slot: SendSlot, result: Result<u32, Errno>) -> io::Result<()> {
        count::sent(&self.cells, result);
        if let Err(errno) = result
            && errno.is_icmp()
        {
            let file = self.driver.file(&slot);
            let connected = self.backends.connection(file).map(Connection::peer);
            self.unreachable(connected.or_else(|| self.driver.destination(&slot)), errno);
        }
        let slot = match result {
            Err(Errno(libc::ECONNREFUSED))
                if !self.backends.is_closing(self.driver.file(&slot)) =>
            {
                self.driver.send_again(slot)?
            }
            _ => Some(slot),
        };
        if let Some(slot) = slot {
            self.driver.put_back(slot);
        }
        Ok(())
    }

    /// There is no way to `peer`, which is a backend (or several), or a client: what waits for it goes
    /// elsewhere. Which datagram the error is of nobody says: the oldest that it can be counts.
    fn unreachable(&mut self, peer: Option<SocketAddr>, errno: Errno) {
        let Some(peer) = peer else { return };
        let age_ms = if errno.0 == libc::ECONNREFUSED { REFUSED_MS } else { UNREACHABLE_MS };
        let sent_ms = os::now_ms().saturating_sub(age_ms);
        for slot in self.pool.all_by_address(peer) {
            self.backends.count_failure(slot, BackendOutcome::Unreachable, sent_ms);
        }
        self.core.unreachable(&self.pool, peer);
    }

    /// Opens the connected socket that [`Desk::note_request`] has found due.
    pub(super) fn connect(&mut self) -> io::Result<()> {
        let Some((backend, egress)) = self.connect.take() else { return Ok(()) };
        let Some(file) = self.backends.free_file() else {
            self.backends.leave_unconnected(backend);
            return Ok(());
        };
        let local = self.settings.sockets[usize::from(egress.socket.0)].address;
        let opened =
            socket::open_connected(local, egress.to, self.receive_buffer).and_then(|socket| {
                self.driver.replace_file(file, Some(socket.as_fd())).map(|()| socket)
            });
        match opened {
            Ok(socket) => {
                self.backends.connected(file, &egress, socket);
                // What came in between bind and connect waits there and is received like the rest.
                self.driver.arm_receive(file)
            }
            // The unconnected socket serves as well.
            Err(error) => {
                tracing::warn!(backend = %egress.to, %error, "no connected socket to this backend");
                self.backends.leave_unconnected(backend);
                Ok(())
            }
        }
    }
}

#[inline]
fn part(bytes: &[u8], span: Span) -> Option<&[u8]> {
    bytes.get(span.start as usize..span.end as usize)
}
