//! Whether the machine belonged to those who were measured.
//!
//! What keeps a balancer from its core for 50 ms is in the latencies of more than one call in a hundred
//! of a run of three seconds, whoever it was: another process, or the host of a virtual machine. So
//! beside each run stands somebody who looks on. Two things he can tell:
//! - a thread on each core that sleeps 2 ms at a time and goes before all others, and yet wakes late:
//!   then the core itself has stood still;
//! - ten times a second, how busy the cores were beyond what the processes of the run took.

use crate::kernel::{run_first, stay_on};
use crate::load::processes::{Usage, idle_s};
use serde::{Deserialize, Serialize};
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

/// What was seen beside a run.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Serialize)]
pub(super) struct Seen {
    /// The longest time that a core stood still, milliseconds.
    pub(super) stopped_ms: f64,
    /// What others took of the cores in their loudest tenth of a second, cores.
    pub(super) others: f64,
}

impl Seen {
    /// Nothing but chance was different from the other runs.
    pub(super) fn is_undisturbed(&self) -> bool {
        self.stopped_ms <= STOP_MAX_MS && self.others <= OTHERS_MAX
    }

    /// The worse of both, each by itself.
    pub(super) fn max(self, other: Self) -> Self {
        Self {
            stopped_ms: self.stopped_ms.max(other.stopped_ms),
            others: self.others.max(other.others),
        }
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { stopped_ms, others } = self;
        write!(f, "a core stood still for {stopped_ms:.1} ms; others took up to {others:.2} cores")
    }
}

/// Somebody who looks on until he is asked what he has seen.
pub(super) struct Bystander {
    ended: Arc<AtomicBool>,
    sleepers: Vec<JoinHandle<f64>>,
    counter: JoinHandle<f64>,
}

impl Bystander {
    /// Looks at these cores, on which these processes are measured.
    pub(super) fn watch(cores: &[usize], mut processes: Vec<u32>) -> Self {
        let ended = Arc::new(AtomicBool::new(false));
        let sleeper = |&core: &usize| {
            let ended = Arc::clone(&ended);
            std::thread::spawn(move || longest_stop_ms(core, &ended))
        };
        let sleepers = cores.iter().map(sleeper).collect();
        processes.push(std::process::id());
        let (of, until) = (cores.to_vec(), Arc::clone(&ended));
        let counter = std::thread::spawn(move || loudest(&of, &processes, &until));
        Self { ended, sleepers, counter }
    }

    /// Ends it. A thread that has panicked has seen the worst.
    pub(super) fn seen(self) -> Seen {
        self.ended.store(true, Ordering::Relaxed);
        let said = |thread: JoinHandle<f64>| thread.join().unwrap_or(f64::INFINITY);
        let stopped_ms = self.sleepers.into_iter().map(said).fold(0.0, f64::max);
        Seen { stopped_ms, others: said(self.counter) }
    }
}

fn longest_stop_ms(core: usize, ended: &AtomicBool) -> f64 {
    if stay_on(core).is_err() {
        return 0.0; // no core to look at
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

fn loudest(cores: &[usize], ours: &[u32], ended: &AtomicBool) -> f64 {
    let _ = run_first();
    let mut loudest = 0.0;
    let mut before = Window::now(cores, ours);
    while !ended.load(Ordering::Relaxed) {
        std::thread::sleep(WINDOW);
        let now = Window::now(cores, ours);
        loudest = f64::max(loudest, now.others_since(&before));
        before = now;
    }
    loudest
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

    /// Cores that were neither idle nor ours since `before`. A process that has ended takes what it had
    /// used with it: then nobody can say, and 0.0 is said.
    fn others_since(&self, before: &Self) -> f64 {
        let seconds = (self.at - before.at).as_secs_f64();
        let idle: f64 = self.idle_s.iter().zip(&before.idle_s).map(|(now, then)| now - then).sum();
        let ours = self.ours_s - before.ours_s;
        if ours < 0.0 {
            return 0.0;
        }
        (self.idle_s.len() as f64 - (idle + ours) / seconds).max(0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_undisturbed_up_to_both_limits() {
        let seen = |stopped_ms, others| Seen { stopped_ms, others };
        assert!(seen(STOP_MAX_MS, OTHERS_MAX).is_undisturbed());
        assert!(!seen(STOP_MAX_MS + 0.1, 0.0).is_undisturbed());
        assert!(!seen(0.0, OTHERS_MAX + 0.01).is_undisturbed());
        assert_eq!(seen(3.0, 0.1).max(seen(2.0, 0.7)), seen(3.0, 0.7));
    }

    #[test]
    fn what_is_neither_idle_nor_ours_is_others() {
        let at = Instant::now();
        let before = Window { at, idle_s: vec![10.0, 20.0], ours_s: 5.0 };
        let later = |idle_s, ours_s| Window { at: at + Duration::from_secs(1), idle_s, ours_s };
        let others = later(vec![10.25, 20.25], 6.0).others_since(&before);
        assert!((others - 0.5).abs() < 1e-9, "{others}");
        assert_eq!(later(vec![10.5, 20.5], 6.25).others_since(&before), 0.0, "never below 0");
        assert_eq!(later(vec![10.0, 20.0], 4.9).others_since(&before), 0.0, "one has ended");
    }
}
