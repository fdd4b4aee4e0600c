//! The loop of a worker: one `io_uring_enter` a turn.
//!
//! 1. Submit what the last turn queued, and wait (a second at most; for more than one message if it pays).
//! 2. Take the time and the pool, once.
//! 3. Take every completion; then do what the control thread has ordered, if it has.
//! 4. Deal with the received datagrams, then with what other workers handed over.
//! 5. Give the receive slots back, then arm the receives that have ended: in this order, for a
//!    receive armed on an empty ring ends at once.
//! 6. Let the core sweep; ring doorbells; once a second refresh the gauges.

use super::core::Core;
use super::count;
use super::desk::Desk;
use super::gather::Gathering;
use super::orders::{Orders, Question};
use super::record::HEADER_SIZE;
use crate::io::buffers::{ReceiveSlots, Received};
use crate::io::handoff::Inbox;
use crate::io::{FileIndex, os, socket};
use crate::limits::MESSAGE_SIZE_MAX;
use crate::metrics::Roster;
use crate::proxy::{Ingress, Now, Replaced};
use arc_swap::ArcSwap;
use std::io;
use std::mem;
use std::sync::Arc;
use std::time::Duration;

/// The longest record of a hand-off ring, bytes.
pub(super) const RECORD_SIZE_MAX: usize = HEADER_SIZE + MESSAGE_SIZE_MAX;

/// Records taken from all hand-off rings in a turn: as many as a turn receives at most.
pub(super) const RECORDS_PER_TURN: usize = 256;

/// The longest wait while requests wait for an answer: how late failover and retransmissions may be.
const POLL_MS: u64 = 50;

/// The longest wait, and from one look at the gauges to the next.
const TICK_MS: u64 = 1000;

/// A worker.
pub(super) struct Worker<C> {
    pub(super) desk: Desk<C>,
    pub(super) receive: ReceiveSlots,
    /// By worker; `None` at our own place.
    pub(super) inboxes: Vec<Option<Inbox>>,
    /// Swapped whole by the control thread.
    pub(super) shared_roster: Arc<ArcSwap<Roster>>,
    /// One record, or one datagram of a socket that is being closed.
    pub(super) scratch: Box<[u8]>,
    /// Somebody has handed something over that we have not taken.
    pub(super) handed_over: bool,
    /// Whose inbox is looked into first, so that none starves.
    pub(super) first_inbox: usize,
    /// Messages dealt with in this turn.
    pub(super) dealt_with: u64,
    /// How long those may have been kept waiting for more, nanoseconds.
    pub(super) kept_ns: u64,
    /// When the wait of this turn ended.
    pub(super) turn_began_ns: u64,
    pub(super) gathering: Gathering,
    /// When the gauges are due.
    pub(super) tick_ms: u64,
    /// What the control thread wants.
    pub(super) orders: Arc<Orders>,
    /// To be answered when the gauges of all backends are fresh.
    pub(super) questions: Vec<Question>,
    /// This turn is the last.
    pub(super) stopped: bool,
}

impl<C: Core> Worker<C> {
    /// Arms `files`, then turns until it is ordered to stop.
    ///
    /// # Errors
    /// What a worker cannot go on from.
    pub(super) fn run(&mut self, files: &[FileIndex]) -> io::Result<()> {
        for file in files {
            self.desk.driver.arm_receive(*file)?;
        }
        while !self.stopped {
            self.turn()?;
        }
        self.desk.driver.enter(None)?; // what the last turn queued
        self.desk.reap()
    }

    fn turn(&mut self) -> io::Result<()> {
        self.wait()?;
        self.turn_began_ns = os::now_ns();
        self.end_gathering();
        let now = Now { us: self.turn_began_ns / 1000 };
        self.follow_roster()?;
        let Desk { backends, core, .. } = &mut self.desk;
        backends.look_elsewhere(core, now);
        self.desk.reap()?;
        if self.desk.called {
            self.obey()?;
        }
        self.deal_with_received(now)?;
        self.deal_with_handed_over(now)?;
        self.receive.publish();
        self.desk.connect()?;
        self.arm_again(now)?;
        self.desk.core.handle_timeout(now);
        self.desk.poll(now)?;
        let Desk { backends, core, .. } = &mut self.desk;
        backends.tell_others(core, now);
        self.desk.ring_doorbells()?;
        self.desk.answer_orders();
        if now.ms() >= self.tick_ms {
            self.tick(now);
        }
        self.refresh_backends(now);
        let (cells, driver) = (&self.desk.cells, &self.desk.driver);
        cells.enters.set(driver.enters());
        cells.cq_overflows.set(driver.overflows());
        cells.sq_full.set(driver.full());
        Ok(())
    }

