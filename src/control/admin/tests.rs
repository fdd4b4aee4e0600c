//! Over loopback, with metrics of workers that do not run.

use super::super::runtime::Runtime;
use super::*;
use crate::metrics::{Cells, Roster, Source};
use crate::pool::{Policy, Pool};
use arc_swap::ArcSwap;
use std::io::{Read, Write};
use std::net::TcpStream as Client;
use std::thread::JoinHandle;
use std::time::SystemTime;
use tokio::sync::oneshot;

/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(20);

/// A server in a thread of its own.
struct Server {
    address: SocketAddr,
    view: Arc<View>,
    cells: Arc<Cells>,
    end: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    fn start(bounds: Bounds) -> Self {
        let pool = Pool::build(vec![], Policy::CALL_ID_HASH, 0).expect("an empty pool");
        let cells = Arc::new(Cells::default());
        let source = Source {
            cells: vec![cells.clone()],
            roster: Arc::new(ArcSwap::from_pointee(Roster::new(pool, 1))),
            reloads: Arc::new(crate::metrics::Reloads::new(SystemTime::now())),
            probes: Arc::default(),
            socket_drops: Arc::default(),
            lookups: Arc::default(),
            steering: Arc::default(),
            pins_max: 1,
            started: SystemTime::now(),
        };
        let metrics = Arc::new(Metrics::new(source));
        let view = Arc::new(View {
            metrics,
            ready: AtomicBool::new(true),
            operator: None,
            streams: Places::default(),
        });
        let mut admin = Admin::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        admin.bounds = bounds;
        let address = admin.address().unwrap();
        let (end, ended) = oneshot::channel();
        let shown = view.clone();
        let thread = std::thread::spawn(move || {
            Runtime::new().unwrap().block_on(async {
                admin.serve(shown).unwrap();
                let _ = ended.await;
            });
        });
        Self { address, view, cells, end: Some(end), thread: Some(thread) }
    }

    fn connect(&self) -> Client {
        let client = Client::connect(self.address).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        client
    }

    /// The head and the body of the answer.
    fn ask(&self, request: &str) -> (String, String) {
        let mut client = self.connect();
        client.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        (head.to_ascii_lowercase(), body.to_owned())
    }

    fn get(&self, path: &str) -> (String, String) {
        self.ask(&format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.end.take());
        let ended = self.thread.take().map(JoinHandle::join);
        assert!(std::thread::panicking() || !matches!(ended, Some(Err(_))), "the server panicked");
    }
}

#[test]
fn metrics_come_in_the_text_format_and_fresh() {
    let server = Server::start(BOUNDS);
    let (head, body) = server.get("/metrics");
    assert!(head.starts_with("http/1.1 200 "), "{head}");
    assert!(head.contains("\r\ncontent-type: text/plain; version=0.0.4\r\n"), "{head}");
    assert!(body.contains("\nsipring_datagrams_received_total 0\n"), "{body}");
    server.cells.datagrams_received.add(5);
    let (_, body) = server.get("/metrics?from=prometheus");
    assert!(body.contains("\nsipring_datagrams_received_total 5\n"), "{body}");
}

#[test]
fn live_and_ready_say_two_things() {
    let server = Server::start(BOUNDS);
    assert!(server.get("/live").0.starts_with("http/1.1 200 "));
    assert!(server.get("/ready").0.starts_with("http/1.1 200 "));
    server.view.ready.store(false, Relaxed);
    assert!(server.get("/live").0.starts_with("http/1.1 200 "));
    assert!(server.get("/ready").0.starts_with("http/1.1 503 "));
}

#[test]
fn the_index_is_the_page_and_unknown_paths_name_the_known_ones() {
    let server = Server::start(BOUNDS);
    let (head, body) = server.get("/");
    assert!(head.starts_with("http/1.1 200 "), "{head}");
    assert!(body.starts_with("<!doctype html>"), "{body}");
    let (head, body) = server.get("/index");
    assert!(head.starts_with("http/1.1 404 "), "{head}");
    assert!(PATHS.iter().all(|path| body.contains(path)), "{body}");
}

