//! Request lines, Via, tags and URIs as nearly everybody writes them: read in one walk over the bytes
//! that part them.
//!
//! What is read here is just what [`super::message::request_line`], [`Via::parse_any`],
//! [`super::NameAddr`] and [`Uri::parse_any`] read.
//! `None` says nothing but that it is for them: there is white space, a quote, a bracket or another
//! thing to mind.

use super::marks::{Marked, Marks, is, is_within};
use super::message::is_token;
use super::{Param, Span, Uri, Via, is_name, number};
use wide::u8x16;

/// What parts a Via or a URI: white space and all else up to `"`, a comma, `:` to `@`, `[` to `]`.
struct Separator;

impl Marked for Separator {
    #[inline(always)]
    fn among(block: u8x16) -> u8x16 {
        is_within(block, 0, b'"')
            | is(block, b',')
            | is_within(block, b':', b'@')
            | is_within(block, b'[', b']')
    }
}

/// What parts a From or To: the quotes of its name, its brackets, its parameters.
struct Bracket;

impl Marked for Bracket {
    #[inline(always)]
    fn among(block: u8x16) -> u8x16 {
        is(block, b'"') | is(block, b'\\') | is_within(block, b';', b'>')
    }
}

/// Method and Request-URI of a request line without fault, which ends at `end`.
#[inline]
pub(super) fn request_line(bytes: &[u8], end: usize) -> Option<(Span, Span)> {
    let mut marks = Marks::<Separator>::new(bytes, 0, end);
    let method_end = marks.next()?;
    let is_method = method_end > 0 && bytes[..method_end].iter().copied().all(is_token);
    let colon = marks.next()?;
    let uri_start = method_end + 1;
    let has_scheme = colon > uri_start && bytes[colon] == b':';
    if !is_method || bytes[method_end] != b' ' || !has_scheme {
        return None;
    }
    let uri_end =
        marks.find(|at| matches!(bytes[*at], b' ' | b'\t' | b'\r' | b'\n' | b'<' | b'>'))?;
    (bytes[uri_end..end] == *b" SIP/2.0")
        .then(|| (Span::new(0, method_end), Span::new(uri_start, uri_end)))
}

/// The first value of a Via row.
#[inline(never)]
pub(super) fn via(bytes: &[u8], row: Span) -> Option<Via> {
    const PROTOCOL: &[u8] = b"SIP/2.0/";
    if !row.of(bytes).starts_with(PROTOCOL) {
        return None;
    }
    let transport_start = row.start as usize + PROTOCOL.len();
    let mut marks = Marks::<Separator>::new(bytes, transport_start, row.end as usize);
    let blank = marks.next()?;
    let transport = Span::new(transport_start, blank);
    if transport.is_empty() || bytes[blank] != b' ' {
        return None;
    }
    let host_end = marks.next_or_end();
    let host = Span::new(blank + 1, host_end);
    let (port, mut at) = port(bytes, host_end, &mut marks)?;
    let mut via = Via::without_params(row, transport, host, port.map(|port| port.number));
    while let Some(param) = param(bytes, at, &mut marks) {
        via.take(bytes, param);
        at = param.whole.end as usize;
    }
    match bytes[at..row.end as usize].first() {
        None | Some(b',') => via.value.end = at as u32,
        Some(_) => return None,
    }
    (!host.is_empty()).then_some(via)
}

/// The tag in a From or To value: `Some(None)` if there is none.
#[inline(never)]
pub(super) fn tag(bytes: &[u8], value: Span) -> Option<Option<Span>> {
    let end = value.end as usize;
    let mut marks = Marks::<Bracket>::new(bytes, value.start as usize, end);
    let mut open = marks.next()?;
    if bytes[open] == b'"' {
        let close = marks.next()?;
        if bytes[close] != b'"' {
            return None;
        }
        open = marks.next()?;
    }
    if bytes[open] != b'<' {
        return None;
    }
    let close = loop {
        let at = marks.next()?;
        match bytes[at] {
            b'>' => break at,
            b';' | b'=' => {} // of the URI
            _ => return None,
        }
    };
    let mut at = marks.next_or_end();
    if at != close + 1 {
        return None;
    }
    while let Some(param) = param(bytes, at, &mut marks) {
        at = param.whole.end as usize;
        let is_next = at == end || bytes[at] == b';';
        let texts = [Some(param.name), param.value].into_iter().flatten();
        if !is_next || !texts.into_iter().all(|text| is_trimmed(text.of(bytes))) {
            return None;
        }
        if is_name(param.name.of(bytes), b"tag") {
            return Some(param.value);
        }
    }
    (at == end).then_some(None)
}

