//! What is to be shown of one second.

use super::front::{Standing, State};
use super::play::Cast;
use sipring_loadtest::{Backend, CallerReport};
use std::collections::HashMap;

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
    /// Requests that went on to another backend so far.
    pub(super) failed_over: u64,
    /// Requests that the caller sent again so far.
    pub(super) repeated: u64,
    /// Messages that the balancer threw away so far.
    pub(super) drops: u64,
    /// Added latency so far, nanoseconds: difference of the medians, and of the 99th percentiles.
    pub(super) added: (Option<i64>, Option<i64>),
    /// Those of the configuration, in its order.
    pub(super) backends: Vec<BackendFacts>,
}

/// One backend in one second.
#[derive(Clone, Debug, Default)]
pub(super) struct BackendFacts {
    pub(super) name: String,
    /// Of the new calls of this second, percent.
    pub(super) share: u64,
    pub(super) state: State,
    /// Dialogs that it holds.
    pub(super) dialogs: u64,
}

/// Makes facts of counters: remembers what they were a second ago.
#[derive(Debug, Default)]
pub(super) struct Meter {
    second: u64,
    started: u64,
    new_calls: HashMap<String, u64>,
}

impl Meter {
    /// The second that was read last.
    pub(super) fn second(&self) -> u64 {
        self.second
    }

    /// The next second.
    pub(super) fn read<F>(
        &mut self,
        cast: &Cast<F>,
        report: &CallerReport,
        standing: &Standing,
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
            failed_over: standing.failed_over,
            repeated: through.invites_repeated.value() + through.byes_repeated.value(),
            drops: standing.drops,
            added: (report.added_ns(0.5), report.added_ns(0.99)),
            backends: self.backends(&cast.backends, standing),
        }
    }

    fn backends(&mut self, cast: &[Backend], standing: &Standing) -> Vec<BackendFacts> {
        let fresh: HashMap<&str, u64> = cast
            .iter()
            .map(|backend| {
                let now = backend.report().new_calls.value();
                let before = self.new_calls.insert(backend.name().to_owned(), now).unwrap_or(0);
                (backend.name(), now - before)
            })
            .collect();
        let all = fresh.values().sum::<u64>().max(1);
        let shown = standing.backends.iter().filter_map(|one| {
            let backend = cast.iter().find(|backend| backend.name() == one.name)?;
            Some(BackendFacts {
                name: one.name.clone(),
                share: (fresh.get(&*one.name).copied()? * 100 + all / 2) / all,
                state: one.state,
                dialogs: backend.report().dialogs.value(),
            })
        });
        shown.collect()
    }
}
