//! The command line: one file a subcommand.
//!
//! A new subcommand is a file with `fn name(arguments) -> Exit`, a variant of `Command`, and an
//! arm in `dispatch`.

mod arguments;
mod check;
mod ctl;
mod demo;
mod doctor;
mod exit;
mod run;
mod terminal;

pub use exit::Exit;

use arguments::Arguments;
use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Runs the program and says how it ended.
pub fn main() -> ExitCode {
    match Cli::try_parse() {
        Ok(cli) => dispatch(cli.command).into(),
        Err(error) => {
            // Help and version go to standard output and are no error; clap knows which is which.
            let _ = error.print();
            if error.use_stderr() { Exit::Usage.into() } else { Exit::Success.into() }
        }
    }
}

fn dispatch(command: Command) -> Exit {
    match command {
        Command::Run(arguments) => run::run(arguments),
        Command::Check(arguments) => check::check(arguments),
        Command::Ctl(arguments) => ctl::ctl(arguments),
        Command::Demo(arguments) => demo::demo(arguments),
        Command::Doctor(arguments) => doctor::doctor(arguments),
    }
}

/// A SIP load balancer on io_uring.
#[derive(Debug, Parser)]
#[command(name = "sipring", version, arg_required_else_help = true, after_help = EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Balance SIP until told to end
    ///
    /// Flags alone are enough; with a file, --listen and --backend add to it, and every other flag
    /// replaces the file's value.
    #[command(after_help = RUN_EXAMPLES)]
    Run(Arguments),

    /// Check a configuration and print what it comes to, defaults included
    ///
    /// Takes the flags of `run`. Warnings and problems go to standard error with file, line and
    /// column.
    Check(check::CheckArguments),

    /// Ask a running balancer, and tell it
    ///
    /// Exits with 69 when none answers, 77 when you may not ask there, 78 when a reload was refused
    /// and 1 when anything else was.
    #[command(after_help = CTL_EXAMPLES)]
    Ctl(ctl::Arguments),

    /// Show it: a balancer, backends and a caller on free loopback ports; a backend is drained, one
    /// dies and comes back, the config is reloaded, and a broken one is refused
    ///
    /// Exits with 0 only if no call was lost, no dialog changed its backend and all of this happened.
    Demo(demo::Arguments),

    /// Look at this machine: kernel, limits, ports, network cards, and what to do about each
    ///
    /// Takes the flags of `run`, to judge it for that configuration. Exits with 69 if the balancer would
    /// not start.
    Doctor(doctor::DoctorArguments),
}

const RUN_EXAMPLES: &str = "\
Examples:
  sipring run --listen udp:0.0.0.0:5060 --backend 10.0.0.11 --backend 10.0.0.12,weight=2
  sipring run --config /etc/sipring/sipring.toml";

const CTL_EXAMPLES: &str = "\
Examples:
  sipring ctl backends
  sipring ctl drain proxy-1 --deadline 3600
  sipring ctl where 'a84b4c76e66710@pc33.atlanta.example.com'";

const EXIT_CODES: &str = "\
Exit codes:
  0 done   1 failed while running   2 wrong command line   69 port busy or kernel too old
  77 no permission   78 bad config   130 interrupted";
