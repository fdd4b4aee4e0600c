//! A key that is changed while requests are under way: what belongs to a transaction of before is signed
//! as that was, so that its branch stays the same (RFC 3261 16.11, 9.1, 17.1.1.3).
//!
//! Another branch would be another transaction: a CANCEL for nothing, an ACK that ends no repetition, a
//! retransmission that is refused as a loop (8.2.2.2). It holds for one change in the life of a
//! transaction, from a key to one whose previous key it is.

use super::settings::Keys;
use super::transactions::TransactionKey;
use super::{Proxy, Signer};

impl Proxy {
    /// Other keys are taken over.
    pub(super) fn change_keys(&mut self, keys: &Keys) {
        let before = &self.settings.keys;
        if keys.previous.as_ref() == Some(&before.current) && keys.current != before.current {
            self.transactions.begin_key();
        }
        self.signer = Signer::new(keys);
    }

    /// Does `work`, which writes a request of this transaction, with the key that it began with.
    #[inline(always)]
    pub(super) fn signing_as_begun<T>(
        &mut self,
        key: Option<TransactionKey>,
        work: impl FnOnce(&mut Self) -> T,
    ) -> T {
        let of_before = key.is_some_and(|key| self.transactions.is_of_key_before(key));
        if of_before {
            self.signer.exchange();
        }
        let result = work(self);
        if of_before {
            self.signer.exchange();
        }
        result
    }
}
