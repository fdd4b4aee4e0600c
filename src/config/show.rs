//! A [`Config`] as a file that loads to the same: what `sipring check` prints.

use super::values::{listed, show_duration};
use super::{BackendConfig, BackendPorts, Config, Listener, LogLevel, PoolConfig};
use super::{dns, health, messages, policy, route, work};
use crate::pool::State;
use crate::proxy::{Key, PathMode};
use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};

/// Every key with its value, defaults too; cluster keys only by their number.
impl Display for Config {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.workers {
            Some(count) => writeln!(f, "workers = {count}")?,
            None => writeln!(f, "# workers: one per core")?,
        }
        writeln!(f, "steering = \"{}\"", steering(self.steering))?;
        match self.backend_ports {
            BackendPorts::Range(first, last) => writeln!(f, "backend_ports = \"{first}-{last}\"")?,
            BackendPorts::Listener => writeln!(f, "backend_ports = \"listener\"")?,
        }
        writeln!(f, "record_route = {}", self.record_route)?;
        writeln!(f, "path = \"{}\"", path(self.path))?;
        writeln!(f, "\n[admin]\nlisten = \"{}\"", self.admin)?;
        if let Some(socket) = &self.admin_socket {
            writeln!(f, "socket = {}", toml::Value::from(socket.display().to_string()))?;
        }
        for listener in &self.listeners {
            show_listener(f, listener)?;
        }
        self.pools.iter().try_for_each(|pool| show_pool(f, pool))?;
        for (place, route) in self.routes.iter().enumerate() {
            route::show(f, place + 1, route)?;
        }
        writeln!(f, "\n# {}", self.otherwise())?;
        work::show(f, &self.work)?;
        dns::show(f, &self.dns)?;
        let limits = self.limits;
        writeln!(f, "\n[limits]\nmax_message = {}", limits.max_message)?;
        writeln!(f, "pins = {}", limits.pins)?;
        writeln!(f, "transactions = {}", limits.transactions)?;
        writeln!(f, "dialog_idle = \"{}\"", show_duration(limits.dialog_idle_s))?;
        writeln!(f, "registration_idle = \"{}\"", show_duration(limits.registration_idle_s))?;
        writeln!(f, "receive_buffer = {}", limits.receive_buffer)?;
        writeln!(f, "failover_tries = {}", limits.failover_tries)?;
        writeln!(f, "failover_after = \"{}\"", show_duration(limits.failover_after_s))?;
        writeln!(f, "failover_kept = {}", limits.failover_kept)?;
        writeln!(f, "latency_budget_us = {}", limits.latency_budget_us)?;
        writeln!(f, "drain_timeout = \"{}\"", show_duration(limits.drain_timeout_s))?;
        writeln!(f, "remove_timeout = \"{}\"", show_duration(limits.remove_timeout_s))?;
        writeln!(f, "\n[cluster]")?;
        show_key(f, "key", self.cluster.current)?;
        show_key(f, "previous_key", self.cluster.previous)?;
        writeln!(f, "hash_seed = {}", self.cluster.hash_seed)?;
        writeln!(f, "\n[log]\nlevel = \"{}\"", log_level(self.log))?;
        messages::show(f, self.message_log.as_ref())
    }
}

fn show_listener(f: &mut Formatter<'_>, listener: &Listener) -> fmt::Result {
    writeln!(f, "\n[[listener]]\nbind = \"udp:{}\"", listener.bind)?;
    if let Some(text) = advertised(listener) {
        writeln!(f, "advertise = \"{text}\"")?;
    }
    writeln!(f, "force_rport = {}", listener.force_rport)
}

