//! What the API says, as types. Times are Unix seconds; names of fields are for ever.

use super::super::Balancer;
use super::super::balancer::Live;
use super::super::fleet::{Awaited, Fleet, Known, Member};
use super::super::operator::Operator;
use super::super::reload::Reloaded;
use super::super::resolve::{Origin, Standing};
use crate::metrics::{BackendCells, Cell, Cells};
use crate::pool::{BackendId, Load, State};
use crate::proxy::Role;
use serde::Serialize;
use std::time::{SystemTime, UNIX_EPOCH};

/// GET `/api/v1/status`.
#[derive(Debug, Serialize)]
pub(super) struct Status {
    version: &'static str,
    started: f64,
    /// Takes no new calls.
    draining: bool,
    listeners: Vec<String>,
    leaving_listeners: Vec<LeavingListener>,
    workers: usize,
    backends: usize,
    dialogs: u64,
    calls: u64,
    pins: u64,
    pins_max: usize,
    config: ConfigStatus,
    /// What was set at run time, against the config.
    drift: Vec<Drift>,
    /// Backends by name.
    names: Vec<Name>,
}

#[derive(Debug, Serialize)]
struct Name {
    /// As the config has it.
    name: String,
    /// "fresh"; "kept", while DNS fails and what it said before holds; "unresolved".
    state: &'static str,
    addresses: usize,
    /// Why it is not fresh; null if it is.
    error: Option<String>,
    /// When it last was looked up well; null: never.
    good: Option<f64>,
}

/// It has left the config and takes nothing new.
#[derive(Debug, Serialize)]
struct LeavingListener {
    listener: String,
    /// When it is closed.
    until: f64,
}

#[derive(Debug, Serialize)]
struct ConfigStatus {
    generation: u64,
    loaded: u64,
    reloads: u64,
    refused: u64,
    /// Why the last reload was refused; null if it was not.
    error: Option<String>,
}

#[derive(Debug, Serialize)]
struct Drift {
    backend: String,
    /// "admin", "weight", "added" or "removed".
    what: &'static str,
    configured: String,
    now: String,
}

/// One of GET `/api/v1/backends`.
#[derive(Debug, Serialize)]
pub(super) struct Backend {
    name: String,
    address: String,
    pool: String,
    /// The name that DNS led here from, as the config has it; null: the config has the address.
    origin: Option<String>,
    /// What the workers see: "ready", "drained", "down".
    state: &'static str,
    admin: Said<String>,
    up: Said<bool>,
    weight: Weight,
    priority: u16,
    backup: bool,
    /// Null: no cap.
    dialogs_max: Option<u32>,
    calls_per_second_max: Option<u32>,
    /// Not in the config, but added at run time.
    added: bool,
    dialogs: u64,
    calls: u64,
    /// Requests that it has not answered finally, and the same by what they weigh (`[work]`).
    transactions: u32,
    work: f64,
    /// Average time to its first response of late; null: none has come.
    latency_ms: Option<f64>,
    requests: u64,
    /// It gets nothing new for a while, for a 503 of it had Retry-After.
    held: bool,
    /// Whether somebody set something at run time, against the config.
    overridden: bool,
    /// Its calls are awaited, for it is drained.
    drain: Option<Wait>,
    /// It has left the config, and goes when its calls are over.
    leaving: Option<Wait>,
}

#[derive(Debug, Serialize)]
struct Said<T> {
    value: T,
    reason: String,
    since: f64,
    by: String,
}

#[derive(Debug, Serialize)]
struct Weight {
    now: u16,
    configured: u16,
}

#[derive(Debug, Serialize)]
struct Wait {
    since: f64,
    until: Option<f64>,
}

/// One of GET `/api/v1/workers`.
#[derive(Debug, Serialize)]
pub(super) struct Worker {
    worker: usize,
    datagrams_received: u64,
    datagrams_sent: u64,
    handoffs: u64,
    handoffs_spared: u64,
    pins: u64,
    dialogs: u64,
    calls: u64,
    cpu_seconds: f64,
}

/// One of GET `/api/v1/events`, the oldest first.
#[derive(Debug, Serialize)]
pub(super) struct Event {
    at: f64,
    /// `*`: the whole pool.
    backend: String,
    pool: String,
    what: String,
    reason: String,
    by: String,
}

