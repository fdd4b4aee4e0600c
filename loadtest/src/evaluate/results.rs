//! The results file: what was run, where, and the figures of every run.

use super::measures::{Bin, Measures, Sorted};
use super::options::Options;
use super::scenario::Scenario;
use super::{balancer, contender, first_line};
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::time::Duration;

/// Everything that was measured.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Results {
    pub(super) machine: Machine,
    /// The command line.
    pub(super) command: String,
    /// The balancer, as it names itself.
    pub(super) balancer: String,
    pub(super) seconds: f64,
    pub(super) seed: u64,
    pub(super) rounds: u32,
    pub(super) lanes: u8,
    /// In the order of tables and charts.
    pub(super) policies: Vec<String>,
    /// The balancer did not know these.
    pub(super) refused: Vec<String>,
    pub(super) clusters: Vec<Cluster>,
    pub(super) runs: Vec<Round>,
}

/// Where it was measured.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Machine {
    pub(super) processor: String,
    pub(super) cores: usize,
    pub(super) kernel: String,
}

/// What was put through what.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Cluster {
    pub(super) name: String,
    pub(super) title: String,
    pub(super) speeds: Vec<f64>,
    pub(super) weighted: bool,
    /// Calls per second that it can serve.
    pub(super) capacity: f64,
    pub(super) loads: Vec<f64>,
    /// When one of its backends died and was back, in seconds.
    pub(super) death: Option<(f64, f64)>,
}

/// One run.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Round {
    pub(super) scenario: String,
    pub(super) policy: String,
    /// Offered, of the capacity.
    pub(super) load: f64,
    pub(super) round: u32,
    pub(super) measures: Measures,
    /// Of runs in which a backend died.
    pub(super) series: Vec<Bin>,
}

impl Results {
    pub(super) fn of(
        options: &Options,
        scenarios: &[Scenario],
        policies: &[&str],
        refused: Vec<String>,
        runs: Vec<Round>,
        took: Duration,
    ) -> Self {
        let mut results = Self {
            machine: Machine {
                processor: first_line(Path::new("/proc/cpuinfo"), "model name"),
                cores: std::thread::available_parallelism().map_or(0, usize::from),
                kernel: first_line(Path::new("/proc/sys/kernel/osrelease"), ""),
            },
            command: options.command.clone(),
            balancer: balancer::version(&options.balancer),
            seconds: took.as_secs_f64(),
            seed: options.seed,
            rounds: options.rounds,
            lanes: options.lanes,
            policies: policies.iter().map(|&policy| policy.to_owned()).collect(),
            refused,
            clusters: scenarios.iter().map(Cluster::of).collect(),
            runs,
        };
        results.sort();
        results
    }

    /// Takes over what an earlier run says of policies that this one did not measure.
    pub(super) fn add(&mut self, earlier: Self) {
        let measured = self.policies.clone();
        let is_new = |policy: &String| !measured.contains(policy);
        self.policies.extend(earlier.policies.into_iter().filter(is_new));
        self.policies.sort_by_key(|policy| contender::place(policy));
        self.refused.extend(earlier.refused);
        self.refused.retain(|policy| !self.policies.contains(policy));
        self.refused.sort_by_key(|policy| contender::place(policy));
        self.refused.dedup();
        self.runs.extend(earlier.runs.into_iter().filter(|run| is_new(&run.policy)));
        self.command = format!("{}; {}", earlier.command, self.command);
        self.seconds += earlier.seconds;
        self.sort();
    }

    /// By cluster, policy, load and round.
    fn sort(&mut self) {
        self.runs.sort_by(|a, b| {
            let key = |run: &Round| (run.scenario.clone(), contender::place(&run.policy));
            key(a).cmp(&key(b)).then(a.load.total_cmp(&b.load)).then(a.round.cmp(&b.round))
        });
    }

    /// The middle of the rounds of one policy at one load, and the lowest and highest; `None`
    /// without a run.
    pub(super) fn figure(
        &self,
        cluster: &Cluster,
        policy: &str,
        load: f64,
        figure: fn(&Measures) -> f64,
    ) -> Option<Figure> {
        let runs = self
            .runs
            .iter()
            .filter(|run| run.scenario == cluster.name && run.policy == policy && run.load == load);
        let sorted = Sorted::of(runs.map(|run| figure(&run.measures)));
        (!sorted.is_empty()).then(|| Figure {
            median: sorted.quantile(0.5),
            low: sorted.quantile(0.0),
            high: sorted.quantile(1.0),
        })
    }

    /// Time and the middle of the rounds, bin by bin, of one policy.
    pub(super) fn series(
        &self,
        cluster: &Cluster,
        policy: &str,
        figure: fn(&Bin) -> f64,
    ) -> Vec<(f64, f64)> {
        let runs: Vec<&Round> = self
            .runs
            .iter()
            .filter(|run| run.scenario == cluster.name && run.policy == policy)
            .collect();
        let bins = runs.iter().map(|run| run.series.len()).min().unwrap_or(0);
        let middle = |bin: usize| {
            let values = Sorted::of(runs.iter().map(|run| figure(&run.series[bin])));
            (runs[0].series[bin].at_s, values.quantile(0.5))
        };
        (0..bins).map(middle).collect()
    }
}

impl Cluster {
    pub(super) fn of(scenario: &Scenario) -> Self {
        let seconds =
            |death: super::scenario::Death| (death.at.as_secs_f64(), death.back.as_secs_f64());
        Self {
            name: scenario.name.to_owned(),
            title: scenario.title.to_owned(),
            speeds: scenario.speeds.clone(),
            weighted: scenario.weighted,
            capacity: scenario.capacity(),
            loads: scenario.loads.clone(),
            death: scenario.death.map(seconds),
        }
    }
}

/// One figure of several rounds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Figure {
    pub(super) median: f64,
    pub(super) low: f64,
    pub(super) high: f64,
}
