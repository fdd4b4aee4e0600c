//! A bar on the terminal while a run lasts.

use std::io::{IsTerminal, Write, stderr};

const WIDTH: usize = 30;
/// Between two pictures, in nanoseconds.
const INTERVAL_NS: u64 = 200_000_000;

pub(super) struct Progress {
    whole_ns: u64,
    next_ns: u64,
    before: u64,
    shows: bool,
}

impl Progress {
    /// A run of this length; nothing is shown if nobody looks.
    pub(super) fn new(whole_ns: u64) -> Self {
        Self { whole_ns: whole_ns.max(1), next_ns: 0, before: 0, shows: stderr().is_terminal() }
    }

    /// Draws if it is time to. `done` are calls and requests ended well so far.
    pub(super) fn show(&mut self, now: u64, done: u64, open: usize) {
        if !self.shows || now < self.next_ns {
            return;
        }
        self.next_ns = now + INTERVAL_NS;
        let rate = (done - self.before) * 1_000_000_000 / INTERVAL_NS;
        self.before = done;
        let bar = bar(now as f64 / self.whole_ns as f64);
        let seconds = now / 1_000_000_000;
        let _ = write!(stderr(), "\r[{bar}] {seconds} s  {rate} done/s  {open} open \x1b[K");
    }

    /// Takes the bar away.
    pub(super) fn end(&self) {
        if self.shows {
            let _ = write!(stderr(), "\r\x1b[K");
        }
    }
}

/// The bar at this share of the whole.
fn bar(share: f64) -> String {
    let full = ((share.clamp(0.0, 1.0)) * WIDTH as f64) as usize;
    format!("{}{}", "#".repeat(full), "-".repeat(WIDTH - full))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_grows_and_never_beyond_its_width() {
        for (share, full) in [(-1.0, 0), (0.0, 0), (0.5, 15), (1.0, 30), (7.0, 30)] {
            let bar = bar(share);
            assert_eq!((bar.len(), bar.matches('#').count()), (WIDTH, full));
        }
    }
}
