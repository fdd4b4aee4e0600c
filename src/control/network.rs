//! What the plan asks the machine: its addresses, and which of them lead to the backends.

use super::Failure;
use super::plan::Network;
use crate::config::Config;
use crate::io::os;

/// Asks; the sides of backends by name are for `resolve` to say.
///
/// # Errors
/// When a listener stands for every local address, and they cannot be listed.
pub(super) fn ask_network(config: &Config) -> Result<Network, Failure> {
    let has_wildcard = config.listeners.iter().any(|listener| listener.bind.ip().is_unspecified());
    let local = if has_wildcard {
        os::local_addresses().map_err(|error| {
            Failure::unavailable(format!(
                "a listener stands for every local address, but they cannot be listed: {error}; name \
                 the addresses in the config instead"
            ))
        })?
    } else {
        Vec::new()
    };
    let towards = |address| os::source_address_towards(address).map_err(|e| e.to_string());
    let backends = config.pools.iter().flat_map(|pool| &pool.backends);
    let sources = backends.map(|backend| towards(backend.address)).collect();
    Ok(Network { local, sources, towards_names: Vec::new() })
}
