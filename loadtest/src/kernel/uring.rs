//! One io_uring over UDP sockets: multishot receives into provided buffers, sends straight from them.
//!
//! The kernel writes into a slot while it is offered, and reads from it while a send is under way.
//! In between a [`Slot`] stands for it: there is one at most, and it is used up by what ends the time
//! in between.

use super::train::Train;
use super::{NAME_LENGTH, from_name, to_name};
use io_uring::types::{BufRingEntry, Fixed, RecvMsgOut};
use io_uring::{CompletionQueue, EnterFlags, IoUring, SubmissionQueue, Submitter};
use io_uring::{cqueue, opcode, squeue};
use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::io;
use std::net::{SocketAddrV4, UdpSocket};
use std::os::fd::{AsRawFd, RawFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};

/// The largest datagram that fits, with what the kernel writes before it.
pub(crate) const SLOT_SIZE: usize = 4096;
/// Slots: few, so that they stay in the cache; bursts wait in the sockets' buffers. A power of two.
const SLOTS: u16 = 256;
/// From slot to slot: an odd number of cache lines, so that the first lines of all slots do not
/// fight for the same places in the cache.
const STRIDE: usize = SLOT_SIZE + 17 * 64;
const GROUP: u16 = 0;
const PAGE: usize = 4096;

const RECEIVE: u64 = 0;
const SEND: u64 = 1 << 32;
const TRAIN: u64 = 2 << 32;

/// A filled slot that is ours just now.
pub(crate) struct Slot(u16);

/// What became of one operation.
pub(crate) enum Completion {
    /// A datagram of socket `file`; `from` is known where it was asked for.
    Received { file: u32, datagram: Datagram },
    /// A socket's receive has ended and is to be armed again.
    Ended { file: u32 },
    /// A send is over; its slot has gone back to the kernel.
    Sent,
}

/// A received datagram, in its slot.
pub(crate) struct Datagram {
    pub(crate) slot: Slot,
    pub(crate) from: Option<SocketAddrV4>,
    start: u32,
    pub(crate) length: u32,
}

pub(crate) struct Uring {
    submitter: Submitter<'static>,
    submissions: SubmissionQueue<'static>,
    completions: CompletionQueue<'static>,
    memory: Memory,
    /// Where each slot's send goes to; read by the kernel until that is over.
    names: Box<[libc::sockaddr_in]>,
    /// Which sockets are received from with the sender's address.
    with_address: Vec<bool>,
    header: Box<libc::msghdr>,
    /// Trains under way, and those whose parts can be used again.
    #[allow(clippy::vec_box)] // the kernel reads them by address: they stay where they are
    trains: Vec<Box<Train<Datagram>>>,
    idle_trains: Vec<u32>,
    /// Sockets on which the kernel has refused a train.
    refuses_trains: Vec<bool>,
    _sockets: Vec<UdpSocket>,
    tail: u16,
}

impl Uring {
    /// A ring over these sockets; they are named by their places. It lives as long as the process.
    ///
    /// # Errors
    /// What the kernel said: ENOSYS, EPERM without io_uring; EINVAL before Linux 6.1.
    pub(crate) fn open(sockets: Vec<UdpSocket>) -> io::Result<Self> {
        let ring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_taskrun_flag()
            .setup_submit_all()
            .setup_cqsize(4096)
            .build(1024)?;
        // Never freed: the parts below, and memory that the kernel uses, last until the end.
        let ring: &'static mut IoUring = Box::leak(Box::new(ring));
        let (mut submitter, submissions, completions) = ring.split();
        submitter.register_ring_fd()?;
        let files: Vec<RawFd> = sockets.iter().map(AsRawFd::as_raw_fd).collect();
        submitter.register_files(&files)?;
        let memory = Memory::new();
        let address = memory.ring.as_ptr() as u64;
        // SAFETY: the ring of buffers is page aligned, of this many entries, and outlives the ring:
        // `Memory` is freed in its own drop only, which `Uring` never runs (see `drop` below).
        unsafe { submitter.register_buf_ring_with_flags(address, SLOTS, GROUP, 0) }?;
        // SAFETY: all zeros is a valid msghdr.
        let mut header: Box<libc::msghdr> = Box::new(unsafe { std::mem::zeroed() });
        header.msg_namelen = NAME_LENGTH;
        let nobody = to_name(SocketAddrV4::new([0, 0, 0, 0].into(), 0));
        let mut uring = Self {
            submitter,
            submissions,
            completions,
            memory,
            names: vec![nobody; usize::from(SLOTS)].into(),
            with_address: vec![false; sockets.len()],
            refuses_trains: vec![false; sockets.len()],
            trains: Vec::new(),
            idle_trains: Vec::new(),
            header,
            _sockets: sockets,
            tail: 0,
        };
        (0..SLOTS).for_each(|slot| uring.give_back(Slot(slot)));
        Ok(uring)
    }

