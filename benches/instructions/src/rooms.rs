//! The rooms of the core, as `sipring` has them, and nothing else of it.

#[path = "../../../src/limits.rs"]
pub mod limits;
#[path = "../../../src/pool/mod.rs"]
pub mod pool;
#[path = "../../../src/proxy/mod.rs"]
pub mod proxy;
#[path = "../../../src/sip/mod.rs"]
pub mod sip;
