//! The messages that the benches push, and a shard for each of them to go through.

#[allow(dead_code)] // shared with the core's tests, which use all of it
#[path = "../../tests/core/world.rs"]
pub(crate) mod world;

use sipring::proxy::{Ingress, Replaced, SocketIndex, Verdict};
use world::{LISTENER, Outcome, PORT, World, address, response, routes_of_caller, rows};

pub(crate) const CLIENT: &str = "192.0.2.9:40000";

/// Of the callee.
pub(crate) const CONTACT: &str = "Contact: <sip:bob@10.1.0.1:5060>\r\n";

/// What a phone sends: 1 KB with its SDP. `{ID}` is eight digits of the Call-ID.
const INVITE: &str = "\
INVITE sip:+49301234567@sip.example.com;user=phone SIP/2.0\r
Via: SIP/2.0/UDP 192.168.178.21:5060;rport;branch=z9hG4bK6a7b1f0c9d\r
Max-Forwards: 70\r
From: \"Alice Example\" <sip:alice@sip.example.com>;tag=as58f4201b\r
To: <sip:+49301234567@sip.example.com;user=phone>\r
Contact: <sip:alice@192.168.178.21:5060;transport=udp>\r
Call-ID: 3c26700857a8-{ID}@192.168.178.21\r
CSeq: 102 INVITE\r
User-Agent: Example Phone 8.9.3 (Build 20250114; Hardware Revision 2)\r
Allow: INVITE, ACK, CANCEL, OPTIONS, BYE, REFER, SUBSCRIBE, NOTIFY, INFO, PUBLISH, MESSAGE\r
Supported: replaces, timer, path, 100rel\r
Session-Expires: 1800;refresher=uac\r
Content-Type: application/sdp\r
Content-Length: 298\r
\r
v=0\r
o=alice 1736850012 1736850012 IN IP4 192.168.178.21\r
s=Example Phone\r
c=IN IP4 192.168.178.21\r
t=0 0\r
m=audio 17214 RTP/AVP 9 8 0 101\r
a=rtpmap:9 G722/8000\r
a=rtpmap:8 PCMA/8000\r
a=rtpmap:0 PCMU/8000\r
a=rtpmap:101 telephone-event/8000\r
a=fmtp:101 0-16\r
a=ptime:20\r
a=maxptime:150\r
a=sendrecv\r
";

/// Call-IDs before the first comes again, a day later: by then its pin has expired.
const CALLS: u32 = 1 << 16;

const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// One message and the shard that it goes through.
pub(crate) struct Case {
    world: World,
    ingress: Ingress,
    pub(crate) message: Vec<u8>,
    out: Vec<u8>,
    /// Where the eight digits of the Call-ID stand, and the last ones used.
    id_at: usize,
    id: u32,
}

impl Case {
    pub(crate) fn new(mut world: World, from: &str, socket: SocketIndex, message: String) -> Self {
        world.now = world.now.after_ms(DAY_MS);
        let ingress = Ingress { source: address(from), socket, replaced: Replaced::Unasked };
        let id_at = message.find("a8-").map_or(0, |at| at + 3);
        let message = message.into_bytes();
        let mut case = Self { world, ingress, message, out: vec![0; 65_535], id_at, id: 0 };
        // Tables and buffers as after a while.
        for _ in 0..3 {
            let verdict = case.handle();
            assert!(matches!(verdict, Verdict::Forward { .. }), "{verdict:?}");
        }
        case
    }

    pub(crate) fn world() -> World {
        let mut settings = world::settings();
        settings.pins_max = 2 * CALLS as usize;
        World::with(settings, world::backends())
    }

    pub(crate) fn invite_text() -> String {
        let text = INVITE.replace("{ID}", "00000000");
        let body = text.split("\r\n\r\n").nth(1).map_or(0, str::len);
        assert!(text.contains(&format!("Content-Length: {body}\r\n")), "{body} bytes of SDP");
        text
    }

    /// An INVITE whose Call-ID has its pin: a retransmission.
    pub(crate) fn invite() -> Self {
        Self::new(Self::world(), CLIENT, LISTENER, Self::invite_text())
    }

    /// A re-INVITE by token, as the caller sends it.
    pub(crate) fn in_dialog() -> Self {
        let mut world = Self::world();
        let invite = world.push(CLIENT, LISTENER, Self::invite_text());
        let routes = routes_of_caller(&response(&invite.text(), "200 OK", "bob", ""));
        let text = Self::invite_text()
            .replace("user=phone>\r\nContact", "user=phone>;tag=bob\r\nContact")
            .replace("CSeq: 102 ", "CSeq: 103 ")
            .replace("CSeq:", &format!("{routes}CSeq:"));
        Self::new(world, CLIENT, LISTENER, text)
    }

    /// The 200 to the INVITE, with SDP.
    pub(crate) fn ok() -> Self {
        let mut world = Self::world();
        let invite = world.push(CLIENT, LISTENER, Self::invite_text());
        Self::new(world, "10.1.0.1:5060", PORT, ok_with_sdp(&invite.text()))
    }

    /// Another Call-ID, which no pin holds: a new call.
    pub(crate) fn next_call(&mut self) {
        self.id += 1;
        if self.id == CALLS {
            self.id = 0;
            self.world.now = self.world.now.after_ms(DAY_MS);
        }
        let mut rest = self.id;
        for place in self.message[self.id_at..self.id_at + 8].iter_mut().rev() {
            *place = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
    }

    /// Another message through the same shard.
    #[allow(dead_code)] // not of all benches
    pub(crate) fn push(&mut self, from: &str, socket: SocketIndex, message: &str) -> Outcome {
        self.world.push(from, socket, message)
    }

    /// The message, once through the shard.
    pub(crate) fn handle(&mut self) -> Verdict {
        let World { proxy, pool, now, .. } = &mut self.world;
        proxy.handle(*now, pool, &self.ingress, &self.message, &mut self.out)
    }
}

/// What the callee answers to the INVITE that it got.
pub(crate) fn ok_with_sdp(invite: &str) -> String {
    let body = invite.split("\r\n\r\n").nth(1).unwrap_or("");
    let ok = response(invite, "200 OK", "bob", CONTACT);
    let length = format!("Content-Length: {}\r\n\r\n{body}", body.len());
    ok.replace("Content-Length: 0\r\n\r\n", &length)
}

/// A request of the caller, without a body, within the dialog that `ok` began.
#[allow(dead_code)] // not of all benches
pub(crate) fn within_dialog(method: &str, cseq: u32, ok: &str) -> String {
    let [from, to, call_id] = ["From", "To", "Call-ID"].map(|name| rows(ok, name).remove(0));
    let routes = routes_of_caller(ok);
    format!(
        "{method} sip:bob@10.1.0.1:5060 SIP/2.0\r\nVia: SIP/2.0/UDP 192.168.178.21:5060;rport;\
         branch=z9hG4bK5d0{cseq}{method}\r\nMax-Forwards: 70\r\n{routes}From: {from}\r\nTo: {to}\r\n\
         Call-ID: {call_id}\r\nCSeq: {cseq} {method}\r\nUser-Agent: Example Phone 8.9.3 (Build \
         20250114; Hardware Revision 2)\r\nContent-Length: 0\r\n\r\n"
    )
}