    /// Receives from a socket from now on, with or without the senders' addresses.
    pub(crate) fn arm(&mut self, file: u32, with_address: bool) {
        self.with_address[file as usize] = with_address;
        let entry = if with_address {
            opcode::RecvMsgMulti::new(Fixed(file), &raw const *self.header, GROUP).build()
        } else {
            opcode::RecvMulti::new(Fixed(file), GROUP).build()
        };
        self.push(&entry.user_data(RECEIVE | u64::from(file)));
    }

    /// Sends a datagram on; `to` is `None` on a connected socket. The slot goes back by itself.
    pub(crate) fn send(&mut self, file: u32, datagram: Datagram, to: Option<SocketAddrV4>) {
        let Datagram { slot, start, length, .. } = datagram;
        let bytes = self.memory.bytes(slot.0)[start as usize..].as_ptr();
        let mut send = opcode::Send::new(Fixed(file), bytes, length).flags(libc::MSG_DONTWAIT);
        if let Some(to) = to {
            let name = &mut self.names[usize::from(slot.0)];
            *name = to_name(to);
            send = send.dest_addr((&raw const *name).cast()).dest_addr_len(NAME_LENGTH);
        }
        self.push(&send.build().user_data(SEND | u64::from(slot.0)));
    }

    /// Sends datagrams on in their order as one UDP_SEGMENT send, each but the last padded to the
    /// longest; `to` is `None` on a connected socket. The slots go back by themselves. Where the kernel
    /// has no such sends they leave one by one, from then on.
    ///
    /// # Panics
    /// If there are more than [`super::train::SEGMENTS_MAX`].
    pub(crate) fn send_train(
        &mut self,
        file: u32,
        datagrams: &mut Vec<Datagram>,
        to: Option<SocketAddrV4>,
    ) {
        if datagrams.len() < 2 || self.refuses_trains[file as usize] {
            datagrams.drain(..).for_each(|datagram| self.send(file, datagram, to));
            return;
        }
        let place = self.idle_trains.pop().unwrap_or_else(|| {
            self.trains.push(Box::default());
            self.trains.len() as u32 - 1
        });
        let train = &mut self.trains[place as usize];
        let bytes = |datagram: &Datagram| {
            self.memory.bytes(datagram.slot.0)[datagram.start as usize..]
                [..datagram.length as usize]
                .as_ptr_range()
        };
        let header = train.load(file, to, datagrams, bytes);
        let entry = opcode::SendMsg::new(Fixed(file), header)
            .flags(libc::MSG_DONTWAIT as u32)
            .build()
            .user_data(TRAIN | u64::from(place));
        self.push(&entry);
    }

    /// Offers a slot to the kernel again.
    pub(crate) fn give_back(&mut self, slot: Slot) {
        let bytes = self.memory.bytes(slot.0);
        let address = bytes.as_ptr() as u64;
        let place = usize::from(self.tail & (SLOTS - 1));
        // SAFETY: `place` is below the number of entries.
        let mut entry = unsafe { self.memory.ring.add(place) };
        // SAFETY: a valid entry; the kernel reads it only once the tail, which `publish` stores, has
        // gone past it, and nobody else has a reference.
        let entry = unsafe { entry.as_mut() };
        entry.set_addr(address);
        entry.set_len(SLOT_SIZE as u32);
        entry.set_bid(slot.0);
        self.tail = self.tail.wrapping_add(1);
    }

    /// Submits all that is queued, and waits until at least one operation is over.
    ///
    /// # Errors
    /// What the kernel said and a forwarder cannot go on from.
    pub(crate) fn turn(&mut self) -> io::Result<()> {
        self.enter(1)
    }

    /// The next operation that is over; `None`: take a turn.
    pub(crate) fn next(&mut self) -> Option<Completion> {
        let entry = match self.completions.next() {
            Some(entry) => entry,
            None => {
                self.completions.sync();
                self.completions.next()?
            }
        };
        Some(match entry.user_data() & !u64::from(u32::MAX) {
            RECEIVE => self.received(&entry),
            TRAIN => self.train_sent(&entry),
            _ => self.sent(&entry),
        })
    }

