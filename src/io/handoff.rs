//! From one worker to another: a ring of bytes for each ordered pair, and a doorbell per worker.
//!
//! A record is its length (4 bytes), then that many bytes. The writer shows the length before the
//! rest; the reader waits until all of a record is there. Nothing here blocks: a full ring says so.
//!
//! The doorbell keeps the kernel out of it while the other worker is awake:
//!
//! ```text
//! reader                                writer
//! top of a turn: PENDING -> AWAKE, read    after writing: any -> PENDING
//! before it waits: AWAKE -> ASLEEP         if that was ASLEEP: MSG_RING
//!   (PENDING: does not wait)
//! ```
//!
//! Each step is one read-modify-write of one atomic. A reader that changes PENDING to AWAKE has seen
//! the writer's step and so all that the writer wrote before it; a writer whose step comes later finds
//! AWAKE and is looked after before the reader waits, or finds ASLEEP and rings.

use rtrb::{Consumer, Producer, RingBuffer};
use std::sync::atomic::{AtomicU8, Ordering};

const LENGTH: usize = 4;

/// Memory for all the rings that lead to one worker, bytes: about 250 messages of 1 KB from one
/// other worker, fewer from each when there are many.
const INBOUND_BYTES: usize = 8 << 20;
const RING_BYTES_MAX: usize = 512 << 10;

/// Room of a ring to a worker that `peers` others write to, for records of up to `record_max` bytes.
pub(crate) fn ring_bytes(peers: usize, record_max: usize) -> usize {
    (INBOUND_BYTES / peers.max(1))
        .clamp(LENGTH + record_max, RING_BYTES_MAX.max(LENGTH + record_max))
}

/// A ring with room for `bytes`.
pub(crate) fn ring(bytes: usize) -> (Outbox, Inbox) {
    let (producer, consumer) = RingBuffer::new(bytes);
    (Outbox(producer), Inbox(consumer))
}

/// The writing end.
#[derive(Debug)]
pub(crate) struct Outbox(Producer<u8>);

impl Outbox {
    /// Writes `header` and `body` as one record. False: the ring is full and nothing was written.
    #[inline]
    pub(crate) fn push(&mut self, header: &[u8], body: &[u8]) -> bool {
        let len = header.len() + body.len();
        if self.0.cached_slots() < LENGTH + len && self.0.slots() < LENGTH + len {
            return false;
        }
        // There is room for all of it, and room never shrinks but by this end: none of these fails.
        let pushed = self.0.push_entire_slice(&(len as u32).to_ne_bytes()).is_ok()
            && self.0.push_entire_slice(header).is_ok()
            && self.0.push_entire_slice(body).is_ok();
        debug_assert!(pushed);
        pushed
    }
}

/// The reading end.
#[derive(Debug)]
pub(crate) struct Inbox(Consumer<u8>);

impl Inbox {
    /// Bytes that wait.
    pub(crate) fn waiting(&self) -> usize {
        self.0.slots()
    }

    /// Takes one record and returns its length. `into` is long enough for any.
    ///
    /// # Panics
    /// If a record is longer than `into`.
    #[inline]
    pub(crate) fn pop(&mut self, into: &mut [u8]) -> Option<usize> {
        let available = self.0.slots();
        let mut length = [0; LENGTH];
        {
            let chunk = self.0.read_chunk(LENGTH).ok()?;
            let (first, second) = chunk.as_slices();
            length[..first.len()].copy_from_slice(first);
            length[first.len()..].copy_from_slice(second);
        } // not committed: the record may not be whole yet
        let len = u32::from_ne_bytes(length) as usize;
        if available < LENGTH + len {
            return None;
        }
        let popped = self.0.pop_entire_slice(&mut length).is_ok()
            && self.0.pop_entire_slice(&mut into[..len]).is_ok();
        debug_assert!(popped);
        popped.then_some(len)
    }
}

const AWAKE: u8 = 0;
const PENDING: u8 = 1;
const ASLEEP: u8 = 2;

/// The doorbell of one worker. On a cache line pair of its own.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct Doorbell(AtomicU8);

impl Doorbell {
    /// Of a worker that is not running yet: it looks into its rings before it first waits.
    pub(crate) fn new() -> Self {
        Self(AtomicU8::new(PENDING))
    }

