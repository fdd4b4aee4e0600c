//! RFC 3261 16.3: is this request fit to be forwarded, and what of it do the later steps need?

use super::pin::{PinKey, PinTable};
use super::reason::Method;
use super::sign::{Call, Signer};
use crate::sip::{Fault, Header, Message, Row, Span, Start, Uri, Via, number};

impl Method {
    /// The method of this name; [`Method::Other`] for all that we do not know.
    pub fn of(name: &[u8]) -> Self {
        match name {
            b"ACK" => Method::Ack,
            b"BYE" => Method::Bye,
            b"CANCEL" => Method::Cancel,
            b"INVITE" => Method::Invite,
            b"MESSAGE" => Method::Message,
            b"NOTIFY" => Method::Notify,
            b"OPTIONS" => Method::Options,
            b"PUBLISH" => Method::Publish,
            b"REFER" => Method::Refer,
            b"REGISTER" => Method::Register,
            b"SUBSCRIBE" => Method::Subscribe,
            _ => Method::Other,
        }
    }

    /// Whether it is mostly sent to begin something: how a backend answers it tells how it takes what
    /// is new. (A re-INVITE and a refresh look alike in their responses.)
    pub(super) fn begins(self) -> bool {
        match self {
            Method::Invite | Method::Message | Method::Options => true,
            Method::Publish | Method::Register | Method::Subscribe => true,
            Method::Ack | Method::Bye | Method::Cancel => false,
            Method::Notify | Method::Refer | Method::Other => false,
        }
    }

    /// Whether the requests of a dialog that this method may begin should come back through us.
    /// Unknown methods may begin one (RFC 3261 16.6 item 4).
    pub(super) fn may_begin_dialog(self) -> bool {
        matches!(
            self,
            Method::Invite | Method::Notify | Method::Subscribe | Method::Refer | Method::Other
        )
    }
}

/// What of a request is found before it is checked: its pin is in no cache, and comes while the rest is
/// read.
pub(super) struct Preview<'a> {
    message: &'a Message<'a>,
    pin_key: Option<PinKey>,
    /// The topmost Via.
    via: Option<Via>,
    /// The Request-URI, where it is of a scheme that we read.
    uri: Option<Uri>,
}

impl<'a> Preview<'a> {
    #[inline(always)]
    pub(super) fn of(message: &'a Message<'a>, pins: &PinTable) -> Self {
        let call_id = message.call_id().ok();
        let pin_key = call_id.map(|call_id| pins.key(call_id.of(message.bytes)));
        if let Some(key) = pin_key {
            pins.fetch(key);
        }
        let uri = match message.start {
            Start::Request { uri, .. } => Uri::parse(message.bytes, uri),
            Start::Response { .. } => None,
        };
        Self { message, pin_key, via: message.top_via(), uri }
    }
}

/// A request that keeps the rules of 16.3, with what forwarding needs of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Request<'a> {
    pub(super) message: &'a Message<'a>,
    pub(super) method: Method,
    pub(super) uri: Span,
    /// The Request-URI read, where it is of a scheme that we read.
    pub(super) sip_uri: Option<&'a Uri>,
    pub(super) via: &'a Via,
    /// There is no Via but the topmost: the request has met no proxy yet.
    pub(super) lone_via: bool,
    pub(super) call_id: &'a [u8],
    /// The Call-ID, as signatures cover it.
    pub(super) call: Call<'a>,
    /// The Call-ID, as its pin is found.
    pub(super) pin_key: PinKey,
    pub(super) cseq: u32,
    /// Empty where there is none (RFC 2543).
    pub(super) from_tag: &'a [u8],
    pub(super) to_tag: Option<&'a [u8]>,
    /// Where Max-Forwards stands and its number.
    pub(super) max_forwards: Option<(Span, u32)>,
    /// Where the message ends; a datagram's excess is beyond it.
    pub(super) end: usize,
}

impl<'a> Request<'a> {
    /// Checks a request.
    pub(super) fn new(preview: &'a Preview<'a>, signer: &Signer) -> Result<Self, Fault> {
        let message = preview.message;
        let Start::Request { method, uri, fault } = message.start else {
            return Err(Fault::RequestLine);
        };
        if let Some(fault) = fault {
            return Err(fault);
        }
        let bytes = message.bytes;
        let sip_uri = preview.uri.as_ref();
        if !may_be_request_uri(bytes, uri, sip_uri) {
            return Err(Fault::RequestLine);
        }
        let via = preview.via.as_ref().ok_or(Fault::Via)?;
        let lone_via = message.only(Header::Via) == Some(via.value);
        if !lone_via && has_empty_via(message) {
            return Err(Fault::Via);
        }
        let call_id = message.call_id()?.of(bytes);
        let pin_key = preview.pin_key.ok_or(Fault::CallId)?;
        let (cseq, cseq_method) = message.cseq()?;
        if cseq_method.of(bytes) != method.of(bytes) {
            return Err(Fault::CSeqMethod);
        }
        let from_tag = message.from_tag()?.map_or(&b""[..], |tag| tag.of(bytes));
        let to_tag = message.to_tag()?.map(|tag| tag.of(bytes));
        let (max_forwards, end) = (max_forwards(message)?, message.end()?);
        Ok(Self {
            message,
            method: Method::of(method.of(bytes)),
            uri,
            sip_uri,
            via,
            lone_via,
            call_id,
            call: Call::signed(call_id, signer),
            pin_key,
            cseq,
            from_tag,
            to_tag,
            max_forwards,
            end,
        })
    }

