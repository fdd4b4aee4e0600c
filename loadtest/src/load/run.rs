//! The loop and the clock: starts what is due, sends, waits, receives; measures between warm-up and
//! end, then lets what is open come to its end.

use super::answerer::Answerer;
use super::caller::Callers;
use super::options::{Options, Pace};
use super::outbox::Outbox;
use super::processes::{self, Usage};
use super::progress::Progress;
use super::report::{BackendCounts, Cost, LatencyReport, Lost, Repeated, Report};
use super::udp::Sockets;
use crate::evaluate::chart::{Chart, Line};
use sipring_loadtest::random::Random;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, Instant};

/// After the last BYE is due: time for two retransmissions with the usual T1.
const DRAIN: Duration = Duration::from_secs(2);
/// A start that is so much behind its time is told.
const LATE_NS: u64 = 1_000_000;
/// The longest wait: the clock is looked at so often.
const NAP_NS: u64 = 10_000_000;
/// Starts of one turn at most, so that answers are not kept waiting.
const STARTS_MAX: usize = 256;

/// Makes the calls, and says what came of them.
pub(crate) fn run(options: &Options) -> io::Result<Report> {
    let mut run = Run::open(options)?;
    let plot = options.plot.as_deref().map(create).transpose()?;
    let warm_up = options.warm_up.as_nanos() as u64;
    let whole = warm_up + options.length.as_nanos() as u64;
    let mut progress = Progress::new(whole);
    run.until(warm_up, true, &mut progress)?;
    run.callers.is_measuring = true;
    let before = run.snapshot();
    run.until(whole, true, &mut progress)?;
    let after = run.snapshot();
    run.callers.is_measuring = false;
    let last = whole + (options.hold + DRAIN).as_nanos() as u64;
    run.until(last, false, &mut progress)?;
    progress.end();
    run.callers.close();
    if let Some(mut plot) = plot {
        plot.write_all(run.chart().svg().as_bytes())?;
    }
    Ok(run.report(&before, &after))
}

struct Run<'a> {
    options: &'a Options,
    sockets: Sockets,
    callers: Callers,
    backends: Vec<Answerer>,
    outbox: Outbox,
    begin: Instant,
    random: Random,
    /// When the next start is due, at a rate; nanoseconds.
    next_start: f64,
    late_starts: u64,
    /// Waits of the loop.
    turns: u64,
    watched: Vec<u32>,
}

/// What everything stands at.
struct Snapshot {
    at: Instant,
    ended_well: u64,
    arrived: u64,
    turns: u64,
    generator: Usage,
    balancer: Usage,
    softirq: Usage,
    idle_s: Vec<(usize, f64)>,
}

impl Snapshot {
    /// How busy each processor was from this moment to `later`.
    fn busy_until(&self, later: &Self) -> BTreeMap<usize, f64> {
        let seconds = (later.at - self.at).as_secs_f64();
        let both = self.idle_s.iter().zip(&later.idle_s);
        // Idle time is told in hundredths of a second: it may seem longer than the time.
        both.map(|(then, now)| (now.0, (1.0 - (now.1 - then.1) / seconds).max(0.0))).collect()
    }
}

impl<'a> Run<'a> {
    fn open(options: &'a Options) -> io::Result<Self> {
        let sockets = Sockets::open(options)?;
        let domain = options.to.unwrap_or(options.backends[0]);
        let callers = Callers::new(options, domain, &sockets.sources()?);
        let backend = |(place, &at)| Answerer::new(place, at, options.t1, options.seed);
        Ok(Self {
            sockets,
            callers,
            backends: options.backends.iter().enumerate().map(backend).collect(),
            outbox: Outbox::default(),
            begin: Instant::now(),
            random: Random::new(options.seed, u64::MAX),
            next_start: 0.0,
            late_starts: 0,
            turns: 0,
            watched: options.watch.map(watched).transpose()?.unwrap_or_default(),
            options,
        })
    }

    /// Turns until `end`, or, once nothing is started any more, until nothing is open.
    fn until(&mut self, end: u64, starts: bool, progress: &mut Progress) -> io::Result<()> {
        loop {
            let now = self.now();
            if now >= end || (!starts && self.callers.open() == 0) {
                return Ok(());
            }
            if starts {
                self.start(now);
            }
            self.callers.wake(now);
            self.sockets.send_callers(&mut self.callers);
            let patience = self.patience(starts, end);
            self.sockets.wait(Duration::from_nanos(patience))?;
            self.turns += 1;
            let now = self.now();
            self.sockets.serve(now, &mut self.backends, &mut self.outbox);
            self.sockets.listen(now, &mut self.callers);
            progress.show(now, self.callers.counts.ended_well, self.callers.open());
        }
    }

    fn start(&mut self, now: u64) {
        match self.options.pace {
            Pace::Closed { in_flight } => {
                while self.callers.open() < in_flight as usize {
                    let kind = self.options.mix.kind(self.random.bits());
                    if !self.callers.start(now, now, kind) {
                        break;
                    }
                }
            }
            Pace::Open { rate } => {
                for _ in 0..STARTS_MAX {
                    let due = self.next_start as u64;
                    if due > now {
                        break;
                    }
                    self.late_starts += u64::from(now - due > LATE_NS);
                    let kind = self.options.mix.kind(self.random.bits());
                    self.callers.start(now, due, kind);
                    self.next_start += self.random.exponential() * 1e9 / rate;
                }
            }
        }
    }

