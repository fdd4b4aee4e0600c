//! The fixed hashes of backends and calls: every node, build and version gives the same values.
//!
//! SipHash-2-4 turns bytes into 64 bits, once per name and once per Call-ID; from there on a cheap
//! integer mix is enough. None of this may ever change: tokens, pins and the agreement of nodes
//! that run different versions stand on it. `tests/pool.rs` holds some values for ever.

use super::BackendId;
use siphasher::sip::SipHasher24;

/// The hash of a Call-ID under a pool's seed, made by [`super::Pool::call_hash`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CallHash(pub u64);

impl BackendId {
    /// The identity of the backend with this name. It is no secret, so its key is none either.
    pub fn of_name(name: &str) -> Self {
        let hash = SipHasher24::new_with_key(b"sipring: backend").hash(name.as_bytes());
        Self(hash as u32)
    }
}

/// Hashes Call-IDs with the config's seed: who does not know it cannot aim calls at one backend.
#[derive(Clone)]
pub(super) struct CallHasher(SipHasher24);

impl CallHasher {
    pub(super) fn new(seed: u64) -> Self {
        Self(SipHasher24::new_with_keys(seed, mix(seed)))
    }

    #[inline]
    pub(super) fn hash(&self, call_id: &[u8]) -> CallHash {
        CallHash(self.0.hash(call_id))
    }
}

/// One number for a list of identities in their order: equal lists, and as good as no others, have the
/// same.
pub(super) fn layout(ids: impl Iterator<Item = BackendId>) -> u64 {
    ids.fold(0, |sum, id| mix(sum.wrapping_add(0x9e37_79b9_7f4a_7c15)) ^ mix(u64::from(id.0) + 1))
}

/// A bijection of 64 bits in which each bit of the input changes about half of the output
/// (the finaliser of SplitMix64).
#[inline]
pub(super) const fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// The 64 bits of an identity for one use; `purpose` keeps the uses apart.
#[inline]
pub(super) const fn spread(id: BackendId, purpose: u32) -> u64 {
    mix(mix((purpose as u64) << 32 | id.0 as u64).wrapping_add(0x9e37_79b9_7f4a_7c15))
}

/// Multiply-shift: maps 64 uniform bits to `0..size` without a division.
#[inline]
pub(super) const fn scale(hash: u64, size: usize) -> usize {
    ((hash as u128 * size as u128) >> 64) as usize
}
