//! SIP URIs and the name-addr form around them (RFC 3261 19.1, 20.10, 25.1).

use super::block::find;
use super::field::{Params, outside, quoted_end};
use super::{Span, number, trim, usual};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// A `sip:` or `sips:` URI, read as far as routing needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Uri {
    /// `sips:`.
    pub secure: bool,
    /// What stands before the `@`, where there is one.
    pub user: Option<Span>,
    /// Name or address, an IPv6 address without its brackets.
    pub host: Span,
    /// Port with its colon in front, where there is one.
    pub port_text: Option<Span>,
    /// The port, where one is given.
    pub port: Option<u16>,
    /// From the first semicolon after the host to the headers or the end.
    pub params: Span,
}

impl Uri {
    /// Reads the URI in `span`; `None` if it is of another scheme or has no host.
    #[inline(never)]
    pub fn parse(bytes: &[u8], span: Span) -> Option<Self> {
        match usual::uri(bytes, span) {
            Some(uri) => Some(uri),
            None => Self::parse_any(bytes, span),
        }
    }

    /// As [`Uri::parse`], with white space, brackets and headers where they may stand.
    #[inline(never)]
    pub(super) fn parse_any(bytes: &[u8], span: Span) -> Option<Self> {
        let (secure, after_scheme) = scheme(span.of(bytes))?;
        let end = span.end as usize;
        let mut at = span.start as usize + after_scheme;
        let user = find(bytes, at, end, *b"@").map(|sign| {
            let user = Span::new(at, sign);
            at = sign + 1;
            user
        });
        let host_end = find(bytes, at, end, *b";?").unwrap_or(end);
        let (host, port_text) = host_port(bytes, Span::new(at, host_end))?;
        let port = match port_text {
            Some(text) => Some(port_number(bytes, text)?),
            None => None,
        };
        let params_end = find(bytes, host_end, end, *b"?").unwrap_or(end);
        let params = Span::new(host_end, params_end);
        Some(Self { secure, user, host, port_text, port, params })
    }

    /// Whether what begins so claims to be of one of the two schemes that [`Uri::parse`] reads.
    pub fn claims_sip(text: &[u8]) -> bool {
        scheme(text).is_some()
    }

    /// Whether a URI can stand in a request line at all, whatever its scheme: the line is cut at
    /// blanks, and a line end in it would begin a row (RFC 3261 7.1).
    pub fn fits_request_line(text: &[u8]) -> bool {
        !text.iter().any(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n' | b'<' | b'>'))
            && text.iter().position(|&byte| byte == b':').is_some_and(|colon| colon > 0)
    }

    /// The parameter of this name.
    pub fn param(&self, bytes: &[u8], name: &[u8]) -> Option<super::Param> {
        Params::new(bytes, self.params).named(name)
    }

    /// A loose router's URI (RFC 3261 19.1.1 `lr`).
    pub fn is_loose(&self, bytes: &[u8]) -> bool {
        self.param(bytes, b"lr").is_some()
    }

    /// The port, 5060 or 5061 where none is given (RFC 3261 19.1.2).
    pub fn port_or_default(&self) -> u16 {
        self.port.unwrap_or(if self.secure { 5061 } else { 5060 })
    }

    /// Host and port as an address, if the host is one.
    pub fn address(&self, bytes: &[u8]) -> Option<SocketAddr> {
        Some(SocketAddr::new(ip(self.host.of(bytes))?, self.port_or_default()))
    }
}

/// Whether the scheme is `sips`, and where it ends with its colon; `None` for all but the two.
#[inline]
fn scheme(text: &[u8]) -> Option<(bool, usize)> {
    let begins = |scheme: &[u8]| {
        text.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme))
    };
    match () {
        () if begins(b"sip:") => Some((false, 4)),
        () if begins(b"sips:") => Some((true, 5)),
        () => None,
    }
}

/// An IP address as it stands in a URI or Via (without brackets).
pub fn ip(text: &[u8]) -> Option<IpAddr> {
    // A name: most hosts that are none begin with a letter beyond the hexadecimal ones.
    if !text.first()?.is_ascii_hexdigit() && text[0] != b':' {
        return None;
    }
    match ipv4(text) {
        Some(ip) => Some(IpAddr::V4(ip)),
        None => std::str::from_utf8(text).ok()?.parse().ok(),
    }
}