#[test]
fn an_unknown_path_is_404_whatever_the_method() {
    let server = Server::start(BOUNDS);
    for request in ["GET /metrics/", "GET /api", "POST /api", "GET /%2e%2e/etc/passwd"] {
        let (head, _) = server.ask(&format!("{request} HTTP/1.1\r\nHost: a\r\n\r\n"));
        assert!(head.starts_with("http/1.1 404 "), "{request}: {head}");
    }
}

#[test]
fn only_get_and_head_are_allowed() {
    let server = Server::start(BOUNDS);
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "BREW"] {
        let request = format!("{method} /ready HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx");
        let (head, _) = server.ask(&request);
        assert!(head.starts_with("http/1.1 405 "), "{method}: {head}");
        assert!(head.contains("\r\nallow: get, head"), "{method}: {head}");
    }
}

#[test]
fn head_is_get_without_the_body() {
    let server = Server::start(BOUNDS);
    let (head, body) = server.ask("HEAD /live HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(head.starts_with("http/1.1 200 "), "{head}");
    assert!(head.contains("\r\ncontent-length: 5\r\n"), "{head}");
    assert_eq!(body, "");
}

#[test]
fn rubbish_is_refused_and_the_next_client_is_served() {
    let server = Server::start(BOUNDS);
    let long_head = format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(2 * HEAD_SIZE_MAX));
    let rubbish: [&[u8]; 5] = [
        b"",
        b"\r\n\r\n\r\n\r\n",
        b"\x16\x03\x01\x00\xff\xff\xff",
        b"INVITE sip:a SIP/2.0\r\n\r\n",
        long_head.as_bytes(),
    ];
    for bytes in rubbish {
        let mut client = server.connect();
        let _ = client.write_all(bytes); // refused before it is all written: fine
        let _ = client.shutdown(std::net::Shutdown::Write);
        let mut answer = Vec::new();
        let _ = client.read_to_end(&mut answer); // an end or a reset
        assert!(!answer.starts_with(b"HTTP/1.1 2"), "{}", String::from_utf8_lossy(&answer));
        assert!(server.get("/live").0.starts_with("http/1.1 200 "));
    }
}

#[test]
fn a_silent_client_is_cut_off() {
    let bounds = Bounds { head: Duration::from_millis(50), ..BOUNDS };
    let server = Server::start(bounds);
    for said in ["", "GET / HTTP/1.1\r\nHo"] {
        let mut client = server.connect();
        client.write_all(said.as_bytes()).unwrap();
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).expect("the server ends it within the test's patience");
        assert!(!answer.starts_with(b"HTTP/1.1 2"), "{}", String::from_utf8_lossy(&answer));
    }
}

#[test]
fn a_client_that_never_reads_or_never_ends_is_cut_off() {
    let bounds = Bounds { connection: Duration::from_millis(50), ..BOUNDS };
    let server = Server::start(bounds);
    let mut client = server.connect();
    client.write_all(b"GET / HTTP/1.1\r\n").unwrap();
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).expect("the server ends it within the test's patience");
    assert_eq!(answer, b"");
}

#[test]
fn as_many_connections_as_allowed_and_the_next_one_waits() {
    let server = Server::start(Bounds { connections: 2, head: PATIENCE, connection: PATIENCE });
    let idle = [server.connect(), server.connect()];
    let mut third = server.connect();
    third.write_all(b"GET /live HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    third.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    assert!(third.read(&mut [0; 1]).is_err(), "answered beside two open connections");
    drop(idle);
    third.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut answer = String::new();
    third.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

#[test]
fn a_busy_port_says_so() {
    let server = Server::start(BOUNDS);
    let failure = Admin::bind(server.address).unwrap_err();
    assert_eq!(failure.exit, Failure::UNAVAILABLE);
    assert!(failure.text.contains(&server.address.to_string()), "{failure}");
}
