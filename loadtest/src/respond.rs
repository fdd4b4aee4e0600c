//! Answering a request as a user agent server does (RFC 3261 8.2.6, 18.2; RFC 3581).

use crate::message::{Message, param, via_address, via_port};
use std::fmt::Write;
use std::net::SocketAddr;

/// What is particular to one answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answer<'a> {
    /// Status code and reason phrase.
    pub(crate) status: &'a str,
    /// Put on the To where the request has none.
    pub(crate) to_tag: Option<&'a str>,
    /// Whole header lines, each with its CRLF.
    pub(crate) fields: &'a str,
    /// An SDP body, or nothing.
    pub(crate) body: &'a str,
}

/// The response to a request that came from `source`.
pub(crate) fn response(request: &Message<'_>, source: SocketAddr, answer: Answer<'_>) -> Vec<u8> {
    let mut text = String::with_capacity(1024);
    let _ = write!(text, "SIP/2.0 {}\r\n", answer.status);
    for (index, via) in request.values("via").enumerate() {
        let marked = if index == 0 { mark_source(via, source) } else { via.to_owned() };
        let _ = write!(text, "Via: {marked}\r\n");
    }
    // RFC 3261 12.1.1: every Record-Route value, in order, in responses that make a dialog.
    if request.cseq_method == "INVITE" {
        for row in request.rows("record-route") {
            let _ = write!(text, "Record-Route: {row}\r\n");
        }
    }
    let tag = answer.to_tag.filter(|_| param(request.to, "tag").is_none());
    let tag = tag.map(|tag| format!(";tag={tag}")).unwrap_or_default();
    let Message { from, to, call_id, cseq, cseq_method, .. } = request;
    let _ = write!(
        text,
        "From: {from}\r\nTo: {to}{tag}\r\nCall-ID: {call_id}\r\nCSeq: {cseq} {cseq_method}\r\n{}",
        answer.fields
    );
    if !answer.body.is_empty() {
        text.push_str("Content-Type: application/sdp\r\n");
    }
    let _ = write!(text, "Content-Length: {}\r\n\r\n{}", answer.body.len(), answer.body);
    text.into_bytes()
}

/// Where the response goes: `received` and `rport` are the source itself; without an `rport` the
/// port is that of sent-by (RFC 3261 18.2.2, RFC 3581 4).
pub(crate) fn reply_to(request: &Message<'_>, source: SocketAddr) -> SocketAddr {
    match param(request.via, "rport") {
        Some(_) => source,
        None => SocketAddr::new(source.ip(), via_port(request.via)),
    }
}

/// The topmost Via with `received` where sent-by is not the source, and a filled `rport`
/// (RFC 3261 18.2.1, RFC 3581 4).
fn mark_source(via: &str, source: SocketAddr) -> String {
    let mut marked = via.to_owned();
    let mut must_say = via_address(via).is_none_or(|sent_by| sent_by.ip() != source.ip());
    if param(via, "rport") == Some("") {
        must_say = true;
        let filled = format!("rport={}", source.port());
        let params = via.split(';').map(|part| match part.trim() {
            bare if bare.eq_ignore_ascii_case("rport") => &filled,
            _ => part,
        });
        marked = params.collect::<Vec<_>>().join(";");
    }
    if must_say && param(via, "received").is_none() {
        let _ = write!(marked, ";received={}", source.ip());
    }
    marked
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(via: &str) -> String {
        format!(
            "INVITE sip:b@h SIP/2.0\r\nVia: {via}\r\nVia: SIP/2.0/UDP a.example;branch=z9hG4bK2\r\n\
             Record-Route: <sip:r1;lr>,<sip:r2;lr>\r\nFrom: <sip:a@h>;tag=aa\r\nTo: <sip:b@h>\r\n\
             Call-ID: c\r\nCSeq: 1 INVITE\r\n\r\n"
        )
    }

    fn answered(via: &str, source: &str) -> (String, SocketAddr) {
        let text = request(via);
        let message = Message::parse(text.as_bytes()).unwrap();
        let source = source.parse().unwrap();
        let answer = Answer { status: "200 OK", to_tag: Some("t"), fields: "", body: "" };
        let bytes = response(&message, source, answer);
        (String::from_utf8(bytes).unwrap(), reply_to(&message, source))
    }

    // RFC 3581 4.
    #[test]
    fn an_empty_rport_is_filled_and_used() {
        let (text, to) = answered("SIP/2.0/UDP 127.0.0.1:70;rport;branch=z9hG4bK1", "127.0.0.1:99");
        assert!(text.contains(
            "Via: SIP/2.0/UDP 127.0.0.1:70;rport=99;branch=z9hG4bK1;received=127.0.0.1\r\n"
        ));
        assert_eq!(to, "127.0.0.1:99".parse().unwrap());
    }

    // RFC 3261 18.2.1, 18.2.2.
    #[test]
    fn without_rport_the_answer_goes_to_the_port_of_sent_by() {
        let via = "SIP/2.0/UDP 127.0.0.1:70;branch=z9hG4bK1";
        let (text, to) = answered(via, "127.0.0.1:99");
        assert!(text.contains(&format!("Via: {via}\r\n")), "{text}");
        assert_eq!(to, "127.0.0.1:70".parse().unwrap());
        let (text, to) = answered("SIP/2.0/UDP host:70;branch=z9hG4bK1", "[::1]:99");
        assert!(text.contains("branch=z9hG4bK1;received=::1\r\n"), "{text}");
        assert_eq!(to, "[::1]:70".parse().unwrap());
    }

    // RFC 3261 8.2.6.2, 12.1.1.
    #[test]
    fn the_answer_copies_what_it_must() {
        let (text, _) = answered("SIP/2.0/UDP 127.0.0.1:70;branch=z9hG4bK1", "127.0.0.1:70");
        for line in [
            "Via: SIP/2.0/UDP a.example;branch=z9hG4bK2\r\n",
            "Record-Route: <sip:r1;lr>,<sip:r2;lr>\r\n",
            "From: <sip:a@h>;tag=aa\r\n",
            "To: <sip:b@h>;tag=t\r\n",
            "Call-ID: c\r\n",
            "CSeq: 1 INVITE\r\n",
            "Content-Length: 0\r\n\r\n",
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
    }
}
