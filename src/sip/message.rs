//! A message as an index of spans: the start line and the rows that forwarding reads.

use super::block::find;
use super::field::Values;
use super::scan::LineEnds;
use super::{Header, NameAddr, Row, Rows, RowsOf, Span, Uri, ValuesOf, Via, number, trim, usual};

/// What makes a message unfit to forward, one variant per broken rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The request line is not `Method SP Request-URI SP SIP/2.0` (RFC 3261 7.1).
    RequestLine,
    /// The version is another than SIP/2.0 (7.1).
    Version,
    /// The status line has no code from 100 to 699 (7.2).
    StatusLine,
    /// No empty line ends the headers (7).
    HeadersEnd,
    /// No Via, or its topmost value cannot be read (8.1.1.7).
    Via,
    /// Not exactly one Call-ID with a value (8.1.1.4).
    CallId,
    /// Not exactly one CSeq `number method` (8.1.1.5).
    CSeq,
    /// The method of CSeq is not the request's (8.1.1.5).
    CSeqMethod,
    /// Not exactly one From that can be read (8.1.1.3).
    From,
    /// Not exactly one To that can be read (8.1.1.2).
    To,
    /// Max-Forwards is not one number from 0 to 255 (20.22).
    MaxForwards,
    /// Content-Length is not one number, or more than the datagram holds (18.3, 20.14).
    ContentLength,
    /// A Route or the Request-URI that must be read to route cannot be (16.4).
    Route,
    /// A CR that no LF follows in the head (25.1), where a reader that takes it for a line end would see
    /// other fields than we do.
    BareCr,
}

impl Fault {
    /// The reason phrase of the 400.
    pub const fn phrase(self) -> &'static str {
        match self {
            Fault::RequestLine => "Bad Request Line",
            Fault::Version => "Version Not Supported",
            Fault::StatusLine => "Bad Status Line",
            Fault::HeadersEnd => "Missing Empty Line",
            Fault::Via => "Bad Via",
            Fault::CallId => "Bad Call-ID",
            Fault::CSeq => "Bad CSeq",
            Fault::CSeqMethod => "CSeq Method Mismatch",
            Fault::From => "Bad From",
            Fault::To => "Bad To",
            Fault::MaxForwards => "Bad Max-Forwards",
            Fault::ContentLength => "Bad Content-Length",
            Fault::Route => "Bad Route",
            Fault::BareCr => "Bare CR",
        }
    }
}

/// The start line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// A request line.
    Request {
        /// The method, case-sensitive (RFC 3261 7.1).
        method: Span,
        /// The Request-URI.
        uri: Span,
        /// What is wrong with the line, if anything is.
        fault: Option<Fault>,
    },
    /// A status line.
    Response {
        /// 100 to 699, or 0 with a fault.
        status: u16,
        /// What is wrong with the line, if anything is.
        fault: Option<Fault>,
    },
}

/// The rows of one header field.
#[derive(Clone, Copy, Debug, Default)]
struct Field {
    line: Span,
    value: Span,
    count: u32,
}

/// An indexed message.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// All of it.
    pub bytes: &'a [u8],
    /// Its first line.
    pub start: Start,
    /// Where the first header row begins.
    pub head: usize,
    /// Where the body begins; `None` if the headers never end.
    pub body: Option<usize>,
    fields: [Field; Header::COUNT],
}

