//! The arrows and fences of the rooms, and the house rules, held by a test.
//!
//! Each rule is a function from a file to the places that break it, with what to do there. Each has
//! a self-test on planted snippets, so that a rule that has gone blind is noticed.

#[path = "tidy/self_test.rs"]
mod self_test;
#[path = "tidy/source.rs"]
mod source;

use source::{Source, inline_modules, line, paths, word_places};
use std::fs;
use std::path::Path;

/// Lines of a file under `src/`, tests not counted. 150 to 350 is the good size; a table or a state
/// machine may need some more, and beyond this it has two jobs.
const FILE_LINES_MAX: usize = 450;

/// Characters in a line. rustfmt breaks code at 100; it leaves strings and comments alone.
const LINE_LENGTH_MAX: usize = 120;

/// Who may name whom. A room that is not in it may not be.
const ARROWS: &[(&str, &[Target])] = &[
    ("main", &[]),
    ("limits", &[]),
    ("sip", &[All("limits")]),
    ("pool", &[All("limits")]),
    ("io", &[All("limits")]),
    ("stream", &[All("sip"), All("limits")]),
    ("proxy", &[All("sip"), All("pool"), All("limits")]),
    ("metrics", &[All("pool"), Only("proxy", REASONS), All("limits")]),
    (
        "worker",
        &[
            All("io"),
            All("metrics"),
            All("proxy"),
            All("pool"),
            All("sip"),
            All("stream"),
            All("limits"),
        ],
    ),
    ("fuzz", &[All("sip"), All("pool"), All("proxy")]),
    ("config", &[All("pool"), Only("proxy", SETTINGS), All("limits")]),
    (
        "control",
        &[
            All("config"),
            All("worker"),
            All("metrics"),
            All("pool"),
            Only("proxy", SETTINGS),
            Only("proxy", REASONS),
            All("sip"),
            Only("io", &["os", "diagnose"]),
            All("limits"),
        ],
    ),
    (
        "cli",
        &[
            All("control"),
            All("config"),
            All("pool"),
            All("metrics"),
            Only("proxy", SETTINGS),
            All("limits"),
        ],
    ),
];

enum Target {
    All(&'static str),
    /// These names of it only.
    Only(&'static str, &'static [&'static str]),
}
use Target::{All, Only};

/// The reasons that are counted.
const REASONS: &[&str] = &[
    "reason",
    "Absorb",
    "Answer",
    "CallResult",
    "Drop",
    "FailoverCause",
    "Forwarded",
    "Method",
    "RegistrationResult",
    "Routed",
    "Settled",
    "TokenResult",
];
/// The types that a config is made of and a shard is started with.
const SETTINGS: &[&str] = &[
    "settings",
    "Key",
    "Keys",
    "LocalSocket",
    "Method",
    "PathMode",
    "Role",
    "Settings",
    "Side",
    "SinceStart",
    "SocketIndex",
    "FailoverSettings",
    "TRIES_MAX",
    "WORK",
];

/// Rooms without socket, file, clock, thread, lock, log and random source.
const PURE_ROOMS: &[&str] = &["sip", "pool", "proxy", "stream"];

const IMPURE_WORDS: &[&str] = &[
    "Instant",
    "SystemTime",
    "Mutex",
    "RwLock",
    "Condvar",
    "UdpSocket",
    "TcpStream",
    "TcpListener",
    "UnixStream",
    "UnixListener",
    "UnixDatagram",
    "print",
    "println",
    "eprint",
    "eprintln",
    "tracing",
    "thread_local",
    "rand",
    "getrandom",
    "libc",
    "socket2",
    "tokio",
];

/// Of the standard library.
const IMPURE_MODULES: &[&str] = &["fs", "thread", "env", "process"];

/// These draw random keys.
const RANDOM_KEYS: &[&str] = &["RandomState::new", "HashMap::new", "HashSet::new", "AHashMap::new"];

/// Directories that are no part of the tree.
const NO_TREE: &[&str] = &[".git", "target", "corpus", "artifacts", "proptest-regressions"];

/// A rule: what breaks it in a file.
type Rule = fn(&Source) -> Vec<String>;

#[test]
fn rooms_name_only_the_rooms_they_may() {
    hold(arrows);
}

#[test]
fn pure_rooms_stay_pure() {
    hold(purity);
}

#[test]
fn unsafe_stays_in_its_rooms() {
    hold(unsafe_fence);
}

#[test]
fn files_say_their_job_and_have_one() {
    hold(heads_and_sizes);
}

#[test]
fn nothing_is_left_for_later() {
    hold(leftovers);
}

#[test]
fn dependencies_say_why() {
    hold(dependency_reasons);
}

#[test]
fn no_path_of_somebodys_machine() {
    hold(machine_paths);
}

#[test]
fn the_tree_is_really_read() {
    let tree = tree();
    for path in ["src/lib.rs", "src/pool/mod.rs", "tests/tidy.rs", "Cargo.toml"] {
        let source = tree.iter().find(|source| source.path == path);
        assert!(source.is_some_and(|source| !source.text.is_empty()), "{path} was not read");
    }
}

fn hold(rule: Rule) {
    let broken: Vec<String> = tree().iter().flat_map(rule).collect();
    assert!(broken.is_empty(), "{} places:\n{}", broken.len(), broken.join("\n"));
}

/// Every text file of the project.
fn tree() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (mut sources, mut directories) = (Vec::new(), vec![root.to_path_buf()]);
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory).unwrap() {
            let entry = entry.unwrap();
            let (path, kind) = (entry.path(), entry.file_type().unwrap());
            if NO_TREE.iter().any(|name| entry.file_name() == *name) {
                continue;
            }
            if kind.is_dir() {
                directories.push(path);
            } else if let Some(text) = kind.is_file().then(|| fs::read_to_string(&path).ok()) {
                let name = path.strip_prefix(root).unwrap().to_str().unwrap();
                sources.extend(text.map(|text| Source::new(name, &text)));
            }
        }
    }
    sources
}