    /// Writer, after writing. True: the worker is asleep, so its ring must be rung.
    #[inline]
    pub(crate) fn push(&self) -> bool {
        self.0.swap(PENDING, Ordering::AcqRel) == ASLEEP
    }

    /// Writer, when ringing failed: the next push rings again.
    pub(crate) fn failed(&self) {
        let _ = self.0.compare_exchange(PENDING, ASLEEP, Ordering::AcqRel, Ordering::Relaxed);
    }

    /// Reader, when it is awake. True: somebody has written.
    #[inline]
    pub(crate) fn wake(&self) -> bool {
        self.0.load(Ordering::Relaxed) != AWAKE && self.0.swap(AWAKE, Ordering::AcqRel) == PENDING
    }

    /// Reader, before it waits. False: somebody has written, so it must not wait.
    #[inline]
    pub(crate) fn sleep(&self) -> bool {
        self.0.compare_exchange(AWAKE, ASLEEP, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::VecDeque;
    use std::sync::Arc;

    #[test]
    fn a_record_that_just_fits_is_taken_and_one_byte_more_is_not() {
        let (mut outbox, mut inbox) = ring(LENGTH + 10);
        assert!(!outbox.push(b"12345", b"123456"));
        assert!(outbox.push(b"12345", b"12345"));
        assert!(!outbox.push(b"", b""));
        let mut record = [0; 16];
        assert_eq!(inbox.pop(&mut record), Some(10));
        assert_eq!(&record[..10], b"1234512345");
        assert_eq!(inbox.pop(&mut record), None);
    }

    #[test]
    fn every_pair_has_room_for_the_longest_record() {
        for workers in [1, 2, 3, 16, crate::limits::WORKERS_MAX] {
            let bytes = ring_bytes(workers - 1, 65_600);
            assert!((65_600 + LENGTH..=RING_BYTES_MAX).contains(&bytes));
        }
    }

    proptest! {
        #[test]
        fn records_come_out_whole_and_in_order(
            operations in prop::collection::vec(prop::option::of(prop::collection::vec(any::<u8>(), 0..40)), 0..400),
        ) {
            // Some(record): push it; None: pop one. The oracle is a queue of records.
            let (mut outbox, mut inbox) = ring(100);
            let (mut model, mut used) = (VecDeque::new(), 0);
            let mut room = [0; 64];
            for operation in operations {
                match operation {
                    Some(record) => {
                        let fits = used + LENGTH + record.len() <= 100;
                        let (header, body) = record.split_at(record.len() / 3);
                        prop_assert_eq!(outbox.push(header, body), fits);
                        if fits {
                            used += LENGTH + record.len();
                            model.push_back(record);
                        }
                    }
                    None => {
                        let popped = inbox.pop(&mut room).map(|len| room[..len].to_vec());
                        let expected = model.pop_front();
                        used -= expected.as_ref().map_or(0, |record| LENGTH + record.len());
                        prop_assert_eq!(popped, expected);
                    }
                }
            }
        }
    }

    #[test]
    fn a_reader_that_sleeps_by_the_doorbell_misses_nothing() {
        const RECORDS: u32 = 20_000;
        let bell = Arc::new(Doorbell::new());
        let (mut outbox, mut inbox) = ring(256);
        let (ringer, rung) = std::sync::mpsc::channel();
        let writer_bell = Arc::clone(&bell);
        let writer = std::thread::spawn(move || {
            for number in 0..RECORDS {
                while !outbox.push(&number.to_ne_bytes(), b"") {
                    std::thread::yield_now();
                }
                if writer_bell.push() {
                    ringer.send(()).unwrap();
                }
            }
        });
        let (mut expected, mut room) = (0, [0; 8]);
        while expected < RECORDS {
            bell.wake();
            while inbox.pop(&mut room).is_some() {
                assert_eq!(u32::from_ne_bytes(room[..4].try_into().unwrap()), expected);
                expected += 1;
            }
            if expected < RECORDS && bell.sleep() {
                rung.recv_timeout(std::time::Duration::from_secs(10)).expect("a ring was missed");
            }
        }
        writer.join().unwrap();
    }

    #[test]
    fn a_doorbell_that_failed_is_rung_again_by_the_next_push() {
        let bell = Doorbell::new();
        assert!(bell.wake() && bell.sleep());
        assert!(bell.push());
        assert!(!bell.push());
        bell.failed();
        assert!(bell.push());
    }
}