impl<'a> Message<'a> {
    /// Indexes a message; `None` if its first line is neither a request nor a status line.
    // Always: the index is too large to be handed from frame to frame.
    #[inline(always)]
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        let mut line_ends = LineEnds::new(bytes, 0);
        let line_end = line_ends.next()?;
        let start = start_line(bytes, line_end)?;
        let mut fields = [Field::default(); Header::COUNT];
        let mut rows = Rows::behind(line_ends, line_end + 1);
        for row in rows.by_ref() {
            let field = &mut fields[row.header as usize];
            if field.count == 0 {
                field.line = row.line;
                field.value = row.value;
            }
            field.count += 1;
        }
        Some(Self { bytes, start, head: line_end + 1, body: rows.body(), fields })
    }

    /// How many rows of this field there are.
    #[inline]
    pub fn count(&self, header: Header) -> u32 {
        self.fields[header as usize].count
    }

    /// The value of the field's first row.
    #[inline]
    pub fn first(&self, header: Header) -> Option<Span> {
        let field = &self.fields[header as usize];
        (field.count > 0).then_some(field.value)
    }

    /// The value of the field, if it stands exactly once and is not empty.
    #[inline]
    pub fn only(&self, header: Header) -> Option<Span> {
        let field = &self.fields[header as usize];
        (field.count == 1 && !field.value.is_empty()).then_some(field.value)
    }

    /// The field's rows in their order. Other rows between them cost time only where a field has
    /// more than one row.
    #[inline]
    pub fn rows(&self, header: Header) -> RowsOf<'a> {
        let field = &self.fields[header as usize];
        let first = Row { header, line: field.line, value: field.value };
        RowsOf::new(self.bytes, first, field.count)
    }

    /// The field's comma-joined values over all its rows, each with its row.
    #[inline]
    pub fn values(&self, header: Header) -> ValuesOf<'a> {
        ValuesOf::new(self.rows(header))
    }

    /// The topmost Via value.
    #[inline]
    pub fn top_via(&self) -> Option<Via> {
        let via = usual::via(self.bytes, self.first(Header::Via)?);
        if via.is_some() { via } else { self.any_top_via() }
    }

    #[inline(never)]
    fn any_top_via(&self) -> Option<Via> {
        // The first row holds it, unless that is empty.
        let mut rows = self.rows(Header::Via);
        let value = rows.find_map(|row| Values::new(self.bytes, row.value).next())?;
        Via::parse(self.bytes, value)
    }

    /// Call-ID, byte for byte (RFC 3261 8.1.1.4).
    pub fn call_id(&self) -> Result<Span, Fault> {
        self.only(Header::CallId).ok_or(Fault::CallId)
    }

    /// CSeq: a number below 2^31 and a method.
    pub fn cseq(&self) -> Result<(u32, Span), Fault> {
        let value = self.only(Header::CSeq).ok_or(Fault::CSeq)?;
        let (start, end) = (value.start as usize, value.end as usize);
        let space = find(self.bytes, start, end, *b" \t\r\n").ok_or(Fault::CSeq)?;
        let sequence = number(&self.bytes[start..space], (1 << 31) - 1).ok_or(Fault::CSeq)?;
        let method = trim(self.bytes, Span::new(space + 1, end));
        Ok((sequence, method))
    }

    /// From, as name-addr.
    pub fn from(&self) -> Result<NameAddr, Fault> {
        self.name_addr(Header::From).ok_or(Fault::From)
    }

    /// To, as name-addr.
    pub fn to(&self) -> Result<NameAddr, Fault> {
        self.name_addr(Header::To).ok_or(Fault::To)
    }

    /// The tag of From; `Some` if it has one with a value.
    #[inline(always)]
    pub fn from_tag(&self) -> Result<Option<Span>, Fault> {
        self.tag(Header::From).ok_or(Fault::From)
    }

    /// The tag of To; `Some` if it has one with a value.
    #[inline(always)]
    pub fn to_tag(&self) -> Result<Option<Span>, Fault> {
        self.tag(Header::To).ok_or(Fault::To)
    }

    #[inline(always)]
    fn tag(&self, header: Header) -> Option<Option<Span>> {
        let value = self.only(header)?;
        if let Some(tag) = usual::tag(self.bytes, value) {
            return Some(tag);
        }
        Some(NameAddr::parse(self.bytes, value)?.tag(self.bytes))
    }

    fn name_addr(&self, header: Header) -> Option<NameAddr> {
        NameAddr::parse(self.bytes, self.only(header)?)
    }

    /// Where the message ends: after Content-Length bytes of body (RFC 3261 18.3: the excess of a
    /// datagram is discarded), or with the datagram where the field is absent.
    pub fn end(&self) -> Result<usize, Fault> {
        let body = self.body.ok_or(Fault::HeadersEnd)?;
        if self.count(Header::ContentLength) == 0 {
            return Ok(self.bytes.len());
        }
        let text = self.only(Header::ContentLength).ok_or(Fault::ContentLength)?;
        let length = number(text.of(self.bytes), u32::MAX).ok_or(Fault::ContentLength)?;
        let end = body.checked_add(length as usize).ok_or(Fault::ContentLength)?;
        if end <= self.bytes.len() { Ok(end) } else { Err(Fault::ContentLength) }
    }
}

