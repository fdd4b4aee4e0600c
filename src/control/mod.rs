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
mod api;
mod balancer;
mod control_socket;
pub mod doctor;
mod drain;
mod failure;
pub mod fleet;
mod kernel_drops;
mod listeners;
mod log;
mod message_log;
mod network;
mod operator;
mod page;
mod plan;
mod ports;
mod probe;
mod prober;
mod reload;
mod resolve;
mod runtime;
mod serve;
mod signals;
mod snapshot;
mod stream;
mod worker_settings;

pub use balancer::Balancer;
pub use failure::Failure;
pub use fleet::Admin;
pub use operator::Loader;
pub use prober::Prober;
pub use reload::Reloaded;

use crate::config::{Config, Loaded, Report};
use operator::Operator;
use std::sync::Arc;

/// Runs a balancer until a signal ends it; the calling thread is the control thread. A reload finds
/// the same configuration again.
///
/// # Errors
/// As [`run_with`].
pub fn run(config: Config) -> Result<(), Failure> {
    let again = config.clone();
    let same = move || Ok(Loaded { warnings: Report::default(), config: again.clone() });
    run_with(config, Box::new(same))
}

/// Runs a balancer until a signal ends it; `load` finds the configuration again for a reload.
///
/// # Errors
/// Why it could not start or go on, with the exit code of the process.
pub fn run_with(config: Config, load: Loader) -> Result<(), Failure> {
    log::install(config.log);
    let runtime = runtime::Runtime::new()?;
    let admin = admin::Admin::bind(config.admin)?.and_on(config.admin_socket.as_deref())?;
    let balancer = Balancer::start(config)?;
    let operator = Arc::new(Operator::new(balancer, load));
    runtime.block_on(serve::serve(operator, admin))
}
