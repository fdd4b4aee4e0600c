//! From a config and what the machine says about its addresses to sockets, sides and backends.
//!
//! Pure: [`Network`] holds the machine's answers as values, so that every case stands in a table.
//!
//! # How the addresses come about
//! 1. A listener is one socket; a wildcard listener is one per local address of its family, except
//!    where a listener of its own has the same address and port. A reply so leaves from where the
//!    request came in, and Record-Route never says 0.0.0.0.
//! 2. The local addresses that the kernel picks towards the backends are the sides, in order; those
//!    towards backends by name only where there is a socket to send from.
//! 3. Each side has every backend port, in order of port, then of address. All are opened whatever
//!    the number of workers, so that a response to an earlier run still reaches somebody.
//! 4. Worker i sends to the backends from the i-th port, or from a listener where the config says so.

use super::Failure;
use crate::config::{BackendConfig, BackendPorts, Config, Listener, PoolConfig};
use crate::limits::SOCKETS_MAX;
use crate::pool::BackendSpec;
use crate::proxy::{LocalSocket, Role, Side, SocketIndex};
use std::net::{IpAddr, SocketAddr};

/// Sides at most: a backend names its side in 8 bits.
const SIDES_MAX: usize = 256;

/// What the machine says.
#[derive(Clone, Debug)]
pub(super) struct Network {
    /// Its addresses; needed for wildcard listeners only.
    pub(super) local: Vec<IpAddr>,
    /// For each backend of the config, in order of the pools: the local address towards it, or why
    /// there is none.
    pub(super) sources: Vec<Result<IpAddr, String>>,
    /// Local addresses from which backends by name are or may be reached.
    pub(super) towards_names: Vec<IpAddr>,
}

/// Addresses and backends, ready to become settings and a pool.
#[derive(Clone, Debug)]
pub(super) struct Outline {
    /// Listeners first, in order of the config; then backend ports.
    pub(super) sockets: Vec<LocalSocket>,
    /// The sides of each worker.
    pub(super) sides: Vec<Vec<Side>>,
    /// Those of each pool, in order of the config.
    pub(super) backends: Vec<Vec<BackendSpec>>,
}

/// Lays out the sockets of so many workers.
///
/// # Errors
/// When a backend cannot be reached, or the config's addresses and ports contradict each other.
pub(super) fn outline(
    config: &Config,
    workers: usize,
    network: &Network,
) -> Result<Outline, Failure> {
    let listeners = listener_sockets(&config.listeners, &network.local)?;
    let more = sides_of_names(&listeners, config.backend_ports, network);
    let (locals, backends) = backends_by_side(config, network, Sides::Open(&more))?;
    let layout = Layout { listeners: &listeners, locals: &locals, ports: config.backend_ports };
    let sides = (0..workers).map(|worker| layout.sides(worker)).collect::<Result<_, _>>()?;
    let ports = layout.backend_port_sockets()?;
    let sockets: Vec<_> = listeners.iter().cloned().chain(ports).collect();
    if sockets.len() > SOCKETS_MAX {
        return Err(Failure::config(format!(
            "{} local sockets ({} listening addresses, and backend_ports on {} addresses); at most \
             {SOCKETS_MAX}: narrow backend_ports, or name addresses instead of a wildcard",
            sockets.len(),
            listeners.len(),
            locals.len(),
        )));
    }
    refuse_own_address(backends.iter().flatten(), &sockets)?;
    Ok(Outline { sockets, sides, backends })
}

/// How many workers: what the config says, else one per core but no more than there are ports for.
///
/// # Errors
/// When the config asks for more workers than `backend_ports` has ports.
pub(super) fn worker_count(config: &Config, cores: usize) -> Result<usize, Failure> {
    let ports = match config.backend_ports {
        BackendPorts::Range(first, last) => usize::from(last.saturating_sub(first)) + 1,
        BackendPorts::Listener => crate::limits::WORKERS_MAX,
    };
    match config.workers {
        Some(workers) if workers > ports => Err(Failure::config(format!(
            "workers = {workers}, but backend_ports has {ports} ports and each worker needs its own: \
             widen backend_ports to {workers} ports or more, or ask for {ports} workers or fewer"
        ))),
        Some(workers) => Ok(workers.max(1)),
        None => Ok(cores.min(ports).clamp(1, crate::limits::WORKERS_MAX)),
    }
}

/// The concrete addresses of all listeners.
///
/// # Errors
/// When two are the same, or one stands for addresses that there are none of.
pub(super) fn listener_sockets(
    listeners: &[Listener],
    local: &[IpAddr],
) -> Result<Vec<LocalSocket>, Failure> {
    let mut sockets: Vec<LocalSocket> = Vec::new();
    for (number, listener) in (0..).zip(listeners) {
        for address in expanded(listener, listeners, local)? {
            if sockets.iter().any(|socket| socket.address == address) {
                return Err(Failure::config(format!(
                    "two listeners on udp:{address}: remove one of them"
                )));
            }
            let advertise = listener.advertise.clone();
            sockets.push(LocalSocket {
                advertise,
                listener: Some(number),
                force_rport: listener.force_rport,
                ..LocalSocket::new(address, Role::Listener)
            });
        }
    }
    Ok(sockets)
}

