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
    /// New calls that the drained backend got; `None` if the show ended before that was known.
    pub(super) to_drained: Option<u64>,
    pub(super) balancer_failed: bool,
}

impl Verdict {
    /// True if there were calls, none was lost or changed its backend, and draining worked.
    pub(super) fn good(&self) -> bool {
        self.calls > 0
            && self.lost() == 0
            && self.split == 0
            && self.astray == 0
            && self.to_drained == Some(0)
            && !self.balancer_failed
    }

    fn lost(&self) -> u64 {
        self.calls - self.completed
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { calls, completed, split, astray, .. } = self;
        write!(f, "RESULT {calls} calls, {completed} completed, {} lost", self.lost())?;
        if *split > 0 {
            write!(f, ", {split} dialogs changed their backend")?;
        }
        if *astray > 0 {
            write!(f, ", {astray} requests went to a backend without their dialog")?;
        }
        match self.to_drained {
            Some(0) => {}
            Some(calls) => write!(f, ", {calls} new calls went to the drained backend")?,
            None => write!(f, ", ended before the drained backend was ready again")?,
        }
        if self.balancer_failed {
            write!(f, ", a worker of the balancer ended by itself")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_fault_of_any_kind_is_enough() {
        let good = Verdict { calls: 9, completed: 9, to_drained: Some(0), ..Verdict::default() };
        assert!(good.good());
        assert_eq!(good.to_string(), "RESULT 9 calls, 9 completed, 0 lost");
        for (bad, says) in [
            (Verdict { calls: 0, completed: 0, ..good.clone() }, "RESULT 0 calls"),
            (Verdict { completed: 8, ..good.clone() }, "1 lost"),
            (Verdict { split: 1, ..good.clone() }, "1 dialogs changed"),
            (Verdict { astray: 2, ..good.clone() }, "2 requests"),
            (Verdict { to_drained: Some(3), ..good.clone() }, "3 new calls"),
            (Verdict { to_drained: None, ..good.clone() }, "ended before"),
            (Verdict { balancer_failed: true, ..good.clone() }, "a worker"),
        ] {
            assert!(!bad.good(), "{bad}");
            assert!(bad.to_string().contains(says), "{bad}");
        }
    }
}
