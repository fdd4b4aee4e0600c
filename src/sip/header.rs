//! The header fields that forwarding reads, by long and compact name (RFC 3261 7.3.3, 20).

use super::block::BLOCK;

/// A header field that forwarding reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Header {
    /// Via, v (RFC 3261 20.42).
    Via,
    /// Route (20.34).
    Route,
    /// Call-ID, i (20.8).
    CallId,
    /// CSeq (20.16).
    CSeq,
    /// From, f (20.20).
    From,
    /// To, t (20.39).
    To,
    /// Max-Forwards (20.22).
    MaxForwards,
    /// Proxy-Require (20.29).
    ProxyRequire,
    /// Content-Length, l (20.14).
    ContentLength,
    /// Supported, k (20.37).
    Supported,
    /// Replaces (RFC 3891).
    Replaces,
    /// Join (RFC 3911).
    Join,
    /// Target-Dialog (RFC 4538).
    TargetDialog,
    /// Record-Route (20.30).
    RecordRoute,
    /// Path (RFC 3327).
    Path,
}

impl Header {
    /// How many there are.
    pub const COUNT: usize = Header::Path as usize + 1;

    /// The field of this name, any case, white space already cut off; `None` for all others.
    #[inline]
    pub fn named(name: &[u8]) -> Option<Header> {
        let is = |long: &[u8]| name.eq_ignore_ascii_case(long);
        let header = match name.len() {
            1 => match name[0] | 0x20 {
                b'v' => Header::Via,
                b'i' => Header::CallId,
                b'f' => Header::From,
                b't' => Header::To,
                b'l' => Header::ContentLength,
                b'k' => Header::Supported,
                _ => return None,
            },
            2 if is(b"To") => Header::To,
            3 if is(b"Via") => Header::Via,
            4 if is(b"From") => Header::From,
            4 if is(b"CSeq") => Header::CSeq,
            4 if is(b"Path") => Header::Path,
            4 if is(b"Join") => Header::Join,
            5 if is(b"Route") => Header::Route,
            7 if is(b"Call-ID") => Header::CallId,
            8 if is(b"Replaces") => Header::Replaces,
            9 if is(b"Supported") => Header::Supported,
            12 if is(b"Max-Forwards") => Header::MaxForwards,
            12 if is(b"Record-Route") => Header::RecordRoute,
            13 if is(b"Proxy-Require") => Header::ProxyRequire,
            13 if is(b"Target-Dialog") => Header::TargetDialog,
            14 if is(b"Content-Length") => Header::ContentLength,
            _ => return None,
        };
        Some(header)
    }

    /// Like [`Header::named`], for the name in front of the colon at `colon` in the first bytes of a
    /// row; white space may stand between them (RFC 3261 7.3.1).
    #[inline(always)]
    pub(super) fn at_head_of(row: &[u8; BLOCK], colon: usize) -> Option<Header> {
        let last = colon.checked_sub(1)?;
        if matches!(row[last & (BLOCK - 1)], b' ' | b'\t') {
            return Self::before_blanks(&row[..colon]);
        }
        let word = u128::from_le_bytes(*row);
        let (low, high) = (word as u64, (word >> 64) as u64);
        let is = |known: Name| known.is(low, high);
        let header = match colon {
            1 => return Header::named(&row[..1]),
            2 if is(const { Name::of(b"to") }) => Header::To,
            3 if is(const { Name::of(b"via") }) => Header::Via,
            4 if is(const { Name::of(b"from") }) => Header::From,
            4 if is(const { Name::of(b"cseq") }) => Header::CSeq,
            4 if is(const { Name::of(b"path") }) => Header::Path,
            4 if is(const { Name::of(b"join") }) => Header::Join,
            5 if is(const { Name::of(b"route") }) => Header::Route,
            7 if is(const { Name::of(b"call-id") }) => Header::CallId,
            8 if is(const { Name::of(b"replaces") }) => Header::Replaces,
            9 if is(const { Name::of(b"supported") }) => Header::Supported,
            12 if is(const { Name::of(b"max-forwards") }) => Header::MaxForwards,
            12 if is(const { Name::of(b"record-route") }) => Header::RecordRoute,
            13 if is(const { Name::of(b"proxy-require") }) => Header::ProxyRequire,
            13 if is(const { Name::of(b"target-dialog") }) => Header::TargetDialog,
            14 if is(const { Name::of(b"content-length") }) => Header::ContentLength,
            _ => return None,
        };
        Some(header)
    }

