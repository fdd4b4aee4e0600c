//! The balancer under test: a process of its own, started from a config file that is written here.

use super::contender::Contender;
use super::scenario::Scenario;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long it may take until it says that it is ready.
const PATIENCE: Duration = Duration::from_secs(10);

/// The loopback addresses of one lane: 127.N.x.y, where others are not in the way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Network(pub(super) u8);

impl Network {
    /// Where clients send to.
    pub(super) fn listener(self) -> SocketAddr {
        self.at(0, 1, 5060)
    }

    fn admin(self) -> SocketAddr {
        self.at(0, 1, 9060)
    }

    /// Where a backend listens.
    pub(super) fn backend(self, number: usize) -> SocketAddr {
        self.at(1, number + 1, 5060)
    }

    /// What a caller binds to.
    pub(super) fn caller(self, number: usize) -> SocketAddr {
        self.at(2, number + 1, 0)
    }

    /// Where requests to backends leave from. These ports are of 127.0.0.1 in every lane: that is the
    /// address that the kernel picks towards any of 127.0.0.0/8.
    fn backend_ports(self) -> String {
        let first = 16_000 + 8 * u32::from(self.0);
        format!("{first}-{}", first + 7)
    }

    fn at(self, third: u8, fourth: usize, port: u16) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::new(127, self.0, third, fourth as u8), port))
    }
}

/// The config file's text.
pub(super) fn config(network: Network, contender: &Contender, scenario: &Scenario) -> String {
    let (listener, admin, ports) = (network.listener(), network.admin(), network.backend_ports());
    let Contender { pool, workers, .. } = contender;
    // What health checks and failover do is shown where a backend dies. Elsewhere only the policy
    // is to speak, and nobody is to be taken for dead who is only slow.
    let (health, tries) = match scenario.death {
        Some(_) => ("interval = \"1s\"\ntimeout = \"500ms\"", 3),
        None => ("enabled = false", 1),
    };
    let mut text = format!(
        "workers = {workers}\nbackend_ports = \"{ports}\"\n[admin]\nlisten = \"{admin}\"\n\
         [[listener]]\nbind = \"udp:{listener}\"\n[limits]\npins = 100000\nfailover_tries = {tries}\n\
         [cluster]\nkey = \"00112233445566778899aabbccddeeff\"\n[[pool]]\n{pool}\n[pool.health]\n\
         {health}\n"
    );
    for number in 0..scenario.speeds.len() {
        let (address, weight) = (network.backend(number), scenario.weight(number));
        let _ = write!(
            text,
            "[[pool.backend]]\nname = \"b{}\"\naddress = \"{address}\"\nweight = {weight}\n",
            number + 1
        );
    }
    text
}

/// Asks the binary whether it takes this config; what it says if not.
pub(super) fn check(binary: &Path, config: &Path) -> io::Result<Option<String>> {
    let output = Command::new(binary).args(["check", "--config"]).arg(config).output()?;
    let refused = !output.status.success();
    Ok(refused.then(|| String::from_utf8_lossy(&output.stderr).into_owned()))
}

/// The version that the binary says it is.
pub(super) fn version(binary: &Path) -> String {
    let output = Command::new(binary).arg("--version").output();
    output.map_or("unknown".to_owned(), |o| String::from_utf8_lossy(&o.stdout).trim().to_owned())
}

/// A running balancer. Dropping it kills it.
#[derive(Debug)]
pub(super) struct Balancer {
    child: Child,
    log: PathBuf,
}

impl Balancer {
    /// Starts it and waits until it is ready.
    pub(super) fn start(binary: &Path, config: &Path, network: Network) -> io::Result<Self> {
        let log = config.with_extension("log");
        let child = Command::new(binary)
            .args(["run", "--config"])
            .arg(config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log)?)
            .spawn()?;
        let mut balancer = Self { child, log };
        let begin = Instant::now();
        while !is_ready(network.admin()) {
            if begin.elapsed() > PATIENCE || balancer.child.try_wait()?.is_some() {
                let log = std::fs::read_to_string(&balancer.log).unwrap_or_default();
                return Err(io::Error::other(format!("the balancer does not get ready:\n{log}")));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(balancer)
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn is_ready(admin: SocketAddr) -> bool {
    let ask = || -> io::Result<String> {
        let mut stream = TcpStream::connect_timeout(&admin, Duration::from_millis(200))?;
        stream.set_read_timeout(Some(Duration::from_millis(500)))?;
        write!(stream, "GET /ready HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    ask().is_ok_and(|answer| answer.starts_with("HTTP/1.1 200"))
}
