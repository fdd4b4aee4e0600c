//! Backends by name: where a name leads (RFC 3263), looked up again as its records run out.
//!
//! * `record`: questions and answers. `walk`: from a name to addresses, by what DNS has said so far.
//!   `name`: what is known of one name, and when to ask again. `spread`: from addresses to backends.
//!   All of them are pure.
//! * `lookup`: one question at the name servers. `watch`: at start and then for ever, on the control
//!   thread. `change`: what the balancer makes of it, which is a reload for backends alone.

mod change;
mod lookup;
mod name;
mod record;
mod spread;
mod walk;
mod watch;

pub(super) use change::{backends, first, show};
pub(super) use watch::{at_start, watch};

use crate::config::{Config, Host, NamedBackends};
use name::Name;
use std::collections::{BTreeMap, HashMap};
use std::time::SystemTime;
use walk::Target;

/// Where a backend comes from: the name that was looked up, as the config has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Origin(pub(super) String);

/// All names of the config, and what is known of them.
#[derive(Clone, Debug, Default)]
pub(super) struct Names {
    all: BTreeMap<Host, Known>,
    /// Where each backend comes from, by its name; also those that are leaving.
    origins: HashMap<String, Origin>,
    /// Records that are no backends, and why.
    left_out: BTreeMap<String, String>,
}

/// One name.
#[derive(Clone, Debug)]
struct Known {
    name: Name,
    /// When it was last looked up without trouble.
    good: Option<SystemTime>,
}

/// How a name stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Standing<'a> {
    pub(super) host: &'a Host,
    pub(super) state: State,
    pub(super) addresses: usize,
    /// Why it is not fresh.
    pub(super) trouble: Option<&'a str>,
    /// When it was last looked up without trouble.
    pub(super) good: Option<SystemTime>,
}

/// Whether the backends of a name are those that DNS says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// They are.
    Fresh,
    /// They are those that it said before it failed.
    Kept,
    /// There is none yet.
    Unresolved,
}

impl State {
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Fresh => "fresh",
            Self::Kept => "kept",
            Self::Unresolved => "unresolved",
        }
    }
}

impl Names {
    /// Those of this config: what is known stays, new ones are due at once.
    pub(super) fn following(&self, config: &Config) -> Self {
        let of_config = |named: &NamedBackends| {
            let fresh = || Known { name: Name::new(named.host.clone()), good: None };
            let known = self.all.get(&named.host).cloned().unwrap_or_else(fresh);
            (named.host.clone(), known)
        };
        let named = config.pools.iter().flat_map(|pool| &pool.names);
        Self { all: named.map(of_config).collect(), ..self.clone() }
    }

    /// Where a backend of this name comes from, if from DNS.
    pub(super) fn origin(&self, backend: &str) -> Option<&Origin> {
        self.origins.get(backend)
    }

    /// How each name stands.
    pub(super) fn standings(&self) -> impl Iterator<Item = Standing<'_>> {
        self.all.iter().map(|(host, Known { name, good })| {
            let (addresses, trouble) = (name.targets().len(), name.trouble());
            let state = match (addresses, trouble) {
                (0, _) => State::Unresolved,
                (_, Some(_)) => State::Kept,
                (_, None) => State::Fresh,
            };
            Standing { host, state, addresses, trouble, good: *good }
        })
    }

    fn targets(&self, host: &Host) -> &[Target] {
        self.all.get(host).map_or(&[], |known| known.name.targets())
    }
}
