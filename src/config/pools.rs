//! What the pools and their backends say of each other.

use super::file::{RawBackend, RawPool};
use super::policy::{goes_by_header, of_pool};
use super::report::{Problem, Report};
use super::{BackendConfig, PoolConfig, RouteConfig, names};
use crate::limits::{BACKENDS_MAX, GROUPS_MAX};
use crate::pool::{BackendSpec, GroupSpec, Pool, PoolError, State};
use std::collections::HashMap;
use std::net::SocketAddr;

impl PoolConfig {
    /// What a snapshot is told of this pool.
    pub fn group(&self, backends: Vec<BackendSpec>, leaving: Vec<BackendSpec>) -> GroupSpec {
        GroupSpec {
            name: self.name.clone(),
            policy: self.policy,
            hash_header: self.hash_header.clone(),
            bound_percent: self.bound_percent,
            source_header: self.source_header.clone(),
            backends,
            leaving,
        }
    }
}

impl BackendConfig {
    /// What a snapshot is told of this backend, which is reached from this side.
    pub fn spec(&self, side: u8) -> BackendSpec {
        BackendSpec {
            name: self.name.clone(),
            address: self.address,
            weight: self.weight,
            state: self.state,
            sources: self.sources.clone(),
            side,
            intake: self.intake,
            up_since_ms: 0,
        }
    }
}

/// The name of a pool that has none.
const DEFAULT_NAME: &str = "default";

/// Checks the pools; the result counts only if no problem is an error.
pub(super) fn pools(mut raw: Vec<RawPool>, seed: u64, report: &mut Report) -> Vec<PoolConfig> {
    if raw.is_empty() {
        raw.push(RawPool::default()); // without a backend, which is what is missing
    }
    pools_agree(&raw, report);
    backends_agree(&raw, report);
    let pools: Vec<_> = raw.into_iter().map(|pool| config(pool, report)).collect();
    if !report.has_errors() {
        identities_differ(&pools, seed, report);
    }
    pools
}

/// Warns of pools that no request is for: neither the first one nor in any rule.
pub(super) fn led_to(pools: &[PoolConfig], routes: &[RouteConfig], report: &mut Report) {
    for pool in pools.iter().skip(1) {
        if routes.iter().all(|route| route.pool != pool.name) {
            report.add(
                Problem::warning(format!("no rule leads to the pool `{}`", pool.name)).help(
                    format!("add a [[route]] with pool = \"{}\" and what is for it", pool.name),
                ),
            );
        }
    }
}

fn name(pool: &RawPool) -> &str {
    pool.name.as_ref().map_or(DEFAULT_NAME, |name| &name.value)
}

fn pools_agree(pools: &[RawPool], report: &mut Report) {
    if let Some(first_over) = pools.get(GROUPS_MAX) {
        let title = format!("there are {} pools", pools.len());
        let label = format!("at most {GROUPS_MAX} can be");
        report.add(Problem::error(title).at(first_over.place, label));
    }
    for (at, pool) in pools.iter().enumerate() {
        let same = |other: &&RawPool| name(other) == name(pool);
        if let Some(earlier) = pools[..at].iter().find(same) {
            let place = |pool: &RawPool| pool.name.as_ref().map(|name| name.place).or(pool.place);
            let problem = Problem::error(format!("two pools have the name `{}`", name(pool)))
                .at(place(pool), "again here")
                .at(place(earlier), "the first one");
            report.add(match pool.name {
                Some(_) => problem,
                None => problem.help(format!("without a name it is `{DEFAULT_NAME}`: name it")),
            });
        }
        if pool.backends.is_empty() && pool.names.is_empty() {
            report.add(
                Problem::error("there is no backend").at(pool.place, "this pool is empty").help(
                    "give --backend 10.0.0.11:5060, or a file with [[pool.backend]] address = \
                         \"10.0.0.11:5060\"",
                ),
            );
        }
    }
}

