//! A small DNS server (RFC 1035): one zone in memory, that a test changes while it is asked.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Codes of types (RFC 1035 3.2.2, RFC 3596, RFC 2782, RFC 3403).
const A: u16 = 1;
const SOA: u16 = 6;
const AAAA: u16 = 28;
const SRV: u16 = 33;
const NAPTR: u16 = 35;

/// How a question is answered.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    /// With these records, and this TTL.
    Records(u32, Vec<Data>),
    /// There is no such name, for so many seconds.
    NoName(u32),
    /// SERVFAIL.
    Failure,
    /// Not at all.
    Silence,
    /// By UDP: too long; by TCP with these records.
    Truncated(u32, Vec<Data>),
}

/// What a record says.
#[derive(Clone, Debug)]
pub(crate) enum Data {
    Address(IpAddr),
    /// Priority, weight, port, target.
    Srv(u16, u16, u16, &'static str),
    /// Order, preference, service, replacement.
    Naptr(u16, u16, &'static str, &'static str),
}

#[derive(Default)]
struct Zone {
    replies: HashMap<(String, u16), Reply>,
    asked: HashMap<(String, u16), u64>,
    /// Nobody is answered.
    dead: bool,
}

/// A running server, on UDP and TCP. Its threads end with the process.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    zone: Arc<Mutex<Zone>>,
}

impl Server {
    /// On a free port. A name that nobody has set does not exist.
    pub(crate) fn start() -> Self {
        let (udp, tcp) = sockets();
        let address = udp.local_addr().unwrap();
        let zone = Arc::new(Mutex::new(Zone::default()));
        let (of_udp, of_tcp) = (zone.clone(), zone.clone());
        std::thread::spawn(move || serve_udp(&udp, &of_udp));
        std::thread::spawn(move || {
            tcp.incoming().filter_map(Result::ok).for_each(|stream| serve_tcp(stream, &of_tcp));
        });
        Self { address, zone }
    }

    pub(crate) fn set(&self, name: &str, kind: &str, reply: Reply) {
        self.zone.lock().unwrap().replies.insert((name.to_owned(), code(kind)), reply);
    }

    pub(crate) fn addresses(&self, name: &str, ttl: u32, ips: &[&str]) {
        let data = ips.iter().map(|ip| Data::Address(ip.parse().unwrap())).collect();
        self.set(name, "A", Reply::Records(ttl, data));
    }

