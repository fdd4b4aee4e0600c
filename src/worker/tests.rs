//! Workers over loopback, with a core that does what its messages say instead of speaking SIP.
//!
//! A message is lines: its Call-ID, then a command. Each test has an address of its own out of
//! 127.0.0.0/8, so that tests run side by side on the same ports.

use super::backends::CONNECT_AFTER;
use super::core::Core;
use super::{Plan, StartError, Workers, start};
use crate::io::socket;
use crate::metrics::{Cell, Cells};
use crate::pool::{BackendId, BackendSlot, BackendSpec, Policy, Pool, State};
use crate::proxy::{
    Absorb, Answer, Drop, Egress, Forwarded, Ingress, Key, Keys, LocalSocket, Now, PathMode,
    Replaced, Role, Settings, Side, SocketIndex, Tally, Verdict,
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

struct Script {
    settings: Arc<Settings>,
}

impl Script {
    fn new(settings: Arc<Settings>, _keys: [u64; 4]) -> Self {
        Self { settings }
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
        let mut lines = bytes.split(|byte| *byte == b'\n');
        let _call_id = lines.next();
        let command = String::from_utf8_lossy(lines.next().unwrap_or_default()).into_owned();
        let back = Egress { socket: ingress.socket, to: ingress.source, backend: None };
        let reply = |len| Verdict::Reply { egress: back, len, answer: Answer::Options };
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
                    kind: Forwarded::RequestToBackend,
                }
            }
            ("back", to) => Verdict::Forward {
                egress: Egress { socket: LISTENER, to: to.parse().unwrap(), backend: None },
                len: write(out, &format!("{} {}", ingress.socket.0, self.number())),
                kind: Forwarded::Response(200),
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
            ("die", _) => panic!("as the message wished"),
            ("quiet", _) => Verdict::Absorb(Absorb::KeepAlive),
            _ => Verdict::Drop(Drop::NotSip),
        }
    }

    fn tally(&self) -> Tally {
        Tally::default()
    }

    fn pinned(&self, _now: Now, call_id: &[u8]) -> Option<BackendId> {
        (call_id != b"unknown").then(|| BackendId(u32::from(self.number())))
    }

    fn handle_timeout(&mut self, _now: Now) {}

    fn pins(&self) -> usize {
        11
    }

    fn dialogs(&self) -> usize {
        7
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
    pool: Arc<ArcSwap<Pool>>,
    cells: Vec<Arc<Cells>>,
}

fn pool(backend: SocketAddr) -> Pool {
    let spec = BackendSpec {
        name: "one".to_owned(),
        address: backend,
        weight: 1,
        state: State::Ready,
        sources: Vec::new(),
        side: 0,
    };
    Pool::build(vec![spec], Policy::CallIdHash, 0).unwrap()
}

fn settings(number: usize, workers: usize, host: IpAddr, port: u16) -> Arc<Settings> {
    let socket =
        |port, role| LocalSocket { address: SocketAddr::new(host, port), advertise: None, role };
    let mut sockets = vec![socket(port, Role::Listener)];
    sockets.extend((1..=workers as u16).map(|at| socket(port + at, Role::BackendPort)));
    let egress = SocketIndex(1 + number as u16);
    Arc::new(Settings {
        keys: Keys { current: Key { number: 0, bytes: [0; 16] }, previous: None },
        sockets,
        sides: vec![Side { local: host, egress, contact: LISTENER }],
        aliases: Vec::new(),
        record_route: true,
        path: PathMode::Always,
        max_message: 65_535,
        pins_max: 1000,
        dialog_idle_s: 60,
        registration_idle_s: 60,
    })
}

fn plan(workers: usize, host: IpAddr, port: u16, backend: SocketAddr) -> Plan {
    let pool = pool(backend);
    let ids: Vec<_> = pool.backends().iter().map(|backend| backend.id).collect();
    Plan {
        settings: (0..workers).map(|number| settings(number, workers, host, port)).collect(),
        pool: Arc::new(ArcSwap::from_pointee(pool)),
        cells: (0..workers).map(|_| Arc::new(Cells::new(ids.clone()))).collect(),
        receive_buffer: 4 << 20,
        pin_to_cores: true,
    }
}