/// `path:line: what`.
fn broken(source: &Source, at: usize, what: &str) -> String {
    format!("{}:{}: {what}", source.path, line(&source.text, at))
}

fn arrows(source: &Source) -> Vec<String> {
    let Some(modules) = source.modules().filter(|modules| !modules.is_empty()) else {
        return Vec::new();
    };
    let (room, code) = (modules[0], &source.product);
    let Some((_, targets)) = ARROWS.iter().find(|(name, _)| *name == room) else {
        let what = format!("room `{room}` is not drawn: give it its arrows in tests/tidy.rs");
        return vec![broken(source, 0, &what)];
    };
    let mut found = Vec::new();
    for (at, path) in paths(code, "crate").filter(|(_, path)| path[0] != room) {
        if !targets.iter().any(|target| target.allows(&path)) {
            let what = format!(
                "`{room}` may not name `crate::{}`: pass what it needs as an argument or a type \
                 of its own, or move the code to a room that may (ARCHITECTURE.md draws the arrows)",
                path.join("::")
            );
            found.push(broken(source, at, &what));
        }
    }
    for (at, path) in paths(code, "sipring").filter(|(_, path)| *path != ["cli", "main"]) {
        let path = path.join("::");
        let what = format!("`sipring::{path}`: main calls cli::main only; elsewhere write `crate`");
        found.push(broken(source, at, &what));
    }
    if !source.path.starts_with("src/cli/demo") {
        let what = "only cli/demo may use the load generator: it is no part of the balancer";
        found.extend(word_places(code, "sipring_loadtest").map(|at| broken(source, at, what)));
    }
    found.extend(climbers(source, modules.len()));
    found
}

/// `super` that climbs out of the room, where the arrows do not see it.
fn climbers(source: &Source, depth: usize) -> Vec<String> {
    let code = &source.product;
    let climbs = |at: &usize| {
        let mut rest = &code[*at..];
        let mut steps = 0;
        while let Some(next) = rest.strip_prefix("super") {
            steps += 1;
            rest = next.trim_start().strip_prefix("::").unwrap_or("").trim_start();
        }
        steps >= depth + inline_modules(code, *at)
    };
    let what = "`super` leaves the room here: write `crate::`, so that the arrow can be seen";
    word_places(code, "super").filter(climbs).map(|at| broken(source, at, what)).collect()
}

impl Target {
    fn allows(&self, path: &[&str]) -> bool {
        match self {
            All(room) => path[0] == *room,
            Only(room, names) => {
                path[0] == *room && path.get(1).is_some_and(|name| names.contains(name))
            }
        }
    }
}

fn purity(source: &Source) -> Vec<String> {
    let Some(room) = source.room().filter(|room| PURE_ROOMS.contains(room)) else {
        return Vec::new();
    };
    let code = &source.product;
    let complain = |at: usize, name: &str| {
        let what = format!(
            "`{name}` in the pure room `{room}`: let the caller pass in the value (time, bytes, \
             keys), or return a reason for the caller to act on"
        );
        broken(source, at, &what)
    };
    let mut found = Vec::new();
    for word in IMPURE_WORDS.iter().chain(RANDOM_KEYS) {
        found.extend(word_places(code, word).map(|at| complain(at, word)));
    }
    for (at, path) in paths(code, "std").filter(|(_, path)| IMPURE_MODULES.contains(&path[0])) {
        found.push(complain(at, &format!("std::{}", path[0])));
    }
    found
}

