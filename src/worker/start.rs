//! From a plan to running workers: sockets, rings, hand-off rings, threads.

use super::backends::{Backends, CONNECTIONS_MAX};
use super::core::Core;
use super::desk::{Desk, Mailbox};
use super::gather::Gathering;
use super::orders::Orders;
use super::shard::Shard;
use super::steering::Steering;
use super::turn::{RECORD_SIZE_MAX, Worker};
use super::{Plan, StartError, Thread, Workers};
use crate::io::diagnose::{self, Class, Failure};
use crate::io::driver::Driver;
use crate::io::handoff::{self, Doorbell, Inbox, Outbox};
use crate::io::os;
use crate::io::ring::RingSeed;
use crate::io::steer::Group;
use crate::io::{FileIndex, Sizes, huge_pages, socket};
use crate::limits::{SOCKETS_ADDED_MAX, WORKERS_MAX};
use crate::metrics::{Cells, Roster};
use crate::proxy::{LocalSocket, Role, Settings};
use arc_swap::ArcSwap;
use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::net::UdpSocket;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::mpsc::{self, Sender};
use std::time::{Duration, Instant};

impl From<Failure> for StartError {
    fn from(failure: Failure) -> Self {
        match failure.class {
            Class::Unavailable => Self::Unavailable(failure.text),
            Class::Permission => Self::Permission(failure.text),
        }
    }
}

/// A killed predecessor: the kernel closes the sockets that its rings held a moment after its end.
const BUSY_PATIENCE: Duration = Duration::from_secs(5);
const BUSY_PAUSE: Duration = Duration::from_millis(20);

/// The sockets of one worker, by [`crate::proxy::SocketIndex`]; those of backend ports are shared.
type Sockets = Vec<Arc<UdpSocket>>;

/// Hand-off rings by worker; `None` at our own place.
type Outboxes = Vec<Option<Outbox>>;
type Inboxes = Vec<Option<Inbox>>;

/// All that a worker's thread is started with.
struct Seed {
    number: usize,
    ring: RingSeed,
    sizes: Sizes,
    sockets: Sockets,
    /// The files that this worker receives from.
    receives: Vec<FileIndex>,
    settings: Arc<Settings>,
    cells: Arc<Cells>,
    shared_roster: Arc<ArcSwap<Roster>>,
    shard: Shard,
    mailboxes: Arc<[Mailbox]>,
    outboxes: Outboxes,
    inboxes: Inboxes,
    orders: Arc<Orders>,
    event: OwnedFd,
    receive_buffer: usize,
    latency_budget: Duration,
    core: Option<usize>,
}

