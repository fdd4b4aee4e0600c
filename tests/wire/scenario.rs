//! SIPp scenarios made of parts.
//!
//! SIPp's XML has no include. So `{{part|name=value|...}}` in a scenario stands for the file
//! `sipp/parts/part.xml`, in which `{name}` or `{name:default}` stands for the value. `\n` in a value
//! is a line break. A line that holds nothing but an empty value is left out.

use std::fs;
use std::path::Path;

/// Values by name; the last one of a name counts.
pub(crate) type Values<'a> = Vec<(&'a str, &'a str)>;

/// The whole text of the scenario `sipp/NAME.xml`.
pub(crate) fn expand(name: &str, values: &[(&str, &str)]) -> String {
    let scenario = fill(&read(name), values);
    let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let mut rest = scenario.as_str();
    while let Some((before, after)) = rest.split_once("{{") {
        let (call, after) = after.split_once("}}").unwrap_or_else(|| {
            panic!("{name}: found \"{{{{\" without \"}}}}\" near {after:.40}");
        });
        out.push_str(before);
        out.push_str(&part(call, values));
        rest = after;
    }
    out.push_str(rest);
    out
}

fn part(call: &str, values: &[(&str, &str)]) -> String {
    let mut words = call.split('|');
    let name = words.next().unwrap_or_default();
    let mut all: Values<'_> = values.to_vec();
    for word in words {
        let pair = word.split_once('=');
        all.push(pair.unwrap_or_else(|| panic!("{{{{{call}}}}}: \"{word}\" is not name=value")));
    }
    fill(&read(&format!("parts/{name}")), &all).trim_end().to_owned()
}

/// Replaces `{name}` and `{name:default}`; leaves `{{...}}` for later, values in it filled in.
fn fill(text: &str, values: &[(&str, &str)]) -> String {
    let mut out = String::new();
    for line in text.lines() {
        let filled = fill_line(line, values);
        if !filled.trim().is_empty() || line.trim().is_empty() {
            out.push_str(&filled);
            out.push('\n');
        }
    }
    out
}

fn fill_line(line: &str, values: &[(&str, &str)]) -> String {
    let mut out = String::new();
    let mut rest = line;
    while let Some(at) = rest.find('{') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        if rest.starts_with("{{") {
            out.push_str("{{");
            rest = &rest[2..];
            continue;
        }
        let (inside, after) = rest[1..].split_once('}').expect("a \"}\" after \"{\"");
        let (name, default) = match inside.split_once(':') {
            Some((name, default)) => (name, Some(default)),
            None => (inside, None),
        };
        let value = values.iter().rev().find(|(known, _)| *known == name).map(|(_, value)| *value);
        let value = value.or(default);
        out.push_str(
            &value.unwrap_or_else(|| panic!("{line}: no value for {name}")).replace("\\n", "\n"),
        );
        rest = after;
    }
    out.push_str(rest);
    out
}

fn read(name: &str) -> String {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/wire/sipp");
    let path = dir.join(format!("{name}.xml"));
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