/// GET `/api/v1/config`.
#[derive(Debug, Serialize)]
pub(super) struct Config {
    generation: u64,
    /// As `sipring check` prints it: without the keys.
    text: String,
}

/// GET `/api/v1/pins`.
#[derive(Debug, Serialize)]
pub(super) struct Pins {
    count: u64,
    max: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    found: Option<Found>,
}

#[derive(Debug, Serialize)]
struct Found {
    call_id: String,
    /// Null: there is no pin, or its backend is gone.
    backend: Option<String>,
}

/// POST `/api/v1/reload`.
#[derive(Debug, Serialize)]
pub(super) struct Done {
    generation: u64,
    changes: Vec<String>,
    needs_restart: Vec<String>,
    warnings: Vec<String>,
}

impl Done {
    pub(super) fn of(reloaded: &Reloaded) -> Self {
        let Reloaded { diff, generation, warnings } = reloaded.clone();
        Self { generation, changes: diff.live, needs_restart: diff.restart, warnings }
    }
}

pub(super) fn status(operator: &Operator) -> Status {
    let balancer = &operator.balancer;
    let live = balancer.live();
    let reloads = &balancer.reloads;
    let sockets = &live.settings[0].sockets;
    let listeners = sockets.iter().filter(|socket| socket.role == Role::Listener);
    let leaving = |one: &super::super::listeners::Leaving| LeavingListener {
        listener: format!("udp:{}", sockets[usize::from(one.socket.0)].address),
        until: unix(one.until),
    };
    Status {
        version: env!("CARGO_PKG_VERSION"),
        started: unix(balancer.started()),
        draining: live.settings.iter().any(|settings| settings.draining),
        listeners: listeners.map(|socket| format!("udp:{}", socket.address)).collect(),
        leaving_listeners: live.leaving.iter().map(leaving).collect(),
        workers: live.settings.len(),
        backends: live.fleet.members().len(),
        dialogs: sum(balancer, |cells| &cells.dialogs),
        calls: sum(balancer, |cells| &cells.calls),
        pins: sum(balancer, |cells| &cells.pins),
        pins_max: live.settings.iter().map(|settings| settings.pins_max).sum(),
        config: ConfigStatus {
            generation: reloads.generation.value(),
            loaded: reloads.last_success_s.value(),
            reloads: reloads.succeeded.value(),
            refused: reloads.failed.value(),
            error: live.refused.clone(),
        },
        drift: drift(&live.fleet),
        names: live.names.standings().map(name).collect(),
    }
}

fn name(standing: Standing<'_>) -> Name {
    Name {
        name: standing.host.to_string(),
        state: standing.state.label(),
        addresses: standing.addresses,
        error: standing.trouble.map(str::to_owned),
        good: standing.good.map(unix),
    }
}

fn drift(fleet: &Fleet) -> Vec<Drift> {
    let of = |member: &Member| {
        let entry = |what, configured, now| Drift {
            backend: member.spec.name.clone(),
            what,
            configured,
            now,
        };
        let will = super::super::Admin::from(member.spec.state).to_string();
        let admin = entry("admin", will, member.admin.value.to_string());
        let weight = member
            .weight
            .map(|weight| entry("weight", member.spec.weight.to_string(), weight.to_string()));
        member.overridden.then_some(admin).into_iter().chain(weight)
    };
    let presence = |backend: &str, what, configured: String, now: String| Drift {
        backend: backend.to_owned(),
        what,
        configured,
        now,
    };
    let added = fleet.members().iter().filter(|one| one.added && one.leaving.is_none());
    let added = added.map(|one| {
        let now = format!("{} in {}", one.spec.address, one.pool);
        presence(&one.spec.name, "added", "not there".to_owned(), now)
    });
    let removed = fleet.removed().iter().map(|one| {
        let configured = format!("{} in {}", one.spec.address, one.pool);
        presence(&one.spec.name, "removed", configured, "not there".to_owned())
    });
    fleet.members().iter().flat_map(of).chain(added).chain(removed).collect()
}

pub(super) fn backends(balancer: &Balancer) -> Vec<Backend> {
    let live = balancer.live();
    live.fleet.members().iter().map(|one| member(balancer, &live, one)).collect()
}

pub(super) fn backend(balancer: &Balancer, name: &str) -> Option<Backend> {
    let live = balancer.live();
    let found = live.fleet.members().iter().find(|member| member.spec.name == name);
    found.map(|one| member(balancer, &live, one))
}