/// Opens everything and starts the threads; `make` builds the core of a worker on its thread.
pub(super) fn start<C: Core>(
    plan: Plan,
    make: impl Fn(Arc<Settings>, [u64; 4]) -> C + Copy + Send + 'static,
) -> Result<Workers, StartError> {
    let workers = plan.settings.len();
    assert!((1..=WORKERS_MAX).contains(&workers), "{workers} workers");
    assert_eq!((plan.cells.len(), plan.roster.load().workers()), (workers, workers));
    if let Err(error) = os::raise_file_limit() {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
    let sockets = open_sockets(&plan.settings[0].sockets, workers, plan.receive_buffer)?;
    let shard = Shard::random(workers).map_err(ring_refused)?;
    let groups = groups(&plan.settings[0].sockets, &sockets);
    let steering = Steering::begin(plan.steering, &shard, &groups);
    let mut running = Workers { threads: Vec::new(), steering };
    let (ready, started) = mpsc::channel();
    for seed in seeds(&plan, shard, sockets, &mut running)? {
        let number = seed.number;
        let ready = ready.clone();
        let thread = std::thread::Builder::new().name(format!("worker-{number}"));
        // The control thread alone gets the signals.
        let handle = os::with_signals_blocked(|| thread.spawn(move || run(seed, make, &ready)));
        let handle = handle.map_err(|error| {
            StartError::Unavailable(format!("no thread for worker {number} ({error})"))
        })?;
        running.threads[number].handle = Some(handle);
    }
    drop(ready);
    for _ in 0..workers {
        started.recv().unwrap_or_else(|_| {
            Err(StartError::Unavailable("a worker ended while it started".to_owned()))
        })?;
    }
    Ok(running)
}

/// A worker's thread.
fn run<C: Core>(
    seed: Seed,
    make: impl Fn(Arc<Settings>, [u64; 4]) -> C,
    ready: &Sender<Result<(), StartError>>,
) -> Result<(), String> {
    let number = seed.number;
    let receives = seed.receives.clone();
    let mut worker = match build(seed, make) {
        Ok(worker) => worker,
        Err(error) => {
            let failure = diagnose::ring_failure(&error);
            let text = failure.text.clone();
            let _ = ready.send(Err(failure.into())); // nobody listens: another one failed first
            return Err(text);
        }
    };
    let _ = ready.send(Ok(())); // as above: then the order to stop follows
    worker.run(&receives).map_err(|error| {
        tracing::error!(worker = number, %error, "the worker cannot go on");
        error.to_string()
    })
}

fn build<C: Core>(
    seed: Seed,
    make: impl Fn(Arc<Settings>, [u64; 4]) -> C,
) -> io::Result<Worker<C>> {
    if let Some(core) = seed.core
        && let Err(error) = os::pin_thread(core)
    {
        tracing::warn!(worker = seed.number, core, %error, "the worker is not pinned to its core");
    }
    let files: Vec<_> = seed.sockets.iter().map(|socket| socket.as_fd()).collect();
    let (local, spare) = (files.len() + SOCKETS_ADDED_MAX, SOCKETS_ADDED_MAX + CONNECTIONS_MAX);
    let (driver, receive) = Driver::start(seed.ring, &seed.sizes, &files, spare, seed.event)?;
    let roster = seed.shared_roster.load_full();
    let places = local + CONNECTIONS_MAX;
    let core = make(Arc::clone(&seed.settings), os::random_words()?);
    if let Err(error) = huge_pages::collapse(core.memory()) {
        let worker = seed.number;
        tracing::info!(worker, %error, "the pins stay on small pages: a look costs more");
    }
    let desk = Desk {
        core,
        driver,
        pool: Arc::clone(roster.pool()),
        backends: Backends::new(seed.number, local, roster),
        cells: seed.cells,
        settings: seed.settings,
        shard: seed.shard,
        number: seed.number,
        outboxes: seed.outboxes,
        mailboxes: seed.mailboxes,
        written_to: Vec::with_capacity(2 * WORKERS_MAX),
        received: VecDeque::with_capacity(usize::from(seed.sizes.receive_slots)),
        ended: Vec::with_capacity(places),
        later: Vec::with_capacity(places),
        forwarded: 0,
        connect: None,
        receive_buffer: seed.receive_buffer,
        pen: None,
        closing: Vec::new(),
        waiting: Vec::new(),
        called: false,
        more_is_due: false,
    };
    let mut worker = Worker {
        desk,
        receive,
        inboxes: seed.inboxes,
        shared_roster: seed.shared_roster,
        scratch: vec![0; RECORD_SIZE_MAX].into(),
        handed_over: false,
        first_inbox: 0,
        dealt_with: 0,
        kept_ns: 0,
        turn_began_ns: 0,
        gathering: Gathering::default(),
        tick_ms: 0,
        orders: seed.orders,
        questions: Vec::new(),
        stopped: false,
    };
    worker.allow(seed.latency_budget);
    Ok(worker)
}

/// What each thread is started with; `running` gets a place with the orders of each.
fn seeds(
    plan: &Plan,
    shard: Shard,
    sockets: Vec<Sockets>,
    running: &mut Workers,
) -> Result<Vec<Seed>, StartError> {
    let workers = plan.settings.len();
    let local = &plan.settings[0].sockets;
    let sizes = Sizes::of_a_worker(workers as u32 - 1);
    let files = (local.len() + SOCKETS_ADDED_MAX + CONNECTIONS_MAX) as u32;
    let rings = (0..workers)
        .map(|_| RingSeed::build(sizes.submissions(), sizes.completions(files)))
        .collect::<io::Result<Vec<_>>>()
        .map_err(ring_refused)?;
    let mailbox = |ring: &RingSeed| Ok(Mailbox { doorbell: Doorbell::new(), ring: ring.share()? });
    let mailboxes: Arc<[Mailbox]> =
        rings.iter().map(mailbox).collect::<io::Result<_>>().map_err(ring_refused)?;
    let owners = owners(local, workers);
    let cores =
        if plan.pin_to_cores { os::allowed_cores().map_err(ring_refused)? } else { Vec::new() };
    let mut seeds = Vec::with_capacity(workers);
    let parts = rings.into_iter().zip(sockets).zip(handoff_rings(workers));
    for (number, ((ring, sockets), (outboxes, inboxes))) in parts.enumerate() {
        let settings = Arc::clone(&plan.settings[number]);
        assert_owned(&settings, &owners, number);
        let orders = Arc::new(Orders::new().map_err(ring_refused)?);
        let event = orders.event().map_err(ring_refused)?;
        running.threads.push(Thread { orders: Arc::clone(&orders), handle: None });
        let is_ours = |file: &usize| owners[*file].is_none_or(|owner| owner == number);
        let receives = (0..local.len()).filter(is_ours).map(|file| FileIndex(file as u32));
        seeds.push(Seed {
            number,
            ring,
            sizes,
            sockets,
            receives: receives.collect(),
            settings,
            cells: Arc::clone(&plan.cells[number]),
            shared_roster: Arc::clone(&plan.roster),
            shard,
            mailboxes: Arc::clone(&mailboxes),
            outboxes,
            inboxes,
            orders,
            event,
            receive_buffer: plan.receive_buffer,
            latency_budget: plan.latency_budget,
            core: cores.get(number % cores.len().max(1)).copied(),
        });
    }
    Ok(seeds)
}

fn ring_refused(error: io::Error) -> StartError {
    diagnose::ring_failure(&error).into()
}

/// The sockets of each listener, in order of the workers.
fn groups<'a>(local: &[LocalSocket], sockets: &'a [Sockets]) -> Vec<Group<'a>> {
    let listeners = (0..local.len()).filter(|&place| local[place].role == Role::Listener);
    listeners.map(|place| sockets.iter().map(|own| own[place].as_fd()).collect()).collect()
}