    /// How long there is nothing to do by itself.
    fn patience(&self, starts: bool, end: u64) -> u64 {
        let now = self.now();
        let mut next = end.min(now + NAP_NS);
        if starts && matches!(self.options.pace, Pace::Open { .. }) {
            next = next.min(self.next_start as u64);
        }
        let wakes = self.backends.iter().filter_map(Answerer::next_wake);
        let wake = wakes.chain(self.callers.next_wake()).min();
        wake.map_or(next, |wake| next.min(wake)).saturating_sub(now)
    }

    fn snapshot(&self) -> Snapshot {
        let backends: u64 = self.backends.iter().map(|backend| backend.counts.received).sum();
        Snapshot {
            at: Instant::now(),
            ended_well: self.callers.counts.ended_well,
            arrived: self.callers.counts.received + backends,
            turns: self.turns,
            generator: Usage::of(&[std::process::id()]),
            balancer: Usage::of(&self.watched),
            softirq: Usage::of(&processes::softirq_threads()),
            idle_s: processes::idle_s(),
        }
    }

    fn report(&self, before: &Snapshot, after: &Snapshot) -> Report {
        let seconds = (after.at - before.at).as_secs_f64();
        let forwarded = after.arrived - before.arrived;
        let cost = |later: &Usage, earlier| Cost::of(&later.since(earlier), seconds, forwarded);
        let generator = cost(&after.generator, &before.generator);
        // One that has ended meanwhile would have cost nothing.
        let watched = self.options.watch.filter(|process| processes::exists(*process));
        let balancer = watched.map(|_| cost(&after.balancer, &before.balancer));
        let cores = generator.cores + balancer.map_or(0.0, |balancer| balancer.cores);
        let processors_busy = before.busy_until(after);
        let counts = &self.callers.counts;
        let sum = |count: fn(&BackendCounts) -> u64| -> u64 {
            self.backends.iter().map(|backend| count(&backend.counts)).sum()
        };
        let unacknowledged = self.backends.iter().map(Answerer::unacknowledged).sum();
        let lost = Lost {
            not_started: counts.not_started,
            never_acknowledged: unacknowledged,
            ..counts.lost.clone()
        };
        Report {
            command: self.options.command.clone(),
            seconds,
            started: counts.started,
            completed: counts.completed,
            completed_per_s: (after.ended_well - before.ended_well) as f64 / seconds,
            forwarded,
            forwarded_per_s: forwarded as f64 / seconds,
            lost_share: lost.sum() as f64 / (counts.started + lost.not_started).max(1) as f64,
            lost,
            wrong_backend: sum(|counts| counts.wrong_backend),
            repeated: Repeated {
                requests: counts.requests_repeated,
                byes: counts.byes_repeated,
                answers: sum(|counts| counts.answers_repeated),
                seen_by_backends: sum(|counts| counts.requests_repeated),
            },
            strays: counts.strays,
            late_answers: counts.late_answers,
            garbage: counts.garbage + sum(|counts| counts.garbage),
            unsent: self.sockets.unsent,
            late_starts: self.late_starts,
            counts_from_due_time: matches!(self.options.pace, Pace::Open { .. }),
            latency_us: LatencyReport {
                first_response: self.callers.latencies.first_response.quantiles(),
                answer: self.callers.latencies.answer.quantiles(),
                bye: self.callers.latencies.bye.quantiles(),
                other: self.callers.latencies.other.quantiles(),
            },
            others_busy: (processors_busy.values().sum::<f64>() - cores).max(0.0),
            softirq_busy: after.softirq.since(&before.softirq).cpu.as_secs_f64() / seconds,
            processors_busy,
            messages_a_turn: forwarded as f64 / (after.turns - before.turns).max(1) as f64,
            generator,
            balancer,
        }
    }

    fn chart(&self) -> Chart {
        let line = |name: &str, points| Line { name: name.to_owned(), points };
        let latencies = &self.callers.latencies;
        Chart {
            title: "Latency".to_owned(),
            x_label: "nines: 1 is 90 % of all, 2 is 99 %, 3 is 99.9 %".to_owned(),
            y_label: "at most so many milliseconds".to_owned(),
            logarithmic: true,
            lines: [
                line("INVITE to first answer", latencies.first_response.curve()),
                line("INVITE to 200", latencies.answer.curve()),
                line("BYE to 200", latencies.bye.curve()),
                line("other requests", latencies.other.curve()),
            ]
            .into_iter()
            .filter(|line| !line.points.is_empty())
            .collect(),
            events: Vec::new(),
        }
    }

    fn now(&self) -> u64 {
        self.begin.elapsed().as_nanos() as u64
    }
}

/// The process and its descendants.
fn watched(process: u32) -> io::Result<Vec<u32>> {
    if !processes::exists(process) {
        let text = format!("--watch {process}: there is no such process");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    Ok(processes::family(process))
}

/// Before the run: what it has seen is not lost for want of a place to draw it.
fn create(plot: &Path) -> io::Result<File> {
    File::create(plot).map_err(|e| {
        io::Error::new(io::ErrorKind::InvalidInput, format!("{}: {e}", plot.display()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_processor_was_busy_when_it_was_not_idle() {
        let at = Instant::now();
        let snapshot = |after: u64, idle_s| Snapshot {
            at: at + Duration::from_secs(after),
            ended_well: 0,
            arrived: 0,
            turns: 0,
            generator: Usage::default(),
            balancer: Usage::default(),
            softirq: Usage::default(),
            idle_s,
        };
        let before = snapshot(0, vec![(0, 10.0), (3, 20.0), (7, 5.0)]);
        let later = snapshot(2, vec![(0, 10.5), (3, 20.0), (7, 7.01)]);
        // The last one was idle for a hundredth of a second longer than there was time.
        assert_eq!(before.busy_until(&later), BTreeMap::from([(0, 0.75), (3, 1.0), (7, 0.0)]));
    }
}