/// As the parser of the standard library reads it, in a third of its time: four numbers up to 255, none
/// with a zero in front.
fn ipv4(text: &[u8]) -> Option<Ipv4Addr> {
    let mut octets = [0; 4];
    let (mut place, mut octet, mut digits) = (0, 0_u16, 0);
    for &byte in text {
        let digit = byte.wrapping_sub(b'0');
        if digit < 10 {
            octet = octet * 10 + u16::from(digit);
            digits += 1;
            // A zero in front is no octet's.
            if octet > 255 || digits > 1 && octet < 10 {
                return None;
            }
        } else {
            if byte != b'.' || digits == 0 || place == 3 {
                return None;
            }
            octets[place] = octet as u8;
            (place, octet, digits) = (place + 1, 0, 0);
        }
    }
    octets[place] = octet as u8;
    (place == 3 && digits > 0).then_some(Ipv4Addr::from(octets))
}

/// Splits `host [ ":" port ]`; white space may stand around the colon (RFC 3261 25.1 COLON). The
/// second span is the port with its colon.
pub(super) fn host_port(bytes: &[u8], span: Span) -> Option<(Span, Option<Span>)> {
    let span = trim(bytes, span);
    let (start, end) = (span.start as usize, span.end as usize);
    let (host, after) = if start < end && bytes[start] == b'[' {
        let close = find(bytes, start, end, *b"]")?;
        (Span::new(start + 1, close), close + 1)
    } else {
        let colon = find(bytes, start, end, *b":").unwrap_or(end);
        (trim(bytes, Span::new(start, colon)), colon)
    };
    if host.is_empty() {
        return None;
    }
    let rest = Span::new(after, end);
    let colon_at = trim(bytes, rest);
    if colon_at.is_empty() {
        return Some((host, None));
    }
    (bytes[colon_at.start as usize] == b':').then_some((host, Some(rest)))
}

/// The number in a port text of [`host_port`].
pub(super) fn port_number(bytes: &[u8], text: Span) -> Option<u16> {
    let text = trim(bytes, text);
    let digits = trim(bytes, Span::new(text.start as usize + 1, text.end as usize));
    number(digits.of(bytes), 65_535).map(|port| port as u16)
}

/// `"Name" <uri>;params` or `uri;params`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NameAddr {
    /// The URI, without brackets.
    pub uri: Span,
    /// The header parameters (a URI without brackets has none of its own, RFC 3261 20).
    pub params: Span,
}

impl NameAddr {
    /// Reads one value; `None` if a quote or a bracket is not closed.
    pub fn parse(bytes: &[u8], value: Span) -> Option<Self> {
        let (start, end) = (value.start as usize, value.end as usize);
        if let Some(open) = bracket(bytes, value)? {
            let close = find(bytes, open, end, *b">")?;
            let uri = trim(bytes, Span::new(open + 1, close));
            return Some(Self { uri, params: Span::new(close + 1, end) });
        }
        let uri_end = outside(bytes, value, b';').unwrap_or(end);
        let uri = trim(bytes, Span::new(start, uri_end));
        Some(Self { uri, params: Span::new(uri_end, end) })
    }

    /// The `tag` parameter, where there is one with a value.
    pub fn tag(&self, bytes: &[u8]) -> Option<Span> {
        Params::new(bytes, self.params).named(b"tag")?.value
    }
}

