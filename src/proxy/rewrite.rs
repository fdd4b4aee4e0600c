//! Edits of a message, recorded first and applied in one walk: what nobody edited is copied byte
//! for byte in the same order (RFC 3261 16.6 item 1, 16.7 item 9).

use crate::sip::Span;
use std::ops::Range;

/// Edits of one message at most: our fields 1, top Via 2, Request-URI 3, Max-Forwards 1, a change or
/// two for each Route row (at most [`super::route::VALUES_MAX`]) and the strict-route rest.
const EDITS_MAX: usize = 2 * super::route::VALUES_MAX + 16;

/// Bytes that our own text usually takes; more grows once and stays.
const TEXT_CAPACITY: usize = 4096;

#[derive(Clone, Copy, Debug)]
enum Insert {
    /// Of [`Edits::text`].
    Text(u32, u32),
    /// Of the message itself.
    Copy(Span),
}

#[derive(Clone, Copy, Debug)]
struct Edit {
    at: u32,
    remove: u32,
    insert: Insert,
}

/// The edits of one message. Reused for the next one: no allocation in steady state.
#[derive(Debug)]
pub(super) struct Edits {
    list: Vec<Edit>,
    text: Vec<u8>,
}

impl Edits {
    pub(super) fn new() -> Self {
        Self { list: Vec::with_capacity(EDITS_MAX), text: Vec::with_capacity(TEXT_CAPACITY) }
    }

    pub(super) fn clear(&mut self) {
        self.list.clear();
        self.text.clear();
    }

    /// Replaces `span` by what `write` appends.
    pub(super) fn replace(&mut self, span: Span, write: impl FnOnce(&mut Vec<u8>)) {
        let start = self.text.len();
        write(&mut self.text);
        self.record_text(span, start);
    }

    /// Inserts before `at` what `write` appends.
    pub(super) fn insert(&mut self, at: usize, write: impl FnOnce(&mut Vec<u8>)) {
        self.replace(Span::new(at, at), write);
    }

    /// Takes `span` out.
    pub(super) fn remove(&mut self, span: Span) {
        self.record_text(span, self.text.len());
    }

    /// Replaces `span` by another part of the message.
    pub(super) fn replace_by_copy(&mut self, span: Span, from: Span) {
        self.record(span, Insert::Copy(from));
    }

    /// Puts the text from `start` on in the place of `span`.
    // Never: there are many who call it, and the instruction cache is full.
    #[inline(never)]
    fn record_text(&mut self, span: Span, start: usize) {
        self.record(span, Insert::Text(start as u32, self.text.len() as u32));
    }

    /// Keeps the list in order of place; edits come nearly sorted, so the search is short.
    fn record(&mut self, span: Span, insert: Insert) {
        let edit = Edit { at: span.start, remove: span.len() as u32, insert };
        let place = self.list.iter().rposition(|other| other.at <= edit.at).map_or(0, |at| at + 1);
        self.list.insert(place, edit);
    }

    /// Writes `bytes[part]` with the edits applied; `None` if it does not fit into `out`. Edits at
    /// the same place apply in the order in which they were recorded; none may overlap another.
    pub(super) fn apply(&self, bytes: &[u8], part: Range<usize>, out: &mut [u8]) -> Option<usize> {
        let mut output = Output::new(out);
        self.push(bytes, part, &mut output);
        output.len()
    }

    /// Like [`Edits::apply`], into the middle of an output.
    pub(super) fn push(&self, bytes: &[u8], part: Range<usize>, output: &mut Output<'_>) {
        let mut at = part.start;
        for edit in &self.list {
            debug_assert!(edit.at as usize >= at, "edits overlap");
            output.push(&bytes[at..(edit.at as usize).max(at)]);
            output.push(match edit.insert {
                Insert::Text(start, end) => &self.text[start as usize..end as usize],
                Insert::Copy(span) => span.of(bytes),
            });
            at = (edit.at + edit.remove) as usize;
        }
        output.push(&bytes[at..part.end.max(at)]);
    }
}

/// A bounded cursor over the caller's buffer.
#[derive(Debug)]
pub(super) struct Output<'a> {
    buffer: &'a mut [u8],
    len: usize,
    fits: bool,
}

impl<'a> Output<'a> {
    pub(super) fn new(buffer: &'a mut [u8]) -> Self {
        Self { buffer, len: 0, fits: true }
    }

    pub(super) fn push(&mut self, part: &[u8]) {
        match self.buffer.get_mut(self.len..self.len + part.len()) {
            Some(place) => {
                place.copy_from_slice(part);
                self.len += part.len();
            }
            None => self.fits = false,
        }
    }

    /// The number of bytes written, if all of them fitted.
    pub(super) fn len(&self) -> Option<usize> {
        self.fits.then_some(self.len)
    }
}

/// Appends a decimal number.
pub(super) fn push_number(out: &mut Vec<u8>, mut number: u32) {
    let digit = |number: u32| b'0' + (number % 10) as u8;
    // Most are hops, octets and the like: a copy of a known size is no call.
    match number {
        0..10 => return out.push(digit(number)),
        10..100 => return out.extend_from_slice(&[digit(number / 10), digit(number)]),
        100..1000 => {
            let digits = [digit(number / 100), digit(number / 10), digit(number)];
            return out.extend_from_slice(&digits);
        }
        // Ports.
        10_000..100_000 => {
            // Ten-thousandths of 2^32, rounded up: the first digit stands in front of the point, and each
            // multiplication by ten brings the next one there.
            let mut rest = u64::from(number) * (1u64 << 32).div_ceil(10_000);
            let digits = [(); 5].map(|()| {
                let digit = b'0' + (rest >> 32) as u8;
                rest = (rest & 0xffff_ffff) * 10;
                digit
            });
            return out.extend_from_slice(&digits);
        }
        _ => {}
    }
    let mut digits = [0; 10];
    let mut at = digits.len();
    while number > 0 {
        at -= 1;
        digits[at] = digit(number);
        number /= 10;
    }
    out.extend_from_slice(&digits[at..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edits_apply_by_place_and_then_by_order() {
        let bytes = b"0123456789";
        let mut edits = Edits::new();
        edits.replace(Span::new(8, 9), |text| text.extend_from_slice(b"<8>"));
        edits.insert(2, |text| text.extend_from_slice(b"a"));
        edits.insert(2, |text| text.extend_from_slice(b"b"));
        edits.remove(Span::new(4, 6));
        edits.replace_by_copy(Span::new(6, 7), Span::new(0, 2));
        let mut out = [0; 64];
        let len = edits.apply(bytes, 1..10, &mut out).unwrap();
        assert_eq!(&out[..len], b"1ab23017<8>9");
    }

    #[test]
    fn what_does_not_fit_is_refused_whole() {
        let mut edits = Edits::new();
        edits.insert(0, |text| text.extend_from_slice(b"xy"));
        assert_eq!(edits.apply(b"abc", 0..3, &mut [0; 5]), Some(5));
        assert_eq!(edits.apply(b"abc", 0..3, &mut [0; 4]), None);
    }

    #[test]
    fn numbers_are_written_in_decimal() {
        let mut out = Vec::new();
        for number in (0..100_002).chain([1_000_000, u32::MAX]) {
            out.clear();
            push_number(&mut out, number);
            assert_eq!(out, number.to_string().as_bytes());
        }
    }
}
