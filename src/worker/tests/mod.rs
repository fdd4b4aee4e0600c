//! Workers over loopback, with a core that does what its messages say instead of speaking SIP.
//!
//! A message is lines: its Call-ID, then a command. Each test has an address of its own out of
//! 127.0.0.0/8, so that tests run side by side on the same ports.

mod connections;
mod forwarding;
mod gathering;
mod lifecycle;
mod listeners;

use super::backends::CONNECT_AFTER;
use super::core::{Core, Counts};
use super::desk::POLLS_PER_TURN;
use super::{Answer, Plan, StartError, Workers, start};
use crate::io::{Sizes, socket};
use crate::metrics::{BackendOutcome, Cell, Cells, Roster};
use crate::pool::{BackendId, BackendSlot, BackendSpec, Load, Policy, Pool};
use crate::proxy::{
    Absorb, Answer as OwnAnswer, Drop, Egress, FailoverSettings, Forwarded, Ingress, Key, Keys,
    LocalSocket, Method, Now, PathMode, Replaced, Role, Settings, Side, SocketIndex, Tally,
    Verdict, WORK,
};
use crate::sip::Span;
use arc_swap::ArcSwap;
use std::collections::HashSet;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(10);
const LISTENER: SocketIndex = SocketIndex(0);

/// Messages that one turn deals with at most: a slot is received into once a turn.
const HANDLED_PER_TURN: usize =
    Sizes::of_a_worker(0).receive_slots as usize + super::turn::RECORDS_PER_TURN;

struct Script {
    settings: Arc<Settings>,
    /// Messages that are still to be sent by itself, and where to.
    later: Option<(usize, Egress)>,
    /// What this turn has dealt with, and sent by itself. The core is asked to sweep once a turn.
    handled: usize,
    polled: usize,
}

impl Script {
    fn new(settings: Arc<Settings>, _keys: [u64; 4]) -> Self {
        Self { settings, later: None, handled: 0, polled: 0 }
    }

    fn egress(&self) -> SocketIndex {
        self.settings.sides[0].egress
    }

    /// The worker's number: the listener is socket 0 and its own port follows by number.
    fn number(&self) -> u16 {
        self.egress().0 - 1
    }
}

fn write(out: &mut [u8], text: &str) -> usize {
    out[..text.len()].copy_from_slice(text.as_bytes());
    text.len()
}

impl Counts for Script {
    fn dialogs_on(&self, _backend: BackendId) -> usize {
        5
    }

    fn load_of(&self, _backend: BackendId, _now: Now) -> Load {
        Load { calls: 6, transactions: 4, ..Load::default() }
    }
}

impl Core for Script {
    fn call_key(bytes: &[u8]) -> Option<Span> {
        let end = bytes.iter().position(|byte| *byte == b'\n')?;
        Some(Span { start: 0, end: end as u32 })
    }

