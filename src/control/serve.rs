//! The control loop: serves the admin address, watches the workers, ends when a signal says so.

use super::admin::{Admin, View};
use super::signals::{self, Event, Signal, Step, step};
use super::{Balancer, Failure, prober, runtime};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;
use tokio::sync::mpsc::{Receiver, Sender};

/// How often the workers are looked after.
const WATCH: Duration = Duration::from_millis(250);

/// Serves until a signal ends it, or a worker fails.
///
/// # Errors
/// A run-time failure, or the exit code of an end that was forced by a second INT.
pub(super) async fn serve(balancer: Balancer, admin: Admin) -> Result<(), Failure> {
    let (sender, mut events) = signals::install()?; // first: who finds us alive may signal us
    let address = admin.address()?;
    let metrics = balancer.metrics().clone();
    let view = Arc::new(View { metrics, ready: AtomicBool::new(true) });
    admin.serve(view.clone())?;
    tracing::info!(
        "sipring {} {}; admin on http://{address}",
        env!("CARGO_PKG_VERSION"),
        balancer.summary()
    );
    let end = wait_for_the_end(|| balancer.failed(), &mut events);
    let Some(signal) = runtime::with(end, prober::watch(&balancer)).await else {
        view.ready.store(false, Relaxed);
        return Err(Failure::run_time(
            "a worker has failed, so a part of the calls would be lost: ending, for the supervisor to \
             start afresh; the worker's own message stands above",
        ));
    };
    view.ready.store(false, Relaxed);
    tracing::info!("{signal}: stopping now, without a drain");
    stop(|| balancer.stop(), sender, &mut events).await
}

/// The signal that ends it, or `None` once a worker has failed.
async fn wait_for_the_end(
    failed: impl Fn() -> bool,
    events: &mut Receiver<Event>,
) -> Option<Signal> {
    loop {
        let Ok(event) = tokio::time::timeout(WATCH, events.recv()).await else {
            if failed() {
                return None;
            }
            continue;
        };
        match step(false, event?) {
            Step::Stop(signal) | Step::EndAtOnce(signal) => return Some(signal),
            Step::Refuse(signal) => refuse(signal),
            Step::GoOn | Step::End => {}
        }
    }
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
        match step(true, event) {
            Step::End => break,
            Step::EndAtOnce(Signal::Interrupt) => {
                let text = "a second INT: ended at once, without waiting for the workers".into();
                return Err(Failure { exit: Failure::INTERRUPTED, text });
            }
            Step::EndAtOnce(signal) => {
                tracing::info!("{signal}: ended at once, without waiting for the workers");
                return Ok(());
            }
            Step::Refuse(signal) => refuse(signal),
            Step::GoOn | Step::Stop(_) => {}
        }
    }
    tracing::info!("stopped");
    Ok(())
}

fn refuse(signal: Signal) {
    tracing::warn!(
        "{signal}: this version cannot reload its config; restart it to apply a new one"
    );
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
    fn a_failed_worker_ends_the_waiting() {
        let (_sender, mut events) = queue(&[]);
        assert_eq!(run(wait_for_the_end(|| true, &mut events)), None);
    }

    #[test]
    fn the_first_signal_that_ends_ends_the_waiting() {
        let (_sender, mut events) = queue(&[Hangup, Hangup, Terminate, Interrupt]);
        assert_eq!(run(wait_for_the_end(|| false, &mut events)), Some(Terminate));
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
