//! The caller: whole calls at a rate or a number at once, each followed to its end.

mod agent;
mod call;
mod extra;
mod pace;
mod record;

pub use pace::Pace;
pub use record::CallRecord;

use crate::engine::{self, Engine};
use crate::plan::PlannedCall;
use crate::report::CallerReport;
use agent::CallerAgent;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

/// What a caller does. Start from [`CallerOptions::to`].
#[derive(Clone, Debug)]
pub struct CallerOptions {
    /// Where every request goes (the balancer, as an outbound proxy).
    pub to: SocketAddr,
    /// How calls are started.
    pub pace: Pace,
    /// Calls in all; `None`: until [`CallerOptions::duration`] or [`Caller::finish`].
    pub calls: Option<u64>,
    /// For how long calls are started; `None`: without a limit.
    pub duration: Option<Duration>,
    /// Shortest and longest time from the ACK to the BYE; each call draws its own.
    pub hold: (Duration, Duration),
    /// Of 1000 calls, how many the callee ends. It is asked in a header field that only
    /// [`crate::Backend`] knows.
    pub callee_hangs_up_per_mille: u16,
    /// Decides names, Call-IDs, tags, branches, hold times and who hangs up.
    pub seed: u64,
    /// T1 of RFC 3261 17.1.1.1 (500 ms there).
    pub t1: Duration,
    /// Calls open at once at most (1 to 1 000 000); an open loop waits, and counts it as late.
    pub open_max: usize,
    /// Calls sent directly to a backend in between, as a baseline.
    pub direct: Option<Direct>,
    /// The local address; `None`: a free port of the address that the kernel picks towards `to`.
    pub bind: Option<SocketAddr>,
    /// These calls, instead of those by `pace`, `calls`, `duration` and `hold`; each leaves a
    /// [`CallRecord`].
    pub plan: Option<Arc<[PlannedCall]>>,
}

/// The baseline of the added latency.
#[derive(Clone, Copy, Debug)]
pub struct Direct {
    /// A backend, of the same address family as `to`.
    pub to: SocketAddr,
    /// One call of this many goes directly (at least 2).
    pub every: u64,
}

impl CallerOptions {
    /// One call after the other, each held for 200 to 400 ms, without an end.
    pub fn to(to: SocketAddr) -> Self {
        Self {
            to,
            pace: Pace::Closed { concurrent: 1 },
            calls: None,
            duration: None,
            hold: (Duration::from_millis(200), Duration::from_millis(400)),
            callee_hangs_up_per_mille: 0,
            seed: 1,
            t1: Duration::from_millis(500),
            open_max: 65_536,
            direct: None,
            bind: None,
            plan: None,
        }
    }

    /// # Errors
    /// `InvalidInput`, with what was found and what would be right.
    fn check(&self) -> io::Result<()> {
        let wrong = |text: String| Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        self.pace.check().or_else(wrong)?;
        if self.hold.0 > self.hold.1 || self.hold.1 > Duration::from_secs(86_400) {
            return wrong(format!(
                "hold {:?} to {:?}: the shortest comes first, and a day is the longest",
                self.hold.0, self.hold.1
            ));
        }
        if self.t1 < Duration::from_millis(1) || self.t1 > Duration::from_secs(10) {
            return wrong(format!("T1 {:?}: 1 ms to 10 s would be right", self.t1));
        }
        if !(1..=1_000_000).contains(&self.open_max) {
            return wrong(format!("{} calls open at once: 1 to 1 000 000", self.open_max));
        }
        if let Some(direct) = self.direct {
            if direct.every < 2 {
                return wrong(format!("1 of {} calls directly: 2 or more", direct.every));
            }
            if direct.to.is_ipv4() != self.to.is_ipv4() {
                return wrong(format!("{} and {} differ in address family", self.to, direct.to));
            }
        }
        Ok(())
    }
}

/// A running caller. Dropping it ends it at once, with its calls open.
#[derive(Debug)]
pub struct Caller {
    engine: Engine<CallerAgent>,
    report: Arc<CallerReport>,
    local: SocketAddr,
}

impl Caller {
    /// Opens a socket and starts the first calls.
    ///
    /// # Errors
    /// `InvalidInput` for options out of their range; else what the kernel said of the socket or
    /// the threads.
    pub fn start(options: CallerOptions) -> io::Result<Self> {
        options.check()?;
        let bind = match options.bind {
            Some(bind) => bind,
            None => SocketAddr::new(local_towards(options.to)?, 0),
        };
        let socket = engine::open(bind)?;
        let local = socket.local_addr()?;
        let report = Arc::new(CallerReport::default());
        let agent = CallerAgent::new(options, local, Arc::clone(&report));
        Ok(Self { engine: Engine::start("caller", socket, agent)?, report, local })
    }

    /// The live report.
    pub fn report(&self) -> &Arc<CallerReport> {
        &self.report
    }

    /// The address that calls come from.
    pub fn local(&self) -> SocketAddr {
        self.local
    }

    /// What became of the calls of a plan so far: first those that have ended, then those that are
    /// open.
    pub fn records(&self) -> Vec<CallRecord> {
        self.engine.with(|agent| agent.records())
    }

    /// Starts no more calls; those that are open go on to their end.
    pub fn finish(&self) {
        self.engine.with(CallerAgent::finish);
    }

    /// Waits until every call has ended, at most `limit`; true if they have. A call that the
    /// callee ended is kept for 4*T1 more, in case its 200 was lost.
    pub fn wait(&self, limit: Duration) -> bool {
        self.engine.wait(limit)
    }
}

/// The local address that the kernel picks towards a peer.
fn local_towards(to: SocketAddr) -> io::Result<IpAddr> {
    let any: IpAddr = match to {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let probe = UdpSocket::bind((any, 0))?;
    probe.connect(to)?;
    Ok(probe.local_addr()?.ip())
}
