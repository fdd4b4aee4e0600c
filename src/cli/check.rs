//! `sipring check`: is this configuration good, and what does it come to?

use super::arguments::Arguments;
use super::{Exit, terminal};

/// Prints the effective configuration as a file that loads to the same.
pub(super) fn check(arguments: Arguments) -> Exit {
    match arguments.load() {
        Ok(loaded) => terminal::result(&loaded.config.to_string()),
        Err(exit) => exit,
    }
}
