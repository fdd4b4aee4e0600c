//! Which worker owns a Call-ID: a keyed hash that `io/steer/steer.bpf.c` computes too.
//!
//! For each 8 bytes, its two halves are keyed by addition and multiplied with each other (32 x 32
//! bits), and the products are summed up as a polynomial in a secret odd number. A mere
//! xor-and-multiply would be shorter but lets anybody make Call-IDs that collide under every key (a
//! change of the top bit passes a multiplication unchanged, and the next word undoes it), and so
//! aim a flood at one worker. Here a change is multiplied by something secret.
//!
//! Only 64-bit wrapping arithmetic, shifts and 8-byte little-endian loads are used.

use crate::io::os;
use crate::io::steer::HashKey;
use std::io;

/// Finalizer constants (odd, from the fractional parts of the golden ratio and of pi).
const MIX_1: u64 = 0x9e37_79b9_7f4a_7c15;
const MIX_2: u64 = 0x243f_6a88_85a3_08d3;

/// The key and the number of workers; the same in every worker of a process.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shard {
    key: HashKey,
    workers: u32,
}

impl Shard {
    /// With a key that nobody outside the process knows.
    ///
    /// # Errors
    /// When the kernel gives no random bytes.
    pub(super) fn random(workers: usize) -> io::Result<Self> {
        Ok(Self::new(os::random_words()?, workers))
    }

    pub(super) fn new(key: [u64; 3], workers: usize) -> Self {
        let (low, high) = (key[0] as u32, (key[0] >> 32) as u32);
        let key = HashKey { low, high, factor: key[1] | 1, start: key[2] };
        Self { key, workers: workers as u32 }
    }

    /// What steering needs to come to the same owner.
    pub(super) fn key(&self) -> HashKey {
        self.key
    }

    /// True if there is more than one owner.
    #[inline]
    pub(super) fn is_split(&self) -> bool {
        self.workers > 1
    }

    /// The worker that owns this Call-ID.
    #[inline]
    pub(super) fn owner(&self, call_id: &[u8]) -> usize {
        let upper = self.hash(call_id) >> 32;
        ((upper * u64::from(self.workers)) >> 32) as usize
    }

    #[inline]
    fn hash(&self, call_id: &[u8]) -> u64 {
        let mut sum = self.key.start ^ call_id.len() as u64; // the length tells "a" from "a\0"
        let (words, rest) = call_id.as_chunks::<8>();
        for word in words {
            sum = self.absorb(sum, u64::from_le_bytes(*word));
        }
        if !rest.is_empty() {
            let mut word = [0; 8];
            word[..rest.len()].copy_from_slice(rest);
            sum = self.absorb(sum, u64::from_le_bytes(word));
        }
        sum ^= sum >> 32;
        sum = sum.wrapping_mul(MIX_1);
        sum ^= sum >> 29;
        sum = sum.wrapping_mul(MIX_2);
        sum ^ (sum >> 32)
    }

    #[inline]
    fn absorb(&self, sum: u64, word: u64) -> u64 {
        let low = (word as u32).wrapping_add(self.key.low);
        let high = ((word >> 32) as u32).wrapping_add(self.key.high);
        sum.wrapping_mul(self.key.factor).wrapping_add(u64::from(low) * u64::from(high))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const KEY: [u64; 3] = [0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210, 0x0f1e_2d3c_4b5a_6978];

    /// The largest and the smallest share of `call_ids`, relative to a fair one.
    fn shares(shard: &Shard, workers: usize, call_ids: impl Iterator<Item = String>) -> (f64, f64) {
        let mut counts = vec![0u32; workers];
        let mut total = 0u32;
        for call_id in call_ids {
            counts[shard.owner(call_id.as_bytes())] += 1;
            total += 1;
        }
        let fair = f64::from(total) / workers as f64;
        let share = |count: Option<&u32>| f64::from(*count.unwrap()) / fair;
        (share(counts.iter().min()), share(counts.iter().max()))
    }

    #[test]
    fn call_ids_that_count_up_are_spread_fairly() {
        // 20 000 over 16: 1250 each, standard deviation 34; 15 % is more than five of those.
        let kinds: [fn(u32) -> String; 4] = [
            |n| format!("{n}"),
            |n| format!("{n}-4711@192.0.2.1"),
            |n| format!("a84b4c76e66710@pc{n:08}.example.com"),
            |n| format!("{:08x}", n.reverse_bits()),
        ];
        for workers in [2, 3, 7, 16] {
            let shard = Shard::new(KEY, workers);
            for kind in kinds {
                let (least, most) = shares(&shard, workers, (0..20_000).map(kind));
                assert!(least > 0.85 && most < 1.15, "{workers}: {least} to {most}");
            }
        }
    }

    #[test]
    fn neighbours_go_apart() {
        // One changed bit moves a Call-ID to the other of two workers about half of the time.
        let shard = Shard::new(KEY, 2);
        let base = *b"a84b4c76e66710@pc33.atlanta.example.com";
        let mut moved = 0;
        for bit in 0..base.len() * 8 {
            let mut near = base;
            near[bit / 8] ^= 1 << (bit % 8);
            moved += u32::from(shard.owner(&near) != shard.owner(&base));
        }
        let all = (base.len() * 8) as u32;
        assert!(moved > all * 2 / 5 && moved < all * 3 / 5, "{moved} of {all}");
    }

    #[test]
    fn no_pair_of_changes_collides_under_every_key() {
        // Flip the top bit of one word, and in the next what a xor-shift would make of it.
        let one = b"aaaaaaaabbbbbbbb".to_vec();
        for second in [1u64 << 63, 1 << 63 | 1 << 31, 1 << 31] {
            let mut other = one.clone();
            other[7] ^= 0x80;
            for (byte, change) in other[8..].iter_mut().zip(second.to_le_bytes()) {
                *byte ^= change;
            }
            let keys = (1..64u64).map(|n| [n.wrapping_mul(MIX_1), n.wrapping_mul(MIX_2), n]);
            let collisions = keys
                .filter(|key| Shard::new(*key, 2).hash(&one) == Shard::new(*key, 2).hash(&other))
                .count();
            assert_eq!(collisions, 0);
        }
    }

    #[test]
    fn trailing_zeros_and_the_empty_call_id_count() {
        let shard = Shard::new(KEY, 2);
        assert_ne!(shard.hash(b"a"), shard.hash(b"a\0"));
        assert_ne!(shard.hash(b""), shard.hash(b"\0"));
        assert_ne!(shard.hash(b"12345678"), shard.hash(b"12345678\0"));
    }

    #[test]
    fn every_process_has_another_key() {
        let (one, two) = (Shard::random(2).unwrap(), Shard::random(2).unwrap());
        assert_ne!(one.hash(b"a84b4c76e66710"), two.hash(b"a84b4c76e66710"));
    }

    proptest! {
        #[test]
        fn the_owner_is_one_of_the_workers(call_id: Vec<u8>, workers in 1usize..=256, key: [u64; 3]) {
            prop_assert!(Shard::new(key, workers).owner(&call_id) < workers);
        }
    }
}
