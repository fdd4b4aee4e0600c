//! Round by round, everybody in turn, so that whatever else the machine does meets all alike.

use super::Options;
use super::bystander::{Bystander, Figure, Seen};
use super::machine::{Machine, cores};
use super::process::{Running, on_core};
use super::results::{Beside, Cores, Results, Runs, Spread, cpu, intruders};
use super::rivals::{LISTEN, Rival, all as all_rivals, backends};
use crate::load::Report;
use crate::load::processes::family;
use std::cell::Cell;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

/// Calls open at any time when as much as possible is asked for.
const SATURATED: &str = "--in-flight 128";
/// So often in a round, each time for that part of the length: the machine itself is slower by a tenth for ten
/// seconds and then fast again, and a ratio is one of runs that follow closely on each other.
const PASSES: u32 = 3;
/// Calls a second that ask little of anybody.
const LOW_RATE: f64 = 1500.0;
/// Datagrams that may be lost where the highest rate is looked for, in all.
const LOSS_MAX: f64 = 0.001;
/// Halvings of the way between nothing and a quarter more than what was reached.
const HALVINGS: u32 = 5;
const SEARCH_LENGTH: Duration = Duration::from_millis(1000);
const WARM_UP: Duration = Duration::from_millis(400);
/// So often a run is made until it is undisturbed, and so long all runs that are thrown away may take.
pub(super) const TRIES: u32 = 3;
pub(super) const THROWN_AWAY_MAX: Duration = Duration::from_secs(100);

pub(super) fn all(options: &Options) -> io::Result<Results> {
    let begin = Instant::now();
    let bench = Bench::open(options)?;
    let mut results = Results {
        command: options.command.clone(),
        loads: bench.loads(),
        machine: Machine::this(),
        cores: bench.cores,
        generator: Vec::new(),
        rivals: Vec::new(),
        absent: Vec::new(),
        took_s: 0.0,
    };
    let mut present = Vec::new();
    let wanted =
        |rival: &Rival| options.only.is_empty() || options.only.iter().any(|n| n == rival.name);
    for rival in all_rivals().into_iter().filter(wanted) {
        match rival.version(&options.balancer) {
            Ok(version) => {
                results.rivals.push(Runs {
                    name: rival.name.to_owned(),
                    title: rival.title.to_owned(),
                    version,
                    saturated: Vec::new(),
                    low: Vec::new(),
                    half: Vec::new(),
                    highest_rate: 0.0,
                    beside: Beside::default(),
                });
                present.push(rival);
            }
            Err(e) => {
                eprintln!("SKIPPED: {}: {e}", rival.name);
                results.absent.push(format!("{}: {e}", rival.title));
            }
        }
    }
    for round in 0..options.rounds as usize {
        let mut beside = Beside::default(); // told for those who are compared
        let alone = Load { pace: SATURATED, length: SEARCH_LENGTH, figure: Figure::Cpu };
        results.generator.push(bench.load(None, alone, &mut beside)?);
        for pass in 0..PASSES as usize {
            for place in in_turn(present.len(), round * PASSES as usize + pass) {
                let (rival, runs) = (&present[place], &mut results.rivals[place]);
                bench.saturate(rival, runs).map_err(|e| named(rival, &e))?;
            }
        }
        for place in in_turn(present.len(), round) {
            let (rival, runs) = (&present[place], &mut results.rivals[place]);
            bench.at_rates(rival, runs).map_err(|e| named(rival, &e))?;
            let last = round + 1 == options.rounds as usize;
            if last && !options.short {
                let highest = bench.highest_rate(rival, runs);
                runs.highest_rate = highest.map_err(|e| named(rival, &e))?;
            }
        }
    }
    results.took_s = begin.elapsed().as_secs_f64();
    Ok(results)
}

/// The places of so many, each step beginning with another one.
fn in_turn(count: usize, step: usize) -> impl Iterator<Item = usize> {
    (0..count).map(move |turn| (turn + step) % count)
}

fn named(rival: &Rival, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", rival.name))
}

/// A rival with its process.
struct AtWork<'a> {
    rival: &'a Rival,
    running: Option<Running>,
}

