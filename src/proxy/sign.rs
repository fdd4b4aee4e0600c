//! The signature under everything that we put into a message to read it back later.

use super::settings::{Key, Keys};
use siphasher::sip::SipHasher24;
use std::hash::Hasher;

/// What a signature is for: none can pass for another.
#[derive(Clone, Copy, Debug)]
#[repr(u8)]
pub(super) enum Purpose {
    /// A token in Record-Route.
    Dialog = 1,
    /// A token in Path.
    Path = 2,
    /// A Via branch.
    Branch = 3,
    /// The To tag of an own answer.
    ToTag = 4,
    /// The hash of a From tag inside a dialog token.
    FromTag = 5,
    /// The distinguishing part of a branch for requests without one (RFC 2543).
    Legacy = 6,
}

/// The keys in use.
#[derive(Debug)]
pub(super) struct Signer {
    keys: Keys,
}

impl Signer {
    pub(super) fn new(keys: Keys) -> Self {
        Self { keys }
    }

    /// The key that signs.
    pub(super) fn current(&self) -> &Key {
        &self.keys.current
    }

    /// The key with this number, if it is alive.
    pub(super) fn key(&self, number: u8) -> Option<&Key> {
        let previous = self.keys.previous.as_ref();
        std::iter::once(&self.keys.current).chain(previous).find(|key| key.number == number)
    }

    /// Both keys, the signing one first.
    pub(super) fn keys(&self) -> impl Iterator<Item = &Key> {
        std::iter::once(&self.keys.current).chain(self.keys.previous.as_ref())
    }
}

/// SipHash-2-4 of the parts, each with its length in front so that no two lists of parts are alike.
///
/// The parts are gathered first: many small writes cost the hasher more than the hash.
pub(super) fn mac(key: &Key, purpose: Purpose, parts: &[&[u8]]) -> u64 {
    let mut hasher = SipHasher24::new_with_key(&key.bytes);
    let mut gathered = Gathered { bytes: [0; GATHERED_SIZE], len: 0 };
    gathered.push(&mut hasher, &[purpose as u8]);
    for part in parts {
        gathered.push(&mut hasher, &(part.len() as u32).to_le_bytes());
        gathered.push(&mut hasher, part);
    }
    hasher.write(&gathered.bytes[..gathered.len]);
    hasher.finish()
}

/// Call-ID, branch and address of most messages fit.
const GATHERED_SIZE: usize = 256;

/// Bytes on their way into the hasher.
struct Gathered {
    bytes: [u8; GATHERED_SIZE],
    len: usize,
}

impl Gathered {
    fn push(&mut self, hasher: &mut SipHasher24, part: &[u8]) {
        if part.len() > GATHERED_SIZE - self.len {
            hasher.write(&self.bytes[..self.len]);
            self.len = 0;
        }
        if part.len() > GATHERED_SIZE {
            return hasher.write(part);
        }
        self.bytes[self.len..self.len + part.len()].copy_from_slice(part);
        self.len += part.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn purpose_key_and_cut_all_change_the_signature() {
        let key = Key { number: 0, bytes: [7; 16] };
        let other = Key { number: 0, bytes: [8; 16] };
        let base = mac(&key, Purpose::Dialog, &[b"ab", b"c"]);
        assert_eq!(base, mac(&key, Purpose::Dialog, &[b"ab", b"c"]));
        assert_ne!(base, mac(&key, Purpose::Dialog, &[b"a", b"bc"]));
        assert_ne!(base, mac(&key, Purpose::Path, &[b"ab", b"c"]));
        assert_ne!(base, mac(&other, Purpose::Dialog, &[b"ab", b"c"]));
    }

    #[test]
    fn parts_of_any_size_are_hashed_as_one_text() {
        let key = Key { number: 0, bytes: [7; 16] };
        let bytes = [5; 3 * GATHERED_SIZE];
        for (one, two) in
            [(0, 0), (0, 243), (1, 242), (1, 243), (251, 0), (252, 1), (256, 256), (700, 3)]
        {
            let parts = [&bytes[..one], &bytes[..two]];
            let mut text = vec![Purpose::Branch as u8];
            for part in parts {
                text.extend_from_slice(&(part.len() as u32).to_le_bytes());
                text.extend_from_slice(part);
            }
            let whole = SipHasher24::new_with_key(&key.bytes).hash(&text);
            assert_eq!(mac(&key, Purpose::Branch, &parts), whole, "{one} and {two} bytes");
        }
    }
}