/// For each local socket the one worker that receives from it; `None`: every worker has its own.
///
/// Ports towards the backends are dealt out in order of their numbers, whatever there are: so each
/// has an owner also when a restart has changed the number of workers.
fn owners(sockets: &[LocalSocket], workers: usize) -> Vec<Option<usize>> {
    let is_port = |socket: &&LocalSocket| socket.role == Role::BackendPort;
    let ports: BTreeSet<u16> =
        sockets.iter().filter(is_port).map(|socket| socket.address.port()).collect();
    let owner = |socket: &LocalSocket| match socket.role {
        Role::Listener | Role::Leaving | Role::Gone => None,
        Role::BackendPort => {
            ports.iter().position(|port| *port == socket.address.port()).map(|at| at % workers)
        }
    };
    sockets.iter().map(owner).collect()
}

/// A worker that sent from the port of another would never see the responses.
fn assert_owned(settings: &Settings, owners: &[Option<usize>], number: usize) {
    for side in &settings.sides {
        let owner = owners[usize::from(side.egress.0)];
        assert!(
            owner.is_none_or(|owner| owner == number),
            "worker {number} sends from {}, which is worker {owner:?}'s",
            settings.sockets[usize::from(side.egress.0)].address
        );
    }
}

/// Opens every local socket: one per worker of a listener, one in all of a backend port.
fn open_sockets(
    local: &[LocalSocket],
    workers: usize,
    receive_buffer: usize,
) -> Result<Vec<Sockets>, StartError> {
    let mut sockets = vec![Vec::with_capacity(local.len()); workers];
    let deadline = Instant::now() + BUSY_PATIENCE;
    for one in local {
        let of_workers: Vec<_> = match one.role {
            Role::BackendPort => {
                let first = open_first(one, receive_buffer, deadline);
                let first = Arc::new(first.map_err(|error| refused(one, &error))?);
                vec![first; workers]
            }
            _ => {
                let own = open_listener(one, workers, receive_buffer, deadline)?;
                own.into_iter().map(Arc::new).collect()
            }
        };
        sockets.iter_mut().zip(of_workers).for_each(|(sockets, one)| sockets.push(one));
    }
    if let Some(first) = sockets[0].first() {
        warn_of_small_buffer(first, receive_buffer); // the same for all
    }
    Ok(sockets)
}

