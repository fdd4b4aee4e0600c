//! The scrape: sums the workers' cells and builds what is declared into one exposition.
//!
//! Workers only ever store into their own [`Cells`]; all adding up happens here, on the control
//! thread, once a scrape. Every series exists from the start, at 0, so that `rate()` sees its first step.

use super::cells::BUCKETS_NS;
use super::declared::{self, Kind, Metric, dropped};
use super::{
    BackendCells, BackendOutcome, Cell, Cells, Lookups, ProbeFigures, Probes, Reloads, Roster,
    SocketDrops, status_codes,
};
use crate::pool::{Backend, State};
use crate::proxy::{
    Absorb, Answer, CallResult, Drop, FailoverCause, Method, RegistrationResult, Routed,
    TokenResult,
};
use arc_swap::ArcSwap;
use prometheus::core::{Collector, Desc};
use prometheus::proto::{Bucket, Counter, Gauge, Histogram, LabelPair, MetricFamily, MetricType};
use prometheus::{Registry, TextEncoder};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

const STATES: [(State, &str); 3] =
    [(State::Ready, "ready"), (State::Drained, "drained"), (State::Down, "down")];
const CLASSES: [&str; 6] = ["1xx", "2xx", "3xx", "4xx", "5xx", "6xx"];

/// Where the numbers come from.
#[derive(Clone, Debug)]
pub struct Source {
    /// One per worker, in their order.
    pub cells: Vec<Arc<Cells>>,
    /// The backends of the moment: names, states and weights, and what is counted of each.
    pub roster: Arc<ArcSwap<Roster>>,
    /// What became of reloads.
    pub reloads: Arc<Reloads>,
    /// The health of the backends.
    pub probes: Arc<Probes>,
    /// What the kernel has thrown away.
    pub socket_drops: Arc<SocketDrops>,
    /// The names of backends.
    pub lookups: Arc<Lookups>,
    /// 1 while the kernel steers.
    pub steering: Arc<Cell>,
    /// Pins that all shards together can hold.
    pub pins_max: usize,
    /// When the balancer started.
    pub started: SystemTime,
}

/// All metrics of one balancer.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
}

impl Metrics {
    /// Metrics that read from this source.
    ///
    /// # Panics
    /// If two metrics are declared under one name; a test holds that they are not.
    pub fn new(source: Source) -> Self {
        let registry = Registry::new();
        let descriptions = declared::ALL.iter().map(description).collect();
        let collector = Scrape { source, descriptions };
        registry.register(Box::new(collector)).expect("each name is declared once");
        Self { registry }
    }

    /// The text exposition of this moment; see [`super::CONTENT_TYPE`].
    ///
    /// # Errors
    /// When the encoder refuses a family (it never does for what is declared here).
    pub fn text(&self) -> Result<String, prometheus::Error> {
        TextEncoder::new().encode_to_string(&self.registry.gather())
    }
}

fn description(metric: &Metric) -> Desc {
    let labels = metric.labels.iter().map(|label| label.to_string()).collect();
    Desc::new(metric.name.into(), metric.help.into(), labels, Default::default())
        .expect("declared names and labels are valid")
}

struct Scrape {
    source: Source,
    descriptions: Vec<Desc>,
}

impl Collector for Scrape {
    fn desc(&self) -> Vec<&Desc> {
        self.descriptions.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let mut families = self.process();
        families.extend(self.reloads());
        families.extend(self.lookups());
        families.extend(self.traffic());
        families.extend(self.backends());
        families.extend(self.times());
        families.extend(self.health());
        families.extend(self.saturation());
        families
    }
}

impl Scrape {
    fn process(&self) -> Vec<MetricFamily> {
        let started = self.source.started.duration_since(UNIX_EPOCH).unwrap_or_default();
        vec![
            family(declared::BUILD_INFO, [(vec![env!("CARGO_PKG_VERSION")], 1.0)]),
            single(declared::START_TIME, started.as_secs_f64()),
            single(declared::WORKERS, self.source.cells.len() as f64),
            single(declared::STEERING_ENABLED, self.source.steering.value() as f64),
            single(declared::PINS_MAX, self.source.pins_max as f64),
        ]
    }