    fn wait(&mut self) -> io::Result<()> {
        let now_ns = os::now_ns();
        self.end_turn(now_ns);
        let longest_ms = if self.desk.core.is_waiting() { POLL_MS } else { TICK_MS };
        let ms = self.tick_ms.saturating_sub(now_ns / 1_000_000).clamp(1, longest_ms);
        let doorbell = &self.desk.mailboxes[self.desk.number].doorbell;
        let may_sleep = !self.handed_over && self.desk.is_clear() && doorbell.sleep();
        let timeout = Duration::from_millis(ms);
        let driver = &mut self.desk.driver;
        match self.gathering.next(mem::take(&mut self.dealt_with), self.turn_began_ns, now_ns) {
            Some(batch) if may_sleep => {
                self.gathering.begin(batch, now_ns);
                driver.gather(batch, timeout)?;
            }
            _ => driver.enter(may_sleep.then_some(timeout))?,
        }
        self.handed_over |= doorbell.wake();
        Ok(())
    }

    fn end_gathering(&mut self) {
        let kept_ns = self.gathering.end(self.turn_began_ns);
        self.kept_ns = kept_ns.unwrap_or(0);
        if let Some(ns) = kept_ns {
            self.desk.cells.gathers.increment();
            self.desk.cells.gather_ns.add(ns);
        }
    }

    /// Sets the latency budget. A message that is handed over meets the waits of two workers.
    pub(super) fn allow(&mut self, budget: Duration) {
        let waits = if self.desk.shard.is_split() { 2 } else { 1 };
        let waits_for_more = !budget.is_zero() && self.desk.driver.can_gather();
        if waits_for_more && let Err(error) = os::wait_precisely() {
            let worker = self.desk.number;
            tracing::info!(worker, %error, "waits within the latency budget end up to 50 us late");
        }
        self.gathering.allow(if waits_for_more { budget / waits } else { Duration::ZERO });
    }

    /// What was forwarded in the turn leaves now. Each message counts with the whole turn, and with the
    /// wait for more before it: it may have been the first to come and the last to go, and a clock read
    /// for each would cost more than it tells.
    fn end_turn(&mut self, now_ns: u64) {
        let forwarded = mem::take(&mut self.desk.forwarded);
        if forwarded > 0 {
            let lasted_ns = now_ns.saturating_sub(self.turn_began_ns) + self.kept_ns;
            self.desk.cells.forward_seconds.observe(lasted_ns, forwarded);
        }
    }

    fn follow_roster(&mut self) -> io::Result<()> {
        let current = self.shared_roster.load();
        if self.desk.backends.has(&current) {
            return Ok(());
        }
        self.desk.connect = None; // its slot is of the pool before
        // Before the roster, which the control thread keeps: so the pool is not freed here.
        self.desk.pool = Arc::clone(current.pool());
        for file in self.desk.backends.follow(arc_swap::Guard::into_inner(current)) {
            self.desk.driver.cancel_receive(file)?;
        }
        Ok(())
    }

    fn obey(&mut self) -> io::Result<()> {
        self.desk.called = false;
        let wanted = self.orders.take();
        for order in wanted.sockets {
            self.desk.order(order)?;
        }
        if let Some(settings) = wanted.settings {
            self.desk.core.configure(Arc::clone(&settings));
            self.desk.settings = settings;
        }
        if let Some(budget) = wanted.latency_budget {
            self.allow(budget);
        }
        if let Some(pen) = wanted.pen {
            self.desk.pen = pen;
        }
        self.refresh();
        if !wanted.questions.is_empty() {
            self.questions.extend(wanted.questions);
            self.desk.backends.begin_refresh();
        }
        self.desk.waiting.extend(wanted.waiting);
        self.stopped |= wanted.stop;
        Ok(())
    }

    fn deal_with_received(&mut self, now: Now) -> io::Result<()> {
        while let Some(received) = self.desk.received.pop_front() {
            self.dealt_with += 1;
            self.deal_with_one(now, &received)?;
            self.receive.give_back(received);
        }
        Ok(())
    }

