//! Steering as the workers know it: whether the kernel gives the datagrams of the listeners to their owners,
//! and if not, why.
//!
//! It is tried with the sockets of the start, and again with those of each listener that comes later.
//! Where it is off everything works as well, by hand-over.

use super::shard::Shard;
use crate::io::steer::{self, Group, HashKey};
use std::sync::{Mutex, PoisonError};

#[cfg(test)]
mod tests;

#[derive(Debug)]
pub(super) struct Steering {
    key: HashKey,
    off: Mutex<Option<String>>,
}

impl Steering {
    /// Steers between the sockets of each of these groups, if that is wanted and possible.
    pub(super) fn begin(wanted: bool, shard: &Shard, groups: &[Group<'_>]) -> Self {
        let off = match (wanted, shard.is_split()) {
            (false, _) => Some("the configuration says so".to_owned()),
            (_, false) => Some("one worker needs none".to_owned()),
            (true, true) => None,
        };
        let key = shard.key();
        let refused = || steer::attach(groups, &key).err().map(|refusal| refusal.to_string());
        Self { key, off: Mutex::new(off.or_else(refused)) }
    }

    /// Steers between more sockets, if it is on. If these cannot be had it is off from then on, though
    /// those that were steered before still are.
    pub(super) fn join(&self, groups: &[Group<'_>]) {
        let mut off = self.off.lock().unwrap_or_else(PoisonError::into_inner);
        if off.is_none()
            && let Err(refusal) = steer::attach(groups, &self.key)
        {
            tracing::warn!(
                "a new listener is not steered ({refusal}): its messages are handed over"
            );
            *off = Some(refusal.to_string());
        }
    }

    /// Why it is off; `None`: it is on.
    pub(super) fn off(&self) -> Option<String> {
        self.off.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
