//! What happens on the way: each scene acts when its time has come, and says what did not go as it
//! should.

mod death;
mod drain;
mod reload;

pub(super) use death::Death;
pub(super) use drain::Drain;
pub(super) use reload::Reload;

use super::front::{Front, Standing};
use super::play::Cast;
use super::script::Script;
use crate::control::Failure;
use std::time::Duration;

/// A scene.
pub(super) trait Scene<F: Front> {
    /// Does what is due; called some 50 times a second.
    ///
    /// # Errors
    /// When the show cannot go on.
    fn act(&mut self, moment: &mut Moment<'_, F>) -> Result<(), Failure>;
    /// True once it has been played.
    fn over(&self) -> bool;
    /// What did not go as it should, once the show has ended.
    fn faults(&self) -> Vec<String>;
}

/// All of them, in their order.
pub(super) fn all<F: Front>() -> Vec<Box<dyn Scene<F>>> {
    vec![Box::<Drain>::default(), Box::<Death>::default(), Box::<Reload>::default()]
}

/// One moment of the show.
pub(super) struct Moment<'a, F> {
    /// Since the start.
    pub(super) now: Duration,
    pub(super) script: &'a Script,
    pub(super) cast: &'a mut Cast<F>,
    /// The front just before.
    pub(super) standing: &'a Standing,
    /// What the scenes want to be shown.
    pub(super) said: Vec<String>,
}

impl<F> Moment<'_, F> {
    fn say(&mut self, text: impl Into<String>) {
        self.said.push(text.into());
    }

    /// New calls that the backend at this place got so far.
    fn new_calls(&self, place: usize) -> u64 {
        self.cast.backends[place].report().new_calls.value()
    }

    /// Dialogs that the backend at this place holds, as it counts them itself.
    fn dialogs(&self, place: usize) -> u64 {
        self.cast.backends[place].report().dialogs.value()
    }
}

#[cfg(test)]
mod tests;