    #[inline]
    fn deal_with_one(&mut self, now: Now, received: &Received) -> io::Result<()> {
        let cells = &self.desk.cells;
        let datagram = self.receive.datagram(received);
        let socket = self.desk.backends.ingress(received.file);
        let (Some(datagram), Some(socket)) = (datagram, socket) else {
            cells.receive_errors.increment(); // not what the kernel promises
            return Ok(());
        };
        cells.datagrams_received.increment();
        cells.bytes_received.add(datagram.bytes.len() as u64);
        if datagram.truncated {
            cells.truncated.increment();
            return Ok(());
        }
        let ingress = Ingress { source: datagram.source, socket, replaced: Replaced::Unasked };
        self.desk.route(now, ingress, datagram.bytes)
    }

    fn deal_with_handed_over(&mut self, now: Now) -> io::Result<()> {
        if !self.handed_over {
            return Ok(());
        }
        self.handed_over = false;
        let mut left = RECORDS_PER_TURN;
        let workers = self.inboxes.len();
        for step in 0..workers {
            let from = (self.first_inbox + step) % workers;
            let Some(inbox) = &mut self.inboxes[from] else { continue };
            while let Some(len) = inbox.pop(&mut self.scratch) {
                self.desk.record(now, from, &self.scratch[..len])?;
                self.dealt_with += 1;
                left -= 1;
                if left == 0 {
                    self.handed_over = true; // there may be more: do not wait
                    self.first_inbox = from + 1;
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Arms the receives that have ended, but for those of connections that are being closed.
    fn arm_again(&mut self, now: Now) -> io::Result<()> {
        if now.ms() >= self.tick_ms {
            let desk = &mut self.desk;
            desk.ended.append(&mut desk.later);
        }
        while let Some(file) = self.desk.ended.pop() {
            if self.desk.backends.is_closing(file) {
                self.close(now, file)?;
            } else if !self.desk.close_if_ordered(file)? {
                self.desk.driver.arm_receive(file)?;
            }
        }
        Ok(())
    }

    /// Closes a connection whose receive has ended, in two steps: gives its peer back to the
    /// catch-all, and at the next tick, when nothing can still be on its way to it, drops it.
    fn close(&mut self, now: Now, file: FileIndex) -> io::Result<()> {
        if let Some(connection) = self.desk.backends.turn_away(file) {
            if let Err(error) = socket::turn_away(&connection.socket) {
                tracing::warn!(%error, "a connected socket is closed with its peer still on it");
            }
            self.desk.driver.replace_file(file, None)?;
            self.drain(now, file)?;
            self.desk.later.push(file);
        } else {
            self.drain(now, file)?;
            drop(self.desk.backends.close(file));
        }
        Ok(())
    }

    /// Deals with what waits in a connection that nothing is received from any more.
    fn drain(&mut self, now: Now, file: FileIndex) -> io::Result<()> {
        while let Some(connection) = self.desk.backends.connection(file)
            && let Some((len, source)) = socket::drain(&connection.socket, &mut self.scratch)
        {
            let ingress = Ingress { source, socket: connection.local, replaced: Replaced::Unasked };
            self.desk.cells.datagrams_received.increment();
            self.desk.cells.bytes_received.add(len as u64);
            self.desk.route(now, ingress, &self.scratch[..len])?;
        }
        Ok(())
    }

    fn tick(&mut self, now: Now) {
        self.tick_ms = now.ms() + TICK_MS;
        self.refresh();
        self.desk.backends.begin_refresh();
    }

    /// The gauges of some backends; after the last of them the questions, whose answers come with fresh ones.
    fn refresh_backends(&mut self, now: Now) {
        let Desk { backends, core, .. } = &mut self.desk;
        if backends.refresh(core, now) {
            for question in self.questions.drain(..) {
                (question.answer)(core.pinned(now, &question.call_id));
            }
        }
    }

    /// The gauges but for the backends', and what else is counted elsewhere.
    fn refresh(&mut self) {
        let cells = &self.desk.cells;
        cells.cpu_ns.set(os::thread_cpu_ns());
        cells.pins.set(self.desk.core.pins() as u64);
        cells.dialogs.set(self.desk.core.dialogs() as u64);
        cells.calls.set(self.desk.core.calls() as u64);
        count::tally(cells, &self.desk.core.tally());
        let waiting = self.inboxes.iter().flatten().map(Inbox::waiting).sum::<usize>();
        cells.handoff_queue.set(waiting as u64);
    }
}
