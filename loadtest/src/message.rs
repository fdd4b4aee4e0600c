//! Reading SIP: as much of RFC 3261 section 7 as a caller and an answering backend need.

use std::net::{IpAddr, SocketAddr};

/// The first line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Start<'a> {
    Request { method: &'a str, uri: &'a str },
    Response { code: u16 },
}

/// A message whose mandatory header fields (RFC 3261 8.1.1) are there.
#[derive(Debug)]
pub(crate) struct Message<'a> {
    pub(crate) start: Start<'a>,
    /// Name and trimmed value, in order; folds stay in the value.
    fields: Vec<(&'a str, &'a str)>,
    pub(crate) call_id: &'a str,
    pub(crate) from: &'a str,
    pub(crate) to: &'a str,
    pub(crate) cseq: u32,
    /// The method that CSeq names.
    pub(crate) cseq_method: &'a str,
    /// The topmost Via.
    pub(crate) via: &'a str,
}

impl<'a> Message<'a> {
    /// Reads a datagram; `None` if it is no whole SIP message with the mandatory header fields.
    pub(crate) fn parse(bytes: &'a [u8]) -> Option<Self> {
        let blank = bytes.iter().take_while(|&&b| b == b'\r' || b == b'\n').count();
        let bytes = &bytes[blank..];
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
        let head = std::str::from_utf8(&bytes[..end]).ok()?;
        let (line, rest) = head.split_once("\r\n")?;
        let fields = fields(rest)?;
        let first = |name| fields.iter().find(|(n, _)| named(n, name)).map(|(_, value)| *value);

        // RFC 3261 18.3: a datagram shorter than Content-Length is not whole.
        if let Some(length) = first("content-length") {
            (bytes.len() - end - 4 >= length.parse::<usize>().ok()?).then_some(())?;
        }
        let (number, method) = first("cseq")?.split_once(char::is_whitespace)?;
        Some(Self {
            start: start(line)?,
            call_id: first("call-id")?,
            from: first("from")?,
            to: first("to")?,
            cseq: number.parse().ok()?,
            cseq_method: method.trim(),
            via: split_commas(first("via")?).next()?,
            fields,
        })
    }

    /// The values of a header field (long name, lower case), rows split at their commas.
    pub(crate) fn values(&self, name: &str) -> impl Iterator<Item = &'a str> {
        self.rows(name).flat_map(split_commas)
    }

    /// The rows of a header field as they stand.
    pub(crate) fn rows(&self, name: &str) -> impl Iterator<Item = &'a str> {
        self.fields.iter().filter(move |(n, _)| named(n, name)).map(|(_, value)| *value)
    }

    /// The first value of a header field.
    pub(crate) fn first(&self, name: &str) -> Option<&'a str> {
        self.rows(name).next()
    }
}

/// The value of a parameter behind the address of a header value: tag, branch, rport, received.
/// A parameter without `=` has the value "".
pub(crate) fn param<'a>(value: &'a str, name: &str) -> Option<&'a str> {
    let params = value.rsplit_once('>').map_or(value, |(_, after)| after);
    params.split(';').skip(1).find_map(|param| {
        let (n, v) = param.split_once('=').unwrap_or((param, ""));
        n.trim().eq_ignore_ascii_case(name).then(|| v.trim())
    })
}

/// The URI of a Contact, Route or Record-Route value.
pub(crate) fn uri(value: &str) -> &str {
    let mut quoted = false;
    let open = value.find(|c| {
        quoted ^= c == '"';
        c == '<' && !quoted
    });
    match open {
        Some(open) => value[open + 1..].split('>').next().unwrap_or(""),
        None => value.split(';').next().unwrap_or(value).trim(),
    }
}

/// Where a sip URI with a numeric host points; the port defaults to 5060.
pub(crate) fn uri_address(uri: &str) -> Option<SocketAddr> {
    let rest = uri.get(..4).filter(|scheme| scheme.eq_ignore_ascii_case("sip:"))?.len();
    let rest = uri[rest..].split(['?', ';']).next()?;
    host_port(rest.rsplit_once('@').map_or(rest, |(_, host)| host))
}

/// The numeric sent-by of a Via; the port defaults to 5060.
pub(crate) fn via_address(via: &str) -> Option<SocketAddr> {
    let sent_by = via.split(';').next()?.trim().rsplit(char::is_whitespace).next()?;
    host_port(sent_by)
}

/// The port of a Via's sent-by, numeric host or not.
pub(crate) fn via_port(via: &str) -> u16 {
    let sent_by = via.split(';').next().unwrap_or("").trim_end();
    let after_host = sent_by.rsplit(']').next().unwrap_or("");
    after_host.rsplit_once(':').and_then(|(_, port)| port.trim().parse().ok()).unwrap_or(5060)
}

fn host_port(text: &str) -> Option<SocketAddr> {
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Some(address);
    }
    let host = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')).unwrap_or(text);
    host.parse::<IpAddr>().ok().map(|ip| SocketAddr::new(ip, 5060))
}

fn start(line: &str) -> Option<Start<'_>> {
    let mut words = line.splitn(3, ' ');
    let (first, second, third) = (words.next()?, words.next()?, words.next()?);
    if first == "SIP/2.0" {
        let code = second.parse().ok().filter(|code| (100..700).contains(code))?;
        return Some(Start::Response { code });
    }
    (third == "SIP/2.0").then_some(Start::Request { method: first, uri: second })
}

