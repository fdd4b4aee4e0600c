//! Whole datagrams through the core's public API, one file a behaviour.

mod answers;
mod choosing;
mod counting;
mod counts;
mod draining;
mod endings;
mod expiry;
mod failover;
mod listeners;
mod malformed;
mod path;
mod placing;
mod record_route;
mod reference;
mod repeats;
mod rotation;
mod source;
mod spirals;
mod torture;
mod untouched;
mod via;
mod world;