/// Opens the sockets of a listener, one for each worker.
pub(super) fn open_listener(
    local: &LocalSocket,
    workers: usize,
    receive_buffer: usize,
    deadline: Instant,
) -> Result<Vec<UdpSocket>, StartError> {
    let open = |number| match number {
        0 => open_first(local, receive_buffer, deadline),
        _ => socket::open_another(local.address, receive_buffer),
    };
    (0..workers).map(open).collect::<io::Result<_>>().map_err(|error| refused(local, &error))
}

fn refused(local: &LocalSocket, error: &io::Error) -> StartError {
    diagnose::socket_failure(local.address, error).into()
}

/// Opens the first socket of an address, with patience while another process still has it.
fn open_first(
    local: &LocalSocket,
    receive_buffer: usize,
    deadline: Instant,
) -> io::Result<UdpSocket> {
    let open = match local.role {
        Role::BackendPort => socket::open_catch_all,
        _ => socket::open_first,
    };
    loop {
        match open(local.address, receive_buffer) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && Instant::now() < deadline => {
                std::thread::sleep(BUSY_PAUSE);
            }
            result => return result,
        }
    }
}

fn warn_of_small_buffer(socket: &UdpSocket, asked: usize) {
    if let (Ok(got), Ok(address)) = (socket::receive_buffer(socket), socket.local_addr())
        && got < asked
    {
        tracing::warn!(
            %address,
            asked,
            got,
            "the receive buffer is smaller than asked for, bursts beyond it are lost: \
             `sysctl -w net.core.rmem_max={asked}`, or CAP_NET_ADMIN"
        );
    }
}

/// The ends that each worker gets of the rings between every two: by worker, `None` at its own place.
fn handoff_rings(workers: usize) -> Vec<(Outboxes, Inboxes)> {
    let none = || (Vec::with_capacity(workers), Vec::with_capacity(workers));
    let mut ends: Vec<(Outboxes, Inboxes)> = (0..workers).map(|_| none()).collect();
    let bytes = handoff::ring_bytes(workers - 1, RECORD_SIZE_MAX);
    for from in 0..workers {
        for to in 0..workers {
            let (outbox, inbox) = match from == to {
                true => (None, None),
                false => {
                    let (outbox, inbox) = handoff::ring(bytes);
                    (Some(outbox), Some(inbox))
                }
            };
            ends[from].0.push(outbox);
            ends[to].1.push(inbox);
        }
    }
    ends
}

#[cfg(test)]
mod tests {
    use super::*;

    fn socket(address: &str, role: Role) -> LocalSocket {
        LocalSocket::new(address.parse().unwrap(), role)
    }

    #[test]
    fn backend_ports_are_dealt_out_by_number_and_listeners_belong_to_all() {
        let sockets = [
            socket("127.0.0.1:5060", Role::Listener),
            socket("127.0.0.1:5072", Role::BackendPort),
            socket("127.0.0.1:5070", Role::BackendPort),
            socket("127.0.0.1:5071", Role::BackendPort),
            socket("[::1]:5071", Role::BackendPort),
        ];
        assert_eq!(owners(&sockets, 2), [None, Some(0), Some(0), Some(1), Some(1)]);
        assert_eq!(owners(&sockets, 1), [None, Some(0), Some(0), Some(0), Some(0)]);
    }

    #[test]
    fn every_ordered_pair_of_workers_has_a_ring() {
        let mut ends = handoff_rings(3);
        for (from, to) in [(0, 1), (1, 0), (0, 2), (2, 1)] {
            assert!(ends[from].0[to].as_mut().unwrap().push(&[from as u8], &[to as u8]));
            let mut record = [0; 8];
            let len = ends[to].1[from].as_mut().unwrap().pop(&mut record).unwrap();
            assert_eq!(record[..len], [from as u8, to as u8]);
        }
        assert!(ends[1].0[1].is_none() && ends[1].1[1].is_none());
    }
}
