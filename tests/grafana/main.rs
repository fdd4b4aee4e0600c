//! The dashboards and rules in `grafana/`: that they ask for what exists, and get answers.
//!
//! | file | what it proves |
//! |---|---|
//! | `dashboards` | the JSON as Grafana wants it: grid, ids, variables, units, descriptions |
//! | `names` | every metric asked for exists, every metric that exists is asked for |
//! | `rules` | promtool's checks and tests; each alert has a section in the runbook and both tests |
//! | `live` | a real Prometheus scrapes a balancer under load and is asked every panel's query |
//!
//! A test says `SKIPPED` aloud when Prometheus (Debian's package `prometheus`) is not installed; with
//! `SIPRING_REQUIRE_PEERS=1` it fails.

#[allow(dead_code)] // shared with the wire tests, which use all of it
#[path = "../wire/balancer.rs"]
mod balancer;
mod dashboards;
mod live;
mod names;
#[allow(dead_code)]
#[path = "../wire/process.rs"]
mod process;
mod rules;
#[allow(dead_code)]
#[path = "../wire/stage.rs"]
mod stage;

use serde_json::Value;
use std::fs;
use std::path::PathBuf;

/// A file or directory of `grafana/`.
fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("grafana").join(name)
}

fn text(name: &str) -> String {
    fs::read_to_string(path(name)).unwrap_or_else(|error| panic!("grafana/{name}: {error}"))
}

/// Every dashboard with the name of its file.
fn dashboards() -> Vec<(String, Value)> {
    let directory = fs::read_dir(path("dashboards")).expect("grafana/dashboards");
    let mut names: Vec<String> = directory
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8"))
        .collect();
    names.sort();
    assert!(names.len() >= 4, "{names:?}");
    let read = |name: String| {
        let json = text(&format!("dashboards/{name}"));
        (name, serde_json::from_str(&json).expect("JSON"))
    };
    names.into_iter().map(read).collect()
}

/// The panels of a dashboard that ask for something.
fn panels(dashboard: &Value) -> impl Iterator<Item = &Value> {
    let all = dashboard["panels"].as_array().expect("panels");
    all.iter().filter(|panel| panel["type"] != "row")
}

/// Title and expression of every query of a dashboard.
fn queries(dashboard: &Value) -> Vec<(String, String)> {
    let of_panel = |panel: &Value| -> Vec<(String, String)> {
        let title = panel["title"].as_str().expect("a title").to_owned();
        let targets = panel["targets"].as_array().expect("targets");
        let expression =
            |target: &Value| target["expr"].as_str().expect("an expression").to_owned();
        targets.iter().map(|target| (title.clone(), expression(target))).collect()
    };
    panels(dashboard).flat_map(of_panel).collect()
}
