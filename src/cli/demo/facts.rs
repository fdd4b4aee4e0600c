//! What is to be shown of one second.

use super::play::{Cast, Front};
use sipring_loadtest::CallerReport;

/// One second of the show.
#[derive(Clone, Debug, Default)]
pub(super) struct Facts {
    /// Seconds since the start.
    pub(super) second: u64,
    /// Calls through the balancer that started in this second.
    pub(super) calls_per_second: u64,
    /// Calls that are open.
    pub(super) open: u64,
    /// Calls completed so far.
    pub(super) completed: u64,
    /// Calls lost so far.
    pub(super) lost: u64,
    /// Requests that the caller sent again so far.
    pub(super) repeated: u64,
    /// Messages that the balancer threw away so far.
    pub(super) drops: u64,
    /// Added latency so far, nanoseconds: difference of the medians, and of the 99th percentiles.
    pub(super) added: (Option<i64>, Option<i64>),
    /// In the order of the pool.
    pub(super) backends: Vec<BackendFacts>,
}

/// One backend in one second.
#[derive(Clone, Debug, Default)]
pub(super) struct BackendFacts {
    pub(super) name: String,
    /// Of the new calls of this second, percent.
    pub(super) share: u64,
    pub(super) drained: bool,
    /// Dialogs that it holds.
    pub(super) dialogs: u64,
}

/// Makes facts of counters: remembers what they were a second ago.
#[derive(Debug, Default)]
pub(super) struct Meter {
    second: u64,
    started: u64,
    new_calls: Vec<u64>,
}

impl Meter {
    /// The second that was read last.
    pub(super) fn second(&self) -> u64 {
        self.second
    }

    /// The next second. `drained` is the place of the drained backend.
    pub(super) fn read<F: Front>(
        &mut self,
        cast: &Cast<F>,
        report: &CallerReport,
        drained: Option<usize>,
    ) -> Facts {
        self.second += 1;
        let through = &report.through;
        let started = through.started.value();
        let calls_per_second = started - std::mem::replace(&mut self.started, started);
        Facts {
            second: self.second,
            calls_per_second,
            open: through.open(),
            completed: through.completed.value(),
            lost: through.lost(),
            repeated: through.invites_repeated.value() + through.byes_repeated.value(),
            drops: cast.front.drops(),
            added: (report.added_ns(0.5), report.added_ns(0.99)),
            backends: self.backends(cast, drained),
        }
    }

    fn backends<F>(&mut self, cast: &Cast<F>, drained: Option<usize>) -> Vec<BackendFacts> {
        self.new_calls.resize(cast.backends.len(), 0);
        let counted = cast.backends.iter().zip(&mut self.new_calls).map(|(backend, before)| {
            let now = backend.report().new_calls.value();
            now - std::mem::replace(before, now)
        });
        let fresh: Vec<u64> = counted.collect();
        let all = fresh.iter().sum::<u64>().max(1);
        let facts = cast.backends.iter().zip(fresh).enumerate().map(|(place, (backend, fresh))| {
            BackendFacts {
                name: backend.name().to_owned(),
                share: (fresh * 100 + all / 2) / all,
                drained: drained == Some(place),
                dialogs: backend.report().dialogs.value(),
            }
        });
        facts.collect()
    }
}
