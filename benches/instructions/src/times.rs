//! Times of single operations, exact to the nanosecond of the clock.

use std::hint::black_box;
use std::time::{Duration, Instant};

/// Longer ones are counted, and the longest is known.
const NS_MAX: usize = 1 << 18;

/// A tick of the clock, at the coarsest.
const TICK_NS: usize = 10;

/// What a pause may last.
const PAUSE_NS: usize = 50_000;

/// How often each time was taken.
pub(crate) struct Times {
    name: &'static str,
    by_ns: Vec<u32>,
    count: u64,
    sum_ns: u64,
    longest_ns: u64,
    over: u64,
}

impl Times {
    pub(crate) fn new(name: &'static str) -> Self {
        Self { name, by_ns: vec![0; NS_MAX], count: 0, sum_ns: 0, longest_ns: 0, over: 0 }
    }

    /// Times one operation.
    #[inline]
    pub(crate) fn of<T>(&mut self, operation: impl FnOnce() -> T) -> T {
        let began = Instant::now();
        let result = black_box(operation());
        let ns = began.elapsed().as_nanos() as u64;
        self.by_ns[(ns as usize).min(NS_MAX - 1)] += 1;
        self.count += 1;
        self.sum_ns += ns;
        self.longest_ns = self.longest_ns.max(ns);
        self.over += u64::from(ns as usize > PAUSE_NS);
        result
    }

    /// Nothing, again and again: what the clock takes, and the pauses of the machine.
    pub(crate) fn empty(lasts: Duration) -> Self {
        let mut times = Self::new("nothing, for a second");
        let began = Instant::now();
        while began.elapsed() < lasts {
            times.of(|| ());
        }
        times.print();
        times
    }

    /// The time that this share of all stays below, nanoseconds. The clock goes by ticks of several
    /// nanoseconds on some machines, so what was read within one is spread over it, about its mean.
    pub(crate) fn quantile(&self, share: f64) -> f64 {
        let rank = share * self.count as f64;
        let mut seen = 0.0;
        for (tick, counts) in self.by_ns.chunks(TICK_NS).enumerate() {
            let count = f64::from(counts.iter().sum::<u32>());
            if seen + count >= rank {
                let times = counts.iter().zip(tick * TICK_NS..);
                let sum: f64 = times.map(|(count, ns)| f64::from(*count) * ns as f64).sum();
                return sum / count + TICK_NS as f64 * ((rank - seen) / count - 0.5);
            }
            seen += count;
        }
        NS_MAX as f64
    }

    pub(crate) fn print(&self) {
        let [p50, p99, p9999] = [0.5, 0.99, 0.9999].map(|share| self.quantile(share));
        println!(
            "{:32} mean {:.0} p50 {p50:.0} p99 {p99:.0} p99.99 {p9999:.0} ns, longest {:.1} us, {} over 50 us of {}",
            self.name,
            self.sum_ns as f64 / self.count as f64,
            self.longest_ns as f64 / 1000.0,
            self.over,
            self.count
        );
    }
}

/// Memory that this process has, KiB.
pub(crate) fn resident_kb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("/proc");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
    line.trim().trim_end_matches(" kB").parse().expect("a number of kB")
}