/// Where the `<` stands that opens the URI, past a quoted display name; `Some(None)` if there is
/// none, `None` if a quote is not closed.
fn bracket(bytes: &[u8], value: Span) -> Option<Option<usize>> {
    let end = value.end as usize;
    let mut at = value.start as usize;
    while let Some(found) = find(bytes, at, end, *b"<;\"") {
        match bytes[found] {
            b'<' => return Some(Some(found)),
            b';' => break,
            _ => at = quoted_end(bytes, found, end)? + 1,
        }
    }
    Some(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uri(text: &str) -> Option<(Option<&str>, &str, Option<u16>, &str)> {
        let bytes = text.as_bytes();
        let of = |span: Span| std::str::from_utf8(span.of(bytes)).unwrap();
        Uri::parse(bytes, Span::new(0, bytes.len()))
            .map(|uri| (uri.user.map(of), of(uri.host), uri.port, of(uri.params)))
    }

    #[test]
    fn uris_fall_into_user_host_port_and_parameters() {
        assert_eq!(uri("sip:a.example"), Some((None, "a.example", None, "")));
        assert_eq!(
            uri("SIPS:bob:pw@10.0.0.1:5061;lr;x=y?h=v"),
            Some((Some("bob:pw"), "10.0.0.1", Some(5061), ";lr;x=y"))
        );
        assert_eq!(uri("sip:[2001:db8::1]:5070"), Some((None, "2001:db8::1", Some(5070), "")));
        assert_eq!(uri("sip:u;p=1@[::1];lr"), Some((Some("u;p=1"), "::1", None, ";lr")));
        assert_eq!(uri("sip:a?to=b"), Some((None, "a", None, "")));
    }

    #[test]
    fn other_schemes_and_broken_hosts_are_no_sip_uri() {
        for text in [
            "tel:+1",
            "urn:service:sos",
            "sip:",
            "sip:@",
            "sip:a:",
            "sip:a:99999",
            "sip:[::1",
            "x",
            "",
        ] {
            assert_eq!(uri(text), None, "{text}");
        }
    }

    #[test]
    fn a_broken_sip_uri_is_told_from_one_of_another_scheme() {
        for text in ["sip:", "SIPS:@", "sip:2001:db8::10"] {
            assert!(Uri::claims_sip(text.as_bytes()) && uri(text).is_none(), "{text}");
        }
        for text in ["tel:+1", "sipx:a", "sip", "s", ""] {
            assert!(!Uri::claims_sip(text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn what_would_cut_the_request_line_does_not_fit_it() {
        for text in ["sip:a", "tel:+1", "x:?;@"] {
            assert!(Uri::fits_request_line(text.as_bytes()), "{text}");
        }
        for text in
            ["", "sip", ":a", "sip:a b", "sip:a\tb", "sip:a\r\n b", "sip:a\nb", "<sip:a", "sip:a>"]
        {
            assert!(!Uri::fits_request_line(text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn an_address_is_one_only_where_the_host_is() {
        let address = |text: &str| {
            let span = Span::new(0, text.len());
            Uri::parse(text.as_bytes(), span).and_then(|uri| uri.address(text.as_bytes()))
        };
        assert_eq!(address("sip:10.0.0.1"), Some("10.0.0.1:5060".parse().unwrap()));
        assert_eq!(address("sips:[::1]"), Some("[::1]:5061".parse().unwrap()));
        assert_eq!(address("sip:example.com"), None);
        assert_eq!(address("sip:face.example"), None);
    }

    #[test]
    fn ipv4_addresses_are_read_as_the_standard_library_reads_them() {
        let pieces = ["0", "1", "00", "01", "9", "25", "255", "256", "1000", "", "x", " 1", "-1"];
        let mut texts = vec![String::new()];
        for place in 0..4 {
            let longer = texts.iter().flat_map(|text| {
                pieces.map(|piece| format!("{text}{}{piece}", if place > 0 { "." } else { "" }))
            });
            texts = longer.collect();
        }
        for text in texts.iter().map(String::as_str).chain(["1.2.3", "1.2.3.4.5", "1.2.3.4.", "1"])
        {
            assert_eq!(ipv4(text.as_bytes()), text.parse().ok(), "{text}");
        }
    }

    fn name_addr(text: &str) -> Option<(&str, Option<&str>)> {
        let bytes = text.as_bytes();
        let of = |span: Span| std::str::from_utf8(span.of(bytes)).unwrap();
        NameAddr::parse(bytes, Span::new(0, bytes.len())).map(|a| (of(a.uri), a.tag(bytes).map(of)))
    }

    #[test]
    fn tags_are_read_past_display_names_and_uri_parameters() {
        assert_eq!(name_addr("<sip:a;tag=no>;x;tag=yes"), Some(("sip:a;tag=no", Some("yes"))));
        assert_eq!(name_addr(r#""<;\"," <sip:a> ; TAG = t"#), Some(("sip:a", Some("t"))));
        assert_eq!(name_addr("sip:a@b;tag=t"), Some(("sip:a@b", Some("t"))));
        assert_eq!(name_addr("A B <sip:a>"), Some(("sip:a", None)));
    }

    #[test]
    fn open_quotes_and_brackets_are_refused() {
        assert_eq!(name_addr("\"Mr. J. User <sip:a@b>"), None);
        assert_eq!(name_addr("<sip:a"), None);
    }
}
