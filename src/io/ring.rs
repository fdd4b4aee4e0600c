//! One io_uring: set up on the control thread, enabled, entered and taken down on its worker.

use io_uring::types::{SubmitArgs, Timespec};
use io_uring::{CompletionQueue, EnterFlags, IoUring, SubmissionQueue, Submitter};
use io_uring::{cqueue, squeue};
use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::time::Duration;

/// A ring that is set up but not yet enabled: it may still move to another thread.
///
/// DEFER_TASKRUN binds a ring to the thread that enables it (any other gets EEXIST), so rings are
/// made R_DISABLED where all their descriptors are wanted and enabled where they are used.
pub(crate) struct RingSeed(IoUring);

impl RingSeed {
    /// Sets up a ring with room for `submissions` and `completions` entries.
    ///
    /// # Errors
    /// EINVAL: the kernel is older than 6.1. ENOSYS, EPERM, ENOMEM: see [`super::diagnose`].
    pub(crate) fn build(submissions: u32, completions: u32) -> io::Result<Self> {
        // NO_SQARRAY is 6.6; everything else here is 6.1 or older.
        match Self::try_build(submissions, completions, true) {
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
                Self::try_build(submissions, completions, false)
            }
            result => result,
        }
    }

    fn try_build(submissions: u32, completions: u32, no_sqarray: bool) -> io::Result<Self> {
        let mut builder = IoUring::builder();
        builder
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_taskrun_flag()
            .setup_submit_all()
            .setup_clamp()
            .setup_cqsize(completions)
            .setup_r_disabled();
        if no_sqarray {
            builder.setup_no_sqarray();
        }
        Ok(Self(builder.build(submissions)?))
    }

    /// A second descriptor of this ring, for those who ring its doorbell. It stays valid when the
    /// ring's own is closed, so the number never names another file while somebody holds it.
    pub(crate) fn share(&self) -> io::Result<OwnedFd> {
        // SAFETY: the ring in `self` keeps its descriptor open during this call.
        let fd = unsafe { BorrowedFd::borrow_raw(self.0.as_raw_fd()) };
        fd.try_clone_to_owned()
    }

    /// See [`Ring::can_gather`].
    pub(crate) fn can_gather(&self) -> bool {
        self.0.params().is_feature_min_timeout()
    }

    /// Enables the ring on the calling thread, which alone may use it from now on.
    ///
    /// # Errors
    /// What the kernel says of enabling or of registering the ring's own descriptor.
    pub(crate) fn enable(self) -> io::Result<Ring> {
        Ring::new(Box::into_raw(Box::new(self.0)))
    }
}

/// An enabled ring of this thread.
///
/// A registered ring descriptor is remembered by one `Submitter` only, and `IoUring::submit` makes a
/// new one each time: so the ring is split once and the parts are kept for the thread's life.
pub(crate) struct Ring {
    submitter: ManuallyDrop<Submitter<'static>>,
    sq: ManuallyDrop<SubmissionQueue<'static>>,
    cq: ManuallyDrop<CompletionQueue<'static>>,
    /// Where the parts above point into; taken back in `drop`.
    whole: *mut IoUring,
    enter_flags: EnterFlags,
    can_gather: bool,
    /// Completions that the kernel dropped, as last seen.
    dropped: u32,
    /// Calls of `io_uring_enter`.
    pub(crate) enters: u64,
    /// Times that the completion queue was found too small, and completions that were lost by it.
    pub(crate) overflows: u64,
}

impl Ring {
    fn new(whole: *mut IoUring) -> io::Result<Self> {
        // SAFETY: `whole` comes from `Box::into_raw` and is freed in `drop` after the parts only.
        let borrowed: &'static mut IoUring = unsafe { &mut *whole };
        let no_iowait = borrowed.params().is_feature_no_iowait();
        let can_gather = borrowed.params().is_feature_min_timeout();
        let (submitter, sq, cq) = borrowed.split();
        let mut ring = Self {
            submitter: ManuallyDrop::new(submitter),
            sq: ManuallyDrop::new(sq),
            cq: ManuallyDrop::new(cq),
            whole,
            // Deferred work and overflown completions are only looked after with GETEVENTS.
            enter_flags: EnterFlags::GETEVENTS | EnterFlags::EXT_ARG,
            can_gather,
            dropped: 0,
            enters: 0,
            overflows: 0,
        };
        if no_iowait {
            // 6.15: otherwise a parked worker counts as waiting for a disk.
            ring.enter_flags |= EnterFlags::NO_IOWAIT;
        }
        ring.submitter.register_enable_rings()?;
        ring.submitter.register_ring_fd()?;
        Ok(ring)
    }

