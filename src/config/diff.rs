//! What a change from one configuration to another comes to: what a reload does at once, and what
//! waits for a restart.

mod listeners;

use super::dns;
use super::messages;
use super::show::{log_level, path, state, steering};
use super::values::{show_duration, show_duration_ms};
use super::work;
use super::{BackendConfig, BackendPorts, Config, HealthConfig, Limits, PoolConfig, RouteConfig};
use std::collections::HashMap;
use std::fmt::{self, Display, Formatter};

/// The differences between two configurations, each in words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diff {
    /// What a reload does at once.
    pub live: Vec<String>,
    /// What a restart alone can do.
    pub restart: Vec<String>,
}

impl Diff {
    /// True if nothing differs.
    pub fn is_empty(&self) -> bool {
        self.live.is_empty() && self.restart.is_empty()
    }
}

/// One line each: what a reload does, then what it leaves.
impl Display for Diff {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.live.iter().try_for_each(|change| writeln!(f, "reload    {change}"))?;
        self.restart.iter().try_for_each(|change| writeln!(f, "restart   {change}"))
    }
}

impl Config {
    /// What differs in `new`.
    pub fn diff(&self, new: &Self) -> Diff {
        let mut diff = Diff::default();
        pools(&self.pools, &new.pools, &mut diff.live);
        routes(&self.routes, &new.routes, &mut diff.live);
        settings(self, new, &mut diff.live);
        needs_restart(self, new, &mut diff.restart);
        listeners::differences(self, new, &mut diff);
        if diff.live.is_empty() && *self != self.taking_over(new) {
            diff.live.push("other settings".to_owned());
        }
        diff
    }

    /// `new`, but for what needs a restart: that stays as it is here.
    pub fn taking_over(&self, new: &Self) -> Self {
        Self {
            workers: self.workers,
            listeners: listeners::live(self, new),
            backend_ports: self.backend_ports,
            steering: self.steering,
            admin: self.admin,
            admin_socket: self.admin_socket.clone(),
            limits: Limits {
                pins: self.limits.pins,
                transactions: self.limits.transactions,
                receive_buffer: self.limits.receive_buffer,
                failover_kept: self.limits.failover_kept,
                ..new.limits
            },
            ..new.clone()
        }
    }
}

/// Pools by name, then the backends of all: one that moves from pool to pool is the same one.
fn pools(old: &[PoolConfig], new: &[PoolConfig], changes: &mut Vec<String>) {
    for pool in new {
        match old.iter().find(|one| one.name == pool.name) {
            Some(was) => in_pool(was, pool, new.len() > 1, changes),
            None => changes.push(format!("pool {:?} added", pool.name)),
        }
    }
    for pool in old.iter().filter(|one| new.iter().all(|other| other.name != one.name)) {
        changes.push(format!("pool {:?} removed", pool.name));
    }
    let order = |list: &[PoolConfig], other: &[PoolConfig]| -> Vec<String> {
        let names = list.iter().map(|one| one.name.clone());
        names.filter(|name| other.iter().any(|one| one.name == *name)).collect()
    };
    if order(old, new) != order(new, old) {
        changes.push("order of the pools: the first takes what no rule gives to another".into());
    }
    backends(&members(old), &members(new), changes);
}

fn in_pool(old: &PoolConfig, new: &PoolConfig, named: bool, changes: &mut Vec<String>) {
    let before = if named { format!("pool {:?}: ", new.name) } else { String::new() };
    let mut value = |what: &str, old: String, new: String| {
        if old != new {
            changes.push(format!("{before}{what} {old} -> {new}"));
        }
    };
    let none = || "none".to_owned();
    let bound = |pool: &PoolConfig| pool.bound_percent.map_or_else(none, work::decimal);
    let source = |pool: &PoolConfig| pool.source_header.clone().unwrap_or_else(none);
    value("policy", old.policy_in_words(), new.policy_in_words());
    value("bound", bound(old), bound(new));
    value("source_header", source(old), source(new));
    health(&old.health, &new.health, &mut value);
}

/// The pool of each backend, and its address as it is written.
type Members<'a> = Vec<(&'a str, String, &'a BackendConfig)>;

fn members(pools: &[PoolConfig]) -> Members<'_> {
    let of_pool = |pool| {
        let entries = PoolConfig::entries(pool);
        entries.map(|(address, one)| (pool.name.as_str(), address, one)).collect::<Vec<_>>()
    };
    pools.iter().flat_map(of_pool).collect()
}

