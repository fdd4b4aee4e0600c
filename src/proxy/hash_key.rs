//! Where a request is placed: its group, and the hash of what the group's policy goes by.

use super::facts::RequestFacts;
use super::validate::Request;
use crate::pool::{CallHash, GroupIndex, HashKey, Pool};
use std::net::IpAddr;

/// A group, and a request's place in its tables.
#[derive(Clone, Copy, Debug)]
pub(super) struct Placing {
    pub(super) group: GroupIndex,
    pub(super) call: CallHash,
}

impl Placing {
    /// Of a request. A retransmission, a CANCEL and an ACK are placed alike, except where a rule or a
    /// policy goes by what they differ in: there the pin serves them.
    pub(super) fn of(pool: &Pool, facts: &RequestFacts<'_>) -> Self {
        let group = pool.route(facts);
        Self { group, call: call_hash(pool, group, facts) }
    }

    /// Of a request that is for another call: where the key is the Call-ID, it is that one's.
    pub(super) fn of_other_call(pool: &Pool, facts: &RequestFacts<'_>, call_id: &[u8]) -> Self {
        let group = pool.route(facts);
        let call = match pool.group(group).policy().hash_key() {
            HashKey::CallId => pool.call_hash(call_id),
            _ => call_hash(pool, group, facts),
        };
        Self { group, call }
    }
}

fn call_hash(pool: &Pool, group: GroupIndex, facts: &RequestFacts<'_>) -> CallHash {
    let request = facts.request;
    let group = pool.group(group);
    match group.policy().hash_key() {
        HashKey::CallId => pool.call_hash(request.call_id),
        HashKey::Source => match facts.ingress.source.ip() {
            IpAddr::V4(ip) => pool.call_hash(&ip.octets()),
            IpAddr::V6(ip) => pool.call_hash(&ip.octets()),
        },
        HashKey::Aor => match aor_user(request) {
            Some(user) => unescaped(user, |user| pool.call_hash(user)),
            None => pool.call_hash(request.call_id),
        },
        HashKey::Header => {
            let value = group.hash_header().and_then(|name| request.field(name));
            pool.call_hash(value.unwrap_or(request.call_id))
        }
    }
}

/// The user that is registered or called. Its domain has no part in it: phones register with one name
/// of a site and are called by another.
fn aor_user<'a>(request: &Request<'a>) -> Option<&'a [u8]> {
    match request.method {
        super::Method::Register => request.user_of_to(),
        _ => request.called_user().or_else(|| request.user_of_to()),
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
