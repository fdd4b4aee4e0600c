//! A small world for whole datagrams: two listeners, three backends, and a shard to push them through.

use sipring::pool::{BackendSpec, Policy, Pool};
use sipring::proxy::{
    Egress, FailoverSettings, Ingress, Key, Keys, LocalSocket, Now, PathMode, Proxy, Replaced,
    Role, Settings, Side, SocketIndex, Verdict, WORK,
};
use std::net::SocketAddr;
use std::sync::Arc;

/// The client-facing listener.
pub(crate) const LISTENER: SocketIndex = SocketIndex(0);
/// A second listener, on the address that backends reach us by in [`World::two_sided`].
pub(crate) const INNER: SocketIndex = SocketIndex(1);
/// The IPv6 listener.
pub(crate) const LISTENER_6: SocketIndex = SocketIndex(2);
/// This worker's port towards the IPv4 backends.
pub(crate) const PORT: SocketIndex = SocketIndex(3);
/// This worker's port towards IPv6 backends.
pub(crate) const PORT_6: SocketIndex = SocketIndex(4);

/// An address out of its text.
pub(crate) fn address(text: &str) -> SocketAddr {
    text.parse().unwrap_or_else(|_| panic!("{text} is no address"))
}

/// Settings, pool and shard.
pub(crate) struct World {
    pub(crate) settings: Settings,
    pub(crate) pool: Pool,
    pub(crate) proxy: Proxy,
    pub(crate) now: Now,
}

/// The backends `b1` to `b3` at 10.1.0.1 to 10.1.0.3, all reached over side 0.
pub(crate) fn backends() -> Vec<BackendSpec> {
    (1..=3)
        .map(|n| BackendSpec::new(&format!("b{n}"), address(&format!("10.1.0.{n}:5060"))))
        .collect()
}

/// Settings with one interface: clients and backends meet 10.0.0.1.
pub(crate) fn settings() -> Settings {
    let socket = |text: &str, role| LocalSocket::new(address(text), role);
    Settings {
        keys: Keys { current: Key { number: 1, bytes: [42; 16] }, previous: None },
        sockets: vec![
            socket("10.0.0.1:5060", Role::Listener),
            socket("10.1.0.254:5060", Role::Listener),
            socket("[2001:db8::1]:5060", Role::Listener),
            socket("10.0.0.1:15060", Role::BackendPort),
            socket("[2001:db8::1]:15060", Role::BackendPort),
        ],
        sides: vec![
            Side { local: address("10.0.0.1:0").ip(), egress: PORT, contact: LISTENER },
            Side { local: address("[2001:db8::1]:0").ip(), egress: PORT_6, contact: LISTENER_6 },
        ],
        since_start: Default::default(),
        aliases: vec!["lb.example.com".to_owned()],
        record_route: true,
        path: PathMode::Always,
        max_message: 65_535,
        pins_max: 1000,
        transactions_max: 1000,
        work: WORK,
        dialog_idle_s: 12 * 3600,
        registration_idle_s: 70 * 60,
        failover: FailoverSettings { tries: 3, silence_ms: 3000, kept_max: 64 },
        draining: false,
    }
}

impl World {
    /// One interface, three backends, call-id-hash.
    pub(crate) fn new() -> Self {
        Self::with(settings(), backends())
    }

    /// Clients on 10.0.0.1, backends on 10.1.0.254.
    pub(crate) fn two_sided() -> Self {
        let mut settings = settings();
        settings.sockets[3].address = address("10.1.0.254:15060");
        settings.sides[0] =
            Side { local: address("10.1.0.254:0").ip(), egress: PORT, contact: INNER };
        Self::with(settings, backends())
    }

    pub(crate) fn with(settings: Settings, backends: Vec<BackendSpec>) -> Self {
        let pool = Pool::build(backends, Policy::CALL_ID_HASH, 7).expect("a good pool");
        let proxy = Proxy::new(Arc::new(settings.clone()), [1, 2, 3, 4]);
        Self { settings, pool, proxy, now: Now::from_ms(1_000_000) }
    }

