//! The signature under everything that we put into a message to read it back later: SipHash-2-4 over
//! a word that says what for, and the text.
//!
//! What is signed has one length, or its last part alone has any, so that no two things are one text.
//! Call-IDs go in as their own signature ([`Call`]): one pass over each serves branch and tokens.

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
    /// A Call-ID, as it goes into the signatures that cover it.
    CallId = 7,
}

const PURPOSES: usize = 7;

/// A key, ready to sign: the hash is begun for each purpose.
#[derive(Debug)]
pub(super) struct SigningKey {
    pub(super) number: u8,
    /// Tells it from any other, which may have the same number.
    mark: u64,
    begun: [SipHasher24; PURPOSES],
}

impl SigningKey {
    fn new(key: &Key) -> Self {
        let begun = std::array::from_fn(|place| {
            let mut hasher = SipHasher24::new_with_key(&key.bytes);
            // Eight bytes: what follows is hashed word by word, from where it stands.
            hasher.write(&(place as u64 + 1).to_le_bytes());
            hasher
        });
        let mark = SipHasher24::new_with_key(&key.bytes).hash(b"");
        Self { number: key.number, mark, begun }
    }

    fn begun(&self, purpose: Purpose) -> &SipHasher24 {
        &self.begun[purpose as usize - 1]
    }

    /// The signature of a text.
    #[inline]
    pub(super) fn sign(&self, purpose: Purpose, text: &[u8]) -> u64 {
        self.begun(purpose).hash(text)
    }

    /// Of `first` and `last` as one text.
    ///
    /// They are put together for it: two writes cost the hasher more than the hash.
    #[inline]
    pub(super) fn sign_both(&self, purpose: Purpose, first: &[u8], last: &[u8]) -> u64 {
        let mut text = [0; TOGETHER_SIZE];
        let Some(text) = text.get_mut(..first.len() + last.len()) else {
            return self.sign_in_turn(purpose, first, last);
        };
        text[..first.len()].copy_from_slice(first);
        text[first.len()..].copy_from_slice(last);
        self.sign(purpose, text)
    }

    #[cold]
    fn sign_in_turn(&self, purpose: Purpose, first: &[u8], last: &[u8]) -> u64 {
        let mut hasher = *self.begun(purpose);
        hasher.write(first);
        hasher.write(last);
        hasher.finish()
    }

    /// Of any number of parts, each with its length in front so that no two lists of parts are alike.
    pub(super) fn sign_parts(&self, purpose: Purpose, parts: &[&[u8]]) -> u64 {
        let mut hasher = *self.begun(purpose);
        for part in parts {
            hasher.write(&(part.len() as u64).to_le_bytes());
            hasher.write(part);
        }
        hasher.finish()
    }
}

/// What a branch signs, with the branch of most senders, fits.
const TOGETHER_SIZE: usize = 128;

/// A Call-ID, and its signature where that has been made.
#[derive(Clone, Copy, Debug)]
pub(super) struct Call<'a> {
    pub(super) id: &'a [u8],
    /// By the key with this mark.
    signed: Option<(u64, u64)>,
}

impl<'a> Call<'a> {
    /// Not signed yet.
    pub(super) fn new(id: &'a [u8]) -> Self {
        Self { id, signed: None }
    }

    /// Signed with the current key, for all that will ask.
    pub(super) fn signed(id: &'a [u8], signer: &Signer) -> Self {
        let key = signer.current();
        Self { id, signed: Some((key.mark, key.sign(Purpose::CallId, id))) }
    }

    /// Its signature by this key.
    #[inline]
    pub(super) fn signature(self, key: &SigningKey) -> u64 {
        match self.signed {
            Some((mark, signature)) if mark == key.mark => signature,
            _ => key.sign(Purpose::CallId, self.id),
        }
    }
}

/// The keys in use.
#[derive(Debug)]
pub(super) struct Signer {
    current: SigningKey,
    previous: Option<SigningKey>,
    /// Those that signed before the current one, the last first: for what is under way alone.
    former: Vec<SigningKey>,
}

/// Former keys at most: a transaction tells apart as many changes since it began.
const FORMER_MAX: usize = 3;

