//! What the policies are put through: clusters, loads, and a death.

use sipring_loadtest::{Service, Workload};
use std::time::Duration;

/// Mean service times on a backend of speed 1: an INVITE costs 1.75 of a BYE.
const INVITE: Duration = Duration::from_micros(8750);
const BYE: Duration = Duration::from_micros(5000);

/// A cluster and what happens to it.
#[derive(Clone, Debug)]
pub(super) struct Scenario {
    pub(super) name: &'static str,
    pub(super) title: &'static str,
    /// Of each backend; 1.0 serves 72.7 calls per second.
    pub(super) speeds: Vec<f64>,
    /// The balancer is told the speeds, as weights.
    pub(super) weighted: bool,
    /// Offered loads, as shares of the cluster's capacity.
    pub(super) loads: Vec<f64>,
    /// From the first call to where measuring begins: by then about as many calls end as begin.
    pub(super) warm_up: Duration,
    /// Over which is measured.
    pub(super) window: Duration,
    /// After the last start, for answers that are due.
    pub(super) grace: Duration,
    pub(super) death: Option<Death>,
}

/// A backend's process ends, and one at its address starts again without its calls.
#[derive(Clone, Copy, Debug)]
pub(super) struct Death {
    pub(super) backend: usize,
    /// From the first call.
    pub(super) at: Duration,
    pub(super) back: Duration,
}

/// All of them; with short times and few loads, to see that everything works, if asked.
pub(super) fn all(short: bool) -> Vec<Scenario> {
    let equal = Scenario {
        name: "equal",
        title: "eight equal backends",
        speeds: vec![1.0; 8],
        weighted: false,
        loads: vec![0.5, 0.7, 0.8, 0.9, 0.95, 1.05],
        warm_up: Duration::from_secs(3),
        window: Duration::from_secs(8),
        grace: Duration::from_secs(1),
        death: None,
    };
    let speeds = vec![1.5, 1.5, 1.0, 1.0, 1.0, 1.0, 0.75, 0.25];
    let unequal = Scenario {
        name: "unequal",
        title: "eight backends of unequal speed, one slow; the balancer does not know",
        speeds: speeds.clone(),
        loads: vec![0.2, 0.4, 0.6, 0.8, 0.9],
        ..equal.clone()
    };
    let weighted = Scenario {
        name: "weighted",
        title: "the same unequal backends, their speeds given as weights",
        speeds,
        weighted: true,
        loads: vec![0.8],
        ..equal.clone()
    };
    let death = Scenario {
        name: "death",
        title: "eight equal backends, one dies and is back later, without its calls",
        loads: vec![0.6],
        warm_up: Duration::from_secs(2),
        window: Duration::from_secs(12),
        grace: Duration::from_secs(4),
        death: Some(Death {
            backend: 3,
            at: Duration::from_secs(5),
            back: Duration::from_secs(10),
        }),
        ..equal.clone()
    };
    let all = vec![death, equal, unequal, weighted];
    if short { all.into_iter().map(shortened).collect() } else { all }
}

fn shortened(mut scenario: Scenario) -> Scenario {
    scenario.loads.truncate(1);
    scenario.warm_up = Duration::from_millis(500);
    scenario.window = Duration::from_millis(1500);
    if let Some(death) = &mut scenario.death {
        death.at = Duration::from_secs(1);
        death.back = Duration::from_millis(1500);
        scenario.grace = Duration::from_secs(1);
    }
    scenario
}

impl Scenario {
    /// What a backend serves by.
    pub(super) fn service(&self, backend: usize, seed: u64) -> Service {
        Service { speed: self.speeds[backend], seed, ..Service::of(INVITE, BYE) }
    }

    /// Calls per second that the cluster can serve, if the work is spread as its speeds are.
    pub(super) fn capacity(&self) -> f64 {
        (0..self.speeds.len()).map(|backend| self.service(backend, 0).calls_per_second()).sum()
    }

    /// The calls of one run: the same for every policy.
    pub(super) fn workload(&self, load: f64, seed: u64) -> Workload {
        Workload {
            rate: load * self.capacity(),
            length: self.warm_up + self.window,
            hold: Duration::from_secs(1),
            hold_variation: 0.8,
            rate_variation: 0.2,
            sources: 16,
            callees: 5000,
            callee_skew: 0.6,
            seed,
        }
    }

    /// The weight of a backend in the balancer's config.
    pub(super) fn weight(&self, backend: usize) -> u32 {
        if self.weighted { (self.speeds[backend] * 100.0).round() as u32 } else { 1 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_clusters_have_the_same_capacity_and_an_invite_costs_1_75_byes() {
        for scenario in all(false) {
            assert!((scenario.capacity() - 8.0 / 0.01375).abs() < 1e-6, "{}", scenario.name);
            assert_eq!(scenario.workload(0.5, 1).rate, scenario.capacity() / 2.0);
        }
        assert_eq!(INVITE.as_micros() * 100, BYE.as_micros() * 175);
    }

    #[test]
    fn deaths_are_within_the_run() {
        for scenario in all(false).into_iter().chain(all(true)) {
            let Some(death) = scenario.death else { continue };
            assert!(scenario.warm_up < death.at && death.at < death.back);
            assert!(death.back < scenario.warm_up + scenario.window);
            assert!(death.backend < scenario.speeds.len());
        }
    }
}