    /// RFC 3261 16.3 item 5: we support no option that a Proxy-Require could ask for. ACK and
    /// CANCEL cannot be refused for it (8.2.2.3).
    pub(super) fn requires_of_proxies(&self) -> bool {
        !matches!(self.method, Method::Ack | Method::Cancel)
            && self.message.count(Header::ProxyRequire) > 0
            && has_option(self.message)
    }

    /// Whether the request carries one of these fields that name another dialog: the Call-ID in
    /// it (RFC 3891, RFC 3911, RFC 4538: first in the value, before any parameter).
    pub(super) fn named_dialog(&self) -> Option<Span> {
        [Header::Replaces, Header::Join, Header::TargetDialog]
            .into_iter()
            .find_map(|header| self.message.only(header))
            .and_then(|value| call_id_of(self.message.bytes, value))
    }

    /// `Supported: path` (RFC 3327 5.1), in any case (RFC 3261 7.3.1).
    pub(super) fn supports_path(&self) -> bool {
        let bytes = self.message.bytes;
        self.message
            .values(Header::Supported)
            .any(|(_, value): (Row, Span)| value.of(bytes).eq_ignore_ascii_case(b"path"))
    }
}

/// RFC 3261 19.1.1: a SIP URI must be one, and a Request-URI has no headers: passed on, they could
/// pass for ours (RFC 4475 3.1.2.11, RFC 5118 4.2). Other schemes are the backends' to judge.
#[inline]
pub(super) fn may_be_request_uri(bytes: &[u8], span: Span, read: Option<&Uri>) -> bool {
    match read {
        Some(uri) => uri.params.end == span.end,
        None => !Uri::claims_sip(span.of(bytes)),
    }
}

/// Up to the first parameter.
#[inline(never)]
fn call_id_of(bytes: &[u8], value: Span) -> Option<Span> {
    let text = value.of(bytes);
    let end = text.iter().position(|byte| matches!(byte, b';' | b' ' | b'\t' | b'\r' | b'\n'));
    let start = value.start as usize;
    let call_id = Span::new(start, start + end.unwrap_or(text.len()));
    (!call_id.is_empty()).then_some(call_id)
}

#[inline(never)]
fn has_option(message: &Message<'_>) -> bool {
    message.rows(Header::ProxyRequire).any(|row| !row.value.is_empty())
}

#[inline(never)]
fn has_empty_via(message: &Message<'_>) -> bool {
    message.values(Header::Via).any(|(_, value)| value.is_empty())
}

/// RFC 3261 20.22: 0 to 255.
#[inline(always)]
fn max_forwards(message: &Message<'_>) -> Result<Option<(Span, u32)>, Fault> {
    if message.count(Header::MaxForwards) == 0 {
        return Ok(None);
    }
    let value = message.only(Header::MaxForwards).ok_or(Fault::MaxForwards)?;
    let hops = number(value.of(message.bytes), 255).ok_or(Fault::MaxForwards)?;
    Ok(Some((value, hops)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::pin::Idle;
    use crate::proxy::{Key, Keys};

    fn fault(uri: &str, extra: &str) -> Option<Fault> {
        let text = format!(
            "OPTIONS {uri} SIP/2.0\r\nVia: SIP/2.0/UDP a.example\r\n{extra}From: <sip:a@b>;tag=1\r\n\
             To: <sip:b@c>\r\nCall-ID: i\r\nCSeq: 1 OPTIONS\r\n\r\n"
        );
        let key = Key { number: 0, bytes: [0; 16] };
        let signer = Signer::new(&Keys { current: key, previous: None });
        let pins = PinTable::new(1, Idle { registration_s: 1, dialog_s: 1 }, [0; 4]);
        let message = Message::parse(text.as_bytes()).expect("a request line");
        Request::new(&Preview::of(&message, &pins), &signer).err()
    }

    #[test]
    fn a_sip_request_uri_can_be_read_and_has_no_headers() {
        for uri in ["sip:a", "sips:u?ser@[::1]:5061;lr", "sip:u@a;x=%3F", "tel:+1?x", "x:2001::1"] {
            assert_eq!(fault(uri, ""), None, "{uri}");
        }
        for uri in ["sip:a?Route=%3Csip:b%3E", "sip:a;lr?", "sip:2001:db8::10", "sip:[::1", "SIP:@"]
        {
            assert_eq!(fault(uri, ""), Some(Fault::RequestLine), "{uri}");
        }
    }

    #[test]
    fn no_via_value_is_empty() {
        // RFC 4475 3.1.2.1: the response would lose its way behind us
        for extra in ["Via: a,b\r\nv: c\r\n", "Via: SIP/2.0/UDP b;;\r\n", ""] {
            assert_eq!(fault("sip:a", extra), None, "{extra}");
        }
        for extra in ["Via: a,,b\r\n", "Via: ,\r\n", "Via: a\r\nv: b,\r\n"] {
            assert_eq!(fault("sip:a", extra), Some(Fault::Via), "{extra}");
        }
    }
}
