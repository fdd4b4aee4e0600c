//! SIP callers and answering backends: whole calls over UDP, and what became of each of them.
//!
//! # The rooms
//! 1. [`Backend`] answers calls as an RFC 3261 user agent server; each of its messages names it.
//! 2. [`Caller`] makes calls at a rate (open loop) or a number at once (closed loop), follows each
//!    to its end and counts it as completed, failed, timed out or split over two backends.
//! 3. [`Relay`] is the simplest thing that can stand between them, with faults on request: the
//!    generator is tested against it.
//! 4. [`Service`] gives a backend a queue and a capacity; [`Workload`] draws calls beforehand, so
//!    that all that is compared gets the same ones.
//! 5. [`random`] draws all chance, [`text`] writes what phones send.
//! 6. [`report`] holds the counters and histograms, readable from any thread while calls run.
//!
//! Caller and backend are state machines without socket or clock (`caller::agent`,
//! `backend::agent`); `engine` runs them on a socket with two plain threads. Everything random is
//! a function of a seed and the number (or Call-ID) of the call.
//!
//! # What it does not do
//! No CANCEL, no re-INVITE, no authentication, no strict routers; SIP over UDP only. Latency of
//! calls at a rate counts from the moment an INVITE was sent, not from when it was due:
//! [`report::CallerReport::late_starts`] says how often these differ.

pub mod backend;
pub mod caller;
mod dialog;
mod engine;
pub mod histogram;
mod json;
mod message;
mod plan;
pub mod random;
pub mod relay;
pub mod report;
mod respond;
pub mod text;
mod timers;

pub use backend::{Backend, BackendOptions, Manner, Service};
pub use caller::{CallRecord, Caller, CallerOptions, Direct, Pace};
pub use histogram::Histogram;
pub use plan::{PlannedCall, Workload};
pub use relay::{Relay, RelayOptions};
pub use report::{BackendReport, CallerReport, Counter, Outcome, Stage, Tally};