    fn received(&mut self, entry: &cqueue::Entry) -> Completion {
        let file = entry.user_data() as u32;
        let Some(slot) = cqueue::buffer_select(entry.flags()) else {
            return Completion::Ended { file };
        };
        let length = entry.result().max(0) as usize;
        let (start, length, from) = if self.with_address[file as usize] {
            let bytes = &self.memory.bytes(slot)[..length];
            match RecvMsgOut::parse(bytes, &self.header) {
                Ok(out) => {
                    let payload = out.payload_data();
                    let start = length - payload.len();
                    (start, payload.len(), name_of(out.name_data()))
                }
                Err(()) => (0, 0, None),
            }
        } else {
            (0, length, None)
        };
        if !cqueue::more(entry.flags()) {
            self.arm(file, self.with_address[file as usize]);
        }
        let (start, length) = (start as u32, length as u32);
        Completion::Received { file, datagram: Datagram { slot: Slot(slot), from, start, length } }
    }

    fn sent(&mut self, entry: &cqueue::Entry) -> Completion {
        self.give_back(Slot(entry.user_data() as u16));
        Completion::Sent
    }

    fn train_sent(&mut self, entry: &cqueue::Entry) -> Completion {
        let place = entry.user_data() as u32;
        let train = &mut self.trains[place as usize];
        let (file, to) = (train.file, train.to);
        let mut carried = std::mem::take(&mut train.carried);
        // No UDP_SEGMENT here, or segments larger than the way allows: told once.
        if matches!(-entry.result(), libc::EINVAL | libc::EIO | libc::EMSGSIZE) {
            self.refuses_trains[file as usize] = true;
            carried.drain(..).for_each(|datagram| self.send(file, datagram, to));
        }
        carried.drain(..).for_each(|datagram| self.give_back(datagram.slot));
        self.trains[place as usize].carried = carried;
        self.idle_trains.push(place);
        Completion::Sent
    }

    fn push(&mut self, entry: &squeue::Entry) {
        loop {
            // SAFETY: what an entry names is in `self` (slots, names, header), is kept as it is until
            // its completion, and is never freed.
            if unsafe { self.submissions.push(entry) }.is_ok() {
                return;
            }
            if self.enter(0).is_err() {
                return; // the next turn tells
            }
        }
    }

    fn enter(&mut self, want: u32) -> io::Result<()> {
        self.publish();
        self.submissions.sync();
        self.completions.sync();
        let submit = self.submissions.len() as u32;
        let flags = EnterFlags::GETEVENTS.bits();
        // SAFETY: no argument is passed, and none is announced by the flags.
        let result = unsafe { self.submitter.enter::<libc::sigset_t>(submit, want, flags, None) };
        self.submissions.sync();
        match result {
            Ok(_) => Ok(()),
            Err(e) => match e.raw_os_error() {
                Some(libc::EINTR | libc::EBUSY | libc::EAGAIN) => Ok(()),
                _ => Err(e),
            },
        }
    }

    /// Tells the kernel of the slots that were given back.
    fn publish(&self) {
        // SAFETY: the ring of buffers is mapped, and its first entry holds the tail.
        let tail = unsafe { BufRingEntry::tail(self.memory.ring.as_ptr()) };
        // SAFETY: a 16-bit number that is aligned and that only this thread writes.
        let tail = unsafe { AtomicU16::from_ptr(tail.cast_mut()) };
        tail.store(self.tail, Ordering::Release);
    }
}

impl Drop for Uring {
    fn drop(&mut self) {
        // The kernel may still write into the slots: keep them, the process is about to end.
        self.memory.keep = true;
    }
}

/// The address in what the kernel wrote before a datagram.
fn name_of(bytes: &[u8]) -> Option<SocketAddrV4> {
    if bytes.len() < size_of::<libc::sockaddr_in>() {
        return None;
    }
    // SAFETY: long enough, and every bit pattern is a valid sockaddr_in.
    let name = unsafe { bytes.as_ptr().cast::<libc::sockaddr_in>().read_unaligned() };
    Some(from_name(&name))
}

/// Slots, and the ring in which they are offered.
struct Memory {
    slots: NonNull<u8>,
    ring: NonNull<BufRingEntry>,
    keep: bool,
}

impl Memory {
    fn new() -> Self {
        let (slots, ring) = (zeroed(slots_layout()), zeroed(ring_layout()));
        Self { slots, ring: ring.cast(), keep: false }
    }