    fn handle(
        &mut self,
        _now: Now,
        pool: &Pool,
        ingress: &Ingress,
        bytes: &[u8],
        out: &mut [u8],
    ) -> Verdict {
        self.handled += 1;
        assert!(self.handled <= HANDLED_PER_TURN, "a turn goes on and on");
        let mut lines = bytes.split(|byte| *byte == b'\n');
        let _call_id = lines.next();
        let command = String::from_utf8_lossy(lines.next().unwrap_or_default()).into_owned();
        let back = Egress { socket: ingress.socket, to: ingress.source, backend: None };
        let reply = |len| Verdict::Reply { egress: back, len, answer: OwnAnswer::Options };
        match command.split_once(' ').unwrap_or((&command, "")) {
            ("who", _) => reply(write(out, &self.number().to_string())),
            ("copy", _) => {
                out[..bytes.len()].copy_from_slice(bytes);
                reply(bytes.len())
            }
            // To the backend, with the way back for it to say.
            ("out", rest) => {
                let backend = BackendSlot(0);
                let to = pool.backend(backend).spec.address;
                let text = format!("x\nback {}\n{rest}", ingress.source);
                Verdict::Forward {
                    egress: Egress { socket: self.egress(), to, backend: Some(backend) },
                    len: write(out, &text),
                    kind: Forwarded::RequestToBackend { method: Method::Invite, attempt: true },
                }
            }
            ("back", to) => Verdict::Forward {
                egress: Egress { socket: LISTENER, to: to.parse().unwrap(), backend: None },
                len: write(out, &format!("{} {}", ingress.socket.0, self.number())),
                kind: Forwarded::Response {
                    status: 200,
                    from: Some(pool.backend(BackendSlot(0)).id),
                    begins: true,
                    settles: None,
                    timing: None,
                },
            },
            ("ask", _) if ingress.replaced == Replaced::Unasked => {
                let start = bytes.iter().position(|byte| *byte == b' ').unwrap() + 1;
                Verdict::Ask { call_id: Span { start: start as u32, end: bytes.len() as u32 } }
            }
            ("ask", _) => {
                reply(write(out, &format!("{} says {:?}", self.number(), ingress.replaced)))
            }
            ("stall", _) => {
                std::thread::sleep(Duration::from_millis(300));
                reply(write(out, "back again"))
            }
            ("later", count) => {
                self.later = Some((count.parse().unwrap(), back));
                Verdict::Absorb(Absorb::KeepAlive)
            }
            ("die", _) => panic!("as the message wished"),
            ("draining", _) => reply(write(out, &self.settings.draining.to_string())),
            ("quiet", _) => Verdict::Absorb(Absorb::KeepAlive),
            _ => Verdict::Drop(Drop::NotSip),
        }
    }

    fn poll(&mut self, _now: Now, _pool: &Pool, out: &mut [u8]) -> Option<Verdict> {
        let (count, egress) = self.later.as_mut().filter(|(count, _)| *count > 0)?;
        *count -= 1;
        self.polled += 1;
        assert!(self.polled <= POLLS_PER_TURN, "a turn sends on and on");
        let len = write(out, &count.to_string());
        Some(Verdict::Reply { egress: *egress, len, answer: OwnAnswer::Options })
    }

    fn is_waiting(&self) -> bool {
        false
    }

    fn unreachable(&mut self, _pool: &Pool, _address: SocketAddr) {}

    fn tally(&self) -> Tally {
        Tally::default()
    }

    fn pinned(&self, _now: Now, call_id: &[u8]) -> Option<BackendId> {
        (call_id != b"unknown").then(|| BackendId(u32::from(self.number())))
    }

    fn handle_timeout(&mut self, _now: Now) {
        (self.handled, self.polled) = (0, 0);
    }

    fn pins(&self) -> usize {
        11
    }

    fn dialogs(&self) -> usize {
        7
    }

    fn calls(&self) -> usize {
        9
    }

    fn configure(&mut self, settings: Arc<Settings>) {
        self.settings = settings;
    }
}

/// An address that no other test has, here or in another process.
fn host() -> IpAddr {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    let pid = std::process::id().to_le_bytes();
    IpAddr::V4(Ipv4Addr::new(127, 16 + pid[1] % 128, pid[0], NEXT.fetch_add(1, Ordering::Relaxed)))
}

struct Rig {
    workers: Option<Workers>,
    listener: SocketAddr,
    backend: UdpSocket,
    roster: Arc<ArcSwap<Roster>>,
    cells: Vec<Arc<Cells>>,
}

fn pool(backend: SocketAddr) -> Pool {
    let spec = BackendSpec::new("one", backend);
    Pool::build(vec![spec], Policy::CALL_ID_HASH, 0).unwrap()
}