fn rig(workers: usize, host: IpAddr) -> Rig {
    // The same ports for every test of IPv4; ::1 is there once, so its ports are asked for.
    let port = if host.is_ipv4() { 5060 } else { free_ports(host) };
    let backend = client(SocketAddr::new(host, 0));
    let plan = plan(workers, host, port, backend.local_addr().unwrap());
    let (pool, cells) = (Arc::clone(&plan.pool), plan.cells.clone());
    let workers = start::start(plan, Script::new).unwrap();
    Rig { workers: Some(workers), listener: SocketAddr::new(host, port), backend, pool, cells }
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

    fn wait_until(&self, what: &str, condition: impl Fn(&Self) -> bool) {
        let start = Instant::now();
        while !condition(self) {
            assert!(start.elapsed() < PATIENCE, "{what}: {:?}", self.cells);
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

#[test]
fn a_request_goes_out_and_its_response_comes_back() {
    for (host, workers) in [(host(), 1), (host(), 2), ("::1".parse().unwrap(), 1)] {
        let rig = rig(workers, host);
        let client = rig.client();
        for number in 0..20 {
            client.send_to(format!("{number}\nout").as_bytes(), rig.listener).unwrap();
            let (request, egress) = receive(&rig.backend);
            assert_eq!(egress.ip(), host);
            rig.backend.send_to(request.as_bytes(), egress).unwrap();
            let (response, from) = receive(&client);
            assert_eq!(from, rig.listener, "from where the request was sent to");
            // The response reached us on the port that the request left from.
            let socket = egress.port() - rig.listener.port();
            assert!(response.starts_with(&format!("{socket} ")), "{response}");
        }
        rig.wait_until("all counted", |rig| rig.sum(|c| &c.datagrams_sent) == 40);
        assert_eq!(rig.sum(|cells| &cells.datagrams_received), 40);
        assert_eq!(rig.sum(|cells| &cells.requests_to_backends), 20);
        assert_eq!(rig.sum(|cells| &cells.backend_requests[0]), 20);
        assert_eq!(rig.sum(|cells| &cells.responses[1]), 20);
        assert!(rig.sum(|cells| &cells.bytes_received) > 20 * 5);
    }
}

#[test]
fn one_call_id_has_one_worker_whatever_the_source() {
    let rig = rig(3, host());
    let clients: Vec<_> = (0..24).map(|_| rig.client()).collect();
    let mut owners = HashSet::new();
    for call_id in 0..12 {
        let message = format!("call-{call_id}@192.0.2.1\nwho");
        let answers: HashSet<_> = clients.iter().map(|client| rig.ask(client, &message)).collect();
        assert_eq!(answers.len(), 1, "{answers:?}");
        owners.extend(answers);
    }
    assert!(owners.len() > 1, "all calls on one worker");
    assert!(rig.sum(|cells| &cells.handoffs) > 0);
    assert!(rig.sum(|cells| &cells.doorbells) > 0);
    assert!(rig.sum(|cells| &cells.doorbells) <= rig.sum(|cells| &cells.handoffs));
    assert_eq!(rig.sum(|cells| &cells.handoff_full), 0);
}

#[test]
fn a_message_without_a_call_id_is_handled_by_whoever_received_it() {
    let rig = rig(2, host());
    rig.client().send_to(b"no line ends", rig.listener).unwrap();
    rig.client().send_to(b"", rig.listener).unwrap();
    let not_sip = Drop::NotSip as usize;
    rig.wait_until("both dropped", |rig| rig.sum(|cells| &cells.dropped[not_sip]) == 2);
    assert_eq!(rig.sum(|cells| &cells.handoffs), 0);
}

#[test]
fn the_owner_of_another_call_id_is_asked() {
    let rig = rig(3, host());
    let client = rig.client();
    let owner = |call_id: &str| rig.ask(&client, &format!("{call_id}\nwho"));
    let mut ways = HashSet::new();
    for number in 0..30 {
        let (own, other) = (format!("own-{number}"), format!("other-{number}"));
        let (mine, theirs) = (owner(&own), owner(&other));
        let answer = rig.ask(&client, &format!("{own}\nask {other}"));
        assert_eq!(answer, format!("{mine} says Answered(Some(BackendId({theirs})))"));
        ways.insert(mine == theirs);
    }
    assert_eq!(ways.len(), 2, "both ways were tried");
    let answer = rig.ask(&client, "own\nask unknown");
    assert!(answer.ends_with("says Answered(None)"));
}

#[test]
fn a_burst_beyond_all_slots_arrives_whole() {
    let rig = rig(2, host());
    let client = rig.client();
    for number in 0..400 {
        client.send_to(format!("{number}\ncopy").as_bytes(), rig.listener).unwrap();
    }
    let answers: HashSet<_> = (0..400).map(|_| receive(&client).0).collect();
    assert_eq!(answers.len(), 400);
    assert_eq!(rig.sum(|cells| &cells.send_full), 0);
}

/// A client whose datagrams one worker receives, and a Call-ID that the other one owns.
fn crossing(rig: &Rig) -> (UdpSocket, String) {
    let client = rig.client();
    let call_id = (0..).map(|number| format!("crossing-{number}")).find(|call_id| {
        let before = rig.sum(|cells| &cells.handoffs);
        rig.ask(&client, &format!("{call_id}\nwho"));
        rig.sum(|cells| &cells.handoffs) > before
    });
    (client, call_id.unwrap())
}

#[test]
fn a_worker_that_stalls_catches_up_with_more_than_it_has_slots_for() {
    let rig = rig(2, host());
    let (client, call_id) = crossing(&rig);
    let others: Vec<_> = (0..16).map(|_| rig.client()).collect();
    client.send_to(format!("{call_id}\nstall").as_bytes(), rig.listener).unwrap();
    // 320 handed over, and some of these 160 received by the stalled worker itself.
    for number in 0..320 {
        client.send_to(format!("{call_id}\ncopy {number}").as_bytes(), rig.listener).unwrap();
    }
    for other in &others {
        for _ in 0..10 {
            other.send_to(format!("{call_id}\ncopy").as_bytes(), rig.listener).unwrap();
        }
    }
    let answers: HashSet<_> = (0..321).map(|_| receive(&client).0).collect();
    assert_eq!(answers.len(), 321);
    others.iter().for_each(|other| (0..10).for_each(|_| drop(receive(other))));
    assert_eq!(rig.sum(|cells| &cells.send_full) + rig.sum(|cells| &cells.handoff_full), 0);
}

#[test]
fn a_full_handoff_ring_drops_and_counts_and_works_again() {
    let rig = rig(2, host());
    let (client, call_id) = crossing(&rig);
    let before = rig.sum(|cells| &cells.handoffs);
    client.send_to(format!("{call_id}\nstall").as_bytes(), rig.listener).unwrap();
    let large = format!("{call_id}\nquiet\n{}", "x".repeat(60_000));
    for number in 1..=20 {
        client.send_to(large.as_bytes(), rig.listener).unwrap();
        let dealt_with = |rig: &Rig| {
            let handed = rig.sum(|cells| &cells.handoffs) - before;
            handed + rig.sum(|cells| &cells.handoff_full)
        };
        rig.wait_until("handed over or dropped", |rig| dealt_with(rig) == number + 1);
    }
    assert!(rig.sum(|cells| &cells.handoff_full) > 0);
    assert_eq!(receive(&client).0, "back again");
    rig.ask(&client, &format!("{call_id}\nwho"));
}

#[test]
fn the_largest_datagram_is_forwarded_also_from_worker_to_worker() {
    let rig = rig(3, host());
    let client = rig.client();
    for number in 0..6 {
        let mut message = format!("{number}\ncopy\n");
        message.extend(std::iter::repeat_n('x', 65_507 - message.len()));
        assert!(rig.ask(&client, &message) == message);
    }
    assert!(rig.sum(|cells| &cells.handoffs) > 0);
    assert_eq!(rig.sum(|cells| &cells.truncated), 0);
}

#[test]
fn a_busy_backend_gets_a_connected_socket_and_nothing_is_lost_meanwhile() {
    const TOTAL: u32 = 4 * CONNECT_AFTER;
    let rig = rig(1, host());
    let (client, stranger) = (rig.client(), rig.client());
    let port = SocketAddr::new(rig.listener.ip(), rig.listener.port() + 1);
    let mut answers = 0;
    for _ in 0..TOTAL {
        client.send_to(b"x\nout", rig.listener).unwrap();
        // The backend answers, and somebody else sends to the same port, all the time.
        let (request, egress) = receive(&rig.backend);
        assert_eq!(egress, port, "always the same port");
        rig.backend.send_to(request.as_bytes(), egress).unwrap();
        let back = format!("x\nback {}", client.local_addr().unwrap());
        stranger.send_to(back.as_bytes(), port).unwrap();
        answers += [receive(&client).0, receive(&client).0].iter().filter(|a| *a == "1 0").count();
    }
    assert_eq!(answers as u32, 2 * TOTAL);
    assert!(shares_of(port) > 1, "a connected socket shares the port");
}

/// Sockets that are bound to this address, as the kernel lists them.
fn shares_of(address: SocketAddr) -> usize {
    let IpAddr::V4(ip) = address.ip() else { panic!("IPv4 only") };
    let local = format!("{:08X}:{:04X} ", u32::from_ne_bytes(ip.octets()), address.port());
    let table = std::fs::read_to_string("/proc/net/udp").unwrap();
    table.lines().filter(|line| line.contains(&format!(": {local}"))).count()
}

#[test]
fn many_backends_at_once_see_every_request_of_a_stream_that_connects() {
    // Requests are sent without waiting, so that sockets are connected while datagrams fly.
    let rig = rig(2, host());
    let client = rig.client();
    let total = 5 * CONNECT_AFTER;
    for number in 0..total {
        client.send_to(format!("{number}\nout {number}").as_bytes(), rig.listener).unwrap();
    }
    let mut seen = HashSet::new();
    for _ in 0..total {
        let (request, egress) = receive(&rig.backend);
        rig.backend.send_to(request.as_bytes(), egress).unwrap();
        seen.insert(request);
    }
    assert_eq!(seen.len(), total as usize);
    (0..total).for_each(|_| drop(receive(&client)));
}

#[test]
fn refused_datagrams_are_counted_and_the_receive_goes_on() {
    let mut rig = rig(1, host());
    let client = rig.client();
    for _ in 0..CONNECT_AFTER + 8 {
        client.send_to(b"x\nout", rig.listener).unwrap();
        receive(&rig.backend);
    }
    let address = rig.backend.local_addr().unwrap();
    rig.backend = self::client(SocketAddr::new(rig.listener.ip(), 0)); // closes the one before
    for _ in 0..20 {
        client.send_to(b"x\nout", rig.listener).unwrap();
        assert_eq!(rig.ask(&client, "x\nwho"), "0");
    }
    rig.wait_until("counted", |rig| rig.sum(|cells| &cells.icmp_errors) > 0);
    // The backend is back, on the same connected socket.
    rig.backend = self::client(address);
    client.send_to(b"x\nout back again", rig.listener).unwrap();
    while !receive(&rig.backend).0.ends_with("back again") {}
    let port = SocketAddr::new(rig.listener.ip(), rig.listener.port() + 1);
    let back = format!("x\nback {}", client.local_addr().unwrap());
    rig.backend.send_to(back.as_bytes(), port).unwrap();
    assert_eq!(receive(&client).0, "1 0");
    assert_eq!(rig.sum(|cells| &cells.receive_errors), 0);
}

#[test]
fn a_connected_socket_is_closed_when_its_backend_leaves_the_pool() {
    let mut rig = rig(1, host());
    let client = rig.client();
    let port = SocketAddr::new(rig.listener.ip(), rig.listener.port() + 1);
    for round in 0..3 {
        for _ in 0..CONNECT_AFTER + 8 {
            client.send_to(b"x\nout", rig.listener).unwrap();
            receive(&rig.backend);
        }
        rig.wait_until("connected", |_| shares_of(port) == 2);
        let gone = std::mem::replace(
            &mut rig.backend,
            self::client(SocketAddr::new(rig.listener.ip(), 0)),
        );
        rig.pool.store(Arc::new(pool(rig.backend.local_addr().unwrap())));
        // The old backend is heard whatever the state of its connection.
        let back = format!("x\nback {}", client.local_addr().unwrap());
        for _ in 0..50 {
            gone.send_to(back.as_bytes(), port).unwrap();
        }
        (0..50).for_each(|_| assert_eq!(receive(&client).0, "1 0"));
        rig.wait_until("closed", |_| shares_of(port) == 1);
        assert!(round < 3);
    }
}

#[test]
fn a_listener_as_egress_stays_unconnected() {
    let backend = client(SocketAddr::new(host(), 0));
    let mut plan = plan(1, host(), 5060, backend.local_addr().unwrap());
    let mut changed = Settings::clone(&plan.settings[0]);
    let address = changed.sockets[0].address;
    changed.sockets[1].role = Role::Listener;
    plan.settings[0] = Arc::new(changed);
    let workers = start::start(plan, Script::new).unwrap();
    let client = client(SocketAddr::new(address.ip(), 0));
    for _ in 0..2 * CONNECT_AFTER {
        client.send_to(b"x\nout", address).unwrap();
        receive(&backend);
    }
    assert_eq!(shares_of(SocketAddr::new(address.ip(), address.port() + 1)), 1);
    workers.stop();
}

#[test]
fn a_second_start_on_the_same_port_fails_and_says_so() {
    let host = host();
    let rig = rig(2, host);
    let again = plan(2, host, 5060, rig.backend.local_addr().unwrap());
    match Workers::start(again).unwrap_err() {
        StartError::Unavailable(text) => {
            assert!(text.contains(&format!("udp:{}", rig.listener)), "{text}");
            assert!(text.contains("another process has this port"), "{text}");
        }
        StartError::Permission(text) => panic!("{text}"),
    }
    assert_eq!(rig.ask(&rig.client(), "x\nwho").len(), 1, "the first goes on");
}

#[test]
fn stop_ends_all_threads_and_frees_the_ports() {
    let host = host();
    let mut rig = rig(2, host);
    let client = rig.client();
    for _ in 0..CONNECT_AFTER + 8 {
        client.send_to(b"x\nout", rig.listener).unwrap();
        receive(&rig.backend);
    }
    assert!(!rig.workers.as_ref().unwrap().failed());
    rig.workers.take().unwrap().stop();
    // Another number of workers can take over at once.
    let again = plan(1, host, 5060, rig.backend.local_addr().unwrap());
    let workers = start::start(again, Script::new).unwrap();
    assert_eq!(rig.ask(&client, "x\nwho"), "0");
    workers.stop();
}

#[test]
fn threads_have_their_names_and_a_dead_worker_is_noticed() {
    let rig = rig(2, host());
    let names = || {
        let tasks = std::fs::read_dir("/proc/self/task").unwrap();
        let name = |task: std::io::Result<std::fs::DirEntry>| {
            std::fs::read_to_string(task.unwrap().path().join("comm")).unwrap_or_default()
        };
        tasks.map(name).collect::<HashSet<_>>()
    };
    assert!(names().is_superset(&HashSet::from(["worker-0\n".into(), "worker-1\n".into()])));
    rig.client().send_to(b"x\ndie", rig.listener).unwrap();
    rig.wait_until("noticed", |rig| rig.workers.as_ref().unwrap().failed());
}

#[test]
fn gauges_are_refreshed_without_traffic() {
    let rig = rig(1, host());
    rig.wait_until("gauges", |rig| rig.sum(|cells| &cells.cpu_ns) > 0);
    assert_eq!((rig.sum(|cells| &cells.pins), rig.sum(|cells| &cells.dialogs)), (11, 7));
    let before = rig.sum(|cells| &cells.enters);
    rig.wait_until("ticks", |rig| rig.sum(|cells| &cells.enters) >= before + 2);
}

#[test]
fn absorbed_and_dropped_messages_give_their_slots_back() {
    let rig = rig(1, host());
    let client = rig.client();
    for _ in 0..600 {
        client.send_to(b"x\nquiet", rig.listener).unwrap();
        client.send_to(b"x\nnonsense", rig.listener).unwrap();
    }
    assert_eq!(rig.ask(&client, "x\nwho"), "0");
    assert_eq!(rig.sum(|cells| &cells.absorbed[Absorb::KeepAlive as usize]), 600);
    assert_eq!(rig.sum(|cells| &cells.dropped[Drop::NotSip as usize]), 600);
}

#[test]
#[should_panic(expected = "worker 1 sends from")]
fn a_worker_does_not_send_from_the_port_of_another() {
    let host = host();
    let mut plan = plan(2, host, 5060, SocketAddr::new(host, 9));
    let mut changed = Settings::clone(&plan.settings[1]);
    changed.sides[0].egress = SocketIndex(1);
    plan.settings[1] = Arc::new(changed);
    let _ = Workers::start(plan);
}
