//! From bytes to header rows: the one pass over the lines of a message.
//!
//! The idea: 64 bytes at a time become a mask of their LFs, whose bits are taken one by one; a line
//! is joined with the next one while that begins with SP or HTAB (RFC 3261 7.3.1 folding); a line
//! whose first letter begins no name that we read is passed over without looking for its colon. A
//! lone LF ends a line too: the servers behind us read it so, and two readings of one message would
//! be a way around us.

use super::block::{BLOCK, block, block_at_the_end, places};
use super::{Header, Span, trim};
use memchr::memchr;

/// One row of a header field that forwarding reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// Which field.
    pub header: Header,
    /// The whole row, from its name to the line end that closes it (folds included).
    pub line: Span,
    /// Its value without the white space at both ends.
    pub value: Span,
}

/// The rows of a message from a given offset to the empty line.
#[derive(Debug)]
pub struct Rows<'a> {
    bytes: &'a [u8],
    line_ends: LineEnds<'a>,
    at: usize,
    body: Option<usize>,
}

impl<'a> Rows<'a> {
    /// Rows from `from`, which must be the start of a line.
    #[inline]
    pub fn new(bytes: &'a [u8], from: usize) -> Self {
        Self::behind(LineEnds::new(bytes, from), from)
    }

    /// Rows from `at` on, whose line ends are the next of `line_ends`.
    #[inline]
    pub(super) fn behind(line_ends: LineEnds<'a>, at: usize) -> Self {
        Self { bytes: line_ends.bytes, line_ends, at, body: None }
    }

    /// Once the iterator has ended: the offset behind the empty line, or `None` if the headers
    /// never ended.
    pub fn body(&self) -> Option<usize> {
        self.body
    }
}

impl Iterator for Rows<'_> {
    type Item = Row;

    // Always: a row that is returned through memory is read back before it is written out, and that
    // stall is a tenth of the whole index.
    #[inline(always)]
    fn next(&mut self) -> Option<Row> {
        if self.body.is_some() {
            return None;
        }
        loop {
            let start = self.at;
            let mut end = self.line_ends.next()?;
            let empty = end == start || (end == start + 1 && self.bytes[start] == b'\r');
            if empty {
                self.body = Some(end + 1);
                return None;
            }
            while matches!(self.bytes.get(end + 1), Some(b' ' | b'\t')) {
                end = self.line_ends.next()?;
            }
            self.at = end + 1;
            if !Header::may_begin_with(self.bytes[start]) {
                continue;
            }
            if let Some(row) = row(self.bytes, start, end + 1) {
                return Some(row);
            }
        }
    }
}

/// The row in `bytes[start..end]`, if it is of a field that we read.
///
/// The first 16 bytes are taken as two numbers: all known names end in them, so that no comparison
/// letter by letter is needed.
#[inline(always)]
fn row(bytes: &[u8], start: usize, end: usize) -> Option<Row> {
    let spare;
    let head = match block(bytes, start) {
        Some(block) => block,
        None => {
            spare = block_at_the_end(bytes, start);
            &spare
        }
    };
    let colons = places(head, *b":");
    let (header, colon) = match colons.trailing_zeros() as usize {
        colon @ 0..BLOCK => (Header::at_head_of(head, colon)?, start + colon),
        _ => row_with_late_colon(bytes, start, end)?,
    };
    if colon >= end {
        return None;
    }
    Some(Row { header, line: Span::new(start, end), value: value(bytes, colon + 1, end) })
}

/// What stands in `bytes[start..end]`: most often behind one blank and before CR LF.
#[inline(always)]
fn value(bytes: &[u8], start: usize, end: usize) -> Span {
    match &bytes[start..end] {
        [b' ', first, .., last, b'\r', b'\n'] if *first > b' ' && *last > b' ' => {
            Span::new(start + 1, end - 2)
        }
        _ => trim(bytes, Span::new(start, end)),
    }
}

