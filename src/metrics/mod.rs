//! Every metric is declared once here; cells per worker, summed at scrape.

pub mod cells;
mod collector;
pub mod declared;
mod lookups;
mod probes;
mod reloads;
mod roster;
mod socket_drops;
pub mod status_codes;
pub mod times;

pub use cells::{BackendCells, BackendOutcome, Cell, Cells, Histogram};
pub use collector::{Metrics, Source};
pub use declared::{Kind, Metric};
pub use lookups::Lookups;
pub use probes::{ProbeFigures, Probes};
pub use reloads::Reloads;
pub use roster::Roster;
pub use socket_drops::SocketDrops;

/// The Content-Type of [`Metrics::text`]: the text exposition format, version 0.0.4.
pub const CONTENT_TYPE: &str = prometheus::TEXT_FORMAT;
