//! Whether a backend answers: probes and real requests in, up or down out, with the reason.
//!
//! Pure: times and random numbers are arguments. The caller sends a probe when [`Health::is_due`]
//! says so, tells its end with [`Health::probe_ended`], and what real requests met with
//! [`Health::traffic`]. Rules:
//!
//! 1. `fall` bad probes in a row take a backend down, `rise` good ones in a row bring it up. A good
//!    one is any final response but 503, or one of the `codes`.
//! 2. A bad probe of a backend that is up is repeated after `timeout`, so that `fall` is reached soon.
//!    One that stays down is asked less and less often, and not before the `Retry-After` of its 503.
//! 3. `fall` requests in a row that met 503, ICMP or silence take it down too, and it is
//!    probed at once: later and later when its probes are good but its traffic is bad again.
//!    A request that was sent before the backend came up says nothing: see [`Health::up_since_ms`].
//! 4. Only probes bring it up, and only those that were sent after it went down.
//! 5. A 503 with Retry-After holds new requests back for that time, within a bound; that is no fall.

use std::fmt;

/// The whole of a share.
pub const FULL_SHARE: u16 = 256;

/// The share of its weight that slow start begins with: a tenth.
const FIRST_SHARE: u64 = 26;

/// At process start the first probes go out within this time, milliseconds.
const SPREAD_MS: u64 = 500;

/// The rules, from the config.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// From one probe to the next, milliseconds, 1 or more.
    pub interval_ms: u64,
    /// How long an answer is waited for, milliseconds.
    pub timeout_ms: u64,
    /// How far an interval may be off either way, thousandths of it, 0 to 1000.
    pub jitter_per_mille: u16,
    /// Good probes in a row that bring a backend up, 1 or more.
    pub rise: u32,
    /// Bad probes, or bad requests, in a row that take it down, 1 or more.
    pub fall: u32,
    /// The status codes that are good; empty: every final one but 503.
    pub codes: Vec<u16>,
    /// The longest interval of a backend that stays down, milliseconds.
    pub down_interval_max_ms: u64,
    /// The longest Retry-After that is honoured, milliseconds.
    pub retry_after_max_ms: u64,
    /// From a share of its weight to all of it after a recovery, milliseconds; 0: at once.
    pub slow_start_ms: u64,
}

/// How a probe ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A final response. A received 408 is one: somebody is there.
    Answered {
        /// 200 to 699.
        status: u16,
        /// Its Retry-After, seconds.
        retry_after_s: Option<u32>,
    },
    /// No final response in time.
    Silent,
    /// ICMP: nobody listens on the port.
    Refused,
    /// ICMP, or the kernel: there is no way to it.
    Unreachable,
    /// This machine had no socket for it: says nothing about the backend.
    NotSent,
}

impl Outcome {
    /// Good, bad, or neither.
    pub fn is_good(self, rules: &Rules) -> Option<bool> {
        match self {
            Self::Answered { status, .. } if rules.codes.is_empty() => Some(status != 503),
            Self::Answered { status, .. } => Some(rules.codes.contains(&status)),
            Self::Silent | Self::Refused | Self::Unreachable => Some(false),
            Self::NotSent => None,
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Answered { status, .. } => write!(f, "{status}"),
            Self::Silent => f.write_str("no answer in time"),
            Self::Refused => f.write_str("refused: nobody listens there"),
            Self::Unreachable => f.write_str("unreachable"),
            Self::NotSent => f.write_str("not sent: no socket"),
        }
    }
}

/// Why a backend is up or down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// Nothing is known of it yet: it counts as up.
    Unproven,
    /// So many probes in a row ended alike.
    Probes {
        /// How many.
        count: u32,
        /// How the last one ended.
        last: Outcome,
    },
    /// So many requests in a row met 503, ICMP or silence.
    Traffic {
        /// How many.
        count: u32,
    },
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unproven => f.write_str("not probed yet"),
            Self::Probes { count: 1, last } => write!(f, "probe: {last}"),
            Self::Probes { count, last } => write!(f, "{count} probes in a row, the last: {last}"),
            Self::Traffic { count: 1 } => f.write_str("a request got 503, ICMP or no answer"),
            Self::Traffic { count } => {
                write!(f, "{count} requests in a row got 503, ICMP or no answer")
            }
        }
    }
}

/// A backend that has just come up or gone down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// What it is now.
    pub up: bool,
    /// Why.
    pub why: Why,
}

