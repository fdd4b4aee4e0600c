//! The binary with a config file of its own, between callers and backends of the load generator.

use sipring_loadtest::{Backend, BackendOptions, Caller, CallerOptions, Pace};
use std::cell::{Cell, RefCell};
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering::Relaxed};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long a test waits for what must come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(40);

/// A port is taken (sysexits' EX_UNAVAILABLE).
const EXIT_UNAVAILABLE: i32 = 69;
/// Starts before a test gives up.
const STARTS_MAX: u32 = 10;

pub(crate) struct Stage {
    process: RefCell<Child>,
    directory: TempDir,
    path: String,
    file: String,
    listener: SocketAddr,
    admin: SocketAddr,
    backends: Vec<Backend>,
    /// So many callers were started; each has calls of its own.
    callers: Cell<u64>,
}

impl Stage {
    /// With so many backends, b1 and so on; returns when it answers.
    pub(crate) fn start(backends: usize) -> Self {
        Self::start_with(&[], backends, || "listener".to_owned())
    }

    /// With `backend_ports` of its own.
    pub(crate) fn start_apart(backends: usize) -> Self {
        let range = || {
            let first = free_ports(2);
            format!("{first}-{}", first + 1)
        };
        Self::start_with(&[], backends, range)
    }

    /// By a program that becomes it, which these words begin.
    pub(crate) fn start_by(words: &[&str], backends: usize) -> Self {
        Self::start_with(words, backends, || "listener".to_owned())
    }

    /// On other ports, if somebody has taken one between the look and the start.
    fn start_with(words: &[&str], backends: usize, ports: impl Fn() -> String) -> Self {
        (0..STARTS_MAX)
            .find_map(|_| Self::try_start(words, backends, &ports()))
            .unwrap_or_else(|| panic!("{STARTS_MAX} starts in vain"))
    }

