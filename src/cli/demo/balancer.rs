//! The balancer of the demo: a config on free ports, and the few calls that the show needs.

use super::play::Front;
use crate::config::{self, Config, Flags, Text};
use crate::control::{Admin, Balancer, Failure, Prober};
use crate::metrics::{Cell, Cells};
use std::fmt::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::ops::RangeInclusive;
use std::sync::Arc;

/// Ports towards the backends are looked for from here on: below the kernel's ephemeral ones.
const PORTS_FIRST: u16 = 20_000;
const PORTS_LAST: u16 = 31_999;
/// Starts, each with other ports: somebody may take one between the look and the start.
const STARTS: u16 = 3;

/// A balancer in this process.
#[derive(Debug)]
pub(super) struct RealBalancer {
    /// Ends before the balancer does.
    prober: Prober,
    balancer: Arc<Balancer>,
    address: SocketAddr,
}

impl RealBalancer {
    /// Starts it on free loopback ports.
    pub(super) fn start(pool: &[(String, SocketAddr)], seed: u64) -> Result<Self, Failure> {
        let mut failure = Failure::unavailable("no free UDP ports on 127.0.0.1");
        for attempt in 0..STARTS {
            let Some(text) = config_text(pool, seed, attempt) else { continue };
            match Balancer::start(read(text)?) {
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
        let balancer = Arc::new(balancer);
        Ok(Self { prober: Prober::start(balancer.clone())?, balancer, address })
    }

    /// One line: where it listens and forwards.
    pub(super) fn summary(&self) -> &str {
        self.balancer.summary()
    }

    /// Ends it.
    pub(super) fn stop(self) {
        drop(self.prober);
        if let Some(balancer) = Arc::into_inner(self.balancer) {
            balancer.stop();
        }
    }
}

impl Front for RealBalancer {
    fn address(&self) -> SocketAddr {
        self.address
    }

    fn set_drained(&self, backend: &str, drained: bool) -> Result<(), Failure> {
        let admin = if drained { Admin::Drain } else { Admin::Ready };
        self.balancer.set_admin(backend, admin, "the demo's script")
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

/// The demo goes the way of every config: through the file's language.
fn read(text: String) -> Result<Config, Failure> {
    let text = Text { name: "the demo's config".to_owned(), bytes: text.into_bytes() };
    match config::load(Some(&text), &Flags::default()) {
        Ok(loaded) => Ok(loaded.config),
        Err(report) => Err(Failure::config(report.render(false))),
    }
}

/// `None` if the ports that it needs are not to be had.
fn config_text(pool: &[(String, SocketAddr)], seed: u64, attempt: u16) -> Option<String> {
    let workers = std::thread::available_parallelism().map_or(1, |n| n.get().min(64));
    let ports = free_range(workers as u16, attempt)?;
    let loopback = Ipv4Addr::LOCALHOST;
    let udp = UdpSocket::bind((loopback, 0)).and_then(|free| free.local_addr()).ok()?;
    let admin = TcpListener::bind((loopback, 0)).and_then(|free| free.local_addr()).ok()?;
    let mut text = format!(
        "workers = {workers}\nbackend_ports = \"{}-{}\"\n[admin]\nlisten = \"{admin}\"\n\
         [[listener]]\nbind = \"udp:{udp}\"\n[limits]\npins = 100000\n\
         [cluster]\nkey = \"{:032x}\"\nhash_seed = {}\n[log]\nlevel = \"warn\"\n\
         [[pool]]\n[pool.health]\ninterval = \"1s\"\ntimeout = \"1s\"\n",
        ports.start(),
        ports.end(),
        u128::from(seed) + 1,
        // TOML's integers have 63 bits and a sign.
        seed >> 1,
    );
    for (name, address) in pool {
        let _ = write!(text, "[[pool.backend]]\nname = \"{name}\"\naddress = \"{address}\"\n");
    }
    Some(text)
}

/// `count` ports in a row that nobody has bound; processes begin their search at different places.
fn free_range(count: u16, attempt: u16) -> Option<RangeInclusive<u16>> {
    let ranges = (PORTS_LAST - PORTS_FIRST + 1) / count;
    let begin = (std::process::id() as u16).wrapping_add(attempt.wrapping_mul(7919));
    (0..ranges).find_map(|step| {
        let first = PORTS_FIRST + begin.wrapping_add(step) % ranges * count;
        let last = first + count - 1;
        let free = |port| UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
        (first..=last).all(free).then_some(first..=last)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_has_as_many_ports_as_were_asked_for_and_avoids_busy_ones() {
        let range = free_range(4, 0).unwrap();
        assert_eq!(range.len(), 4);
        assert!(*range.start() >= PORTS_FIRST && *range.end() <= PORTS_LAST);
        let _busy = UdpSocket::bind((Ipv4Addr::LOCALHOST, range.start() + 2)).unwrap();
        assert_ne!(free_range(4, 0), Some(range));
    }

    #[test]
    fn the_config_is_good_for_every_seed() {
        let pool: Vec<_> = (1..=4_u16)
            .map(|n| (format!("backend-{n}"), SocketAddr::from((Ipv4Addr::LOCALHOST, n))))
            .collect();
        for seed in [0, 1, u64::MAX] {
            let config = read(config_text(&pool, seed, 0).unwrap()).unwrap();
            assert_eq!(config.pools[0].backends.len(), 4);
            assert_eq!(config.pools[0].backends[1].name, "backend-2");
            assert_eq!(config.listeners.len(), 1);
            assert!(config.cluster.current.is_some(), "a key of its own: no warning, no chance");
        }
    }
}
