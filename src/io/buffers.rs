//! Receive slots that the kernel fills (a provided buffer ring) and send slots that it reads.
//!
//! Each slot holds a whole datagram. The memory is mapped, so that only touched pages cost
//! anything: a slot that never saw more than 1 KB has one or two pages. Slots are an odd number of
//! cache lines apart, so that their first lines (those of nearly every message) fall on different
//! sets of the caches; slots that start on pages would fight for the same few.

use super::message_header::{self, Datagram, HEADER_SIZE, NAME_SIZE};
use super::{FileIndex, Sizes};
use io_uring::types::BufRingEntry;
use std::io;
use std::net::SocketAddr;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

/// The group number of the receive slots; a worker has one group.
pub(crate) const GROUP: u16 = 0;

const CACHE_LINE: usize = 64;

/// Where the header of a receive slot starts: its payload then starts on a cache line.
const HEADER_OFFSET: usize = CACHE_LINE - HEADER_SIZE;

/// From one slot to the next, bytes: the slot, then enough to make an odd number of lines that is
/// not close to a multiple of a page.
const fn stride(message_size: usize) -> usize {
    let lines = (CACHE_LINE + message_size).div_ceil(CACHE_LINE);
    let pages = lines.div_ceil(64);
    (pages * 64 + 17) * CACHE_LINE
}

/// Anonymous memory, zeroed, unmapped when dropped.
#[derive(Debug)]
pub(crate) struct Mapping {
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: it is plain memory that belongs to the mapping; access to it is ruled by the tokens below.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    fn new(len: usize) -> io::Result<Self> {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        // SAFETY: a new anonymous mapping touches no memory that exists.
        let start = unsafe { libc::mmap(std::ptr::null_mut(), len, protection, flags, -1, 0) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: advice on the mapping just made. Huge pages would make untouched slots cost; a
        // kernel that has none answers EINVAL, which is as good.
        unsafe { libc::madvise(start, len, libc::MADV_NOHUGEPAGE) };
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { start, len })
    }

    fn at(&self, offset: usize) -> NonNull<u8> {
        assert!(offset < self.len);
        // SAFETY: inside the mapping, checked above.
        unsafe { self.start.add(offset) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: this mapping was made in `new` and nothing borrows from it any more.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.len) };
    }
}

/// A datagram in a receive slot: read it with [`ReceiveSlots::datagram`], then give it back.
#[derive(Debug)]
pub(crate) struct Received {
    /// The socket that received it.
    pub(crate) file: FileIndex,
    slot: u16,
    len: u32,
}

impl Received {
    /// What a completion says. Made by the driver alone.
    pub(super) fn new(file: FileIndex, slot: u16, len: u32) -> Self {
        Self { file, slot, len }
    }
}

/// The memory that a ring must not outlive.
#[derive(Clone, Debug)]
pub(crate) struct ReceiveMemory {
    slots: Arc<Mapping>,
    ring: Arc<Mapping>,
}

/// The receive slots and the ring through which they are given to the kernel.
#[derive(Debug)]
pub(crate) struct ReceiveSlots {
    memory: ReceiveMemory,
    count: u16,
    message_size: usize,
    /// Entries written since the ring was made, modulo 2^16: the kernel takes from behind it.
    tail: u16,
}

impl ReceiveSlots {
    /// Maps the slots and puts all of them into the ring.
    ///
    /// # Errors
    /// When the memory cannot be mapped.
    pub(crate) fn new(sizes: &Sizes) -> io::Result<Self> {
        assert!(sizes.receive_slots.is_power_of_two());
        let count = sizes.receive_slots;
        let memory = ReceiveMemory {
            slots: Arc::new(Mapping::new(usize::from(count) * stride(sizes.message_size))?),
            ring: Arc::new(Mapping::new(usize::from(count) * size_of::<BufRingEntry>())?),
        };
        let mut slots = Self { memory, count, message_size: sizes.message_size, tail: 0 };
        for slot in 0..count {
            slots.put(slot);
        }
        slots.publish();
        Ok(slots)
    }

    /// The memory, to be kept as long as the ring that it is registered with.
    pub(crate) fn memory(&self) -> ReceiveMemory {
        self.memory.clone()
    }

    /// Address and entries of the buffer ring.
    pub(super) fn ring(&self) -> (u64, u16) {
        (self.memory.ring.start.as_ptr() as u64, self.count)
    }

