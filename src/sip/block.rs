//! Sixteen bytes at a time: where one of a few bytes stands first, and where all of them stand.
//!
//! The pieces of a header value are short: a search that is set up for long texts costs more than it
//! finds. Here a step is a load, one comparison for each byte wanted, and a mask with a bit a byte.
//! Searches go by offsets into the whole message, so that a step may look beyond the end of a piece
//! and nothing needs to be cut or copied.

use wide::u8x16;

/// Bytes that one step looks at.
pub(super) const BLOCK: usize = 16;

/// A bit for each place of the block where one of `wanted` stands, the first place lowest.
#[inline(always)]
pub(super) fn places<const N: usize>(block: &[u8; BLOCK], wanted: [u8; N]) -> u32 {
    let block = u8x16::new(*block);
    let equal = wanted.map(|byte| block.simd_eq(u8x16::splat(byte)));
    equal.into_iter().fold(u8x16::ZERO, |all, some| all | some).to_bitmask()
}

/// The first place in `start..end` where one of `wanted` stands; no NUL can be wanted.
#[inline(always)]
pub(super) fn find<const N: usize>(
    bytes: &[u8],
    start: usize,
    end: usize,
    wanted: [u8; N],
) -> Option<usize> {
    let Some(block) = block(bytes, start) else {
        return find_further(bytes, start, end, wanted);
    };
    let places = places(block, wanted);
    if places == 0 {
        let next = start + BLOCK;
        return if next < end { find_further(bytes, next, end, wanted) } else { None };
    }
    let found = start + places.trailing_zeros() as usize;
    (found < end).then_some(found)
}

/// Most searches end in their first block: the others are kept out of the way.
#[inline(never)]
fn find_further<const N: usize>(
    bytes: &[u8],
    mut at: usize,
    end: usize,
    wanted: [u8; N],
) -> Option<usize> {
    while at < end {
        let places = match block(bytes, at) {
            Some(block) => places(block, wanted),
            None => places(&block_at_the_end(bytes, at), wanted),
        };
        if places != 0 {
            let found = at + places.trailing_zeros() as usize;
            return (found < end).then_some(found);
        }
        at += BLOCK;
    }
    None
}

/// The block at `at`, if the message does not end in it.
#[inline(always)]
pub(super) fn block(bytes: &[u8], at: usize) -> Option<&[u8; BLOCK]> {
    bytes.get(at..at + BLOCK)?.first_chunk()
}

/// The block at `at`, zeros behind the end of the message.
#[cold]
pub(super) fn block_at_the_end(bytes: &[u8], at: usize) -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    let rest = bytes.get(at..).unwrap_or(&[]);
    block[..rest.len()].copy_from_slice(rest);
    block
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_search_finds_what_looking_at_each_byte_finds(
            bytes in prop::collection::vec(prop::sample::select(b"ab;=\"\xbb\0".to_vec()), 0..80),
            start in 0usize..90,
            end in 0usize..90,
        ) {
            let end = end.min(bytes.len());
            let expected = (start..end).find(|&at| b";=".contains(&bytes[at]));
            prop_assert_eq!(find(&bytes, start, end, *b";="), expected);
            let padded: Vec<u8> =
                bytes.iter().copied().skip(start).chain([0; BLOCK]).take(BLOCK).collect();
            let block = match block(&bytes, start) {
                Some(block) => *block,
                None => block_at_the_end(&bytes, start),
            };
            prop_assert_eq!(&block[..], &padded[..]);
            let wanted = |at: &usize| b"a;\"".contains(&padded[*at]);
            let expected: u32 = (0..BLOCK).filter(wanted).map(|at| 1 << at).sum();
            prop_assert_eq!(places(&block, *b"a;\""), expected);
        }
    }
}
