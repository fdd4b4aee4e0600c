//! The balancer itself: the binary `sipring` with a config file written by the test.

use crate::process::{Namespace, Process};
use crate::stage::{Stage, free_ports, wait_until};
use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

/// What the balancer is told.
pub(crate) struct Setup {
    /// Where clients come in.
    pub(crate) listeners: Vec<SocketAddr>,
    /// The pool: b1, b2 and so on.
    pub(crate) backends: Vec<SocketAddr>,
    /// First of the four ports towards backends.
    pub(crate) backend_ports: u16,
    /// Admin HTTP.
    pub(crate) admin: SocketAddr,
    /// Admin HTTP on a Unix socket too, which is reached from outside of a network namespace.
    pub(crate) admin_socket: Option<PathBuf>,
    /// The lines of `[pool.health]`; `None`: no probes, for most callees take one for a call.
    pub(crate) health: Option<&'static str>,
    /// Pools and rules as the file has them, instead of the one pool of `backends` and `health`.
    pub(crate) pools: Option<String>,
}

/// A running balancer.
pub(crate) struct Balancer {
    process: Process,
    admin: SocketAddr,
    admin_socket: Option<PathBuf>,
}

impl Setup {
    /// Free ports for one listener and what stands around it.
    pub(crate) fn new(listeners: &[SocketAddr], backends: &[SocketAddr]) -> Setup {
        Setup {
            listeners: listeners.to_vec(),
            backends: backends.to_vec(),
            backend_ports: free_ports(4),
            admin: SocketAddr::from(([127, 0, 0, 1], free_ports(1))),
            admin_socket: None,
            health: None,
            pools: None,
        }
    }

    fn backend_range(&self) -> String {
        format!("{}-{}", self.backend_ports, self.backend_ports + 3)
    }

    /// The flags that say the same as [`Setup::file`], for `workers`.
    fn flags(&self, workers: usize) -> Vec<String> {
        let mut flags = vec!["run".to_owned()];
        for listener in &self.listeners {
            flags.extend(["--listen".to_owned(), format!("udp:{listener}")]);
        }
        for (number, backend) in (1..).zip(&self.backends) {
            flags.extend(["--backend".to_owned(), format!("{backend},name=b{number}")]);
        }
        flags.extend(["--workers".to_owned(), workers.to_string()]);
        flags.extend(["--admin".to_owned(), self.admin.to_string()]);
        flags.extend(["--backend-ports".to_owned(), self.backend_range()]);
        if self.health.is_none() {
            flags.push("--no-health".to_owned());
        }
        flags
    }

    /// A config file with a fixed key, so that a later start reads the tokens of an earlier one.
    fn file(&self, workers: usize) -> String {
        let socket = self.admin_socket.iter().map(|path| format!("socket = {path:?}\n"));
        let mut text = format!(
            "workers = {workers}\nbackend_ports = \"{}\"\n\n[admin]\nlisten = \"{}\"\n{}\n\
             [cluster]\nkey = \"000102030405060708090a0b0c0d0e0f\"\n",
            self.backend_range(),
            self.admin,
            socket.collect::<String>()
        );
        for listener in &self.listeners {
            let _ = write!(text, "\n[[listener]]\nbind = \"udp:{listener}\"\n");
        }
        if let Some(pools) = &self.pools {
            text.push_str(pools);
            return text;
        }
        text.push_str("\n[[pool]]\nname = \"default\"\n");
        let _ = writeln!(text, "\n[pool.health]\n{}", self.health.unwrap_or("enabled = false"));
        for (number, backend) in (1..).zip(&self.backends) {
            let _ =
                write!(text, "\n[[pool.backend]]\nname = \"b{number}\"\naddress = \"{backend}\"\n");
        }
        text
    }
}

impl Balancer {
    /// Starts it with flags alone, and waits until it answers.
    pub(crate) fn start(stage: &Stage, setup: &Setup, workers: usize) -> Balancer {
        Balancer::start_again(stage, "balancer", setup, &setup.flags(workers))
    }

    /// Starts it from a config file with a fixed key, and waits until it answers.
    pub(crate) fn start_from_file(
        stage: &Stage,
        name: &str,
        setup: &Setup,
        workers: usize,
    ) -> Balancer {
        let file = stage.write(&format!("{name}.toml"), &setup.file(workers));
        let arguments = ["run", "--config", &file.display().to_string()].map(str::to_owned);
        Balancer::start_again(stage, name, setup, &arguments)
    }

    /// If it cannot have its ports it is started again, as a supervisor does it: on a busy machine the
    /// kernel takes more than a second to close the sockets that the rings of a killed process held.
    fn start_again(stage: &Stage, name: &str, setup: &Setup, arguments: &[String]) -> Balancer {
        for _ in 0..STARTS_MAX {
            let mut balancer = Balancer::launch(stage, name, None, setup, arguments);
            balancer.wait_until_it_answers(setup.listeners[0]);
            match balancer.process.ended().map(|status| status.code()) {
                None => return balancer,
                Some(code) => assert_eq!(code, Some(EXIT_UNAVAILABLE), "{name} ended too early"),
            }
        }
        panic!("{name}: {STARTS_MAX} starts in vain");
    }

