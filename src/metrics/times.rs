//! How long responses took: buckets from a quarter of a millisecond to half a minute, two in each doubling.

use super::cells::Cell;

/// The first bound, microseconds: a backend on the same switch.
const FIRST_US: u32 = 250;

/// From the first bound to the last: 17 doublings, to 32.8 s, which is beyond 64*T1.
pub const BOUNDS: usize = 2 * 17 + 1;

/// The upper bound of a bucket, microseconds; a last bucket has none.
pub const fn bound_us(place: usize) -> u32 {
    let octave = FIRST_US << (place / 2);
    octave + (place as u32 % 2) * (octave / 2)
}

/// Times in fixed buckets, with one writer.
#[derive(Debug)]
pub struct Times {
    /// Observations in each bucket, not cumulative; the last one is without a bound.
    pub buckets: [Cell; BOUNDS + 1],
    /// The sum of all, microseconds.
    pub sum_us: Cell,
}

impl Default for Times {
    fn default() -> Self {
        Self { buckets: std::array::from_fn(|_| Cell::default()), sum_us: Cell::default() }
    }
}

impl Times {
    /// Adds an observation. Only the owning worker may call it.
    #[inline]
    pub fn observe(&self, us: u32) {
        self.buckets[bucket(us)].increment();
        self.sum_us.add(us.into());
    }
}

/// The first bucket whose bound is not passed, without a search.
fn bucket(us: u32) -> usize {
    let octave = (us.saturating_sub(1) / FIRST_US).checked_ilog2().map_or(0, |log| log as usize);
    let first = 2 * octave;
    let place = (first..first + 3).find(|place| *place >= BOUNDS || us <= bound_us(*place));
    place.unwrap_or(BOUNDS).min(BOUNDS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_grow_by_half_and_by_a_third_in_turn() {
        let bounds: Vec<_> = (0..BOUNDS).map(bound_us).collect();
        assert_eq!(bounds[..5], [250, 375, 500, 750, 1000]);
        assert_eq!(bounds.last(), Some(&32_768_000));
    }

    #[test]
    fn a_time_on_a_bound_is_in_the_bucket_below_it() {
        let searched = |us| (0..BOUNDS).find(|place| us <= bound_us(*place)).unwrap_or(BOUNDS);
        for place in 0..BOUNDS {
            for us in [bound_us(place) - 1, bound_us(place), bound_us(place) + 1] {
                assert_eq!(bucket(us), searched(us), "{us}");
            }
        }
        for us in [0, 1, 40_000_000, u32::MAX] {
            assert_eq!(bucket(us), searched(us), "{us}");
        }
        let times = Times::default();
        [100, 400, u32::MAX].into_iter().for_each(|us| times.observe(us));
        assert_eq!(times.sum_us.value(), 500 + u64::from(u32::MAX));
        assert_eq!(times.buckets[BOUNDS].value(), 1);
    }
}
