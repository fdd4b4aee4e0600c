//! Why a pool cannot be built, in words for the operator.

use crate::limits::{BACKENDS_MAX, GROUPS_MAX};
use std::fmt;

/// Why a pool cannot be built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PoolError {
    /// More than [`crate::limits::BACKENDS_MAX`].
    TooMany(usize),
    /// No pool, or more than [`crate::limits::GROUPS_MAX`].
    Groups(usize),
    /// Two backends of the same name.
    SameName(String),
    /// Two backends of one pool with the same address (their names).
    SameAddress(String, String),
    /// The names of two backends have the same identity: rename one.
    SameIdentity(String, String),
}

impl fmt::Display for PoolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Groups(count) => {
                write!(f, "there are {count} pools: give 1 to {GROUPS_MAX}")
            }
            Self::TooMany(count) => write!(
                f,
                "the pool has {count} backends and {BACKENDS_MAX} are possible: remove some, \
                 or share them among several balancers"
            ),
            Self::SameName(name) => write!(
                f,
                "two backends are named \"{name}\": give each a name of its own, because dialogs \
                 are kept by name"
            ),
            Self::SameAddress(first, second) => write!(
                f,
                "the backends \"{first}\" and \"{second}\" have the same address: remove one of \
                 them (to give it a larger share, raise its weight), or correct the address"
            ),
            Self::SameIdentity(first, second) => write!(
                f,
                "the names \"{first}\" and \"{second}\" have the same 32-bit identity by chance: \
                 rename one of the two backends"
            ),
        }
    }
}

impl std::error::Error for PoolError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_text_names_what_was_found_and_what_to_do() {
        let two = || ("a".to_string(), "b".to_string());
        let cases = [
            (PoolError::Groups(65), ["65", "64", "give 1"]),
            (PoolError::TooMany(4097), ["4097", "4096", "remove"]),
            (PoolError::SameName("a".into()), ["\"a\"", "two", "give each"]),
            (PoolError::SameAddress(two().0, two().1), ["\"a\"", "\"b\"", "remove one"]),
            (PoolError::SameIdentity(two().0, two().1), ["\"a\"", "\"b\"", "rename one"]),
        ];
        for (error, words) in cases {
            let text = error.to_string();
            for word in words {
                assert!(text.contains(word), "{word:?} is missing in {text:?}");
            }
        }
    }
}
