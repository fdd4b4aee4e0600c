//! What the scrape says of the backends' health: written by the control thread, read by the scrape.

use crate::pool::BackendId;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

/// The health of one backend.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ProbeFigures {
    /// It takes calls.
    pub up: bool,
    /// The last probe was good.
    pub good: bool,
    /// How long the last probe took, seconds.
    pub seconds: f64,
    /// Times that it came up.
    pub ups: u64,
    /// Times that it went down.
    pub downs: u64,
}

impl Default for ProbeFigures {
    /// Of a backend that nothing is known of yet: it counts as up.
    fn default() -> Self {
        Self { up: true, good: false, seconds: 0.0, ups: 0, downs: 0 }
    }
}

/// The health of all backends. A lock, for the data path never looks here.
#[derive(Debug, Default)]
pub struct Probes(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    figures: HashMap<BackendId, ProbeFigures>,
    /// The names of the pools that are in a panic.
    panics: Vec<String>,
}

impl Probes {
    /// Replaces everything; `panics` are the names of the pools that are in a panic.
    pub fn set(
        &self,
        figures: impl Iterator<Item = (BackendId, ProbeFigures)>,
        panics: Vec<String>,
    ) {
        let state = State { figures: figures.collect(), panics };
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = state;
    }

    pub(super) fn of(&self, backend: BackendId) -> ProbeFigures {
        let state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.figures.get(&backend).copied().unwrap_or_default()
    }

    pub(super) fn is_in_panic(&self, pool: &str) -> bool {
        let state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.panics.iter().any(|name| name == pool)
    }
}