impl Signer {
    pub(super) fn new(keys: &Keys) -> Self {
        let previous = keys.previous.as_ref().map(SigningKey::new);
        Self { current: SigningKey::new(&keys.current), previous, former: Vec::new() }
    }

    /// Takes over other keys. True if another one signs from now on.
    pub(super) fn change(&mut self, keys: &Keys) -> bool {
        let Self { current, previous, .. } = Self::new(keys);
        self.previous = previous;
        let changes = current.mark != self.current.mark || current.number != self.current.number;
        if changes {
            self.former.insert(0, std::mem::replace(&mut self.current, current));
            self.former.truncate(FORMER_MAX);
        }
        changes
    }

    /// The key that signs.
    pub(super) fn current(&self) -> &SigningKey {
        &self.current
    }

    /// The key that signed so many changes ago takes the place of the current one; once more, and all is
    /// as it was.
    pub(super) fn exchange(&mut self, changes: usize) {
        if let Some(former) = changes.checked_sub(1).and_then(|at| self.former.get_mut(at)) {
            std::mem::swap(former, &mut self.current);
        }
    }

    /// The key with this number, if it is alive.
    pub(super) fn key(&self, number: u8) -> Option<&SigningKey> {
        if self.current.number == number {
            return Some(&self.current);
        }
        self.previous.as_ref().filter(|key| key.number == number)
    }

    /// All keys, the former ones too: for what nobody gains anything by.
    pub(super) fn keys(&self) -> impl Iterator<Item = &SigningKey> {
        std::iter::once(&self.current).chain(&self.previous).chain(&self.former)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> SigningKey {
        SigningKey::new(&Key { number: 0, bytes: [byte; 16] })
    }

    #[test]
    fn purpose_key_and_cut_all_change_the_signature() {
        let (key, other) = (key(7), key(8));
        let base = key.sign_parts(Purpose::Legacy, &[b"ab", b"c"]);
        assert_eq!(base, key.sign_parts(Purpose::Legacy, &[b"ab", b"c"]));
        assert_ne!(base, key.sign_parts(Purpose::Legacy, &[b"a", b"bc"]));
        assert_ne!(base, key.sign_parts(Purpose::ToTag, &[b"ab", b"c"]));
        assert_ne!(base, other.sign_parts(Purpose::Legacy, &[b"ab", b"c"]));
        let all = [1, 2, 3, 4, 5, 6, 7].map(|purpose| key.begun[purpose - 1].hash(b"abc"));
        for (place, signature) in all.iter().enumerate() {
            assert!(!all[..place].contains(signature), "purpose {}", place + 1);
        }
    }

    #[test]
    fn two_parts_of_any_size_are_signed_as_one_text_behind_the_purpose() {
        let key = key(7);
        let bytes: Vec<u8> = (0..=255).cycle().take(3 * TOGETHER_SIZE).collect();
        for (one, two) in [(0, 0), (0, 7), (8, 8), (30, 17), (42, 86), (42, 87), (0, 128), (1, 380)]
        {
            let mut text = vec![Purpose::Branch as u8, 0, 0, 0, 0, 0, 0, 0];
            text.extend_from_slice(&bytes[..one + two]);
            let whole = SipHasher24::new_with_key(&[7; 16]).hash(&text);
            let (first, last) = bytes[..one + two].split_at(one);
            let signed = key.sign_both(Purpose::Branch, first, last);
            assert_eq!(signed, whole, "{one} and {two} bytes");
        }
    }

    #[test]
    fn a_call_has_one_signature_a_key_whether_made_before_or_not() {
        let [one, two] = [1, 2].map(|number| super::Key { number, bytes: [number; 16] });
        let signer = Signer::new(&Keys { current: two, previous: Some(one) });
        let (new, signed) = (Call::new(b"id"), Call::signed(b"id", &signer));
        for key in signer.keys() {
            assert_eq!(new.signature(key), signed.signature(key));
        }
        let [current, previous] = [2, 1].map(|number| new.signature(signer.key(number).unwrap()));
        assert_ne!(current, previous);
        assert!(signer.key(3).is_none());
    }
}
