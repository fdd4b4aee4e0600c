//! What a policy by hash goes by, found in a request: one reading for the data path and for those who
//! ask where a request would go.

use super::{CallHash, Facts, GroupIndex, HashKey, Pool};
use std::net::IpAddr;

impl Pool {
    /// The hash of what the group's policy goes by; of the Call-ID where that is not there.
    pub fn key_hash(&self, group: GroupIndex, facts: &impl Facts) -> CallHash {
        let group = self.group(group);
        match group.policy().hash_key() {
            HashKey::CallId => self.call_hash(facts.call_id()),
            HashKey::Source => match facts.source() {
                IpAddr::V4(ip) => self.call_hash(&ip.octets()),
                IpAddr::V6(ip) => self.call_hash(&ip.octets()),
            },
            HashKey::Aor => match facts.aor_user() {
                b"" => self.call_hash(facts.call_id()),
                user => unescaped(user, |user| self.call_hash(user)),
            },
            HashKey::Header => {
                let value = group.hash_header().and_then(|name| facts.header(name));
                self.call_hash(value.unwrap_or(facts.call_id()))
            }
        }
    }
}

/// Longer users are taken as they stand.
const USER_MAX: usize = 256;

/// Gives the user without escapes: `%61` and `a` are the same (RFC 3261 19.1.4). That says so of
/// reserved characters not, but here two users that are one cost nothing, and one that is two would
/// be called where it is not registered. Case counts.
fn unescaped<T>(user: &[u8], take: impl FnOnce(&[u8]) -> T) -> T {
    if user.len() > USER_MAX || memchr::memchr(b'%', user).is_none() {
        return take(user);
    }
    let mut text = [0; USER_MAX];
    let (mut len, mut at) = (0, 0);
    while at < user.len() {
        let escape = user.get(at + 1..at + 3).filter(|_| user[at] == b'%').and_then(byte);
        text[len] = escape.unwrap_or(user[at]);
        at += if escape.is_some() { 3 } else { 1 };
        len += 1;
    }
    take(&text[..len])
}

/// Two hexadecimal digits.
fn byte(digits: &[u8]) -> Option<u8> {
    let digit = |at: usize| char::from(digits[at]).to_digit(16);
    Some((digit(0)? << 4 | digit(1)?) as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_undone_and_what_is_none_stays() {
        let all = |text: &str| {
            unescaped(text.as_bytes(), |user| String::from_utf8_lossy(user).into_owned())
        };
        for (text, user) in [
            ("alice", "alice"),
            ("%61lic%65", "alice"),
            ("%2B4930", "+4930"),
            ("%2b4930", "+4930"),
            ("100%", "100%"),
            ("%4", "%4"),
            ("%zz%41", "%zzA"),
            ("%2541", "%41"),
        ] {
            assert_eq!(all(text), user, "{text}");
        }
        let long = format!("%61{}", "b".repeat(USER_MAX));
        assert_eq!(all(&long), long);
        let longest = format!("%61{}", "b".repeat(USER_MAX - 3));
        assert_eq!(all(&longest), longest.replace("%61", "a"));
    }
}
