//! `sipring demo`: a balancer, backends and a caller in one process; calls flow while a backend is
//! drained, one dies, and the config changes; the exit code says whether a call was lost.
//!
//! `play` runs the show against anything that is a [`front::Front`]; `balancer` makes the real one.
//! `scenes` has what happens, `script` when.

mod balancer;
mod facts;
mod file;
mod front;
mod play;
mod ports;
mod scenes;
mod script;
mod show;
mod verdict;

use super::{Exit, terminal};
use crate::control::Failure;
use balancer::RealBalancer;
use clap::Args;
use file::Wishes;
use play::Cast;
use script::Script;
use show::Screen;
use sipring_loadtest::{Backend, BackendOptions};
use std::io::IsTerminal;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

/// The backends; the last one joins on the way.
const BACKENDS: [&str; 5] = ["backend-1", "backend-2", "backend-3", "backend-4", "backend-5"];
/// Those that the pool begins with.
const FIRST: usize = 4;

/// How long it runs, and what is drawn.
#[derive(Args, Clone, Copy, Debug)]
pub(super) struct Arguments {
    /// How long the demo runs, seconds
    #[arg(long, value_name = "N", default_value_t = 24,
          value_parser = clap::value_parser!(u64).range(5..=3600))]
    seconds: u64,

    /// Decides names, Call-IDs and hold times, and with them the backend of each call
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
}

/// Runs the demo. [`Exit::Failure`] if a call was lost, a dialog changed its backend, or a scene did
/// not go as it should.
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
    let mut cast = cast(&script, arguments.seed)?;
    screen.line(&format!("sipring demo: {}", cast.front.summary()));
    screen.line(
        "added: how much longer an INVITE waits for its first response through the balancer than \
         directly",
    );
    let verdict = play::play(&mut cast, &script, &mut scenes::all(), screen)?;
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

fn cast(script: &Script, seed: u64) -> Result<Cast<RealBalancer>, Failure> {
    // Somebody may take a port between the look and the start.
    let backends =
        backends(seed, 0).or_else(|_| backends(seed, 1)).or_else(|_| backends(seed, 2))?;
    // The baseline answers direct calls only, so that they are in nobody's share.
    let baseline = backend("baseline", 0, seed)?;
    let named = |backend: &Backend| (backend.name().to_owned(), backend.address());
    let pool: Vec<_> = backends.iter().take(FIRST).map(named).collect();
    let wishes = Wishes { seed, slow_start: script.slow_start() };
    Ok(Cast { front: RealBalancer::start(&pool, wishes)?, backends, baseline })
}

fn backends(seed: u64, attempt: u16) -> Result<Vec<Backend>, Failure> {
    let mut ports = ports::free_range(BACKENDS.len() as u16, attempt).into_iter().flatten();
    BACKENDS.iter().map(|name| backend(name, ports.next().unwrap_or(0), seed)).collect()
}

fn backend(name: &str, port: u16, seed: u64) -> Result<Backend, Failure> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    Backend::start(BackendOptions { seed, ..BackendOptions::named(name, address) }).map_err(|e| {
        Failure::unavailable(format!("{name} of the demo needs a free UDP port on 127.0.0.1: {e}"))
    })
}
