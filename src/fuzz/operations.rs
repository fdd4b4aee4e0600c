//! A list of operations out of bytes: calls that begin, are answered and end while the pool changes
//! and the balancer restarts, in any order.

use super::{CLIENT, LISTENER, Node, PORT, pool};
use crate::pool::State;
use crate::proxy::{Proxy, Verdict};
use crate::sip::{Header, Message};
use std::net::SocketAddr;

/// Calls that a list of operations may speak of.
const CALLS: usize = 4;

/// A call: what is known of it once its INVITE was forwarded.
#[derive(Default)]
struct Call {
    /// What the backend got, and which one it was.
    invite: Vec<u8>,
    backend: Option<SocketAddr>,
    answered: bool,
}

/// Each byte is an operation on one of four calls. Requests of an answered dialog reach their
/// backend or their caller whatever happened in between, and every pin and dialog ends with time.
///
/// # Panics
/// If that does not hold.
pub fn operations(bytes: &[u8]) {
    let mut node = Node::new(1); // without failover: a call stays where it began
    let mut calls: [Call; CALLS] = Default::default();
    for (at, &byte) in bytes.iter().enumerate().take(200) {
        let (operation, number) = (byte % 10, usize::from(byte / 10) % CALLS);
        let call = &mut calls[number];
        match operation {
            0 => invite(&mut node, number, call),
            1 => answer(&mut node, call, "180 Ringing"),
            2 => answer(&mut node, call, "200 OK"),
            3 => answer(&mut node, call, "486 Busy Here"),
            4 => from_caller(&mut node, number, call, "BYE"),
            5 => from_caller(&mut node, number, call, "INVITE"),
            6 => from_callee(&mut node, number, call),
            7 => node.now = node.now.after_ms(1000 << (byte / 10 % 16)),
            8 => {
                let state =
                    |bit| if (byte / 10) & bit == 0 { State::Ready } else { State::Drained };
                node.pool = pool([state(1), state(2)]);
            }
            _ => match byte / 10 % 2 {
                0 => node.proxy = Proxy::new(node.settings.clone(), [byte.into(), 2, 3, 4]),
                _ => drop(node.push(CLIENT, LISTENER, &bytes[at..])),
            },
        }
        node.proxy.handle_timeout(node.now);
    }
    node.now = node.now.after_ms(13 * 3600 * 1000);
    node.proxy.handle_timeout(node.now);
    node.proxy.check_invariants();
    assert_eq!((node.proxy.pins(), node.proxy.dialogs()), (0, 0));
    assert_eq!((node.proxy.calls(), node.proxy.transactions()), (0, 0));
}

fn request(method: &str, number: usize, via: &str, tags: (&str, &str), routes: &str) -> String {
    let cseq = if tags.1.is_empty() { 1 } else { 2 };
    format!(
        "{method} sip:x@example.com SIP/2.0\r\nVia: SIP/2.0/UDP {via};branch=z9hG4bK{method}{cseq}\r\n\
         Max-Forwards: 70\r\nFrom: <sip:x@example.com>;tag={}\r\nTo: <sip:x@example.com>{}\r\n\
         Call-ID: call-{number}\r\nCSeq: {cseq} {method}\r\n{routes}\r\n",
        tags.0, tags.1
    )
}

fn invite(node: &mut Node, number: usize, call: &mut Call) {
    let text = request("INVITE", number, "192.0.2.9:40000", ("alice", ""), "");
    match node.push(CLIENT, LISTENER, text.as_bytes()) {
        (Verdict::Forward { egress, .. }, bytes) => {
            if !call.answered {
                (call.invite, call.backend) = (bytes, Some(egress.to));
            }
        }
        (Verdict::Reply { answer, .. }, _) => assert_eq!(answer.status(), 480),
        other => panic!("{other:?}"),
    }
}

/// The Record-Routes of the INVITE, under another name.
fn routes(call: &Call) -> String {
    let message = Message::parse(&call.invite).expect("it was forwarded");
    let rows = message.rows(Header::RecordRoute);
    rows.map(|row| format!("Route: {}\r\n", String::from_utf8_lossy(row.value.of(&call.invite))))
        .collect()
}

fn answer(node: &mut Node, call: &mut Call, status: &str) {
    let Some(backend) = call.backend else { return };
    let text = String::from_utf8_lossy(&call.invite).into_owned();
    let copied = text.lines().filter(|line| {
        ["Via:", "From:", "Call-ID:", "CSeq:"].iter().any(|name| line.starts_with(name))
    });
    let rows: String = copied.map(|line| format!("{line}\r\n")).collect();
    let text = format!("SIP/2.0 {status}\r\n{rows}To: <sip:x@example.com>;tag=bob\r\n\r\n");
    let (verdict, _) = node.push(&backend.to_string(), PORT, text.as_bytes());
    let Verdict::Forward { egress, .. } = verdict else { panic!("{verdict:?} for {text}") };
    assert_eq!(egress.to.to_string(), CLIENT);
    call.answered |= status.starts_with('2');
}

fn from_caller(node: &mut Node, number: usize, call: &Call, method: &str) {
    let (Some(backend), true) = (call.backend, call.answered) else { return };
    let tags = ("alice", ";tag=bob");
    let text = request(method, number, "192.0.2.9:40000", tags, &routes(call));
    let (verdict, _) = node.push(CLIENT, LISTENER, text.as_bytes());
    let Verdict::Forward { egress, .. } = verdict else { panic!("{verdict:?} for {text}") };
    assert_eq!(egress.to, backend);
}

fn from_callee(node: &mut Node, number: usize, call: &Call) {
    let (Some(backend), true) = (call.backend, call.answered) else { return };
    let backend = backend.to_string();
    let text = request("BYE", number, &backend, ("bob", ";tag=alice"), &routes(call));
    let (verdict, _) = node.push(&backend, LISTENER, text.as_bytes());
    let Verdict::Forward { egress, .. } = verdict else { panic!("{verdict:?} for {text}") };
    assert_eq!(egress.to.to_string(), CLIENT);
}
