//! Reading a message in one pass over its lines, as far as a caller and a backend need.

use super::Number;

/// Via or Record-Route lines that are kept; more than a call through two balancers has.
const LINES_MAX: usize = 8;

/// Whole lines of one header field, with their ends, in order.
#[derive(Clone, Copy, Default)]
pub(super) struct Lines<'a> {
    lines: [&'a [u8]; LINES_MAX],
    count: usize,
}

impl<'a> Lines<'a> {
    fn push(&mut self, line: &'a [u8]) {
        if self.count < LINES_MAX {
            self.lines[self.count] = line;
            self.count += 1;
        }
    }

    pub(super) fn all(&self) -> &[&'a [u8]] {
        &self.lines[..self.count]
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Start<'a> {
    Request(&'a [u8]),
    Response(u16),
}

/// What was found; values are trimmed, and empty where the field is missing.
pub(super) struct Scanned<'a> {
    pub(super) start: Start<'a>,
    pub(super) vias: Lines<'a>,
    pub(super) record_routes: Lines<'a>,
    pub(super) from: &'a [u8],
    pub(super) to: &'a [u8],
    pub(super) call_id: &'a [u8],
    pub(super) cseq: &'a [u8],
    pub(super) contact: &'a [u8],
}

impl<'a> Scanned<'a> {
    /// `None`: no SIP message.
    pub(super) fn read(bytes: &'a [u8]) -> Option<Self> {
        let mut ends = memchr::memchr_iter(b'\n', bytes).map(|end| end + 1);
        let mut begin = ends.next()?;
        let mut found = Self {
            start: start(&bytes[..begin])?,
            vias: Lines::default(),
            record_routes: Lines::default(),
            from: b"",
            to: b"",
            call_id: b"",
            cseq: b"",
            contact: b"",
        };
        for end in ends {
            let line = &bytes[begin..end];
            begin = end;
            if line.len() <= 2 {
                break;
            }
            found.take(line);
        }
        Some(found)
    }

    fn take(&mut self, line: &'a [u8]) {
        let Some(colon) = memchr::memchr(b':', line) else { return };
        let value = line[colon + 1..].trim_ascii();
        let name = line[..colon].trim_ascii_end();
        let is = |long: &[u8], short: &[u8]| {
            name.eq_ignore_ascii_case(long) || name.eq_ignore_ascii_case(short)
        };
        match name.first().map(u8::to_ascii_lowercase) {
            Some(b'v') if is(b"via", b"v") => self.vias.push(line),
            Some(b'r') if is(b"record-route", b"") => self.record_routes.push(line),
            Some(b'f') if is(b"from", b"f") => self.from = value,
            Some(b't') if is(b"to", b"t") => self.to = value,
            Some(b'i') if is(b"i", b"i") => self.call_id = value,
            Some(b'm') if is(b"m", b"m") => self.contact = value,
            Some(b'c') if is(b"call-id", b"") => self.call_id = value,
            Some(b'c') if is(b"cseq", b"") => self.cseq = value,
            Some(b'c') if is(b"contact", b"") => self.contact = value,
            _ => {}
        }
    }

    /// The method that CSeq names.
    pub(super) fn method(&self) -> &'a [u8] {
        let space = memchr::memchr(b' ', self.cseq).unwrap_or(self.cseq.len());
        self.cseq[space..].trim_ascii()
    }

    /// Whose call it is, if its Call-ID is of our making.
    pub(super) fn number(&self) -> Option<Number> {
        hex(self.call_id.get(..16)?).map(Number::of)
    }

    /// The tag of To.
    pub(super) fn to_tag(&self) -> Option<&'a [u8]> {
        let at = memchr::memmem::find(self.to, b";tag=")?;
        let tag = &self.to[at + 5..];
        Some(&tag[..memchr::memchr(b';', tag).unwrap_or(tag.len())])
    }
}

fn start(line: &[u8]) -> Option<Start<'_>> {
    if let Some(rest) = line.strip_prefix(b"SIP/2.0 ") {
        let digits = rest.get(..3)?.iter();
        let code = digits.fold(0, |code, digit| code * 10 + u16::from(digit.wrapping_sub(b'0')));
        return (100..700).contains(&code).then_some(Start::Response(code));
    }
    let space = memchr::memchr(b' ', line)?;
    line.trim_ascii_end().ends_with(b" SIP/2.0").then_some(Start::Request(&line[..space]))
}

/// The number that 16 hex digits stand for.
pub(super) fn hex(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0, |number, &digit| {
        let digit = (digit as char).to_digit(16)?;
        Some(number << 4 | u64::from(digit))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_needed_is_found_in_long_and_compact_form() {
        let text = "SIP/2.0 180 Ringing\r\nv: SIP/2.0/UDP a;branch=z\r\nVIA: SIP/2.0/UDP b\r\n\
            Record-Route: <sip:r;lr>\r\nFROM : <sip:a@h>;tag=1\r\nt: <sip:b@h>;tag=b07;x=1\r\n\
            i: 0000000100000002@h\r\nCSeq: 4 INVITE\r\nm: <sip:c@h>\r\n\r\nCall-ID: body\r\n";
        let found = Scanned::read(text.as_bytes()).unwrap();
        assert_eq!(found.start, Start::Response(180));
        assert_eq!(found.vias.all().len(), 2);
        assert_eq!(found.record_routes.all(), [b"Record-Route: <sip:r;lr>\r\n"]);
        assert_eq!(found.from, b"<sip:a@h>;tag=1");
        assert_eq!(found.to_tag(), Some(&b"b07"[..]));
        assert_eq!(found.number(), Some(Number { slot: 1, generation: 2 }));
        assert_eq!((found.method(), found.contact), (&b"INVITE"[..], &b"<sip:c@h>"[..]));
    }

    #[test]
    fn what_is_no_message_is_refused_and_strange_call_ids_are_nobodys() {
        for wrong in ["", "\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\n", "SIP/2.0 9 x\r\n\r\n", "X\r\n\r\n"]
        {
            assert!(Scanned::read(wrong.as_bytes()).is_none(), "{wrong}");
        }
        let request = Scanned::read(b"OPTIONS sip:x SIP/2.0\r\nCall-ID: g@h\r\n\r\n").unwrap();
        assert_eq!((request.start, request.number()), (Start::Request(b"OPTIONS"), None));
    }
}
