//! From the records of one run to its figures.

use serde::{Deserialize, Serialize};
use sipring_loadtest::{CallRecord, Outcome};

/// An answer later than this is late: by then the INVITE has been sent again (T1).
pub(super) const LATE_MS: f64 = 500.0;
/// Length of a bin of a time series.
const BIN_NS: u64 = 500_000_000;

/// What was seen of one run. Times are nanoseconds from its start.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) calls: Vec<CallRecord>,
    /// What each backend did between `from_ns` and `until_ns`.
    pub(super) shares: Vec<Share>,
    pub(super) speeds: Vec<f64>,
    pub(super) late_starts: u64,
    pub(super) from_ns: u64,
    pub(super) until_ns: u64,
    /// When the records were taken.
    pub(super) end_ns: u64,
}

/// The work of one backend.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Share {
    pub(super) worked_ns: u64,
    pub(super) calls: u64,
}

impl Share {
    /// What was done since `before`; a backend that began anew in between has forgotten.
    pub(super) fn since(self, before: Self) -> Self {
        Self {
            worked_ns: self.worked_ns.saturating_sub(before.worked_ns),
            calls: self.calls.saturating_sub(before.calls),
        }
    }
}

/// The figures of one run, of the calls that began in its window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Measures {
    /// Calls begun, a second.
    pub(super) offered_per_s: f64,
    /// Calls that came to their end, a second of the window, whenever they began.
    pub(super) completed_per_s: f64,
    /// From the INVITE to its 200. A call that nobody had answered when the run ended counts with the
    /// time that it had waited by then.
    pub(super) response_mean_ms: f64,
    pub(super) response_p50_ms: f64,
    pub(super) response_p95_ms: f64,
    pub(super) response_p99_ms: f64,
    /// From the BYE to its 200.
    pub(super) bye_mean_ms: f64,
    pub(super) bye_p95_ms: f64,
    /// Of the calls, the share that was not answered within [`LATE_MS`], or never.
    pub(super) late_share: f64,
    /// INVITEs answered 300 to 699, or given up.
    pub(super) failed: u64,
    /// INVITEs without an answer when the run ended.
    pub(super) unanswered: u64,
    /// BYEs answered 300 to 699, or given up.
    pub(super) bye_failed: u64,
    /// BYEs that had waited for [`LATE_MS`] and more when the run ended.
    pub(super) bye_open: u64,
    /// Calls for which two backends answered.
    pub(super) split: u64,
    /// INVITEs and BYEs sent again, a call.
    pub(super) repeats_per_call: f64,
    /// Working time of the busiest backend over that of the average one.
    pub(super) imbalance: f64,
    /// Calls of the backend with the most, for its speed, over those of the average one.
    pub(super) calls_imbalance: f64,
    /// Working time of the busiest backend over the time that there was.
    pub(super) busiest: f64,
    /// Calls that the callers began more than 10 ms late: the machine could not keep up.
    pub(super) late_starts: u64,
}

/// What happened in half a second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Bin {
    /// Its middle.
    pub(super) at_s: f64,
    /// Mean response time of the calls that began in it; as in [`Measures`].
    pub(super) response_mean_ms: f64,
    /// Calls that came to their end in it, a second.
    pub(super) completed_per_s: f64,
    /// Calls that began in it and were lost: refused, unanswered, or cut off.
    pub(super) lost: u64,
}

impl Seen {
    pub(super) fn measures(&self) -> Measures {
        let window = self.from_ns..self.until_ns;
        let calls: Vec<&CallRecord> =
            self.calls.iter().filter(|call| window.contains(&call.invited_ns)).collect();
        let seconds = (self.until_ns - self.from_ns) as f64 / 1e9;
        let count = |is: fn(&CallRecord) -> bool| calls.iter().filter(|c| is(c)).count() as u64;
        let completed = self.calls.iter().filter(
            |call| matches!(call.ended, Some((at, Outcome::Completed)) if window.contains(&at)),
        );
        let responses = Sorted::of(calls.iter().filter_map(|call| self.response_ms(call)));
        let byes = Sorted::of(calls.iter().filter_map(|call| bye_ms(call)));
        let in_time = calls.iter().filter(|call| {
            let waited = call.answered_ns.map(|at| (at - call.invited_ns) as f64 / 1e6);
            waited.is_some_and(|ms| ms <= LATE_MS)
        });
        let in_time = in_time.count() as f64;
        let failed = count(|call| call.answered_ns.is_none() && call.ended.is_some());
        let repeats: u32 = calls.iter().map(|call| call.repeats).sum();
        let began = (calls.len() as f64).max(1.0);
        let worked: Vec<f64> = self.shares.iter().map(|share| share.worked_ns as f64).collect();
        let taken = self.shares.iter().zip(&self.speeds);
        let taken: Vec<f64> = taken.map(|(share, speed)| share.calls as f64 / speed).collect();
        Measures {
            offered_per_s: calls.len() as f64 / seconds,
            completed_per_s: completed.count() as f64 / seconds,
            response_mean_ms: responses.mean(),
            response_p50_ms: responses.quantile(0.5),
            response_p95_ms: responses.quantile(0.95),
            response_p99_ms: responses.quantile(0.99),
            bye_mean_ms: byes.mean(),
            bye_p95_ms: byes.quantile(0.95),
            late_share: 1.0 - in_time.max(f64::from(calls.is_empty())) / began,
            failed,
            unanswered: count(|call| call.answered_ns.is_none() && call.ended.is_none()),
            bye_failed: count(is_cut_off),
            bye_open: calls.iter().filter(|call| self.is_left_hanging(call)).count() as u64,
            split: count(|call| call.split),
            repeats_per_call: f64::from(repeats) / began,
            imbalance: peak(&worked),
            calls_imbalance: peak(&taken),
            busiest: worked.iter().fold(0.0, |most: f64, &ns| most.max(ns)) / (seconds * 1e9),
            late_starts: self.late_starts,
        }
    }

