//! The control thread.

mod failure;
mod plan;
mod system;

pub use failure::Failure;
