//! What became of one planned call, with its times.

use crate::report::Outcome;

/// A call of a plan. Times are nanoseconds since the caller's start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallRecord {
    /// The INVITE was sent for the first time.
    pub invited_ns: u64,
    /// The 200 to the INVITE came.
    pub answered_ns: Option<u64>,
    /// The BYE was sent for the first time.
    pub hung_up_ns: Option<u64>,
    /// The call ended, and how; `None`: it had not when it was asked for.
    pub ended: Option<(u64, Outcome)>,
    /// INVITEs and BYEs that were sent again.
    pub repeats: u32,
    /// Two servers answered for it.
    pub split: bool,
    /// The name of the backend that answered.
    pub server: Option<String>,
}