/// Pool, address and the rest.
type ByName<'a> = HashMap<&'a str, (&'a str, &'a str, &'a BackendConfig)>;

fn backends(old: &Members<'_>, new: &Members<'_>, changes: &mut Vec<String>) {
    fn by_name<'a>(list: &'a Members<'a>) -> ByName<'a> {
        let entry = |(pool, address, one): &'a (&str, String, &BackendConfig)| {
            (&*one.name, (*pool, &**address, *one))
        };
        list.iter().map(entry).collect()
    }
    let (before, after) = (by_name(old), by_name(new));
    for (pool, address, backend) in new {
        let name = &backend.name;
        let Some((was_in, was_at, was)) = before.get(&**name) else {
            changes.push(format!("backend {name:?} added ({address})"));
            continue;
        };
        if was_in != pool {
            changes.push(format!("backend {name:?}: pool {was_in} -> {pool}"));
        }
        if was_at != address {
            changes.push(format!("backend {name:?}: address {was_at} -> {address}"));
        }
        backend_changed(was, backend, changes);
    }
    for (_, address, backend) in old.iter().filter(|(.., one)| !after.contains_key(&*one.name)) {
        changes.push(format!("backend {:?} removed ({address})", backend.name));
    }
    // In the order of the pools, which has a line of its own: within each pool.
    let order = |list: &Members<'_>, other: &ByName<'_>| {
        let mut order: Vec<(String, String)> =
            list.iter().map(|(pool, _, one)| ((*pool).to_owned(), one.name.clone())).collect();
        order.retain(|(pool, name)| other.get(&**name).is_some_and(|(other, ..)| other == pool));
        order.sort_by(|(one, _), (other, _)| one.cmp(other));
        order
    };
    if order(old, &after) != order(new, &before) {
        changes.push("order of the backends".to_owned());
    }
}

fn backend_changed(was: &BackendConfig, is: &BackendConfig, changes: &mut Vec<String>) {
    let mut value = |what: &str, old: String, new: String| {
        if old != new {
            changes.push(format!("backend {:?}: {what} {old} -> {new}", is.name));
        }
    };
    let cap = |max: Option<u32>| max.map_or("none".to_owned(), |max| max.to_string());
    let list = |one: &BackendConfig| {
        let all: Vec<_> = one.sources.iter().map(ToString::to_string).collect();
        format!("[{}]", all.join(", "))
    };
    value("weight", was.weight.to_string(), is.weight.to_string());
    value("state", state(was.state).to_owned(), state(is.state).to_owned());
    value("source", list(was), list(is));
    let (old, new) = (&was.intake, &is.intake);
    value("priority", old.priority.to_string(), new.priority.to_string());
    value("backup", old.backup.to_string(), new.backup.to_string());
    value("dialogs_max", cap(old.calls_max), cap(new.calls_max));
    value("calls_per_second_max", cap(old.calls_per_second_max), cap(new.calls_per_second_max));
}

/// Rules have their numbers: one that comes or goes moves those behind it, which is no change of them.
fn routes(old: &[RouteConfig], new: &[RouteConfig], changes: &mut Vec<String>) {
    let titled = |list: &[RouteConfig]| -> Vec<(String, String)> {
        let title = |(at, one): (usize, &RouteConfig)| (one.title(at + 1), one.words());
        list.iter().enumerate().map(title).collect()
    };
    let (before, after) = (titled(old), titled(new));
    let same_order = |one: &[(String, String)], other: &[(String, String)]| -> Vec<String> {
        let words = one.iter().map(|(_, words)| words.clone());
        words.filter(|words| other.iter().any(|(_, known)| known == words)).collect()
    };
    for (at, (title, words)) in after.iter().enumerate() {
        if before.iter().any(|(_, known)| known == words) {
            continue;
        }
        // The same name, or the same place where neither is elsewhere: it is another now.
        let was = match &new[at].name {
            Some(_) => before.iter().find(|(known, _)| known == title),
            None => before.get(at).filter(|(known, words)| {
                known == title && after.iter().all(|(_, other)| other != words)
            }),
        };
        changes.push(match was {
            Some((_, was)) => format!("{title}: {was} => {words}"),
            None => format!("{title} added: {words}"),
        });
    }
    for (at, (title, words)) in before.iter().enumerate() {
        let kept = after.iter().any(|(_, known)| known == words);
        let changed = match &old[at].name {
            Some(_) => after.iter().any(|(known, _)| known == title),
            None => after.get(at).is_some_and(|(known, other)| {
                known == title && before.iter().all(|(_, words)| words != other)
            }),
        };
        if !kept && !changed {
            changes.push(format!("{title} removed: {words}"));
        }
    }
    if same_order(&before, &after) != same_order(&after, &before) {
        changes.push("order of the routes".to_owned());
    }
}