    pub(crate) fn services(
        &self,
        name: &str,
        ttl: u32,
        services: &[(u16, u16, u16, &'static str)],
    ) {
        let data = services.iter().map(|&(a, b, c, target)| Data::Srv(a, b, c, target)).collect();
        self.set(name, "SRV", Reply::Records(ttl, data));
    }

    pub(crate) fn set_dead(&self, dead: bool) {
        self.zone.lock().unwrap().dead = dead;
    }

    /// How often this was asked.
    pub(crate) fn asked(&self, name: &str, kind: &str) -> u64 {
        let asked = &self.zone.lock().unwrap().asked;
        asked.get(&(name.to_owned(), code(kind))).copied().unwrap_or(0)
    }

    /// Questions in all.
    pub(crate) fn asked_at_all(&self) -> u64 {
        self.zone.lock().unwrap().asked.values().sum()
    }
}

fn code(kind: &str) -> u16 {
    match kind {
        "A" => A,
        "AAAA" => AAAA,
        "SRV" => SRV,
        "NAPTR" => NAPTR,
        other => panic!("no kind of record: {other}"),
    }
}

/// Both on the same port.
fn sockets() -> (UdpSocket, TcpListener) {
    loop {
        let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        if let Ok(tcp) = TcpListener::bind(udp.local_addr().unwrap()) {
            return (udp, tcp);
        }
    }
}

fn serve_udp(socket: &UdpSocket, zone: &Mutex<Zone>) {
    let mut buffer = [0; 4096];
    while let Ok((size, from)) = socket.recv_from(&mut buffer) {
        if let Some(answer) = answer(&buffer[..size], zone, false) {
            let _ = socket.send_to(&answer, from);
        }
    }
}

fn serve_tcp(mut stream: TcpStream, zone: &Mutex<Zone>) {
    let _ = stream.set_read_timeout(Some(Duration::from_secs(1)));
    let mut size = [0; 2];
    while stream.read_exact(&mut size).is_ok() {
        let mut question = vec![0; usize::from(u16::from_be_bytes(size))];
        if stream.read_exact(&mut question).is_err() {
            return;
        }
        let Some(answer) = answer(&question, zone, true) else { return };
        let size = (answer.len() as u16).to_be_bytes();
        if stream.write_all(&size).and_then(|()| stream.write_all(&answer)).is_err() {
            return;
        }
    }
}

fn answer(message: &[u8], zone: &Mutex<Zone>, by_tcp: bool) -> Option<Vec<u8>> {
    let (name, end) = name_at(message.get(12..)?)?;
    let question = &message[12..12 + end + 4];
    let kind = u16::from_be_bytes([question[end], question[end + 1]]);
    let reply = {
        let mut zone = zone.lock().unwrap();
        let key = (name.to_ascii_lowercase(), kind);
        *zone.asked.entry(key.clone()).or_default() += 1;
        if zone.dead {
            return None;
        }
        let is_there = zone.replies.keys().any(|(name, _)| *name == key.0);
        match zone.replies.get(&key) {
            Some(reply) => reply.clone(),
            None if is_there => Reply::Records(1, Vec::new()),
            None => Reply::NoName(1),
        }
    };
    const NO_ERROR: u8 = 0;
    let (code, truncated, ttl, records) = match reply {
        Reply::Records(ttl, records) => (NO_ERROR, false, ttl, records),
        Reply::Truncated(ttl, records) if by_tcp => (NO_ERROR, false, ttl, records),
        Reply::Truncated(..) => (NO_ERROR, true, 0, Vec::new()),
        Reply::NoName(ttl) => (3, false, ttl, Vec::new()),
        Reply::Failure => (2, false, 0, Vec::new()),
        Reply::Silence => return None,
    };
    let authority = u8::from(records.is_empty() && code != 2 && !truncated);
    let flags = [0x84 | u8::from(truncated) << 1 | message[2] & 1, 0x80 | code];
    let mut out =
        [&message[..2], &flags, &[0, 1, 0, records.len() as u8, 0, authority, 0, 0]].concat();
    out.extend_from_slice(question);
    records.iter().for_each(|data| record(&mut out, kind, ttl, &encoded(data)));
    if authority == 1 {
        // Its last number is how long the negative answer holds (RFC 2308 4).
        let numbers = [1, 1, 1, 1, ttl].map(u32::to_be_bytes).concat();
        record(&mut out, SOA, ttl, &[&[0, 0], &numbers[..]].concat());
    }
    Some(out)
}

/// The name at the start, and how many bytes it takes.
fn name_at(bytes: &[u8]) -> Option<(String, usize)> {
    let (mut labels, mut at) = (Vec::new(), 0);
    loop {
        let size = usize::from(*bytes.get(at)?);
        at += 1;
        if size == 0 {
            return (bytes.len() >= at + 4).then(|| (labels.join("."), at));
        }
        labels.push(String::from_utf8_lossy(bytes.get(at..at + size)?).into_owned());
        at += size;
    }
}

/// A record of the name that was asked for.
fn record(out: &mut Vec<u8>, kind: u16, ttl: u32, data: &[u8]) {
    out.extend([0xc0, 12]); // the name of the question
    out.extend(kind.to_be_bytes());
    out.extend([0, 1]);
    out.extend(ttl.to_be_bytes());
    out.extend((data.len() as u16).to_be_bytes());
    out.extend(data);
}

fn encoded(data: &Data) -> Vec<u8> {
    let numbers =
        |numbers: &[u16]| numbers.iter().flat_map(|n| n.to_be_bytes()).collect::<Vec<_>>();
    let text = |text: &str| [&[text.len() as u8], text.as_bytes()].concat();
    let name = |name: &str| {
        let labels = name.split('.').filter(|label| !label.is_empty()).flat_map(text);
        labels.chain([0]).collect::<Vec<_>>()
    };
    match data {
        Data::Address(IpAddr::V4(ip)) => ip.octets().to_vec(),
        Data::Address(IpAddr::V6(ip)) => ip.octets().to_vec(),
        Data::Srv(priority, weight, port, target) => {
            [numbers(&[*priority, *weight, *port]), name(target)].concat()
        }
        Data::Naptr(order, preference, service, replacement) => {
            let texts = [text("s"), text(service), text("")].concat();
            [numbers(&[*order, *preference]), texts, name(replacement)].concat()
        }
    }
}
