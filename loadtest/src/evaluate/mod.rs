//! `evaluate`: what each policy of a balancer buys. The same calls go through the balancer under
//! each policy, to the same backends; times and throughput stand side by side at the end.

mod balancer;
pub(crate) mod chart;
mod contender;
mod draw;
mod lane;
mod measures;
mod options;
mod results;
mod scenario;
mod table;

pub(crate) use options::Options;

use contender::Contender;
use lane::{Job, Lane};
use results::{Results, Round};
use scenario::Scenario;
use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Instant;

/// Runs everything, or reads the results of a run, and writes tables and charts. A line for each
/// run goes to standard error.
pub(crate) fn evaluate(options: &Options) -> io::Result<()> {
    std::fs::create_dir_all(&options.out)?;
    let file = options.out.join("results.json");
    let results = if options.redraw {
        serde_json::from_slice(&std::fs::read(&file)?)?
    } else {
        let mut results = measure(options)?;
        if options.add {
            results.add(serde_json::from_slice(&std::fs::read(&file)?)?);
        }
        std::fs::write(&file, serde_json::to_vec(&results)?)?;
        results
    };
    std::fs::write(options.out.join("tables.md"), table::all(&results))?;
    for (name, chart) in draw::all(&results) {
        std::fs::write(options.out.join(name), chart.svg())?;
    }
    Ok(())
}

fn measure(options: &Options) -> io::Result<Results> {
    let begin = Instant::now();
    let (contenders, refused) = contenders(options)?;
    let scenarios = scenario::all(options.short);
    let jobs = Mutex::new(jobs(options, &scenarios, &contenders));
    let in_all = lock(&jobs).len();
    let rounds = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        let lanes: Vec<_> = (0..options.lanes)
            .map(|number| {
                let (jobs, rounds) = (&jobs, &rounds);
                scope.spawn(move || {
                    let ended = follow(options, number, jobs, |round| {
                        let mut rounds = lock(rounds);
                        rounds.push(round);
                        tell(&rounds, in_all);
                    });
                    // With one lane broken there is no result: the others need not go on.
                    ended.inspect_err(|_| lock(jobs).clear())
                })
            })
            .collect();
        lanes.into_iter().try_for_each(|lane| {
            lane.join().unwrap_or_else(|_| Err(io::Error::other("a lane has panicked")))
        })
    })?;
    let rounds = rounds.into_inner().unwrap_or_else(PoisonError::into_inner);
    let order: Vec<&str> = contenders.iter().map(|contender| contender.name).collect();
    Ok(Results::of(options, &scenarios, &order, refused, rounds, begin.elapsed()))
}

/// One lane: job after job, until none is left.
fn follow(
    options: &Options,
    number: u8,
    jobs: &Mutex<VecDeque<Job>>,
    mut done: impl FnMut(Round),
) -> io::Result<()> {
    let lane = Lane::open(number, &options.balancer)?;
    loop {
        let Some(job) = lock(jobs).pop_front() else { return Ok(()) };
        done(lane.run(&job)?);
    }
}

/// The policies that this balancer has, and the names of those that it refuses.
fn contenders(options: &Options) -> io::Result<(Vec<Contender>, Vec<String>)> {
    let lane = Lane::open(0, &options.balancer)?;
    let (mut known, mut refused) = (Vec::new(), Vec::new());
    for contender in contender::all().into_iter().filter(|c| options.wants(c.name)) {
        match lane.check(&contender)? {
            None => known.push(contender),
            Some(reason) => {
                eprintln!("SKIPPED: {}: the balancer refuses it:\n{reason}", contender.name);
                refused.push(contender.name.to_owned());
            }
        }
    }
    if known.is_empty() {
        return Err(io::Error::other("no policy is left to compare"));
    }
    Ok((known, refused))
}

/// Round by round, so that whatever else the machine does meets all policies alike; within a
/// round, all policies meet a load one after the other.
fn jobs(options: &Options, scenarios: &[Scenario], contenders: &[Contender]) -> VecDeque<Job> {
    let mut jobs = VecDeque::new();
    for round in 0..options.rounds {
        for scenario in scenarios {
            for &load in &scenario.loads {
                let first = round as usize % contenders.len();
                for contender in contenders[first..].iter().chain(&contenders[..first]) {
                    jobs.push_back(Job {
                        scenario: scenario.clone(),
                        contender: contender.clone(),
                        load,
                        round,
                        seed: options.seed,
                    });
                }
            }
        }
    }
    jobs
}

fn tell(rounds: &[Round], in_all: usize) {
    let Some(round) = rounds.last() else { return };
    eprintln!(
        "{:4}/{in_all}  {} {:3.0} %  {:26} answered in {:8.1} ms, {:6.1} calls/s done, {} failed",
        rounds.len(),
        round.scenario,
        round.load * 100.0,
        round.policy,
        round.measures.response_mean_ms,
        round.measures.completed_per_s,
        round.measures.failed,
    );
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the kernel tells of the machine, for the results.
fn first_line(path: &Path, begins: &str) -> String {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with(begins)).unwrap_or("unknown");
    line.rsplit_once(": ").map_or(line, |(_, value)| value).to_owned()
}
