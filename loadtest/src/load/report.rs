//! What came of a run: counts, latencies, costs; as JSON and in words.

use super::processes::Usage;
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// Latencies from 1 us to a minute and more, 3 digits.
const LATENCY_US_MAX: u64 = 120_000_000;

/// What callers count. `started`, `completed`, `not_started` and `lost` are of what was started
/// while measuring; the others are of the whole run.
#[derive(Clone, Debug, Default)]
pub(super) struct CallerCounts {
    pub(super) started: u64,
    pub(super) completed: u64,
    pub(super) not_started: u64,
    pub(super) lost: Lost,
    pub(super) sent: u64,
    pub(super) received: u64,
    /// Calls and requests that ended well.
    pub(super) ended_well: u64,
    pub(super) requests_repeated: u64,
    pub(super) byes_repeated: u64,
    pub(super) late_answers: u64,
    pub(super) strays: u64,
    pub(super) garbage: u64,
}

#[derive(Clone, Debug, Default)]
pub(super) struct BackendCounts {
    pub(super) received: u64,
    pub(super) answers_repeated: u64,
    pub(super) requests_repeated: u64,
    pub(super) wrong_backend: u64,
    pub(super) garbage: u64,
}

/// Which answer ended something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// To an INVITE.
    Answer,
    Bye,
    /// To another request.
    Other,
}

/// Histograms of those that were started while measuring.
pub(super) struct Latencies {
    pub(super) first_response: Latency,
    pub(super) answer: Latency,
    pub(super) bye: Latency,
    pub(super) other: Latency,
}

pub(super) struct Latency(Histogram<u64>);

impl Latencies {
    pub(super) fn new() -> Self {
        let [first_response, answer, bye, other] = std::array::from_fn(|_| Latency::new());
        Self { first_response, answer, bye, other }
    }
}

impl Latency {
    fn new() -> Self {
        let histogram = Histogram::new_with_bounds(1, LATENCY_US_MAX, 3);
        Self(histogram.expect("1 is below the most, and 3 digits are allowed"))
    }

    pub(super) fn record(&mut self, ns: u64) {
        self.0.saturating_record((ns / 1000).max(1));
    }

    pub(super) fn quantiles(&self) -> Option<Quantiles> {
        let of = |share| self.0.value_at_quantile(share);
        (!self.0.is_empty()).then(|| Quantiles {
            count: self.0.len(),
            mean: (self.0.mean() * 10.0).round() / 10.0,
            p50: of(0.5),
            p90: of(0.9),
            p99: of(0.99),
            p99_9: of(0.999),
            max: self.0.max(),
        })
    }

    /// Points of the curve "this share is at or below": by nines, and milliseconds.
    pub(super) fn curve(&self) -> Vec<(f64, f64)> {
        let shares = (0..=40).map(|step| f64::from(step) / 10.0);
        let point = |nines: f64| {
            let share = 1.0 - 10_f64.powf(-nines);
            (nines, self.0.value_at_quantile(share) as f64 / 1000.0)
        };
        let enough = |nines: &f64| 10_f64.powf(*nines) <= self.0.len() as f64;
        shares.filter(enough).map(point).collect()
    }
}

/// Everything, as it is written.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub(crate) struct Report {
    pub(crate) command: String,
    /// What was measured; the warm-up is before it.
    pub(crate) seconds: f64,
    pub(crate) started: u64,
    pub(crate) completed: u64,
    /// Ended well per second: calls, and requests outside calls.
    pub(crate) completed_per_s: f64,
    /// Messages that arrived at callers and backends.
    pub(crate) forwarded: u64,
    pub(crate) forwarded_per_s: f64,
    pub(crate) lost: Lost,
    /// Lost of started, 0.0 to 1.0.
    pub(crate) lost_share: f64,
    /// Requests in a dialog that came to another backend than the one that had answered.
    pub(crate) wrong_backend: u64,
    pub(crate) repeated: Repeated,
    /// Answers that belong to no call of ours or came to the wrong port, late ones, and what is no SIP.
    pub(crate) strays: u64,
    pub(crate) late_answers: u64,
    pub(crate) garbage: u64,
    /// What the kernel did not take from the generator.
    pub(crate) unsent: u64,
    /// Starts that were more than a millisecond behind their time, at a rate.
    pub(crate) late_starts: u64,
    /// Whether latencies count from the time when a start was due, whatever held it up (coordinated
    /// omission); with a number in flight nothing is ever due.
    pub(crate) counts_from_due_time: bool,
    pub(crate) latency_us: LatencyReport,
    pub(crate) generator: Cost,
    pub(crate) balancer: Option<Cost>,
    /// Processors that others kept busy meanwhile, with the kernel's own work outside of processes, and
    /// with what the host took away.
    pub(crate) others_busy: f64,
    /// Of that, softirq threads of the kernel.
    pub(crate) softirq_busy: f64,
    /// How busy each processor was, whoever it was, by its number: 0.0 to 1.0.
    #[serde(default)]
    pub(crate) processors_busy: BTreeMap<usize, f64>,
    /// Messages that the generator took in after a wait, in the mean: nearly all that are open where it is
    /// the limit itself, few where they wait at the balancer.
    #[serde(default)]
    pub(crate) messages_a_turn: f64,
}

