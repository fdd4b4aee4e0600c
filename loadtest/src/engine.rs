//! Runs a state machine on a UDP socket with two plain threads: one waits for datagrams, one for
//! deadlines. A lock between them makes every step of the machine a whole one.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The longest that a thread sleeps before it looks whether it is to end.
const NAP: Duration = Duration::from_millis(20);
/// How long a send may wait for room in the send buffer before the datagram is dropped.
const SEND_PATIENCE: Duration = Duration::from_millis(5);
/// Asked of the kernel; it gives what `net.core.rmem_max` allows.
const RECEIVE_BUFFER: usize = 4 << 20;

/// Datagrams to send after a step.
pub(crate) type Outbox = Vec<(Vec<u8>, SocketAddr)>;

/// A state machine without socket and clock. `now` is nanoseconds since the engine's start.
pub(crate) trait Agent: Send + 'static {
    /// A datagram came in.
    fn receive(&mut self, now: u64, source: SocketAddr, bytes: &[u8], out: &mut Outbox);
    /// Does one thing that is due at `now`, if there is one.
    fn wake(&mut self, now: u64, out: &mut Outbox);
    /// When [`Agent::wake`] has something to do.
    fn deadline(&self) -> Option<u64>;
    /// True when nothing is left to do, ever.
    fn done(&self) -> bool;
    /// A datagram could not be sent or received.
    fn socket_error(&mut self);
}

/// A running agent.
#[derive(Debug)]
pub(crate) struct Engine<A: Agent> {
    shared: Arc<Shared<A>>,
    threads: Vec<JoinHandle<()>>,
}

/// An agent that stands still, without a socket; its clock goes on.
#[derive(Debug)]
pub(crate) struct Halted<A> {
    pub(crate) agent: A,
    begin: Instant,
}

#[derive(Debug)]
struct Shared<A> {
    socket: UdpSocket,
    begin: Instant,
    state: Mutex<State<A>>,
    /// Rung when a deadline moved forward, and at the end.
    sooner: Condvar,
    stop: AtomicBool,
}

#[derive(Debug)]
struct State<A> {
    agent: A,
    /// Until when the deadline thread sleeps.
    asleep_until: u64,
}

impl<A: Agent> Engine<A> {
    /// Starts both threads on a socket of [`open`].
    pub(crate) fn start(name: &str, socket: UdpSocket, agent: A) -> io::Result<Self> {
        Self::resume(name, socket, Halted { agent, begin: Instant::now() })
    }

    /// Goes on after [`Engine::halt`], on another socket.
    pub(crate) fn resume(name: &str, socket: UdpSocket, halted: Halted<A>) -> io::Result<Self> {
        let Halted { agent, begin } = halted;
        socket.set_read_timeout(Some(NAP))?;
        socket.set_write_timeout(Some(SEND_PATIENCE))?;
        let shared = Arc::new(Shared {
            socket,
            begin,
            state: Mutex::new(State { agent, asleep_until: 0 }),
            sooner: Condvar::new(),
            stop: AtomicBool::new(false),
        });
        let mut engine = Self { shared: Arc::clone(&shared), threads: Vec::new() };
        for (job, run) in [("in", receive as fn(&Shared<A>)), ("due", wait_for_deadlines)] {
            let shared = Arc::clone(&shared);
            let thread = std::thread::Builder::new().name(format!("{name}-{job}"));
            engine.threads.push(thread.spawn(move || run(&shared))?);
        }
        Ok(engine)
    }

    /// Ends both threads between two steps and closes the socket, with all that was not read yet.
    pub(crate) fn halt(mut self) -> Option<Halted<A>> {
        self.end_threads();
        let shared = Arc::clone(&self.shared);
        drop(self);
        let Shared { state, begin, .. } = Arc::into_inner(shared)?; // nobody else holds it by now
        let State { agent, .. } = state.into_inner().unwrap_or_else(PoisonError::into_inner);
        Some(Halted { agent, begin })
    }

    fn end_threads(&mut self) {
        self.shared.stop.store(true, Relaxed);
        self.shared.sooner.notify_all();
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }

    /// Looks at the agent, or tells it something, between two steps.
    pub(crate) fn with<T>(&self, look: impl FnOnce(&mut A) -> T) -> T {
        let told = look(&mut self.shared.lock().agent);
        self.shared.sooner.notify_one();
        told
    }

    /// Waits until the agent is done, at most `limit`; says whether it is.
    pub(crate) fn wait(&self, limit: Duration) -> bool {
        let begin = Instant::now();
        loop {
            if self.shared.lock().agent.done() {
                return true;
            }
            if begin.elapsed() >= limit {
                return false;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl<A: Agent> Drop for Engine<A> {
    /// Ends both threads, whatever is open.
    fn drop(&mut self) {
        self.end_threads();
    }
}

/// A bound socket with a large receive buffer.
pub(crate) fn open(bind: SocketAddr) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind(bind)?;
    socket2::SockRef::from(&socket).set_recv_buffer_size(RECEIVE_BUFFER)?;
    Ok(socket)
}

impl<A: Agent> Shared<A> {
    /// A panic of the other thread has shown itself already: go on with what is there.
    fn lock(&self) -> MutexGuard<'_, State<A>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> u64 {
        self.begin.elapsed().as_nanos() as u64
    }

    fn send(&self, agent: &mut A, out: &mut Outbox) {
        for (bytes, to) in out.drain(..) {
            // A full send buffer or an unreachable peer: SIP's own timers repeat the message.
            if self.socket.send_to(&bytes, to).is_err() {
                agent.socket_error();
            }
        }
    }
}

fn receive<A: Agent>(shared: &Shared<A>) {
    let mut buffer = vec![0; 65_535];
    let mut out = Outbox::new();
    while !shared.stop.load(Relaxed) {
        let (length, source) = match shared.socket.recv_from(&mut buffer) {
            Ok(received) => received,
            Err(e) => {
                let patience = [ErrorKind::WouldBlock, ErrorKind::TimedOut, ErrorKind::Interrupted];
                if !patience.contains(&e.kind()) {
                    shared.lock().agent.socket_error();
                    std::thread::sleep(Duration::from_millis(1));
                }
                continue;
            }
        };
        let now = shared.now();
        let mut state = shared.lock();
        state.agent.receive(now, source, &buffer[..length], &mut out);
        shared.send(&mut state.agent, &mut out);
        if state.agent.deadline().is_some_and(|due| due < state.asleep_until) {
            shared.sooner.notify_one();
        }
    }
}

fn wait_for_deadlines<A: Agent>(shared: &Shared<A>) {
    let mut out = Outbox::new();
    let mut state = shared.lock();
    while !shared.stop.load(Relaxed) {
        let now = shared.now();
        let nap_end = now + NAP.as_nanos() as u64;
        let until = state.agent.deadline().map_or(nap_end, |due| due.min(nap_end));
        if until > now {
            state.asleep_until = until;
            let nap = Duration::from_nanos(until - now);
            let waited = shared.sooner.wait_timeout(state, nap);
            (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
            continue;
        }
        state.agent.wake(now, &mut out);
        shared.send(&mut state.agent, &mut out);
        // Let the receiving thread in between two steps, however many are due.
        drop(state);
        state = shared.lock();
    }
}
