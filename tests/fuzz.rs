//! The fuzz targets without a fuzzer: their bodies over the torture messages, over pieces of them,
//! and over mutations out of a fixed seed.

use sipring::fuzz;
use std::path::Path;

/// A target by the name that it has in `fuzz/`.
type Target = (&'static str, fn(&[u8]));

const TARGETS: [Target; 6] = [
    ("message", fuzz::message),
    ("via", fuzz::via),
    ("uri", fuzz::uri),
    ("token", fuzz::token),
    ("handle", fuzz::handle),
    ("operations", fuzz::operations),
];

/// Mutations of each seed for each target.
const MUTATIONS: u64 = 60;

/// Says which target and which input it was, if one panics.
struct Culprit<'a>(&'static str, &'a [u8]);

impl Drop for Culprit<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("target {}: b\"{}\"", self.0, self.1.escape_ascii());
        }
    }
}

fn run((name, body): Target, bytes: &[u8]) {
    let _culprit = Culprit(name, bytes);
    body(bytes);
}

/// The torture messages, and each of their header values: what the small targets read.
fn seeds() -> Vec<Vec<u8>> {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    let mut seeds = vec![Vec::new()];
    for folder in ["rfc4475", "rfc5118"] {
        let mut paths: Vec<_> = std::fs::read_dir(data.join(folder))
            .expect("the messages are here")
            .map(|entry| entry.expect("an entry").path())
            .collect();
        paths.sort();
        seeds.extend(paths.iter().map(|path| std::fs::read(path).expect("a message")));
    }
    let value = |line: &[u8]| -> Option<Vec<u8>> {
        let colon = line.iter().position(|byte| *byte == b':')?;
        Some(line[colon + 1..].trim_ascii().to_vec())
    };
    let values: Vec<_> = seeds
        .iter()
        .flat_map(|seed| seed.split(|byte| *byte == b'\n').filter_map(value))
        .filter(|value| value.starts_with(b"SIP") || value.windows(4).any(|part| part == b"sip:"))
        .collect();
    seeds.extend(values);
    seeds.sort();
    seeds.dedup();
    seeds
}

/// A small generator (splitmix64): the same run everywhere.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) as usize % bound
    }

    /// A few changes of the kinds that break parsers, and pieces of another seed.
    fn mutate(&mut self, seed: &[u8], other: &[u8]) -> Vec<u8> {
        let mut bytes = seed.to_vec();
        for _ in 0..=self.below(3) {
            let at = self.below(bytes.len() + 1);
            let end = at + self.below((bytes.len() - at).min(40) + 1);
            match self.below(5) {
                0 => drop(bytes.drain(at..end)),
                1 => drop(bytes.splice(at..at, bytes[at..end].to_vec())),
                2 => drop(bytes.splice(at..at, [b"\r\n:;,<>\"@[]?=/% \t\0\xff0"[self.below(20)]])),
                3 => {
                    bytes[at..end].iter_mut().take(1).for_each(|byte| *byte = self.below(256) as u8)
                }
                _ => {
                    let from = self.below(other.len() + 1);
                    let to = from + self.below((other.len() - from).min(80) + 1);
                    drop(bytes.splice(at..at, other[from..to].iter().copied()));
                }
            }
        }
        bytes
    }
}

#[test]
fn every_target_holds_over_the_torture_messages_and_their_mutations() {
    let seeds = seeds();
    assert!(seeds.len() > 100, "{} seeds", seeds.len());
    let mut random = Random(1);
    for seed in &seeds {
        TARGETS.iter().for_each(|target| run(*target, seed));
        for _ in 0..MUTATIONS {
            let other = &seeds[random.below(seeds.len())];
            let bytes = random.mutate(seed, other);
            TARGETS.iter().for_each(|target| run(*target, &bytes));
        }
    }
}

#[test]
fn the_targets_of_the_fuzz_crate_are_these() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/fuzz_targets");
    let mut found: Vec<_> = std::fs::read_dir(folder)
        .expect("the targets are here")
        .map(|entry| entry.expect("an entry").path())
        .map(|path| path.file_stem().expect("a name").to_string_lossy().into_owned())
        .collect();
    found.sort();
    let mut known = TARGETS.map(|(name, _)| name.to_owned()).to_vec();
    known.sort();
    assert_eq!(found, known);
    let manifest = include_str!("../fuzz/Cargo.toml");
    assert!(known.iter().all(|name| manifest.contains(&format!("name = \"{name}\""))));
}
