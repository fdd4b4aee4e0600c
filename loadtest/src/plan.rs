//! A workload drawn beforehand: when each call starts, from where, to whom, and how long it lasts.
//!
//! Everything is a function of the seed: whatever is compared gets the very same calls.

use crate::random::Random;
use std::time::Duration;

/// One call to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlannedCall {
    /// When its INVITE is sent, in nanoseconds from the start.
    pub at_ns: u64,
    /// From the ACK to the BYE, in nanoseconds.
    pub hold_ns: u64,
    /// Which of the callers it comes from.
    pub source: usize,
    /// The number of the callee; the first ones are called the most.
    pub callee: u32,
}

/// What calls are drawn from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Workload {
    /// Calls per second: exactly so many in the mean over all of `length`.
    pub rate: f64,
    /// From the first call to the last.
    pub length: Duration,
    /// Mean time from the ACK to the BYE.
    pub hold: Duration,
    /// Standard deviation of the hold time over its mean. Hold times are lognormal: most calls are
    /// short, a few are long.
    pub hold_variation: f64,
    /// Standard deviation of the rate over its mean, from one quarter of a second to the next;
    /// within each, calls arrive as a Poisson process.
    pub rate_variation: f64,
    /// Callers.
    pub sources: usize,
    /// Callees.
    pub callees: u32,
    /// Callee number n is called in proportion to n^-skew; 0.0: all alike.
    pub callee_skew: f64,
    /// Decides all of it.
    pub seed: u64,
}

/// How long the rate stays as it is.
const BURST: Duration = Duration::from_millis(250);

impl Workload {
    /// The calls, in the order of their starts.
    pub fn calls(&self) -> Vec<PlannedCall> {
        let count = (self.rate * self.length.as_secs_f64()).round() as usize;
        let mut random = Random::new(self.seed, 0);
        let rates =
            Weights::of((0..self.bursts()).map(|_| random.lognormal(1.0, self.rate_variation)));
        let popularity =
            Weights::of((1..=self.callees).map(|n| f64::from(n).powf(-self.callee_skew)));
        // A Poisson process of which the number of arrivals is known: each falls anywhere, by the
        // rate there, whatever the others do.
        let mut calls: Vec<_> = (0..count)
            .map(|_| {
                let (burst, within) = rates.draw(&mut random);
                let at = BURST.mul_f64(burst as f64 + within).min(self.length);
                PlannedCall {
                    at_ns: at.as_nanos() as u64,
                    hold_ns: random.lognormal(self.hold.as_nanos() as f64, self.hold_variation)
                        as u64,
                    source: random.below(self.sources as u64) as usize,
                    callee: popularity.draw(&mut random).0 as u32 + 1,
                }
            })
            .collect();
        calls.sort_by_key(|call| call.at_ns);
        calls
    }

    fn bursts(&self) -> usize {
        self.length.as_nanos().div_ceil(BURST.as_nanos()).max(1) as usize
    }
}

/// Things to draw, some more often than others.
struct Weights {
    /// The sum of all weights up to and with each.
    sums: Vec<f64>,
}

impl Weights {
    fn of(weights: impl Iterator<Item = f64>) -> Self {
        let add = |sum: &mut f64, weight| {
            *sum += weight;
            Some(*sum)
        };
        Self { sums: weights.scan(0.0, add).collect() }
    }

    /// The place of one of them, and how far into its weight the draw fell (0.0 to 1.0).
    fn draw(&self, random: &mut Random) -> (usize, f64) {
        let Some(total) = self.sums.last() else { return (0, 0.0) };
        let point = random.unit() * total;
        let place = self.sums.partition_point(|&sum| sum < point).min(self.sums.len() - 1);
        let before = if place == 0 { 0.0 } else { self.sums[place - 1] };
        (place, (point - before) / (self.sums[place] - before))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workload() -> Workload {
        Workload {
            rate: 2000.0,
            length: Duration::from_secs(20),
            hold: Duration::from_secs(1),
            hold_variation: 0.8,
            rate_variation: 0.2,
            sources: 4,
            callees: 100,
            callee_skew: 0.6,
            seed: 7,
        }
    }

    /// Mean, and standard deviation over mean.
    fn spread(values: &[f64]) -> (f64, f64) {
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let square = values.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / values.len() as f64;
        (mean, square.sqrt() / mean)
    }

    fn calls_a_burst(calls: &[PlannedCall]) -> Vec<f64> {
        let mut counts = vec![0.0; 80];
        calls.iter().for_each(|call| counts[(call.at_ns / 250_000_000).min(79) as usize] += 1.0);
        counts
    }

    #[test]
    fn a_seed_gives_the_same_calls_again_and_another_gives_others() {
        assert_eq!(workload().calls(), workload().calls());
        assert_ne!(workload().calls(), Workload { seed: 8, ..workload() }.calls());
    }

    #[test]
    fn calls_come_in_order_within_the_length_and_as_many_as_the_rate_says() {
        let calls = workload().calls();
        assert_eq!(calls.len(), 40_000);
        assert!(calls.is_sorted_by_key(|call| call.at_ns));
        assert!(calls.last().unwrap().at_ns <= 20_000_000_000);
        assert!(calls.iter().all(|call| call.source < 4 && (1..=100).contains(&call.callee)));
        assert_eq!(Workload { rate: 0.01, ..workload() }.calls().len(), 0);
    }

    #[test]
    fn the_rate_varies_by_what_was_asked() {
        // 500 calls a burst: Poisson alone varies by 1/sqrt(500), 4.5 %.
        let steady = Workload { rate_variation: 0.0, ..workload() }.calls();
        let (_, variation) = spread(&calls_a_burst(&steady));
        assert!((0.03..0.06).contains(&variation), "{variation}");
        let (_, variation) = spread(&calls_a_burst(&workload().calls()));
        assert!((0.15..0.26).contains(&variation), "{variation}");
    }

    #[test]
    fn intervals_are_those_of_a_poisson_process() {
        let calls = Workload { rate_variation: 0.0, ..workload() }.calls();
        let gaps: Vec<f64> =
            calls.windows(2).map(|two| (two[1].at_ns - two[0].at_ns) as f64).collect();
        let (mean, variation) = spread(&gaps);
        assert!((mean / 500_000.0 - 1.0).abs() < 0.01, "{mean}");
        assert!((variation - 1.0).abs() < 0.03, "{variation}: an exponential one has 1");
    }

    #[test]
    fn holds_have_their_mean_and_a_long_tail() {
        let holds: Vec<f64> =
            workload().calls().iter().map(|call| call.hold_ns as f64 / 1e9).collect();
        let (mean, variation) = spread(&holds);
        assert!((mean - 1.0).abs() < 0.03 && (variation - 0.8).abs() < 0.08, "{mean} {variation}");
        let short = holds.iter().filter(|&&hold| hold < 1.0).count();
        assert!(short * 10 > holds.len() * 6, "most calls are shorter than the mean");
    }

    #[test]
    fn some_callees_are_called_more() {
        let calls = workload().calls();
        let of = |callee| calls.iter().filter(|call| call.callee == callee).count();
        // 1 / sum of n^-0.6 for n up to 100: 7 % of the calls.
        assert!((2400..3200).contains(&of(1)), "{}", of(1));
        assert!(of(100) > 100 && of(100) < 300, "{}", of(100));
        let even = Workload { callee_skew: 0.0, ..workload() }.calls();
        let first = even.iter().filter(|call| call.callee == 1).count();
        assert!((300..500).contains(&first), "{first}");
    }
}
