//! SIP URIs and the name-addr form around them (RFC 3261 19.1, 20.10, 25.1).

use super::field::{Params, outside, quoted_end};
use super::{Span, number, trim};
use std::net::{IpAddr, SocketAddr};

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
    pub fn parse(bytes: &[u8], span: Span) -> Option<Self> {
        let text = span.of(bytes);
        let colon = text[..text.len().min(6)].iter().position(|&byte| byte == b':')?;
        let secure = match &text[..colon] {
            scheme if scheme.eq_ignore_ascii_case(b"sip") => false,
            scheme if scheme.eq_ignore_ascii_case(b"sips") => true,
            _ => return None,
        };
        let mut at = colon + 1;
        let from = |start: usize, end: usize| {
            Span::new(span.start as usize + start, span.start as usize + end)
        };
        let user = memchr::memchr(b'@', &text[at..]).map(|offset| {
            let user = from(at, at + offset);
            at += offset + 1;
            user
        });
        let end = at
            + text[at..]
                .iter()
                .position(|byte| matches!(byte, b';' | b'?'))
                .unwrap_or(text.len() - at);
        let (host, port_text) = host_port(bytes, from(at, end))?;
        let port = match port_text {
            Some(text) => Some(port_number(bytes, text)?),
            None => None,
        };
        let params_end =
            memchr::memchr(b'?', &text[end..]).map_or(text.len(), |offset| end + offset);
        Some(Self { secure, user, host, port_text, port, params: from(end, params_end) })
    }

    /// Whether what begins so claims to be of one of the two schemes that [`Uri::parse`] reads.
    pub fn claims_sip(text: &[u8]) -> bool {
        let begins = |scheme: &[u8]| {
            text.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme))
        };
        begins(b"sip:") || begins(b"sips:")
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

/// An IP address as it stands in a URI or Via (without brackets).
pub fn ip(text: &[u8]) -> Option<IpAddr> {
    // A name: most hosts that are none begin with a letter beyond the hexadecimal ones.
    if !text.first()?.is_ascii_hexdigit() && text[0] != b':' {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// Splits `host [ ":" port ]`; white space may stand around the colon (RFC 3261 25.1 COLON). The
/// second span is the port with its colon.
pub(super) fn host_port(bytes: &[u8], span: Span) -> Option<(Span, Option<Span>)> {
    let span = trim(bytes, span);
    let text = span.of(bytes);
    let start = span.start as usize;
    let (host, after) = if text.first() == Some(&b'[') {
        let close = memchr::memchr(b']', text)?;
        (Span::new(start + 1, start + close), close + 1)
    } else {
        let colon = text.iter().position(|&byte| byte == b':').unwrap_or(text.len());
        (trim(bytes, Span::new(start, start + colon)), colon)
    };
    if host.is_empty() {
        return None;
    }
    let rest = Span::new(start + after, span.end as usize);
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
        let text = value.of(bytes);
        let start = value.start as usize;
        let from = |a: usize, b: usize| Span::new(start + a, start + b);
        if let Some(open) = display_name_end(text)? {
            let close = open + memchr::memchr(b'>', &text[open..])?;
            let params = from(close + 1, text.len());
            return Some(Self { uri: trim(bytes, from(open + 1, close)), params });
        }
        let end = outside(text, b';').unwrap_or(text.len());
        Some(Self { uri: trim(bytes, from(0, end)), params: from(end, text.len()) })
    }

    /// The `tag` parameter, where there is one with a value.
    pub fn tag(&self, bytes: &[u8]) -> Option<Span> {
        Params::new(bytes, self.params).named(b"tag")?.value
    }
}

/// Where the `<` stands that opens the URI, past a quoted display name; `Some(None)` if there is
/// none, `None` if a quote is not closed.
fn display_name_end(text: &[u8]) -> Option<Option<usize>> {
    let mut at = 0;
    while at < text.len() {
        match text[at] {
            b'"' => at = quoted_end(text, at)?,
            b'<' => return Some(Some(at)),
            b';' => break,
            _ => {}
        }
        at += 1;
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