    /// Reads a received datagram. `None`: the kernel wrote something else than it promises.
    #[inline]
    pub(crate) fn datagram(&self, received: &Received) -> Option<Datagram<'_>> {
        let len = (received.len as usize).min(HEADER_SIZE + self.message_size);
        let start = self.slot(received.slot).as_ptr();
        // SAFETY: inside the slot, which is ours until `give_back` takes the token and `&mut self`.
        let slot = unsafe { std::slice::from_raw_parts(start, len) };
        message_header::parse(slot)
    }

    /// Puts a slot back into the ring. The kernel sees it at the next [`ReceiveSlots::publish`].
    #[inline]
    pub(crate) fn give_back(&mut self, received: Received) {
        self.put(received.slot);
    }

    /// Shows the kernel the slots given back: one store for all of a turn. To be called before a
    /// receive is armed, for with an empty ring it would end at once with ENOBUFS.
    #[inline]
    pub(crate) fn publish(&self) {
        let first: *const BufRingEntry = self.memory.ring.start.as_ptr().cast();
        // SAFETY: `first` is the first entry of the ring, zeroed or written by `put`.
        let tail = unsafe { BufRingEntry::tail(first) };
        // SAFETY: the tail is a u16 aligned to 2 that the kernel reads with acquire semantics.
        let tail = unsafe { AtomicU16::from_ptr(tail.cast_mut()) };
        tail.store(self.tail, Ordering::Release);
    }

    fn put(&mut self, slot: u16) {
        let address = self.slot(slot).as_ptr() as u64;
        let index = usize::from(self.tail & (self.count - 1));
        let entry = self.memory.ring.at(index * size_of::<BufRingEntry>());
        // SAFETY: entry `index` of the ring; the kernel does not read past the published tail, so
        // it is ours (the setters leave the tail, which lies over the first entry, alone).
        let entry = unsafe { entry.cast::<BufRingEntry>().as_mut() };
        entry.set_addr(address);
        entry.set_len((HEADER_SIZE + self.message_size) as u32);
        entry.set_bid(slot);
        self.tail = self.tail.wrapping_add(1);
    }

    fn slot(&self, slot: u16) -> NonNull<u8> {
        assert!(slot < self.count, "the kernel named buffer {slot} of {}", self.count);
        self.memory.slots.at(usize::from(slot) * stride(self.message_size) + HEADER_OFFSET)
    }
}

/// A send slot that is ours to write: send it, or put it back.
#[derive(Debug)]
pub(crate) struct SendSlot(pub(super) u16);

/// What is being sent from a slot, so that it can be sent again.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outgoing {
    pub(super) file: FileIndex,
    pub(super) len: u32,
    /// Length of the destination's name; 0 on a connected socket.
    pub(super) name_len: libc::socklen_t,
    /// It was already sent again once.
    pub(super) again: bool,
}

/// The send slots. The one that came back last is taken first: it is still in the cache.
#[derive(Debug)]
pub(crate) struct SendSlots {
    memory: Arc<Mapping>,
    message_size: usize,
    free: Vec<u16>,
    outgoing: Vec<Outgoing>,
}

impl SendSlots {
    /// Maps the slots.
    ///
    /// # Errors
    /// When the memory cannot be mapped.
    pub(super) fn new(sizes: &Sizes) -> io::Result<Self> {
        let nothing = Outgoing { file: FileIndex(0), len: 0, name_len: 0, again: false };
        Ok(Self {
            memory: Arc::new(Mapping::new(
                usize::from(sizes.send_slots) * stride(sizes.message_size),
            )?),
            message_size: sizes.message_size,
            free: (0..sizes.send_slots).rev().collect(),
            outgoing: vec![nothing; usize::from(sizes.send_slots)],
        })
    }

    pub(super) fn memory(&self) -> Arc<Mapping> {
        Arc::clone(&self.memory)
    }

    pub(super) fn take(&mut self) -> Option<SendSlot> {
        self.free.pop().map(SendSlot)
    }

    pub(super) fn put_back(&mut self, slot: SendSlot) {
        debug_assert!(self.free.len() < self.outgoing.len());
        self.free.push(slot.0);
    }

    /// The whole room of a slot.
    #[inline]
    pub(super) fn message(&mut self, slot: &SendSlot) -> &mut [u8] {
        let start = self.message_start(slot).as_ptr();
        // SAFETY: inside the slot, initialised (mapped memory is zeroed), and borrowed from `self`
        // together with the one token of this slot; the kernel does not have it.
        unsafe { std::slice::from_raw_parts_mut(start, self.message_size) }
    }

