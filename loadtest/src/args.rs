//! The command line of the binary.

mod speed;

use crate::{compare, curve, evaluate, forward, load};
use sipring_loadtest::{BackendOptions, CallerOptions, Direct, Pace};
use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

pub(crate) const USAGE: &str = "\
sipring-loadtest caller --to ADDR [options]    make calls; exit 0 if none was lost, else 1
  --calls N            calls in all                   --seconds N      start calls for so long
  --rate R             calls per second, or           --ramp FROM-TO   rate from .. to, over --seconds
  --concurrent N       calls at once (default: 1)     --hold-ms A-B    ACK to BYE (default: 200-400)
  --callee-hangs-up P  percent of the calls (a `sipring-loadtest backend` is asked to)
  --direct ADDR        a backend: the baseline        --direct-every N (default: 1 call of 50)
  --bind ADDR          local address                  --open-max N     calls open at most
  --seed N             (default: 1)                   --t1-ms N        (default: 500)

sipring-loadtest backend --listen ADDR --name S [options]    answer calls until killed
  --seconds N          end after so long              --calls N        end after so many calls
  --ring-ms A-B        INVITE to 200 (default: 0-0)   --refuse STATUS  such as \"486 Busy Here\"
  --drop-per-mille N   lose datagrams on purpose      --seed N         (default: 1)
  --t1-ms N            (default: 500)

sipring-loadtest evaluate --balancer FILE --out DIR [options]    compare the policies of a balancer
  --rounds N           (default: 3)                   --lanes N        runs at a time (default: 4)
  --only A,B           these policies                 --seed N         (default: 1)
  --short              a minute: does it work?        --add            keep other policies' results
  --redraw             from DIR/results.json alone

sipring-loadtest load --backends ADDR,ADDR [options]    very many calls, own backends; prints JSON
  --to ADDR            the balancer; without it straight to the backends: what can the load do itself?
  --in-flight N        calls open at any time, or     --rate R         calls started per second
  --seconds N          measured (default: 5)          --warm-up N      before that (default: 1)
  --mix call=7,options=1,message=1,register=1         --hold-ms N      ACK to BYE (default: 0)
  --sources N          ports to call from (default: 4) --trains        UDP_SEGMENT for equal sizes
  --body N             bytes of what each MESSAGE says
  --watch PID          the balancer: CPU, memory      --plot FILE      latencies as SVG
  --seed N             (default: 1)                   --t1-ms N        (default: 500)

sipring-loadtest forward --listen ADDR --backends ADDR,ADDR --engine mmsg|mmsg-trains|uring
                       forward datagrams without reading them, until killed
  --train off|equal|pad|cut   those of a turn for one backend as one send (engine uring; default: off)
  --unconnected        sockets towards backends (engine uring)

sipring-loadtest compare --balancer FILE --out FILE [options]    balancers beside each other
  --rounds N           (default: 5)                   --only A,B       these ones
  --seconds N          of each run (default: 3)       --short          does it work?
  --redraw             from FILE.json alone

sipring-loadtest curve --figures FILE --out FILE    what curve.sh has kept, as SVG";

/// What is to be done.
#[derive(Debug)]
pub(crate) enum Command {
    Help,
    Caller(Box<CallerOptions>),
    Backend(Box<BackendRun>),
    Evaluate(evaluate::Options),
    Load(Box<load::Options>),
    Forward(forward::Options),
    Compare(compare::Options),
    Curve(curve::Options),
}

#[derive(Debug)]
pub(crate) struct BackendRun {
    pub(crate) options: BackendOptions,
    pub(crate) seconds: Option<Duration>,
    pub(crate) calls: Option<u64>,
}

pub(crate) fn parse(mut args: impl Iterator<Item = String>) -> Result<Command, String> {
    match args.next().as_deref() {
        Some("caller") => caller(args).map(|options| Command::Caller(Box::new(options))),
        Some("backend") => backend(args).map(|run| Command::Backend(Box::new(run))),
        Some("evaluate") => evaluate(args).map(Command::Evaluate),
        Some("load") => speed::load(args).map(|options| Command::Load(Box::new(options))),
        Some("forward") => speed::forward(args).map(Command::Forward),
        Some("compare") => speed::compare(args).map(Command::Compare),
        Some("curve") => speed::curve(args).map(Command::Curve),
        Some("--help" | "-h" | "help") => Ok(Command::Help),
        Some(other) => Err(format!(
            "`{other}` is no command: caller, backend, evaluate, load, forward, compare or curve"
        )),
        None => {
            Err("no command: caller, backend, evaluate, load, forward, compare or curve".to_owned())
        }
    }
}

