//! When calls start: at a rate that may ramp up (open loop), or as others end (closed loop).

use crate::plan::PlannedCall;
use std::sync::Arc;
use std::time::Duration;

/// How calls are started.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pace {
    /// At a rate, whatever becomes of the calls: from one rate to another in a straight line over
    /// `ramp`, then on at the second.
    Open {
        /// Calls per second at the start, above 0, at most 1 000 000.
        from: f64,
        /// Calls per second after the ramp, in the same range.
        to: f64,
        /// How long the rate changes; zero: `to` from the start.
        ramp: Duration,
    },
    /// This many at once: a call that ends makes room for the next.
    Closed {
        /// Calls at once, at least 1.
        concurrent: usize,
    },
}

impl Pace {
    /// A fixed rate, in calls per second.
    pub fn rate(rate: f64) -> Self {
        Self::Open { from: rate, to: rate, ramp: Duration::ZERO }
    }

    pub(crate) fn check(&self) -> Result<(), String> {
        match *self {
            Self::Open { from, to, .. } => {
                for rate in [from, to] {
                    if !(rate > 0.0 && rate <= 1e6) {
                        return Err(format!("{rate} calls per second: above 0, at most 1 000 000"));
                    }
                }
            }
            Self::Closed { concurrent: 0 } => return Err("0 calls at once: at least 1".to_owned()),
            Self::Closed { .. } => {}
        }
        Ok(())
    }
}

/// In a closed loop the first calls start this far apart, so that they are no single burst.
const STAGGER_NS: u64 = 100_000;
/// A start this far behind its time counts as late.
const LATE_NS: u64 = 10_000_000;

/// The starts of one caller.
#[derive(Debug)]
pub(crate) struct Schedule {
    pace: Pace,
    /// The starts one by one, instead of by `pace`.
    plan: Option<Arc<[PlannedCall]>>,
    calls: Option<u64>,
    until: Option<u64>,
    open_max: usize,
    started: u64,
    next: u64,
}

impl Schedule {
    pub(crate) fn new(
        pace: Pace,
        calls: Option<u64>,
        duration: Option<Duration>,
        open_max: usize,
    ) -> Self {
        let until = duration.map(|duration| duration.as_nanos() as u64);
        let open_max = match pace {
            Pace::Closed { concurrent } => concurrent.min(open_max),
            Pace::Open { .. } => open_max,
        };
        Self { pace, plan: None, calls, until, open_max, started: 0, next: 0 }
    }

    /// Starts each call at its time.
    pub(crate) fn planned(plan: Arc<[PlannedCall]>, open_max: usize) -> Self {
        let next = plan.first().map_or(0, |call| call.at_ns);
        let calls = Some(plan.len() as u64);
        Self { plan: Some(plan), next, ..Self::new(Pace::rate(1.0), calls, None, open_max) }
    }

    /// When the next call starts, with this many open; `None` while nothing is to start.
    pub(crate) fn due(&self, open: usize) -> Option<u64> {
        (!self.over() && open < self.open_max).then_some(self.next)
    }

    /// The number of the call that starts now, and whether it is late; `None` if time is up.
    pub(crate) fn start(&mut self, now: u64) -> Option<(u64, bool)> {
        if self.until.is_some_and(|until| now >= until) {
            self.end();
        }
        if self.over() {
            return None;
        }
        let number = self.started;
        let late = now.saturating_sub(self.next) > LATE_NS;
        self.started += 1;
        if let Some(plan) = &self.plan {
            self.next = plan.get(self.started as usize).map_or(u64::MAX, |call| call.at_ns);
            return Some((number, late));
        }
        match self.pace {
            Pace::Open { .. } => self.next += self.interval(),
            Pace::Closed { concurrent } if number < concurrent as u64 => self.next += STAGGER_NS,
            Pace::Closed { .. } => self.next = now,
        }
        Some((number, late && matches!(self.pace, Pace::Open { .. })))
    }

    /// Nothing more starts.
    pub(crate) fn end(&mut self) {
        self.calls = Some(self.started);
    }

