//! The `sipring-loadtest` binary: `caller` makes calls and says what came of them, `backend`
//! answers them, `evaluate` compares the policies of a balancer. `load` is as fast as a core allows,
//! `forward` the least that can stand in between, `compare` sets balancers side by side. Progress goes
//! to standard error; `caller`, `backend` and `load` print one JSON object to standard output.

mod args;
mod bars;
mod compare;
mod curve;
mod evaluate;
mod forward;
mod kernel;
mod load;
mod svg;

use args::{BackendRun, Command};
use sipring_loadtest::{Backend, Caller, CallerOptions, CallerReport};
use std::io::{ErrorKind, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Calls were lost.
const LOST: u8 = 1;
/// The command line is wrong.
const USAGE: u8 = 2;
/// A socket cannot be had.
const UNAVAILABLE: u8 = 69;

/// After the last start a call has its hold time and a time-out of 64*T1 each for its INVITE and
/// its BYE; then everything has ended.
const TIMEOUTS: u32 = 3 * 64;

fn main() -> ExitCode {
    match args::parse(std::env::args().skip(1)) {
        Ok(Command::Help) => {
            print(args::USAGE);
            ExitCode::SUCCESS
        }
        Ok(Command::Caller(options)) => caller(*options),
        Ok(Command::Backend(run)) => backend(*run),
        Ok(Command::Evaluate(options)) => ended(evaluate::evaluate(&options), "evaluation"),
        Ok(Command::Load(options)) => run_load(&options),
        Ok(Command::Forward(options)) => ended(forward::forward(&options), "forwarder"),
        Ok(Command::Compare(options)) => ended(compare::compare(&options), "comparison"),
        Ok(Command::Curve(options)) => ended(curve::curve(&options), "drawing"),
        Err(text) => {
            eprintln!("sipring-loadtest: {text}\n\n{}", args::USAGE);
            ExitCode::from(USAGE)
        }
    }
}

fn caller(options: CallerOptions) -> ExitCode {
    let patience = options.hold.1 + options.t1 * TIMEOUTS;
    let caller = match Caller::start(options.clone()) {
        Ok(caller) => caller,
        Err(e) => return refused("caller", &e),
    };
    eprintln!("calling {} from {}", options.to, caller.local());
    let (begin, mut quiet_since, mut before) = (Instant::now(), Instant::now(), 0);
    while !caller.wait(Duration::from_secs(1)) {
        let started =
            caller.report().through.started.value() + caller.report().direct.started.value();
        if started > before {
            quiet_since = Instant::now();
        } else if quiet_since.elapsed() > patience {
            break;
        }
        progress(caller.report(), begin.elapsed(), started - before);
        before = started;
    }
    let report = caller.report();
    print(&report.json());
    let lost = [&report.through, &report.direct].map(|tally| tally.lost() + tally.open());
    if lost == [0, 0] { ExitCode::SUCCESS } else { ExitCode::from(LOST) }
}

fn progress(report: &CallerReport, elapsed: Duration, starts: u64) {
    let micros = |share| {
        let latency = report.through.first_response.quantile(share);
        latency.map_or("-".to_owned(), |latency| latency.as_micros().to_string())
    };
    eprintln!(
        "{:4} s  {starts} calls/s  {} open  {} completed  {} lost  first response p50 {} us p99 {} us",
        elapsed.as_secs(),
        report.through.open() + report.direct.open(),
        report.through.completed.value() + report.direct.completed.value(),
        report.through.lost() + report.direct.lost(),
        micros(0.5),
        micros(0.99),
    );
}

fn backend(run: BackendRun) -> ExitCode {
    let backend = match Backend::start(run.options) {
        Ok(backend) => backend,
        Err(e) => return refused("backend", &e),
    };
    eprintln!("{} answers on {}", backend.name(), backend.address());
    let begin = Instant::now();
    let over = |report: &sipring_loadtest::BackendReport| {
        let ended = report.new_calls.value() - report.dialogs.value();
        run.seconds.is_some_and(|seconds| begin.elapsed() >= seconds)
            || run.calls.is_some_and(|calls| ended >= calls)
    };
    while !over(backend.report()) {
        std::thread::sleep(Duration::from_millis(20));
    }
    print(&backend.report().json(backend.name()));
    ExitCode::SUCCESS
}

fn run_load(options: &load::Options) -> ExitCode {
    match load::run(options) {
        Ok(report) => {
            eprintln!("{report}");
            print(&serde_json::to_string(&report).unwrap_or_default());
            let lost = report.lost.sum() + report.wrong_backend;
            if lost == 0 { ExitCode::SUCCESS } else { ExitCode::from(LOST) }
        }
        Err(e) => refused("load", &e),
    }
}

fn ended(result: std::io::Result<()>, what: &str) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("sipring-loadtest: no {what}: {e}");
            ExitCode::from(UNAVAILABLE)
        }
    }
}

fn refused(what: &str, error: &std::io::Error) -> ExitCode {
    eprintln!("sipring-loadtest: no {what}: {error}");
    ExitCode::from(if error.kind() == ErrorKind::InvalidInput { USAGE } else { UNAVAILABLE })
}

/// A reader that has gone away is no reason to fail.
fn print(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}