/// A long name, or much white space in front of the colon (RFC 3261 7.3.1).
#[cold]
fn row_with_late_colon(bytes: &[u8], start: usize, end: usize) -> Option<(Header, usize)> {
    let line = &bytes[start..end];
    let colon = memchr(b':', line)?;
    let blanks = line[..colon].iter().rev().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
    Some((Header::named(&line[..colon - blanks])?, start + colon))
}

/// Where the LFs stand, in turn.
#[derive(Clone, Debug)]
pub(super) struct LineEnds<'a> {
    bytes: &'a [u8],
    /// The LFs of the window that were not given yet, a bit each, the first lowest.
    places: u64,
    /// Where the window begins.
    window: usize,
    /// Where the next one begins.
    next: usize,
}

/// Bytes in a window.
const WINDOW: usize = 64;

impl<'a> LineEnds<'a> {
    #[inline]
    pub(super) fn new(bytes: &'a [u8], from: usize) -> Self {
        Self { bytes, places: 0, window: from, next: from }
    }

    #[inline(always)]
    fn look(&mut self) {
        self.window = self.next;
        self.next += WINDOW;
        let Some(window) = self.bytes.get(self.window..self.next) else {
            return self.look_at_the_end();
        };
        self.places = 0;
        for (part, block) in window.as_chunks::<BLOCK>().0.iter().enumerate() {
            self.places |= u64::from(places(block, *b"\n")) << (part * BLOCK);
        }
    }

    #[cold]
    #[inline(never)]
    fn look_at_the_end(&mut self) {
        self.places = 0;
        for (place, byte) in self.bytes[self.window..].iter().enumerate() {
            self.places |= u64::from(*byte == b'\n') << place;
        }
    }
}

impl Iterator for LineEnds<'_> {
    type Item = usize;

    #[inline(always)]
    fn next(&mut self) -> Option<usize> {
        while self.places == 0 {
            if self.next >= self.bytes.len() {
                return None;
            }
            self.look();
        }
        let place = self.places.trailing_zeros() as usize;
        self.places &= self.places - 1;
        Some(self.window + place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sip::naive;
    use proptest::prelude::*;

    fn all(bytes: &[u8]) -> (Vec<Row>, Option<usize>) {
        let mut rows = Rows::new(bytes, 0);
        let found = rows.by_ref().collect();
        (found, rows.body())
    }

    #[test]
    fn folds_spaces_and_lone_line_feeds_are_read() {
        let bytes = b"v : a,\r\n\tb\r\nSubject: x\nTO\t:\n c \r\n\r\nl: body";
        let (rows, body) = all(bytes);
        let found: Vec<_> = rows.iter().map(|row| (row.header, row.value.of(bytes))).collect();
        assert_eq!(found, [(Header::Via, &b"a,\r\n\tb"[..]), (Header::To, &b"c"[..])]);
        assert_eq!(body, Some(bytes.len() - b"l: body".len()));
    }

    #[test]
    fn headers_that_never_end_have_no_body() {
        assert_eq!(all(b"To: a\r\nFrom: b"), (all(b"To: a\r\n").0, None));
        assert_eq!(all(b"").1, None);
    }

    /// Pieces that make rows, folds and their near misses likely.
    fn piece() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            prop::sample::select(vec![
                &b"\r\n"[..],
                b"\n",
                b"\r",
                b" ",
                b"\t",
                b":",
                b",",
                b"Via",
                b"v",
                b"Call-ID",
                b"i",
                b"To",
                b"Content-Length",
                b"Record-Route",
                b"Subject",
                b": ",
                b" :",
                b"\r\n\r\n",
                b"x",
            ])
            .prop_map(<[u8]>::to_vec),
            prop::collection::vec(any::<u8>(), 0..4),
        ]
    }

    proptest! {
        #[test]
        fn the_fast_scanner_agrees_with_the_naive_one(pieces in prop::collection::vec(piece(), 0..60)) {
            let bytes = pieces.concat();
            prop_assert_eq!(all(&bytes), naive::rows(&bytes));
        }
    }
}
