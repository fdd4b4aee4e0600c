//! The show: calls ramp up, one backend is drained and comes back, and every call is followed.

use super::facts::Meter;
use super::show::Screen;
use super::verdict::Verdict;
use crate::control::Failure;
use sipring_loadtest::{Backend, Caller, CallerOptions, Direct, Pace};
use std::io::Write;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// The place of the backend that is drained on the way.
const DRAINED: usize = 1;
/// One call of this many goes directly to the baseline.
const DIRECT_EVERY: u64 = 10;
/// How long calls may take to end after the last one should have: a time-out of 64*T1 and some.
const PATIENCE: Duration = Duration::from_secs(40);

/// What stands between caller and backends.
pub(super) trait Front {
    /// Where calls go.
    fn address(&self) -> SocketAddr;
    /// Takes new calls from a backend, or gives them back.
    fn set_drained(&self, backend: &str, drained: bool) -> Result<(), Failure>;
    /// Messages thrown away so far.
    fn drops(&self) -> u64;
    /// True once it serves only a part of the calls.
    fn failed(&self) -> bool;
}

/// Who plays.
#[derive(Debug)]
pub(super) struct Cast<F> {
    pub(super) front: F,
    pub(super) backends: Vec<Backend>,
    pub(super) baseline: Backend,
}

/// When what happens, counted from the start; everything follows from the length.
#[derive(Clone, Copy, Debug)]
pub(super) struct Script {
    length: Duration,
    seed: u64,
    /// Calls per second at the start and from `ready_at` on.
    rates: (f64, f64),
    /// The caller's T1.
    t1: Duration,
}

impl Script {
    /// A show of this length, with 50 to 500 calls a second.
    pub(super) fn of(length: Duration, seed: u64) -> Self {
        Self { length, seed, rates: (50.0, 500.0), t1: Duration::from_millis(500) }
    }

    fn drain_at(&self) -> Duration {
        self.length.mul_f64(0.4)
    }

    /// From here on the drained backend must get no new call. What was on its way when it was
    /// drained has arrived by then, an INVITE that is repeated after T1 (500 ms) included.
    fn settled_at(&self) -> Duration {
        self.drain_at() + self.length.mul_f64(0.1).min(Duration::from_secs(1))
    }

    fn ready_at(&self) -> Duration {
        self.length.mul_f64(0.7)
    }

    fn last_start(&self) -> Duration {
        self.length - self.hold().1
    }

    /// Short enough for the drained backend's dialogs to end while one looks.
    fn hold(&self) -> (Duration, Duration) {
        let longest = self.length.mul_f64(0.1).min(Duration::from_secs(2));
        (longest / 5, longest)
    }

    fn caller(&self, to: SocketAddr, baseline: SocketAddr) -> CallerOptions {
        // The rates are those through the balancer; direct calls come on top.
        let both = DIRECT_EVERY as f64 / (DIRECT_EVERY - 1) as f64;
        let (from, rate) = (self.rates.0 * both, self.rates.1 * both);
        CallerOptions {
            pace: Pace::Open { from, to: rate, ramp: self.ready_at() },
            duration: Some(self.last_start()),
            hold: self.hold(),
            callee_hangs_up_per_mille: 200,
            seed: self.seed,
            t1: self.t1,
            direct: Some(Direct { to: baseline, every: DIRECT_EVERY }),
            ..CallerOptions::to(to)
        }
    }
}

/// Runs the show to its end.
pub(super) fn play<F: Front, W: Write>(
    cast: &Cast<F>,
    script: &Script,
    screen: &mut Screen<W>,
) -> Result<Verdict, Failure> {
    let options = script.caller(cast.front.address(), cast.baseline.address());
    let caller = Caller::start(options)
        .map_err(|e| Failure::unavailable(format!("the demo's caller needs a UDP port: {e}")))?;
    let begin = Instant::now();
    let mut stage = Stage { cast, caller, screen, next: Cue::Drain, seen: 0, to_drained: None };
    let mut meter = Meter::default();
    loop {
        let frame_at = Duration::from_secs(meter.second() + 1);
        let cue_at = stage.next.at(script).unwrap_or(Duration::MAX);
        let wait = frame_at.min(cue_at).saturating_sub(begin.elapsed());
        std::thread::sleep(wait.min(Duration::from_millis(50)));
        let now = begin.elapsed();
        if now >= cue_at {
            stage.act(now)?;
        }
        if now >= frame_at {
            let drained = matches!(stage.next, Cue::Settled | Cue::Ready).then_some(DRAINED);
            let facts = meter.read(stage.cast, stage.caller.report(), drained);
            stage.screen.frame(&facts);
        }
        if stage.over(now, script) {
            return Ok(stage.verdict());
        }
    }
}

/// What happens next to the backend that is drained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cue {
    Drain,
    Settled,
    Ready,
    Nothing,
}

impl Cue {
    fn at(self, script: &Script) -> Option<Duration> {
        match self {
            Self::Drain => Some(script.drain_at()),
            Self::Settled => Some(script.settled_at()),
            Self::Ready => Some(script.ready_at()),
            Self::Nothing => None,
        }
    }
}

struct Stage<'a, F, W: Write> {
    cast: &'a Cast<F>,
    caller: Caller,
    screen: &'a mut Screen<W>,
    next: Cue,
    /// New calls of the drained backend when it had settled.
    seen: u64,
    /// New calls that it got from then until it was ready again.
    to_drained: Option<u64>,
}

