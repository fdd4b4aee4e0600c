//! Header fields whose names come from the config: found by a walk over the rows, in any spelling.

use crate::sip::{Message, Span, long_name, trim};

/// One row of such a field.
#[derive(Clone, Copy, Debug)]
pub(super) struct NamedRow {
    /// From its name to the line end that closes it, folds included.
    pub(super) line: Span,
    /// Without the white space at both ends.
    pub(super) value: Span,
}

/// The rows of this field in their order, by its long or its compact name, in any case (RFC 3261
/// 7.3.1, 7.3.3). What is a line and a fold is decided as by [`crate::sip::Rows`].
pub(super) fn rows<'a>(
    message: &Message<'a>,
    name: &'a str,
) -> impl Iterator<Item = NamedRow> + use<'a> {
    let bytes = message.bytes;
    let wanted = long_name(name.as_bytes());
    let end = message.body.unwrap_or(bytes.len());
    let mut at = message.head;
    let lines = std::iter::from_fn(move || {
        let start = at;
        at = line_end(&bytes[..end], start)?;
        Some(Span::new(start, at))
    });
    lines.filter_map(move |line| {
        let text = line.of(bytes);
        let colon = memchr::memchr(b':', text)?;
        let is_it = long_name(text[..colon].trim_ascii_end()).eq_ignore_ascii_case(wanted);
        let value = Span::new(line.start as usize + colon + 1, line.end as usize);
        is_it.then(|| NamedRow { line, value: trim(bytes, value) })
    })
}

/// Whether a CR stands in the head that is no part of a line end (RFC 3261 25.1).
pub(super) fn has_bare_cr(message: &Message<'_>) -> bool {
    let head = &message.bytes[..message.body.unwrap_or(message.bytes.len())];
    memchr::memchr_iter(b'\r', head).any(|at| head.get(at + 1) != Some(&b'\n'))
}

/// Behind the row that begins at `start`.
fn line_end(bytes: &[u8], start: usize) -> Option<usize> {
    let mut end = start;
    loop {
        end += memchr::memchr(b'\n', bytes.get(end..)?)? + 1;
        if !matches!(bytes.get(end), Some(b' ' | b'\t')) {
            return Some(end);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_found_in_every_spelling_and_nothing_like_it() {
        let text = b"A sip:a SIP/2.0\r\nX-Source: 1\r\nx-source \t: 2\r\nX-Source-2: no\r\nX-Sourc: no\r\n\
            s: compact\r\nX: X-Source: no\r\nX-SOURCE:\r\n 3\r\n\r\nX-Source: body\r\n";
        let message = Message::parse(text).unwrap();
        let values =
            |name| -> Vec<_> { rows(&message, name).map(|row| row.value.of(text)).collect() };
        assert_eq!(values("X-Source"), [b"1", b"2", b"3"]);
        assert_eq!(values("subject"), [b"compact"]);
        assert_eq!(values("S"), [b"compact"]);
        assert!(values("Y").is_empty());
    }
}
