//! A balancer in this process between callers and backends of the load generator.

use sipring::config::{self, Config, Flags, Text};
use sipring::control::{Balancer, Failure};
use sipring_loadtest::{Backend, BackendOptions, Caller, CallerOptions, Pace};
use std::fmt::Write;
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering::Relaxed};
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
        Self::start_on(backends, Duration::ZERO, || "listener".to_owned(), extra)
    }

    /// With backends that ring for so long at most before they answer.
    pub(crate) fn start_ringing(backends: usize, ring: Duration) -> Self {
        Self::start_on(backends, ring, || "listener".to_owned(), "")
    }

    /// With `backend_ports` of its own.
    pub(crate) fn start_apart(backends: usize, extra: &str) -> Self {
        let range = || {
            let first = free_ports(2);
            format!("{first}-{}", first + 1)
        };
        Self::start_on(backends, Duration::ZERO, range, extra)
    }

    /// On other ports, if somebody has taken one between the look and the start.
    fn start_on(backends: usize, ring: Duration, ports: impl Fn() -> String, extra: &str) -> Self {
        let start = |n| {
            let options = BackendOptions::named(&format!("b{n}"), loopback("127.0.0.1:0"));
            Backend::start(BackendOptions { ring: (Duration::ZERO, ring), ..options })
        };
        let backends: Vec<_> = (1..=backends).map(|n| start(n).unwrap()).collect();
        let names: Vec<_> = backends.iter().map(Backend::name).collect();
        for _ in 0..STARTS_MAX {
            let (listener, ports) = (SocketAddr::from(([127, 0, 0, 1], free_ports(1))), ports());
            let config = load(&text((listener, &ports), &backends, &names, extra)).unwrap();
            match Balancer::start(config) {
                Ok(balancer) => {
                    let callers = AtomicU64::new(1);
                    return Self { balancer, backends, listener, ports, callers };
                }
                Err(failure) => assert_eq!(failure.exit, Failure::UNAVAILABLE, "{failure}"),
            }
        }
        panic!("{STARTS_MAX} starts in vain");
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

    /// Lets no more calls begin, and waits until those that have begun are answered.
    pub(crate) fn begin_no_more(&self, caller: &Caller) {
        caller.finish();
        self.wait_until_answered(caller);
    }

    /// Waits for a moment at which no call is being set up.
    pub(crate) fn wait_until_answered(&self, caller: &Caller) {
        let through = &caller.report().through;
        self.wait_until("all calls are answered", || {
            let started = through.started.value();
            through.answer.count() >= started
        });
    }

    pub(crate) fn wait_until(&self, what: &str, condition: impl Fn() -> bool) {
        let end = Instant::now() + PATIENCE;
        while !condition() {
            assert!(Instant::now() < end, "in vain: {what}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// The first of so many neighbouring ports that are free on the loopback addresses of these tests. They
/// lie below the kernel's ephemeral ones, which the callers and backends get, and nobody else of this
/// process is told the same.
pub(crate) fn free_ports(count: u16) -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = (std::process::id() % 120 * 100) as u16;
    let is_free =
        |port| ["127.0.0.1", "127.0.0.2"].iter().all(|ip| UdpSocket::bind((*ip, port)).is_ok());
    loop {
        let offset = start + NEXT.fetch_add(count, Relaxed);
        let first = 20_000 + offset % 12_000;
        if (first..first + count).all(is_free) {
            return first;
        }
    }
}

/// Starts of a balancer before a test gives up.
const STARTS_MAX: u32 = 10;

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
