//! What the status page is told: the balancer at one moment, with rates since the moment before.

use super::Balancer;
use super::fleet::{Event, Known, Member};
use crate::metrics::{Cell, Cells, Roster};
use crate::pool::{BackendId, Pool, State};
use serde::Serialize;
use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Events that are told, the newest first.
const EVENTS_SHOWN: usize = 50;

/// Samples that are kept. Workers refresh their CPU time once a second, so a rate over one second
/// would jump between nothing and twice the truth; over this many it does not.
const SAMPLES: usize = 6;

/// The balancer at one moment.
#[derive(Debug, Serialize)]
pub(super) struct Snapshot {
    version: &'static str,
    /// It takes calls; else it is stopping.
    ready: bool,
    at_ms: u64,
    uptime_s: u64,
    totals: Totals<u64>,
    /// A second, since the last snapshot; `None` in the first one.
    rates: Option<Totals<f64>>,
    gauges: Gauges,
    backends: Vec<BackendRow>,
    workers: Vec<WorkerRow>,
    events: Vec<EventRow>,
}

/// What is counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
struct Totals<T> {
    /// Calls begun.
    calls: T,
    /// Begun calls answered with 2xx.
    answered: T,
    /// Begun calls that ended with 408, 500, 503 or 504.
    ineffective: T,
    requests: T,
    responses: T,
    received: T,
    sent: T,
    /// Answers of our own.
    answers: T,
    dropped: T,
}

#[derive(Debug, Serialize)]
struct Gauges {
    dialogs: u64,
    pins: u64,
    pins_max: u64,
}

#[derive(Debug, Serialize)]
struct BackendRow {
    name: String,
    address: String,
    /// What new calls see: ready, drained or down.
    state: &'static str,
    admin: Told,
    health: Told,
    weight: u16,
    /// All requests since the start.
    requests: u64,
    /// A second; `None` in the first snapshot.
    rate: Option<f64>,
    /// Of all requests to backends, 0 to 1; `None` where there were none.
    share: Option<f64>,
}

/// A value with its history.
#[derive(Debug, Serialize)]
struct Told {
    value: String,
    reason: String,
    who: String,
    since_ms: u64,
}

#[derive(Debug, Serialize)]
struct WorkerRow {
    /// Of its core, 0 to 1, over some seconds; `None` in the first snapshot.
    cpu: Option<f64>,
    /// Datagrams received a second.
    received: Option<f64>,
    /// Messages a second given to other workers.
    handoffs: Option<f64>,
    /// Datagrams received a call of io_uring_enter.
    batch: Option<f64>,
    pins: u64,
    dialogs: u64,
}

#[derive(Debug, Serialize)]
struct EventRow {
    at_ms: u64,
    backend: String,
    what: String,
    reason: String,
    who: String,
}

/// Counters at one moment.
#[derive(Debug)]
struct Sample {
    at: Instant,
    totals: Totals<u64>,
    /// Requests to each backend, by identity: pools change.
    requests: HashMap<BackendId, u64>,
    workers: Vec<WorkerSample>,
}

#[derive(Clone, Copy, Debug)]
struct WorkerSample {
    cpu_ns: u64,
    received: u64,
    handoffs: u64,
    enters: u64,
}

/// Makes snapshots: remembers the moments before.
#[derive(Debug, Default)]
pub(super) struct Meter {
    /// The oldest first.
    samples: VecDeque<Sample>,
}

impl Meter {
    /// The balancer now.
    pub(super) fn read(&mut self, balancer: &Balancer, ready: bool) -> Snapshot {
        let roster = balancer.roster();
        let pool = roster.pool();
        let cells: Vec<&Cells> = balancer.cells().iter().map(AsRef::as_ref).collect();
        let sample = Sample::take(&cells, &roster, Instant::now());
        let (last, first) = (self.samples.back(), self.samples.front());
        let now = SystemTime::now();
        let snapshot = Snapshot {
            version: env!("CARGO_PKG_VERSION"),
            ready,
            at_ms: ms(now),
            uptime_s: now.duration_since(balancer.started()).unwrap_or_default().as_secs(),
            totals: sample.totals,
            rates: last.map(|last| sample.totals.since(&last.totals, seconds(last, &sample))),
            gauges: Gauges {
                dialogs: sum(&cells, |cells| &cells.dialogs),
                pins: sum(&cells, |cells| &cells.pins),
                pins_max: balancer.pins_max() as u64,
            },
            backends: balancer
                .with_fleet(|fleet| backend_rows(fleet.members(), pool, last, &sample)),
            workers: worker_rows(&cells, last, first, &sample),
            events: balancer.with_fleet(|fleet| event_rows(fleet.events())),
        };
        if self.samples.len() == SAMPLES {
            self.samples.pop_front();
        }
        self.samples.push_back(sample);
        snapshot
    }
}

impl Sample {
    fn take(cells: &[&Cells], roster: &Roster, at: Instant) -> Self {
        let requests = |id| roster.of(id).map(|cells| cells.requests.value()).sum();
        let backends = roster.pool().backends().iter();
        let workers = cells.iter().map(|cells| WorkerSample {
            cpu_ns: cells.cpu_ns.value(),
            received: cells.datagrams_received.value(),
            handoffs: cells.handoffs.value(),
            enters: cells.enters.value(),
        });
        Self {
            at,
            totals: totals(cells),
            requests: backends.map(|one| (one.id, requests(one.id))).collect(),
            workers: workers.collect(),
        }
    }
}