    /// The same node after a restart: the pins are gone, the keys are not.
    pub(crate) fn restart(&mut self) {
        self.proxy = Proxy::new(Arc::new(self.settings.clone()), [5, 6, 7, 8]);
    }

    /// Other backends in the same node.
    pub(crate) fn publish(&mut self, backends: Vec<BackendSpec>) {
        self.pool = Pool::build(backends, Policy::CALL_ID_HASH, 7).expect("a good pool");
    }

    /// What the shard sends by itself by now.
    pub(crate) fn poll(&mut self) -> Vec<Outcome> {
        let mut sent = Vec::new();
        loop {
            let mut out = vec![0; 70_000];
            match self.proxy.poll(self.now, &self.pool, &mut out) {
                Some(verdict) => sent.push(Outcome::new(verdict, out)),
                None => return sent,
            }
        }
    }

    /// Lets time pass, and gives what was sent meanwhile.
    pub(crate) fn wait(&mut self, ms: u64) -> Vec<Outcome> {
        let end_ms = self.now.ms() + ms;
        let mut sent = Vec::new();
        while self.now.ms() < end_ms {
            self.now = Now::from_ms(end_ms.min(self.now.ms() + 50));
            sent.append(&mut self.poll());
        }
        sent
    }

    /// Other settings in the same node; the pins stay.
    pub(crate) fn configure(&mut self, change: impl FnOnce(&mut Settings)) {
        change(&mut self.settings);
        self.proxy.configure(Arc::new(self.settings.clone()));
    }

    /// One datagram through the shard.
    pub(crate) fn push(
        &mut self,
        from: &str,
        socket: SocketIndex,
        message: impl AsRef<[u8]>,
    ) -> Outcome {
        self.push_replaced(from, socket, message, Replaced::Unasked)
    }

    pub(crate) fn push_replaced(
        &mut self,
        from: &str,
        socket: SocketIndex,
        message: impl AsRef<[u8]>,
        replaced: Replaced,
    ) -> Outcome {
        let ingress = Ingress { source: address(from), socket, replaced };
        let mut out = vec![0; 70_000];
        let message = message.as_ref();
        let verdict = self.proxy.handle(self.now, &self.pool, &ingress, message, &mut out);
        Outcome::new(verdict, out)
    }
}

/// A verdict and what it wrote.
pub(crate) struct Outcome {
    pub(crate) verdict: Verdict,
    pub(crate) bytes: Vec<u8>,
}

impl Outcome {
    fn new(verdict: Verdict, mut out: Vec<u8>) -> Self {
        let len = match verdict {
            Verdict::Forward { len, .. } | Verdict::Reply { len, .. } => len,
            _ => 0,
        };
        out.truncate(len);
        Self { verdict, bytes: out }
    }

    /// What was written, as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }

    /// Where it goes.
    #[track_caller]
    pub(crate) fn egress(&self) -> Egress {
        match self.verdict {
            Verdict::Forward { egress, .. } | Verdict::Reply { egress, .. } => egress,
            other => panic!("{other:?} goes nowhere"),
        }
    }

    /// Where a forwarded message or our own answer goes.
    #[track_caller]
    pub(crate) fn forwarded_or_replied_to(&self) -> SocketAddr {
        self.egress().to
    }

    /// The address that a forwarded message goes to.
    #[track_caller]
    pub(crate) fn forwarded_to(&self) -> SocketAddr {
        match self.verdict {
            Verdict::Forward { egress, .. } => egress.to,
            other => panic!("not forwarded: {other:?}\n{}", self.text()),
        }
    }

    /// The status line of our own answer.
    #[track_caller]
    pub(crate) fn answer(&self) -> String {
        match self.verdict {
            Verdict::Reply { .. } => self.text().lines().next().unwrap_or("").to_owned(),
            other => panic!("not answered: {other:?}\n{}", self.text()),
        }
    }

