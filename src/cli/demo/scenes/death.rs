//! A backend is killed under load and comes back: what it has not answered fails over, health takes
//! it down and, once its probes are good, up again.
//!
//! Its dialogs wait for it. No balancer could save them from a server that keeps them in its memory
//! alone: this one comes back with them, as from a database, and the show says so.

use super::super::front::{Front, State};
use super::{Moment, Scene};
use crate::control::Failure;
use std::io::ErrorKind;
use std::time::Duration;

/// The place of the backend that dies.
const PLACE: usize = 2;

#[derive(Debug, Default)]
pub(in crate::cli::demo) struct Death {
    step: Step,
    /// Requests that had failed over before, and so far.
    failed_over: (u64, u64),
    /// Its new calls at the last look.
    new_calls: u64,
    /// New calls that it got before its probes were good.
    early: u64,
}

#[derive(Clone, Copy, Debug, Default)]
enum Step {
    #[default]
    Before,
    /// Since this time.
    Killed(Duration),
    /// Known to be down, killed at this time.
    Down(Duration),
    /// Started again; new calls until then.
    Started(u64),
    /// Up again; new calls until then.
    Up(u64),
    Used,
}

impl<F: Front> Scene<F> for Death {
    fn act(&mut self, moment: &mut Moment<'_, F>) -> Result<(), Failure> {
        self.failed_over.1 = moment.standing.failed_over;
        let (now, script) = (moment.now, moment.script);
        let state = moment.standing.of(moment.cast.backends[PLACE].name());
        let is_down = state == Some(State::Down);
        match self.step {
            Step::Before if now >= script.kill_at() => self.kill(moment),
            Step::Killed(since) if is_down => self.step = Step::Down(since),
            Step::Down(since) if now >= script.restart_at(since) => self.start_again(moment)?,
            // Those that it had before the last look, when it was down for sure.
            Step::Started(before) if is_down => self.early = self.new_calls - before,
            Step::Started(_) => self.step = Step::Up(moment.new_calls(PLACE)),
            Step::Up(before) if moment.new_calls(PLACE) > before => self.used(moment),
            _ => {}
        }
        self.new_calls = moment.new_calls(PLACE);
        Ok(())
    }

    fn over(&self) -> bool {
        matches!(self.step, Step::Used)
    }

    fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        if self.failed_over.1 == self.failed_over.0 {
            faults.push("nothing failed over".to_owned());
        }
        if self.early > 0 {
            faults.push(format!("{} new calls went to the dead backend", self.early));
        }
        let missing = match self.step {
            Step::Before => Some("no backend was killed"),
            Step::Killed(_) => Some("the killed backend was not found to be down"),
            Step::Down(_) => Some("the killed backend did not start again"),
            Step::Started(_) => Some("the backend that came back was not found to be up"),
            Step::Up(_) => Some("the backend that came back got no calls"),
            Step::Used => None,
        };
        faults.extend(missing.map(str::to_owned));
        faults
    }
}

impl Death {
    fn kill<F>(&mut self, moment: &mut Moment<'_, F>) {
        self.failed_over.0 = moment.standing.failed_over;
        moment.cast.backends[PLACE].kill();
        let (name, dialogs) = (moment.cast.backends[PLACE].name(), moment.dialogs(PLACE));
        let text = format!("DEATH: {name} is killed, its socket closes; {dialogs} dialogs wait");
        moment.say(text);
        self.step = Step::Killed(moment.now);
    }

    fn start_again<F>(&mut self, moment: &mut Moment<'_, F>) -> Result<(), Failure> {
        let backend = &mut moment.cast.backends[PLACE];
        match backend.start_again() {
            Ok(()) => {}
            Err(e) if e.kind() == ErrorKind::AddrInUse => return Ok(()), // try again soon
            Err(e) => {
                let (name, address) = (backend.name(), backend.address());
                let text = format!("{name} cannot come back at {address}: {e}");
                return Err(Failure::unavailable(text));
            }
        }
        self.step = Step::Started(self.new_calls);
        let text = format!(
            "{} starts again, with its dialogs from its database:\na server that keeps them in \
             its memory alone would have lost them",
            moment.cast.backends[PLACE].name()
        );
        moment.say(text);
        Ok(())
    }

    fn used<F>(&mut self, moment: &mut Moment<'_, F>) {
        let (before, so_far) = self.failed_over;
        let name = moment.cast.backends[PLACE].name();
        let failed_over = so_far - before;
        let text = format!("{name} gets calls again; {failed_over} had failed over to others");
        moment.say(text);
        self.step = Step::Used;
    }
}
