//! What became of reloads, written by the control thread alone.

use super::Cell;
use std::time::{SystemTime, UNIX_EPOCH};

/// Counts and times of reloads.
#[derive(Debug)]
pub struct Reloads {
    /// 1 at the start, and 1 more with each reload that changed something.
    pub generation: Cell,
    /// Reloads that succeeded.
    pub succeeded: Cell,
    /// Reloads after which everything stayed as it was.
    pub failed: Cell,
    /// 1 if the last attempt succeeded, else 0.
    pub last_successful: Cell,
    /// Unix time of the last success, seconds.
    pub last_success_s: Cell,
    /// [`crate::config::Config::agreement`].
    pub hash: Cell,
    /// What was set at run time against the configuration: administrative states and weights.
    pub drift: Cell,
}

impl Reloads {
    /// After a start at this time, which is a success.
    pub fn new(started: SystemTime) -> Self {
        let zero = Cell::default;
        let [generation, last_successful, last_success_s] = [zero(), zero(), zero()];
        generation.set(1);
        last_successful.set(1);
        last_success_s.set(unix_s(started));
        Self {
            generation,
            succeeded: zero(),
            failed: zero(),
            last_successful,
            last_success_s,
            hash: zero(),
            drift: zero(),
        }
    }

    /// A reload that succeeded.
    pub fn success(&self, changed: bool, now: SystemTime) {
        self.generation.add(u64::from(changed));
        self.succeeded.increment();
        self.last_successful.set(1);
        self.last_success_s.set(unix_s(now));
    }

    /// A reload that was refused.
    pub fn failure(&self) {
        self.failed.increment();
        self.last_successful.set(0);
    }
}

fn unix_s(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
