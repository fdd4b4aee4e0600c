//! Lines over the wire, and what becomes of them when nobody reads.

use super::super::balancer::tests::loopback;
use super::super::plan::tests::config;
use super::*;
use crate::config::BackendPorts;
use serde_json::Value;
use std::io::Read;
use std::net::{SocketAddr, UdpSocket};
use std::path::PathBuf;
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(20);

fn log(file: &Path, errors_only: bool) -> Option<MessageLogConfig> {
    Some(MessageLogConfig { errors_only, sample_per_mille: 1000, file: file.to_owned() })
}

/// A balancer, its only backend, and a client.
struct Rig {
    balancer: Balancer,
    config: Config,
    backend: UdpSocket,
    client: UdpSocket,
    directory: TempDir,
}

impl Rig {
    fn new(log: impl FnOnce(&Path) -> Option<MessageLogConfig>) -> Self {
        let bind = || {
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            socket.set_read_timeout(Some(PATIENCE)).unwrap();
            socket
        };
        let (backend, client, directory) = (bind(), bind(), TempDir::new().unwrap());
        let address = backend.local_addr().unwrap().to_string();
        let mut config = config(&["127.0.0.1:0"], BackendPorts::Listener, &[&address]);
        config.workers = Some(2);
        config.message_log = log(directory.path());
        let balancer = Balancer::start(config.clone()).unwrap();
        Self { balancer, config, backend, client, directory }
    }

    fn file(&self) -> PathBuf {
        self.directory.path().join("log")
    }

    fn request(&self, method: &str, uri: &str, call_id: &str) -> String {
        let from = self.client.local_addr().unwrap();
        format!(
            "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP {from};branch=z9hG4bK{method}-{0};rport\r\n\
             From: <sip:a@{from}>;tag=a\r\nTo: <sip:b@example.com>\r\nCall-ID: {call_id}\r\n\
             CSeq: 1 {method}\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n",
            call_id.len()
        )
    }

    fn listener(&self) -> SocketAddr {
        self.balancer.listeners()[0]
    }

    /// Sends a request through to the backend, which answers this; the client gets it.
    fn exchange(&self, method: &str, call_id: &str, status: &str) {
        let request = self.request(method, "sip:b@example.com", call_id);
        self.client.send_to(request.as_bytes(), self.listener()).unwrap();
        let (request, from) = receive(&self.backend);
        let kept = |line: &&str| {
            ["Via:", "From:", "To:", "Call-ID:", "CSeq:"].iter().any(|name| line.starts_with(name))
        };
        let rows: String = request.lines().filter(kept).map(|line| format!("{line}\r\n")).collect();
        let response = format!("SIP/2.0 {status}\r\n{rows}Content-Length: 0\r\n\r\n");
        self.backend.send_to(response.as_bytes(), from).unwrap();
        assert!(receive(&self.client).0.starts_with(&format!("SIP/2.0 {status}\r\n")));
    }

    /// An OPTIONS to the balancer itself, which answers.
    fn options(&self, call_id: &str) {
        let request = self.request("OPTIONS", &format!("sip:{}", self.listener()), call_id);
        self.client.send_to(request.as_bytes(), self.listener()).unwrap();
        assert!(receive(&self.client).0.starts_with("SIP/2.0 200 "));
    }

