//! How busy a backend is, as the policies and caps see it.

use super::BackendSlot;

/// What a backend has on its hands. The proxy counts it; 0 everywhere is a backend without work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Calls: confirmed dialogs, and INVITEs that have no final response yet.
    pub calls: u32,
    /// Requests without a final response yet.
    pub transactions: u32,
    /// The same by what they cost, in hundredths of an average request.
    pub work: u32,
    /// Moving average of the time to the first response, microseconds; 0: none has come yet.
    pub latency_us: u32,
    /// Calls begun in the running second.
    pub calls_begun: u32,
}

impl Load {
    /// Together with what others know of the same backend. Averages do not add up: the own one counts,
    /// where there is one.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            calls: self.calls.saturating_add(other.calls),
            transactions: self.transactions.saturating_add(other.transactions),
            work: self.work.saturating_add(other.work),
            latency_us: if self.latency_us == 0 { other.latency_us } else { self.latency_us },
            calls_begun: self.calls_begun.saturating_add(other.calls_begun),
        }
    }
}

/// Where the loads of a snapshot's backends are found.
pub trait Loads {
    /// The load of the backend in this slot.
    fn of(&self, slot: BackendSlot) -> Load;

    /// Whether what is to be placed is a call: caps and bounds are of calls, and keep nothing else out.
    fn for_call(&self) -> bool {
        true
    }
}

/// Nobody has anything to do.
impl Loads for () {
    fn of(&self, _: BackendSlot) -> Load {
        Load::default()
    }
}

impl<F: Fn(BackendSlot) -> Load> Loads for F {
    fn of(&self, slot: BackendSlot) -> Load {
        self(slot)
    }
}

/// What a backend takes of the new calls, beside its weight.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Intake {
    /// Its tier: a tier gets new calls when nobody of a lower number takes any (RFC 2782).
    pub priority: u16,
    /// It is of the last tier, whatever the priorities of the others.
    pub backup: bool,
    /// Calls at most, confirmed or being set up.
    pub calls_max: Option<u32>,
    /// Calls begun in one second at most.
    pub calls_per_second_max: Option<u32>,
}

impl Intake {
    /// Orders the tiers: lower ones come first.
    pub fn tier(&self) -> u32 {
        u32::from(self.backup) << 16 | u32::from(self.priority)
    }

    /// Whether there is a cap at all.
    pub fn is_capped(&self) -> bool {
        self.calls_max.is_some() || self.calls_per_second_max.is_some()
    }

    /// Whether one more call would be too many.
    #[inline]
    pub fn is_full(&self, load: Load) -> bool {
        self.calls_max.is_some_and(|max| load.calls >= max)
            || self.calls_per_second_max.is_some_and(|max| load.calls_begun >= max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cap_is_full_at_its_number_and_not_below() {
        let capped = Intake { calls_max: Some(3), ..Intake::default() };
        assert!(!capped.is_full(Load { calls: 2, calls_begun: 9, ..Load::default() }));
        assert!(capped.is_full(Load { calls: 3, ..Load::default() }));
        let paced = Intake { calls_per_second_max: Some(2), ..Intake::default() };
        assert!(!paced.is_full(Load { calls: 9, calls_begun: 1, ..Load::default() }));
        assert!(paced.is_full(Load { calls_begun: 2, ..Load::default() }));
        let free = Intake::default();
        assert!(!free.is_full(Load { calls: u32::MAX, calls_begun: u32::MAX, ..Load::default() }));
        assert!(!free.is_capped() && capped.is_capped() && paced.is_capped());
    }

    #[test]
    fn backups_come_behind_every_priority() {
        let tier = |priority, backup| Intake { priority, backup, ..Intake::default() }.tier();
        assert!(tier(0, false) < tier(1, false));
        assert!(tier(u16::MAX, false) < tier(0, true));
    }
}
