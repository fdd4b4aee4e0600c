//! RFC 3261 16.4: our own Route values are taken off the request, and what they say is read.

use super::address::Addresses;
use super::rewrite::Edits;
use super::token::is_of_two;
use super::validate::{Request, may_be_request_uri};
use crate::sip::{Fault, Header, Message, NameAddr, Row, Span, Uri};

/// Route values of one request at most; more are refused.
pub(super) const VALUES_MAX: usize = 64;

#[derive(Clone, Copy, Debug)]
struct RouteValue {
    row: Row,
    value: Span,
}

/// The Route values of a request: some taken off at the top, one perhaps at the bottom.
#[derive(Debug)]
pub(super) struct Routes {
    values: Vec<RouteValue>,
    /// The first that stays.
    first: usize,
    /// One past the last that stays.
    last: usize,
    /// The Request-URI, restored if a strict router put ours there (16.4).
    target: Span,
    /// The text of our token: of the last passage whose Record-Route is on top; where that is a double
    /// one, of the first of the two.
    token: Option<Span>,
}

impl Routes {
    pub(super) fn new() -> Self {
        Self {
            values: Vec::with_capacity(VALUES_MAX),
            first: 0,
            last: 0,
            target: Span::default(),
            token: None,
        }
    }

    /// Reads the Routes of a request and takes our own off. More than one passage is on top where the
    /// proxy between them has put in no Record-Route: then the request is to go where the last one
    /// leads, as it would if each took its own off in turn.
    pub(super) fn load(
        &mut self,
        request: &Request<'_>,
        addresses: &Addresses,
    ) -> Result<(), Fault> {
        let message = request.message;
        self.values.clear();
        self.first = 0;
        self.target = request.uri;
        self.token = None;
        self.last = 0;
        if message.count(Header::Route) == 0 {
            return Ok(());
        }
        for (row, value) in message.values(Header::Route) {
            if self.values.len() == VALUES_MAX {
                return Err(Fault::Route);
            }
            self.values.push(RouteValue { row, value });
        }
        self.last = self.values.len();
        if request.sip_uri.is_some_and(|uri| !uri.params.is_empty()) {
            self.undo_strict_router(message, addresses)?;
        }
        let mut has_mate = self.token.is_some_and(|token| is_of_two(token.of(message.bytes)));
        while let Some(next) = self.next(message)? {
            let Some(token) = own_token(message.bytes, next, addresses) else { break };
            self.first += 1;
            if let Some(token) = token {
                let of_two = is_of_two(token.of(message.bytes));
                let is_mate = std::mem::take(&mut has_mate) && of_two;
                if !is_mate {
                    (self.token, has_mate) = (Some(token), of_two);
                }
            }
        }
        Ok(())
    }

    /// RFC 3261 16.4: a strict router upstream put our Record-Route value into the Request-URI and
    /// the Request-URI behind the last Route. Its token is a parameter: without any, it is not ours.
    #[inline(never)]
    fn undo_strict_router(
        &mut self,
        message: &Message<'_>,
        addresses: &Addresses,
    ) -> Result<(), Fault> {
        if self.values.is_empty() {
            return Ok(());
        }
        if let Some(Some(token)) = own_token(message.bytes, self.target, addresses) {
            self.token = Some(token);
            self.last -= 1;
            self.target = uri_of(message.bytes, self.values[self.last].value)?;
        }
        Ok(())
    }

    /// The URI of the first Route that stays.
    pub(super) fn next(&self, message: &Message<'_>) -> Result<Option<Span>, Fault> {
        match self.values[self.first..self.last].first() {
            Some(route) => uri_of(message.bytes, route.value).map(Some),
            None => Ok(None),
        }
    }

    /// The Request-URI, as the last strict router should have left it.
    pub(super) fn target(&self) -> Span {
        self.target
    }

    /// The text of our token.
    pub(super) fn token(&self) -> Option<Span> {
        self.token
    }

    /// RFC 3261 16.6 item 6: if the next Route is a strict router, it becomes the Request-URI and
    /// that goes behind the last Route. Then records the edits of all Route rows and of the
    /// Request-URI. Tells whether the Request-URI stays.
    pub(super) fn record(
        &mut self,
        request: &Request<'_>,
        edits: &mut Edits,
    ) -> Result<bool, Fault> {
        let message = request.message;
        let bytes = message.bytes;
        let mut uri = self.target;
        let mut behind = None;
        if let Some(next) = self.next(message)? {
            let loose = Uri::parse(bytes, next).is_none_or(|uri| uri.is_loose(bytes));
            if !loose {
                behind = Some(std::mem::replace(&mut uri, next));
                self.first += 1;
            }
        }
        let stays = uri == request.uri;
        if !stays {
            // It was a Route, where folds and blanks may stand.
            let read = Uri::parse(bytes, uri);
            if !Uri::fits_request_line(uri.of(bytes))
                || !may_be_request_uri(bytes, uri, read.as_ref())
            {
                return Err(Fault::Route);
            }
            edits.replace_by_copy(request.uri, uri);
        }
        self.record_rows(edits);
        if let Some(target) = behind {
            self.append(message, target, edits);
        }
        Ok(stays)
    }

    /// Takes the values off that do not stay, row by row.
    fn record_rows(&self, edits: &mut Edits) {
        let mut at = 0;
        while at < self.values.len() {
            let line = self.values[at].row.line;
            let end =
                at + self.values[at..].iter().take_while(|value| value.row.line == line).count();
            let stays = self.first.clamp(at, end)..self.last.clamp(at, end);
            if stays.is_empty() {
                edits.remove(line);
            } else {
                let row = self.values[at].row.value;
                let (first, last) =
                    (self.values[stays.start].value, self.values[stays.end - 1].value);
                if stays.start > at {
                    edits.remove(Span { start: row.start, end: first.start });
                }
                if stays.end < end {
                    edits.remove(Span { start: last.end, end: row.end });
                }
            }
            at = end;
        }
    }

    /// Puts the Request-URI behind the last Route that stays, or into a Route of its own.
    fn append(&self, message: &Message<'_>, target: Span, edits: &mut Edits) {
        let stays = self.first < self.last;
        let (at, before, after): (usize, &[u8], &[u8]) = if stays {
            (self.values[self.last - 1].value.end as usize, b", <", b">")
        } else {
            (message.head, b"Route: <", b">\r\n")
        };
        edits.insert(at, |text| text.extend_from_slice(before));
        edits.replace_by_copy(Span::new(at, at), target);
        edits.insert(at, |text| text.extend_from_slice(after));
    }
}

fn uri_of(bytes: &[u8], value: Span) -> Result<Span, Fault> {
    NameAddr::parse(bytes, value).map(|address| address.uri).ok_or(Fault::Route)
}

/// `Some` if the URI is ours; inside it the text of its token, if it has one.
fn own_token(bytes: &[u8], uri: Span, addresses: &Addresses) -> Option<Option<Span>> {
    let uri = Uri::parse(bytes, uri)?;
    addresses
        .is_us(uri.host.of(bytes), uri.port_or_default())
        .then(|| uri.param(bytes, b"lb").and_then(|param| param.value))
}
