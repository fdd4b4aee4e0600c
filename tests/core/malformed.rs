//! No datagram makes the core panic or write past its buffer: every prefix and every single-byte
//! change of good messages, and every size of the output buffer.

use crate::world::{
    LISTENER, PORT, Request, World, address, response, routes_of_callee, routes_of_caller,
};
use sipring::proxy::{Forwarded, Ingress, Replaced, SocketIndex, Verdict};
use std::panic::{AssertUnwindSafe, catch_unwind};

const CLIENT: &str = "192.0.2.9:40000";
const BACKEND: &str = "10.1.0.1:5060";

/// What a byte is changed to: separators, quotes, edges of digits and of ASCII.
const NASTY: &[u8] = b"\0\r\n \t:,;\"<>%@=/[]\\09-\x80\xff";

/// A good message, and where it comes in.
struct Good {
    name: &'static str,
    from: &'static str,
    socket: SocketIndex,
    bytes: Vec<u8>,
}

/// Each kind of message that the core treats in its own way, with all that it reads.
fn good_messages() -> Vec<Good> {
    let mut world = World::new();
    let body = "v=0\r\no=- 1 1 IN IP4 192.0.2.9\r\ns=-\r\nc=IN IP4 192.0.2.9\r\nt=0 0\r\n";
    let extra = "Record-Route: <sip:edge.example;lr>\r\nSupported: path, 100rel\r\nContact: \
                 \"A, B\" <sip:alice@192.0.2.9:5062>;q=0.5\r\n";
    let invite = Request { extra, body, ..Default::default() };
    let sent = world.push(CLIENT, LISTENER, invite.to_string());
    let ok = response(&sent.text(), "200 OK", "bob-1", "Contact: <sip:bob@10.1.0.1>\r\n");
    let to_backend = routes_of_caller(&ok) + "Route: <sip:p1.example;lr>, <sip:p2.example>\r\n";
    let to_client = routes_of_callee(&sent.text());
    let in_dialog = |method: &'static str, extra| Request {
        method,
        to_tag: "bob-1",
        cseq: 2,
        extra,
        body,
        ..Default::default()
    };
    let good = |name, from, socket, text: String| Good { name, from, socket, bytes: text.into() };
    let client = |name, request: Request<'_>| good(name, CLIENT, LISTENER, request.to_string());
    let joined = "SIP/2.0/UDP a.example:5062 ;branch=z9hG4bK1 ;rport ;received=192.0.2.1 ,\r\n \
                  SIP/2.0/TCP [2001:db8::1]:5060;branch=z9hG4bK2";
    vec![
        client("INVITE", Request { via: joined, extra, body, ..Default::default() }),
        client(
            "INVITE with Replaces",
            Request { extra: "Replaces: other;to-tag=1;from-tag=2\r\n", ..Default::default() },
        ),
        client("INVITE in its dialog", in_dialog("INVITE", &to_backend)),
        client("ACK", in_dialog("ACK", &to_backend)),
        client("CANCEL", Request { method: "CANCEL", ..Default::default() }),
        client("REGISTER", Request { method: "REGISTER", extra, ..Default::default() }),
        client(
            "OPTIONS to us",
            Request {
                method: "OPTIONS",
                uri: "sip:lb.example.com;maddr=10.0.0.1",
                ..Default::default()
            },
        ),
        client(
            "through a strict router, and to our maddr",
            Request {
                method: "BYE",
                uri: "sip:10.0.0.1:5070;maddr=10.0.0.1;lb=x",
                extra: "Route: <sip:p1.example;lr>, <sip:bob@10.99.0.1>\r\n",
                ..Default::default()
            },
        ),
        client("refused", Request { extra: "Proxy-Require: a, b\r\n", ..Default::default() }),
        good("BYE of the callee", BACKEND, LISTENER, in_dialog("BYE", &to_client).to_string()),
        good("response", BACKEND, PORT, ok),
        good(
            "response with joined Vias",
            BACKEND,
            PORT,
            response(&sent.text(), "183 Session Progress", "bob-1", "").replacen(
                "\r\nVia: SIP/2.0/UDP 192",
                " ,\r\n\tSIP/2.0/UDP 192",
                1,
            ),
        ),
    ]
}

/// Pushes datagrams into a shard, takes panics as findings, and names them all at the end.
struct Prober {
    world: World,
    out: Vec<u8>,
    found: Vec<String>,
    pushed: usize,
}

