//! Whether all went well: the last line of the demo, and its exit code.

use std::fmt;

/// What came of the show.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Verdict {
    /// Calls through the balancer.
    pub(super) calls: u64,
    pub(super) completed: u64,
    /// Calls of which two backends sent messages.
    pub(super) split: u64,
    /// In-dialog requests that came to a backend without that dialog.
    pub(super) astray: u64,
    /// Requests that went on to another backend.
    pub(super) failed_over: u64,
    /// Reloads that were taken over.
    pub(super) reloads: u64,
    /// Reloads that were refused.
    pub(super) refused: u64,
    /// What did not happen as it should.
    pub(super) faults: Vec<String>,
}

impl Verdict {
    /// True if there were calls, none was lost or changed its backend, and every scene went as it
    /// should.
    pub(super) fn good(&self) -> bool {
        self.calls > 0
            && self.lost() == 0
            && self.split == 0
            && self.astray == 0
            && self.faults.is_empty()
    }

    fn lost(&self) -> u64 {
        self.calls - self.completed
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { calls, completed, split, astray, failed_over, reloads, refused, faults } = self;
        write!(
            f,
            "RESULT {calls} calls, {completed} completed, {} lost, {failed_over} failed over, \
             {reloads} reload, {refused} refused",
            self.lost()
        )?;
        if *split > 0 {
            write!(f, ", {split} dialogs changed their backend")?;
        }
        if *astray > 0 {
            write!(f, ", {astray} requests went to a backend without their dialog")?;
        }
        faults.iter().try_for_each(|fault| write!(f, ", {fault}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_fault_of_any_kind_is_enough() {
        let good = Verdict {
            calls: 9,
            completed: 9,
            failed_over: 2,
            reloads: 1,
            refused: 1,
            ..Verdict::default()
        };
        assert!(good.good());
        let said = "RESULT 9 calls, 9 completed, 0 lost, 2 failed over, 1 reload, 1 refused";
        assert_eq!(good.to_string(), said);
        let faults = vec!["a worker ended".to_owned()];
        for (bad, says) in [
            (Verdict { calls: 0, completed: 0, ..good.clone() }, "RESULT 0 calls"),
            (Verdict { completed: 8, ..good.clone() }, "1 lost"),
            (Verdict { split: 1, ..good.clone() }, "1 dialogs changed"),
            (Verdict { astray: 2, ..good.clone() }, "2 requests"),
            (Verdict { faults, ..good.clone() }, "refused, a worker ended"),
        ] {
            assert!(!bad.good(), "{bad}");
            assert!(bad.to_string().contains(says), "{bad}");
        }
    }
}