/// The concrete addresses of a listener.
fn expanded(
    listener: &Listener,
    all: &[Listener],
    local: &[IpAddr],
) -> Result<Vec<SocketAddr>, Failure> {
    let bind = listener.bind;
    if !bind.ip().is_unspecified() {
        return Ok(vec![bind]);
    }
    let has_its_own = |address| all.iter().any(|other| other.bind == address);
    let of_family: Vec<_> = local
        .iter()
        .filter(|ip| ip.is_ipv4() == bind.is_ipv4() && !is_link_local_v6(ip))
        .map(|&ip| SocketAddr::new(ip, bind.port()))
        .collect();
    if of_family.is_empty() {
        return Err(Failure::unavailable(format!(
            "listener udp:{bind}: this machine has no {} address; give it one, or remove the listener",
            family(bind.is_ipv4()),
        )));
    }
    Ok(of_family.into_iter().filter(|&address| !has_its_own(address)).collect())
}

/// The backends of another config for sockets that are open already, with sides on `locals`.
///
/// # Errors
/// When a backend cannot be reached, or not over these sides, or is one of our own sockets.
pub(super) fn backends_on(
    config: &Config,
    network: &Network,
    locals: &[IpAddr],
    sockets: &[LocalSocket],
) -> Result<Vec<Vec<BackendSpec>>, Failure> {
    let (_, backends) = backends_by_side(config, network, Sides::Fixed(locals))?;
    refuse_own_address(backends.iter().flatten(), sockets)?;
    Ok(backends)
}

/// On which local addresses the sides are.
#[derive(Clone, Copy)]
enum Sides<'a> {
    /// On these.
    Fixed(&'a [IpAddr]),
    /// Where the backends need them, and on these.
    Open(&'a [IpAddr]),
}

/// The sides' local addresses, sorted unless they are fixed, and each backend with the place of its
/// side.
fn backends_by_side(
    config: &Config,
    network: &Network,
    which: Sides<'_>,
) -> Result<(Vec<IpAddr>, Vec<Vec<BackendSpec>>), Failure> {
    let backends = || config.pools.iter().flat_map(|pool| &pool.backends);
    let pairs = backends().zip(&network.sources);
    let sources = pairs.map(|(backend, source)| local_towards(backend, source, which));
    let sources = sources.collect::<Result<Vec<_>, _>>()?;
    let locals = match which {
        Sides::Fixed(locals) => locals.to_vec(),
        Sides::Open(more) => sorted(&[&sources, more].concat()),
    };
    if locals.len() > SIDES_MAX {
        return Err(Failure::config(format!(
            "the backends are reached from {} local addresses; at most {SIDES_MAX}",
            locals.len()
        )));
    }
    let spec = |(backend, source): (&BackendConfig, _)| backend.spec(side(source, &locals));
    let mut specs = backends().zip(&sources).map(spec);
    let of_pool = |pool: &PoolConfig| specs.by_ref().take(pool.backends.len()).collect();
    let specs = config.pools.iter().map(of_pool).collect();
    Ok((locals, specs))
}

/// A backend beside those of the config, for sockets that are open already.
///
/// # Errors
/// As [`backends_on`].
pub(super) fn backend_on(
    backend: &BackendConfig,
    source: &Result<IpAddr, String>,
    locals: &[IpAddr],
    sockets: &[LocalSocket],
) -> Result<BackendSpec, Failure> {
    let source = local_towards(backend, source, Sides::Fixed(locals))?;
    let spec = backend.spec(side(&source, locals));
    refuse_own_address(std::iter::once(&spec), sockets)?;
    Ok(spec)
}

fn side(source: &IpAddr, locals: &[IpAddr]) -> u8 {
    locals.iter().position(|local| local == source).unwrap_or_default() as u8
}

/// The local address towards a backend, which must be one of the sides if they are fixed.
fn local_towards(
    backend: &BackendConfig,
    source: &Result<IpAddr, String>,
    which: Sides<'_>,
) -> Result<IpAddr, Failure> {
    let what = format!("backend {:?} ({})", backend.name, backend.address);
    match (source, which) {
        (Ok(ip), _) if is_link_local_v6(ip) => Err(Failure::unavailable(format!(
            "{what}: only reached from the link-local address {ip}, which nobody can answer without \
             knowing the link; give this machine a global or unique local address"
        ))),
        (Ok(ip), Sides::Fixed(locals)) if !locals.contains(ip) => Err(Failure::config(format!(
            "{what}: reached from {ip}, where nothing is open towards backends; that takes a restart"
        ))),
        (Ok(ip), _) => Ok(*ip),
        (Err(error), _) => Err(Failure::unavailable(format!(
            "{what}: no way to it from this machine: {error}; add a route, or correct the address"
        ))),
    }
}

/// The sides for backends by name, as far as requests can leave there: a name is no reason not to
/// start.
fn sides_of_names(
    listeners: &[LocalSocket],
    ports: BackendPorts,
    network: &Network,
) -> Vec<IpAddr> {
    let layout = Layout { listeners, locals: &[], ports };
    let sends = |local: &&IpAddr| match ports {
        BackendPorts::Range(..) => !is_link_local_v6(local),
        BackendPorts::Listener => layout.sending_listener(**local).is_ok(),
    };
    network.towards_names.iter().filter(sends).copied().collect()
}

fn sorted(sources: &[IpAddr]) -> Vec<IpAddr> {
    let mut locals = sources.to_vec();
    locals.sort_unstable();
    locals.dedup();
    locals
}

/// Where sockets stand: listeners, then `ports x locals`.
struct Layout<'a> {
    listeners: &'a [LocalSocket],
    locals: &'a [IpAddr],
    ports: BackendPorts,
}