    /// The bytes of a slot that the kernel does not write to just now.
    fn bytes(&self, slot: u16) -> &[u8] {
        assert!(slot < SLOTS, "slot {slot} of {SLOTS}");
        let offset = usize::from(slot) * STRIDE;
        // SAFETY: inside the allocation: the slot's number is checked above.
        let start = unsafe { self.slots.add(offset) };
        // SAFETY: initialised (zeroed at first), inside the allocation, and not written to: the
        // callers hold the slot's `Slot`, so the kernel has not got it.
        unsafe { std::slice::from_raw_parts(start.as_ptr(), SLOT_SIZE) }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        if self.keep {
            return;
        }
        // SAFETY: allocated in `new` with this layout, and not used any more.
        unsafe { dealloc(self.slots.as_ptr(), slots_layout()) };
        // SAFETY: as above.
        unsafe { dealloc(self.ring.as_ptr().cast(), ring_layout()) };
    }
}

fn slots_layout() -> Layout {
    Layout::from_size_align(usize::from(SLOTS) * STRIDE, PAGE).expect("a power of two, and small")
}

fn ring_layout() -> Layout {
    let size = usize::from(SLOTS) * size_of::<BufRingEntry>();
    Layout::from_size_align(size, PAGE).expect("a power of two, and small")
}

fn zeroed(layout: Layout) -> NonNull<u8> {
    // SAFETY: no layout here has the size 0.
    let start = unsafe { alloc_zeroed(layout) };
    NonNull::new(start).unwrap_or_else(|| handle_alloc_error(layout))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, SocketAddr};

    fn socket() -> (UdpSocket, SocketAddrV4) {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        socket.set_read_timeout(Some(std::time::Duration::from_secs(10))).unwrap();
        let SocketAddr::V4(address) = socket.local_addr().unwrap() else { panic!() };
        (socket, address)
    }

    /// Lets `count` datagrams come in at file 0.
    fn received(ring: &mut Uring, count: usize) -> Vec<Datagram> {
        let mut datagrams = Vec::new();
        while datagrams.len() < count {
            match ring.next() {
                Some(Completion::Received { datagram, .. }) => datagrams.push(datagram),
                Some(_) => {}
                None => ring.turn().unwrap(),
            }
        }
        datagrams
    }

    /// Takes turns until `count` sends are over.
    fn sent(ring: &mut Uring, mut count: u32) {
        while count > 0 {
            ring.turn().unwrap();
            while let Some(completion) = ring.next() {
                count -= u32::from(matches!(completion, Completion::Sent));
            }
        }
    }

    #[test]
    fn a_train_arrives_in_order_and_padded_and_gives_its_slots_back() {
        let ((inside, at), (outside, _), (sink, to)) = (socket(), socket(), socket());
        let mut ring = Uring::open(vec![inside, outside]).unwrap();
        ring.arm(0, true);
        let client = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        // More than there are slots for, if they did not come back.
        for round in 0..100 {
            let messages = [vec![b'a'; 40], vec![b'b'; 70], vec![b'c'; 10]];
            messages.iter().for_each(|bytes| assert!(client.send_to(bytes, at).is_ok()));
            let mut datagrams = received(&mut ring, 3);
            ring.send_train(1, &mut datagrams, Some(to));
            assert!(datagrams.is_empty());
            sent(&mut ring, 1);
            for (bytes, padded) in messages.iter().zip([70, 70, 10]) {
                let mut came = [0; 100];
                let length = sink.recv(&mut came).unwrap();
                assert_eq!((&came[..bytes.len()], length), (&bytes[..], padded), "{round}");
                assert!(came[bytes.len()..length].iter().all(|byte| *byte == b'\n'));
            }
        }
    }

    #[test]
    fn what_the_kernel_refuses_as_a_train_leaves_one_by_one() {
        let ((inside, at), (outside, _), (sink, to)) = (socket(), socket(), socket());
        let mut ring = Uring::open(vec![inside, outside]).unwrap();
        // UDP_SEGMENT needs a checksum: EIO without.
        let (one, name) = (1 as libc::c_int, libc::SO_NO_CHECK);
        let fd = ring._sockets[1].as_raw_fd();
        // SAFETY: the option takes an int, which is read during the call.
        let result =
            unsafe { libc::setsockopt(fd, libc::SOL_SOCKET, name, (&raw const one).cast(), 4) };
        assert_eq!(result, 0);
        ring.arm(0, true);
        let client = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        for (lengths, sends) in [([40, 70], 3), ([30, 20], 2)] {
            lengths.iter().for_each(|&n| assert!(client.send_to(&vec![b'x'; n], at).is_ok()));
            let mut datagrams = received(&mut ring, 2);
            ring.send_train(1, &mut datagrams, Some(to));
            sent(&mut ring, sends); // the train that was refused is one
            let mut came = [0; 100];
            assert_eq!(lengths.map(|_| sink.recv(&mut came).unwrap()), lengths);
        }
        assert!(ring.refuses_trains[1]);
    }
}