    /// The run in bins of half a second, up to the last start.
    pub(super) fn series(&self) -> Vec<Bin> {
        (0..self.until_ns / BIN_NS).map(|number| self.bin(number)).collect()
    }

    fn bin(&self, number: u64) -> Bin {
        let within = number * BIN_NS..(number + 1) * BIN_NS;
        let began: Vec<&CallRecord> =
            self.calls.iter().filter(|call| within.contains(&call.invited_ns)).collect();
        let completed = self.calls.iter().filter(
            |call| matches!(call.ended, Some((at, Outcome::Completed)) if within.contains(&at)),
        );
        let is_lost = |call: &&&CallRecord| {
            call.answered_ns.is_none() || is_cut_off(call) || self.is_left_hanging(call)
        };
        Bin {
            at_s: (within.start + BIN_NS / 2) as f64 / 1e9,
            response_mean_ms: Sorted::of(began.iter().filter_map(|c| self.response_ms(c))).mean(),
            completed_per_s: completed.count() as f64 / (BIN_NS as f64 / 1e9),
            lost: began.iter().filter(is_lost).count() as u64,
        }
    }

    /// Its BYE is not answered, and should be by now.
    fn is_left_hanging(&self, call: &CallRecord) -> bool {
        let waited = |sent| self.end_ns.saturating_sub(sent) as f64 / 1e6;
        call.ended.is_none() && call.hung_up_ns.is_some_and(|sent| waited(sent) >= LATE_MS)
    }

    /// How long a call waited for its 200, or has been waiting; none if it was refused.
    fn response_ms(&self, call: &CallRecord) -> Option<f64> {
        let until = match (call.answered_ns, call.ended) {
            (Some(answered), _) => answered,
            (None, None) => self.end_ns,
            (None, Some((at, Outcome::TimedOut(_)))) => at,
            (None, Some(_)) => return None,
        };
        Some(until.saturating_sub(call.invited_ns) as f64 / 1e6)
    }
}

fn bye_ms(call: &CallRecord) -> Option<f64> {
    match (call.hung_up_ns, call.ended) {
        (Some(sent), Some((at, Outcome::Completed))) => Some((at - sent) as f64 / 1e6),
        _ => None,
    }
}

/// Answered, and ended otherwise than by an answered BYE.
fn is_cut_off(call: &CallRecord) -> bool {
    call.answered_ns.is_some()
        && matches!(call.ended, Some((_, Outcome::Failed(_) | Outcome::TimedOut(_))))
}

/// The largest over the mean; 1.0 of nothing.
fn peak(values: &[f64]) -> f64 {
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    let most = values.iter().fold(0.0, |most: f64, &value| most.max(value));
    if mean > 0.0 { most / mean } else { 1.0 }
}

/// Values in order.
pub(super) struct Sorted {
    values: Vec<f64>,
}

