//! `sipring run`: the balancer, until it is told to end.

use super::arguments::Arguments;
use super::{Exit, terminal};
use crate::config::Loaded;
use crate::control;

/// Loads the configuration and serves.
pub(super) fn run(arguments: Arguments) -> Exit {
    match arguments.clone().load() {
        Ok(loaded) => serve(loaded, arguments),
        Err(exit) => exit,
    }
}

/// The one door to the control room.
fn serve(loaded: Loaded, arguments: Arguments) -> Exit {
    match control::run_with(loaded.config, Box::new(move || arguments.reload())) {
        Ok(()) => Exit::Success,
        Err(failure) => {
            terminal::error(&failure.text);
            Exit::from_code(failure.exit)
        }
    }
}