    /// Registers `table` as the fixed files; -1 is an empty place.
    ///
    /// # Errors
    /// EMFILE: more files than RLIMIT_NOFILE allows.
    pub(crate) fn register_files(&self, table: &[RawFd]) -> io::Result<()> {
        self.submitter.register_files(table)
    }

    /// Replaces one fixed file; -1 empties its place.
    pub(crate) fn replace_file(&self, index: u32, fd: RawFd) -> io::Result<()> {
        self.submitter.register_files_update(index, &[fd]).map(drop)
    }

    /// Forgets all fixed files, so that their sockets are closed when nobody else has them open.
    pub(crate) fn unregister_files(&self) -> io::Result<()> {
        self.submitter.unregister_files()
    }

    /// Registers a ring of provided buffers.
    ///
    /// # Safety
    /// `address` is page aligned and stands for `entries` 16-byte entries that stay mapped until
    /// [`Ring::unregister_buffers`] or the end of the ring.
    pub(crate) unsafe fn register_buffers(
        &self,
        address: u64,
        entries: u16,
        group: u16,
    ) -> io::Result<()> {
        // SAFETY: the caller's promise is the one that is asked for.
        unsafe { self.submitter.register_buf_ring_with_flags(address, entries, group, 0) }
    }

    /// Takes the buffer ring away from the kernel.
    pub(crate) fn unregister_buffers(&self, group: u16) -> io::Result<()> {
        self.submitter.unregister_buf_ring(group)
    }

    /// Queues an operation; false when the submission queue is full (enter, then try again).
    ///
    /// # Safety
    /// All memory that `entry` names stays valid, and is not otherwise used, until its completion.
    #[inline]
    pub(crate) unsafe fn push(&mut self, entry: &squeue::Entry) -> bool {
        // SAFETY: the caller's promise is the one that is asked for.
        unsafe { self.sq.push(entry) }.is_ok()
    }

    /// Submits all that is queued and waits until `want` completions are there or `timeout` is over.
    /// With `want` 0 it only submits, and runs what the kernel has put off.
    ///
    /// # Errors
    /// Only what a worker cannot go on from (EBADF, EEXIST, EFAULT, ENXIO: the ring is gone or it
    /// is another thread's). Not errors, by errno:
    /// - ETIME: the timeout is over.
    /// - EINTR: a signal; the next turn waits again.
    /// - EBUSY: the completion queue is full and must be emptied before anything is submitted.
    /// - EAGAIN, ENOMEM: no memory for requests just now; they stay queued for the next enter.
    /// - EBADR: completions were lost for want of memory; counted as overflows.
    pub(crate) fn enter(&mut self, want: u32, timeout: Option<Duration>) -> io::Result<()> {
        match timeout {
            Some(timeout) => {
                let timespec = Timespec::from(timeout);
                self.enter_with(want, &SubmitArgs::new().timespec(&timespec))
            }
            None => self.enter_with(want, &SubmitArgs::new()),
        }
    }

    /// True if [`Ring::gather`] waits for more than one (Linux 6.12).
    pub(crate) fn can_gather(&self) -> bool {
        self.can_gather
    }

    /// Submits all that is queued and waits until `want` completions are there, or `within` is over and
    /// one is there, or `timeout` is over. Only where [`Ring::can_gather`].
    ///
    /// The kernel counts a receive once while it leaves its completions for later, however many
    /// datagrams have come: `want` is met early by what was there before, and by several sockets.
    ///
    /// # Errors
    /// As [`Ring::enter`].
    pub(crate) fn gather(
        &mut self,
        want: u32,
        within: Duration,
        timeout: Duration,
    ) -> io::Result<()> {
        // A wait beyond the timeout would end later than that; 0 would be no bound at all.
        let within_us = within.min(timeout).as_nanos().div_ceil(1000).clamp(1, u32::MAX.into());
        let timespec = Timespec::from(timeout);
        let args = SubmitArgs::new().timespec(&timespec);
        self.enter_with(want, &args.min_wait_usec(within_us as u32))
    }

    fn enter_with(&mut self, want: u32, args: &SubmitArgs<'_, '_>) -> io::Result<()> {
        self.sq.sync();
        self.cq.sync(); // what was taken makes room before new completions come
        let submit = self.sq.len() as u32;
        let flags = self.enter_flags.bits();
        // SAFETY: `args` is the structure that EXT_ARG announces (it is nothing but that structure)
        // and what it points to lives until the call returns.
        let result = unsafe { self.submitter.enter(submit, want, flags, Some(args)) };
        self.enters += 1;
        self.sq.sync();
        self.note_overflow();
        match result {
            Ok(_) => Ok(()),
            Err(error) => match error.raw_os_error() {
                Some(libc::ETIME | libc::EINTR | libc::EBUSY | libc::EAGAIN | libc::ENOMEM) => {
                    Ok(())
                }
                Some(libc::EBADR) => {
                    self.overflows += 1;
                    Ok(())
                }
                _ => Err(error),
            },
        }
    }

