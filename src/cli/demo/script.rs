//! When what happens, counted from the start; everything follows from the length.

use sipring_loadtest::{CallerOptions, Direct, Pace};
use std::net::SocketAddr;
use std::time::Duration;

/// One call of this many goes directly to the baseline.
const DIRECT_EVERY: u64 = 10;
/// How long scenes may go on after the end: the balancer says that a drain is over 3 s after its
/// begin at the soonest.
const GRACE: Duration = Duration::from_secs(15);
/// How long calls may take to end after that: a time-out of 64*T1 and some.
const PATIENCE: Duration = Duration::from_secs(40);

/// The plan of a show.
#[derive(Clone, Copy, Debug)]
pub(super) struct Script {
    pub(super) length: Duration,
    pub(super) seed: u64,
    /// Calls per second at the start and at the end of the ramp.
    pub(super) rates: (f64, f64),
    /// The caller's T1.
    pub(super) t1: Duration,
}

impl Script {
    /// A show of this length, 5 s or more, with 50 to 500 calls a second.
    pub(super) fn of(length: Duration, seed: u64) -> Self {
        Self { length, seed, rates: (50.0, 500.0), t1: Duration::from_millis(500) }
    }

    pub(super) fn drain_at(&self) -> Duration {
        self.part(0.15)
    }

    /// From here on a backend drained at this time must get no new call. What was on its way then
    /// has arrived, an INVITE that is repeated after T1 (500 ms) included.
    pub(super) fn settled_at(&self, drained_at: Duration) -> Duration {
        drained_at + self.part(0.12).min(Duration::from_secs(1))
    }

    /// When a backend drained at this time is ready again, if its dialogs are over.
    pub(super) fn ready_at(&self, drained_at: Duration) -> Duration {
        drained_at + self.part(0.22).min(Duration::from_secs(8))
    }

    pub(super) fn kill_at(&self) -> Duration {
        self.part(0.42)
    }

    /// When a backend killed at this time starts again: much sooner than 64*T1, after which the
    /// other side of its dialogs gives up.
    pub(super) fn restart_at(&self, killed_at: Duration) -> Duration {
        killed_at + self.part(0.16).min(Duration::from_secs(5))
    }

    pub(super) fn reload_at(&self) -> Duration {
        self.part(0.72)
    }

    pub(super) fn refuse_at(&self) -> Duration {
        self.part(0.84)
    }

    /// From here on calls end only, if every scene is over.
    pub(super) fn last_start(&self) -> Duration {
        self.length - self.hold().1
    }

    /// Scenes that are not over by then have failed.
    pub(super) fn scenes_end(&self) -> Duration {
        self.length + GRACE
    }

    /// Calls that are not over by then are lost.
    pub(super) fn calls_end(&self) -> Duration {
        self.length + GRACE + PATIENCE
    }

    /// How long a backend's share grows.
    pub(super) fn slow_start(&self) -> Duration {
        self.part(0.12).min(Duration::from_secs(10))
    }

    /// Short enough for the drained backend's dialogs to end while one looks.
    fn hold(&self) -> (Duration, Duration) {
        let longest = self.part(0.1).min(Duration::from_secs(2));
        (longest / 5, longest)
    }

    pub(super) fn caller(&self, to: SocketAddr, baseline: SocketAddr) -> CallerOptions {
        // The rates are those through the balancer; direct calls come on top.
        let both = DIRECT_EVERY as f64 / (DIRECT_EVERY - 1) as f64;
        let (from, rate) = (self.rates.0 * both, self.rates.1 * both);
        CallerOptions {
            pace: Pace::Open { from, to: rate, ramp: self.part(0.7) },
            hold: self.hold(),
            callee_hangs_up_per_mille: 200,
            seed: self.seed,
            t1: self.t1,
            direct: Some(Direct { to: baseline, every: DIRECT_EVERY }),
            ..CallerOptions::to(to)
        }
    }

    fn part(&self, share: f64) -> Duration {
        self.length.mul_f64(share)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_moments_are_in_order_for_every_length() {
        for seconds in [5, 24, 3600] {
            let script = Script::of(Duration::from_secs(seconds), 1);
            let (drained_at, killed_at) = (script.drain_at(), script.kill_at());
            let moments = [
                drained_at,
                script.settled_at(drained_at),
                script.ready_at(drained_at),
                killed_at,
                script.restart_at(killed_at),
                script.reload_at(),
                script.refuse_at(),
                script.last_start(),
                script.length,
                script.scenes_end(),
                script.calls_end(),
            ];
            assert!(moments.is_sorted_by(|a, b| a < b), "{moments:?}");
        }
    }

    #[test]
    fn a_killed_backend_is_back_before_the_other_side_of_its_dialogs_gives_up() {
        for seconds in [5, 3600] {
            let script = Script::of(Duration::from_secs(seconds), 1);
            let away = script.restart_at(script.kill_at()) - script.kill_at();
            assert!(away * 4 < script.t1 * 64, "{away:?}");
        }
    }
}
