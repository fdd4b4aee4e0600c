//! A worker's ring with its buffers: the safe face of the kernel. Tokens in, completions out.
//!
//! Every operation's memory belongs to this room, so nothing outside can free or change what the
//! kernel still uses; what is outstanding is counted and reaped before the memory goes.

use super::buffers::{GROUP, Mapping, ReceiveMemory, ReceiveSlots, Received, SendSlot, SendSlots};
use super::message_header;
use super::ring::{Ring, RingSeed};
use super::{FileIndex, Sizes};
use io_uring::types::{CancelBuilder, Fd, Fixed};
use io_uring::{cqueue, opcode, squeue};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::time::Duration;

/// An errno, positive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Errno(pub(crate) i32);

impl Errno {
    /// An ICMP error about an earlier datagram, or a route that is known to be missing.
    pub(crate) fn is_icmp(self) -> bool {
        matches!(self.0, libc::ECONNREFUSED | libc::EHOSTUNREACH | libc::ENETUNREACH)
    }
}

/// What the kernel has done.
#[derive(Debug)]
pub(crate) enum Completion {
    /// A datagram came. If not `armed`, the receive has ended with it.
    Datagram {
        /// Where it lies.
        received: Received,
        /// More will come without arming the receive again.
        armed: bool,
    },
    /// The receive of this socket has ended: any error ends it.
    ReceiveEnded {
        /// The socket.
        file: FileIndex,
        /// ENOBUFS: the ring of buffers was empty. ECANCELED: we asked for it. ICMP errors:
        /// connected sockets only.
        errno: Errno,
    },
    /// A send is through, one way or the other; the slot is ours again.
    Sent {
        /// The slot: send it again, or put it back.
        slot: SendSlot,
        /// Bytes that left.
        result: Result<u32, Errno>,
    },
    /// Another worker has put something into its hand-off ring for us.
    Doorbell,
    /// The doorbell of this worker could not be rung.
    DoorbellFailed {
        /// The worker's number.
        target: u32,
        /// EOVERFLOW, ENOMEM: try again; EBADFD, EOWNERDEAD: nobody is there.
        errno: Errno,
    },
    /// The event that is watched was set.
    Event {
        /// It is still watched.
        armed: bool,
    },
    /// A cancellation is through.
    Cancelled,
}

/// More messages than one, to be waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Batch {
    /// How many are enough.
    pub(crate) messages: u32,
    /// How long they are waited for; after that one is enough.
    pub(crate) within: Duration,
}

// The upper half of `user_data` is the kind, the lower the number of a file, slot or worker.
const RECEIVE: u64 = 1 << 32;
const SEND: u64 = 2 << 32;
const DOORBELL: u64 = 3 << 32;
const DOORBELL_OUT: u64 = 4 << 32;
const EVENT: u64 = 5 << 32;
const CANCEL: u64 = 6 << 32;
const NUMBER: u64 = 0xffff_ffff;

/// How often and how long the end waits for what is outstanding; past it the memory is leaked.
const REAP_ROUNDS: u32 = 200;
const REAP_WAIT: Duration = Duration::from_millis(10);

/// A worker's ring and what its operations use.
pub(crate) struct Driver {
    ring: Ring,
    sends: SendSlots,
    /// `msg_namelen` and `msg_controllen` of every receive; boxed, for the kernel reads it by address.
    request: Box<libc::msghdr>,
    /// Times that the submission queue was full.
    full: u64,
    /// Sends queued or in the kernel.
    in_flight: u32,
    /// Operations whose last completion has not come: receives, sends, cancels, the watch of the event.
    outstanding: u32,
    memory: Option<(ReceiveMemory, Arc<Mapping>)>,
    // Open as long as the ring: a poll on it is outstanding.
    event: OwnedFd,
}