fn caller(mut args: impl Iterator<Item = String>) -> Result<CallerOptions, String> {
    let nowhere = SocketAddr::from(([0, 0, 0, 0], 0));
    let mut options = CallerOptions::to(nowhere);
    let (mut direct, mut every, mut ramp, mut paces) = (None, 50, None, 0);
    while let Some(flag) = args.next() {
        let mut value = || args.next().ok_or(format!("{flag} needs a value"));
        match flag.as_str() {
            "--to" => options.to = number(&flag, &value()?)?,
            "--calls" => options.calls = Some(number(&flag, &value()?)?),
            "--seconds" => options.duration = Some(seconds(&flag, &value()?)?),
            "--rate" => options.pace = Pace::rate(number(&flag, &value()?)?),
            "--ramp" => ramp = Some(range::<f64>(&flag, &value()?)?),
            "--concurrent" => {
                options.pace = Pace::Closed { concurrent: number(&flag, &value()?)? };
            }
            "--hold-ms" => options.hold = millis(&flag, &value()?)?,
            "--callee-hangs-up" => {
                let percent: u16 = number(&flag, &value()?)?;
                options.callee_hangs_up_per_mille = percent.min(100) * 10;
            }
            "--direct" => direct = Some(number(&flag, &value()?)?),
            "--direct-every" => every = number(&flag, &value()?)?,
            "--bind" => options.bind = Some(number(&flag, &value()?)?),
            "--open-max" => options.open_max = number(&flag, &value()?)?,
            "--seed" => options.seed = number(&flag, &value()?)?,
            "--t1-ms" => options.t1 = Duration::from_millis(number(&flag, &value()?)?),
            _ => return Err(format!("`{flag}` is no option of caller")),
        }
        paces += u8::from(matches!(flag.as_str(), "--rate" | "--ramp" | "--concurrent"));
    }
    if options.to == nowhere {
        return Err("--to ADDR is missing: where the calls go".to_owned());
    }
    if paces > 1 {
        return Err("--rate, --ramp and --concurrent: one of them".to_owned());
    }
    if options.calls.is_none() && options.duration.is_none() {
        return Err("--calls or --seconds is missing: when to end".to_owned());
    }
    if let Some((from, to)) = ramp {
        let ramp = options.duration.ok_or("--ramp needs --seconds: over how long")?;
        options.pace = Pace::Open { from, to, ramp };
    }
    options.direct = direct.map(|to| Direct { to, every });
    Ok(options)
}

fn backend(mut args: impl Iterator<Item = String>) -> Result<BackendRun, String> {
    let (mut listen, mut name, mut end, mut calls) = (None, None, None, None);
    let mut options = BackendOptions::named("", SocketAddr::from(([127, 0, 0, 1], 0)));
    while let Some(flag) = args.next() {
        let mut value = || args.next().ok_or(format!("{flag} needs a value"));
        match flag.as_str() {
            "--listen" => listen = Some(number(&flag, &value()?)?),
            "--name" => name = Some(value()?),
            "--seconds" => end = Some(seconds(&flag, &value()?)?),
            "--calls" => calls = Some(number(&flag, &value()?)?),
            "--ring-ms" => options.ring = millis(&flag, &value()?)?,
            "--refuse" => options.refuse = Some(value()?),
            "--drop-per-mille" => options.drop_per_mille = number(&flag, &value()?)?,
            "--seed" => options.seed = number(&flag, &value()?)?,
            "--t1-ms" => options.t1 = Duration::from_millis(number(&flag, &value()?)?),
            _ => return Err(format!("`{flag}` is no option of backend")),
        }
    }
    options.listen = listen.ok_or("--listen ADDR is missing: where to answer")?;
    options.name = name.ok_or("--name S is missing: what Server says")?;
    Ok(BackendRun { options, seconds: end, calls })
}

fn evaluate(args: impl Iterator<Item = String>) -> Result<evaluate::Options, String> {
    let args: Vec<String> = args.collect();
    let command = format!("sipring-loadtest evaluate {}", args.join(" "));
    let (mut balancer, mut out) = (None, None);
    let (mut rounds, mut lanes, mut seed, mut only) = (3, 4, 1, Vec::new());
    let (mut short, mut add, mut redraw) = (false, false, false);
    let mut args = args.into_iter();
    while let Some(flag) = args.next() {
        let mut value = || args.next().ok_or(format!("{flag} needs a value"));
        match flag.as_str() {
            "--balancer" => balancer = Some(value()?.into()),
            "--out" => out = Some(value()?.into()),
            "--rounds" => rounds = number(&flag, &value()?)?,
            "--lanes" => lanes = number(&flag, &value()?)?,
            "--seed" => seed = number(&flag, &value()?)?,
            "--only" => only = value()?.split(',').map(str::to_owned).collect(),
            "--short" => short = true,
            "--add" => add = true,
            "--redraw" => redraw = true,
            _ => return Err(format!("`{flag}` is no option of evaluate")),
        }
    }
    if balancer.is_none() && !redraw {
        return Err("--balancer FILE is missing: the binary that is measured".to_owned());
    }
    if rounds == 0 || !(1..=64).contains(&lanes) {
        return Err("--rounds: 1 or more; --lanes: 1 to 64".to_owned());
    }
    Ok(evaluate::Options {
        balancer: balancer.unwrap_or_default(),
        out: out.ok_or("--out DIR is missing: where the results go")?,
        rounds,
        lanes,
        seed,
        only,
        short,
        add,
        redraw,
        command,
    })
}