    #[cold]
    #[inline(never)]
    fn before_blanks(name: &[u8]) -> Option<Header> {
        let end = name.iter().rposition(|byte| !matches!(byte, b' ' | b'\t'))?;
        Header::named(&name[..=end])
    }

    /// Whether any known name begins with this byte: most other rows end here.
    #[inline]
    pub(super) fn may_begin_with(byte: u8) -> bool {
        const FIRST: u32 = mask(b"vrcftmpslkij");
        let letter = (byte | 0x20).wrapping_sub(b'a');
        letter < 26 && FIRST >> letter & 1 == 1
    }
}

/// A name in lower case as two numbers of 8 bytes each; beside it which bytes it has, and the bit that
/// makes a letter lower case at each of its letters: `A` and `a` are the only bytes that become `a`
/// by it.
#[derive(Clone, Copy)]
struct Name {
    lower: [u64; 2],
    bytes: [u64; 2],
    letters: [u64; 2],
}

impl Name {
    const fn of(lower: &[u8]) -> Self {
        let mut name = Self { lower: [0; 2], bytes: [0; 2], letters: [0; 2] };
        let mut place = 0;
        while place < lower.len() {
            let (half, shift) = (place / 8, 8 * (place % 8));
            name.lower[half] |= (lower[place] as u64) << shift;
            name.bytes[half] |= 0xff << shift;
            if lower[place].is_ascii_lowercase() {
                name.letters[half] |= 0x20 << shift;
            }
            place += 1;
        }
        name
    }

    /// Whether the bytes begin with it, in any case.
    #[inline(always)]
    const fn is(self, low: u64, high: u64) -> bool {
        low & self.bytes[0] | self.letters[0] == self.lower[0]
            && high & self.bytes[1] | self.letters[1] == self.lower[1]
    }
}

const fn mask(letters: &[u8]) -> u32 {
    let mut bits = 0;
    let mut i = 0;
    while i < letters.len() {
        bits |= 1 << (letters[i] - b'a');
        i += 1;
    }
    bits
}

/// The long form of a name (the IANA registry of header fields has the compact ones).
pub fn long_name(name: &[u8]) -> &[u8] {
    let [letter] = name else { return name };
    match letter.to_ascii_lowercase() {
        b'a' => b"Accept-Contact",
        b'b' => b"Referred-By",
        b'c' => b"Content-Type",
        b'd' => b"Request-Disposition",
        b'e' => b"Content-Encoding",
        b'f' => b"From",
        b'i' => b"Call-ID",
        b'j' => b"Reject-Contact",
        b'k' => b"Supported",
        b'l' => b"Content-Length",
        b'm' => b"Contact",
        b'n' => b"Identity-Info",
        b'o' => b"Event",
        b'r' => b"Refer-To",
        b's' => b"Subject",
        b't' => b"To",
        b'u' => b"Allow-Events",
        b'v' => b"Via",
        b'x' => b"Session-Expires",
        b'y' => b"Identity",
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: [(&str, Header); 21] = [
        ("Via", Header::Via),
        ("v", Header::Via),
        ("Route", Header::Route),
        ("Call-ID", Header::CallId),
        ("i", Header::CallId),
        ("CSeq", Header::CSeq),
        ("From", Header::From),
        ("f", Header::From),
        ("To", Header::To),
        ("t", Header::To),
        ("Max-Forwards", Header::MaxForwards),
        ("Proxy-Require", Header::ProxyRequire),
        ("Content-Length", Header::ContentLength),
        ("l", Header::ContentLength),
        ("Supported", Header::Supported),
        ("k", Header::Supported),
        ("Replaces", Header::Replaces),
        ("Join", Header::Join),
        ("Target-Dialog", Header::TargetDialog),
        ("Record-Route", Header::RecordRoute),
        ("Path", Header::Path),
    ];

    #[test]
    fn names_are_known_in_any_case_and_their_first_letter_passes() {
        for (name, header) in NAMES {
            for spelling in [name.to_owned(), name.to_uppercase(), name.to_lowercase()] {
                assert_eq!(Header::named(spelling.as_bytes()), Some(header), "{spelling}");
                assert!(Header::may_begin_with(spelling.as_bytes()[0]), "{spelling}");
            }
        }
    }

    #[test]
    fn neighbours_of_known_names_are_others() {
        for name in ["", "m", "Vi", "Vias", "Call_ID", "Call-ID-X", "Routes", "Require", "To\0"] {
            assert_eq!(Header::named(name.as_bytes()), None, "{name}");
        }
        assert!(!Header::may_begin_with(b'x') && !Header::may_begin_with(b' '));
        assert!(!Header::may_begin_with(0) && !Header::may_begin_with(0xff));
    }
}
