//! One run: backends, a balancer and callers on addresses of their own, and what was seen.
//! Several lanes run side by side: nobody computes much here, everybody waits for timers.

use super::balancer::{self, Balancer, Network};
use super::contender::Contender;
use super::measures::{Seen, Share};
use super::results::Round;
use super::scenario::{self, Scenario};
use sipring_loadtest::{Backend, BackendOptions, Caller, CallerOptions, PlannedCall};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The first network of a lane.
const FIRST_NETWORK: u8 = 70;

/// What is to be run.
#[derive(Clone, Debug)]
pub(super) struct Job {
    pub(super) scenario: Scenario,
    pub(super) contender: Contender,
    pub(super) load: f64,
    pub(super) round: u32,
    pub(super) seed: u64,
}

impl Job {
    /// Of calls and service times: the same for every policy, and for every load the same ups and
    /// downs of the rate.
    fn seed(&self) -> u64 {
        self.seed * 1000 + u64::from(self.round)
    }
}

/// A place for one run at a time.
#[derive(Debug)]
pub(super) struct Lane {
    network: Network,
    binary: PathBuf,
    directory: PathBuf,
}

impl Lane {
    pub(super) fn open(number: u8, binary: &Path) -> io::Result<Self> {
        let name = format!("sipring-evaluate-{}-{number}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&directory)?;
        let network = Network(FIRST_NETWORK + number);
        Ok(Self { network, binary: binary.to_owned(), directory })
    }

    /// What the balancer says against this policy, if anything.
    pub(super) fn check(&self, contender: &Contender) -> io::Result<Option<String>> {
        let config = self.write_config(contender, &scenario::all(true)[0])?;
        balancer::check(&self.binary, &config)
    }

    pub(super) fn run(&self, job: &Job) -> io::Result<Round> {
        let scenario = &job.scenario;
        let mut backends: Vec<_> = (0..scenario.speeds.len())
            .map(|number| self.backend(job, number).map(Some))
            .collect::<io::Result<_>>()?;
        let config = self.write_config(&job.contender, scenario)?;
        let _balancer = Balancer::start(&self.binary, &config, self.network)?;
        let begin = Instant::now();
        let callers = self.callers(job)?;

        sleep_until(begin + scenario.warm_up);
        let before = shares(&backends);
        if let Some(death) = scenario.death {
            sleep_until(begin + death.at);
            backends[death.backend] = None;
            sleep_until(begin + death.back);
            backends[death.backend] = Some(self.backend(job, death.backend)?);
        }
        sleep_until(begin + scenario.warm_up + scenario.window);
        let after = shares(&backends);
        sleep_until(begin + scenario.warm_up + scenario.window + scenario.grace);
        let end_ns = begin.elapsed().as_nanos() as u64;
        let seen = Seen {
            calls: callers.iter().flat_map(Caller::records).collect(),
            shares: before
                .into_iter()
                .zip(after)
                .map(|(before, after)| after.since(before))
                .collect(),
            speeds: scenario.speeds.clone(),
            late_starts: callers.iter().map(|c| c.report().late_starts.value()).sum(),
            from_ns: scenario.warm_up.as_nanos() as u64,
            until_ns: (scenario.warm_up + scenario.window).as_nanos() as u64,
            end_ns,
        };
        Ok(Round {
            scenario: scenario.name.to_owned(),
            policy: job.contender.name.to_owned(),
            load: job.load,
            round: job.round,
            measures: seen.measures(),
            series: scenario.death.map(|_| seen.series()).unwrap_or_default(),
        })
    }

    fn backend(&self, job: &Job, number: usize) -> io::Result<Backend> {
        let address = self.network.backend(number);
        Backend::start(BackendOptions {
            service: Some(job.scenario.service(number, job.seed())),
            ..BackendOptions::named(&format!("b{}", number + 1), address)
        })
    }

    fn callers(&self, job: &Job) -> io::Result<Vec<Caller>> {
        let workload = job.scenario.workload(job.load, job.seed());
        let calls = workload.calls();
        let caller = |source: usize| {
            let own = calls.iter().filter(|call| call.source == source).copied();
            Caller::start(CallerOptions {
                plan: Some(own.collect::<Arc<[PlannedCall]>>()),
                bind: Some(self.network.caller(source)),
                seed: job.seed() * 100 + source as u64,
                ..CallerOptions::to(self.network.listener())
            })
        };
        (0..workload.sources).map(caller).collect()
    }

    fn write_config(&self, contender: &Contender, scenario: &Scenario) -> io::Result<PathBuf> {
        let path = self.directory.join("sipring.toml");
        std::fs::write(&path, balancer::config(self.network, contender, scenario))?;
        Ok(path)
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// What each backend has done so far; nothing while it is dead.
fn shares(backends: &[Option<Backend>]) -> Vec<Share> {
    let share = |backend: &Option<Backend>| match backend {
        Some(backend) => Share {
            worked_ns: backend.report().worked_ns.value(),
            calls: backend.report().new_calls.value(),
        },
        None => Share::default(),
    };
    backends.iter().map(share).collect()
}

fn sleep_until(when: Instant) {
    std::thread::sleep(when.saturating_duration_since(Instant::now()).max(Duration::ZERO));
}