    fn note_overflow(&mut self) {
        if self.sq.cq_overflow() {
            self.overflows += 1; // kept in the kernel; the next enter flushes them
        }
        let dropped = self.cq.overflow();
        self.overflows += u64::from(dropped.wrapping_sub(self.dropped));
        self.dropped = dropped;
    }

    /// The next completion. `None`: there is none without another enter.
    #[inline]
    pub(crate) fn completion(&mut self) -> Option<cqueue::Entry> {
        self.cq.next().or_else(|| {
            self.cq.sync();
            self.cq.next()
        })
    }

    /// Entries queued and not yet taken by the kernel.
    #[cfg(test)]
    pub(crate) fn queued(&mut self) -> usize {
        self.sq.sync();
        self.sq.len()
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // The kernel forgets the registered descriptor with the thread; this is only for order.
        let _ = self.submitter.unregister_ring_fd();
        // SAFETY: not used after this; dropped once, here.
        unsafe { ManuallyDrop::drop(&mut self.cq) };
        // SAFETY: not used after this; dropped once, here.
        unsafe { ManuallyDrop::drop(&mut self.sq) };
        // SAFETY: not used after this; dropped once, here.
        unsafe { ManuallyDrop::drop(&mut self.submitter) };
        // SAFETY: made by `Box::into_raw`; every borrow of it was dropped above.
        drop(unsafe { Box::from_raw(self.whole) });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use io_uring::opcode;

    fn ring(submissions: u32, completions: u32) -> Ring {
        RingSeed::build(submissions, completions).unwrap().enable().unwrap()
    }

    fn nop(ring: &mut Ring, number: u64) -> bool {
        // SAFETY: a NOP names no memory.
        unsafe { ring.push(&opcode::Nop::new().build().user_data(number)) }
    }

    #[test]
    fn a_ring_built_on_one_thread_works_on_another() {
        let seed = RingSeed::build(8, 16).unwrap();
        let done = std::thread::spawn(move || {
            let mut ring = seed.enable().unwrap();
            assert!(nop(&mut ring, 7));
            ring.enter(1, Some(Duration::from_secs(5))).unwrap();
            ring.completion().unwrap().user_data()
        });
        assert_eq!(done.join().unwrap(), 7);
    }

    #[test]
    fn the_end_of_the_timeout_is_not_an_error() {
        let mut ring = ring(8, 16);
        ring.enter(1, Some(Duration::from_millis(5))).unwrap();
        assert!(ring.completion().is_none());
    }

    #[test]
    fn one_enter_surfaces_completions_without_waiting() {
        // Without GETEVENTS a deferring ring would keep deferred completions to itself.
        let mut ring = ring(8, 16);
        assert!(nop(&mut ring, 1));
        ring.enter(0, None).unwrap();
        assert_eq!(ring.completion().unwrap().user_data(), 1);
        assert_eq!(ring.enters, 1);
    }

    #[test]
    fn a_full_submission_queue_refuses_and_goes_on_after_an_enter() {
        let mut ring = ring(4, 16);
        assert!((0..4).all(|number| nop(&mut ring, number)));
        assert!(!nop(&mut ring, 4));
        ring.enter(0, None).unwrap();
        assert_eq!(ring.queued(), 0);
        assert!(nop(&mut ring, 4));
    }

    #[test]
    fn an_overflown_completion_queue_is_counted_and_loses_nothing() {
        let mut ring = ring(4, 4);
        let mut sent = 0;
        while sent < 32 {
            while sent < 32 && nop(&mut ring, sent) {
                sent += 1;
            }
            ring.enter(0, None).unwrap();
            if ring.overflows > 8 {
                break; // the kernel answers EBUSY now: nothing is submitted until room is made
            }
        }
        assert!(ring.overflows > 0);
        let mut seen = Vec::new();
        for _ in 0..64 {
            while let Some(completion) = ring.completion() {
                seen.push(completion.user_data());
            }
            ring.enter(0, None).unwrap();
        }
        seen.sort_unstable();
        assert_eq!(seen, (0..sent).collect::<Vec<_>>());
    }

    #[test]
    fn the_shared_descriptor_outlives_the_ring() {
        let seed = RingSeed::build(8, 16).unwrap();
        let shared = seed.share().unwrap();
        let number = shared.as_raw_fd();
        drop(seed.enable().unwrap());
        // The number is still taken: no file that is opened now gets it.
        assert_ne!(std::fs::File::open("/dev/null").unwrap().as_raw_fd(), number);
    }
}
