//! Where the bytes stand that part a text into its pieces: 64 bytes at a time become a mask, whose bits
//! are taken one by one. One walk over them finds all pieces, whatever their number.

use super::block::{BLOCK, block, block_at_the_end};
use std::marker::PhantomData;
use wide::u8x16;

/// Which bytes are marked.
pub(super) trait Marked {
    /// All bits of those that are.
    fn among(block: u8x16) -> u8x16;
}

/// One byte.
#[inline(always)]
pub(super) fn is(block: u8x16, byte: u8) -> u8x16 {
    block.simd_eq(u8x16::splat(byte))
}

/// Bytes from the first to the last.
#[inline(always)]
pub(super) fn is_within(block: u8x16, first: u8, last: u8) -> u8x16 {
    let above = block - u8x16::splat(first);
    above.simd_eq(above.min(u8x16::splat(last - first)))
}

/// The marks of a text, in turn.
pub(super) struct Marks<'a, M> {
    bytes: &'a [u8],
    /// Where the text ends.
    end: usize,
    /// Those of the window that were not given yet, a bit each, the first lowest.
    places: u64,
    /// Where the window begins.
    window: usize,
    marked: PhantomData<M>,
}

/// Bytes in a window.
const WINDOW: usize = 64;

impl<'a, M: Marked> Marks<'a, M> {
    /// Marks in `bytes[start..end]`. What stands behind the end may be looked at, and is not told.
    #[inline(always)]
    pub(super) fn new(bytes: &'a [u8], start: usize, end: usize) -> Self {
        let places = places::<M>(bytes, start, end);
        Self { bytes, end, places, window: start, marked: PhantomData }
    }

    /// The next mark, or the end of the text.
    #[inline(always)]
    pub(super) fn next_or_end(&mut self) -> usize {
        self.next().unwrap_or(self.end)
    }

    /// Whether the text ends there.
    #[inline(always)]
    pub(super) fn is_at_end(&self, at: usize) -> bool {
        at >= self.end
    }
}

impl<M: Marked> Iterator for Marks<'_, M> {
    type Item = usize;

    #[inline(always)]
    fn next(&mut self) -> Option<usize> {
        if self.places == 0 {
            if self.window + WINDOW >= self.end {
                return None;
            }
            (self.window, self.places) = further::<M>(self.bytes, self.window + WINDOW, self.end)?;
        }
        let place = self.places.trailing_zeros() as usize;
        self.places &= self.places - 1;
        Some(self.window + place)
    }
}

/// The next window that has marks, and these.
#[cold]
#[inline(never)]
fn further<M: Marked>(bytes: &[u8], from: usize, end: usize) -> Option<(usize, u64)> {
    let windows = (from..end).step_by(WINDOW);
    windows.map(|window| (window, places::<M>(bytes, window, end))).find(|found| found.1 != 0)
}

/// A bit for each mark of the window at `window`, the first place lowest.
// Never: one copy of it for all who look is what the instruction cache has room for.
#[inline(never)]
fn places<M: Marked>(bytes: &[u8], window: usize, end: usize) -> u64 {
    let mut places = 0;
    for at in (window..end.min(window + WINDOW)).step_by(BLOCK) {
        let block = match block(bytes, at) {
            Some(block) => u8x16::new(*block),
            None => u8x16::new(block_at_the_end(bytes, at)),
        };
        places |= u64::from(M::among(block).to_bitmask()) << (at - window);
    }
    match end - window {
        left @ 0..WINDOW => places & ((1 << left) - 1),
        _ => places,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    struct Some3;

    impl Marked for Some3 {
        fn among(block: u8x16) -> u8x16 {
            is(block, b';') | is_within(block, b'b', b'd') | is_within(block, 0, 1)
        }
    }

    proptest! {
        #[test]
        fn the_marks_are_those_that_looking_at_each_byte_finds(
            bytes in prop::collection::vec(prop::sample::select(b"abcde:;<\0\x01\x02\xff".to_vec()), 0..200),
            start in 0usize..200,
            end in 0usize..200,
        ) {
            let end = end.min(bytes.len());
            let start = start.min(end);
            let found: Vec<_> = Marks::<Some3>::new(&bytes, start, end).collect();
            let is_marked = |at: &usize| b";bcd\0\x01".contains(&bytes[*at]);
            prop_assert_eq!(found, (start..end).filter(is_marked).collect::<Vec<_>>());
        }
    }
}
