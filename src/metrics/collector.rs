//! The scrape: sums the workers' cells and builds what is declared into one exposition.
//!
//! Workers only ever store into their own [`Cells`]; all adding up happens here, on the control
//! thread, once a scrape. Every series exists from the start, at 0, so that `rate()` sees its first step.

use super::declared::{self, Kind, Metric, dropped};
use super::{Cell, Cells};
use crate::pool::{Backend, Pool, State};
use crate::proxy::{Absorb, Answer, Drop};
use arc_swap::ArcSwap;
use prometheus::core::{Collector, Desc};
use prometheus::proto::{Counter, Gauge, LabelPair, MetricFamily, MetricType};
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
    /// The pool of the moment: names, states and weights of the backends.
    pub pool: Arc<ArcSwap<Pool>>,
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
        families.extend(self.traffic());
        families.extend(self.backends());
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
            self.requests(),
            self.by_place(declared::RESPONSES, CLASSES, |c| &c.responses),
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
        ]
    }

    fn requests(&self) -> MetricFamily {
        family(
            declared::REQUESTS,
            [
                (vec!["to_backend"], self.sum(|c| &c.requests_to_backends)),
                (vec!["to_client"], self.sum(|c| &c.requests_to_clients)),
            ],
        )
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
        let pool = self.source.pool.load();
        let backends = || pool.backends().iter();
        let name = |backend: &Backend| backend.spec.name.clone();
        let requests = backends()
            .enumerate()
            .map(|(slot, backend)| (vec![name(backend)], self.backend_requests(slot, backend)));
        let weights =
            backends().map(|backend| (vec![name(backend)], f64::from(backend.spec.weight)));
        let states = backends().flat_map(|backend| {
            STATES.map(|(state, label)| {
                let is = backend.spec.state == state;
                (vec![name(backend), label.to_owned()], f64::from(u8::from(is)))
            })
        });
        vec![
            family(declared::BACKEND_REQUESTS, requests),
            family(declared::BACKEND_WEIGHT, weights),
            family(declared::BACKEND_STATE, states),
        ]
    }

    /// Cells outlive pools, so the identity is what counts; the slot is only where to look first.
    fn backend_requests(&self, slot: usize, backend: &Backend) -> f64 {
        let of_worker = |cells: &Cells| {
            let place = match cells.backend_ids.get(slot) {
                Some(&id) if id == backend.id => Some(slot),
                _ => cells.backend_ids.iter().position(|&id| id == backend.id),
            };
            place.and_then(|place| cells.backend_requests.get(place)).map_or(0, Cell::value)
        };
        self.source.cells.iter().map(|cells| of_worker(cells)).sum::<u64>() as f64
    }

    fn saturation(&self) -> Vec<MetricFamily> {
        let per_worker = |metric, value: fn(&Cells) -> f64| {
            let samples = self.source.cells.iter().enumerate();
            family(metric, samples.map(|(worker, cells)| (vec![worker.to_string()], value(cells))))
        };
        vec![
            per_worker(declared::WORKER_CPU, |c| c.cpu_ns.value() as f64 / 1e9),
            per_worker(declared::URING_ENTERS, |c| c.enters.value() as f64),
            per_worker(declared::URING_CQ_OVERFLOW, |c| c.cq_overflows.value() as f64),
            per_worker(declared::URING_BUFRING_EXHAUSTED, |c| c.buffers_exhausted.value() as f64),
            per_worker(declared::HANDOFFS, |c| c.handoffs.value() as f64),
            per_worker(declared::DOORBELLS, |c| c.doorbells.value() as f64),
        ]
    }

    fn sum(&self, cell: impl Fn(&Cells) -> &Cell) -> f64 {
        self.source.cells.iter().map(|cells| cell(cells).value()).sum::<u64>() as f64
    }

    /// One series per label; its value is the sum of the cells at the label's place.
    fn by_place(
        &self,
        metric: Metric,
        labels: impl IntoIterator<Item = &'static str>,
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
    }
    sample
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::{BackendSpec, Policy};
    use std::process::{Command, Stdio};
    use std::time::Duration;

    fn spec(name: &str, port: u16, state: State) -> BackendSpec {
        let address = ([127, 0, 0, 1], port).into();
        BackendSpec { name: name.into(), address, weight: 3, state, sources: vec![], side: 0 }
    }

    fn source() -> Source {
        let specs = vec![spec("one", 5061, State::Ready), spec("two", 5062, State::Drained)];
        let pool = Pool::build(specs, Policy::CallIdHash, 0).expect("two good backends");
        let ids: Vec<_> = pool.backends().iter().map(|backend| backend.id).collect();
        Source {
            cells: (0..2).map(|_| Arc::new(Cells::new(ids.clone()))).collect(),
            pool: Arc::new(ArcSwap::from_pointee(pool)),
            pins_max: 1000,
            started: UNIX_EPOCH + Duration::from_millis(1_700_000_000_500),
        }
    }

    fn text(source: &Source) -> String {
        Metrics::new(source.clone()).text().expect("the encoder takes what is declared")
    }

    fn assert_line(text: &str, line: &str) {
        assert!(text.lines().any(|l| l == line), "no line {line:?} in:\n{text}");
    }

    #[test]
    fn every_declared_metric_is_scraped_and_nothing_else() {
        let text = text(&source());
        for metric in declared::ALL {
            assert_line(&text, &format!("# HELP {} {}", metric.name, metric.help));
            let kind = if metric.kind == Kind::Counter { "counter" } else { "gauge" };
            assert_line(&text, &format!("# TYPE {} {kind}", metric.name));
        }
        let families = text.lines().filter(|line| line.starts_with("# TYPE")).count();
        assert_eq!(families, declared::ALL.len());
    }

    #[test]
    fn every_series_exists_from_the_start() {
        let text = text(&source());
        assert_line(&text, "sipring_backend_requests_total{backend=\"one\"} 0");
        assert_line(&text, "sipring_backend_requests_total{backend=\"two\"} 0");
        assert_line(&text, "sipring_responses_total{class=\"6xx\"} 0");
        for reason in Drop::ALL.iter().map(|r| r.label()).chain(["truncated", "send_error"]) {
            assert_line(&text, &format!("sipring_dropped_messages_total{{reason=\"{reason}\"}} 0"));
        }
        for reason in Answer::ALL {
            assert_line(
                &text,
                &format!("sipring_answers_total{{reason=\"{}\"}} 0", reason.label()),
            );
        }
    }

    #[test]
    fn workers_are_summed_for_callers_and_kept_apart_for_saturation() {
        let source = source();
        source.cells[0].datagrams_received.add(3);
        source.cells[1].datagrams_received.add(4);
        source.cells[0].responses[1].add(5);
        source.cells[1].dropped[Drop::NoCallId as usize].add(6);
        source.cells[1].cpu_ns.set(1_500_000_000);
        source.cells[1].handoffs.increment();
        source.cells[0].pins.set(7);
        source.cells[1].pins.set(1);
        let text = text(&source);
        assert_line(&text, "sipring_datagrams_received_total 7");
        assert_line(&text, "sipring_responses_total{class=\"1xx\"} 0");
        assert_line(&text, "sipring_responses_total{class=\"2xx\"} 5");
        assert_line(&text, "sipring_dropped_messages_total{reason=\"no_call_id\"} 6");
        assert_line(&text, "sipring_worker_cpu_seconds_total{worker=\"0\"} 0");
        assert_line(&text, "sipring_worker_cpu_seconds_total{worker=\"1\"} 1.5");
        assert_line(&text, "sipring_handoffs_total{worker=\"1\"} 1");
        assert_line(&text, "sipring_pins 8");
        assert_line(&text, "sipring_pins_max 1000");
        assert_line(&text, "process_start_time_seconds 1700000000.5");
        assert_line(&text, "sipring_workers 2");
    }

    #[test]
    fn each_backend_has_its_requests_weight_and_state() {
        let source = source();
        source.cells[0].backend_requests[0].add(1);
        source.cells[1].backend_requests[1].add(2);
        source.cells[0].backend_requests[1].add(3);
        let text = text(&source);
        assert_line(&text, "sipring_backend_requests_total{backend=\"one\"} 1");
        assert_line(&text, "sipring_backend_requests_total{backend=\"two\"} 5");
        assert_line(&text, "sipring_backend_weight{backend=\"two\"} 3");
        assert_line(&text, "sipring_backend_state{backend=\"one\",state=\"ready\"} 1");
        assert_line(&text, "sipring_backend_state{backend=\"one\",state=\"drained\"} 0");
        assert_line(&text, "sipring_backend_state{backend=\"two\",state=\"drained\"} 1");
        assert_line(&text, "sipring_backend_state{backend=\"two\",state=\"down\"} 0");
    }

    #[test]
    fn a_name_with_quotes_stays_one_label() {
        let source = source();
        let pool = Pool::build(vec![spec("a\"b\\", 1, State::Ready)], Policy::CallIdHash, 0);
        source.pool.store(Arc::new(pool.expect("one good backend")));
        let line = r#"sipring_backend_weight{backend="a\"b\\"} 3"#;
        assert_line(&text(&source), line);
    }

    #[test]
    fn promtool_is_content() {
        let promtool = Command::new("promtool")
            .args(["check", "metrics"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let mut promtool = match promtool {
            Ok(child) => child,
            Err(error) => {
                println!(
                    "SKIPPED: promtool cannot be started ({error}); it is in package prometheus"
                );
                return;
            }
        };
        let mut stdin = promtool.stdin.take().expect("stdin is piped");
        std::io::Write::write_all(&mut stdin, text(&source()).as_bytes()).expect("promtool reads");
        drop(stdin);
        let output = promtool.wait_with_output().expect("promtool ends");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.is_empty(), "{said}");
    }
}