fn unsafe_fence(source: &Source) -> Vec<String> {
    let fenced = [("src/", "src/io/"), ("loadtest/src/", "loadtest/src/kernel/")];
    let Some((_, room)) = fenced.iter().find(|(all, _)| source.path.starts_with(all)) else {
        return Vec::new();
    };
    if source.path.starts_with(room) {
        return Vec::new();
    }
    let what = format!("`unsafe` outside {room}: give that room a small safe function for it");
    word_places(&source.code, "unsafe").map(|at| broken(source, at, &what)).collect()
}

fn heads_and_sizes(source: &Source) -> Vec<String> {
    if !source.is_rust() {
        return Vec::new();
    }
    let mut found = Vec::new();
    if source.path.starts_with("src/") && !source.text.starts_with("//! ") {
        found.push(broken(source, 0, "the first line must be `//! ` and say the file's one job"));
    }
    let lines = source.product_lines();
    if source.modules().is_some() && lines > FILE_LINES_MAX {
        let what = format!(
            "{lines} lines without tests, {FILE_LINES_MAX} at most: it has two jobs, move one \
             into a file of its own"
        );
        found.push(broken(source, 0, &what));
    }
    // A test may hold the exact text of a long message.
    let lines = source.text.lines().enumerate().filter(|_| !source.path.contains("tests/"));
    for (number, text) in lines {
        let length = text.chars().count();
        if length > LINE_LENGTH_MAX {
            let path = &source.path;
            found.push(format!("{path}:{}: {length} characters: break the line", number + 1));
        }
    }
    found
}

fn leftovers(source: &Source) -> Vec<String> {
    if !source.is_rust() {
        return Vec::new();
    }
    let mut found = Vec::new();
    for word in ["TODO", "FIXME", "XXX"] {
        let what = format!("`{word}`: do it now, or open an issue and say here what is true today");
        found.extend(word_places(&source.words, word).map(|at| broken(source, at, &what)));
    }
    for word in ["todo", "unimplemented", "dbg"] {
        let what = format!("`{word}!`: write the code, or take it out");
        let is_call = |at: &usize| source.code[at + word.len()..].starts_with('!');
        let calls = word_places(&source.code, word).filter(is_call);
        found.extend(calls.map(|at| broken(source, at, &what)));
    }
    let what = "an ignored test: mend it or delete it; if it is slow, make it small";
    let is_attribute = |at: &usize| source.code[..*at].trim_end().ends_with("#[");
    let attributes = word_places(&source.code, "ignore").filter(is_attribute);
    found.extend(attributes.map(|at| broken(source, at, what)));
    found
}

fn dependency_reasons(source: &Source) -> Vec<String> {
    if !source.path.ends_with("Cargo.toml") {
        return Vec::new();
    }
    let (mut found, mut in_dependencies) = (Vec::new(), false);
    for (number, text) in source.text.lines().enumerate() {
        let mut complain =
            |what: &str| found.push(format!("{}:{}: {what}", source.path, number + 1));
        let text = text.trim();
        if let Some(section) = text.strip_prefix('[') {
            let section = section.split(']').next().unwrap_or("");
            in_dependencies = section.ends_with("dependencies");
            if section.contains("dependencies.") {
                complain("write the dependency in one line, with its reason behind a `#`");
            }
        } else if in_dependencies && !text.is_empty() && !text.starts_with('#') {
            // A `#` in quotes begins no comment.
            let comment =
                text.match_indices('#').find(|(at, _)| text[..*at].matches('"').count() % 2 == 0);
            if comment.is_none_or(|(at, _)| text[at + 1..].trim().len() < 8) {
                complain("say behind a `#` why this dependency is worth having");
            }
        }
    }
    found
}

fn machine_paths(source: &Source) -> Vec<String> {
    let begins = |at: &usize| {
        let before = source.text[..*at].chars().next_back();
        !before.is_some_and(|c| c.is_alphanumeric() || "._-~/}>".contains(c))
    };
    let mut found = Vec::new();
    // In two parts, so that they do not find themselves.
    for home in ["home", "root", "Users", "work", "mnt", "tmp/wt"] {
        let path = format!("/{home}/");
        let places = source.text.match_indices(&path).map(|(at, _)| at).filter(begins);
        let what = format!("`{path}` is on one machine only: write a path from the project's root");
        found.extend(places.map(|at| broken(source, at, &what)));
    }
    found
}
