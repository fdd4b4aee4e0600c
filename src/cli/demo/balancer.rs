//! The balancer of the demo: a config made by hand, and the few calls that the show needs.

use super::play::Front;
use crate::config::{
    BackendConfig, BackendPorts, Cluster, Config, Limits, Listener, LogLevel, PoolConfig,
};
use crate::control::{Balancer, Failure};
use crate::metrics::{Cell, Cells};
use crate::pool::{Policy, State};
use crate::proxy::{Key, PathMode};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};

/// Ports towards the backends are looked for from here on: below the kernel's ephemeral ones.
const PORTS_FIRST: u16 = 20_000;
const PORTS_LAST: u16 = 31_999;
/// Starts, each with other ports: somebody may take one between the look and the start.
const STARTS: u16 = 3;

/// A balancer in this process.
#[derive(Debug)]
pub(super) struct RealBalancer {
    balancer: Balancer,
    address: SocketAddr,
}

impl RealBalancer {
    /// Starts it on free loopback ports.
    pub(super) fn start(pool: &[(String, SocketAddr)], seed: u64) -> Result<Self, Failure> {
        let mut failure = Failure::unavailable("no free UDP ports on 127.0.0.1");
        for attempt in 0..STARTS {
            let Some(config) = config(pool, seed, attempt) else { continue };
            match Balancer::start(config) {
                Ok(balancer) => return Self::of(balancer),
                Err(e) if e.exit == Failure::UNAVAILABLE => failure = e,
                Err(e) => return Err(e),
            }
        }
        Err(failure)
    }

    fn of(balancer: Balancer) -> Result<Self, Failure> {
        let address = balancer.listeners().first().copied();
        let address = address.ok_or_else(|| Failure::run_time("the balancer listens nowhere"))?;
        Ok(Self { balancer, address })
    }

    /// One line: where it listens and forwards.
    pub(super) fn summary(&self) -> &str {
        self.balancer.summary()
    }

    /// Ends it.
    pub(super) fn stop(self) {
        self.balancer.stop();
    }
}

impl Front for RealBalancer {
    fn address(&self) -> SocketAddr {
        self.address
    }

    fn set_drained(&self, backend: &str, drained: bool) -> Result<(), Failure> {
        let state = if drained { State::Drained } else { State::Ready };
        self.balancer.set_state(backend, state)
    }

    /// Whatever was thrown away, by the core or because something was full.
    fn drops(&self) -> u64 {
        let of = |cells: &Cells| {
            let full =
                [&cells.truncated, &cells.handoff_full, &cells.send_errors, &cells.send_full];
            let by_reason: u64 = cells.dropped.iter().map(Cell::value).sum();
            by_reason + full.into_iter().map(Cell::value).sum::<u64>()
        };
        self.balancer.cells().iter().map(|cells| of(cells)).sum()
    }

    fn failed(&self) -> bool {
        self.balancer.failed()
    }
}

/// `None` if no free range of ports is left.
fn config(pool: &[(String, SocketAddr)], seed: u64, attempt: u16) -> Option<Config> {
    let workers = std::thread::available_parallelism().map_or(1, |n| n.get().min(64));
    let loopback = Ipv4Addr::LOCALHOST;
    let backends = pool.iter().map(|(name, address)| BackendConfig {
        name: name.clone(),
        address: *address,
        weight: 1,
        state: State::Ready,
        sources: Vec::new(),
    });
    Some(Config {
        workers: Some(workers),
        listeners: vec![Listener { bind: SocketAddr::from((loopback, 0)), advertise: None }],
        backend_ports: free_range(workers as u16, attempt)?,
        pool: PoolConfig {
            name: "default".to_owned(),
            policy: Policy::CallIdHash,
            backends: backends.collect(),
        },
        record_route: true,
        path: PathMode::Always,
        limits: Limits {
            max_message: 65_535,
            pins: 100_000,
            dialog_idle_s: 12 * 3600,
            registration_idle_s: 70 * 60,
            receive_buffer: 4 << 20,
        },
        // A key of its own, so that two runs with one seed are alike.
        cluster: Cluster {
            current: Some(Key { number: 0, bytes: (u128::from(seed) + 1).to_be_bytes() }),
            previous: None,
            hash_seed: seed,
        },
        admin: TcpListener::bind((loopback, 0)).and_then(|free| free.local_addr()).ok()?,
        log: LogLevel::Warn,
    })
}

/// `count` ports in a row that nobody has bound; processes begin their search at different places.
fn free_range(count: u16, attempt: u16) -> Option<BackendPorts> {
    let ranges = (PORTS_LAST - PORTS_FIRST + 1) / count;
    let begin = (std::process::id() as u16).wrapping_add(attempt.wrapping_mul(7919));
    (0..ranges).find_map(|step| {
        let first = PORTS_FIRST + begin.wrapping_add(step) % ranges * count;
        let last = first + count - 1;
        let free = |port| UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
        (first..=last).all(free).then_some(BackendPorts::Range(first, last))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_has_as_many_ports_as_were_asked_for_and_avoids_busy_ones() {
        let Some(BackendPorts::Range(first, last)) = free_range(4, 0) else { panic!() };
        assert_eq!(last - first, 3);
        assert!(first >= PORTS_FIRST && last <= PORTS_LAST);
        let _busy = UdpSocket::bind((Ipv4Addr::LOCALHOST, first + 2)).unwrap();
        assert_ne!(free_range(4, 0), Some(BackendPorts::Range(first, last)));
    }
}