/// Whether no white space stands at either end of what is not empty.
#[inline(always)]
fn is_trimmed(text: &[u8]) -> bool {
    matches!(text, [first, ..] if *first > b' ') && text[text.len() - 1] > b' '
}

/// A `sip` URI without headers.
#[inline]
pub(super) fn uri(bytes: &[u8], span: Span) -> Option<Uri> {
    const SCHEME: &[u8] = b"sip:";
    if !span.of(bytes).starts_with(SCHEME) {
        return None;
    }
    let (start, end) = (span.start as usize + SCHEME.len(), span.end as usize);
    let mut marks = Marks::<Separator>::new(bytes, start, end);
    let mut host_start = start;
    let mut user = None;
    let mut at = marks.next_or_end();
    if !marks.is_at_end(at) && bytes[at] == b'@' {
        user = Some(Span::new(start, at));
        host_start = at + 1;
        at = marks.next_or_end();
    }
    let host = Span::new(host_start, at);
    let (port, params_start) = port(bytes, at, &mut marks)?;
    let is_param = |at: usize| matches!(bytes[at], b';' | b'=');
    let begins = params_start == end || bytes[params_start] == b';';
    if host.is_empty() || !begins || !marks.all(is_param) {
        return None;
    }
    Some(Uri {
        secure: false,
        user,
        host,
        port_text: port.as_ref().map(|port| port.text),
        port: port.map(|port| port.number),
        params: Span::new(params_start, end),
    })
}

/// What may stand behind a host.
struct Port {
    /// With its colon.
    text: Span,
    number: u16,
}

/// The port whose colon is the mark at `at`, if it is one, and the mark behind it.
#[inline(always)]
fn port(
    bytes: &[u8],
    at: usize,
    marks: &mut Marks<'_, Separator>,
) -> Option<(Option<Port>, usize)> {
    if marks.is_at_end(at) || bytes[at] != b':' {
        return Some((None, at));
    }
    let end = marks.next_or_end();
    let number = number(&bytes[at + 1..end], 65_535)? as u16;
    Some((Some(Port { text: Span::new(at, end), number }), end))
}

