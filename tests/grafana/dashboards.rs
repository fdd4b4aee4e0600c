//! What Grafana takes without a word and shows wrongly, it is told here.

use crate::{dashboards, panels, queries};
use serde_json::Value;
use std::collections::HashSet;

/// Grafana's own variables.
const BUILT_IN: [&str; 3] = ["__rate_interval", "__interval", "__range"];

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("{value} is no whole number"))
}

#[test]
fn ids_are_unique_and_short_enough() {
    let mut uids = HashSet::new();
    for (file, dashboard) in dashboards() {
        let uid = dashboard["uid"].as_str().expect("a uid").to_owned();
        assert!(uid.len() <= 40 && !uid.is_empty(), "{file}: uid {uid:?}");
        assert!(uids.insert(uid), "{file}: its uid is another's too");
        let mut ids = HashSet::new();
        for panel in dashboard["panels"].as_array().expect("panels") {
            assert!(ids.insert(number(&panel["id"])), "{file}: id {} twice", panel["id"]);
        }
    }
}

#[test]
fn dashboards_are_in_the_classic_format() {
    for (file, dashboard) in dashboards() {
        assert!((36..=42).contains(&number(&dashboard["schemaVersion"])), "{file}");
        assert_eq!(dashboard["id"], Value::Null, "{file}: the id is given by each Grafana");
        for key in ["title", "description", "panels", "templating", "time", "refresh", "tags"] {
            assert!(!dashboard[key].is_null(), "{file}: no {key}");
        }
        for key in ["elements", "layout", "spec", "kind"] {
            assert!(dashboard[key].is_null(), "{file}: {key} is of the v2 format");
        }
    }
}

#[test]
fn panels_lie_on_the_grid_and_not_on_each_other() {
    for (file, dashboard) in dashboards() {
        let mut taken = HashSet::new();
        for panel in dashboard["panels"].as_array().expect("panels") {
            let place = &panel["gridPos"];
            let [x, y, w, h] = ["x", "y", "w", "h"].map(|side| number(&place[side]));
            let title = &panel["title"];
            assert!(w > 0 && h > 0 && x + w <= 24, "{file}: {title} leaves the grid: {place}");
            for cell in (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y))) {
                assert!(taken.insert(cell), "{file}: {title} lies on another at {cell:?}");
            }
        }
    }
}

#[test]
fn every_panel_says_what_it_shows_in_which_unit() {
    for (file, dashboard) in dashboards() {
        let mut titles = HashSet::new();
        for panel in panels(&dashboard) {
            let title = panel["title"].as_str().unwrap_or("");
            assert!(!title.is_empty() && titles.insert(title), "{file}: title {title:?}");
            let description = panel["description"].as_str().unwrap_or("");
            assert!(description.len() > 15 && description.ends_with('.'), "{file}: {title}");
            let unit = panel["fieldConfig"]["defaults"]["unit"].as_str().unwrap_or("");
            assert!(!unit.is_empty(), "{file}: {title} has no unit");
            for target in panel["targets"].as_array().expect("targets") {
                assert_eq!(target["datasource"]["uid"], "${datasource}", "{file}: {title}");
            }
        }
    }
}

#[test]
fn only_known_variables_are_used() {
    for (file, dashboard) in dashboards() {
        let list = dashboard["templating"]["list"].as_array().expect("variables");
        let declared: Vec<&str> = list.iter().filter_map(|one| one["name"].as_str()).collect();
        let asked = list.iter().filter_map(|one| one["definition"].as_str().map(str::to_owned));
        for text in queries(&dashboard).into_iter().map(|(_, text)| text).chain(asked) {
            let mut used = text.split('$').skip(1).map(|rest| {
                let rest = rest.trim_start_matches('{');
                let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_');
                &rest[..end.unwrap_or(rest.len())]
            });
            let unknown = used.find(|name| !declared.contains(name) && !BUILT_IN.contains(name));
            assert_eq!(unknown, None, "{file}: {text}");
        }
    }
}

#[test]
fn every_declared_variable_is_used() {
    for (file, dashboard) in dashboards() {
        let text = dashboard["panels"].to_string();
        for variable in dashboard["templating"]["list"].as_array().expect("variables") {
            let name = variable["name"].as_str().expect("a name");
            let used = text.contains(&format!("${name}")) || text.contains(&format!("${{{name}}}"));
            assert!(used, "{file}: ${name} is used by no panel");
        }
    }
}

#[test]
fn every_query_can_be_narrowed_to_one_instance() {
    for (file, dashboard) in dashboards() {
        for (title, text) in queries(&dashboard) {
            let selectors = text.matches('{').count();
            let narrowed = text.matches("job=~\"$job\", instance=~\"$instance\"").count();
            assert_eq!(selectors, narrowed, "{file}: {title}: {text}");
            assert!(narrowed > 0, "{file}: {title}: {text}");
        }
    }
}