    /// `None`: a port is taken.
    fn try_start(words: &[&str], backends: usize, ports: &str) -> Option<Self> {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let start = |n| Backend::start(BackendOptions::named(&format!("b{n}"), any)).unwrap();
        let backends: Vec<_> = (1..=backends).map(start).collect();
        let [listener, admin] = [(); 2].map(|()| SocketAddr::new(any.ip(), free_ports(1)));
        let directory = TempDir::new().unwrap();
        let mut file = format!(
            "workers = 2\nbackend_ports = \"{ports}\"\n[admin]\nlisten = \"{admin}\"\n\
             socket = \"{}\"\n[[listener]]\nbind = \"udp:{listener}\"\n[limits]\npins = 10000\n\
             [cluster]\nkey = \"{:032x}\"\n[[pool]]\n",
            directory.path().join("control.sock").display(),
            1
        );
        for backend in &backends {
            let (name, address) = (backend.name(), backend.address());
            let block = "[[pool.backend]]\nweight = 1";
            let _ = write!(file, "{block}\nname = \"{name}\"\naddress = \"{address}\"\n");
        }
        let path = directory.path().join("sipring.toml");
        fs::write(&path, &file).unwrap();
        let path = path.to_str().unwrap().to_owned();
        let log = File::create(directory.path().join("log")).unwrap();
        let words = [words, &[env!("CARGO_BIN_EXE_sipring"), "run", "--config", &path]].concat();
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).stdin(Stdio::null()).stderr(log);
        let process = RefCell::new(command.spawn().unwrap());
        let callers = Cell::new(0);
        let stage = Self { process, directory, path, file, listener, admin, backends, callers };
        let mut code = None;
        stage.wait_until("it is ready", || {
            code = stage.ended(Duration::from_millis(1));
            code.is_some() || stage.try_get("/ready").is_some_and(|it| it.0 == 200)
        });
        if let Some(code) = code {
            assert_eq!(code, EXIT_UNAVAILABLE, "{}", stage.log());
            return None;
        }
        Some(stage)
    }

    /// The config file's path.
    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    /// What stood in it at first.
    pub(crate) fn file(&self) -> String {
        self.file.clone()
    }

    pub(crate) fn write(&self, text: &str) {
        fs::write(&self.path, text).unwrap();
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.directory.path().join("control.sock")
    }

    pub(crate) fn admin(&self) -> SocketAddr {
        self.admin
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("log")).unwrap()
    }

    /// Code, standard output and standard error of another command.
    pub(crate) fn sipring(&self, arguments: &[&str]) -> (i32, String, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sipring"));
        let output = command.args(arguments).stdin(Stdio::null()).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    }

    /// `sipring ctl` over the control socket.
    pub(crate) fn ctl(&self, arguments: &[&str]) -> (i32, String, String) {
        let socket = self.socket();
        let before = ["ctl", "--socket", socket.to_str().unwrap()];
        self.sipring(&[&before, arguments].concat())
    }

    pub(crate) fn signal(&self, signal: &str) {
        let kill = format!("kill -s {signal} {}", self.process.borrow().id());
        assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
    }

    /// The exit code; `None` if it does not end in time.
    pub(crate) fn ended(&self, limit: Duration) -> Option<i32> {
        let end = Instant::now() + limit;
        while Instant::now() < end {
            if let Some(status) = self.process.borrow_mut().try_wait().unwrap() {
                return status.code();
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        None
    }

    pub(crate) fn end_by(&self, signal: &str) -> Option<i32> {
        self.signal(signal);
        self.ended(PATIENCE)
    }

    /// Status and body.
    pub(crate) fn get(&self, path: &str) -> (u16, String) {
        self.try_get(path).expect("the admin server answers")
    }

    fn try_get(&self, path: &str) -> Option<(u16, String)> {
        let mut client = TcpStream::connect(self.admin).ok()?;
        client.set_read_timeout(Some(PATIENCE)).ok()?;
        client.write_all(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes()).ok()?;
        let mut answer = String::new();
        client.read_to_string(&mut answer).ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
    }

    /// The value of a series.
    pub(crate) fn metric(&self, series: &str) -> u64 {
        let (_, text) = self.get("/metrics");
        let value = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        value.unwrap_or_else(|| panic!("no {series} in\n{text}")).parse().unwrap()
    }

    /// The answer to an OPTIONS to the balancer itself; empty if none comes soon.
    pub(crate) fn options(&self) -> String {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
        let (to, from) = (self.listener, socket.local_addr().unwrap());
        let request = format!(
            "OPTIONS sip:{to} SIP/2.0\r\nVia: SIP/2.0/UDP {from};branch=z9hG4bK-{0};rport\r\n\
             From: <sip:a@{from}>;tag=a\r\nTo: <sip:{to}>\r\nCall-ID: {0}\r\nCSeq: 1 OPTIONS\r\n\
             Max-Forwards: 1\r\nContent-Length: 0\r\n\r\n",
            from.port()
        );
        socket.send_to(request.as_bytes(), to).unwrap();
        let mut answer = [0; 2048];
        let len = socket.recv(&mut answer).unwrap_or(0);
        String::from_utf8_lossy(&answer[..len]).into_owned()
    }

    /// 50 calls a second of up to three seconds.
    pub(crate) fn caller(&self) -> Caller {
        self.caller_to(self.listener)
    }

    /// Calls that no test waits for.
    pub(crate) fn long_calls(&self) -> Caller {
        self.calls(self.listener, Duration::from_secs(3600), Duration::from_secs(3600))
    }

    /// As [`Stage::caller`], to another listener.
    pub(crate) fn caller_to(&self, listener: SocketAddr) -> Caller {
        self.calls(listener, Duration::from_millis(500), Duration::from_secs(3))
    }

    fn calls(&self, listener: SocketAddr, shortest: Duration, longest: Duration) -> Caller {
        let pace = Pace::Open { from: 50.0, to: 50.0, ramp: Duration::from_secs(1) };
        let hold = (shortest, longest);
        self.callers.set(self.callers.get() + 1);
        let seed = self.callers.get();
        Caller::start(CallerOptions { pace, hold, seed, ..CallerOptions::to(listener) }).unwrap()
    }

    /// Lets the calls end; none may be lost or split.
    pub(crate) fn finish(&self, caller: &Caller) {
        caller.finish();
        assert!(caller.wait(PATIENCE), "calls do not end");
        let report = &caller.report().through;
        assert_eq!(report.lost(), 0, "{:?}", report.failures().collect::<Vec<_>>());
        assert_eq!(report.completed.value(), report.started.value());
        let astray: u64 = self.backends.iter().map(|b| b.report().strangers.value()).sum();
        assert_eq!(astray, 0);
    }

    /// Lets no more calls begin, and waits until those that have begun are answered.
    pub(crate) fn begin_no_more(&self, caller: &Caller) {
        caller.finish();
        let through = &caller.report().through;
        self.wait_until("all calls are answered", || {
            through.answer.count() >= through.started.value()
        });
    }

    pub(crate) fn wait_until(&self, what: &str, mut condition: impl FnMut() -> bool) {
        let end = Instant::now() + PATIENCE;
        while !condition() {
            assert!(Instant::now() < end, "in vain: {what}\n{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let process = self.process.get_mut();
        let _ = process.kill();
        let _ = process.wait();
    }
}

/// The first of so many neighbouring ports that are free on the loopback addresses of these tests, below
/// the kernel's ephemeral ones; nobody else of this process is told the same.
pub(crate) fn free_ports(count: u16) -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = (std::process::id() % 80 * 100) as u16;
    let udp = |ip, port| UdpSocket::bind((ip, port)).is_ok();
    let is_free = |port| {
        udp("127.0.0.1", port)
            && udp("127.0.0.2", port)
            && TcpListener::bind(("127.0.0.1", port)).is_ok()
    };
    loop {
        let offset = start + NEXT.fetch_add(count, Relaxed);
        let first = 12_000 + offset % 8_000;
        if (first..first + count).all(is_free) {
            return first;
        }
    }
}