impl<F: Front, W: Write> Stage<'_, F, W> {
    fn act(&mut self, now: Duration) -> Result<(), Failure> {
        let backend = &self.cast.backends[DRAINED];
        let (name, new_calls) = (backend.name(), backend.report().new_calls.value());
        self.next = match self.next {
            Cue::Drain => {
                self.cast.front.set_drained(name, true)?;
                let dialogs = backend.report().dialogs.value();
                let text = format!("{name} is drained: no new calls, {dialogs} dialogs go on");
                self.screen.event(now, &text);
                Cue::Settled
            }
            Cue::Settled => {
                self.seen = new_calls;
                Cue::Ready
            }
            Cue::Ready => {
                let late = new_calls - self.seen;
                self.to_drained = Some(late);
                self.cast.front.set_drained(name, false)?;
                let text = format!("{name} is ready again; while drained it got {late} new calls");
                self.screen.event(now, &text);
                Cue::Nothing
            }
            Cue::Nothing => Cue::Nothing,
        };
        Ok(())
    }

    fn over(&self, now: Duration, script: &Script) -> bool {
        let report = self.caller.report();
        let open = report.through.open() + report.direct.open();
        let ended = now > script.last_start() + Duration::from_millis(200) && open == 0;
        ended || now > script.length + PATIENCE || self.cast.front.failed()
    }

    fn verdict(&self) -> Verdict {
        let through = &self.caller.report().through;
        Verdict {
            calls: through.started.value(),
            completed: through.completed.value(),
            split: through.split.value(),
            astray: self.cast.backends.iter().map(|b| b.report().strangers.value()).sum(),
            to_drained: self.to_drained,
            balancer_failed: self.cast.front.failed(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sipring_loadtest::{BackendOptions, Relay, RelayOptions};

    /// A relay in the balancer's place.
    struct Stand {
        relay: Relay,
        obeys: bool,
    }

    impl Front for Stand {
        fn address(&self) -> SocketAddr {
            self.relay.address()
        }

        fn set_drained(&self, backend: &str, drained: bool) -> Result<(), Failure> {
            assert_eq!(backend, "backend-2");
            if self.obeys {
                self.relay.set_drained(DRAINED, drained);
            }
            Ok(())
        }

        fn drops(&self) -> u64 {
            self.relay.dropped()
        }

        fn failed(&self) -> bool {
            false
        }
    }

    fn any() -> SocketAddr {
        "127.0.0.1:0".parse().unwrap()
    }

    /// A show of two seconds, with time-outs after two more; returns the verdict and what was written.
    fn shown(
        obeys: bool,
        refuse: Option<&str>,
        with: impl FnOnce(&mut RelayOptions),
    ) -> (Verdict, String) {
        let start = |name: &str| {
            let refuse = refuse.filter(|_| name == "backend-3").map(str::to_owned);
            Backend::start(BackendOptions { refuse, ..BackendOptions::named(name, any()) }).unwrap()
        };
        let backends: Vec<_> = super::super::BACKENDS.iter().map(|name| start(name)).collect();
        let addresses = backends.iter().map(Backend::address).collect();
        let mut options = RelayOptions::between(any(), addresses);
        with(&mut options);
        let front = Stand { relay: Relay::start(options).unwrap(), obeys };
        let cast = Cast { front, backends, baseline: start("baseline") };
        let of_length = Script::of(Duration::from_secs(2), 1);
        let script = Script { rates: (50.0, 100.0), t1: Duration::from_millis(30), ..of_length };
        let mut written = Vec::new();
        let verdict = play(&cast, &script, &mut Screen::new(&mut written, false)).unwrap();
        (verdict, String::from_utf8(written).unwrap())
    }

    #[test]
    fn a_show_without_a_fault_is_good() {
        let (verdict, written) = shown(true, None, |_| {});
        assert!(verdict.good(), "{verdict}");
        assert!(verdict.calls > 50, "{verdict}");
        assert_eq!(verdict.to_drained, Some(0));
        assert!(written.contains("backend-2 is drained"), "{written}");
        assert!(written.contains("backend-2 is ready again"), "{written}");
        assert!(!written.contains('\x1b'), "no escapes where there is no terminal: {written}");
    }

    #[test]
    fn a_balancer_that_does_not_drain_is_found_out() {
        let (verdict, _) = shown(false, None, |_| {});
        assert!(verdict.to_drained.is_some_and(|calls| calls > 0), "{verdict}");
        assert!(!verdict.good());
    }

    #[test]
    fn a_balancer_that_splits_dialogs_is_found_out() {
        let (verdict, _) = shown(true, None, |options| options.splits_dialogs = true);
        assert!(verdict.split > 0 && verdict.astray > 0, "{verdict}");
        assert!(!verdict.good());
    }

    #[test]
    fn a_lost_call_is_not_hidden() {
        let (verdict, _) = shown(true, Some("486 Busy Here"), |_| {});
        assert!(verdict.completed > 0 && verdict.completed < verdict.calls, "{verdict}");
        assert!(!verdict.good());
    }

    #[test]
    fn the_moments_are_in_order_for_every_length() {
        for seconds in [5, 20, 3600] {
            let script = Script::of(Duration::from_secs(seconds), 1);
            let moments = [
                script.drain_at(),
                script.settled_at(),
                script.ready_at(),
                script.last_start(),
                script.length,
            ];
            assert!(moments.is_sorted_by(|a, b| a < b), "{moments:?}");
        }
    }
}
