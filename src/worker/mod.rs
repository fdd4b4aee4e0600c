//! The workers: one thread a core, each a ring, a shard and a loop.
//!
//! The only place where `io` and `proxy` meet. A worker receives from its own socket of every
//! listener and from the ports towards the backends that it owns, deals with what its shard owns,
//! hands over the rest, and counts. Nothing in the loop allocates, locks or waits for another worker.

mod backends;
mod core;
mod count;
mod desk;
mod gather;
mod listeners;
mod message_log;
mod orders;
mod record;
#[doc(hidden)]
pub mod rehearsal;
mod shard;
mod start;
mod steering;
#[cfg(test)]
mod tests;
mod turn;

pub use listeners::{NoAnswer, Opened};
pub use message_log::{Line, Lines, Pen, Rule as LogRule, pen as log_pen};
pub use orders::Answer;

use crate::metrics::{Cells, Roster};
use crate::proxy::{Proxy, Settings};
use arc_swap::ArcSwap;
use orders::{Orders, Question};
use std::fmt;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use steering::Steering;

/// All that the workers are started with.
#[derive(Debug)]
pub struct Plan {
    /// One per worker; they differ in [`Settings::sides`] (the worker's own port) only.
    /// [`Workers::configure`] replaces them.
    pub settings: Vec<Arc<Settings>>,
    /// The pool, and the cells of its backends in each worker: swapped whole by the control thread, which
    /// keeps the one before until no worker has it any more. To free it takes longer than a turn may.
    pub roster: Arc<ArcSwap<Roster>>,
    /// One per worker.
    pub cells: Vec<Arc<Cells>>,
    /// SO_RCVBUF asked for on each socket, bytes.
    pub receive_buffer: usize,
    /// How long messages may be kept waiting for more to come, under load; 0: not at all.
    /// [`Workers::gather_within`] replaces it.
    pub latency_budget: Duration,
    /// Pin worker i to the i-th core that the process may use.
    pub pin_to_cores: bool,
    /// Let the kernel give the datagrams of listeners to the workers that own them, where it can.
    pub steering: bool,
}

/// Why the workers cannot start. The texts say what to do.
#[derive(Debug)]
pub enum StartError {
    /// A port is busy or the kernel lacks a feature: exit code 69.
    Unavailable(String),
    /// The kernel forbids it: exit code 77.
    Permission(String),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Unavailable(text) | Self::Permission(text)) = self;
        f.write_str(text)
    }
}

impl std::error::Error for StartError {}

/// Running workers. Dropped, they are stopped.
#[derive(Debug)]
pub struct Workers {
    threads: Vec<Thread>,
    steering: Steering,
}

#[derive(Debug)]
struct Thread {
    orders: Arc<Orders>,
    handle: Option<JoinHandle<Result<(), String>>>,
}

impl Workers {
    /// Opens every socket, builds every ring, starts the threads.
    ///
    /// # Errors
    /// When a socket or a ring cannot be had; nothing is left running then.
    ///
    /// # Panics
    /// If the plan contradicts itself: not one cells and one settings for each of 1 to
    /// [`crate::limits::WORKERS_MAX`] workers, or a worker that sends from a port that another one
    /// receives from. Ports towards the backends belong to the workers in order of port number:
    /// the first to worker 0, and so on, round again.
    pub fn start(plan: Plan) -> Result<Self, StartError> {
        start::start(plan, Proxy::new)
    }

    /// Gives each worker other settings, which it takes over between two turns, at once. They name the
    /// sockets that the worker has, and the sides are as they were.
    ///
    /// # Panics
    /// If there is not one for each worker.
    pub fn configure(&self, settings: &[Arc<Settings>]) {
        assert_eq!(settings.len(), self.threads.len(), "one for each worker");
        for (thread, settings) in self.threads.iter().zip(settings) {
            thread.orders.give(|wanted| wanted.settings = Some(Arc::clone(settings)));
        }
    }

    /// Asks every worker for the backend of a Call-ID's pin; the one that owns the Call-ID knows it.
    /// Each answers once it has taken over the settings that it was given before, and has refreshed
    /// its gauges; one that has failed never does.
    pub fn ask(&self, call_id: &[u8], answer: &Answer) {
        let call_id: Arc<[u8]> = call_id.into();
        for thread in &self.threads {
            let question = Question { call_id: Arc::clone(&call_id), answer: Arc::clone(answer) };
            thread.orders.give(|wanted| wanted.questions.push(question));
        }
    }

    /// Sets how long messages may be kept waiting for more to come, under load; 0: not at all. No effect
    /// where [`crate::io::diagnose::try_gathering`] fails.
    pub fn gather_within(&self, budget: Duration) {
        for thread in &self.threads {
            thread.orders.give(|wanted| wanted.latency_budget = Some(budget));
        }
    }

    /// Gives each worker a pen for the message log, or takes it away.
    pub fn log_messages(&self, mut pen: impl FnMut() -> Option<Pen>) {
        self.threads.iter().for_each(|thread| {
            let pen = pen();
            thread.orders.give(|wanted| wanted.pen = Some(pen));
        });
    }

    /// Why the kernel does not give every datagram of a listener to the worker that owns it; `None`: it does.
    pub fn steering_off(&self) -> Option<String> {
        self.steering.off()
    }

    /// True once a worker has ended by itself (it met an error it cannot go on from).
    pub fn failed(&self) -> bool {
        self.threads.iter().any(|one| one.handle.as_ref().is_some_and(JoinHandle::is_finished))
    }

    /// Asks every worker to end after the turn it is in, and waits for them.
    pub fn stop(self) {
        drop(self);
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.threads.iter().for_each(|one| one.orders.give(|wanted| wanted.stop = true));
        for (number, thread) in self.threads.iter_mut().enumerate() {
            // An error was logged where it arose; a panic was printed.
            if let Some(Err(_)) = thread.handle.take().map(JoinHandle::join) {
                tracing::error!(worker = number, "the worker has panicked");
            }
        }
    }
}
