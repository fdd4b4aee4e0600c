//! Whether the machine belonged to those who were measured.
//!
//! What keeps a balancer from its core for 50 ms is in the latencies of more than one call in a hundred
//! of a run of three seconds, whoever it was: another process, or the host of a virtual machine. So
//! beside each run stands somebody who looks on. Two things he can tell:
//! - a thread on a core that sleeps 2 ms at a time and goes before all others, and yet wakes late:
//!   then the core itself has stood still;
//! - ten times a second, how busy the cores were beyond what the processes of the run took. Who counts
//!   that reads of all their threads, dozens for some and one for others: so he does it on the load's
//!   core, not on the one that is measured, and goes before nobody.
//!
//! Where CPU is the figure nobody wakes on the balancer's core. Whoever does is charged not from when he
//! gets the core but from when he was woken (the kernel does not read the clock again, see
//! `wakeup_preempt`), and in between the balancer goes on in its system call: in a turn of a ring, or in
//! one `sendto`. So a thread that did nothing hid a seventh of what sipring took, and nothing of what
//! Kamailio took (`results/2026-11-profile.md`). Whether somebody else did so is told by the core: it was
//! busy longer than the balancer ran.
//!
//! What could not be seen is told as without bound ([`f64::INFINITY`]), never as quiet.

use crate::kernel::{run_first, stay_on};
use crate::load::processes::{Usage, idle_s, thread_cpu};
use serde::{Deserialize, Deserializer, Serialize};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const NAP: Duration = Duration::from_millis(2);
const WINDOW: Duration = Duration::from_millis(100);

/// A core that stood still longer has disturbed the run, milliseconds.
pub(super) const STOP_MAX_MS: f64 = 10.0;
/// Others who took more of the cores than this for [`WINDOW`] have disturbed the run, cores. (Idle
/// time is told in hundredths of a second: 0.1 of a core in such a window.)
pub(super) const OTHERS_MAX: f64 = 0.5;
/// Where CPU is the figure: others who were charged with more of the balancer's core than this have
/// disturbed the run, cores. (Interrupts, and the ways into idleness and out of it, are 0.02 to 0.04.)
pub(super) const INTRUDERS_MAX: f64 = 0.06;

/// Whose core a sleeper may wake on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Figure {
    /// CPU per message: nobody wakes on the balancer's core.
    Cpu,
    /// Latencies and losses: nobody minds.
    Latency,
}

/// What was seen beside a run.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Serialize)]
pub(super) struct Seen {
    /// The longest time that a core stood still, milliseconds; infinite: not seen.
    #[serde(deserialize_with = "or_infinite")]
    pub(super) stopped_ms: f64,
    /// What others took of the cores in their loudest tenth of a second, cores; infinite: not seen.
    #[serde(deserialize_with = "or_infinite")]
    pub(super) others: f64,
    /// What it took of the load's core to count that, 0.0 to 1.0.
    #[serde(default)]
    pub(super) counting: f64,
    /// What others were charged with of the balancer's core where CPU is the figure, cores; else 0.
    #[serde(default)]
    pub(super) intruders: f64,
}

/// JSON has no infinity: it is written as null.
fn or_infinite<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or(f64::INFINITY))
}

impl Seen {
    /// Nothing but chance was different from the other runs.
    pub(super) fn is_undisturbed(&self) -> bool {
        self.stopped_ms <= STOP_MAX_MS
            && self.others <= OTHERS_MAX
            && self.intruders <= INTRUDERS_MAX
    }

    /// The worse of both, each by itself.
    pub(super) fn max(self, other: Self) -> Self {
        Self {
            stopped_ms: self.stopped_ms.max(other.stopped_ms),
            others: self.others.max(other.others),
            counting: self.counting.max(other.counting),
            intruders: self.intruders.max(other.intruders),
        }
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (stopped_ms, others) = (figure(self.stopped_ms, 1), figure(self.others, 2));
        let intruders = figure(self.intruders, 2);
        write!(
            f,
            "a core stood still for, ms: {stopped_ms}; others took up to, cores: {others}; of the \
             balancer's core: {intruders}"
        )
    }
}

/// In words: with so many digits behind the point, or that it was not seen.
pub(super) fn figure(seen: f64, digits: usize) -> String {
    if seen.is_finite() { format!("{seen:.digits$}") } else { "not seen".to_owned() }
}

