//! Which charts there are: response time and throughput by offered load, and what a death does.

use super::chart::{Chart, Line};
use super::measures::{Bin, Measures};
use super::results::{Cluster, Results};

/// File names and charts.
pub(super) fn all(results: &Results) -> Vec<(String, Chart)> {
    let mut charts = Vec::new();
    for cluster in &results.clusters {
        match cluster.death {
            Some(death) => charts.extend(by_time(results, cluster, death)),
            None if cluster.loads.len() > 1 => charts.extend(by_load(results, cluster)),
            None => {}
        }
    }
    charts
}

fn by_load(results: &Results, cluster: &Cluster) -> Vec<(String, Chart)> {
    let chart = |what: &str, logarithmic, figure: fn(&Measures) -> f64| {
        let line = |policy: &String| {
            let point = |&load: &f64| {
                let figure = results.figure(cluster, policy, load, figure)?;
                Some((load * 100.0, figure.median))
            };
            Line { name: policy.clone(), points: cluster.loads.iter().filter_map(point).collect() }
        };
        Chart {
            title: cluster.title.clone(),
            x_label: format!(
                "offered load, % of the cluster's capacity ({:.0} calls/s)",
                cluster.capacity
            ),
            y_label: what.to_owned(),
            logarithmic,
            lines: results.policies.iter().map(line).collect(),
            events: Vec::new(),
        }
    };
    let name = |what: &str| format!("{}-{what}.svg", cluster.name);
    vec![
        (name("response"), chart("mean response time of INVITE, ms", true, |m| m.response_mean_ms)),
        (name("p95"), chart("95th percentile of response time, ms", true, |m| m.response_p95_ms)),
        (name("throughput"), chart("calls completed per second", false, |m| m.completed_per_s)),
    ]
}

fn by_time(results: &Results, cluster: &Cluster, death: (f64, f64)) -> Vec<(String, Chart)> {
    let chart = |what: &str, logarithmic, figure: fn(&Bin) -> f64| {
        let line = |policy: &String| Line {
            name: policy.clone(),
            points: results.series(cluster, policy, figure),
        };
        Chart {
            title: cluster.title.clone(),
            x_label: "seconds; each point is half a second".to_owned(),
            y_label: what.to_owned(),
            logarithmic,
            lines: results.policies.iter().map(line).collect(),
            events: vec![(death.0, "dies".to_owned()), (death.1, "is back".to_owned())],
        }
    };
    let name = |what: &str| format!("{}-{what}.svg", cluster.name);
    vec![
        (name("response"), chart("mean response time of INVITE, ms", true, |b| b.response_mean_ms)),
        (name("throughput"), chart("calls completed per second", false, |b| b.completed_per_s)),
        (name("lost"), chart("calls lost, by when they began", false, |b| b.lost as f64)),
    ]
}
