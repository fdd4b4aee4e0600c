//! The control loop: serves the admin address, watches workers and backends, does what signals say,
//! and ends in order.

use super::admin::{Admin, View};
use super::drain::{Drain, Standing, Traffic};
use super::operator::Operator;
use super::signals::{self, Event, Phase, Signal, Step, step};
use super::{Balancer, Failure, prober, resolve, runtime};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};
use tokio::sync::mpsc::{Receiver, Sender};

/// How often the workers are looked after.
const WATCH: Duration = Duration::from_millis(250);

/// How often while calls are awaited.
const WATCH_DRAIN: Duration = Duration::from_millis(50);

/// How often the backends are looked after.
const LOOK: Duration = Duration::from_secs(1);

/// How long calls get to end after INT.
const INTERRUPT_TIMEOUT: Duration = Duration::from_secs(5);

/// Serves until a signal ends it, or a worker fails.
///
/// # Errors
/// A run-time failure, or the exit code of an end that was forced by a second INT.
pub(super) async fn serve(operator: Arc<Operator>, admin: Admin) -> Result<(), Failure> {
    let (sender, mut events) = signals::install()?; // first: who finds us alive may signal us
    let address = admin.address()?;
    let metrics = operator.balancer.metrics().clone();
    let view = View {
        metrics,
        ready: AtomicBool::new(true),
        operator: Some(operator.clone()),
        streams: Default::default(),
    };
    let view = Arc::new(view);
    admin.serve(view.clone())?;
    tracing::info!(
        "sipring {} {}; admin on http://{address}",
        env!("CARGO_PKG_VERSION"),
        operator.balancer.summary()
    );
    let mut watch = Watch::new(&operator, &view);
    let end = watch.until_the_end(&mut events);
    let backends =
        runtime::with(prober::watch(&operator.balancer), resolve::watch(&operator.balancer));
    match runtime::with(end, backends).await? {
        End::Stop => {}
        End::AtOnce(signal) => return at_once(signal),
    }
    stop(move || operator.balancer.stop(), sender, &mut events).await
}

/// How the serving ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// The workers are to be stopped.
    Stop,
    /// Not even that is to be awaited.
    AtOnce(Signal),
}

/// The watch over a balancer that serves or drains.
struct Watch<'a> {
    operator: &'a Operator,
    view: &'a View,
    phase: Phase,
    drain: Option<Drain>,
    traffic: Traffic,
    look_at: Instant,
}

impl<'a> Watch<'a> {
    fn new(operator: &'a Operator, view: &'a View) -> Self {
        let now = Instant::now();
        let (phase, traffic) = (Phase::Serving, Traffic::new(now));
        Self { operator, view, phase, drain: None, traffic, look_at: now + LOOK }
    }

    /// # Errors
    /// When a worker has failed.
    async fn until_the_end(&mut self, events: &mut Receiver<Event>) -> Result<End, Failure> {
        loop {
            let pause = if self.drain.is_some() { WATCH_DRAIN } else { WATCH };
            match tokio::time::timeout(pause, events.recv()).await {
                Ok(Some(event)) => {
                    if let Some(end) = self.act(step(self.phase, event)) {
                        return Ok(end);
                    }
                }
                Ok(None) => return Ok(End::Stop), // nobody can signal us any more
                Err(_) => {}
            }
            if let Some(end) = self.look()? {
                return Ok(end);
            }
        }
    }

    fn act(&mut self, step: Step) -> Option<End> {
        match step {
            Step::Reload => {
                self.take_new_calls(true);
                let _ = self.operator.reload(); // the log says what came of it
            }
            Step::CloseIntake => {
                tracing::info!("WINCH: no new calls from now on; HUP takes them again");
                self.take_new_calls(false);
            }
            Step::Drain(signal) => self.begin_drain(signal),
            Step::EndAtOnce(signal) => return Some(End::AtOnce(signal)),
            Step::ReopenLogs => self.operator.balancer.reopen_message_log(),
            Step::Refuse(signal) => refuse(signal),
            Step::GoOn | Step::End => {}
        }
        None
    }

    fn take_new_calls(&self, takes: bool) {
        if self.view.ready.swap(takes, Relaxed) != takes {
            self.operator.balancer.set_draining(!takes);
        }
    }