    /// True when nothing more will start.
    pub(crate) fn over(&self) -> bool {
        self.calls.is_some_and(|calls| self.started >= calls)
            || self.until.is_some_and(|until| self.next >= until)
    }

    /// Nanoseconds to the call after the one at `self.next`.
    fn interval(&self) -> u64 {
        let Pace::Open { from, to, ramp } = self.pace else { return 0 };
        let ramp = ramp.as_nanos() as f64;
        let done = if ramp > 0.0 { (self.next as f64 / ramp).min(1.0) } else { 1.0 };
        (1e9 / (from + (to - from) * done)) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn starts(schedule: &mut Schedule) -> Vec<u64> {
        let mut all = Vec::new();
        while let Some(due) = schedule.due(0) {
            if schedule.start(due).is_some() {
                all.push(due);
            }
        }
        all
    }

    #[test]
    fn a_rate_is_kept_and_ends_at_its_time() {
        let second = Some(Duration::from_secs(1));
        let mut schedule = Schedule::new(Pace::rate(100.0), None, second, 9);
        let starts = starts(&mut schedule);
        assert_eq!((starts.len(), starts[1], starts[99]), (100, 10_000_000, 990_000_000));
    }

    #[test]
    fn a_ramp_starts_about_the_mean_rate() {
        let ramp = Duration::from_secs(10);
        let pace = Pace::Open { from: 50.0, to: 150.0, ramp };
        let count = starts(&mut Schedule::new(pace, None, Some(ramp), 9)).len();
        assert!((990..=1010).contains(&count), "{count}");
    }

    #[test]
    fn the_number_of_calls_is_a_bound() {
        let mut schedule = Schedule::new(Pace::rate(100.0), Some(3), None, 9);
        assert_eq!(starts(&mut schedule).len(), 3);
        assert!(schedule.over());
    }

    #[test]
    fn a_closed_loop_starts_a_call_only_where_there_is_room() {
        let mut schedule = Schedule::new(Pace::Closed { concurrent: 2 }, None, None, 9);
        assert_eq!(schedule.start(schedule.due(0).unwrap()), Some((0, false)));
        assert_eq!(schedule.start(schedule.due(1).unwrap()), Some((1, false)));
        assert_eq!(schedule.due(2), None);
        let later = 1_000_000_000;
        assert!(schedule.due(1).unwrap() <= later);
        assert_eq!(schedule.start(later), Some((2, false)));
    }

    #[test]
    fn an_open_loop_that_falls_behind_says_so_and_catches_up() {
        let mut schedule = Schedule::new(Pace::rate(1000.0), None, None, 2);
        assert_eq!(schedule.due(2), None);
        assert_eq!(schedule.start(10_000_000), Some((0, false)));
        assert_eq!(schedule.start(11_000_000), Some((1, false)));
        assert_eq!(schedule.start(12_000_001), Some((2, true)));
        assert_eq!(schedule.due(0), Some(3_000_000));
    }

    #[test]
    fn a_plan_is_followed_call_by_call() {
        let call = |at_ns| PlannedCall { at_ns, hold_ns: 0, source: 0, callee: 0 };
        let plan = [call(5), call(5), call(70)];
        assert_eq!(starts(&mut Schedule::planned(plan.into(), 9)), [5, 5, 70]);
        assert!(Schedule::planned([].into(), 9).over());
    }

    #[test]
    fn time_that_is_up_starts_nothing() {
        let second = Some(Duration::from_secs(1));
        let mut schedule = Schedule::new(Pace::Closed { concurrent: 1 }, None, second, 9);
        assert_eq!(schedule.start(1_000_000_000), None);
        assert!(schedule.over());
    }

    #[test]
    fn rates_out_of_range_are_refused() {
        for rate in [0.0, -1.0, 1_000_001.0, f64::NAN] {
            assert!(Pace::rate(rate).check().is_err(), "{rate}");
        }
        assert!(Pace::rate(1_000_000.0).check().is_ok());
        assert!(Pace::Closed { concurrent: 0 }.check().is_err());
        assert!(Pace::Closed { concurrent: 1 }.check().is_ok());
    }
}
