//! A latency histogram of fixed size that one thread fills and others read.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Buckets per doubling: a quantile is at most 1/64 (1.6 %) too high.
const SUB_BITS: u32 = 6;
const SUB: u64 = 1 << SUB_BITS;
/// The last doubling ends at 2^37 ns, 137 s: past every timer of a call.
const TOP_BIT: u32 = 37;
const BUCKETS: usize = ((TOP_BIT - SUB_BITS + 1) as usize) << SUB_BITS;

/// Latencies from 1 ns to 137 s in buckets that grow with the value; longer ones count as 137 s.
#[derive(Debug)]
pub struct Histogram {
    buckets: Box<[AtomicU64]>,
    max_ns: AtomicU64,
}

impl Default for Histogram {
    fn default() -> Self {
        let buckets = (0..BUCKETS).map(|_| AtomicU64::new(0)).collect();
        Self { buckets, max_ns: AtomicU64::new(0) }
    }
}

impl Histogram {
    /// Adds one latency, in nanoseconds.
    pub fn record(&self, ns: u64) {
        self.buckets[bucket(ns)].fetch_add(1, Relaxed);
        self.max_ns.fetch_max(ns, Relaxed);
    }

    /// Latencies recorded so far.
    pub fn count(&self) -> u64 {
        self.buckets.iter().map(|bucket| bucket.load(Relaxed)).sum()
    }

    /// The latency that this share (0.0 to 1.0) of all stays at or below, rounded up to the end of
    /// its bucket; `None` while nothing is recorded.
    pub fn quantile(&self, share: f64) -> Option<Duration> {
        let count = self.count();
        if count == 0 {
            return None;
        }
        let rank = ((share.clamp(0.0, 1.0) * count as f64).ceil() as u64).clamp(1, count);
        let mut seen = 0;
        for (index, bucket) in self.buckets.iter().enumerate() {
            seen += bucket.load(Relaxed);
            if seen >= rank {
                let end = bucket_end(index).min(self.max_ns.load(Relaxed));
                return Some(Duration::from_nanos(end));
            }
        }
        self.max()
    }

    /// The longest latency, exact; `None` while nothing is recorded.
    pub fn max(&self) -> Option<Duration> {
        (self.count() > 0).then(|| Duration::from_nanos(self.max_ns.load(Relaxed)))
    }
}

/// Values below 64 have a bucket each; from there on each doubling has 64.
fn bucket(ns: u64) -> usize {
    let ns = ns.min((1 << TOP_BIT) - 1);
    if ns < SUB {
        return ns as usize;
    }
    let shift = ns.ilog2() - SUB_BITS;
    (((u64::from(shift) + 1) << SUB_BITS) + ((ns >> shift) - SUB)) as usize
}

/// The largest value of a bucket.
fn bucket_end(index: usize) -> u64 {
    let index = index as u64;
    if index < SUB {
        return index;
    }
    let shift = (index >> SUB_BITS) - 1;
    ((SUB + (index & (SUB - 1)) + 1) << shift) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_lies_in_its_bucket_and_within_a_64th_of_its_end() {
        let edges = (0..TOP_BIT).flat_map(|bit| {
            let power = 1_u64 << bit;
            [power.saturating_sub(1), power, power + 1, power + power / 3]
        });
        for ns in edges {
            let end = bucket_end(bucket(ns));
            assert!(end >= ns, "{ns} in a bucket that ends at {end}");
            assert!(end - ns <= ns / 64 + 1, "{ns} in a bucket that ends at {end}");
            assert_ne!(bucket(end), bucket(end + 1), "{end} is the last of its bucket");
        }
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn quantiles_match_a_sorted_list() {
        let histogram = Histogram::default();
        assert_eq!(histogram.quantile(0.5), None);
        assert_eq!(histogram.max(), None);
        let mut list: Vec<u64> = (0..5000_u64).map(|n| (n * n * 37) % 9_000_000).collect();
        list.iter().for_each(|&ns| histogram.record(ns));
        list.sort_unstable();
        for share in [0.0, 0.5, 0.99, 1.0] {
            let rank = ((share * 5000.0_f64).ceil() as usize).max(1);
            let exact = list[rank - 1];
            let found = histogram.quantile(share).unwrap().as_nanos() as u64;
            assert!(found >= exact && found <= exact + exact / 64 + 1, "{share}: {found}, {exact}");
        }
        assert_eq!(histogram.max().unwrap().as_nanos() as u64, list[4999]);
    }
}
