//! The control thread: plans and starts the workers, serves the admin address, ends in order.
//!
//! 1. The log is installed and the admin address bound, so that a mistake there stops nothing.
//! 2. [`Balancer::start`] asks the machine for addresses and routes (`plan` turns config and answers
//!    into sockets, sides and backends), builds the pool, and starts the workers.
//! 3. `serve` answers on the admin address and watches the workers until a signal ends it; `prober`
//!    watches the backends meanwhile.
//!
//! [`Balancer`] alone is a balancer inside another process, and [`Prober`] watches its backends there:
//! the demo and the tests use them.

mod admin;
mod balancer;
mod failure;
pub mod fleet;
mod log;
mod plan;
mod ports;
mod probe;
mod prober;
mod runtime;
mod serve;
mod signals;

pub use balancer::Balancer;
pub use failure::Failure;
pub use fleet::Admin;
pub use prober::Prober;

use crate::config::Config;

/// Runs a balancer until INT or TERM ends it; the calling thread is the control thread.
///
/// # Errors
/// Why it could not start or go on, with the exit code of the process.
pub fn run(config: Config) -> Result<(), Failure> {
    log::install(config.log);
    let runtime = runtime::Runtime::new()?;
    let admin = admin::Admin::bind(config.admin)?;
    let balancer = Balancer::start(config)?;
    runtime.block_on(serve::serve(balancer, admin))
}
