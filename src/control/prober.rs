//! Watches the backends: probes those that are due, hears what traffic has met, and publishes the pool
//! that follows.
//!
//! Four times a second, and whenever a probe is due or has ended: 1. the workers' counts and the ends
//! of probes go into the fleet, in this order; 2. slow starts move on; 3. one new pool is published if anything
//! has changed; 4. probes that are due start, each in a task with a socket of its own.

use super::fleet::{Due, Fleet, Moment, PoolState};
use super::probe::{Ended, Question, probe};
use super::runtime::{Runtime, spawn, with};
use super::{Balancer, Failure, resolve};
use crate::io::os;
use crate::metrics::{BackendOutcome, ProbeFigures, Roster};
use crate::pool::BackendId;
use crate::pool::health::Traffic;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::{Semaphore, oneshot};
use tokio::time::timeout;

/// From one look at the workers' counts to the next, milliseconds.
const LOOK_MS: u64 = 250;

/// Between two rounds, milliseconds: probes that end together are dealt with together.
const PAUSE_MS: u64 = 5;

/// Probes on their way at a time; each has a socket.
const PROBES_MAX: usize = 256;

/// Both clocks.
pub(super) fn moment() -> Moment {
    Moment { ms: os::now_ms(), at: SystemTime::now() }
}

/// For jitter: the kernel's, or none.
pub(super) fn random() -> u32 {
    os::random_bytes().map_or(u32::MAX / 2, u32::from_ne_bytes)
}

/// Watches for as long as it is polled.
pub(super) async fn watch(balancer: &Balancer) {
    let (sender, ended) = unbounded_channel();
    let (met, permits) = (HashMap::new(), Arc::new(Semaphore::new(PROBES_MAX)));
    let mut watch = Watch { balancer, sender, ended, permits, met, look_ms: os::now_ms() };
    balancer.with_fleet(|fleet| watch.look(fleet)); // what was before is no news
    loop {
        watch.round().await;
    }
}

struct Watch<'a> {
    balancer: &'a Balancer,
    sender: UnboundedSender<(Due, Ended)>,
    ended: UnboundedReceiver<(Due, Ended)>,
    permits: Arc<Semaphore>,
    /// What each backend's cells said at the last look.
    met: HashMap<BackendId, Met>,
    /// When the next look is due.
    look_ms: u64,
}

impl Watch<'_> {
    async fn round(&mut self) {
        let (now, mut ends) = (moment(), Vec::new());
        while let Ok(end) = self.ended.try_recv() {
            ends.push(end);
        }
        let look = now.ms >= self.look_ms;
        let (balancer, mut next) = (self.balancer, None);
        balancer.observe(|fleet, _| {
            let met = if look { self.look(fleet) } else { Vec::new() };
            let mut changed = fleet.traffic(&met, now);
            for (probe, Ended { outcome, took }) in ends {
                changed |= fleet.probe_ended(&probe, outcome, took, now, random());
            }
            changed |= look && fleet.ramp(now.ms);
            changed |= look && fleet.release(now);
            let due = fleet.probes_due(now.ms);
            if !due.is_empty() {
                self.start(due, fleet);
            }
            next = fleet.next_probe_ms();
            changed
        });
        if look {
            self.look_ms = now.ms + LOOK_MS;
            self.show();
        }
        self.wait(next).await;
    }

    /// Until a probe is due or has ended, or the next look is due.
    async fn wait(&mut self, next: Option<u64>) {
        let until = next.map_or(self.look_ms, |next| next.min(self.look_ms));
        tokio::time::sleep(Duration::from_millis(PAUSE_MS)).await;
        let rest = Duration::from_millis(until.saturating_sub(os::now_ms()));
        if let Ok(Some(end)) = timeout(rest, self.ended.recv()).await {
            let _ = self.sender.send(end); // to be taken with the others
        }
    }

    fn start(&self, due: Vec<Due>, fleet: &Fleet) {
        let question = |pool: &PoolState| Rc::new(Question::new(&pool.health));
        let questions: Vec<_> = fleet.pools().iter().map(question).collect();
        for due in due {
            let (question, sender) = (questions[due.pool].clone(), self.sender.clone());
            let permits = self.permits.clone();
            spawn(async move {
                let _permit = permits.acquire().await;
                let ended = probe(&question, due.address).await;
                let _ = sender.send((due, ended)); // nobody: we end
            });
        }
    }

    /// What requests have met at each backend since the last look, where it is something.
    fn look(&mut self, fleet: &Fleet) -> Vec<(BackendId, Traffic)> {
        let mut all = HashMap::with_capacity(fleet.members().len());
        let mut news = Vec::new();
        let roster = self.balancer.roster();
        for member in fleet.members() {
            let id = BackendId::of_name(&member.spec.name);
            let now = met(&roster, id, member.up_since_ms());
            let new = now.since(&self.met.remove(&id).unwrap_or_default());
            all.insert(id, now);
            if new != Traffic::default() {
                news.push((id, new));
            }
        }
        self.met = all;
        news
    }

    fn show(&self) {
        self.balancer.with_fleet(|fleet| {
            let figures = fleet.members().iter().map(|member| {
                let (up, probed) = (member.up.value, member.probed);
                let seconds = probed.took.as_secs_f64();
                let (good, ups, downs) = (probed.good, probed.ups, probed.downs);
                let figures = ProbeFigures { up, good, seconds, ups, downs };
                (BackendId::of_name(&member.spec.name), figures)
            });
            let panics = fleet.pools().iter().filter(|pool| pool.panic);
            let panics = panics.map(|pool| pool.name.clone()).collect();
            self.balancer.probes().set(figures, panics);
        });
    }
}

