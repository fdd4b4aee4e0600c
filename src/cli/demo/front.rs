//! What stands between caller and backends, as the show sees it.

use crate::control::Failure;
use std::net::SocketAddr;

/// A balancer, or what stands in its place.
pub(super) trait Front {
    /// Where calls go.
    fn address(&self) -> SocketAddr;
    /// Takes new calls from a backend, or gives them back.
    fn set_drained(&mut self, backend: &str, drained: bool) -> Result<(), Failure>;
    /// Changes the config file and loads it again: what that changed, or why all stays as it was.
    fn reload(&mut self, edit: Edit<'_>) -> Result<Vec<String>, String>;
    /// How things are now.
    fn look(&mut self) -> Standing;
    /// True once it serves only a part of the calls.
    fn failed(&self) -> bool;
}

/// What is done to the config file.
#[derive(Clone, Copy, Debug)]
pub(super) enum Edit<'a> {
    /// One more backend.
    Add(&'a str, SocketAddr),
    /// A mistake.
    Break,
}

/// The front at one moment.
#[derive(Clone, Debug, Default)]
pub(super) struct Standing {
    /// Messages thrown away so far.
    pub(super) drops: u64,
    /// Requests that went on to another backend so far; may be a second old.
    pub(super) failed_over: u64,
    /// Reloads that were taken over so far.
    pub(super) reloads: u64,
    /// Reloads that were refused so far.
    pub(super) refused: u64,
    /// The number of the configuration.
    pub(super) generation: u64,
    /// Those of the configuration, in its order.
    pub(super) backends: Vec<BackendStanding>,
    /// What has happened since the last look.
    pub(super) events: Vec<Event>,
}

impl Standing {
    /// A backend of the configuration.
    pub(super) fn of(&self, backend: &str) -> Option<State> {
        self.backends.iter().find(|one| one.name == backend).map(|one| one.state)
    }

    /// Names only.
    pub(super) fn names(&self) -> Vec<String> {
        self.backends.iter().map(|one| one.name.clone()).collect()
    }
}

/// One backend as the front sees it.
#[derive(Clone, Debug)]
pub(super) struct BackendStanding {
    pub(super) name: String,
    pub(super) state: State,
}

/// What a backend gets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum State {
    /// Its whole share.
    #[default]
    Up,
    /// A growing part of its share.
    SlowStart,
    /// No new calls: so it was wanted.
    Drained,
    /// No new calls: it does not answer.
    Down,
}

/// Something that the front did or found out.
#[derive(Clone, Debug)]
pub(super) struct Event {
    pub(super) backend: String,
    /// What the backend is now.
    pub(super) what: String,
    /// Why, and by whom.
    pub(super) why: String,
}
