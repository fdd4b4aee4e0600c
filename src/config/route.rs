//! `[[route]]`: which requests are for which pool.
//!
//! A rule lists conditions: all of them must fit, and of each list one entry is enough. What is not
//! written wants nothing.

mod agree;
mod read;
mod words;

pub(super) use agree::agree;
pub(super) use read::{RawRoute, route};

use super::Config;
use super::values::listed;
use crate::pool::{Domain, GroupIndex, HeaderRule, Rule};
use ipnet::IpNet;
use std::fmt::{self, Formatter};
use std::net::SocketAddr;

/// One `[[route]]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RouteConfig {
    /// What it is called; `None`: nothing.
    pub name: Option<String>,
    /// The pool that its requests are for, by name.
    pub pool: String,
    /// Methods.
    pub methods: Vec<String>,
    /// Domains of the Request-URI, lower case.
    pub uri_domains: Vec<Domain>,
    /// What its user begins with.
    pub uri_users: Vec<String>,
    /// Domains of From, lower case.
    pub from_domains: Vec<Domain>,
    /// Domains of To, lower case.
    pub to_domains: Vec<Domain>,
    /// Networks that they come from.
    pub sources: Vec<IpNet>,
    /// Listeners that they come in on, by their `bind`.
    pub listeners: Vec<SocketAddr>,
    /// Header fields, all of which must be there.
    pub headers: Vec<HeaderRule>,
}

/// The number of a listener that is not open: no request comes in there.
const NO_LISTENER: u16 = u16::MAX;

impl Config {
    /// The `bind` of each listener, in order.
    pub fn binds(&self) -> Vec<SocketAddr> {
        self.listeners.iter().map(|listener| listener.bind).collect()
    }

    /// The rules of `[[route]]`, by the places of pools in this configuration, and those of listeners
    /// in `binds`.
    pub fn rules(&self, binds: &[SocketAddr]) -> Vec<Rule> {
        self.routes.iter().map(|route| self.rule(route, binds)).collect()
    }

    fn rule(&self, route: &RouteConfig, binds: &[SocketAddr]) -> Rule {
        let group = self.pools.iter().position(|pool| pool.name == route.pool);
        debug_assert!(group.is_some(), "validated: {}", route.pool);
        let listener = |bind: &SocketAddr| {
            let place = binds.iter().position(|known| known == bind);
            place.map_or(NO_LISTENER, |place| place as u16)
        };
        Rule {
            name: route.name.clone().unwrap_or_default(),
            group: GroupIndex(group.unwrap_or(0) as u8),
            methods: route.methods.clone(),
            uri_domains: route.uri_domains.clone(),
            uri_user_prefixes: route.uri_users.clone(),
            from_domains: route.from_domains.clone(),
            to_domains: route.to_domains.clone(),
            sources: route.sources.clone(),
            listeners: route.listeners.iter().map(listener).collect(),
            headers: route.headers.clone(),
        }
    }
}

/// As [`route`] reads it; `number` counts from 1.
pub(super) fn show(f: &mut Formatter<'_>, number: usize, route: &RouteConfig) -> fmt::Result {
    writeln!(f, "\n# rule {number}: {}\n[[route]]", route.words())?;
    if let Some(name) = &route.name {
        writeln!(f, "name = \"{name}\"")?;
    }
    writeln!(f, "pool = \"{}\"", route.pool)?;
    for (key, entries) in route.lists() {
        if !entries.is_empty() {
            writeln!(f, "{key} = {}", listed(&entries))?;
        }
    }
    Ok(())
}

impl RouteConfig {
    /// Every condition with its key, as it is written.
    fn lists(&self) -> [(&'static str, Vec<String>); 8] {
        let domains = |all: &[Domain]| all.iter().map(ToString::to_string).collect();
        let header = |one: &HeaderRule| match &one.value {
            Some(value) => format!("{}: {value}", one.name),
            None => one.name.clone(),
        };
        [
            ("method", self.methods.clone()),
            ("uri_domain", domains(&self.uri_domains)),
            ("uri_user", self.uri_users.clone()),
            ("from_domain", domains(&self.from_domains)),
            ("to_domain", domains(&self.to_domains)),
            ("source", self.sources.iter().map(ToString::to_string).collect()),
            ("listener", self.listeners.iter().map(|bind| format!("udp:{bind}")).collect()),
            ("header", self.headers.iter().map(header).collect()),
        ]
    }
}
