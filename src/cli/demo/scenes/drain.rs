//! A backend is drained: it gets no new calls, its dialogs end, and it is ready again.

use super::super::front::Front;
use super::{Moment, Scene};
use crate::control::Failure;
use std::time::Duration;

/// The place of the backend that is drained.
const PLACE: usize = 1;

#[derive(Debug, Default)]
pub(in crate::cli::demo) struct Drain {
    step: Step,
    /// The balancer has said that no call is left.
    ended: bool,
    /// Dialogs that the backend itself still had then.
    left: u64,
    /// New calls that it got when it was to get none.
    late: u64,
}

#[derive(Clone, Copy, Debug, Default)]
enum Step {
    #[default]
    Before,
    /// Since this time.
    Drained(Duration),
    /// What was on its way has arrived: new calls so far.
    Settled(Duration, u64),
    Ready,
}

impl<F: Front> Scene<F> for Drain {
    fn act(&mut self, moment: &mut Moment<'_, F>) -> Result<(), Failure> {
        let (now, script) = (moment.now, moment.script);
        let name = moment.cast.backends[PLACE].name().to_owned();
        let mut events = moment.standing.events.iter();
        if events.any(|event| event.backend == name && event.what == "drained") {
            (self.ended, self.left) = (true, moment.dialogs(PLACE));
        }
        match self.step {
            Step::Before if now >= script.drain_at() => {
                moment.cast.front.set_drained(&name, true)?;
                let dialogs = moment.dialogs(PLACE);
                let text = format!("DRAIN: {name} gets no new calls, its {dialogs} dialogs go on");
                moment.say(text);
                self.step = Step::Drained(now);
            }
            Step::Drained(since) if now >= script.settled_at(since) => {
                self.step = Step::Settled(since, moment.new_calls(PLACE));
            }
            Step::Settled(since, before) if self.ended && now >= script.ready_at(since) => {
                self.late = moment.new_calls(PLACE) - before;
                moment.cast.front.set_drained(&name, false)?;
                let late = self.late;
                moment.say(format!("{name} is ready again; while drained it got {late} new calls"));
                self.step = Step::Ready;
            }
            _ => {}
        }
        Ok(())
    }

    fn over(&self) -> bool {
        matches!(self.step, Step::Ready)
    }

    fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        if self.late > 0 {
            faults.push(format!("{} new calls went to the drained backend", self.late));
        }
        if self.left > 0 {
            faults.push(format!("the drain was said to be over with {} dialogs left", self.left));
        }
        if !self.ended {
            faults.push("the drain did not end".to_owned());
        } else if !matches!(self.step, Step::Ready) {
            faults.push("the drained backend was not ready again".to_owned());
        }
        faults
    }
}
