//! What became of the names of backends, written by the control thread alone.

use super::Cell;
use std::time::{SystemTime, UNIX_EPOCH};

/// Answers of DNS, and how the names stand.
#[derive(Debug, Default)]
pub struct Lookups {
    /// Questions that records were the answer to.
    pub answered: Cell,
    /// Questions to which the answer was that there is nothing.
    pub negative: Cell,
    /// Questions without an answer, or with one that says nothing.
    pub failed: Cell,
    /// Names whose backends are those that DNS says.
    pub fresh: Cell,
    /// Names whose backends are those that DNS said before it failed.
    pub kept: Cell,
    /// Names that lead nowhere yet.
    pub unresolved: Cell,
    /// Unix time of the last good look-up of the name for which it is longest ago, seconds.
    pub good_s: Cell,
}

impl Lookups {
    /// When the name for which it is longest ago was last looked up well; `None`: never, or there is
    /// no name.
    pub fn good_at(&self, time: Option<SystemTime>) {
        let since = time.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        self.good_s.set(since.unwrap_or_default().as_secs());
    }
}
