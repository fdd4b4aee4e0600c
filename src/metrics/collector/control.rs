//! The scrape of what the control thread tells: reloads, and names of backends.

use super::{Scrape, family, single};
use crate::metrics::{Cell, declared};
use prometheus::proto::MetricFamily;

impl Scrape {
    pub(super) fn reloads(&self) -> Vec<MetricFamily> {
        let reloads = &self.source.reloads;
        let count = |cell: &Cell| cell.value() as f64;
        vec![
            single(declared::CONFIG_GENERATION, count(&reloads.generation)),
            family(
                declared::CONFIG_RELOADS,
                [
                    (vec!["success"], count(&reloads.succeeded)),
                    (vec!["failure"], count(&reloads.failed)),
                ],
            ),
            single(declared::CONFIG_LAST_RELOAD_SUCCESSFUL, count(&reloads.last_successful)),
            single(declared::CONFIG_LAST_RELOAD_TIMESTAMP, count(&reloads.last_success_s)),
            single(declared::CONFIG_HASH, count(&reloads.hash)),
            single(declared::CONFIG_DRIFT, count(&reloads.drift)),
        ]
    }

    pub(super) fn lookups(&self) -> Vec<MetricFamily> {
        let lookups = &self.source.lookups;
        let of = |metric, values: [(&str, &Cell); 3]| {
            family(metric, values.map(|(label, cell)| (vec![label], cell.value() as f64)))
        };
        let results = [
            ("records", &lookups.answered),
            ("nothing", &lookups.negative),
            ("failure", &lookups.failed),
        ];
        let states = [
            ("fresh", &lookups.fresh),
            ("kept", &lookups.kept),
            ("unresolved", &lookups.unresolved),
        ];
        vec![
            of(declared::DNS_LOOKUPS, results),
            of(declared::DNS_NAMES, states),
            single(declared::DNS_LAST_SUCCESS_TIMESTAMP, lookups.good_s.value() as f64),
        ]
    }
}
