//! Ports in a row that nobody has bound, below those that the kernel gives to whoever asks for any.

use std::net::{Ipv4Addr, UdpSocket};
use std::ops::RangeInclusive;

/// Below the kernel's ephemeral ones: a port that is given back for a while stays free.
const FIRST: u16 = 20_000;
const LAST: u16 = 31_999;

/// `count` UDP ports of 127.0.0.1, 1 to 12 000; `None` if there are no so many in a row. Processes
/// begin their search at different places, and attempts of one process too.
pub(super) fn free_range(count: u16, attempt: u16) -> Option<RangeInclusive<u16>> {
    let ranges = (LAST - FIRST + 1) / count;
    let begin = (std::process::id() as u16).wrapping_add(attempt.wrapping_mul(7919));
    (0..ranges).find_map(|step| {
        let first = FIRST + begin.wrapping_add(step) % ranges * count;
        let last = first + count - 1;
        let free = |port| UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
        (first..=last).all(free).then_some(first..=last)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_has_as_many_ports_as_were_asked_for_and_avoids_busy_ones() {
        let range = free_range(4, 0).unwrap();
        assert_eq!(range.len(), 4);
        assert!(*range.start() >= FIRST && *range.end() <= LAST);
        let _busy = UdpSocket::bind((Ipv4Addr::LOCALHOST, range.start() + 2)).unwrap();
        assert_ne!(free_range(4, 0), Some(range));
    }
}
