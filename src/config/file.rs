//! The keys of the file: TOML text becomes a [`Raw`] whose single values are good, each with its place.
//!
//! What several values say of each other is [`super::validate`]'s business. The tree with its spans
//! is read by hand and not by derived deserializers: those stop at the first problem and word it
//! for programmers.

use super::messages::{RawMessages, messages};
use super::reader::{At, Notes, Table};
use super::report::{Place, Problem, Report};
use super::route::{RawRoute, route};
use super::values::{Fault, backend_ports, duration_s, key, name, one_of, socket_path};
use super::values::{header_name, source_header};
use super::{BackendPorts, HealthConfig, Host, Limits, LogLevel};
use super::{address, dns, health, policy, work};
use crate::limits::{IDLE_S_MAX, MESSAGE_SIZE_MAX, WORKERS_MAX};
use crate::pool::{HashTable, Intake, Policy, State};
use crate::proxy::{Key, Method, PathMode, TRIES_MAX};
use ipnet::IpNet;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use toml::de::DeTable;

/// What file and flags say, each value good by itself.
#[derive(Debug, Default)]
pub(super) struct Raw {
    pub(super) workers: Option<At<usize>>,
    pub(super) steering: Option<bool>,
    pub(super) backend_ports: Option<At<BackendPorts>>,
    pub(super) record_route: Option<bool>,
    pub(super) path: Option<PathMode>,
    pub(super) admin: Option<At<SocketAddr>>,
    pub(super) admin_socket: Option<PathBuf>,
    pub(super) listeners: Vec<RawListener>,
    pub(super) pools: Vec<RawPool>,
    pub(super) routes: Vec<RawRoute>,
    pub(super) work: Option<[u16; Method::ALL.len()]>,
    pub(super) dns: dns::RawDns,
    pub(super) limits: Limits,
    pub(super) current_key: Option<At<Key>>,
    pub(super) previous_key: Option<At<Key>>,
    pub(super) hash_seed: Option<u64>,
    pub(super) log: Option<LogLevel>,
    pub(super) messages: RawMessages,
}

#[derive(Debug)]
pub(super) struct RawListener {
    pub(super) bind: At<SocketAddr>,
    pub(super) advertise: Option<(String, Option<u16>)>,
    pub(super) force_rport: bool,
}

#[derive(Debug, Default)]
pub(super) struct RawPool {
    /// `None` for the pool that flags alone make.
    pub(super) place: Option<Place>,
    pub(super) name: Option<At<String>>,
    pub(super) policy: Option<At<Policy>>,
    pub(super) hash: Option<At<HashTable>>,
    pub(super) header: Option<At<String>>,
    pub(super) bound_percent: Option<At<u16>>,
    pub(super) source_header: Option<String>,
    pub(super) health: HealthConfig,
    pub(super) backends: Vec<RawBackend<SocketAddr>>,
    pub(super) names: Vec<RawBackend<Host>>,
}

impl RawPool {
    /// Adds one that has an address or a name.
    pub(super) fn add(&mut self, backend: RawBackend<address::Backend>) {
        match backend.address.value.clone() {
            address::Backend::Address(address) => self.backends.push(backend.at(address)),
            address::Backend::Name(host) => self.names.push(backend.at(host)),
        }
    }
}

#[derive(Debug)]
pub(super) struct RawBackend<A> {
    pub(super) name: Option<At<String>>,
    pub(super) address: At<A>,
    pub(super) weight: Option<u16>,
    pub(super) state: Option<State>,
    pub(super) sources: Vec<IpNet>,
    pub(super) intake: Intake,
}

impl<A> RawBackend<A> {
    fn at<B>(self, address: B) -> RawBackend<B> {
        let Self { name, address: At { place, .. }, weight, state, sources, intake } = self;
        let address = At { value: address, place };
        RawBackend { name, address, weight, state, sources, intake }
    }
}

/// Reads the file's text, which is already in the report at `file`. `None` after a problem.
pub(super) fn read(text: &str, file: Place, report: &mut Report) -> Option<Raw> {
    let (document, errors) = DeTable::parse_recoverable(text);
    let start = |error: &&toml::de::Error| error.span().map_or(0, |range| range.start);
    if let Some(error) = errors.iter().min_by_key(start) {
        // The first one only: those behind it are mostly its consequences.
        let place = error.span().map_or(file.part(0..0), |range| file.part(range));
        report.add(Problem::error("this is not TOML").at(place, error.message()));
        return None;
    }
    let notes = Notes::new(text, file);
    let raw = top_level(Table::root(&notes, &document));
    notes.finish(report).then_some(raw)
}

