//! The commands that measure speed: `load`, `forward`, `compare`; `curve`, which draws it.

use super::{number, seconds};
use crate::load::{self, Mix};
use crate::{compare, curve, forward};
use std::net::SocketAddrV4;
use std::time::Duration;

pub(super) fn load(args: impl Iterator<Item = String>) -> Result<load::Options, String> {
    let args: Vec<String> = args.collect();
    let mut pace = None;
    let mut options = load::Options {
        to: None,
        backends: Vec::new(),
        sources: 4,
        pace: load::Pace::Closed { in_flight: 1 },
        mix: Mix::CALLS,
        body: None,
        hold: Duration::ZERO,
        warm_up: Duration::from_secs(1),
        length: Duration::from_secs(5),
        t1: Duration::from_millis(500),
        seed: 1,
        trains: false,
        watch: None,
        plot: None,
        command: format!("sipring-loadtest load {}", args.join(" ")),
    };
    let mut args = args.into_iter();
    while let Some(flag) = args.next() {
        let mut value = || args.next().ok_or(format!("{flag} needs a value"));
        match flag.as_str() {
            "--to" => options.to = Some(number(&flag, &value()?)?),
            "--backends" => options.backends = addresses(&flag, &value()?)?,
            "--in-flight" => {
                let in_flight = number(&flag, &value()?)?;
                pace = Some(load::Pace::Closed { in_flight });
            }
            "--rate" => pace = Some(load::Pace::Open { rate: number(&flag, &value()?)? }),
            "--seconds" => options.length = seconds(&flag, &value()?)?,
            "--warm-up" => options.warm_up = seconds(&flag, &value()?)?,
            "--mix" => {
                let text = value()?;
                options.mix = Mix::parse(&text)
                    .ok_or(format!("--mix {text}: call=7,options=1 would be right"))?;
            }
            "--body" => options.body = Some(number(&flag, &value()?)?),
            "--hold-ms" => options.hold = Duration::from_millis(number(&flag, &value()?)?),
            "--sources" => options.sources = number(&flag, &value()?)?,
            "--trains" => options.trains = true,
            "--watch" => options.watch = Some(number(&flag, &value()?)?),
            "--plot" => options.plot = Some(value()?.into()),
            "--seed" => options.seed = number(&flag, &value()?)?,
            "--t1-ms" => options.t1 = Duration::from_millis(number(&flag, &value()?)?),
            _ => return Err(format!("`{flag}` is no option of load")),
        }
    }
    options.pace = pace.ok_or("--in-flight or --rate is missing: when calls start")?;
    if options.backends.is_empty() {
        return Err("--backends ADDR,ADDR is missing: where calls are answered".to_owned());
    }
    if options.sources == 0 || options.length.is_zero() {
        return Err("--sources and --seconds: more than 0".to_owned());
    }
    match options.pace {
        load::Pace::Open { rate } if !(rate > 0.0 && rate.is_finite()) => {
            Err(format!("--rate {rate}: calls per second, more than 0, would be right"))
        }
        load::Pace::Closed { in_flight }
            if !(1..=load::OPEN_MAX).contains(&(in_flight as usize)) =>
        {
            Err(format!("--in-flight {in_flight}: 1 to {} would be right", load::OPEN_MAX))
        }
        _ => Ok(options),
    }
}

pub(super) fn forward(mut args: impl Iterator<Item = String>) -> Result<forward::Options, String> {
    let (mut listen, mut backends, mut engine) = (None, Vec::new(), None);
    let (mut coupling, mut connected) = (forward::Coupling::Off, true);
    while let Some(flag) = args.next() {
        let mut value = || args.next().ok_or(format!("{flag} needs a value"));
        match flag.as_str() {
            "--listen" => listen = Some(number(&flag, &value()?)?),
            "--backends" => backends = addresses(&flag, &value()?)?,
            "--engine" => {
                engine = Some(match value()?.as_str() {
                    "mmsg" => forward::Engine::Mmsg,
                    "mmsg-trains" => forward::Engine::MmsgTrains,
                    "uring" => forward::Engine::Uring,
                    other => {
                        return Err(format!("--engine {other}: mmsg, mmsg-trains or uring"));
                    }
                });
            }
            "--train" => {
                coupling = match value()?.as_str() {
                    "off" => forward::Coupling::Off,
                    "equal" => forward::Coupling::Equal,
                    "pad" => forward::Coupling::Pad,
                    "cut" => forward::Coupling::Cut,
                    other => return Err(format!("--train {other}: off, equal, pad or cut")),
                };
            }
            "--unconnected" => connected = false,
            _ => return Err(format!("`{flag}` is no option of forward")),
        }
    }
    let is_of_uring = coupling != forward::Coupling::Off || !connected;
    if is_of_uring && engine != Some(forward::Engine::Uring) {
        return Err("--train and --unconnected are for --engine uring".to_owned());
    }
    if backends.is_empty() {
        return Err("--backends ADDR,ADDR is missing: where datagrams go".to_owned());
    }
    Ok(forward::Options {
        listen: listen.ok_or("--listen ADDR is missing: where clients send to")?,
        backends,
        engine: engine.ok_or("--engine is missing: mmsg, mmsg-trains or uring")?,
        coupling,
        connected,
    })
}

