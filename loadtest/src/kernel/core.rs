//! On what core a thread runs, and before whom.

use std::io;

/// Lets the calling thread run on this core only.
///
/// # Errors
/// EINVAL: there is no such core for this process.
pub(crate) fn stay_on(core: usize) -> io::Result<()> {
    if core >= libc::CPU_SETSIZE as usize {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: a set of bits, for which all zero is a value.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: `core` is below CPU_SETSIZE.
    unsafe { libc::CPU_SET(core, &mut set) };
    // SAFETY: `set` has the size that is given.
    check(unsafe { libc::sched_setaffinity(0, size_of_val(&set), &set) })
}

/// Lets the calling thread run before all that have no real-time priority.
///
/// # Errors
/// EPERM: only root may ask for that.
pub(crate) fn run_first() -> io::Result<()> {
    let priority = libc::sched_param { sched_priority: 1 };
    // SAFETY: `priority` is readable.
    check(unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &priority) })
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