fn number<T: FromStr>(flag: &str, text: &str) -> Result<T, String> {
    let what = match flag {
        "--to" | "--direct" | "--bind" | "--listen" | "--backends" => {
            "an address and port, 127.0.0.1:5060"
        }
        _ => "a number in range",
    };
    text.parse().map_err(|_| format!("{flag} {text}: {what} would be right"))
}

fn seconds(flag: &str, text: &str) -> Result<Duration, String> {
    Duration::try_from_secs_f64(number(flag, text)?)
        .map_err(|_| format!("{flag} {text}: seconds, 0 or more, would be right"))
}

/// `A-B`, or `A` for both.
fn range<T: FromStr + Copy>(flag: &str, text: &str) -> Result<(T, T), String> {
    match text.split_once('-') {
        Some((from, to)) => Ok((number(flag, from)?, number(flag, to)?)),
        None => number(flag, text).map(|both| (both, both)),
    }
}

fn millis(flag: &str, text: &str) -> Result<(Duration, Duration), String> {
    let (from, to) = range(flag, text)?;
    Ok((Duration::from_millis(from), Duration::from_millis(to)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Result<Command, String> {
        parse(text.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn a_caller_gets_what_was_typed() {
        let line = "caller --to [::1]:5060 --calls 9 --ramp 50-500 --seconds 20 --hold-ms 10-20 \
                    --callee-hangs-up 25 --direct [::1]:7 --seed 3";
        let Ok(Command::Caller(options)) = words(line) else { panic!("{:?}", words(line)) };
        let ramp = Duration::from_secs(20);
        assert_eq!(options.pace, Pace::Open { from: 50.0, to: 500.0, ramp });
        assert_eq!(options.hold, (Duration::from_millis(10), Duration::from_millis(20)));
        assert_eq!((options.calls, options.callee_hangs_up_per_mille), (Some(9), 250));
        assert_eq!(options.direct.map(|direct| direct.every), Some(50));
    }

    #[test]
    fn a_backend_gets_what_was_typed() {
        let line = "backend --listen 127.0.0.1:0 --name b --ring-ms 5 --drop-per-mille 30";
        let Ok(Command::Backend(run)) = words(line) else { panic!("{:?}", words(line)) };
        assert_eq!(run.options.ring, (Duration::from_millis(5), Duration::from_millis(5)));
        assert_eq!((run.options.name.as_str(), run.options.drop_per_mille), ("b", 30));
    }

    #[test]
    fn an_evaluation_gets_what_was_typed() {
        let line = "evaluate --balancer b --out d --rounds 2 --only least-work,random --short";
        let Ok(Command::Evaluate(options)) = words(line) else { panic!("{:?}", words(line)) };
        assert_eq!((options.rounds, options.lanes, options.short), (2, 4, true));
        assert_eq!(options.only, ["least-work", "random"]);
        assert_eq!(options.command, format!("sipring-loadtest {line}"));
    }

    #[test]
    fn mistakes_are_named() {
        for (line, names) in [
            ("", "no command"),
            ("listen", "`listen`"),
            ("caller --calls 1", "--to"),
            ("caller --to 127.0.0.1:1", "--calls or --seconds"),
            ("caller --to localhost --calls 1", "--to localhost"),
            ("caller --to 127.0.0.1:1 --calls 1 --rate 1 --concurrent 1", "one of them"),
            ("caller --to 127.0.0.1:1 --calls 1 --ramp 1-2", "--seconds"),
            ("caller --to 127.0.0.1:1 --calls", "--calls needs a value"),
            ("caller --to 127.0.0.1:1 --seconds -1", "--seconds -1"),
            ("backend --listen 127.0.0.1:0", "--name"),
            ("backend --name b", "--listen"),
            ("backend --rate 1", "`--rate`"),
            ("evaluate --out d", "--balancer"),
            ("evaluate --balancer b", "--out"),
            ("evaluate --balancer b --out d --lanes 0", "--lanes"),
            ("evaluate --balancer b --out d --rate 1", "`--rate`"),
            ("curve --figures f", "--out"),
            ("curve --out f", "--figures"),
        ] {
            match words(line) {
                Err(text) => assert!(text.contains(names), "{line}: {text}"),
                Ok(command) => panic!("{line}: {command:?}"),
            }
        }
    }
}
