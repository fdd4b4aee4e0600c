//! Backends by name: what a `[[pool.backend]]` is whose `address` is for DNS to say.

use super::BackendConfig;
use super::file::{RawBackend, RawPool};
use super::pools::{backend, identity};
use super::report::{Place, Problem, Report};
use crate::limits::NAMES_MAX;
use std::collections::HashMap;
use std::fmt::{self, Display, Formatter};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// One `[[pool.backend]]` whose `address` is a name: as many backends as DNS leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedBackends {
    /// What is looked up.
    pub host: Host,
    /// What each of them is like. Its name (by default that of the host) and an address make up an
    /// identity: `NAME/ADDRESS:PORT`. Its own address says nothing.
    pub like: BackendConfig,
}

/// A host that stands for backends until DNS says which: `[TRANSPORT:]NAME[:PORT]` (RFC 3263).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Host {
    /// In lower case, so that every node names its backends alike; without a dot at its end.
    pub name: String,
    /// `None`: what DNS says, else 5060.
    pub port: Option<u16>,
    /// `None`: what DNS says, of those that this version speaks.
    pub transport: Option<Transport>,
}

/// How requests travel. (TCP, TLS, WS and WSS come with the stream room.)
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Transport {
    /// RFC 3261 18.
    Udp,
}

impl Display for Host {
    /// As a file has it. A name without transport and port stays so: what they are is for DNS.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.transport {
            Some(Transport::Udp) => write!(f, "udp:{}", self.name)?,
            None => write!(f, "{}", self.name)?,
        }
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

/// What a raw one is, with the defaults.
pub(super) fn named(raw: &RawBackend<Host>) -> NamedBackends {
    let nowhere = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);
    NamedBackends { host: raw.address.value.clone(), like: backend(called(raw).0, nowhere, raw) }
}

/// What its backends are called by, and where it says so.
fn called(raw: &RawBackend<Host>) -> (String, Place) {
    match &raw.name {
        Some(name) => (name.value.clone(), name.place),
        None => (raw.address.value.name.clone(), raw.address.place),
    }
}

/// Two names may lead to the same backends, but they must not be called alike.
pub(super) fn agree(pools: &[RawPool], report: &mut Report) {
    let all = || pools.iter().flat_map(|pool| &pool.names);
    if let Some(first_over) = all().nth(NAMES_MAX) {
        let title = format!("there are {} backends by name", all().count());
        let label = format!("at most {NAMES_MAX} can be");
        report.add(Problem::error(title).at(first_over.address.place, label));
    }
    let fixed = pools.iter().flat_map(|pool| &pool.backends);
    let mut seen: HashMap<_, _> = fixed.map(|one| (identity(one), one.address.place)).collect();
    for (name, place) in all().map(called) {
        let title = format!("two backends have the name `{name}`");
        if let Some(other) = seen.insert(name, place) {
            report.add(
                Problem::error(title)
                    .at(place, "again here")
                    .at(other, "the first one")
                    .help("without a name of their own they are called like their host"),
            );
        }
    }
}
