//! Inside a header value: comma-joined values and semicolon parameters, with quoted strings and
//! angle brackets that may hold both (RFC 3261 7.3.1, 25.1).

use super::{Span, trim};
use memchr::memchr;

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
        let text = rest.of(self.bytes);
        // Most rows hold one value: look for a comma before minding quotes.
        let comma = memchr(b',', text).and_then(|_| outside(text, b','));
        let Some(comma) = comma else {
            self.rest = None;
            return Some(trim(self.bytes, rest));
        };
        let start = rest.start as usize;
        self.rest = Some(Span::new(start + comma + 1, rest.end as usize));
        Some(trim(self.bytes, Span::new(start, start + comma)))
    }
}

/// Where `wanted` first stands outside quoted strings and angle brackets.
pub(super) fn outside(text: &[u8], wanted: u8) -> Option<usize> {
    let mut at = 0;
    let mut bracketed = false;
    while at < text.len() {
        let byte = text[at];
        if byte == wanted && !bracketed {
            return Some(at);
        }
        match byte {
            b'"' if !bracketed => at = quoted_end(text, at)?,
            b'<' => bracketed = true,
            b'>' => bracketed = false,
            _ => {}
        }
        at += 1;
    }
    None
}

/// The closing quote of the quoted string that opens at `open`.
pub(super) fn quoted_end(text: &[u8], open: usize) -> Option<usize> {
    let mut at = open + 1;
    while at < text.len() {
        match text[at] {
            b'\\' => at += 1,
            b'"' => return Some(at),
            _ => {}
        }
        at += 1;
    }
    None
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
        let text = self.rest.of(self.bytes);
        let open = text.iter().position(|&byte| byte == b';')?;
        let start = self.rest.start as usize + open + 1;
        let text = &text[open + 1..];
        let len = param_len(text);
        let equals = text[..len].iter().position(|&byte| byte == b'=').map(|at| start + at);
        let end = start + len;
        self.rest = Span::new(end, self.rest.end as usize);
        let whole = trim(self.bytes, Span::new(start, end));
        Some(match equals {
            Some(equals) => Param {
                whole,
                name: trim(self.bytes, Span::new(start, equals)),
                value: Some(trim(self.bytes, Span::new(equals + 1, end))),
            },
            None => Param { whole, name: whole, value: None },
        })
    }
}

/// Up to the next semicolon outside quotes, or all of it.
#[inline]
fn param_len(text: &[u8]) -> usize {
    let mut at = 0;
    while let Some(found) = text[at..].iter().position(|byte| matches!(byte, b';' | b'"')) {
        at += found;
        if text[at] == b';' {
            return at;
        }
        match quoted_end(text, at) {
            Some(close) => at = close + 1,
            None => break,
        }
    }
    text.len()
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
