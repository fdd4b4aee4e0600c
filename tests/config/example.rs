//! packaging/sipring.toml loads, has every key, and its defaults are the defaults.

use super::{good, load};
use sipring::config::Flags;
use std::collections::BTreeSet;

const EXAMPLE: &str = include_str!("../../packaging/sipring.toml");

/// The example with some of its commented lines made live.
fn example(live: impl Fn(&str) -> Option<&str>) -> String {
    let keys = [
        ("<32 hex digits: openssl rand -hex 16>", '1'),
        ("<32 hex digits: the key until now>", '2'),
    ];
    let lines: Vec<String> =
        EXAMPLE.lines().map(|line| live(line).unwrap_or(line).to_owned()).collect();
    keys.iter().fold(lines.join("\n"), |text, (placeholder, digit)| {
        assert!(text.contains(placeholder));
        text.replace(placeholder, &digit.to_string().repeat(32))
    })
}

/// `#key = value`.
fn default_line(line: &str) -> Option<&str> {
    line.strip_prefix('#').filter(|rest| rest.starts_with(|c: char| c.is_ascii_alphabetic()))
}

/// `# e.g. key = value`.
fn sample_line(line: &str) -> Option<&str> {
    line.strip_prefix("# e.g. ")
}

#[test]
fn example_loads_as_it_is() {
    good(EXAMPLE);
}

#[test]
fn defaults_in_the_example_are_the_defaults() {
    assert_eq!(good(&example(default_line)), good(EXAMPLE));
}

#[test]
fn samples_in_the_example_load() {
    let config = good(&example(|line| default_line(line).or(sample_line(line))));
    assert_eq!(config.workers, Some(4));
    assert!(config.cluster.previous.is_some());
}

#[test]
fn example_has_every_key_that_the_loader_knows() {
    // An unknown key in each table makes the loader list those that it knows.
    let all = example(|line| default_line(line).or(sample_line(line)));
    let mut document = "unknown = 1\n".to_owned();
    let mut shown = BTreeSet::new();
    let mut table = "the top level";
    for line in all.lines() {
        document.push_str(line);
        document.push('\n');
        if line.starts_with('[') {
            table = line;
            document.push_str("unknown = 1\n");
            // `[[listener]]` is the key `listener` of the top level.
            let path = line.trim_matches(['[', ']']);
            let (parent, key) = match path.split_once('.') {
                Some((_, key)) => ("[[pool]]", key),
                None => ("the top level", path),
            };
            shown.insert((parent.to_owned(), key.to_owned()));
        } else if let Some((key, _)) = line.split_once(" = ").filter(|_| !line.starts_with('#')) {
            shown.insert((table.to_owned(), key.to_owned()));
        }
    }
    let report = load(&document, &Flags::default()).expect_err("it loads").render(false);
    let mut known = BTreeSet::new();
    let mut table = String::new();
    for line in report.lines() {
        if let Some((_, name)) = line.split_once("not a key of ") {
            table = name.to_owned();
        }
        if let Some((_, keys)) = line.split_once("keys here: ") {
            known.extend(keys.split(", ").map(|key| (table.clone(), key.to_owned())));
        }
    }
    assert_eq!(shown, known);
}