fn show_pool(f: &mut Formatter<'_>, pool: &PoolConfig) -> fmt::Result {
    let (policy, hash) = policy::name(pool.policy);
    writeln!(f, "\n[[pool]]\nname = \"{}\"\npolicy = \"{policy}\"", pool.name)?;
    if let Some(hash) = hash {
        writeln!(f, "hash = \"{hash}\"")?;
    }
    if let Some(header) = &pool.hash_header {
        writeln!(f, "header = \"{header}\"")?;
    }
    if let Some(percent) = pool.bound_percent {
        writeln!(f, "bound = {}", work::decimal(percent))?;
    }
    if let Some(header) = &pool.source_header {
        writeln!(f, "source_header = \"{header}\"")?;
    }
    for line in pool.tiers_in_words() {
        writeln!(f, "# {line}")?;
    }
    health::show(f, &pool.health)?;
    pool.entries().try_for_each(|(address, backend)| show_backend(f, &address, backend))
}

impl PoolConfig {
    /// Who takes calls, in the order in which they are asked: one line for each tier. Empty where all
    /// are equal.
    pub fn tiers_in_words(&self) -> Vec<String> {
        let mut tiers: BTreeMap<u32, Vec<&BackendConfig>> = BTreeMap::new();
        for backend in &self.backends {
            tiers.entry(backend.intake.tier()).or_default().push(backend);
        }
        let line = |(number, members): (usize, &Vec<&BackendConfig>)| {
            let intake = members[0].intake;
            let which = match intake.backup {
                true if intake.priority == 0 => "backup".to_owned(),
                true => format!("backup, priority {}", intake.priority),
                false => format!("priority {}", intake.priority),
            };
            let names: Vec<_> = members.iter().map(|backend| backend.name.as_str()).collect();
            format!("tier {} ({which}): {}", number + 1, names.join(", "))
        };
        if tiers.len() < 2 { Vec::new() } else { tiers.values().enumerate().map(line).collect() }
    }
}

/// `advertise` as it is written in a file.
pub(super) fn advertised(listener: &Listener) -> Option<String> {
    let (host, port) = listener.advertise.as_ref()?;
    Some(match host.contains(':') {
        true => format!("[{host}]:{port}"),
        false => format!("{host}:{port}"),
    })
}

fn show_backend(f: &mut Formatter<'_>, address: &str, backend: &BackendConfig) -> fmt::Result {
    writeln!(f, "\n[[pool.backend]]")?;
    if backend.address.ip().is_unspecified() {
        let name = &backend.name;
        writeln!(f, "# looked up at run time: a backend {name}/ADDRESS:PORT for each record")?;
    }
    writeln!(f, "name = \"{}\"\naddress = \"{address}\"", backend.name)?;
    writeln!(f, "weight = {}\nstate = \"{}\"", backend.weight, state(backend.state))?;
    let intake = backend.intake;
    writeln!(f, "priority = {}\nbackup = {}", intake.priority, intake.backup)?;
    if let Some(max) = intake.calls_max {
        writeln!(f, "dialogs_max = {max}")?;
    }
    if let Some(max) = intake.calls_per_second_max {
        writeln!(f, "calls_per_second_max = {max}")?;
    }
    let sources: Vec<String> = backend.sources.iter().map(ToString::to_string).collect();
    writeln!(f, "source = {}", listed(&sources))
}

fn show_key(f: &mut Formatter<'_>, name: &str, key: Option<Key>) -> fmt::Result {
    match key {
        Some(key) => writeln!(f, "# {name}: set (number {})", key.number),
        None => writeln!(f, "# {name}: not set"),
    }
}

pub(super) fn state(state: State) -> &'static str {
    match state {
        State::Ready => "ready",
        State::Drained => "drained",
        State::Down => "down",
    }
}

pub(super) fn steering(auto: bool) -> &'static str {
    if auto { "auto" } else { "off" }
}

pub(super) fn path(mode: PathMode) -> &'static str {
    match mode {
        PathMode::Always => "always",
        PathMode::Supported => "supported",
        PathMode::Off => "off",
    }
}

pub(super) fn log_level(level: LogLevel) -> &'static str {
    match level {
        LogLevel::Error => "error",
        LogLevel::Warn => "warn",
        LogLevel::Info => "info",
        LogLevel::Debug => "debug",
    }
}
