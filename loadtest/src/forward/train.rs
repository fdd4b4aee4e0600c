//! Which datagrams of one turn for one backend leave together, as one UDP_SEGMENT send.

use crate::kernel::{SEGMENT_SIZE_MAX, SEGMENTS_MAX};

/// Bytes of one send at most: those of an IPv4 datagram, 65 507, rounded down.
const TRAIN_SIZE_MAX: u32 = 65_000;

/// How datagrams are coupled. Their order is never changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Coupling {
    /// Not at all.
    Off,
    /// Neighbours of one size, and a shorter one at the end: nothing is padded.
    Equal,
    /// All of them, padded to the longest. For messages with a Content-Length only, which those of
    /// `load` all have.
    Pad,
    /// The same, but one that is less than half as long as another begins a train of its own.
    Cut,
}

/// How many of the first datagrams leave as one; at least 1 if there are any.
pub(super) fn next_train(coupling: Coupling, mut lengths: impl Iterator<Item = u32>) -> usize {
    let Some(first) = lengths.next() else { return 0 };
    let (mut count, mut shortest, mut longest, mut last) = (1, first, first, first);
    for length in lengths.take(SEGMENTS_MAX - 1) {
        let (least, most) = (shortest.min(length), longest.max(length));
        let fits = most <= SEGMENT_SIZE_MAX && most * (count + 1) <= TRAIN_SIZE_MAX && length > 0;
        let couples = match coupling {
            Coupling::Off => false,
            Coupling::Equal => last == first && length <= first,
            Coupling::Pad => true,
            Coupling::Cut => 2 * least >= most,
        };
        if !fits || !couples {
            break;
        }
        (count, shortest, longest, last) = (count + 1, least, most, length);
    }
    count as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(coupling: Coupling, lengths: &[u32]) -> usize {
        next_train(coupling, lengths.iter().copied())
    }

    #[test]
    fn trains_end_where_their_kind_says() {
        assert_eq!(next(Coupling::Off, &[5, 5]), 1);
        assert_eq!(next(Coupling::Equal, &[5, 5, 4, 5]), 3);
        assert_eq!(next(Coupling::Equal, &[5, 5, 6]), 2);
        assert_eq!(next(Coupling::Pad, &[5, 1000, 1, 7]), 4);
        assert_eq!(next(Coupling::Cut, &[10, 5, 7, 10]), 4);
        assert_eq!(next(Coupling::Cut, &[10, 7, 4]), 2);
        assert_eq!(next(Coupling::Cut, &[10, 20, 21]), 2);
        assert_eq!(next(Coupling::Pad, &[]), 0);
    }

    #[test]
    fn trains_end_where_the_kernel_says() {
        assert_eq!(next(Coupling::Pad, &[500; 100]), SEGMENTS_MAX);
        assert_eq!(next(Coupling::Pad, &[1016; 100]), 63);
        assert_eq!(next(Coupling::Pad, &[100, SEGMENT_SIZE_MAX]), 2);
        assert_eq!(next(Coupling::Pad, &[100, SEGMENT_SIZE_MAX + 1]), 1);
        assert_eq!(next(Coupling::Pad, &[SEGMENT_SIZE_MAX + 1, 100]), 1);
        assert_eq!(next(Coupling::Pad, &[100, 0, 100]), 1);
    }
}
