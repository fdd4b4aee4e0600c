//! One side's view of a dialog (RFC 3261 12): who, where to, and through whom.

use crate::message::{Message, Start, param, uri, uri_address};
use std::fmt::Write;
use std::net::SocketAddr;

/// What in-dialog requests are made from.
#[derive(Clone, Debug)]
pub(crate) struct Dialog {
    call_id: String,
    /// Our From, with our tag.
    local: String,
    /// Our To, with the peer's tag.
    remote: String,
    /// The peer's Contact URI.
    target: String,
    /// The Route values, in the order in which they are sent.
    routes: Vec<String>,
}

impl Dialog {
    /// The caller's side, from a response with a To tag: Record-Route reversed (12.1.2). `None`
    /// without a Contact or a To tag.
    pub(crate) fn of_caller(response: &Message<'_>) -> Option<Self> {
        param(response.to, "tag")?;
        let mut routes = routes(response);
        routes.reverse();
        Some(Self {
            call_id: response.call_id.to_owned(),
            local: response.from.to_owned(),
            remote: response.to.to_owned(),
            target: target(response)?,
            routes,
        })
    }

    /// The callee's side, from the INVITE: Record-Route in its order (12.1.1). `None` without a
    /// Contact or a From tag.
    pub(crate) fn of_callee(invite: &Message<'_>, tag: &str) -> Option<Self> {
        param(invite.from, "tag")?;
        Some(Self {
            call_id: invite.call_id.to_owned(),
            local: format!("{};tag={tag}", invite.to),
            remote: invite.from.to_owned(),
            target: target(invite)?,
            routes: routes(invite),
        })
    }

    /// True if a message of the peer is of this call and has the peer's tag of this dialog.
    pub(crate) fn is_of(&self, message: &Message<'_>) -> bool {
        let peer = match message.start {
            Start::Request { .. } => message.from,
            Start::Response { .. } => message.to,
        };
        message.call_id == self.call_id && param(peer, "tag") == param(&self.remote, "tag")
    }

    /// True if a request of the peer belongs to this dialog by its tags (12.2.2).
    pub(crate) fn holds(&self, request: &Message<'_>) -> bool {
        param(request.from, "tag") == param(&self.remote, "tag")
            && param(request.to, "tag") == param(&self.local, "tag")
    }

    /// True if a response carries the peer's tag of this dialog.
    pub(crate) fn answered_by(&self, response: &Message<'_>) -> bool {
        param(response.to, "tag") == param(&self.remote, "tag")
    }

    /// Where the route set, or without one the peer's Contact, says that requests go; `None` if
    /// that is a name: nothing is looked up here.
    pub(crate) fn next_hop(&self) -> Option<SocketAddr> {
        match self.routes.first() {
            Some(route) => uri_address(uri(route)),
            None => uri_address(&self.target),
        }
    }

    /// A request in this dialog. The route set is taken to be of loose routers (12.2.1.1).
    pub(crate) fn request(&self, method: &str, cseq: u32, via: &str, agent: &str) -> Vec<u8> {
        let mut text = format!("{method} {} SIP/2.0\r\n{via}Max-Forwards: 70\r\n", self.target);
        for route in &self.routes {
            let _ = write!(text, "Route: {route}\r\n");
        }
        let Self { call_id, local, remote, .. } = self;
        let _ = write!(
            text,
            "From: {local}\r\nTo: {remote}\r\nCall-ID: {call_id}\r\nCSeq: {cseq} {method}\r\n\
             User-Agent: {agent}\r\nContent-Length: 0\r\n\r\n"
        );
        text.into_bytes()
    }
}

fn routes(message: &Message<'_>) -> Vec<String> {
    message.values("record-route").map(str::to_owned).collect()
}

fn target(message: &Message<'_>) -> Option<String> {
    message.values("contact").next().map(|contact| uri(contact).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(start: &str, to_tag: &str) -> String {
        format!(
            "{start}\r\nVia: SIP/2.0/UDP 127.0.0.1:7;branch=z9hG4bKx\r\nFrom: <sip:a@h>;tag=aa\r\n\
             To: <sip:b@h>{to_tag}\r\nCall-ID: c\r\nCSeq: 1 INVITE\r\n\
             Record-Route: <sip:127.0.0.1:1;lr>, <sip:127.0.0.1:2;lr>\r\n\
             Record-Route: <sip:127.0.0.1:3;lr>\r\nContact: \"B\" <sip:b@127.0.0.9:9>;q=1\r\n\r\n"
        )
    }

    fn ports(request: &[u8]) -> Vec<u16> {
        let request = Message::parse(request).unwrap();
        request.values("route").map(|route| uri_address(uri(route)).unwrap().port()).collect()
    }

    // RFC 3261 12.1.2.
    #[test]
    fn the_caller_reverses_the_record_routes() {
        let text = message("SIP/2.0 200 OK", ";tag=bb");
        let dialog = Dialog::of_caller(&Message::parse(text.as_bytes()).unwrap()).unwrap();
        let bye = dialog.request("BYE", 2, "Via: SIP/2.0/UDP h;branch=z9hG4bKy\r\n", "test");
        assert_eq!(ports(&bye), [3, 2, 1]);
        assert_eq!(dialog.next_hop(), Some("127.0.0.1:3".parse().unwrap()));
        let bye = Message::parse(&bye).unwrap();
        assert_eq!((bye.from, bye.to), ("<sip:a@h>;tag=aa", "<sip:b@h>;tag=bb"));
        assert!(matches!(
            bye.start,
            crate::message::Start::Request { method: "BYE", uri: "sip:b@127.0.0.9:9" }
        ));
    }

    // RFC 3261 12.1.1.
    #[test]
    fn the_callee_keeps_the_order_of_the_record_routes() {
        let text = message("INVITE sip:b@h SIP/2.0", "");
        let dialog = Dialog::of_callee(&Message::parse(text.as_bytes()).unwrap(), "bb").unwrap();
        let bye = dialog.request("BYE", 1, "Via: SIP/2.0/UDP h;branch=z9hG4bKy\r\n", "test");
        assert_eq!(ports(&bye), [1, 2, 3]);
        let bye = Message::parse(&bye).unwrap();
        assert_eq!((bye.from, bye.to), ("<sip:b@h>;tag=bb", "<sip:a@h>;tag=aa"));
        assert!(!dialog.holds(&bye), "a request of our own is none of the peer's");
    }

    #[test]
    fn without_a_tag_there_is_no_dialog() {
        let text = message("SIP/2.0 200 OK", "");
        assert!(Dialog::of_caller(&Message::parse(text.as_bytes()).unwrap()).is_none());
    }
}
