//! The balancer between real peers: SIPp, Kamailio and sipsak, on loopback and in network namespaces.
//!
//! | file | what it proves |
//! |---|---|
//! | `calls` | every kind of exchange between SIPp callers and three SIPp backends, IPv4 and IPv6 |
//! | `kamailio` | a registrar that calls phones by their Path, and a record-routing proxy, as backends |
//! | `options` | sipsak's OPTIONS to the balancer gets a 200 |
//! | `caps` | with two workers, capped backends overflow to the backup, and then to 503 |
//! | `crash` | `kill -9` between 180 and 200, and a restart with another number of workers |
//! | `failover` | a backend that refuses, or is not there, loses no call |
//! | `failing_peers` | SIPp that answers calls with 503 or silence, a Kamailio killed and brought back: no call is lost |
//! | `health` | a backend killed under load gets no new calls until its probes are good again |
//! | `black_hole` | nftables drops all of a backend under load: calls leave it, and come back after its probes |
//! | `load` | 10 000 calls, none lost, no dialog split |
//! | `routes` | a rule leads calls to its pool; a reload turns it round, and running dialogs stay |
//! | `interfaces` | two interfaces: Record-Route for each side, replies from the address that was asked |
//!
//! How a split dialog is seen: a SIPp callee takes a request of an unknown Call-ID for a new call,
//! and a call that begins with anything but the scenario's first request is counted as failed.
//!
//! A test says `SKIPPED` aloud when a peer is not installed; with `SIPRING_REQUIRE_PEERS=1` it fails.

mod balancer;
mod black_hole;
mod calls;
mod caps;
mod crash;
mod failing_peers;
mod failover;
mod health;
mod interfaces;
mod kamailio;
mod lab;
mod load;
mod options;
mod process;
mod routes;
mod scenario;
mod scenes;
mod sipp;
mod stage;
