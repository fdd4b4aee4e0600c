//! Inside a header value: comma-joined values and semicolon parameters, with quoted strings and
//! angle brackets that may hold both (RFC 3261 7.3.1, 25.1).

use super::block::find;
use super::{Span, trim};

/// The comma-joined values of one row.
#[derive(Clone, Debug)]
pub struct Values<'a> {
    bytes: &'a [u8],
    rest: Option<Span>,
}

impl<'a> Values<'a> {
    /// The values in `value`, a row's value.
    #[inline]
    pub fn new(bytes: &'a [u8], value: Span) -> Self {
        Self { bytes, rest: (!value.is_empty()).then_some(value) }
    }
}

impl Iterator for Values<'_> {
    type Item = Span;

    #[inline]
    fn next(&mut self) -> Option<Span> {
        let rest = self.rest?;
        let (start, end) = (rest.start as usize, rest.end as usize);
        // Most rows hold one value: look for a comma before minding quotes.
        let comma = find(self.bytes, start, end, *b",");
        let Some(comma) = comma.and_then(|_| outside(self.bytes, rest, b',')) else {
            self.rest = None;
            return Some(trim(self.bytes, rest));
        };
        self.rest = Some(Span::new(comma + 1, end));
        Some(trim(self.bytes, Span::new(start, comma)))
    }
}

/// Where `wanted` first stands in `span` outside quoted strings and angle brackets.
pub(super) fn outside(bytes: &[u8], span: Span, wanted: u8) -> Option<usize> {
    let end = span.end as usize;
    let mut at = span.start as usize;
    let mut bracketed = false;
    while let Some(found) = find(bytes, at, end, [wanted, b'"', b'<', b'>']) {
        at = found + 1;
        match bytes[found] {
            byte if byte == wanted && !bracketed => return Some(found),
            b'"' if !bracketed => at = quoted_end(bytes, found, end)? + 1,
            b'<' => bracketed = true,
            b'>' => bracketed = false,
            _ => {}
        }
    }
    None
}

/// The closing quote of the quoted string that opens at `open`, before `end`.
pub(super) fn quoted_end(bytes: &[u8], open: usize, end: usize) -> Option<usize> {
    let mut at = open + 1;
    loop {
        let found = find(bytes, at, end, *b"\\\"")?;
        if bytes[found] == b'"' {
            return Some(found);
        }
        at = found + 2;
    }
}

/// One `;name=value` parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Param {
    /// Name and value, without the semicolon.
    pub whole: Span,
    /// The name.
    pub name: Span,
    /// The value, where there is an equals sign.
    pub value: Option<Span>,
}

/// The parameters in a span that begins at their first semicolon (or is empty).
#[derive(Clone, Debug)]
pub struct Params<'a> {
    bytes: &'a [u8],
    rest: Span,
}

impl<'a> Params<'a> {
    /// Parameters in `span`.
    #[inline]
    pub fn new(bytes: &'a [u8], span: Span) -> Self {
        Self { bytes, rest: span }
    }

    /// The first parameter of this name (any case).
    pub fn named(self, name: &[u8]) -> Option<Param> {
        let bytes = self.bytes;
        let mut params = self;
        params.find(|param| param.name.of(bytes).eq_ignore_ascii_case(name))
    }
}

impl Iterator for Params<'_> {
    type Item = Param;

    #[inline]
    fn next(&mut self) -> Option<Param> {
        let (bytes, rest_end) = (self.bytes, self.rest.end as usize);
        let start = find(bytes, self.rest.start as usize, rest_end, *b";")? + 1;
        let (equals, end) = param_parts(bytes, start, rest_end);
        self.rest = Span::new(end, rest_end);
        let Some(equals) = equals else {
            let name = trim(bytes, Span::new(start, end));
            return Some(Param { whole: name, name, value: None });
        };
        let name = trim(bytes, Span::new(start, equals));
        let value = trim(bytes, Span::new(equals + 1, end));
        let whole_end = if value.is_empty() { equals as u32 + 1 } else { value.end };
        let whole = Span { start: name.start, end: whole_end };
        Some(Param { whole, name, value: Some(value) })
    }
}

/// The first equals sign of the parameter at `start`, and its end: the next semicolon outside
/// quotes, or `end`.
#[inline]
fn param_parts(bytes: &[u8], start: usize, end: usize) -> (Option<usize>, usize) {
    let first = find(bytes, start, end, *b"=;\"");
    match first.map(|at| (at, bytes[at])) {
        None => (None, end),
        Some((semicolon, b';')) => (None, semicolon),
        Some((equals, b'=')) => (Some(equals), param_end(bytes, equals + 1, end)),
        Some((quote, _)) => {
            let param_end = param_end(bytes, quote, end);
            (find(bytes, quote, param_end, *b"="), param_end)
        }
    }
}

/// The next semicolon outside quotes from `at` on, or `end`.
#[inline]
fn param_end(bytes: &[u8], mut at: usize, end: usize) -> usize {
    while let Some(found) = find(bytes, at, end, *b";\"") {
        if bytes[found] == b';' {
            return found;
        }
        match quoted_end(bytes, found, end) {
            Some(close) => at = close + 1,
            None => break,
        }
    }
    end
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(text: &str) -> Vec<&str> {
        let span = Span::new(0, text.len());
        let of = |span: Span| std::str::from_utf8(span.of(text.as_bytes())).unwrap();
        Values::new(text.as_bytes(), span).map(of).collect()
    }

    #[test]
    fn commas_split_values_outside_quotes_and_brackets_only() {
        assert_eq!(values("a"), ["a"]);
        assert_eq!(values("a , b,c"), ["a", "b", "c"]);
        assert_eq!(
            values("\"x, y\" <sip:a>, <sip:b,c;d=\">\">"),
            ["\"x, y\" <sip:a>", "<sip:b,c;d=\">\">"]
        );
        assert_eq!(values(r#""a\",b" <sip:c>"#), [r#""a\",b" <sip:c>"#]);
        assert_eq!(values("a,,b"), ["a", "", "b"]);
        assert_eq!(values("\"open, never closed"), ["\"open, never closed"]);
        assert_eq!(values(""), Vec::<&str>::new());
    }

    #[test]
    fn parameters_have_names_and_sometimes_values() {
        let text = br#" ;branch = z9 ; lr;q="a;b";;x="#;
        let params: Vec<_> = Params::new(text, Span::new(0, text.len()))
            .map(|param| (param.name.of(text), param.value.map(|value| value.of(text))))
            .collect();
        assert_eq!(
            params,
            [
                (&b"branch"[..], Some(&b"z9"[..])),
                (b"lr", None),
                (b"q", Some(&br#""a;b""#[..])),
                (b"", None),
                (b"x", Some(&b""[..])),
            ]
        );
        let odd = br#";"a=b;c"=d;e="f""#;
        let params: Vec<_> =
            Params::new(odd, Span::new(0, odd.len())).map(|param| param.whole.of(odd)).collect();
        assert_eq!(params, [&br#""a=b;c"=d"#[..], br#"e="f""#]);
        let found = Params::new(text, Span::new(0, text.len())).named(b"LR").unwrap();
        assert_eq!(found.whole.of(text), b"lr");
    }
}
