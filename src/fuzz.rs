//! Bodies of the fuzz targets in `fuzz/`: each takes any bytes and checks what must hold of them.
//!
//! They stand here so that every change compiles them, and `tests/fuzz.rs` runs them over the torture
//! messages and their mutations without a fuzzer. No part of the program calls them.

mod operations;

pub use crate::proxy::fuzz_token as token;
pub use operations::operations;

use crate::pool::{BackendSpec, Policy, Pool, State};
use crate::proxy::{
    Egress, FailoverSettings, Forwarded, Ingress, Key, Keys, LocalSocket, Now, PathMode, Proxy,
    Replaced, Role, Settings, Side, SocketIndex, Verdict, WORK,
};
use crate::sip::{Header, Message, NameAddr, Span, Start, Uri, Via, call_key};
use std::net::SocketAddr;
use std::sync::Arc;

/// Everything that is read of a message lies inside it, and the early exit agrees with the index.
///
/// # Panics
/// If that does not hold.
pub fn message(bytes: &[u8]) {
    let Some(message) = Message::parse(bytes) else { return };
    for header in [Header::Via, Header::Route, Header::CallId, Header::Supported, Header::Path] {
        assert_eq!(message.rows(header).count(), message.count(header) as usize);
        for (row, value) in message.values(header) {
            assert!(row.line.start <= row.value.start && row.value.end <= row.line.end);
            assert!(row.value.start <= value.start && value.end <= row.value.end);
        }
    }
    if let Ok(call_id) = message.call_id() {
        assert_eq!(call_key(bytes), Some(call_id));
        assert!(!call_id.is_empty());
    }
    if let (Ok(end), Some(body)) = (message.end(), message.body) {
        assert!(message.head <= body && body <= end && end <= bytes.len());
    }
    let _ = (message.top_via(), message.cseq(), message.from(), message.to());
}

/// A Via that can be read lies inside its value; a reply address comes from its own text.
///
/// # Panics
/// If that does not hold.
pub fn via(bytes: &[u8]) {
    let Some(via) = Via::parse(bytes, Span::new(0, bytes.len())) else { return };
    assert!(!via.host.is_empty() && via.transport.end <= via.host.start);
    for param in [via.received, via.rport].into_iter().flatten() {
        assert!(via.host.end <= param.whole.start && param.whole.end <= via.value.end);
        assert!(param.name.of(bytes).len() >= b"rport".len());
    }
    assert!(via.branch.is_none_or(|branch| !branch.is_empty()));
    let _ = via.reply_address(bytes);
}

/// A URI that can be read has a host, and its parts stand in order; so do those of a name-addr.
///
/// # Panics
/// If that does not hold.
pub fn uri(bytes: &[u8]) {
    let whole = Span::new(0, bytes.len());
    if let Some(uri) = Uri::parse(bytes, whole) {
        assert!(Uri::claims_sip(bytes) && !uri.host.is_empty());
        assert!(uri.user.is_none_or(|user| user.end < uri.host.start));
        assert!(uri.host.end <= uri.params.start && uri.params.end <= whole.end);
        assert!(uri.address(bytes).is_none_or(|address| address.port() == uri.port_or_default()));
        let _ = (uri.is_loose(bytes), uri.param(bytes, b"maddr"));
    }
    if let Some(address) = NameAddr::parse(bytes, whole) {
        assert!(address.uri.end <= address.params.start || address.params.is_empty());
        assert!(address.tag(bytes).is_none_or(|tag| tag.start > address.uri.start));
    }
}

/// Whatever comes from a client or a backend: what leaves can be read again, stays in its buffer, and
/// is the same when it comes twice (RFC 3261 16.11).
///
/// # Panics
/// If that does not hold.
pub fn handle(bytes: &[u8]) {
    for (source, socket) in [(CLIENT, LISTENER), (BACKEND, LISTENER), (BACKEND, PORT)] {
        let mut node = Node::new(3);
        let (first, sent) = node.push(source, socket, bytes);
        let (second, sent_again) = node.push(source, socket, bytes);
        assert_eq!((way(first), sent), (way(second), sent_again));
        let mut own = 0;
        for _ in 0..40 {
            node.now = node.now.after_ms(1000);
            own += node.poll();
        }
        assert!(own < 100, "a failover goes on and on: {own} messages");
    }
}

/// Where a verdict sends: a repetition counts otherwise, but goes the same way.
fn way(verdict: Verdict) -> Option<Egress> {
    match verdict {
        Verdict::Forward { egress, .. } | Verdict::Reply { egress, .. } => Some(egress),
        _ => None,
    }
}

