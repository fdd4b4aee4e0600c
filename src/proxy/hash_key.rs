//! Where a request is placed: its group, and the hash of what the group's policy goes by.

use super::facts::RequestFacts;
use crate::pool::{CallHash, GroupIndex, HashKey, Pool};

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
        Self { group, call: pool.key_hash(group, facts) }
    }

    /// Of a request that is for another call: where the key is the Call-ID, it is that one's.
    pub(super) fn of_other_call(pool: &Pool, facts: &RequestFacts<'_>, call_id: &[u8]) -> Self {
        let group = pool.route(facts);
        let call = match pool.group(group).policy().hash_key() {
            HashKey::CallId => pool.call_hash(call_id),
            _ => pool.key_hash(group, facts),
        };
        Self { group, call }
    }
}