impl Driver {
    /// Enables the ring on this thread and registers the receive slots, the files (`spare` empty
    /// places behind them) and an event, which is watched from now on.
    ///
    /// # Errors
    /// What the kernel says; see [`super::diagnose`].
    pub(crate) fn start(
        seed: RingSeed,
        sizes: &Sizes,
        files: &[BorrowedFd<'_>],
        spare: usize,
        event: OwnedFd,
    ) -> io::Result<(Self, ReceiveSlots)> {
        let ring = seed.enable()?;
        let slots = ReceiveSlots::new(sizes)?;
        let sends = SendSlots::new(sizes)?;
        let mut table: Vec<RawFd> = files.iter().map(AsRawFd::as_raw_fd).collect();
        table.resize(files.len() + spare, -1);
        ring.register_files(&table)?;
        let (address, entries) = slots.ring();
        let memory = Some((slots.memory(), sends.memory()));
        // SAFETY: page aligned (mapped) and kept in `memory` until the ring is through.
        unsafe { ring.register_buffers(address, entries, GROUP) }?;
        let request = Box::new(message_header::request());
        let (full, in_flight, outstanding) = (0, 0, 0);
        let mut driver = Self { ring, sends, request, full, in_flight, outstanding, memory, event };
        driver.watch()?;
        Ok((driver, slots))
    }

    /// Watches the event until a completion says that it is watched no more. Each time that it is set
    /// is one completion, or shares one with others; nobody needs to read it.
    ///
    /// # Errors
    /// As [`Driver::enter`].
    pub(crate) fn watch(&mut self) -> io::Result<()> {
        let event = Fd(self.event.as_raw_fd());
        let watch = opcode::PollAdd::new(event, libc::POLLIN as u32).multi(true).build();
        self.outstanding += 1;
        self.queue(&watch.user_data(EVENT))
    }

    /// Arms the receive of a socket: it goes on until a completion says that it has ended.
    ///
    /// # Errors
    /// As [`Driver::enter`].
    pub(crate) fn arm_receive(&mut self, file: FileIndex) -> io::Result<()> {
        let entry = opcode::RecvMsgMulti::new(Fixed(file.0), &raw const *self.request, GROUP)
            .build()
            .user_data(RECEIVE | u64::from(file.0));
        self.outstanding += 1;
        self.queue(&entry)
    }

    /// Ends the receive of a socket; [`Completion::ReceiveEnded`] follows if it was armed.
    ///
    /// # Errors
    /// As [`Driver::enter`].
    pub(crate) fn cancel_receive(&mut self, file: FileIndex) -> io::Result<()> {
        let builder = CancelBuilder::user_data(RECEIVE | u64::from(file.0));
        let entry = opcode::AsyncCancel2::new(builder).build().user_data(CANCEL);
        self.outstanding += 1;
        self.queue(&entry)
    }

    /// Puts a socket into the table, or empties a place (`None`), which must have no receive armed.
    ///
    /// # Errors
    /// What the kernel says.
    pub(crate) fn replace_file(
        &self,
        file: FileIndex,
        socket: Option<BorrowedFd<'_>>,
    ) -> io::Result<()> {
        self.ring.replace_file(file.0, socket.map_or(-1, |fd| fd.as_raw_fd()))
    }

    /// A free send slot, if there is one.
    #[inline]
    pub(crate) fn take_slot(&mut self) -> Option<SendSlot> {
        self.sends.take()
    }

    /// Returns a slot that is not sent.
    #[inline]
    pub(crate) fn put_back(&mut self, slot: SendSlot) {
        self.sends.put_back(slot);
    }

    /// The room of a slot, to write a message into.
    #[inline]
    pub(crate) fn message(&mut self, slot: &SendSlot) -> &mut [u8] {
        self.sends.message(slot)
    }

    /// Queues the first `len` bytes of a slot for sending to `to`; `None` on a connected socket.
    ///
    /// # Errors
    /// As [`Driver::enter`].
    ///
    /// # Panics
    /// If `len` is more than the slot holds.
    #[inline]
    pub(crate) fn send(
        &mut self,
        slot: SendSlot,
        len: usize,
        file: FileIndex,
        to: Option<SocketAddr>,
    ) -> io::Result<()> {
        assert!(len <= self.sends.message(&slot).len());
        let name_len = to.map_or(0, |to| self.sends.address(&slot, to));
        let outgoing = self.sends.outgoing(&slot);
        *outgoing = super::buffers::Outgoing { file, len: len as u32, name_len, again: false };
        self.queue_send(slot)
    }

    /// Sends a slot a second time: on a connected socket the ICMP error of an earlier datagram
    /// fails the next send before it leaves. Gives the slot back if that was done already.
    ///
    /// # Errors
    /// As [`Driver::enter`].
    pub(crate) fn send_again(&mut self, slot: SendSlot) -> io::Result<Option<SendSlot>> {
        let outgoing = self.sends.outgoing(&slot);
        if outgoing.again || outgoing.name_len != 0 {
            return Ok(Some(slot));
        }
        outgoing.again = true;
        self.queue_send(slot).map(|()| None)
    }

    /// The socket that a slot was sent on last.
    pub(crate) fn file(&mut self, slot: &SendSlot) -> FileIndex {
        self.sends.outgoing(slot).file
    }

    /// Where a slot was sent to last; `None` on a connected socket.
    pub(crate) fn destination(&self, slot: &SendSlot) -> Option<SocketAddr> {
        self.sends.destination(slot)
    }

    fn queue_send(&mut self, slot: SendSlot) -> io::Result<()> {
        let outgoing = *self.sends.outgoing(&slot);
        let message = self.sends.message_start(&slot).as_ptr();
        let mut send = opcode::Send::new(Fixed(outgoing.file.0), message, outgoing.len)
            // Never parked in the kernel: a full socket answers EAGAIN and the slot is ours again.
            .flags(libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL);
        if outgoing.name_len != 0 {
            send = send
                .dest_addr(self.sends.name(&slot).as_ptr().cast())
                .dest_addr_len(outgoing.name_len);
        }
        let entry = send.build().user_data(SEND | u64::from(slot.0));
        self.in_flight += 1;
        self.outstanding += 1;
        self.queue(&entry)
    }

    /// Rings the doorbell of another worker's ring. No completion comes if it rings.
    ///
    /// # Errors
    /// As [`Driver::enter`].
    pub(crate) fn ring_doorbell(&mut self, ring: BorrowedFd<'_>, target: u32) -> io::Result<()> {
        // The descriptor cannot be a fixed file (EBADF); it outlives this ring in its holder.
        let entry = opcode::MsgRingData::new(Fd(ring.as_raw_fd()), 0, DOORBELL, None)
            .build()
            .flags(squeue::Flags::SKIP_SUCCESS)
            .user_data(DOORBELL_OUT | u64::from(target));
        self.queue(&entry)
    }

    /// The one `io_uring_enter` of a turn: submits everything; with a timeout it waits until
    /// something else than our own sends is there. (The sends complete during the call: waiting for
    /// one completion would return with those alone, and every turn would enter twice. So a worker
    /// with nothing else to do learns of a failed send when the timeout is over.)
    ///
    /// # Errors
    /// Those that a worker cannot go on from; see [`Ring::enter`].
    pub(crate) fn enter(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        let want = if timeout.is_some() { self.in_flight + 1 } else { 0 };
        self.ring.enter(want, timeout)
    }

    /// As [`Driver::enter`], but waits for a batch, and behind its time for the first of anything. That time
    /// ends at the timeout. What is not a message counts as one. Only where [`Driver::can_gather`].
    ///
    /// # Errors
    /// As [`Driver::enter`].
    pub(crate) fn gather(&mut self, batch: Batch, timeout: Duration) -> io::Result<()> {
        debug_assert!(self.can_gather());
        self.ring.gather(self.in_flight + batch.messages, batch.within, timeout)
    }

    /// True if the kernel can wait for a batch (Linux 6.12).
    pub(crate) fn can_gather(&self) -> bool {
        self.ring.can_gather()
    }

    /// The next completion, if there is one.
    #[inline]
    pub(crate) fn completion(&mut self) -> Option<Completion> {
        loop {
            let entry = self.ring.completion()?;
            if let Some(completion) = self.decode(&entry) {
                return Some(completion);
            }
        }
    }

    #[inline]
    fn decode(&mut self, entry: &cqueue::Entry) -> Option<Completion> {
        let number = (entry.user_data() & NUMBER) as u32;
        let result = u32::try_from(entry.result()).map_err(|_| Errno(-entry.result()));
        match entry.user_data() & !NUMBER {
            RECEIVE => Some(self.decode_receive(FileIndex(number), result, entry.flags())),
            SEND => {
                self.in_flight -= 1;
                self.outstanding -= 1;
                Some(Completion::Sent { slot: SendSlot(number as u16), result })
            }
            DOORBELL => Some(Completion::Doorbell),
            DOORBELL_OUT => {
                result.err().map(|errno| Completion::DoorbellFailed { target: number, errno })
            }
            EVENT => {
                let armed = cqueue::more(entry.flags());
                self.outstanding -= u32::from(!armed);
                Some(Completion::Event { armed })
            }
            CANCEL => {
                self.outstanding -= 1;
                Some(Completion::Cancelled)
            }
            _ => None, // not ours: nothing else is ever queued
        }
    }

    fn decode_receive(
        &mut self,
        file: FileIndex,
        result: Result<u32, Errno>,
        flags: u32,
    ) -> Completion {
        // Whether it goes on stands in the flag, not in the result.
        let armed = cqueue::more(flags);
        if !armed {
            self.outstanding -= 1;
        }
        match (result, cqueue::buffer_select(flags)) {
            (Ok(len), Some(slot)) => {
                Completion::Datagram { received: Received::new(file, slot, len), armed }
            }
            // An error that took a slot with it: an empty datagram brings the slot home.
            (Err(_), Some(slot)) => {
                Completion::Datagram { received: Received::new(file, slot, 0), armed }
            }
            (Ok(_), None) => Completion::ReceiveEnded { file, errno: Errno(0) },
            (Err(errno), None) => Completion::ReceiveEnded { file, errno },
        }
    }

    /// Calls of `io_uring_enter` so far.
    pub(crate) fn enters(&self) -> u64 {
        self.ring.enters
    }

    /// Completion queue overflows so far.
    pub(crate) fn overflows(&self) -> u64 {
        self.ring.overflows
    }

    /// Times that the submission queue was full.
    pub(crate) fn full(&self) -> u64 {
        self.full
    }

    fn queue(&mut self, entry: &squeue::Entry) -> io::Result<()> {
        // The second round finds room after one enter, unless the kernel refuses for now (its
        // completion queue is full: EBUSY) and it needs more.
        for _ in 0..REAP_ROUNDS {
            // SAFETY: all that entries name is memory of `self.memory`, `self.request` or
            // descriptors that outlive the ring; it is freed after all is reaped only.
            if unsafe { self.ring.push(entry) } {
                return Ok(());
            }
            self.full += 1;
            self.ring.enter(0, None)?;
        }
        Err(io::Error::other("io_uring takes no more submissions: its completion queue stays full"))
    }

    /// Cancels everything and waits for the last completion of each, then takes files and slots
    /// from the kernel. False: something is still outstanding.
    fn reap(&mut self) -> bool {
        let cancel = opcode::AsyncCancel2::new(CancelBuilder::any().all());
        if self.queue(&cancel.build().user_data(CANCEL)).is_err() {
            return false;
        }
        self.outstanding += 1;
        for _ in 0..REAP_ROUNDS {
            if self.ring.enter(1, Some(REAP_WAIT)).is_err() {
                return false;
            }
            while self.completion().is_some() {}
            if self.outstanding == 0 {
                let _ = self.ring.unregister_files();
                let _ = self.ring.unregister_buffers(GROUP); // last, when nothing uses it
                return true;
            }
        }
        false
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        if !self.reap() {
            // The kernel may still write there: better leaked than freed.
            std::mem::forget(self.memory.take());
        }
    }
}

#[cfg(test)]
mod gather_tests;
#[cfg(test)]
mod tests;
