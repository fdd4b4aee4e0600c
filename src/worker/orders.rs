//! What the control thread wants of a running worker: other sockets or settings, an answer, its end.
//!
//! A worker looks here only when its event says that there is something: between two turns, and never
//! for the sake of a message.

use super::message_log::Pen;
use crate::io::os::Event;
use crate::pool::BackendId;
use crate::proxy::{Settings, SocketIndex};
use std::net::UdpSocket;
use std::os::fd::OwnedFd;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use std::{fmt, io, mem};

/// Called with what a worker says, on that worker's thread: it must not block.
pub type Answer = Arc<dyn Fn(Option<BackendId>) + Send + Sync>;

/// Where the orders of one worker lie until it takes them.
#[derive(Debug)]
pub(super) struct Orders {
    event: Event,
    wanted: Mutex<Wanted>,
}

/// All that was ordered since the worker looked last.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    /// What is to be done with local sockets, in this order, and before the settings are taken over.
    pub(super) sockets: Vec<SocketOrder>,
    /// The settings to take over, the last ones if there were several.
    pub(super) settings: Option<Arc<Settings>>,
    /// How long messages may be kept waiting for more to come.
    pub(super) latency_budget: Option<Duration>,
    /// What to log messages with from now on.
    pub(super) pen: Option<Option<Pen>>,
    /// What to answer, with fresh gauges, when the settings are taken over.
    pub(super) questions: Vec<Question>,
    /// Who is told when sockets and settings are as they were ordered.
    pub(super) waiting: Vec<Sender<()>>,
    /// It is to end after this turn.
    pub(super) stop: bool,
}

/// What is to be done with a local socket.
#[derive(Debug)]
pub(super) enum SocketOrder {
    /// To send from; nothing is received from it yet.
    Open(SocketIndex, UdpSocket),
    /// To receive from it.
    Receive(SocketIndex),
    /// To close it. `receives`: it was to be received from.
    Close { socket: SocketIndex, receives: bool },
}

/// Whether there is a pin of a Call-ID.
pub(super) struct Question {
    pub(super) call_id: Arc<[u8]>,
    pub(super) answer: Answer,
}

impl Orders {
    /// # Errors
    /// EMFILE, ENFILE, ENOMEM.
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self { event: Event::new()?, wanted: Mutex::default() })
    }

    /// The event that the worker watches.
    ///
    /// # Errors
    /// EMFILE.
    pub(super) fn event(&self) -> io::Result<OwnedFd> {
        self.event.share()
    }

    /// Adds an order and wakes the worker.
    pub(super) fn give(&self, order: impl FnOnce(&mut Wanted)) {
        order(&mut self.wanted.lock().unwrap_or_else(PoisonError::into_inner));
        self.event.set();
    }

    /// Takes all that is there.
    pub(super) fn take(&self) -> Wanted {
        mem::take(&mut self.wanted.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl fmt::Debug for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Question").field("call_id", &self.call_id).finish_non_exhaustive()
    }
}