impl Sorted {
    pub(super) fn of(values: impl Iterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.collect();
        values.sort_by(f64::total_cmp);
        Self { values }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// 0.0 of nothing.
    pub(super) fn mean(&self) -> f64 {
        self.values.iter().sum::<f64>() / (self.values.len() as f64).max(1.0)
    }

    /// The smallest value that this share of all stays at or below; 0.0 of nothing.
    pub(super) fn quantile(&self, share: f64) -> f64 {
        let rank = (share * self.values.len() as f64).ceil() as usize;
        self.values.get(rank.saturating_sub(1)).copied().unwrap_or(0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sipring_loadtest::Stage;

    const MS: u64 = 1_000_000;

    fn call(
        invited_ms: u64,
        answered_ms: Option<u64>,
        ended: Option<(u64, Outcome)>,
    ) -> CallRecord {
        CallRecord {
            invited_ns: invited_ms * MS,
            answered_ns: answered_ms.map(|ms| ms * MS),
            hung_up_ns: None,
            ended: ended.map(|(ms, outcome)| (ms * MS, outcome)),
            repeats: 0,
            split: false,
            server: None,
        }
    }

    /// A window from 1 s to 3 s of a run of 4 s.
    fn seen(calls: Vec<CallRecord>) -> Seen {
        let shares = [(1_000, 10), (500, 10)];
        Seen {
            calls,
            shares: shares.map(|(ms, calls)| Share { worked_ns: ms * MS, calls }).to_vec(),
            speeds: vec![1.0, 0.5],
            late_starts: 0,
            from_ns: 1000 * MS,
            until_ns: 3000 * MS,
            end_ns: 4000 * MS,
        }
    }

    #[test]
    fn the_window_holds_its_first_instant_and_not_its_last() {
        let answered = |ms| call(ms, Some(ms + 10), None);
        let measures = seen([999, 1000, 2999, 3000].map(answered).to_vec()).measures();
        assert_eq!(measures.offered_per_s, 1.0);
        assert_eq!(measures.response_mean_ms, 10.0);
        let done = |ms| call(0, Some(1), Some((ms, Outcome::Completed)));
        let measures = seen([999, 1000, 2999, 3000].map(done).to_vec()).measures();
        assert_eq!(measures.completed_per_s, 1.0);
    }

    #[test]
    fn who_waits_still_counts_with_the_time_waited_and_who_was_refused_does_not() {
        let calls = vec![
            call(1000, Some(1100), None),
            call(1000, None, None),
            call(1000, None, Some((1010, Outcome::Failed(503)))),
            call(1000, None, Some((3500, Outcome::TimedOut(Stage::Answer)))),
        ];
        let measures = seen(calls).measures();
        assert_eq!(measures.response_mean_ms, (100.0 + 3000.0 + 2500.0) / 3.0);
        assert_eq!((measures.failed, measures.unanswered), (2, 1));
        assert_eq!(measures.late_share, 0.75, "whoever has no answer in time, for whatever reason");
    }

    #[test]
    fn ends_of_calls_are_told_apart() {
        let hung_up = |record: CallRecord| CallRecord { hung_up_ns: Some(1500 * MS), ..record };
        let calls = vec![
            hung_up(call(1000, Some(1100), Some((1530, Outcome::Completed)))),
            hung_up(call(1000, Some(1100), Some((1600, Outcome::Failed(481))))),
            hung_up(call(1000, Some(1100), None)),
            CallRecord { hung_up_ns: Some(3501 * MS), ..call(1000, Some(1100), None) },
            call(1000, Some(1100), None),
        ];
        let seen = seen(calls);
        let measures = seen.measures();
        assert_eq!((measures.bye_failed, measures.bye_open), (1, 1));
        assert_eq!((measures.failed, measures.unanswered), (0, 0));
        assert_eq!((measures.bye_mean_ms, measures.bye_p95_ms), (30.0, 30.0));
        let lost: Vec<u64> = seen.series().iter().map(|bin| bin.lost).collect();
        assert_eq!(lost, [0, 0, 2, 0, 0, 0]);
        assert_eq!(seen.series()[3].completed_per_s, 2.0);
    }

    #[test]
    fn imbalance_is_the_busiest_over_the_average() {
        let measures = seen(Vec::new()).measures();
        assert_eq!((measures.imbalance, measures.busiest), (1.0 / 0.75, 0.5));
        assert_eq!(measures.calls_imbalance, 20.0 / 15.0);
        assert_eq!(peak(&[0.0, 0.0]), 1.0);
    }

    #[test]
    fn a_backend_that_began_anew_has_done_what_it_says() {
        let share = |worked_ns| Share { worked_ns, calls: 0 };
        assert_eq!(share(7).since(share(5)).worked_ns, 2);
        assert_eq!(share(3).since(share(5)).worked_ns, 0);
    }

    #[test]
    fn quantiles_are_values_that_occurred() {
        let sorted = Sorted::of([4.0, 1.0, 3.0, 2.0].into_iter());
        let found = [0.0, 0.25, 0.26, 0.5, 1.0].map(|share| sorted.quantile(share));
        assert_eq!(found, [1.0, 1.0, 2.0, 2.0, 4.0]);
        assert_eq!(Sorted::of(std::iter::empty()).quantile(0.5), 0.0);
    }
}
