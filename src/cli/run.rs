//! `sipring run`: the balancer, until it is told to end.

use super::arguments::Arguments;
use super::{Exit, terminal};
use crate::config::Config;
use crate::control;

/// Loads the configuration and serves.
pub(super) fn run(arguments: Arguments) -> Exit {
    match arguments.load() {
        Ok(loaded) => serve(loaded.config),
        Err(exit) => exit,
    }
}

/// The one door to the control room.
fn serve(config: Config) -> Exit {
    match control::run(config) {
        Ok(()) => Exit::Success,
        Err(failure) => {
            terminal::error(&failure.text);
            Exit::from_code(failure.exit)
        }
    }
}