/// Reads the first line; `None` if it has nothing of SIP.
#[inline(never)]
fn start_line(bytes: &[u8], line_end: usize) -> Option<Start> {
    let mut end = line_end;
    if end > 0 && bytes[end - 1] == b'\r' {
        end -= 1;
    }
    let line = &bytes[..end];
    if line.get(..4).is_some_and(|start| start.eq_ignore_ascii_case(b"SIP/")) {
        return Some(status_line(line));
    }
    match usual::request_line(bytes, end) {
        Some((method, uri)) => Some(Start::Request { method, uri, fault: None }),
        None => request_line(line),
    }
}

fn status_line(line: &[u8]) -> Start {
    let fault = |fault| Start::Response { status: 0, fault: Some(fault) };
    let Some(space) = memchr::memchr(b' ', line) else { return fault(Fault::StatusLine) };
    if !line[..space].eq_ignore_ascii_case(b"SIP/2.0") {
        return fault(Fault::Version);
    }
    let rest = &line[space + 1..];
    let code_end = memchr::memchr(b' ', rest).unwrap_or(rest.len());
    match number(&rest[..code_end], 699) {
        Some(status @ 100..) if code_end == 3 => {
            Start::Response { status: status as u16, fault: None }
        }
        _ => fault(Fault::StatusLine),
    }
}

/// RFC 3261 7.1: one space between the parts and none elsewhere. A line that is SIP but not so is
/// kept with its fault, so that it can be answered.
pub(super) fn request_line(line: &[u8]) -> Option<Start> {
    let tidy = line.trim_ascii_end();
    let method_end = memchr::memchr(b' ', tidy)?;
    let version_start = memchr::memrchr(b' ', tidy)? + 1;
    let (method, version) = (&tidy[..method_end], &tidy[version_start..]);
    if method.is_empty() || !method.iter().copied().all(is_token) {
        return None;
    }
    if !version.get(..4).is_some_and(|name| name.eq_ignore_ascii_case(b"SIP/")) {
        return None;
    }
    let uri_end = version_start.saturating_sub(1).max(method_end + 1);
    let uri = &tidy[method_end + 1..uri_end];
    let clean = tidy.len() == line.len() && Uri::fits_request_line(uri);
    let fault = if !version.eq_ignore_ascii_case(b"SIP/2.0") {
        Some(Fault::Version)
    } else if !clean {
        Some(Fault::RequestLine)
    } else {
        None
    };
    Some(Start::Request {
        method: Span::new(0, method_end),
        uri: Span::new(method_end + 1, uri_end),
        fault,
    })
}

