//! Transactions that were let go a while ago, and attempts that were refused. A retransmission that was
//! on its way when the answer came is no new request: the backend may absorb it without a word (RFC 3261
//! 17.2.1, RFC 6026 7.1), and that is no silence. Nor is a 503 that comes again a second refusal.

use super::{LINGER_MS, TransactionKey};

/// A fixed table; one that comes later takes the place of one before, if they share it.
#[derive(Debug)]
pub(super) struct Recent {
    /// The transaction, and until when it is known, milliseconds.
    places: Vec<(TransactionKey, u64)>,
}

impl Recent {
    /// Room for four times the kept requests: those that wait for an answer are far fewer than those
    /// that have had it within a few seconds.
    pub(super) fn new(kept_max: usize) -> Self {
        Self { places: vec![(TransactionKey(0), 0); (4 * kept_max).next_power_of_two()] }
    }

    /// It is known for 64*T1 from now on.
    pub(super) fn note(&mut self, key: TransactionKey, now_ms: u64) {
        let place = self.place(key);
        self.places[place] = (key, now_ms + LINGER_MS);
    }

    /// Whether it was noted within that time.
    pub(super) fn has(&self, key: TransactionKey, now_ms: u64) -> bool {
        let (known, until_ms) = self.places[self.place(key)];
        known == key && now_ms < until_ms
    }

    fn place(&self, key: TransactionKey) -> usize {
        key.0 as usize & (self.places.len() - 1) // a keyed hash, and a power of two
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transaction_is_known_for_64_t1_and_no_longer() {
        let mut recent = Recent::new(3);
        assert!(!recent.has(TransactionKey(0), 0), "nothing is known at the start");
        recent.note(TransactionKey(7), 1000);
        assert!(recent.has(TransactionKey(7), 1000 + LINGER_MS - 1));
        assert!(!recent.has(TransactionKey(7), 1000 + LINGER_MS));
        assert!(!recent.has(TransactionKey(8), 1000));
    }

    #[test]
    fn the_later_of_two_that_share_a_place_is_known() {
        let mut recent = Recent::new(3); // 16 places
        recent.note(TransactionKey(3), 0);
        recent.note(TransactionKey(3 + 16), 0);
        assert!(recent.has(TransactionKey(19), 1) && !recent.has(TransactionKey(3), 1));
    }
}