    /// So many lines of a file, once they are there.
    fn lines(&self, file: &Path, count: usize) -> Vec<Value> {
        let end = Instant::now() + PATIENCE;
        loop {
            let text = std::fs::read_to_string(file).unwrap_or_default();
            if text.lines().count() >= count {
                return values(&text);
            }
            assert!(Instant::now() < end, "{count} lines do not come: {text}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn reload(&mut self, log: Option<MessageLogConfig>) {
        self.config.message_log = log;
        let reloaded = self.balancer.reload(&self.config).unwrap();
        assert!(reloaded.diff.live[0].starts_with("message log "), "{:?}", reloaded.diff);
        // The workers have their pens when they answer.
        let (sender, answers) = channel();
        let sender = std::sync::Mutex::new(sender);
        let answer: crate::worker::Answer =
            Arc::new(move |_| sender.lock().unwrap().send(()).unwrap());
        self.balancer.ask(b"", &answer);
        (0..2).for_each(|_| answers.recv_timeout(PATIENCE).unwrap());
    }

    fn dropped(&self) -> u64 {
        self.balancer.cells().iter().map(|cells| cells.message_log_dropped.value()).sum()
    }
}

fn receive(socket: &UdpSocket) -> (String, SocketAddr) {
    let mut bytes = [0; 4096];
    let (len, from) = loop {
        match socket.recv_from(&mut bytes) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            // A probe of the backend's health.
            Ok((len, _)) if bytes[..len].starts_with(b"OPTIONS sip:127.0.0.1") => {}
            result => break result.expect("something comes"),
        }
    };
    (String::from_utf8_lossy(&bytes[..len]).into_owned(), from)
}

fn values(text: &str) -> Vec<Value> {
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}")))
        .collect()
}

#[test]
fn every_final_response_has_a_line_that_is_true() {
    let rig = Rig::new(|directory| log(&directory.join("log"), false));
    let before = SystemTime::now();
    rig.exchange("INVITE", "one@x", "180 Ringing");
    rig.exchange("INVITE", "a\"b\\c@x", "486 Busy Here");
    rig.exchange("MESSAGE", "two@x", "200 OK");
    rig.options("three@x");
    let lines = rig.lines(&rig.file(), 3);
    let after = SystemTime::now();
    let src = rig.client.local_addr().unwrap().to_string();
    let node = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    let of = |call_id: &str| lines.iter().find(|line| line["call_id"] == call_id).expect(call_id);
    for (call_id, method, code, by) in [
        ("a\"b\\c@x", "INVITE", 486, "backend"),
        ("two@x", "MESSAGE", 200, "backend"),
        ("three@x", "OPTIONS", 200, "balancer"),
    ] {
        let line = of(call_id);
        assert_eq!((&line["method"], &line["code"]), (&method.into(), &code.into()), "{line}");
        assert_eq!((&line["src"], &line["transport"]), (&src.clone().into(), &"udp".into()));
        assert_eq!((&line["by"], &line["node"]), (&by.into(), &node.trim().into()));
        assert_eq!(line["backend"], if by == "backend" { "b0".into() } else { Value::Null });
        assert!(line["worker"].as_u64().is_some_and(|worker| worker < 2));
        let ts = line["ts"].as_f64().unwrap();
        let unix = |at: SystemTime| at.duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
        assert!(unix(before) - 0.01 <= ts && ts <= unix(after) + 0.01, "{ts}");
    }
    assert_eq!(lines.len(), 3, "the ringing is none");
    rig.balancer.stop();
    assert_eq!(rig.lines(&rig.file(), 3).len(), 3);
}

#[test]
fn errors_only_leaves_out_success_and_challenges() {
    let rig = Rig::new(|directory| log(&directory.join("log"), true));
    for (call_id, status) in [
        ("a", "200 OK"),
        ("b", "302 Moved"),
        ("c", "401 Unauthorized"),
        ("d", "407 Proxy"),
        ("e", "400 Bad"),
        ("f", "699 No"),
    ] {
        rig.exchange("MESSAGE", call_id, status);
    }
    let lines = rig.lines(&rig.file(), 2);
    let mut codes: Vec<_> = lines.iter().map(|line| line["code"].as_u64().unwrap()).collect();
    codes.sort_unstable();
    assert_eq!(codes, [400, 699]);
    rig.balancer.stop();
}

