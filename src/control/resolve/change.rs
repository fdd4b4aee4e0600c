//! What the balancer makes of names: their backends join and leave while everything else stays.

use super::super::balancer::{Balancer, Live, build, pools};
use super::super::fleet::{Fleet, Member, PoolSpec};
use super::super::{Failure, plan, prober};
use super::name::{Name, Settled};
use super::spread::{Spread, spread};
use super::{Known, Names, State};
use crate::config::{BackendConfig, Config, DnsConfig, Host, PoolConfig};
use crate::io::os;
use crate::metrics::Lookups;
use crate::pool::BackendSpec;
use crate::proxy::{LocalSocket, Settings};
use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, SystemTime};

/// All backends: `fixed`, which have an address, and those that the names lead to. The fleet gets the
/// news of who cannot be one.
pub(in super::super) fn backends(
    config: &Config,
    names: &mut Names,
    fixed: Vec<Vec<BackendSpec>>,
    fleet: &mut Fleet,
    (locals, sockets): (&[IpAddr], &[LocalSocket]),
    now: SystemTime,
) -> Vec<PoolSpec> {
    let judge = |backend: &BackendConfig| {
        let is_it =
            |spec: &&BackendSpec| spec.name == backend.name && spec.address == backend.address;
        let source = match fleet.members().iter().map(|member| &member.spec).find(is_it) {
            Some(there) => Ok(locals[usize::from(there.side)]), // a lost route does not put it out
            None => os::source_address_towards(backend.address).map_err(|e| e.to_string()),
        };
        let judged = plan::backend_on(backend, &source, locals, sockets);
        judged.map_err(|failure: Failure| failure.text)
    };
    let there: HashSet<_> = fleet.members().iter().map(|one| one.spec.name.as_str()).collect();
    let taken = config.pools.iter().zip(&fixed).map(|(pool, fixed)| {
        let is_added = |one: &&Member| one.pool == pool.name && one.added && one.leaving.is_none();
        let of_pool = fleet.members().iter().filter(is_added);
        fixed.iter().cloned().chain(of_pool.map(|one| one.spec.clone())).collect()
    });
    let taken: Vec<Vec<_>> = taken.collect();
    let Spread { specs, origins, left_out } = spread(&config.pools, names, &taken, &there, judge);
    names.origins.retain(|backend, _| there.contains(backend.as_str()));
    names.origins.extend(origins);
    for (backend, why) in &left_out {
        if names.left_out.get(backend) != Some(why) {
            fleet.note_dns(backend, "left out", why, now);
        }
    }
    names.left_out = left_out;
    let all = fixed.into_iter().zip(specs).map(|(fixed, named)| [fixed, named].concat());
    pools(config, all.collect())
}

/// The backends of names at the start, beside those that the fleet has: they do not start slowly.
pub(in super::super) fn first(
    config: &Config,
    names: &mut Names,
    fixed: Vec<Vec<BackendSpec>>,
    fleet: &mut Fleet,
    (locals, sockets): (&[IpAddr], &[LocalSocket]),
    now: SystemTime,
) {
    if names.all.is_empty() {
        return;
    }
    let in_trouble = names.all.values().map(|known| &known.name);
    in_trouble.filter(|name| name.trouble().is_some()).for_each(|name| note(name, fleet, now));
    let specs = backends(config, names, fixed, fleet, (locals, sockets), now);
    fleet.resolved(specs, Duration::ZERO, now); // nobody leaves
    fleet.begin();
}

impl Names {
    /// What is known of a name from now on.
    pub(super) fn insert(&mut self, name: Name, now: SystemTime) {
        let good = match name.trouble() {
            None => Some(now),
            Some(_) => self.all.get(name.host()).and_then(|known| known.good),
        };
        self.all.insert(name.host().clone(), Known { name, good });
    }

    /// The local addresses from which these names are reached; while one leads nowhere also those
    /// that it will most likely be reached from.
    pub(in super::super) fn local_addresses(&self, config: &Config) -> Vec<IpAddr> {
        let targets = self.all.values().flat_map(|known| known.name.targets());
        let mut towards: Vec<_> = targets.map(|target| target.address).collect();
        let mut locals = Vec::new();
        if self.all.values().any(|known| known.name.targets().is_empty()) {
            let fixed = config.listeners.iter().map(|listener| listener.bind.ip());
            locals.extend(fixed.filter(|ip| !ip.is_unspecified()));
            towards.extend(ANYWHERE);
        }
        locals.extend(towards.into_iter().filter_map(|to| os::source_address_towards(to).ok()));
        locals
    }
}

