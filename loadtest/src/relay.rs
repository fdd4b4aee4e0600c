//! A record-routing relay with faults on request: what callers and backends are tested against.
//!
//! It stands where a balancer stands and is none: it believes every header, keeps one entry a
//! Call-ID for ever, and serves one caller at a time. It is no yardstick for speed either.

use crate::message::{Message, Start, param};
use crate::random::{Random, hash};
use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// What a relay does. Start from [`RelayOptions::between`].
#[derive(Clone, Debug)]
pub struct RelayOptions {
    /// Where callers (and backends, by the route set) send to; port 0: a free one.
    pub listen: SocketAddr,
    /// New calls go to these in turn.
    pub backends: Vec<SocketAddr>,
    /// Record-Route values that each INVITE gets, 0 to 9; they carry `n=1` and so on.
    pub record_routes: u8,
    /// Send in-dialog requests to the backend after the one that took the call.
    pub splits_dialogs: bool,
    /// Of 1000 datagrams, how many are lost.
    pub drop_per_mille: u16,
    /// Decides which datagrams are lost.
    pub seed: u64,
}

impl RelayOptions {
    /// A relay without faults that puts one Record-Route.
    pub fn between(listen: SocketAddr, backends: Vec<SocketAddr>) -> Self {
        Self {
            listen,
            backends,
            record_routes: 1,
            splits_dialogs: false,
            drop_per_mille: 0,
            seed: 1,
        }
    }
}

/// A running relay. Dropping it ends it.
#[derive(Debug)]
pub struct Relay {
    address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    dropped: AtomicU64,
    /// The Route fields of in-dialog requests, as they came.
    routes: Mutex<Vec<Vec<String>>>,
    /// Backends that get no new calls, by place.
    drained: Mutex<Vec<usize>>,
}

impl Relay {
    /// Opens the socket and relays from then on.
    ///
    /// # Errors
    /// `InvalidInput` without backends; else what the kernel said.
    pub fn start(options: RelayOptions) -> io::Result<Self> {
        if options.backends.is_empty() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "no backends: at least one"));
        }
        let socket = crate::engine::open(options.listen)?;
        socket.set_read_timeout(Some(Duration::from_millis(20)))?;
        let address = socket.local_addr()?;
        let shared = Arc::new(Shared::default());
        let run = Run {
            options,
            socket,
            address,
            shared: Arc::clone(&shared),
            calls: HashMap::new(),
            turn: 0,
            datagrams: 0,
        };
        let thread = std::thread::Builder::new().name("relay".to_owned());
        Ok(Self { address, shared, thread: Some(thread.spawn(move || run.run())?) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Datagrams lost on purpose.
    pub fn dropped(&self) -> u64 {
        self.shared.dropped.load(Relaxed)
    }

    /// The Route values of each in-dialog request that came, in the order of arrival (the first
    /// 10 000).
    pub fn routes(&self) -> Vec<Vec<String>> {
        self.shared.routes.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether the backend at this place gets new calls; while none does, all do.
    pub fn set_drained(&self, place: usize, drained: bool) {
        let mut places = self.shared.drained.lock().unwrap_or_else(PoisonError::into_inner);
        places.retain(|&other| other != place);
        if drained {
            places.push(place);
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.shared.stop.store(true, Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Run {
    options: RelayOptions,
    socket: UdpSocket,
    address: SocketAddr,
    shared: Arc<Shared>,
    /// Call-ID -> caller, place of the backend.
    calls: HashMap<String, (SocketAddr, usize)>,
    turn: usize,
    datagrams: u64,
}

impl Run {
    fn run(mut self) {
        let mut buffer = vec![0; 65_535];
        while !self.shared.stop.load(Relaxed) {
            let Ok((length, source)) = self.socket.recv_from(&mut buffer) else { continue };
            self.datagrams += 1;
            if Random::new(self.options.seed, self.datagrams).chance(self.options.drop_per_mille) {
                self.shared.dropped.fetch_add(1, Relaxed);
                continue;
            }
            let Some(message) = Message::parse(&buffer[..length]) else { continue };
            let Ok(text) = std::str::from_utf8(&buffer[..length]) else { continue };
            let (to, text) = match message.start {
                Start::Request { .. } => self.request(source, &message, text),
                Start::Response { .. } => self.response(source, &message, text),
            };
            let _ = self.socket.send_to(text.as_bytes(), to);
        }
    }

    fn request(
        &mut self,
        source: SocketAddr,
        message: &Message<'_>,
        text: &str,
    ) -> (SocketAddr, String) {
        let in_dialog = param(message.to, "tag").is_some();
        if in_dialog {
            let mut routes = self.shared.routes.lock().unwrap_or_else(PoisonError::into_inner);
            if routes.len() < 10_000 {
                routes.push(message.values("route").map(str::to_owned).collect());
            }
        }
        let (caller, place) = match self.calls.get(message.call_id) {
            Some(call) => *call,
            None => {
                let call = (source, self.choose());
                self.calls.insert(message.call_id.to_owned(), call);
                call
            }
        };
        let backends = &self.options.backends;
        let astray = usize::from(in_dialog && self.options.splits_dialogs);
        let to = match backends.contains(&source) {
            true => caller,
            false => backends[(place + astray) % backends.len()],
        };
        // RFC 3261 16.11: the branch is a function of the received one.
        let branch = hash(1, param(message.via, "branch").unwrap_or("").as_bytes());
        let address = self.address;
        let mut added = format!("Via: SIP/2.0/UDP {address};branch=z9hG4bKr{branch:x}\r\n");
        if message.cseq_method == "INVITE" && !in_dialog {
            for n in (1..=self.options.record_routes).rev() {
                added.push_str(&format!("Record-Route: <sip:{address};lr;n={n}>\r\n"));
            }
        }
        // All Routes are ours: they have done their duty.
        (to, insert(&without(text, "Route: ", usize::MAX), &added))
    }

    fn response(
        &self,
        source: SocketAddr,
        message: &Message<'_>,
        text: &str,
    ) -> (SocketAddr, String) {
        let known = self.calls.get(message.call_id).copied();
        let (caller, place) = known.unwrap_or((source, 0));
        let from_backend = self.options.backends.contains(&source);
        let to = if from_backend { caller } else { self.options.backends[place] };
        (to, without(text, "Via: ", 1))
    }

    fn choose(&mut self) -> usize {
        let drained = self.shared.drained.lock().unwrap_or_else(PoisonError::into_inner);
        let count = self.options.backends.len();
        let turns = (0..count).map(|more| (self.turn + more) % count);
        let place =
            turns.clone().find(|place| !drained.contains(place)).unwrap_or(self.turn % count);
        self.turn = place + 1;
        place
    }
}

/// The message without the first `count` lines of this header field, as our two ends write it.
fn without(text: &str, field: &str, count: usize) -> String {
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((text, ""));
    let mut left = count;
    let lines = head.split("\r\n").filter(|line| {
        let goes = left > 0 && line.starts_with(field);
        left -= usize::from(goes);
        !goes
    });
    format!("{}\r\n\r\n{body}", lines.collect::<Vec<_>>().join("\r\n"))
}

/// The message with header lines after its first line.
fn insert(text: &str, added: &str) -> String {
    let (first, rest) = text.split_once("\r\n").unwrap_or((text, ""));
    format!("{first}\r\n{added}{rest}")
}
