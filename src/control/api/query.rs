//! The query of a URL, percent-decoded.

use std::ops::RangeInclusive;

/// `a=1&b=2`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Query<'a>(pub(super) &'a str);

impl Query<'_> {
    /// The value of the first parameter of this name; an empty one is none.
    pub(super) fn text(self, name: &str) -> Option<String> {
        let pairs = self.0.split('&').filter_map(|pair| pair.split_once('='));
        let mut values = pairs.filter(|(key, _)| *key == name).map(|(_, value)| decoded(value));
        values.next().filter(|value| !value.is_empty())
    }

    /// The values of all parameters of this name.
    pub(super) fn texts(self, name: &str) -> impl Iterator<Item = String> {
        let pairs = self.0.split('&').filter_map(|pair| pair.split_once('='));
        pairs.filter(move |(key, _)| *key == name).map(|(_, value)| decoded(value))
    }

    /// The same as a number; `Err`: it is none, or out of range.
    pub(super) fn number(
        self,
        name: &str,
        allowed: RangeInclusive<u64>,
    ) -> Result<Option<u64>, ()> {
        let Some(text) = self.text(name) else { return Ok(None) };
        let number = text.parse().map_err(drop)?;
        if allowed.contains(&number) { Ok(Some(number)) } else { Err(()) }
    }
}

/// `%40` is `@`; what is no such pair stays as it is, and what is not UTF-8 then is replaced. A `+`
/// is a `+`: Call-IDs have them.
pub(super) fn decoded(text: &str) -> String {
    String::from_utf8_lossy(&bytes(text)).into_owned()
}

/// What it stands for, whatever that is.
fn bytes(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, behind)) = rest.split_first() {
        let digit = |at: usize| behind.get(at).and_then(|byte| char::from(*byte).to_digit(16));
        match (first, digit(0), digit(1)) {
            (b'%', Some(high), Some(low)) => {
                bytes.push((high * 16 + low) as u8);
                rest = &behind[2..];
            }
            _ => {
                bytes.push(*first);
                rest = behind;
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_found_and_decoded() {
        let query = Query("x=1&call_id=a%40b%2Bc+d%&y=&value=07");
        assert_eq!(query.text("call_id").as_deref(), Some("a@b+c+d%"));
        assert_eq!(query.text("y"), None);
        assert_eq!(query.text("z"), None);
        assert_eq!(query.number("value", 0..=7), Ok(Some(7)));
        assert_eq!(query.number("value", 0..=6), Err(()));
        assert_eq!(query.number("call_id", 0..=6), Err(()));
        assert_eq!(query.number("z", 0..=6), Ok(None));
    }

    #[test]
    fn what_is_no_pair_of_digits_stays() {
        for text in ["", "%", "%4", "%zz", "a%"] {
            assert_eq!(decoded(text), text);
        }
        assert_eq!(decoded("%ff"), "\u{fffd}");
    }
}
