//! Datagrams that the kernel has thrown away before anybody received them, by socket address; written
//! by the control thread alone.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// Counts by label.
#[derive(Debug, Default)]
pub struct SocketDrops(Mutex<BTreeMap<String, u64>>);

impl SocketDrops {
    /// There are these labels and no others; new ones begin at 0.
    pub fn keep<'a>(&self, labels: impl Iterator<Item = &'a String>) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = labels.map(|label| (label.clone(), counts.get(label).copied().unwrap_or(0)));
        *counts = kept.collect();
    }

    /// Adds `n` to a label.
    pub fn add(&self, label: &str, n: u64) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(label) {
            *count += n;
        }
    }

    /// All of them, in the order of the labels.
    pub fn all(&self) -> Vec<(String, u64)> {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counts.iter().map(|(label, count)| (label.clone(), *count)).collect()
    }
}
