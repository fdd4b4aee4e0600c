//! From bytes to header rows: the one pass over the lines of a message.
//!
//! The idea: one vectorised search yields every LF in turn; a line is joined with the next one
//! while that begins with SP or HTAB (RFC 3261 7.3.1 folding); a line whose first letter begins no
//! name that we read is passed over without looking for its colon. A lone LF ends a line too: the
//! servers behind us read it so, and two readings of one message would be a way around us.

use super::{Header, Span, trim};
use memchr::{Memchr, memchr, memchr_iter};

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
    line_ends: Memchr<'a>,
    /// What the offsets of `line_ends` count from.
    base: usize,
    at: usize,
    body: Option<usize>,
}

impl<'a> Rows<'a> {
    /// Rows from `from`, which must be the start of a line.
    #[inline]
    pub fn new(bytes: &'a [u8], from: usize) -> Self {
        let from = from.min(bytes.len());
        let line_ends = memchr_iter(b'\n', &bytes[from..]);
        Self { bytes, line_ends, base: from, at: from, body: None }
    }

    /// Once the iterator has ended: the offset behind the empty line, or `None` if the headers
    /// never ended.
    pub fn body(&self) -> Option<usize> {
        self.body
    }

    #[inline]
    fn next_line_end(&mut self) -> Option<usize> {
        self.line_ends.next().map(|offset| offset + self.base)
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
            let mut end = self.next_line_end()?;
            let empty = end == start || (end == start + 1 && self.bytes[start] == b'\r');
            if empty {
                self.body = Some(end + 1);
                return None;
            }
            while matches!(self.bytes.get(end + 1), Some(b' ' | b'\t')) {
                end = self.next_line_end()?;
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
/// The first 16 bytes are taken as one number: all known names end in them, so that neither a search
/// for the colon nor a comparison letter by letter is needed.
#[inline]
fn row(bytes: &[u8], start: usize, end: usize) -> Option<Row> {
    let word = Word::at(bytes, start);
    let (header, colon) = match word.colon() {
        Some(colon) => (Header::at_head_of(word, colon)?, start + colon),
        None => row_with_late_colon(bytes, start, end)?,
    };
    if colon >= end {
        return None;
    }
    let value = trim(bytes, Span::new(colon + 1, end));
    Some(Row { header, line: Span::new(start, end), value })
}

/// A long name, or much white space in front of the colon (RFC 3261 7.3.1).
#[cold]
fn row_with_late_colon(bytes: &[u8], start: usize, end: usize) -> Option<(Header, usize)> {
    let line = &bytes[start..end];
    let colon = memchr(b':', line)?;
    let blanks = line[..colon].iter().rev().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
    Some((Header::named(&line[..colon - blanks])?, start + colon))
}

/// 16 bytes as a number, the first one lowest.
#[derive(Clone, Copy, Debug)]
pub(super) struct Word(pub(super) u128);

impl Word {
    const SIZE: usize = 16;

    /// The bytes from `start`; zeros behind the end of the message.
    #[inline]
    fn at(bytes: &[u8], start: usize) -> Self {
        let rest = &bytes[start..];
        match rest.first_chunk() {
            Some(chunk) => Self(u128::from_le_bytes(*chunk)),
            None => {
                let mut chunk = [0; Self::SIZE];
                chunk[..rest.len()].copy_from_slice(rest);
                Self(u128::from_le_bytes(chunk))
            }
        }
    }

    /// The place of the first colon. Subtracting 1 from each byte of the difference borrows into the
    /// highest bit where it is zero; only a byte above the first zero can be taken for one by mistake.
    #[inline]
    fn colon(self) -> Option<usize> {
        const ONES: u128 = u128::MAX / 255;
        let difference = self.0 ^ (ONES * b':' as u128);
        let zeros = difference.wrapping_sub(ONES) & !difference & (ONES << 7);
        (zeros != 0).then(|| zeros.trailing_zeros() as usize / 8)
    }

    /// Its first `len` bytes, fewer than 16.
    #[inline]
    pub(super) fn first(self, len: usize) -> u128 {
        self.0 & ((1 << (8 * len)) - 1)
    }

    /// The byte at `place`, below 16.
    #[inline]
    pub(super) fn byte(self, place: usize) -> u8 {
        (self.0 >> (8 * place)) as u8
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