/// Splits the head into fields; a line that begins with white space continues the one before
/// (RFC 3261 7.3.1).
fn fields(head: &str) -> Option<Vec<(&str, &str)>> {
    let mut fields = Vec::with_capacity(24);
    let mut rest = head;
    while !rest.is_empty() {
        let folded = |at: &usize| !rest[at + 2..].starts_with([' ', '\t']);
        let end = rest.match_indices("\r\n").map(|(at, _)| at).find(folded).unwrap_or(rest.len());
        let (name, value) = rest[..end].split_once(':')?;
        fields.push((name.trim_end(), value.trim()));
        rest = rest.get(end + 2..).unwrap_or("");
    }
    Some(fields)
}

/// True if a header field's name, long or compact and of any case, is this long one (7.3.3).
fn named(name: &str, long: &str) -> bool {
    if name.len() != 1 {
        return name.eq_ignore_ascii_case(long);
    }
    let written_out = match name.as_bytes()[0].to_ascii_lowercase() {
        b'v' => "via",
        b'f' => "from",
        b't' => "to",
        b'i' => "call-id",
        b'm' => "contact",
        b'l' => "content-length",
        b'c' => "content-type",
        _ => return false,
    };
    written_out == long
}

/// Splits at the commas outside of quoted strings and angle brackets.
fn split_commas(row: &str) -> impl Iterator<Item = &str> {
    let (mut quoted, mut escaped, mut bracketed) = (false, false, false);
    row.split(move |c| {
        let plain = !quoted && !bracketed;
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' if !bracketed => quoted = !quoted,
            '<' if !quoted => bracketed = true,
            '>' if !quoted => bracketed = false,
            ',' => return plain,
            _ => {}
        }
        false
    })
    .map(str::trim)
    .filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    const INVITE: &str = "INVITE sip:bob@192.0.2.1 SIP/2.0\r\n\
        v: SIP/2.0/UDP 192.0.2.2:5070;branch=z9hG4bKa;rport, SIP/2.0/UDP [2001:db8::1];branch=b\r\n\
        FROM : \"a, b\" <sip:a@h;x=1>;tag=77\r\n\
        To: <sip:bob@192.0.2.1>\r\n\
        i: abc@h\r\n\
        CSeq: 5\r\n  INVITE\r\n\
        Record-Route: <sip:192.0.2.3;lr>,<sip:192.0.2.4:5080;lr;t=\",\">\r\n\
        Record-Route: \"x<,\" <sip:[2001:db8::5]:5090;lr>\r\n\
        l: 4\r\n\r\nbodyrest";

    #[test]
    fn names_of_any_form_folds_and_commas_are_read() {
        let message = Message::parse(INVITE.as_bytes()).unwrap();
        assert_eq!(message.start, Start::Request { method: "INVITE", uri: "sip:bob@192.0.2.1" });
        assert_eq!(message.call_id, "abc@h");
        assert_eq!((message.cseq, message.cseq_method), (5, "INVITE"));
        assert_eq!(param(message.from, "tag"), Some("77"));
        assert_eq!(param(message.from, "x"), None);
        assert_eq!(param(message.to, "tag"), None);
        assert_eq!(param(message.via, "branch"), Some("z9hG4bKa"));
        assert_eq!(param(message.via, "rport"), Some(""));
        let vias: Vec<_> = message.values("via").map(|via| via_address(via).unwrap()).collect();
        assert_eq!(
            vias,
            ["192.0.2.2:5070".parse().unwrap(), "[2001:db8::1]:5060".parse().unwrap()]
        );
        let routes: Vec<_> =
            message.values("record-route").map(|r| uri_address(uri(r)).unwrap().port()).collect();
        assert_eq!(routes, [5060, 5080, 5090]);
    }

    #[test]
    fn a_datagram_shorter_than_its_content_length_is_refused() {
        let end = INVITE.len() - "rest".len();
        assert!(Message::parse(&INVITE.as_bytes()[..end]).is_some());
        assert!(Message::parse(&INVITE.as_bytes()[..end - 1]).is_none());
    }

    #[test]
    fn ports_and_hosts_of_vias() {
        assert_eq!(via_port("SIP/2.0/UDP host.example:5099;branch=x"), 5099);
        assert_eq!(via_port("SIP/2.0/UDP host.example;branch=x"), 5060);
        assert_eq!(via_port("SIP/2.0/UDP [2001:db8::1];branch=x"), 5060);
        assert_eq!(via_port("SIP/2.0/UDP [2001:db8::1]:70;branch=x"), 70);
        assert_eq!(via_address("SIP/2.0/UDP host.example:5099"), None);
        assert_eq!(uri_address("sips:a@192.0.2.1"), None);
        assert_eq!(uri_address("sip:a@host"), None);
        assert_eq!(uri_address("SIP:192.0.2.1;lr"), Some("192.0.2.1:5060".parse().unwrap()));
    }

    #[test]
    fn no_prefix_and_no_changed_byte_of_a_message_panics() {
        let bytes = INVITE.as_bytes();
        for end in 0..bytes.len() {
            let _ = Message::parse(&bytes[..end]);
        }
        for at in 0..bytes.len() {
            for byte in [0, b'\r', b'\n', b' ', b'"', b'<', b'>', b',', b':', 0xc3, 0xff] {
                let mut changed = bytes.to_vec();
                changed[at] = byte;
                if let Some(message) = Message::parse(&changed) {
                    for value in message.values("record-route") {
                        let _ = uri_address(uri(value));
                    }
                    let _ = (via_address(message.via), via_port(message.via));
                    let _ = param(message.from, "tag");
                }
            }
        }
    }
}