fn backends_agree(pools: &[RawPool], report: &mut Report) {
    let all = || pools.iter().flat_map(|pool| &pool.backends);
    if let Some(first_over) = all().nth(BACKENDS_MAX) {
        let title = format!("there are {} backends", all().count());
        let label = format!("at most {BACKENDS_MAX} can be");
        report.add(Problem::error(title).at(first_over.address.place, label));
    }
    let mut by_name = HashMap::new();
    for pool in pools {
        let mut by_address = HashMap::new();
        for backend in &pool.backends {
            let address = backend.address;
            if let Some(other) = by_address.insert(address.value, address.place) {
                report.add(
                    Problem::error(format!("two backends have the address {}", address.value))
                        .at(address.place, "again here")
                        .at(other, "the first one"),
                );
                continue;
            }
            let place = backend.name.as_ref().map_or(address.place, |name| name.place);
            let name = identity(backend);
            let title = format!("two backends have the name `{name}`");
            if let Some(other) = by_name.insert(name, place) {
                let help = match backend.name {
                    Some(_) => "the name is the backend's identity in tokens and metrics",
                    None => "a server in two pools needs a name of its own in each",
                };
                report.add(
                    Problem::error(title)
                        .at(place, "again here")
                        .at(other, "the first one")
                        .help(help),
                );
            }
        }
    }
}

fn config(raw: RawPool, report: &mut Report) -> PoolConfig {
    let policy = of_pool(&raw, report);
    let backends: Vec<BackendConfig> = raw.backends.iter().map(config_of).collect();
    let names: Vec<_> = raw.names.iter().map(names::named).collect();
    let all = || backends.iter().chain(names.iter().map(|one| &one.like));
    let takes_calls = |backend: &BackendConfig| backend.state == State::Ready && backend.weight > 0;
    if all().next().is_some() && !all().any(takes_calls) {
        report.add(
            Problem::warning("no backend takes new calls")
                .at(raw.place, "all are drained, down, or have weight 0")
                .help("callers get 480 until one is ready"),
        );
    }
    PoolConfig {
        name: name(&raw).to_owned(),
        policy,
        // What a policy makes no use of is not kept: a flag may have put another one there.
        hash_header: raw.header.map(|at| at.value).filter(|_| goes_by_header(policy)),
        bound_percent: raw.bound_percent.map(|at| at.value).filter(|_| policy.is_hash()),
        source_header: raw.source_header,
        health: raw.health,
        backends,
        names,
    }
}

/// A backend with the defaults.
pub(super) fn backend<A>(name: String, address: SocketAddr, raw: &RawBackend<A>) -> BackendConfig {
    BackendConfig {
        name,
        address,
        weight: raw.weight.unwrap_or(1),
        state: raw.state.unwrap_or(State::Ready),
        sources: raw.sources.clone(),
        intake: raw.intake,
    }
}

/// A backend with an address that is good, with its defaults.
pub(super) fn config_of(raw: &RawBackend<SocketAddr>) -> BackendConfig {
    backend(identity(raw), raw.address.value, raw)
}

/// Without a name the address is the identity, in one spelling: every node must agree on it
/// however its file writes the address.
pub(super) fn identity(backend: &RawBackend<SocketAddr>) -> String {
    match &backend.name {
        Some(name) => name.value.clone(),
        None => backend.address.value.to_string(),
    }
}

/// Two different names may still have the same identity, a fixed hash of the name.
fn identities_differ(pools: &[PoolConfig], seed: u64, report: &mut Report) {
    let group = |pool: &PoolConfig| {
        pool.group(pool.backends.iter().map(|backend| backend.spec(0)).collect(), Vec::new())
    };
    let groups: Vec<_> = pools.iter().map(group).collect();
    let title = match Pool::build_groups(&groups, Vec::new(), seed) {
        Ok(_) => return,
        Err(PoolError::SameIdentity(one, other)) => {
            format!("the names `{one}` and `{other}` have the same hash: rename one of them")
        }
        Err(error) => error.to_string(), // seen above with its place
    };
    report.add(Problem::error(title));
}
