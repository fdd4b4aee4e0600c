//! Retry-After (RFC 3261 20.33), which is read in 503s alone and so has no row of its own.

use super::{Message, number};

impl Message<'_> {
    /// Seconds of Retry-After; a number beyond nine digits is [`u32::MAX`].
    pub fn retry_after_s(&self) -> Option<u32> {
        retry_after_s(&self.bytes[self.head..self.body.unwrap_or(self.bytes.len())])
    }
}

/// Seconds, then perhaps a comment or parameters.
fn retry_after_s(head: &[u8]) -> Option<u32> {
    let value = head.split(|byte| *byte == b'\n').find_map(|line| {
        let colon = line.iter().position(|byte| *byte == b':')?;
        let (name, value) = line.split_at(colon);
        name.trim_ascii_end().eq_ignore_ascii_case(b"Retry-After").then_some(&value[1..])
    })?;
    let value = value.trim_ascii_start();
    let digits = value.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let huge = digits > 9;
    if huge { Some(u32::MAX) } else { number(&value[..digits], u32::MAX) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_seconds_and_perhaps_more() {
        for (value, seconds) in [
            ("5", Some(5)),
            (" 18000;duration=3600", Some(18_000)),
            ("120 (I'm in a meeting)", Some(120)),
            ("99999999999", Some(u32::MAX)),
            ("soon", None),
            ("", None),
            ("-1", None),
        ] {
            let head = format!("To: x\r\nRETRY-AFTER:{value}\r\n\r\n");
            assert_eq!(retry_after_s(head.as_bytes()), seconds, "{value:?}");
        }
        assert_eq!(retry_after_s(b"X-Retry-After: 5\r\nTo: Retry-After: 5\r\n"), None);
        assert_eq!(retry_after_s(b"\r\n"), None);
    }

    #[test]
    fn what_the_body_says_is_no_header() {
        let text = b"SIP/2.0 503 Busy\r\nContent-Length: 15\r\n\r\nRetry-After: 5\n";
        assert_eq!(Message::parse(text).expect("a response").retry_after_s(), None);
        let text = b"SIP/2.0 503 Busy\r\nRetry-After: 7\r\n\r\n";
        assert_eq!(Message::parse(text).expect("a response").retry_after_s(), Some(7));
    }
}
