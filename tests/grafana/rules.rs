//! Recording and alert rules: what promtool says, and what it does not know.

use crate::stage::have;
use crate::{path, text};
use std::process::Command;

/// The files of rules.
pub(crate) const RULES: [&str; 2] = ["rules/recording.yml", "rules/alerts.yml"];

/// A rule of a file.
pub(crate) struct Rule {
    pub(crate) name: String,
    pub(crate) expression: String,
    /// All of its lines.
    pub(crate) text: String,
}

/// The rules of a file, in the form that all of ours have: `- alert:` or `- record:`, then `expr:`
/// with the expression on its line or as a block. promtool reads them as YAML.
pub(crate) fn rules(file: &str) -> Vec<Rule> {
    let text = text(file);
    let mut found: Vec<Rule> = Vec::new();
    let mut in_block = None;
    for line in text.lines().filter(|line| !line.trim_start().starts_with('#')) {
        let (trimmed, indent) = (line.trim_start(), line.len() - line.trim_start().len());
        let name = ["- alert: ", "- record: "].iter().find_map(|kind| trimmed.strip_prefix(kind));
        if let Some(name) = name {
            let (name, expression) = (name.to_owned(), String::new());
            found.push(Rule { name, expression, text: String::new() });
        }
        let Some(rule) = found.last_mut() else { continue };
        rule.text += &format!("{line}\n");
        if in_block.is_some_and(|outer| indent <= outer) {
            in_block = None;
        }
        if let Some(expression) = trimmed.strip_prefix("expr: ") {
            match expression {
                "|" => in_block = Some(indent),
                whole => rule.expression = whole.trim_matches('\'').to_owned(),
            }
        } else if in_block.is_some() {
            rule.expression += &format!("{trimmed}\n");
        }
    }
    assert!(found.iter().all(|rule| !rule.expression.is_empty()), "{file}: a rule without expr");
    assert_eq!(found.len(), text.matches("expr:").count(), "{file}: rules in another form");
    found
}

fn promtool(arguments: &[&str]) {
    if !have(&["promtool"]) {
        return;
    }
    let ran = Command::new("promtool").args(arguments).current_dir(path("rules")).output();
    let output = ran.expect("promtool starts");
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "promtool {arguments:?}:\n{said}");
}

#[test]
fn promtool_takes_the_rules() {
    promtool(&["check", "rules", "recording.yml", "alerts.yml"]);
}

#[test]
fn promtool_takes_the_example_of_a_prometheus() {
    promtool(&["check", "config", "../prometheus.yml"]);
}

#[test]
fn each_alert_fires_when_it_should_and_stays_quiet_when_not() {
    promtool(&["test", "rules", "tests/alerts.yml"]);
}

#[test]
fn no_alert_is_without_both_tests() {
    let tests = text("rules/tests/alerts.yml");
    let alerts = rules("rules/alerts.yml");
    for Rule { name, .. } in &alerts {
        for kind in ["fires", "stays quiet"] {
            let heading = format!("  - name: {name} {kind}\n");
            let (_, test) = tests.split_once(&heading).unwrap_or_else(|| panic!("no {heading:?}"));
            let test = test.split("\n  - name: ").next().unwrap_or("");
            assert!(test.contains(&format!("alertname: {name}\n")), "{name} {kind}");
            assert_eq!(test.contains("exp_alerts: []"), kind == "stays quiet", "{name} {kind}");
        }
    }
    assert_eq!(tests.matches("  - name: ").count(), 2 * alerts.len());
}

#[test]
fn each_alert_says_what_it_means_and_where_to_read_on() {
    let runbook = text("RUNBOOK.md");
    let alerts = rules("rules/alerts.yml");
    for Rule { name, text, .. } in &alerts {
        assert!(runbook.contains(&format!("\n## {name}\n")), "the runbook has no section {name}");
        let link = format!("runbook_url: RUNBOOK.md#{}\n", name.to_lowercase());
        assert!(text.contains(&link), "{name}: no {link:?}");
        for key in ["summary: ", "description: ", "severity: "] {
            assert!(text.contains(key), "{name}: no {key}");
        }
    }
    assert_eq!(runbook.matches("\n## ").count(), alerts.len(), "sections without an alert");
    for link in runbook.split("](#").skip(1) {
        let anchor = link.split(')').next().unwrap_or("");
        assert!(alerts.iter().any(|alert| alert.name.to_lowercase() == anchor), "#{anchor}");
    }
}