    fn traffic(&self) -> Vec<MetricFamily> {
        let total = |metric, cell: fn(&Cells) -> &Cell| single(metric, self.sum(cell));
        vec![
            total(declared::DATAGRAMS_RECEIVED, |c| &c.datagrams_received),
            total(declared::BYTES_RECEIVED, |c| &c.bytes_received),
            total(declared::DATAGRAMS_SENT, |c| &c.datagrams_sent),
            total(declared::BYTES_SENT, |c| &c.bytes_sent),
            total(declared::RECEIVE_ERRORS, |c| &c.receive_errors),
            total(declared::ICMP_ERRORS, |c| &c.icmp_errors),
            total(declared::PINS, |c| &c.pins),
            total(declared::DIALOGS, |c| &c.dialogs),
            total(declared::CALLS, |c| &c.calls),
            self.requests(),
            total(declared::CALL_ATTEMPTS, |c| &c.call_attempts),
            self.by_place(
                declared::CALL_RESULTS,
                CallResult::ALL.iter().map(|result| result.label()),
                |c| &c.call_results,
            ),
            self.by_place(
                declared::REGISTRATIONS,
                RegistrationResult::ALL.iter().map(|result| result.label()),
                |c| &c.registrations,
            ),
            self.forward_seconds(),
            self.by_place(declared::RESPONSES, CLASSES, |c| &c.responses),
            self.by_place(declared::RESPONSE_CODES, status_codes::labels(), |c| &c.response_codes),
            self.by_place(
                declared::ANSWERS,
                Answer::ALL.iter().map(|reason| reason.label()),
                |c| &c.answers,
            ),
            self.by_place(
                declared::ABSORBED,
                Absorb::ALL.iter().map(|reason| reason.label()),
                |c| &c.absorbed,
            ),
            self.dropped(),
            total(declared::FAILOVER_NOT_KEPT, |c| &c.not_kept),
            total(declared::MESSAGE_LOG_DROPPED, |c| &c.message_log_dropped),
            self.by_place(declared::RETRANSMISSIONS, ["to_backend", "to_client"], |c| {
                &c.retransmissions
            }),
            total(declared::NOT_TRACKED, |c| &c.not_tracked),
            total(declared::OWN_REQUESTS, |c| &c.own_requests),
            self.by_place(
                declared::FAILOVERS,
                FailoverCause::ALL.iter().map(|cause| cause.label()),
                |c| &c.failovers,
            ),
            self.by_place(declared::ROUTED, Routed::ALL.iter().map(|by| by.label()), |c| &c.routed),
            self.by_place(
                declared::TOKENS,
                TokenResult::ALL.iter().map(|result| result.label()),
                |c| &c.tokens,
            ),
        ]
    }

    fn requests(&self) -> MetricFamily {
        let samples = Method::ALL.iter().enumerate().flat_map(|(place, method)| {
            [
                (vec![method.label(), "to_backend"], self.sum(|c| &c.requests_to_backends[place])),
                (vec![method.label(), "to_client"], self.sum(|c| &c.requests_to_clients[place])),
            ]
        });
        family(declared::REQUESTS, samples)
    }

    fn forward_seconds(&self) -> MetricFamily {
        let mut histogram = Histogram::default();
        let mut count = 0;
        let mut buckets = Vec::new();
        for (place, bound_ns) in BUCKETS_NS.into_iter().enumerate() {
            count += self.sum_u64(|c| &c.forward_seconds.buckets[place]);
            let mut bucket = Bucket::default();
            bucket.set_upper_bound(bound_ns as f64 / 1e9);
            bucket.set_cumulative_count(count);
            buckets.push(bucket);
        }
        count += self.sum_u64(|c| &c.forward_seconds.buckets[BUCKETS_NS.len()]);
        histogram.set_bucket(buckets);
        histogram.set_sample_count(count);
        histogram.set_sample_sum(self.sum(|c| &c.forward_seconds.sum_ns) / 1e9);
        let mut sample = prometheus::proto::Metric::default();
        sample.set_histogram(histogram);
        let mut family = family::<String>(declared::FORWARD_SECONDS, []);
        family.set_metric(vec![sample]);
        family
    }

    fn dropped(&self) -> MetricFamily {
        let mut family_of_all =
            self.by_place(declared::DROPPED, Drop::ALL.iter().map(|reason| reason.label()), |c| {
                &c.dropped
            });
        let outside_the_core = family(
            declared::DROPPED,
            [
                (vec![dropped::TRUNCATED], self.sum(|c| &c.truncated)),
                (vec![dropped::HANDOFF_FULL], self.sum(|c| &c.handoff_full)),
                (vec![dropped::SEND_FULL], self.sum(|c| &c.send_full)),
                (vec![dropped::SEND_ERROR], self.sum(|c| &c.send_errors)),
            ],
        );
        family_of_all.mut_metric().extend(outside_the_core.get_metric().iter().cloned());
        family_of_all
    }

