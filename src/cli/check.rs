//! `sipring check`: is this configuration good, what does it come to, and what would a reload do?

use super::arguments::Arguments;
use super::ctl::running_config;
use super::{Exit, terminal};
use crate::config::{self, Config, Flags, Text};
use clap::Args;

/// The flags of `run`, and whom to compare with.
#[derive(Args, Clone, Debug)]
pub(super) struct CheckArguments {
    #[command(flatten)]
    config: Arguments,

    /// Say what a reload of the running balancer would change, and what would wait for a restart; it is
    /// asked at the admin socket or address of this configuration
    #[arg(long)]
    diff: bool,
}

/// Prints the effective configuration as a file that loads to the same, or the difference from the
/// running one.
pub(super) fn check(arguments: CheckArguments) -> Exit {
    let loaded = match arguments.config.load() {
        Ok(loaded) => loaded,
        Err(exit) => return exit,
    };
    if !arguments.diff {
        return terminal::result(&loaded.config.to_string());
    }
    let running = running_config(&loaded.config).and_then(|text| running(text, &loaded.config));
    match running {
        Ok(running) => {
            let diff = running.diff(&loaded.config);
            let nothing = if diff.is_empty() { "no difference\n" } else { "" };
            terminal::result(&format!("{diff}{nothing}"))
        }
        Err(exit) => exit,
    }
}

/// The running configuration; its keys are never told, so they count as those of the file.
fn running(text: String, file: &Config) -> Result<Config, Exit> {
    let text = Text { name: "the running configuration".to_owned(), bytes: text.into_bytes() };
    match config::load(Some(&text), &Flags::default()) {
        Ok(mut running) => {
            running.config.cluster.current = file.cluster.current;
            running.config.cluster.previous = file.cluster.previous;
            Ok(running.config)
        }
        Err(report) => {
            terminal::error(
                "the running balancer has a configuration that this version cannot read",
            );
            terminal::say(&report.render(false));
            Err(Exit::Failure)
        }
    }
}
