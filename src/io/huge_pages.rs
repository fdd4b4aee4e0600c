//! Large tables on pages of 2 MB: a cold look then waits for the table's memory alone, not for the page
//! tables' too.

use std::io;
use std::ops::Range;

const HUGE_PAGE: usize = 2 << 20;

/// Puts the pages of 2 MB that lie wholly inside of these addresses, which have been written to, on huge pages
/// at once (MADV_COLLAPSE, Linux 6.1), whatever `/sys/kernel/mm/transparent_hugepage/enabled` says. Returns how
/// many bytes that are. What stands there does not change, so it can be any memory.
///
/// # Errors
/// EINVAL: the kernel is older, or has no huge pages; ENOMEM, EAGAIN: there are not so many free; what was
/// put there until then stays.
pub(crate) fn collapse(memory: Range<usize>) -> io::Result<usize> {
    let first = memory.start.next_multiple_of(HUGE_PAGE);
    let end = memory.end / HUGE_PAGE * HUGE_PAGE;
    if first >= end {
        return Ok(0);
    }
    let (start, len) = (std::ptr::without_provenance_mut(first), end - first);
    // SAFETY: it changes how memory is mapped, never what stands in it; addresses that are not mapped are an error.
    let result = unsafe { libc::madvise(start, len, libc::MADV_COLLAPSE) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(len) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_there_stays() {
        let memory: Vec<u64> = (0..1 << 20).collect(); // 8 MB
        let range = memory.as_ptr_range();
        let result = collapse(range.start.addr()..range.end.addr());
        // Where the kernel cannot: it says so, and nothing has changed either.
        assert!(result.is_err() || result.is_ok_and(|bytes| bytes >= 6 << 20));
        assert!(memory.iter().enumerate().all(|(at, value)| at as u64 == *value));
    }

    #[test]
    fn less_than_a_huge_page_is_left_alone() {
        let start = 5 * HUGE_PAGE + 1;
        assert_eq!(collapse(start..start + HUGE_PAGE).unwrap(), 0);
    }
}