fn totals(cells: &[&Cells]) -> Totals<u64> {
    use crate::proxy::CallResult::{Ok, ServerError, ServerTimeout, ServiceUnavailable, Timeout};
    let all = |of: fn(&Cells) -> &[Cell]| -> u64 {
        cells.iter().flat_map(|cells| of(cells)).map(Cell::value).sum()
    };
    let result = |result| sum(cells, |cells| &cells.call_results[result as usize]);
    let full = sum(cells, |c| &c.truncated)
        + sum(cells, |c| &c.handoff_full)
        + sum(cells, |c| &c.send_full)
        + sum(cells, |c| &c.send_errors);
    Totals {
        calls: sum(cells, |cells| &cells.call_attempts),
        answered: result(Ok),
        ineffective: [Timeout, ServerError, ServiceUnavailable, ServerTimeout]
            .map(result)
            .iter()
            .sum(),
        requests: all(|cells| &cells.requests_to_backends)
            + all(|cells| &cells.requests_to_clients),
        responses: all(|cells| &cells.responses),
        received: sum(cells, |cells| &cells.datagrams_received),
        sent: sum(cells, |cells| &cells.datagrams_sent),
        answers: all(|cells| &cells.answers),
        dropped: all(|cells| &cells.dropped) + full,
    }
}

impl Totals<u64> {
    fn since(&self, last: &Self, seconds: f64) -> Totals<f64> {
        let rate = |of: fn(&Self) -> u64| of(self).saturating_sub(of(last)) as f64 / seconds;
        Totals {
            calls: rate(|totals| totals.calls),
            answered: rate(|totals| totals.answered),
            ineffective: rate(|totals| totals.ineffective),
            requests: rate(|totals| totals.requests),
            responses: rate(|totals| totals.responses),
            received: rate(|totals| totals.received),
            sent: rate(|totals| totals.sent),
            answers: rate(|totals| totals.answers),
            dropped: rate(|totals| totals.dropped),
        }
    }
}

fn backend_rows(
    members: &[Member],
    pool: &Pool,
    last: Option<&Sample>,
    now: &Sample,
) -> Vec<BackendRow> {
    let fresh = |id| {
        let requests = now.requests.get(&id)?;
        // A backend that has just come began at nothing.
        last.map(|last| requests.saturating_sub(*last.requests.get(&id).unwrap_or(&0)))
    };
    let all: u64 = now.requests.keys().filter_map(|id| fresh(*id)).sum();
    let row = |member: &Member| {
        let backend = pool.backend(pool.by_id(BackendId::of_name(&member.spec.name))?);
        let fresh = fresh(backend.id);
        Some(BackendRow {
            name: member.spec.name.clone(),
            address: member.spec.address.to_string(),
            state: state(backend.spec.state),
            admin: told(&member.admin, ToString::to_string),
            health: told(&member.up, |up| if *up { "up" } else { "down" }.to_owned()),
            weight: backend.spec.weight,
            requests: *now.requests.get(&backend.id).unwrap_or(&0),
            rate: fresh.zip(last).map(|(fresh, last)| fresh as f64 / seconds(last, now)),
            share: fresh.filter(|_| all > 0).map(|fresh| fresh as f64 / all as f64),
        })
    };
    members.iter().filter_map(row).collect()
}

fn worker_rows(
    cells: &[&Cells],
    last: Option<&Sample>,
    first: Option<&Sample>,
    now: &Sample,
) -> Vec<WorkerRow> {
    let row = |(number, (cells, now_is)): (usize, (&&Cells, &WorkerSample))| {
        let was = |sample: Option<&Sample>| {
            let sample = sample?;
            Some((*sample.workers.get(number)?, seconds(sample, now)))
        };
        let delta = |of: fn(&WorkerSample) -> u64| {
            was(last).map(|(was, seconds)| (of(now_is).saturating_sub(of(&was)) as f64, seconds))
        };
        let rate = |of| delta(of).map(|(delta, seconds)| delta / seconds);
        let (received, enters) = (delta(|w| w.received), delta(|w| w.enters));
        WorkerRow {
            cpu: was(first).map(|(was, seconds)| {
                now_is.cpu_ns.saturating_sub(was.cpu_ns) as f64 / 1e9 / seconds
            }),
            received: rate(|worker| worker.received),
            handoffs: rate(|worker| worker.handoffs),
            batch: received
                .zip(enters)
                .filter(|(_, (n, _))| *n > 0.0)
                .map(|((r, _), (n, _))| r / n),
            pins: cells.pins.value(),
            dialogs: cells.dialogs.value(),
        }
    };
    cells.iter().zip(&now.workers).enumerate().map(row).collect()
}

fn event_rows<'a>(events: impl DoubleEndedIterator<Item = &'a Event>) -> Vec<EventRow> {
    let row = |event: &Event| EventRow {
        at_ms: ms(event.at),
        backend: match event.backend.as_str() {
            "*" => format!("pool {}", event.pool),
            name => name.to_owned(),
        },
        what: event.what.clone(),
        reason: event.reason.clone(),
        who: event.who.to_string(),
    };
    events.rev().take(EVENTS_SHOWN).map(row).collect()
}

fn told<T>(known: &Known<T>, text: impl Fn(&T) -> String) -> Told {
    let value = text(&known.value);
    let (reason, who) = (known.reason.clone(), known.who.to_string());
    Told { value, reason, who, since_ms: ms(known.since) }
}

fn state(state: State) -> &'static str {
    match state {
        State::Ready => "ready",
        State::Drained => "drained",
        State::Down => "down",
    }
}

fn sum(cells: &[&Cells], cell: impl Fn(&Cells) -> &Cell) -> u64 {
    cells.iter().map(|cells| cell(cells).value()).sum()
}

/// From one sample to another; never 0, so that it can be divided by.
fn seconds(from: &Sample, to: &Sample) -> f64 {
    to.at.saturating_duration_since(from.at).max(Duration::from_millis(1)).as_secs_f64()
}

fn ms(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64
}

#[cfg(test)]
mod tests;
