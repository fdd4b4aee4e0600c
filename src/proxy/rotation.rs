//! Keys that change while requests are under way: what belongs to a transaction of before is signed, and
//! believed, as when that began, so that its branch stays the same (RFC 3261 16.11, 9.1, 17.1.1.3).
//!
//! Another branch would be another transaction: a CANCEL for nothing, an ACK that ends no repetition, a
//! retransmission that is refused as a loop (8.2.2.2); and a response that is not believed is a call that
//! is lost. So keys that signed here are kept for their transactions, whether or not the config still
//! names them, and for nothing else: it holds for three changes in the life of a transaction that is
//! tracked. A node or process that has not sent the request knows the keys of its config only.

use super::branch::{Branch, Transaction};
use super::settings::Keys;
use super::transactions::TransactionKey;
use super::{Now, Proxy};

impl Proxy {
    /// Other keys are taken over.
    pub(super) fn change_keys(&mut self, keys: &Keys) {
        if self.signer.change(keys) {
            self.transactions.begin_key();
        }
    }

    /// Does `work`, which writes a request of this transaction, with the key that it began with.
    #[inline(always)]
    pub(super) fn signing_as_begun<T>(
        &mut self,
        key: Option<TransactionKey>,
        work: impl FnOnce(&mut Self) -> T,
    ) -> T {
        let changes = key.map_or(0, |key| self.transactions.key_changes(key));
        if changes > 0 {
            self.signer.exchange(changes);
        }
        let result = work(self);
        if changes > 0 {
            self.signer.exchange(changes);
        }
        result
    }

    /// Reads the branch of a response that no key of now has signed.
    #[cold]
    #[inline(never)]
    pub(super) fn read_as_begun(
        &mut self,
        now: Now,
        key: TransactionKey,
        text: &[u8],
        transaction: &Transaction<'_>,
    ) -> Option<Branch> {
        let changes = self.transactions.key_changes(key);
        if changes == 0 || !self.transactions.is_live(key, now) {
            return None;
        }
        self.signing_as_begun(Some(key), |proxy| Branch::read(text, &proxy.signer, transaction))
    }
}