/// Calls and requests lost, by cause.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub(crate) struct Lost {
    /// No final answer to an INVITE, to a BYE, to another request.
    pub(crate) no_answer: u64,
    pub(crate) no_answer_bye: u64,
    pub(crate) no_answer_other: u64,
    /// By status code.
    pub(crate) refused: BTreeMap<u16, u64>,
    /// Too many were open already.
    pub(crate) not_started: u64,
    /// Answers of backends that were never acknowledged.
    pub(crate) never_acknowledged: u64,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub(crate) struct Repeated {
    pub(crate) requests: u64,
    pub(crate) byes: u64,
    pub(crate) answers: u64,
    /// INVITEs that a backend got more than once.
    pub(crate) seen_by_backends: u64,
}

/// By microseconds.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub(crate) struct LatencyReport {
    /// INVITE to the first answer, to its 200; BYE to its 200; another request to its 200.
    pub(crate) first_response: Option<Quantiles>,
    pub(crate) answer: Option<Quantiles>,
    pub(crate) bye: Option<Quantiles>,
    pub(crate) other: Option<Quantiles>,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct Quantiles {
    pub(crate) count: u64,
    pub(crate) mean: f64,
    pub(crate) p50: u64,
    pub(crate) p90: u64,
    pub(crate) p99: u64,
    pub(crate) p99_9: u64,
    pub(crate) max: u64,
}

/// What a process and its descendants used.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Serialize)]
pub(crate) struct Cost {
    /// CPU time over time: 1.0 is a whole core.
    pub(crate) cores: f64,
    pub(crate) us_per_message: f64,
    /// The part of it in user space.
    pub(crate) user_share: f64,
    pub(crate) rss_mib: f64,
}

impl Lost {
    pub(crate) fn sum(&self) -> u64 {
        // What was never acknowledged was answered, and hung up or lost otherwise.
        let refused: u64 = self.refused.values().sum();
        self.no_answer + self.no_answer_bye + self.no_answer_other + refused + self.not_started
    }
}

impl Cost {
    pub(super) fn of(usage: &Usage, seconds: f64, messages: u64) -> Self {
        let cpu = usage.cpu.as_secs_f64();
        Self {
            cores: cpu / seconds,
            us_per_message: cpu * 1e6 / messages.max(1) as f64,
            user_share: usage.user_share(),
            rss_mib: usage.rss as f64 / f64::from(1 << 20),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:.0} completed/s, {:.0} messages/s; {} of {} lost ({:.3} %), {} at a wrong backend",
            self.completed_per_s,
            self.forwarded_per_s,
            self.lost.sum(),
            self.started,
            self.lost_share * 100.0,
            self.wrong_backend
        )?;
        if let Some(answer) = self.latency_us.answer.or(self.latency_us.other) {
            let Quantiles { p50, p99, p99_9, max, .. } = answer;
            writeln!(f, "answered in us: p50 {p50}, p99 {p99}, p99.9 {p99_9}, max {max}")?;
        }
        write_cost(f, "generator", &self.generator)?;
        if let Some(cost) = &self.balancer {
            write_cost(f, "balancer", cost)?;
        }
        write!(f, "others      {:.2} cores busy", self.others_busy)
    }
}

fn write_cost(f: &mut fmt::Formatter<'_>, who: &str, cost: &Cost) -> fmt::Result {
    let Cost { cores, us_per_message, user_share, rss_mib } = cost;
    let user = user_share * 100.0;
    writeln!(
        f,
        "{who:11} {cores:.2} cores, {us_per_message:.2} us a message ({user:.0} % user), {rss_mib:.0} MiB"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latencies_are_told_in_microseconds_within_a_thousandth() {
        let mut latency = Latency::new();
        assert_eq!(latency.quantiles(), None);
        (1..=1000_u64).for_each(|us| latency.record(us * 1000));
        let found = latency.quantiles().unwrap();
        assert_eq!((found.count, found.p50, found.p99), (1000, 500, 990));
        assert_eq!((found.p99_9, found.max), (999, 1000));
        assert_eq!(latency.curve().len(), 31, "to three nines: a thousand values tell no more");
        latency.record(u64::MAX);
        assert!(
            latency.quantiles().unwrap().max >= LATENCY_US_MAX,
            "what is longer counts as the most"
        );
    }

    #[test]
    fn causes_add_up() {
        let lost = Lost {
            no_answer: 1,
            no_answer_bye: 2,
            no_answer_other: 4,
            refused: BTreeMap::from([(404, 8), (503, 16)]),
            not_started: 32,
            never_acknowledged: 64,
        };
        assert_eq!(lost.sum(), 63);
    }
}
