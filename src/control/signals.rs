//! Signals as events, and what each means in which state.

use super::Failure;
use super::runtime::spawn;
use std::fmt;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc::{Receiver, Sender, channel};

/// Events that wait at most; a signal more adds nothing to those.
const EVENTS_MAX: usize = 8;

/// What wakes the control loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// A signal came.
    Signal(Signal),
    /// The workers have stopped.
    Stopped,
}

/// A signal that we handle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Signal {
    /// SIGINT.
    Interrupt,
    /// SIGTERM.
    Terminate,
    /// SIGHUP.
    Hangup,
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Interrupt => "INT",
            Self::Terminate => "TERM",
            Self::Hangup => "HUP",
        })
    }
}

/// What the control loop does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Goes on.
    GoOn,
    /// Says that a signal has no meaning now.
    Refuse(Signal),
    /// Stops the workers.
    Stop(Signal),
    /// Ends well.
    End,
    /// Ends at once, without waiting for the workers.
    EndAtOnce(Signal),
}

/// What an event means while the balancer serves, or while it stops.
pub(super) fn step(stopping: bool, event: Event) -> Step {
    match (stopping, event) {
        (_, Event::Signal(Signal::Hangup)) => Step::Refuse(Signal::Hangup),
        (false, Event::Signal(signal)) => Step::Stop(signal),
        (true, Event::Signal(signal)) => Step::EndAtOnce(signal),
        (true, Event::Stopped) => Step::End,
        (false, Event::Stopped) => Step::GoOn,
    }
}

/// From now on signals are events and end the process no more.
///
/// # Errors
/// When the kernel refuses a handler.
pub(super) fn install() -> Result<(Sender<Event>, Receiver<Event>), Failure> {
    let (sender, receiver) = channel(EVENTS_MAX);
    let handled = [
        (SignalKind::interrupt(), Signal::Interrupt),
        (SignalKind::terminate(), Signal::Terminate),
        (SignalKind::hangup(), Signal::Hangup),
    ];
    for (kind, name) in handled {
        let mut stream = signal(kind)
            .map_err(|error| Failure::run_time(format!("no handler for {name}: {error}")))?;
        let sender = sender.clone();
        spawn(async move {
            while stream.recv().await.is_some() && sender.send(Event::Signal(name)).await.is_ok() {}
        });
    }
    Ok((sender, receiver))
}

#[cfg(test)]
mod tests {
    use super::*;
    use Signal::{Hangup, Interrupt, Terminate};

    #[test]
    fn the_first_int_or_term_stops_and_the_second_ends_at_once() {
        for signal in [Interrupt, Terminate] {
            assert_eq!(step(false, Event::Signal(signal)), Step::Stop(signal));
            assert_eq!(step(true, Event::Signal(signal)), Step::EndAtOnce(signal));
        }
    }

    #[test]
    fn hup_never_ends_it() {
        for stopping in [false, true] {
            assert_eq!(step(stopping, Event::Signal(Hangup)), Step::Refuse(Hangup));
        }
    }

    #[test]
    fn it_ends_well_when_the_workers_have_stopped() {
        assert_eq!(step(true, Event::Stopped), Step::End);
        assert_eq!(step(false, Event::Stopped), Step::GoOn);
    }
}
