//! A logarithm in whole numbers: the same on every build and platform, and never out of order.
//!
//! Weighted rendezvous needs `-ln(u)`. The one of the C library differs from platform to platform
//! in its last bits, and one differing bit would send a call of one node elsewhere than that of
//! another. Any base will do, because only ratios are compared: so base 2, where the number of
//! leading zeros is the whole part, and the fraction is a chord of the curve between two of 257
//! points. The points are made at compile time, digit by digit, by squaring.
//!
//! The chords are off by 0.0000028 at most and bend the shares by less than 0.1 %.

/// Fraction bits of [`cost`]. With 6 bits and one for the whole part (0 to 64) a cost times a
/// weight of 16 bits still fits 64 bits.
const FRACTION_BITS: u32 = 42;

/// The largest value of [`cost`].
const COST_MAX: u64 = 64 << FRACTION_BITS;
const _: () = assert!(COST_MAX.checked_mul(u16::MAX as u64).is_some());

/// Chords per octave, as a power of two.
const CHORD_BITS: u32 = 8;

/// Bits that say where on its chord a number stands; more would not fit 64 bits below.
const PLACE_BITS: u32 = 28;

/// `-log2(u)` with [`FRACTION_BITS`] fraction bits, where `u` is `(score + 1) / 2^64`.
///
/// It never grows when `score` grows: each chord falls, and neighbours share their ends.
#[inline]
pub(super) fn cost(score: u64) -> u64 {
    let Some(number) = score.checked_add(1) else { return 0 };
    let zeros = number.leading_zeros();
    let mantissa = number << zeros;
    let chord = (mantissa << 1 >> (64 - CHORD_BITS)) as usize;
    let place = mantissa << (1 + CHORD_BITS) >> (64 - PLACE_BITS);
    let (left, right) = (POINTS[chord], POINTS[chord + 1]);
    (u64::from(zeros) << FRACTION_BITS) + left - (((left - right) * place) >> PLACE_BITS)
}

/// `-log2(1/2 + i/512)` for i from 0 (1.0) to 256 (0.0).
static POINTS: [u64; (1 << CHORD_BITS) + 1] = points();

const fn points() -> [u64; (1 << CHORD_BITS) + 1] {
    let mut points = [0; (1 << CHORD_BITS) + 1];
    let mut i = 0;
    while i < 1 << CHORD_BITS {
        let mantissa = (1 << 63) + ((i as u64) << (63 - CHORD_BITS));
        points[i] = (1 << FRACTION_BITS) - log2(mantissa);
        i += 1;
    }
    points
}

/// `log2(mantissa / 2^63)`, of a number from 1 up to below 2: squaring it doubles its logarithm, so
/// a square of 2 or more shows the next binary digit to be 1.
const fn log2(mantissa: u64) -> u64 {
    let mut number = mantissa as u128;
    let mut digits = 0;
    let mut left = FRACTION_BITS;
    while left > 0 {
        left -= 1;
        number = (number * number) >> 63;
        if number >> 64 == 1 {
            digits |= 1 << left;
            number >>= 1;
        }
    }
    digits
}

#[cfg(test)]
mod tests {
    use super::*;

    fn float(cost: u64) -> f64 {
        cost as f64 / (1u64 << FRACTION_BITS) as f64
    }

    #[test]
    fn ends_of_the_range_are_exact() {
        assert_eq!(cost(0), COST_MAX);
        assert_eq!(cost(u64::MAX), 0);
        assert_eq!(cost((1 << 63) - 1), 1 << FRACTION_BITS);
        assert_eq!(cost((1 << 62) - 1), 2 << FRACTION_BITS);
    }

    #[test]
    fn agrees_with_the_real_logarithm() {
        let mut score = 1u64;
        for _ in 0..100_000 {
            score = super::super::super::hash::mix(score);
            for score in [score, score >> (score & 63)] {
                let real = 64.0 - (score as f64 + 1.0).log2();
                let off = (float(cost(score)) - real).abs();
                assert!(off < 2.8e-6, "{score}: {} instead of {real}", float(cost(score)));
            }
        }
    }

    #[test]
    fn never_grows_with_the_score() {
        let around = |centre: u64| (0..200).map(move |i| centre.saturating_sub(100) + i);
        let octaves = (1..64).flat_map(|bit| around(1 << bit));
        let chords = (0..256u64).flat_map(|i| around((1 << 63) + (i << 55)));
        let coarse = (0..100_000u64).map(|i| i * (u64::MAX / 100_000));
        for walk in [octaves.collect::<Vec<_>>(), chords.collect(), coarse.collect()] {
            for pair in walk.windows(2) {
                assert!(pair[0] > pair[1] || cost(pair[0]) >= cost(pair[1]), "at {}", pair[0]);
            }
        }
    }
}
