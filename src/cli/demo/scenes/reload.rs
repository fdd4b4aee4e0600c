//! The config file gets a backend and is loaded again; then it gets a mistake, and is refused.

use super::super::front::{Edit, Front, Standing};
use super::{Moment, Scene};
use crate::control::Failure;

/// The place of the backend that joins.
const PLACE: usize = 4;

#[derive(Debug, Default)]
pub(in crate::cli::demo) struct Reload {
    step: Step,
    faults: Vec<String>,
}

#[derive(Debug, Default)]
enum Step {
    #[default]
    Before,
    /// The new backend is in.
    Added,
    /// It has calls.
    Joined,
    /// A file was refused: how things were before it, and new calls until then.
    Refused(Standing, u64),
    GoesOn,
}

impl<F: Front> Scene<F> for Reload {
    fn act(&mut self, moment: &mut Moment<'_, F>) -> Result<(), Failure> {
        let (now, script) = (moment.now, moment.script);
        match &self.step {
            Step::Before if now >= script.reload_at() => self.add(moment),
            Step::Added if moment.new_calls(PLACE) > 0 => {
                let name = moment.cast.backends[PLACE].name();
                let text = format!("{name} has its first calls; its share grows (slow start)");
                moment.say(text);
                self.step = Step::Joined;
            }
            Step::Joined if now >= script.refuse_at() => self.break_it(moment),
            Step::Refused(before, calls) if all_calls(moment) > *calls => {
                let is = moment.standing;
                if is.generation != before.generation || is.names() != before.names() {
                    self.faults.push("a refused file changed something".to_owned());
                }
                let generation = is.generation;
                moment.say(format!("calls go on with configuration {generation}, as before"));
                self.step = Step::GoesOn;
            }
            _ => {}
        }
        Ok(())
    }

    fn over(&self) -> bool {
        matches!(self.step, Step::GoesOn)
    }

    fn faults(&self) -> Vec<String> {
        let missing = match self.step {
            Step::Before => Some("nothing was reloaded"),
            Step::Added => Some("the backend that joined got no calls"),
            Step::Joined => Some("no file was refused"),
            Step::Refused(..) => Some("no calls came after the refused file"),
            Step::GoesOn => None,
        };
        self.faults.iter().cloned().chain(missing.map(str::to_owned)).collect()
    }
}

impl Reload {
    fn add<F: Front>(&mut self, moment: &mut Moment<'_, F>) {
        let backend = &moment.cast.backends[PLACE];
        let (name, address) = (backend.name().to_owned(), backend.address());
        match moment.cast.front.reload(Edit::Add(&name, address)) {
            Ok(changes) => {
                let changes = changes.join("\n");
                moment.say(format!(
                    "RELOAD: {name} is in the config file, which is loaded as HUP does:\n{changes}"
                ));
            }
            Err(why) => self.faults.push(format!("a good file was refused: {why}")),
        }
        self.step = Step::Added;
    }

    fn break_it<F: Front>(&mut self, moment: &mut Moment<'_, F>) {
        let (before, calls) = (moment.standing.clone(), all_calls(moment));
        match moment.cast.front.reload(Edit::Break) {
            Ok(_) => self.faults.push("a broken file was taken over".to_owned()),
            Err(why) => {
                let why = why.trim_end();
                moment.say(format!("REFUSED: a mistake in the file changes nothing:\n{why}"));
            }
        }
        self.step = Step::Refused(before, calls);
    }
}

fn all_calls<F>(moment: &Moment<'_, F>) -> u64 {
    (0..moment.cast.backends.len()).map(|place| moment.new_calls(place)).sum()
}
