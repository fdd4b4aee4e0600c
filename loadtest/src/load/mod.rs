//! `load`: whole calls and single requests at the highest rate that two cores allow, from several
//! ports, with answering backends in the same process; and what they cost the balancer between.
//!
//! One thread does all: callers and backends are state machines that know bytes and the number of a
//! connection (`caller`, `answerer`), `udp` moves datagrams in batches, `run` is the loop and the
//! clock. Another transport is another `udp`.

mod answerer;
mod caller;
mod options;
mod outbox;
pub(crate) mod processes;
mod progress;
mod report;
mod run;
mod scan;
#[cfg(test)]
mod tests;
mod text;
mod timers;
mod udp;

pub(crate) use caller::OPEN_MAX;
pub(crate) use options::{Mix, Options, Pace};
pub(crate) use report::{Cost, Report};
pub(crate) use run::run;

/// Which call or transaction: the place of its state, and how often that place was used before.
/// A Call-ID begins with it, so that whoever gets a message finds the state without a table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Number {
    slot: u32,
    generation: u32,
}

impl Number {
    fn value(self) -> u64 {
        u64::from(self.slot) << 32 | u64::from(self.generation)
    }

    fn of(value: u64) -> Self {
        Self { slot: (value >> 32) as u32, generation: value as u32 }
    }
}
