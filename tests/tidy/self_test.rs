//! Planted snippets: each rule sees what breaks it, and lets pass what does not.

use super::*;

/// The rule finds `count` places in this file.
#[track_caller]
fn finds(rule: Rule, count: usize, path: &str, text: &str) {
    let found = rule(&Source::new(path, text));
    assert_eq!(found.len(), count, "in {text:?}: {found:?}");
    assert!(found.iter().all(|place| place.starts_with(path)), "no place in {found:?}");
}

#[test]
fn arrows_are_seen() {
    finds(arrows, 1, "src/sip/mod.rs", "use crate::proxy::Proxy;");
    finds(arrows, 1, "src/pool/a.rs", "fn f() { crate::metrics::Cells::new(); }");
    finds(arrows, 2, "src/io/mod.rs", "use crate::{limits, sip::{Span}, worker};");
    finds(arrows, 1, "src/worker/mod.rs", "use crate::config::Config;");
    finds(arrows, 1, "src/cli/run.rs", "use crate::worker::Workers;");
    finds(arrows, 1, "src/config/mod.rs", "use crate::proxy::{Key, Proxy};");
    finds(arrows, 1, "src/metrics/mod.rs", "use crate::proxy::{Absorb, Proxy};");
    finds(arrows, 1, "src/control/mod.rs", "use crate::io::{os, ring};");
    finds(arrows, 1, "src/control/mod.rs", "use crate::io;");
    finds(arrows, 1, "src/attic/mod.rs", "//! A room that nobody drew.");
    finds(arrows, 1, "src/main.rs", "sipring::control::start()");
    finds(arrows, 1, "src/control/mod.rs", "use sipring_loadtest::Caller;");
    finds(arrows, 1, "src/pool/mod.rs", "use super::proxy::Proxy;");
    finds(arrows, 1, "src/pool/a.rs", "use super::super::proxy::Proxy;");
}

#[test]
fn arrows_that_are_drawn_may_be_used() {
    finds(arrows, 0, "src/worker/a.rs", "use crate::{io::Ring, proxy::Proxy, worker::b};");
    finds(arrows, 0, "src/config/mod.rs", "use crate::proxy::{Key, PathMode};");
    finds(arrows, 0, "src/control/mod.rs", "use crate::io::os::cores;");
    finds(arrows, 0, "src/sip/a.rs", "/// See [`crate::proxy`].\nconst A: &str = \"crate::io\";");
    finds(arrows, 0, "src/sip/a.rs", "#[cfg(test)]\nmod tests { use crate::proxy::Proxy; }");
    finds(arrows, 0, "src/main.rs", "fn main() { sipring::cli::main() }");
    finds(arrows, 0, "src/lib.rs", "pub mod attic;");
    finds(arrows, 0, "src/cli/demo.rs", "use sipring_loadtest::Caller;");
    finds(arrows, 0, "src/pool/a.rs", "use super::Pool;\nmod b { use super::super::Pool; }");
    finds(arrows, 0, "src/pool/tests.rs", "use crate::proxy::Proxy;");
}

#[test]
fn impurity_is_seen() {
    finds(purity, 2, "src/proxy/a.rs", "use std::time::Instant; let now = Instant::now();");
    finds(purity, 2, "src/sip/a.rs", "use std::{fs, io, thread::spawn};");
    finds(purity, 2, "src/pool/a.rs", "fn f(m: &std::sync::Mutex<u8>) { println!(\"x\") }");
    finds(purity, 1, "src/stream/a.rs", "let map = std::collections::HashMap::new();");
    finds(purity, 0, "src/pool/a.rs", "// no Mutex here\nuse std::time::Duration;");
    finds(purity, 0, "src/pool/a.rs", "#[cfg(test)]\nmod tests { use std::fs; }\nfn f() {}");
    finds(purity, 0, "src/worker/a.rs", "use std::time::Instant;");
}

#[test]
fn unsafe_is_seen() {
    finds(unsafe_fence, 1, "src/worker/a.rs", "let x = unsafe { f() };");
    finds(unsafe_fence, 1, "src/pool/a.rs", "#[cfg(test)]\nmod tests { unsafe fn f() {} }");
    finds(unsafe_fence, 1, "loadtest/src/load/a.rs", "let x = unsafe { f() };");
    finds(unsafe_fence, 0, "src/io/a.rs", "let x = unsafe { f() };");
    finds(unsafe_fence, 0, "loadtest/src/kernel/a.rs", "let x = unsafe { f() };");
    finds(unsafe_fence, 0, "src/lib.rs", "#[allow(unsafe_code)] // unsafe\nmod io;");
}

#[test]
fn heads_and_sizes_are_seen() {
    let lines = |count: usize| format!("//! A job.\n{}", "x;\n".repeat(count - 1));
    finds(heads_and_sizes, 1, "src/a.rs", "use b;\n//! Too late.");
    finds(heads_and_sizes, 0, "src/a.rs", &lines(FILE_LINES_MAX));
    finds(heads_and_sizes, 1, "src/a.rs", &lines(FILE_LINES_MAX + 1));
    let tests = format!("#[cfg(test)]\nmod tests {{\n{}}}\n", "x;\n".repeat(500));
    finds(heads_and_sizes, 0, "src/a.rs", &(lines(FILE_LINES_MAX) + &tests));
    finds(heads_and_sizes, 0, "src/a/tests.rs", &lines(1000));
    let line = |length: usize| format!("//! A job.\n{}", "ü".repeat(length));
    finds(heads_and_sizes, 0, "src/a.rs", &line(LINE_LENGTH_MAX));
    finds(heads_and_sizes, 1, "src/a.rs", &line(LINE_LENGTH_MAX + 1));
    finds(heads_and_sizes, 0, "tests/a.rs", &line(LINE_LENGTH_MAX + 1));
}

#[test]
fn leftovers_are_seen() {
    finds(leftovers, 3, "src/a.rs", "// TODO: a\n/* FIXME */ /// XXX b");
    finds(leftovers, 3, "tests/a.rs", "todo!(); unimplemented!(\"x\"); dbg!(1);");
    finds(leftovers, 2, "tests/a.rs", "#[ignore]\nfn a() {}\n#[ignore = \"slow\"]\nfn b() {}");
    finds(leftovers, 0, "src/a.rs", "let s = \"TODO XXX dbg!\"; let ignore = todo; // 4XXX");
}

#[test]
fn missing_reasons_are_seen() {
    let cargo =
        |lines: &str| format!("[package]\nname = \"a\"\n[dependencies]\n{lines}\n[lib]\nb = 1");
    finds(dependency_reasons, 1, "Cargo.toml", &cargo("a = \"1\""));
    finds(dependency_reasons, 1, "Cargo.toml", &cargo("a = { git = \"x#yyyyyyyyyyy\" }"));
    finds(dependency_reasons, 1, "loadtest/Cargo.toml", &cargo("a = \"1\" # why"));
    finds(dependency_reasons, 1, "Cargo.toml", "[dev-dependencies.a]\nversion = \"1\"");
    finds(dependency_reasons, 0, "Cargo.toml", &cargo("# group\n\na = \"1\"  # it does this"));
}

#[test]
fn machine_paths_are_seen() {
    let path = |start: &str| format!("cd {start}/{}/me", "home");
    finds(machine_paths, 1, "run.sh", &path(""));
    finds(machine_paths, 1, "src/a.rs", &path("\""));
    finds(machine_paths, 0, "README.md", &path("https://example.com"));
    finds(machine_paths, 0, "README.md", "/etc/sipring/sipring.toml, /homes/");
}