/// What the cells say of what requests have met at a backend.
#[derive(Default)]
struct Met {
    good: u64,
    /// Of requests that were sent since `up_since_ms`.
    bad: u64,
    up_since_ms: u64,
    /// By worker: 503s with Retry-After, and the seconds of the last one.
    retry_afters: Vec<(u64, u64)>,
}

impl Met {
    /// What is new since then. A count begins anew for one that was away meanwhile, and that of bad
    /// things for one that has come up.
    fn since(&self, last: &Self) -> Traffic {
        let new = |now: u64, last| now.checked_sub(last).unwrap_or(now);
        let same = self.up_since_ms == last.up_since_ms;
        Traffic {
            good: new(self.good, last.good),
            bad: new(self.bad, if same { last.bad } else { 0 }),
            retry_after_s: self.retry_after_s(last),
        }
    }

    /// The longest Retry-After that is new since then, seconds; 0: there is none.
    fn retry_after_s(&self, last: &Self) -> u32 {
        let before = last.retry_afters.iter().map(|(count, _)| *count).chain(std::iter::repeat(0));
        let new = self.retry_afters.iter().zip(before).filter(|((count, _), last)| count != last);
        let longest = new.map(|((_, seconds), _)| *seconds).max().unwrap_or(0);
        u32::try_from(longest).unwrap_or(u32::MAX)
    }
}

/// What requests have met at this backend, by all workers.
fn met(roster: &Roster, id: BackendId, up_since_ms: u64) -> Met {
    let mut met = Met { up_since_ms, ..Met::default() };
    for of in roster.of(id) {
        met.good += of.outcomes[BackendOutcome::Answered as usize].value();
        met.bad += u64::from(of.against(up_since_ms));
        met.retry_afters.push((of.retry_afters.value(), of.retry_after_s.value()));
    }
    met
}

/// Watches the backends of a balancer inside another process, and looks their names up, in a thread of
/// its own. Dropped, it ends.
#[derive(Debug)]
pub struct Prober {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Prober {
    /// Starts it.
    ///
    /// # Errors
    /// When there is no thread or no ring for it.
    pub fn start(balancer: Arc<Balancer>) -> Result<Self, Failure> {
        let (stop, stopped) = oneshot::channel();
        let (started, result) = mpsc::channel();
        let body = move || match Runtime::new() {
            Ok(runtime) => {
                let _ = started.send(Ok(())); // `start` waits for it
                let stopped = async { drop(stopped.await) };
                let backends = with(watch(&balancer), resolve::watch(&balancer));
                runtime.block_on(with(stopped, backends));
            }
            Err(failure) => drop(started.send(Err(failure))),
        };
        let spawned = std::thread::Builder::new().name("prober".to_owned()).spawn(body);
        let refused = |error| Failure::unavailable(format!("no thread for the probes: {error}"));
        let thread = spawned.map_err(refused)?;
        match result.recv() {
            Ok(Ok(())) => Ok(Self { stop: Some(stop), thread: Some(thread) }),
            Ok(Err(failure)) => Err(failure),
            Err(_) => Err(Failure::run_time("the thread of the probes has ended at once")),
        }
    }
}

impl Drop for Prober {
    fn drop(&mut self) {
        drop(self.stop.take());
        if self.thread.take().map(JoinHandle::join).is_some_and(|end| end.is_err()) {
            tracing::error!("the thread of the probes has panicked");
        }
    }
}

#[cfg(test)]
mod tests;
