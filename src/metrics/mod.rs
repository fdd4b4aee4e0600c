//! Every metric is declared once here; cells per worker, summed at scrape.

pub mod cells;

pub use cells::{Cell, Cells};
