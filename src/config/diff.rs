//! What a change from one configuration to another comes to: what a reload does at once, and what
//! waits for a restart.

mod listeners;

use super::show::{log_level, path, policy, state};
use super::values::{show_duration, show_duration_ms};
use super::{BackendConfig, BackendPorts, Config, HealthConfig, Limits};
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
        backends(&self.pools[0].backends, &new.pools[0].backends, &mut diff.live);
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
            admin: self.admin,
            admin_socket: self.admin_socket.clone(),
            limits: Limits {
                pins: self.limits.pins,
                receive_buffer: self.limits.receive_buffer,
                failover_kept: self.limits.failover_kept,
                ..new.limits
            },
            ..new.clone()
        }
    }
}

fn backends(old: &[BackendConfig], new: &[BackendConfig], changes: &mut Vec<String>) {
    let by_name = |list: &[BackendConfig]| -> HashMap<String, BackendConfig> {
        list.iter().map(|one| (one.name.clone(), one.clone())).collect()
    };
    let (before, after) = (by_name(old), by_name(new));
    for backend in new {
        let name = &backend.name;
        let Some(was) = before.get(name) else {
            changes.push(format!("backend {name:?} added ({})", backend.address));
            continue;
        };
        let mut changed = |what: &str, old: &dyn Display, new: &dyn Display| {
            changes.push(format!("backend {name:?}: {what} {old} -> {new}"));
        };
        if was.address != backend.address {
            changed("address", &was.address, &backend.address);
        }
        if was.weight != backend.weight {
            changed("weight", &was.weight, &backend.weight);
        }
        if was.state != backend.state {
            changed("state", &state(was.state), &state(backend.state));
        }
        if was.sources != backend.sources {
            let list = |one: &BackendConfig| {
                let all: Vec<_> = one.sources.iter().map(ToString::to_string).collect();
                format!("[{}]", all.join(", "))
            };
            changed("source", &list(was), &list(backend));
        }
    }
    for backend in old.iter().filter(|one| !after.contains_key(&one.name)) {
        changes.push(format!("backend {:?} removed ({})", backend.name, backend.address));
    }
    let order = |list: &[BackendConfig], other: &HashMap<String, BackendConfig>| -> Vec<String> {
        list.iter().map(|one| one.name.clone()).filter(|name| other.contains_key(name)).collect()
    };
    if order(old, &after) != order(new, &before) {
        changes.push("order of the backends".to_owned());
    }
}

fn settings(old: &Config, new: &Config, changes: &mut Vec<String>) {
    let mut value = |what: &str, old: String, new: String| {
        if old != new {
            changes.push(format!("{what} {old} -> {new}"));
        }
    };
    let policy = |config: &Config| match policy(config.pools[0].policy) {
        (name, Some(hash)) => format!("{name} ({hash})"),
        (name, None) => name.to_owned(),
    };
    let seconds = show_duration;
    value("pool name", old.pools[0].name.clone(), new.pools[0].name.clone());
    value("policy", policy(old), policy(new));
    health(&old.pools[0].health, &new.pools[0].health, &mut value);
    value("record_route", old.record_route.to_string(), new.record_route.to_string());
    value("path", path(old.path).to_owned(), path(new.path).to_owned());
    let (was, is) = (&old.limits, &new.limits);
    value("max_message", was.max_message.to_string(), is.max_message.to_string());
    value("failover_tries", was.failover_tries.to_string(), is.failover_tries.to_string());
    value("failover_after", seconds(was.failover_after_s), seconds(is.failover_after_s));
    value("dialog_idle", seconds(was.dialog_idle_s), seconds(is.dialog_idle_s));
    value("registration_idle", seconds(was.registration_idle_s), seconds(is.registration_idle_s));
    value("drain_timeout", seconds(was.drain_timeout_s), seconds(is.drain_timeout_s));
    value("remove_timeout", seconds(was.remove_timeout_s), seconds(is.remove_timeout_s));
    value("hash_seed", old.cluster.hash_seed.to_string(), new.cluster.hash_seed.to_string());
    value("log level", log_level(old.log).to_owned(), log_level(new.log).to_owned());
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
    value("backend_ports", ports(old), ports(new));
    value("[admin] listen", old.admin.to_string(), new.admin.to_string());
    value("[admin] socket", socket(old), socket(new));
    let (was, is) = (&old.limits, &new.limits);
    value("pins", was.pins.to_string(), is.pins.to_string());
    value("failover_kept", was.failover_kept.to_string(), is.failover_kept.to_string());
    value("receive_buffer", was.receive_buffer.to_string(), is.receive_buffer.to_string());
}