/// The parameter whose semicolon is the mark at `at`, up to the next mark.
#[inline(always)]
fn param<M: Marked>(bytes: &[u8], at: usize, marks: &mut Marks<'_, M>) -> Option<Param> {
    if marks.is_at_end(at) || bytes[at] != b';' {
        return None;
    }
    let name = Span::new(at + 1, marks.next_or_end());
    let mut whole = name;
    let mut value = None;
    let name_end = name.end as usize;
    if !marks.is_at_end(name_end) && bytes[name_end] == b'=' {
        whole.end = marks.next_or_end() as u32;
        value = Some(Span { start: name.end + 1, end: whole.end });
    }
    Some(Param { whole, name, value })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sip::message::request_line as any_request_line;
    use crate::sip::{NameAddr, Start, Values};
    use proptest::prelude::*;

    const LINE: &str = "INVITE sip:+49301@a.example:5070;user=phone SIP/2.0";
    const VIA: &str = "SIP/2.0/UDP 192.0.2.1:5060;rport;branch=z9hG4bKabc";
    const FROM: &str = "\"Alice\" <sip:alice@a.example;user=phone>;x=y;tag=1";
    const URI: &str = "sip:+49301@a.example:5070;user=phone;lr";

    fn all(text: &[u8]) -> Span {
        Span::new(0, text.len())
    }

    /// The first value of a row as the whole parsers read it.
    fn any_via(text: &[u8]) -> Option<Via> {
        Via::parse_any(text, Values::new(text, all(text)).next()?)
    }

    fn any_tag(text: &[u8]) -> Option<Option<Span>> {
        Some(NameAddr::parse(text, all(text))?.tag(text))
    }

    #[test]
    fn the_usual_is_read_here() {
        for line in [LINE, "OPTIONS tel:1 SIP/2.0", "A sip:[::1]?x=\"y\" SIP/2.0"] {
            let (method, uri) = request_line(line.as_bytes(), line.len()).expect(line);
            let found = Start::Request { method, uri, fault: None };
            assert_eq!(Some(found), any_request_line(line.as_bytes()));
        }
        for text in [
            VIA,
            "SIP/2.0/TCP a.example",
            "SIP/2.0/UDP a;received=192.0.2.1;RPORT=5;keep;branch=",
            "SIP/2.0/UDP a:1,SIP/2.0/UDP b",
            "SIP/2.0/UDP a;branch=b, c",
            "SIP/2.0/UDP 192.168.178.21:5060;rport;branch=z9hG4bK-524287-1---4a8b2b0c5c0a1d9e;alias;x",
        ] {
            let text = text.as_bytes();
            assert!(via(text, all(text)).is_some(), "{:?}", text.escape_ascii());
            assert_eq!(via(text, all(text)), any_via(text));
        }
        for text in [FROM, "<sip:a>", "Alice B <sip:a;x=y>;y;TAG=z;u", "\"\"<tel:1>;tag=a-b.c"] {
            let text = text.as_bytes();
            assert!(tag(text, all(text)).is_some(), "{:?}", text.escape_ascii());
            assert_eq!(tag(text, all(text)), any_tag(text));
        }
        for text in [URI, "sip:a", "sip:a:1", "sip:u@[::1]", "sip:a;x=y;z", "sip:u@a;lr"] {
            let (text, is_usual) = (text.as_bytes(), !text.contains('['));
            assert_eq!(uri(text, all(text)).is_some(), is_usual, "{:?}", text.escape_ascii());
            assert!(!is_usual || uri(text, all(text)) == Uri::parse_any(text, all(text)));
        }
    }

    /// A usual text with a few bytes put in, taken out or changed, and others around it.
    fn changed(usual: &'static str) -> impl Strategy<Value = (Vec<u8>, Span)> {
        let bytes = prop::sample::select(b" \t\r\n\"\\,;:<=>?@[]!%ax1/\0\xff".to_vec());
        let change = (0usize..80, 0usize..3, prop::collection::vec(bytes, 0..3));
        let changes = prop::collection::vec(change, 0..4);
        (changes, 0usize..70, 0usize..70).prop_map(move |(changes, before, after)| {
            let mut text = usual.as_bytes().to_vec();
            for (at, out, with) in changes {
                let at = at.min(text.len());
                text.splice(at..(at + out).min(text.len()), with);
            }
            let span = Span::new(before, before + text.len());
            let around = b";=,\"<>: @z".iter().copied().cycle();
            let before = around.clone().take(before);
            (before.chain(text).chain(around.take(after)).collect(), span)
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]

        #[test]
        fn what_is_read_here_is_what_the_whole_parsers_read(
            (line_text, line_span) in changed(LINE),
            (via_text, via_span) in changed(VIA),
            (from_text, from_span) in changed(FROM),
            (uri_text, uri_span) in changed(URI),
        ) {
            let line = &line_text[line_span.start as usize..];
            let line = &line[..line.len().min(line_span.len())];
            if let Some((method, uri)) = request_line(line, line.len()) {
                let found = Start::Request { method, uri, fault: None };
                prop_assert_eq!(Some(found), any_request_line(line));
            }
            if let Some(found) = via(&via_text, via_span) {
                let value = Values::new(&via_text, via_span).next().expect("a value");
                prop_assert_eq!(Some(found), Via::parse_any(&via_text, value));
            }
            if let Some(found) = tag(&from_text, from_span) {
                let address = NameAddr::parse(&from_text, from_span).expect("a name-addr");
                prop_assert_eq!(found, address.tag(&from_text));
            }
            if let Some(found) = uri(&uri_text, uri_span) {
                prop_assert_eq!(Some(found), Uri::parse_any(&uri_text, uri_span));
            }
        }
    }
}
