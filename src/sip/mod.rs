//! SIP as bytes and grammar: spans into a message, no heap, only what forwarding needs.
//!
//! [`Message::parse`] indexes a message in one pass over its lines; the views ([`Via`], [`Uri`],
//! [`NameAddr`]) read a field when it is asked for. What nobody asks for may be malformed: it is
//! ignored and forwarded unchanged (RFC 3261 16.3 item 1).

mod block;
pub mod field;
pub mod frame;
pub mod header;
mod marks;
pub mod message;
pub mod retry_after;
mod rows;
mod scan;
pub mod uri;
mod usual;
pub mod via;

#[cfg(test)]
mod naive;

pub use field::{Param, Params, Values};
pub use frame::Frame;
pub use header::{Header, long_name};
pub use message::{Fault, Message, Start};
pub use rows::{RowsOf, ValuesOf};
pub use scan::{Row, Rows};
pub use uri::{NameAddr, Uri};
pub use via::Via;

/// A range of the message's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Span {
    /// First byte.
    pub start: u32,
    /// One past the last byte.
    pub end: u32,
}

impl Span {
    /// From byte offsets. Messages are at most 65 535 bytes, so 32 bits hold any offset.
    #[inline]
    pub fn new(start: usize, end: usize) -> Self {
        debug_assert!(start <= end && end <= u32::MAX as usize);
        Self { start: start as u32, end: end as u32 }
    }

    /// The bytes it covers.
    ///
    /// # Panics
    /// If it is not a range of `bytes`: a span is used with the message it came from.
    #[inline]
    pub fn of(self, bytes: &[u8]) -> &[u8] {
        &bytes[self.start as usize..self.end as usize]
    }

    /// The same range, `by` bytes later.
    #[inline]
    pub fn shifted(self, by: usize) -> Self {
        Self { start: self.start + by as u32, end: self.end + by as u32 }
    }

    /// Its length, bytes.
    #[inline]
    pub fn len(self) -> usize {
        (self.end - self.start) as usize
    }

    /// True if it covers nothing.
    #[inline]
    pub fn is_empty(self) -> bool {
        self.start == self.end
    }
}

/// The value of the first Call-ID of a message, trimmed, or `None` if there is none before the end
/// of the headers. An early exit: nothing after it is read.
pub fn call_key(bytes: &[u8]) -> Option<Span> {
    let mut line_ends = scan::LineEnds::new(bytes, frame::leading_line_ends(bytes));
    let first_line_end = line_ends.next()?;
    Rows::behind(line_ends, first_line_end + 1)
        .find(|row| row.header == Header::CallId && !row.value.is_empty())
        .map(|row| row.value)
}

/// An unsigned decimal number: digits only, at most `max`.
#[inline(never)]
pub fn number(text: &[u8], max: u32) -> Option<u32> {
    if text.is_empty() || text.len() > 20 {
        return None;
    }
    let mut value: u64 = 0;
    for &byte in text {
        if !byte.is_ascii_digit() {
            return None;
        }
        value = value * 10 + u64::from(byte - b'0');
        if value > u64::from(max) {
            return None;
        }
    }
    Some(value as u32)
}

/// Whether a name is this one, which is given in lower case: most senders write it so.
#[inline(always)]
fn is_name(name: &[u8], lower: &[u8]) -> bool {
    name == lower || name.eq_ignore_ascii_case(lower)
}

/// Without the linear white space (RFC 3261 25.1 LWS, folds included) at both ends.
#[inline]
pub fn trim(bytes: &[u8], span: Span) -> Span {
    match span.of(bytes) {
        [first, .., last] if *first > b' ' && *last > b' ' => span,
        text => trimmed(text, span.start),
    }
}

#[inline(never)]
fn trimmed(mut text: &[u8], mut start: u32) -> Span {
    while let [b' ' | b'\t' | b'\r' | b'\n', rest @ ..] = text {
        text = rest;
        start += 1;
    }
    while let [rest @ .., b' ' | b'\t' | b'\r' | b'\n'] = text {
        text = rest;
    }
    Span { start, end: start + text.len() as u32 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_has_digits_only_and_a_bound() {
        assert_eq!(number(b"255", 255), Some(255));
        assert_eq!(number(b"256", 255), None);
        assert_eq!(number(b"0070", 255), Some(70));
        for bad in ["", "-1", "+1", " 1", "1x", "99999999999999999999", "999999999999999999999"] {
            assert_eq!(number(bad.as_bytes(), u32::MAX), None, "{bad:?}");
        }
    }

    #[test]
    fn the_call_key_is_found_in_every_spelling() {
        for name in ["Call-ID", "call-id", "CALL-ID \t", "i", "I ", "i\t"] {
            let text = format!("\r\nINVITE sip:a SIP/2.0\r\nX: y\r\n{name}: \t a84b4c@pc \r\n\r\n");
            let span = call_key(text.as_bytes()).expect(name);
            assert_eq!(span.of(text.as_bytes()), b"a84b4c@pc", "{name}");
        }
        let folded = b"INVITE sip:a SIP/2.0\r\ni:\r\n a84b4c@pc\r\n\r\n";
        assert_eq!(call_key(folded).unwrap().of(folded), b"a84b4c@pc");
    }

    #[test]
    fn the_body_and_look_alikes_hold_no_call_key() {
        for text in [
            "INVITE sip:a SIP/2.0\r\n\r\nCall-ID: body\r\n",
            "INVITE sip:a SIP/2.0\r\nCall-ID-X: no\r\nX-Call-ID: no\r\n\r\n",
            "INVITE sip:a SIP/2.0\r\nX: y\r\n Call-ID: folded\r\n\r\n",
            "Call-ID: first line\r\n\r\n",
            "INVITE sip:a SIP/2.0",
            "",
        ] {
            assert_eq!(call_key(text.as_bytes()), None, "{text:?}");
        }
    }
}
