//! What speaks against a backend: told to who watches its health.

use crate::pool::BackendId;

/// A 503 of a backend to a request that may begin something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Whose.
    pub backend: BackendId,
    /// When the request was sent to it, milliseconds; now, where nobody remembers.
    pub sent_ms: u64,
    /// For how long it asks to be left alone, seconds (RFC 3261 21.5.4).
    pub retry_after_s: Option<u32>,
}

/// A backend that said nothing at all to an INVITE or a REGISTER outside a dialog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Silent {
    /// Who.
    pub backend: BackendId,
    /// When the request was sent to it for the first time, milliseconds.
    pub sent_ms: u64,
}
