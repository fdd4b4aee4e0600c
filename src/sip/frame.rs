//! What a datagram is by its first bytes: SIP, STUN or a keep-alive.

/// The kind of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame<'a> {
    /// A SIP message, the line ends in front of it cut off (RFC 3261 7.5).
    Sip(&'a [u8]),
    /// The first octet is 0 or 1 (RFC 5626 8).
    Stun(&'a [u8]),
    /// A double CRLF, which asks for a CRLF (RFC 5626 4.4.1).
    Ping,
    /// Nothing but line ends, blanks and zeros: phones keep their NAT binding open with it.
    KeepAlive,
}

impl<'a> Frame<'a> {
    /// Looks at the first bytes.
    #[inline]
    pub fn of(bytes: &'a [u8]) -> Self {
        match bytes.first() {
            Some(byte) if byte.is_ascii_alphabetic() => return Frame::Sip(bytes),
            Some(0 | 1) if bytes.len() >= 20 => return Frame::Stun(bytes),
            _ => {}
        }
        if bytes == b"\r\n\r\n" {
            return Frame::Ping;
        }
        if bytes.iter().all(|byte| matches!(byte, b'\r' | b'\n' | b' ' | b'\t' | 0)) {
            return Frame::KeepAlive;
        }
        Frame::Sip(&bytes[leading_line_ends(bytes)..])
    }
}

/// How many CR and LF stand in front of the start line.
#[inline]
pub(super) fn leading_line_ends(bytes: &[u8]) -> usize {
    bytes.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_bytes_tell_the_kind() {
        assert_eq!(Frame::of(b"INVITE"), Frame::Sip(b"INVITE"));
        assert_eq!(Frame::of(b"\r\n\r\n\nSIP/2.0"), Frame::Sip(b"SIP/2.0"));
        assert_eq!(Frame::of(b"*/+ sip:x"), Frame::Sip(b"*/+ sip:x"));
        assert_eq!(Frame::of(&[0; 20]), Frame::Stun(&[0; 20]));
        assert_eq!(Frame::of(&[1; 20]), Frame::Stun(&[1; 20]));
        assert_eq!(Frame::of(&[2; 20]), Frame::Sip(&[2; 20]));
    }

    #[test]
    fn keep_alives_are_told_from_messages() {
        assert_eq!(Frame::of(b"\r\n\r\n"), Frame::Ping);
        for bytes in [&b""[..], b"\r\n", b"\0", b"\0\0\0\0", b"\r\n\r\n\r\n", b"  "] {
            assert_eq!(Frame::of(bytes), Frame::KeepAlive, "{bytes:?}");
        }
    }
}