    fn begin_drain(&mut self, signal: Signal) {
        let balancer = &self.operator.balancer;
        let within = match signal {
            Signal::Interrupt => Some(INTERRUPT_TIMEOUT),
            Signal::Quit => None,
            _ => Some(balancer.drain_timeout()),
        };
        self.take_new_calls(false);
        let calls = balancer.calls();
        match within {
            Some(within) => tracing::info!(
                "{signal}: no new calls; the {calls} that are here get {} s to end",
                within.as_secs()
            ),
            None => tracing::info!("{signal}: no new calls; the {calls} that are here may end"),
        }
        self.drain = Some(Drain::begin(balancer, within.map(|within| Instant::now() + within)));
        self.phase = Phase::Draining(signal);
    }

    fn look(&mut self) -> Result<Option<End>, Failure> {
        let (now, balancer) = (Instant::now(), &self.operator.balancer);
        if balancer.failed() {
            self.view.ready.store(false, Relaxed);
            return Err(Failure::run_time(
                "a worker has failed, so a part of the calls would be lost: ending, for the \
                 supervisor to start afresh; the worker's own message stands above",
            ));
        }
        if now >= self.look_at {
            self.look_at = now + LOOK;
            balancer.look();
        }
        self.traffic.look(datagrams(balancer), now);
        let Some(drain) = &mut self.drain else { return Ok(None) };
        match drain.look(balancer, self.traffic, now) {
            Standing::GoesOn => return Ok(None),
            Standing::Empty => tracing::info!("no call is left: stopping"),
            Standing::Overdue(calls) => {
                tracing::warn!("the time to drain is over: stopping with {calls} calls left");
            }
        }
        self.phase = Phase::Stopping;
        Ok(Some(End::Stop))
    }
}

fn datagrams(balancer: &Balancer) -> u64 {
    balancer.cells().iter().map(|cells| cells.datagrams_received.value()).sum()
}

/// Stops the workers in a thread of its own, so that a second signal is heard meanwhile.
async fn stop(
    workers: impl FnOnce() + Send + 'static,
    sender: Sender<Event>,
    events: &mut Receiver<Event>,
) -> Result<(), Failure> {
    std::thread::spawn(move || {
        workers();
        let _ = sender.blocking_send(Event::Stopped); // nobody hears it after a second signal
    });
    while let Some(event) = events.recv().await {
        match step(Phase::Stopping, event) {
            Step::End => break,
            Step::EndAtOnce(signal) => return at_once(signal),
            Step::Refuse(signal) => refuse(signal),
            _ => {}
        }
    }
    tracing::info!("stopped");
    Ok(())
}

/// A second signal: the process ends, and everything in it.
fn at_once(signal: Signal) -> Result<(), Failure> {
    if signal == Signal::Interrupt {
        let text = "a second INT: ended at once, without waiting for calls and workers".into();
        return Err(Failure { exit: Failure::INTERRUPTED, text });
    }
    tracing::info!("{signal}: ended at once, without waiting for calls and workers");
    Ok(())
}

fn refuse(signal: Signal) {
    tracing::warn!("{signal}: without effect now, the end is near");
}

#[cfg(test)]
mod tests {
    use super::super::runtime::Runtime;
    use super::*;
    use Signal::{Hangup, Interrupt, Terminate};
    use std::sync::mpsc;
    use tokio::sync::mpsc::channel;

    fn run<F: Future>(future: F) -> F::Output {
        Runtime::new().expect("this machine has io_uring").block_on(future)
    }

    fn queue(signals: &[Signal]) -> (Sender<Event>, Receiver<Event>) {
        let (sender, events) = channel(8);
        for &signal in signals {
            sender.try_send(Event::Signal(signal)).expect("it fits");
        }
        (sender, events)
    }

    #[test]
    fn it_ends_well_once_the_workers_have_stopped() {
        let (sender, mut events) = queue(&[Hangup]);
        let (stopped, heard) = mpsc::channel();
        let workers = move || stopped.send(()).expect("the test listens");
        assert_eq!(run(stop(workers, sender, &mut events)), Ok(()));
        assert_eq!(heard.try_recv(), Ok(()));
    }

    #[test]
    fn a_second_signal_does_not_wait_for_the_workers() {
        for (signal, exit) in [(Interrupt, Some(130)), (Terminate, None)] {
            let (sender, mut events) = queue(&[signal]);
            let (release, held) = mpsc::channel::<()>();
            let workers = move || assert!(held.recv().is_err(), "only ever released");
            let ended = run(stop(workers, sender, &mut events));
            assert_eq!(ended.err().map(|failure| failure.exit), exit);
            drop(release);
        }
    }
}