fn settings(old: &Config, new: &Config, changes: &mut Vec<String>) {
    let mut value = |what: &str, old: String, new: String| {
        if old != new {
            changes.push(format!("{what} {old} -> {new}"));
        }
    };
    let seconds = show_duration;
    work::diff(&old.work, &new.work, &mut value);
    dns::diff(&old.dns, &new.dns, &mut value);
    value("record_route", old.record_route.to_string(), new.record_route.to_string());
    value("path", path(old.path).to_owned(), path(new.path).to_owned());
    let (was, is) = (&old.limits, &new.limits);
    value("max_message", was.max_message.to_string(), is.max_message.to_string());
    value("failover_tries", was.failover_tries.to_string(), is.failover_tries.to_string());
    value("failover_after", seconds(was.failover_after_s), seconds(is.failover_after_s));
    let budget = |limits: &Limits| limits.latency_budget_us.to_string();
    value("latency_budget_us", budget(was), budget(is));
    value("dialog_idle", seconds(was.dialog_idle_s), seconds(is.dialog_idle_s));
    value("registration_idle", seconds(was.registration_idle_s), seconds(is.registration_idle_s));
    value("drain_timeout", seconds(was.drain_timeout_s), seconds(is.drain_timeout_s));
    value("remove_timeout", seconds(was.remove_timeout_s), seconds(is.remove_timeout_s));
    value("hash_seed", old.cluster.hash_seed.to_string(), new.cluster.hash_seed.to_string());
    value("log level", log_level(old.log).to_owned(), log_level(new.log).to_owned());
    let messages = |config: &Config| messages::in_words(config.message_log.as_ref());
    value("message log", messages(old), messages(new));
    // Never the keys themselves.
    if old.cluster.current != new.cluster.current {
        changes.push("[cluster] key".to_owned());
    }
    if old.cluster.previous != new.cluster.previous {
        changes.push("[cluster] previous_key".to_owned());
    }
}

fn health(old: &HealthConfig, new: &HealthConfig, value: &mut impl FnMut(&str, String, String)) {
    let (ms, share) =
        (show_duration_ms, |per_mille: u16| (f64::from(per_mille) / 1000.0).to_string());
    let text = |text: &Option<String>| text.clone().unwrap_or_else(|| "default".to_owned());
    value("health", on(old.enabled), on(new.enabled));
    value("health method", old.method.clone(), new.method.clone());
    value("health from", text(&old.from), text(&new.from));
    value("health user", text(&old.user), text(&new.user));
    value("health panic", share(old.panic_per_mille), share(new.panic_per_mille));
    let (was, is) = (&old.rules, &new.rules);
    value("health interval", ms(was.interval_ms), ms(is.interval_ms));
    value("health timeout", ms(was.timeout_ms), ms(is.timeout_ms));
    value("health jitter", share(was.jitter_per_mille), share(is.jitter_per_mille));
    value("health rise", was.rise.to_string(), is.rise.to_string());
    value("health fall", was.fall.to_string(), is.fall.to_string());
    value("health codes", format!("{:?}", was.codes), format!("{:?}", is.codes));
    let (before, after) = (was.down_interval_max_ms, is.down_interval_max_ms);
    value("health down_interval_max", ms(before), ms(after));
    value("health retry_after_max", ms(was.retry_after_max_ms), ms(is.retry_after_max_ms));
    value("health slow_start", ms(was.slow_start_ms), ms(is.slow_start_ms));
}

fn on(enabled: bool) -> String {
    if enabled { "on" } else { "off" }.to_owned()
}

fn needs_restart(old: &Config, new: &Config, changes: &mut Vec<String>) {
    let workers = |config: &Config| config.workers.map_or("one per core".into(), |n| n.to_string());
    let ports = |config: &Config| match config.backend_ports {
        BackendPorts::Range(first, last) => format!("{first}-{last}"),
        BackendPorts::Listener => "listener".to_owned(),
    };
    let socket = |config: &Config| {
        config.admin_socket.as_ref().map_or("none".to_owned(), |path| path.display().to_string())
    };
    let mut value = |what: &str, old: String, new: String| {
        if old != new {
            changes.push(format!("{what} {old} -> {new}"));
        }
    };
    value("workers", workers(old), workers(new));
    value("steering", steering(old.steering).into(), steering(new.steering).into());
    value("backend_ports", ports(old), ports(new));
    value("[admin] listen", old.admin.to_string(), new.admin.to_string());
    value("[admin] socket", socket(old), socket(new));
    let (was, is) = (&old.limits, &new.limits);
    value("pins", was.pins.to_string(), is.pins.to_string());
    value("transactions", was.transactions.to_string(), is.transactions.to_string());
    value("failover_kept", was.failover_kept.to_string(), is.failover_kept.to_string());
    value("receive_buffer", was.receive_buffer.to_string(), is.receive_buffer.to_string());
}