/// What real requests met at a backend since the last time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Final responses other than 503.
    pub good: u64,
    /// 503s, ICMP errors and silences of requests that were sent since [`Health::up_since_ms`]. A
    /// received 408 is a response, and good.
    pub bad: u64,
    /// The longest Retry-After of those 503s, seconds; 0: none had one.
    pub retry_after_s: u32,
}

/// The health of one backend. Times are milliseconds of a clock that never goes back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    up: bool,
    why: Why,
    /// When it came up last, or began to be watched.
    up_since_ms: u64,
    /// Probes in a row that speak for a change: bad ones while up, good ones while down.
    streak: u32,
    /// Bad requests in a row while up.
    signals: u32,
    /// Times in a row that traffic took it down without one good request in between.
    relapses: u32,
    /// Bad probes since it is down.
    setbacks: u32,
    last: Option<Outcome>,
    /// A probe is on its way.
    out: bool,
    /// That probe was sent before traffic took the backend down: its end proves nothing.
    stale: bool,
    sent_ms: u64,
    next_ms: u64,
    /// Until when it has asked to be left alone.
    held_until_ms: u64,
    /// When slow start began.
    ramp_ms: Option<u64>,
}

impl Health {
    /// At process start: up until the contrary is proven, probed soon, no slow start.
    pub fn new(now_ms: u64, rules: &Rules, random: u32) -> Self {
        let spread = rules.interval_ms.min(SPREAD_MS);
        Self {
            up: true,
            why: Why::Unproven,
            up_since_ms: now_ms,
            streak: 0,
            signals: 0,
            relapses: 0,
            setbacks: 0,
            last: None,
            out: false,
            stale: false,
            sent_ms: now_ms,
            next_ms: now_ms + part(spread, random),
            held_until_ms: 0,
            ramp_ms: None,
        }
    }

    /// For a backend that joins while the balancer runs: likewise, with slow start.
    pub fn joining(now_ms: u64, rules: &Rules, random: u32) -> Self {
        Self { ramp_ms: Some(now_ms), ..Self::new(now_ms, rules, random) }
    }

    /// Whether it takes calls.
    pub fn is_up(&self) -> bool {
        self.up
    }

    /// Since when it counts as up, or did when it went down. What a request met that was sent before
    /// is of another time: it is not to be told.
    pub fn up_since_ms(&self) -> u64 {
        self.up_since_ms
    }

    /// Why it is up or down.
    pub fn why(&self) -> Why {
        self.why
    }

    /// How the last probe ended.
    pub fn last(&self) -> Option<Outcome> {
        self.last
    }

    /// Probes in a row that speak against the present state.
    pub fn streak(&self) -> u32 {
        self.streak
    }

    /// True when a probe is to be sent; none is while one is on its way.
    pub fn is_due(&self, now_ms: u64) -> bool {
        !self.out && now_ms >= self.next_ms
    }

    /// When the next probe is due; `None` while one is on its way.
    pub fn next_ms(&self) -> Option<u64> {
        (!self.out).then_some(self.next_ms)
    }

    /// A probe is being sent: tell its end with [`Health::probe_ended`].
    pub fn probe_sent(&mut self, now_ms: u64) {
        (self.out, self.stale, self.sent_ms) = (true, false, now_ms);
    }

    /// A probe has ended; says when the next one is due, and whether this one has decided something.
    pub fn probe_ended(
        &mut self,
        now_ms: u64,
        rules: &Rules,
        outcome: Outcome,
        random: u32,
    ) -> Option<Change> {
        self.out = false;
        self.last = Some(outcome);
        let stale = std::mem::take(&mut self.stale);
        let good = outcome.is_good(rules);
        let change = match good {
            Some(good) if !stale => self.count(now_ms, rules, good, outcome),
            _ => None,
        };
        // A probe that traffic has overtaken leaves the next one where traffic has put it.
        if !stale {
            let pause = jittered(self.pause(rules, good), rules.jitter_per_mille, random);
            self.next_ms = now_ms + pause.max(self.retry_after(rules, outcome));
        }
        change
    }