/// A load: what `load` is told of its pace, how long it is measured, and for what.
#[derive(Clone, Copy)]
struct Load<'a> {
    pace: &'a str,
    length: Duration,
    figure: Figure,
}

/// The two cores, and where files go.
struct Bench<'a> {
    options: &'a Options,
    cores: Cores,
    directory: PathBuf,
    /// What the runs took that were thrown away.
    thrown_away: Cell<Duration>,
}

impl<'a> Bench<'a> {
    fn open(options: &'a Options) -> io::Result<Self> {
        let directory =
            std::env::temp_dir().join(format!("sipring-compare-{}", std::process::id()));
        fs::create_dir_all(&directory)?;
        let cores = Cores { balancer: cores().saturating_sub(1), load: 0 };
        let thrown_away = Cell::default();
        Ok(Self { options, cores, directory, thrown_away })
    }

    /// What each load is, for the results.
    fn loads(&self) -> Vec<String> {
        vec![
            format!("saturated: {SATURATED}, {PASSES} times a round for a part of the length"),
            format!("low: --rate {LOW_RATE}"),
            "half: --rate of half of what was reached when saturated".to_owned(),
            format!("balancer on core {}, load on core {}", self.cores.balancer, self.cores.load),
        ]
    }

    fn start<'r>(&self, rival: &'r Rival) -> io::Result<AtWork<'r>> {
        let mut at_work = AtWork { rival, running: None };
        self.start_anew(&mut at_work)?;
        Ok(at_work)
    }

    fn start_anew(&self, at_work: &mut AtWork<'_>) -> io::Result<()> {
        at_work.running = None; // its address is free then
        let Options { balancer, .. } = self.options;
        let running = at_work.rival.start(balancer, self.cores.balancer, &self.directory)?;
        at_work.running.insert(running).wait_until_it_forwards()
    }

    /// A process of it, with as much as possible.
    fn saturate(&self, rival: &Rival, runs: &mut Runs) -> io::Result<()> {
        let mut at_work = self.start(rival)?;
        let length = self.options.length / PASSES;
        let load = Load { pace: SATURATED, length, figure: Figure::Cpu };
        let report = self.load(Some(&mut at_work), load, &mut runs.beside)?;
        eprintln!(
            "{:20} {:6.2} us a message, {:7.0} messages/s, {} lost",
            rival.name,
            cpu(&report),
            report.forwarded_per_s,
            report.lost.sum()
        );
        runs.saturated.push(report);
        Ok(())
    }

    /// Another one, at both rates, if neither is disturbed.
    fn at_rates(&self, rival: &Rival, runs: &mut Runs) -> io::Result<()> {
        let mut at_work = self.start(rival)?;
        let half = format!("--rate {:.0}", (reached(runs) / 2.0).max(1.0));
        let mut made = |pace: &str, figure| {
            let load = Load { pace, length: self.options.length, figure };
            self.load(Some(&mut at_work), load, &mut runs.beside)
        };
        runs.low.push(made(&format!("--rate {LOW_RATE}"), Figure::Cpu)?);
        runs.half.push(made(&half, Figure::Latency)?);
        Ok(())
    }

    /// The highest rate of calls at which it loses less than [`LOSS_MAX`], found by halving.
    fn highest_rate(&self, rival: &Rival, runs: &mut Runs) -> io::Result<f64> {
        let reached = reached(runs);
        if reached == 0.0 {
            return Ok(0.0);
        }
        let (mut at_work, beside) = (self.start(rival)?, &mut runs.beside);
        halve(reached * 1.25, |rate| {
            let pace = &format!("--rate {rate:.0}");
            let load = Load { pace, length: SEARCH_LENGTH, figure: Figure::Latency };
            let report = self.load(Some(&mut at_work), load, beside)?;
            let repeated = &report.repeated;
            let again = repeated.requests + repeated.byes + repeated.answers;
            // Whatever is repeated was lost once.
            let lost = (report.lost.sum() + again) as f64 / report.forwarded.max(1) as f64;
            Ok(lost < LOSS_MAX && report.completed_per_s > rate * 0.97)
        })
    }

    /// Runs `load` until it is undisturbed, within [`TRIES`] and [`THROWN_AWAY_MAX`]. Each further try is
    /// on a new process of the rival: what the one before has left in it (calls, dialogs, full memory)
    /// would be measured too.
    fn load(
        &self,
        mut at_work: Option<&mut AtWork<'_>>,
        load: Load<'_>,
        beside: &mut Beside,
    ) -> io::Result<Report> {
        let mut tries = 1;
        loop {
            let begin = Instant::now();
            let running = at_work.as_ref().and_then(|at_work| at_work.running.as_ref());
            let watched = running.map(Running::id);
            let (report, seen) = self.load_once(watched, load)?;
            let is_last = tries == TRIES || self.thrown_away.get() >= THROWN_AWAY_MAX;
            if !beside.rejects(seen, is_last) {
                return Ok(report);
            }
            eprintln!("once more: {seen}");
            if let Some(at_work) = &mut at_work {
                self.start_anew(at_work)?;
            }
            self.thrown_away.set(self.thrown_away.get() + begin.elapsed());
            tries += 1;
        }
    }

    /// Runs `load` in a process of its own, on the load's core, and looks on.
    fn load_once(&self, watched: Option<u32>, load: Load<'_>) -> io::Result<(Report, Seen)> {
        let Load { pace, length, figure } = load;
        let backends = backends().iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
        let mut command = on_core(self.cores.load, &std::env::current_exe()?);
        command.args(["load", "--backends", &backends]).args(pace.split(' '));
        command.args(["--seconds", &length.as_secs_f64().to_string()]);
        command.args(["--warm-up", &WARM_UP.as_secs_f64().to_string()]);
        if let Some(process) = watched {
            command.args(["--to", &LISTEN.to_string(), "--watch", &process.to_string()]);
        }
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let mut cores = vec![self.cores.load, self.cores.balancer];
        cores.dedup();
        let ours = watched.map(family).unwrap_or_default();
        let ours = ours.into_iter().chain([child.id()]).collect();
        let bystander = Bystander::watch(&cores, ours, figure);
        // Lost calls are a result: its exit status says nothing here.
        let output = child.wait_with_output()?;
        let mut seen = bystander.seen();
        let report: Report = serde_json::from_slice(&output.stdout).map_err(|_| {
            let said = String::from_utf8_lossy(&output.stderr);
            io::Error::other(format!("no result of the load; what it said:\n{said}"))
        })?;
        if figure == Figure::Cpu {
            seen.intruders = intruders(&report, self.cores.balancer);
        }
        Ok((report, seen))
    }
}