fn top_level(mut top: Table<'_>) -> Raw {
    let mut raw = Raw {
        workers: top.integer("workers", WORKERS).map(|at| at.map(|count| count as usize)),
        steering: top.parsed("steering", "\"auto\"", steering).map(|at| at.value),
        backend_ports: top.parsed("backend_ports", "\"15060-15091\"", backend_ports),
        record_route: top.boolean("record_route").map(|at| at.value),
        path: top.parsed("path", "\"always\"", path).map(|at| at.value),
        ..Raw::default()
    };
    if let Some(mut admin) = top.table("admin", "[admin]") {
        raw.admin = admin.parsed("listen", "\"127.0.0.1:9060\"", address::admin);
        let example = "\"/run/sipring/control.sock\"";
        raw.admin_socket = admin.parsed("socket", example, socket_path).map(|at| at.value);
        admin.finish(&[]);
    }
    raw.listeners = top.tables("listener", LISTENER).into_iter().filter_map(listener).collect();
    raw.pools = top.tables("pool", "[[pool]]").into_iter().map(pool).collect();
    raw.routes = top.tables("route", "[[route]]").into_iter().filter_map(route).collect();
    raw.work = top.table("work", "[work]").map(work::work);
    if let Some(table) = top.table("dns", "[dns]") {
        raw.dns = dns::dns(table);
    }
    if let Some(table) = top.table("limits", "[limits]") {
        raw.limits = limits(table);
    }
    if let Some(mut cluster) = top.table("cluster", "[cluster]") {
        raw.current_key = cluster.secret("key", key);
        raw.previous_key = cluster.secret("previous_key", key);
        raw.hash_seed = cluster.integer("hash_seed", HASH_SEED).map(|at| at.value);
        cluster.finish(&["node"]);
    }
    if let Some(mut log) = top.table("log", "[log]") {
        raw.log = log.parsed("level", "\"info\"", log_level).map(|at| at.value);
        raw.messages = messages(&mut log);
        log.finish(&[]);
    }
    top.finish(&["tls", "hep"]);
    raw
}

fn listener(mut table: Table<'_>) -> Option<RawListener> {
    let bind = table.required("bind", "\"udp:0.0.0.0:5060\"", address::listener);
    let example = "\"sip.example.com:5060\"";
    let advertise = table.parsed("advertise", example, address::advertise).map(|at| at.value);
    let force_rport = table.boolean("force_rport").is_some_and(|at| at.value);
    table.finish(&[]);
    Some(RawListener { bind: bind?, advertise, force_rport })
}

fn pool(mut table: Table<'_>) -> RawPool {
    let mut pool = RawPool {
        place: Some(table.place()),
        name: table.parsed("name", "\"default\"", name),
        policy: table.parsed("policy", "\"call-id-hash\"", policy::policy),
        hash: table.parsed("hash", "\"rendezvous\"", policy::table),
        header: table.parsed("header", "\"X-Tenant\"", header_name),
        bound_percent: table.decimal("bound", 100, BOUND_PERCENT),
        source_header: table
            .parsed("source_header", "\"X-Real-Source\"", source_header)
            .map(|at| at.value),
        health: table
            .table("health", "[pool.health]")
            .map_or_else(Default::default, health::health),
        ..RawPool::default()
    };
    table.tables("backend", BACKEND).into_iter().filter_map(backend).for_each(|one| pool.add(one));
    table.finish(&[]);
    pool
}

fn backend(mut table: Table<'_>) -> Option<RawBackend<address::Backend>> {
    let name = table.parsed("name", "\"proxy-1\"", name);
    let address = table.required("address", "\"10.0.0.11:5060\"", address::backend);
    let weight = table.integer("weight", WEIGHT).map(|at| at.value as u16);
    let state = table.parsed("state", "\"ready\"", state).map(|at| at.value);
    let sources = table.list("source", "[\"10.1.0.0/16\"]", address::network);
    let sources = sources.into_iter().map(|at| at.value).collect();
    let mut cap = |key| table.integer(key, CAP).map(|at| at.value as u32);
    let calls_max = cap("dialogs_max");
    let calls_per_second_max = cap("calls_per_second_max");
    let priority = table.integer("priority", PRIORITY).map_or(0, |at| at.value as u16);
    let backup = table.boolean("backup").is_some_and(|at| at.value);
    table.finish(&[]);
    let intake = Intake { priority, backup, calls_max, calls_per_second_max };
    Some(RawBackend { name, address: address?, weight, state, sources, intake })
}