/// Somebody who looks on until he is asked what he has seen.
pub(super) struct Bystander {
    ended: Arc<AtomicBool>,
    sleepers: Vec<JoinHandle<f64>>,
    counter: JoinHandle<(f64, f64)>,
}

impl Bystander {
    /// Looks at these cores, the load's first, on which these processes are measured for this figure.
    pub(super) fn watch(cores: &[usize], mut processes: Vec<u32>, for_figure: Figure) -> Self {
        let ended = Arc::new(AtomicBool::new(false));
        let sleeper = |&core: &usize| {
            let ended = Arc::clone(&ended);
            std::thread::spawn(move || longest_stop_ms(core, &ended))
        };
        let slept_on = match for_figure {
            Figure::Cpu => &cores[..1],
            Figure::Latency => cores,
        };
        let sleepers = slept_on.iter().map(sleeper).collect();
        processes.push(std::process::id());
        let (of, until) = (cores.to_vec(), Arc::clone(&ended));
        let counter = std::thread::spawn(move || loudest(&of, &processes, &until));
        Self { ended, sleepers, counter }
    }

    /// Ends it. A thread that has panicked has seen nothing.
    pub(super) fn seen(self) -> Seen {
        self.ended.store(true, Ordering::Relaxed);
        let said = |thread: JoinHandle<f64>| thread.join().unwrap_or(f64::INFINITY);
        let stopped_ms = self.sleepers.into_iter().map(said).fold(0.0, f64::max);
        let (others, counting) = self.counter.join().unwrap_or((f64::INFINITY, 0.0));
        Seen { stopped_ms, others, counting, intruders: 0.0 }
    }
}

fn longest_stop_ms(core: usize, ended: &AtomicBool) -> f64 {
    if stay_on(core).is_err() {
        return f64::INFINITY; // no core to look at
    }
    // Not root: then it stands behind those who are measured, for some milliseconds at most.
    let _ = run_first();
    let mut longest = Duration::ZERO;
    while !ended.load(Ordering::Relaxed) {
        let before = Instant::now();
        std::thread::sleep(NAP);
        longest = longest.max(before.elapsed().saturating_sub(NAP));
    }
    longest.as_secs_f64() * 1000.0
}

/// What others took in their loudest window, and what it took of the first core to count that.
fn loudest(cores: &[usize], ours: &[u32], ended: &AtomicBool) -> (f64, f64) {
    if cores.first().is_none_or(|&first| stay_on(first).is_err()) {
        return (f64::INFINITY, 0.0); // anywhere else it would disturb what is measured
    }
    let begin = Instant::now();
    let mut windows = Vec::new();
    let mut before = Window::now(cores, ours);
    loop {
        std::thread::sleep(WINDOW);
        if ended.load(Ordering::Relaxed) {
            break;
        }
        let now = Window::now(cores, ours);
        windows.push(now.others_since(&before));
        before = now;
    }
    (loudest_of(&windows), thread_cpu().as_secs_f64() / begin.elapsed().as_secs_f64())
}

/// Infinite where one was not seen, or none at all. In the last one the load itself may have ended,
/// and its time with it.
fn loudest_of(windows: &[Option<f64>]) -> f64 {
    let seen = match windows {
        [before @ .., None] => before,
        all => all,
    };
    let loudest = |loudest: Option<f64>, window: &Option<f64>| {
        Some(f64::max(loudest.unwrap_or(0.0), window.unwrap_or(f64::INFINITY)))
    };
    seen.iter().fold(None, loudest).unwrap_or(f64::INFINITY)
}

struct Window {
    at: Instant,
    /// Of each core.
    idle_s: Vec<f64>,
    ours_s: f64,
}

impl Window {
    fn now(cores: &[usize], ours: &[u32]) -> Self {
        let at = Instant::now();
        let idle = idle_s().into_iter().filter(|(core, _)| cores.contains(core));
        Self {
            at,
            idle_s: idle.map(|(_, idle)| idle).collect(),
            ours_s: Usage::of(ours).cpu.as_secs_f64(),
        }
    }

