//! `sipring run`: the balancer, until it is told to end.

use super::arguments::Arguments;
use super::{Exit, terminal};
use crate::config::Config;

/// Loads the configuration and serves.
pub(super) fn run(arguments: Arguments) -> Exit {
    match arguments.load() {
        Ok(loaded) => serve(loaded.config),
        Err(exit) => exit,
    }
}

/// The one door to the control room.
fn serve(config: Config) -> Exit {
    let _ = config;
    terminal::error("this build has no workers");
    Exit::Unavailable
}