    /// The values of all rows of this name, in order.
    pub(crate) fn rows(&self, name: &str) -> Vec<String> {
        rows(&self.text(), name)
    }

    /// The value of its only row.
    #[track_caller]
    pub(crate) fn row(&self, name: &str) -> String {
        let rows = self.rows(name);
        assert_eq!(rows.len(), 1, "one {name} in\n{}", self.text());
        rows[0].clone()
    }
}

/// The values of all rows of this name in a message.
pub(crate) fn rows(message: &str, name: &str) -> Vec<String> {
    let head = message.split("\r\n\r\n").next().unwrap_or("");
    head.lines()
        .filter_map(|line| line.split_once(':'))
        .filter(|(found, _)| found.trim().eq_ignore_ascii_case(name))
        .map(|(_, value)| value.trim().to_owned())
        .collect()
}

/// A request with the usual fields; `extra` rows end in CRLF each.
pub(crate) struct Request<'a> {
    pub(crate) method: &'a str,
    pub(crate) uri: &'a str,
    pub(crate) via: &'a str,
    pub(crate) from_tag: &'a str,
    pub(crate) to_tag: &'a str,
    pub(crate) call_id: &'a str,
    pub(crate) cseq: u32,
    pub(crate) extra: &'a str,
    pub(crate) body: &'a str,
}

impl Default for Request<'_> {
    fn default() -> Self {
        Self {
            method: "INVITE",
            uri: "sip:bob@example.com",
            via: "SIP/2.0/UDP 192.0.2.9:5062;branch=z9hG4bKclient1;rport",
            from_tag: "alice-1",
            to_tag: "",
            call_id: "call-1@192.0.2.9",
            cseq: 1,
            extra: "",
            body: "",
        }
    }
}

impl std::fmt::Display for Request<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { method, uri, via, from_tag, to_tag, call_id, cseq, extra, body } = self;
        let to_tag = if to_tag.is_empty() { String::new() } else { format!(";tag={to_tag}") };
        write!(
            f,
            "{method} {uri} SIP/2.0\r\nVia: {via}\r\nMax-Forwards: 70\r\nFrom: \
             <sip:alice@example.com>;tag={from_tag}\r\nTo: <{uri}>{to_tag}\r\nCall-ID: \
             {call_id}\r\nCSeq: {cseq} {method}\r\n{extra}Content-Length: {}\r\n\r\n{body}",
            body.len()
        )
    }
}

/// The response of whoever got `request`: its Vias, From, To with `to_tag`, Call-ID, CSeq and
/// Record-Routes copied (RFC 3261 8.2.6, 12.1.1).
pub(crate) fn response(request: &str, status: &str, to_tag: &str, extra: &str) -> String {
    let mut text = format!("SIP/2.0 {status}\r\n");
    for name in ["Via", "Record-Route", "From", "To", "Call-ID", "CSeq"] {
        for value in rows(request, name) {
            let tag = match name {
                "To" if !value.contains(";tag=") && !to_tag.is_empty() => format!(";tag={to_tag}"),
                _ => String::new(),
            };
            text += &format!("{name}: {value}{tag}\r\n");
        }
    }
    text + extra + "Content-Length: 0\r\n\r\n"
}

/// The Route rows of a dialog's caller: the Record-Routes of the response, reversed (12.1.2).
pub(crate) fn routes_of_caller(response: &str) -> String {
    rows(response, "Record-Route").iter().rev().map(|value| format!("Route: {value}\r\n")).collect()
}

/// The Route rows of a dialog's callee: the Record-Routes of the request in order (12.1.1).
pub(crate) fn routes_of_callee(request: &str) -> String {
    rows(request, "Record-Route").iter().map(|value| format!("Route: {value}\r\n")).collect()
}