/// Addresses for documentation (RFC 5737, RFC 3849), behind the default routes: which way there is
/// asked, and nothing is sent.
const ANYWHERE: [SocketAddr; 2] = [
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 5060),
    SocketAddr::new(IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1)), 5060),
];

impl Balancer {
    /// A copy of each name that is due, unless it is among `under_way`; when the next one is; and how
    /// names are looked up.
    pub(super) fn names_due(
        &self,
        now_ms: u64,
        under_way: &HashSet<Host>,
    ) -> (Vec<Name>, Option<u64>, DnsConfig) {
        let live = self.live();
        let all = || live.names.all.iter().filter(|(host, _)| !under_way.contains(*host));
        let due = all().filter(|(_, known)| known.name.due_ms() <= now_ms);
        let due: Vec<_> = due.map(|(_, known)| known.name.clone()).collect();
        let later = all().map(|(_, known)| known.name.due_ms()).filter(|ms| *ms > now_ms);
        (due, later.min(), live.config.dns.clone())
    }

    /// A look-up of [`Balancer::names_due`] has ended. Without effect if the config has lost the name
    /// meanwhile.
    pub(super) fn resolved(&self, name: Name, settled: Settled) {
        let mut live = self.live();
        if !live.names.all.contains_key(name.host()) {
            return;
        }
        let (mut next, now) = (live.clone(), SystemTime::now());
        if settled.news {
            note(&name, &mut next.fleet, now);
        }
        next.names.insert(name, now);
        if settled.changed {
            let fixed = next.fixed();
            let Live { config, binds, names, fleet, settings, .. } = &mut next;
            let Settings { sides, sockets, .. } = &*settings[0]; // in all workers the same
            let locals: Vec<_> = sides.iter().map(|side| side.local).collect();
            let specs = backends(config, names, fixed, fleet, (&locals, sockets), now);
            let within = Duration::from_secs(config.limits.remove_timeout_s.into());
            fleet.resolved(specs, within, now);
            fleet.watch(prober::moment(), &mut prober::random);
            fleet.settle(now);
            match build(fleet, config, binds) {
                Ok(pool) => self.publish(pool),
                Err(error) => return tracing::error!("the backends stay as they are: {error}"),
            }
        }
        show(&next.names, &self.lookups);
        next.fleet.log_since(live.fleet.noted());
        *live = next;
    }
}

/// Tells the metrics how the names stand.
pub(in super::super) fn show(names: &Names, lookups: &Lookups) {
    let count = |state| names.standings().filter(|one| one.state == state).count() as u64;
    lookups.fresh.set(count(State::Fresh));
    lookups.kept.set(count(State::Kept));
    lookups.unresolved.set(count(State::Unresolved));
    lookups.good_at(names.standings().map(|one| one.good).min().flatten());
}

/// An event that says how a name stands.
fn note(name: &Name, fleet: &mut Fleet, now: SystemTime) {
    let shown = name.host().to_string();
    match (name.trouble(), name.targets().len()) {
        (None, count) => {
            let s = if count == 1 { "" } else { "es" };
            fleet.note_dns(&shown, "resolved", &format!("DNS leads to {count} address{s}"), now);
        }
        (Some(why), 0) => {
            fleet.note_dns(&shown, "no address", &format!("{why}; {WHAT_TO_DO}"), now);
        }
        (Some(why), _) => fleet.note_dns(&shown, "addresses kept", why, now),
    }
}

impl Live {
    /// The backends of the config that have an address, as they are.
    fn fixed(&self) -> Vec<Vec<BackendSpec>> {
        let members = self.fleet.members();
        let spec = |one: &BackendConfig| {
            let members = members.iter().map(|member| &member.spec);
            let mut all = members.chain(self.fleet.removed().iter().map(|removed| &removed.spec));
            all.find(|spec| spec.name == one.name).cloned()
        };
        let of_pool = |pool: &PoolConfig| pool.backends.iter().filter_map(spec).collect();
        self.config.pools.iter().map(of_pool).collect()
    }
}

/// For a name that leads nowhere.
const WHAT_TO_DO: &str =
    "it gets no calls until DNS says where it is: correct the name, its records or [dns] servers";

#[cfg(test)]
mod tests;