    /// What real requests met since the last call. Their order is not known: one good one among them
    /// counts as the last.
    pub fn traffic(&mut self, now_ms: u64, rules: &Rules, met: Traffic) -> Option<Change> {
        if met.retry_after_s > 0 {
            let wish_ms = u64::from(met.retry_after_s) * 1000;
            self.held_until_ms =
                self.held_until_ms.max(now_ms + wish_ms.min(rules.retry_after_max_ms));
        }
        if !self.up || met == Traffic::default() {
            return None;
        }
        if met.good > 0 {
            (self.signals, self.relapses) = (0, 0);
            return None;
        }
        self.signals = self.signals.saturating_add(u32::try_from(met.bad).unwrap_or(u32::MAX));
        if self.signals < rules.fall {
            // A suspicion: ask, but not more often than a bad probe is repeated.
            let soonest = self.sent_ms + rules.timeout_ms.min(rules.interval_ms);
            self.next_ms = self.next_ms.min(soonest.max(now_ms));
            return None;
        }
        let count = self.signals;
        let pause = match self.relapses {
            0 => 0,
            relapses => doubled(rules, relapses - 1),
        };
        self.next_ms = now_ms + pause;
        self.relapses = self.relapses.saturating_add(1);
        self.stale = self.out;
        Some(self.turn(now_ms, Why::Traffic { count }))
    }

    /// Whether it has asked to get nothing new now: Retry-After in the 503 of a real request (RFC 3261
    /// 21.5.4), honoured up to [`Rules::retry_after_max_ms`]. It is up all the same.
    pub fn is_held(&self, now_ms: u64) -> bool {
        now_ms < self.held_until_ms
    }

    /// The part of its weight that counts now, 1 to [`FULL_SHARE`]: less during slow start.
    pub fn share(&self, now_ms: u64, rules: &Rules) -> u16 {
        let Some(began) = self.ramp_ms else { return FULL_SHARE };
        let gone = now_ms.saturating_sub(began);
        if gone >= rules.slow_start_ms {
            return FULL_SHARE;
        }
        let rest = u64::from(FULL_SHARE) - FIRST_SHARE;
        (FIRST_SHARE + rest * gone / rules.slow_start_ms) as u16 // below FULL_SHARE
    }

    fn count(&mut self, now_ms: u64, rules: &Rules, good: bool, last: Outcome) -> Option<Change> {
        if good == self.up {
            self.streak = 0;
            self.setbacks = self.setbacks.saturating_add(u32::from(!good));
            return None;
        }
        self.streak += 1;
        self.setbacks = 0;
        let needed = if self.up { rules.fall } else { rules.rise };
        (self.streak >= needed).then(|| {
            let count = self.streak;
            self.turn(now_ms, Why::Probes { count, last })
        })
    }

    fn turn(&mut self, now_ms: u64, why: Why) -> Change {
        self.up = !self.up;
        self.why = why;
        (self.streak, self.signals, self.setbacks) = (0, 0, 0);
        self.ramp_ms = self.up.then_some(now_ms);
        if self.up {
            self.up_since_ms = now_ms;
        }
        Change { up: self.up, why }
    }

    /// From the end of a probe to the next one.
    fn pause(&self, rules: &Rules, good: Option<bool>) -> u64 {
        match (self.up, good) {
            (true, Some(false)) => rules.timeout_ms.min(rules.interval_ms),
            (false, Some(false)) => doubled(rules, self.setbacks),
            _ => rules.interval_ms,
        }
    }

    /// RFC 3261 21.5.4, as long as there is something to hold back: a backend that is still up gets
    /// requests anyway, so that it is asked again soon whether it should.
    fn retry_after(&self, rules: &Rules, outcome: Outcome) -> u64 {
        match outcome {
            Outcome::Answered { status: 503, retry_after_s: Some(seconds) } if !self.up => {
                (u64::from(seconds) * 1000).min(rules.retry_after_max_ms)
            }
            _ => 0,
        }
    }
}

/// The interval, doubled so many times, up to the longest.
fn doubled(rules: &Rules, times: u32) -> u64 {
    let most = rules.down_interval_max_ms.max(rules.interval_ms);
    rules.interval_ms.saturating_mul(1 << times.min(32)).min(most)
}

/// `random` of 2^32 parts of `whole`.
fn part(whole: u64, random: u32) -> u64 {
    ((u128::from(whole) * u128::from(random)) >> 32) as u64 // below `whole`
}

fn jittered(pause: u64, per_mille: u16, random: u32) -> u64 {
    let off = pause.saturating_mul(u64::from(per_mille)) / 1000;
    pause - off + part(2 * off + 1, random)
}

#[cfg(test)]
mod tests;