#[test]
fn it_is_switched_on_moved_and_switched_off_by_reload() {
    let mut rig = Rig::new(|_| None);
    let (one, two) = (rig.file(), rig.directory.path().join("two"));
    rig.exchange("MESSAGE", "0", "200 OK");
    assert!(!one.exists());
    rig.reload(log(&one, false));
    rig.exchange("MESSAGE", "1", "200 OK");
    assert_eq!(rig.lines(&one, 1)[0]["call_id"], "1");
    rig.reload(log(&two, false));
    rig.exchange("MESSAGE", "2", "200 OK");
    assert_eq!(rig.lines(&two, 1)[0]["call_id"], "2");
    rig.reload(log(&two, true));
    rig.exchange("MESSAGE", "3", "200 OK");
    rig.exchange("MESSAGE", "4", "500 Oh");
    assert_eq!(rig.lines(&two, 2)[1]["call_id"], "4");
    let nowhere = rig.directory.path().join("no/log");
    let bad = Config { message_log: log(&nowhere, false), ..rig.config.clone() };
    let failure = rig.balancer.reload(&bad).unwrap_err();
    assert!(failure.text.contains("its directory does not exist"), "{failure}");
    rig.exchange("MESSAGE", "5", "500 Oh");
    assert_eq!(rig.lines(&two, 3)[2]["call_id"], "5", "as it was");
    rig.reload(None);
    rig.exchange("MESSAGE", "6", "500 Oh");
    rig.balancer.stop();
    assert_eq!((rig.lines(&one, 1).len(), rig.lines(&two, 3).len()), (1, 3));
}

#[test]
fn a_sample_is_of_whole_calls() {
    let mut rig = Rig::new(|_| None);
    let half = |rig: &Rig| {
        Some(MessageLogConfig { sample_per_mille: 500, ..log(&rig.file(), false).unwrap() })
    };
    rig.reload(half(&rig));
    for _ in 0..2 {
        (0..200).for_each(|number| rig.options(&format!("{number}")));
    }
    rig.balancer.stop();
    let lines = values(&std::fs::read_to_string(rig.file()).unwrap());
    let mut call_ids: Vec<_> = lines.iter().map(|line| line["call_id"].to_string()).collect();
    call_ids.sort_unstable();
    let pairs = call_ids.as_chunks::<2>().0;
    assert!(call_ids.len() % 2 == 0 && pairs.iter().all(|pair| pair[0] == pair[1]), "{call_ids:?}");
    // 100 of 200 expected; the standard deviation is 7.
    assert!((60..140).contains(&pairs.len()), "{}", pairs.len());
}

#[test]
fn a_reader_that_hangs_loses_lines_by_count_and_nothing_else() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&path).status().unwrap();
    assert!(made.success());
    let refused = LogChange::of(None, log(&path, false).as_ref()).unwrap_err();
    assert!(refused.text.contains("nobody reads from it"), "{refused}");
    let mut options = OpenOptions::new();
    let mut reader = options.read(true).custom_flags(libc::O_NONBLOCK).open(&path).unwrap();
    let rig = Rig::new(|_| log(&path, false));
    let mut sent = 0;
    while rig.dropped() < 100 {
        assert!(sent < 100_000, "none is dropped");
        (0..100).for_each(|_| rig.options("the same worker"));
        sent += 100;
    }
    let mut text = String::new();
    let end = Instant::now() + PATIENCE;
    let lost = rig.dropped() as usize;
    while text.lines().count() + lost < sent {
        assert!(Instant::now() < end, "{} lines and {lost} lost of {sent}", text.lines().count());
        let error = reader.read_to_string(&mut text).expect_err("the writer is there");
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(values(&text).len() + lost, sent, "each is there or counted");
    rig.balancer.stop();
}

#[test]
fn a_long_call_id_is_cut() {
    let rig = Rig::new(|directory| log(&directory.join("log"), false));
    let call_id = "x".repeat(300);
    rig.options(&call_id);
    assert_eq!(rig.lines(&rig.file(), 1)[0]["call_id"], call_id[..128]);
    rig.balancer.stop();
}

#[test]
fn a_log_that_cannot_be_opened_stops_the_start() {
    let mut config = loopback();
    config.message_log = log(Path::new("/proc/no/such"), false);
    let failure = Balancer::start(config).unwrap_err();
    assert_eq!(failure.exit, Failure::UNAVAILABLE);
    assert!(failure.text.contains("/proc/no/such"), "{failure}");
}
