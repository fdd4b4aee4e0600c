//! Answers of our own: stateless (RFC 3261 16.3, 8.2.6), with a To tag by which we know the ACK.

use super::base64url::encode;
use super::reason::Answer;
use super::rewrite::{Edits, Output, push_number};
use super::sign::{Purpose, Signer, SigningKey};
use super::validate::Request;
use crate::sip::{Header, Message, NameAddr, Row, Span, Via, uri};
use std::net::{IpAddr, SocketAddr};

/// Short: a sender that takes it for everything of ours (RFC 3261 21.5.4 lets it) keeps back the BYEs
/// of its calls for no longer than this.
const RETRY_AFTER: &[u8] = b"Retry-After: 5\r\n";

/// `lb` and 8 bytes of signature.
const TAG_SIZE: usize = 13;

impl Answer {
    /// The status code; 0 for what is no SIP response.
    pub const fn status(self) -> u16 {
        match self {
            Answer::Options => 200,
            Answer::Pong | Answer::StunBinding => 0,
            Answer::BadRequest => 400,
            Answer::FlowForged => 403,
            Answer::BadExtension => 420,
            Answer::FlowGone => 430,
            Answer::NoBackend => 480,
            Answer::Loop => 482,
            Answer::TooManyHops => 483,
            Answer::Unresolvable | Answer::BackendFailed => 500,
            Answer::NoBackendLeft | Answer::Overloaded | Answer::Draining => 503,
            Answer::BadVersion => 505,
            Answer::TooLarge => 513,
        }
    }

    /// The reason phrase (RFC 3261 21, RFC 5626 11.3).
    const fn phrase(self) -> &'static str {
        match self {
            Answer::Options => "OK",
            Answer::Pong | Answer::StunBinding => "",
            Answer::BadRequest => "Bad Request",
            Answer::FlowForged => "Forbidden",
            Answer::BadExtension => "Bad Extension",
            Answer::FlowGone => "Flow Failed",
            Answer::NoBackend => "Temporarily Unavailable",
            Answer::Loop => "Loop Detected",
            Answer::TooManyHops => "Too Many Hops",
            Answer::Unresolvable => "Next Hop Is A Name",
            Answer::BackendFailed => "Server Internal Error",
            Answer::NoBackendLeft | Answer::Overloaded | Answer::Draining => "Service Unavailable",
            Answer::BadVersion => "Version Not Supported",
            Answer::TooLarge => "Message Too Large",
        }
    }
}

/// Where a request came from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Origin<'a> {
    pub(super) source: &'a SocketAddr,
    /// [`super::LocalSocket::force_rport`] of where it came in.
    pub(super) force_rport: bool,
}

/// What of the topmost Via must be written before anybody replies to it (RFC 3261 18.2.1, RFC 3581
/// 4): where it stands, and the text of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stamps<'a> {
    received: Option<(Span, bool)>,
    rport: Option<(Span, bool)>,
    source: &'a SocketAddr,
}

impl<'a> Stamps<'a> {
    /// `received` where the sent-by host is not the source address, or with `rport` always; what a
    /// sender wrote into either itself is overwritten. A place is told with whether it is empty yet.
    pub(super) fn new(bytes: &[u8], via: &Via, origin: Origin<'a>) -> Self {
        let Origin { source, force_rport } = origin;
        let end = Span { start: via.value.end, end: via.value.end };
        let rport = match via.rport {
            Some(param) => Some((param.whole, false)),
            None => force_rport.then_some((end, true)),
        };
        let differs = || uri::ip(via.host.of(bytes)) != Some(source.ip());
        let received = match via.received {
            Some(param) => Some((param.whole, false)),
            None if rport.is_some() || differs() => Some((end, true)),
            None => None,
        };
        Self { received, rport, source }
    }

    /// Where a reply to the stamped Via goes: back to the source address, to its port with `rport`
    /// and else to the sent-by port.
    pub(super) fn reply_address(&self, via: &Via) -> SocketAddr {
        let port = if self.rport.is_some() { self.source.port() } else { via.port.unwrap_or(5060) };
        SocketAddr::new(self.source.ip(), port)
    }

    /// Calls `edit` with each place to replace and what to put there, in no order.
    pub(super) fn each(&self, mut edit: impl FnMut(Span, &dyn Fn(&mut Vec<u8>))) {
        if let Some((span, new)) = self.rport {
            edit(span, &|text| {
                text.extend_from_slice(if new { b";rport=" } else { b"rport=" });
                push_number(text, self.source.port().into());
            });
        }
        if let Some((span, new)) = self.received {
            edit(span, &|text| {
                text.extend_from_slice(if new { b";received=" } else { b"received=" });
                push_ip(text, self.source);
            });
        }
    }
}

/// `ADDRESS:PORT`, an IPv6 address in brackets.
pub(super) fn push_address(text: &mut Vec<u8>, address: SocketAddr) {
    let brackets = address.is_ipv6();
    text.extend_from_slice(if brackets { b"[" } else { b"" });
    push_ip(text, &address);
    text.extend_from_slice(if brackets { b"]:" } else { b":" });
    push_number(text, address.port().into());
}