/// Calls a second that it completed when saturated, in this round.
fn reached(runs: &Runs) -> f64 {
    let of_round = runs.saturated.iter().rev().take(PASSES as usize);
    Spread::of(of_round.map(|report| report.completed_per_s)).map_or(0.0, |spread| spread.median)
}

/// The highest rate below `bad` that is good, by halving. What is found bad is tried once more: one
/// hiccup of the machine in one of a few short runs must not decide.
fn halve(mut bad: f64, mut is_good: impl FnMut(f64) -> io::Result<bool>) -> io::Result<f64> {
    let mut good = 0.0;
    for _ in 0..HALVINGS {
        let rate = (good + bad) / 2.0;
        if is_good(rate)? || is_good(rate)? { good = rate } else { bad = rate }
    }
    Ok(good)
}

impl Drop for Bench<'_> {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_has_a_turn_and_each_begins_once() {
        let turns: Vec<Vec<usize>> = (0..4).map(|step| in_turn(3, step).collect()).collect();
        assert_eq!(turns, [[0, 1, 2], [1, 2, 0], [2, 0, 1], [0, 1, 2]]);
        assert_eq!(in_turn(0, 5).count(), 0);
    }

    #[test]
    fn one_hiccup_does_not_lower_the_highest_rate_and_a_limit_is_found() {
        let mut runs = 0;
        let found = halve(32.0, |rate| {
            runs += 1;
            Ok(rate <= 20.0 && runs != 1)
        });
        // 16 (once bad, then good), 24 bad, 20 good, 22 bad, 21 bad.
        assert_eq!((found.unwrap(), runs), (20.0, 9));
        assert_eq!(halve(32.0, |_| Ok(false)).unwrap(), 0.0);
        assert!(halve(32.0, |_| Err(io::Error::other("gone"))).is_err());
    }
}