impl Prober {
    fn new() -> Self {
        Self { world: World::new(), out: vec![0; 8192], found: Vec::new(), pushed: 0 }
    }

    /// One datagram with `room` bytes to write into. `what` names it in the report.
    fn push(
        &mut self,
        good: &Good,
        bytes: &[u8],
        room: usize,
        what: impl Fn() -> String,
    ) -> Option<Verdict> {
        let ingress = Ingress {
            source: address(good.from),
            socket: good.socket,
            replaced: Replaced::Answered(None),
        };
        self.pushed += 1;
        let World { proxy, pool, now, .. } = &mut self.world;
        let out = &mut self.out[..room];
        let handled =
            catch_unwind(AssertUnwindSafe(|| proxy.handle(*now, pool, &ingress, bytes, out)));
        let wrong = match handled {
            Err(_) => {
                self.world = World::new();
                "panics".to_owned()
            }
            Ok(verdict) => match violation(verdict, &self.out[..room]) {
                None => return Some(verdict),
                Some(violation) => violation,
            },
        };
        self.found.push(format!("{} {}: {wrong}", good.name, what()));
        None
    }

    #[track_caller]
    fn report(self) {
        let shown = &self.found[..self.found.len().min(100)];
        assert!(
            self.found.is_empty(),
            "{} of {} datagrams:\n{}",
            self.found.len(),
            self.pushed,
            shown.join("\n")
        );
    }
}

/// What must hold of whatever leaves, however broken that which came in.
fn violation(verdict: Verdict, out: &[u8]) -> Option<String> {
    let (Verdict::Forward { len, .. } | Verdict::Reply { len, .. }) = verdict else { return None };
    if len > out.len() {
        return Some(format!("{len} bytes in a buffer of {}", out.len()));
    }
    let first_row = out[..len].split(|byte| *byte == b'\n').nth(1).unwrap_or(b"");
    match verdict {
        Verdict::Forward { kind: Forwarded::Response { .. }, .. } => None,
        Verdict::Forward { .. } if !first_row.starts_with(b"Via: SIP/2.0/UDP 10.0.0.1:") => {
            Some("forwarded without our Via on top".to_owned())
        }
        Verdict::Reply { .. } if !out.starts_with(b"SIP/2.0 ") && len != 2 => {
            Some("answered with something else than a response".to_owned())
        }
        _ => None,
    }
}

#[test]
fn the_good_messages_are_good() {
    for good in good_messages() {
        let mut prober = Prober::new();
        let verdict = prober.push(&good, &good.bytes, 8192, || "itself".to_owned());
        prober.report();
        let answered = matches!(good.name, "OPTIONS to us" | "refused");
        match verdict {
            Some(Verdict::Reply { .. }) if answered => {}
            Some(Verdict::Forward { .. }) if !answered => {}
            other => panic!("{}: {other:?}\n{}", good.name, String::from_utf8_lossy(&good.bytes)),
        }
    }
}

#[test]
fn a_request_uri_that_goes_loses_no_maddr_first() {
    // RFC 3261 16.4, 16.6 item 6: both changes at one place would garble the request line
    for (uri, route, wanted) in [
        ("sip:10.0.0.1;maddr=10.0.0.1;lb=x", "<sip:bob@10.99.0.1>", "sip:bob@10.99.0.1"),
        ("sip:bob@a.example;maddr=10.0.0.1", "<sip:strict.example>", "sip:strict.example"),
        ("sip:bob@a.example:5070;maddr=10.0.0.1", "<sip:p.example;lr>", "sip:bob@a.example"),
    ] {
        let extra = format!("Route: {route}\r\n");
        let request = Request { method: "BYE", uri, extra: &extra, ..Default::default() };
        let sent = World::new().push(CLIENT, LISTENER, request.to_string()).text();
        assert_eq!(sent.lines().next(), Some(format!("BYE {wanted} SIP/2.0").as_str()), "{sent}");
    }
}

