//! What was measured, and what is told of it: medians, quartiles, ratios.

use super::bystander::Seen;
use super::machine::Machine;
use crate::load::Report;
use serde::{Deserialize, Serialize};

/// The one that all others are set against.
pub(super) const FLOOR: &str = "uring";

#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(super) struct Results {
    pub(super) command: String,
    /// How the load was made: what `load` was told, without addresses and lengths.
    pub(super) loads: Vec<String>,
    pub(super) machine: Machine,
    /// The balancer's and the load's.
    #[serde(default)]
    pub(super) cores: Cores,
    /// The generator alone, straight to its own backends.
    pub(super) generator: Vec<Report>,
    pub(super) rivals: Vec<Runs>,
    /// Who was not there, and why.
    pub(super) absent: Vec<String>,
    pub(super) took_s: f64,
}

/// All runs of one of them, round by round.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(super) struct Runs {
    pub(super) name: String,
    pub(super) title: String,
    pub(super) version: String,
    /// As many messages as it takes; some a round.
    pub(super) saturated: Vec<Report>,
    /// At a rate that is the same for all and low.
    pub(super) low: Vec<Report>,
    /// At half of its own highest rate.
    pub(super) half: Vec<Report>,
    /// The highest rate of calls with less than one datagram in a thousand lost; 0.0: not looked for.
    pub(super) highest_rate: f64,
    /// What happened beside these runs.
    #[serde(default)]
    pub(super) beside: Beside,
}

/// Which core belongs to whom, by number.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Serialize)]
pub(super) struct Cores {
    pub(super) balancer: usize,
    pub(super) load: usize,
}

/// How far what was measured had the machine to itself.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Serialize)]
pub(super) struct Beside {
    /// Runs that were thrown away and made again, for they were disturbed.
    pub(super) repeated: u32,
    /// Runs that were kept though they were disturbed: the last try.
    pub(super) disturbed: u32,
    /// The worst beside a run that was kept.
    pub(super) worst: Seen,
}

impl Beside {
    /// A run is over. True: it is to be made again; `is_last` says that it cannot be.
    pub(super) fn rejects(&mut self, seen: Seen, is_last: bool) -> bool {
        if !seen.is_undisturbed() && !is_last {
            self.repeated += 1;
            return true;
        }
        self.disturbed += u32::from(!seen.is_undisturbed());
        self.worst = self.worst.max(seen);
        false
    }
}

/// The middle of several figures, and where their middle half lies.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Spread {
    pub(super) quarter: f64,
    pub(super) median: f64,
    pub(super) three_quarters: f64,
}

impl Spread {
    /// Of at least one figure.
    pub(super) fn of(figures: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut sorted: Vec<f64> = figures.into_iter().filter(|figure| !figure.is_nan()).collect();
        sorted.sort_by(f64::total_cmp);
        let last = sorted.len().checked_sub(1)?;
        let at = |share: f64| {
            let place = share * last as f64;
            let (below, above) = (sorted[place.floor() as usize], sorted[place.ceil() as usize]);
            below + (above - below) * place.fract()
        };
        Some(Self { quarter: at(0.25), median: at(0.5), three_quarters: at(0.75) })
    }
}

impl Results {
    /// One of them by name.
    pub(super) fn runs(&self, name: &str) -> Option<&Runs> {
        self.rivals.iter().find(|runs| runs.name == name)
    }

    /// How many times the CPU of `of` one takes, in the same pass.
    pub(super) fn ratio(
        &self,
        name: &str,
        of: &str,
        load: fn(&Runs) -> &[Report],
    ) -> Option<Spread> {
        let (one, other) = (load(self.runs(name)?), load(self.runs(of)?));
        Spread::of(one.iter().zip(other).map(|(one, other)| cpu(one) / cpu(other)))
    }
}

/// What others were charged with of the balancer's core, cores; 0 where that is not known.
pub(super) fn intruders(report: &Report, core: usize) -> f64 {
    let busy = report.processors_busy.get(&core).zip(report.balancer);
    busy.map_or(0.0, |(busy, balancer)| (busy - balancer.cores).max(0.0))
}

/// CPU per forwarded message, in microseconds.
pub(super) fn cpu(report: &Report) -> f64 {
    report.balancer.map_or(f64::NAN, |cost| cost.us_per_message)
}

pub(super) fn saturated_of(runs: &Runs) -> &[Report] {
    &runs.saturated
}

pub(super) fn low_of(runs: &Runs) -> &[Report] {
    &runs.low
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::Cost;
    use std::collections::BTreeMap;

    #[test]
    fn a_disturbed_run_is_made_again_but_for_the_last_try() {
        let seen = |stopped_ms| Seen { stopped_ms, others: 0.1, counting: 0.0, intruders: 0.0 };
        let mut beside = Beside::default();
        assert!(!beside.rejects(seen(3.0), false));
        assert!(beside.rejects(seen(40.0), false));
        assert_eq!((beside.repeated, beside.disturbed, beside.worst), (1, 0, seen(3.0)));
        assert!(!beside.rejects(seen(30.0), true));
        assert_eq!((beside.repeated, beside.disturbed, beside.worst), (1, 1, seen(30.0)));
    }

    #[test]
    fn others_on_the_balancers_core_are_what_it_was_busy_beyond_the_balancer() {
        let busy = BTreeMap::from([(0, 0.5), (1, 0.95), (2, 0.7)]);
        let balancer = Some(Cost { cores: 0.8, ..Cost::default() });
        let measured = Report { processors_busy: busy, balancer, ..Report::default() };
        assert!((intruders(&measured, 1) - 0.15).abs() < 1e-9);
        assert_eq!(intruders(&measured, 2), 0.0, "never below 0");
        assert_eq!(intruders(&measured, 3), 0.0, "no such core");
        let nobody = Report { balancer: None, ..measured };
        assert_eq!(intruders(&nobody, 1), 0.0);
    }

    #[test]
    fn medians_and_quartiles_lie_between_figures_where_they_must() {
        assert_eq!(Spread::of([]), None);
        let one = Spread::of([7.0]).unwrap();
        assert_eq!((one.quarter, one.median, one.three_quarters), (7.0, 7.0, 7.0));
        let five = Spread::of([5.0, 1.0, 4.0, 2.0, 3.0, f64::NAN]).unwrap();
        assert_eq!((five.quarter, five.median, five.three_quarters), (2.0, 3.0, 4.0));
        let two = Spread::of([1.0, 2.0]).unwrap();
        assert_eq!((two.quarter, two.median, two.three_quarters), (1.25, 1.5, 1.75));
    }
}
