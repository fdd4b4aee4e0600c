//! Which metrics are asked for, against those that are declared, both ways.

use crate::rules::{RULES, rules};
use crate::{dashboards, queries};
use sipring::metrics::declared::ALL;
use sipring::metrics::{Kind, Metric};
use std::collections::HashSet;

/// Metrics that no panel and no rule asks for, each with the reason.
const UNASKED: &[(&str, &str)] = &[];

/// Prometheus' own.
const OF_PROMETHEUS: [&str; 1] = ["up"];

/// The words of an expression outside of strings and selectors' labels that can name a metric: ours
/// begin with `sipring_` or `process_`, recorded ones have a colon.
fn metrics(expression: &str) -> HashSet<String> {
    let mut outside = String::new();
    for (number, part) in expression.split('"').enumerate() {
        outside.push_str(if number % 2 == 0 { part } else { " " });
    }
    let is_part = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
    let words = outside.split(|c: char| !is_part(c)).filter(|word| {
        word.starts_with("sipring_")
            || word.starts_with("process_")
            || word.contains(':')
            || OF_PROMETHEUS.contains(word)
    });
    words.map(str::to_owned).collect()
}

/// The names under which a metric is scraped.
fn scraped(metric: &Metric) -> Vec<String> {
    let suffixes: &[&str] = match metric.kind {
        Kind::Histogram => &["_bucket", "_sum", "_count"],
        Kind::Counter | Kind::Gauge => &[""],
    };
    suffixes.iter().map(|suffix| format!("{}{suffix}", metric.name)).collect()
}

/// Where it stands, and the expression.
fn expressions() -> Vec<(String, String)> {
    let of_panels = dashboards().into_iter().flat_map(|(file, dashboard)| {
        let variables = dashboard["templating"]["list"].as_array().expect("variables").clone();
        let asked =
            variables.iter().filter_map(|one| one["definition"].as_str()).map(str::to_owned);
        let asked: Vec<_> = asked
            .filter_map(|text| {
                Some(text.strip_prefix("label_values(")?.rsplit_once(',')?.0.to_owned())
            })
            .collect();
        let all =
            queries(&dashboard).into_iter().map(|(title, text)| (format!("{file}: {title}"), text));
        let variables = asked.into_iter().map(|text| ("a variable".to_owned(), text));
        all.chain(variables).collect::<Vec<_>>()
    });
    let of_rules =
        RULES.iter().flat_map(|file| rules(file)).map(|rule| (rule.name, rule.expression));
    of_panels.chain(of_rules).collect()
}

#[test]
fn every_metric_that_is_asked_for_exists() {
    let recorded = rules("rules/recording.yml").into_iter().map(|rule| rule.name);
    let own = OF_PROMETHEUS.iter().map(|name| (*name).to_owned());
    let known: HashSet<String> = ALL.iter().flat_map(scraped).chain(recorded).chain(own).collect();
    for (place, expression) in expressions() {
        let asked = metrics(&expression);
        assert!(!asked.is_empty(), "{place} asks for nothing: {expression}");
        for name in asked {
            assert!(known.contains(&name), "{place} asks for {name}, which does not exist");
        }
    }
}

#[test]
fn every_metric_that_exists_is_asked_for_or_has_a_reason() {
    let asked: HashSet<String> = expressions().iter().flat_map(|(_, text)| metrics(text)).collect();
    for metric in ALL {
        let is_asked = scraped(metric).iter().any(|name| asked.contains(name));
        let reason = UNASKED.iter().find(|(name, _)| *name == metric.name);
        assert!(is_asked != reason.is_some(), "{}: asked for: {is_asked}, {reason:?}", metric.name);
    }
    for (name, _) in UNASKED {
        assert!(
            ALL.iter().any(|metric| metric.name == *name),
            "{name} is excused and does not exist"
        );
    }
}

#[test]
fn every_recorded_name_is_asked_for() {
    let asked: HashSet<String> = expressions().iter().flat_map(|(_, text)| metrics(text)).collect();
    for rule in rules("rules/recording.yml") {
        assert!(asked.contains(&rule.name), "nobody asks for {}", rule.name);
    }
}

#[test]
fn labels_that_are_asked_for_exist() {
    for (place, expression) in expressions() {
        for selector in expression.split('{').skip(1) {
            let labels = selector.split('}').next().unwrap_or("");
            for pair in labels.split(", ").filter(|pair| !pair.is_empty()) {
                let name = pair.split(['=', '!']).next().unwrap_or("");
                let ours = ALL.iter().flat_map(|metric| metric.labels);
                let known = ["job", "instance"].iter().chain(ours).any(|label| *label == name);
                assert!(known, "{place}: label {name:?} in {expression}");
            }
        }
    }
}

#[test]
fn words_in_strings_and_labels_are_no_metrics() {
    let found = metrics("sum by (job) (rate(sipring_a_total{x=\"sipring_b:c\"}[5m])) / a:b:c > up");
    let mut found: Vec<_> = found.into_iter().collect();
    found.sort();
    assert_eq!(found, ["a:b:c", "sipring_a_total", "up"]);
}