#[test]
fn a_route_that_does_not_fit_a_request_line_never_gets_there() {
    // RFC 3261 7.1, 16.4, 16.6 item 6: a fold in it would begin a row of the sender's choice
    for route in
        ["<sip:10.9.9.9\r\n Evil: x>", "<sip:10.9.9.9\t:5060>", "<sip:a?Route=b>", "<sip:[::1>"]
    {
        for uri in ["sip:bob@a.example", "sip:10.0.0.1;lb=x"] {
            let extra = format!("Route: {route}\r\n");
            let request = Request { method: "BYE", uri, extra: &extra, ..Default::default() };
            let outcome = World::new().push(CLIENT, LISTENER, request.to_string());
            match outcome.verdict {
                Verdict::Reply { answer, .. } => assert_eq!(answer.status(), 400, "{route}"),
                // What is no SIP URI is nothing that we could strip or follow: it stays a Route.
                Verdict::Forward { .. } => assert!(outcome.text().starts_with("BYE sip:bob@a.")),
                other => panic!("{other:?} for {route} and {uri}"),
            }
        }
    }
}

#[test]
fn no_prefix_of_a_good_message_does_harm() {
    let mut prober = Prober::new();
    for good in good_messages() {
        for len in 0..good.bytes.len() {
            prober.push(&good, &good.bytes[..len], 8192, || format!("cut to {len}"));
        }
    }
    prober.report();
}

#[test]
fn no_single_byte_of_a_good_message_does_harm() {
    let mut prober = Prober::new();
    for good in good_messages() {
        let mut changed = good.bytes.clone();
        for at in 0..good.bytes.len() {
            for &byte in NASTY {
                changed[at] = byte;
                prober.push(&good, &changed, 8192, || format!("with {byte:#04x} at {at}"));
            }
            changed[at] = good.bytes[at];
        }
        for at in 0..good.bytes.len() {
            let shorter = [&good.bytes[..at], &good.bytes[at + 1..]].concat();
            prober.push(&good, &shorter, 8192, || format!("without byte {at}"));
        }
    }
    prober.report();
}

#[test]
fn no_repeated_or_missing_line_does_harm() {
    let mut prober = Prober::new();
    for good in good_messages() {
        let lines: Vec<_> = good.bytes.split_inclusive(|byte| *byte == b'\n').collect();
        for at in 0..lines.len() {
            let without = [lines[..at].concat(), lines[at + 1..].concat()].concat();
            prober.push(&good, &without, 8192, || format!("without line {at}"));
            let twice = [lines[..=at].concat(), lines[at..].concat()].concat();
            prober.push(&good, &twice, 8192, || format!("with line {at} twice"));
            let last = [lines[..at].concat(), lines[at + 1..].concat(), lines[at].to_vec()];
            prober.push(&good, &last.concat(), 8192, || format!("with line {at} at the end"));
        }
    }
    prober.report();
}

#[test]
fn a_buffer_of_any_size_is_enough_or_refused() {
    // RFC 3261 18.1.1 bounds a datagram; what does not fit must not be cut
    let mut prober = Prober::new();
    for good in good_messages() {
        let whole = match prober.push(&good, &good.bytes, 8192, || "itself".to_owned()) {
            Some(Verdict::Forward { len, .. } | Verdict::Reply { len, .. }) => len,
            other => panic!("{}: {other:?}", good.name),
        };
        let expected = prober.out[..whole].to_vec();
        for room in 0..=whole {
            let verdict = prober.push(&good, &good.bytes, room, || format!("into {room} bytes"));
            match verdict {
                Some(Verdict::Forward { len, .. }) => {
                    assert_eq!((len, room), (whole, whole), "{}", good.name);
                    assert_eq!(prober.out[..len], expected, "{}", good.name);
                }
                Some(Verdict::Reply { answer, len, .. }) if answer.status() != 513 => {
                    assert_eq!((len, room), (whole, whole), "{}", good.name);
                }
                _ => assert_ne!(room, whole, "{}: {verdict:?}", good.name),
            }
        }
    }
    prober.report();
}

#[test]
fn bytes_that_are_no_message_do_no_harm() {
    let mut prober = Prober::new();
    let good = Good { name: "bytes", from: CLIENT, socket: LISTENER, bytes: Vec::new() };
    for first in 0..=255u8 {
        for len in [1, 2, 3, 4, 19, 20, 21, 64] {
            let bytes = vec![first; len];
            prober.push(&good, &bytes, 64, || format!("{len} times {first:#04x}"));
            let lines = [&bytes[..], b"\r\n\r\n"].concat();
            prober
                .push(&good, &lines, 64, || format!("{len} times {first:#04x} and an empty line"));
        }
    }
    prober.report();
}
