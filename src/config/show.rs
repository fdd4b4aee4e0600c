//! A [`Config`] as a file that loads to the same: what `sipring check` prints.

use super::health;
use super::values::show_duration;
use super::{BackendConfig, BackendPorts, Config, Listener, LogLevel};
use crate::pool::{Policy, State};
use crate::proxy::{Key, PathMode};
use std::fmt::{self, Display, Formatter};
use std::net::SocketAddr;

/// Every key with its value, defaults too; cluster keys only by their number.
impl Display for Config {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.workers {
            Some(count) => writeln!(f, "workers = {count}")?,
            None => writeln!(f, "# workers: one per core")?,
        }
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
        let (policy, hash) = policy(self.pools[0].policy);
        writeln!(f, "\n[[pool]]\nname = \"{}\"\npolicy = \"{policy}\"", self.pools[0].name)?;
        if let Some(hash) = hash {
            writeln!(f, "hash = \"{hash}\"")?;
        }
        health::show(f, &self.pools[0].health)?;
        for backend in &self.pools[0].backends {
            show_backend(f, backend)?;
        }
        let limits = self.limits;
        writeln!(f, "\n[limits]\nmax_message = {}", limits.max_message)?;
        writeln!(f, "pins = {}", limits.pins)?;
        writeln!(f, "dialog_idle = \"{}\"", show_duration(limits.dialog_idle_s))?;
        writeln!(f, "registration_idle = \"{}\"", show_duration(limits.registration_idle_s))?;
        writeln!(f, "receive_buffer = {}", limits.receive_buffer)?;
        writeln!(f, "failover_tries = {}", limits.failover_tries)?;
        writeln!(f, "failover_after = \"{}\"", show_duration(limits.failover_after_s))?;
        writeln!(f, "failover_kept = {}", limits.failover_kept)?;
        writeln!(f, "drain_timeout = \"{}\"", show_duration(limits.drain_timeout_s))?;
        writeln!(f, "remove_timeout = \"{}\"", show_duration(limits.remove_timeout_s))?;
        writeln!(f, "\n[cluster]")?;
        show_key(f, "key", self.cluster.current)?;
        show_key(f, "previous_key", self.cluster.previous)?;
        writeln!(f, "hash_seed = {}", self.cluster.hash_seed)?;
        writeln!(f, "\n[log]\nlevel = \"{}\"", log_level(self.log))
    }
}

fn show_listener(f: &mut Formatter<'_>, listener: &Listener) -> fmt::Result {
    writeln!(f, "\n[[listener]]\nbind = \"udp:{}\"", listener.bind)?;
    match advertised(listener) {
        Some(text) => writeln!(f, "advertise = \"{text}\""),
        None => Ok(()),
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

fn show_backend(f: &mut Formatter<'_>, backend: &BackendConfig) -> fmt::Result {
    let address: SocketAddr = backend.address;
    writeln!(f, "\n[[pool.backend]]\nname = \"{}\"\naddress = \"{address}\"", backend.name)?;
    writeln!(f, "weight = {}\nstate = \"{}\"", backend.weight, state(backend.state))?;
    if backend.sources.is_empty() {
        return Ok(());
    }
    let sources: Vec<String> = backend.sources.iter().map(|net| format!("\"{net}\"")).collect();
    writeln!(f, "source = [{}]", sources.join(", "))
}

fn show_key(f: &mut Formatter<'_>, name: &str, key: Option<Key>) -> fmt::Result {
    match key {
        Some(key) => writeln!(f, "# {name}: set (number {})", key.number),
        None => writeln!(f, "# {name}: not set"),
    }
}

pub(super) fn policy(policy: Policy) -> (&'static str, Option<&'static str>) {
    match policy {
        Policy::CALL_ID_HASH => ("call-id-hash", Some("rendezvous")),
        Policy::CALL_ID_HASH_MAGLEV => ("call-id-hash", Some("maglev")),
        _ => ("round-robin", None),
    }
}

pub(super) fn state(state: State) -> &'static str {
    match state {
        State::Ready => "ready",
        State::Drained => "drained",
        State::Down => "down",
    }
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