/// RFC 3261 25.1 token.
pub(super) fn is_token(byte: u8) -> bool {
    byte.is_ascii_uppercase() || byte.is_ascii_alphanumeric() || b"-.!%*_+`'~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(line: &str) -> Option<(String, String, Option<Fault>)> {
        let text = format!("{line}\r\n\r\n");
        let bytes = text.as_bytes();
        let of = |span: Span| String::from_utf8(span.of(bytes).to_vec()).unwrap();
        match Message::parse(bytes)?.start {
            Start::Request { method, uri, fault } => Some((of(method), of(uri), fault)),
            Start::Response { .. } => None,
        }
    }

    #[test]
    fn request_lines_have_three_parts() {
        let ok = |method: &str, uri: &str| Some((method.to_owned(), uri.to_owned(), None));
        assert_eq!(request("INVITE sip:a@b SIP/2.0"), ok("INVITE", "sip:a@b"));
        assert_eq!(request("!int%eth*od tel:+1 sip/2.0"), ok("!int%eth*od", "tel:+1"));
        let fault = |line| request(line).expect(line).2;
        assert_eq!(fault("INVITE  sip:a SIP/2.0"), Some(Fault::RequestLine));
        assert_eq!(fault("INVITE sip:a;x; lr SIP/2.0"), Some(Fault::RequestLine));
        assert_eq!(fault("INVITE <sip:a> SIP/2.0"), Some(Fault::RequestLine));
        assert_eq!(fault("INVITE sip:a SIP/2.0 "), Some(Fault::RequestLine));
        assert_eq!(fault("INVITE SIP/2.0"), Some(Fault::RequestLine));
        assert_eq!(fault("INVITE sip:a SIP/7.0"), Some(Fault::Version));
        for line in ["GET / HTTP/1.1", "INVITE", "", " sip:a SIP/2.0", "IN\"V sip:a SIP/2.0"] {
            assert_eq!(request(line), None, "{line}");
        }
    }

    fn status(line: &str) -> Result<u16, Fault> {
        match Message::parse(format!("{line}\r\n\r\n").as_bytes()).expect(line).start {
            Start::Response { fault: Some(fault), .. } => Err(fault),
            Start::Response { status, .. } => Ok(status),
            Start::Request { .. } => panic!("{line} is a response"),
        }
    }

    #[test]
    fn status_lines_have_a_code_of_three_digits() {
        assert_eq!(status("SIP/2.0 100 Trying"), Ok(100));
        assert_eq!(status("SIP/2.0 699 "), Ok(699));
        assert_eq!(status("SIP/2.0 200"), Ok(200));
        for line in
            ["SIP/2.0 99 x", "SIP/2.0 700 x", "SIP/2.0 4294967301 x", "SIP/2.0 0200 x", "SIP/2.0"]
        {
            assert_eq!(status(line), Err(Fault::StatusLine), "{line}");
        }
        assert_eq!(status("SIP/7.0 200 x"), Err(Fault::Version));
    }

    #[test]
    fn values_are_walked_over_rows_and_commas() {
        let text = b"A sip:a SIP/2.0\r\nVia: a, b\r\nRoute: x\r\nv:c\r\n\r\n";
        let message = Message::parse(text).unwrap();
        let vias: Vec<_> = message.values(Header::Via).map(|(_, value)| value.of(text)).collect();
        assert_eq!(vias, [b"a", b"b", b"c"]);
        assert_eq!((message.count(Header::Via), message.count(Header::Path)), (2, 0));
        assert_eq!(message.only(Header::Via), None);
    }

    #[test]
    fn the_end_is_set_by_content_length_within_the_datagram() {
        let end = |headers: &str, body: &str| {
            let text = format!("A sip:a SIP/2.0\r\n{headers}\r\n{body}");
            let end = Message::parse(text.as_bytes()).unwrap().end()?;
            Ok(text.len() - end)
        };
        assert_eq!(end("", "1234"), Ok(0));
        assert_eq!(end("l: 3\r\n", "1234"), Ok(1));
        assert_eq!(end("Content-Length: 4\r\n", "1234"), Ok(0));
        for bad in ["l: 5\r\n", "l: -1\r\n", "l: 1\r\nl: 1\r\n", "l: \r\n", "l: 99999999999\r\n"] {
            assert_eq!(end(bad, "1234"), Err(Fault::ContentLength), "{bad:?}");
        }
    }

    #[test]
    fn cseq_numbers_stay_below_two_to_the_31() {
        let cseq = |text: &str| {
            let text = format!("A sip:a SIP/2.0\r\nCSeq: {text}\r\n\r\n");
            Message::parse(text.as_bytes()).unwrap().cseq().map(|(number, _)| number)
        };
        assert_eq!(cseq("2147483647 INVITE"), Ok(2_147_483_647));
        assert_eq!(cseq("0009\r\n  INVITE"), Ok(9));
        for bad in ["2147483648 INVITE", "INVITE", "1", "-1 INVITE"] {
            assert_eq!(cseq(bad), Err(Fault::CSeq), "{bad}");
        }
    }
}