const CLIENT: &str = "192.0.2.9:40000";
const BACKEND: &str = "10.1.0.1:5060";
const LISTENER: SocketIndex = SocketIndex(0);
const PORT: SocketIndex = SocketIndex(1);
const PINS_MAX: usize = 16;

/// A balancer with two backends.
struct Node {
    settings: Arc<Settings>,
    proxy: Proxy,
    pool: Pool,
    now: Now,
}

fn address(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

fn pool(states: [State; 2]) -> Pool {
    let backend = |number: usize, state| BackendSpec {
        state,
        ..BackendSpec::new(&format!("b{number}"), address(&format!("10.1.0.{number}:5060")))
    };
    let backends = vec![backend(1, states[0]), backend(2, states[1])];
    Pool::build(backends, Policy::CALL_ID_HASH, 7).expect("a good pool")
}

/// `tries`: attempts of a request.
fn settings(tries: u8) -> Settings {
    let socket = |text, role| LocalSocket::new(address(text), role);
    Settings {
        keys: Keys { current: Key { number: 1, bytes: [42; 16] }, previous: None },
        sockets: vec![
            socket("10.0.0.1:5060", Role::Listener),
            socket("10.0.0.1:15060", Role::BackendPort),
        ],
        sides: vec![Side { local: address("10.0.0.1:0").ip(), egress: PORT, contact: LISTENER }],
        since_start: Default::default(),
        aliases: vec!["lb.example.com".to_owned()],
        record_route: true,
        path: PathMode::Always,
        max_message: 65_535,
        draining: false,
        failover: FailoverSettings { tries, silence_ms: 3000, kept_max: 8 },
        pins_max: PINS_MAX,
        transactions_max: PINS_MAX,
        work: WORK,
        dialog_idle_s: 12 * 3600,
        registration_idle_s: 70 * 60,
    }
}

impl Node {
    fn new(tries: u8) -> Self {
        let settings = Arc::new(settings(tries));
        let proxy = Proxy::new(settings.clone(), [1, 2, 3, 4]);
        Self { settings, proxy, pool: pool([State::Ready; 2]), now: Now::from_ms(1_000_000) }
    }

    /// The verdict on a datagram, and what was written.
    fn push(&mut self, source: &str, socket: SocketIndex, bytes: &[u8]) -> (Verdict, Vec<u8>) {
        let replaced = Replaced::Answered(None);
        let ingress = Ingress { source: address(source), socket, replaced };
        let mut out = vec![0; bytes.len() + 1024];
        let room = out.len();
        let verdict = self.proxy.handle(self.now, &self.pool, &ingress, bytes, &mut out);
        let len = match verdict {
            Verdict::Forward { len, .. } | Verdict::Reply { len, .. } => len,
            _ => 0,
        };
        assert!(len <= room && self.proxy.pins() <= PINS_MAX);
        assert!(self.proxy.dialogs() <= self.proxy.pins());
        self.proxy.check_invariants();
        out.truncate(len);
        if let Verdict::Forward { kind, .. } = verdict {
            assert_good(kind, &out);
        }
        self.poll();
        (verdict, out)
    }

    /// Lets the shard send what it sends by itself, and tells how much that was.
    fn poll(&mut self) -> usize {
        if !self.proxy.is_waiting() {
            return 0;
        }
        let mut out = vec![0; 70_000];
        let mut sent = 0;
        while let Some(verdict) = self.proxy.poll(self.now, &self.pool, &mut out) {
            sent += 1;
            assert!(sent < 100, "poll never ends");
            if let Verdict::Forward { kind, len, .. } = verdict {
                assert_good(kind, &out[..len]);
            }
        }
        sent
    }
}

/// What is forwarded is a message, and one of its kind.
fn assert_good(kind: Forwarded, bytes: &[u8]) {
    let message = Message::parse(bytes).expect("a start line");
    message.call_id().expect("a Call-ID");
    assert_eq!(message.end(), Ok(bytes.len()), "nothing trails it");
    match (kind, message.start) {
        (Forwarded::Response { status: came, .. }, Start::Response { status, fault: None }) => {
            assert!(came == status || (came, status) == (503, 500));
        }
        (
            Forwarded::RequestToBackend { .. } | Forwarded::RequestToClient { .. } | Forwarded::Own,
            Start::Request { fault, .. },
        ) => {
            assert_eq!(fault, None);
            let via = message.top_via().expect("our Via");
            assert_eq!(via.host.of(bytes), b"10.0.0.1");
        }
        (kind, start) => panic!("{kind:?} with {start:?}"),
    }
}