pub(super) fn compare(args: impl Iterator<Item = String>) -> Result<compare::Options, String> {
    let args: Vec<String> = args.collect();
    let command = format!("sipring-loadtest compare {}", args.join(" "));
    let (mut balancer, mut out, mut only) = (None, None, Vec::new());
    let (mut rounds, mut length) = (5, Duration::from_secs(3));
    let (mut short, mut redraw) = (false, false);
    let mut args = args.into_iter();
    while let Some(flag) = args.next() {
        let mut value = || args.next().ok_or(format!("{flag} needs a value"));
        match flag.as_str() {
            "--balancer" => balancer = Some(value()?.into()),
            "--out" => out = Some(value()?.into()),
            "--rounds" => rounds = number(&flag, &value()?)?,
            "--seconds" => length = seconds(&flag, &value()?)?,
            "--only" => only = value()?.split(',').map(str::to_owned).collect(),
            "--short" => short = true,
            "--redraw" => redraw = true,
            _ => return Err(format!("`{flag}` is no option of compare")),
        }
    }
    if balancer.is_none() && !redraw {
        return Err("--balancer FILE is missing: the binary that is measured".to_owned());
    }
    if rounds == 0 || length.is_zero() {
        return Err("--rounds and --seconds: more than 0".to_owned());
    }
    Ok(compare::Options {
        balancer: balancer.unwrap_or_default(),
        out: out.ok_or("--out FILE is missing: the results, without an ending")?,
        rounds: if short { 1 } else { rounds },
        length: if short { Duration::from_millis(500) } else { length },
        only,
        short,
        redraw,
        command,
    })
}

pub(super) fn curve(mut args: impl Iterator<Item = String>) -> Result<curve::Options, String> {
    let (mut figures, mut out) = (None, None);
    while let Some(flag) = args.next() {
        let mut value = || args.next().ok_or(format!("{flag} needs a value"));
        match flag.as_str() {
            "--figures" => figures = Some(value()?.into()),
            "--out" => out = Some(value()?.into()),
            _ => return Err(format!("`{flag}` is no option of curve")),
        }
    }
    Ok(curve::Options {
        figures: figures.ok_or("--figures FILE is missing: what curve.sh has kept")?,
        out: out.ok_or("--out FILE is missing: the drawing")?,
    })
}

fn addresses(flag: &str, text: &str) -> Result<Vec<SocketAddrV4>, String> {
    text.split(',').map(|address| number(flag, address)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> impl Iterator<Item = String> {
        text.split_whitespace().map(str::to_owned)
    }

    #[test]
    fn a_load_gets_what_was_typed() {
        let line = "--to 127.0.0.1:1 --backends 127.0.0.1:2,127.0.0.1:3 --rate 1500 --seconds 0.5 \
                    --mix call=7,options=1 --hold-ms 20 --sources 8 --trains --watch 77 --body 900";
        let options = load(words(line)).unwrap();
        assert_eq!(options.body, Some(900));
        assert_eq!((options.backends.len(), options.sources, options.trains), (2, 8, true));
        assert_eq!(options.pace, load::Pace::Open { rate: 1500.0 });
        assert_eq!((options.mix, options.watch), (Mix([7, 1, 0, 0]), Some(77)));
        assert_eq!(options.length, Duration::from_millis(500));
        let direct = load(words("--backends 127.0.0.1:2 --in-flight 9")).unwrap();
        assert_eq!((direct.to, direct.pace), (None, load::Pace::Closed { in_flight: 9 }));
    }

    #[test]
    fn a_forwarder_and_a_comparison_get_what_was_typed() {
        let line = "--listen 127.0.0.1:1 --backends 127.0.0.1:2 --engine mmsg-trains";
        let mmsg = forward(words(line)).unwrap();
        assert_eq!((mmsg.engine, mmsg.connected), (forward::Engine::MmsgTrains, true));
        let line =
            "--listen 127.0.0.1:1 --backends 127.0.0.1:2 --engine uring --train cut --unconnected";
        let uring = forward(words(line)).unwrap();
        assert_eq!((uring.coupling, uring.connected), (forward::Coupling::Cut, false));
        let options = compare(words("--balancer b --out o --only uring,sipring --short")).unwrap();
        assert_eq!((options.rounds, options.only.len()), (1, 2));
        assert_eq!(
            options.command,
            "sipring-loadtest compare --balancer b --out o --only uring,sipring --short"
        );
    }

    #[test]
    fn mistakes_are_named() {
        for (line, names) in [
            ("--rate 1", "--backends"),
            ("--backends 127.0.0.1:1", "--in-flight or --rate"),
            ("--backends localhost --rate 1", "--backends localhost"),
            ("--backends 127.0.0.1:1 --rate 0", "--rate 0"),
            ("--backends 127.0.0.1:1 --rate inf", "--rate inf"),
            ("--backends 127.0.0.1:1 --in-flight 0", "1 to 131072"),
            ("--backends 127.0.0.1:1 --in-flight 131073", "1 to 131072"),
            ("--backends 127.0.0.1:1 --rate 1 --mix fax=1", "--mix fax=1"),
            ("--backends 127.0.0.1:1 --rate 1 --sources 0", "--sources"),
        ] {
            let text = load(words(line)).unwrap_err();
            assert!(text.contains(names), "{line}: {text}");
        }
        for (line, names) in [
            ("--backends 127.0.0.1:1 --engine uring", "--listen"),
            ("--listen 127.0.0.1:1 --engine uring", "--backends"),
            ("--listen 127.0.0.1:1 --backends 127.0.0.1:1", "--engine is missing"),
            ("--engine epoll", "--engine epoll"),
            ("--train long", "--train long"),
            (
                "--listen 127.0.0.1:1 --backends 127.0.0.1:1 --engine mmsg --train pad",
                "--engine uring",
            ),
        ] {
            let text = forward(words(line)).unwrap_err();
            assert!(text.contains(names), "{line}: {text}");
        }
        assert!(compare(words("--out o")).unwrap_err().contains("--balancer"));
        assert!(compare(words("--balancer b")).unwrap_err().contains("--out"));
        assert!(
            compare(words("--balancer b --out o --rounds 0")).unwrap_err().contains("--rounds")
        );
    }
}