impl Layout<'_> {
    fn sides(&self, worker: usize) -> Result<Vec<Side>, Failure> {
        let side = |(place, &local): (usize, &IpAddr)| {
            let egress = match self.ports {
                BackendPorts::Range(..) => self.backend_port(worker, place),
                BackendPorts::Listener => self.sending_listener(local)?,
            };
            let contact = match (self.listener_on(local), self.ports) {
                (Some(listener), _) => listener,
                (None, BackendPorts::Range(..)) => self.backend_port(0, place),
                (None, BackendPorts::Listener) => egress,
            };
            Ok(Side { local, egress: index(egress), contact: index(contact) })
        };
        self.locals.iter().enumerate().map(side).collect()
    }

    /// The place of the `nth` port on the side at `place`.
    fn backend_port(&self, nth: usize, place: usize) -> usize {
        self.listeners.len() + nth * self.locals.len() + place
    }

    fn listener_on(&self, local: IpAddr) -> Option<usize> {
        self.listeners.iter().position(|socket| socket.address.ip() == local)
    }

    /// The listener that requests leave from with `backend_ports = "listener"`.
    fn sending_listener(&self, local: IpAddr) -> Result<usize, Failure> {
        if let Some(listener) = self.listener_on(local) {
            return Ok(listener);
        }
        let of_family = |&at: &usize| self.listeners[at].address.is_ipv4() == local.is_ipv4();
        let mut candidates = (0..self.listeners.len()).filter(of_family);
        match (candidates.next(), candidates.next()) {
            (Some(only), None) => Ok(only),
            (first, _) => Err(Failure::config(format!(
                "backend_ports = \"listener\", but {} listener can send from {local}, the address \
                 towards some of the backends: add a listener on {local}, or give backend_ports a range",
                if first.is_some() { "it is not clear which" } else { "no" },
            ))),
        }
    }

    fn backend_port_sockets(&self) -> Result<Vec<LocalSocket>, Failure> {
        let BackendPorts::Range(first, last) = self.ports else { return Ok(Vec::new()) };
        let addresses = (first..=last)
            .flat_map(|port| self.locals.iter().map(move |&ip| SocketAddr::new(ip, port)));
        let socket = |address| {
            if self.listeners.iter().any(|listener| listener.address == address) {
                return Err(Failure::config(format!(
                    "backend_ports {first}-{last} holds port {} of the listener udp:{address}: move \
                     one of them",
                    address.port()
                )));
            }
            Ok(LocalSocket::new(address, Role::BackendPort))
        };
        addresses.map(socket).collect()
    }
}

/// A backend that is ourselves would send every call round until Max-Forwards is used up.
fn refuse_own_address<'a>(
    mut backends: impl Iterator<Item = &'a BackendSpec>,
    sockets: &[LocalSocket],
) -> Result<(), Failure> {
    let is_own =
        |backend: &&BackendSpec| sockets.iter().any(|socket| socket.address == backend.address);
    match backends.find(is_own) {
        Some(backend) => Err(Failure::config(format!(
            "backend {:?} ({}) is this balancer's own socket: correct the backend's address, or move \
             the listener or backend_ports",
            backend.name, backend.address
        ))),
        None => Ok(()),
    }
}

fn index(place: usize) -> SocketIndex {
    SocketIndex(u16::try_from(place).unwrap_or(u16::MAX)) // beyond SOCKETS_MAX: refused by `outline`
}

fn family(is_ipv4: bool) -> &'static str {
    if is_ipv4 { "IPv4" } else { "IPv6" }
}

fn is_link_local_v6(ip: &IpAddr) -> bool {
    matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local())
}

#[cfg(test)]
pub(super) mod tests;