fn settings(number: usize, workers: usize, host: IpAddr, port: u16) -> Arc<Settings> {
    let socket = |port, role| LocalSocket::new(SocketAddr::new(host, port), role);
    let mut sockets = vec![socket(port, Role::Listener)];
    sockets.extend((1..=workers as u16).map(|at| socket(port + at, Role::BackendPort)));
    let egress = SocketIndex(1 + number as u16);
    Arc::new(Settings {
        keys: Keys { current: Key { number: 0, bytes: [0; 16] }, previous: None },
        sockets,
        sides: vec![Side { local: host, egress, contact: LISTENER }],
        since_start: Default::default(),
        aliases: Vec::new(),
        record_route: true,
        path: PathMode::Always,
        max_message: 65_535,
        pins_max: 1000,
        transactions_max: 1000,
        work: WORK,
        dialog_idle_s: 60,
        registration_idle_s: 60,
        failover: FailoverSettings { tries: 1, silence_ms: 3000, kept_max: 1 },
        draining: false,
    })
}

fn plan(workers: usize, host: IpAddr, port: u16, backend: SocketAddr) -> Plan {
    let pool = pool(backend);
    Plan {
        settings: (0..workers).map(|number| settings(number, workers, host, port)).collect(),
        roster: Arc::new(ArcSwap::from_pointee(Roster::new(pool, workers))),
        cells: (0..workers).map(|_| Arc::default()).collect(),
        receive_buffer: 4 << 20,
        latency_budget: Duration::ZERO,
        pin_to_cores: true,
        steering: false, // the messages here have no Call-ID that the kernel could find
    }
}

fn rig(workers: usize, host: IpAddr) -> Rig {
    // The same ports for every test of IPv4; ::1 is there once, so its ports are asked for.
    let port = if host.is_ipv4() { 5060 } else { free_ports(host) };
    let backend = client(SocketAddr::new(host, 0));
    let plan = plan(workers, host, port, backend.local_addr().unwrap());
    let (roster, cells) = (Arc::clone(&plan.roster), plan.cells.clone());
    let workers = start::start(plan, Script::new).unwrap();
    Rig { workers: Some(workers), listener: SocketAddr::new(host, port), backend, roster, cells }
}

/// The first of four ports that are free.
fn free_ports(host: IpAddr) -> u16 {
    let first = (20_000..60_000).step_by(8).find(|port| {
        let port = port + (std::process::id() % 1000) as u16;
        (port..port + 4).all(|port| UdpSocket::bind((host, port)).is_ok())
    });
    first.unwrap() + (std::process::id() % 1000) as u16
}

fn client(local: SocketAddr) -> UdpSocket {
    let socket = socket::open_first(local, 4 << 20).unwrap(); // room for a burst of answers
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

fn receive(socket: &UdpSocket) -> (String, SocketAddr) {
    let mut bytes = vec![0; 1 << 16];
    let (len, from) = loop {
        match socket.recv_from(&mut bytes) {
            // The end of a ring interrupts the thread that built it.
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            result => break result.expect("something comes"),
        }
    };
    (String::from_utf8_lossy(&bytes[..len]).into_owned(), from)
}

impl Rig {
    fn client(&self) -> UdpSocket {
        client(SocketAddr::new(self.listener.ip(), 0))
    }

    fn ask(&self, client: &UdpSocket, message: &str) -> String {
        client.send_to(message.as_bytes(), self.listener).unwrap();
        let (answer, from) = receive(client);
        assert_eq!(from, self.listener);
        answer
    }

    fn sum(&self, cell: impl Fn(&Cells) -> &Cell) -> u64 {
        self.cells.iter().map(|cells| cell(cells).value()).sum()
    }

    /// Requests that the only backend got.
    fn backend_requests(&self) -> u64 {
        self.roster.load().all(BackendSlot(0)).map(|cells| cells.requests.value()).sum()
    }

    /// Responses of a class from the backend.
    fn backend_responses(&self, class: usize) -> u64 {
        let roster = self.roster.load();
        roster.all(BackendSlot(0)).map(|cells| cells.responses[class].value()).sum()
    }

    fn wait_until(&self, what: &str, condition: impl Fn(&Self) -> bool) {
        let start = Instant::now();
        while !condition(self) {
            assert!(start.elapsed() < PATIENCE, "{what}: {:?}", self.cells);
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}
