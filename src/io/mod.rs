//! The kernel: rings, buffers, sockets, and what the machine says of itself. It knows bytes,
//! addresses and slot numbers and has never heard of SIP (but for the program that [`steer`] gives to
//! the kernel). The only room with `unsafe`.
//!
//! # Contract
//! 1. The control thread opens sockets ([`socket`]) and builds a disabled ring for each worker
//!    ([`ring::RingSeed`]), so that every ring's number is known before the first worker runs.
//! 2. The worker turns its seed into a [`driver::Driver`] and arms a receive per socket.
//! 3. A turn: `enter` once, then take every completion. A received datagram is a token that is read
//!    and then given back; a send takes a slot, fills it, and queues it.
//! 4. Given back buffers are published before a receive is armed again.
//!
//! Tokens ([`buffers::Received`], [`buffers::SendSlot`]) are moved, never copied: memory that the
//! kernel may be using cannot be reached.

pub(crate) mod buffers;
pub mod diagnose;
pub(crate) mod driver;
pub(crate) mod handoff;
pub(crate) mod huge_pages;
pub(crate) mod message_header;
pub mod os;
pub(crate) mod ring;
pub(crate) mod socket;
pub(crate) mod steer;

use crate::limits::MESSAGE_SIZE_MAX;

/// The place of a socket in a ring's table of fixed files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileIndex(pub(crate) u32);

/// Receives that one turn may arm again without submitting in between.
const ARMED_IN_A_TURN: u32 = 64;

/// How many buffers a worker has.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
    /// Receive slots, a power of two. Small on purpose: the slots are used in turn, so all of them
    /// pass through the cache; bursts wait in the socket's receive buffer instead.
    pub(crate) receive_slots: u16,
    /// Send slots: sends of one `enter`. What a turn receives fits, and half as much again that is
    /// handed over or sent by itself; more than that submits in between.
    pub(crate) send_slots: u16,
    /// The longest datagram that fits a slot, bytes.
    pub(crate) message_size: usize,
    /// Workers that may ring this one's doorbell.
    pub(crate) peers: u32,
}

impl Sizes {
    /// What a worker uses.
    pub(crate) const fn of_a_worker(peers: u32) -> Self {
        Self { receive_slots: 256, send_slots: 384, message_size: MESSAGE_SIZE_MAX, peers }
    }

    /// Entries of the submission queue: a turn's sends, and the receives that have ended when those used
    /// all slots; more than that submits in between.
    pub(crate) fn submissions(&self) -> u32 {
        (u32::from(self.send_slots) + ARMED_IN_A_TURN).next_power_of_two()
    }

    /// Entries of the completion queue: all that can be outstanding at once. A received datagram
    /// holds a receive slot and a send holds a send slot until they are taken from the queue.
    pub(crate) fn completions(&self, files: u32) -> u32 {
        let receives_and_cancels = 2 * files;
        let doorbells = 2 * self.peers; // rung by others, and those of ours that failed
        let stop = 2; // the event, and the cancel of everything
        let sum = u32::from(self.receive_slots)
            + u32::from(self.send_slots)
            + receives_and_cancels
            + doorbells
            + stop;
        // The kernel refuses fewer than there are submissions.
        sum.next_power_of_two().max(self.submissions())
    }
}
