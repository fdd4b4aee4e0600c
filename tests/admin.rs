//! A whole life of the balancer: it starts, shows itself on the admin address, and a signal ends it.

use sipring::config::{
    BackendConfig, BackendPorts, Cluster, Config, Limits, Listener, LogLevel, PoolConfig,
};
use sipring::control::{Admin, Balancer, Failure, run};
use sipring::pool::{Intake, Policy, State};
use sipring::proxy::{PathMode, WORK};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(20);

/// A signal reaches every balancer of this process: one at a time.
static ONE_LIFE: Mutex<()> = Mutex::new(());

fn free_tcp_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    listener.local_addr().expect("it is bound")
}

fn config() -> Config {
    let backend = |(name, state): (&str, State)| BackendConfig {
        name: name.into(),
        address: "127.0.0.9:5060".parse().expect("an address"),
        weight: 2,
        state,
        sources: vec![],
        intake: Intake::default(),
    };
    let mut backends = [("one", State::Ready), ("two", State::Drained)].map(backend);
    backends[1].address.set_port(5061);
    Config {
        steering: true,
        workers: Some(2),
        listeners: vec![Listener {
            bind: "127.0.0.1:0".parse().unwrap(),
            advertise: None,
            force_rport: false,
        }],
        backend_ports: BackendPorts::Listener,
        pools: vec![PoolConfig::new("default", Policy::CALL_ID_HASH, backends.to_vec())],
        routes: vec![],
        work: WORK,
        record_route: true,
        path: PathMode::Always,
        dns: sipring::config::DnsConfig::default(),
        limits: Limits {
            max_message: 65_507,
            pins: 1000,
            dialog_idle_s: 43_200,
            registration_idle_s: 7200,
            failover_tries: 3,
            failover_after_s: 3,
            failover_kept: 64,
            receive_buffer: 1 << 18,
            ..Limits::default()
        },
        cluster: Cluster { current: None, previous: None, hash_seed: 0 },
        admin: free_tcp_address(),
        admin_socket: None,
        message_log: None,
        log: LogLevel::Error,
    }
}

/// `run` in a thread of its own.
struct Life {
    admin: SocketAddr,
    thread: Option<JoinHandle<Result<(), Failure>>>,
    _alone: MutexGuard<'static, ()>,
}

impl Life {
    /// Returns when it answers on its admin address.
    fn start(config: Config) -> Self {
        let alone = ONE_LIFE.lock().unwrap_or_else(PoisonError::into_inner);
        let admin = config.admin;
        let thread = Some(std::thread::spawn(move || run(config)));
        let mut life = Self { admin, thread, _alone: alone };
        let deadline = Instant::now() + PATIENCE;
        while get(admin, "/live").is_none() {
            if life.thread.as_ref().is_some_and(JoinHandle::is_finished) {
                panic!("it ended at once: {:?}", life.join());
            }
            assert!(Instant::now() < deadline, "no answer on {admin}");
            std::thread::sleep(Duration::from_millis(10));
        }
        life
    }

    fn get(&self, path: &str) -> (String, String) {
        get(self.admin, path).expect("the admin server answers")
    }

    fn join(&mut self) -> Result<(), Failure> {
        self.thread.take().expect("joined once").join().expect("it does not panic")
    }

    fn end_by(mut self, signal: &str) -> Result<(), Failure> {
        send(signal);
        self.join()
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        if let Some(thread) = self.thread.take() {
            send("TERM");
            let _ = thread.join();
        }
    }
}

fn send(signal: &str) {
    let kill = format!("kill -{signal} {}", std::process::id());
    assert!(Command::new("sh").args(["-c", &kill]).status().expect("sh starts").success());
}

/// Head and body of the answer, or `None` when nobody listens.
fn get(admin: SocketAddr, path: &str) -> Option<(String, String)> {
    let mut client = TcpStream::connect(admin).ok()?;
    client.set_read_timeout(Some(PATIENCE)).ok()?;
    client.write_all(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes()).ok()?;
    let mut answer = String::new();
    client.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    Some((head.to_ascii_lowercase(), body.to_owned()))
}

fn assert_line(text: &str, line: &str) {
    assert!(text.lines().any(|l| l == line), "no line {line:?} in:\n{text}");
}

#[test]
fn it_shows_itself_and_term_ends_it() {
    let life = Life::start(config());
    let admin = life.admin;
    assert!(life.get("/").0.starts_with("http/1.1 200 "));
    assert!(life.get("/ready").0.starts_with("http/1.1 200 "));
    assert!(life.get("/nothing").0.starts_with("http/1.1 404 "));
    let (head, body) = life.get("/metrics");
    assert!(head.starts_with("http/1.1 200 "), "{head}");
    assert!(head.contains("\r\ncontent-type: text/plain; version=0.0.4"), "{head}");
    assert_line(&body, "sipring_workers 2");
    assert_line(&body, "sipring_pins_max 1000");
    assert_line(&body, "sipring_backend_requests_total{backend=\"one\"} 0");
    assert_line(&body, "sipring_backend_state{backend=\"one\",state=\"ready\"} 1");
    assert_line(&body, "sipring_backend_state{backend=\"two\",state=\"drained\"} 1");
    for worker in 0..2 {
        let series = format!("\nsipring_worker_cpu_seconds_total{{worker=\"{worker}\"}} ");
        assert!(body.contains(&series), "no {series} in:\n{body}");
    }
    assert_eq!(life.end_by("TERM"), Ok(()));
    assert_eq!(get(admin, "/live"), None);
}

#[test]
fn int_ends_it_and_it_can_start_again_on_the_same_ports() {
    let mut config = config();
    config.listeners[0].bind = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for _ in 0..2 {
        assert_eq!(Life::start(config.clone()).end_by("INT"), Ok(()));
    }
}

#[test]
fn hup_does_not_end_it() {
    let life = Life::start(config());
    send("HUP");
    assert!(life.get("/ready").0.starts_with("http/1.1 200 "));
    assert_eq!(life.end_by("TERM"), Ok(()));
}

#[test]
fn a_busy_admin_port_is_said_before_anything_starts() {
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut config = config();
    config.admin = other.local_addr().unwrap();
    let failure = run(config.clone()).unwrap_err();
    assert_eq!(failure.exit, Failure::UNAVAILABLE);
    assert!(failure.text.contains(&config.admin.to_string()), "{failure}");
}

#[test]
fn a_listener_that_another_process_has_is_refused() {
    let other = UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut config = config();
    config.listeners[0].bind = other.local_addr().unwrap();
    let failure = run(config.clone()).unwrap_err();
    assert_eq!(failure.exit, Failure::UNAVAILABLE);
    assert!(failure.text.contains(&config.listeners[0].bind.to_string()), "{failure}");
    assert!(TcpListener::bind(config.admin).is_ok(), "the admin port is free again");
}

#[test]
fn a_balancer_in_the_same_process_needs_no_signal_and_no_admin_address() {
    let balancer = Balancer::start(config()).unwrap();
    assert_eq!(balancer.listeners().len(), 1);
    assert!(!balancer.failed());
    balancer.set_admin("one", Admin::Maint, "a test").unwrap();
    let text = balancer.metrics().text().unwrap();
    assert_line(&text, "sipring_backend_state{backend=\"one\",state=\"down\"} 1");
    assert_line(&text, "sipring_backend_state{backend=\"one\",state=\"ready\"} 0");
    balancer.stop();
}
