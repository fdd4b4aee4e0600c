//! A balancer in this process between callers and backends of the load generator.

use sipring::config::{self, Config, Flags, Text};
use sipring::control::{Balancer, Failure};
use sipring_loadtest::{Backend, BackendOptions, Caller, CallerOptions, Pace};
use std::fmt::Write;
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// How long a test waits for what must come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(40);

/// All that plays.
pub(crate) struct Stage {
    pub(crate) balancer: Balancer,
    pub(crate) backends: Vec<Backend>,
    /// Where clients come in.
    pub(crate) listener: SocketAddr,
    /// `backend_ports`.
    ports: String,
    /// So many callers were started; each has calls of its own.
    callers: AtomicU64,
}

impl Stage {
    /// With so many backends, b1 and so on.
    pub(crate) fn start(backends: usize, extra: &str) -> Self {
        Self::start_on(backends, "listener", extra)
    }

    /// With these `backend_ports`.
    pub(crate) fn start_on(backends: usize, ports: &str, extra: &str) -> Self {
        let start =
            |n| Backend::start(BackendOptions::named(&format!("b{n}"), loopback("127.0.0.1:0")));
        let backends: Vec<_> = (1..=backends).map(|n| start(n).unwrap()).collect();
        let names: Vec<_> = backends.iter().map(Backend::name).collect();
        let listener = UdpSocket::bind("127.0.0.1:0").and_then(|free| free.local_addr()).unwrap();
        let config = load(&text((listener, ports), &backends, &names, extra)).unwrap();
        let balancer = Balancer::start(config).unwrap();
        Self { balancer, backends, listener, ports: ports.to_owned(), callers: AtomicU64::new(1) }
    }

    /// The file with these names for the first backends, and `extra` keys.
    pub(crate) fn text(&self, names: &[&str], extra: &str) -> String {
        text((self.listener, &self.ports), &self.backends, names, extra)
    }

    /// Calls at this rate, held for some time.
    pub(crate) fn caller(&self, per_second: f64) -> Caller {
        self.caller_to(self.listener, per_second)
    }

    pub(crate) fn caller_to(&self, listener: SocketAddr, per_second: f64) -> Caller {
        let options = CallerOptions {
            pace: Pace::Open { from: per_second, to: per_second, ramp: Duration::from_secs(1) },
            hold: (Duration::from_millis(300), Duration::from_secs(3)),
            callee_hangs_up_per_mille: 300,
            seed: self.callers.fetch_add(1, Relaxed),
            ..CallerOptions::to(listener)
        };
        Caller::start(options).unwrap()
    }

    /// Lets the calls end; none may be lost, split or astray.
    pub(crate) fn finish(&self, caller: &Caller) {
        caller.finish();
        assert!(caller.wait(PATIENCE), "calls do not end");
        let report = &caller.report().through;
        assert!(report.started.value() > 10, "{} calls", report.started.value());
        assert_eq!(report.lost(), 0, "{:?}", report.failures().collect::<Vec<_>>());
        assert_eq!(report.completed.value(), report.started.value());
        let astray: u64 = self.backends.iter().map(|b| b.report().strangers.value()).sum();
        assert_eq!(astray, 0, "requests of dialogs that the backend does not have");
    }

    pub(crate) fn wait_until(&self, what: &str, condition: impl Fn() -> bool) {
        let end = Instant::now() + PATIENCE;
        while !condition() {
            assert!(Instant::now() < end, "in vain: {what}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// A file's text, loaded.
pub(crate) fn load(text: &str) -> Result<Config, Failure> {
    let text = Text { name: "test.toml".to_owned(), bytes: text.as_bytes().to_vec() };
    match config::load(Some(&text), &Flags::default()) {
        Ok(loaded) => Ok(loaded.config),
        Err(report) => Err(Failure::config(report.render(false))),
    }
}

/// An address out of its text.
pub(crate) fn loopback(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

/// The backend of a name is the one whose number the name ends with, else the one at its place.
fn text(
    (listener, ports): (SocketAddr, &str),
    backends: &[Backend],
    names: &[&str],
    extra: &str,
) -> String {
    // Top-level keys stand before the tables, `hash_seed` in its own.
    let (top, tables) = if extra.starts_with('[') { ("", extra) } else { (extra, "") };
    let (top, seed) = if top.starts_with("hash_seed") { ("", top) } else { (top, "") };
    let mut text = format!(
        "workers = 2\nbackend_ports = \"{ports}\"\n{top}[admin]\nlisten = \"127.0.0.1:9\"\n\
         [[listener]]\nbind = \"udp:{listener}\"\n[cluster]\nkey = \"{:032x}\"\n{seed}\
         [log]\nlevel = \"warn\"\n",
        1
    );
    text += tables;
    if tables.is_empty() {
        text += "[limits]\n";
    }
    text += "pins = 10000\n[[pool]]\n";
    for (place, name) in names.iter().enumerate() {
        let number = name.rsplit(|c: char| !c.is_ascii_digit()).next().and_then(|n| n.parse().ok());
        let address = backends[number.unwrap_or(place + 1) - 1].address();
        let _ = write!(
            text,
            "[[pool.backend]]\nname = \"{name}\"\naddress = \"{address}\"\nweight = 1\n"
        );
    }
    text
}
