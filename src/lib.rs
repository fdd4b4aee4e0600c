//! sipring: a SIP load balancer on io_uring.
//!
//! The rooms, and who may talk to whom, are drawn in ARCHITECTURE.md; `tests/tidy.rs` holds the
//! arrows. `sip`, `pool` and `proxy` are pure: no socket, clock, thread, lock, log or random source.

pub mod cli;
pub mod config;
pub mod control;
#[doc(hidden)]
pub mod fuzz;
#[allow(unsafe_code)] // the one room that talks to the kernel
pub mod io;
pub mod limits;
pub mod metrics;
pub mod pool;
pub mod proxy;
pub mod sip;
pub mod worker;
