//! The histograms of how long responses took.

use super::{Scrape, family};
use crate::metrics::declared::{self, Metric};
use crate::metrics::times::{BOUNDS, Times, bound_us};
use prometheus::proto::{Bucket, Histogram, LabelPair, MetricFamily};

impl Scrape {
    pub(super) fn times(&self) -> Vec<MetricFamily> {
        let roster = self.source.roster.load();
        let of_each = |metric: Metric, times: fn(&crate::metrics::BackendCells) -> &Times| {
            let mut family = family::<String>(metric, []);
            let sample = |backend: &crate::pool::Backend| {
                let mut sample = sample(roster.of(backend.id).map(times));
                let mut label = LabelPair::default();
                label.set_name("backend".to_owned());
                label.set_value(backend.spec.name.clone());
                sample.set_label(vec![label]);
                sample
            };
            family.set_metric(roster.pool().backends().iter().map(sample).collect());
            family
        };
        let mut setup = family::<String>(declared::SETUP_SECONDS, []);
        setup.set_metric(vec![sample(self.source.cells.iter().map(|cells| &cells.setup_seconds))]);
        vec![
            of_each(declared::BACKEND_FIRST_RESPONSE, |cells| &cells.first_response),
            of_each(declared::BACKEND_FINAL_RESPONSE, |cells| &cells.final_response),
            setup,
        ]
    }
}

/// The sum over the workers.
fn sample<'a>(workers: impl Iterator<Item = &'a Times> + Clone) -> prometheus::proto::Metric {
    let sum = |place: usize| -> u64 { workers.clone().map(|one| one.buckets[place].value()).sum() };
    let mut count = 0;
    let buckets = (0..BOUNDS).map(|place| {
        count += sum(place);
        let mut bucket = Bucket::default();
        bucket.set_upper_bound(f64::from(bound_us(place)) / 1e6);
        bucket.set_cumulative_count(count);
        bucket
    });
    let mut histogram = Histogram::default();
    histogram.set_bucket(buckets.collect());
    histogram.set_sample_count(count + sum(BOUNDS));
    let sum_us: u64 = workers.map(|one| one.sum_us.value()).sum();
    histogram.set_sample_sum(sum_us as f64 / 1e6);
    let mut sample = prometheus::proto::Metric::default();
    sample.set_histogram(histogram);
    sample
}