fn limits(mut table: Table<'_>) -> Limits {
    let idle = |text: &str| duration_s(text, IDLE_S);
    let patience = |text: &str| duration_s(text, PATIENCE_S);
    let default = Limits::default();
    let size = |at: Option<At<u64>>, default| at.map_or(default, |at| at.value as usize);
    let limits = Limits {
        max_message: size(table.size("max_message", MAX_MESSAGE), default.max_message),
        pins: size(table.integer("pins", PINS), default.pins),
        transactions: size(table.integer("transactions", TRANSACTIONS), default.transactions),
        dialog_idle_s: table
            .parsed("dialog_idle", "\"12h\"", idle)
            .map_or(default.dialog_idle_s, |at| at.value),
        registration_idle_s: table
            .parsed("registration_idle", "\"70m\"", idle)
            .map_or(default.registration_idle_s, |at| at.value),
        receive_buffer: size(table.size("receive_buffer", RECEIVE_BUFFER), default.receive_buffer),
        failover_tries: table
            .integer("failover_tries", FAILOVER_TRIES)
            .map_or(default.failover_tries, |at| at.value as u8),
        failover_after_s: table
            .parsed("failover_after", "\"3s\"", |text| duration_s(text, FAILOVER_AFTER_S))
            .map_or(default.failover_after_s, |at| at.value),
        failover_kept: size(table.integer("failover_kept", FAILOVER_KEPT), default.failover_kept),
        latency_budget_us: table
            .integer("latency_budget_us", LATENCY_BUDGET_US)
            .map_or(default.latency_budget_us, |at| at.value as u32),
        drain_timeout_s: table
            .parsed("drain_timeout", "\"30s\"", patience)
            .map_or(default.drain_timeout_s, |at| at.value),
        remove_timeout_s: table
            .parsed("remove_timeout", "\"1h\"", patience)
            .map_or(default.remove_timeout_s, |at| at.value),
    };
    table.finish(&[]);
    limits
}

fn state(text: &str) -> Result<State, Fault> {
    let words = [("ready", State::Ready), ("drained", State::Drained), ("down", State::Down)];
    one_of("state", text, &words)
}

fn steering(text: &str) -> Result<bool, Fault> {
    one_of("steering", text, &[("auto", true), ("off", false)])
}

fn path(text: &str) -> Result<PathMode, Fault> {
    let supported = ("supported", PathMode::Supported);
    one_of("path mode", text, &[("always", PathMode::Always), supported, ("off", PathMode::Off)])
}

fn log_level(text: &str) -> Result<LogLevel, Fault> {
    let quiet = [("error", LogLevel::Error), ("warn", LogLevel::Warn)];
    let loud = [("info", LogLevel::Info), ("debug", LogLevel::Debug)];
    one_of("log level", text, &[quiet, loud].concat())
}

const LISTENER: &str = "[[listener]]";

const BACKEND: &str = "[[pool.backend]]";

pub(super) const WORKERS: RangeInclusive<u64> = 1..=WORKERS_MAX as u64;

pub(super) const WEIGHT: RangeInclusive<u64> = 0..=65_535;

pub(super) const PRIORITY: RangeInclusive<u64> = 0..=65_535;

/// None at all is what weight 0 and `state` say.
pub(super) const CAP: RangeInclusive<u64> = 1..=u32::MAX as u64;

/// From the least that leaves room for all calls to ten times a fair share.
const BOUND_PERCENT: RangeInclusive<u16> = 101..=1_000;

/// Below 1 KiB ordinary INVITEs would be refused.
const MAX_MESSAGE: RangeInclusive<u64> = 1_024..=MESSAGE_SIZE_MAX as u64;

/// 32 bytes each: 3.2 GB at most.
const PINS: RangeInclusive<u64> = 1_000..=100_000_000;

/// 86 bytes each (8/3 slots of 32 bytes): 8.6 GB at most.
const TRANSACTIONS: RangeInclusive<u64> = 1_000..=100_000_000;

/// From 64*T1 (RFC 3261 section 17), below which a pin would end before its transaction.
const IDLE_S: RangeInclusive<u32> = 32..=IDLE_S_MAX;

/// How long calls may take to end: from not at all to 30 days.
const PATIENCE_S: RangeInclusive<u32> = 0..=30 * 86_400;

/// From one whole datagram to what the kernel can double without an overflow.
const FAILOVER_TRIES: RangeInclusive<u64> = 1..=TRIES_MAX as u64;
/// Below T1 doubled twice a mere loss would count as silence; beyond timer B the caller is gone.
const FAILOVER_AFTER_S: RangeInclusive<u32> = 1..=30;
const FAILOVER_KEPT: RangeInclusive<u64> = 64..=1_000_000;
/// Up to a fiftieth of T1 (RFC 3261 17.1.1.1), so that no wait brings about a retransmission.
const LATENCY_BUDGET_US: RangeInclusive<u64> = 0..=10_000;
const RECEIVE_BUFFER: RangeInclusive<u64> = 65_536..=512 << 20;

/// TOML's integers are signed.
const HASH_SEED: RangeInclusive<u64> = 0..=i64::MAX as u64;