    /// Cores that were neither idle nor ours since `before`. None: nobody can say, for a process has
    /// ended and taken what it had used with it, or the idle times could not be read.
    fn others_since(&self, before: &Self) -> Option<f64> {
        let seconds = (self.at - before.at).as_secs_f64();
        let idle: f64 = self.idle_s.iter().zip(&before.idle_s).map(|(now, then)| now - then).sum();
        let ours = self.ours_s - before.ours_s;
        if ours < 0.0 || self.idle_s.is_empty() || self.idle_s.len() != before.idle_s.len() {
            return None;
        }
        Some((self.idle_s.len() as f64 - (idle + ours) / seconds).max(0.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_undisturbed_up_to_all_limits() {
        let seen = |stopped_ms, others| Seen { stopped_ms, others, counting: 0.01, intruders: 0.0 };
        assert!(seen(STOP_MAX_MS, OTHERS_MAX).is_undisturbed());
        let with = |intruders| Seen { intruders, ..seen(0.0, 0.0) };
        assert!(with(INTRUDERS_MAX).is_undisturbed());
        assert!(!with(INTRUDERS_MAX + 0.01).is_undisturbed());
        assert_eq!(with(0.1).max(with(0.2)), with(0.2));
        assert!(!seen(STOP_MAX_MS + 0.1, 0.0).is_undisturbed());
        assert!(!seen(0.0, OTHERS_MAX + 0.01).is_undisturbed());
        assert_eq!(seen(3.0, 0.1).max(seen(2.0, 0.7)), seen(3.0, 0.7));
    }

    #[test]
    fn what_is_neither_idle_nor_ours_is_others() {
        let at = Instant::now();
        let before = Window { at, idle_s: vec![10.0, 20.0], ours_s: 5.0 };
        let later = |idle_s, ours_s| Window { at: at + Duration::from_secs(1), idle_s, ours_s };
        let others = later(vec![10.25, 20.25], 6.0).others_since(&before).unwrap();
        assert!((others - 0.5).abs() < 1e-9, "{others}");
        assert_eq!(later(vec![10.5, 20.5], 6.25).others_since(&before), Some(0.0), "never below 0");
        assert_eq!(later(vec![10.0, 20.0], 4.9).others_since(&before), None, "one has ended");
        assert_eq!(later(Vec::new(), 6.0).others_since(&before), None, "no idle times");
    }

    #[test]
    fn what_was_not_seen_is_not_quiet() {
        assert_eq!(loudest_of(&[Some(0.1), Some(0.3), Some(0.2)]), 0.3);
        assert_eq!(loudest_of(&[Some(0.1), None]), 0.1, "the load has ended");
        assert_eq!(loudest_of(&[Some(0.1), None, Some(0.2)]), f64::INFINITY);
        assert_eq!(loudest_of(&[None]), f64::INFINITY);
        assert_eq!(loudest_of(&[]), f64::INFINITY);
        let no_core = Bystander::watch(&[usize::MAX], Vec::new(), Figure::Cpu).seen();
        assert_eq!((no_core.stopped_ms, no_core.others), (f64::INFINITY, f64::INFINITY));
        assert!(!no_core.is_undisturbed());
        assert!(!Seen { others: 0.0, ..no_core }.is_undisturbed());
        assert_eq!(figure(no_core.others, 2), "not seen");
        let written = serde_json::to_string(&no_core).unwrap();
        assert_eq!(serde_json::from_str::<Seen>(&written).unwrap(), no_core);
    }

    #[test]
    fn nobody_sleeps_on_the_balancers_core_where_cpu_is_the_figure() {
        for (figure, sleepers) in [(Figure::Cpu, 1), (Figure::Latency, 2)] {
            let bystander = Bystander::watch(&[0, usize::MAX], Vec::new(), figure);
            assert_eq!(bystander.sleepers.len(), sleepers);
            // The other core is not there: who sleeps on it cannot see.
            assert_eq!(bystander.seen().stopped_ms.is_finite(), figure == Figure::Cpu);
        }
    }

    #[test]
    fn one_who_looks_at_a_core_sees_it_and_tells_what_that_took() {
        let bystander = Bystander::watch(&[0], Vec::new(), Figure::Latency);
        std::thread::sleep(4 * WINDOW);
        let seen = bystander.seen();
        assert!(seen.stopped_ms.is_finite() && seen.others.is_finite(), "{seen}");
        assert!(seen.counting > 0.0 && seen.counting < 1.0, "{seen:?}");
    }
}
