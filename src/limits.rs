//! Every bound of the program in one place, each derived or explained.

/// The largest UDP payload, bytes: RFC 3261 18.1.1 asks for messages up to 65 535 bytes; the IPv4
/// header (20) and the UDP header (8) come out of that.
pub const DATAGRAM_SIZE_MAX: usize = 65_507;

/// Room for one received or written message, bytes.
pub const MESSAGE_SIZE_MAX: usize = 65_535;

/// Workers in one process. A pair of workers shares a hand-off ring, so rings grow with the square.
pub const WORKERS_MAX: usize = 256;

/// Backends in all pools together: a slot is 16 bits, and rendezvous walks them all.
pub const BACKENDS_MAX: usize = 4096;

/// `[[pool]]`s in one config: a place among them is 8 bits, and each worker has a turn for each.
pub const GROUPS_MAX: usize = 64;

/// Backends by name: each costs some questions to DNS whenever its records run out.
pub const NAMES_MAX: usize = 256;

/// Ports towards the backends that are all bound, whatever the number of workers.
pub const BACKEND_PORTS_MAX: usize = 256;

/// Local socket addresses (listeners x local addresses + backend ports): a `SocketIndex` is 16 bits.
pub const SOCKETS_MAX: usize = 4096;

/// Local socket addresses that reloads may add, each for good: every worker has empty places for them.
pub const SOCKETS_ADDED_MAX: usize = 128;

/// A pin without traffic is kept for so many seconds at most, whatever it is of: 30 days.
pub const IDLE_S_MAX: u32 = 30 * 86_400;

/// Passages of one request through this balancer before 482 (a spiral, RFC 3261 16.3 item 4).
pub const PASSAGES_MAX: usize = 5;