    fn backends(&self) -> Vec<MetricFamily> {
        let roster = self.source.roster.load();
        let backends = || roster.pool().backends().iter();
        let name = |backend: &Backend| backend.spec.name.clone();
        let sum = |backend: &Backend, cell: &dyn Fn(&BackendCells) -> &Cell| {
            roster.of(backend.id).map(|cells| cell(cells).value()).sum::<u64>() as f64
        };
        let of_each = |cell: fn(&BackendCells) -> &Cell| {
            backends().map(move |one| (vec![name(one)], sum(one, &cell)))
        };
        let outcomes = backends().flat_map(|backend| {
            BackendOutcome::ALL.map(|outcome| {
                let value = sum(backend, &|cells| &cells.outcomes[outcome as usize]);
                (vec![name(backend), outcome.label().to_owned()], value)
            })
        });
        let responses = backends().flat_map(|backend| {
            CLASSES.iter().enumerate().map(move |(class, label)| {
                let value = sum(backend, &|cells| &cells.responses[class]);
                (vec![backend.spec.name.clone(), (*label).to_owned()], value)
            })
        });
        let weights =
            backends().map(|backend| (vec![name(backend)], f64::from(backend.spec.weight)));
        let states = backends().flat_map(|backend| {
            STATES.map(|(state, label)| {
                let is = backend.spec.state == state;
                (vec![name(backend), label.to_owned()], f64::from(u8::from(is)))
            })
        });
        vec![
            family(declared::BACKEND_REQUESTS, of_each(|c| &c.requests)),
            family(declared::BACKEND_RESPONSES, responses),
            family(declared::BACKEND_OUTCOMES, outcomes),
            family(declared::BACKEND_DIALOGS, of_each(|c| &c.dialogs)),
            family(declared::BACKEND_CALLS, of_each(|c| &c.calls)),
            family(declared::BACKEND_TRANSACTIONS, of_each(|c| &c.transactions)),
            family(declared::BACKEND_WEIGHT, weights),
            family(declared::BACKEND_STATE, states),
        ]
    }

    fn health(&self) -> Vec<MetricFamily> {
        let roster = self.source.roster.load();
        let pool = roster.pool();
        let of_each = |metric, value: fn(&ProbeFigures) -> f64| {
            let sample = |backend: &Backend| {
                (vec![backend.spec.name.clone()], value(&self.source.probes.of(backend.id)))
            };
            family(metric, pool.backends().iter().map(sample))
        };
        let transitions = pool.backends().iter().flat_map(|backend| {
            let figures = self.source.probes.of(backend.id);
            [("up", figures.ups), ("down", figures.downs)]
                .map(|(to, count)| (vec![backend.spec.name.clone(), to.to_owned()], count as f64))
        });
        let in_state = |metric, value: fn(&Backend) -> f64| {
            let groups = (0..).zip(pool.groups());
            // Not `sum`, which is -0 where there is nobody.
            let of_group = groups.flat_map(|(place, group)| {
                let members = || pool.backends().iter().filter(|one| one.group.0 == place);
                STATES.map(|(state, label)| {
                    let here = members().filter(|one| one.spec.state == state);
                    (
                        vec![group.name().to_owned(), label.to_owned()],
                        here.map(value).fold(0.0, |sum, one| sum + one),
                    )
                })
            });
            family(metric, of_group.collect::<Vec<_>>())
        };
        let panics = pool.groups().iter().map(|group| {
            let panic = self.source.probes.is_in_panic(group.name());
            (vec![group.name()], f64::from(u8::from(panic)))
        });
        vec![
            of_each(declared::BACKEND_UP, |figures| f64::from(u8::from(figures.up))),
            of_each(declared::PROBE_SUCCESS, |figures| f64::from(u8::from(figures.good))),
            of_each(declared::PROBE_DURATION, |figures| figures.seconds),
            family(declared::PROBE_TRANSITIONS, transitions),
            in_state(declared::POOL_BACKENDS, |_| 1.0),
            in_state(declared::POOL_WEIGHT, |backend| f64::from(backend.spec.weight)),
            family(declared::POOL_PANIC, panics),
        ]
    }

