//! What `evaluate` is asked to do.

use std::path::PathBuf;

/// The options of a run.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// The balancer's binary.
    pub(crate) balancer: PathBuf,
    /// The directory of the results.
    pub(crate) out: PathBuf,
    /// How often everything is measured; medians are told.
    pub(crate) rounds: u32,
    /// Runs at a time.
    pub(crate) lanes: u8,
    /// Decides the calls and what work they are.
    pub(crate) seed: u64,
    /// These policies; all if there are none.
    pub(crate) only: Vec<String>,
    /// A minute, to see that everything works: the figures mean little.
    pub(crate) short: bool,
    /// Keep what the results that are there say of other policies.
    pub(crate) add: bool,
    /// Tables and charts once more, from the results that are there.
    pub(crate) redraw: bool,
    /// The command line, for the results.
    pub(crate) command: String,
}

impl Options {
    pub(super) fn wants(&self, policy: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| only == policy)
    }
}