    /// Starts it in a network namespace, and waits until its listener is bound.
    pub(crate) fn start_inside(stage: &Stage, setup: &Setup, namespace: &str) -> Balancer {
        let mut balancer =
            Balancer::launch(stage, "balancer", Some(namespace), setup, &setup.flags(2));
        balancer.process.wait_for_udp_port(setup.listeners[0].port());
        balancer
    }

    /// The same from a config file, whose admin socket is there when this returns.
    pub(crate) fn start_inside_from_file(
        stage: &Stage,
        setup: &Setup,
        namespace: &str,
    ) -> Balancer {
        let file = stage.write("balancer.toml", &setup.file(2));
        let arguments = ["run", "--config", &file.display().to_string()].map(str::to_owned);
        let mut balancer = Balancer::launch(stage, "balancer", Some(namespace), setup, &arguments);
        balancer.process.wait_for_udp_port(setup.listeners[0].port());
        let socket = setup.admin_socket.as_ref().expect("an admin socket");
        wait_until("its admin socket is there", Duration::from_secs(20), || {
            UnixStream::connect(socket).is_ok()
        });
        balancer
    }

    fn launch(
        stage: &Stage,
        name: &str,
        namespace: Namespace<'_>,
        setup: &Setup,
        arguments: &[String],
    ) -> Balancer {
        let mut command = vec![binary().display().to_string()];
        command.extend_from_slice(arguments);
        let process = Process::start(stage, name, namespace, &command);
        Balancer { process, admin: setup.admin, admin_socket: setup.admin_socket.clone() }
    }

    /// An OPTIONS addressed to the balancer gets a 200 (RFC 3261 11); or it ends before that.
    fn wait_until_it_answers(&mut self, listener: SocketAddr) {
        let socket = UdpSocket::bind((listener.ip(), 0)).expect("a socket of the probe");
        socket.connect(listener).expect("an address of the probe");
        socket.set_read_timeout(Some(Duration::from_millis(100))).expect("a time-out");
        let request = options(listener, socket.local_addr().expect("its own address"));
        wait_until("the balancer answers an OPTIONS", Duration::from_secs(20), || {
            if self.process.ended().is_some() {
                return true;
            }
            let mut answer = [0; 2048];
            let _ = socket.send(request.as_bytes());
            let len = socket.recv(&mut answer).unwrap_or(0);
            answer[..len].starts_with(b"SIP/2.0 200 ")
        });
    }

    /// True if its metrics have this line.
    pub(crate) fn has(&self, line: &str) -> bool {
        self.metrics().lines().any(|one| one.trim_end() == line)
    }

    /// The value of a series, a whole number.
    pub(crate) fn value(&self, series: &str) -> u64 {
        let metrics = self.metrics();
        let value = metrics.lines().find_map(|line| line.strip_prefix(series));
        value.and_then(|value| value.trim().parse().ok()).expect("a series from the start on")
    }

    fn metrics(&self) -> String {
        match &self.admin_socket {
            Some(path) => self.read_metrics(UnixStream::connect(path).expect("the admin socket")),
            None => self.read_metrics(TcpStream::connect(self.admin).expect("the admin address")),
        }
    }

    fn read_metrics(&self, mut stream: impl Read + Write) -> String {
        let request =
            format!("GET /metrics HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.admin);
        stream.write_all(request.as_bytes()).expect("a request");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        answer
    }

    /// Writes another file where [`Balancer::start_from_file`] put its own, sends HUP, and waits until it
    /// is loaded.
    pub(crate) fn reload(&self, stage: &Stage, name: &str, setup: &Setup, workers: usize) {
        let loaded = "sipring_config_reloads_total{result=\"success\"}";
        let before = self.value(loaded);
        stage.write(&format!("{name}.toml"), &setup.file(workers));
        self.process.signal("HUP");
        wait_until("the file is loaded", Duration::from_secs(20), || self.value(loaded) > before);
    }

    /// Panics if it has ended.
    pub(crate) fn assert_alive(&mut self) {
        self.process.assert_alive();
    }

    /// `kill -9`.
    pub(crate) fn kill_hard(self) {
        self.process.kill_hard();
    }
}

/// An OPTIONS for `to` itself, sent from `from`.
pub(crate) fn options(to: SocketAddr, from: SocketAddr) -> String {
    format!(
        "OPTIONS sip:{to} SIP/2.0\r\n\
         Via: SIP/2.0/UDP {from};branch=z9hG4bK-probe-{port};rport\r\n\
         From: <sip:probe@{from}>;tag=probe\r\n\
         To: <sip:{to}>\r\n\
         Call-ID: probe-{port}\r\n\
         CSeq: 1 OPTIONS\r\n\
         Max-Forwards: 1\r\n\
         Content-Length: 0\r\n\r\n",
        port = from.port()
    )
}

/// The binary of this build, or the one that `SIPRING_WIRE_BINARY` names (an installed package, or
/// another proxy behind the same flags, to tell a wrong scenario from a wrong balancer).
fn binary() -> PathBuf {
    std::env::var_os("SIPRING_WIRE_BINARY")
        .map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_sipring")), PathBuf::from)
}

/// A port is taken (sysexits' EX_UNAVAILABLE).
const EXIT_UNAVAILABLE: i32 = 69;
const STARTS_MAX: u32 = 10;