/// An address without brackets (RFC 5118 4.5). IPv4 by hand: the formatter takes a thousand
/// instructions.
fn push_ip(text: &mut Vec<u8>, source: &SocketAddr) {
    use std::io::Write;
    match source.ip() {
        IpAddr::V4(ip) => {
            for (place, octet) in ip.octets().into_iter().enumerate() {
                if place > 0 {
                    text.push(b'.');
                }
                push_number(text, octet.into());
            }
        }
        // Writing to a Vec cannot fail.
        IpAddr::V6(ip) => drop(write!(text, "{ip}")),
    }
}

/// The To tag of our answer to this request: the same for every repetition, known to us alone.
fn own_tag(key: &SigningKey, request: &OwnTag<'_>) -> [u8; TAG_SIZE] {
    let parts = [request.call_id, request.from_tag, &request.cseq.to_be_bytes(), request.branch];
    let signature = key.sign_parts(Purpose::ToTag, &parts).to_be_bytes();
    let mut tag = *b"lb...........";
    tag[2..].copy_from_slice(&encode::<8, 11>(&signature));
    tag
}

/// What the To tag of an own answer is made of; an ACK has it all (RFC 3261 17.1.1.3).
struct OwnTag<'a> {
    call_id: &'a [u8],
    from_tag: &'a [u8],
    cseq: u32,
    branch: &'a [u8],
}

/// Whether this ACK is for an answer of ours.
#[inline(never)]
pub(super) fn is_own_ack(signer: &Signer, request: &Request<'_>) -> bool {
    let Some(tag) = request.to_tag.filter(|tag| tag.len() == TAG_SIZE && tag.starts_with(b"lb"))
    else {
        return false;
    };
    let bytes = request.message.bytes;
    let made_of = OwnTag {
        call_id: request.call_id,
        from_tag: request.from_tag,
        cseq: request.cseq,
        branch: request.via.branch.map_or(&b""[..], |branch| branch.of(bytes)),
    };
    signer.keys().any(|key| own_tag(key, &made_of) == tag)
}

/// Writes an answer to the request in `message` (RFC 3261 8.2.6.2), which may break rules: what can
/// be read of it is enough, or `None`. `phrase` overrides the usual reason phrase; `edits` is room
/// to work in.
pub(super) fn write(
    signer: &Signer,
    message: &Message<'_>,
    origin: Origin<'_>,
    answer: Answer,
    phrase: Option<&str>,
    edits: &mut Edits,
    out: &mut [u8],
) -> Option<(SocketAddr, usize)> {
    let bytes = message.bytes;
    let via = message.top_via()?;
    let [to_row, from_row, call_id_row, cseq_row] =
        [Header::To, Header::From, Header::CallId, Header::CSeq]
            .map(|header| message.rows(header).next());
    let (to_row, from_row, call_id_row, cseq_row) = (to_row?, from_row?, call_id_row?, cseq_row?);
    let stamps = Stamps::new(bytes, &via, origin);

    let mut text = Output::new(out);
    text.push(b"SIP/2.0 ");
    text.push(&digits(answer.status()));
    text.push(b" ");
    text.push(phrase.unwrap_or(answer.phrase()).as_bytes());
    text.push(b"\r\n");
    edits.clear();
    stamps.each(|span, write| edits.replace(span, write));
    for row in message.rows(Header::Via) {
        let line = row.line.start as usize..row.line.end as usize;
        match line.contains(&(via.value.start as usize)) {
            true => edits.push(bytes, line, &mut text),
            false => text.push(row.line.of(bytes)),
        }
    }
    text.push(from_row.line.of(bytes));
    push_to(&mut text, signer, message, &to_row, &via);
    text.push(call_id_row.line.of(bytes));
    text.push(cseq_row.line.of(bytes));
    if answer == Answer::BadExtension {
        // RFC 3261 16.3 item 5: every option is unsupported.
        for row in message.rows(Header::ProxyRequire) {
            text.push(b"Unsupported: ");
            text.push(row.value.of(bytes));
            text.push(b"\r\n");
        }
    }
    if answer == Answer::Draining {
        text.push(RETRY_AFTER);
    }
    text.push(b"Server: sipring\r\nContent-Length: 0\r\n\r\n");
    Some((stamps.reply_address(&via), text.len()?))
}

fn digits(status: u16) -> [u8; 3] {
    let digit = |value: u16| b'0' + (value % 10) as u8;
    [digit(status / 100), digit(status / 10), digit(status)]
}

/// The To row, with a tag of ours if it has none.
fn push_to(text: &mut Output<'_>, signer: &Signer, message: &Message<'_>, row: &Row, via: &Via) {
    let bytes = message.bytes;
    let tagged = NameAddr::parse(bytes, row.value).is_some_and(|to| to.tag(bytes).is_some());
    if tagged {
        text.push(row.line.of(bytes));
        return;
    }
    let from = message.from().ok();
    let made_of = OwnTag {
        call_id: message.first(Header::CallId).map_or(b"", |value| value.of(bytes)),
        from_tag: from.and_then(|from| from.tag(bytes)).map_or(b"", |tag| tag.of(bytes)),
        cseq: message.cseq().map_or(0, |(number, _)| number),
        branch: via.branch.map_or(b"", |branch| branch.of(bytes)),
    };
    text.push(&bytes[row.line.start as usize..row.value.end as usize]);
    text.push(b";tag=");
    text.push(&own_tag(signer.current(), &made_of));
    text.push(b"\r\n");
}
