//! Signals as events, and what each means in which phase.

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
    /// SIGQUIT.
    Quit,
    /// SIGHUP.
    Hangup,
    /// SIGUSR1.
    User1,
    /// SIGWINCH.
    WindowChange,
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Interrupt => "INT",
            Self::Terminate => "TERM",
            Self::Quit => "QUIT",
            Self::Hangup => "HUP",
            Self::User1 => "USR1",
            Self::WindowChange => "WINCH",
        })
    }
}

/// Where in its life the balancer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// It serves.
    Serving,
    /// It waits for its calls to end, because of this signal.
    Draining(Signal),
    /// The workers end.
    Stopping,
}

/// What the control loop does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Goes on.
    GoOn,
    /// Says that a signal has no meaning now.
    Refuse(Signal),
    /// Loads the configuration again, and takes new calls.
    Reload,
    /// Opens its log files again.
    ReopenLogs,
    /// Takes no new calls.
    CloseIntake,
    /// Waits for its calls to end, then ends.
    Drain(Signal),
    /// Ends well.
    End,
    /// Ends at once, without waiting for calls and workers.
    EndAtOnce(Signal),
}

/// What an event means in which phase.
pub(super) fn step(phase: Phase, event: Event) -> Step {
    use Signal::{Hangup, Interrupt, Quit, Terminate, User1, WindowChange};
    let signal = match event {
        Event::Signal(signal) => signal,
        Event::Stopped if phase == Phase::Stopping => return Step::End,
        Event::Stopped => return Step::GoOn,
    };
    match (phase, signal) {
        (_, User1) => Step::ReopenLogs,
        (Phase::Serving, Hangup) => Step::Reload,
        (Phase::Serving, WindowChange) => Step::CloseIntake,
        (_, Hangup | WindowChange) => Step::Refuse(signal),
        (Phase::Serving, Interrupt | Terminate | Quit) => Step::Drain(signal),
        // A drain without a deadline gets one.
        (Phase::Draining(Quit), Interrupt | Terminate) => Step::Drain(signal),
        (_, Quit) => Step::GoOn,
        (_, Interrupt | Terminate) => Step::EndAtOnce(signal),
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
        (SignalKind::quit(), Signal::Quit),
        (SignalKind::hangup(), Signal::Hangup),
        (SignalKind::user_defined1(), Signal::User1),
        (SignalKind::window_change(), Signal::WindowChange),
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
    use Phase::{Draining, Serving, Stopping};
    use Signal::{Hangup, Interrupt, Quit, Terminate, User1, WindowChange};

    fn on(phase: Phase, signal: Signal) -> Step {
        step(phase, Event::Signal(signal))
    }

    #[test]
    fn the_first_int_or_term_drains_and_the_second_ends_at_once() {
        for signal in [Interrupt, Terminate] {
            assert_eq!(on(Serving, signal), Step::Drain(signal));
            for first in [Interrupt, Terminate] {
                assert_eq!(on(Draining(first), signal), Step::EndAtOnce(signal));
            }
            assert_eq!(on(Stopping, signal), Step::EndAtOnce(signal));
        }
    }

    #[test]
    fn quit_drains_without_a_deadline_until_another_signal_sets_one() {
        assert_eq!(on(Serving, Quit), Step::Drain(Quit));
        assert_eq!(on(Draining(Quit), Quit), Step::GoOn);
        assert_eq!(on(Draining(Quit), Terminate), Step::Drain(Terminate));
        assert_eq!(on(Draining(Terminate), Quit), Step::GoOn);
        assert_eq!(on(Stopping, Quit), Step::GoOn);
    }

    #[test]
    fn hup_and_winch_mean_something_while_it_serves_only() {
        assert_eq!(on(Serving, Hangup), Step::Reload);
        assert_eq!(on(Serving, WindowChange), Step::CloseIntake);
        for phase in [Draining(Terminate), Stopping] {
            for signal in [Hangup, WindowChange] {
                assert_eq!(on(phase, signal), Step::Refuse(signal));
            }
            assert_eq!(on(phase, User1), Step::ReopenLogs);
        }
    }

    #[test]
    fn it_ends_well_when_the_workers_have_stopped() {
        assert_eq!(step(Stopping, Event::Stopped), Step::End);
        assert_eq!(step(Serving, Event::Stopped), Step::GoOn);
    }
}