    /// Writes the destination of a slot and returns where it stands and its length.
    #[inline]
    pub(super) fn address(&mut self, slot: &SendSlot, to: SocketAddr) -> libc::socklen_t {
        let name = self.name(slot).cast::<[u8; NAME_SIZE]>();
        // SAFETY: the first bytes of the slot, in front of its message; ours as in `message`.
        message_header::encode(to, unsafe { &mut *name.as_ptr() })
    }

    /// The address that was written last, if the slot was sent to one.
    pub(super) fn destination(&self, slot: &SendSlot) -> Option<SocketAddr> {
        let len = self.outgoing[usize::from(slot.0)].name_len as usize;
        let name = self.name(slot).cast::<[u8; NAME_SIZE]>();
        // SAFETY: as in `address`; the kernel only reads it.
        let name: &[u8; NAME_SIZE] = unsafe { &*name.as_ptr() };
        name.get(..len).filter(|name| !name.is_empty()).and_then(message_header::decode)
    }

    pub(super) fn name(&self, slot: &SendSlot) -> NonNull<u8> {
        self.memory.at(usize::from(slot.0) * stride(self.message_size))
    }

    pub(super) fn message_start(&self, slot: &SendSlot) -> NonNull<u8> {
        self.memory.at(usize::from(slot.0) * stride(self.message_size) + CACHE_LINE)
    }

    pub(super) fn outgoing(&mut self, slot: &SendSlot) -> &mut Outgoing {
        &mut self.outgoing[usize::from(slot.0)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::MESSAGE_SIZE_MAX;
    use std::collections::HashMap;

    const SIZES: Sizes = Sizes::of_a_worker(0);

    #[test]
    fn a_slot_holds_header_and_the_largest_datagram() {
        assert!(stride(MESSAGE_SIZE_MAX) >= HEADER_OFFSET + HEADER_SIZE + MESSAGE_SIZE_MAX);
        assert!(stride(MESSAGE_SIZE_MAX) >= CACHE_LINE + MESSAGE_SIZE_MAX);
        assert_eq!((HEADER_OFFSET + HEADER_SIZE) % CACHE_LINE, 0);
    }

    #[test]
    fn slots_spread_over_the_sets_of_the_caches() {
        // 64 sets of 64-byte lines (a 32 KiB L1, 8 ways) and 1024 (a 512 KiB L2, 8 ways).
        for sets in [64, 1024] {
            let mut uses = HashMap::new();
            for slot in 0..usize::from(SIZES.receive_slots) {
                let line = slot * stride(SIZES.message_size) / CACHE_LINE;
                *uses.entry(line % sets).or_insert(0) += 1;
            }
            let fair = usize::from(SIZES.receive_slots).div_ceil(sets);
            assert_eq!(*uses.values().max().unwrap(), fair);
        }
    }

    #[test]
    fn untouched_slots_cost_no_memory() {
        let slots = ReceiveSlots::new(&SIZES).unwrap();
        let pages = slots.memory.slots.len / 4096;
        let mut resident = vec![0u8; pages];
        let start = slots.memory.slots.start.as_ptr().cast();
        // SAFETY: the mapping, and one byte of room for each of its pages.
        let result = unsafe { libc::mincore(start, pages * 4096, resident.as_mut_ptr()) };
        assert_eq!(result, 0);
        assert_eq!(resident.iter().filter(|page| **page & 1 == 1).count(), 0);
    }

    #[test]
    fn every_slot_is_given_to_the_kernel_once_and_comes_round_again() {
        let mut slots = ReceiveSlots::new(&Sizes { receive_slots: 4, ..SIZES }).unwrap();
        assert_eq!(slots.tail, 4);
        slots.give_back(Received::new(FileIndex(0), 2, 0));
        assert_eq!(slots.tail, 5);
        let entry = slots.memory.ring.at(0).cast::<BufRingEntry>();
        // SAFETY: the first entry of the ring, written by `give_back`.
        let entry = unsafe { entry.as_ref() };
        assert_eq!(entry.bid(), 2);
        assert_eq!(entry.addr(), slots.slot(2).as_ptr() as u64);
        assert_eq!(entry.len() as usize, HEADER_SIZE + MESSAGE_SIZE_MAX);
    }

    #[test]
    fn send_slots_are_reused_last_in_first_out_and_end() {
        let mut slots = SendSlots::new(&Sizes { send_slots: 2, ..SIZES }).unwrap();
        let (first, second) = (slots.take().unwrap(), slots.take().unwrap());
        assert!(slots.take().is_none());
        assert_eq!(slots.message(&second).len(), MESSAGE_SIZE_MAX);
        let number = first.0;
        slots.put_back(second);
        slots.put_back(first);
        assert_eq!(slots.take().unwrap().0, number);
    }
}