fn member(balancer: &Balancer, live: &Live, member: &Member) -> Backend {
    let id = BackendId::of_name(&member.spec.name);
    let count = |cell: fn(&BackendCells) -> &Cell| -> u64 {
        balancer.roster().of(id).map(|cells| cell(cells).value()).sum()
    };
    let (effective, load) = (live.fleet.seen_of(member), balancer.load_of(id));
    let removed = live.fleet.removed().iter().any(|one| one.spec.name == member.spec.name);
    Backend {
        name: member.spec.name.clone(),
        address: member.spec.address.to_string(),
        pool: member.pool.clone(),
        origin: live.names.origin(&member.spec.name).map(|Origin(name)| name.clone()),
        state: match effective.state {
            State::Ready => "ready",
            State::Drained => "drained",
            State::Down => "down",
        },
        admin: said(&member.admin, ToString::to_string),
        up: said(&member.up, |up| *up),
        weight: Weight { now: effective.weight, configured: member.spec.weight },
        priority: effective.intake.priority,
        backup: effective.intake.backup,
        dialogs_max: effective.intake.calls_max,
        calls_per_second_max: effective.intake.calls_per_second_max,
        added: member.added,
        dialogs: count(|cells| &cells.dialogs),
        calls: count(|cells| &cells.calls),
        transactions: load.transactions,
        work: work(load),
        latency_ms: latency_ms(load),
        requests: count(|cells| &cells.requests),
        held: member.held,
        overridden: member.overridden || member.weight.is_some() || member.added || removed,
        drain: member.drain.map(wait),
        leaving: member.leaving.map(wait),
    }
}

/// In average requests.
pub(super) fn work(load: Load) -> f64 {
    f64::from(load.work) / 100.0
}

pub(super) fn latency_ms(load: Load) -> Option<f64> {
    (load.latency_us > 0).then(|| f64::from(load.latency_us) / 1000.0)
}

fn said<T, S>(known: &Known<T>, value: impl Fn(&T) -> S) -> Said<S> {
    let Known { value: inner, reason, since, who } = known;
    Said { value: value(inner), reason: reason.clone(), since: unix(*since), by: who.to_string() }
}

fn wait(awaited: Awaited) -> Wait {
    Wait { since: unix(awaited.since), until: awaited.until.map(unix) }
}

pub(super) fn workers(balancer: &Balancer) -> Vec<Worker> {
    let of = |(worker, cells): (usize, &std::sync::Arc<Cells>)| Worker {
        worker,
        datagrams_received: cells.datagrams_received.value(),
        datagrams_sent: cells.datagrams_sent.value(),
        handoffs: cells.handoffs.value(),
        handoffs_spared: cells.handoffs_spared.value(),
        pins: cells.pins.value(),
        dialogs: cells.dialogs.value(),
        calls: cells.calls.value(),
        cpu_seconds: cells.cpu_ns.value() as f64 / 1e9,
    };
    balancer.cells().iter().enumerate().map(of).collect()
}

pub(super) fn events(balancer: &Balancer) -> Vec<Event> {
    let of = |event: &super::super::fleet::Event| Event {
        at: unix(event.at),
        backend: event.backend.clone(),
        pool: event.pool.clone(),
        what: event.what.clone(),
        reason: event.reason.clone(),
        by: event.who.to_string(),
    };
    balancer.with_fleet(|fleet| fleet.events().map(of).collect())
}

pub(super) fn config(balancer: &Balancer) -> Config {
    let text = balancer.live().config.to_string();
    Config { generation: balancer.reloads.generation.value(), text }
}

pub(super) fn pins(balancer: &Balancer, found: Option<(String, Option<BackendId>)>) -> Pins {
    let pool = balancer.pool();
    let name = |id| pool.by_id(id).map(|slot| pool.backend(slot).spec.name.clone());
    Pins {
        count: sum(balancer, |cells| &cells.pins),
        max: balancer.live().settings.iter().map(|settings| settings.pins_max).sum(),
        found: found.map(|(call_id, pin)| Found { call_id, backend: pin.and_then(name) }),
    }
}

fn sum(balancer: &Balancer, cell: fn(&Cells) -> &Cell) -> u64 {
    balancer.cells().iter().map(|cells| cell(cells).value()).sum()
}

fn unix(time: SystemTime) -> f64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}
