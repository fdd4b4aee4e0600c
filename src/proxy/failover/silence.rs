//! Silence that speaks against a backend, and silence that speaks against the request.
//!
//! A server may drop a request without a word: a scanner's, one of somebody who is banned. Such a request is
//! silent at whatever backend it is tried, and three of them would take all backends down. So the silence
//! of an attempt is told when another attempt of the same request has got any word at all, or when there
//! was nobody else to ask.

use super::{Failover, KeptSlot};
use crate::proxy::Silent;

impl Failover {
    /// A request that got no word at all in time, which speaks against its backend; each attempt once.
    pub(in crate::proxy) fn take_silent(&mut self) -> Option<Silent> {
        self.silent.pop()
    }

    /// The current attempt has got no word in time.
    pub(super) fn is_silent(&mut self, slot: KeptSlot) {
        let entry = self.table.entry(slot);
        if entry.answers_itself {
            entry.silences[usize::from(entry.tried) - 1] = Some(entry.sent_ms);
        }
        if entry.has_word {
            self.tell_silences(slot);
        }
    }

    /// The attempt at this backend has got a word.
    pub(super) fn has_word(&mut self, slot: KeptSlot, attempt: Option<usize>) {
        let entry = self.table.entry(slot);
        entry.has_word = true;
        if let Some(attempt) = attempt {
            entry.silences[attempt] = None; // it was slow
        }
        self.tell_silences(slot);
    }

    /// Nobody else was asked.
    pub(super) fn tell_if_alone(&mut self, slot: KeptSlot) {
        if self.table.get(slot).tried == 1 {
            self.tell_silences(slot);
        }
    }

    fn tell_silences(&mut self, slot: KeptSlot) {
        let entry = self.table.entry(slot);
        for (attempt, silence) in entry.silences.iter_mut().enumerate() {
            if let Some(sent_ms) = silence.take()
                && self.silent.len() < self.silent.capacity()
            {
                self.silent.push(Silent { backend: entry.attempts[attempt], sent_ms });
            }
        }
    }
}