    fn saturation(&self) -> Vec<MetricFamily> {
        let per_worker = |metric, value: fn(&Cells) -> f64| {
            let samples = self.source.cells.iter().enumerate();
            family(metric, samples.map(|(worker, cells)| (vec![worker.to_string()], value(cells))))
        };
        vec![
            per_worker(declared::WORKER_CPU, |c| c.cpu_ns.value() as f64 / 1e9),
            per_worker(declared::URING_ENTERS, |c| c.enters.value() as f64),
            per_worker(declared::URING_GATHERS, |c| c.gathers.value() as f64),
            per_worker(declared::URING_GATHER_SECONDS, |c| c.gather_ns.value() as f64 / 1e9),
            per_worker(declared::URING_CQ_OVERFLOW, |c| c.cq_overflows.value() as f64),
            per_worker(declared::URING_BUFRING_EXHAUSTED, |c| c.buffers_exhausted.value() as f64),
            per_worker(declared::URING_SQ_FULL, |c| c.sq_full.value() as f64),
            per_worker(declared::HANDOFF_QUEUE, |c| c.handoff_queue.value() as f64),
            self.socket_drops(),
            per_worker(declared::HANDOFFS, |c| c.handoffs.value() as f64),
            per_worker(declared::HANDOFFS_SPARED, |c| c.handoffs_spared.value() as f64),
            per_worker(declared::DOORBELLS, |c| c.doorbells.value() as f64),
        ]
    }

    fn socket_drops(&self) -> MetricFamily {
        let drops = self.source.socket_drops.all();
        let sample = |(label, count)| (vec![label], count as f64);
        family(declared::SOCKET_DROPS, drops.into_iter().map(sample))
    }

    fn sum(&self, cell: impl Fn(&Cells) -> &Cell) -> f64 {
        self.sum_u64(cell) as f64
    }

    fn sum_u64(&self, cell: impl Fn(&Cells) -> &Cell) -> u64 {
        self.source.cells.iter().map(|cells| cell(cells).value()).sum()
    }

    /// One series per label; its value is the sum of the cells at the label's place.
    fn by_place(
        &self,
        metric: Metric,
        labels: impl IntoIterator<Item = impl Into<String>>,
        cells_of: impl Fn(&Cells) -> &[Cell],
    ) -> MetricFamily {
        let sample = |(place, label)| (vec![label], self.sum(|c| &cells_of(c)[place]));
        family(metric, labels.into_iter().enumerate().map(sample))
    }
}

fn single(metric: Metric, value: f64) -> MetricFamily {
    family(metric, [(Vec::<String>::new(), value)])
}

/// A family of samples, each its label values (in the declared order) and its value.
fn family<L: Into<String>>(
    metric: Metric,
    samples: impl IntoIterator<Item = (Vec<L>, f64)>,
) -> MetricFamily {
    let mut family = MetricFamily::default();
    family.set_name(metric.name.into());
    family.set_help(metric.help.into());
    family.set_field_type(match metric.kind {
        Kind::Counter => MetricType::COUNTER,
        Kind::Gauge => MetricType::GAUGE,
        Kind::Histogram => MetricType::HISTOGRAM,
    });
    let samples = samples.into_iter().map(|(values, value)| sample(metric, values, value));
    family.set_metric(samples.collect());
    family
}

fn sample<L: Into<String>>(
    metric: Metric,
    values: Vec<L>,
    value: f64,
) -> prometheus::proto::Metric {
    debug_assert_eq!(metric.labels.len(), values.len(), "{}", metric.name);
    let pairs = metric.labels.iter().zip(values).map(|(name, value)| {
        let mut pair = LabelPair::default();
        pair.set_name((*name).into());
        pair.set_value(value.into());
        pair
    });
    let mut sample = prometheus::proto::Metric::from_label(pairs.collect());
    match metric.kind {
        Kind::Counter => {
            let mut counter = Counter::default();
            counter.set_value(value);
            sample.set_counter(counter);
        }
        Kind::Gauge => {
            let mut gauge = Gauge::default();
            gauge.set_value(value);
            sample.set_gauge(gauge);
        }
        Kind::Histogram => debug_assert!(false, "{} is not a single number", metric.name),
    }
    sample
}

mod control;
mod times;

#[cfg(test)]
mod tests;
