//! base64url without padding (RFC 4648 5) for texts whose length the type says: tokens, branches and
//! tags are of a few fixed sizes, and a general encoder takes longer over them than over the bytes.

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// What a character that is none stands for.
const NONE: u8 = 0xff;

const VALUES: [u8; 256] = {
    let mut values = [NONE; 256];
    let mut value = 0;
    while value < 64 {
        values[ALPHABET[value] as usize] = value as u8;
        value += 1;
    }
    values
};

/// The six bits of a character; `None` if it is none.
pub(super) fn value(character: u8) -> Option<u8> {
    Some(VALUES[usize::from(character)]).filter(|value| *value != NONE)
}

/// The characters of `SIZE` bytes.
#[inline]
pub(super) fn encode<const SIZE: usize, const TEXT: usize>(bytes: &[u8; SIZE]) -> [u8; TEXT] {
    const { assert!(TEXT == (SIZE * 4).div_ceil(3)) };
    let mut text = [0; TEXT];
    encode_into(bytes, &mut text);
    text
}

/// As many characters as `text` has places for.
// Never: one loop for all sizes, where each unrolled would push others out of the instruction cache.
#[inline(never)]
fn encode_into(bytes: &[u8], text: &mut [u8]) {
    let (groups, rest) = bytes.as_chunks::<3>();
    let (places, last) = text.as_chunks_mut::<4>();
    for (group, place) in groups.iter().zip(places) {
        *place = characters(*group);
    }
    let mut group = [0; 3];
    group[..rest.len()].copy_from_slice(rest);
    last.copy_from_slice(&characters(group)[..last.len()]);
}

/// The characters of three bytes.
#[inline]
fn characters([first, second, third]: [u8; 3]) -> [u8; 4] {
    let group = u32::from(first) << 16 | u32::from(second) << 8 | u32::from(third);
    [18, 12, 6, 0].map(|shift| ALPHABET[(group >> shift) as usize & 63])
}

/// The bytes of a text; `None` unless each of its characters is one and no bit is left over.
#[inline]
pub(super) fn decode<const SIZE: usize, const TEXT: usize>(
    text: &[u8; TEXT],
) -> Option<[u8; SIZE]> {
    const { assert!(TEXT == (SIZE * 4).div_ceil(3)) };
    let mut bytes = [0; SIZE];
    let mut all = 0;
    let mut rest = 0;
    for (from, to) in text.chunks(4).zip(bytes.chunks_mut(3)) {
        let mut group = 0;
        for (place, character) in from.iter().enumerate() {
            let value = VALUES[usize::from(*character)];
            all |= value;
            group |= u32::from(value & 63) << (18 - 6 * place);
        }
        for (place, byte) in to.iter_mut().enumerate() {
            *byte = (group >> (16 - 8 * place)) as u8;
        }
        rest = group & ((1 << (24 - 8 * to.len())) - 1);
    }
    (all < 64 && rest == 0).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use proptest::prelude::*;

    fn agrees<const SIZE: usize, const TEXT: usize>(bytes: &[u8], changed: &[u8]) {
        let bytes: [u8; SIZE] = bytes[..SIZE].try_into().unwrap();
        let mut text: [u8; TEXT] = encode(&bytes);
        assert_eq!(text, URL_SAFE_NO_PAD.encode(bytes).as_bytes());
        assert_eq!(decode(&text), Some(bytes));
        for (at, character) in changed.iter().enumerate() {
            text[at % TEXT] = *character;
            let expected = URL_SAFE_NO_PAD.decode(text).ok();
            assert_eq!(decode::<SIZE, TEXT>(&text).map(Vec::from), expected, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn it_agrees_with_the_crate_of_this_name(
            bytes in prop::collection::vec(any::<u8>(), 37),
            changed in prop::collection::vec(
                prop_oneof![any::<u8>(), prop::sample::select(&b"AQgwz09-_+/= "[..])], 60),
        ) {
            agrees::<8, 11>(&bytes, &changed);
            agrees::<15, 20>(&bytes, &changed);
            agrees::<19, 26>(&bytes, &changed);
            agrees::<25, 34>(&bytes, &changed);
            agrees::<37, 50>(&bytes, &changed);
        }
    }
}
