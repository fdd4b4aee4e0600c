//! `sipring demo`: a balancer, four backends and a caller in one process; calls flow, and the exit
//! code says whether one was lost.
//!
//! `play` runs the show against anything that is a [`play::Front`]; `balancer` makes the real one.

mod balancer;
mod facts;
mod play;
mod show;
mod verdict;

use super::{Exit, terminal};
use crate::control::Failure;
use balancer::RealBalancer;
use clap::Args;
use play::{Cast, Script};
use show::Screen;
use sipring_loadtest::{Backend, BackendOptions};
use std::io::IsTerminal;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

/// The backends of the pool.
const BACKENDS: [&str; 4] = ["backend-1", "backend-2", "backend-3", "backend-4"];

/// How long it runs, and what is drawn.
#[derive(Args, Clone, Copy, Debug)]
pub(super) struct Arguments {
    /// How long the demo runs, seconds
    #[arg(long, value_name = "N", default_value_t = 20,
          value_parser = clap::value_parser!(u64).range(5..=3600))]
    seconds: u64,

    /// Decides names, Call-IDs and hold times, and with them the backend of each call
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
}

/// Runs the demo. [`Exit::Failure`] if a call was lost, a dialog changed its backend, or the drained
/// backend got a new call.
pub(super) fn demo(arguments: Arguments) -> Exit {
    let out = std::io::stdout();
    let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
    let mut screen = Screen::new(out.lock(), out.is_terminal() && !dumb);
    match perform(arguments, &mut screen) {
        Ok(exit) => exit,
        Err(failure) => {
            terminal::error(&failure.text);
            Exit::from_code(failure.exit)
        }
    }
}

fn perform<W: std::io::Write>(
    arguments: Arguments,
    screen: &mut Screen<W>,
) -> Result<Exit, Failure> {
    let script = Script::of(Duration::from_secs(arguments.seconds), arguments.seed);
    let backends = BACKENDS.map(|name| backend(name, arguments.seed));
    let backends = backends.into_iter().collect::<Result<Vec<_>, _>>()?;
    // The baseline answers direct calls only, so that they are in nobody's share.
    let baseline = backend("baseline", arguments.seed)?;
    let pool: Vec<_> = backends.iter().map(|b| (b.name().to_owned(), b.address())).collect();
    let front = RealBalancer::start(&pool, arguments.seed)?;
    screen.line(&format!("sipring demo: {}", front.summary()));
    screen.line(
        "added: how much longer an INVITE waits for its first response through the balancer than \
         directly",
    );

    let cast = Cast { front, backends, baseline };
    let verdict = play::play(&cast, &script, screen)?;
    cast.front.stop();
    screen.line(&verdict.to_string());
    if !verdict.good() {
        return Ok(Exit::Failure);
    }
    screen.line(
        "Next: sipring run --listen udp:ADDRESS:5060 --backend HOST:5060 --backend HOST:5060",
    );
    Ok(Exit::Success)
}

fn backend(name: &str, seed: u64) -> Result<Backend, Failure> {
    let free = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    Backend::start(BackendOptions { seed, ..BackendOptions::named(name, free) }).map_err(|e| {
        Failure::unavailable(format!("{name} of the demo needs a free UDP port on 127.0.0.1: {e}"))
    })
}
