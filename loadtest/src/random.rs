//! Reproducible chance: everything drawn is a function of a seed and of what it is drawn for.

/// A SplitMix64 stream.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The stream of this seed for this purpose (the number of a call, say).
    pub fn new(seed: u64, purpose: u64) -> Self {
        Self(mix(seed ^ mix(purpose.wrapping_add(0x632b_e59b_d9b4_e019))))
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// A number in `0..bound`; 0 when `bound` is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.bits()) * u128::from(bound)) >> 64) as u64
    }

    /// A number in `low..=high`; `low` when the range is empty.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high.saturating_sub(low).saturating_add(1))
    }

    /// True in `per_mille` of 1000 draws.
    pub fn chance(&mut self, per_mille: u16) -> bool {
        self.below(1000) < u64::from(per_mille)
    }

    /// A number above 0.0, at most 1.0.
    pub fn unit(&mut self) -> f64 {
        ((self.bits() >> 11) + 1) as f64 / (1_u64 << 53) as f64
    }

    /// An exponential number of mean 1.
    pub fn exponential(&mut self) -> f64 {
        -self.unit().ln()
    }

    /// A lognormal number of this mean; `variation` is its standard deviation over its mean.
    pub fn lognormal(&mut self, mean: f64, variation: f64) -> f64 {
        let variance = (variation * variation).ln_1p();
        // Box and Muller: a normal number from two uniform ones.
        let angle = std::f64::consts::TAU * self.unit();
        let normal = (-2.0 * self.unit().ln()).sqrt() * angle.cos();
        mean * (normal * variance.sqrt() - variance / 2.0).exp()
    }
}

/// A fixed hash of bytes under a seed: the same in every build and on every machine.
pub fn hash(seed: u64, bytes: &[u8]) -> u64 {
    let fnv = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |h, &b| {
        (h ^ u64::from(b)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    mix(fnv ^ mix(seed))
}

/// The finisher of SplitMix64: every input bit reaches every output bit.
fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_and_a_purpose_give_the_same_stream_again() {
        let draw = |seed, purpose| {
            let mut random = Random::new(seed, purpose);
            [random.bits(), random.bits(), random.bits()]
        };
        assert_eq!(draw(1, 2), draw(1, 2));
        assert_ne!(draw(1, 2), draw(1, 3));
        assert_ne!(draw(1, 2), draw(2, 2));
    }

    #[test]
    fn ranges_hold_at_their_edges() {
        let mut random = Random::new(7, 0);
        let seen: std::collections::BTreeSet<u64> =
            (0..1000).map(|_| random.between(3, 5)).collect();
        assert_eq!(seen.into_iter().collect::<Vec<_>>(), [3, 4, 5]);
        assert_eq!(random.between(9, 9), 9);
        assert_eq!(random.between(9, 2), 9);
        assert_eq!(random.below(0), 0);
    }

    #[test]
    fn chance_is_near_what_was_asked() {
        let mut random = Random::new(7, 1);
        assert!(!(0..1000).any(|_| random.chance(0)));
        assert!((0..1000).all(|_| random.chance(1000)));
        let hits = (0..10_000).filter(|_| random.chance(200)).count();
        assert!((1800..2200).contains(&hits), "{hits}");
    }

    #[test]
    fn lognormal_numbers_have_the_mean_and_the_variation_that_were_asked() {
        for variation in [0.0, 0.5, 1.0] {
            let mut random = Random::new(7, 2);
            let all: Vec<f64> = (0..200_000).map(|_| random.lognormal(3.0, variation)).collect();
            let mean = all.iter().sum::<f64>() / all.len() as f64;
            let square = all.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / all.len() as f64;
            assert!((mean / 3.0 - 1.0).abs() < 0.02, "{mean}");
            assert!((square.sqrt() / mean - variation).abs() < 0.05, "{}", square.sqrt() / mean);
        }
    }
}
